//! The two queues that all mail leaves through, and the place for what can't be read.

use aws_sdk_sqs::Client;
use domain::{broadcast::BroadcastTick, engagement::MailClass, limits::MAX_HOPS, sequence::DueStep};
use serde::{Deserialize, Serialize};

use crate::{CallError, Cloud, StartError};

/// Due work: urgent for what a person waits for, bulk for the rest.
#[derive(Debug, Clone)]
pub struct Queues {
    client: Client,
    urgent_url: String,
    bulk_url: String,
}

impl Queues {
    /// The stack's queues.
    ///
    /// # Errors
    /// [`StartError`] if their URLs are missing.
    pub fn new(cloud: &Cloud) -> Result<Self, StartError> {
        let (urgent_url, bulk_url) = (cloud.env.get("URGENT_QUEUE_URL")?, cloud.env.get("BULK_QUEUE_URL")?);
        Ok(Self { client: Client::new(&cloud.sdk), urgent_url, bulk_url })
    }

    /// Queues a step, to be taken so many seconds from now (at most 900).
    ///
    /// # Errors
    /// [`CallError`] if SQS did not take it, or if it has gone in circles.
    pub async fn send(&self, class: MailClass, work: &DueStep, delay_seconds: i32) -> Result<(), CallError> {
        let body = message(work)?;
        let url = match class {
            MailClass::Transactional => &self.urgent_url,
            MailClass::Marketing => &self.bulk_url,
        };
        let request = self.client.send_message().queue_url(url).message_body(body);
        let answer = request.delay_seconds(delay_seconds).send().await;
        answer.map(|_| ()).map_err(|error| CallError::new("queueing a step", error))
    }

    /// Queues a broadcast's next tick, so many seconds from now (at most 900).
    ///
    /// # Errors
    /// [`CallError`] if SQS did not take it.
    pub async fn send_tick(&self, tick: &BroadcastTick, delay_seconds: i32) -> Result<(), CallError> {
        let doing = "queueing a broadcast";
        let body = serde_json::to_string(tick).map_err(|error| CallError::new(doing, error))?;
        let request = self.client.send_message().queue_url(&self.bulk_url).message_body(body);
        let answer = request.delay_seconds(delay_seconds).send().await;
        answer.map(|_| ()).map_err(|error| CallError::new(doing, error))
    }
}

/// The body of a message about due work.
///
/// # Errors
/// [`CallError`] if it has hopped too often. Lambda's own loop detection is off for delivery: it would
/// stop a broadcast, whose ticks follow each other on purpose, after sixteen.
pub(crate) fn message(work: &DueStep) -> Result<String, CallError> {
    let doing = "queueing a step";
    if work.hops > MAX_HOPS {
        return Err(CallError { doing, reason: format!("it has hopped {} times", work.hops) });
    }
    serde_json::to_string(work).map_err(|error| CallError::new(doing, error))
}

/// What a function could not read, and why. An operator looks at it and sends it again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The function that gave up.
    pub function: String,
    /// What is wrong, in a sentence.
    pub reason: String,
    /// The event as it came.
    pub event: serde_json::Value,
}

/// The queue of dead letters.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    client: Client,
    url: String,
    function: &'static str,
}

impl DeadLetters {
    /// The stack's queue, as one function uses it.
    ///
    /// # Errors
    /// [`StartError`] if its URL is missing.
    pub fn new(cloud: &Cloud, function: &'static str) -> Result<Self, StartError> {
        Ok(Self { client: Client::new(&cloud.sdk), url: cloud.env.get("DEAD_LETTER_QUEUE_URL")?, function })
    }

    /// Puts an event aside.
    ///
    /// # Errors
    /// [`CallError`] if SQS did not take it: the event must then be tried again, not dropped.
    pub async fn put(&self, reason: &str, event: serde_json::Value) -> Result<(), CallError> {
        let doing = "putting an event into the dead letters";
        tracing::error!(function = self.function, reason, "an event was put into the dead letters");
        let letter = DeadLetter { function: self.function.to_owned(), reason: reason.to_owned(), event };
        let body = serde_json::to_string(&letter).map_err(|error| CallError::new(doing, error))?;
        let answer = self.client.send_message().queue_url(&self.url).message_body(body).send().await;
        answer.map(|_| ()).map_err(|error| CallError::new(doing, error))
    }
}
