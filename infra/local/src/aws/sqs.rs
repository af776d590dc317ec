//! SQS standard queues: visibility, delay, receive counts and dead-letter queues.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Answer, AwsError, Ids, required, unknown_operation};
use crate::clock::Clock;
use crate::faults::{Faults, Way};
use crate::shelf::{Shelf, ShelfError, ShelfFile, lock, numbered};
use crate::template::{Queue, Stack, queue_arn, queue_url};

const MAX_BODY_BYTES: usize = 1_048_576;
const MAX_BATCH: usize = 10;
const MAX_DELAY_SECONDS: i64 = 900;
const MAX_VISIBILITY_SECONDS: i64 = 43_200;

/// A message as a queue keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    number: u64,
    /// The message's id.
    pub id: String,
    /// What was sent.
    pub body: String,
    /// Message attributes as on the wire: `{"name": {"DataType": …, "StringValue": …}}`.
    pub attributes: Map<String, Value>,
    /// When it was sent.
    pub sent_at: DateTime<Utc>,
    /// How often it was received.
    pub receive_count: u32,
    visible_at: DateTime<Utc>,
    first_received_at: Option<DateTime<Utc>>,
}

impl Message {
    pub(crate) fn receipt(&self) -> String {
        format!("{}-{}", self.number, self.receive_count)
    }

    pub(crate) fn md5(&self) -> String {
        md5_of(self.body.as_bytes())
    }

    /// What SQS tells of a message itself, as texts.
    pub(crate) fn system_attributes(&self) -> Value {
        let first = self.first_received_at.unwrap_or(self.sent_at);
        json!({
            "ApproximateReceiveCount": self.receive_count.to_string(),
            "SentTimestamp": self.sent_at.timestamp_millis().to_string(),
            "SenderId": "AIDALOCALMICHI",
            "ApproximateFirstReceiveTimestamp": first.timestamp_millis().to_string(),
        })
    }
}

/// The queues of a stack.
pub(crate) struct Sqs {
    clock: Clock,
    ids: Ids,
    queues: Mutex<BTreeMap<String, QueueState>>,
    faults: Arc<Faults>,
}

struct QueueState {
    settings: Queue,
    messages: Shelf<Message>,
    /// When each message can be received, soonest first.
    due: BTreeSet<(DateTime<Utc>, u64)>,
}

impl QueueState {
    fn put(&mut self, message: Message) -> Result<(), ShelfError> {
        self.due.insert((message.visible_at, message.number));
        self.messages.insert(numbered(message.number), message)
    }

    fn take(&mut self, number: u64) -> Result<Option<Message>, ShelfError> {
        let message = self.messages.remove(&numbered(number))?;
        if let Some(message) = &message {
            self.due.remove(&(message.visible_at, number));
        }
        Ok(message)
    }

    fn hide(&mut self, number: u64, until: DateTime<Utc>) -> Result<(), ShelfError> {
        let old = self
            .messages
            .update(&numbered(number), |message| std::mem::replace(&mut message.visible_at, until))?;
        if let Some(old) = old {
            self.due.remove(&(old, number));
            self.due.insert((until, number));
        }
        Ok(())
    }

    /// The message that a receipt still stands for.
    fn holder(&self, receipt: &str) -> Result<Option<u64>, AwsError> {
        let parsed = receipt
            .split_once('-')
            .and_then(|(number, count)| Some((number.parse::<u64>().ok()?, count.parse::<u32>().ok()?)));
        let (number, count) = parsed
            .ok_or_else(|| AwsError::new("ReceiptHandleIsInvalid", "The receipt handle is not valid."))?;
        let message = self.messages.get(&numbered(number));
        Ok(message.filter(|message| message.receive_count == count).map(|message| message.number))
    }
}

impl Sqs {
    pub(crate) fn open(
        stack: &Stack,
        file: Option<&ShelfFile>,
        clock: &Clock,
        faults: Arc<Faults>,
    ) -> Result<Self, ShelfError> {
        let mut queues = BTreeMap::new();
        for (name, settings) in &stack.queues {
            let messages: Shelf<Message> = Shelf::open(&format!("queue {name}"), file)?;
            let due = messages.iter().map(|(_, message)| (message.visible_at, message.number)).collect();
            let state = QueueState { settings: settings.clone(), messages, due };
            queues.insert(name.clone(), state);
        }
        Ok(Self {
            clock: clock.clone(),
            ids: Ids::open("message", "0a55", file)?,
            queues: Mutex::new(queues),
            faults,
        })
    }

