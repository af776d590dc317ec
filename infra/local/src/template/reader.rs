//! CloudFormation resources become the parts of a stack.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use serde_json::Value;

use super::resolve::{Resolver, scalar};
use super::{
    ConfigurationSet, Function, Queue, QueueSource, Redrive, Route, Rule, StackSchedule, StreamSource,
    Target, TemplateError, function_name, queue_arn,
};
use crate::aws::pattern::Pattern;

/// Reads the parts of a stack out of a template.
pub(super) struct Reader<'a> {
    pub(super) template: &'a Resolver,
    pub(super) stack: &'a str,
}

impl Reader<'_> {
    pub(super) fn names(&self, kind: &str) -> Result<BTreeSet<String>, TemplateError> {
        let mut names = BTreeSet::from(["default".to_owned()]);
        for (resource, properties) in self.template.of_type(kind)? {
            names.insert(Properties(resource, &properties).text("Name")?);
        }
        Ok(names)
    }

    pub(super) fn tables(&self) -> Result<BTreeMap<String, Value>, TemplateError> {
        const SAME_IN_THE_API: [&str; 4] =
            ["AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode"];
        let mut tables = BTreeMap::new();
        for (resource, properties) in self.template.of_type("AWS::DynamoDB::Table")? {
            let table = Properties(resource, &properties);
            let name = table.text("TableName")?;
            let mut request = serde_json::json!({"TableName": name});
            for property in SAME_IN_THE_API {
                if let Some(value) = properties.get(property) {
                    request[property] = value.clone();
                }
            }
            if let Some(view) = table.optional_text("StreamSpecification/StreamViewType") {
                request["StreamSpecification"] =
                    serde_json::json!({"StreamEnabled": true, "StreamViewType": view});
            }
            tables.insert(name, request);
        }
        Ok(tables)
    }

    pub(super) fn queues(&self) -> Result<BTreeMap<String, Queue>, TemplateError> {
        let mut queues = BTreeMap::new();
        for (resource, properties) in self.template.of_type("AWS::SQS::Queue")? {
            let queue = Properties(resource, &properties);
            let redrive = match queue.optional_text("RedrivePolicy/deadLetterTargetArn") {
                Some(arn) => Some(Redrive {
                    queue: queue.queue_of(&arn)?,
                    max_receive_count: queue.number("RedrivePolicy/maxReceiveCount")?,
                }),
                None => None,
            };
            let parsed = Queue {
                visibility: queue.seconds_or("VisibilityTimeout", 30)?,
                delay: queue.seconds_or("DelaySeconds", 0)?,
                redrive,
            };
            queues.insert(queue.text("QueueName")?, parsed);
        }
        Ok(queues)
    }

    pub(super) fn functions(&self) -> Result<BTreeMap<String, Function>, TemplateError> {
        let mut functions = BTreeMap::new();
        for (resource, properties) in self.template.of_type("AWS::Lambda::Function")? {
            let function = Properties(resource, &properties);
            let variables = properties.pointer("/Environment/Variables").and_then(Value::as_object);
            let environment = variables
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.clone(), scalar(value)?)))
                .collect();
            let dead_letters = function.optional_text("DeadLetterConfig/TargetArn");
            let parsed = Function {
                environment,
                timeout: function.seconds_or("Timeout", 3)?,
                async_retries: 2,
                on_failure: dead_letters.map(|arn| function.queue_of(&arn)).transpose()?,
            };
            let name = function_name(&function.text("FunctionName")?, self.stack);
            functions.insert(name, parsed);
        }
        for (resource, properties) in self.template.of_type("AWS::Lambda::EventInvokeConfig")? {
            let config = Properties(resource, &properties);
            let name = function_name(&config.text("FunctionName")?, self.stack);
            let function = functions.get_mut(&name).ok_or_else(|| {
                TemplateError::new(format!("{resource}.FunctionName"), format!("no function {name}"))
            })?;
            function.async_retries = config.optional_number("MaximumRetryAttempts")?.unwrap_or(2);
            if let Some(arn) = config.optional_text("DestinationConfig/OnFailure/Destination") {
                function.on_failure = Some(config.queue_of(&arn)?);
            }
        }
        Ok(functions)
    }

    pub(super) fn sources(&self) -> Result<(Vec<QueueSource>, Vec<StreamSource>), TemplateError> {
        let (mut queues, mut streams) = (Vec::new(), Vec::new());
        for (resource, properties) in self.template.of_type("AWS::Lambda::EventSourceMapping")? {
            let mapping = Properties(resource, &properties);
            mapping.refuse("FilterCriteria")?;
            let arn = mapping.text("EventSourceArn")?;
            let function = mapping.function_of("FunctionName", self.stack)?;
            let reports_failures = properties["FunctionResponseTypes"]
                .as_array()
                .is_some_and(|types| types.iter().any(|kind| kind == "ReportBatchItemFailures"));
            if let Some(queue) = arn.strip_prefix(&queue_arn("")) {
                queues.push(QueueSource {
                    queue: queue.to_owned(),
                    function,
                    batch_size: mapping.optional_number("BatchSize")?.unwrap_or(10),
                    reports_failures,
                });
                continue;
            }
            let table = arn
                .split_once(":table/")
                .and_then(|(_, rest)| rest.split_once("/stream/"))
                .map(|(table, _)| table.to_owned())
                .ok_or_else(|| {
                    let problem = "is neither a queue's nor a stream's ARN";
                    TemplateError::new(format!("{resource}.EventSourceArn"), problem)
                })?;
            // AWS writes "no limit" as -1.
            let limit = |property| mapping.optional_number::<i64>(property);
            let max_retries = limit("MaximumRetryAttempts")?.and_then(|n| u32::try_from(n).ok());
            let max_age = limit("MaximumRecordAgeInSeconds")?.filter(|age| *age >= 0);
            let on_failure = mapping.optional_text("DestinationConfig/OnFailure/Destination");
            streams.push(StreamSource {
                table,
                function,
                batch_size: mapping.optional_number("BatchSize")?.unwrap_or(100),
                bisect: properties["BisectBatchOnFunctionError"] == true,
                max_retries,
                max_age: max_age.map(TimeDelta::seconds),
                reports_failures,
                on_failure: on_failure.map(|arn| mapping.queue_of(&arn)).transpose()?,
            });
        }
        Ok((queues, streams))
    }

    pub(super) fn routes(&self) -> Result<Vec<Route>, TemplateError> {
        let mut integrations = BTreeMap::new();
        for (resource, properties) in self.template.of_type("AWS::ApiGatewayV2::Integration")? {
            let integration = Properties(resource, &properties);
            if integration.text("PayloadFormatVersion")? != "2.0" {
                let place = format!("{resource}.PayloadFormatVersion");
                return Err(TemplateError::new(place, "must be 2.0"));
            }
            let function = integration.function_of("IntegrationUri", self.stack)?;
            integrations.insert(format!("integrations/{}", resource.to_lowercase()), function);
        }
        let mut routes = Vec::new();
        for (resource, properties) in self.template.of_type("AWS::ApiGatewayV2::Route")? {
            let route = Properties(resource, &properties);
            let target = route.text("Target")?;
            let function = integrations
                .get(&target)
                .cloned()
                .ok_or_else(|| TemplateError::new(format!("{resource}.Target"), format!("no {target}")))?;
            let key = route.text("RouteKey")?;
            routes.push(Route { key, function });
        }
        Ok(routes)
    }

    pub(super) fn rules(&self) -> Result<Vec<Rule>, TemplateError> {
        let mut rules = Vec::new();
        for (resource, properties) in self.template.of_type("AWS::Events::Rule")? {
            let rule = Properties(resource, &properties);
            rule.refuse("ScheduleExpression")?;
            if rule.optional_text("State").as_deref() == Some("DISABLED") {
                continue;
            }
            let bus = rule.optional_text("EventBusName");
            let bus = bus.unwrap_or_else(|| "default".to_owned());
            let pattern = Pattern::parse(&properties["EventPattern"])
                .map_err(|problem| TemplateError::new(format!("{resource}.EventPattern"), problem))?;
            let mut targets = Vec::new();
            for target in properties["Targets"].as_array().into_iter().flatten() {
                let target = Properties(resource, target);
                let arn = target.text("Arn")?;
                targets.push(Target::of_arn(&arn, self.stack).ok_or_else(|| {
                    let place = format!("{resource}.Targets");
                    TemplateError::new(place, format!("{arn} is neither a function nor a queue"))
                })?);
            }
            rules.push(Rule { bus: bus.rsplit('/').next().unwrap_or_default().to_owned(), pattern, targets });
        }
        Ok(rules)
    }

    pub(super) fn schedules(&self) -> Result<Vec<StackSchedule>, TemplateError> {
        let mut schedules = Vec::new();
        for (resource, properties) in self.template.of_type("AWS::Scheduler::Schedule")? {
            let name = Properties(resource, &properties).text("Name")?;
            let request = properties;
            schedules.push(StackSchedule { name, request });
        }
        Ok(schedules)
    }

    pub(super) fn configuration_sets(&self) -> Result<BTreeMap<String, ConfigurationSet>, TemplateError> {
        let mut sets = BTreeMap::new();
        for (resource, properties) in self.template.of_type("AWS::SES::ConfigurationSet")? {
            let set = Properties(resource, &properties);
            let suppressed_reasons = set.texts("SuppressionOptions/SuppressedReasons");
            let parsed = ConfigurationSet { events: BTreeSet::new(), suppressed_reasons };
            sets.insert(set.text("Name")?, parsed);
        }
        let kind = "AWS::SES::ConfigurationSetEventDestination";
        for (resource, properties) in self.template.of_type(kind)? {
            let destination = Properties(resource, &properties);
            let on_bus = properties.pointer("/EventDestination/EventBridgeDestination");
            if on_bus.is_none() || properties["EventDestination"]["Enabled"] == false {
                continue;
            }
            let name = destination.text("ConfigurationSetName")?;
            let set = sets.get_mut(&name).ok_or_else(|| {
                let place = format!("{resource}.ConfigurationSetName");
                TemplateError::new(place, format!("no configuration set {name}"))
            })?;
            set.events.extend(destination.texts("EventDestination/MatchingEventTypes"));
        }
        Ok(sets)
    }
}

