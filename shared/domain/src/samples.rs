//! What tests are made of: one person, one of each fact, and every clock change of the world.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use chrono::{DateTime, NaiveTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz::{self, Asia__Tokyo};

use crate::{
    condition::Known,
    email_address::EmailAddress,
    engagement::{Engagement, EngagementState, MailClass},
    event::{Event, Fact, FactKind},
    id::Id,
    lead::{Consent, Lead, LeadStatus, Mailing, Preferences, Stage},
    score::Scoring,
    sequence::Enrolment,
    text::ShortText,
};

/// When [`person`] opted in.
pub(crate) const OPTED_IN: &str = "2026-09-01T01:00:00Z";

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub(crate) fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

pub(crate) fn clock(text: &str) -> NaiveTime {
    NaiveTime::parse_from_str(text, "%H:%M").unwrap()
}

/// A person and all that is known of her.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) lead: Lead,
    pub(crate) ledger: Vec<Engagement>,
    pub(crate) timeline: Vec<Event>,
    pub(crate) enrolments: Vec<Enrolment>,
    pub(crate) scoring: Scoring,
    pub(crate) entered_at: Option<DateTime<Utc>>,
}

impl Person {
    pub(crate) fn known(&self, now: DateTime<Utc>) -> Known<'_> {
        Known {
            lead: &self.lead,
            ledger: &self.ledger,
            timeline: &self.timeline,
            enrolments: &self.enrolments,
            scoring: &self.scoring,
            entered_at: self.entered_at,
            now,
        }
    }

    /// The same person, of whom a fact has been told.
    pub(crate) fn did(mut self, fact: Fact, when: &str) -> Self {
        let number = self.timeline.len();
        let event = Event::about(&self.lead.lead_id, &format!("k-{number}"), fact, at(when), Asia__Tokyo);
        self.timeline.push(event);
        self
    }
}

/// Somebody who opted in at [`OPTED_IN`] and has done nothing since.
pub(crate) fn person() -> Person {
    let lead = Lead {
        lead_id: id("l-1"),
        email: EmailAddress::parse("hanako@example.com").unwrap(),
        name: None,
        phone: None,
        source: ShortText::parse("instagram").ok(),
        lead_magnet_type: Some(id("guide")),
        opt_in_date: at(OPTED_IN),
        tags: vec!["source:instagram".into(), "magnet:guide".into()],
        status: LeadStatus::Active,
        stage: Stage::Lead,
        score: 0,
        mailing: Mailing::Subscribed,
        suppression: None,
        to_list: None,
        reopened: None,
        consent: Consent {
            given_at: at(OPTED_IN),
            text: "同意します".into(),
            place: "landing".into(),
            ip: None,
            confirmed_at: None,
            confirmed_ip: None,
        },
        pending_consent: None,
        preferences: Preferences::default(),
        recent_mails: vec![],
        time_zone: None,
        locale: Some("ja".into()),
        visitor_id: None,
        utm: BTreeMap::new(),
        attributes: BTreeMap::new(),
        erased_at: None,
        version: 1,
    };
    let alone = Person {
        lead,
        ledger: vec![],
        timeline: vec![],
        enrolments: vec![],
        scoring: Scoring::default(),
        entered_at: None,
    };
    alone.did(fact(FactKind::OptedIn), OPTED_IN)
}

