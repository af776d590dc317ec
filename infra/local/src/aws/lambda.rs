//! Lambda's queue of asynchronous invocations: repeated twice, then told to the on-failure queue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::sqs::Sqs;
use super::{AwsError, Ids};
use crate::clock::Clock;
use crate::faults::{Faults, Way};
use crate::shelf::{Shelf, ShelfError, ShelfFile, lock, numbered};
use crate::template::{Function, Stack, Target, function_arn};

/// An invocation that nobody waits for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Invocation {
    number: u64,
    id: String,
    pub(crate) function: String,
    pub(crate) payload: Value,
    /// How often it was tried.
    tried: u32,
}

/// The invocations that are still to be made.
pub(crate) struct Invocations {
    clock: Clock,
    ids: Ids,
    stack: String,
    functions: BTreeMap<String, Function>,
    /// By function, due time and number.
    pending: Mutex<Shelf<Invocation>>,
    sqs: Arc<Sqs>,
    pub(super) faults: Arc<Faults>,
}

impl Invocations {
    pub(crate) fn open(
        stack: &Stack,
        file: Option<&ShelfFile>,
        clock: &Clock,
        sqs: Arc<Sqs>,
        faults: Arc<Faults>,
    ) -> Result<Self, ShelfError> {
        Ok(Self {
            clock: clock.clone(),
            ids: Ids::open("invocation", "0a1a", file)?,
            stack: stack.name.clone(),
            functions: stack.functions.clone(),
            pending: Mutex::new(Shelf::open("invocations", file)?),
            sqs,
            faults,
        })
    }

    pub(crate) fn add(&self, function: &str, payload: Value, delay: TimeDelta) -> Result<(), ShelfError> {
        let (number, id) = self.ids.next()?;
        let invocation = Invocation { number, id, function: function.to_owned(), payload, tried: 0 };
        let key = key(function, self.clock.now() + delay, number);
        lock(&self.pending).insert(key, invocation)
    }

    /// The first invocation of a function that is due; it stays until it is finished.
    pub(crate) fn first_due(&self, function: &str) -> Option<(String, Invocation)> {
        let pending = lock(&self.pending);
        let (key, invocation) = first(&pending, function)?;
        let due = due_of(key)? <= self.clock.now();
        due.then(|| (key.to_owned(), invocation.clone()))
    }

    pub(crate) fn next_due(&self, function: &str) -> Option<DateTime<Utc>> {
        let pending = lock(&self.pending);
        let (key, _) = first(&pending, function)?;
        due_of(key)
    }

    /// Notes how an invocation ended: it is done, tried again later or told to the on-failure queue.
    pub(crate) fn finish(
        &self,
        place: &str,
        mut invocation: Invocation,
        result: Result<Value, String>,
    ) -> Result<(), AwsError> {
        let Err(problem) = result else {
            lock(&self.pending).remove(place)?;
            return Ok(());
        };
        invocation.tried += 1;
        let function = self.functions.get(&invocation.function);
        let retries = function.map_or(0, |function| function.async_retries);
        if invocation.tried <= retries {
            // Lambda waits one minute before the second try and two before the third.
            let wait = TimeDelta::minutes(i64::from(invocation.tried));
            let key = key(&invocation.function, self.clock.now() + wait, invocation.number);
            lock(&self.pending).insert(key, invocation)?;
        } else if let Some(queue) = function.and_then(|function| function.on_failure.as_deref()) {
            let record = self.failure(&invocation, &problem);
            self.sqs.send(queue, record.to_string(), Map::new(), None)?;
        } else {
            tracing::warn!(
                function = invocation.function,
                "an invocation failed for good and nobody is told"
            );
        }
        lock(&self.pending).remove(place)?;
        Ok(())
    }

    fn failure(&self, invocation: &Invocation, problem: &str) -> Value {
        let function = format!("{}-{}", self.stack, invocation.function);
        json!({
            "version": "1.0",
            "timestamp": self.clock.now().to_rfc3339_opts(SecondsFormat::Millis, true),
            "requestContext": {
                "requestId": invocation.id,
                "functionArn": format!("{}:$LATEST", function_arn(&function)),
                "condition": "RetriesExhausted",
                "approximateInvokeCount": invocation.tried,
            },
            "requestPayload": invocation.payload,
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "responsePayload": {"errorType": "Error", "errorMessage": problem},
        })
    }

    /// Sends what a rule or a schedule has for a target: as it is if it is a text, as JSON otherwise.
    pub(crate) fn deliver(&self, target: &Target, payload: &Value, way: Way) -> Result<(), AwsError> {
        for delay in self.faults.copies(way) {
            self.deliver_late(target, payload.clone(), delay)?;
        }
        Ok(())
    }

    /// The same, once, so much later.
    pub(super) fn deliver_late(
        &self,
        target: &Target,
        payload: Value,
        delay: TimeDelta,
    ) -> Result<(), AwsError> {
        match target {
            Target::Queue(queue) => {
                let body = match payload {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                let delay = Some(delay).filter(|delay| !delay.is_zero());
                self.sqs.send(queue, body, Map::new(), delay)?;
            }
            Target::Function(function) => self.add(function, payload, delay)?,
        }
        Ok(())
    }

    /// Whether a target is part of the stack.
    pub(crate) fn knows(&self, target: &Target) -> bool {
        match target {
            Target::Queue(queue) => self.sqs.knows(queue),
            Target::Function(function) => self.functions.contains_key(function),
        }
    }
}

fn first<'a>(pending: &'a Shelf<Invocation>, function: &str) -> Option<(&'a str, &'a Invocation)> {
    // Mostly there is nothing, and this is asked after every step.
    if pending.is_empty() {
        return None;
    }
    pending.first_with_prefix(&format!("{function}|"))
}

fn key(function: &str, due: DateTime<Utc>, number: u64) -> String {
    let micros = u64::try_from(due.timestamp_micros()).unwrap_or(0);
    format!("{function}|{}|{}", numbered(micros), numbered(number))
}

fn due_of(key: &str) -> Option<DateTime<Utc>> {
    let micros = key.split('|').nth(1)?.parse().ok()?;
    DateTime::from_timestamp_micros(micros)
}
