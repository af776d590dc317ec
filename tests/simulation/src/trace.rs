//! The trace of a run: the same seed gives the same one.

use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, TimeDelta, Utc};
use michi::faults::{Call, Verdict, Way};
use serde_json::Value;

/// A hash of everything that happened; with the lines themselves, if somebody wants to read them,
/// it covers what was asked for too.
#[derive(Default)]
pub struct Trace {
    hash: DefaultHasher,
    lines: Option<Vec<String>>,
}

/// A request without what the SDK draws by lot: the order of maps, and its idempotency tokens.
fn canonical(body: &[u8]) -> String {
    let mut body: Value = serde_json::from_slice(body).unwrap_or_default();
    if let Value::Object(fields) = &mut body {
        fields.remove("ClientRequestToken");
        fields.remove("ClientToken");
    }
    body.to_string()
}

impl Trace {
    /// A trace whose lines are kept.
    pub fn kept() -> Self {
        Self { lines: Some(vec![]), ..Self::default() }
    }

    pub fn call(&mut self, now: DateTime<Utc>, call: &Call, verdict: Verdict, status: u16) {
        let Call { function, number, service, operation, request } = call;
        (now.timestamp_micros(), function, number, service, operation, status).hash(&mut self.hash);
        if self.lines.is_some() {
            canonical(request.body()).hash(&mut self.hash);
            let fault = if verdict == Verdict::Pass { "" } else { crate::storm::name_of(verdict) };
            self.line(format!("{now} {function} {number} {service}:{operation} {status} {fault}"));
        }
    }

    /// How many copies of a delivery arrive, and when.
    pub fn copies(&mut self, way: Way, copies: &[TimeDelta]) {
        let seconds: Vec<i64> = copies.iter().map(TimeDelta::num_seconds).collect();
        (way, &seconds).hash(&mut self.hash);
        if self.lines.is_some() && seconds != [0] && !(way == Way::DeletedSchedule && seconds.is_empty()) {
            self.line(format!("{way:?} arrives after {seconds:?} s"));
        }
    }

    /// What a person does.
    pub fn deed(&mut self, now: DateTime<Utc>, what: &str, status: u16) {
        (now.timestamp_micros(), what, status).hash(&mut self.hash);
        self.line(format!("{now} {what} {status}"));
    }

    fn line(&mut self, line: String) {
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
