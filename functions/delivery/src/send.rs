//! One mail to one person: the gate, the claim, SES, the ledger.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use cloud::{
    mailer::{OutgoingMail, SendError, mailbox},
    person::Person,
    tables::{Claimed, Note},
};
use content::{Mail, MailConsultation, MailContext, MailPurchase, RenderedMail};
use domain::{
    broadcast::BroadcastState,
    condition::Needs,
    consultation::{Consultation, ConsultationStatus},
    customer::Customer,
    engagement::{Claim, Engagement, EngagementState, MailClass, STOPPED_SENDER, claim},
    event::Topic,
    id::Id,
    lead::Lead,
    limits::{CONFLICT_RETRIES, HELD_DAYS, PERSONAL_LINK_DAYS, SES_PAUSE_MINUTES, UNKNOWN_TRIES},
    sending::{Gate, Sending, gate},
    sequence::{Enrolment, EnrolmentState, Sequence, Step},
};
use web::link::Purpose;

use crate::{Delivery, Later, Outcome, Place, calendar};

/// All that a mail can speak of.
struct Addressee {
    person: Person,
    consultation: Option<Consultation>,
    customer: Option<Customer>,
}

/// What came of trying to claim a send.
enum Try {
    Claimed(Box<(Engagement, OutgoingMail)>),
    Ended(Outcome),
    /// The person's row changed under us.
    Again,
}

impl Delivery {
    /// Sends the step's mail, or says why not (yet).
    pub(crate) async fn send(
        &self,
        place: &Place<'_>,
        mail_id: &Id,
        with_calendar: bool,
    ) -> Result<Outcome, Later> {
        let engagement_id = place.enrolment.engagement_id(&place.step.id);
        let row = self.tables.engagement(&place.enrolment.lead_id, &engagement_id).await?;
        let Some(attempt) = self.next_try(row.as_ref(), place.sequence.class).await? else {
            return Ok(settled(place));
        };
        let Some(mail) = self.funnel.mail(mail_id) else {
            if place.errand.tries < UNKNOWN_TRIES {
                return Err(Later::Because("this version of the funnel has no such mail".to_owned()));
            }
            return self.not_sent(place, &format!("the funnel has no mail {mail_id} any more")).await;
        };
        for _ in 0..CONFLICT_RETRIES {
            match self.try_to_claim(place, mail, with_calendar, attempt).await? {
                Try::Claimed(claimed) => {
                    return self.hand_over(place, claimed.0, claimed.1, row.as_ref()).await;
                }
                Try::Ended(outcome) => return Ok(outcome),
                Try::Again => {}
            }
        }
        Err(Later::Because("the lead is being changed by others".to_owned()))
    }

    /// Which try comes next, now that it is told what the earlier one has become: once the row speaks of
    /// the next, nobody tells it any more. None if nothing is to be sent any more.
    pub(crate) async fn next_try(
        &self,
        known: Option<&Engagement>,
        class: MailClass,
    ) -> Result<Option<u8>, Later> {
        let decision = claim(known, class, self.cloud.now());
        if decision == Claim::InFlight {
            return Err(Later::Because("another copy of the step is being sent at this moment".to_owned()));
        }
        if let Some(row) = known {
            self.end(row).await?;
        }
        Ok(match decision {
            Claim::Send { attempt } => Some(attempt),
            Claim::Settled | Claim::InFlight | Claim::GiveUp => None,
        })
    }

