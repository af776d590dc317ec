//! Work that is lost on the way is found again.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use chrono::TimeDelta;
use domain::{broadcast::BroadcastState, engagement::EngagementState, id::Id};
use michi::faults::{Failure, Saboteur, Verdict, Way};
use serde_json::json;

use crate::{console_tasks::STEPS, draft::Draft, world::World};

/// Loses everything that comes this way.
pub(crate) fn loses(lost: Way) -> Saboteur {
    Saboteur {
        before: Arc::new(|_| Box::pin(async { Verdict::Pass })),
        after: Arc::new(|_, _, _| {}),
        copies: Arc::new(move |way| match way {
            way if way == lost => vec![],
            Way::DeletedSchedule => vec![],
            _ => vec![TimeDelta::zero()],
        }),
    }
}

/// Ends a function at a call: with the call made, or without.
pub(crate) fn ends_at(function: &'static str, operation: &'static str, done: bool) -> Saboteur {
    Saboteur {
        before: Arc::new(move |call| {
            let here = call.function == function && call.operation == operation;
            Box::pin(async move { if here { Verdict::Crash { done } } else { Verdict::Pass } })
        }),
        ..loses(Way::DeletedSchedule)
    }
}

#[tokio::test]
async fn a_lost_timer_costs_the_time_until_a_sweep_and_no_mail() {
    let world = World::new().await;
    world.opt_in("hanako@example.com").await;
    world.until("2027-03-01T20:00:00Z").await;
    world.cloud.sabotage(Some(loses(Way::Schedule)));
    world.until("2027-03-01T22:10:00Z").await;
    assert_eq!(world.way_of("hanako@example.com").len(), 1, "day 1 was due at 22:00, and is lost");
    world.cloud.sabotage(None);
    world.until("2027-03-01T23:10:00Z").await;
    assert_eq!(world.way_of("hanako@example.com")[1..], ["03-02 08:09 nurture/day-1"]);
    world.until("2027-03-02T23:00:00Z").await;
    assert_eq!(world.way_of("hanako@example.com")[2..], ["03-03 07:00 nurture/day-2"], "and on as ever");
}

#[tokio::test]
async fn nobody_is_swept_up_who_is_not_lost() {
    let world = World::new().await;
    for n in 0..3 {
        world.opt_in(&format!("lead{n}@example.com")).await;
    }
    world.until("2027-03-03T21:59:00Z").await;
    for order in [json!({"sweep": true}), json!({})] {
        let report = world.invoke("nightly-aggregation", order).await.unwrap();
        assert_eq!(report["swept"], json!({"steps": 0, "broadcasts": 0}));
    }
}

