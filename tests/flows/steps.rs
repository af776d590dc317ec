//! Every kind of step, and the way that people take through them.

use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use domain::{id::Id, lead::Stage};
use michi::aws::Response;
use serde_json::json;

use crate::{draft::Draft, world::World};

const HANAKO: &str = "hanako@example.com";

/// Sends a mail, waits a day, and goes on by a condition to `yes` or `no`.
fn branch(condition: &str) -> Draft {
    let steps = format!(
        r#"entry = ["opted_in"]

[[steps]]
id = "first"
send = "first"

[[steps]]
id = "look"
branch = '{condition}'
when = "1d"
then = "yes"
else = "no"

[[steps]]
id = "yes"
send = "yes"
next = "end"

[[steps]]
id = "no"
send = "no"
"#
    );
    Draft::new().sequence("way", &steps).file(
        "scores.toml",
        "[[behaviour]]\non = \"mail_clicked\"\npoints = 30\n[[bands]]\nid = \"cold\"\nname = \"冷\"\nfrom = 0\n[[bands]]\nid = \"hot\"\nname = \"熱\"\nfrom = 25\n",
    )
    .file("segments.toml", "[[segments]]\nid = \"clickers\"\nname = \"クリックした人\"\nif = 'clicked(\"first\")'\n")
    .sequence("note", "entry = [{ fact = \"cart-updated\" }]\n\n[[steps]]\nid = \"tag\"\ntag = \"vip\"\n\n[[steps]]\nid = \"stage\"\nstage = \"mql\"\n\n[[steps]]\nid = \"attribute\"\nattribute = { industry = \"IT\", employees = 120 }\n\n[[steps]]\nid = \"rest\"\nsend = \"rest\"\nwhen = \"9d\"\n")
}

/// What happens between the first mail and the branch.
#[derive(Clone, Copy, Debug)]
enum Day {
    Nothing,
    Opens,
    Clicks,
    Noted,
    SeesTwice,
}

#[tokio::test]
async fn a_branch_goes_by_what_the_person_is_and_did() {
    for (condition, day, yes) in [
        ("opened(\"first\")", Day::Opens, true),
        ("opened(\"first\")", Day::Nothing, false),
        ("not opened(\"first\")", Day::Nothing, true),
        ("clicked(\"first\")", Day::Clicks, true),
        ("clicked(\"first\")", Day::Opens, false),
        ("clicked(\"first\", \"download_url\")", Day::Clicks, true),
        ("score >= 30", Day::Clicks, true),
        ("score > 30", Day::Clicks, false),
        ("band == \"hot\"", Day::Clicks, true),
        ("band == \"hot\"", Day::Nothing, false),
        ("segment(\"clickers\")", Day::Clicks, true),
        ("tag(\"vip\")", Day::Noted, true),
        ("tag(\"vip\")", Day::Nothing, false),
        ("stage == \"mql\"", Day::Noted, true),
        ("stage < \"mql\"", Day::Noted, false),
        ("attribute.industry == \"IT\"", Day::Noted, true),
        ("attribute.employees >= 100 and attribute.employees < 500", Day::Noted, true),
        ("attribute.employees >= 100", Day::Nothing, false),
        ("seen(\"pricing\") >= 2", Day::SeesTwice, true),
        ("seen(\"pricing\") >= 3", Day::SeesTwice, false),
        ("ever(\"cart-updated\")", Day::Noted, true),
        ("happened(\"cart-updated\")", Day::Nothing, false),
        ("happened(\"cart-updated\") or happened(\"page_seen\")", Day::SeesTwice, true),
        ("inside(\"note\")", Day::Noted, true),
        ("inside(\"note\")", Day::Nothing, false),
        ("silent_days >= 1", Day::Nothing, true),
        ("silent_days >= 1", Day::SeesTwice, false),
        ("source == \"ads\" and magnet == \"guide\"", Day::Nothing, true),
        ("not (source == \"ads\")", Day::Nothing, false),
    ] {
        let world = World::with(&branch(condition)).await;
        let lead_id = world.opt_in_with(HANAKO, json!({"source": "ads", "lead_magnet_type": "guide"})).await;
        world.pass(TimeDelta::hours(1)).await;
        match day {
            Day::Nothing => {}
            Day::Opens => world.open(HANAKO, "first").await,
            Day::Clicks => {
                world.open(HANAKO, "first").await;
                world.click(HANAKO, "first").await;
            }
            Day::Noted => drop(world.tell("cart-updated", HANAKO, "k", json!({})).await),
            Day::SeesTwice => {
                world.see("pricing").await;
                world.pass(TimeDelta::hours(1)).await;
                world.see("pricing").await;
            }
        }
        world.until("2027-03-02T01:01:00Z").await;
        let expected = if yes { "way/yes" } else { "way/no" };
        let way = world.way_of(HANAKO);
        assert!(way.last().unwrap().ends_with(expected), "{condition} after {day:?}: {way:?}");
        let answer = if yes { "yes" } else { "no" };
        assert_eq!(world.decisions(&lead_id, "way").await, [format!("look: {condition}: {answer}")]);
    }
}

