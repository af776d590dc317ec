//! Delivery: one piece of due work, one mail at most, one step of one sequence.
//!
//! In this order: look at the enrolment again, claim the send in the ledger (which checks consent
//! in the same transaction), hand the mail to SES, settle the ledger, move the person on, set the
//! next timer. Stopped anywhere, the message comes back and goes on from where the ledger stands.

mod calendar;

use std::sync::Arc;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use chrono::TimeDelta;
use cloud::{
    CallError, Cloud, StartError,
    keys::Keys,
    mailer::{Mailer, OutgoingMail, SendError, mailbox},
    queues::DeadLetters,
    tables::{Claimed, Note, Tables},
    timers::Timers,
};
use content::{Funnel, MailConsultation, MailContext, MailPurchase, RenderedMail};
use domain::{
    consultation::{Consultation, ConsultationStatus},
    customer::Customer,
    engagement::{Claim, Engagement, EngagementState, MailClass, claim},
    event::Topic,
    lead::Lead,
    limits::PERSONAL_LINK_DAYS,
    sequence::{DueStep, Enrolment, Sequence, Step, Turn, turn},
};
use lambda_runtime::Error;
use web::link::{Links, Purpose};

/// The function's clients, made once.
#[derive(Debug)]
pub struct Delivery {
    cloud: Cloud,
    tables: Tables,
    timers: Timers,
    mailer: Mailer,
    dead_letters: DeadLetters,
    links: Links,
    funnel: Arc<Funnel>,
    public_url: String,
}

/// Why a message has to come back.
#[derive(Debug, thiserror::Error)]
enum Later {
    #[error("{0}; the message will come again")]
    Because(String),
    #[error(transparent)]
    Call(#[from] CallError),
}

/// All that a mail can speak of.
struct Addressee {
    lead: Lead,
    consultation: Option<Consultation>,
    customer: Option<Customer>,
}

impl Delivery {
    /// Makes the clients and reads the keys.
    ///
    /// # Errors
    /// [`StartError`] if the environment or the keys are not as the template makes them.
    pub async fn start(cloud: Cloud, funnel: Arc<Funnel>) -> Result<Self, StartError> {
        Ok(Self {
            tables: Tables::new(&cloud),
            timers: Timers::new(&cloud)?,
            mailer: Mailer::new(&cloud)?,
            dead_letters: DeadLetters::new(&cloud, "delivery")?,
            links: Links::new(Keys::load(&cloud).await?.link_keys()),
            public_url: cloud.public_url()?,
            funnel,
            cloud,
        })
    }

    /// Takes a batch of messages. The answer names those that have to come back.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, batch: SqsEvent) -> Result<SqsBatchResponse, Error> {
        let mut answer = SqsBatchResponse::default();
        for message in batch.records {
            let id = message.message_id.clone().unwrap_or_default();
            if let Err(later) = self.message(message).await {
                tracing::warn!(error = %later, "a step was not finished");
                let mut failure = BatchItemFailure::default();
                failure.item_identifier = id;
                answer.batch_item_failures.push(failure);
            }
        }
        Ok(answer)
    }

    async fn message(&self, message: SqsMessage) -> Result<(), Later> {
        let body = message.body.unwrap_or_default();
        match serde_json::from_str::<DueStep>(&body) {
            Ok(work) => self.work(&work).await,
            Err(error) => {
                let event = serde_json::from_str(&body).unwrap_or(serde_json::Value::String(body));
                Ok(self.dead_letters.put(&format!("the message is no due step: {error}"), event).await?)
            }
        }
    }

    async fn work(&self, work: &DueStep) -> Result<(), Later> {
        let Some(enrolment) = self.tables.enrolment(&work.lead_id, &work.enrolment_id).await? else {
            return Ok(());
        };
        let Some(sequence) = self.funnel.sequence(&enrolment.sequence) else {
            return self.stop(enrolment, "the funnel has no such sequence any more").await;
        };
        let now = self.cloud.now();
        match turn(sequence, &enrolment, work, now) {
            Turn::Outdated => Ok(()),
            Turn::Behind | Turn::Wait(_) => {
                Ok(self.timers.set(&enrolment, sequence.class, work.hops + 1, now).await?)
            }
            Turn::Pass(step, reason) => self.pass(sequence, enrolment, step, reason, work.hops).await,
            Turn::Take(step) => self.take(sequence, enrolment, step, work.hops).await,
        }
    }

    async fn take(
        &self,
        sequence: &Sequence,
        enrolment: Enrolment,
        step: &Step,
        hops: u32,
    ) -> Result<(), Later> {
        let Some(addressee) = self.addressee(sequence, &enrolment).await? else {
            return self.stop(enrolment, "the person is not known any more").await;
        };
        if let Some(reason) = addressee.refuses(sequence, &enrolment) {
            return self.pass(sequence, enrolment, step, &reason, hops).await;
        }
        let engagement_id = enrolment.engagement_id(&step.id);
        let row = self.tables.engagement(&enrolment.lead_id, &engagement_id).await?;
        match claim(row.as_ref(), sequence.class, self.cloud.now()) {
            Claim::InFlight => {
                return Err(Later::Because(
                    "another copy of the step is being sent at this moment".to_owned(),
                ));
            }
            Claim::Settled => {}
            Claim::GiveUp => {
                self.unknown(&enrolment, step, "its sender stopped before it heard from SES").await?
            }
            Claim::Send { attempt } => self.send(sequence, &enrolment, step, addressee, attempt).await?,
        }
        self.advance(sequence, enrolment, step, hops).await
    }

