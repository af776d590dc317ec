//! Rows as people's lives fill them, and the lists of one person's rows.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use cloud::{
    tables::Table,
    transaction::{Commit, Condition},
};
use domain::{
    consultation::{self, Agendas, Consultation, ConsultationStatus, Outcome, arrange},
    customer::{Customer, CustomerStatus},
    engagement::{Engagement, EngagementState, MailClass},
    lead::{Lead, LeadStatus, ListReason, Mailing, Reopened, Stage, Suppression, SuppressionCause},
    sequence::Enrolment,
    text::LongText,
};
use serde::Serialize;

use crate::{
    engine::Engine,
    rows::{ZONE, at, enrolment, id, mail, now, opt_in, slot},
};

pub async fn full_rows_read_back_as_they_were_written(engine: &Engine) {
    let tables = &engine.tables;
    let lead = Lead {
        status: LeadStatus::Converted,
        stage: Stage::Customer,
        score: -7,
        mailing: Mailing::Suppressed,
        suppression: Some(Suppression {
            at: now(),
            cause: SuppressionCause::Operator,
            before: Mailing::Unsubscribed,
        }),
        to_list: Some(ListReason::Complaint),
        reopened: Some(Reopened {
            at: now(),
            reason: LongText::parse("電話で\n確認").unwrap(),
            cause: Some(SuppressionCause::Bounced),
        }),
        attributes: BTreeMap::from([
            ("業種".to_owned(), "コーチ".to_owned()),
            ("空".to_owned(), String::new()),
        ]),
        version: u64::MAX,
        ..opt_in("l-1").lead
    };
    put(engine, Table::Leads, &lead).await;
    assert_eq!(tables.lead(&lead.lead_id).await.unwrap(), Some(lead));

    let consultation = consultation("l-1", 1);
    put(engine, Table::Consultations, &consultation).await;
    assert_eq!(tables.consultation(&consultation.consultation_id).await.unwrap(), Some(consultation));

    let customer = customer("l-1", "u-1");
    put(engine, Table::Customers, &customer).await;
    assert_eq!(tables.customer(&customer.customer_id).await.unwrap(), Some(customer));

    let mail = Engagement {
        state: EngagementState::Complained,
        sent_date: Some(now()),
        message_id: Some("0106019-道".to_owned()),
        reason: Some("called spam by its reader".to_owned()),
        delivered_at: Some(now()),
        soft_bounced_at: Some(now()),
        opened: true,
        opened_at: Some(now()),
        machine_opened: true,
        clicked: true,
        clicked_at: Some(now()),
        click_url: Some("https://example.com/?q=道&r=%20".to_owned()),
        clicked_links: BTreeSet::from(["https://example.com/?q=道&r=%20".to_owned()]),
        ..mail("l-1", "welcome", MailClass::Transactional, 2)
    };
    put(engine, Table::EmailEngagement, &mail).await;
    assert_eq!(tables.engagement(&mail.lead_id, &mail.engagement_id).await.unwrap(), Some(mail));

    let enrolment =
        Enrolment { subject: Some(id("c-1")), generation: u32::MAX, ..enrolment("l-1", 1, "welcome") };
    put(engine, Table::Enrolments, &enrolment).await;
    assert_eq!(tables.enrolment(&enrolment.lead_id, "nurture").await.unwrap(), Some(enrolment));
}

pub async fn one_persons_rows_are_found_by_her_id_alone(engine: &Engine) {
    let tables = &engine.tables;
    for lead_id in ["l-1", "l-2"] {
        for number in 1..=2 {
            put(engine, Table::Consultations, &consultation(lead_id, number)).await;
            put(engine, Table::Customers, &customer(lead_id, &format!("{lead_id}-{number}"))).await;
            put(
                engine,
                Table::EmailEngagement,
                &mail(lead_id, &format!("day-{number}"), MailClass::Marketing, 1),
            )
            .await;
        }
        put(engine, Table::Enrolments, &enrolment(lead_id, 1, "welcome")).await;
    }
    // A host's agenda stands in the same table and belongs to nobody's list.
    let agendas = arrange(&Agendas::new(), &id("c-1"), &slot("michino", now())).unwrap();
    let booking = tables.transaction().agendas(&agendas).unwrap();
    assert_eq!(booking.commit("writing an agenda").await.unwrap(), Commit::Done);
    let lead_id = id("l-1");
    let mut consultations = tables.consultations(&lead_id).await.unwrap();
    consultations.sort_by_key(|consultation| consultation.consultation_id.clone());
    assert_eq!(consultations, [consultation("l-1", 1), consultation("l-1", 2)]);
    let mut customers = tables.customers(&lead_id).await.unwrap();
    customers.sort_by_key(|customer| customer.customer_id.clone());
    assert_eq!(customers, [customer("l-1", "l-1-1"), customer("l-1", "l-1-2")]);
    let mails = tables.engagements(&lead_id).await.unwrap();
    assert_eq!(mails, ["day-1", "day-2"].map(|step| mail("l-1", step, MailClass::Marketing, 1)));
    assert_eq!(tables.enrolments(&lead_id).await.unwrap(), [enrolment("l-1", 1, "welcome")]);
}

pub async fn lists_longer_than_a_page_come_whole(engine: &Engine) {
    // Ten rows of 200 kB; DynamoDB answers with 1 MB at most.
    let mails: Vec<Engagement> = (0..10)
        .map(|number| Engagement {
            reason: Some("x".repeat(200_000)),
            ..mail("l-1", &format!("day-{number}"), MailClass::Marketing, 1)
        })
        .collect();
    for mail in &mails {
        put(engine, Table::EmailEngagement, mail).await;
    }
    assert!(engine.tables.engagements(&id("l-1")).await.unwrap() == mails);
}

async fn put(engine: &Engine, table: Table, row: &impl Serialize) {
    let transaction = engine.tables.transaction().put(table, row, &Condition::Absent).unwrap();
    assert_eq!(transaction.commit("storing a row").await.unwrap(), Commit::Done);
}

fn consultation(lead_id: &str, number: i64) -> Consultation {
    let slot = slot("michino", at("2027-03-03T01:00:00Z") + TimeDelta::hours(number));
    let note = LongText::parse("値上げの伝え方を\n相談したいです。").ok();
    let booked = consultation::book(&id(lead_id), &slot, 0, note, now(), ZONE).consultation;
    Consultation {
        consultation_id: id(&format!("c-{lead_id}-{number}")),
        status: ConsultationStatus::Held,
        attended: Some(true),
        outcome: Some(Outcome::Thinking),
        follow_up_date: Some("2027-03-10".parse().unwrap()),
        ..booked
    }
}

fn customer(lead_id: &str, customer_id: &str) -> Customer {
    Customer {
        customer_id: id(customer_id),
        lead_id: id(lead_id),
        plan: "vip".to_owned(),
        price: 1_650_000,
        currency: "JPY".to_owned(),
        start_date: "2027-03-01".parse().unwrap(),
        end_date: "2028-03-01".parse().unwrap(),
        status: CustomerStatus::Active,
        application_id: id("a-1"),
        payment_reference: "cs_test_1".to_owned(),
        paid_at: now(),
        version: 1,
    }
}