#[tokio::test]
async fn a_wait_ends_at_once_when_it_comes_true_and_else_when_its_time_is_over() {
    let steps = r#"entry = ["opted_in"]

[[steps]]
id = "first"
send = "first"

[[steps]]
id = "ordered"
wait_for = 'happened("ordered")'
within = "3d"
then = "thanks"
else = "remind"

[[steps]]
id = "thanks"
send = "thanks"
next = "end"

[[steps]]
id = "remind"
send = "remind"
"#;
    let draft = Draft::new().sequence("way", steps);
    let world = World::with(&draft).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    world.opt_in_with("taro@example.com", json!({})).await;
    world.pass(TimeDelta::hours(5)).await;
    assert_eq!(world.stands(&lead_id, "way").await, "Active at ordered: happened(\"ordered\") is waited for");
    world.tell("ordered", HANAKO, "k", json!({})).await;
    assert_eq!(world.way_of(HANAKO), ["03-01 10:00 way/first", "03-01 15:00 way/thanks"]);
    world.pass(TimeDelta::days(5)).await;
    assert_eq!(world.way_of(HANAKO).len(), 2, "the time-out means nothing any more");
    assert_eq!(world.way_of("taro@example.com"), ["03-01 10:00 way/first", "03-04 10:00 way/remind"]);
}

#[tokio::test]
async fn a_wait_for_what_is_true_already_is_no_wait() {
    let steps = "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"wait\"\nwait_for = 'tag(\"magnet:guide\")'\nwithin = \"3d\"\n\n[[steps]]\nid = \"one\"\nsend = \"one\"\n";
    let world = World::with(&Draft::new().sequence("way", steps)).await;
    world.opt_in_with(HANAKO, json!({"lead_magnet_type": "guide"})).await;
    assert_eq!(world.way_of(HANAKO), ["03-01 10:00 way/one"]);
}

#[tokio::test]
async fn a_split_divides_people_by_weight_and_keeps_each_on_her_way() {
    let steps = r#"entry = ["opted_in"]

[[steps]]
id = "test"
split = { a = 30, b = 10 }

[[steps]]
id = "a"
send = "a"
next = "end"

[[steps]]
id = "b"
send = "b"
"#;
    let world = World::with(&Draft::new().sequence("way", steps)).await;
    let (mut a, mut b) = (0, 0);
    for n in 0..80 {
        let email = format!("p{n}@example.com");
        world.opt_in_with(&email, json!({})).await;
        match world.mails_to(&email)[0].tags["step"].as_str() {
            "a" => a += 1,
            _ => b += 1,
        }
    }
    assert!((45..=72).contains(&a) && a + b == 80, "{a} to {b}");
}

#[tokio::test]
async fn notes_about_a_person_are_made_once_and_taken_back() {
    let steps = "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"tag\"\ntag = \"fresh\"\n\n[[steps]]\nid = \"know\"\nattribute = { industry = \"IT\" }\n\n[[steps]]\nid = \"stage\"\nstage = \"mql\"\n\n[[steps]]\nid = \"untag\"\nuntag = \"fresh\"\nwhen = \"1d\"\n";
    let world = World::with(&Draft::new().sequence("way", steps)).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    let lead = world.lead(&lead_id).await;
    assert!(lead.tags.contains(&"fresh".to_owned()));
    assert_eq!((lead.attributes["industry"].as_str(), lead.stage), ("IT", Stage::Mql));
    world.pass(TimeDelta::days(1)).await;
    assert!(!world.lead(&lead_id).await.tags.contains(&"fresh".to_owned()));
    let mut kinds: Vec<&str> = world
        .tables()
        .timeline(&lead_id)
        .await
        .unwrap()
        .iter()
        .map(|event| event.fact.kind().as_str())
        .collect();
    kinds.sort();
    assert_eq!(kinds, ["opted_in", "stage_changed", "tagged"]);
}

#[tokio::test]
async fn a_task_and_a_notice_reach_the_team_once() {
    let steps = "entry = [{ page = \"pricing\", times = 1 }]\n\n[[steps]]\nid = \"call\"\ntask = \"電話でフォローする\"\nfor = \"owner\"\ndue = \"1d\"\n\n[[steps]]\nid = \"tell\"\nnotice = \"料金ページを見ました\"\nfor = \"owner\"\n";
    let draft = Draft::new().transactional("hot", steps);
    let world = World::with(&draft).await;
    world.opt_in_with(HANAKO, json!({})).await;
    world.see("pricing").await;
    let owner = Id::parse("owner").unwrap();
    let tasks = world.tables().open_tasks(&owner).await.unwrap();
    assert_eq!(tasks.len(), 1);
    assert_eq!((tasks[0].title.as_str(), tasks[0].made_by.as_str()), ("電話でフォローする", "hot/call"));
    assert_eq!(domain::time::iso(tasks[0].due), "2027-03-02T01:00:00.000Z");
    let notices = world.mails_to("owner@shop.example.com");
    assert_eq!(notices.len(), 1);
    let text = notices[0].text.clone().unwrap();
    assert!(notices[0].subject.contains("料金ページを見ました"));
    assert!(
        text.contains("花子") && text.contains("hanako@example.com") && text.contains("/console/leads/"),
        "{text}"
    );
    // What the team does with a notice is nobody's interest in the business.
    world.cloud.open(&notices[0], crate::world::HUMAN);
    world.cloud.settle().await;
    assert_eq!(world.figures("2027-03-01").await["mails_sent"], 0);
}

