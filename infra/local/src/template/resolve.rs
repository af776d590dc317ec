//! CloudFormation's intrinsic functions, resolved as CloudFormation would in this account and region.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{ACCOUNT, REGION, TemplateError};

/// A template with its parameters and conditions.
pub(super) struct Resolver {
    stack: String,
    resources: Map<String, Value>,
    parameters: BTreeMap<String, String>,
    conditions: Map<String, Value>,
}

impl Resolver {
    pub(super) fn new(
        yaml: &str,
        stack: &str,
        overrides: &BTreeMap<String, String>,
    ) -> Result<Self, TemplateError> {
        let root: Value = serde_yaml_ng::from_str(yaml)
            .map_err(|error| TemplateError::new("the template", error.to_string()))?;
        let section = |name: &str| root.get(name).and_then(Value::as_object).cloned();
        let declared = section("Parameters").unwrap_or_default();
        if let Some(name) = overrides.keys().find(|name| !declared.contains_key(*name)) {
            return Err(TemplateError::new(format!("parameter {name}"), "is not declared"));
        }
        let mut parameters = BTreeMap::new();
        for (name, declaration) in &declared {
            let default = declaration.get("Default").and_then(scalar);
            let value = overrides.get(name).cloned().or(default).ok_or_else(|| {
                TemplateError::new(format!("parameter {name}"), "has neither a value nor a default")
            })?;
            parameters.insert(name.clone(), value);
        }
        Ok(Self {
            stack: stack.to_owned(),
            resources: section("Resources")
                .ok_or_else(|| TemplateError::new("the template", "has no Resources"))?,
            parameters,
            conditions: section("Conditions").unwrap_or_default(),
        })
    }

    /// The resources of one type whose condition holds, by logical name, with resolved properties.
    pub(super) fn of_type(&self, kind: &str) -> Result<Vec<(&str, Value)>, TemplateError> {
        let mut found = Vec::new();
        for (name, resource) in &self.resources {
            if resource.get("Type").and_then(Value::as_str) != Some(kind) {
                continue;
            }
            if let Some(condition) = resource.get("Condition").and_then(Value::as_str)
                && !self.condition(condition, name)?
            {
                continue;
            }
            let properties = resource.get("Properties").unwrap_or(&Value::Null).as_object();
            found.push((name.as_str(), self.used_properties(name, kind, properties)?));
        }
        Ok(found)
    }

    /// Roles and code locations are left out: nothing here reads them, and they name what only AWS has.
    fn used_properties(
        &self,
        name: &str,
        kind: &str,
        properties: Option<&Map<String, Value>>,
    ) -> Result<Value, TemplateError> {
        let mut resolved = Map::new();
        for (property, value) in properties.into_iter().flatten() {
            if kind == "AWS::Lambda::Function"
                && matches!(property.as_str(), "Role" | "Code" | "LoggingConfig")
            {
                continue;
            }
            let value = self.value(value, &format!("{name}.{property}"))?;
            if !value.is_null() {
                resolved.insert(property.clone(), value);
            }
        }
        Ok(Value::Object(resolved))
    }

    /// Resolves every intrinsic in `value`; `place` names it in errors. `AWS::NoValue` becomes null.
    fn value(&self, value: &Value, place: &str) -> Result<Value, TemplateError> {
        match value {
            Value::Object(map) => {
                if map.len() == 1
                    && let Some((function, argument)) = map.iter().next()
                    && (function == "Ref" || function.starts_with("Fn::"))
                {
                    return self.intrinsic(function, argument, place);
                }
                let mut resolved = Map::new();
                for (key, value) in map {
                    let value = self.value(value, &format!("{place}.{key}"))?;
                    if !value.is_null() {
                        resolved.insert(key.clone(), value);
                    }
                }
                Ok(Value::Object(resolved))
            }
            Value::Array(items) => {
                let mut resolved = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let item = self.value(item, &format!("{place}[{index}]"))?;
                    if !item.is_null() {
                        resolved.push(item);
                    }
                }
                Ok(Value::Array(resolved))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(value.clone()),
        }
    }

