//! Every trigger starts what it should, and nothing else does.

use chrono::TimeDelta;
use domain::lead::Stage;
use serde_json::json;

use crate::{draft::Draft, world::World};

const HANAKO: &str = "hanako@example.com";

/// A sequence of one mail, sent at once.
fn one_mail(entry: &str, mail: &str) -> String {
    format!("entry = [{entry}]\n\n[[steps]]\nid = \"one\"\nsend = \"{mail}\"\n")
}

#[tokio::test]
async fn a_download_starts_the_sequence_of_its_lead_magnet() {
    let draft = Draft::new()
        .sequence("guide", &one_mail("{ download = \"guide\" }", "guide"))
        .sequence("catalogue", &one_mail("{ download = \"catalogue\" }", "catalogue"));
    let world = World::with(&draft).await;
    world.opt_in_with(HANAKO, json!({"lead_magnet_type": "catalogue"})).await;
    assert_eq!(world.way_of(HANAKO), ["03-01 10:00 catalogue/one"]);
}

#[tokio::test]
async fn a_page_seen_for_the_third_time_starts_its_sequence_once() {
    let draft = Draft::new().sequence("pricing", &one_mail("{ page = \"pricing\", times = 3 }", "pricing"));
    let world = World::with(&draft).await;
    world.see("pricing").await;
    world.opt_in_with(HANAKO, json!({})).await;
    for _ in 0..2 {
        // A reload within half an hour is the same view.
        world.see("pricing").await;
        world.see("pricing").await;
        world.pass(TimeDelta::minutes(40)).await;
    }
    assert!(world.way_of(HANAKO).is_empty(), "twice, and once before anybody knew her");
    for _ in 0..3 {
        world.see("guide").await;
        world.see("pricing").await;
        world.pass(TimeDelta::minutes(40)).await;
    }
    assert_eq!(world.way_of(HANAKO), ["03-01 11:20 pricing/one"]);
}

#[tokio::test]
async fn a_tag_a_stage_and_another_systems_fact_start_their_sequences() {
    let steps = "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"tag\"\ntag = \"vip\"\n\n[[steps]]\nid = \"stage\"\nstage = \"mql\"\n";
    let draft = Draft::new()
        .sequence("start", steps)
        .sequence("vip", &one_mail("{ tag = \"vip\" }", "vip"))
        .sequence("mql", &one_mail("{ stage = \"mql\" }", "mql"))
        .sequence("sql", &one_mail("{ stage = \"sql\" }", "sql"))
        .sequence("cart", &one_mail("{ fact = \"cart-updated\" }", "cart"));
    let world = World::with(&draft).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    assert_eq!(world.way_of(HANAKO), ["03-01 10:00 vip/one", "03-01 10:00 mql/one"]);
    let lead = world.lead(&lead_id).await;
    assert!(lead.tags.contains(&"vip".to_owned()) && lead.stage == Stage::Mql);
    world.pass(TimeDelta::hours(1)).await;
    world.tell("cart-updated", HANAKO, "k1", json!({})).await;
    assert_eq!(world.way_of(HANAKO).last().unwrap(), "03-01 11:00 cart/one");
}

#[tokio::test]
async fn silence_starts_a_sequence_and_any_sign_of_life_puts_it_off() {
    let entry =
        "entry = [{ inactive_days = 60 }]\nagain = true\n\n[[steps]]\nid = \"one\"\nsend = \"wake\"\n";
    let draft =
        Draft::new().sequence("welcome", &one_mail("\"opted_in\"", "welcome")).sequence("wake", entry);
    let world = World::with(&draft).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    assert_eq!(world.stands(&lead_id, "wake").await, "Active at watch: being watched");
    world.until("2027-04-10T01:00:00Z").await;
    world.click(HANAKO, "one").await;
    // 60 days after the click on 10 April, not after the opt-in.
    world.until("2027-06-08T23:00:00Z").await;
    assert_eq!(world.way_of(HANAKO).len(), 1, "{:?}", world.way_of(HANAKO));
    world.until("2027-06-10T00:00:00Z").await;
    assert_eq!(world.way_of(HANAKO)[1..], ["06-09 10:00 wake/one"]);
    // Asleep for longer, she is not woken again; awake and asleep again, she is.
    world.until("2027-09-01T00:00:00Z").await;
    assert_eq!(world.way_of(HANAKO).len(), 2);
    world.see("pricing").await;
    world.until("2027-11-03T00:00:00Z").await;
    assert_eq!(world.way_of(HANAKO)[2..], ["10-31 09:00 wake/one"]);
}