    /// Sends a message and gives its id; a queue that is not there is an error.
    pub(crate) fn send(
        &self,
        queue: &str,
        body: String,
        attributes: Map<String, Value>,
        delay: Option<TimeDelta>,
    ) -> Result<String, AwsError> {
        let mut queues = lock(&self.queues);
        let state = queues.get_mut(queue).ok_or_else(no_queue)?;
        let (number, id) = self.ids.next()?;
        let now = self.clock.now();
        state.put(Message {
            number,
            id: id.clone(),
            body,
            attributes,
            sent_at: now,
            receive_count: 0,
            visible_at: now + delay.unwrap_or(state.settings.delay),
            first_received_at: None,
        })?;
        Ok(id)
    }

    /// Receives up to `max` messages; those that were received too often go to the dead letters instead.
    pub(crate) fn receive(
        &self,
        queue: &str,
        max: usize,
        visibility: Option<TimeDelta>,
    ) -> Result<Vec<Message>, AwsError> {
        let mut queues = lock(&self.queues);
        let state = queues.get_mut(queue).ok_or_else(no_queue)?;
        let now = self.clock.now();
        let hidden_until = now + visibility.unwrap_or(state.settings.visibility);
        let (mut received, mut dead) = (Vec::new(), Vec::new());
        while received.len() < max {
            let Some((at, number)) = state.due.first().copied().filter(|(at, _)| *at <= now) else {
                break;
            };
            let worn_out = |message: &Message| {
                let redrive = state.settings.redrive.as_ref();
                redrive.is_some_and(|redrive| message.receive_count >= redrive.max_receive_count)
            };
            if state.messages.get(&numbered(number)).is_some_and(worn_out) {
                dead.extend(state.take(number)?);
                continue;
            }
            let message = state.messages.update(&numbered(number), |message| {
                message.receive_count += 1;
                message.first_received_at.get_or_insert(now);
                message.visible_at = hidden_until;
                message.clone()
            })?;
            received.extend(message);
            state.due.remove(&(at, number));
            state.due.insert((hidden_until, number));
            if hidden_until <= now {
                break;
            }
        }
        let redrive = state.settings.redrive.clone();
        if let Some(target) = redrive.and_then(|redrive| queues.get_mut(&redrive.queue)) {
            for mut message in dead {
                message.visible_at = now;
                target.put(message)?;
            }
        }
        Ok(received)
    }

    /// Deletes the message that a receipt stands for; an outdated receipt deletes nothing.
    pub(crate) fn delete(&self, queue: &str, receipt: &str) -> Result<(), AwsError> {
        let mut queues = lock(&self.queues);
        let state = queues.get_mut(queue).ok_or_else(no_queue)?;
        if let Some(number) = state.holder(receipt)? {
            state.take(number)?;
        }
        Ok(())
    }

    fn change_visibility(&self, queue: &str, receipt: &str, visibility: TimeDelta) -> Result<(), AwsError> {
        let mut queues = lock(&self.queues);
        let state = queues.get_mut(queue).ok_or_else(no_queue)?;
        let number = state
            .holder(receipt)?
            .ok_or_else(|| AwsError::new("MessageNotInflight", "The message is not in flight."))?;
        Ok(state.hide(number, self.clock.now() + visibility)?)
    }

    /// When the next message of a queue can be received.
    pub(crate) fn next_due(&self, queue: &str) -> Option<DateTime<Utc>> {
        let queues = lock(&self.queues);
        queues.get(queue)?.due.first().map(|(at, _)| *at)
    }

    pub(crate) fn knows(&self, queue: &str) -> bool {
        lock(&self.queues).contains_key(queue)
    }

    /// All messages of a queue, hidden ones too, in the order they were sent.
    pub(crate) fn messages(&self, queue: &str) -> Vec<Message> {
        let queues = lock(&self.queues);
        let state = queues.get(queue);
        let messages = state.into_iter().flat_map(|state| state.messages.iter());
        messages.map(|(_, message)| message.clone()).collect()
    }

