use chrono::TimeDelta;
use domain::engagement::EngagementState;
use serde_json::{Value, json};

use crate::world::World;

/// Gives a function each event that it gets once more, after a while.
fn stutter(world: &World, function: &'static str) -> std::sync::Arc<std::sync::Mutex<Vec<Value>>> {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
    let (log, inner) = (seen.clone(), world.cloud.handler(function).unwrap());
    world.cloud.register(
        function,
        std::sync::Arc::new(move |event: Value| {
            log.lock().unwrap().push(event.clone());
            inner(event)
        }),
    );
    seen
}

#[tokio::test]
async fn every_event_delivered_twice_changes_nothing() {
    let world = World::new().await;
    let functions = ["relay", "delivery", "email-event"];
    let logs = functions.map(|function| stutter(&world, function));
    let lead_id = world.opt_in("hanako@example.com").await;
    world.book(&lead_id, "2027-03-05").await;
    world.buy(&lead_id, "vip").await;
    world.until("2027-03-12T00:00:00Z").await;
    let (way, figures) = (world.way_of("hanako@example.com"), world.figures("2027-03-01").await);
    for (function, log) in functions.iter().zip(&logs) {
        let events = log.lock().unwrap().clone();
        assert!(events.len() > 3, "{function} was hardly used");
        for event in events {
            world.invoke(function, event).await.unwrap();
        }
    }
    world.pass(TimeDelta::days(3)).await;
    assert_eq!(world.way_of("hanako@example.com"), way);
    assert_eq!(world.figures("2027-03-01").await, figures);
}

#[tokio::test]
async fn a_sender_that_stopped_after_its_claim_is_found_out_and_the_sequence_goes_on() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    // As if delivery had claimed day 1 and then died: the row is there, the mail is not.
    let tables = world.tables();
    let enrolment = tables.enrolment(&lead_id, "nurture").await.unwrap().unwrap();
    let step = enrolment.step.clone().unwrap();
    let row: domain::engagement::Engagement = serde_json::from_value(json!({
        "lead_id": lead_id, "engagement_id": enrolment.engagement_id(&step), "email_campaign_id": "nurture/day-1", "class": "marketing",
        "state": "claimed", "attempt": 1, "claimed_at": "2027-03-01T21:59:50Z", "opened": false, "clicked": false
    }))
    .unwrap();
    let lead = world.lead(&lead_id).await;
    tables.claim(&row, &lead, None).await.unwrap();
    world.until("2027-03-02T23:00:00Z").await;
    let row = tables.engagement(&lead_id, &row.engagement_id).await.unwrap().unwrap();
    assert_eq!(
        (row.state, row.reason.as_deref()),
        (EngagementState::Unknown, Some("its sender stopped before it heard from SES"))
    );
    world.until("2027-03-02T23:00:00Z").await;
    world.until("2027-03-03T00:00:00Z").await;
    assert_eq!(
        world.way_of("hanako@example.com"),
        ["03-01 10:00 welcome/welcome", "03-03 07:00 nurture/day-2"],
        "never sent on a doubt, and nobody stays behind"
    );
}

#[tokio::test]
async fn a_timer_that_fires_for_nothing_changes_nothing() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    let body = |step: &str, generation: u32| {
        json!({"lead_id": lead_id, "enrolment_id": "nurture", "generation": generation, "step": step, "hops": 0}).to_string()
    };
    let generation = world.tables().enrolment(&lead_id, "nurture").await.unwrap().unwrap().generation;
    for (n, body) in
        [body("day-1", generation), body("day-5", generation), body("day-1", 3), body("nothing", generation)]
            .into_iter()
            .enumerate()
    {
        let event =
            json!({"Records": [{"messageId": n.to_string(), "body": body, "eventSource": "aws:sqs"}]});
        let answer = world.invoke("delivery", event).await.unwrap();
        assert_eq!(answer["batchItemFailures"], json!([]));
    }
    assert_eq!(world.way_of("hanako@example.com"), ["03-01 10:00 welcome/welcome"]);
    world.until("2027-03-02T00:00:00Z").await;
    assert_eq!(world.way_of("hanako@example.com").len(), 2, "and the right one still comes, once");
}

#[tokio::test]
async fn two_opt_ins_of_one_person_at_once_make_one_lead() {
    let world = World::new().await;
    let body = json!({"email": "hanako@example.com", "consent": true});
    let (a, b) = tokio::join!(world.post("/opt-in", &body), world.post("/opt-in", &body));
    assert_eq!((a.status, b.status), (200, 200));
    assert_eq!(world.mails_to("hanako@example.com").len(), 1);
    assert_eq!(world.figures("2027-03-01").await["opt_ins"], 1);
}
