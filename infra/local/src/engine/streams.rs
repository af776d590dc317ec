//! Table streams that trigger functions: in order, halved and repeated when they fail, then given up.

use std::sync::Mutex;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use dynoxide::storage::StreamRecord;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{LocalCloud, records, seen};
use crate::aws::AwsError;
use crate::clock::Clock;
use crate::faults::Way;
use crate::shelf::{Shelf, ShelfError, ShelfFile, lock};
use crate::template::{Stack, StreamSource, function_arn, stream_arn};

/// The longest pause between two tries of a batch.
const MAX_PAUSE: TimeDelta = TimeDelta::seconds(60);

/// How far each stream source has come.
pub(super) struct Streams {
    clock: Clock,
    sources: Vec<StreamSource>,
    progress: Mutex<Shelf<Progress>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// The last record that was handled.
    after: i64,
    /// Parts of a failed batch that are still to be done, first to last.
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Part {
    /// The last record of the part.
    until: i64,
    tried: u32,
    not_before: DateTime<Utc>,
}

/// How an invocation with a batch ended.
enum Outcome {
    Done,
    /// The records from this place on are still to be done.
    FailedAt(usize),
}

impl Streams {
    pub(super) fn open(stack: &Stack, file: Option<&ShelfFile>, clock: &Clock) -> Result<Self, ShelfError> {
        Ok(Self {
            clock: clock.clone(),
            sources: stack.stream_sources.clone(),
            progress: Mutex::new(Shelf::open("streams", file)?),
        })
    }

    /// Delivers every record that is due; whether there was one.
    pub(super) async fn deliver(&self, cloud: &LocalCloud) -> bool {
        let mut any = false;
        for source in &self.sources {
            if !cloud.is_registered(&source.function) {
                continue;
            }
            loop {
                let delivered = self.deliver_batch(cloud, source).await;
                if !seen("a stream", delivered) {
                    break;
                }
                any = true;
            }
        }
        any
    }

    /// When a failed batch is tried again.
    pub(super) fn next_due(&self, cloud: &LocalCloud) -> Option<DateTime<Utc>> {
        let progress = lock(&self.progress);
        let sources = self.sources.iter();
        sources
            .filter(|source| cloud.is_registered(&source.function))
            .filter_map(|source| progress.get(&key(source))?.parts.first())
            .map(|part| part.not_before)
            .min()
    }

    async fn deliver_batch(&self, cloud: &LocalCloud, source: &StreamSource) -> Result<bool, AwsError> {
        let now = self.clock.now();
        let mut progress = lock(&self.progress).get(&key(source)).cloned().unwrap_or_default();
        if progress.parts.first().is_some_and(|part| part.not_before > now) {
            return Ok(false);
        }
        let dynamodb = &cloud.0.aws.dynamodb;
        let batch = dynamodb.stream_records(&source.table, progress.after, source.batch_size);
        let mut batch = batch.map_err(broken)?;
        if let Some(part) = progress.parts.first() {
            batch.retain(|record| sequence(record) <= part.until);
        }
        let Some(last) = batch.last().map(sequence) else {
            return Ok(false);
        };
        let part = match progress.parts.is_empty() {
            true => Part { until: last, tried: 0, not_before: now },
            false => progress.parts.remove(0),
        };
        if source.max_age.is_some_and(|age| is_older(&batch, now - age)) {
            self.give_up(cloud, source, &batch, &part, "RecordAgeExceeded")?;
            progress.after = part.until;
        } else {
            match self.invoke(cloud, source, &batch).await {
                Outcome::Done => {
                    progress.after = part.until;
                    self.again(cloud, source, &batch)?;
                }
                Outcome::FailedAt(place) => {
                    self.after_failure(cloud, source, &batch, place, part, &mut progress)?;
                }
            }
        }
        let after = progress.after;
        lock(&self.progress).insert(key(source), progress)?;
        dynamodb.prune_stream(&source.table, after).map_err(broken)?;
        Ok(true)
    }

    /// A batch that was handled may come once more, and late.
    fn again(
        &self,
        cloud: &LocalCloud,
        source: &StreamSource,
        batch: &[StreamRecord],
    ) -> Result<(), AwsError> {
        for late in cloud.0.aws.faults.copies(Way::Stream).into_iter().skip(1) {
            let event = self.event(cloud, source, batch);
            cloud.0.aws.lambda.add(&source.function, event, late)?;
        }
        Ok(())
    }