    /// Looks at the person as she is now, and claims the send on condition that she still is.
    async fn try_to_claim(
        &self,
        place: &Place<'_>,
        mail: &Mail,
        with_calendar: bool,
        attempt: u8,
    ) -> Result<Try, Later> {
        let now = self.cloud.now();
        let Some(addressee) = self.addressee(place, mail).await? else {
            return Ok(Try::Ended(Outcome::Out("the person is not known any more".to_owned())));
        };
        if let Some(reason) = addressee.refuses(place.sequence, &place.enrolment) {
            return Ok(Try::Ended(self.not_sent(place, reason).await?));
        }
        let known = addressee.person.known(&self.funnel.scoring, Some(place.enrolment.since()), now);
        if place.sequence.is_over(&known, place.enrolment.since()).is_some() {
            return Ok(Try::Ended(Outcome::Out("what ends the sequence has happened".to_owned())));
        }
        if let Some(outcome) = self.holds_back(place, &addressee, now).await? {
            return Ok(Try::Ended(outcome));
        }
        let lead = &addressee.person.lead;
        let sending = Sending {
            class: place.sequence.class,
            asks_confirmation: place.sequence.asks_confirmation(),
            topics: &mail.topics,
            windows: &place.program.windows,
            cap: self.funnel.cap,
            zone: lead.time_zone.unwrap_or(self.funnel.time_zone),
        };
        let recent_mails = match gate(lead, &sending, now) {
            Gate::Open { recent_mails } => recent_mails,
            Gate::Wait { until, why } => {
                // She may change her mind about a pause or a rhythm of her own: look again tomorrow.
                let own = lead.preferences.paused_until.is_some() || lead.preferences.per_week.is_some();
                let until = if own { until.min(a_day_later(&place.enrolment, now)) } else { until };
                return Ok(Try::Ended(Outcome::PutOff { until, why: why.to_owned() }));
            }
            Gate::Shut { why } => return Ok(Try::Ended(self.not_sent(place, &why).await?)),
        };
        let context = self.context(&addressee, &place.enrolment);
        let rendered = match self.funnel.render(mail, &context, &known) {
            Ok(rendered) => rendered,
            Err(problem) => return Ok(Try::Ended(self.held(place, &problem.to_string()).await?)),
        };
        let row = Engagement { attempt, mail: Some(mail.id.clone()), claimed_at: now, ..self.row(place) };
        let calendar = addressee.consultation.as_ref().filter(|_| with_calendar);
        let outgoing = self.outgoing(place, lead, calendar, rendered, &row);
        Ok(match self.tables.claim(&row, lead, recent_mails).await? {
            Claimed::Yes => Try::Claimed(Box::new((row, outgoing))),
            Claimed::LeadChanged => Try::Again,
            Claimed::Taken => {
                return Err(Later::Because("another copy of the step claimed it".to_owned()));
            }
        })
    }

    /// A sequence with priority, or a broadcast that is paused, holds the mail back.
    async fn holds_back(
        &self,
        place: &Place<'_>,
        addressee: &Addressee,
        now: DateTime<Utc>,
    ) -> Result<Option<Outcome>, Later> {
        if place.sequence.class != MailClass::Marketing {
            return Ok(None);
        }
        let outranks = |enrolment: &&Enrolment| {
            enrolment.state == EnrolmentState::Active
                && !enrolment.is_watching()
                && self
                    .funnel
                    .sequence(&enrolment.sequence)
                    .is_some_and(|other| other.priority > place.sequence.priority)
        };
        if let Some(first) = addressee.person.enrolments.iter().find(outranks) {
            let why = format!("{} has priority", first.sequence);
            return Ok(Some(Outcome::PutOff { until: a_day_later(&place.enrolment, now), why }));
        }
        let broadcast =
            self.funnel.broadcasts.iter().find(|broadcast| broadcast.sequence.id == place.sequence.id);
        let Some(broadcast) = broadcast else { return Ok(None) };
        let row = self.tables.broadcast(&broadcast.id).await?;
        let paused = row.is_some_and(|row| row.state == BroadcastState::Paused);
        Ok(paused.then(|| Outcome::PutOff {
            until: now + TimeDelta::hours(1),
            why: "the broadcast is paused".to_owned(),
        }))
    }

