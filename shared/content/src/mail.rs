//! Mails: Markdown with a front matter becomes one HTML and one text part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use domain::condition::{Known, Needs};
use domain::email_address::EmailAddress;
use domain::engagement::MailClass;
use domain::id::Id;
use domain::machine::HIDDEN_LINK;
use minijinja::value::Value;

pub(crate) use self::body::{Body, BodyReader, Choice};
pub(crate) use self::frame::{Frame, UNTRACKED};
use crate::expression::{Escape, Expression, fill, is_url_name, is_web_url, marks};
use crate::format;
use crate::funnel::Funnel;
use crate::problem::{Problem, Source};

mod body;
mod frame;

/// Variables that every mail may use, besides those that say the same to everybody.
pub(crate) const VARIABLES: [&str; 5] =
    ["name", "lead_magnet_title", "download_url", "preferences_url", "unsubscribe_url"];
/// The variable for the end of an offer.
pub(crate) const DEADLINE: &str = "deadline";
/// The variable for the way to book a consultation.
pub(crate) const BOOKING_URL: &str = "booking_url";
/// The variable for the way to apply for a plan.
pub(crate) const APPLY_URL: &str = "apply_url";
/// Variables of mails about a consultation.
pub(crate) const CONSULTATION_VARIABLES: [&str; 4] =
    ["consultation_start", "consultation_end", "consultation_time_zone", "manage_url"];
/// Variables of mails about a purchase.
pub(crate) const PURCHASE_VARIABLES: [&str; 4] = ["plan_name", "plan_months", "price", "paid_on"];
/// Variables of mails that ask to confirm an address.
pub(crate) const CONFIRM_VARIABLES: [&str; 1] = ["confirm_url"];
/// Variables that say the same to everybody.
pub(crate) const OWN_VARIABLES: [&str; 5] =
    ["public_url", "sender_name", "sender_address", "postal_address", "contact"];
/// The same, of funnels with a consultation.
pub(crate) const OFFER_VARIABLES: [&str; 4] =
    ["consultation_title", "consultation_minutes", "meeting_url", "meeting_note"];

/// A mail of the funnel, checked.
#[derive(Debug)]
pub struct Mail {
    pub id: Id,
    pub class: MailClass,
    /// People who chose none of these don't get it; everybody does when there is none.
    pub topics: Vec<Id>,
    /// One of the funnel's other senders.
    pub from: Option<Id>,
    /// How long its offer holds.
    pub(crate) offer_hours: Option<i64>,
    pub(crate) source: Source,
    /// With marks in place of expressions, as are all texts below.
    pub(crate) subject: String,
    pub(crate) preheader: String,
    pub(crate) body: Body,
    pub(crate) expressions: Vec<Expression>,
    /// One for each choice, laid out when it is first asked for: a function that sends nothing has no
    /// time for it, and [`crate::check`] asks for all of them.
    pub(crate) frames: BTreeMap<Choice, OnceLock<Result<Frame, Problem>>>,
}

/// What a mail may say to one person. Times and links are hers.
#[derive(Debug, Clone)]
pub struct MailContext {
    /// As she gave it; mails say what to write when it is missing.
    pub name: Option<String>,
    /// The zone in which times are shown.
    pub time_zone: Tz,
    /// Base URL of the pages, without a slash at the end.
    pub public_url: String,
    /// The lead magnet she asked for; the funnel's first one when missing or unknown.
    pub lead_magnet: Option<Id>,
    /// In funnels with a consultation.
    pub booking_url: Option<String>,
    /// In funnels with plans.
    pub apply_url: Option<String>,
    pub preferences_url: String,
    pub unsubscribe_url: String,
    /// While her address waits for its confirmation.
    pub confirm_url: Option<String>,
    /// What is known of her, by the attributes' ids.
    pub attributes: BTreeMap<String, String>,
    /// What another system told with the fact that the mail is about.
    pub values: BTreeMap<String, String>,
    /// When the mail is sent.
    pub now: DateTime<Utc>,
    /// The consultation that the mail is about.
    pub consultation: Option<MailConsultation>,
    /// The purchase that the mail is about.
    pub purchase: Option<MailPurchase>,
}

/// A consultation as mails tell of it.
#[derive(Debug, Clone)]
pub struct MailConsultation {
    pub start: DateTime<Utc>,
    /// The person's own page to move or cancel it.
    pub manage_url: String,
}

