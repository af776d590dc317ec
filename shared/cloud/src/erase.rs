//! Erasing a person, in an order that can be broken off anywhere and begun again.
//!
//! 1. [`begin`]: a mark takes the place of her row, in one write on condition of its version. From
//!    then on nobody finds her: no mail can be claimed, no entry made, no late event taken. What was
//!    planned for her goes.
//! 2. Functions that had read her row before may be at work for as long as one may run. Wait.
//! 3. [`finish`]: everything else goes, and the mark forgets how it was found.
//!
//! Each run writes the mark anew, and all that it removes it removes on condition that the mark still
//! is its own: when another run has taken over and finished, she may live a new life already.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use domain::{
    consultation,
    customer::Customer,
    erasure::{Erased, Row},
    event::Event,
    id::Id,
    limits::CONFLICT_RETRIES,
};

use crate::{
    CallError,
    dossier::trail,
    tables::{EXPIRES, Table, Tables, day_shard},
    timers::Timers,
    transaction::{Commit, Condition, Transaction},
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
        let (mark, before) = match tables.lead_row(lead_id).await? {
            None => return Ok(None),
            Some(Row::Erased(mark)) => {
                let before = mark.version;
                (mark.again(key.to_owned()), before)
            }
            Some(Row::Lead(lead)) => {
                let rest = trail(&lead, &tables.timeline(lead_id).await?, key.to_owned());
                (Erased::of(&lead, rest, now), lead.version)
            }
        };
        let marking = tables.transaction().put(Table::Leads, &mark, &Condition::version(before))?;
        if marking.commit(doing).await? == Commit::Done {
            leave_sequences(tables, timers, &mark).await?;
            return Ok(Some(mark));
        }
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
    mark: &Erased,
    now: DateTime<Utc>,
) -> Result<(), CallError> {
    let removed = match tables.lead_row(&mark.lead_id).await? {
        Some(Row::Erased(stands)) if stands.version == mark.version => {
            remove_all(tables, timers, mark, now).await
        }
        _ => Err(taken_over("finishing an erasure")),
    };
    let Err(error) = removed else { return Ok(()) };
    match tables.lead_row(&mark.lead_id).await? {
        Some(Row::Erased(Erased { rest: Some(_), .. })) => Err(error),
        // It is finished: by another run, or by this one, whose last answer was lost.
        _ => Ok(()),
    }
}

/// Writes the mark of somebody whose address turned out to be closed ([`Erased::suppress`]) over the
/// version before it. `false` when somebody else was faster.
///
/// # Errors
/// [`CallError`]; try again.
pub async fn suppress(tables: &Tables, mark: &Erased) -> Result<bool, CallError> {
    let before = Condition::version(mark.version.saturating_sub(1));
    let closing = tables.transaction().put(Table::Leads, mark, &before)?;
    Ok(closing.commit("closing an erased person's address").await? == Commit::Done)
}

async fn remove_all(
    tables: &Tables,
    timers: &Timers,
    mark: &Erased,
    now: DateTime<Utc>,
) -> Result<(), CallError> {
    let lead_id = &mark.lead_id;
    let Some(rest) = &mark.rest else { return Ok(()) };
    leave_sequences(tables, timers, mark).await?;
    for consultation in tables.consultations(lead_id).await? {
        remove_consultation(tables, &consultation.consultation_id, mark).await?;
    }
    for task in tables.tasks(lead_id).await? {
        remove(tables, Table::Tasks, &[("task_id", task.task_id.as_str())], mark).await?;
    }
    for mail in tables.engagements(lead_id).await? {
        let key = [("lead_id", lead_id.as_str()), ("engagement_id", mail.engagement_id.as_str())];
        remove(tables, Table::EmailEngagement, &key, mark).await?;
    }
    for purchase in tables.customers(lead_id).await? {
        forget_buyer(tables, purchase, mark).await?;
    }
    // The timeline last: it tells what the rest is looked for by.
    for fact in tables.facts_off_timeline(lead_id, rest, now).await? {
        forget_whose(tables, &fact, &rest.key, mark).await?;
    }
    for fact in tables.timeline(lead_id).await? {
        forget_whose(tables, &fact, &rest.key, mark).await?;
    }
    let before = Condition::version(mark.version);
    let last = tables.transaction().put(Table::Leads, &mark.clone().finished(), &before)?;
    commit(last, "finishing an erasure").await.map(|_| ())
}