    /// Hands a claimed mail to SES and settles the ledger. `earlier` is what it said of an
    /// attempt before this one.
    async fn hand_over(
        &self,
        place: &Place<'_>,
        row: Engagement,
        outgoing: OutgoingMail,
        earlier: Option<&Engagement>,
    ) -> Result<Outcome, Later> {
        match self.mailer.send(outgoing).await {
            Ok(message_id) => {
                let sent = Note::default()
                    .text("state", "sent")
                    .text_once("message_id", &message_id)
                    .at_once("sent_date", self.cloud.now());
                self.tables
                    .note(&row.lead_id, &row.engagement_id, &sent.only_in(&["claimed", "unknown"]))
                    .await?;
                self.tell(&Engagement { state: EngagementState::Sent, ..row }).await?;
                Ok(settled(place))
            }
            Err(SendError::Refused(reason)) => {
                tracing::error!(lead_id = %row.lead_id, reason, "SES refused a mail");
                let skipped = Note::default().text("state", "skipped").text("reason", &reason);
                self.tables.note(&row.lead_id, &row.engagement_id, &skipped.only_in(&["claimed"])).await?;
                Ok(settled(place))
            }
            Err(SendError::NotNow(reason)) => {
                self.tables.release(&row, earlier).await?;
                Ok(self.put_off(&row, &reason))
            }
            Err(SendError::Unknown(reason)) => {
                self.unknown(&row, &reason).await?;
                match (place.sequence.class, row.attempt) {
                    (MailClass::Transactional, 1) => Err(Later::Because(reason)),
                    _ => Ok(settled(place)),
                }
            }
        }
    }

    /// SES takes no mail at the moment. The queue would give up before a daily quota is free again.
    pub(crate) fn put_off(&self, row: &Engagement, reason: &str) -> Outcome {
        tracing::warn!(lead_id = %row.lead_id, reason, "SES takes no mail at the moment");
        let until = self.cloud.now() + TimeDelta::minutes(SES_PAUSE_MINUTES);
        Outcome::PutOff { until, why: "SES takes no mail at the moment".to_owned() }
    }

    /// The ledger's row of the step's mail, about to be sent for the first time.
    pub(crate) fn row(&self, place: &Place<'_>) -> Engagement {
        ledger_row(place.sequence, &place.enrolment, place.step, self.cloud.now())
    }

    /// Notes in the ledger that nobody knows whether SES took the mail, and counts it.
    pub(crate) async fn unknown(&self, row: &Engagement, reason: &str) -> Result<(), Later> {
        let note = Note::default().text("state", "unknown").text("reason", reason).only_in(&["claimed"]);
        if self.tables.note(&row.lead_id, &row.engagement_id, &note).await? {
            return self.tell(&Engagement { state: EngagementState::Unknown, ..row.clone() }).await;
        }
        // SES's own word came first; or the answer to our note was lost, and the client tried again.
        let stands = self.tables.engagement(&row.lead_id, &row.engagement_id).await?;
        match stands.filter(|stands| stands.attempt == row.attempt) {
            Some(stands) if stands.state == EngagementState::Unknown => self.tell(&stands).await,
            _ => Ok(()),
        }
    }

    /// A send that nobody goes on with: a claim without an end is a doubt; for the rest, whoever
    /// settled it may not have got as far as the fact.
    pub(crate) async fn end(&self, row: &Engagement) -> Result<(), Later> {
        match row.state {
            EngagementState::Claimed => self.unknown(row, STOPPED_SENDER).await,
            _ => self.tell(row).await,
        }
    }

    /// Writes the fact that a try to send has become.
    async fn tell(&self, row: &Engagement) -> Result<(), Later> {
        if let Some(event) = row.outcome(self.funnel.time_zone) {
            self.tables.add_event(&event).await?;
        }
        Ok(())
    }

