//! A lead: one person, one row, whatever she does. Consent lives here.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{
    email_address::EmailAddress,
    engagement::MailClass,
    event::{Event, Fact},
    id::Id,
    text::ShortText,
    time,
};

/// One row of the Leads table (seed 000, C8.2, database 1, and what the flow needs).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lead {
    pub lead_id: Id,
    pub email: EmailAddress,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ShortText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<ShortText>,
    /// Where the person came from (流入元): of the first opt-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ShortText>,
    /// The lead magnet asked for last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_magnet_type: Option<Id>,
    #[serde(with = "time::stored")]
    pub opt_in_date: DateTime<Utc>,
    pub tags: Vec<String>,
    pub status: LeadStatus,
    pub stage: Stage,
    pub score: i64,
    /// Whether mail may be written; checked in the same transaction as every send's claim.
    pub mailing: Mailing,
    pub consent: Consent,
    /// An IANA zone name; the funnel's zone when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Tz>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// First-party id of the browser that opted in, to join earlier visits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visitor_id: Option<Id>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub utm: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Counts the row's changes; a write is made on condition of the version it was decided on.
    pub version: u64,
}

/// Seed 000's status of a lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadStatus {
    Active,
    Inactive,
    Converted,
}

/// Lifecycle stage (seed 001, phase 1, step 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Lead,
    Opportunity,
    Customer,
}

/// Whether, and which, mail a person may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mailing {
    /// Everything she agreed to.
    Subscribed,
    /// No marketing; what she herself asked for (a booking's confirmation, a receipt) still comes.
    Unsubscribed,
    /// Nothing: the address bounced for good, or its owner called a mail spam.
    Suppressed,
}

impl Mailing {
    /// The name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscribed => "subscribed",
            Self::Unsubscribed => "unsubscribed",
            Self::Suppressed => "suppressed",
        }
    }

    /// Whether a mail of this class may go out.
    pub fn allows(self, class: MailClass) -> bool {
        match self {
            Self::Subscribed => true,
            Self::Unsubscribed => class == MailClass::Transactional,
            Self::Suppressed => false,
        }
    }
}

/// What was agreed to, when, where and in which words (特定電子メール法; GDPR art. 7).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Consent {
    #[serde(with = "time::stored")]
    pub given_at: DateTime<Utc>,
    /// The words beside the check box.
    pub text: String,
    /// The page or API that took it.
    pub place: String,
    /// The address it was given from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
}

/// An opt-in whose every field has been checked.
#[derive(Debug, Clone)]
pub struct OptIn {
    pub email: EmailAddress,
    pub name: Option<ShortText>,
    pub phone: Option<ShortText>,
    pub source: Option<ShortText>,
    pub lead_magnet_type: Option<Id>,
    pub visitor_id: Option<Id>,
    pub locale: Option<String>,
    pub time_zone: Option<Tz>,
    pub utm: BTreeMap<String, String>,
    pub consent: Consent,
}

/// A lead as it shall be stored, and what happened.
#[derive(Debug, Clone)]
pub struct LeadChange {
    pub lead: Lead,
    pub event: Event,
}

