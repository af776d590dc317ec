//! While SES does not answer, or takes no mail.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use chrono::TimeDelta;
use domain::{
    engagement::{Engagement, EngagementState, STOPPED_SENDER},
    id::Id,
    limits::SILENCE_IN_A_ROW,
};
use michi::faults::{Call, Failure, Saboteur, Verdict, Way};
use serde_json::json;

use crate::{console_tasks::STEPS, draft::Draft, sweep::loses, world::World};

const HANAKO: &str = "hanako@example.com";
const MORNING: &str =
    "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"one\"\nsend = \"one\"\nwhen = \"+1d 07:00\"\n";

const RECEIPT: &str = "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"one\"\nsend = \"receipt\"\n";

/// Calls end as it is said of each.
fn fate(fate: impl Fn(&Call) -> Verdict + Send + Sync + 'static) -> Saboteur {
    Saboteur {
        before: Arc::new(move |call| {
            let verdict = fate(&call);
            Box::pin(async move { verdict })
        }),
        ..loses(Way::DeletedSchedule)
    }
}

fn at_ses(failure: Verdict) -> Saboteur {
    fate(move |call| if call.operation == "SendEmail" { failure } else { Verdict::Pass })
}

async fn states(world: &World, lead_id: &Id) -> Vec<EngagementState> {
    world.tables().engagements(lead_id).await.unwrap().into_iter().map(|row| row.state).collect()
}

/// So many people, a minute before the mail of all of them is due.
async fn before_the_morning(count: usize) -> (World, Vec<Id>) {
    let world = World::with(&Draft::new().sequence("morning", MORNING)).await;
    let mut people = vec![];
    for n in 0..count {
        people.push(world.opt_in_with(&format!("lead{n}@example.com"), json!({})).await);
    }
    world.until("2027-03-01T21:59:00Z").await;
    (world, people)
}

#[tokio::test]
async fn while_ses_answers_nobody_few_mails_come_into_doubt_and_the_others_go_out_later() {
    let (world, people) = before_the_morning(10).await;
    world.cloud.sabotage(Some(at_ses(Verdict::Before(Failure::NoAnswer))));
    world.until("2027-03-01T22:10:00Z").await;
    world.cloud.sabotage(None);
    world.until("2027-03-01T23:00:00Z").await;
    let mut doubts = 0;
    for lead_id in &people {
        match states(&world, lead_id).await[..] {
            [EngagementState::Unknown] => doubts += 1,
            [EngagementState::Sent] => {}
            ref other => panic!("{other:?}"),
        }
    }
    assert_eq!(doubts, SILENCE_IN_A_ROW);
    assert_eq!(world.cloud.mails().len(), people.len() - 3);
}

/// Waits so long for `operation`, and hears nothing.
fn hangs(world: &World, operation: &'static str, seconds: i64) -> Saboteur {
    let clock = world.cloud.clock().clone();
    fate(move |call| match call.operation == operation {
        true => {
            clock.move_to(clock.now() + TimeDelta::seconds(seconds));
            Verdict::Before(Failure::NoAnswer)
        }
        false => Verdict::Pass,
    })
}

#[tokio::test]
async fn while_ses_hangs_no_sender_is_ended_in_the_middle_of_a_mail() {
    let (world, people) = before_the_morning(20).await;
    world.cloud.sabotage(Some(hangs(&world, "SendEmail", 10)));
    world.until("2027-03-01T22:12:00Z").await;
    world.cloud.sabotage(None);
    world.until("2027-03-02T00:30:00Z").await;
    let mut doubts = vec![];
    for lead_id in &people {
        let rows = world.tables().engagements(lead_id).await.unwrap();
        doubts.extend(rows.into_iter().filter(|row| row.state == EngagementState::Unknown));
    }
    assert_eq!(doubts.len(), usize::try_from(SILENCE_IN_A_ROW).unwrap(), "{doubts:?}");
    let stopped = |row: &&Engagement| row.reason.as_deref() == Some(STOPPED_SENDER);
    assert_eq!(doubts.iter().filter(stopped).count(), 0, "{doubts:?}");
    assert_eq!(world.cloud.mails().len(), people.len() - 3);
}