/// A transaction that is refused when the mark is not this run's any more.
fn under<'a>(tables: &'a Tables, mark: &Erased) -> Transaction<'a> {
    tables.transaction().check(Table::Leads, mark.lead_id.as_str(), &Condition::version(mark.version))
}

/// Commits a transaction whose first part is about the mark.
async fn commit(transaction: Transaction<'_>, doing: &'static str) -> Result<Commit, CallError> {
    match transaction.commit(doing).await? {
        Commit::Refused(parts) if parts.contains(&0) => Err(taken_over(doing)),
        committed => Ok(committed),
    }
}

fn taken_over(doing: &'static str) -> CallError {
    let reason = "another run of this erasure has taken over; run it again".to_owned();
    CallError { doing, reason }
}

async fn leave_sequences(tables: &Tables, timers: &Timers, mark: &Erased) -> Result<(), CallError> {
    let lead_id = &mark.lead_id;
    for enrolment in tables.enrolments(lead_id).await? {
        timers.clear(&enrolment).await?;
        let key = [("lead_id", lead_id.as_str()), ("enrolment_id", enrolment.enrolment_id.as_str())];
        remove(tables, Table::Enrolments, &key, mark).await?;
    }
    Ok(())
}

/// Removes a consultation, whose time is free then.
async fn remove_consultation(tables: &Tables, consultation_id: &Id, mark: &Erased) -> Result<(), CallError> {
    let doing = "removing an erased person's consultation";
    for _ in 0..CONFLICT_RETRIES {
        // By its key: the index may not have heard of its last move yet.
        let Some(consultation) = tables.consultation(consultation_id).await? else { return Ok(()) };
        let agendas = tables.agendas(consultation.agenda_keys()).await?;
        let agendas = consultation::vacate(&agendas, consultation_id);
        let stands = Condition::version(consultation.version.into());
        let key = [("consultation_id", consultation_id.as_str())];
        let removal = under(tables, mark).agendas(&agendas)?.delete(Table::Consultations, &key, &stands);
        if commit(removal, doing).await? == Commit::Done {
            return Ok(());
        }
    }
    Err(CallError { doing, reason: "other writers got there first".to_owned() })
}

/// Removes a row of hers; one that is gone is as good.
async fn remove(tables: &Tables, table: Table, key: &[(&str, &str)], mark: &Erased) -> Result<(), CallError> {
    let hers = Condition::Equals("lead_id", AttributeValue::S(mark.lead_id.to_string()));
    let removal = under(tables, mark).delete(table, key, &hers);
    commit(removal, "removing an erased person's row").await.map(|_| ())
}

async fn forget_buyer(tables: &Tables, purchase: Customer, mark: &Erased) -> Result<(), CallError> {
    let doing = "forgetting a buyer";
    let nobody = Id::parse(NOBODY).map_err(|error| CallError::new(doing, error))?;
    let before = Condition::version(purchase.version);
    let purchase = Customer {
        lead_id: nobody.clone(),
        application_id: nobody,
        version: purchase.version + 1,
        ..purchase
    };
    match commit(under(tables, mark).put(Table::Customers, &purchase, &before)?, doing).await? {
        Commit::Done => Ok(()),
        Commit::Refused(_) => Err(CallError { doing, reason: "the purchase has just changed".to_owned() }),
    }
}

async fn forget_whose(tables: &Tables, fact: &Event, key: &str, mark: &Erased) -> Result<(), CallError> {
    let doing = "making a fact anonymous";
    let day_shard = day_shard(fact);
    let place = [("day_shard", day_shard.as_str()), ("event_id", fact.event_id.as_str())];
    // None: it was done before, and the index is a moment behind.
    let Some(mut stored) = tables.get_item(Table::Events, &place, doing).await? else { return Ok(()) };
    let mut anonymous = tables.event_item(&fact.anonymous(key))?;
    // How long it is kept was said when it was written; the command line does not know it.
    anonymous.extend(stored.remove_entry(EXPIRES));
    let known = Condition::Equals("event_id", AttributeValue::S(fact.event_id.clone()));
    let swap = under(tables, mark).put_item(Table::Events, anonymous, &Condition::Absent).delete(
        Table::Events,
        &place,
        &known,
    );
    commit(swap, doing).await.map(|_| ())
}
