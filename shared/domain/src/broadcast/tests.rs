use super::*;
use crate::samples::{at, id};
use BroadcastCommand::{Pause, Plan, Resume, Start};
use BroadcastState::{Done, Paused, Planned, Planning, Sending};

const NOW: &str = "2026-11-22T01:00:00Z";

/// One that has been at work: people counted, some of them handed over.
fn broadcast(state: BroadcastState) -> Broadcast {
    Broadcast {
        broadcast_id: id("year-end"),
        state,
        version: 7,
        after: Some(id("l-500")),
        planned: 900,
        excluded: excluded_people(&[("the person is unsubscribed", 20)]),
        queued: 500,
        changed_at: at("2026-11-21T01:00:00Z"),
    }
}

fn excluded_people(reasons: &[(&str, u64)]) -> BTreeMap<String, u64> {
    reasons.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
}

fn follow(known: Option<Broadcast>, command: BroadcastCommand) -> Result<Broadcast, BroadcastError> {
    Broadcast::follow(known, &id("year-end"), command, at(NOW))
}

#[test]
fn every_command_is_followed_or_refused_in_every_state() {
    use BroadcastError as E;
    for (state, plan, start, pause, resume) in [
        (None, Ok(Planning), Err(E::NotPlanned), Err(E::NotSending), Err(E::NotPaused)),
        (Some(Planning), Ok(Planning), Err(E::NotPlanned), Err(E::NotSending), Err(E::NotPaused)),
        (Some(Planned), Ok(Planning), Ok(Sending), Err(E::NotSending), Err(E::NotPaused)),
        (Some(Sending), Err(E::Sending), Err(E::Sending), Ok(Paused), Err(E::NotPaused)),
        (Some(Paused), Err(E::Paused), Err(E::Paused), Err(E::NotSending), Ok(Sending)),
        (Some(Done), Err(E::Done), Err(E::Done), Err(E::NotSending), Err(E::NotPaused)),
    ] {
        for (command, expected) in [(Plan, plan), (Start, start), (Pause, pause), (Resume, resume)] {
            let after = follow(state.map(broadcast), command);
            assert_eq!(
                after.as_ref().map(|row| row.state).map_err(|error| *error),
                expected,
                "{command:?} {state:?}"
            );
            let Ok(after) = after else { continue };
            // Whatever was under way for the earlier version finds itself outdated.
            assert_eq!(after.version, state.map_or(1, |_| 8), "{command:?} {state:?}");
            assert_eq!((after.broadcast_id.as_str(), after.changed_at), ("year-end", at(NOW)));
            let works = matches!(after.state, Planning | Sending);
            assert_eq!(after.tick().map(|tick| tick.version), works.then_some(after.version));
        }
    }
}

#[test]
fn planning_counts_anew_starting_begins_anew_and_resuming_goes_on() {
    let planned = follow(Some(broadcast(Planned)), Plan).unwrap();
    assert_eq!(
        (planned.after, planned.planned, planned.excluded, planned.queued),
        (None, 0, BTreeMap::new(), 0)
    );
    let started = follow(Some(broadcast(Planned)), Start).unwrap();
    assert_eq!((started.after, started.planned), (None, 900));
    let paused = follow(Some(broadcast(Sending)), Pause).unwrap();
    let resumed = follow(Some(paused), Resume).unwrap();
    assert_eq!((resumed.after, resumed.queued, resumed.version), (Some(id("l-500")), 500, 9));
}

#[test]
fn pages_of_people_add_up() {
    let mut row = follow(None, Plan).unwrap();
    let pages = [
        (Some("l-100"), 90, vec![("unsubscribed", 10)]),
        (Some("l-200"), 95, vec![("unsubscribed", 2), ("topic", 3)]),
        (None, 40, vec![("topic", 1)]),
    ];
    for (number, (last, taken, excluded)) in (2..).zip(pages.clone()) {
        assert_eq!(row.state, Planning);
        row = row.turned(last.map(id), taken, excluded_people(&excluded), at(NOW));
        assert_eq!((row.after.as_ref(), row.version), (last.map(id).as_ref(), number));
    }
    assert_eq!((row.state, row.planned, row.queued), (Planned, 225, 0));
    assert_eq!(row.excluded, excluded_people(&[("topic", 4), ("unsubscribed", 12)]));
    assert_eq!(row.tick(), None);

    let mut row = follow(Some(row), Start).unwrap();
    for (last, taken, excluded) in pages {
        assert_eq!(row.state, Sending);
        row = row.turned(last.map(id), taken, excluded_people(&excluded), at(NOW));
    }
    assert_eq!((row.state, row.queued, row.planned), (Done, 225, 225));
    // The plan says who does not get it; sending does not count them again.
    assert_eq!(row.excluded, excluded_people(&[("topic", 4), ("unsubscribed", 12)]));
    assert_eq!(row.tick(), None);
}

#[test]
fn a_tick_of_an_earlier_version_is_not_the_present_one() {
    let sending = broadcast(Sending);
    let tick = sending.tick().unwrap();
    assert_eq!(tick, BroadcastTick { broadcast: id("year-end"), version: 7 });
    let turned = sending.clone().turned(Some(id("l-600")), 1, BTreeMap::new(), at(NOW));
    let paused = follow(Some(sending.clone()), Pause).unwrap();
    let resumed = follow(Some(paused.clone()), Resume).unwrap();
    for (what, later) in [("turned", turned), ("paused", paused), ("resumed", resumed)] {
        assert_ne!(later.tick(), Some(tick.clone()), "{what}");
    }
    assert_eq!(sending.tick(), Some(tick.clone()), "a tick that comes back unfinished goes on");
    let stored = serde_json::to_value(&tick).unwrap();
    assert_eq!(serde_json::from_value::<BroadcastTick>(stored).unwrap(), tick);
    // It is told from a due step, which waits in the same queue.
    assert!(
        serde_json::from_str::<crate::sequence::DueStep>(r#"{"broadcast":"year-end","version":7}"#).is_err()
    );
}

#[test]
fn a_broadcast_is_stored_and_read_as_it_is() {
    for row in [follow(None, Plan).unwrap(), broadcast(Paused)] {
        let stored = serde_json::to_value(&row).unwrap();
        assert_eq!(serde_json::from_value::<Broadcast>(stored).unwrap(), row);
    }
}
