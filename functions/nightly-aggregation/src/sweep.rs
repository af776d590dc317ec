//! The sweep: whoever is due and has no timer is put back into the queue.
//!
//! A timer may be lost, late by a day, or never have been set because its setter stopped half way;
//! a message may have ended in the dead letters, and with it a claim without an end. All of them
//! show in one place: an enrolment, or a broadcast, whose time is long over. Delivery looks at the
//! ledger before it does anything, so that a sweep too many does no harm.

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use cloud::{CallError, tables::Overdue};
use domain::{
    engagement::MailClass,
    limits::{NIGHT_SWEEP_STEPS, QUEUE_WAIT_SECONDS, SWEEP_GRACE_MINUTES, SWEEP_STEPS},
};
use serde::Serialize;

use crate::NightlyAggregation;

/// What a sweep put right.
#[derive(Debug, Default, Serialize)]
pub struct Swept {
    /// Steps that were due and are queued again.
    steps: usize,
    /// Broadcasts whose next page is queued again.
    broadcasts: usize,
}

impl NightlyAggregation {
    /// Looks through the last few hours, or at night through all.
    ///
    /// It reads the index partition of an hour of the day, so what keeps failing is queued again
    /// for an hour or two and then once a night. The night reads the index as it lies: all of it is
    /// wanted.
    pub(crate) async fn sweep(&self, all: bool) -> Result<Swept, CallError> {
        let now = self.cloud.now();
        let before = now - TimeDelta::minutes(SWEEP_GRACE_MINUTES);
        let (overdue, most) = match all {
            true => (self.tables.all_overdue(before).await?, NIGHT_SWEEP_STEPS),
            false => {
                let mut overdue = vec![];
                for ago in 0..2 {
                    let hour = (before - TimeDelta::hours(ago)).hour();
                    overdue.extend(self.tables.overdue(hour, before).await?);
                }
                (overdue, SWEEP_STEPS)
            }
        };
        let mut swept = Swept::default();
        for overdue in overdue {
            if swept.steps == most {
                tracing::error!(steps = most, "there is more lost work than one sweep queues again");
                break;
            }
            swept.steps += usize::from(self.queue_again(&overdue, before, now).await?);
        }
        for plan in &self.funnel.broadcasts {
            let Some(row) = self.tables.broadcast(&plan.id).await? else { continue };
            // A tick may wait in the queue for as long as the queue lets it.
            let lost = row.changed_at < before - TimeDelta::seconds(QUEUE_WAIT_SECONDS.into());
            let Some(tick) = row.tick().filter(|_| lost) else { continue };
            self.queues.send_tick(&tick, 0).await?;
            swept.broadcasts += 1;
        }
        if swept.steps + swept.broadcasts > 0 {
            tracing::warn!(steps = swept.steps, broadcasts = swept.broadcasts, "lost work was queued again");
        }
        Ok(swept)
    }

    async fn queue_again(
        &self,
        overdue: &Overdue,
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, CallError> {
        // The index is a moment behind; the row is not.
        let enrolment = self.tables.enrolment(&overdue.lead_id, &overdue.enrolment_id).await?;
        let still = enrolment.filter(|enrolment| enrolment.next_due.is_some_and(|due| due <= before));
        let Some(enrolment) = still else { return Ok(false) };
        let sequence = self.funnel.sequence(&enrolment.sequence);
        let class = sequence.map_or(MailClass::Marketing, |sequence| sequence.class);
        self.timers.set(&enrolment, class, 0, now).await?;
        Ok(true)
    }
}
