use chrono::TimeDelta;
use domain::id::Id;
use michi::person;
use serde_json::json;
use web::link::Purpose;

use crate::{draft::Draft, world::World};

const HER: &str = "hanako@example.com";

async fn why(world: &World, mail: Option<&str>) -> String {
    person::why(&world.remote(), &world.funnel, HER, mail).await.unwrap()
}

/// Every part is told, in this order.
fn tells(told: &str, parts: &[&str]) {
    let mut rest = told;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is missing in:\n{told}"));
        rest = &rest[at + part.len()..];
    }
}

#[tokio::test]
async fn what_became_of_each_mail_and_what_comes_next_is_told() {
    let world = World::new().await;
    let lead_id = world.opt_in(HER).await;
    world.until("2027-03-02T23:00:00Z").await;
    world.open(HER, "day-1").await;
    let told = why(&world, None).await;
    let mut expected = vec![
        "Subscribed",
        "Consent given Mon 1 Mar 2027, 10:00 (POST /opt-in): “プライバシーポリシーに同意し",
        "7日間のステップメール (nurture): Under way",
        "day-1: sent Tue 2 Mar 2027, 07:00; delivered Tue 2 Mar 2027, 07:00; opened Wed 3 Mar 2027, 08:00",
        "day-2: sent Wed 3 Mar 2027, 07:00",
        "day-3: planned for Thu 4 Mar 2027, 07:00: day-2 settled",
        "day-4: comes after day-3, which is due Thu 4 Mar 2027, 07:00",
        "(follow-up): never entered: nothing that starts it has happened",
    ];
    tells(&told, &expected);
    assert!(!told.contains(HER), "{told}");

    // Her page in the console tells the same.
    let token = world.links.sign_console(world.now());
    let page = world.get(&format!("/console/leads/{lead_id}?t={token}")).await.text;
    tells(
        &page,
        &["2027年3月3日(水) 07:00 送信", "2027年3月4日(木) 07:00 に送信予定: day-2 処理済み", "day-3（"],
    );

    // She leaves: what is left is told with its reason.
    let token = world.token(Purpose::Unsubscribe, &lead_id);
    world.post(&format!("/unsubscribe?t={token}"), &json!({})).await;
    expected = vec![
        "Unsubscribed",
        "Earlier consent",
        "day-2: sent",
        "day-3: not sent, the sequence was ended before: Unsubscribed",
    ];
    tells(&why(&world, None).await, &expected);
}

#[tokio::test]
async fn one_mail_is_answered_even_where_there_is_no_row() {
    let draft = Draft::new().sequence(
        "news",
        "entry = [\"opted_in\"]\n[[steps]]\nid = \"ask\"\nbranch = \"tag(\\\"vip\\\")\"\nthen = \"for-vips\"\nelse = \"for-all\"\n\n[[steps]]\nid = \"for-vips\"\nsend = \"vip\"\nnext = \"end\"\n\n[[steps]]\nid = \"for-all\"\nsend = \"all\"\nwhen = \"1d\"\n",
    ).sequence("shop", "entry = [{ fact = \"ordered\" }]\n\n[[steps]]\nid = \"thanks\"\nsend = \"thanks\"\n");
    let world = World::with(&draft).await;
    world.opt_in_with(HER, json!({"lead_magnet_type": "guide"})).await;
    for (mail, parts) in [
        ("vip", vec!["for-vips: left out on the way: tag(\"vip\"): no"]),
        ("all", vec!["for-all: planned for Tue 2 Mar 2027, 10:00"]),
        ("news/for-all", vec!["for-all: planned for"]),
        ("thanks", vec!["shop (shop): never entered: nothing that starts it has happened"]),
    ] {
        let told = why(&world, Some(mail)).await;
        tells(&told, &parts);
        assert!(told.matches("\n\n").count() == 1, "one paragraph after the consent: {told}");
    }
    let none = person::why(&world.remote(), &world.funnel, HER, Some("nothing")).await.unwrap_err();
    assert!(none.to_string().contains("there are all, thanks, vip"), "{none}");
    world.pass(TimeDelta::days(2)).await;
    tells(&why(&world, Some("all")).await, &["for-all: sent Tue 2 Mar 2027, 10:00"]);
    let nobody = person::why(&world.remote(), &world.funnel, "l-nobody", None).await.unwrap_err();
    assert!(nobody.to_string().contains("is no lead"), "{nobody}");
    assert!(Id::parse("l-nobody").is_ok());
}
