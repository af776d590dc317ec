//! Erasing a person, in an order that can be broken off anywhere and begun again.
//!
//! 1. [`begin`]: a mark takes the place of her row, in one write on condition of its version. From
//!    then on nobody finds her: no mail can be claimed, no entry made, no late event taken. What was
//!    planned for her goes.
//! 2. Functions that had read her row before may be at work for as long as one may run. Wait.
//! 3. [`finish`]: everything else goes, and the mark forgets how it was found.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, NaiveDate, Utc};
use domain::{
    consultation::{Consultation, ConsultationStatus, Slot},
    customer::Customer,
    erasure::{Erased, Rest, Row},
    event::Event,
    id::Id,
    limits::CONFLICT_RETRIES,
};

use crate::{
    CallError,
    dossier::trail,
    tables::{Table, Tables, day_shard},
    timers::Timers,
    transaction::{Commit, Condition},
};

/// Whose purchases those of erased people are: the books need amount, day and payment.
const NOBODY: &str = "erased";

/// Stops everything for a person, or goes on with an erasure that was broken off. `key` is random
/// and secret. None if nobody is called so.
///
/// # Errors
/// [`CallError`]; try again.
pub async fn begin(
    tables: &Tables,
    timers: &Timers,
    lead_id: &Id,
    key: &str,
    now: DateTime<Utc>,
) -> Result<Option<Erased>, CallError> {
    let doing = "marking a lead as erased";
    for _ in 0..CONFLICT_RETRIES {
        let erased = match tables.lead_row(lead_id).await? {
            None => return Ok(None),
            Some(Row::Erased(erased)) => erased,
            Some(Row::Lead(lead)) => {
                let rest = trail(&lead, &tables.timeline(lead_id).await?, key.to_owned());
                let (erased, before) = (Erased::of(&lead, rest, now), Condition::version(lead.version));
                let mark = tables.transaction().put(Table::Leads, &erased, &before)?;
                if mark.commit(doing).await? != Commit::Done {
                    continue;
                }
                erased
            }
        };
        leave_sequences(tables, timers, lead_id).await?;
        return Ok(Some(erased));
    }
    Err(CallError { doing, reason: "other writers got there first".to_owned() })
}

/// Removes everything else. What may be needed by others stays without her: facts, so that figures
/// stay what they are, and purchases, for the books.
///
/// # Errors
/// [`CallError`]; begin again.
pub async fn finish(
    tables: &Tables,
    timers: &Timers,
    erased: Erased,
    key: &str,
    now: DateTime<Utc>,
) -> Result<(), CallError> {
    let lead_id = &erased.lead_id;
    let done_before =
        || Rest { since: day_before(erased.erased_at), visitor_ids: vec![], key: key.to_owned() };
    let rest = erased.rest.clone().unwrap_or_else(done_before);
    leave_sequences(tables, timers, lead_id).await?;
    for consultation in tables.consultations(lead_id).await? {
        remove_consultation(tables, &consultation).await?;
    }
    for task in tables.tasks(lead_id).await? {
        remove(tables, Table::Tasks, &[("task_id", task.task_id.as_str())], lead_id).await?;
    }
    for mail in tables.engagements(lead_id).await? {
        let key = [("lead_id", lead_id.as_str()), ("engagement_id", mail.engagement_id.as_str())];
        remove(tables, Table::EmailEngagement, &key, lead_id).await?;
    }
    for purchase in tables.customers(lead_id).await? {
        forget_buyer(tables, purchase).await?;
    }
    // The timeline last: it tells what the rest is looked for by.
    for fact in tables.facts_off_timeline(lead_id, &rest, now).await? {
        forget_whose(tables, &fact, &rest.key).await?;
    }
    for fact in tables.timeline(lead_id).await? {
        forget_whose(tables, &fact, &rest.key).await?;
    }
    let before = Condition::version(erased.version);
    let mark = tables.transaction().put(Table::Leads, &erased.clone().finished(), &before)?;
    // Refused: somebody else finished it first.
    mark.commit("finishing an erasure").await.map(|_| ())
}

async fn leave_sequences(tables: &Tables, timers: &Timers, lead_id: &Id) -> Result<(), CallError> {
    for enrolment in tables.enrolments(lead_id).await? {
        timers.clear(&enrolment).await?;
        let key = [("lead_id", lead_id.as_str()), ("enrolment_id", enrolment.enrolment_id.as_str())];
        remove(tables, Table::Enrolments, &key, lead_id).await?;
    }
    Ok(())
}

async fn remove_consultation(tables: &Tables, consultation: &Consultation) -> Result<(), CallError> {
    let Consultation { consultation_id, lead_id, .. } = consultation;
    if consultation.status == ConsultationStatus::Booked {
        let slot = Slot {
            start: consultation.scheduled_date,
            end: consultation.ends_at,
            host: consultation.host.clone(),
        };
        let free = tables.transaction().free_slot(&slot, consultation_id);
        // Refused: it is free already.
        free.commit("freeing an erased person's slot").await?;
    }
    remove(tables, Table::Consultations, &[("consultation_id", consultation_id.as_str())], lead_id).await
}

/// Removes a row of hers; one that is gone is as good.
async fn remove(tables: &Tables, table: Table, key: &[(&str, &str)], lead_id: &Id) -> Result<(), CallError> {
    let hers = Condition::Equals("lead_id", AttributeValue::S(lead_id.to_string()));
    let removal = tables.transaction().delete(table, key, &hers);
    removal.commit("removing an erased person's row").await.map(|_| ())
}

async fn forget_buyer(tables: &Tables, purchase: Customer) -> Result<(), CallError> {
    let doing = "forgetting a buyer";
    let nobody = Id::parse(NOBODY).map_err(|error| CallError::new(doing, error))?;
    let before = Condition::version(purchase.version);
    let purchase = Customer {
        lead_id: nobody.clone(),
        application_id: nobody,
        version: purchase.version + 1,
        ..purchase
    };
    match tables.transaction().put(Table::Customers, &purchase, &before)?.commit(doing).await? {
        Commit::Done => Ok(()),
        Commit::Refused(_) => Err(CallError { doing, reason: "the purchase has just changed".to_owned() }),
    }
}

async fn forget_whose(tables: &Tables, fact: &Event, key: &str) -> Result<(), CallError> {
    let anonymous = fact.anonymous(key);
    let known = Condition::Equals("event_id", AttributeValue::S(fact.event_id.clone()));
    let place = [("day_shard", day_shard(fact)), ("event_id", fact.event_id.clone())];
    let place = [(place[0].0, place[0].1.as_str()), (place[1].0, place[1].1.as_str())];
    let swap = tables
        .transaction()
        .put_item(Table::Events, tables.event_item(&anonymous)?, &Condition::Absent)
        .delete(Table::Events, &place, &known);
    // Refused: it was done before, and the index is a moment behind.
    swap.commit("making a fact anonymous").await.map(|_| ())
}

fn day_before(at: DateTime<Utc>) -> NaiveDate {
    domain::time::plus_days(at.date_naive(), -1)
}