#[tokio::test]
async fn no_fact_is_lost_while_the_relay_can_reach_nothing_for_hours() {
    let at_once = "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"one\"\nsend = \"one\"\n";
    for lacking in ["dynamodb", "sqs"] {
        let world = World::with(&Draft::new().sequence("welcome", at_once)).await;
        world.cloud.sabotage(Some(fate(move |call| {
            match call.function == "relay" && call.service == lacking {
                true => Verdict::Before(Failure::Error),
                false => Verdict::Pass,
            }
        })));
        world.opt_in_with(HANAKO, json!({})).await;
        world.pass(TimeDelta::hours(20)).await;
        world.cloud.sabotage(None);
        world.pass(TimeDelta::hours(1)).await;
        assert_eq!(world.mails_to(HANAKO).len(), 1, "{lacking}");
    }
}

#[tokio::test]
async fn mails_do_not_wait_for_a_bus_that_takes_nothing() {
    let at_once = "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"one\"\nsend = \"one\"\n";
    let mut world = World::with(&Draft::new().sequence("welcome", at_once)).await;
    world.cloud.sabotage(Some(fate(|call| match call.service == "events" {
        true => Verdict::Before(Failure::Error),
        false => Verdict::Pass,
    })));
    let people = ["hanako@example.com", "taro@example.com", "jiro@example.com"];
    for email in people {
        world.opt_in_with(email, json!({})).await;
        world.pass(TimeDelta::hours(1)).await;
        assert_eq!(world.mails_to(email).len(), 1, "{email}");
    }
    world.cloud.sabotage(None);
    let reasons = world.dead_letters();
    assert!(reasons.iter().all(|reason| reason.starts_with("the bus did not take the fact")), "{reasons:?}");
    let put_aside: Vec<String> =
        world.cloud.dead_letters().into_iter().map(|(_, message)| message.body).collect();
    assert_eq!(put_aside.iter().filter(|body| body.contains("opted_in.")).count(), people.len());
}

#[tokio::test]
async fn late_news_of_a_first_try_is_counted_and_says_nothing_of_the_second() {
    let dead = "bounce+1@simulator.amazonses.com";
    // The second try's sender stops before the mail is with SES, hears nothing, or is told to wait.
    let (stopped, unheard) = (Verdict::Crash { done: false }, Verdict::After(Failure::NoAnswer));
    let refused = Verdict::Before(Failure::Throttle);
    for (who, second, ends, bounced) in [
        (HANAKO, stopped, (EngagementState::Unknown, 2), 0),
        (HANAKO, unheard, (EngagementState::Unknown, 2), 0),
        (HANAKO, refused, (EngagementState::Sent, 1), 0),
        (dead, stopped, (EngagementState::Unknown, 2), 1),
        (dead, unheard, (EngagementState::Unknown, 2), 1),
    ] {
        let world = World::with(&Draft::new().transactional("receipt", RECEIPT)).await;
        let tries = Arc::new(AtomicUsize::new(0));
        let seen = tries.clone();
        let clock = world.cloud.clock().clone();
        world.cloud.sabotage(Some(Saboteur {
            // SES's word on the first mail comes while the second is under way; on others never.
            copies: Arc::new(move |way| match way {
                Way::MailEvent if tries.load(Ordering::SeqCst) < 2 => vec![TimeDelta::seconds(185)],
                Way::MailEvent | Way::DeletedSchedule => vec![],
                _ => vec![TimeDelta::zero()],
            }),
            ..fate(move |call| match call.operation.as_str() {
                "SendEmail" => match seen.fetch_add(1, Ordering::SeqCst) {
                    0 => Verdict::After(Failure::NoAnswer),
                    _ => {
                        clock.move_to(clock.now() + TimeDelta::seconds(8));
                        second
                    }
                },
                _ => Verdict::Pass,
            })
        }));
        let lead_id = world.opt_in_with(who, json!({})).await;
        world.pass(TimeDelta::hours(1)).await;
        world.cloud.sabotage(None);
        world.pass(TimeDelta::hours(1)).await;
        let row = world.tables().engagements(&lead_id).await.unwrap().remove(0);
        assert_eq!((row.state, row.attempt), ends, "{who} {second:?}");
        let figures = world.figures("2027-03-01").await;
        let counted = ["mails_sent", "mails_unknown", "mails_bounced"].map(|name| figures[name].as_u64());
        let unknown = u64::from(ends.1);
        assert_eq!(counted, [Some(1), Some(unknown), Some(bounced)], "{who} {second:?}");
    }
}

