//! The AWS side: one entry point for every request of an SDK client or the AWS CLI.

pub mod cron;
pub mod dynamodb;
pub mod events;
pub mod lambda;
pub mod mail;
pub mod meter;
pub mod pattern;
pub mod scheduler;
pub mod ses;
pub mod sqs;
pub mod ssm;

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::engine::CloudError;
use crate::faults::{self, Failure, Faults};
use crate::shelf::{Counter, ShelfError, ShelfFile, lock};
use crate::template::Stack;
use dynamodb::DynamoDb;
use events::Events;
use lambda::Invocations;
use meter::Meter;
use scheduler::Scheduler;
use ses::Ses;
use sqs::Sqs;
use ssm::Ssm;

/// An HTTP request with its whole body.
pub type Request = axum::http::Request<Bytes>;
/// An HTTP response with its whole body.
pub type Response = axum::http::Response<Bytes>;

/// An error as a service reports it.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct AwsError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl AwsError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl From<ShelfError> for AwsError {
    fn from(error: ShelfError) -> Self {
        Self::new("InternalFailure", error.to_string()).with_status(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

pub(crate) type Answer = Result<Value, AwsError>;

/// The services of one stack.
pub struct Aws {
    pub(crate) dynamodb: DynamoDb,
    pub(crate) sqs: Arc<Sqs>,
    pub(crate) scheduler: Scheduler,
    pub(crate) ses: Ses,
    pub(crate) events: Arc<Events>,
    pub(crate) lambda: Arc<Invocations>,
    pub(crate) faults: Arc<Faults>,
    ssm: Ssm,
    meter: Arc<Mutex<Meter>>,
    requests: Mutex<u64>,
}

impl Aws {
    /// Opens the services with what the directory holds; without one everything is in memory.
    ///
    /// # Errors
    /// If the directory's files cannot be used or their tables differ from the stack's.
    pub(crate) fn open(stack: &Stack, directory: Option<&Path>, clock: &Clock) -> Result<Self, CloudError> {
        let file = match directory {
            Some(directory) => Some(ShelfFile::open(&directory.join("cloud.sqlite"))?),
            None => None,
        };
        let file = file.as_ref();
        let meter = Arc::new(Mutex::new(Meter::default()));
        let faults = Arc::new(Faults::default());
        let sqs = Arc::new(Sqs::open(stack, file, clock, Arc::clone(&faults))?);
        let lambda = Arc::new(Invocations::open(stack, file, clock, Arc::clone(&sqs), Arc::clone(&faults))?);
        let events = Arc::new(Events::open(stack, file, clock, Arc::clone(&lambda))?);
        Ok(Self {
            dynamodb: DynamoDb::open(stack, directory, clock, Arc::clone(&meter))?,
            scheduler: Scheduler::open(stack, file, clock, Arc::clone(&lambda))?,
            ses: Ses::open(stack, file, clock, Arc::clone(&events))?,
            ssm: Ssm::open(file, clock)?,
            sqs,
            events,
            lambda,
            faults,
            meter,
            requests: Mutex::new(0),
        })
    }

    /// Answers one request, whichever service it is for.
    pub fn handle(&self, request: &Request) -> Response {
        let Some(call) = Call::of(request) else {
            let error = AwsError::new("UnknownOperationException", "no such operation");
            return self.respond(Service::DynamoDb, Err(error));
        };
        lock(&self.meter).count_call(call.service.name(), &call.operation);
        if let Service::DynamoDb = call.service {
            let (status, body) = self.dynamodb.call(&call.operation, request.body());
            return self.finish(Service::DynamoDb, status, body);
        }
        let answer = parse(request.body()).and_then(|input| self.call(&call, &input));
        self.respond(call.service, answer)
    }

    /// The service and operation that a request is for.
    pub(crate) fn operation(request: &Request) -> (&'static str, String) {
        Call::of(request).map_or(("unknown", String::new()), |call| (call.service.name(), call.operation))
    }

    /// A request's answer when it fails so; none if there is no answer.
    pub(crate) fn failed(&self, request: &Request, failure: Failure) -> Option<Response> {
        let call = Call::of(request)?;
        let error = failure.error(call.service.name(), &call.operation)?;
        if error.code != "TransactionCanceledException" {
            return Some(self.respond(call.service, Err(error)));
        }
        let body = json!({"__type": error.code, "message": error.message,
            "CancellationReasons": faults::cancellation_reasons(request)});
        let mut response = self.finish(call.service, error.status, body.to_string());
        let code = HeaderValue::from_static(error.code);
        response.headers_mut().insert(HeaderName::from_static("x-amzn-errortype"), code);
        Some(response)
    }

    fn call(&self, call: &Call, input: &Value) -> Answer {
        match call.service {
            Service::DynamoDb => Err(unknown_operation(&call.operation)),
            Service::Sqs => self.sqs.call(&call.operation, input),
            Service::Events => self.events.call(&call.operation, input),
            Service::Ssm => self.ssm.call(&call.operation, input),
            Service::Scheduler => self.scheduler.call(call, input),
            Service::Ses => self.ses.call(call, input),
        }
    }

    pub(crate) fn meter(&self) -> Meter {
        lock(&self.meter).clone()
    }

    pub(crate) fn reset_meter(&self) {
        *lock(&self.meter) = Meter::default();
    }

    fn respond(&self, service: Service, answer: Answer) -> Response {
        let error = match answer {
            Ok(body) => return self.finish(service, StatusCode::OK, body.to_string()),
            Err(error) => error,
        };
        let body = match service {
            Service::Ses => json!({"message": error.message}),
            Service::Scheduler => json!({"Message": error.message}),
            _ => json!({"__type": error.code, "message": error.message}),
        };
        let mut response = self.finish(service, error.status, body.to_string());
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static("x-amzn-errortype"), HeaderValue::from_static(error.code));
        if let Service::Sqs = service {
            // Clients of SQS still read the code of its older XML protocol from this header.
            let code = format!("{};Sender", sqs::query_code(error.code));
            if let Ok(code) = HeaderValue::from_str(&code) {
                headers.insert(HeaderName::from_static("x-amzn-query-error"), code);
            }
        }
        response
    }

    fn finish(&self, service: Service, status: StatusCode, body: String) -> Response {
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(service.content_type()));
        let number = {
            let mut requests = lock(&self.requests);
            *requests += 1;
            *requests
        };
        if let Ok(id) = HeaderValue::from_str(&counted_uuid("0aa0", number)) {
            headers.insert(HeaderName::from_static("x-amzn-requestid"), id);
        }
        response
    }
}

