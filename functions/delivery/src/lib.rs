//! Delivery: one piece of due work, one mail at most, then on through the sequence until the next
//! time to wait.
//!
//! For a mail, in this order: look at the enrolment again, claim the send in the ledger (which
//! checks in the same transaction that the person still is as she was when it was decided), hand
//! the mail to SES, settle the ledger, move the person on, set the next timer. Stopped anywhere, the
//! message comes back and goes on from where the ledger stands. The other steps can be repeated
//! without harm.

mod broadcast;
mod calendar;
mod notice;
mod send;
mod step;

use std::sync::Arc;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use cloud::{
    CallError, Cloud, StartError, keys::Keys, mailer::Mailer, queues::DeadLetters, queues::Queues,
    tables::Tables, timers::Timers,
};
use content::Funnel;
use domain::{
    broadcast::BroadcastTick,
    condition::Needs,
    engagement::{Engagement, EngagementState},
    id::Id,
    limits::{DELIVERY_SECONDS, SCORE_WATCH_DAYS, STEPS, UNKNOWN_TRIES},
    sequence::{Act, DueStep, Enrolment, Program, Sequence, Step, Turn, turn},
    trigger::Trigger,
};
use integrations::webhook::Webhooks;
use lambda_runtime::Error;
use serde::Deserialize;
use web::link::Links;

/// The function's clients, made once.
#[derive(Debug)]
pub struct Delivery {
    cloud: Cloud,
    tables: Tables,
    timers: Timers,
    queues: Queues,
    mailer: Mailer,
    dead_letters: DeadLetters,
    links: Links,
    webhooks: Webhooks,
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

/// What the queues hold.
#[derive(Deserialize)]
#[serde(untagged)]
enum Work {
    Step(DueStep),
    Broadcast(BroadcastTick),
}

/// How a message came.
#[derive(Clone, Copy)]
struct Errand {
    /// How often it has been tried.
    tries: u32,
    /// Until when its batch takes on new work.
    until: DateTime<Utc>,
}

/// A person at a step of a sequence.
struct Place<'a> {
    sequence: &'a Sequence,
    program: &'a Program,
    enrolment: Enrolment,
    step: &'a Step,
    /// How often its message went through our own queues.
    hops: u32,
    errand: Errand,
}

/// What becomes of a person at a step.
enum Outcome {
    /// She goes on to that step (none is the end).
    On { to: Option<Id>, why: String },
    /// The same, and the way that was taken is worth remembering.
    Decided { to: Option<Id>, why: String },
    /// The step is put off.
    PutOff { until: DateTime<Utc>, why: String },
    /// The same, for a reason that somebody should see.
    Held { until: DateTime<Utc>, why: String },
    /// She waits there for something to happen.
    Waits { until: DateTime<Utc>, why: String },
    /// She leaves the sequence.
    Out(String),
}

impl Delivery {
    /// Makes the clients and reads the keys.
    ///
    /// # Errors
    /// [`StartError`] if the environment or the keys are not as the template makes them.
    pub async fn start(cloud: Cloud, funnel: Arc<Funnel>) -> Result<Self, StartError> {
        let links = Links::new(Keys::load(&cloud).await?.link_keys());
        Ok(Self {
            tables: Tables::new(&cloud).keeping(funnel.retention),
            timers: Timers::new(&cloud)?,
            queues: Queues::new(&cloud)?,
            mailer: Mailer::new(&cloud)?,
            dead_letters: DeadLetters::new(&cloud, "delivery")?,
            webhooks: Webhooks::new(cloud.http.clone(), links.webhook_secret()),
            links,
            public_url: cloud.public_url()?,
            funnel,
            cloud,
        })
    }

