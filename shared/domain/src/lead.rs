//! A lead: one person, one row, whatever she does. Consent lives here.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{
    email_address::EmailAddress,
    engagement::MailClass,
    event::{Event, Fact},
    id::Id,
    limits::TAGS,
    text::{LongText, ShortText},
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
    /// The score when it last crossed a threshold: which side of each it is on. What it is at this
    /// moment is worked out when it is asked for ([`crate::score`]).
    pub score: i64,
    /// Whether mail may be written; checked in the same transaction as every send's claim.
    pub mailing: Mailing,
    /// Why, and since when, nothing may be written to the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppression: Option<Suppression>,
    /// The address still has to be put on SES's own suppression list, for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_list: Option<ListReason>,
    /// When an operator last opened a suppressed address again, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reopened: Option<Reopened>,
    pub consent: Consent,
    /// A consent that waits for its confirmation, on a row that is known already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_consent: Option<Consent>,
    /// What she chose on the preference page.
    #[serde(default, skip_serializing_if = "Preferences::is_default")]
    pub preferences: Preferences,
    /// When marketing mail was claimed for her lately, oldest first: what the frequency cap counts, and
    /// her own choice of one mail a week.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "time::stored_list")]
    pub recent_mails: Vec<DateTime<Utc>>,
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
    /// When an earlier life of hers in here was erased: facts up to then are not about her.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::stored_option")]
    pub erased_at: Option<DateTime<Utc>>,
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
    Subscriber,
    Lead,
    Mql,
    Sql,
    Opportunity,
    Customer,
    Promoter,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Self; 7] = [
        Self::Subscriber,
        Self::Lead,
        Self::Mql,
        Self::Sql,
        Self::Opportunity,
        Self::Customer,
        Self::Promoter,
    ];

    /// The name in funnels and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Lead => "lead",
            Self::Mql => "mql",
            Self::Sql => "sql",
            Self::Opportunity => "opportunity",
            Self::Customer => "customer",
            Self::Promoter => "promoter",
        }
    }
}

/// What a person chose to get.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// Topics that she does not want.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub topics_off: BTreeSet<Id>,
    /// At most so many marketing mails in seven days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_week: Option<u32>,
    /// No marketing mail before then.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::stored_option")]
    pub paused_until: Option<DateTime<Utc>>,
}

impl Preferences {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether, and which, mail a person may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mailing {
    /// Nothing but the mail that asks for the confirmation (double opt-in).
    Pending,
    /// Everything she agreed to.
    Subscribed,
    /// No marketing; what she herself asked for (a booking's confirmation, a receipt) still comes.
    Unsubscribed,
    /// Nothing: the address takes no mail, or its owner wants none ([`Suppression`]).
    Suppressed,
}

/// Why nothing may be written to an address, until an operator opens it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    #[serde(with = "time::stored")]
    pub at: DateTime<Utc>,
    pub cause: SuppressionCause,
    /// What she might get until then. It goes on following what she says.
    pub before: Mailing,
}

/// What closed an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuppressionCause {
    /// A mail came back for good.
    Bounced,
    /// Mail after mail came back ([`crate::engagement::takes_no_mail`]).
    SoftBounced,
    /// Its owner called a mail spam.
    Complained,
    /// Its owner said no to the question whether it is hers (double opt-in).
    Declined,
    /// It stood on SES's suppression list.
    Listed,
    /// An operator did it.
    Operator,
}

impl SuppressionCause {
    /// As what SES's suppression list must be told of it. SES itself puts there what bounced for
    /// good or complained. That an address was mistyped into one form is nobody else's business.
    pub fn list_reason(self) -> Option<ListReason> {
        match self {
            Self::SoftBounced => Some(ListReason::Bounce),
            Self::Operator => Some(ListReason::Complaint),
            Self::Bounced | Self::Complained | Self::Declined | Self::Listed => None,
        }
    }
}

/// The two reasons that SES's suppression list knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListReason {
    Bounce,
    Complaint,
}

impl ListReason {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Bounce, Self::Complaint];

    /// The name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bounce => "bounce",
            Self::Complaint => "complaint",
        }
    }
}