/// Whether a request is meant for AWS rather than for the stack's HTTP API.
pub(crate) fn is_aws_request(request: &Request) -> bool {
    let signed = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256"));
    signed || request.headers().contains_key("x-amz-target")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    DynamoDb,
    Sqs,
    Events,
    Ssm,
    Scheduler,
    Ses,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::DynamoDb => "dynamodb",
            Self::Sqs => "sqs",
            Self::Events => "events",
            Self::Ssm => "ssm",
            Self::Scheduler => "scheduler",
            Self::Ses => "ses",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::DynamoDb | Self::Sqs => "application/x-amz-json-1.0",
            Self::Events | Self::Ssm => "application/x-amz-json-1.1",
            Self::Scheduler | Self::Ses => "application/json",
        }
    }
}

/// A request's service, operation and what its address holds.
#[derive(Debug)]
pub(crate) struct Call {
    service: Service,
    pub(crate) operation: String,
    /// The last part of a REST path, decoded.
    pub(crate) name: String,
    query: Vec<(String, String)>,
}

impl Call {
    fn of(request: &Request) -> Option<Self> {
        match request.headers().get("x-amz-target") {
            Some(target) => Self::of_target(target.to_str().ok()?),
            None => Self::of_path(request),
        }
    }

    fn of_target(target: &str) -> Option<Self> {
        let (prefix, operation) = target.split_once('.')?;
        let service = match prefix {
            "DynamoDB_20120810" | "DynamoDBStreams_20120810" => Service::DynamoDb,
            "AmazonSQS" => Service::Sqs,
            "AWSEvents" => Service::Events,
            "AmazonSSM" => Service::Ssm,
            _ => return None,
        };
        Some(Self { service, operation: operation.to_owned(), name: String::new(), query: Vec::new() })
    }

