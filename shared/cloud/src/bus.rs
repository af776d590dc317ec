//! The stack's event bus: every business fact, for whoever wants to listen.

use aws_sdk_eventbridge::{Client, types::PutEventsRequestEntry};
use domain::event::Event;

use crate::{CallError, Cloud, StartError};

/// Publishes facts.
#[derive(Debug, Clone)]
pub struct Bus {
    client: Client,
    name: String,
}

impl Bus {
    /// The stack's bus.
    ///
    /// # Errors
    /// [`StartError`] if its name is missing.
    pub fn new(cloud: &Cloud) -> Result<Self, StartError> {
        Ok(Self { client: Client::new(&cloud.sdk), name: cloud.env.get("EVENT_BUS")? })
    }

    /// Publishes a fact. It carries ids and no personal data (the consent and what another system
    /// told stay in its row); a listener may get it twice and
    /// tells by `event_id`.
    ///
    /// # Errors
    /// [`CallError`] if the bus did not take it.
    pub async fn publish(&self, event: &Event) -> Result<(), CallError> {
        let doing = "publishing a fact";
        let detail = serde_json::to_string(&event.without_personal_data())
            .map_err(|error| CallError::new(doing, error))?;
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(&self.name)
            .source("michi")
            .detail_type(event.fact.kind().as_str())
            .detail(detail)
            .build();
        let answer = self
            .client
            .put_events()
            .entries(entry)
            .send()
            .await
            .map_err(|error| CallError::new(doing, error))?;
        // PutEvents answers 200 with the failures inside.
        match answer.entries().iter().find_map(|entry| entry.error_code()) {
            None => Ok(()),
            Some(code) => Err(CallError { doing, reason: format!("the bus refused it: {code}") }),
        }
    }
}
