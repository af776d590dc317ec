//! EventBridge Scheduler: one-time and cron schedules that send to queues and functions.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cron::Expression;
use super::lambda::Invocations;
use super::{Answer, AwsError, Call, Ids, required, unknown_operation};
use crate::clock::Clock;
use crate::faults::Way;
use crate::shelf::{Shelf, ShelfError, ShelfFile, lock};
use crate::template::{ACCOUNT, REGION, Stack, Target};

const MAX_NAME: usize = 64;
const MAX_PAGE: usize = 100;

/// A schedule as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Schedule {
    group: String,
    name: String,
    /// The body of the request that created or updated it.
    request: Value,
    created_at: DateTime<Utc>,
    modified_at: DateTime<Utc>,
    /// When it is due next; none once it is over or while it is switched off.
    next: Option<DateTime<Utc>>,
}

/// The schedules of an account.
pub(crate) struct Scheduler {
    clock: Clock,
    ids: Ids,
    stack: String,
    groups: BTreeSet<String>,
    lambda: Arc<Invocations>,
    state: Mutex<State>,
}

struct State {
    /// By group and name.
    schedules: Shelf<Schedule>,
    due: BTreeSet<(DateTime<Utc>, String)>,
}

impl State {
    fn put(&mut self, schedule: Schedule) -> Result<(), ShelfError> {
        let key = key(&schedule.group, &schedule.name);
        let old = self.schedules.get(&key).and_then(|old| old.next);
        let next = schedule.next;
        self.schedules.insert(key.clone(), schedule)?;
        if let Some(old) = old {
            self.due.remove(&(old, key.clone()));
        }
        if let Some(next) = next {
            self.due.insert((next, key));
        }
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<Option<Schedule>, ShelfError> {
        let schedule = self.schedules.remove(key)?;
        if let Some(next) = schedule.as_ref().and_then(|schedule| schedule.next) {
            self.due.remove(&(next, key.to_owned()));
        }
        Ok(schedule)
    }
}

impl Scheduler {
    pub(crate) fn open(
        stack: &Stack,
        file: Option<&ShelfFile>,
        clock: &Clock,
        lambda: Arc<Invocations>,
    ) -> Result<Self, crate::engine::CloudError> {
        let schedules: Shelf<Schedule> = Shelf::open("schedules", file)?;
        let due =
            schedules.iter().filter_map(|(key, schedule)| Some((schedule.next?, key.to_owned()))).collect();
        let scheduler = Self {
            clock: clock.clone(),
            ids: Ids::open("schedule execution", "0a5c", file)?,
            stack: stack.name.clone(),
            groups: stack.schedule_groups.clone(),
            lambda,
            state: Mutex::new(State { schedules, due }),
        };
        for wanted in &stack.schedules {
            scheduler.deploy(&wanted.name, &wanted.request).map_err(|error| {
                crate::engine::CloudError::Schedule { name: wanted.name.clone(), problem: error.message }
            })?;
        }
        Ok(scheduler)
    }

    /// Creates a schedule of the stack, or updates it if the template has changed.
    fn deploy(&self, name: &str, request: &Value) -> Result<(), AwsError> {
        let schedule = self.check(name, request)?;
        let mut state = lock(&self.state);
        let old = state.schedules.get(&key(&schedule.group, name));
        if old.is_none_or(|old| old.request != *request) {
            state.put(schedule)?;
        }
        Ok(())
    }

    /// Sends what is due; whether there was anything.
    pub(crate) fn fire_due(&self) -> Result<bool, AwsError> {
        let now = self.clock.now();
        let mut fired = false;
        loop {
            let due = {
                let state = lock(&self.state);
                let first = state.due.first().filter(|(at, _)| *at <= now);
                first.and_then(|(at, key)| Some((*at, key.clone(), state.schedules.get(key)?.clone())))
            };
            let Some((at, key, schedule)) = due else {
                return Ok(fired);
            };
            if let Some((target, payload)) = self.due(&schedule, at)? {
                self.lambda.deliver(&target, &payload, Way::Schedule)?;
            }
            self.move_on(&key, schedule, now)?;
            fired = true;
        }
    }

    /// A schedule may be on its way already when it is deleted.
    fn fire_deleted(&self, schedule: &Schedule) -> Result<(), AwsError> {
        for late in self.lambda.faults.copies(Way::DeletedSchedule) {
            let Some(at) = schedule.next else { continue };
            if let Some((target, payload)) = self.due(schedule, at)? {
                let delay = (at - self.clock.now()).max(chrono::TimeDelta::zero()) + late;
                self.lambda.deliver_late(&target, payload, delay)?;
            }
        }
        Ok(())
    }