/// A purchase as mails tell of it.
#[derive(Debug, Clone)]
pub struct MailPurchase {
    /// The plan's id.
    pub plan: String,
    /// In the minor unit of `currency`.
    pub price: i64,
    /// Upper case ISO 4217.
    pub currency: String,
    pub paid_at: DateTime<Utc>,
}

/// Whom a mail comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailSender {
    pub name: String,
    pub address: EmailAddress,
}

/// A mail ready for one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedMail {
    pub from: MailSender,
    /// One line.
    pub subject: String,
    /// What mailboxes show after the subject.
    pub preheader: String,
    pub html: String,
    pub text: String,
}

/// Why a mail can't be made for a person. Holds no value of hers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderProblem {
    /// A value is missing, in a mail or in a snippet of it.
    #[error("{file}:{line}: `{{{{ {expression} }}}}`: {reason}")]
    Value { file: String, line: usize, expression: String, reason: String },
    /// The layout or a page's template is broken.
    #[error("{file}: {reason}")]
    Layout { file: String, reason: String },
}

impl Mail {
    /// The variables that the mail needs, whoever gets it.
    pub(crate) fn variables(&self) -> BTreeSet<&str> {
        self.expressions.iter().flat_map(|expression| &expression.variables).map(String::as_str).collect()
    }

    /// Whether the mail tells the variable, to anybody.
    pub fn uses(&self, variable: &str) -> bool {
        self.variables().contains(variable)
    }

    /// Whether the mail shows a link with this URL variable (`booking_url`).
    pub fn links_to(&self, variable: &str) -> bool {
        self.uses(variable)
    }

    /// Whether the mail tells what another system told with a fact.
    pub fn uses_fact_values(&self) -> bool {
        self.variables().iter().any(|name| name.starts_with("fact."))
    }

    /// What has to be read before the mail can be made for a person.
    pub fn needs(&self) -> Needs {
        self.body.needs()
    }
}

impl Funnel {
    /// Makes a mail for one person. What is known of her decides which passages she gets; their
    /// markup is made once, so that only her values are filled in.
    ///
    /// # Errors
    /// [`RenderProblem`] naming file, line and variable if a value is missing.
    pub fn render(
        &self,
        mail: &Mail,
        person: &MailContext,
        known: &Known<'_>,
    ) -> Result<RenderedMail, RenderProblem> {
        let frame = self
            .frame(mail, mail.body.choice(known))
            .map_err(|problem| RenderProblem::Layout { file: problem.file, reason: problem.what })?;
        let variables = self.variables(mail, person);
        let expressions: Vec<&Expression> =
            mail.expressions.iter().chain(&frame.layout_expressions).collect();
        let mut values = vec![String::new(); expressions.len()];
        // Only what is shown needs a value: a passage may tell what others don't have.
        let shown = [&mail.subject, &mail.preheader, &frame.html, &frame.text].map(|text| marks(text));
        for index in shown.into_iter().flatten().collect::<BTreeSet<usize>>() {
            if let (Some(expression), Some(value)) = (expressions.get(index), values.get_mut(index)) {
                *value = expression.value(&variables).map_err(|reason| RenderProblem::Value {
                    file: expression.file.to_string(),
                    line: expression.line,
                    expression: expression.text.clone(),
                    reason,
                })?;
            }
        }
        Ok(RenderedMail {
            from: self.mail_sender(mail),
            subject: fill(&mail.subject, &values, Escape::None),
            preheader: fill(&mail.preheader, &values, Escape::None),
            html: self.with_hidden_link(mail, person, fill(&frame.html, &values, Escape::Html)),
            text: fill(&frame.text, &values, Escape::None),
        })
    }

    /// Marketing mail carries a link that nobody sees, hears or reaches with a key: whoever follows
    /// it is a machine. It comes last, so that nothing of the mail moves, and is no part of the
    /// layout, so that no check and no condition knows of it.
    fn with_hidden_link(&self, mail: &Mail, person: &MailContext, mut html: String) -> String {
        if mail.class == MailClass::Marketing
            && let Some(end) = html.rfind("</body>")
        {
            let link = format!(
                "<a href=\"{}{HIDDEN_LINK}\" style=\"display:none;mso-hide:all\" aria-hidden=\"true\" tabindex=\"-1\"></a>",
                person.public_url
            );
            html.insert_str(end, &link);
        }
        html
    }

