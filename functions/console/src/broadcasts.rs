//! Broadcasts: how far they are, and what an operator can do about it.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use content::{Funnel, funnel};
use domain::{
    broadcast::{Broadcast, BroadcastCommand},
    id::Id,
};
use serde::Serialize;
use serde_json::json;
use web::{
    answer::{self, Answer},
    problem::{Failure, Problem, Status},
    request::Request,
};

use crate::{Console, view::Sight};

const COMMANDS: [BroadcastCommand; 4] =
    [BroadcastCommand::Plan, BroadcastCommand::Start, BroadcastCommand::Pause, BroadcastCommand::Resume];

/// A broadcast as the operator sees it.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    id: &'a Id,
    name: &'a str,
    mail: &'a Id,
    /// Everybody when none.
    segment: Option<&'a Id>,
    per_hour: Option<u32>,
    /// None before the first plan.
    row: Option<&'a Broadcast>,
    /// Why people don't get it and how many, the most frequent first.
    excluded: Vec<(&'a str, u64)>,
    /// What can be done in this state.
    commands: Vec<BroadcastCommand>,
}

impl Console {
    pub(crate) async fn broadcasts(&self) -> Result<Answer, Failure> {
        let mut rows = vec![];
        for broadcast in &self.funnel.broadcasts {
            rows.push(self.tables.broadcast(&broadcast.id).await?);
        }
        self.shown(&Sight::Broadcasts(&shown(&self.funnel, &rows, self.cloud.now())))
    }

    /// Follows a command. The row comes first, so that a tick finds what it shall work on; if the
    /// tick is lost, pausing and resuming (or planning again) makes another.
    pub(crate) async fn command(&self, request: &Request) -> Result<Answer, Failure> {
        let mut form = request.form()?;
        let command = form.required("command", read_command);
        let command = form.finish(command)?;
        let id = Id::parse(request.path("broadcast_id")).map_err(|_| no_broadcast())?;
        self.funnel.broadcast(&id).ok_or_else(no_broadcast)?;
        let known = self.tables.broadcast(&id).await?;
        let row = Broadcast::follow(known, &id, command, self.cloud.now())
            .map_err(|error| Problem::new(Status::Conflict, &error.to_string()))?;
        if !self.tables.put_broadcast(&row).await? {
            return Err(Problem::new(Status::Conflict, OVERTAKEN).into());
        }
        if let Some(tick) = row.tick() {
            self.queues.send_tick(&tick, 0).await?;
        }
        tracing::info!(broadcast = %id, ?command, "a broadcast was told what to do");
        Ok(match request.wants_html() {
            true => answer::see_other(&format!("{}/console/broadcasts", self.base)),
            false => answer::json(200, &json!(row)),
        })
    }
}

pub(crate) const OVERTAKEN: &str = "it has just changed; look at it again";

fn read_command(text: &str) -> Result<BroadcastCommand, &'static str> {
    serde_json::from_value(text.into()).map_err(|_| "must be one of plan, start, pause, resume")
}

/// The funnel's broadcasts, each beside its row.
pub(crate) fn shown<'a>(
    funnel: &'a Funnel,
    rows: &'a [Option<Broadcast>],
    now: DateTime<Utc>,
) -> Vec<Shown<'a>> {
    funnel.broadcasts.iter().zip(rows).map(|(plan, row)| one(plan, row.as_ref(), now)).collect()
}

fn one<'a>(plan: &'a funnel::Broadcast, row: Option<&'a Broadcast>, now: DateTime<Utc>) -> Shown<'a> {
    let fits = |command: &BroadcastCommand| Broadcast::follow(row.cloned(), &plan.id, *command, now).is_ok();
    let excluded = row.into_iter().flat_map(|row| &row.excluded);
    let mut excluded: Vec<_> = excluded.map(|(reason, count)| (reason.as_str(), *count)).collect();
    excluded.sort_by_key(|(_, count)| Reverse(*count));
    Shown {
        id: &plan.id,
        name: &plan.name,
        mail: &plan.mail,
        segment: plan.segment.as_ref(),
        per_hour: plan.per_hour,
        row,
        excluded,
        commands: COMMANDS.into_iter().filter(fits).collect(),
    }
}

fn no_broadcast() -> Problem {
    Problem::field("broadcast", "is not known").with_status(Status::NotFound)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use content::Locale;
    use domain::broadcast::BroadcastState;

    use super::*;
    use crate::{
        story::tests::{at, id},
        view::tests::funnel,
    };

    fn row(state: BroadcastState) -> Broadcast {
        let counted = [("not in the segment", 5_000), ("the person is unsubscribed", 12)];
        Broadcast {
            broadcast_id: id("autumn"),
            state,
            version: 3,
            after: None,
            planned: 1_234,
            excluded: counted.map(|(reason, count)| (reason.to_owned(), count)).into(),
            queued: 100,
            changed_at: at("2026-11-24T22:00:00Z"),
        }
    }

    /// Every state that there can be.
    pub(crate) fn rows() -> Vec<Option<Broadcast>> {
        use BroadcastState as S;
        let states = [S::Planning, S::Planned, S::Sending, S::Paused, S::Done];
        states.map(|state| Some(row(state))).into_iter().chain([None]).collect()
    }

    #[test]
    fn what_can_be_done_is_what_would_be_followed() {
        use BroadcastCommand as C;
        let funnel = funnel(Locale::Ja);
        let expected =
            [vec![C::Plan], vec![C::Plan, C::Start], vec![C::Pause], vec![C::Resume], vec![], vec![C::Plan]];
        for (row, expected) in rows().into_iter().zip(expected) {
            let rows = [row, None];
            let shown = shown(&funnel, &rows, at("2026-11-25T01:00:00Z"));
            assert_eq!(shown[0].commands, expected, "{:?}", rows[0]);
        }
    }

    #[test]
    fn the_most_frequent_reason_comes_first() {
        let (funnel, row) = (funnel(Locale::Ja), row(BroadcastState::Planned));
        let rows = [Some(Broadcast { excluded: BTreeMap::from([("a".into(), 1), ("b".into(), 2)]), ..row })];
        assert_eq!(shown(&funnel, &rows, at("2026-11-25T01:00:00Z"))[0].excluded, [("b", 2), ("a", 1)]);
    }

    #[test]
    fn a_command_is_one_of_the_four_buttons() {
        for command in COMMANDS {
            let name = serde_json::to_value(command).unwrap();
            assert_eq!(read_command(name.as_str().unwrap()), Ok(command));
        }
        for other in ["Plan", "stop", "0", "null"] {
            assert_eq!(read_command(other), Err("must be one of plan, start, pause, resume"), "{other}");
        }
    }
}