    fn event(&self, cloud: &LocalCloud, source: &StreamSource, batch: &[StreamRecord]) -> Value {
        let table = cloud.0.stack.tables.get(&source.table);
        let view = table.and_then(|table| table["StreamSpecification"]["StreamViewType"].as_str());
        records::stream_event(&source.table, view.unwrap_or_default(), batch)
    }

    async fn invoke(&self, cloud: &LocalCloud, source: &StreamSource, batch: &[StreamRecord]) -> Outcome {
        let event = self.event(cloud, source, batch);
        let answer = match cloud.invoke(&source.function, event).await {
            Ok(answer) if source.reports_failures => answer,
            Ok(_) => return Outcome::Done,
            Err(problem) => {
                tracing::warn!(function = source.function, problem, "a batch failed");
                return Outcome::FailedAt(0);
            }
        };
        let ids: Vec<String> =
            batch.iter().map(|record| records::public_sequence(&record.sequence_number)).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let failed = records::failed_items(&answer, &ids);
        match ids.iter().position(|id| failed.iter().any(|f| f == id)) {
            Some(place) => Outcome::FailedAt(place),
            None => Outcome::Done,
        }
    }

    /// Puts back what is still to be done, or gives up on it.
    fn after_failure(
        &self,
        cloud: &LocalCloud,
        source: &StreamSource,
        batch: &[StreamRecord],
        place: usize,
        mut part: Part,
        progress: &mut Progress,
    ) -> Result<(), AwsError> {
        if place > 0 {
            progress.after = sequence(&batch[place - 1]);
            part.tried = 0;
        } else if source.bisect && batch.len() > 1 {
            let first = Part { until: sequence(&batch[batch.len() / 2 - 1]), ..part.clone() };
            progress.parts.splice(0..0, [first, part]);
            return Ok(());
        }
        part.tried += 1;
        if source.max_retries.is_some_and(|max| part.tried > max) {
            self.give_up(cloud, source, &batch[place..], &part, "RetryAttemptsExhausted")?;
            progress.after = part.until;
            return Ok(());
        }
        let doubled = 1_i64 << (part.tried - 1).min(6);
        let pause = TimeDelta::seconds(doubled).min(MAX_PAUSE);
        part.not_before = self.clock.now() + pause;
        progress.parts.insert(0, part);
        Ok(())
    }

    /// Tells the on-failure queue which records were left out; it names them and does not hold them.
    fn give_up(
        &self,
        cloud: &LocalCloud,
        source: &StreamSource,
        batch: &[StreamRecord],
        part: &Part,
        condition: &str,
    ) -> Result<(), AwsError> {
        let Some(queue) = &source.on_failure else {
            return Ok(());
        };
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return Ok(());
        };
        let time = |record: &StreamRecord| {
            let time = DateTime::from_timestamp(record.created_at, 0).unwrap_or_default();
            time.to_rfc3339_opts(SecondsFormat::Millis, true)
        };
        let function = format!("{}-{}", cloud.0.stack.name, source.function);
        let message: Value = json!({
            "version": "1.0",
            "timestamp": self.clock.now().to_rfc3339_opts(SecondsFormat::Millis, true),
            "requestContext": {
                "functionArn": function_arn(&function),
                "condition": condition,
                "approximateInvokeCount": part.tried,
            },
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "DDBStreamBatchInfo": {
                "shardId": dynoxide::streams::shard_id(&source.table),
                "startSequenceNumber": records::public_sequence(&first.sequence_number),
                "endSequenceNumber": records::public_sequence(&last.sequence_number),
                "approximateArrivalOfFirstRecord": time(first),
                "approximateArrivalOfLastRecord": time(last),
                "batchSize": batch.len(),
                "streamArn": stream_arn(&source.table),
            },
        });
        let sqs = &cloud.0.aws.sqs;
        sqs.send(queue, message.to_string(), Map::new(), None)?;
        Ok(())
    }
}

fn key(source: &StreamSource) -> String {
    format!("{} > {}", source.table, source.function)
}

fn sequence(record: &StreamRecord) -> i64 {
    record.sequence_number.parse().unwrap_or(0)
}

fn is_older(batch: &[StreamRecord], limit: DateTime<Utc>) -> bool {
    batch.first().is_some_and(|record| record.created_at < limit.timestamp())
}

fn broken(error: dynoxide::DynoxideError) -> AwsError {
    AwsError::from(ShelfError::from(error))
}
