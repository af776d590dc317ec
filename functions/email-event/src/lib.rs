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
    tables::{Note, Table, Tables},
    transaction::{Commit, Condition},
};
use content::Funnel;
use domain::{engagement::impersonal, event::Event, id::Id, lead, limits::CONFLICT_RETRIES};
use lambda_runtime::Error;
use notice::{News, Notice};

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
            tables: Tables::new(&cloud).keeping(funnel.retention),
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
        // Late news of somebody who was erased since is about nobody.
        let lead = self.tables.lead(&notice.lead_id).await?;
        if lead.is_none_or(|lead| lead.has_forgotten(notice.at)) {
            return Ok(());
        }
        if notice.news.closes_address() {
            self.suppress(&notice.lead_id).await?;
        }
        // The ledger first: what the fact sets going (a wait that ends, a score) looks into it.
        let noted = self.tables.note(&notice.lead_id, &notice.engagement_id, &entry(notice)).await?;
        // Every mail has its row before it is sent; one without was a mail to an earlier, erased life.
        if !noted && self.tables.engagement(&notice.lead_id, &notice.engagement_id).await?.is_none() {
            return Ok(());
        }
        if let Some((key, fact)) = notice.fact() {
            let at = self.first_time(notice).await?;
            let event = Event::about(&notice.lead_id, &key, fact, at, self.funnel.time_zone);
            self.tables.add_event(&event).await?;
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

    async fn suppress(&self, lead_id: &Id) -> Result<(), CallError> {
        for _ in 0..CONFLICT_RETRIES {
            let Some(known) = self.tables.lead(lead_id).await? else { return Ok(()) };
            let before = Condition::version(known.version);
            let Some(lead) = lead::suppress(known) else { return Ok(()) };
            let transaction = self.tables.transaction().put(Table::Leads, &lead, &before)?;
            if transaction.commit("suppressing a lead").await? == Commit::Done {
                tracing::info!(%lead_id, "an address was closed after a bounce or complaint");
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
        News::Bounced { permanent: true, reason } => note.text("state", "bounced").text("reason", reason),
        News::Bounced { permanent: false, reason } => note.text("reason", reason),
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