/// That an operator opened a suppressed address again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reopened {
    #[serde(with = "time::stored")]
    pub at: DateTime<Utc>,
    pub reason: LongText,
    /// Why it was closed, as far as was known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<SuppressionCause>,
}

impl Mailing {
    /// The name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
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
            Self::Pending | Self::Suppressed => false,
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
    /// When the link in the confirmation mail was used (double opt-in), and from where.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::stored_option")]
    pub confirmed_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_ip: Option<String>,
}

/// A consent, and what it is worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Standing {
    #[serde(flatten)]
    pub consent: Consent,
    pub standing: ConsentStanding,
}

/// What a consent on record is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentStanding {
    /// The one that mail goes out on.
    Present,
    /// It waits for its confirmation (double opt-in).
    Pending,
    /// A later one took its place, or the person took it back.
    Earlier,
}

/// Every consent of a person that is on record, oldest first: her row holds the present one, the
/// facts with which she gave them the earlier ones.
pub fn consents(lead: &Lead, timeline: &[Event]) -> Vec<Standing> {
    let present = match lead.mailing {
        Mailing::Pending => ConsentStanding::Pending,
        Mailing::Subscribed => ConsentStanding::Present,
        Mailing::Unsubscribed | Mailing::Suppressed => ConsentStanding::Earlier,
    };
    let pending = lead.pending_consent.iter().map(|consent| (ConsentStanding::Pending, consent));
    let mut all: Vec<Standing> = vec![];
    let kept = timeline.iter().filter_map(|event| event.consent.as_deref());
    let kept = kept.map(|consent| (ConsentStanding::Earlier, consent));
    for (standing, consent) in kept.chain([(present, &lead.consent)]).chain(pending) {
        // One that was asked for and then confirmed is one.
        let same = |known: &Standing| {
            known.standing == ConsentStanding::Earlier && known.consent.given_at == consent.given_at
        };
        all.retain(|known| !same(known));
        all.push(Standing { consent: consent.clone(), standing });
    }
    all.sort_by_key(|standing| standing.consent.given_at);
    all
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
    /// Declared by the funnel and checked against it.
    pub attributes: BTreeMap<String, String>,
    pub consent: Consent,
}

/// A lead as it shall be stored, and what happened.
#[derive(Debug, Clone)]
pub struct LeadChange {
    pub lead: Lead,
    pub event: Event,
}

impl LeadChange {
    /// The fact under a key of its own, if she had left and comes back: on the day of an earlier opt-in
    /// it would be taken for that one, and this consent would be on record nowhere but in her row.
    pub fn return_of(&self, known: &Lead) -> Option<Event> {
        let returns = known.mailing == Mailing::Unsubscribed && self.lead.mailing == Mailing::Subscribed;
        let event_id = format!("{}.{}", self.event.event_id, self.lead.version);
        returns.then(|| Event { event_id, ..self.event.clone() })
    }
}

/// Opts a person in: makes the lead, or fills in what is not known of the one she already is. Anybody
/// may type in anybody's address, so that a form never changes what was told before, and a browser
/// becomes hers with her first opt-in only.
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
    let event = Event::about(&lead_id, &format!("{lead_id}.{magnet}.{day}"), fact, now, zone)
        .with_consent(&form.consent);
    let lead = taken_in(known, lead_id, form, now);
    let suppression = lead.suppression.map(|it| Suppression { before: opened(it.before), ..it });
    let lead = Lead { mailing: opened(lead.mailing), suppression, pending_consent: None, ..lead };
    LeadChange { lead, event }
}

/// Saying yes again ends an unsubscription. An address that bounced for good, or whose owner
/// complained, stays closed until a person looks at it.
fn opened(mailing: Mailing) -> Mailing {
    match mailing {
        Mailing::Pending | Mailing::Subscribed | Mailing::Unsubscribed => Mailing::Subscribed,
        Mailing::Suppressed => Mailing::Suppressed,
    }
}

