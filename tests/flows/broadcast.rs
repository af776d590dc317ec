//! Broadcasts: counted, started, paused and resumed in the console; everybody gets one once.

use std::sync::Arc;

use chrono::TimeDelta;
use domain::{
    broadcast::{Broadcast, BroadcastState},
    id::Id,
};
use michi::faults::{Saboteur, Verdict, Way};
use serde_json::{Value, json};
use web::link::Purpose;

use crate::{
    draft::Draft,
    sweep::loses,
    world::{Answer, World},
};

fn shop(broadcast: &str) -> Draft {
    Draft::new()
        .mail("news", "topics = [\"news\"]", "新しい品が入りました。\n\n[見る]({{ download_url }})\n")
        .file(
            "segments.toml",
            "[[segments]]\nid = \"it\"\nname = \"IT業界\"\nif = 'attribute.industry == \"IT\"'\n",
        )
        .file("broadcasts/spring.toml", &format!("name = \"春のご案内\"\nmail = \"news\"\n{broadcast}\n"))
}

async fn page(world: &World) -> String {
    world
        .get(&format!("/console/broadcasts?t={}", world.links.sign_console(world.now())))
        .await
        .text
        .replace("&#x2f;", "/")
}

async fn command(world: &World, command: &str) -> Answer {
    let t = world.links.sign_console(world.now());
    world.post(&format!("/console/broadcasts/spring?t={t}"), &json!({"command": command})).await
}

async fn row(world: &World) -> Broadcast {
    world.tables().broadcast(&Id::parse("spring").unwrap()).await.unwrap().unwrap()
}

/// How many broadcasts each of these people got.
fn got(world: &World, people: &[&str]) -> Vec<usize> {
    people.iter().map(|email| world.way_of(email).len()).collect()
}

