use chrono::TimeDelta;
use domain::{event::FactKind, lead::Mailing};
use serde_json::json;
use web::link::Purpose;

use crate::world::World;

#[tokio::test]
async fn one_click_unsubscription_is_honoured_whatever_the_request_looks_like() {
    for (what, headers, body) in [
        (
            "RFC 8058",
            vec![("content-type", "application/x-www-form-urlencoded")],
            "List-Unsubscribe=One-Click",
        ),
        (
            "multipart",
            vec![("content-type", "multipart/form-data; boundary=x")],
            "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--",
        ),
        ("empty", vec![], ""),
        ("text", vec![("content-type", "text/plain"), ("user-agent", "Googlebot")], "hello"),
        ("broken JSON", vec![("content-type", "application/json")], "{"),
    ] {
        let world = World::new().await;
        let lead_id = world.opt_in("hanako@example.com").await;
        let header = world.mails_to("hanako@example.com")[0]
            .headers
            .iter()
            .find(|(name, _)| name == "List-Unsubscribe")
            .unwrap()
            .1
            .clone();
        let url = header.trim_matches(['<', '>']).to_owned();
        let answer = world.send("POST", &url, &headers, body).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        assert_eq!(
            world.tables().lead(&lead_id).await.unwrap().unwrap().mailing,
            Mailing::Unsubscribed,
            "{what}"
        );
        world.until("2027-03-09T00:00:00Z").await;
        assert_eq!(world.way_of("hanako@example.com"), ["03-01 10:00 welcome/welcome"], "{what}");
        assert_eq!(world.figures("2027-03-01").await["unsubscribed"], 1, "{what}");
    }
}

#[tokio::test]
async fn looking_at_the_unsubscribe_page_changes_nothing() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    let token = world.token(Purpose::Unsubscribe, &lead_id);
    let page = world.get(&format!("/unsubscribe?t={token}")).await;
    assert!(page.status == 200 && page.text.contains("method=\"post\""), "{page:?}");
    assert_eq!(world.tables().lead(&lead_id).await.unwrap().unwrap().mailing, Mailing::Subscribed);
    let done = world
        .send(
            "POST",
            "/unsubscribe",
            &[("content-type", "application/x-www-form-urlencoded"), ("accept", "text/html")],
            format!("t={token}"),
        )
        .await;
    assert!(done.status == 200 && done.content_type.starts_with("text/html"), "{done:?}");
    assert_eq!(world.tables().lead(&lead_id).await.unwrap().unwrap().mailing, Mailing::Unsubscribed);
}

#[tokio::test]
async fn after_an_unsubscription_what_was_asked_for_still_comes() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    world
        .send("POST", &format!("/unsubscribe?t={}", world.token(Purpose::Unsubscribe, &lead_id)), &[], "")
        .await;
    world.book(&lead_id, "2027-03-11T01:00").await;
    world.until("2027-03-12T00:00:00Z").await;
    assert_eq!(
        world.way_of("hanako@example.com"),
        [
            "03-01 10:00 welcome/welcome",
            "03-01 10:00 consultation/confirmation",
            "03-10 18:00 consultation/reminder-day-before",
            "03-11 08:00 consultation/reminder-two-hours"
        ]
    );
}

#[tokio::test]
async fn an_address_that_bounces_or_complains_gets_nothing_more_and_the_ledger_says_why() {
    for (email, state) in [
        ("bounce+1@simulator.amazonses.com", "bounced"),
        ("complaint+1@simulator.amazonses.com", "complained"),
    ] {
        let world = World::new().await;
        let lead_id = world.opt_in(email).await;
        assert_eq!(
            world.tables().lead(&lead_id).await.unwrap().unwrap().mailing,
            Mailing::Suppressed,
            "{email}"
        );
        world.book(&lead_id, "2027-03-11T01:00").await;
        world.until("2027-03-12T00:00:00Z").await;
        assert_eq!(world.mails_to(email).len(), 1, "{email}");
        let ledger = world.tables().engagements(&lead_id).await.unwrap();
        let told: Vec<String> = ledger
            .iter()
            .map(|row| {
                format!(
                    "{} {} {}",
                    row.email_campaign_id,
                    serde_json::to_value(row.state).unwrap().as_str().unwrap(),
                    row.reason.clone().unwrap_or_default()
                )
            })
            .collect();
        assert!(told.iter().any(|row| row.starts_with(&format!("welcome/welcome {state}"))), "{told:?}");
        assert!(
            told.contains(&"consultation/confirmation skipped the person is suppressed".to_owned()),
            "{told:?}"
        );
        // A new opt-in does not open it again.
        world.post("/opt-in", &json!({"email": email, "consent": true})).await;
        assert_eq!(world.mails_to(email).len(), 1, "{email}");
    }
}

#[tokio::test]
async fn who_leaves_and_comes_back_on_the_same_day_has_both_consents_on_record_for_good() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    let token = world.token(web::link::Purpose::Unsubscribe, &lead_id);
    let leave = async || world.post(&format!("/unsubscribe?t={token}"), &json!({})).await;
    let dossier = async || world.tables().dossier(&lead_id, world.now()).await.unwrap().unwrap();
    let consents = async || {
        dossier().await.consents.iter().map(|standing| standing.consent.given_at).collect::<Vec<_>>()
    };
    let mut given = vec![world.now()];
    world.pass(TimeDelta::hours(1)).await;
    leave().await;
    world.pass(TimeDelta::hours(1)).await;
    world.opt_in("hanako@example.com").await;
    given.push(world.now());
    assert_eq!(consents().await, given);
    // The same form once more is no third opt-in.
    world.opt_in("hanako@example.com").await;
    let opt_ins = dossier().await.facts.iter().filter(|it| it.fact.kind() == FactKind::OptedIn).count();
    assert_eq!(opt_ins, 2);
    world.pass(TimeDelta::days(30)).await;
    leave().await;
    world.pass(TimeDelta::days(10)).await;
    world.opt_in("hanako@example.com").await;
    given.push(world.now());
    assert_eq!(consents().await, given, "each of them, as long as she is known");
}

#[tokio::test]
async fn a_consent_to_words_that_were_edited_meanwhile_is_asked_for_again() {
    let world = World::new().await;
    let page = world.send("GET", "/", &[("accept", "text/html")], "").await.text;
    let words = page.split("name=\"consent_text\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let form = [("content-type", "application/json"), ("accept", "text/html")];
    for (shown, status) in [(words, 303), ("An earlier text", 422)] {
        let body = json!({"email": "hanako@example.com", "consent": "true", "consent_text": shown});
        let answer = world.send("POST", "/opt-in", &form, body.to_string()).await;
        assert_eq!(answer.status, status, "{shown}");
        assert_eq!(answer.text.contains("同意の文面が変わりました"), status == 422);
    }
    let told = json!({"email": "taro@example.com", "consent": true, "consent_text": "An earlier text"});
    let refused = world.post("/opt-in", &told).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["field"]), (422, &json!("consent_text")));

    let lead_id = world.opt_in("hanako@example.com").await;
    let token = |purpose| world.token(purpose, &lead_id);
    world.post(&format!("/unsubscribe?t={}", token(Purpose::Unsubscribe)), &json!({})).await;
    let back = format!("/preferences?t={}", token(Purpose::Preferences));
    let body = json!({"subscribe": "true", "consent_text": "An earlier text"}).to_string();
    let asked = world.send("POST", &back, &form, body).await;
    assert!(asked.status == 422 && asked.text.contains("同意の文面が変わりました"), "{}", asked.text);
    assert_eq!(world.lead(&lead_id).await.mailing, Mailing::Unsubscribed);
}
