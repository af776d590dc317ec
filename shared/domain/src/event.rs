//! Facts: what happened, once, unchangeable. Everything else is derived from them.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{
    id::Id,
    lead::{Consent, Stage},
    limits::PAGE_VIEW_MINUTES,
    time,
};

/// What the ids of facts begin with whose person was erased.
const ERASED: &str = "erased.";

/// One row of the Events table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Deterministic: the same happening always has the same id, so that a repeat finds it.
    pub event_id: String,
    /// The calendar day in the funnel's zone; a day's figures are made from the day's events.
    pub day: NaiveDate,
    /// When it happened, not when it was heard of.
    #[serde(with = "time::stored")]
    pub occurred_at: DateTime<Utc>,
    /// Whom it concerns. Visits before an opt-in concern nobody yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_id: Option<Id>,
    /// The consent that was given with it: evidence that later consents don't overwrite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Box<Consent>>,
    /// What happened.
    #[serde(flatten)]
    pub fact: Fact,
}

impl Event {
    /// A fact about a lead. `key` tells this happening from others of its kind: with the fact's
    /// name it makes the id.
    pub fn about(lead_id: &Id, key: &str, fact: Fact, occurred_at: DateTime<Utc>, zone: Tz) -> Self {
        Self {
            event_id: format!("{}.{key}", fact.kind().as_str()),
            day: time::day(occurred_at, zone),
            occurred_at,
            lead_id: Some(lead_id.clone()),
            consent: None,
            fact,
        }
    }

    /// The same fact with the consent that was given with it.
    pub fn with_consent(self, consent: &Consent) -> Self {
        Self { consent: Some(Box::new(consent.clone())), ..self }
    }

    /// The fact as others may hear of it: without the consent's words and places, and without what
    /// another system told of the person, which a link may hold too (a cart's, a parcel's).
    pub fn without_personal_data(&self) -> Self {
        let mut fact = self.fact.clone();
        match &mut fact {
            Fact::Told { values, .. } => values.clear(),
            Fact::MailClicked { link, .. } => *link = site(link).to_owned(),
            _ => {}
        }
        Self { consent: None, fact, ..self.clone() }
    }

    /// The fact without a trace of whom it concerned, so that a day that is counted again counts
    /// the same. `key` is secret and thrown away afterwards: with it the same fact, visitor and
    /// mail always get the same new id, without it nobody finds the old one.
    pub fn anonymous(&self, key: &str) -> Self {
        let new_id = |prefix: &str, id: &str| Id::derived(prefix, &[key, id]);
        let mut fact = self.without_personal_data().fact;
        match &mut fact {
            Fact::Visited { visitor_id, referrer, utm, .. } => {
                *visitor_id = new_id("v", visitor_id.as_str());
                *referrer = None;
                utm.clear();
            }
            Fact::OptInRequested { source, .. } => *source = None,
            Fact::OptedIn { visitor_id, source, utm, .. } => {
                *visitor_id = None;
                *source = None;
                utm.clear();
            }
            Fact::MailSent { engagement_id, .. }
            | Fact::MailUnknown { engagement_id, .. }
            | Fact::MailDelivered { engagement_id, .. }
            | Fact::MailOpened { engagement_id, .. }
            | Fact::MailClicked { engagement_id, .. }
            | Fact::MailBounced { engagement_id, .. }
            | Fact::MailComplained { engagement_id, .. } => {
                *engagement_id = new_id("m", engagement_id).to_string();
            }
            Fact::ConsultationBooked { consultation_id, scheduled_date, .. }
            | Fact::ConsultationRescheduled { consultation_id, scheduled_date, .. } => {
                *consultation_id = new_id("c", consultation_id.as_str());
                *scheduled_date = to_the_hour(*scheduled_date);
            }
            Fact::ConsultationCancelled { consultation_id, .. }
            | Fact::ConsultationHeld { consultation_id }
            | Fact::ConsultationMissed { consultation_id } => {
                *consultation_id = new_id("c", consultation_id.as_str());
            }
            Fact::ApplicationSubmitted { application_id, .. } => {
                *application_id = new_id("a", application_id.as_str());
            }
            Fact::CustomerPaid { customer_id, .. } => *customer_id = new_id("u", customer_id.as_str()),
            Fact::Unsubscribed {}
            | Fact::PreferencesChanged {}
            | Fact::PageSeen { .. }
            | Fact::Tagged { .. }
            | Fact::StageChanged { .. }
            | Fact::ScoreCrossed { .. }
            | Fact::Told { .. } => {}
        }
        Self {
            event_id: format!("{ERASED}{}", new_id("e", &self.event_id)),
            day: self.day,
            occurred_at: to_the_hour(self.occurred_at),
            lead_id: None,
            consent: None,
            fact,
        }
    }

