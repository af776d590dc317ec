//! Tasks: what a person of the team has to do.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{id::Id, time};

/// One row of the Tasks table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Follows from what made it, so that a repeat finds it.
    pub task_id: Id,
    pub lead_id: Id,
    pub title: String,
    /// Partition of the index of open tasks; a task that is done leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<Id>,
    #[serde(with = "time::stored")]
    pub due: DateTime<Utc>,
    #[serde(with = "time::stored")]
    pub created_at: DateTime<Utc>,
    /// The sequence and step that made it.
    pub made_by: String,
    #[serde(with = "time::stored_option", default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<DateTime<Utc>>,
    /// Who had to do it.
    pub given_to: Id,
}

impl Task {
    /// The same task, done.
    pub fn done(self, now: DateTime<Utc>) -> Self {
        Self { assignee: None, done_at: self.done_at.or(Some(now)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, id};

    #[test]
    fn a_task_that_is_done_leaves_the_index_and_keeps_when_it_was_done_first() {
        let open = Task {
            task_id: id("t-1"),
            lead_id: id("l-1"),
            title: "電話でフォローする".into(),
            assignee: Some(id("owner")),
            due: at("2026-11-23T01:00:00Z"),
            created_at: at("2026-11-22T01:00:00Z"),
            made_by: "mql/call".into(),
            done_at: None,
            given_to: id("owner"),
        };
        let first = open.clone().done(at("2026-11-22T02:00:00Z"));
        assert_eq!((first.assignee.clone(), first.done_at), (None, Some(at("2026-11-22T02:00:00Z"))));
        assert_eq!(first.given_to, id("owner"));
        assert_eq!(first.clone().done(at("2026-11-22T03:00:00Z")), first);
        for task in [open, first] {
            let stored = serde_json::to_value(&task).unwrap();
            assert_eq!(serde_json::from_value::<Task>(stored).unwrap(), task);
        }
    }
}