    pub(crate) fn next_due(&self) -> Option<DateTime<Utc>> {
        lock(&self.state).due.first().map(|(at, _)| *at)
    }

    /// What a schedule sends, and where to.
    fn due(&self, schedule: &Schedule, at: DateTime<Utc>) -> Result<Option<(Target, Value)>, AwsError> {
        let request = &schedule.request["Target"];
        let Some(target) = self.target(request) else {
            return Ok(None);
        };
        let arn = arn(&schedule.group, &schedule.name);
        let time = at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let (_, id) = self.ids.next()?;
        let payload = match request["Input"].as_str() {
            Some(input) => {
                let input = input
                    .replace("<aws.scheduler.schedule-arn>", &arn)
                    .replace("<aws.scheduler.scheduled-time>", &time)
                    .replace("<aws.scheduler.execution-id>", &id)
                    .replace("<aws.scheduler.attempt-number>", "1");
                match target {
                    Target::Queue(_) => Value::String(input),
                    Target::Function(_) => serde_json::from_str(&input).unwrap_or(Value::String(input)),
                }
            }
            None => json!({"version": "0", "id": id, "detail-type": "Scheduled Event",
                "source": "aws.scheduler", "account": ACCOUNT, "time": time, "region": REGION,
                "resources": [arn], "detail": "{}"}),
        };
        Ok(Some((target, payload)))
    }

    /// After a schedule was sent: its next time, its end or its removal.
    fn move_on(&self, key: &str, mut schedule: Schedule, now: DateTime<Utc>) -> Result<(), AwsError> {
        let mut state = lock(&self.state);
        let expression = schedule.request["ScheduleExpression"].as_str();
        schedule.next = expression
            .and_then(|text| Expression::parse(text).ok())
            .and_then(|expression| expression.next_after(now));
        if schedule.next.is_none() && schedule.request["ActionAfterCompletion"] == "DELETE" {
            state.remove(key)?;
        } else {
            state.put(schedule)?;
        }
        Ok(())
    }

    pub(crate) fn call(&self, call: &Call, input: &Value) -> Answer {
        let group = call.query("groupName").unwrap_or("default");
        match call.operation.as_str() {
            "CreateSchedule" => self.create(&call.name, input),
            "UpdateSchedule" => self.update(&call.name, input),
            "GetSchedule" => self.get(group, &call.name),
            "DeleteSchedule" => {
                let removed = lock(&self.state).remove(&key(group, &call.name))?;
                let removed = removed.ok_or_else(|| no_schedule(&call.name))?;
                self.fire_deleted(&removed)?;
                Ok(json!({}))
            }
            "ListSchedules" => self.list(call),
            operation => Err(unknown_operation(operation)),
        }
    }

    fn create(&self, name: &str, input: &Value) -> Answer {
        let schedule = self.check(name, input)?;
        let group = schedule.group.clone();
        let mut state = lock(&self.state);
        if let Some(old) = state.schedules.get(&key(&group, name)) {
            // The same request again, such as an SDK's retry, is not a conflict.
            if input["ClientToken"].is_string() && old.request == *input {
                return Ok(json!({"ScheduleArn": arn(&group, name)}));
            }
            let problem = format!("Schedule {name} already exists.");
            return Err(AwsError::new("ConflictException", problem).with_status(StatusCode::CONFLICT));
        }
        state.put(schedule)?;
        Ok(json!({"ScheduleArn": arn(&group, name)}))
    }

    fn update(&self, name: &str, input: &Value) -> Answer {
        let mut schedule = self.check(name, input)?;
        let group = schedule.group.clone();
        let mut state = lock(&self.state);
        let old = state.schedules.get(&key(&group, name));
        schedule.created_at = old.ok_or_else(|| no_schedule(name))?.created_at;
        state.put(schedule)?;
        Ok(json!({"ScheduleArn": arn(&group, name)}))
    }

    fn get(&self, group: &str, name: &str) -> Answer {
        let state = lock(&self.state);
        let found = state.schedules.get(&key(group, name));
        let schedule = found.ok_or_else(|| no_schedule(name))?;
        let mut answer = schedule.request.clone();
        if let Value::Object(map) = &mut answer {
            map.remove("ClientToken");
        }
        answer["Arn"] = arn(group, name).into();
        answer["Name"] = name.into();
        answer["GroupName"] = group.into();
        answer["State"] = state_of(&schedule.request).into();
        answer["CreationDate"] = schedule.created_at.timestamp().into();
        answer["LastModificationDate"] = schedule.modified_at.timestamp().into();
        Ok(answer)
    }