    /// Whether whom it concerned was erased: it is only counted any more.
    pub fn is_anonymous(&self) -> bool {
        self.event_id.starts_with(ERASED)
    }

    /// A page seen by somebody known. Views of a page within the same half hour are one fact.
    pub fn page_seen(lead_id: &Id, page: &Id, now: DateTime<Utc>, zone: Tz) -> Self {
        let span = now.timestamp() / (PAGE_VIEW_MINUTES * 60);
        let fact = Fact::PageSeen { page: page.to_string() };
        Self::about(lead_id, &format!("{lead_id}.{page}.{span}"), fact, now, zone)
    }

    /// A visit of somebody who may never give a name. Counted once a visitor, page and day.
    pub fn visit(
        visitor_id: &Id,
        page: &str,
        landing: bool,
        referrer: Option<String>,
        utm: BTreeMap<String, String>,
        now: DateTime<Utc>,
        zone: Tz,
    ) -> Self {
        Self {
            event_id: format!("visited.{visitor_id}.{page}"),
            day: time::day(now, zone),
            occurred_at: now,
            lead_id: None,
            consent: None,
            fact: Fact::Visited {
                visitor_id: visitor_id.clone(),
                page: page.to_owned(),
                landing,
                referrer,
                utm,
            },
        }
    }
}

/// The second of a click, or of a talk, could be looked up elsewhere.
fn to_the_hour(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at)
}

/// Where a link leads, without the page: `https://shop.example.com` of
/// `https://shop.example.com/carts/8f3a`.
fn site(link: &str) -> &str {
    let host = link.find("://").map_or(0, |place| place + 3);
    let end = link.get(host..).and_then(|rest| rest.find('/')).map_or(link.len(), |place| host + place);
    link.get(..end).unwrap_or_default()
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// A page was looked at (seed 000, level 0 and 1).
    Visited {
        visitor_id: Id,
        page: String,
        /// A landing page, as opposed to any other page of the site.
        landing: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        referrer: Option<String>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        utm: BTreeMap<String, String>,
    },
    /// Somebody left an address that has to be confirmed first (double opt-in).
    OptInRequested {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lead_magnet_type: Option<String>,
    },
    /// Somebody asked for a lead magnet and agreed to get mail (stage 1).
    OptedIn {
        /// The person's first time; only these are new leads.
        first: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lead_magnet_type: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        visitor_id: Option<Id>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        utm: BTreeMap<String, String>,
    },
    /// SES took the mail.
    MailSent { engagement_id: String, email_campaign_id: String },
    /// Nobody knows whether SES took the mail: its answer was lost.
    MailUnknown { engagement_id: String, email_campaign_id: String },
    /// The recipient's server took the mail.
    MailDelivered { engagement_id: String, email_campaign_id: String },
    /// The mail was opened for the first time: by a person, or by a machine on her behalf.
    MailOpened { engagement_id: String, email_campaign_id: String, machine: bool },
    /// A link was followed for the first time.
    MailClicked { engagement_id: String, email_campaign_id: String, link: String, machine: bool },
    /// The mail came back.
    MailBounced { engagement_id: String, email_campaign_id: String, permanent: bool },
    /// The recipient called it spam.
    MailComplained { engagement_id: String, email_campaign_id: String },
    /// The person wants no more marketing mail.
    Unsubscribed {},
    /// The person chose what she wants to get, and how often.
    PreferencesChanged {},
    /// A page was looked at by somebody known; views within half an hour are one.
    PageSeen { page: String },
    /// A tag was given.
    Tagged { tag: String },
    /// Another stage of the lifecycle was reached.
    StageChanged { stage: Stage },
    /// The score came up to a threshold, or fell to it.
    ScoreCrossed { threshold: i64, rising: bool, score: i64 },
    /// Another system told one of the funnel's own facts.
    Told {
        fact: Id,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        values: BTreeMap<String, String>,
    },
    /// A consultation was booked (stage 3).
    ConsultationBooked {
        consultation_id: Id,
        version: u32,
        #[serde(with = "time::stored")]
        scheduled_date: DateTime<Utc>,
    },
    /// It was moved to another time.
    ConsultationRescheduled {
        consultation_id: Id,
        version: u32,
        #[serde(with = "time::stored")]
        scheduled_date: DateTime<Utc>,
    },
    /// It was called off.
    ConsultationCancelled { consultation_id: Id, version: u32 },
    /// It took place (stage 4).
    ConsultationHeld { consultation_id: Id },
    /// The person did not come.
    ConsultationMissed { consultation_id: Id },
    /// An application with a plan was handed in (stage 6).
    ApplicationSubmitted { application_id: Id, plan: String, price: i64 },
    /// Money arrived: a sale (stage 6). `price` is in the currency's minor unit.
    CustomerPaid { customer_id: Id, plan: String, price: i64, currency: String },
}