#[tokio::test]
async fn only_people_whom_the_condition_fits_enter() {
    let entry = "entry = [\"opted_in\"]\nif = 'attribute.industry == \"IT\" and not source == \"ads\"'\n\n[[steps]]\nid = \"one\"\nsend = \"it\"\n";
    let world = World::with(&Draft::new().sequence("it", entry)).await;
    for (email, more, expected) in [
        ("a@example.com", json!({"attributes": {"industry": "IT"}}), 1),
        ("b@example.com", json!({"attributes": {"industry": "IT"}, "source": "ads"}), 0),
        ("c@example.com", json!({"attributes": {"industry": "金融"}}), 0),
        ("d@example.com", json!({}), 0),
    ] {
        world.opt_in_with(email, more).await;
        assert_eq!(world.mails_to(email).len(), expected, "{email}");
    }
}

#[tokio::test]
async fn every_kind_of_exit_ends_a_sequence() {
    let late = |exit: &str| {
        format!(
            "entry = [\"opted_in\"]\nexit = [{exit}]\n\n[[steps]]\nid = \"one\"\nsend = \"late\"\nwhen = \"3d\"\n"
        )
    };
    let tagger = "entry = [{ fact = \"cart-updated\" }]\n\n[[steps]]\nid = \"tag\"\ntag = \"vip\"\n\n[[steps]]\nid = \"stage\"\nstage = \"sql\"\n";
    for (exit, why) in [
        ("{ fact = \"cart-updated\" }", "cart-updated"),
        ("{ tag = \"vip\" }", "tagged"),
        ("{ stage = \"sql\" }", "stage_changed"),
        ("{ enters = \"cart\" }", "entered cart"),
        ("\"page_seen\"", "page_seen"),
    ] {
        let draft = Draft::new().sequence("late", &late(exit)).sequence("cart", tagger);
        let world = World::with(&draft).await;
        let lead_id = world.opt_in_with(HANAKO, json!({})).await;
        world.pass(TimeDelta::hours(1)).await;
        world.tell("cart-updated", HANAKO, "k1", json!({})).await;
        world.see("pricing").await;
        assert_eq!(world.stands(&lead_id, "late").await, format!("Stopped at –: {why}"), "{exit}");
        world.pass(TimeDelta::days(4)).await;
        assert!(world.way_of(HANAKO).is_empty(), "{exit}");
    }
}

#[tokio::test]
async fn an_exit_that_the_relay_has_not_heard_of_yet_still_stops_the_mail() {
    let cart = "entry = [{ fact = \"cart-updated\" }]\nexit = [{ fact = \"ordered\" }]\n\n[[steps]]\nid = \"one\"\nsend = \"cart\"\nwhen = \"1h\"\n";
    let world = World::with(&Draft::new().sequence("cart", cart)).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    world.tell("cart-updated", HANAKO, "k1", json!({})).await;
    // The relay takes no more records from here on.
    let stopped = std::sync::Arc::new(|event: serde_json::Value| {
        let first = event["Records"][0]["dynamodb"]["SequenceNumber"].clone();
        let answer = json!({"batchItemFailures": [{"itemIdentifier": first}]});
        Box::pin(async move { Ok(answer) }) as michi::engine::BoxFuture<'static, _>
    });
    let relay = world.cloud.handler("relay").unwrap();
    world.cloud.register("relay", stopped);
    world.tell("ordered", HANAKO, "k2", json!({})).await;
    world.pass(TimeDelta::hours(2)).await;
    world.cloud.register("relay", relay);
    world.pass(TimeDelta::hours(2)).await;
    assert!(world.way_of(HANAKO).is_empty(), "{:?}", world.way_of(HANAKO));
    assert!(world.stands(&lead_id, "cart").await.starts_with("Stopped"), "the stream kept the fact");
}