    /// A mail that can't be made for this person is tried again every day, in case somebody mends
    /// it; everybody else's goes out. Whoever leads the team gets a task.
    async fn held(&self, place: &Place<'_>, reason: &str) -> Result<Outcome, Later> {
        tracing::error!(lead_id = %place.enrolment.lead_id, reason, "a mail could not be made for a lead");
        let held = place.enrolment.decisions.iter().filter(|decision| decision.step == place.step.id);
        if held.count() >= HELD_DAYS {
            return self.not_sent(place, reason).await;
        }
        let until = self.cloud.now() + TimeDelta::days(1);
        if let Some(first) = self.funnel.team.first() {
            self.make_task(place, "held", reason, &first.id, until).await?;
        }
        Ok(Outcome::Held { until, why: format!("held: {reason}") })
    }

    /// Writes down that the step's mail was not sent, and moves on.
    async fn not_sent(&self, place: &Place<'_>, reason: &str) -> Result<Outcome, Later> {
        self.skip(place.sequence, &place.enrolment, place.step, reason).await?;
        Ok(Outcome::On { to: place.step.next.clone(), why: format!("{} not sent: {reason}", place.step.id) })
    }

    /// Writes into the ledger that a step's mail was not sent, and why.
    pub(crate) async fn skip(
        &self,
        sequence: &Sequence,
        enrolment: &Enrolment,
        step: &Step,
        reason: &str,
    ) -> Result<(), Later> {
        let row = Engagement {
            state: EngagementState::Skipped,
            reason: Some(reason.to_owned()),
            ..ledger_row(sequence, enrolment, step, self.cloud.now())
        };
        self.tables.skip_send(&row).await?;
        Ok(())
    }

    async fn addressee(&self, place: &Place<'_>, mail: &Mail) -> Result<Option<Addressee>, Later> {
        let (sequence, enrolment) = (place.sequence, &place.enrolment);
        let outranked = self.funnel.sequences.iter().any(|other| other.priority > sequence.priority);
        let needs = mail.needs().and(sequence.exit_needs()).and(Needs {
            enrolments: outranked && sequence.class == MailClass::Marketing,
            ..Needs::default()
        });
        let Some(person) = self.tables.person(&enrolment.lead_id, needs).await? else { return Ok(None) };
        let (mut consultation, mut customer) = (None, None);
        match (sequence.topic(), enrolment.subject.as_ref()) {
            (Some(Topic::Consultation), Some(subject)) => {
                consultation = self.tables.consultation(subject).await?
            }
            (Some(Topic::Customer), Some(subject)) => customer = self.tables.customer(subject).await?,
            _ => {}
        }
        Ok(Some(Addressee { person, consultation, customer }))
    }

    fn context(&self, addressee: &Addressee, enrolment: &Enrolment) -> MailContext {
        let Addressee { person: Person { lead, .. }, consultation, customer } = addressee;
        let url = |path, purpose, days| self.personal_url(path, purpose, &lead.lead_id, days);
        let bookable = self.funnel.consultation.is_some();
        MailContext {
            name: lead.name.as_ref().map(|name| name.as_str().to_owned()),
            time_zone: lead.time_zone.unwrap_or(self.funnel.time_zone),
            public_url: self.public_url.clone(),
            lead_magnet: lead.lead_magnet_type.clone(),
            booking_url: bookable.then(|| url("booking", Purpose::Book, Some(PERSONAL_LINK_DAYS))),
            apply_url: (!self.funnel.plans.is_empty())
                .then(|| url("apply", Purpose::Apply, Some(PERSONAL_LINK_DAYS))),
            preferences_url: url("preferences", Purpose::Preferences, None),
            unsubscribe_url: url("unsubscribe", Purpose::Unsubscribe, None),
            confirm_url: self
                .funnel
                .double_opt_in
                .then(|| url("confirm", Purpose::Confirm, Some(PERSONAL_LINK_DAYS))),
            attributes: lead.attributes.clone(),
            values: enrolment.values.clone(),
            now: self.cloud.now(),
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
        }
    }

