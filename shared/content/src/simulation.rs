//! How synthetic people behave: the rates of `simulation.toml`.

/// Everything that a simulation draws by lot. Rates are per mille; spans are `(from, until)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulation {
    /// Of 1,000 visitors of the landing page, so many opt in.
    pub visitors_opt_in: u32,
    /// Weight of each hour of the day, in the funnel's zone, at which people arrive; 24 of them.
    pub hours: Vec<u32>,
    /// Weight of each source, by name.
    pub sources: Vec<(String, u32)>,
    /// Their shares add up to 1,000.
    pub people: Vec<People>,
    pub mails: MailRates,
    pub consultations: ConsultationRates,
    pub sales: SaleRates,
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
    /// Of 1,000 people, so many book a consultation.
    pub book: u32,
}

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
