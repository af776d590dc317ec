//! SES's suppression list and ours tell each other, once a night.
//!
//! SES itself lists what bounced for good or complained, for every sender of the account; we close
//! addresses for reasons of our own. What each of them knows, the other has to know: SES would count
//! the bounces of one, and we would write to the other for nothing.

use chrono::TimeDelta;
use cloud::{CallError, suppression_list::Listed};
use domain::{
    email_address::EmailAddress,
    id::Id,
    lead::{self, ListReason, Mailing, SuppressionCause},
    limits::{CONFLICT_RETRIES, LATE_DAYS, LISTED_PER_NIGHT},
};

use crate::NightlyAggregation;

impl NightlyAggregation {
    /// Puts there what we closed, and closes what was put there within the last days: a night may
    /// have been missed, and what is known already changes nothing.
    pub(crate) async fn mirror_suppressions(&self) -> Result<(), CallError> {
        let mut put = 0;
        for reason in ListReason::ALL {
            for lead_id in self.tables.to_list(reason).await?.iter().take(LISTED_PER_NIGHT) {
                self.put_on_list(lead_id).await?;
                put += 1;
            }
        }
        let since = self.cloud.now() - TimeDelta::days(LATE_DAYS);
        let (mut closed, mut start) = (0, None);
        loop {
            let (page, next) = self.suppression_list.page(since, start).await?;
            for entry in &page {
                closed += usize::from(self.close(entry).await?);
            }
            start = next;
            if start.is_none() {
                break;
            }
        }
        tracing::info!(put, closed, "SES's suppression list was mirrored");
        Ok(())
    }

    async fn put_on_list(&self, lead_id: &Id) -> Result<(), CallError> {
        let mut put = false;
        for _ in 0..CONFLICT_RETRIES {
            let Some(known) = self.tables.lead(lead_id).await? else { return Ok(()) };
            let (email, reason) = (known.email.clone(), known.to_list);
            // An operator opened the address again while it was being put there.
            if put && known.mailing != Mailing::Suppressed {
                return self.suppression_list.remove(&email).await;
            }
            let (Some(reason), Some(told)) = (reason, lead::listed(known)) else { return Ok(()) };
            put = self.suppression_list.put(&email, reason).await?;
            if !put {
                // Nobody else's mail waits for it: SES writes to no address that it takes for none.
                tracing::error!(%lead_id, "SES takes a closed address for none; it is only on our list");
            }
            if self.tables.put_lead(&told).await? {
                return Ok(());
            }
        }
        Err(too_many_writers())
    }

    /// Whether an address of ours was closed because it stands on the list.
    async fn close(&self, entry: &Listed) -> Result<bool, CallError> {
        let Ok(email) = EmailAddress::parse(&entry.address) else { return Ok(false) };
        let lead_id = self.keys.lead_id(&email);
        for _ in 0..CONFLICT_RETRIES {
            let Some(known) = self.tables.lead(&lead_id).await? else { return Ok(false) };
            let closed = lead::suppress(known, SuppressionCause::Listed, entry.since);
            let Some(closed) = closed else { return Ok(false) };
            if self.tables.put_lead(&closed).await? {
                return Ok(true);
            }
        }
        Err(too_many_writers())
    }
}

fn too_many_writers() -> CallError {
    CallError { doing: "mirroring SES's list", reason: "other writers got there first".to_owned() }
}