    async fn send(
        &self,
        sequence: &Sequence,
        enrolment: &Enrolment,
        step: &Step,
        addressee: Addressee,
        attempt: u8,
    ) -> Result<(), Later> {
        let mail = match self.render(sequence, step, &addressee) {
            Ok(mail) => mail,
            Err(reason) => {
                tracing::error!(lead_id = %enrolment.lead_id, reason, "a mail could not be made for a lead");
                return self.skip(sequence, enrolment, step, &reason).await;
            }
        };
        let row = Engagement { attempt, ..self.row(sequence, enrolment, step) };
        let outgoing = self.outgoing(sequence, step, &addressee, mail, &row);
        match self.tables.claim(&row).await? {
            Claimed::Yes => {}
            Claimed::NotAllowed => {
                return self.skip(sequence, enrolment, step, "the person may not be written to").await;
            }
            Claimed::Taken => return Err(Later::Because("another copy of the step claimed it".to_owned())),
        }
        match self.mailer.send(outgoing).await {
            Ok(message_id) => {
                let sent = Note::default()
                    .text("state", "sent")
                    .text_once("message_id", &message_id)
                    .at_once("sent_date", self.cloud.now());
                self.tables
                    .note(&row.lead_id, &row.engagement_id, &sent.only_in(&["claimed", "unknown"]))
                    .await?;
                Ok(())
            }
            Err(SendError::Refused(reason)) => {
                tracing::error!(lead_id = %row.lead_id, reason, "SES refused a mail");
                let skipped = Note::default().text("state", "skipped").text("reason", &reason);
                self.tables.note(&row.lead_id, &row.engagement_id, &skipped.only_in(&["claimed"])).await?;
                Ok(())
            }
            Err(SendError::NotNow(reason)) => {
                self.tables.release(&row).await?;
                Err(Later::Because(reason))
            }
            Err(SendError::Unknown(reason)) => {
                self.unknown(enrolment, step, &reason).await?;
                match (sequence.class, attempt) {
                    (MailClass::Transactional, 1) => Err(Later::Because(reason)),
                    _ => Ok(()),
                }
            }
        }
    }

    fn row(&self, sequence: &Sequence, enrolment: &Enrolment, step: &Step) -> Engagement {
        Engagement {
            lead_id: enrolment.lead_id.clone(),
            engagement_id: enrolment.engagement_id(&step.id),
            email_campaign_id: format!("{}/{}", sequence.id, step.id),
            class: sequence.class,
            state: EngagementState::Claimed,
            attempt: 1,
            claimed_at: self.cloud.now(),
            sent_date: None,
            message_id: None,
            reason: None,
            delivered_at: None,
            opened: false,
            opened_at: None,
            machine_opened: false,
            clicked: false,
            clicked_at: None,
            click_url: None,
        }
    }

    async fn unknown(&self, enrolment: &Enrolment, step: &Step, reason: &str) -> Result<(), Later> {
        let note = Note::default().text("state", "unknown").text("reason", reason).only_in(&["claimed"]);
        self.tables.note(&enrolment.lead_id, &enrolment.engagement_id(&step.id), &note).await?;
        Ok(())
    }

    /// Writes down that a step's mail was not sent, and moves on.
    async fn pass(
        &self,
        sequence: &Sequence,
        enrolment: Enrolment,
        step: &Step,
        reason: &str,
        hops: u32,
    ) -> Result<(), Later> {
        self.skip(sequence, &enrolment, step, reason).await?;
        self.advance(sequence, enrolment, step, hops).await
    }

    async fn skip(
        &self,
        sequence: &Sequence,
        enrolment: &Enrolment,
        step: &Step,
        reason: &str,
    ) -> Result<(), Later> {
        let row = Engagement {
            state: EngagementState::Skipped,
            reason: Some(reason.to_owned()),
            ..self.row(sequence, enrolment, step)
        };
        self.tables.skip_send(&row).await?;
        Ok(())
    }

    async fn advance(
        &self,
        sequence: &Sequence,
        enrolment: Enrolment,
        step: &Step,
        hops: u32,
    ) -> Result<(), Later> {
        let zone = match self.tables.lead(&enrolment.lead_id).await? {
            Some(lead) => lead.time_zone.unwrap_or(self.funnel.time_zone),
            None => self.funnel.time_zone,
        };
        let next = sequence.advance(enrolment.clone(), &step.id, zone);
        if self.tables.move_enrolment(&enrolment, &next).await? {
            self.timers.set(&next, sequence.class, hops, self.cloud.now()).await?;
        }
        Ok(())
    }