    fn intrinsic(&self, function: &str, argument: &Value, place: &str) -> Result<Value, TemplateError> {
        match (function, argument) {
            ("Ref", Value::String(name)) if name == "AWS::NoValue" => Ok(Value::Null),
            ("Ref", Value::String(name)) => Ok(Value::String(self.reference(name, place)?)),
            ("Fn::GetAtt", Value::Array(pair)) => match pair.as_slice() {
                [Value::String(name), Value::String(attribute)] => {
                    Ok(Value::String(self.attribute(name, attribute, place)?))
                }
                _ => Err(TemplateError::new(place, "Fn::GetAtt needs [resource, attribute]")),
            },
            ("Fn::Sub", Value::String(text)) => self.substitute(text, &Map::new(), place),
            ("Fn::Sub", Value::Array(pair)) => match pair.as_slice() {
                [Value::String(text), Value::Object(names)] => {
                    let names = self.value(&Value::Object(names.clone()), place)?;
                    self.substitute(text, names.as_object().unwrap_or(&Map::new()), place)
                }
                _ => Err(TemplateError::new(place, "Fn::Sub needs [text, names]")),
            },
            ("Fn::Join", Value::Array(pair)) => match pair.as_slice() {
                [Value::String(separator), items] => self.join(separator, items, place),
                _ => Err(TemplateError::new(place, "Fn::Join needs [separator, items]")),
            },
            ("Fn::If", Value::Array(parts)) => match parts.as_slice() {
                [Value::String(condition), yes, no] => {
                    let holds = self.condition(condition, place)?;
                    self.value(if holds { yes } else { no }, place)
                }
                _ => Err(TemplateError::new(place, "Fn::If needs [condition, yes, no]")),
            },
            _ => Err(TemplateError::new(place, format!("{function} is not known to the local cloud"))),
        }
    }

    fn join(&self, separator: &str, items: &Value, place: &str) -> Result<Value, TemplateError> {
        let items = self.value(items, place)?;
        let texts: Option<Vec<String>> =
            items.as_array().and_then(|items| items.iter().map(scalar).collect());
        texts
            .map(|texts| Value::String(texts.join(separator)))
            .ok_or_else(|| TemplateError::new(place, "Fn::Join joins texts only"))
    }