    fn of_path(request: &Request) -> Option<Self> {
        let path = request.uri().path();
        let (service, operation, name) = match path.strip_prefix("/schedules") {
            Some(rest) => rest_operation(Service::Scheduler, request.method(), rest, &SCHEDULES)?,
            None => {
                let rest = path.strip_prefix("/v2/email")?;
                rest_operation(Service::Ses, request.method(), rest, &MAIL)?
            }
        };
        let query = request.uri().query().unwrap_or_default();
        Some(Self {
            service,
            operation: operation.to_owned(),
            name: percent_decode_str(name).decode_utf8_lossy().into_owned(),
            query: serde_urlencoded::from_str(query).ok()?,
        })
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Method, path and operation; a path that ends with a slash takes one more part, the name.
type Routes = [(Method, &'static str, &'static str)];

const SCHEDULES: [(Method, &str, &str); 5] = [
    (Method::GET, "", "ListSchedules"),
    (Method::POST, "/", "CreateSchedule"),
    (Method::PUT, "/", "UpdateSchedule"),
    (Method::GET, "/", "GetSchedule"),
    (Method::DELETE, "/", "DeleteSchedule"),
];

const MAIL: [(Method, &str, &str); 6] = [
    (Method::POST, "/outbound-emails", "SendEmail"),
    (Method::GET, "/account", "GetAccount"),
    (Method::PUT, "/suppression/addresses", "PutSuppressedDestination"),
    (Method::GET, "/suppression/addresses", "ListSuppressedDestinations"),
    (Method::GET, "/suppression/addresses/", "GetSuppressedDestination"),
    (Method::DELETE, "/suppression/addresses/", "DeleteSuppressedDestination"),
];

fn rest_operation<'a>(
    service: Service,
    method: &Method,
    path: &'a str,
    routes: &'static Routes,
) -> Option<(Service, &'static str, &'a str)> {
    routes.iter().find_map(|(wanted, pattern, operation)| {
        let name = path.strip_prefix(pattern)?;
        let fits = wanted == method && name.is_empty() != pattern.ends_with('/');
        fits.then_some((service, *operation, name))
    })
}

fn parse(body: &[u8]) -> Answer {
    if body.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(body).map_err(|error| AwsError::new("SerializationException", error.to_string()))
}

pub(crate) fn unknown_operation(operation: &str) -> AwsError {
    let message = format!("The local cloud does not know {operation}.");
    AwsError::new("UnknownOperationException", message)
}

/// The text at a key of a request, or the error that AWS gives when it is missing.
pub(crate) fn required<'a>(input: &'a Value, key: &str) -> Result<&'a str, AwsError> {
    input[key].as_str().ok_or_else(|| {
        let problem = format!("1 validation error detected: Value at '{key}' must not be null");
        AwsError::new("ValidationException", problem)
    })
}

/// A number dressed as a version 4 UUID; `kind` (4 hex digits) keeps the numbers of services apart.
pub(crate) fn counted_uuid(kind: &str, number: u64) -> String {
    format!("{kind}0000-0000-4000-8000-{number:012x}")
}

/// Ids that no other object of their kind ever has.
pub(crate) struct Ids {
    kind: &'static str,
    counter: Mutex<Counter>,
}

impl Ids {
    pub(crate) fn open(name: &str, kind: &'static str, file: Option<&ShelfFile>) -> Result<Self, ShelfError> {
        let counter = Mutex::new(Counter::open(&format!("{name} ids"), file)?);
        Ok(Self { kind, counter })
    }

    pub(crate) fn next(&self) -> Result<(u64, String), ShelfError> {
        let number = lock(&self.counter).draw()?;
        Ok((number, counted_uuid(self.kind, number)))
    }
}