/// Opts a person in: makes the lead, or brings the one she already is up to date. Empty fields of
/// a later opt-in never erase earlier ones, and the first source stays.
///
/// The fact's key is lead, lead magnet and day: the same form sent twice is one opt-in, a wish for
/// another magnet (or the same one on another day) is a new one.
pub fn opt_in(known: Option<Lead>, lead_id: Id, form: OptIn, now: DateTime<Utc>, zone: Tz) -> LeadChange {
    let first = known.is_none();
    let magnet = form.lead_magnet_type.as_ref().map(Id::as_str).unwrap_or("none").to_owned();
    let day = time::day(now, zone);
    let fact = Fact::OptedIn {
        first,
        source: form.source.as_ref().map(|s| s.as_str().to_owned()),
        lead_magnet_type: form.lead_magnet_type.as_ref().map(|m| m.as_str().to_owned()),
        visitor_id: form.visitor_id.clone(),
        utm: form.utm.clone(),
    };
    let event = Event::about(&lead_id, &format!("{lead_id}.{magnet}.{day}"), fact, now, zone);
    let mut tags = known.as_ref().map(|lead| lead.tags.clone()).unwrap_or_default();
    for tag in [
        form.source.as_ref().map(|s| format!("source:{}", s.as_str())),
        form.lead_magnet_type.as_ref().map(|m| format!("magnet:{m}")),
    ]
    .into_iter()
    .flatten()
    {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    let lead = match known {
        None => Lead {
            lead_id,
            email: form.email,
            name: form.name,
            phone: form.phone,
            source: form.source,
            lead_magnet_type: form.lead_magnet_type,
            opt_in_date: now,
            tags,
            status: LeadStatus::Active,
            stage: Stage::Lead,
            score: 0,
            mailing: Mailing::Subscribed,
            consent: form.consent,
            time_zone: form.time_zone,
            locale: form.locale,
            visitor_id: form.visitor_id,
            utm: form.utm,
            attributes: BTreeMap::new(),
            version: 1,
        },
        Some(lead) => Lead {
            name: form.name.or(lead.name),
            phone: form.phone.or(lead.phone),
            source: lead.source.or(form.source),
            lead_magnet_type: form.lead_magnet_type.or(lead.lead_magnet_type),
            tags,
            // Saying yes again ends an unsubscription. An address that bounced for good, or whose
            // owner complained, stays closed until a person looks at it.
            mailing: match lead.mailing {
                Mailing::Subscribed | Mailing::Unsubscribed => Mailing::Subscribed,
                Mailing::Suppressed => Mailing::Suppressed,
            },
            consent: form.consent,
            time_zone: form.time_zone.or(lead.time_zone),
            locale: form.locale.or(lead.locale),
            visitor_id: form.visitor_id.or(lead.visitor_id),
            version: lead.version + 1,
            ..lead
        },
    };
    LeadChange { lead, event }
}

/// Ends marketing mail. `None` when there is nothing to end.
pub fn unsubscribe(lead: Lead, now: DateTime<Utc>, zone: Tz) -> Option<LeadChange> {
    if lead.mailing != Mailing::Subscribed {
        return None;
    }
    let version = lead.version + 1;
    let event =
        Event::about(&lead.lead_id, &format!("{}.{version}", lead.lead_id), Fact::Unsubscribed {}, now, zone);
    Some(LeadChange {
        lead: Lead { mailing: Mailing::Unsubscribed, status: after_silence(lead.status), version, ..lead },
        event,
    })
}

/// Closes an address for good after a permanent bounce or a complaint. `None` when it already is.
pub fn suppress(lead: Lead) -> Option<Lead> {
    (lead.mailing != Mailing::Suppressed).then(|| Lead {
        mailing: Mailing::Suppressed,
        status: after_silence(lead.status),
        version: lead.version + 1,
        ..lead
    })
}

/// A lead that bought.
pub fn convert(lead: Lead) -> Lead {
    Lead { status: LeadStatus::Converted, stage: Stage::Customer, version: lead.version + 1, ..lead }
}

fn after_silence(status: LeadStatus) -> LeadStatus {
    match status {
        LeadStatus::Active | LeadStatus::Inactive => LeadStatus::Inactive,
        LeadStatus::Converted => LeadStatus::Converted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn form(magnet: &str) -> OptIn {
        OptIn {
            email: EmailAddress::parse("hanako@example.com").unwrap(),
            name: ShortText::parse("花子").ok(),
            phone: None,
            source: ShortText::parse("instagram").ok(),
            lead_magnet_type: Id::parse(magnet).ok(),
            visitor_id: None,
            locale: None,
            time_zone: None,
            utm: BTreeMap::new(),
            consent: Consent {
                given_at: at("2026-11-22T01:00:00Z"),
                text: "同意します".into(),
                place: "landing".into(),
                ip: None,
            },
        }
    }

    fn opted_in() -> Lead {
        opt_in(None, Id::parse("l-1").unwrap(), form("guide"), at("2026-11-22T01:00:00Z"), Tz::Asia__Tokyo)
            .lead
    }

    #[test]
    fn a_second_opt_in_keeps_what_the_first_one_told() {
        let second = OptIn { name: None, source: ShortText::parse("ads").ok(), ..form("checklist") };
        let change = opt_in(
            Some(opted_in()),
            Id::parse("l-1").unwrap(),
            second,
            at("2026-11-23T01:00:00Z"),
            Tz::Asia__Tokyo,
        );
        assert_eq!(change.lead.name.as_ref().map(ShortText::as_str), Some("花子"));
        assert_eq!(change.lead.source.as_ref().map(ShortText::as_str), Some("instagram"));
        assert_eq!(change.lead.tags, ["source:instagram", "magnet:guide", "source:ads", "magnet:checklist"]);
        assert_eq!(change.lead.version, 2);
        assert!(matches!(change.event.fact, Fact::OptedIn { first: false, .. }));
    }

    #[test]
    fn the_same_form_on_the_same_day_is_the_same_fact() {
        let id = |magnet: &str, now: &str| {
            opt_in(None, Id::parse("l-1").unwrap(), form(magnet), at(now), Tz::Asia__Tokyo).event.event_id
        };
        assert_eq!(id("guide", "2026-11-22T01:00:00Z"), id("guide", "2026-11-22T14:59:59Z"));
        assert_ne!(
            id("guide", "2026-11-22T01:00:00Z"),
            id("guide", "2026-11-22T15:00:00Z"),
            "midnight in Tokyo"
        );
        assert_ne!(id("guide", "2026-11-22T01:00:00Z"), id("checklist", "2026-11-22T01:00:00Z"));
    }

    #[test]
    fn a_new_yes_ends_an_unsubscription_but_not_a_suppression() {
        let again = |lead: Lead| {
            opt_in(
                Some(lead),
                Id::parse("l-1").unwrap(),
                form("guide"),
                at("2026-12-01T00:00:00Z"),
                Tz::Asia__Tokyo,
            )
            .lead
            .mailing
        };
        let unsubscribed = unsubscribe(opted_in(), at("2026-11-23T00:00:00Z"), Tz::Asia__Tokyo).unwrap().lead;
        assert_eq!(unsubscribed.mailing, Mailing::Unsubscribed);
        assert_eq!(again(unsubscribed), Mailing::Subscribed);
        assert_eq!(again(suppress(opted_in()).unwrap()), Mailing::Suppressed);
    }

    #[test]
    fn unsubscribing_twice_is_one_fact() {
        let once = unsubscribe(opted_in(), at("2026-11-23T00:00:00Z"), Tz::Asia__Tokyo).unwrap();
        assert!(unsubscribe(once.lead, at("2026-11-23T00:00:01Z"), Tz::Asia__Tokyo).is_none());
    }

    #[test]
    fn who_may_get_what() {
        for (mailing, marketing, transactional) in [
            (Mailing::Subscribed, true, true),
            (Mailing::Unsubscribed, false, true),
            (Mailing::Suppressed, false, false),
        ] {
            assert_eq!(mailing.allows(MailClass::Marketing), marketing, "{mailing:?}");
            assert_eq!(mailing.allows(MailClass::Transactional), transactional, "{mailing:?}");
            assert_eq!(serde_json::to_value(mailing).unwrap(), mailing.as_str());
        }
    }
}