#[tokio::test]
async fn a_claim_whose_sender_stopped_and_whose_person_has_left_ends_as_a_doubt_that_is_counted() {
    for (operation, done) in [("SendEmail", true), ("SendEmail", false), ("TransactWriteItems", true)] {
        let mut world = World::new().await;
        let lead_id = world.opt_in("hanako@example.com").await;
        world.until("2027-03-01T21:59:00Z").await;
        world.cloud.sabotage(Some(ends_at("delivery", operation, done)));
        world.until("2027-03-01T22:00:30Z").await;
        world.cloud.sabotage(None);
        let row = || async {
            let rows = world.tables().engagements(&lead_id).await.unwrap();
            rows.into_iter().find(|row| row.email_campaign_id == "nurture/day-1").unwrap()
        };
        let token = world.links.sign(web::link::Purpose::Unsubscribe, &lead_id, None, world.now());
        let left = world.send("POST", &format!("/unsubscribe?t={token}"), &[], "").await;
        assert_eq!(left.status, 200);
        world.pass(TimeDelta::hours(2)).await;
        let sent = operation == "SendEmail" && done;
        let expected = if sent { EngagementState::Sent } else { EngagementState::Unknown };
        assert_eq!(row().await.state, expected, "{operation} {done}: SES's own event tells of a sent one");
        let figures = world.figures("2027-03-02").await;
        let counted = (figures["mails_sent"].clone(), figures["mails_unknown"].clone());
        let expected = if sent { (json!(1), json!(0)) } else { (json!(0), json!(1)) };
        assert_eq!(counted, expected, "{operation} {done}");
        assert_eq!(world.dead_letters(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_claim_whose_sender_stopped_ends_as_a_doubt_also_where_its_step_is_passed_over_or_gone() {
    let reminder = "entry = [\"opted_in\"]\nanchor = \"fair\"\n\n[[steps]]\nid = \"hour\"\nsend = \"hour\"\nwhen = \"-1h\"\n";
    let other = "entry = [{ fact = \"cart-updated\" }]\n\n[[steps]]\nid = \"a\"\nsend = \"hour\"\n";
    for (what, late, edit) in [
        ("what it announces begins meanwhile", TimeDelta::minutes(59), None),
        ("the sequence is gone", TimeDelta::zero(), Some(Draft::new().sequence("other", other))),
    ] {
        let mut world = World::with(&Draft::new().transactional("fair", reminder)).await;
        let lead_id = world.opt_in_with("hanako@example.com", json!({})).await;
        world.until("2027-03-20T09:59:00Z").await;
        world.cloud.sabotage(Some(Saboteur {
            copies: Arc::new(move |way| match way {
                Way::Schedule => vec![late],
                Way::DeletedSchedule => vec![],
                _ => vec![TimeDelta::zero()],
            }),
            ..ends_at("delivery", "SendEmail", false)
        }));
        world.until("2027-03-20T10:00:30Z").await;
        world.pass(late).await;
        world.cloud.sabotage(None);
        let states = || async {
            let rows = world.tables().engagements(&lead_id).await.unwrap();
            rows.into_iter().map(|row| row.state).collect::<Vec<_>>()
        };
        assert_eq!(states().await, [EngagementState::Claimed], "{what}");
        if let Some(edit) = edit {
            world.deploy(&edit).await;
        }
        world.pass(TimeDelta::hours(2)).await;
        assert_eq!(states().await, [EngagementState::Unknown], "{what}");
        assert_eq!(world.figures("2027-03-20").await["mails_unknown"], 1, "{what}");
        assert_eq!(world.dead_letters(), Vec::<String>::new(), "{what}");
    }
}

#[tokio::test]
async fn a_claim_of_a_step_that_was_taken_at_once_after_another_ends_too_when_its_person_has_left() {
    let world = World::with(&Draft::new().sequence("nurture", STEPS)).await;
    world.cloud.sabotage(Some(ends_at("delivery", "SendEmail", false)));
    let lead_id = world.opt_in_with("hanako@example.com", json!({})).await;
    world.cloud.sabotage(None);
    let token = world.links.sign(web::link::Purpose::Unsubscribe, &lead_id, None, world.now());
    assert_eq!(world.send("POST", &format!("/unsubscribe?t={token}"), &[], "").await.status, 200);
    let states = || async {
        let rows = world.tables().engagements(&lead_id).await.unwrap();
        rows.into_iter().map(|row| row.state).collect::<Vec<_>>()
    };
    assert_eq!(states().await, [EngagementState::Claimed]);
    world.pass(TimeDelta::hours(1)).await;
    assert_eq!(states().await, [EngagementState::Unknown], "the message was about the step before");
}

#[tokio::test]
async fn a_delivery_proves_a_send_of_which_all_other_word_was_lost() {
    for (what, refused, known) in [
        ("at once", 0, "2027-03-02T01:01:00Z"),
        ("when the fact does not get through at first", 1, "2027-03-02T01:30:00Z"),
    ] {
        let world = World::new().await;
        let lead_id = world.opt_in("hanako@example.com").await;
        world.until("2027-03-01T21:59:00Z").await;
        // The answer to the send is lost, and then SES's first event, which is the send's.
        let (news, facts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        world.cloud.sabotage(Some(Saboteur {
            before: Arc::new(move |call| {
                let verdict = match (call.function.as_str(), call.operation.as_str()) {
                    (_, "SendEmail") => Verdict::After(Failure::NoAnswer),
                    ("email-event", "PutItem") if facts.fetch_add(1, Ordering::SeqCst) < refused => {
                        Verdict::Before(Failure::Conflict)
                    }
                    _ => Verdict::Pass,
                };
                Box::pin(async move { verdict })
            }),
            copies: Arc::new(move |way| match way {
                Way::MailEvent if news.fetch_add(1, Ordering::SeqCst) == 0 => vec![],
                Way::MailEvent => vec![TimeDelta::hours(3)],
                Way::DeletedSchedule => vec![],
                _ => vec![TimeDelta::zero()],
            }),
            ..loses(Way::DeletedSchedule)
        }));
        let state = || async {
            let rows = world.tables().engagements(&lead_id).await.unwrap();
            rows.into_iter().find(|row| row.email_campaign_id == "nurture/day-1").unwrap().state
        };
        world.until("2027-03-01T22:10:00Z").await;
        assert_eq!(state().await, EngagementState::Unknown, "{what}");
        world.until(known).await;
        assert_eq!(state().await, EngagementState::Sent, "{what}");
        world.pass(TimeDelta::hours(1)).await;
        world.cloud.sabotage(None);
        let figures = world.figures("2027-03-02").await;
        assert_eq!((&figures["mails_sent"], &figures["mails_delivered"]), (&json!(1), &json!(1)), "{what}");
    }
}

#[tokio::test]
async fn a_broadcast_whose_next_page_was_lost_goes_on() {
    let draft = Draft::new()
        .mail("news", "topics = [\"news\"]", "新しい品が入りました。\n\n[見る]({{ download_url }})\n")
        .file("broadcasts/spring.toml", "name = \"春のご案内\"\nmail = \"news\"\n");
    let world = World::with(&draft).await;
    world.opt_in_with("hanako@example.com", json!({})).await;
    world.cloud.sabotage(Some(ends_at("console", "SendMessage", false)));
    let t = world.links.sign_console(world.now());
    let answer = world.post(&format!("/console/broadcasts/spring?t={t}"), &json!({"command": "plan"})).await;
    assert_eq!(answer.status, 500, "it was written down, and the work for it was not queued");
    world.cloud.sabotage(None);
    let state =
        || async { world.tables().broadcast(&Id::parse("spring").unwrap()).await.unwrap().unwrap().state };
    assert_eq!(state().await, BroadcastState::Planning);
    world.pass(TimeDelta::hours(3)).await;
    assert_eq!(state().await, BroadcastState::Planned);
}

#[tokio::test]
async fn a_claim_of_a_messages_last_try_ends_also_if_the_person_leaves_before_anybody_looks() {
    let at_once = "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"one\"\nsend = \"one\"\n";
    let mut world = World::with(&Draft::new().sequence("welcome", at_once)).await;
    let begun = Arc::new(AtomicUsize::new(0));
    let seen = begun.clone();
    // Four times its function ends at once; the fifth time, with the mail claimed.
    world.cloud.sabotage(Some(Saboteur {
        before: Arc::new(move |call| {
            let verdict = match (call.function.as_str(), call.number, call.operation.as_str()) {
                ("delivery", 1, _) if seen.fetch_add(1, Ordering::SeqCst) < 4 => {
                    Verdict::Crash { done: false }
                }
                ("delivery", _, "SendEmail") => Verdict::Crash { done: false },
                _ => Verdict::Pass,
            };
            Box::pin(async move { verdict })
        }),
        ..loses(Way::DeletedSchedule)
    }));
    let lead_id = world.opt_in_with("hanako@example.com", json!({})).await;
    world.pass(TimeDelta::minutes(16)).await;
    world.cloud.sabotage(None);
    assert_eq!(begun.load(Ordering::SeqCst), 5);
    assert_eq!(world.dead_letters().len(), 1);
    let token = world.token(web::link::Purpose::Unsubscribe, &lead_id);
    assert_eq!(world.post("/unsubscribe", &json!({"t": token})).await.status, 200);
    world.pass(TimeDelta::minutes(10)).await;
    let row = world.tables().engagements(&lead_id).await.unwrap().remove(0);
    assert_eq!(row.state, EngagementState::Unknown, "{row:?}");
    assert_eq!(world.figures("2027-03-01").await["mails_unknown"], 1);
}

#[tokio::test]
async fn a_notice_whose_sender_stopped_and_whose_reader_left_the_team_is_a_doubt() {
    let with_owner = Draft::new().sequence("nurture", STEPS);
    let world = World::with(&with_owner).await;
    world.cloud.sabotage(Some(ends_at("delivery", "SendEmail", false)));
    let lead_id = world.opt_in_with("hanako@example.com", json!({})).await;
    world.cloud.sabotage(None);
    let without = with_owner.replace("sequences/nurture.toml", "for = \"owner\"", "for = \"clerk\"").replace(
        "funnel.toml",
        "id = \"owner\"",
        "id = \"clerk\"",
    );
    world.deploy(&without).await;
    world.pass(TimeDelta::hours(1)).await;
    let row = world.tables().engagements(&lead_id).await.unwrap().remove(0);
    assert_eq!(row.state, EngagementState::Unknown, "{row:?}");
}
