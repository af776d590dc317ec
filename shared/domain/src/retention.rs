//! How long details about people are kept (GDPR art. 5 (1) e).

use chrono::{DateTime, TimeDelta, Utc};

use crate::event::{Event, FactKind};

/// How many days what is kept; for good if nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Visits, which belong to a browser and not to a person.
    pub visits: Option<i64>,
    /// What became of mails: the ledger and the facts about them.
    pub mails: Option<i64>,
}

impl Retention {
    /// When a fact goes.
    pub fn fact_goes(&self, event: &Event) -> Option<DateTime<Utc>> {
        let days = match event.fact.kind() {
            FactKind::Visited => self.visits,
            // A complaint says that the address must stay closed.
            FactKind::MailSent
            | FactKind::MailUnknown
            | FactKind::MailDelivered
            | FactKind::MailOpened
            | FactKind::MailClicked
            | FactKind::MailBounced => self.mails,
            FactKind::OptInRequested
            | FactKind::OptedIn
            | FactKind::MailComplained
            | FactKind::Unsubscribed
            | FactKind::PreferencesChanged
            | FactKind::PageSeen
            | FactKind::Tagged
            | FactKind::StageChanged
            | FactKind::ScoreCrossed
            | FactKind::Told
            | FactKind::ConsultationBooked
            | FactKind::ConsultationRescheduled
            | FactKind::ConsultationCancelled
            | FactKind::ConsultationHeld
            | FactKind::ConsultationMissed
            | FactKind::ApplicationSubmitted
            | FactKind::CustomerPaid => None,
        };
        days.map(|days| event.occurred_at + TimeDelta::days(days))
    }

    /// When the ledger's row of a mail goes.
    pub fn mail_goes(&self, claimed_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.mails.map(|days| claimed_at + TimeDelta::days(days))
    }
}
