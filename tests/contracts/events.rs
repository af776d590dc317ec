//! The log of facts.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use cloud::transaction::Commit;
use domain::{
    event::{Event, Fact, FactKind},
    lead::Stage,
    limits::EVENT_SHARDS,
};

use crate::{
    engine::Engine,
    rows::{ZONE, at, click, id, now, opt_in},
};

pub async fn a_fact_is_written_once_and_never_changed(engine: &Engine) {
    let tables = &engine.tables;
    let first = opt_in("l-1").event;
    let told_again = Event { fact: Fact::Unsubscribed {}, ..first.clone() };
    assert!(tables.add_event(&first).await.unwrap());
    assert!(!tables.add_event(&told_again).await.unwrap());
    let transaction = tables.transaction().event(&told_again).unwrap();
    assert_eq!(transaction.commit("telling again").await.unwrap(), Commit::Refused(vec![0]));
    assert_eq!(facts_of(engine, first.day).await, [first]);
}

pub async fn every_kind_of_fact_reads_back_as_it_was_written(engine: &Engine) {
    let mut written = all_facts();
    let kinds: Vec<FactKind> = written.iter().map(|event| event.fact.kind()).collect();
    assert_eq!(kinds, FactKind::ALL, "one of each");
    for event in &written {
        assert!(engine.tables.add_event(event).await.unwrap(), "{event:?}");
    }
    let mut read = facts_of(engine, written[0].day).await;
    written.sort_by(|one, other| one.event_id.cmp(&other.event_id));
    read.sort_by(|one, other| one.event_id.cmp(&other.event_id));
    assert_eq!(read, written);
}

pub async fn a_timeline_is_one_persons_own_facts_in_order_of_time(engine: &Engine) {
    let tables = &engine.tables;
    let facts = all_facts();
    for (minute, event) in facts.iter().rev().enumerate() {
        // Written from the last to the first, so that only the index can bring them into order.
        let occurred_at = at(&format!("2027-03-01T01:{:02}:00Z", 59 - minute));
        assert!(tables.add_event(&Event { occurred_at, ..event.clone() }).await.unwrap());
    }
    assert!(tables.add_event(&opt_in("l-2").event).await.unwrap(), "somebody else's");
    let seen: Vec<FactKind> =
        tables.timeline(&id("l-1")).await.unwrap().iter().map(|event| event.fact.kind()).collect();
    let expected: Vec<FactKind> = FactKind::ALL.into_iter().filter(|kind| kind.on_timeline()).collect();
    assert_eq!(seen, expected);
    assert_eq!(tables.timeline(&id("l-3")).await.unwrap(), []);
}

pub async fn a_days_facts_come_in_pages_each_fact_once(engine: &Engine) {
    let tables = &engine.tables;
    // A page of DynamoDB's ends at 1 MB; these are 6 MB in four shards.
    let long = "道".repeat(33_000);
    let mut written: Vec<String> = vec![];
    for number in 0..60 {
        let visitor = id(&format!("v-{number}"));
        let visit = Event::visit(&visitor, "landing", true, Some(long.clone()), BTreeMap::new(), now(), ZONE);
        assert!(tables.add_event(&visit).await.unwrap());
        written.push(visit.event_id);
    }
    let mut read = vec![];
    for shard in 0..EVENT_SHARDS {
        let (mut pages, mut start) = (0, None);
        loop {
            let (events, next) = tables.events_page(day(), shard, start).await.unwrap();
            read.extend(events.into_iter().map(|event| event.event_id));
            pages += 1;
            start = next;
            if start.is_none() {
                break;
            }
        }
        assert!(pages >= 2, "shard {shard} came in {pages} page");
    }
    read.sort();
    written.sort();
    assert_eq!(read, written);
    let (next_day, end) = tables.events_page(day().succ_opt().unwrap(), 0, None).await.unwrap();
    assert!(next_day.is_empty() && end.is_none());
}

fn day() -> NaiveDate {
    opt_in("l-1").event.day
}

async fn facts_of(engine: &Engine, day: NaiveDate) -> Vec<Event> {
    let mut facts = vec![];
    for shard in 0..EVENT_SHARDS {
        facts.extend(engine.tables.events_page(day, shard, None).await.unwrap().0);
    }
    facts
}

/// One fact of each kind, in the order of [`FactKind::ALL`].
fn all_facts() -> Vec<Event> {
    let utm = BTreeMap::from([
        ("utm_source".to_owned(), "instagram".to_owned()),
        ("utm_term".to_owned(), String::new()),
    ]);
    let mail = || ("nurture_739676_welcome".to_owned(), "nurture/welcome".to_owned());
    let (consultation_id, scheduled_date) = (id("c-1"), at("2027-03-03T01:00:00Z"));
    let (engagement_id, email_campaign_id) = mail();
    let delivered = Fact::MailDelivered { engagement_id, email_campaign_id };
    let (engagement_id, email_campaign_id) = mail();
    let opened = Fact::MailOpened { engagement_id, email_campaign_id, machine: true };
    let (engagement_id, email_campaign_id) = mail();
    let bounced = Fact::MailBounced { engagement_id, email_campaign_id, permanent: false };
    let (engagement_id, email_campaign_id) = mail();
    let complained = Fact::MailComplained { engagement_id, email_campaign_id };
    let (engagement_id, email_campaign_id) = mail();
    let sent = Fact::MailSent { engagement_id, email_campaign_id };
    let (engagement_id, email_campaign_id) = mail();
    let unknown = Fact::MailUnknown { engagement_id, email_campaign_id };
    let facts = [
        sent,
        unknown,
        delivered,
        opened,
        click("l-1", "mail").fact,
        bounced,
        complained,
        Fact::Unsubscribed {},
        Fact::PreferencesChanged {},
        Fact::PageSeen { page: "pricing".to_owned() },
        Fact::Tagged { tag: "見込み".to_owned() },
        Fact::StageChanged { stage: Stage::Mql },
        Fact::ScoreCrossed { threshold: 50, rising: true, score: 57 },
        Fact::Told {
            fact: id("cart-updated"),
            values: BTreeMap::from([("items".to_owned(), "湯のみ".to_owned())]),
        },
        Fact::ConsultationBooked { consultation_id: consultation_id.clone(), version: 1, scheduled_date },
        Fact::ConsultationRescheduled {
            consultation_id: consultation_id.clone(),
            version: 2,
            scheduled_date,
        },
        Fact::ConsultationCancelled { consultation_id: consultation_id.clone(), version: 3 },
        Fact::ConsultationHeld { consultation_id: consultation_id.clone() },
        Fact::ConsultationMissed { consultation_id },
        Fact::ApplicationSubmitted { application_id: id("a-1"), plan: "vip".to_owned(), price: 1_650_000 },
        Fact::CustomerPaid {
            customer_id: id("u-1"),
            plan: "vip".to_owned(),
            price: i64::MAX,
            currency: "JPY".to_owned(),
        },
    ];
    let visit = Event::visit(
        &id("v-1"),
        "landing",
        true,
        Some("https://example.com/?q=道".to_owned()),
        utm,
        now(),
        ZONE,
    );
    let rest = facts.into_iter().map(|fact| Event::about(&id("l-1"), "key", fact, now(), ZONE));
    let requested = Fact::OptInRequested { source: Some("ads".to_owned()), lead_magnet_type: None };
    let requested = Event::about(&id("l-1"), "key", requested, now(), ZONE);
    [visit, requested, opt_in("l-1").event].into_iter().chain(rest).collect()
}
