//! EventBridge: buses, rules and PutEvents.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::lambda::Invocations;
use super::{Answer, AwsError, Ids, unknown_operation};
use crate::clock::Clock;
use crate::faults::Way;
use crate::shelf::{ShelfError, ShelfFile, lock};
use crate::template::{ACCOUNT, REGION, Rule, Stack};

const MAX_ENTRIES: usize = 10;
const MAX_BYTES: usize = 262_144;
/// How many events of clients are kept to be looked at.
const REMEMBERED: usize = 1000;

/// The buses of a stack.
pub(crate) struct Events {
    clock: Clock,
    ids: Ids,
    buses: BTreeSet<String>,
    rules: Vec<Rule>,
    lambda: Arc<Invocations>,
    recent: Mutex<VecDeque<Arc<Value>>>,
}

/// What happened, before the bus puts its envelope around it.
pub(crate) struct Fact {
    pub(crate) source: String,
    pub(crate) detail_type: String,
    pub(crate) detail: Value,
    pub(crate) resources: Vec<String>,
    pub(crate) time: DateTime<Utc>,
}

impl Events {
    pub(crate) fn open(
        stack: &Stack,
        file: Option<&ShelfFile>,
        clock: &Clock,
        lambda: Arc<Invocations>,
    ) -> Result<Self, ShelfError> {
        Ok(Self {
            clock: clock.clone(),
            ids: Ids::open("bus event", "0aeb", file)?,
            buses: stack.buses.clone(),
            rules: stack.rules.clone(),
            lambda,
            recent: Mutex::new(VecDeque::new()),
        })
    }

    /// Puts an event on a bus and hands it to the targets of every rule it fits.
    pub(crate) fn publish(&self, bus: &str, fact: Fact) -> Result<Value, AwsError> {
        let (_, id) = self.ids.next()?;
        let event = json!({
            "version": "0",
            "id": id,
            "detail-type": fact.detail_type,
            "source": fact.source,
            "account": ACCOUNT,
            "time": fact.time.to_rfc3339_opts(SecondsFormat::Secs, true),
            "region": REGION,
            "resources": fact.resources,
            "detail": fact.detail,
        });
        for rule in self.rules.iter().filter(|rule| rule.bus == bus) {
            if rule.pattern.matches(&event) {
                for target in &rule.targets {
                    self.lambda.deliver(target, &event, Way::MailEvent)?;
                }
            }
        }
        Ok(event)
    }

    /// The latest events that clients put on buses, oldest first.
    pub(crate) fn recent(&self) -> Vec<Arc<Value>> {
        lock(&self.recent).iter().cloned().collect()
    }

    pub(crate) fn call(&self, operation: &str, input: &Value) -> Answer {
        match operation {
            "PutEvents" => self.put_events(input),
            _ => Err(unknown_operation(operation)),
        }
    }

    fn put_events(&self, input: &Value) -> Answer {
        let entries = input["Entries"].as_array().map_or(&[] as &[_], Vec::as_slice);
        if entries.is_empty() || entries.len() > MAX_ENTRIES {
            let problem = format!("Entries must have between 1 and {MAX_ENTRIES} members.");
            return Err(AwsError::new("ValidationException", problem));
        }
        let text = |entry: &Value, key: &str| entry[key].as_str().map_or(0, str::len);
        let bytes: usize = entries
            .iter()
            .map(|entry| text(entry, "Source") + text(entry, "DetailType") + text(entry, "Detail"))
            .sum();
        if bytes > MAX_BYTES {
            let problem = "Total size of the entries in the request is over the limit.";
            return Err(AwsError::new("ValidationException", problem));
        }
        let mut results = Vec::with_capacity(entries.len());
        let mut failed = 0;
        for entry in entries {
            match self.put(entry) {
                Ok(id) => results.push(json!({ "EventId": id })),
                Err((code, message)) => {
                    failed += 1;
                    results.push(json!({"ErrorCode": code, "ErrorMessage": message}));
                }
            }
        }
        Ok(json!({"FailedEntryCount": failed, "Entries": results}))
    }

    /// Puts one entry; the error is the entry's, not the request's.
    fn put(&self, entry: &Value) -> Result<Value, (&'static str, String)> {
        let text = |key: &str| match entry[key].as_str() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => {
                let message = format!("Parameter {key} is not valid. Reason: {key} is a required argument.");
                Err(("InvalidArgument", message))
            }
        };
        let (source, detail_type, detail) = (text("Source")?, text("DetailType")?, text("Detail")?);
        if source.starts_with("aws.") {
            let message = "Not authorized for the source.".to_owned();
            return Err(("NotAuthorizedForSourceException", message));
        }
        let detail: Value = serde_json::from_str(&detail)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| ("MalformedDetail", "Detail is malformed.".to_owned()))?;
        let bus = entry["EventBusName"].as_str().unwrap_or("default");
        let bus = bus.rsplit('/').next().unwrap_or_default();
        if !self.buses.contains(bus) {
            let message = format!("Event bus {bus} does not exist.");
            return Err(("ResourceNotFoundException", message));
        }
        let resources = entry["Resources"].as_array().into_iter().flatten();
        let seconds = entry["Time"].as_f64().map(|seconds| format!("{seconds:.0}"));
        let time = seconds
            .and_then(|seconds| DateTime::from_timestamp(seconds.parse().ok()?, 0))
            .unwrap_or_else(|| self.clock.now());
        let fact = Fact {
            source,
            detail_type,
            detail,
            resources: resources.filter_map(|resource| Some(resource.as_str()?.to_owned())).collect(),
            time,
        };
        let event = self.publish(bus, fact).map_err(|error| ("InternalFailure", error.message))?;
        let id = event["id"].clone();
        let mut recent = lock(&self.recent);
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(Arc::new(event));
        Ok(id)
    }
}

#[cfg(test)]
mod tests;