#[tokio::test]
async fn a_mail_that_is_opened_was_sent_whatever_else_was_lost_of_it() {
    for (draft, at) in [
        (Draft::new().sequence("morning", MORNING), "2027-03-02"),
        (Draft::new().transactional("receipt", RECEIPT), "2027-03-01"),
    ] {
        let world = World::with(&draft).await;
        world.cloud.sabotage(Some(Saboteur {
            copies: Arc::new(|way| match way {
                Way::MailEvent | Way::DeletedSchedule => vec![],
                _ => vec![TimeDelta::zero()],
            }),
            ..at_ses(Verdict::After(Failure::NoAnswer))
        }));
        let lead_id = world.opt_in_with(HANAKO, json!({})).await;
        world.until("2027-03-01T22:30:00Z").await;
        world.cloud.sabotage(None);
        assert_eq!(states(&world, &lead_id).await, [EngagementState::Unknown]);
        world.open(HANAKO, "one").await;
        assert_eq!(states(&world, &lead_id).await, [EngagementState::Sent]);
        assert_eq!(world.figures(at).await["mails_sent"], 1);
    }
}

#[tokio::test]
async fn a_second_try_that_ses_does_not_take_forgets_nothing_of_the_first() {
    for first in [Verdict::After(Failure::NoAnswer), Verdict::Crash { done: true }] {
        let world = World::with(&Draft::new().transactional("receipt", RECEIPT)).await;
        let tries = Arc::new(AtomicUsize::new(0));
        let seen = tries.clone();
        world.cloud.sabotage(Some(Saboteur {
            copies: Arc::new(|way| match way {
                Way::MailEvent => vec![TimeDelta::minutes(10)],
                Way::DeletedSchedule => vec![],
                _ => vec![TimeDelta::zero()],
            }),
            ..fate(move |call| match call.operation.as_str() {
                "SendEmail" => match seen.fetch_add(1, Ordering::SeqCst) {
                    0 => first,
                    _ => Verdict::Before(Failure::Throttle),
                },
                _ => Verdict::Pass,
            })
        }));
        let lead_id = world.opt_in_with(HANAKO, json!({})).await;
        world.pass(TimeDelta::minutes(9)).await;
        assert_eq!(tries.load(Ordering::SeqCst), 2, "{first:?}");
        let row = world.tables().engagements(&lead_id).await.unwrap().remove(0);
        assert_eq!((row.state, row.attempt), (EngagementState::Unknown, 1), "{first:?}");
        assert!(row.reason.is_some(), "{first:?}");
        world.pass(TimeDelta::minutes(2)).await;
        assert_eq!(states(&world, &lead_id).await, [EngagementState::Sent], "SES's word came");
        world.cloud.sabotage(None);
        world.pass(TimeDelta::hours(1)).await;
        assert_eq!(world.way_of(HANAKO).len(), 1, "no third time");
        let figures = world.figures("2027-03-01").await;
        assert_eq!((&figures["mails_sent"], &figures["mails_unknown"]), (&json!(1), &json!(1)), "{first:?}");
    }
}

/// The first call of `operation` that delivery makes after SES's answer was lost fails in that way.
fn loses_the_answer_and_then(operation: &'static str, failure: Verdict) -> Saboteur {
    let failed = Arc::new(AtomicUsize::new(0));
    let asked = Arc::new(AtomicUsize::new(0));
    fate(move |call| match (call.function.as_str(), call.operation.as_str()) {
        ("delivery", "SendEmail") if asked.fetch_add(1, Ordering::SeqCst) == 0 => {
            Verdict::After(Failure::NoAnswer)
        }
        ("delivery", named)
            if named == operation
                && asked.load(Ordering::SeqCst) > 0
                && failed.fetch_add(1, Ordering::SeqCst) == 0 =>
        {
            failure
        }
        _ => Verdict::Pass,
    })
}

