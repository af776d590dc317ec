//! For comparison: the order in which two well-known senders do things, as small models, and the
//! product itself, with the same crashes and the same lost answers.
//!
//! listmonk (internal/manager): a batch is fetched and the campaign's checkpoint moved past it, then
//! its mails are sent. Mautic (campaign executioner): each mail is sent, then marked as sent. Only
//! the order is modelled, nothing else of them.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// One process in so many ends at a call, before or after it.
const CRASH_ONE_IN: u32 = 100;
/// One answer to a send in so many is lost on the way back.
const LOST_ONE_IN: u32 = 100;
/// Mails that are fetched at once.
const BATCH: usize = 50;

/// What became of mails that were due, each to one person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub due: usize,
    pub once: usize,
    pub doubled: usize,
    /// Never sent, and the sender's own books say that they were, or say nothing.
    pub lost: usize,
    /// Never sent or perhaps sent, and the ledger says so and why.
    pub named: usize,
}

impl Tally {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            due: self.due + other.due,
            once: self.once + other.once,
            doubled: self.doubled + other.doubled,
            lost: self.lost + other.lost,
            named: self.named + other.named,
        }
    }

    fn of(sent: &[u32]) -> Self {
        let count = |wanted: fn(u32) -> bool| sent.iter().filter(|times| wanted(**times)).count();
        let (once, doubled) = (count(|times| times == 1), count(|times| times > 1));
        Self { due: sent.len(), once, doubled, lost: sent.len() - once - doubled, named: 0 }
    }
}

/// A process that may end at any call; then it starts again.
struct Process(ChaCha8Rng);

/// The process has ended.
struct Ended;

impl Process {
    fn call(&mut self, effect: impl FnOnce()) -> Result<(), Ended> {
        let ends = self.0.random_range(0..CRASH_ONE_IN) == 0;
        if ends && self.0.random_range(0..2) == 0 {
            return Err(Ended);
        }
        effect();
        if ends { Err(Ended) } else { Ok(()) }
    }

    fn loses_the_answer(&mut self) -> bool {
        self.0.random_range(0..LOST_ONE_IN) == 0
    }
}

/// Fetch, move the checkpoint, send.
pub fn checkpoint_first(seed: u64, people: usize) -> Tally {
    let mut process = Process(ChaCha8Rng::seed_from_u64(seed));
    let (mut sent, mut checkpoint) = (vec![0; people], 0);
    while checkpoint < people {
        let batch = checkpoint..people.min(checkpoint + BATCH);
        let run = |process: &mut Process, checkpoint: &mut usize, sent: &mut Vec<u32>| {
            process.call(|| {})?;
            process.call(|| *checkpoint = batch.end)?;
            for person in batch.clone() {
                // An answer that is lost counts as an error; the mail is not tried again.
                process.call(|| sent[person] += 1)?;
            }
            Ok::<(), Ended>(())
        };
        // Whoever starts after a crash begins at the checkpoint.
        let _ended_or_done = run(&mut process, &mut checkpoint, &mut sent);
    }
    Tally::of(&sent)
}

/// Send, then mark.
pub fn send_first(seed: u64, people: usize) -> Tally {
    let mut process = Process(ChaCha8Rng::seed_from_u64(seed));
    let (mut sent, mut marked) = (vec![0; people], vec![false; people]);
    while marked.contains(&false) {
        let run = |process: &mut Process, sent: &mut Vec<u32>, marked: &mut Vec<bool>| {
            process.call(|| {})?;
            for person in 0..people {
                if marked[person] {
                    continue;
                }
                process.call(|| sent[person] += 1)?;
                if process.loses_the_answer() {
                    continue;
                }
                process.call(|| marked[person] = true)?;
            }
            Ok::<(), Ended>(())
        };
        let _ended_or_done = run(&mut process, &mut sent, &mut marked);
    }
    Tally::of(&sent)
}
