//! A funnel: everything that a campaign is, read from its directory and checked.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use domain::condition::Test;
use domain::consultation::Availability;
use domain::customer::Plan;
use domain::email_address::EmailAddress;
use domain::goal::Goal;
use domain::id::Id;
use domain::retention::Retention;
use domain::score::Scoring;
use domain::sending::Cap;
use domain::sequence::Sequence;

use crate::mail::Mail;
use crate::page::Page;
use crate::simulation::Simulation;
use crate::texts::Locale;

/// A funnel without problems: every name in it leads somewhere.
#[derive(Debug)]
pub struct Funnel {
    pub name: String,
    /// The language of its texts.
    pub locale: Locale,
    /// Where the business is: the zone of its days, hours and figures, and of people whose own is
    /// not known.
    pub time_zone: Tz,
    /// Upper case ISO 4217.
    pub currency: String,
    pub sender: Sender,
    /// Other senders that mails can name.
    pub senders: BTreeMap<Id, OtherSender>,
    pub brand: Brand,
    /// The words beside the opt-in form's check box, kept with every consent.
    pub consent: String,
    /// Whether an address must be confirmed by a mail first.
    pub double_opt_in: bool,
    /// What people can choose on the preference page.
    pub topics: Vec<Topic>,
    /// What is known of people besides name and address.
    pub attributes: Vec<Attribute>,
    /// Facts that other systems tell.
    pub facts: Vec<OwnFact>,
    /// Moments that sequences count from.
    pub dates: BTreeMap<Id, DateTime<Utc>>,
    /// People of the business: they get tasks and notices.
    pub team: Vec<Member>,
    /// At most so many marketing mails in so many days, over all sequences.
    pub cap: Option<Cap>,
    pub retention: Retention,
    /// At least one.
    pub lead_magnets: Vec<LeadMagnet>,
    pub consultation: Option<ConsultationOffer>,
    pub plans: Vec<Plan>,
    pub goals: Vec<Goal>,
    pub sequences: Vec<Sequence>,
    /// Without rules if the funnel has no `scores.toml`.
    pub scoring: Scoring,
    pub segments: Vec<Segment>,
    pub broadcasts: Vec<Broadcast>,
    pub simulation: Simulation,
    pub(crate) layout: Option<String>,
    pub(crate) mails: BTreeMap<Id, Mail>,
    pub(crate) pages: BTreeMap<Id, Page>,
}

/// A sender that a mail names with `from`.
#[derive(Debug, Clone)]
pub struct OtherSender {
    pub name: String,
    pub address: EmailAddress,
}

/// Something that marketing mail is about.
#[derive(Debug, Clone)]
pub struct Topic {
    pub id: Id,
    pub name: String,
}

/// Something that is known of people.
#[derive(Debug, Clone)]
pub struct Attribute {
    pub id: Id,
    pub name: String,
    pub kind: AttributeKind,
    /// Whether the opt-in form asks for it.
    pub ask: bool,
}

/// What values an attribute may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeKind {
    Text,
    /// A whole number.
    Number,
    Choice(Vec<String>),
}

/// A fact that another system tells.
#[derive(Debug, Clone)]
pub struct OwnFact {
    pub id: Id,
    pub name: String,
}

/// Somebody of the business.
#[derive(Debug, Clone)]
pub struct Member {
    pub id: Id,
    pub name: String,
    pub address: EmailAddress,
}

/// A group of people by condition.
#[derive(Debug, Clone)]
pub struct Segment {
    pub id: Id,
    pub name: String,
    pub test: Test,
}

/// One mail to one segment: a sequence of a single step that people are put into by hand.
#[derive(Debug, Clone)]
pub struct Broadcast {
    pub id: Id,
    pub name: String,
    pub mail: Id,
    /// Everybody who may get marketing mail when none.
    pub segment: Option<Id>,
    pub per_hour: Option<u32>,
    pub sequence: Sequence,
}

/// Who writes: shown in every mail, as 特定電子メール法 asks.
#[derive(Debug, Clone)]
pub struct Sender {
    pub name: String,
    pub address: EmailAddress,
    pub reply_to: EmailAddress,
    pub postal_address: String,
    /// Where complaints and questions go.
    pub contact: String,
}

/// How mails and pages look.
#[derive(Debug, Clone)]
pub struct Brand {
    /// `#rrggbb`, dark enough for white letters.
    pub colour: String,
    /// The name at the top.
    pub logo: String,
}

/// What one gets for opting in.
#[derive(Debug, Clone)]
pub struct LeadMagnet {
    pub id: Id,
    pub title: String,
    /// The page that is it.
    pub page: Id,
}

/// The consultation (個別相談) on offer.
#[derive(Debug, Clone)]
pub struct ConsultationOffer {
    pub title: String,
    pub availability: Availability,
    /// Names of the hosts in `availability`.
    pub host_names: BTreeMap<Id, String>,
    pub meeting_url: String,
    pub meeting_note: String,
}

impl Funnel {
    /// A mail by its file name without `.md`.
    pub fn mail(&self, id: &Id) -> Option<&Mail> {
        self.mails.get(id)
    }

    /// All mails, by id.
    pub fn mails(&self) -> impl Iterator<Item = &Mail> {
        self.mails.values()
    }

    /// A page by its file name without `.md`.
    pub fn page(&self, id: &str) -> Option<&Page> {
        self.pages.get(&Id::parse(id).ok()?)
    }

    /// All pages, by id.
    pub fn pages(&self) -> impl Iterator<Item = &Page> {
        self.pages.values()
    }

    /// All sequences, those of broadcasts too.
    pub fn all_sequences(&self) -> impl Iterator<Item = &Sequence> {
        let broadcasts = self.broadcasts.iter().map(|broadcast| &broadcast.sequence);
        self.sequences.iter().chain(broadcasts)
    }

    /// A sequence by its file name without `.toml`, or a broadcast's (`broadcast-` and its id).
    pub fn sequence(&self, id: &Id) -> Option<&Sequence> {
        self.all_sequences().find(|sequence| sequence.id == *id)
    }

    /// A broadcast by its file name without `.toml`.
    pub fn broadcast(&self, id: &Id) -> Option<&Broadcast> {
        self.broadcasts.iter().find(|broadcast| broadcast.id == *id)
    }

    /// A segment.
    pub fn segment(&self, id: &Id) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.id == *id)
    }

    /// Somebody of the team.
    pub fn member(&self, id: &Id) -> Option<&Member> {
        self.team.iter().find(|member| member.id == *id)
    }

    /// An attribute.
    pub fn attribute(&self, id: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.id.as_str() == id)
    }

    /// A plan.
    pub fn plan(&self, id: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.id.as_str() == id)
    }

    /// A lead magnet.
    pub fn lead_magnet(&self, id: &Id) -> Option<&LeadMagnet> {
        self.lead_magnets.iter().find(|magnet| magnet.id == *id)
    }

    pub(crate) fn lead_magnet_or_first(&self, id: Option<&Id>) -> &LeadMagnet {
        id.and_then(|id| self.lead_magnet(id))
            .or(self.lead_magnets.first())
            .expect("a loaded funnel has a lead magnet")
    }
}
