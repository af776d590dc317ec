//! `cargo run -p torture`: plays seeds on all cores and prints one line of JSON.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use clap::Parser;
use michi::faults::{Failure, Verdict};
use serde::Serialize;
use torture::peers::{Tally, checkpoint_first, send_first};
use torture::run::{Outcome, Play, Stage, play};
use torture::storm::{Place, Strike};

// A fifth of the time went into malloc: the SDK makes hundreds of small things for every call.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Plays the product under faults and holds it to its promises.
#[derive(Debug, Parser)]
#[command(name = "torture")]
struct Options {
    /// How many seeds to play.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Plays one seed (0: the script of --exhaustive), twice, and prints its trace.
    #[arg(long)]
    replay: Option<u64>,
    /// Plays a script again and again, with one fault each time: each outcome at each call
    /// of each function.
    #[arg(long)]
    exhaustive: bool,
    /// Compares lost and doubled mails with models of two other senders under the same faults.
    #[arg(long)]
    compare: bool,
    /// Stops at the first broken promise.
    #[arg(long)]
    stop: bool,
}

/// Things happen in the middle of others, one inside the other.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// The line that is printed.
#[derive(Debug, Default, Serialize)]
struct Line {
    commit: String,
    seeds: u64,
    virtual_years: String,
    sends: u64,
    faults: BTreeMap<&'static str, u64>,
    /// Different calls: of a function to an operation of a service.
    calls_seen: usize,
    /// Of them, how many failed at least once.
    calls_struck: usize,
    violations: Vec<Violation>,
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct Violation {
    /// How to see it again.
    play: String,
    broken: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(seed) = options.replay {
        return replay(seed);
    }
    if options.compare {
        return compare(options.seeds.min(20));
    }
    let plays: Vec<Play> = match options.exhaustive {
        true => every_strike(),
        false => (options.from..options.from + options.seeds).map(Play::Seed).collect(),
    };
    eprintln!("{} runs", plays.len());
    let line = play_all(&plays, options.stop);
    let broken = !line.violations.is_empty();
    println!("{}", serde_json::to_string(&line).unwrap_or_default());
    if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The commit that is played.
fn commit() -> String {
    let told = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    told.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned()).unwrap_or_default()
}

fn one(stage: &Stage, what: &Play, keep: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let played = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(play(stage, what, keep)).map_err(|error| error.to_string()));
    played.unwrap_or_else(|error| Outcome { broken: vec![error], ..Outcome::default() })
}

