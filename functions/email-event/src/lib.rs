//! Email events: what SES tells of each mail, as facts and in the send ledger.
//!
//! EventBridge delivers at least once and in any order, and may lose an event; so each is written
//! under its own id, and the ledger only ever learns, never forgets.
//!
//! Opens and clicks come twice. At once: the ledger's row keeps the evidence and is judged anew. From
//! a queue of their own a minute later: only then the verdict becomes a fact, which sets things going,
//! since a machine that follows one link after the other is known by the second or third.

pub mod notice;

use std::sync::Arc;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use chrono::{DateTime, Utc};
use cloud::{
    CallError, Cloud, StartError, erase,
    queues::DeadLetters,
    tables::{Note, Tables},
};
use content::Funnel;
use domain::{
    engagement::{Engagement, EngagementState, takes_no_mail},
    erasure::{Erased, Row},
    event::Event,
    id::Id,
    lead::{self, SuppressionCause},
    limits::CONFLICT_RETRIES,
    machine::Touch,
};
use lambda_runtime::Error;
use notice::{Bounce, News, Notice};

/// The function's clients, made once.
#[derive(Debug)]
pub struct EmailEvents {
    cloud: Cloud,
    tables: Tables,
    dead_letters: DeadLetters,
    /// The queue whose events are opens and clicks to be judged.
    verdicts: String,
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
            verdicts: cloud.env.get("VERDICT_QUEUE_ARN")?,
            funnel,
            cloud,
        })
    }

    /// Takes a batch of SES's events, from either queue. One that can't be read goes to the dead letters
    /// with the reason. The answer names those that have to come back.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, batch: SqsEvent) -> Result<SqsBatchResponse, Error> {
        let mut answer = SqsBatchResponse::default();
        for message in batch.records {
            let id = message.message_id.clone().unwrap_or_default();
            // On the heap: the compiler gives up on futures that are nested this deep.
            if let Err(error) = Box::pin(self.message(&message)).await {
                tracing::warn!(%error, "an event of SES's was not taken");
                let mut failure = BatchItemFailure::default();
                failure.item_identifier = id;
                answer.batch_item_failures.push(failure);
            }
        }
        Ok(answer)
    }

    async fn message(&self, message: &SqsMessage) -> Result<(), CallError> {
        let to_be_judged = message.event_source_arn.as_deref() == Some(self.verdicts.as_str());
        let event = serde_json::from_str(message.body.as_deref().unwrap_or_default()).unwrap_or_default();
        let notice = match Notice::read(&event) {
            Ok(Some(notice)) => notice,
            Ok(None) => return Ok(()),
            // It was put aside when it came at once.
            Err(_) if to_be_judged => return Ok(()),
            Err(reason) => return self.dead_letters.put(&reason, without_personal_data(&event)).await,
        };
        // Late news of somebody who was erased since is about nobody; but a dead address is dead in
        // every life, and a complaint holds until she takes it back herself.
        let lead = self.tables.lead(&notice.lead_id).await?;
        if lead.is_none_or(|lead| lead.has_forgotten(notice.at)) {
            return match notice.news.closes_address() {
                Some(cause) => self.suppress(&notice.lead_id, cause, notice.at).await,
                None => Ok(()),
            };
        }
        if to_be_judged { self.settle(&notice).await } else { self.take(&notice).await }
    }

    async fn take(&self, notice: &Notice) -> Result<(), CallError> {
        if let News::Touched(touch) = &notice.news {
            // It becomes a fact when it comes from the queue.
            return match self.touch(notice, touch).await? {
                Some(row) => self.prove(notice, &row).await,
                None => Ok(()),
            };
        }
        if let Some(cause) = notice.news.closes_address() {
            self.suppress(&notice.lead_id, cause, notice.at).await?;
        }
        // Every mail has its row before it is sent; one without was a mail to an earlier, erased life.
        let row = self.tables.engagement(&notice.lead_id, &notice.engagement_id).await?;
        let Some(row) = row else { return Ok(()) };
        if is_automatic_reply(notice, &row) {
            tracing::info!(lead_id = %notice.lead_id, "a mail that had arrived was answered by a machine");
            return Ok(());
        }
        self.prove(notice, &row).await?;
        if notice.news == News::Sent {
            return Ok(());
        }
        // All other facts set things going (a wait that ends, a score) which look into the ledger.
        self.note(notice).await?;
        if matches!(notice.news, News::Bounced { bounce, .. } if bounce.is_soft()) {
            self.count_soft_bounces(notice).await?;
        }
        self.tell(notice, notice.at).await
    }

    /// Delivery has mostly noted itself that SES took the mail; where it could not, any news of the mail
    /// tells. The fact comes before the note, by which a second look would take it for told.
    ///
    /// News of a first try that comes when there was a second is a fact, and no word on the second.
    async fn prove(&self, notice: &Notice, row: &Engagement) -> Result<(), CallError> {
        let this_try = notice.attempt == row.attempt;
        if !this_try && row.state == EngagementState::Claimed && row.is_fresh(self.cloud.now()) {
            // SES may refuse the second try at this moment, and then the row speaks of the first again.
            let reason = "another try is under way".to_owned();
            return Err(CallError { doing: "taking news of an earlier try", reason });
        }
        let doubted = matches!(row.state, EngagementState::Claimed | EngagementState::Unknown);
        let untold = doubted || !this_try || notice.news == News::Sent;
        if let Some(sent) = notice.proves_send().filter(|_| untold) {
            self.tell(&sent, sent.at).await?;
            if doubted && this_try {
                self.note(&sent).await?;
            }
        }
        Ok(())
    }

    /// What the row learns. News of another try than the one that it speaks of says nothing of its state.
    async fn note(&self, notice: &Notice) -> Result<(), CallError> {
        match entry(notice).map(|note| note.only_of(notice.attempt)) {
            Some(note) => self.tables.note(&notice.lead_id, &notice.engagement_id, &note).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Notes an open or click in the ledger, where it is judged together with the others of its mail.
    /// None if the ledger has no such row: the person was erased.
    async fn touch(&self, notice: &Notice, touch: &Touch) -> Result<Option<Engagement>, CallError> {
        for _ in 0..CONFLICT_RETRIES {
            let row = self.tables.engagement(&notice.lead_id, &notice.engagement_id).await?;
            let Some(row) = row else { return Ok(None) };
            let after = row.touched(touch.clone());
            if after == row || self.tables.put_touches(&row, &after).await? {
                return Ok(Some(after));
            }
        }
        Err(CallError {
            doing: "noting an open or click",
            reason: "other writers got there first".to_owned(),
        })
    }

    /// Tells what an open or click was, now that the rest of its visit is known.
    async fn settle(&self, notice: &Notice) -> Result<(), CallError> {
        let News::Touched(touch) = &notice.news else { return Ok(()) };
        let Some(row) = self.touch(notice, touch).await? else { return Ok(()) };
        // What came at once may have been lost.
        self.prove(notice, &row).await?;
        // One that the row had no room for repeats what was told already.
        let Some(judged) = row.verdict(touch) else { return Ok(()) };
        // A mail that is opened again on another day, or a link that is followed again, is no new fact.
        let first = row.touches.iter().find(|touch| touch.is_the_fact_of(judged)).map(|touch| touch.at);
        let notice = Notice { news: News::Touched(judged.clone()), ..notice.clone() };
        self.tell(&notice, first.unwrap_or(notice.at)).await
    }

    async fn tell(&self, notice: &Notice, at: DateTime<Utc>) -> Result<(), CallError> {
        if let Some((key, fact)) = notice.fact() {
            let event = Event::about(&notice.lead_id, &key, fact, at, self.funnel.time_zone);
            self.tables.add_event(&event).await?;
        }
        Ok(())
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

    async fn suppress(
        &self,
        lead_id: &Id,
        cause: SuppressionCause,
        at: DateTime<Utc>,
    ) -> Result<(), CallError> {
        let doing = "suppressing a lead";
        for _ in 0..CONFLICT_RETRIES {
            let written = match self.tables.lead_row(lead_id).await? {
                None => return Ok(()),
                Some(Row::Erased(Erased { rest: Some(_), .. })) => {
                    return Err(CallError { doing, reason: "her erasure is not finished".to_owned() });
                }
                Some(Row::Erased(mark)) => {
                    let Some(mark) = mark.suppress() else { return Ok(()) };
                    erase::suppress(&self.tables, &mark).await?
                }
                Some(Row::Lead(lead)) => {
                    let Some(lead) = lead::suppress(*lead, cause, at) else { return Ok(()) };
                    self.tables.put_lead(&lead).await?
                }
            };
            if written {
                tracing::info!(%lead_id, ?cause, "an address was closed");
                return Ok(());
            }
        }
        Err(CallError { doing, reason: "other writers got there first".to_owned() })
    }
}

/// SES tells an out-of-office reply as a general bounce, of a mail that was delivered.
fn is_automatic_reply(notice: &Notice, row: &Engagement) -> bool {
    matches!(notice.news, News::Bounced { bounce: Bounce::General, .. }) && row.delivered_at.is_some()
}

/// What the ledger learns; opens and clicks are judged there, not noted.
fn entry(notice: &Notice) -> Option<Note> {
    let note = Note::default();
    Some(match &notice.news {
        // Resolves a send whose own answer was lost.
        News::Sent => note
            .text("state", "sent")
            .at_once("sent_date", notice.at)
            .text_once("message_id", &notice.message_id)
            .only_in(&["claimed", "unknown"]),
        News::Delivered => note.at_once("delivered_at", notice.at),
        News::Touched(_) => return None,
        News::Bounced { bounce, reason } => {
            let note = note.text("state", "bounced").text("reason", reason);
            if bounce.is_soft() { note.at_once("soft_bounced_at", notice.at) } else { note }
        }
        News::Complained => note.text("state", "complained").text("reason", "called spam by its reader"),
        News::Refused { reason } => note.text("state", "skipped").text("reason", reason),
    })
}

/// What may be kept of an event that can't be read: SES repeats recipients, their addresses on the
/// network and keyed links all over it, so only what is known to be none of these stays.
fn without_personal_data(event: &serde_json::Value) -> serde_json::Value {
    let at = |pointer: &str| event.pointer(pointer).cloned().unwrap_or_default();
    serde_json::json!({
        "id": at("/id"),
        "time": at("/time"),
        "detail-type": at("/detail-type"),
        "detail": {
            "eventType": at("/detail/eventType"),
            "mail": {
                "timestamp": at("/detail/mail/timestamp"),
                "messageId": at("/detail/mail/messageId"),
                "tags": at("/detail/mail/tags"),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_an_event_that_cant_be_read_no_personal_data_are_put_aside() {
        let event = json!({
            "id": "1", "time": "2026-11-22T01:00:00Z", "detail-type": "Email Bounced",
            "detail": {
                "eventType": "Party",
                "mail": {
                    "timestamp": "2026-11-22T01:00:00Z", "messageId": "0100018f", "tags": {"lead_id": ["l-1"]},
                    "source": "shop@example.com", "destination": ["hanako@example.com"],
                    "headers": [{"name": "To", "value": "hanako@example.com"}],
                    "commonHeaders": {"to": ["hanako@example.com"]},
                },
                "bounce": {"bouncedRecipients": [{"emailAddress": "hanako@example.com"}]},
                "complaint": {"complainedRecipients": [{"emailAddress": "hanako@example.com"}]},
                "delivery": {"recipients": ["hanako@example.com"]},
                "click": {"ipAddress": "198.51.100.1", "link": "https://example.com/booking?t=k1.l-1.0.abc"},
            },
        });
        let kept = without_personal_data(&event).to_string();
        for secret in ["@", "198.51", "k1.l-1"] {
            assert!(!kept.contains(secret), "{secret} in {kept}");
        }
        for needed in ["Party", "0100018f", "l-1"] {
            assert!(kept.contains(needed), "{needed} in {kept}");
        }
    }
}