/// Takes an address that still has to be confirmed (double opt-in). Somebody who gets mail
/// already needs no second confirmation: that is a plain [`opt_in`].
pub fn request_opt_in(
    known: Option<Lead>,
    lead_id: Id,
    form: OptIn,
    now: DateTime<Utc>,
    zone: Tz,
) -> LeadChange {
    if known.as_ref().is_some_and(|lead| lead.mailing == Mailing::Subscribed) {
        return opt_in(known, lead_id, form, now, zone);
    }
    let fact = Fact::OptInRequested {
        source: form.source.as_ref().map(|s| s.as_str().to_owned()),
        lead_magnet_type: form.lead_magnet_type.as_ref().map(|m| m.as_str().to_owned()),
    };
    // One question a day, whatever is asked for; one more for who left that day and comes back.
    let left =
        known.as_ref().filter(|lead| lead.mailing == Mailing::Unsubscribed && lead.pending_consent.is_none());
    let again = left.map(|lead| format!(".{}", lead.version)).unwrap_or_default();
    let key = format!("{lead_id}.{}{again}", time::day(now, zone));
    let event = Event::about(&lead_id, &key, fact, now, zone).with_consent(&form.consent);
    // What was agreed to before stays on record until the new words are confirmed.
    let earlier = known.as_ref().map(|lead| (lead.mailing, lead.consent.clone()));
    let lead = taken_in(known, lead_id, form, now);
    let lead = match earlier {
        None => Lead { mailing: Mailing::Pending, ..lead },
        Some((mailing, consent)) => Lead { mailing, pending_consent: Some(lead.consent), consent, ..lead },
    };
    LeadChange { lead, event }
}

/// The link in the confirmation mail was used. `None` when there is nothing to confirm.
pub fn confirm_opt_in(lead: Lead, ip: Option<String>, now: DateTime<Utc>, zone: Tz) -> Option<LeadChange> {
    let first = lead.mailing == Mailing::Pending;
    let consent = match &lead.pending_consent {
        Some(consent) => consent.clone(),
        None if first => lead.consent.clone(),
        None => return None,
    };
    let magnet = lead.lead_magnet_type.as_ref().map(Id::as_str).unwrap_or("none");
    let key = format!("{}.{magnet}.{}", lead.lead_id, time::day(now, zone));
    let fact = Fact::OptedIn {
        first,
        source: lead.source.as_ref().map(|s| s.as_str().to_owned()),
        lead_magnet_type: lead.lead_magnet_type.as_ref().map(|m| m.as_str().to_owned()),
        visitor_id: lead.visitor_id.clone(),
        utm: lead.utm.clone(),
    };
    let consent = Consent { confirmed_at: Some(now), confirmed_ip: ip, ..consent };
    let event = Event::about(&lead.lead_id, &key, fact, now, zone).with_consent(&consent);
    let lead = Lead {
        mailing: opened(lead.mailing),
        consent,
        pending_consent: None,
        opt_in_date: if first { now } else { lead.opt_in_date },
        version: lead.version + 1,
        ..lead
    };
    Some(LeadChange { lead, event })
}

/// The row after a form: `mailing` stays as it was (a new one is subscribed).
fn taken_in(known: Option<Lead>, lead_id: Id, form: OptIn, now: DateTime<Utc>) -> Lead {
    let mut tags = known.as_ref().map(|lead| lead.tags.clone()).unwrap_or_default();
    for tag in [
        form.source.as_ref().map(|s| format!("source:{}", s.as_str())),
        form.lead_magnet_type.as_ref().map(|m| format!("magnet:{m}")),
    ]
    .into_iter()
    .flatten()
    {
        if !tags.contains(&tag) && tags.len() < TAGS {
            tags.push(tag);
        }
    }
    match known {
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
            suppression: None,
            to_list: None,
            reopened: None,
            consent: form.consent,
            pending_consent: None,
            preferences: Preferences::default(),
            recent_mails: vec![],
            time_zone: form.time_zone,
            locale: form.locale,
            visitor_id: form.visitor_id,
            utm: form.utm,
            attributes: form.attributes,
            erased_at: None,
            version: 1,
        },
        // Nobody has said yet that the address is hers: the form that she confirms counts.
        Some(lead) if lead.mailing == Mailing::Pending => Lead {
            name: form.name.or(lead.name),
            phone: form.phone.or(lead.phone),
            source: lead.source.or(form.source),
            lead_magnet_type: form.lead_magnet_type.or(lead.lead_magnet_type),
            tags,
            consent: form.consent,
            time_zone: form.time_zone.or(lead.time_zone),
            locale: form.locale.or(lead.locale),
            visitor_id: form.visitor_id.or(lead.visitor_id),
            attributes: lead.attributes.into_iter().chain(form.attributes).collect(),
            version: lead.version + 1,
            ..lead
        },
        Some(lead) => Lead {
            name: lead.name.or(form.name),
            phone: lead.phone.or(form.phone),
            source: lead.source.or(form.source),
            lead_magnet_type: form.lead_magnet_type.or(lead.lead_magnet_type),
            tags,
            // Who gets mail has agreed to it already.
            consent: if lead.mailing == Mailing::Subscribed { lead.consent } else { form.consent },
            time_zone: lead.time_zone.or(form.time_zone),
            locale: lead.locale.or(form.locale),
            attributes: form.attributes.into_iter().chain(lead.attributes).collect(),
            version: lead.version + 1,
            ..lead
        },
    }
}

