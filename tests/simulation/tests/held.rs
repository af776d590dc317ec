//! What must hold of the torture itself; its thousands of seeds are played by its own command.
#![allow(clippy::unwrap_used, reason = "tests")]

use michi::faults::{Failure, Verdict};
use torture::peers::{checkpoint_first, send_first};
use torture::run::{Outcome, Play, Stage, play};
use torture::storm::{Place, Strike};

fn played(what: &Play, keep: bool) -> Outcome {
    // Things happen in the middle of others, one inside the other.
    let what = what.clone();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(play(&Stage::set().unwrap(), &what, keep)).unwrap()
    };
    std::thread::Builder::new().stack_size(64 * 1024 * 1024).spawn(run).unwrap().join().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let traces: Vec<u64> = [1, 2, 1, 2].map(|seed| played(&Play::Seed(seed), true).trace).into();
    assert_eq!(traces[..2], traces[2..]);
    assert_ne!(traces[0], traces[1]);
}

#[test]
fn in_the_calm_every_promise_holds_and_nothing_strikes() {
    let mut sends = 0;
    for seed in 3..6 {
        let calm = played(&Play::Calm(seed), false);
        assert_eq!(calm.broken, Vec::<String>::new(), "seed {seed}");
        assert!(calm.faults.is_empty(), "seed {seed}: {calm:?}");
        sends += calm.sends;
    }
    assert!(sends > 12, "{sends}");
}

#[test]
fn storms_strike_everywhere_and_break_no_promise() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 10..16 {
        let outcome = played(&Play::Seed(seed), false);
        assert_eq!(outcome.broken, Vec::<String>::new(), "seed {seed}");
        kinds.extend(outcome.faults.into_keys());
    }
    assert!(kinds.len() > 15, "{kinds:?}");
}

#[test]
fn the_script_leads_through_all_functions_and_one_fault_leaves_it_whole() {
    let calm = played(&Play::Script(None), false);
    assert_eq!(calm.broken, Vec::<String>::new());
    let functions: std::collections::BTreeSet<&str> =
        calm.places.iter().map(|place| place.function.as_str()).collect();
    assert_eq!(functions.len(), 9, "all functions and the operator's command: {functions:?}");
    let Place { function, at, .. } =
        calm.places.iter().find(|place| place.function == "delivery").unwrap().clone();
    for verdict in [Verdict::Crash { done: true }, Verdict::After(Failure::NoAnswer)] {
        let struck = played(&Play::Script(Some(Strike { function: function.clone(), at, verdict })), false);
        assert_eq!(struck.broken, Vec::<String>::new(), "{function} {at} {verdict:?}");
        assert_eq!(struck.faults.values().sum::<u64>(), 1);
    }
}

#[test]
fn the_models_of_others_lose_and_double_as_their_order_says() {
    let first: Vec<_> = (1..40).map(|seed| checkpoint_first(seed, 100)).collect();
    assert!(first.iter().any(|tally| tally.lost > 0) && first.iter().all(|tally| tally.doubled == 0));
    let second: Vec<_> = (1..40).map(|seed| send_first(seed, 100)).collect();
    assert!(second.iter().any(|tally| tally.doubled > 0) && second.iter().all(|tally| tally.lost == 0));
}