    async fn stop(&self, enrolment: Enrolment, why: &str) -> Result<(), Later> {
        if let Some(stopped) = enrolment.clone().stop(why) {
            self.tables.move_enrolment(&enrolment, &stopped).await?;
        }
        Ok(())
    }

    async fn addressee(
        &self,
        sequence: &Sequence,
        enrolment: &Enrolment,
    ) -> Result<Option<Addressee>, Later> {
        let Some(lead) = self.tables.lead(&enrolment.lead_id).await? else { return Ok(None) };
        let (mut consultation, mut customer) = (None, None);
        match (sequence.topic(), enrolment.subject.as_ref()) {
            (Some(Topic::Consultation), Some(subject)) => {
                consultation = self.tables.consultation(subject).await?
            }
            (Some(Topic::Customer), Some(subject)) => customer = self.tables.customer(subject).await?,
            _ => {}
        }
        Ok(Some(Addressee { lead, consultation, customer }))
    }

    fn render(
        &self,
        sequence: &Sequence,
        step: &Step,
        addressee: &Addressee,
    ) -> Result<RenderedMail, String> {
        let mail =
            self.funnel.mail(&step.send).ok_or_else(|| format!("the funnel has no mail {}", step.send))?;
        let Addressee { lead, consultation, customer } = addressee;
        let context = MailContext {
            name: lead.name.as_ref().map(|name| name.as_str().to_owned()),
            time_zone: lead.time_zone.unwrap_or(self.funnel.time_zone),
            public_url: self.public_url.clone(),
            lead_magnet: lead.lead_magnet_type.clone(),
            booking_url: self.personal_url("booking", Purpose::Book, lead),
            apply_url: self.personal_url("apply", Purpose::Apply, lead),
            unsubscribe_url: self.unsubscribe_url(lead),
            consultation: consultation.as_ref().map(|consultation| MailConsultation {
                start: consultation.scheduled_date,
                manage_url: self.manage_url(consultation),
            }),
            purchase: customer.as_ref().map(|customer| MailPurchase {
                plan: customer.plan.clone(),
                price: customer.price,
                currency: customer.currency.clone(),
                paid_at: customer.paid_at,
            }),
        };
        self.funnel.render(mail, &context).map_err(|problem| format!("{}: {problem}", sequence.id))
    }

    fn outgoing(
        &self,
        sequence: &Sequence,
        step: &Step,
        addressee: &Addressee,
        mail: RenderedMail,
        row: &Engagement,
    ) -> OutgoingMail {
        let (sender, lead) = (&self.funnel.sender, &addressee.lead);
        let calendar = addressee.consultation.as_ref().filter(|_| step.calendar);
        OutgoingMail {
            from: mailbox(&sender.name, sender.address.as_str()),
            to: lead.email.as_str().to_owned(),
            reply_to: Some(sender.reply_to.as_str().to_owned()),
            subject: mail.subject,
            html: mail.html,
            text: mail.text,
            headers: vec![
                ("List-Unsubscribe", format!("<{}>", self.unsubscribe_url(lead))),
                ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()),
            ],
            tags: vec![
                ("lead_id", lead.lead_id.to_string()),
                ("engagement_id", row.engagement_id.clone()),
                ("sequence", sequence.id.to_string()),
                ("step", step.id.to_string()),
            ],
            calendar: calendar.map(|consultation| {
                calendar::invitation(consultation, lead.email.as_str(), &self.funnel, self.cloud.now())
            }),
        }
    }

    fn personal_url(&self, path: &str, purpose: Purpose, lead: &Lead) -> String {
        format!(
            "{}/{path}?t={}",
            self.public_url,
            self.links.sign(purpose, &lead.lead_id, Some(days(PERSONAL_LINK_DAYS)), self.cloud.now())
        )
    }

    fn unsubscribe_url(&self, lead: &Lead) -> String {
        format!(
            "{}/unsubscribe?t={}",
            self.public_url,
            self.links.sign(Purpose::Unsubscribe, &lead.lead_id, None, self.cloud.now())
        )
    }

    fn manage_url(&self, consultation: &Consultation) -> String {
        let id = &consultation.consultation_id;
        format!(
            "{}/bookings/{id}?t={}",
            self.public_url,
            self.links.sign(Purpose::Manage, id, Some(days(PERSONAL_LINK_DAYS)), self.cloud.now())
        )
    }
}

impl Addressee {
    /// Why nothing should be sent, seen before the claim checks it for good.
    fn refuses(&self, sequence: &Sequence, enrolment: &Enrolment) -> Option<String> {
        if !self.lead.mailing.allows(sequence.class) {
            return Some(format!("the person is {}", self.lead.mailing.as_str()));
        }
        if !sequence.announces_consultation() {
            return None;
        }
        match &self.consultation {
            None => Some("the consultation is not known any more".to_owned()),
            Some(consultation) if consultation.status != ConsultationStatus::Booked => {
                Some("the consultation no longer stands".to_owned())
            }
            Some(consultation) if consultation.version != enrolment.generation => {
                Some("the consultation was moved".to_owned())
            }
            Some(_) => None,
        }
    }
}

fn days(days: i64) -> TimeDelta {
    TimeDelta::days(days)
}