    pub(crate) fn call(&self, operation: &str, input: &Value) -> Answer {
        match operation {
            "SendMessage" => self.send_message(queue_name(input)?, input),
            "SendMessageBatch" => self.batch(input, |queue, entry| self.send_message(queue, entry)),
            "ReceiveMessage" => self.receive_message(input),
            "DeleteMessage" => self.delete_message(queue_name(input)?, input),
            "DeleteMessageBatch" => self.batch(input, |queue, entry| self.delete_message(queue, entry)),
            "ChangeMessageVisibility" => {
                let timeout = seconds(input, "VisibilityTimeout", MAX_VISIBILITY_SECONDS)?;
                let timeout = timeout.ok_or_else(|| missing("VisibilityTimeout"))?;
                let receipt = required(input, "ReceiptHandle")?;
                self.change_visibility(queue_name(input)?, receipt, timeout)?;
                Ok(json!({}))
            }
            "GetQueueAttributes" => self.attributes(input),
            "GetQueueUrl" => {
                let name = required(input, "QueueName")?;
                let known = lock(&self.queues).contains_key(name);
                known.then(|| json!({"QueueUrl": queue_url(name)})).ok_or_else(no_queue)
            }
            "ListQueues" => {
                let prefix = input["QueueNamePrefix"].as_str().unwrap_or_default();
                let queues = lock(&self.queues);
                let names = queues.keys().filter(|name| name.starts_with(prefix));
                let urls: Vec<String> = names.map(|name| queue_url(name)).collect();
                Ok(json!({ "QueueUrls": urls }))
            }
            "PurgeQueue" => {
                let mut queues = lock(&self.queues);
                let state = queues.get_mut(queue_name(input)?).ok_or_else(no_queue)?;
                state.messages.drain()?;
                state.due.clear();
                Ok(json!({}))
            }
            _ => Err(unknown_operation(operation)),
        }
    }

    fn send_message(&self, queue: &str, input: &Value) -> Answer {
        let body = required(input, "MessageBody")?;
        if body.is_empty() {
            return Err(missing("MessageBody"));
        }
        if body.len() > MAX_BODY_BYTES {
            let problem = format!("Message must be shorter than {MAX_BODY_BYTES} bytes.");
            return Err(AwsError::new("InvalidParameterValue", problem));
        }
        if let Some(character) = body.chars().find(|character| !is_allowed(*character)) {
            let problem = format!("Invalid character {character:?} in the message.");
            return Err(AwsError::new("InvalidMessageContents", problem));
        }
        let delay = seconds(input, "DelaySeconds", MAX_DELAY_SECONDS)?;
        let attributes = input["MessageAttributes"].as_object().cloned();
        let attributes = attributes.unwrap_or_default();
        let mut answer = json!({"MD5OfMessageBody": md5_of(body.as_bytes())});
        if !attributes.is_empty() {
            answer["MD5OfMessageAttributes"] = md5_of_attributes(&attributes).into();
        }
        let own = delay.unwrap_or_default();
        let mut copies = self.faults.copies(Way::Message).into_iter();
        let delay = copies.next().map(|late| own + late).filter(|delay| !delay.is_zero()).or(delay);
        answer["MessageId"] = self.send(queue, body.to_owned(), attributes.clone(), delay)?.into();
        for late in copies {
            self.send(queue, body.to_owned(), attributes.clone(), Some(own + late))?;
        }
        Ok(answer)
    }

    fn delete_message(&self, queue: &str, input: &Value) -> Answer {
        self.delete(queue, required(input, "ReceiptHandle")?)?;
        Ok(json!({}))
    }

    /// Runs each entry of a batch by itself; the answer says which failed.
    fn batch(&self, input: &Value, one: impl Fn(&str, &Value) -> Answer) -> Answer {
        let queue = queue_name(input)?;
        if !lock(&self.queues).contains_key(queue) {
            return Err(no_queue());
        }
        let entries = input["Entries"].as_array().cloned().unwrap_or_default();
        let ids: BTreeSet<&str> = entries.iter().filter_map(|e| e["Id"].as_str()).collect();
        let problem = match entries.len() {
            0 => Some("EmptyBatchRequest"),
            count if count > MAX_BATCH => Some("TooManyEntriesInBatchRequest"),
            count if count != ids.len() => Some("BatchEntryIdsNotDistinct"),
            _ => None,
        };
        if let Some(code) = problem {
            return Err(AwsError::new(code, "The batch cannot be taken as it is."));
        }
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for entry in &entries {
            match one(queue, entry) {
                Ok(mut answer) => {
                    answer["Id"] = entry["Id"].clone();
                    successful.push(answer);
                }
                Err(error) => failed.push(json!({"Id": entry["Id"], "Code": error.code,
                    "Message": error.message, "SenderFault": true})),
            }
        }
        Ok(json!({"Successful": successful, "Failed": failed}))
    }

    fn receive_message(&self, input: &Value) -> Answer {
        let max = input["MaxNumberOfMessages"].as_u64().unwrap_or(1);
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        if max == 0 || max > MAX_BATCH {
            let problem = format!("MaxNumberOfMessages must be between 1 and {MAX_BATCH}.");
            return Err(AwsError::new("InvalidParameterValue", problem));
        }
        let visibility = seconds(input, "VisibilityTimeout", MAX_VISIBILITY_SECONDS)?;
        let received = self.receive(queue_name(input)?, max, visibility)?;
        let messages = received.iter().map(|message| {
            let mut wire = json!({
                "MessageId": message.id,
                "ReceiptHandle": message.receipt(),
                "MD5OfBody": message.md5(),
                "Body": message.body,
            });
            let asked = |key: &str| input[key].as_array().is_some_and(|list| !list.is_empty());
            if asked("AttributeNames") || asked("MessageSystemAttributeNames") {
                wire["Attributes"] = message.system_attributes();
            }
            if asked("MessageAttributeNames") && !message.attributes.is_empty() {
                wire["MessageAttributes"] = Value::Object(message.attributes.clone());
                wire["MD5OfMessageAttributes"] = md5_of_attributes(&message.attributes).into();
            }
            wire
        });
        let messages: Vec<Value> = messages.collect();
        Ok(match messages.is_empty() {
            true => json!({}),
            false => json!({ "Messages": messages }),
        })
    }