    fn substitute(
        &self,
        text: &str,
        names: &Map<String, Value>,
        place: &str,
    ) -> Result<Value, TemplateError> {
        let mut result = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            result.push_str(before);
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| TemplateError::new(place, "Fn::Sub has a ${ without }"))?;
            if let Some(literal) = name.strip_prefix('!') {
                result.push_str(&format!("${{{literal}}}"));
            } else if let Some(value) = names.get(name) {
                result.push_str(&scalar(value).unwrap_or_default());
            } else if let Some((resource, attribute)) = name.split_once('.') {
                result.push_str(&self.attribute(resource, attribute, place)?);
            } else {
                result.push_str(&self.reference(name, place)?);
            }
            rest = after;
        }
        result.push_str(rest);
        Ok(Value::String(result))
    }

    fn condition(&self, name: &str, place: &str) -> Result<bool, TemplateError> {
        let rule = self
            .conditions
            .get(name)
            .ok_or_else(|| TemplateError::new(place, format!("condition {name} is not declared")))?;
        self.holds(rule, &format!("condition {name}"))
    }

    fn holds(&self, rule: &Value, place: &str) -> Result<bool, TemplateError> {
        let single = rule.as_object().filter(|map| map.len() == 1);
        let (function, argument) = single
            .and_then(|map| map.iter().next())
            .ok_or_else(|| TemplateError::new(place, "a condition is one intrinsic function"))?;
        let parts = argument.as_array().map_or(&[] as &[Value], Vec::as_slice);
        match (function.as_str(), parts) {
            ("Fn::Equals", [left, right]) => {
                let (left, right) = (self.value(left, place)?, self.value(right, place)?);
                Ok(scalar(&left) == scalar(&right))
            }
            ("Fn::Not", [inner]) => Ok(!self.holds(inner, place)?),
            ("Fn::And", parts) => {
                parts.iter().try_fold(true, |all, part| Ok(all && self.holds(part, place)?))
            }
            ("Fn::Or", parts) => {
                parts.iter().try_fold(false, |any, part| Ok(any || self.holds(part, place)?))
            }
            ("Condition", _) => self.condition(argument.as_str().unwrap_or_default(), place),
            _ => Err(TemplateError::new(place, format!("{function} is not known to the local cloud"))),
        }
    }

    fn reference(&self, name: &str, place: &str) -> Result<String, TemplateError> {
        match name {
            "AWS::StackName" => return Ok(self.stack.clone()),
            "AWS::Region" => return Ok(REGION.to_owned()),
            "AWS::AccountId" => return Ok(ACCOUNT.to_owned()),
            "AWS::Partition" => return Ok("aws".to_owned()),
            "AWS::URLSuffix" => return Ok("amazonaws.com".to_owned()),
            _ => {}
        }
        if let Some(value) = self.parameters.get(name) {
            return Ok(value.clone());
        }
        let (kind, name_property) = self.kind(name, place)?;
        let physical = self.physical(name, name_property, place)?;
        Ok(match kind {
            "AWS::SQS::Queue" => super::queue_url(&physical),
            _ => physical,
        })
    }

    /// The type of a resource and the property that holds its physical name.
    fn kind(&self, name: &str, place: &str) -> Result<(&str, &'static str), TemplateError> {
        let kind = self
            .resources
            .get(name)
            .and_then(|resource| resource.get("Type"))
            .and_then(Value::as_str)
            .ok_or_else(|| {
                TemplateError::new(place, format!("{name} is neither a parameter nor a resource"))
            })?;
        let property = match kind {
            "AWS::DynamoDB::Table" => "TableName",
            "AWS::SQS::Queue" => "QueueName",
            "AWS::Lambda::Function" => "FunctionName",
            "AWS::Logs::LogGroup" => "LogGroupName",
            "AWS::IAM::Role" => "RoleName",
            _ => "Name",
        };
        Ok((kind, property))
    }

    /// The physical name: the name property, or the name CloudFormation would make up without its random part.
    fn physical(&self, name: &str, property: &str, place: &str) -> Result<String, TemplateError> {
        // The id of an API or integration is AWS's to choose; its name is only a label.
        let kind = self.resources[name]["Type"].as_str().unwrap_or_default();
        if kind.starts_with("AWS::ApiGatewayV2::") {
            return Ok(name.to_lowercase());
        }
        match self.resources[name].pointer(&format!("/Properties/{property}")) {
            Some(value) => {
                let value = self.value(value, &format!("{name}.{property}"))?;
                scalar(&value).ok_or_else(|| TemplateError::new(place, "a name must be a text"))
            }
            None => Ok(format!("{}-{name}", self.stack)),
        }
    }

    fn attribute(&self, name: &str, attribute: &str, place: &str) -> Result<String, TemplateError> {
        let (kind, property) = self.kind(name, place)?;
        let physical = self.physical(name, property, place)?;
        let arn = |service: &str, rest: String| Ok(format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{rest}"));
        match (kind, attribute) {
            ("AWS::DynamoDB::Table", "Arn") => arn("dynamodb", format!("table/{physical}")),
            ("AWS::DynamoDB::Table", "StreamArn") => Ok(super::stream_arn(&physical)),
            ("AWS::SQS::Queue", "Arn") => Ok(super::queue_arn(&physical)),
            ("AWS::SQS::Queue", "QueueName")
            | ("AWS::Events::EventBus", "Name")
            | ("AWS::ApiGatewayV2::Api", "ApiId") => Ok(physical),
            ("AWS::SQS::Queue", "QueueUrl") => Ok(super::queue_url(&physical)),
            ("AWS::Lambda::Function", "Arn") => Ok(super::function_arn(&physical)),
            ("AWS::Events::EventBus", "Arn") => arn("events", format!("event-bus/{physical}")),
            ("AWS::Events::Rule", "Arn") => arn("events", format!("rule/{physical}")),
            ("AWS::Scheduler::ScheduleGroup", "Arn") => {
                arn("scheduler", format!("schedule-group/{physical}"))
            }
            ("AWS::Logs::LogGroup", "Arn") => arn("logs", format!("log-group:{physical}:*")),
            ("AWS::IAM::Role", "Arn") => Ok(format!("arn:aws:iam::{ACCOUNT}:role/{physical}")),
            ("AWS::ApiGatewayV2::Api", "ApiEndpoint") => {
                Ok(format!("https://{physical}.execute-api.{REGION}.amazonaws.com"))
            }
            _ => Err(TemplateError::new(
                place,
                format!("attribute {attribute} of {name} ({kind}) is not known to the local cloud"),
            )),
        }
    }
}

/// A text, number or boolean as CloudFormation passes it on.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
