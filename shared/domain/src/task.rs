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
