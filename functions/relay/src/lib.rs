//! Relay: from facts to their effects. The stream of Events comes in; enrolments, timers, queued
//! work, crossed thresholds and the bus go out. Every effect may be repeated: the stream delivers
//! at least once.

mod people_inside;
mod score;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lambda_events::{
    dynamodb::{Event as StreamEvent, EventRecord},
    event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use cloud::{CallError, Cloud, StartError, bus::Bus, queues::DeadLetters, tables::Tables, timers::Timers};
use content::Funnel;
use domain::{
    condition::Needs,
    event::{Event, Fact},
    lead::{Lead, Mailing},
    limits::{BUS_PATIENCE_MINUTES, RELAY_SECONDS, SCORE_WATCH_DAYS},
    relay::{Effect, concerns_people_inside, starts},
    sequence::{Anchor, EnrolmentState, Entry, Sequence, to_the_second},
    time,
    trigger::{Trigger, is_nth_view},
};
use lambda_runtime::Error;

/// The function's clients, made once.
#[derive(Debug)]
pub struct Relay {
    cloud: Cloud,
    tables: Tables,
    timers: Timers,
    bus: Bus,
    dead_letters: DeadLetters,
    funnel: Arc<Funnel>,
    /// While it is set, the bus is not asked.
    bus_rests_until: Mutex<Option<DateTime<Utc>>>,
    /// Programs that this process has seen to be kept: sequence and version.
    kept: Mutex<BTreeSet<String>>,
}

impl Relay {
    /// Makes the clients.
    ///
    /// # Errors
    /// [`StartError`] if the environment is not as the template makes it.
    pub async fn start(cloud: Cloud, funnel: Arc<Funnel>) -> Result<Self, StartError> {
        let dead_letters = DeadLetters::new(&cloud, "relay")?;
        Ok(Self {
            tables: Tables::new(&cloud),
            timers: Timers::new(&cloud)?,
            bus: Bus::new(&cloud)?,
            dead_letters,
            funnel,
            cloud,
            bus_rests_until: Mutex::default(),
            kept: Mutex::default(),
        })
    }

    /// Takes a batch of the stream. The answer names the first record that could not be done; the
    /// stream comes again from there.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, batch: StreamEvent) -> Result<DynamoDbEventResponse, Error> {
        let mut answer = DynamoDbEventResponse::default();
        let until = self.cloud.now() + TimeDelta::seconds(RELAY_SECONDS);
        for record in batch.records {
            let position = record.change.sequence_number.clone();
            // Ended by Lambda, the function could not say how far it came.
            let done = match self.cloud.now() < until {
                true => self.record(record).await,
                false => {
                    Err(CallError { doing: "taking facts", reason: "those before took too long".into() })
                }
            };
            if let Err(error) = done {
                tracing::error!(%error, "an event's effects could not be done; the stream will bring it again");
                let mut failure = DynamoDbBatchItemFailure::default();
                failure.item_identifier = position;
                answer.batch_item_failures.push(failure);
                break;
            }
        }
        Ok(answer)
    }

    async fn record(&self, record: EventRecord) -> Result<(), CallError> {
        // Facts are never changed; rows disappear only when a person is erased.
        if record.event_name != "INSERT" {
            return Ok(());
        }
        let row = serde_json::to_value(&record.change.new_image).unwrap_or_default();
        let written_at = record.change.approximate_creation_date_time;
        match serde_dynamo::from_item::<_, Event>(record.change.new_image) {
            // Of somebody who was erased the bus hears nothing any more.
            Ok(event) => match self.event(&event).await? {
                true => self.publish(&event, written_at).await,
                false => Ok(()),
            },
            Err(error) => {
                self.dead_letters.put(&format!("the event's row can't be read: {error}"), row).await
            }
        }
    }