/// What a fact, and the sequence it starts, can be about besides the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Consultation,
    Application,
    Customer,
}

/// The names of the facts, as funnels write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    Visited,
    OptInRequested,
    OptedIn,
    MailSent,
    MailUnknown,
    MailDelivered,
    MailOpened,
    MailClicked,
    MailBounced,
    MailComplained,
    Unsubscribed,
    PreferencesChanged,
    PageSeen,
    Tagged,
    StageChanged,
    ScoreCrossed,
    Told,
    ConsultationBooked,
    ConsultationRescheduled,
    ConsultationCancelled,
    ConsultationHeld,
    ConsultationMissed,
    ApplicationSubmitted,
    CustomerPaid,
}

impl FactKind {
    /// All of them, in the order of the customer's way.
    pub const ALL: [Self; 24] = [
        Self::Visited,
        Self::OptInRequested,
        Self::OptedIn,
        Self::MailSent,
        Self::MailUnknown,
        Self::MailDelivered,
        Self::MailOpened,
        Self::MailClicked,
        Self::MailBounced,
        Self::MailComplained,
        Self::Unsubscribed,
        Self::PreferencesChanged,
        Self::PageSeen,
        Self::Tagged,
        Self::StageChanged,
        Self::ScoreCrossed,
        Self::Told,
        Self::ConsultationBooked,
        Self::ConsultationRescheduled,
        Self::ConsultationCancelled,
        Self::ConsultationHeld,
        Self::ConsultationMissed,
        Self::ApplicationSubmitted,
        Self::CustomerPaid,
    ];

    /// The name in funnels, tables and bus events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Visited => "visited",
            Self::OptInRequested => "opt_in_requested",
            Self::OptedIn => "opted_in",
            Self::MailSent => "mail_sent",
            Self::MailUnknown => "mail_unknown",
            Self::MailDelivered => "mail_delivered",
            Self::MailOpened => "mail_opened",
            Self::MailClicked => "mail_clicked",
            Self::MailBounced => "mail_bounced",
            Self::MailComplained => "mail_complained",
            Self::Unsubscribed => "unsubscribed",
            Self::PreferencesChanged => "preferences_changed",
            Self::PageSeen => "page_seen",
            Self::Tagged => "tagged",
            Self::StageChanged => "stage_changed",
            Self::ScoreCrossed => "score_crossed",
            Self::Told => "told",
            Self::ConsultationBooked => "consultation_booked",
            Self::ConsultationRescheduled => "consultation_rescheduled",
            Self::ConsultationCancelled => "consultation_cancelled",
            Self::ConsultationHeld => "consultation_held",
            Self::ConsultationMissed => "consultation_missed",
            Self::ApplicationSubmitted => "application_submitted",
            Self::CustomerPaid => "customer_paid",
        }
    }

    /// What the fact is about, besides the person.
    pub fn topic(self) -> Option<Topic> {
        match self {
            Self::ConsultationBooked
            | Self::ConsultationRescheduled
            | Self::ConsultationCancelled
            | Self::ConsultationHeld
            | Self::ConsultationMissed => Some(Topic::Consultation),
            Self::ApplicationSubmitted => Some(Topic::Application),
            Self::CustomerPaid => Some(Topic::Customer),
            Self::Visited
            | Self::OptInRequested
            | Self::OptedIn
            | Self::MailSent
            | Self::MailUnknown
            | Self::MailDelivered
            | Self::MailOpened
            | Self::MailClicked
            | Self::MailBounced
            | Self::MailComplained
            | Self::Unsubscribed
            | Self::PreferencesChanged
            | Self::PageSeen
            | Self::Tagged
            | Self::StageChanged
            | Self::ScoreCrossed
            | Self::Told => None,
        }
    }

    /// Whether funnels may name it. A visitor is nobody yet, sending is our own doing, and the
    /// last two have names of their own.
    pub fn is_named_by_funnels(self) -> bool {
        !matches!(
            self,
            Self::Visited
                | Self::MailSent
                | Self::MailUnknown
                | Self::MailDelivered
                | Self::ScoreCrossed
                | Self::Told
        )
    }

    /// Whether the person herself did something: what ends a silence.
    pub fn is_activity(self) -> bool {
        match self {
            Self::OptInRequested
            | Self::OptedIn
            | Self::MailOpened
            | Self::MailClicked
            | Self::PreferencesChanged
            | Self::PageSeen
            | Self::Told
            | Self::ConsultationBooked
            | Self::ConsultationRescheduled
            | Self::ConsultationCancelled
            | Self::ConsultationHeld
            | Self::ApplicationSubmitted
            | Self::CustomerPaid => true,
            Self::Visited
            | Self::MailSent
            | Self::MailUnknown
            | Self::MailDelivered
            | Self::MailBounced
            | Self::MailComplained
            | Self::Unsubscribed
            | Self::Tagged
            | Self::StageChanged
            | Self::ScoreCrossed
            | Self::ConsultationMissed => false,
        }
    }

    /// Whether a lead's timeline shows it from the Events table. Mail is shown from the send
    /// ledger, which tells more, so mail events stay out of the timeline index and cost one
    /// write unit less.
    pub fn on_timeline(self) -> bool {
        match self {
            Self::Visited
            | Self::MailSent
            | Self::MailUnknown
            | Self::MailDelivered
            | Self::MailOpened
            | Self::MailClicked
            | Self::MailBounced => false,
            Self::OptInRequested
            | Self::OptedIn
            | Self::MailComplained
            | Self::Unsubscribed
            | Self::PreferencesChanged
            | Self::PageSeen
            | Self::Tagged
            | Self::StageChanged
            | Self::ScoreCrossed
            | Self::Told
            | Self::ConsultationBooked
            | Self::ConsultationRescheduled
            | Self::ConsultationCancelled
            | Self::ConsultationHeld
            | Self::ConsultationMissed
            | Self::ApplicationSubmitted
            | Self::CustomerPaid => true,
        }
    }
}

