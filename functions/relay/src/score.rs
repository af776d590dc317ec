//! Scores that cross a threshold: a fact of its own, to which sequences listen.

use chrono::TimeDelta;
use cloud::{
    CallError,
    tables::Table,
    transaction::{Commit, Condition},
};
use domain::{
    event::{Event, Fact},
    lead::{Lead, Mailing},
    limits::CONFLICT_RETRIES,
};

use crate::Relay;

impl Relay {
    /// Works the score out again and, if it is on another side of a threshold than before, says so.
    /// The lead's row remembers the side, so a fact that comes twice crosses nothing twice.
    pub(crate) async fn score(&self, event: &Event) -> Result<(), CallError> {
        let scoring = &self.funnel.scoring;
        let Some(lead_id) = event.lead_id.as_ref().filter(|_| !scoring.thresholds.is_empty()) else {
            return Ok(());
        };
        for _ in 0..CONFLICT_RETRIES {
            let Some(person) = self.tables.person(lead_id, scoring.needs()).await? else { return Ok(()) };
            if person.lead.mailing == Mailing::Pending {
                return Ok(());
            }
            let person = person.with(event);
            let now = self.cloud.now();
            let score = scoring.score(&person.known(scoring, None, now)).total;
            // What time took since the row was written comes before what this fact gave.
            let just_before = event.occurred_at - TimeDelta::milliseconds(1);
            let faded = scoring.score(&person.known(scoring, None, just_before)).total.min(person.lead.score);
            let mut crossed = scoring.crossed(person.lead.score, faded);
            crossed.extend(scoring.crossed(faded, score));
            if crossed.is_empty() {
                return Ok(());
            }
            let before = Condition::version(person.lead.version);
            let lead = Lead { score, version: person.lead.version + 1, ..person.lead };
            let mut transaction = self.tables.transaction().put(Table::Leads, &lead, &before)?;
            for (threshold, rising) in crossed {
                let way = if rising { "up" } else { "down" };
                let key = format!("{lead_id}.{threshold}.{way}.{}", lead.version);
                let fact = Fact::ScoreCrossed { threshold, rising, score };
                transaction =
                    transaction.event(&Event::about(lead_id, &key, fact, now, self.funnel.time_zone))?;
            }
            if transaction.commit("crossing a score's threshold").await? == Commit::Done {
                return Ok(());
            }
        }
        Err(CallError {
            doing: "crossing a score's threshold",
            reason: "other writers got there first".to_owned(),
        })
    }
}