#[tokio::test]
async fn an_exit_ends_nobodys_watch_but_saying_no_does() {
    let wake = "entry = [{ inactive_days = 60 }]\nexit = [\"page_seen\", { fact = \"ordered\" }]\n\n[[steps]]\nid = \"one\"\nsend = \"wake\"\n";
    let world = World::with(&Draft::new().sequence("wake", wake)).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    world.see("pricing").await;
    world.tell("ordered", HANAKO, "k", json!({})).await;
    assert_eq!(world.stands(&lead_id, "wake").await, "Active at watch: being watched");
    world.pass(TimeDelta::days(61)).await;
    assert_eq!(world.way_of(HANAKO), ["04-30 10:00 wake/one"]);
    let other = world.opt_in_with("taro@example.com", json!({})).await;
    let t = world.token(web::link::Purpose::Unsubscribe, &other);
    world.post(&format!("/unsubscribe?t={t}"), &json!({})).await;
    assert_eq!(world.stands(&other, "wake").await, "Stopped at –: unsubscribed");
}

#[tokio::test]
async fn who_is_woken_by_silence_leaves_what_ends_by_it_also_if_the_function_stops_half_way() {
    let wake = "entry = [{ inactive_days = 30 }]\n\n[[steps]]\nid = \"one\"\nsend = \"wake\"\n";
    let long = "entry = [\"opted_in\"]\nexit = [{ enters = \"wake\" }]\n\n[[steps]]\nid = \"late\"\nsend = \"late\"\nwhen = \"40d\"\n";
    for operation in ["UpdateItem", "SendMessage"] {
        for done in [true, false] {
            let world = World::with(&Draft::new().sequence("wake", wake).sequence("long", long)).await;
            let lead_id = world.opt_in_with(HANAKO, json!({})).await;
            world.until("2027-03-31T00:59:00Z").await;
            world.cloud.sabotage(Some(crate::sweep::ends_at("delivery", operation, done)));
            world.until("2027-03-31T01:01:00Z").await;
            world.cloud.sabotage(None);
            world.pass(TimeDelta::days(1)).await;
            assert_eq!(world.way_of(HANAKO).len(), 1, "{operation} {done}");
            assert_eq!(
                world.stands(&lead_id, "long").await,
                "Stopped at –: entered wake",
                "{operation} {done}"
            );
        }
    }
}

#[tokio::test]
async fn who_is_watched_can_enter_by_another_way_and_leaves_what_ends_by_it() {
    let wake = "entry = [{ inactive_days = 30 }, { fact = \"cart-updated\" }]\n\n[[steps]]\nid = \"one\"\nsend = \"wake\"\n";
    let long = "entry = [\"opted_in\"]\nexit = [{ enters = \"wake\" }]\n\n[[steps]]\nid = \"late\"\nsend = \"late\"\nwhen = \"40d\"\n";
    for by_fact in [true, false] {
        let world = World::with(&Draft::new().sequence("wake", wake).sequence("long", long)).await;
        let lead_id = world.opt_in_with(HANAKO, json!({})).await;
        world.pass(TimeDelta::hours(1)).await;
        if by_fact {
            world.tell("cart-updated", HANAKO, "k", json!({})).await;
            assert_eq!(world.way_of(HANAKO), ["03-01 11:00 wake/one"]);
        }
        world.pass(TimeDelta::days(60)).await;
        assert_eq!(world.way_of(HANAKO).len(), 1, "{by_fact}: {:?}", world.way_of(HANAKO));
        assert_eq!(world.stands(&lead_id, "long").await, "Stopped at –: entered wake", "{by_fact}");
    }
}
