//! Rows to write, as the product makes them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz::{self, Asia__Tokyo};
use domain::{
    consultation::Slot,
    email_address::EmailAddress,
    engagement::{Engagement, EngagementState, MailClass},
    event::{Event, Fact},
    id::Id,
    lead::{self, Consent, LeadChange, Mailing, OptIn},
    sequence::{Enrolment, EnrolmentState},
    text::ShortText,
};

use crate::engine::Engine;
use cloud::{
    tables::Table,
    transaction::{Commit, Condition},
};

pub const ZONE: Tz = Asia__Tokyo;

pub fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

pub fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Monday, 1 March 2027, 10:00 in Tokyo.
pub fn now() -> DateTime<Utc> {
    at("2027-03-01T01:00:00Z")
}

pub fn short(text: &str) -> ShortText {
    ShortText::parse(text).unwrap()
}

/// A person's first opt-in, with every field filled in.
pub fn opt_in(lead_id: &str) -> LeadChange {
    let form = OptIn {
        email: EmailAddress::parse(&format!("{lead_id}@example.jp")).unwrap(),
        name: Some(short("山田 花子 🌸")),
        phone: Some(short("090-0000-0000")),
        source: Some(short("instagram")),
        lead_magnet_type: Some(id("checklist")),
        visitor_id: Some(id("v-1")),
        locale: Some("ja".to_owned()),
        time_zone: Some(ZONE),
        utm: BTreeMap::from([
            ("utm_source".to_owned(), "instagram".to_owned()),
            ("utm_term".to_owned(), String::new()),
        ]),
        consent: Consent {
            given_at: now(),
            text: "メールを受け取ります。\nいつでも停止できます。".to_owned(),
            place: "POST /opt-in".to_owned(),
            ip: Some("198.51.100.7".to_owned()),
            confirmed_at: Some(now()),
            confirmed_ip: Some("198.51.100.8".to_owned()),
        },
        attributes: BTreeMap::new(),
    };
    lead::opt_in(None, id(lead_id), form, now(), ZONE)
}

/// Stores a lead who may get this mail.
pub async fn store_lead(engine: &Engine, lead_id: &str, mailing: Mailing) {
    let lead = lead::Lead { mailing, ..opt_in(lead_id).lead };
    let transaction = engine.tables.transaction().put(Table::Leads, &lead, &Condition::Absent).unwrap();
    assert_eq!(transaction.commit("storing a lead").await.unwrap(), Commit::Done);
}

/// The lead of that id as she is stored now; one who is not stored if nobody is.
pub async fn known_lead(engine: &Engine, lead_id: &str) -> lead::Lead {
    engine.tables.lead(&id(lead_id)).await.unwrap().unwrap_or_else(|| opt_in(lead_id).lead)
}

/// The ledger's row of a mail that is about to be handed to SES.
pub fn mail(lead_id: &str, step: &str, class: MailClass, attempt: u8) -> Engagement {
    Engagement {
        lead_id: id(lead_id),
        engagement_id: format!("nurture_739676_{step}"),
        email_campaign_id: format!("nurture/{step}"),
        mail: Some(id("day-1")),
        class,
        state: EngagementState::Claimed,
        attempt,
        claimed_at: now(),
        sent_date: None,
        message_id: None,
        reason: None,
        delivered_at: None,
        soft_bounced_at: None,
        opened: false,
        opened_at: None,
        machine_opened: false,
        clicked: false,
        clicked_at: None,
        click_url: None,
        clicked_links: BTreeSet::new(),
        touches: vec![],
    }
}

/// A person who waits for a step.
pub fn enrolment(lead_id: &str, generation: u32, step: &str) -> Enrolment {
    Enrolment {
        lead_id: id(lead_id),
        enrolment_id: "nurture".to_owned(),
        sequence: id("nurture"),
        program: "0123456789ab".to_owned(),
        subject: None,
        generation,
        anchor: now(),
        enrolled_at: now(),
        entered_at: Some(now()),
        state: EnrolmentState::Active,
        step: Some(id(step)),
        next_due: Some(now() + TimeDelta::days(1)),
        waiting: false,
        due_hour: Some("22".to_owned()),
        enrolment_key: format!("{lead_id}#nurture"),
        why: "enrolled".to_owned(),
        decisions: vec![],
        values: BTreeMap::new(),
    }
}

pub fn slot(host: &str, start: DateTime<Utc>) -> Slot {
    let end = start + TimeDelta::hours(1);
    Slot { start, end, until: end, host: id(host) }
}

/// A link that a person followed: a fact that stands in no timeline.
pub fn click(lead_id: &str, key: &str) -> Event {
    let fact = Fact::MailClicked {
        engagement_id: "nurture_739676_welcome".to_owned(),
        email_campaign_id: "nurture/welcome".to_owned(),
        link: "https://michi.example.com/pages/checklist".to_owned(),
        machine: false,
    };
    Event::about(&id(lead_id), key, fact, now(), ZONE)
}