#[tokio::test]
async fn a_webhook_is_signed_tried_again_and_given_up_without_losing_the_person() {
    let steps = "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"hook\"\nwebhook = \"https://crm.example.org/michi\"\n\n[[steps]]\nid = \"one\"\nsend = \"one\"\n";
    for (failures, posts) in [(0, 1), (2, 3), (99, 5)] {
        let world = World::with(&Draft::new().sequence("way", steps)).await;
        let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let log = Arc::clone(&seen);
        world.cloud.register_host(
            "crm.example.org",
            Arc::new(move |request| {
                let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
                let body = String::from_utf8(request.body().to_vec()).unwrap();
                assert!(body.contains("\"step\":\"hook\"") && !body.contains("hanako"), "{body}");
                assert!(header("webhook-signature").starts_with("v1,"));
                let mut log = log.lock().unwrap();
                log.push((header("webhook-id"), body));
                let failed = log.len() <= failures;
                Box::pin(async move {
                    let mut answer = Response::default();
                    if failed {
                        *answer.status_mut() = axum::http::StatusCode::BAD_GATEWAY;
                    }
                    answer
                })
            }),
        );
        world.opt_in_with(HANAKO, json!({})).await;
        world.pass(TimeDelta::hours(1)).await;
        let seen = seen.lock().unwrap().clone();
        assert_eq!(seen.len(), posts, "{failures} failures");
        assert!(seen.iter().all(|(id, _)| *id == seen[0].0), "a repeat can be told");
        assert_eq!(world.way_of(HANAKO).len(), 1, "{failures} failures");
    }
}

#[tokio::test]
async fn times_are_kept_on_the_persons_clock() {
    let steps = r#"entry = ["opted_in"]

[[steps]]
id = "hours"
send = "a"
when = "2h"

[[steps]]
id = "next-clock"
send = "b"
when = "09:30"

[[steps]]
id = "weekday"
send = "c"
when = "friday 18:00"

[[steps]]
id = "days"
send = "d"
when = "2d 07:00"

[[steps]]
id = "anchored"
send = "e"
when = "+9d 08:00"
"#;
    let world = World::with(&Draft::new().sequence("way", steps)).await;
    world.opt_in_with(HANAKO, json!({})).await;
    world.opt_in_with("joe@example.com", json!({"time_zone": "America/New_York"})).await;
    world.opt_in_with("lost@example.com", json!({"time_zone": "Mars/Olympus"})).await;
    world.pass(TimeDelta::days(14)).await;
    let tokyo = [
        "03-01 12:00 way/hours",
        "03-02 09:30 way/next-clock",
        "03-05 18:00 way/weekday",
        "03-07 07:00 way/days",
        "03-10 08:00 way/anchored",
    ];
    assert_eq!(world.way_of(HANAKO), tokyo);
    assert_eq!(world.way_of("lost@example.com"), tokyo, "nobody is dropped for a zone that nobody knows");
    // 28 February, 20:00 in New York; shown in Tokyo's time.
    assert_eq!(
        world.way_of("joe@example.com"),
        [
            "03-01 12:00 way/hours",
            "03-01 23:30 way/next-clock",
            "03-06 08:00 way/weekday",
            "03-07 21:00 way/days",
            "03-09 22:00 way/anchored",
        ]
    );
}

#[tokio::test]
async fn steps_count_down_to_a_date_and_those_that_had_passed_are_left_out() {
    let steps = r#"entry = ["opted_in"]
anchor = "fair"

[[steps]]
id = "confirmation"
send = "confirmation"

[[steps]]
id = "three-days"
send = "three-days"
when = "-3d 18:00"

[[steps]]
id = "hour"
send = "hour"
when = "-1h"

[[steps]]
id = "after"
send = "after"
when = "+1d 10:00"
"#;
    let world = World::with(&Draft::new().transactional("fair", steps)).await;
    world.opt_in_with(HANAKO, json!({})).await;
    world.until("2027-03-19T00:00:00Z").await;
    let lead_id = world.opt_in_with("late@example.com", json!({})).await;
    assert!(world.stands(&lead_id, "fair").await.contains("the time of three-days had passed"));
    world.until("2027-03-25T00:00:00Z").await;
    assert_eq!(
        world.way_of(HANAKO),
        [
            "03-01 10:00 fair/confirmation",
            "03-17 18:00 fair/three-days",
            "03-20 19:00 fair/hour",
            "03-21 10:00 fair/after"
        ]
    );
    assert_eq!(
        world.way_of("late@example.com"),
        ["03-19 09:00 fair/confirmation", "03-20 19:00 fair/hour", "03-21 10:00 fair/after"]
    );
}