#[tokio::test]
async fn a_plan_says_who_gets_it_and_a_start_sends_it_once() {
    let world = World::with(&shop("segment = \"it\"")).await;
    let in_it = json!({"attributes": {"industry": "IT"}});
    world.opt_in_with("hanako@example.com", in_it.clone()).await;
    world.opt_in_with("taro@example.com", json!({"attributes": {"industry": "金融"}})).await;
    let left = world.opt_in_with("jiro@example.com", in_it).await;
    let t = world.token(Purpose::Unsubscribe, &left);
    assert_eq!(world.post("/unsubscribe", &json!({"t": t})).await.status, 200);
    let people = ["hanako@example.com", "taro@example.com", "jiro@example.com"];

    let before = page(&world).await;
    for expected in ["春のご案内", "IT業界", "未集計", "対象を集計する"] {
        assert!(before.contains(expected), "{expected} in {before}");
    }
    let refused = command(&world, "start").await;
    let expected = "plan it first: then it is known who will get it";
    assert_eq!((refused.status, refused.json()["detail"].as_str()), (409, Some(expected)));

    assert_eq!(command(&world, "plan").await.json()["state"], "planning");
    let planned = row(&world).await;
    assert_eq!((planned.state, planned.planned, planned.queued), (BroadcastState::Planned, 1, 0));
    let shown = page(&world).await;
    for expected in
        ["セグメントの対象外: 1人", "配信停止中のため: 1人", "1人への配信を開始する", "集計し直す"]
    {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
    assert_eq!(got(&world, &people), [0, 0, 0], "a plan sends nothing");

    assert_eq!(command(&world, "start").await.json()["state"], "sending");
    let done = row(&world).await;
    assert_eq!((done.state, done.queued), (BroadcastState::Done, 1));
    assert_eq!(got(&world, &people), [1, 0, 0]);
    let shown = page(&world).await;
    assert!(shown.contains("1 / 1人") && !shown.contains("name=\"command\""), "{shown}");
    for again in ["plan", "start", "pause", "resume"] {
        assert_eq!(command(&world, again).await.status, 409, "{again}");
    }
    world.pass(TimeDelta::days(1)).await;
    assert_eq!(got(&world, &people), [1, 0, 0]);
}

#[tokio::test]
async fn a_paused_broadcast_goes_on_where_it_stood() {
    let world = World::with(&shop("per_hour = 60")).await;
    let people = ["hanako@example.com", "taro@example.com", "jiro@example.com"];
    for email in people {
        world.opt_in_with(email, json!({})).await;
    }
    command(&world, "plan").await;
    assert_eq!(row(&world).await.planned, 3);
    command(&world, "start").await;
    assert_eq!(got(&world, &people).iter().sum::<usize>(), 1, "one a minute");
    assert_eq!(command(&world, "pause").await.json()["state"], "paused");
    world.pass(TimeDelta::hours(1)).await;
    assert_eq!(got(&world, &people).iter().sum::<usize>(), 1);
    assert!(page(&world).await.contains("1 / 3人"));
    assert_eq!(command(&world, "resume").await.json()["state"], "sending");
    world.pass(TimeDelta::minutes(5)).await;
    assert_eq!(got(&world, &people), [1, 1, 1]);
    assert_eq!(row(&world).await.state, BroadcastState::Done);
}

#[tokio::test]
async fn a_slow_broadcast_is_no_faster_than_it_was_told() {
    for (per_hour, expected) in [(10, 10), (61, 60), (120, 120)] {
        let world = World::with(&shop(&format!("per_hour = {per_hour}"))).await;
        for n in 0..130 {
            world.opt_in_with(&format!("lead{n}@example.com"), json!({})).await;
        }
        command(&world, "plan").await;
        command(&world, "start").await;
        world.pass(TimeDelta::seconds(3_599)).await;
        assert_eq!(world.cloud.mails().len(), expected, "{per_hour} an hour");
    }
}

#[tokio::test]
async fn a_page_of_a_broadcast_that_takes_too_long_is_turned_all_the_same() {
    let world = World::with(&shop("")).await;
    let people = 12;
    for n in 0..people {
        world.opt_in_with(&format!("lead{n}@example.com"), json!({})).await;
    }
    command(&world, "plan").await;
    // Every call takes two seconds: the whole page would take longer than the function may run.
    let clock = world.cloud.clock().clone();
    world.cloud.sabotage(Some(Saboteur {
        before: Arc::new(move |call| {
            if call.function == "delivery" {
                clock.move_to(clock.now() + TimeDelta::seconds(2));
            }
            Box::pin(async { Verdict::Pass })
        }),
        ..loses(Way::DeletedSchedule)
    }));
    command(&world, "start").await;
    world.pass(TimeDelta::hours(2)).await;
    world.cloud.sabotage(None);
    assert_eq!((row(&world).await.state, row(&world).await.queued), (BroadcastState::Done, people));
    world.pass(TimeDelta::hours(2)).await;
    assert_eq!(world.cloud.mails().len(), usize::try_from(people).unwrap());
}

#[tokio::test]
async fn what_cant_be_done_is_told_in_words() {
    let world = World::with(&shop("")).await;
    let t = world.links.sign_console(world.now());
    let press = async |path: &str, body: &str| {
        let headers = [("accept", "text/html"), ("content-type", "application/x-www-form-urlencoded")];
        world.send("POST", &format!("/console/broadcasts/{path}?t={t}"), &headers, body.to_owned()).await
    };
    for (path, body, status, words) in [
        ("spring", "command=pause", 409, "配信中ではないため、一時停止できません。"),
        ("spring", "command=stop", 422, "plan（集計）"),
        ("spring", "", 422, "plan（集計）"),
        ("autumn", "command=plan", 404, "この一斉配信はファネルにありません。"),
    ] {
        let told = press(path, body).await;
        assert!(told.status == status && told.text.contains(words), "{path} {body}: {told:?}");
    }
    let taken = press("spring", "command=plan").await;
    assert_eq!((taken.status, taken.location.as_deref()), (303, Some("/console/broadcasts")));
    let refused: Value = command(&world, "nothing").await.json();
    assert_eq!(refused["errors"][0]["message"], "must be one of plan, start, pause, resume");
}
