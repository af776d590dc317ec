//! Faults: what can go wrong between a function and AWS, and on the way to a function.
//!
//! The local cloud only knows how each of them looks; which one strikes when is decided by whoever
//! sets a [`Saboteur`]. Nothing in the product knows about them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::aws::{AwsError, Request, Response};
use crate::engine::BoxFuture;
use crate::shelf::lock;

/// A request that a function is about to make, or has made.
#[derive(Clone, Debug)]
pub struct Call {
    /// The function.
    pub function: String,
    /// Its place among the calls of this invocation, from 1.
    pub number: u32,
    /// `dynamodb`, `sqs`, `events`, `ssm`, `scheduler`, `ses`, or a third party's host.
    pub service: String,
    /// `PutItem`, or the path of a third party's.
    pub operation: String,
    /// The request as it was sent.
    pub request: Request,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it is made and answered.
    Pass,
    /// It is not made, and fails so.
    Before(Failure),
    /// It is made, and the function hears this instead of the answer.
    After(Failure),
    /// The function ends here: with the call made, or without.
    Crash {
        /// Whether the call was made.
        done: bool,
    },
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The service has an error of its own.
    Error,
    /// Too many requests.
    Throttle,
    /// Another transaction is at work on the same rows; other services than DynamoDB throttle.
    Conflict,
    /// The connection ends without an answer.
    NoAnswer,
}

/// A way by which something reaches a function or a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// A schedule of EventBridge Scheduler whose time has come.
    Schedule,
    /// The same, but it was deleted before. Normally it is not delivered.
    DeletedSchedule,
    /// What SES tells of a mail.
    MailEvent,
    /// A message that a client sent to a queue.
    Message,
    /// A batch of a table's stream that was handled.
    Stream,
}

/// Says what becomes of a call that is about to be made.
pub type Before = Arc<dyn Fn(Call) -> BoxFuture<'static, Verdict> + Send + Sync>;
/// Hears of a call that was made, of its true answer, and of what the function hears.
pub type After = Arc<dyn Fn(&Call, &Response, Verdict) + Send + Sync>;
/// Says how many copies of a delivery arrive, and how late each. None at all is a loss.
pub type Copies = Arc<dyn Fn(Way) -> Vec<TimeDelta> + Send + Sync>;

/// Decides what goes wrong.
#[derive(Clone)]
pub struct Saboteur {
    /// Asked before each call that a function makes; it may do other things meanwhile.
    pub before: Before,
    /// Told of each call that was made: its true answer, and what the function hears of it.
    pub after: After,
    /// How many copies of a delivery arrive, and how late each. None at all is a loss.
    pub copies: Copies,
}

/// Where the saboteur sits, if there is one.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Option<Saboteur>>);

impl Faults {
    pub(crate) fn set(&self, saboteur: Option<Saboteur>) {
        *lock(&self.0) = saboteur;
    }

    pub(crate) fn saboteur(&self) -> Option<Saboteur> {
        lock(&self.0).clone()
    }

    /// The delays of the copies that arrive: normally one, at once.
    pub(crate) fn copies(&self, way: Way) -> Vec<TimeDelta> {
        match self.saboteur() {
            Some(saboteur) => (saboteur.copies)(way),
            None if way == Way::DeletedSchedule => vec![],
            None => vec![TimeDelta::zero()],
        }
    }
}

/// A function at work.
pub(crate) struct Running {
    pub(crate) function: String,
    pub(crate) calls: AtomicU32,
    /// When Lambda ends it.
    pub(crate) until: DateTime<Utc>,
    crashed: AtomicBool,
}

tokio::task_local! {
    /// Which function's work is being done: faults strike functions only, not those who watch them.
    pub(crate) static RUNNING: Arc<Running>;
}

impl Running {
    pub(crate) fn new(function: &str, until: DateTime<Utc>) -> Arc<Self> {
        let crashed = AtomicBool::new(false);
        Arc::new(Self { function: function.to_owned(), calls: AtomicU32::new(0), until, crashed })
    }

    pub(crate) fn now() -> Option<Arc<Self>> {
        RUNNING.try_with(Arc::clone).ok()
    }

    /// Ends the function: it is not polled again.
    pub(crate) async fn crash(&self) -> ! {
        self.crashed.store(true, Ordering::SeqCst);
        std::future::pending().await
    }

    /// Does a function's work until it is done or the function has crashed.
    pub(crate) async fn work(
        self: Arc<Self>,
        work: BoxFuture<'static, Result<Value, String>>,
    ) -> Result<Value, String> {
        let mut work = Box::pin(RUNNING.scope(Arc::clone(&self), work));
        std::future::poll_fn(|context| match work.as_mut().poll(context) {
            std::task::Poll::Pending if self.crashed.load(Ordering::SeqCst) => {
                std::task::Poll::Ready(Err("the function crashed".to_owned()))
            }
            answer => answer,
        })
        .await
    }
}

impl Failure {
    /// As the service words it; none if there is no answer at all.
    pub(crate) fn error(self, service: &str, operation: &str) -> Option<AwsError> {
        let new =
            |status: StatusCode, code: &'static str| AwsError::new(code, "injected").with_status(status);
        Some(match (self, service) {
            (Self::NoAnswer, _) => return None,
            (Self::Error, "dynamodb") => new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
            (Self::Error, _) => new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException"),
            (Self::Conflict, "dynamodb") if operation == "TransactWriteItems" => {
                new(StatusCode::BAD_REQUEST, "TransactionCanceledException")
            }
            (Self::Conflict, "dynamodb") => new(StatusCode::BAD_REQUEST, "TransactionConflictException"),
            (Self::Throttle, "dynamodb") => {
                new(StatusCode::BAD_REQUEST, "ProvisionedThroughputExceededException")
            }
            (Self::Throttle | Self::Conflict, "ses") => {
                new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException")
            }
            (Self::Throttle | Self::Conflict, _) => new(StatusCode::TOO_MANY_REQUESTS, "ThrottlingException"),
        })
    }
}

/// The reasons of a cancelled transaction: one part of it conflicts, the others are without blame.
pub(crate) fn cancellation_reasons(request: &Request) -> Value {
    let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    let parts = body["TransactItems"].as_array().map_or(0, Vec::len);
    let reason = |at| json!({"Code": if at == 0 { "TransactionConflict" } else { "None" }});
    (0..parts).map(reason).collect()
}
