//! Several rows written together or not at all.

use std::collections::BTreeMap;

use cloud::{
    tables::Table,
    transaction::{Commit, Condition},
};
use domain::{
    consultation::{Agendas, arrange},
    lead::{self, Lead, ListReason, Mailing, SuppressionCause},
};

use crate::{
    engine::Engine,
    rows::{at, id, now, opt_in, slot, store_lead},
};

pub async fn a_refused_transaction_names_its_parts_and_writes_nothing(engine: &Engine) {
    let tables = &engine.tables;
    let (known, new) = (opt_in("l-1"), opt_in("l-2"));
    store_lead(engine, "l-1", Mailing::Subscribed).await;
    assert!(tables.add_event(&known.event).await.unwrap());
    let free = slot("michino", now());
    let transaction = tables.transaction().put(Table::Leads, &new.lead, &Condition::Absent).unwrap();
    let transaction = transaction.put(Table::Leads, &known.lead, &Condition::Absent).unwrap();
    let agendas = arrange(&Agendas::new(), &id("c-1"), &free).unwrap();
    let transaction = transaction.agendas(&agendas).unwrap();
    let transaction = transaction.check(Table::Leads, "l-3", &Condition::version(1));
    let transaction = transaction.event(&known.event).unwrap().event(&new.event).unwrap();
    let gone = [("consultation_id", "c-1")];
    let transaction = transaction.delete(Table::Consultations, &gone, &Condition::version(1));
    assert_eq!(transaction.commit("trying").await.unwrap(), Commit::Refused(vec![1, 3, 4, 6]));
    assert_eq!(tables.lead(&id("l-2")).await.unwrap(), None);
    assert_eq!(tables.agendas(free.agenda_keys()).await.unwrap(), Agendas::new());
    assert_eq!(tables.timeline(&id("l-2")).await.unwrap(), []);
}

pub async fn of_two_writers_who_read_the_same_version_one_wins(engine: &Engine) {
    store_lead(engine, "l-1", Mailing::Subscribed).await;
    let read = engine.tables.lead(&id("l-1")).await.unwrap().unwrap();
    for (score, expected) in [(10, Commit::Done), (20, Commit::Refused(vec![0]))] {
        let written = Lead { score, version: read.version + 1, ..read.clone() };
        let before = Condition::version(read.version);
        let transaction = engine.tables.transaction().put(Table::Leads, &written, &before).unwrap();
        assert_eq!(transaction.commit("scoring a lead").await.unwrap(), expected, "{score}");
    }
    let stored = engine.tables.lead(&id("l-1")).await.unwrap();
    assert_eq!(stored, Some(Lead { score: 10, version: 2, ..read }));
}

pub async fn a_lead_is_written_alone_over_the_version_before_it_only(engine: &Engine) {
    store_lead(engine, "l-1", Mailing::Subscribed).await;
    let read = engine.tables.lead(&id("l-1")).await.unwrap().unwrap();
    let later = at("2027-03-02T00:00:00Z");
    let closed = lead::suppress(read, SuppressionCause::SoftBounced, later).unwrap();
    for expected in [true, false] {
        assert_eq!(engine.tables.put_lead(&closed).await.unwrap(), expected);
    }
    assert_eq!(engine.tables.lead(&id("l-1")).await.unwrap(), Some(closed.clone()));
    // Who still has to be listed is found until she is.
    assert_eq!(engine.tables.to_list(ListReason::Bounce).await.unwrap(), [id("l-1")]);
    assert_eq!(engine.tables.to_list(ListReason::Complaint).await.unwrap(), []);
    assert!(engine.tables.put_lead(&lead::listed(closed).unwrap()).await.unwrap());
    assert_eq!(engine.tables.to_list(ListReason::Bounce).await.unwrap(), []);
}

/// A row of more than 400 kB: whoever tries that must hear of it, and not take it for a condition that
/// did not hold.
pub async fn a_transaction_that_can_never_be_done_is_an_error_and_no_refusal(engine: &Engine) {
    let known = opt_in("l-1");
    let attributes = BTreeMap::from([("notes".to_owned(), "x".repeat(401 * 1024))]);
    let large = Lead { attributes, ..known.lead };
    let transaction = engine.tables.transaction().event(&known.event).unwrap();
    let transaction = transaction.put(Table::Leads, &large, &Condition::Absent).unwrap();
    let error = transaction.commit("storing a large lead").await.unwrap_err();
    assert!(error.to_string().contains("exceeded the maximum allowed size"), "{error}");
    assert_eq!(engine.tables.lead(&id("l-1")).await.unwrap(), None);
    assert_eq!(engine.tables.timeline(&id("l-1")).await.unwrap(), []);
}
