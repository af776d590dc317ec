//! What the tables hold at the end of a simulation, counted by sequence, mail, fact and reason.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::Client;
use content::Funnel;
use domain::{
    engagement::{Engagement, EngagementState},
    event::{Event, Fact},
    sequence::Enrolment,
};
use serde::{Serialize, de::DeserializeOwned};

use super::SimulationError;
use crate::engine::LocalCloud;

/// Counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// People who entered each sequence.
    pub sequences: BTreeMap<String, u64>,
    /// Sends of each mail.
    pub mails: BTreeMap<String, u64>,
    /// Times that each of the funnel's own facts was told.
    pub facts: BTreeMap<String, u64>,
    /// Mails that were not sent, by reason.
    pub not_sent: BTreeMap<String, u64>,
}

impl Tally {
    /// Reads all tables of a local cloud.
    ///
    /// # Errors
    /// [`SimulationError`] if a table can't be read.
    pub async fn count(cloud: &LocalCloud, funnel: &Funnel) -> Result<Self, SimulationError> {
        let mut tally = Self::default();
        let mut entered: BTreeSet<(String, String)> = BTreeSet::new();
        for enrolment in rows::<Enrolment>(cloud, "Enrolments").await? {
            if !enrolment.is_watching() {
                entered.insert((enrolment.sequence.to_string(), enrolment.lead_id.to_string()));
            }
        }
        for sequence in &funnel.sequences {
            let people = entered.iter().filter(|(id, _)| id == sequence.id.as_str());
            let people = u64::try_from(people.count()).unwrap_or(0);
            tally.sequences.insert(sequence.id.to_string(), people);
        }
        tally.mails.extend(funnel.mails().map(|mail| (mail.id.to_string(), 0)));
        for row in rows::<Engagement>(cloud, "Email_Engagement").await? {
            match (row.state, row.mail) {
                (EngagementState::Skipped, _) => {
                    *tally.not_sent.entry(row.reason.unwrap_or_default()).or_default() += 1;
                }
                (_, Some(mail)) => *tally.mails.entry(mail.to_string()).or_default() += 1,
                // A notice to the team.
                (_, None) => {}
            }
        }
        tally.facts.extend(funnel.facts.iter().map(|fact| (fact.id.to_string(), 0)));
        for event in rows::<Event>(cloud, "Events").await? {
            if let Fact::Told { fact, .. } = event.fact {
                *tally.facts.entry(fact.to_string()).or_default() += 1;
            }
        }
        Ok(tally)
    }
}

/// All rows of a table: here is everything in memory, and nobody waits for it.
pub async fn rows<T: DeserializeOwned>(cloud: &LocalCloud, table: &str) -> Result<Vec<T>, SimulationError> {
    let broken = |what: String| SimulationError::Product { at: cloud.clock().now(), what };
    let name = cloud.stack().tables.keys().find(|name| name.ends_with(table));
    let name = name.ok_or_else(|| broken(format!("there is no table {table}")))?;
    let client = Client::new(&cloud.sdk_config());
    let mut pages = client.scan().table_name(name).into_paginator().items().send();
    let mut rows = vec![];
    while let Some(item) = pages.next().await {
        let item = item.map_err(|error| broken(format!("reading {table}: {error}")))?;
        rows.push(
            serde_dynamo::from_item(item).map_err(|error| broken(format!("a row of {table}: {error}")))?,
        );
    }
    Ok(rows)
}
