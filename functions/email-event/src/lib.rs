//! Email events: what SES tells of each mail, as facts and in the send ledger.
//!
//! EventBridge delivers at least once and in any order, and may lose an event; so each is written
//! under its own id, and the ledger only ever learns, never forgets.

pub mod notice;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use cloud::{
    CallError, Cloud, StartError,
    queues::DeadLetters,
    tables::{Note, Tables},
};
use content::Funnel;
use domain::{
    engagement::{Engagement, EngagementState, impersonal, takes_no_mail},
    event::Event,
    id::Id,
    lead::{self, SuppressionCause},
    limits::CONFLICT_RETRIES,
};
use lambda_runtime::Error;
use notice::{Bounce, News, Notice};

/// The function's clients, made once.
#[derive(Debug)]
pub struct EmailEvents {
    tables: Tables,
    dead_letters: DeadLetters,
    funnel: Arc<Funnel>,
}

impl EmailEvents {
    /// Makes the clients.
    ///
    /// # Errors
    /// [`StartError`] if the environment is not as the template makes it.
    pub async fn start(cloud: Cloud, funnel: Arc<Funnel>) -> Result<Self, StartError> {
        Ok(Self {
            tables: Tables::new(&cloud),
            dead_letters: DeadLetters::new(&cloud, "email-event")?,
            funnel,
        })
    }

    /// Takes one event of SES's. One that can't be read goes to the dead letters with the reason.
    ///
    /// # Errors
    /// If a table or the dead letters can't be reached: Lambda tries again.
    pub async fn handle(&self, event: serde_json::Value) -> Result<(), Error> {
        match Notice::read(&event) {
            Ok(Some(notice)) => Ok(self.take(&notice).await?),
            Ok(None) => Ok(()),
            Err(reason) => Ok(self.dead_letters.put(&reason, without_addresses(event)).await?),
        }
    }

    async fn take(&self, notice: &Notice) -> Result<(), CallError> {
        if self.is_automatic_reply(notice).await? {
            tracing::info!(lead_id = %notice.lead_id, "a mail that had arrived was answered by a machine");
            return Ok(());
        }
        if let Some(cause) = notice.news.closes_address() {
            self.suppress(&notice.lead_id, cause, notice.at).await?;
        }
        // The ledger first: what the fact sets going (a wait that ends, a score) looks into it.
        // Delivery has mostly noted itself that SES took the mail; reading that is cheaper.
        if notice.news != News::Sent || self.is_unsettled(notice).await? {
            self.tables.note(&notice.lead_id, &notice.engagement_id, &entry(notice)).await?;
        }
        if matches!(notice.news, News::Bounced { bounce, .. } if bounce.is_soft()) {
            self.count_soft_bounces(notice).await?;
        }
        if let Some((key, fact)) = notice.fact() {
            let at = self.first_time(notice).await?;
            let event = Event::about(&notice.lead_id, &key, fact, at, self.funnel.time_zone);
            self.tables.add_event(&event).await?;
        }
        Ok(())
    }

    async fn is_unsettled(&self, notice: &Notice) -> Result<bool, CallError> {
        let row = self.tables.engagement(&notice.lead_id, &notice.engagement_id).await?;
        let unsettled =
            |row: &Engagement| matches!(row.state, EngagementState::Claimed | EngagementState::Unknown);
        Ok(row.as_ref().is_some_and(unsettled))
    }

    /// SES tells an out-of-office reply as a general bounce, of a mail that was delivered.
    async fn is_automatic_reply(&self, notice: &Notice) -> Result<bool, CallError> {
        if !matches!(notice.news, News::Bounced { bounce: Bounce::General, .. }) {
            return Ok(false);
        }
        let row = self.tables.engagement(&notice.lead_id, &notice.engagement_id).await?;
        Ok(row.is_some_and(|row| row.delivered_at.is_some()))
    }

    /// An address whose mails come back again and again is closed like one that bounced for good.
    async fn count_soft_bounces(&self, notice: &Notice) -> Result<(), CallError> {
        let ledger = self.tables.engagements(&notice.lead_id).await?;
        let Some(lead) = self.tables.lead(&notice.lead_id).await? else { return Ok(()) };
        let since = lead.reopened.map(|reopened| reopened.at);
        if takes_no_mail(&ledger, since) {
            self.suppress(&notice.lead_id, SuppressionCause::SoftBounced, notice.at).await?;
        }
        Ok(())
    }

    /// When it first happened: a mail that is opened again on another day was opened once.
    async fn first_time(&self, notice: &Notice) -> Result<DateTime<Utc>, CallError> {
        if !matches!(notice.news, News::Opened { machine: false }) {
            return Ok(notice.at);
        }
        let row = self.tables.engagement(&notice.lead_id, &notice.engagement_id).await?;
        Ok(row.and_then(|row| row.opened_at).unwrap_or(notice.at))
    }

    async fn suppress(
        &self,
        lead_id: &Id,
        cause: SuppressionCause,
        at: DateTime<Utc>,
    ) -> Result<(), CallError> {
        for _ in 0..CONFLICT_RETRIES {
            let Some(known) = self.tables.lead(lead_id).await? else { return Ok(()) };
            let Some(lead) = lead::suppress(known, cause, at) else { return Ok(()) };
            if self.tables.put_lead(&lead).await? {
                tracing::info!(%lead_id, ?cause, "an address was closed");
                return Ok(());
            }
        }
        Err(CallError { doing: "suppressing a lead", reason: "other writers got there first".to_owned() })
    }
}

/// What the ledger learns.
fn entry(notice: &Notice) -> Note {
    let note = Note::default();
    match &notice.news {
        // Resolves a send whose own answer was lost.
        News::Sent => note
            .text("state", "sent")
            .at_once("sent_date", notice.at)
            .text_once("message_id", &notice.message_id)
            .only_in(&["claimed", "unknown"]),
        News::Delivered => note.at_once("delivered_at", notice.at),
        News::Opened { machine: true } => note.flag("machine_opened"),
        News::Opened { machine: false } => note.flag("opened").at_once("opened_at", notice.at),
        News::Clicked { machine: true, .. } => note.flag("machine_opened"),
        News::Clicked { machine: false, link } => {
            let page = impersonal(link);
            note.flag("clicked")
                .at_once("clicked_at", notice.at)
                .text_once("click_url", page)
                .add("clicked_links", page)
        }
        News::Bounced { bounce, reason } => {
            let note = note.text("state", "bounced").text("reason", reason);
            if bounce.is_soft() { note.at_once("soft_bounced_at", notice.at) } else { note }
        }
        News::Complained => note.text("state", "complained").text("reason", "called spam by its reader"),
        News::Refused { reason } => note.text("state", "skipped").text("reason", reason),
    }
}

/// The event without the recipients that SES repeats in it.
fn without_addresses(mut event: serde_json::Value) -> serde_json::Value {
    for pointer in [
        "/detail/mail/destination",
        "/detail/mail/headers",
        "/detail/mail/commonHeaders",
        "/detail/mail/source",
    ] {
        if let Some(value) = event.pointer_mut(pointer) {
            *value = serde_json::Value::String("(left out)".to_owned());
        }
    }
    event
}