    fn attributes(&self, input: &Value) -> Answer {
        let name = queue_name(input)?;
        let queues = lock(&self.queues);
        let state = queues.get(name).ok_or_else(no_queue)?;
        let now = self.clock.now();
        let visible = state.due.range(..=(now, u64::MAX)).count();
        let hidden = state.messages.iter().filter(|(_, m)| m.visible_at > now);
        let (in_flight, delayed): (Vec<_>, Vec<_>) = hidden.partition(|(_, m)| m.receive_count > 0);
        let mut all = json!({
            "QueueArn": queue_arn(name),
            "ApproximateNumberOfMessages": visible.to_string(),
            "ApproximateNumberOfMessagesNotVisible": in_flight.len().to_string(),
            "ApproximateNumberOfMessagesDelayed": delayed.len().to_string(),
            "VisibilityTimeout": state.settings.visibility.num_seconds().to_string(),
            "DelaySeconds": state.settings.delay.num_seconds().to_string(),
        });
        if let Some(redrive) = &state.settings.redrive {
            let policy = json!({"deadLetterTargetArn": queue_arn(&redrive.queue),
                "maxReceiveCount": redrive.max_receive_count});
            all["RedrivePolicy"] = policy.to_string().into();
        }
        let asked = input["AttributeNames"].as_array().cloned();
        let asked = asked.unwrap_or_default();
        if let Value::Object(map) = &mut all
            && !asked.iter().any(|name| name == "All")
        {
            map.retain(|key, _| asked.iter().any(|name| name == key));
        }
        Ok(json!({ "Attributes": all }))
    }
}

/// The code of SQS's older protocol for an error.
pub(super) fn query_code(code: &str) -> String {
    match code {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue".to_owned(),
        "EmptyBatchRequest"
        | "TooManyEntriesInBatchRequest"
        | "BatchEntryIdsNotDistinct"
        | "MessageNotInflight" => format!("AWS.SimpleQueueService.{code}"),
        _ => code.to_owned(),
    }
}

fn no_queue() -> AwsError {
    AwsError::new("QueueDoesNotExist", "The specified queue does not exist.")
}

fn missing(parameter: &str) -> AwsError {
    let problem = format!("The request must contain the parameter {parameter}.");
    AwsError::new("MissingParameter", problem)
}

fn queue_name(input: &Value) -> Result<&str, AwsError> {
    let url = required(input, "QueueUrl")?;
    Ok(url.rsplit('/').next().unwrap_or_default())
}

fn seconds(input: &Value, key: &str, max: i64) -> Result<Option<TimeDelta>, AwsError> {
    let Some(value) = input.get(key).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let value = value.as_i64().filter(|value| (0..=max).contains(value));
    value.map(TimeDelta::seconds).map(Some).ok_or_else(|| {
        let problem = format!("{key} must be between 0 and {max} seconds.");
        AwsError::new("InvalidParameterValue", problem)
    })
}

/// SQS takes what XML 1.0 takes.
fn is_allowed(character: char) -> bool {
    matches!(character, '\u{9}' | '\u{A}' | '\u{D}' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

fn md5_of(bytes: &[u8]) -> String {
    format!("{:x}", md5::compute(bytes))
}

/// The digest that SQS defines: name, type and value in the order of the names, each after its length.
fn md5_of_attributes(attributes: &Map<String, Value>) -> String {
    let mut bytes = Vec::new();
    for (name, value) in attributes {
        add_with_length(&mut bytes, name.as_bytes());
        add_with_length(&mut bytes, value["DataType"].as_str().unwrap_or_default().as_bytes());
        if let Some(text) = value["BinaryValue"].as_str() {
            bytes.push(2);
            add_with_length(&mut bytes, &STANDARD.decode(text).unwrap_or_default());
        } else {
            bytes.push(1);
            let text = value["StringValue"].as_str().unwrap_or_default();
            add_with_length(&mut bytes, text.as_bytes());
        }
    }
    md5_of(&bytes)
}

fn add_with_length(bytes: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(part);
}

#[cfg(test)]
mod tests;
