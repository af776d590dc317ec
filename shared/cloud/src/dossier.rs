//! Everything that is kept on one person: what `michi export` hands out and `michi erase` removes.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use domain::{
    consultation::Consultation,
    customer::Customer,
    engagement::Engagement,
    erasure::Rest,
    event::{Event, Fact, FactKind},
    id::Id,
    lead::{self, Lead, Standing},
    limits::{EVENT_SHARDS, VISITS_BEFORE_DAYS},
    sequence::Enrolment,
    task::Task,
    time::plus_days,
};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    CallError,
    tables::{Table, Tables, rows},
};

/// Days that are looked through at the same time.
const DAYS_AT_ONCE: usize = 8;

/// Everything that is kept on one person. The names are those of the export's document, which other
/// systems read (GDPR art. 20): they never change.
#[derive(Debug, Clone, Serialize)]
pub struct Dossier {
    pub lead: Lead,
    /// Every consent that is on record, oldest first.
    pub consents: Vec<Standing>,
    /// The send ledger: each mail and what became of it.
    pub mails: Vec<Engagement>,
    /// Where she is and was in the funnel's sequences.
    pub enrolments: Vec<Enrolment>,
    /// What happened, in order of time.
    pub facts: Vec<Event>,
    pub consultations: Vec<Consultation>,
    pub purchases: Vec<Customer>,
    /// What the team had or has to do about her.
    pub tasks: Vec<Task>,
}

impl Tables {
    /// Everything that is kept on a person; none if nobody is called so.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn dossier(&self, lead_id: &Id, now: DateTime<Utc>) -> Result<Option<Dossier>, CallError> {
        let Some(lead) = self.lead(lead_id).await? else { return Ok(None) };
        let timeline = self.timeline(lead_id).await?;
        let trail = trail(&lead, &timeline, String::new());
        let mut facts = self.facts_off_timeline(lead_id, &trail, now).await?;
        let consents = lead::consents(&lead, &timeline);
        facts.extend(timeline);
        facts.sort_by_key(|fact| fact.occurred_at);
        Ok(Some(Dossier {
            consents,
            mails: self.engagements(lead_id).await?,
            enrolments: self.enrolments(lead_id).await?,
            facts,
            consultations: self.consultations(lead_id).await?,
            purchases: self.customers(lead_id).await?,
            tasks: self.tasks(lead_id).await?,
            lead,
        }))
    }

    /// The facts about a person that her timeline's index leaves out: those of mail, and the visits
    /// of her browsers, which were nobody's when they were written. Their ids begin with the kind
    /// and hers, so each day since she came is looked into by key; nothing is scanned.
    pub(crate) async fn facts_off_timeline(
        &self,
        lead_id: &Id,
        trail: &Rest,
        now: DateTime<Utc>,
    ) -> Result<Vec<Event>, CallError> {
        let mails =
            FactKind::ALL.into_iter().filter(|kind| !kind.on_timeline() && *kind != FactKind::Visited);
        let mails = mails.map(|kind| (format!("{}.{lead_id}.", kind.as_str()), trail.since));
        let visits = trail.visitor_ids.iter().map(|visitor| {
            let kind = FactKind::Visited.as_str();
            (format!("{kind}.{visitor}."), plus_days(trail.since, -VISITS_BEFORE_DAYS))
        });
        let prefixes: Vec<(String, NaiveDate)> = mails.chain(visits).collect();
        let first = prefixes.iter().map(|(_, since)| *since).min().unwrap_or(trail.since);
        // The funnel's day may be one further than that of UTC.
        let last = plus_days(now.date_naive(), 1);
        let mut days = first.iter_days().take_while(|day| *day <= last);
        let (mut looking, mut found) = (JoinSet::new(), vec![]);
        loop {
            while looking.len() < DAYS_AT_ONCE {
                let Some(day) = days.next() else { break };
                let wanted = prefixes.iter().filter(|(_, since)| *since <= day);
                let wanted: Vec<String> = wanted.map(|(prefix, _)| prefix.clone()).collect();
                let tables = self.clone();
                looking.spawn(async move { tables.facts_of_day(day, &wanted).await });
            }
            match looking.join_next().await {
                Some(facts) => {
                    let facts = facts.map_err(|error| CallError::new("looking through the days", error))?;
                    found.extend(facts?);
                }
                None => return Ok(found),
            }
        }
    }

    async fn facts_of_day(&self, day: NaiveDate, prefixes: &[String]) -> Result<Vec<Event>, CallError> {
        let doing = "looking for a person's facts of a day";
        let mut found = vec![];
        for shard in 0..EVENT_SHARDS {
            for prefix in prefixes {
                let mut pages = self
                    .client()
                    .query()
                    .table_name(self.name(Table::Events))
                    // What is overlooked when she is erased keeps her id.
                    .consistent_read(true)
                    .key_condition_expression("day_shard = :d AND begins_with(event_id, :p)")
                    .expression_attribute_values(":d", AttributeValue::S(format!("{day}#{shard}")))
                    .expression_attribute_values(":p", AttributeValue::S(prefix.clone()))
                    .into_paginator()
                    .send();
                while let Some(page) = pages.next().await {
                    let page = page.map_err(|error| CallError::new(doing, error))?;
                    let kept = page.items.unwrap_or_default().into_iter().filter(|item| self.is_kept(item));
                    found.extend(rows(kept.collect(), doing)?);
                }
            }
        }
        Ok(found)
    }
}

/// Where a person's facts have to be looked for.
pub(crate) fn trail(lead: &Lead, timeline: &[Event], key: String) -> Rest {
    let first = timeline.iter().map(|event| event.occurred_at).chain([lead.opt_in_date]).min();
    let told = timeline.iter().filter_map(|event| match &event.fact {
        Fact::OptedIn { visitor_id, .. } => visitor_id.clone(),
        _ => None,
    });
    let visitor_ids: BTreeSet<Id> = told.chain(lead.visitor_id.clone()).collect();
    Rest {
        // The funnel's day may be one before that of UTC.
        since: (first.unwrap_or(lead.opt_in_date) - TimeDelta::days(1)).date_naive(),
        visitor_ids: visitor_ids.into_iter().collect(),
        key,
    }
}
