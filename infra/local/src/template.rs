//! Reads the CloudFormation template that also deploys to AWS, so that one file is the truth in both worlds.

mod reader;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use serde_json::Value;

use crate::aws::pattern::Pattern;
use reader::Reader;
use resolve::Resolver;

/// The account that the local cloud plays.
pub const ACCOUNT: &str = "000000000000";
/// The region that the local cloud plays.
pub const REGION: &str = "ap-northeast-1";

/// What is wrong with a template, and where.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct TemplateError {
    place: String,
    problem: String,
}

impl TemplateError {
    fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }
}

/// Everything of a stack that the local cloud plays.
#[derive(Clone, Debug)]
pub struct Stack {
    /// The stack's name.
    pub name: String,
    /// The tables as CreateTable requests, by table name.
    pub tables: BTreeMap<String, Value>,
    /// The queues by physical name.
    pub queues: BTreeMap<String, Queue>,
    /// The functions by their name without the stack's, such as `opt-in`.
    pub functions: BTreeMap<String, Function>,
    /// Queues that trigger functions.
    pub queue_sources: Vec<QueueSource>,
    /// Table streams that trigger functions.
    pub stream_sources: Vec<StreamSource>,
    /// The HTTP API's routes.
    pub routes: Vec<Route>,
    /// The rules on the buses.
    pub rules: Vec<Rule>,
    /// Schedules that the stack itself brings.
    pub schedules: Vec<StackSchedule>,
    /// Names of the event buses, `default` included.
    pub buses: BTreeSet<String>,
    /// Names of the schedule groups, `default` included.
    pub schedule_groups: BTreeSet<String>,
    /// SES configuration sets by name.
    pub configuration_sets: BTreeMap<String, ConfigurationSet>,
}

/// A standard queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// How long a received message stays hidden.
    pub visibility: TimeDelta,
    /// How long a sent message stays hidden at first.
    pub delay: TimeDelta,
    /// Where a message goes that was received too often.
    pub redrive: Option<Redrive>,
}

/// A queue's dead-letter rule.
#[derive(Clone, Debug)]
pub struct Redrive {
    /// Physical name of the dead-letter queue.
    pub queue: String,
    /// How often a message may be received before it moves there.
    pub max_receive_count: u32,
}

/// A function as the stack configures it.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its environment variables.
    pub environment: BTreeMap<String, String>,
    /// How long it may run.
    pub timeout: TimeDelta,
    /// How often a failed asynchronous invocation is repeated.
    pub async_retries: u32,
    /// The queue that learns of asynchronous invocations that failed for good.
    pub on_failure: Option<String>,
}

/// A queue that triggers a function.
#[derive(Clone, Debug)]
pub struct QueueSource {
    /// Physical name of the queue.
    pub queue: String,
    /// The function.
    pub function: String,
    /// Messages per invocation at most.
    pub batch_size: usize,
    /// Whether the function names the messages that failed.
    pub reports_failures: bool,
}

/// A table's stream that triggers a function.
#[derive(Clone, Debug)]
pub struct StreamSource {
    /// Name of the table.
    pub table: String,
    /// The function.
    pub function: String,
    /// Records per invocation at most.
    pub batch_size: usize,
    /// Whether a failed batch is halved.
    pub bisect: bool,
    /// How often a batch is repeated; none means for ever.
    pub max_retries: Option<u32>,
    /// How old a record may get; none means no limit.
    pub max_age: Option<TimeDelta>,
    /// Whether the function names the records that failed.
    pub reports_failures: bool,
    /// The queue that learns of batches that failed for good.
    pub on_failure: Option<String>,
}

/// A route of the HTTP API.
#[derive(Clone, Debug)]
pub struct Route {
    /// Such as `GET /bookings/{consultation_id}`.
    pub key: String,
    /// The function that answers.
    pub function: String,
}

/// A rule on an event bus.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The bus it listens on.
    pub bus: String,
    /// What it listens for.
    pub pattern: Pattern,
    /// Where it sends what it hears.
    pub targets: Vec<Target>,
}

/// Where a rule or a schedule sends something.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Target {
    /// An asynchronous invocation of a function.
    Function(String),
    /// A message on the queue of this physical name.
    Queue(String),
}