    /// A page of schedules in the order of group and name; the token is the last key of the page before.
    fn list(&self, call: &Call) -> Answer {
        let state = lock(&self.state);
        let prefix = call.query("NamePrefix").unwrap_or_default();
        let group = call.query("ScheduleGroup");
        let after = call.query("NextToken").unwrap_or_default();
        let limit = call.query("MaxResults").and_then(|max| max.parse().ok());
        let limit = limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let mut found = state
            .schedules
            .iter()
            .filter(|(key, _)| *key > after)
            .filter(|(_, schedule)| group.is_none_or(|group| schedule.group == group))
            .filter(|(_, schedule)| schedule.name.starts_with(prefix));
        let page: Vec<(&str, &Schedule)> = found.by_ref().take(limit).collect();
        let summaries = page.iter().map(|(_, schedule)| {
            json!({
                "Arn": arn(&schedule.group, &schedule.name),
                "Name": schedule.name,
                "GroupName": schedule.group,
                "State": state_of(&schedule.request),
                "CreationDate": schedule.created_at.timestamp(),
                "LastModificationDate": schedule.modified_at.timestamp(),
                "Target": {"Arn": schedule.request["Target"]["Arn"]},
            })
        });
        let mut answer = json!({"Schedules": summaries.collect::<Vec<_>>()});
        if found.next().is_some() {
            answer["NextToken"] = page.last().map(|(key, _)| *key).into();
        }
        Ok(answer)
    }

    /// The schedule that a request asks for, if it may.
    fn check(&self, name: &str, input: &Value) -> Result<Schedule, AwsError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
            return Err(invalid(format!(
                "Value '{name}' at 'name' must match ^[0-9a-zA-Z-_.]+$ and have at most {MAX_NAME} characters."
            )));
        }
        let group = input["GroupName"].as_str().unwrap_or("default");
        if !self.groups.contains(group) {
            let problem = format!("Schedule group {group} does not exist.");
            return Err(
                AwsError::new("ResourceNotFoundException", problem).with_status(StatusCode::NOT_FOUND)
            );
        }
        required(&input["FlexibleTimeWindow"], "Mode")?;
        required(&input["Target"], "RoleArn")?;
        let target = required(&input["Target"], "Arn")?;
        if self.target(&input["Target"]).is_none() {
            return Err(invalid(format!("{target} is not a queue or a function of this stack.")));
        }
        let zone = input["ScheduleExpressionTimezone"].as_str();
        if zone.is_some_and(|zone| zone != "UTC") {
            return Err(invalid("The local cloud schedules in UTC only."));
        }
        let expression = Expression::parse(required(input, "ScheduleExpression")?);
        let expression = expression.map_err(invalid)?;
        let now = self.clock.now();
        let next = match &expression {
            Expression::At(at) if *at < now.trunc_subsecs(0) => {
                return Err(invalid("The schedule's time is in the past."));
            }
            Expression::At(at) => Some(*at),
            Expression::Cron(_) => expression.next_after(now),
        };
        Ok(Schedule {
            group: group.to_owned(),
            name: name.to_owned(),
            request: input.clone(),
            created_at: now,
            modified_at: now,
            next: next.filter(|_| state_of(input) == "ENABLED"),
        })
    }

    fn target(&self, request: &Value) -> Option<Target> {
        let target = Target::of_arn(request["Arn"].as_str()?, &self.stack)?;
        Some(target).filter(|target| self.lambda.knows(target))
    }
}

fn key(group: &str, name: &str) -> String {
    format!("{group}/{name}")
}

fn arn(group: &str, name: &str) -> String {
    format!("arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/{group}/{name}")
}

fn state_of(request: &Value) -> &str {
    request["State"].as_str().unwrap_or("ENABLED")
}

fn invalid(problem: impl Into<String>) -> AwsError {
    AwsError::new("ValidationException", problem)
}

fn no_schedule(name: &str) -> AwsError {
    let problem = format!("Schedule {name} does not exist.");
    AwsError::new("ResourceNotFoundException", problem).with_status(StatusCode::NOT_FOUND)
}

#[cfg(test)]
pub(crate) mod tests;