/// A mail in the ledger, sent and not yet heard of.
pub(crate) fn sent(mail: &str, when: &str) -> Engagement {
    Engagement {
        lead_id: id("l-1"),
        engagement_id: format!("nurture_1_{mail}"),
        email_campaign_id: format!("nurture/{mail}"),
        mail: Some(id(mail)),
        class: MailClass::Marketing,
        state: EngagementState::Sent,
        attempt: 1,
        claimed_at: at(when),
        sent_date: Some(at(when)),
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

pub(crate) fn opened(row: Engagement, when: &str) -> Engagement {
    Engagement { opened: true, opened_at: Some(at(when)), ..row }
}

pub(crate) fn clicked(row: Engagement, link: &str, when: &str) -> Engagement {
    let clicked_links = row.clicked_links.iter().cloned().chain([link.to_owned()]).collect();
    let click_url = row.click_url.clone().or(Some(link.to_owned()));
    Engagement { clicked: true, clicked_at: Some(at(when)), click_url, clicked_links, ..row }
}

pub(crate) fn told(fact: &str) -> Fact {
    Fact::Told { fact: id(fact), values: BTreeMap::new() }
}

pub(crate) fn seen(page: &str) -> Fact {
    Fact::PageSeen { page: page.into() }
}

/// One of each kind.
pub(crate) fn fact(kind: FactKind) -> Fact {
    use FactKind as K;
    let (engagement_id, email_campaign_id) = ("nurture_1_day-1".to_owned(), "nurture/day-1".to_owned());
    let (consultation_id, scheduled_date) = (id("c-1"), at("2026-11-25T01:00:00Z"));
    match kind {
        K::Visited => Fact::Visited {
            visitor_id: id("v-1"),
            page: "landing".into(),
            landing: true,
            referrer: None,
            utm: BTreeMap::new(),
        },
        K::OptInRequested => Fact::OptInRequested { source: None, lead_magnet_type: Some("guide".into()) },
        K::OptedIn => Fact::OptedIn {
            first: true,
            source: None,
            lead_magnet_type: Some("guide".into()),
            visitor_id: None,
            utm: BTreeMap::new(),
        },
        K::MailSent => Fact::MailSent { engagement_id, email_campaign_id },
        K::MailUnknown => Fact::MailUnknown { engagement_id, email_campaign_id },
        K::MailDelivered => Fact::MailDelivered { engagement_id, email_campaign_id },
        K::MailOpened => Fact::MailOpened { engagement_id, email_campaign_id, machine: false },
        K::MailClicked => {
            let link = "https://example.com/pricing".to_owned();
            Fact::MailClicked { engagement_id, email_campaign_id, link, machine: false }
        }
        K::MailBounced => Fact::MailBounced { engagement_id, email_campaign_id, permanent: true },
        K::MailComplained => Fact::MailComplained { engagement_id, email_campaign_id },
        K::Unsubscribed => Fact::Unsubscribed {},
        K::PreferencesChanged => Fact::PreferencesChanged {},
        K::PageSeen => seen("pricing"),
        K::Tagged => Fact::Tagged { tag: "vip".into() },
        K::StageChanged => Fact::StageChanged { stage: Stage::Mql },
        K::ScoreCrossed => Fact::ScoreCrossed { threshold: 50, rising: true, score: 55 },
        K::Told => told("ordered"),
        K::ConsultationBooked => Fact::ConsultationBooked { consultation_id, version: 1, scheduled_date },
        K::ConsultationRescheduled => {
            Fact::ConsultationRescheduled { consultation_id, version: 2, scheduled_date }
        }
        K::ConsultationCancelled => Fact::ConsultationCancelled { consultation_id, version: 3 },
        K::ConsultationHeld => Fact::ConsultationHeld { consultation_id },
        K::ConsultationMissed => Fact::ConsultationMissed { consultation_id },
        K::ApplicationSubmitted => {
            Fact::ApplicationSubmitted { application_id: id("a-1"), plan: "vip".into(), price: 1 }
        }
        K::CustomerPaid => Fact::CustomerPaid {
            customer_id: id("u-1"),
            plan: "vip".into(),
            price: 1,
            currency: "JPY".into(),
        },
    }
}

/// A moment at which the clock of a zone, and of all zones like it, jumps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) zone: Tz,
    /// The first instant with the new offset.
    pub(crate) at: DateTime<Utc>,
    /// Offsets from UTC.
    pub(crate) before: TimeDelta,
    pub(crate) after: TimeDelta,
}

/// How far the zone's clock is ahead of UTC.
pub(crate) fn offset(zone: Tz, at: DateTime<Utc>) -> TimeDelta {
    TimeDelta::seconds(zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc().into())
}

/// Every clock change of every IANA zone from 2024 to 2036, one zone standing for all those whose
/// clocks do the same.
pub(crate) fn changes() -> &'static [Change] {
    static CHANGES: OnceLock<Vec<Change>> = OnceLock::new();
    CHANGES.get_or_init(|| {
        let zones: BTreeMap<_, Tz> =
            chrono_tz::TZ_VARIANTS.into_iter().map(|zone| (changes_of(zone), zone)).collect();
        let change = |zone| move |(at, before, after)| Change { zone, at, before, after };
        zones.into_iter().flat_map(|(changes, zone)| changes.into_iter().map(change(zone))).collect()
    })
}

/// No zone changes its clock twice in a day, so looking once a day finds all changes.
fn changes_of(zone: Tz) -> Vec<(DateTime<Utc>, TimeDelta, TimeDelta)> {
    let (mut at, end) = (at("2024-01-01T00:00:00Z"), at("2037-01-01T00:00:00Z"));
    let (mut changes, mut before) = (vec![], offset(zone, at));
    while at < end {
        let next = at + TimeDelta::days(1);
        let after = offset(zone, next);
        if after != before {
            // From second to second: whole ones, unlike the code that is tested.
            let (mut low, mut high) = (at.timestamp(), next.timestamp());
            while high - low > 1 {
                let middle = low.midpoint(high);
                let is_new = offset(zone, DateTime::from_timestamp(middle, 0).unwrap()) == after;
                *(if is_new { &mut high } else { &mut low }) = middle;
            }
            changes.push((DateTime::from_timestamp(high, 0).unwrap(), before, after));
        }
        (at, before) = (next, after);
    }
    changes
}