#[tokio::test]
async fn a_doubt_is_counted_also_if_its_own_note_or_its_fact_did_not_get_through_at_once() {
    for (operation, failure) in [
        ("UpdateItem", Verdict::After(Failure::Error)),
        ("PutItem", Verdict::Before(Failure::Conflict)),
        ("PutItem", Verdict::After(Failure::NoAnswer)),
    ] {
        let marketing = Draft::new().sequence("morning", MORNING);
        let transactional = Draft::new().transactional("receipt", RECEIPT);
        for (draft, at, sent, ends) in [
            (marketing, "2027-03-02", 0, EngagementState::Unknown),
            (transactional, "2027-03-01", 1, EngagementState::Sent),
        ] {
            let world = World::with(&draft).await;
            world.cloud.sabotage(Some(Saboteur {
                // The first mail's own word never comes.
                copies: Arc::new(|way| match way {
                    Way::MailEvent | Way::DeletedSchedule => vec![],
                    _ => vec![TimeDelta::zero()],
                }),
                ..loses_the_answer_and_then(operation, failure)
            }));
            let lead_id = world.opt_in_with(HANAKO, json!({})).await;
            world.until("2027-03-01T22:30:00Z").await;
            world.cloud.sabotage(None);
            assert_eq!(states(&world, &lead_id).await, [ends], "{operation} {failure:?}");
            world.pass(TimeDelta::days(1)).await;
            let figures = world.figures(at).await;
            assert_eq!(
                (&figures["mails_sent"], &figures["mails_unknown"]),
                (&json!(sent), &json!(1)),
                "{operation} {failure:?}"
            );
        }
    }
}

#[tokio::test]
async fn of_two_mails_of_one_instant_the_one_that_ses_did_not_take_leaves_the_others_count() {
    let also = MORNING.replace("one", "two");
    let capped = || Draft::new().config("[sending]\ncap = { mails = 2, days = 7 }").sequence("a", MORNING);
    for (draft, counted) in [(capped().sequence("b", &also), 2), (capped().transactional("b", &also), 1)] {
        // Whichever of them comes first.
        for refused in 0..2 {
            let world = World::with(&draft).await;
            let lead_id = world.opt_in_with(HANAKO, json!({})).await;
            let asked = Arc::new(AtomicUsize::new(0));
            let seen = asked.clone();
            world.cloud.sabotage(Some(fate(move |call| match call.operation.as_str() {
                "SendEmail" if seen.fetch_add(1, Ordering::SeqCst) == refused => {
                    Verdict::Before(Failure::Throttle)
                }
                _ => Verdict::Pass,
            })));
            world.until("2027-03-01T22:05:00Z").await;
            assert_eq!((asked.load(Ordering::SeqCst), world.mails_to(HANAKO).len()), (2, 1));
            let sent = &world.mails_to(HANAKO)[0].tags["sequence"];
            let marketing = usize::from(counted == 2 || sent == "a");
            assert_eq!(world.lead(&lead_id).await.recent_mails.len(), marketing, "{sent} was sent");
            world.pass(TimeDelta::hours(1)).await;
            assert_eq!(world.mails_to(HANAKO).len(), 2);
            assert_eq!(world.lead(&lead_id).await.recent_mails.len(), counted);
        }
    }
}

#[tokio::test]
async fn a_notice_to_the_team_waits_while_ses_takes_no_mail() {
    let world = World::with(&Draft::new().sequence("nurture", STEPS)).await;
    world.cloud.sabotage(Some(at_ses(Verdict::Before(Failure::Throttle))));
    world.opt_in_with(HANAKO, json!({})).await;
    world.pass(TimeDelta::hours(2)).await;
    assert!(world.cloud.mails().is_empty());
    world.cloud.sabotage(None);
    world.pass(TimeDelta::minutes(16)).await;
    assert_eq!(world.mails_to("owner@shop.example.com").len(), 1, "and nothing is in the dead letters");
}
