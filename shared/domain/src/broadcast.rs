//! Broadcasts: one mail to a segment, page by page, so that it can be paused and goes on where it
//! stood.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{engagement::MailClass, id::Id, lead::Lead, sending::refusal, time};

/// One row of the Broadcasts table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broadcast {
    pub broadcast_id: Id,
    pub state: BroadcastState,
    /// Counts the row's changes; each tick works on the version it was made for.
    pub version: u64,
    /// The lead after which the next tick goes on; none at the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Id>,
    /// From the plan: people who will get it.
    pub planned: u64,
    /// From the plan: people who won't, by reason.
    #[serde(default)]
    pub excluded: BTreeMap<String, u64>,
    /// People it has been handed to delivery for.
    pub queued: u64,
    #[serde(with = "time::stored")]
    pub changed_at: DateTime<Utc>,
}

/// How far a broadcast is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BroadcastState {
    /// People are being counted.
    Planning,
    /// Counted; waits for somebody to start it.
    Planned,
    Sending,
    Paused,
    Done,
}

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BroadcastCommand {
    Plan,
    Start,
    Pause,
    Resume,
}

/// What a tick carries through the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BroadcastTick {
    pub broadcast: Id,
    /// The row's version that it works on: a tick that comes twice finds a newer one and stops.
    pub version: u64,
}

/// Why a command can't be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BroadcastError {
    #[error("it is being sent already; pause it first")]
    Sending,
    #[error("plan it first: then it is known who will get it")]
    NotPlanned,
    #[error("it is paused; resume it")]
    Paused,
    #[error("it is not being sent")]
    NotSending,
    #[error("it is not paused")]
    NotPaused,
    #[error("it has been sent; a person gets it only once")]
    Done,
}

impl Broadcast {
    /// Follows a command.
    ///
    /// # Errors
    /// [`BroadcastError`] if the state does not allow it.
    pub fn follow(
        known: Option<Self>,
        id: &Id,
        command: BroadcastCommand,
        now: DateTime<Utc>,
    ) -> Result<Self, BroadcastError> {
        use {BroadcastCommand as C, BroadcastError as E, BroadcastState as S};
        let state = known.as_ref().map(|row| row.state);
        let next = match (command, state) {
            (C::Plan, None | Some(S::Planning | S::Planned)) => S::Planning,
            (C::Start, Some(S::Planned)) => S::Sending,
            (C::Pause, Some(S::Sending)) => S::Paused,
            (C::Resume, Some(S::Paused)) => S::Sending,
            (C::Plan | C::Start, Some(S::Sending)) => return Err(E::Sending),
            (C::Plan | C::Start, Some(S::Paused)) => return Err(E::Paused),
            (C::Plan | C::Start, Some(S::Done)) => return Err(E::Done),
            (C::Start, None | Some(S::Planning)) => return Err(E::NotPlanned),
            (C::Pause, _) => return Err(E::NotSending),
            (C::Resume, _) => return Err(E::NotPaused),
        };
        let row = match (command, known) {
            (C::Plan, known) => Self {
                broadcast_id: id.clone(),
                state: next,
                version: known.map_or(0, |row| row.version),
                after: None,
                planned: 0,
                excluded: BTreeMap::new(),
                queued: 0,
                changed_at: now,
            },
            (C::Start, Some(row)) => Self { after: None, ..row },
            (_, Some(row)) => row,
            (_, None) => return Err(E::NotPlanned),
        };
        Ok(Self { state: next, version: row.version + 1, changed_at: now, ..row })
    }

    /// The work that follows the present state, if there is any.
    pub fn tick(&self) -> Option<BroadcastTick> {
        matches!(self.state, BroadcastState::Planning | BroadcastState::Sending)
            .then(|| BroadcastTick { broadcast: self.broadcast_id.clone(), version: self.version })
    }

    /// The row after a page of people: where it stands, and what was counted. No `last` is the end.
    pub fn turned(
        self,
        last: Option<Id>,
        taken: u64,
        excluded: BTreeMap<String, u64>,
        now: DateTime<Utc>,
    ) -> Self {
        let ended = last.is_none();
        let mut row = Self { after: last, version: self.version + 1, changed_at: now, ..self };
        match row.state {
            BroadcastState::Planning => {
                row.planned += taken;
                for (reason, count) in excluded {
                    *row.excluded.entry(reason).or_default() += count;
                }
            }
            BroadcastState::Sending => row.queued += taken,
            BroadcastState::Planned | BroadcastState::Paused | BroadcastState::Done => {}
        }
        row.state = match (row.state, ended) {
            (BroadcastState::Planning, true) => BroadcastState::Planned,
            (BroadcastState::Sending, true) => BroadcastState::Done,
            (state, _) => state,
        };
        row
    }
}

/// Why a person does not get a broadcast, if she does not; the same reasons as at the gate, which
/// has the last word.
pub fn excluded(lead: &Lead, class: MailClass, topics: &[Id], in_segment: bool) -> Option<String> {
    if !in_segment {
        return Some("not in the segment".to_owned());
    }
    refusal(lead, class, topics)
}

#[cfg(test)]
mod tests;
