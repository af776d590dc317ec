//! How synthetic people behave: the rates of `simulation.toml`.

use domain::id::Id;

/// Everything that a simulation draws by lot. Rates are per mille; spans are `(from, until)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulation {
    /// Of 1,000 visitors of the landing page, so many opt in.
    pub visitors_opt_in: u32,
    /// Of 1,000 who opt in, so many confirm their address (double opt-in).
    pub confirm: u32,
    /// Weight of each hour of the day, in the funnel's zone, at which people arrive; 24 of them.
    pub hours: Vec<u32>,
    /// Weight of each source, by name.
    pub sources: Vec<(String, u32)>,
    /// Their shares add up to 1,000.
    pub people: Vec<People>,
    pub mails: MailRates,
    /// There if the funnel has a consultation.
    pub consultations: Option<ConsultationRates>,
    /// There if the funnel has plans.
    pub sales: Option<SaleRates>,
    /// What people do elsewhere.
    pub behaviour: Vec<Behaviour>,
    /// What a simulation of this funnel is expected to find.
    pub expect: Option<Expect>,
}

/// One kind of people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct People {
    pub name: String,
    /// Of 1,000 leads, so many are of this kind.
    pub share: u32,
    /// Of 1,000 mails, so many are opened.
    pub open: u32,
    /// Of 1,000 mails (not of the opened ones), so many are clicked.
    pub click: u32,
    /// Of 1,000 mails, so many make their reader unsubscribe.
    pub unsubscribe: u32,
    /// Of 1,000 people, so many book a consultation; 0 where there is none.
    pub book: u32,
}

/// Facts of Michi's after which people may do something elsewhere.
pub const HAPPENINGS: [&str; 4] = ["opted_in", "consultation_booked", "consultation_held", "customer_paid"];

/// The figures that every simulation has.
pub const FIGURES: [&str; 8] = [
    "leads",
    "mails_sent",
    "mails_opened",
    "mails_clicked",
    "unsubscribed",
    "consultations_booked",
    "consultations_held",
    "sales",
];

/// What happens to mails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailRates {
    /// Of 1,000 mails, so many are also fetched by a machine.
    pub machine_open: u32,
    /// Of 1,000 addresses, so many bounce for good.
    pub bounce: u32,
    /// Of 1,000 people, so many call a mail spam.
    pub complaint: u32,
    pub open_after_minutes: (i64, i64),
    /// Counted from the opening.
    pub click_after_minutes: (i64, i64),
}

/// What happens to consultations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsultationRates {
    /// From the opt-in to the booking.
    pub book_after_hours: (i64, i64),
    /// From the booking to the slot wanted.
    pub slot_after_hours: (i64, i64),
    pub cancel: u32,
    pub reschedule: u32,
    /// Of 1,000 consultations that come up, so many are attended.
    pub attend: u32,
}

/// Who buys what, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaleRates {
    /// Of 1,000 who attended, so many buy.
    pub buy: u32,
    /// Counted from the consultation.
    pub buy_after_hours: (i64, i64),
    /// Weight of each plan, by id.
    pub plans: Vec<(String, u32)>,
}

/// What some people do elsewhere, some time after something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    pub what: Doing,
    /// Of 1,000 who did what `after` says, so many do it.
    pub of: u32,
    /// One of [`HAPPENINGS`], or the id of a fact or page of another behaviour.
    pub after: String,
    /// So much later, each time.
    pub after_hours: (i64, i64),
    /// So often.
    pub times: u32,
    /// The same kinds of names; whoever did that before does not do this.
    pub unless: Option<String>,
}

/// Something that people do elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    /// Another system tells one of the funnel's own facts.
    Fact(Id),
    /// A page is looked at.
    Page(Id),
}

/// A simulation and what it is expected to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    pub leads: u32,
    pub days: u32,
    pub seed: u64,
    /// The least and the most of each: one of [`FIGURES`], the id of one of the funnel's own facts,
    /// `sequence.ID` (people who entered it) or `mail.ID` (mails sent).
    pub figures: Vec<(String, (u64, u64))>,
}