    fn mail_sender(&self, mail: &Mail) -> MailSender {
        match mail.from.as_ref().and_then(|id| self.senders.get(id)) {
            Some(sender) => MailSender { name: sender.name.clone(), address: sender.address.clone() },
            None => MailSender { name: self.sender.name.clone(), address: self.sender.address.clone() },
        }
    }

    fn variables(&self, mail: &Mail, person: &MailContext) -> Value {
        let magnet = self.lead_magnet_or_first(person.lead_magnet.as_ref());
        let moment = |at| format::moment(at, person.time_zone, self.time_zone, self.locale);
        let mut variables: BTreeMap<&'static str, Value> = BTreeMap::from([
            ("lead_magnet_title", Value::from(&magnet.title)),
            ("download_url", Value::from(format!("{}/pages/{}", person.public_url, magnet.page))),
            ("preferences_url", Value::from(&person.preferences_url)),
            ("unsubscribe_url", Value::from(&person.unsubscribe_url)),
            ("attribute", Value::from_pairs(told(&person.attributes))),
            ("fact", Value::from_pairs(told(&person.values))),
        ]);
        variables.extend(self.own_variables(&person.public_url, moment));
        for (name, value) in [
            ("name", person.name.as_ref().filter(|name| !name.trim().is_empty())),
            (BOOKING_URL, person.booking_url.as_ref()),
            (APPLY_URL, person.apply_url.as_ref()),
            ("confirm_url", person.confirm_url.as_ref()),
        ] {
            variables.extend(value.map(|value| (name, Value::from(value))));
        }
        if let Some(hours) = mail.offer_hours {
            variables.insert(DEADLINE, Value::from(moment(person.now + TimeDelta::hours(hours))));
        }
        if let (Some(consultation), Some(offer)) = (&person.consultation, &self.consultation) {
            let end = consultation.start + TimeDelta::minutes(offer.availability.minutes);
            variables.insert(
                "consultation_start",
                Value::from(format::date_time(consultation.start, person.time_zone, self.locale)),
            );
            variables.insert("consultation_end", Value::from(format::time(end, person.time_zone)));
            variables.insert(
                "consultation_time_zone",
                Value::from(format::zone_name(person.time_zone, self.locale)),
            );
            variables.insert("manage_url", Value::from(&consultation.manage_url));
        }
        if let Some(purchase) = &person.purchase {
            if let Some(plan) = self.plan(&purchase.plan) {
                variables.insert("plan_name", Value::from(&plan.name));
                variables.insert("plan_months", Value::from(plan.months));
            }
            variables.insert("price", Value::from(format::money(purchase.price, &purchase.currency)));
            variables.insert(
                "paid_on",
                Value::from(format::full_date(purchase.paid_at, person.time_zone, self.locale)),
            );
        }
        Value::from_pairs(variables)
    }

    /// Variables that say the same to everybody, but for how moments are told.
    pub(crate) fn own_variables(
        &self,
        public_url: &str,
        moment: impl Fn(DateTime<Utc>) -> String,
    ) -> BTreeMap<&'static str, Value> {
        let dates = self.dates.iter().map(|(id, at)| (id.to_string(), moment(*at)));
        let mut variables = BTreeMap::from([
            ("public_url", Value::from(public_url)),
            ("sender_name", Value::from(&self.sender.name)),
            ("sender_address", Value::from(self.sender.address.as_str())),
            ("postal_address", Value::from(&self.sender.postal_address)),
            ("contact", Value::from(&self.sender.contact)),
            ("dates", Value::from_pairs(dates)),
        ]);
        if let Some(offer) = &self.consultation {
            variables.extend([
                ("consultation_title", Value::from(&offer.title)),
                ("consultation_minutes", Value::from(offer.availability.minutes)),
                ("meeting_url", Value::from(&offer.meeting_url)),
                ("meeting_note", Value::from(&offer.meeting_note)),
            ]);
        }
        variables
    }
}

/// What was told, without what says nothing, and without what is no URL where one is expected:
/// then the text's fallback is used.
fn told(values: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    let usable =
        |(key, value): &(&str, &str)| !value.trim().is_empty() && (!is_url_name(key) || is_web_url(value));
    values.iter().map(|(key, value)| (key.as_str(), value.as_str())).filter(usable)
}