impl Target {
    /// The target that an ARN names; none if it is neither a function nor a queue.
    #[must_use]
    pub fn of_arn(arn: &str, stack: &str) -> Option<Self> {
        if let Some(name) = arn.strip_prefix(&function_arn("")) {
            return Some(Self::Function(function_name(name, stack)));
        }
        arn.strip_prefix(&queue_arn("")).map(|name| Self::Queue(name.to_owned()))
    }
}

/// A schedule that the stack brings, as the body of a CreateSchedule request.
#[derive(Clone, Debug)]
pub struct StackSchedule {
    /// The schedule's name.
    pub name: String,
    /// The request's body.
    pub request: Value,
}

/// What SES does with mail that names the configuration set.
#[derive(Clone, Debug, Default)]
pub struct ConfigurationSet {
    /// The event types that go to the default bus, such as `DELIVERY`.
    pub events: BTreeSet<String>,
    /// The reasons for which addresses are suppressed, such as `BOUNCE`.
    pub suppressed_reasons: BTreeSet<String>,
}

/// The ARN of a queue.
#[must_use]
pub fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

/// The URL of a queue.
#[must_use]
pub fn queue_url(name: &str) -> String {
    format!("https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}")
}

/// The ARN of a function.
#[must_use]
pub fn function_arn(name: &str) -> String {
    format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}")
}

/// The ARN of a table's stream. AWS ends it with the time at which the stream was switched on.
#[must_use]
pub fn stream_arn(table: &str) -> String {
    format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}/stream/2026-01-01T00:00:00.000")
}

fn function_name(physical: &str, stack: &str) -> String {
    let name = physical.split(':').next().unwrap_or(physical);
    name.strip_prefix(stack).and_then(|rest| rest.strip_prefix('-')).unwrap_or(name).to_owned()
}

impl Stack {
    /// Reads a template.
    ///
    /// # Errors
    /// If it is no template, a parameter has no value, or a resource that the local cloud plays
    /// lacks a property, has a wrong one or uses an intrinsic that is unknown here.
    pub fn parse(
        yaml: &str,
        name: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Self, TemplateError> {
        let template = Resolver::new(yaml, name, parameters)?;
        let reader = Reader { template: &template, stack: name };
        let (queue_sources, stream_sources) = reader.sources()?;
        let stack = Self {
            name: name.to_owned(),
            tables: reader.tables()?,
            queues: reader.queues()?,
            functions: reader.functions()?,
            queue_sources,
            stream_sources,
            routes: reader.routes()?,
            rules: reader.rules()?,
            schedules: reader.schedules()?,
            buses: reader.names("AWS::Events::EventBus")?,
            schedule_groups: reader.names("AWS::Scheduler::ScheduleGroup")?,
            configuration_sets: reader.configuration_sets()?,
        };
        stack.check()?;
        Ok(stack)
    }

    /// Every queue and function that something points to must be there.
    fn check(&self) -> Result<(), TemplateError> {
        let queue = |name: &str, place: &str| match self.queues.contains_key(name) {
            true => Ok(()),
            false => Err(TemplateError::new(place, format!("no queue {name}"))),
        };
        let function = |name: &str, place: &str| match self.functions.contains_key(name) {
            true => Ok(()),
            false => Err(TemplateError::new(place, format!("no function {name}"))),
        };
        for (name, source) in &self.queues {
            if let Some(redrive) = &source.redrive {
                queue(&redrive.queue, &format!("queue {name}"))?;
            }
        }
        for (name, from) in &self.functions {
            if let Some(on_failure) = &from.on_failure {
                queue(on_failure, &format!("function {name}"))?;
            }
        }
        for source in &self.queue_sources {
            queue(&source.queue, "an event source mapping")?;
            function(&source.function, "an event source mapping")?;
        }
        for source in &self.stream_sources {
            function(&source.function, "an event source mapping")?;
            if let Some(on_failure) = &source.on_failure {
                queue(on_failure, "an event source mapping")?;
            }
        }
        for route in &self.routes {
            function(&route.function, &format!("route {}", route.key))?;
        }
        for target in self.rules.iter().flat_map(|rule| &rule.targets) {
            match target {
                Target::Function(name) => function(name, "a rule")?,
                Target::Queue(name) => queue(name, "a rule")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