/// Ends marketing mail. `None` when there is nothing to end.
pub fn unsubscribe(lead: Lead, now: DateTime<Utc>, zone: Tz) -> Option<LeadChange> {
    let declined = Suppression { at: now, cause: SuppressionCause::Declined, before: Mailing::Pending };
    let (mailing, suppression) = match (lead.mailing, lead.suppression) {
        (Mailing::Subscribed, suppression) => (Mailing::Unsubscribed, suppression),
        // She had left before, and it was not she who asked to come back: no question any more either.
        (Mailing::Unsubscribed, _) if lead.pending_consent.is_some() => {
            (Mailing::Suppressed, Some(Suppression { before: Mailing::Unsubscribed, ..declined }))
        }
        // Who says no to the question whether the address is hers is left alone altogether.
        (Mailing::Pending, _) => (Mailing::Suppressed, Some(declined)),
        // Should the address be opened again, her no still stands.
        (Mailing::Suppressed, Some(it)) if it.before == Mailing::Subscribed => {
            (Mailing::Suppressed, Some(Suppression { before: Mailing::Unsubscribed, ..it }))
        }
        (Mailing::Unsubscribed | Mailing::Suppressed, _) => return None,
    };
    let version = lead.version + 1;
    let event =
        Event::about(&lead.lead_id, &format!("{}.{version}", lead.lead_id), Fact::Unsubscribed {}, now, zone);
    let status = after_silence(lead.status);
    let lead = Lead { mailing, suppression, pending_consent: None, status, version, ..lead };
    Some(LeadChange { lead, event })
}

/// Closes an address until an operator opens it again ([`reopen`]). `None` when it already is closed,
/// or was opened again after what happened `at` that time: that is known, and comes twice. But nobody
/// opens an address against a complaint that was not known then.
pub fn suppress(lead: Lead, cause: SuppressionCause, at: DateTime<Utc>) -> Option<Lead> {
    let known = |reopened: &Reopened| {
        at <= reopened.at && (cause != SuppressionCause::Complained || reopened.cause == Some(cause))
    };
    if lead.reopened.as_ref().is_some_and(known) {
        return None;
    }
    let suppression = match (lead.mailing, lead.suppression) {
        // A complaint says more than a bounce: that she wants nothing.
        (Mailing::Suppressed, Some(it)) if cause == SuppressionCause::Complained && it.cause != cause => {
            Suppression { cause, ..it }
        }
        (Mailing::Suppressed, _) => return None,
        (before, _) => Suppression { at, cause, before },
    };
    Some(Lead {
        mailing: Mailing::Suppressed,
        suppression: Some(suppression),
        to_list: cause.list_reason(),
        status: after_silence(lead.status),
        version: lead.version + 1,
        ..lead
    })
}

/// Opens a suppressed address again, at an operator's word. She gets what she got before; nothing but
/// what she asks for if she complained, or if nobody wrote down what she wanted. `None` when it is open.
pub fn reopen(lead: Lead, reason: LongText, now: DateTime<Utc>) -> Option<Lead> {
    if lead.mailing != Mailing::Suppressed {
        return None;
    }
    let mailing = match lead.suppression {
        Some(it) if it.cause != SuppressionCause::Complained => it.before,
        Some(_) | None => Mailing::Unsubscribed,
    };
    Some(Lead {
        mailing,
        suppression: None,
        to_list: None,
        reopened: Some(Reopened { at: now, reason, cause: lead.suppression.map(|it| it.cause) }),
        version: lead.version + 1,
        ..lead
    })
}