/// Plays on all cores, in no order; what is printed does not depend on it.
fn play_all(plays: &[Play], stop: bool) -> Line {
    let began = Instant::now();
    let (next, stopped, line) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(Line::default()));
    let (calls, seconds) = (Mutex::new(BTreeMap::<String, (u64, u64)>::new()), Mutex::new(0_i64));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            let worker = || {
                let stage = match Stage::set() {
                    Ok(stage) => stage,
                    Err(error) => panic!("{error}"),
                };
                while let Some(what) = plays.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if stop && stopped.load(Ordering::SeqCst) {
                        break;
                    }
                    let outcome = one(&stage, what, false);
                    stopped.fetch_or(!outcome.broken.is_empty(), Ordering::SeqCst);
                    let mut line = lock(&line);
                    line.seeds += 1;
                    if line.seeds % 500 == 0 {
                        eprintln!(
                            "{} of {} played, {} broken",
                            line.seeds,
                            plays.len(),
                            line.violations.len()
                        );
                    }
                    line.sends += outcome.sends;
                    *lock(&seconds) += outcome.seconds;
                    for (fault, count) in outcome.faults {
                        *line.faults.entry(fault).or_default() += count;
                    }
                    for (call, (made, struck)) in outcome.calls {
                        let mut calls = lock(&calls);
                        let entry = calls.entry(call).or_default();
                        *entry = (entry.0 + made, entry.1 + struck);
                    }
                    if !outcome.broken.is_empty() {
                        let play = match what {
                            Play::Seed(seed) => format!("cargo run -p torture -- --replay {seed}"),
                            other => format!("{other:?}"),
                        };
                        line.violations.push(Violation { play, broken: outcome.broken });
                    }
                }
            };
            let spawned = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, worker);
            if let Err(error) = spawned {
                panic!("{error}");
            }
        }
    });
    let mut line = line.into_inner().unwrap_or_default();
    let calls = calls.into_inner().unwrap_or_default();
    let days = seconds.into_inner().unwrap_or_default() / 86_400;
    Line {
        commit: commit(),
        // Years with two decimals, without floating point.
        virtual_years: format!("{}.{:02}", days / 365, days % 365 * 100 / 365),
        calls_seen: calls.len(),
        calls_struck: calls.values().filter(|(_, struck)| *struck > 0).count(),
        violations: std::mem::take(&mut line.violations),
        seconds: began.elapsed().as_secs(),
        ..line
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The script, with each outcome at each call of each function: at the 1st, 2nd … of every
/// way that an invocation went.
fn every_strike() -> Vec<Play> {
    let read = [
        Verdict::Before(Failure::Error),
        Verdict::Before(Failure::Throttle),
        Verdict::Before(Failure::NoAnswer),
        Verdict::Crash { done: false },
    ];
    let written = [
        Verdict::Before(Failure::Conflict),
        Verdict::After(Failure::Error),
        Verdict::After(Failure::NoAnswer),
        Verdict::Crash { done: true },
    ];
    let stage = match Stage::set() {
        Ok(stage) => stage,
        Err(error) => panic!("{error}"),
    };
    let calm = one(&stage, &Play::Script(None), false);
    let strikes = calm.places.into_iter().flat_map(|Place { function, at, reads }| {
        let verdicts = read.into_iter().chain(written.into_iter().filter(move |_| !reads));
        verdicts.map(move |verdict| Play::Script(Some(Strike { function: function.clone(), at, verdict })))
    });
    [Play::Script(None)].into_iter().chain(strikes).collect()
}

/// So many people of each run of the comparison.
const CROWD: usize = 100;

fn compare(seeds: u64) -> ExitCode {
    let stage = match Stage::set() {
        Ok(stage) => stage,
        Err(error) => panic!("{error}"),
    };
    let sum = |tally: &dyn Fn(u64) -> Tally| (1..=seeds).map(tally).fold(Tally::default(), Tally::and);
    let ours: Vec<Outcome> = (1..=seeds).map(|seed| one(&stage, &Play::Crowd(seed, CROWD), false)).collect();
    let of = |tally: fn(&Outcome) -> Tally| ours.iter().map(tally).fold(Tally::default(), Tally::and);
    let table = [
        ("checkpoint, then send (listmonk)", sum(&|seed| checkpoint_first(seed, CROWD))),
        ("send, then mark (Mautic)", sum(&|seed| send_first(seed, CROWD))),
        ("Michi, marketing", of(|outcome| outcome.marketing)),
        ("Michi, critical", of(|outcome| outcome.critical)),
    ];
    println!("| order | due | once | doubled | lost | named |\n|---|---|---|---|---|---|");
    for (order, Tally { due, once, doubled, lost, named }) in table {
        println!("| {order} | {due} | {once} | {doubled} | {lost} | {named} |");
    }
    let broken: Vec<&String> = ours.iter().flat_map(|outcome| &outcome.broken).collect();
    for broken in &broken {
        println!("broken: {broken}");
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(seed: u64) -> ExitCode {
    let stage = match Stage::set() {
        Ok(stage) => stage,
        Err(error) => panic!("{error}"),
    };
    let what = if seed == 0 { Play::Script(None) } else { Play::Seed(seed) };
    let (first, second) = (one(&stage, &what, true), one(&stage, &what, true));
    for line in &first.lines {
        println!("{line}");
    }
    println!("commit {}, seed {seed}, trace {:016x}", commit(), first.trace);
    for broken in &first.broken {
        println!("broken: {broken}");
    }
    let same = first.trace == second.trace;
    if !same {
        println!("the second time its trace was {:016x}", second.trace);
    }
    if same && first.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
