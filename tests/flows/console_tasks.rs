//! Tasks in the console, from the step that makes them to the button that ends them.

use chrono::TimeDelta;
use domain::id::Id;
use serde_json::json;

use crate::{
    draft::Draft,
    world::{Answer, World},
};

/// A task and a notice, taken at once one after the other.
pub(crate) const STEPS: &str = r#"entry = ["opted_in"]

[[steps]]
id = "call"
task = "電話でフォローする"
for = "owner"
due = "1d"

[[steps]]
id = "tell"
notice = "登録がありました"
for = "owner"
"#;

async fn page(world: &World, path: &str) -> Answer {
    let t = world.links.sign_console(world.now());
    let mark = if path.contains('?') { '&' } else { '?' };
    world.get(&format!("/console/{path}{mark}t={t}")).await
}

/// What a browser sends when the button is pressed, or a program when `accept` says so.
async fn press(world: &World, path: &str, accept: &str) -> Answer {
    let t = world.links.sign_console(world.now());
    let headers = [("accept", accept), ("content-type", "application/x-www-form-urlencoded")];
    world.send("POST", &format!("/console/tasks/{path}t={t}"), &headers, "").await
}

#[tokio::test]
async fn a_task_is_open_until_somebody_says_that_it_is_done() {
    let world = World::with(&Draft::new().transactional("welcome", STEPS)).await;
    let lead_id = world.opt_in_with("hanako@example.com", json!({})).await;
    let owner = Id::parse("owner").unwrap();
    let task = world.tables().open_tasks(&owner).await.unwrap().remove(0);
    let shown = page(&world, "tasks").await;
    let lead = format!("/console/leads/{lead_id}\"");
    for expected in [
        "店主",
        "1件",
        "電話でフォローする",
        "花子",
        lead.as_str(),
        "2027年3月2日(火) 10:00",
        "<code>call</code>",
    ] {
        assert!(shown.text.contains(expected), "{expected} in {}", shown.text);
    }
    assert!(!shown.text.contains("期限超過"));
    world.pass(TimeDelta::days(2)).await;
    assert!(page(&world, "tasks?for=owner").await.text.contains("期限超過"));
    assert!(!page(&world, "tasks?for=somebody").await.text.contains("電話でフォローする"));
    assert_eq!(page(&world, "tasks?for=Some+body").await.status, 422);

    let done = press(&world, &format!("{}/done?for=owner&", task.task_id), "text/html").await;
    assert_eq!((done.status, done.location.as_deref()), (303, Some("/console/tasks?for=owner")));
    assert!(page(&world, "tasks").await.text.contains("未完了のタスクはありません"));
    let first = world.tables().task(&task.task_id).await.unwrap().unwrap();
    assert_eq!((first.done_at, first.given_to), (Some(world.now()), owner));

    world.pass(TimeDelta::hours(1)).await;
    let again = press(&world, &format!("{}/done?", task.task_id), "application/json").await;
    assert_eq!((again.status, again.json()["done_at"].as_str()), (200, Some("2027-03-03T01:00:00.000Z")));
    assert_eq!(press(&world, "t-none/done?", "application/json").await.status, 404);
}

#[tokio::test]
async fn the_leads_page_tells_notices_from_mail_to_her() {
    let world = World::with(&Draft::new().transactional("welcome", STEPS)).await;
    let lead_id = world.opt_in_with("hanako@example.com", json!({})).await;
    let shown = page(&world, &format!("leads/{lead_id}")).await;
    assert_eq!(shown.status, 200);
    for expected in ["チームへの通知", "登録がありました", "宛先: 店主", "tell 実行済み", "完了"]
    {
        assert!(shown.text.contains(expected), "{expected} in {}", shown.text);
    }
}

#[tokio::test]
async fn a_score_can_be_asked_for_on_an_earlier_day() {
    let rules = "[[behaviour]]\non = { page = \"pricing\" }\npoints = 10\n\n[[bands]]\nid = \"cold\"\nname = \"冷\"\nfrom = 0\n\n[[bands]]\nid = \"hot\"\nname = \"熱\"\nfrom = 20\n";
    let world = World::with(&Draft::new().file("scores.toml", rules)).await;
    let lead_id = world.opt_in_with("hanako@example.com", json!({})).await;
    world.see("pricing").await;
    world.until("2027-03-01T15:00:00Z").await;
    world.see("pricing").await;
    for (query, total, band) in
        [("", 20, "熱"), ("?score_on=2027-03-01", 10, "冷"), ("?score_on=2027-02-28", 0, "冷")]
    {
        let shown = page(&world, &format!("leads/{lead_id}{query}")).await.text;
        let score = format!("<strong class=\"total\">{total}</strong> <span class=\"mark\">{band}</span>");
        assert!(shown.contains(&score), "{query}: {shown}");
    }
    for day in ["2027-03-03", "soon"] {
        assert_eq!(page(&world, &format!("leads/{lead_id}?score_on={day}")).await.status, 422, "{day}");
    }
}