/// SES's suppression list was told. `None` when there was nothing to tell.
pub fn listed(lead: Lead) -> Option<Lead> {
    lead.to_list?;
    Some(Lead { to_list: None, version: lead.version + 1, ..lead })
}

/// Stores what a person chose on the preference page. `None` when nothing changes.
pub fn prefer(lead: Lead, preferences: Preferences, now: DateTime<Utc>, zone: Tz) -> Option<LeadChange> {
    if lead.preferences == preferences {
        return None;
    }
    let version = lead.version + 1;
    let key = format!("{}.{version}", lead.lead_id);
    let event = Event::about(&lead.lead_id, &key, Fact::PreferencesChanged {}, now, zone);
    Some(LeadChange { lead: Lead { preferences, version, ..lead }, event })
}

/// Somebody who left comes back on the preference page, with a new consent.
pub fn resubscribe(
    lead: Lead,
    preferences: Preferences,
    consent: Consent,
    now: DateTime<Utc>,
    zone: Tz,
) -> LeadChange {
    let version = lead.version + 1;
    let key = format!("{}.{version}", lead.lead_id);
    let event =
        Event::about(&lead.lead_id, &key, Fact::PreferencesChanged {}, now, zone).with_consent(&consent);
    let lead = Lead { preferences, consent, mailing: opened(lead.mailing), version, ..lead };
    LeadChange { lead, event }
}

/// Gives a tag. `None` when she has it. `key` names the cause, so that a repeat is the same fact.
pub fn tag(lead: Lead, tag: &str, key: &str, now: DateTime<Utc>, zone: Tz) -> Option<LeadChange> {
    if lead.tags.iter().any(|known| known == tag) || lead.tags.len() >= TAGS {
        return None;
    }
    let event = Event::about(&lead.lead_id, key, Fact::Tagged { tag: tag.to_owned() }, now, zone);
    let mut tags = lead.tags.clone();
    tags.push(tag.to_owned());
    Some(LeadChange { lead: Lead { tags, version: lead.version + 1, ..lead }, event })
}

/// Takes a tag away. `None` when she does not have it.
pub fn untag(lead: Lead, tag: &str) -> Option<Lead> {
    let tags: Vec<String> = lead.tags.iter().filter(|known| *known != tag).cloned().collect();
    (tags.len() < lead.tags.len()).then(|| Lead { tags, version: lead.version + 1, ..lead })
}

/// Moves a person to a stage, forwards or back. `None` when she is there.
pub fn move_to(lead: Lead, stage: Stage, key: &str, now: DateTime<Utc>, zone: Tz) -> Option<LeadChange> {
    if lead.stage == stage {
        return None;
    }
    let event = Event::about(&lead.lead_id, key, Fact::StageChanged { stage }, now, zone);
    Some(LeadChange { lead: Lead { stage, version: lead.version + 1, ..lead }, event })
}