    /// Takes a batch of messages. The answer names those that have to come back: what could not be
    /// done, and what there was no time for. Lambda would end the function in the middle of a mail, and
    /// every such mail is in doubt.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, batch: SqsEvent) -> Result<SqsBatchResponse, Error> {
        let mut answer = SqsBatchResponse::default();
        let until = self.cloud.now() + TimeDelta::seconds(DELIVERY_SECONDS);
        for message in batch.records {
            let id = message.message_id.clone().unwrap_or_default();
            let done = match self.cloud.now() < until {
                true => self.message(message, until).await,
                false => Err(Later::Because("the messages before it took too long".to_owned())),
            };
            if let Err(later) = done {
                tracing::warn!(error = %later, "a step was not finished");
                let mut failure = BatchItemFailure::default();
                failure.item_identifier = id;
                answer.batch_item_failures.push(failure);
            }
        }
        Ok(answer)
    }

    async fn message(&self, message: SqsMessage, until: DateTime<Utc>) -> Result<(), Later> {
        let tries = message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok());
        let errand = Errand { tries: tries.unwrap_or(1), until };
        let body = message.body.unwrap_or_default();
        match serde_json::from_str(&body) {
            Ok(Work::Step(work)) => self.work(work, errand).await,
            Ok(Work::Broadcast(tick)) => self.tick(&tick).await,
            Err(_) => {
                let event = serde_json::from_str(&body).unwrap_or(serde_json::Value::String(body));
                let reason = "the message is neither a due step nor a broadcast's tick";
                Ok(self.dead_letters.put(reason, event).await?)
            }
        }
    }

    /// Takes the step that is due, and those after it that are due at once.
    async fn work(&self, mut work: DueStep, errand: Errand) -> Result<(), Later> {
        // Steps lead forward only, so this many are all there can be.
        for _ in 0..STEPS {
            match self.turn(&work, errand).await? {
                Some(next) => work = next,
                None => break,
            }
        }
        Ok(())
    }

    async fn turn(&self, work: &DueStep, errand: Errand) -> Result<Option<DueStep>, Later> {
        let Some(enrolment) = self.tables.enrolment(&work.lead_id, &work.enrolment_id).await? else {
            return Ok(None);
        };
        let Some(sequence) = self.funnel.sequence(&enrolment.sequence) else {
            if errand.tries < UNKNOWN_TRIES {
                return Err(Later::Because("this version of the funnel has no such sequence".to_owned()));
            }
            self.end_claims(work).await?;
            return self.leave(enrolment, "the funnel has no such sequence any more").await;
        };
        let program = self.tables.program_for(&enrolment, sequence).await?;
        if program.version != enrolment.program {
            // She was moved over; what she goes on in must outlive the next edit too.
            self.tables.keep_program(&sequence.id, &program).await?;
        }
        let now = self.cloud.now();
        let turn = turn(&program, &enrolment, work, now);
        if matches!(turn, Turn::Outdated | Turn::Lost | Turn::Pass(..)) {
            self.end_claims(work).await?;
        }
        let at = |step| Place {
            sequence,
            program: &program,
            enrolment: enrolment.clone(),
            step,
            hops: work.hops,
            errand,
        };
        let (place, outcome) = match turn {
            Turn::Outdated => return Ok(None),
            Turn::Lost => return self.leave(enrolment, "the sequence has no such step any more").await,
            Turn::Watch => return self.look(sequence, enrolment, work.hops).await,
            Turn::Behind | Turn::Wait(_) => {
                self.timers.set(&enrolment, sequence.class, work.hops + 1, now).await?;
                return Ok(None);
            }
            Turn::Pass(step, reason) => {
                self.skip(sequence, &enrolment, step, reason).await?;
                let why = format!("{} settled: {reason}", step.id);
                (at(step), Outcome::On { to: step.next.clone(), why })
            }
            Turn::Take(step) => {
                let place = at(step);
                let outcome = self.take(&place).await?;
                (place, outcome)
            }
        };
        self.settle(place, outcome).await
    }

    /// Moves the person, and says what is due at once after that, if there is time for it.
    async fn settle(&self, place: Place<'_>, outcome: Outcome) -> Result<Option<DueStep>, Later> {
        let Place { sequence, program, enrolment, step, hops, errand } = place;
        let (now, before) = (self.cloud.now(), enrolment.clone());
        let zone = self.zone(&enrolment.lead_id).await?;
        let decided = |enrolment: Enrolment, why: &str| enrolment.decided(&step.id, why.to_owned(), now);
        let after = match outcome {
            Outcome::Out(why) => return self.leave(enrolment, &why).await,
            Outcome::On { to, why } => program.advance(enrolment, to, &why, now, zone),
            Outcome::Decided { to, why } => program.advance(decided(enrolment, &why), to, &why, now, zone),
            Outcome::PutOff { until, why } => program.postpone(enrolment, until, &why, zone),
            Outcome::Held { until, why } => program.postpone(decided(enrolment, &why), until, &why, zone),
            Outcome::Waits { until, why } => enrolment.waiting_until(until, why),
        };
        if !self.tables.move_enrolment(&before, &after).await? {
            // Stopped, restarted or woken while we looked: whoever did that set the next timer.
            return Ok(None);
        }
        if let (true, Act::WaitFor { test, then, .. }) = (after.waiting, &step.act)
            && self.holds(&after, test).await?
        {
            // It came true between our look and our waiting, when the relay saw nobody wait.
            let outcome = Outcome::Decided { to: then.clone(), why: format!("{} is true", test.text) };
            let place = Place { sequence, program, enrolment: after, step, hops, errand };
            return Box::pin(self.settle(place, outcome)).await;
        }
        match (after.step.as_ref(), after.next_due) {
            (Some(step), Some(due)) if due <= now && now < errand.until => Ok(Some(DueStep {
                lead_id: after.lead_id.clone(),
                enrolment_id: after.enrolment_id.clone(),
                generation: after.generation,
                step: step.clone(),
                hops,
            })),
            _ => {
                self.timers.set(&after, sequence.class, hops, now).await?;
                Ok(None)
            }
        }
    }

    /// Looks whether somebody who is being watched has come to enter.
    async fn look(
        &self,
        sequence: &Sequence,
        enrolment: Enrolment,
        hops: u32,
    ) -> Result<Option<DueStep>, Later> {
        let now = self.cloud.now();
        let needs = sequence.test.as_ref().map_or(Needs::default(), |test| test.condition.needs());
        let needs = needs.and(self.funnel.scoring.needs());
        let Some(person) = self.tables.person(&enrolment.lead_id, needs).await? else {
            return self.leave(enrolment, "the person is not known any more").await;
        };
        let known = person.known(&self.funnel.scoring, None, now);
        let again = match sequence.watched() {
            Some(Trigger::Inactive { days }) => {
                let until = known.last_activity() + TimeDelta::days(*days);
                (until > now).then_some(until)
            }
            Some(Trigger::ScoreFallsTo(threshold)) => {
                let total = self.funnel.scoring.score(&known).total;
                let falls = self.funnel.scoring.falls_to(*threshold, &known);
                let later = falls.unwrap_or(now + TimeDelta::days(SCORE_WATCH_DAYS));
                (total > *threshold).then_some(later)
            }
            _ => return self.leave(enrolment, "nothing has to be watched any more").await,
        };
        let fits = sequence.test.as_ref().is_none_or(|test| test.condition.holds(&known));
        let zone = person.lead.time_zone.unwrap_or(self.funnel.time_zone);
        let after = match again {
            Some(until) => enrolment.clone().watched_until(until),
            // Not for her now; but she may become one whom it fits.
            None if !fits => enrolment.clone().watched_until(now + TimeDelta::days(SCORE_WATCH_DAYS)),
            None => {
                self.tables.keep_program(&sequence.id, &sequence.program).await?;
                tracing::info!(lead_id = %enrolment.lead_id, enrolment_id = enrolment.enrolment_id, "a lead was enrolled");
                sequence.begin(enrolment.clone(), "enrolled", now, zone)
            }
        };
        // What this entry ends goes first: once she has entered, nobody comes back for it.
        if !after.is_watching() {
            self.leave_others(sequence, &enrolment.lead_id).await?;
        }
        if self.tables.move_enrolment(&enrolment, &after).await? {
            self.timers.set(&after, sequence.class, hops, now).await?;
        }
        Ok(None)
    }

    /// Takes the person out of the sequences that end when she enters this one.
    async fn leave_others(&self, entered: &Sequence, lead_id: &Id) -> Result<(), Later> {
        let trigger = Trigger::Enters(entered.id.clone());
        let ended = |enrolment: &Enrolment| {
            let sequence = self.funnel.sequence(&enrolment.sequence);
            !enrolment.is_watching() && sequence.is_some_and(|sequence| sequence.exit.contains(&trigger))
        };
        if !self.funnel.sequences.iter().any(|sequence| sequence.exit.contains(&trigger)) {
            return Ok(());
        }
        for enrolment in self.tables.enrolments(lead_id).await?.into_iter().filter(ended) {
            self.leave(enrolment, &format!("entered {}", entered.id)).await?;
        }
        Ok(())
    }

    async fn leave(&self, enrolment: Enrolment, why: &str) -> Result<Option<DueStep>, Later> {
        if let Some(stopped) = enrolment.clone().stop(why)
            && !self.tables.move_enrolment(&enrolment, &stopped).await?
        {
            return Err(Later::Because("the enrolment was moved by somebody else".to_owned()));
        }
        Ok(None)
    }

    /// Nobody will take this step any more, nor those that were taken at once after it. If their sender
    /// stopped half way, the ledger learns it here.
    async fn end_claims(&self, work: &DueStep) -> Result<(), Later> {
        let prefix = work.engagement_prefix();
        let mut rows = self.tables.engagements(&work.lead_id).await?;
        rows.retain(|row| row.engagement_id.starts_with(&prefix));
        let fresh =
            |row: &Engagement| row.state == EngagementState::Claimed && row.is_fresh(self.cloud.now());
        if rows.iter().any(fresh) {
            return Err(Later::Because("another copy of the step is being sent at this moment".to_owned()));
        }
        for row in &rows {
            self.end(row).await?;
        }
        Ok(())
    }

    async fn zone(&self, lead_id: &Id) -> Result<Tz, Later> {
        let lead = self.tables.lead(lead_id).await?;
        Ok(lead.and_then(|lead| lead.time_zone).unwrap_or(self.funnel.time_zone))
    }
}
