//! A person as conditions know her.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::condition::Known;
use domain::email_address::EmailAddress;
use domain::id::Id;
use domain::lead::{Consent, Lead, OptIn, opt_in};
use domain::score::Scoring;

/// When she opted in, and when mail is sent to her.
pub fn now() -> DateTime<Utc> {
    "2026-11-20T09:00:00Z".parse().unwrap()
}

/// Somebody of whom nothing is known but her address.
pub fn lead() -> Lead {
    let form = OptIn {
        email: EmailAddress::parse("hanako@example.com").unwrap(),
        name: None,
        phone: None,
        source: None,
        lead_magnet_type: None,
        visitor_id: None,
        locale: None,
        time_zone: None,
        utm: BTreeMap::new(),
        attributes: BTreeMap::new(),
        consent: Consent {
            given_at: now(),
            text: "同意します。".into(),
            place: "landing".into(),
            ip: None,
            confirmed_at: None,
            confirmed_ip: None,
        },
    };
    opt_in(None, Id::parse("l-1").unwrap(), form, now(), chrono_tz::Tz::Asia__Tokyo).lead
}

/// What a mail's conditions are decided on, if they look at her row only.
pub fn known<'a>(lead: &'a Lead, scoring: &'a Scoring) -> Known<'a> {
    Known { lead, ledger: &[], timeline: &[], enrolments: &[], scoring, entered_at: None, now: now() }
}