    fn outgoing(
        &self,
        place: &Place<'_>,
        lead: &Lead,
        calendar: Option<&Consultation>,
        mail: RenderedMail,
        row: &Engagement,
    ) -> OutgoingMail {
        let sender = &self.funnel.sender;
        let unsubscribe = self.personal_url("unsubscribe", Purpose::Unsubscribe, &lead.lead_id, None);
        OutgoingMail {
            from: mailbox(&mail.from.name, mail.from.address.as_str()),
            to: lead.email.as_str().to_owned(),
            reply_to: Some(sender.reply_to.as_str().to_owned()),
            subject: mail.subject,
            html: mail.html,
            text: mail.text,
            headers: vec![
                ("List-Unsubscribe", format!("<{unsubscribe}>")),
                ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()),
            ],
            tags: vec![
                ("lead_id", lead.lead_id.to_string()),
                ("engagement_id", row.engagement_id.clone()),
                ("sequence", place.sequence.id.to_string()),
                ("step", place.step.id.to_string()),
                ("attempt", row.attempt.to_string()),
                // In the letters that a tag may hold.
                ("claimed", row.claimed_at.timestamp_millis().to_string()),
            ],
            calendar: calendar.zip(self.funnel.consultation.as_ref()).map(|(consultation, offer)| {
                let now = self.cloud.now();
                calendar::invitation(consultation, offer, lead.email.as_str(), &self.funnel, now)
            }),
        }
    }

    fn manage_url(&self, consultation: &Consultation) -> String {
        let Consultation { consultation_id, version, .. } = consultation;
        let token = self.links.sign_manage(consultation_id, *version, self.cloud.now());
        format!("{}/bookings/{consultation_id}?t={token}", self.public_url)
    }

    fn personal_url(&self, path: &str, purpose: Purpose, subject: &Id, days: Option<i64>) -> String {
        let token = self.links.sign(purpose, subject, days.map(TimeDelta::days), self.cloud.now());
        format!("{}/{path}?t={token}", self.public_url)
    }
}

impl Addressee {
    /// Why nothing should be sent that announces a consultation.
    fn refuses(&self, sequence: &Sequence, enrolment: &Enrolment) -> Option<&'static str> {
        if !sequence.announces_consultation() {
            return None;
        }
        match &self.consultation {
            None => Some("the consultation is not known any more"),
            Some(consultation) if consultation.status != ConsultationStatus::Booked => {
                Some("the consultation no longer stands")
            }
            Some(consultation) if consultation.version != enrolment.generation => {
                Some("the consultation was moved")
            }
            Some(_) => None,
        }
    }
}

/// The step's own time, on the next day that is not over.
fn a_day_later(enrolment: &Enrolment, now: DateTime<Utc>) -> DateTime<Utc> {
    let due = enrolment.next_due.unwrap_or(now) + TimeDelta::days(1);
    if due > now { due } else { now + TimeDelta::days(1) }
}

fn settled(place: &Place<'_>) -> Outcome {
    Outcome::On { to: place.step.next.clone(), why: format!("{} settled", place.step.id) }
}

fn ledger_row(sequence: &Sequence, enrolment: &Enrolment, step: &Step, now: DateTime<Utc>) -> Engagement {
    Engagement {
        lead_id: enrolment.lead_id.clone(),
        engagement_id: enrolment.engagement_id(&step.id),
        email_campaign_id: format!("{}/{}", sequence.id, step.id),
        mail: None,
        class: sequence.class,
        state: EngagementState::Claimed,
        attempt: 1,
        claimed_at: now,
        sent_date: None,
        message_id: None,
        reason: None,
        delivered_at: None,
        soft_bounced_at: None,
        opened: false,
        opened_at: None,
        machine_opened: false,
        clicked: false,
        clicked_at: None,
        click_url: None,
        clicked_links: BTreeSet::new(),
        touches: vec![],
    }
}