/// Notes something about a person. `None` when it is known.
pub fn describe(lead: Lead, attributes: &BTreeMap<String, String>) -> Option<Lead> {
    let known = |(name, value): (&String, &String)| lead.attributes.get(name) == Some(value);
    if attributes.iter().all(known) {
        return None;
    }
    let mut all = lead.attributes.clone();
    all.extend(attributes.clone());
    Some(Lead { attributes: all, version: lead.version + 1, ..lead })
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
            attributes: BTreeMap::new(),
            consent: Consent {
                given_at: at("2026-11-22T01:00:00Z"),
                text: "同意します".into(),
                place: "landing".into(),
                ip: None,
                confirmed_at: None,
                confirmed_ip: None,
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
        assert_eq!(
            again(suppress(opted_in(), SuppressionCause::Bounced, at("2026-11-23T00:00:00Z")).unwrap()),
            Mailing::Suppressed
        );
    }

    #[test]
    fn an_address_counts_only_when_it_is_confirmed() {
        let (now, later) = (at("2026-11-22T01:00:00Z"), at("2026-11-22T02:00:00Z"));
        let id = || Id::parse("l-1").unwrap();
        let asked = request_opt_in(None, id(), form("guide"), now, Tz::Asia__Tokyo);
        assert_eq!(asked.lead.mailing, Mailing::Pending);
        assert!(matches!(asked.event.fact, Fact::OptInRequested { .. }));
        let confirmed = confirm_opt_in(asked.lead, Some("192.0.2.1".into()), later, Tz::Asia__Tokyo).unwrap();
        assert_eq!(confirmed.lead.mailing, Mailing::Subscribed);
        assert_eq!(confirmed.lead.consent.given_at, now);
        assert_eq!(confirmed.lead.consent.confirmed_at, Some(later));
        assert!(matches!(confirmed.event.fact, Fact::OptedIn { first: true, .. }));
        assert!(confirm_opt_in(confirmed.lead.clone(), None, later, Tz::Asia__Tokyo).is_none(), "once");

        // Somebody who left stays away until she confirms again, and her first consent is kept.
        let left = unsubscribe(confirmed.lead.clone(), later, Tz::Asia__Tokyo).unwrap().lead;
        let asked = request_opt_in(Some(left), id(), form("guide"), later, Tz::Asia__Tokyo).lead;
        assert_eq!((asked.mailing, asked.consent.given_at), (Mailing::Unsubscribed, now));
        let back = confirm_opt_in(asked, None, later, Tz::Asia__Tokyo).unwrap();
        assert_eq!(back.lead.mailing, Mailing::Subscribed);
        assert!(matches!(back.event.fact, Fact::OptedIn { first: false, .. }));

        // Who gets mail already is not asked again.
        let again = request_opt_in(Some(confirmed.lead), id(), form("other"), later, Tz::Asia__Tokyo);
        assert!(matches!(again.event.fact, Fact::OptedIn { first: false, .. }));
    }

    #[test]
    fn tags_stages_and_attributes_change_once() {
        let now = at("2026-11-23T00:00:00Z");
        let lead = opted_in();
        let tagged = tag(lead, "vip", "k", now, Tz::Asia__Tokyo).unwrap();
        assert_eq!(tagged.event.event_id, "tagged.k");
        assert!(tag(tagged.lead.clone(), "vip", "k", now, Tz::Asia__Tokyo).is_none());
        let untagged = untag(tagged.lead, "vip").unwrap();
        assert!(untag(untagged.clone(), "vip").is_none());
        let moved = move_to(untagged, Stage::Mql, "k", now, Tz::Asia__Tokyo).unwrap();
        assert!(move_to(moved.lead.clone(), Stage::Mql, "k", now, Tz::Asia__Tokyo).is_none());
        let known = BTreeMap::from([("industry".to_owned(), "IT".to_owned())]);
        let described = describe(moved.lead, &known).unwrap();
        assert!(describe(described, &known).is_none());
    }

    #[test]
    fn unsubscribing_twice_is_one_fact() {
        let once = unsubscribe(opted_in(), at("2026-11-23T00:00:00Z"), Tz::Asia__Tokyo).unwrap();
        assert!(unsubscribe(once.lead, at("2026-11-23T00:00:01Z"), Tz::Asia__Tokyo).is_none());
    }

    #[test]
    fn a_form_fills_in_what_is_not_known_and_changes_nothing_that_is() {
        let text = |text: &str| ShortText::parse(text).ok();
        let stranger = OptIn {
            name: text("太郎"),
            phone: text("090-0000-0000"),
            visitor_id: Id::parse("v-stranger").ok(),
            attributes: [("industry", "IT"), ("size", "5")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            consent: Consent { place: "elsewhere".into(), ..form("guide").consent },
            ..form("guide")
        };
        let (id, now) = (Id::parse("l-1").unwrap(), at("2026-11-23T01:00:00Z"));
        let known =
            Lead { attributes: BTreeMap::from([("industry".to_owned(), "金融".to_owned())]), ..opted_in() };
        for take in [opt_in, request_opt_in] {
            let lead = take(Some(known.clone()), id.clone(), stranger.clone(), now, Tz::Asia__Tokyo).lead;
            assert_eq!((lead.name, lead.phone), (text("花子"), text("090-0000-0000")));
            assert_eq!(
                (lead.attributes["industry"].as_str(), lead.attributes["size"].as_str()),
                ("金融", "5")
            );
            assert_eq!((lead.visitor_id, lead.consent), (None, known.consent.clone()));
        }
        // Nobody has said yet that the address is hers.
        let pending = Lead { mailing: Mailing::Pending, ..known };
        let lead = request_opt_in(Some(pending), id, stranger, now, Tz::Asia__Tokyo).lead;
        assert_eq!((lead.name, lead.visitor_id), (text("太郎"), Id::parse("v-stranger").ok()));
    }

    #[test]
    fn an_address_that_is_opened_again_gets_what_its_owner_still_wants() {
        use SuppressionCause::{Bounced, Complained, Declined, Listed, Operator, SoftBounced};
        let (closed, later) = (at("2026-11-23T00:00:00Z"), at("2026-11-25T00:00:00Z"));
        let open = |lead| reopen(lead, LongText::parse("電話で確認").unwrap(), later).unwrap();
        for (cause, expected, to_list) in [
            (Bounced, Mailing::Subscribed, None),
            (SoftBounced, Mailing::Subscribed, Some(ListReason::Bounce)),
            (Complained, Mailing::Unsubscribed, None),
            (Listed, Mailing::Subscribed, None),
            (Operator, Mailing::Subscribed, Some(ListReason::Complaint)),
        ] {
            let lead = suppress(opted_in(), cause, closed).unwrap();
            assert_eq!((lead.mailing, lead.to_list), (Mailing::Suppressed, to_list), "{cause:?}");
            assert_eq!(suppress(lead.clone(), Bounced, closed), None, "{cause:?} twice");
            let reopened = open(lead.clone());
            assert_eq!((reopened.mailing, reopened.to_list), (expected, None), "{cause:?}");
            assert_eq!(suppress(reopened.clone(), cause, closed), None, "{cause:?} again, of late");
            assert!(suppress(reopened, cause, at("2026-11-25T00:00:01Z")).is_some(), "{cause:?} anew");
            // Her no is heard while the address is closed.
            let left = unsubscribe(lead, later, Tz::Asia__Tokyo).unwrap();
            assert!(matches!(left.event.fact, Fact::Unsubscribed {}));
            assert!(unsubscribe(left.lead.clone(), later, Tz::Asia__Tokyo).is_none(), "{cause:?}");
            assert_eq!(open(left.lead).mailing, Mailing::Unsubscribed, "{cause:?}");
        }
        let bounced = suppress(opted_in(), SoftBounced, closed).unwrap();
        let complained = suppress(bounced, Complained, later).unwrap();
        assert_eq!(open(complained).mailing, Mailing::Unsubscribed);
        let pending = Lead { mailing: Mailing::Pending, ..opted_in() };
        let declined = unsubscribe(pending, closed, Tz::Asia__Tokyo).unwrap().lead;
        assert_eq!(declined.suppression.map(|it| it.cause), Some(Declined));
        assert_eq!(open(declined).mailing, Mailing::Pending);
        let known = open(suppress(opted_in(), SoftBounced, closed).unwrap());
        let complained = suppress(known, Complained, closed).unwrap();
        assert_eq!(complained.mailing, Mailing::Suppressed, "a complaint that was on its way when it opened");
        // She had left, and then somebody asked for her: her no ends that too.
        let asked =
            Lead { mailing: Mailing::Unsubscribed, pending_consent: Some(opted_in().consent), ..opted_in() };
        let declined = unsubscribe(asked, closed, Tz::Asia__Tokyo).unwrap().lead;
        assert_eq!((declined.mailing, &declined.pending_consent), (Mailing::Suppressed, &None));
        assert_eq!(declined.suppression.map(|it| it.cause), Some(Declined));
        assert_eq!(open(declined).mailing, Mailing::Unsubscribed);
        // Rows of before the cause was written down.
        let unexplained = Lead { mailing: Mailing::Suppressed, ..opted_in() };
        assert_eq!(open(unexplained).mailing, Mailing::Unsubscribed);
        assert_eq!(reopen(opted_in(), LongText::parse("x").unwrap(), later), None);
    }

    #[test]
    fn who_may_get_what() {
        for (mailing, marketing, transactional) in [
            (Mailing::Pending, false, false),
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
