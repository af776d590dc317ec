//! A person with as much of her history as a decision needs.

use chrono::{DateTime, Utc};
use domain::{
    condition::Known, engagement::Engagement, event::Event, lead::Lead, score::Scoring, sequence::Enrolment,
};

/// A lead and what was read about her.
#[derive(Debug, Clone)]
pub struct Person {
    pub lead: Lead,
    pub ledger: Vec<Engagement>,
    /// In order of time.
    pub timeline: Vec<Event>,
    pub enrolments: Vec<Enrolment>,
}

impl Person {
    /// Somebody of whom no more is known than her row.
    pub fn of(lead: Lead) -> Self {
        Self { lead, ledger: vec![], timeline: vec![], enrolments: vec![] }
    }

    /// The same person, with a fact that the timeline's index may not show yet.
    pub fn with(mut self, event: &Event) -> Self {
        let known = self.timeline.iter().any(|known| known.event_id == event.event_id);
        if !known && event.fact.kind().on_timeline() {
            self.timeline.push(event.clone());
            self.timeline.sort_by_key(|event| event.occurred_at);
        }
        self
    }

    /// As conditions see her.
    pub fn known<'a>(
        &'a self,
        scoring: &'a Scoring,
        entered_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Known<'a> {
        Known {
            lead: &self.lead,
            ledger: &self.ledger,
            timeline: &self.timeline,
            enrolments: &self.enrolments,
            scoring,
            entered_at,
            now,
        }
    }
}
