//! Relay: from facts to their effects. The stream of Events comes in; enrolments, timers, queued
//! work and the bus go out. Every effect may be repeated: the stream delivers at least once.

use std::sync::Arc;

use aws_lambda_events::{
    dynamodb::{Event as StreamEvent, EventRecord},
    event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use cloud::{CallError, Cloud, StartError, bus::Bus, queues::DeadLetters, tables::Tables, timers::Timers};
use content::Funnel;
use domain::{
    event::Event,
    relay::{Effect, effects},
    sequence::{EnrolmentState, Entry, Sequence},
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
        })
    }

    /// Takes a batch of the stream. The answer names the first record that could not be done; the
    /// stream comes again from there.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, batch: StreamEvent) -> Result<DynamoDbEventResponse, Error> {
        let mut answer = DynamoDbEventResponse::default();
        for record in batch.records {
            let position = record.change.sequence_number.clone();
            if let Err(error) = self.record(record).await {
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
        match serde_dynamo::from_item::<_, Event>(record.change.new_image) {
            Ok(event) => self.event(&event).await,
            Err(error) => {
                self.dead_letters.put(&format!("the event's row can't be read: {error}"), row).await
            }
        }
    }

    async fn event(&self, event: &Event) -> Result<(), CallError> {
        for effect in effects(event, &self.funnel.sequences) {
            match effect {
                Effect::Stop { enrolment_id } => self.stop(event, &enrolment_id).await?,
                Effect::Enrol { sequence, entry } => self.enrol(sequence, entry).await?,
            }
        }
        self.bus.publish(event).await
    }

    async fn enrol(&self, sequence: &Sequence, entry: Entry) -> Result<(), CallError> {
        let Some(lead) = self.tables.lead(&entry.lead_id).await? else { return Ok(()) };
        let zone = lead.time_zone.unwrap_or(self.funnel.time_zone);
        let now = self.cloud.now();
        let again = sequence.again || sequence.topic().is_some();
        let planned = sequence.enrol(entry, now, zone);
        if self.tables.enrol(&planned, again).await? {
            tracing::info!(lead_id = %planned.lead_id, enrolment_id = planned.enrolment_id, "a lead was enrolled");
            return self.timers.set(&planned, sequence.class, 0, now).await;
        }
        // Here before: perhaps that time we did not get as far as the timer.
        match self.tables.enrolment(&planned.lead_id, &planned.enrolment_id).await? {
            Some(known) if known.generation == planned.generation => {
                self.timers.set(&known, sequence.class, 0, now).await
            }
            _ => Ok(()),
        }
    }

    async fn stop(&self, event: &Event, enrolment_id: &str) -> Result<(), CallError> {
        let Some(lead_id) = event.lead_id.as_ref() else { return Ok(()) };
        // It may take a step while we look; then we look again.
        while let Some(enrolment) = self.tables.enrolment(lead_id, enrolment_id).await? {
            if enrolment.state != EnrolmentState::Active {
                break;
            }
            let Some(stopped) = enrolment.clone().stop(event.fact.kind().as_str()) else { break };
            if self.tables.move_enrolment(&enrolment, &stopped).await? {
                tracing::info!(%lead_id, enrolment_id, "an enrolment was stopped");
                return self.timers.clear(&enrolment).await;
            }
        }
        Ok(())
    }
}
