//! What the people of the team have to do.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use content::Funnel;
use domain::{id::Id, lead::Lead, task::Task, text::ShortText};
use serde::Serialize;
use serde_json::json;
use web::{
    answer::{self, Answer},
    problem::{Failure, Problem, Status},
    request::Request,
};

use crate::{Console, view::Sight};

/// How many people on one page are called by their names, which costs a look-up each.
const NAMES: usize = 100;

/// What somebody of the team has to do.
#[derive(Debug, Serialize)]
pub(crate) struct Duties {
    pub(crate) member: Id,
    /// The earliest first.
    pub(crate) tasks: Vec<Duty>,
}

/// One task.
#[derive(Debug, Serialize)]
pub(crate) struct Duty {
    #[serde(flatten)]
    task: Task,
    overdue: bool,
    /// The lead's name, if it is known.
    name: Option<ShortText>,
}

impl Console {
    /// The open tasks of everybody, or of one.
    pub(crate) async fn tasks(&self, request: &Request) -> Result<Answer, Failure> {
        let chosen = chosen(request)?;
        let (now, mut names, mut all) = (self.cloud.now(), BTreeMap::new(), vec![]);
        for member in members(&self.funnel, chosen.as_ref()) {
            let tasks = self.tables.open_tasks(&member).await?;
            for task in &tasks {
                if names.len() < NAMES && !names.contains_key(&task.lead_id) {
                    let lead = self.tables.lead(&task.lead_id).await?;
                    names.insert(task.lead_id.clone(), lead.and_then(|Lead { name, .. }| name));
                }
            }
            all.push(Duties {
                tasks: tasks.into_iter().map(|task| duty(task, &names, now)).collect(),
                member,
            });
        }
        self.shown(&Sight::Tasks { chosen: chosen.as_ref(), duties: &all })
    }

    /// The same button again changes nothing.
    pub(crate) async fn finish(&self, request: &Request) -> Result<Answer, Failure> {
        let chosen = chosen(request)?;
        let task_id = Id::parse(request.path("task_id")).map_err(|_| no_task())?;
        let known = self.tables.task(&task_id).await?.ok_or_else(no_task)?;
        let was_done = known.done_at.is_some();
        let task = known.done(self.cloud.now());
        if !was_done {
            if !self.tables.put_task(&task).await? {
                return Err(no_task().into());
            }
            tracing::info!(task_id = %task.task_id, lead_id = %task.lead_id, "a task was done");
        }
        let query = chosen.map(|member| format!("?for={member}")).unwrap_or_default();
        Ok(match request.wants_html() {
            true => answer::see_other(&format!("{}/console/tasks{query}", self.base)),
            false => answer::json(200, &json!(task)),
        })
    }
}

/// Whose tasks are asked for; everybody's if nobody's in particular.
fn chosen(request: &Request) -> Result<Option<Id>, Problem> {
    let id = |text| Id::parse(text).map_err(|error| Problem::field("for", &error.to_string()));
    request.query("for").map(id).transpose()
}

/// Somebody who has left the team may have left tasks, so that any id can be asked for.
fn members(funnel: &Funnel, chosen: Option<&Id>) -> Vec<Id> {
    match chosen {
        Some(member) => vec![member.clone()],
        None => funnel.team.iter().map(|member| member.id.clone()).collect(),
    }
}

fn duty(task: Task, names: &BTreeMap<Id, Option<ShortText>>, now: DateTime<Utc>) -> Duty {
    Duty { overdue: task.due <= now, name: names.get(&task.lead_id).cloned().flatten(), task }
}

fn no_task() -> Problem {
    Problem::field("task", "is not known").with_status(Status::NotFound)
}

#[cfg(test)]
pub(crate) mod tests {
    use content::Locale;

    use super::*;
    use crate::{
        story::tests::{at, id},
        view::tests::funnel,
    };

    pub(crate) fn task(task_id: &str, due: &str) -> Task {
        Task {
            task_id: id(task_id),
            lead_id: id("l-1"),
            title: "<b>電話</b>でフォローする".into(),
            assignee: Some(id("owner")),
            due: at(due),
            created_at: at("2026-11-20T03:00:00Z"),
            made_by: "nurture/call".into(),
            done_at: None,
            given_to: id("owner"),
        }
    }

    pub(crate) fn duties() -> Vec<Duties> {
        let names = BTreeMap::from([(id("l-1"), ShortText::parse("山田 <花子>").ok())]);
        let now = at("2026-11-25T01:00:00Z");
        let tasks = [task("t-1", "2026-11-25T01:00:00Z"), task("t-2", "2026-11-25T01:00:01Z")];
        let unnamed = Task { lead_id: id("l-2"), ..task("t-3", "2026-11-26T00:00:00Z") };
        let tasks = tasks.into_iter().chain([unnamed]).map(|task| duty(task, &names, now)).collect();
        vec![Duties { member: id("owner"), tasks }, Duties { member: id("gone"), tasks: vec![] }]
    }

    #[test]
    fn a_task_is_overdue_from_its_due_time_on() {
        let overdue: Vec<bool> = duties()[0].tasks.iter().map(|duty| duty.overdue).collect();
        assert_eq!(overdue, [true, false, false]);
    }

    #[test]
    fn tasks_of_one_are_shown_alone_even_of_somebody_who_left() {
        let funnel = funnel(Locale::Ja);
        assert_eq!(members(&funnel, None), [id("owner"), id("sales")]);
        assert_eq!(members(&funnel, Some(&id("gone"))), [id("gone")]);
    }
}