    /// Ends come first, so that a fact that ends one sequence and starts another leaves the person
    /// in the new one. `false` for a fact that is nobody's any more.
    async fn event(&self, event: &Event) -> Result<bool, CallError> {
        let lead = match &event.lead_id {
            Some(lead_id) => self.tables.lead(lead_id).await?,
            None => None,
        };
        if !event.counts_for(lead.as_ref()) {
            return Ok(false);
        }
        if concerns_people_inside(event) {
            self.people_inside(event).await?;
        }
        for effect in starts(event, &self.funnel.sequences) {
            match effect {
                Effect::Enrol { sequence, trigger, entry } => {
                    self.enrol(event, sequence, trigger, entry).await?
                }
                Effect::Watch { sequence, trigger, entry } => {
                    self.watch(event, sequence, trigger, entry).await?
                }
            }
        }
        if self.funnel.scoring.listens_to(event.fact.kind()) {
            self.score(event).await?;
        }
        Ok(true)
    }

    /// Tells the bus. Nothing in the stack depends on it, so first mails do not wait for it for long:
    /// what it has not taken after a while is put aside, for somebody to publish, and for a minute what
    /// comes behind it too, unasked: a bus that hangs would hold up everything.
    async fn publish(&self, event: &Event, written_at: DateTime<Utc>) -> Result<(), CallError> {
        let rests = {
            let mut until = self.bus_rests_until.lock().unwrap_or_else(PoisonError::into_inner);
            *until = until.filter(|until| self.cloud.now() < *until);
            until.is_some()
        };
        let told = match rests {
            true => Err(CallError { doing: "publishing a fact", reason: "it took none before".to_owned() }),
            false => self.bus.publish(event).await,
        };
        let Err(error) = told else { return Ok(()) };
        let now = self.cloud.now();
        if now - written_at.max(event.occurred_at) < TimeDelta::minutes(BUS_PATIENCE_MINUTES) {
            return Err(error);
        }
        let until = now + TimeDelta::minutes(1);
        self.bus_rests_until.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(until);
        let aside = serde_json::to_value(event.without_personal_data()).unwrap_or_default();
        self.dead_letters.put(&format!("the bus did not take the fact: {}", error.reason), aside).await
    }

    async fn enrol(
        &self,
        event: &Event,
        sequence: &Sequence,
        trigger: &Trigger,
        entry: Entry,
    ) -> Result<(), CallError> {
        let now = self.cloud.now();
        let needs = needs_at_entry(sequence, trigger);
        let Some(person) = self.tables.person(&entry.lead_id, needs).await? else { return Ok(()) };
        // Who has not confirmed the address is nobody yet, but for the question.
        if person.lead.mailing == Mailing::Pending && !sequence.asks_confirmation() {
            return Ok(());
        }
        let person = person.with(event);
        if let Trigger::Page { times, .. } = trigger
            && !is_nth_view(event, *times, &person.timeline)
        {
            return Ok(());
        }
        let known = person.known(&self.funnel.scoring, Some(entry.at), now);
        let fits = sequence.test.as_ref().is_none_or(|test| test.condition.holds(&known));
        // The stream is no queue: what ends the sequence may have come in before what starts it.
        if !fits || sequence.is_over(&known, to_the_second(entry.at)).is_some() {
            return Ok(());
        }
        let zone = self.zone(&person.lead);
        let entry = Entry { anchor: self.anchor(sequence, &entry, zone).await?, ..entry };
        let planned = sequence.enrol(entry, now, zone);
        self.keep_program(sequence).await?;
        // Who asks anew has not found the question, or was away: the page sends her to her mailbox.
        let asks = matches!(event.fact, Fact::OptInRequested { .. });
        let again = sequence.again || sequence.topic().is_some() || asks;
        if self.tables.enrol(&planned, again).await? {
            tracing::info!(lead_id = %planned.lead_id, enrolment_id = planned.enrolment_id, "a lead was enrolled");
            self.timers.set(&planned, sequence.class, 0, now).await?;
            return self.leave_for(sequence, event, &planned.lead_id).await;
        }
        // Here before: perhaps that time we did not get as far as the timer.
        match self.tables.enrolment(&planned.lead_id, &planned.enrolment_id).await? {
            // Somebody who was only being watched enters by another way.
            Some(known) if known.is_watching() && known.state == EnrolmentState::Active => {
                if self.tables.move_enrolment(&known, &planned).await? {
                    self.timers.set(&planned, sequence.class, 0, now).await?;
                    self.timers.abandon(&known, sequence.class, now).await?;
                }
                self.leave_for(sequence, event, &planned.lead_id).await
            }
            Some(known) if known.generation == planned.generation => {
                self.timers.set(&known, sequence.class, 0, now).await?;
                self.leave_for(sequence, event, &planned.lead_id).await
            }
            _ => Ok(()),
        }
    }