impl Fact {
    /// How funnels and people call it: the funnel's own name for what another system told.
    pub fn name(&self) -> &str {
        match self {
            Self::Told { fact, .. } => fact.as_str(),
            other => other.kind().as_str(),
        }
    }

    /// Whether a machine did it on the person's behalf (a mail client's proxy, a virus scanner):
    /// that says nothing about her.
    pub fn is_by_machine(&self) -> bool {
        matches!(self, Self::MailOpened { machine: true, .. } | Self::MailClicked { machine: true, .. })
    }

    /// Which kind of fact it is.
    pub fn kind(&self) -> FactKind {
        match self {
            Self::Visited { .. } => FactKind::Visited,
            Self::OptInRequested { .. } => FactKind::OptInRequested,
            Self::OptedIn { .. } => FactKind::OptedIn,
            Self::MailSent { .. } => FactKind::MailSent,
            Self::MailUnknown { .. } => FactKind::MailUnknown,
            Self::MailDelivered { .. } => FactKind::MailDelivered,
            Self::MailOpened { .. } => FactKind::MailOpened,
            Self::MailClicked { .. } => FactKind::MailClicked,
            Self::MailBounced { .. } => FactKind::MailBounced,
            Self::MailComplained { .. } => FactKind::MailComplained,
            Self::Unsubscribed {} => FactKind::Unsubscribed,
            Self::PreferencesChanged {} => FactKind::PreferencesChanged,
            Self::PageSeen { .. } => FactKind::PageSeen,
            Self::Tagged { .. } => FactKind::Tagged,
            Self::StageChanged { .. } => FactKind::StageChanged,
            Self::ScoreCrossed { .. } => FactKind::ScoreCrossed,
            Self::Told { .. } => FactKind::Told,
            Self::ConsultationBooked { .. } => FactKind::ConsultationBooked,
            Self::ConsultationRescheduled { .. } => FactKind::ConsultationRescheduled,
            Self::ConsultationCancelled { .. } => FactKind::ConsultationCancelled,
            Self::ConsultationHeld { .. } => FactKind::ConsultationHeld,
            Self::ConsultationMissed { .. } => FactKind::ConsultationMissed,
            Self::ApplicationSubmitted { .. } => FactKind::ApplicationSubmitted,
            Self::CustomerPaid { .. } => FactKind::CustomerPaid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_stored_under_the_name_that_funnels_use() {
        for kind in FactKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        let fact = Fact::MailComplained { engagement_id: "e".into(), email_campaign_id: "c".into() };
        assert_eq!(serde_json::to_value(&fact).unwrap()["kind"], fact.kind().as_str());
    }

    #[test]
    fn others_hear_where_a_link_leads_and_not_whose_page_it_is() {
        for (link, told) in [
            ("https://shop.example.com/carts/8f3a", "https://shop.example.com"),
            ("https://example.com", "https://example.com"),
            ("https://道.example.com/カート/1", "https://道.example.com"),
            ("/carts/8f3a", ""),
            ("", ""),
        ] {
            assert_eq!(site(link), told, "{link}");
        }
    }
}