/// A resource's resolved properties; paths are written with slashes.
struct Properties<'a>(&'a str, &'a Value);

impl Properties<'_> {
    fn error(&self, path: &str, problem: impl Into<String>) -> TemplateError {
        TemplateError::new(format!("{}.{}", self.0, path.replace('/', ".")), problem)
    }

    fn optional_text(&self, path: &str) -> Option<String> {
        self.1.pointer(&format!("/{path}")).and_then(scalar)
    }

    fn text(&self, path: &str) -> Result<String, TemplateError> {
        self.optional_text(path).ok_or_else(|| self.error(path, "is missing"))
    }

    fn texts(&self, path: &str) -> BTreeSet<String> {
        let list = self.1.pointer(&format!("/{path}")).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(scalar).collect()
    }

    fn optional_number<T: std::str::FromStr>(&self, path: &str) -> Result<Option<T>, TemplateError> {
        let parse = |text: String| {
            text.parse().map_err(|_| self.error(path, format!("{text} is not a fitting number")))
        };
        self.optional_text(path).map(parse).transpose()
    }

    fn number<T: std::str::FromStr>(&self, path: &str) -> Result<T, TemplateError> {
        self.optional_number(path)?.ok_or_else(|| self.error(path, "is missing"))
    }

    fn seconds_or(&self, path: &str, default: u32) -> Result<TimeDelta, TemplateError> {
        let seconds = self.optional_number(path)?.unwrap_or(default);
        Ok(TimeDelta::seconds(i64::from(seconds)))
    }

    fn queue_of(&self, arn: &str) -> Result<String, TemplateError> {
        arn.strip_prefix(&queue_arn(""))
            .map(str::to_owned)
            .ok_or_else(|| TemplateError::new(self.0, format!("{arn} is not a queue's ARN")))
    }

    /// The function that a name, an ARN or an integration's URI names.
    fn function_of(&self, path: &str, stack: &str) -> Result<String, TemplateError> {
        let text = self.text(path)?;
        let name = text.split_once(":function:").map_or(text.as_str(), |(_, rest)| rest);
        let name = name.split('/').next().unwrap_or_default();
        Ok(function_name(name, stack))
    }

    fn refuse(&self, path: &str) -> Result<(), TemplateError> {
        match self.1.get(path) {
            Some(_) => Err(self.error(path, "is not known to the local cloud")),
            None => Ok(()),
        }
    }
}
