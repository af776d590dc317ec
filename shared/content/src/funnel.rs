//! A funnel: everything that a campaign is, read from its directory and checked.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use domain::consultation::Availability;
use domain::customer::Plan;
use domain::email_address::EmailAddress;
use domain::goal::Goal;
use domain::id::Id;
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
    pub brand: Brand,
    /// The words beside the opt-in form's check box, kept with every consent.
    pub consent: String,
    /// At least one.
    pub lead_magnets: Vec<LeadMagnet>,
    pub consultation: ConsultationOffer,
    /// At least one.
    pub plans: Vec<Plan>,
    pub goals: Vec<Goal>,
    pub sequences: Vec<Sequence>,
    pub simulation: Simulation,
    pub(crate) mails: BTreeMap<Id, Mail>,
    pub(crate) pages: BTreeMap<Id, Page>,
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

    /// A sequence by its file name without `.toml`.
    pub fn sequence(&self, id: &Id) -> Option<&Sequence> {
        self.sequences.iter().find(|sequence| sequence.id == *id)
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