    /// Begins to keep an eye on a person, unless somebody already does or she is inside.
    async fn watch(
        &self,
        event: &Event,
        sequence: &Sequence,
        trigger: &Trigger,
        entry: Entry,
    ) -> Result<(), CallError> {
        let now = self.cloud.now();
        let known = self.tables.enrolment(&entry.lead_id, &sequence.enrolment_id(None)).await?;
        let wanted = known.as_ref().is_none_or(|known| {
            known.state != EnrolmentState::Active && sequence.again && known.generation < entry.generation
        });
        if !wanted {
            // Perhaps that time we did not get as far as the timer.
            return match known.filter(|known| known.is_watching() && known.generation == entry.generation) {
                Some(known) => self.timers.set(&known, sequence.class, 0, now).await,
                None => Ok(()),
            };
        }
        let due = match trigger {
            Trigger::Inactive { days } => event.occurred_at + TimeDelta::days(*days),
            Trigger::ScoreFallsTo(threshold) => {
                let needs = self.funnel.scoring.needs();
                let Some(person) = self.tables.person(&entry.lead_id, needs).await? else { return Ok(()) };
                let person = person.with(event);
                let falls =
                    self.funnel.scoring.falls_to(*threshold, &person.known(&self.funnel.scoring, None, now));
                falls.unwrap_or(now + TimeDelta::days(SCORE_WATCH_DAYS))
            }
            Trigger::Fact(_)
            | Trigger::Told(_)
            | Trigger::Download(_)
            | Trigger::Page { .. }
            | Trigger::Tag(_)
            | Trigger::Stage(_)
            | Trigger::ScoreRisesTo(_)
            | Trigger::Enters(_) => return Ok(()),
        };
        let watched = sequence.watch(entry, due, now);
        if self.tables.enrol(&watched, true).await? {
            self.timers.set(&watched, sequence.class, 0, now).await?;
        }
        Ok(())
    }

    async fn anchor(&self, sequence: &Sequence, entry: &Entry, zone: Tz) -> Result<DateTime<Utc>, CallError> {
        let Some(subject) = entry.subject.as_ref().filter(|_| sequence.program.anchor == Anchor::Renewal)
        else {
            return Ok(entry.anchor);
        };
        let customer = self.tables.customer(subject).await?;
        Ok(customer.map_or(entry.anchor, |customer| time::instant(customer.end_date, NaiveTime::MIN, zone)))
    }

    /// People inside finish the version that they entered, so it must outlive the next deployment.
    async fn keep_program(&self, sequence: &Sequence) -> Result<(), CallError> {
        let name = format!("{}/{}", sequence.id, sequence.program.version);
        if self.kept.lock().unwrap_or_else(PoisonError::into_inner).contains(&name) {
            return Ok(());
        }
        if self.tables.program(&sequence.id, &sequence.program.version).await?.is_none() {
            self.tables.keep_program(&sequence.id, &sequence.program).await?;
        }
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
        Ok(())
    }

    fn zone(&self, lead: &Lead) -> Tz {
        lead.time_zone.unwrap_or(self.funnel.time_zone)
    }
}

/// What an entry has to know of a person.
fn needs_at_entry(sequence: &Sequence, trigger: &Trigger) -> Needs {
    let counted = matches!(trigger, Trigger::Page { .. });
    let history = sequence.exit_needs().and(Needs { timeline: counted, ..Needs::default() });
    sequence.test.as_ref().map_or(history, |test| history.and(test.condition.needs()))
}
