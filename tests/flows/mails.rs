use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn every_mail_says_who_writes_and_how_to_stop_it() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    world.until("2027-03-08T00:00:00Z").await;
    world.book(&lead_id, "2027-03-11").await;
    world.buy(&lead_id, "standard").await;
    world.until("2027-03-16T00:00:00Z").await;
    let mails = world.mails_to("hanako@example.com");
    assert!(mails.len() >= 14, "{:?}", world.way_of("hanako@example.com"));
    for mail in mails {
        let what = format!("{}/{}", mail.tags["sequence"], mail.tags["step"]);
        let header = |name: &str| {
            mail.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.clone())
        };
        let one_click = header("List-Unsubscribe").unwrap();
        assert!(one_click.starts_with("<https://michi.example.com/unsubscribe?t="), "{what}");
        assert_eq!(header("List-Unsubscribe-Post").as_deref(), Some("List-Unsubscribe=One-Click"), "{what}");
        for part in [mail.html.as_deref().unwrap(), mail.text.as_deref().unwrap()] {
            assert!(part.contains("東京都千代田区"), "postal address in {what}");
            assert!(part.contains("coach@example.com"), "contact in {what}");
            assert!(part.contains("/unsubscribe?t="), "unsubscribe link in {what}");
            assert!(!part.contains("{{") && !part.contains("{%"), "left-over template in {what}");
        }
        let unsubscribe = mail.links.iter().find(|link| link.href.contains("/unsubscribe")).unwrap();
        assert!(!unsubscribe.tracked, "{what}");
        assert!(mail.html.as_ref().unwrap().len() < 102_000, "Gmail clips {what}");
        assert_eq!(
            mail.from,
            "=?UTF-8?B?6YGT44Kz44O844OB44Oz44KwIOmBk+mHjuOBguOBi+OCig==?= <coach@example.com>"
        );
    }
}

#[tokio::test]
async fn a_name_never_becomes_markup_or_template() {
    let world = World::new().await;
    let name = "<b>x</b> {{ 7*7 }} [a](https://evil.example)";
    let answer =
        world.post("/opt-in", &json!({"email": "hanako@example.com", "name": name, "consent": true})).await;
    assert_eq!(answer.status, 200);
    let mail = &world.mails_to("hanako@example.com")[0];
    let html = mail.html.as_ref().unwrap();
    assert!(html.contains("&lt;b&gt;x&lt;") && !html.contains("<b>x") && !html.contains("49"), "{html}");
    assert!(mail.links.iter().all(|link| !link.href.contains("evil")));
    assert!(mail.text.as_ref().unwrap().contains(name));
}

#[tokio::test]
async fn mails_come_at_seven_in_the_persons_own_zone() {
    for (zone, first, second) in [
        ("America/New_York", "2027-03-13T12:00:00Z", "2027-03-14T11:00:00Z"), // the clocks go forward on the 14th
        ("Nowhere/Atlantis", "2027-03-12T22:00:00Z", "2027-03-13T22:00:00Z"), // unknown: the funnel's zone
    ] {
        let world = World::at("2027-03-12T10:00:00Z").await;
        let answer = world
            .post("/opt-in", &json!({"email": "hanako@example.com", "consent": true, "time_zone": zone}))
            .await;
        assert_eq!(answer.status, 200, "{zone}");
        world.until("2027-03-15T00:00:00Z").await;
        let times: Vec<String> = world
            .mails_to("hanako@example.com")
            .iter()
            .skip(1)
            .take(2)
            .map(|mail| mail.sent_at.format("%Y-%m-%dT%H:%M:%SZ").to_string())
            .collect();
        assert_eq!(times, [first, second], "{zone}");
    }
}

#[tokio::test]
async fn a_second_opt_in_updates_the_one_lead_and_sends_the_download_again_but_not_the_week() {
    let world = World::new().await;
    let first = world.opt_in("hanako@example.com").await;
    world.until("2027-03-03T01:00:00Z").await;
    let second = world
        .post("/opt-in", &json!({"email": "HANAKO@Example.com", "phone": "090-0000-0000", "consent": "on"}))
        .await;
    assert_eq!(second.json()["lead_id"], first.as_str());
    world.until("2027-03-04T01:00:00Z").await;
    assert_eq!(
        world.way_of("hanako@example.com"),
        [
            "03-01 10:00 welcome/welcome",
            "03-02 07:00 nurture/day-1",
            "03-03 07:00 nurture/day-2",
            "03-03 10:00 welcome/welcome",
            "03-04 07:00 nurture/day-3"
        ]
    );
    let lead = serde_json::to_value(world.tables().lead(&first).await.unwrap().unwrap()).unwrap();
    assert_eq!(
        (&lead["name"], &lead["phone"], &lead["source"]),
        (&json!("花子"), &json!("090-0000-0000"), &json!("instagram"))
    );
    assert_eq!(world.figures("2027-03-03").await["opt_ins"], 0, "no new lead");
}
