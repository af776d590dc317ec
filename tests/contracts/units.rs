//! What the product's calls cost, engine by engine: the figures of the local cloud's meter are worth
//! something only if its engine bills as DynamoDB does.

use chrono::TimeDelta;
use cloud::{
    tables::{Claimed, Note, Table},
    transaction::{Commit, Condition, Transaction},
};
use domain::{
    consultation::{self, Agendas, arrange},
    engagement::MailClass,
    kpi::KpiDaily,
    lead,
    sequence::Enrolment,
};

use crate::{
    engine::Engine,
    rows::{ZONE, at, click, enrolment, id, mail, now, opt_in, slot},
};

/// Where DynamoDB Local bills otherwise than DynamoDB, whose own figures dynoxide was measured
/// against (github.com/paritysuite/dynamodb-conformance): in a transaction it doubles the cost of a
/// new index entry as it does the row's, forgets that of a changed one, and finds it free of charge
/// to look for what is not there.
const DYNAMODB_LOCAL: [(&str, &str); 6] = [
    ("opting in", "TransactWriteItems Events 4, TransactWriteItems Leads 4"),
    ("booking", "TransactWriteItems Consultations 6, TransactWriteItems Events 4"),
    ("moving a booking within a day", "TransactWriteItems Consultations 6, TransactWriteItems Events 4"),
    ("reading an agenda and one not there", "BatchGetItem Consultations 1"),
    ("unsubscribing", "TransactWriteItems Events 4, TransactWriteItems Leads 2"),
    ("reading a day without facts", "Query Events 0"),
];

#[tokio::test]
async fn the_same_calls_cost_the_same_on_every_engine() {
    let dynoxide = bills(&Engine::dynoxide()).await;
    let dynamodb_local = bills(&Engine::dynamodb_local().await).await;
    assert_eq!(dynoxide.len(), dynamodb_local.len());
    for ((what, bill), (_, other)) in dynoxide.iter().zip(&dynamodb_local) {
        eprintln!("{what:40} {bill:64} DynamoDB Local: {other}");
    }
    for ((what, bill), (_, other)) in dynoxide.into_iter().zip(dynamodb_local) {
        assert!(!bill.is_empty(), "{what} is not billed");
        match DYNAMODB_LOCAL.iter().find(|(known, _)| *known == what) {
            None => assert_eq!(bill, other, "{what}"),
            Some((_, known)) => assert!(bill != other && other == *known, "{what}: {bill} / {other}"),
        }
    }
}

