//! The events that Lambda makes of messages and stream records.

use dynoxide::storage::StreamRecord;
use serde_json::{Map, Value, json};

use crate::aws::sqs::Message;
use crate::template::{REGION, queue_arn, stream_arn};

/// The event for a batch of messages.
pub(super) fn sqs_event(queue: &str, batch: &[Message]) -> Value {
    let records = batch.iter().map(|message| {
        let attributes = message.attributes.iter().map(|(name, value)| {
            let value = json!({
                "stringValue": value["StringValue"],
                "binaryValue": value["BinaryValue"],
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": value["DataType"],
            });
            (name.clone(), without_nulls(value))
        });
        json!({
            "messageId": message.id,
            "receiptHandle": message.receipt(),
            "body": message.body,
            "attributes": message.system_attributes(),
            "messageAttributes": attributes.collect::<Map<_, _>>(),
            "md5OfBody": message.md5(),
            "eventSource": "aws:sqs",
            "eventSourceARN": queue_arn(queue),
            "awsRegion": REGION,
        })
    });
    json!({"Records": records.collect::<Vec<_>>()})
}

/// The event for a batch of a table's stream records.
pub(super) fn stream_event(table: &str, view: &str, batch: &[StreamRecord]) -> Value {
    let arn = stream_arn(table);
    let image = |json: &Option<String>| -> Value {
        let json = json.as_deref();
        json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    };
    let records = batch.iter().map(|record| {
        let sequence = public_sequence(&record.sequence_number);
        let size = record.keys_json.len()
            + record.new_image.as_ref().map_or(0, String::len)
            + record.old_image.as_ref().map_or(0, String::len);
        let change = json!({
            "ApproximateCreationDateTime": record.created_at,
            "Keys": image(&Some(record.keys_json.clone())),
            "NewImage": image(&record.new_image),
            "OldImage": image(&record.old_image),
            "SequenceNumber": sequence,
            "SizeBytes": size,
            "StreamViewType": view,
        });
        json!({
            "eventID": event_id(table, &sequence),
            "eventName": record.event_name,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": REGION,
            "dynamodb": without_nulls(change),
            "eventSourceARN": arn,
        })
    });
    json!({"Records": records.collect::<Vec<_>>()})
}

/// The ids that an answer's `batchItemFailures` names: all of the batch if it names an unknown one.
pub(super) fn failed_items(answer: &Value, ids: &[&str]) -> Vec<String> {
    let failures = answer["batchItemFailures"].as_array();
    let named: Vec<&str> = failures
        .into_iter()
        .flatten()
        .map(|failure| failure["itemIdentifier"].as_str().unwrap_or_default())
        .collect();
    let strange = named.iter().any(|id| !ids.contains(id));
    let failed = if strange { ids } else { &named };
    failed.iter().map(|id| (*id).to_owned()).collect()
}

/// A sequence number as streams show it: 21 digits.
pub(super) fn public_sequence(stored: &str) -> String {
    format!("1{stored:0>20}")
}

/// An event id that is the same whenever the record is delivered.
fn event_id(table: &str, sequence: &str) -> String {
    format!("{:x}", md5::compute(format!("{table}:{sequence}")))
}

fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        map.retain(|_, value| !value.is_null());
    }
    value
}
