//! The local cloud itself: a stack's functions, and everything that starts them.

mod connector;
mod records;
mod streams;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use domain::id::Id;
use serde_json::Value;

use crate::aws::mail::Mail;
use crate::aws::meter::Meter;
use crate::aws::ses::Reader;
use crate::aws::sqs::Message;
use crate::aws::{Aws, AwsError, Ids, Request, Response};
use crate::clock::Clock;
use crate::faults::{Running, Saboteur};
use crate::gateway;
use crate::shelf::{ShelfError, ShelfFile, lock};
use crate::template::{QueueSource, Stack};
use connector::Connector;
use streams::Streams;

/// A future on the heap.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// A function: an event in, an answer or an error's text out.
pub type Handler = Arc<dyn Fn(Value) -> BoxFuture<'static, Result<Value, String>> + Send + Sync>;
/// A third party: a request in, a response out.
pub type HostHandler = Arc<dyn Fn(Request) -> BoxFuture<'static, Response> + Send + Sync>;

/// The local cloud could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// The directory cannot be made.
    #[error("the local cloud's directory: {0}")]
    Directory(#[from] std::io::Error),
    /// The state file cannot be used.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// DynamoDB's file cannot be used or a table cannot be made.
    #[error("the local cloud's tables: {0}")]
    Tables(#[from] dynoxide::DynoxideError),
    /// A stored table has other indexes than the template wants.
    #[error("table {0} has other indexes than the template: remove the local cloud's directory")]
    TableDiffers(String),
    /// A schedule of the template cannot be made.
    #[error("schedule {name}: {problem}")]
    Schedule {
        /// The schedule's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Where the local cloud keeps its state.
#[derive(Clone, Debug)]
pub enum Store {
    /// Nowhere: it ends with the process.
    Memory,
    /// In this directory, so that it survives the end of the process at any time.
    Dir(PathBuf),
}

/// A cloud in one process. Clones are the same cloud.
///
/// A handler must not keep a clone, or neither is ever freed; SDK clients may be kept.
#[derive(Clone)]
pub struct LocalCloud(Arc<Inner>);

struct Inner {
    stack: Stack,
    clock: Clock,
    aws: Aws,
    handlers: Mutex<BTreeMap<String, Handler>>,
    hosts: Mutex<BTreeMap<String, HostHandler>>,
    streams: Streams,
    request_ids: Ids,
    /// One settling at a time keeps the order of deliveries.
    settling: tokio::sync::Mutex<()>,
}

impl LocalCloud {
    /// Opens the cloud of a stack; tables that are missing are made.
    ///
    /// # Errors
    /// If the state cannot be opened, or the template asks for what cannot be.
    pub fn new(stack: Stack, store: Store, clock: Clock) -> Result<Self, CloudError> {
        let directory = match store {
            Store::Memory => None,
            Store::Dir(directory) => {
                std::fs::create_dir_all(&directory)?;
                Some(directory)
            }
        };
        let file = match &directory {
            Some(directory) => Some(ShelfFile::open(&directory.join("engine.sqlite"))?),
            None => None,
        };
        Ok(Self(Arc::new(Inner {
            aws: Aws::open(&stack, directory.as_deref(), &clock)?,
            handlers: Mutex::default(),
            hosts: Mutex::default(),
            streams: Streams::open(&stack, file.as_ref(), &clock)?,
            request_ids: Ids::open("http request", "0a9b", file.as_ref())?,
            settling: tokio::sync::Mutex::new(()),
            stack,
            clock,
        })))
    }

    /// The stack that this cloud plays.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.0.stack
    }

    /// The clock that everything here reads.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// What SDK clients are made of: they talk to this cloud, on its clock, and never really sleep.
    #[must_use]
    pub fn sdk_config(&self) -> aws_config::SdkConfig {
        connector::sdk_config(&self.connector(), &self.0.clock)
    }

    /// The way out for HTTP requests: AWS's hosts and those that were registered.
    #[must_use]
    pub fn connector(&self) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector::new(&self.0))
    }

    /// Makes `function` known. Until then what would start it waits.
    pub fn register(&self, function: &str, handler: Handler) {
        lock(&self.0.handlers).insert(function.to_owned(), handler);
    }

    /// What `register` was given last for `function`, to be wrapped and registered again.
    #[must_use]
    pub fn handler(&self, function: &str) -> Option<Handler> {
        lock(&self.0.handlers).get(function).cloned()
    }

    /// Lets `handler` answer requests to a third party's host, such as `api.stripe.com`.
    pub fn register_host(&self, host: &str, handler: HostHandler) {
        lock(&self.0.hosts).insert(host.to_owned(), handler);
    }

    /// Answers a request to AWS, as over the network.
    #[must_use]
    pub fn aws(&self, request: &Request) -> Response {
        self.0.aws.handle(request)
    }

    /// Invokes a function and waits for its answer.
    ///
    /// # Errors
    /// The function's own, or that it is not registered.
    pub async fn invoke(&self, function: &str, event: Value) -> Result<Value, String> {
        let handler = lock(&self.0.handlers).get(function).cloned();
        let handler = handler.ok_or_else(|| format!("function {function} is not registered"))?;
        if self.0.aws.faults.saboteur().is_none() {
            return handler(event).await;
        }
        let timeout = self.0.stack.functions.get(function).map(|function| function.timeout);
        let until = self.0.clock.now() + timeout.unwrap_or(TimeDelta::seconds(3));
        Running::new(function, until).work(handler(event)).await
    }

    /// Sends a request through the HTTP API. What it causes happens when the cloud settles.
    pub async fn http(&self, request: Request) -> Response {
        if request.body().len() > gateway::MAX_BODY_BYTES {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return gateway::own_response(status, "Request Entity Too Large");
        }
        let method = request.method().as_str();
        let routes = &self.0.stack.routes;
        let Some(matched) = gateway::find_route(routes, method, request.uri().path()) else {
            return gateway::own_response(StatusCode::NOT_FOUND, "Not Found");
        };
        let failed = |problem: &str| {
            tracing::error!(route = matched.route.key, problem, "a function failed");
            gateway::own_response(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        };
        let request_id = match self.0.request_ids.next() {
            Ok((_, id)) => id,
            Err(error) => return failed(&error.to_string()),
        };
        let event = gateway::event(&request, &matched, &request_id, self.0.clock.now());
        match self.invoke(&matched.route.function, event).await {
            Ok(answer) => {
                gateway::response(&answer).unwrap_or_else(|| failed("its answer is no HTTP response"))
            }
            Err(problem) => failed(&problem),
        }
    }

    /// Delivers everything that is due now, and what that causes, until nothing is left.
    /// Functions that are not registered get nothing.
    pub async fn settle(&self) {
        let _turn = self.0.settling.lock().await;
        loop {
            let fired = seen("schedules", self.0.aws.scheduler.fire_due());
            let streamed = self.0.streams.deliver(self).await;
            let invoked = self.deliver_invocations().await;
            let polled = self.deliver_messages().await;
            if !(fired || streamed || invoked || polled) {
                break;
            }
        }
    }

    /// Moves the clock to `to`, stopping wherever something is due and settling there.
    pub async fn advance_to(&self, to: DateTime<Utc>) {
        self.settle().await;
        while let Some(due) = self.next_due().filter(|due| *due <= to) {
            self.0.clock.move_to(due);
            self.settle().await;
        }
        self.0.clock.move_to(to);
    }

    /// When something is due next; none if the cloud would stay as it is for ever.
    #[must_use]
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        let aws = &self.0.aws;
        let functions = self.registered();
        let invocations = functions.map(|name| aws.lambda.next_due(name));
        let sources = self.0.stack.queue_sources.iter();
        let messages = sources
            .filter(|source| self.is_registered(&source.function))
            .map(|source| aws.sqs.next_due(&source.queue));
        let others = [aws.scheduler.next_due(), self.0.streams.next_due(self)];
        let all = invocations.chain(messages).chain(others);
        all.flatten().min()
    }

    /// The mails in the outbox, oldest first.
    #[must_use]
    pub fn mails(&self) -> Vec<Arc<Mail>> {
        self.0.aws.ses.mails()
    }

    /// One mail of the outbox.
    #[must_use]
    pub fn mail(&self, id: u64) -> Option<Arc<Mail>> {
        self.0.aws.ses.mail(id)
    }

    /// Empties the outbox.
    #[must_use]
    pub fn take_mails(&self) -> Vec<Arc<Mail>> {
        let taken = self.0.aws.ses.take_mails().map_err(AwsError::from);
        seen("the outbox", taken)
    }

    /// Takes a person's mails out of the outbox, and those to the team about her; says how many.
    pub fn forget_mails(&self, lead_id: &Id) -> usize {
        seen("the outbox", self.0.aws.ses.forget_mails(lead_id).map_err(AwsError::from))
    }

    /// Pauses the account's sending, or lets it go on.
    pub fn pause_sending(&self, paused: bool) {
        self.0.aws.ses.pause(paused);
    }

    /// Lets someone open a mail; it may have been taken out of the outbox.
    pub fn open(&self, mail: &Mail, reader: Reader<'_>) {
        seen("an open", self.0.aws.ses.open_mail(mail, reader));
    }

    /// Lets someone follow a link of a mail; false if it has no such link or SES does not track it.
    pub fn click(&self, mail: &Mail, link: &str, reader: Reader<'_>) -> bool {
        seen("a click", self.0.aws.ses.click(mail, link, reader))
    }

    /// Lets the recipients of a mail report it as spam.
    pub fn complain(&self, mail: &Mail) {
        seen("a complaint", self.0.aws.ses.complain(mail));
    }

    /// Lets things go wrong from now on, or again nothing.
    pub fn sabotage(&self, saboteur: Option<Saboteur>) {
        self.0.aws.faults.set(saboteur);
    }

    /// What was asked of AWS since the last reset.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.0.aws.meter()
    }

    /// Starts counting anew.
    pub fn reset_meter(&self) {
        self.0.aws.reset_meter();
    }

    /// The messages of every queue that starts no function, with the queue's name.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<(String, Message)> {
        let sources = &self.0.stack.queue_sources;
        let mut letters = Vec::new();
        for queue in self.0.stack.queues.keys() {
            if sources.iter().all(|source| source.queue != *queue) {
                let messages = self.0.aws.sqs.messages(queue).into_iter();
                letters.extend(messages.map(|message| (queue.clone(), message)));
            }
        }
        letters
    }

    /// The latest events that functions put on buses, oldest first; at most a thousand.
    #[must_use]
    pub fn bus_events(&self) -> Vec<Arc<Value>> {
        self.0.aws.events.recent()
    }

    fn is_registered(&self, function: &str) -> bool {
        lock(&self.0.handlers).contains_key(function)
    }

    fn registered(&self) -> impl Iterator<Item = &str> {
        let functions = self.0.stack.functions.keys();
        functions.map(String::as_str).filter(|function| self.is_registered(function))
    }

    async fn deliver_invocations(&self) -> bool {
        let mut any = false;
        for function in self.registered() {
            while let Some((place, invocation)) = self.0.aws.lambda.first_due(function) {
                let result = self.invoke(function, invocation.payload.clone()).await;
                let finished = self.0.aws.lambda.finish(&place, invocation, result);
                if !seen("an invocation", finished.map(|()| true)) {
                    break;
                }
                any = true;
            }
        }
        any
    }

    /// One batch from each queue that triggers a function.
    async fn deliver_messages(&self) -> bool {
        let mut any = false;
        for source in &self.0.stack.queue_sources {
            if self.is_registered(&source.function) {
                any |= self.deliver_batch(source).await;
            }
        }
        any
    }

    async fn deliver_batch(&self, source: &QueueSource) -> bool {
        let sqs = &self.0.aws.sqs;
        let received = sqs.receive(&source.queue, source.batch_size, None);
        let batch = seen("a queue", received);
        if batch.is_empty() {
            return false;
        }
        let event = records::sqs_event(&source.queue, &batch);
        let ids: Vec<&str> = batch.iter().map(|message| message.id.as_str()).collect();
        let failed = match self.invoke(&source.function, event).await {
            Ok(answer) if source.reports_failures => records::failed_items(&answer, &ids),
            Ok(_) => Vec::new(),
            Err(problem) => {
                tracing::warn!(function = source.function, problem, "a batch failed");
                ids.iter().map(|id| (*id).to_owned()).collect()
            }
        };
        for message in batch.iter().filter(|message| !failed.contains(&message.id)) {
            seen("a queue", sqs.delete(&source.queue, &message.receipt()));
        }
        true
    }
}

/// The value, or its default after the error was logged: only a broken state file leads here.
fn seen<T: Default>(what: &str, result: Result<T, AwsError>) -> T {
    result.unwrap_or_else(|error| {
        tracing::error!(%error, "the local cloud could not handle {what}");
        T::default()
    })
}

#[cfg(test)]
pub(crate) mod tests;