/// A person's way in calls, each with its bill.
async fn bills(engine: &Engine) -> Vec<(&'static str, String)> {
    let tables = &engine.tables;
    let mut bills = vec![];
    let mut billed = |what| bills.push((what, engine.wire.take_bill().join(", ")));

    let new = opt_in("l-1");
    let opted_in = tables.transaction().put(Table::Leads, &new.lead, &Condition::Absent).unwrap();
    done(opted_in.event(&new.event).unwrap()).await;
    billed("opting in");
    assert!(tables.lead(&id("l-1")).await.unwrap().is_some());
    billed("reading the lead");
    assert!(tables.lead(&id("l-2")).await.unwrap().is_none());
    billed("reading a lead who is not there");

    let (welcome, day_1) = (enrolment("l-1", 1, "welcome"), enrolment("l-1", 1, "day-1"));
    assert!(tables.enrol(&welcome, false).await.unwrap());
    billed("enrolling");
    assert!(tables.move_enrolment(&welcome, &day_1).await.unwrap());
    billed("moving an enrolment within its hour");
    let later = Enrolment { due_hour: Some("23".to_owned()), ..enrolment("l-1", 1, "day-2") };
    assert!(tables.move_enrolment(&day_1, &later).await.unwrap());
    billed("moving an enrolment to another hour");
    assert!(tables.move_enrolment(&later, &later.clone().stop("customer_paid").unwrap()).await.unwrap());
    billed("stopping an enrolment");

    let row = mail("l-1", "welcome", MailClass::Marketing, 1);
    let lead = tables.lead(&id("l-1")).await.unwrap().unwrap();
    engine.wire.take_bill();
    assert_eq!(tables.claim(&row, &lead, None).await.unwrap(), Claimed::Yes);
    billed("claiming a send");
    let sent =
        Note::default().text("state", "sent").text_once("message_id", "0106").at_once("sent_date", now());
    assert!(tables.note(&row.lead_id, &row.engagement_id, &sent.only_in(&["claimed"])).await.unwrap());
    billed("settling a send");
    let other = mail("l-1", "day-1", MailClass::Marketing, 1);
    assert_eq!(tables.claim(&other, &lead, None).await.unwrap(), Claimed::Yes);
    engine.wire.take_bill();
    assert!(tables.release(&other, None).await.unwrap());
    billed("releasing a claim");
    assert!(tables.skip_send(&other).await.unwrap());
    billed("skipping a send");
    assert!(tables.add_event(&click("l-1", "key")).await.unwrap());
    billed("adding a fact that stands in no timeline");

    let (wanted, moved) = (slot("michino", now()), slot("michino", now() + TimeDelta::hours(1)));
    let booked = consultation::book(&id("l-1"), &wanted, 0, None, now() - TimeDelta::days(2), ZONE);
    let consultation_id = &booked.consultation.consultation_id;
    let agendas = arrange(&Agendas::new(), consultation_id, &wanted).unwrap();
    let booking = tables.transaction().agendas(&agendas).unwrap();
    let booking = booking.put(Table::Consultations, &booked.consultation, &Condition::Absent).unwrap();
    done(booking.event(&booked.event).unwrap()).await;
    billed("booking");
    let change =
        consultation::reschedule(booked.consultation.clone(), &moved, now() - TimeDelta::days(1), ZONE)
            .unwrap();
    let read = tables.agendas(wanted.agenda_keys()).await.unwrap();
    billed("reading an agenda");
    let agendas = arrange(&read, consultation_id, &moved).unwrap();
    let moving = tables.transaction().agendas(&agendas).unwrap();
    let moving = moving.put(Table::Consultations, &change.consultation, &Condition::version(1)).unwrap();
    done(moving.event(&change.event).unwrap()).await;
    billed("moving a booking within a day");
    let tomorrow = slot("michino", now() + TimeDelta::days(1));
    let keys = wanted.agenda_keys().into_iter().chain(tomorrow.agenda_keys());
    assert!(!moved.is_free(&tables.agendas(keys).await.unwrap()));
    billed("reading an agenda and one not there");

    let gone = lead::unsubscribe(new.lead, now(), ZONE).unwrap();
    let leaving = tables.transaction().put(Table::Leads, &gone.lead, &Condition::version(1)).unwrap();
    done(leaving.event(&gone.event).unwrap()).await;
    billed("unsubscribing");
    tables.put_kpi_daily(&KpiDaily::empty(new.event.day)).await.unwrap();
    billed("writing a day's figures");
    assert_eq!(tables.kpi_month("2027-03").await.unwrap().len(), 1);
    billed("reading a month's figures");
    assert_eq!(tables.timeline(&id("l-1")).await.unwrap().len(), 4);
    billed("reading a timeline");
    assert_eq!(tables.engagements(&id("l-1")).await.unwrap().len(), 2);
    billed("reading a person's mails");
    let mut shard = 0;
    while tables.events_page(new.event.day, shard, None).await.unwrap().0.is_empty() {
        shard += 1;
    }
    engine.wire.take_bill();
    tables.events_page(new.event.day, shard, None).await.unwrap();
    billed("reading a day's facts, one shard of four");
    tables.events_page(at("2027-04-01T00:00:00Z").date_naive(), 0, None).await.unwrap();
    billed("reading a day without facts");
    bills
}

async fn done(transaction: Transaction<'_>) {
    assert_eq!(transaction.commit("writing").await.unwrap(), Commit::Done);
}
