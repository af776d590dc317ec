//! Scores: crossing a threshold is a fact, a fall is noticed in time, and the score explains itself.

use chrono::TimeDelta;
use serde_json::json;

use crate::{draft::Draft, world::World};

const HANAKO: &str = "hanako@example.com";

fn scored() -> Draft {
    let rules = r#"
[[fit]]
if = 'attribute.employees >= 100'
points = 15

[[behaviour]]
on = { page = "pricing" }
points = 10

[[behaviour]]
on = "mail_opened"
points = 2

[[behaviour]]
on = "mail_clicked"
points = 5

[[behaviour]]
on = "unsubscribed"
points = -15

[[decay]]
after_days = 30
points = 5

[[decay]]
after_days = 60
points = 10

[[bands]]
id = "cold"
name = "コールド"
from = 0
"#;
    let one = |entry: &str, id: &str| {
        format!("entry = [{entry}]\nagain = true\n\n[[steps]]\nid = \"one\"\nsend = \"{id}\"\n")
    };
    Draft::new()
        .file("scores.toml", rules)
        .sequence("welcome", &one("\"opted_in\"", "welcome"))
        .sequence("warm", &one("{ score_rises_to = 30 }", "warm"))
        .sequence("cooled", &one("{ score_falls_to = 20 }", "cooled"))
}

#[tokio::test]
async fn a_score_that_rises_over_a_threshold_starts_its_sequence_once() {
    let world = World::with(&scored()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({"attributes": {"employees": 300}})).await;
    world.open(HANAKO, "one").await;
    world.click(HANAKO, "one").await;
    assert_eq!(world.way_of(HANAKO).len(), 1, "22 points");
    world.pass(TimeDelta::hours(1)).await;
    world.see("pricing").await;
    assert_eq!(world.way_of(HANAKO)[1..], ["03-01 11:02 warm/one"], "32 points");
    world.pass(TimeDelta::hours(1)).await;
    world.see("pricing").await;
    assert_eq!(world.way_of(HANAKO).len(), 2, "42 points: crossed already");
    assert_eq!(world.lead(&lead_id).await.score, 32, "the row remembers the side, not the score");
}

#[tokio::test]
async fn a_machine_gives_no_points() {
    let world = World::with(&scored()).await;
    world.opt_in_with(HANAKO, json!({"attributes": {"employees": 300}})).await;
    world.see("pricing").await;
    let mail = world.mails_to(HANAKO)[0].clone();
    let machine = michi::aws::ses::Reader { user_agent: "Mozilla/5.0", ip: "203.0.113.9", bot: Some(true) };
    let link = mail.links.iter().find(|link| link.tracked).unwrap().href.clone();
    world.cloud.open(&mail, machine);
    world.cloud.click(&mail, &link, machine);
    world.until_judged().await;
    assert_eq!(world.way_of(HANAKO).len(), 1, "25 points, not 32");
}

#[tokio::test]
async fn silence_lets_a_score_fall_and_the_fall_is_noticed_on_its_day() {
    let world = World::with(&scored()).await;
    world.opt_in_with(HANAKO, json!({"attributes": {"employees": 300}})).await;
    world.see("pricing").await;
    // 25 points on 1 March: −5 on the 31st makes 20.
    world.until("2027-03-30T00:00:00Z").await;
    assert_eq!(world.way_of(HANAKO).len(), 1);
    world.until("2027-04-01T00:00:00Z").await;
    assert_eq!(world.way_of(HANAKO)[1..], ["03-31 10:00 cooled/one"]);
}

#[tokio::test]
async fn a_sign_of_life_puts_the_fall_off() {
    let world = World::with(&scored()).await;
    world.opt_in_with(HANAKO, json!({"attributes": {"employees": 300}})).await;
    world.see("pricing").await;
    world.until("2027-03-20T01:00:00Z").await;
    world.open(HANAKO, "one").await;
    // 27 points on the 20th: −5 after thirty days makes 22, −10 after sixty 12.
    world.until("2027-05-18T00:00:00Z").await;
    assert!(!world.way_of(HANAKO).iter().any(|mail| mail.contains("cooled")), "{:?}", world.way_of(HANAKO));
    world.until("2027-05-20T00:00:00Z").await;
    assert!(world.way_of(HANAKO).last().unwrap().ends_with("cooled/one"), "{:?}", world.way_of(HANAKO));
}

#[tokio::test]
async fn a_score_that_time_took_and_a_visit_gave_back_crosses_both_ways() {
    let world = World::with(&scored()).await;
    world.opt_in_with(HANAKO, json!({"attributes": {"employees": 300}})).await;
    world.see("pricing").await;
    world.pass(TimeDelta::hours(1)).await;
    world.see("pricing").await;
    assert_eq!(world.way_of(HANAKO)[1..], ["03-01 11:00 warm/one"], "35 points");
    // 35 − 5 − 10 makes 20 after sixty days; two more views make 40 again.
    world.until("2027-05-03T00:00:00Z").await;
    assert!(world.way_of(HANAKO).last().unwrap().ends_with("cooled/one"), "{:?}", world.way_of(HANAKO));
    world.see("pricing").await;
    world.pass(TimeDelta::hours(1)).await;
    world.see("guide").await;
    assert!(world.way_of(HANAKO).last().unwrap().ends_with("warm/one"), "{:?}", world.way_of(HANAKO));
    world.until("2027-09-30T00:00:00Z").await;
    assert_eq!(world.way_of(HANAKO).iter().filter(|mail| mail.contains("cooled")).count(), 2);
}
