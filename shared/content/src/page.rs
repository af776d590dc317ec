//! Pages: Markdown in the shared frame, with the form that the page is for.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use domain::id::Id;
use minijinja::value::Value;
use minijinja::{Environment, UndefinedBehavior, context};

use crate::expression::{Escape, Expression, escape_everything, escape_html, fill};
use crate::format;
use crate::funnel::{AttributeKind, Funnel};
use crate::html::Look;
use crate::mail::RenderProblem;
use crate::markdown::Block;
use crate::problem::Source;

/// A page of the funnel, checked.
#[derive(Debug)]
pub struct Page {
    pub id: Id,
    pub title: String,
    pub description: String,
    /// The form that it is for.
    pub form: FormKind,
    pub(crate) source: Source,
    /// With marks in place of expressions.
    pub(crate) blocks: Vec<Block>,
    pub(crate) expressions: Vec<Expression>,
}

/// What a page is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormKind {
    /// Only to be read.
    None,
    /// A landing page.
    OptIn,
    Booking,
    Booked,
    Cancelled,
    Apply,
    /// What a person wants to get.
    Preferences,
    /// Confirms an address.
    Confirm,
    Unsubscribe,
}

impl FormKind {
    /// Those that a page can name in its front matter.
    pub(crate) const NAMED: [(&'static str, Self); 8] = [
        ("opt_in", Self::OptIn),
        ("booking", Self::Booking),
        ("booked", Self::Booked),
        ("cancelled", Self::Cancelled),
        ("apply", Self::Apply),
        ("preferences", Self::Preferences),
        ("confirm", Self::Confirm),
        ("unsubscribe", Self::Unsubscribe),
    ];
}

impl Page {
    /// Whether anybody may see it at `/pages/{id}`; the others need a personal link.
    pub fn is_public(&self) -> bool {
        matches!(self.form, FormKind::None | FormKind::OptIn)
    }

    /// Whether visits to it count as visits of a landing page.
    pub fn is_landing(&self) -> bool {
        self.form == FormKind::OptIn
    }
}

/// What a page shows besides its text.
#[derive(Debug, Clone)]
pub struct PageContext {
    /// Base URL of the pages, without a slash at the end.
    pub public_url: String,
    pub form: Form,
    /// What was wrong with the form as it was sent last.
    pub errors: Vec<FormError>,
}

/// A form and what is filled in. Values are shown again as they were sent.
#[derive(Debug, Clone)]
pub enum Form {
    None,
    /// Sends `email`, `name`, `attribute_ID` of each attribute that is asked for (all of them may be
    /// empty), `consent`, `consent_text` (its words), `website` (empty unless a robot fills it in),
    /// `lead_magnet_type`, `source`, `utm_*`, `locale`, `visitor_id`, `time_zone` to `POST /opt-in`.
    OptIn(OptInForm),
    /// Sends `t`, `slot`, `name`, `note` to `POST /bookings`, or `t`, `slot` to
    /// `POST /bookings/{consultation_id}/reschedule`.
    Booking(BookingForm),
    /// Shows a booking; sends `t` to `POST /bookings/{consultation_id}/cancel`.
    Booked(BookedForm),
    /// Offers another booking.
    Cancelled {
        booking_url: String,
    },
    /// Sends `t`, `plan` to `POST /applications`.
    Apply(ApplyForm),
    /// Sends `t`, `topic_ID=true` of each topic that is wanted, `frequency` (`all` or `weekly`) and
    /// `pause` (`none`, `7`, `30`, `90` days, or `keep` while there is one) to `POST /preferences`;
    /// who gets no mail sends `t` and `subscribe=true` there. Another button sends `t` to
    /// `POST /unsubscribe`.
    Preferences(PreferencesForm),
    /// Sends `t` to `POST /confirm`.
    Confirm {
        token: String,
    },
    /// Sends `t` to `POST /unsubscribe` (in the URL too, as a mailbox's one-click POST does).
    Unsubscribe {
        token: String,
    },
}

/// The opt-in form's values.
#[derive(Debug, Clone, Default)]
pub struct OptInForm {
    pub email: String,
    pub name: String,
    /// The funnel's first lead magnet when missing.
    pub lead_magnet: Option<Id>,
    pub source: Option<String>,
    /// `utm_source` and the like, with their prefix.
    pub utm: BTreeMap<String, String>,
    /// By the attributes' ids, as they were sent.
    pub attributes: BTreeMap<String, String>,
}

/// The booking form's values.
#[derive(Debug, Clone)]
pub struct BookingForm {
    /// The personal link's token.
    pub token: String,
    /// The booking that is being moved, if it is not a new one.
    pub moving: Option<Moving>,
    /// In order of time.
    pub slots: Vec<SlotChoice>,
    /// The value of the slot chosen before.
    pub chosen: Option<String>,
    pub name: String,
    pub note: String,
    /// The zone in which times are shown.
    pub time_zone: Tz,
}

/// A booking that is being moved.
#[derive(Debug, Clone)]
pub struct Moving {
    pub consultation_id: Id,
    pub start: DateTime<Utc>,
}

/// A time that can be chosen.
#[derive(Debug, Clone)]
pub struct SlotChoice {
    /// What the form sends as `slot`.
    pub value: String,
    pub start: DateTime<Utc>,
}

/// A booking as its page shows it.
#[derive(Debug, Clone)]
pub struct BookedForm {
    pub token: String,
    pub consultation_id: Id,
    pub start: DateTime<Utc>,
    pub time_zone: Tz,
    /// Just made or moved.
    pub fresh: bool,
    /// Whether it can still be moved and cancelled.
    pub open: bool,
    pub reschedule_url: String,
}

/// The application form's values.
#[derive(Debug, Clone)]
pub struct ApplyForm {
    pub token: String,
    /// The plan's id.
    pub chosen: Option<String>,
}

/// What a person wants to get, as it is stored.
#[derive(Debug, Clone)]
pub struct PreferencesForm {
    /// The personal link's token; it must open `POST /unsubscribe` too.
    pub token: String,
    /// Id and name of each, and whether she wants it.
    pub topics: Vec<(Id, String, bool)>,
    /// At most one marketing mail in a week.
    pub weekly: bool,
    /// Until when she gets no marketing mail, as she reads it.
    pub paused_until: Option<String>,
    /// Whether she gets marketing mail at all; else the form offers it to her again.
    pub subscribed: bool,
    /// Just saved.
    pub saved: bool,
}

/// What can be wrong with a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormError {
    Email,
    Name,
    /// An attribute, by its id.
    Attribute(Id),
    Consent,
    /// Its words were edited while the form was open.
    ConsentChanged,
    LeadMagnet,
    Slot,
    SlotTaken,
    Note,
    Plan,
}

/// A page that only says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    NotFound,
    LinkInvalid,
    LinkExpired,
    /// The booking was moved after the mail with the link.
    LinkOutdated,
    /// The booking can't be changed any more.
    Closed,
    BadRequest,
    Unavailable,
}

impl Message {
    /// What to say to a person whose request ended with this HTTP status.
    pub fn for_status(status: i64) -> Self {
        match status {
            403 => Self::LinkInvalid,
            404 => Self::NotFound,
            409 => Self::Closed,
            410 => Self::LinkExpired,
            412 => Self::LinkOutdated,
            500.. => Self::Unavailable,
            _ => Self::BadRequest,
        }
    }
}

impl Funnel {
    /// Makes a page.
    ///
    /// # Errors
    /// [`RenderProblem`] naming the file; a funnel that has been loaded has none.
    pub fn render_page(&self, page: &Page, shown: &PageContext) -> Result<String, RenderProblem> {
        let variables = self.page_variables(&shown.public_url);
        let mut values = Vec::with_capacity(page.expressions.len());
        for expression in &page.expressions {
            values.push(if expression.text == "form" {
                String::new()
            } else {
                self.page_value(page, expression, &variables)?
            });
        }
        let form = self.form_html(shown).map_err(|error| layout_problem(&error))?;
        let mut body = String::new();
        let mut form_place = Some(form);
        let look = Look::plain();
        for block in &page.blocks {
            let mut html = String::new();
            match block {
                Block::Form => body.push_str(&form_place.take().unwrap_or_default()),
                Block::Button(link) => {
                    html.push_str("<p><a class=\"button\" href=\"");
                    escape_html(&link.href, &mut html);
                    html.push_str("\">");
                    look.inlines(&link.label, &mut html);
                    html.push_str("</a></p>");
                }
                Block::Heading(..)
                | Block::Paragraph(_)
                | Block::List(..)
                | Block::Quote(_)
                | Block::Rule
                | Block::Table { .. } => look.block(block, &mut html),
            }
            // Only the text's own marks are filled: what a form shows is final.
            body.push_str(&fill(&html, &values, Escape::Html));
            body.push('\n');
        }
        let frame = Frame {
            title: &page.title,
            description: &page.description,
            private: !page.is_public(),
            visits: page.is_public().then_some(page.id.as_str()),
            public_url: &shown.public_url,
        };
        self.frame_page(&frame, body).map_err(|error| layout_problem(&error))
    }

    /// Makes a page that only says something.
    ///
    /// # Errors
    /// [`RenderProblem`] if the embedded frame is broken, which this crate's tests rule out.
    pub fn message_page(&self, message: Message, public_url: &str) -> Result<String, RenderProblem> {
        let messages = &self.locale.texts().messages;
        let words = match message {
            Message::NotFound => &messages.not_found,
            Message::LinkInvalid => &messages.link_invalid,
            Message::LinkExpired => &messages.link_expired,
            Message::LinkOutdated => &messages.link_outdated,
            Message::Closed => &messages.closed,
            Message::BadRequest => &messages.bad_request,
            Message::Unavailable => &messages.unavailable,
        };
        let mut body = String::new();
        for (open, text, close) in [("<h1>", &words.title, "</h1>\n"), ("<p>", &words.text, "</p>")] {
            body.push_str(open);
            escape_html(text, &mut body);
            body.push_str(close);
        }
        let frame = Frame { title: &words.title, description: "", private: true, visits: None, public_url };
        self.frame_page(&frame, body).map_err(|error| layout_problem(&error))
    }

    pub(crate) fn page_variables(&self, public_url: &str) -> Value {
        let plans = self.plans.iter().map(|plan| {
            let words = context! { name => &plan.name, price => format::money(plan.price, &self.currency), months => plan.months };
            (plan.id.as_str().to_owned(), words)
        });
        let moment = |at| format::date_time(at, self.time_zone, self.locale);
        let plans = ("plans", Value::from_pairs(plans));
        Value::from_pairs(self.own_variables(public_url, moment).into_iter().chain([plans]))
    }

    pub(crate) fn page_value(
        &self,
        page: &Page,
        expression: &Expression,
        variables: &Value,
    ) -> Result<String, RenderProblem> {
        expression.value(variables).map_err(|reason| RenderProblem::Value {
            file: page.source.file.clone(),
            line: expression.line,
            expression: expression.text.clone(),
            reason,
        })
    }

    fn form_html(&self, shown: &PageContext) -> Result<String, minijinja::Error> {
        let (template, form) = match &shown.form {
            Form::None => return Ok(String::new()),
            Form::OptIn(form) => ("opt_in.html", self.opt_in_values(form, &shown.errors)),
            Form::Booking(form) => ("booking.html", self.booking_values(form, &base(&shown.public_url))),
            Form::Booked(form) => ("booked.html", self.booked_values(form)),
            Form::Cancelled { booking_url } => ("cancelled.html", context! { booking_url }),
            Form::Apply(form) => ("apply.html", self.apply_values(form)),
            Form::Preferences(form) => ("preferences.html", preferences_values(form)),
            Form::Confirm { token } => ("confirm.html", context! { token }),
            Form::Unsubscribe { token } => ("unsubscribe.html", context! { token }),
        };
        let errors: Vec<String> = shown.errors.iter().map(|error| self.error_text(error)).collect();
        TEMPLATES.get_template(template)?.render(context! {
            base => base(&shown.public_url),
            lang => self.locale.as_str(),
            texts => self.page_texts(),
            consent => &self.consent,
            errors,
            wrong_email => shown.errors.contains(&FormError::Email),
            wrong_name => shown.errors.contains(&FormError::Name),
            form,
        })
    }

    fn page_texts(&self) -> Value {
        Value::from_pairs(self.locale.texts().page.iter().map(|(key, text)| (key.as_str(), text.as_str())))
    }

    fn opt_in_values(&self, form: &OptInForm, errors: &[FormError]) -> Value {
        let magnet = self.lead_magnet_or_first(form.lead_magnet.as_ref());
        let mut hidden = vec![("lead_magnet_type".to_owned(), magnet.id.to_string())];
        hidden.extend(form.source.iter().map(|source| ("source".to_owned(), source.clone())));
        hidden.extend(form.utm.iter().map(|(key, value)| (key.clone(), value.clone())));
        let hidden: Vec<Value> = hidden
            .into_iter()
            .map(|(key, value)| Value::from(vec![Value::from(key), Value::from(value)]))
            .collect();
        let asked = self.attributes.iter().filter(|attribute| attribute.ask).map(|attribute| {
            let (kind, choices): (_, &[String]) = match &attribute.kind {
                AttributeKind::Text => ("text", &[]),
                AttributeKind::Number => ("number", &[]),
                AttributeKind::Choice(choices) => ("choice", choices),
            };
            context! {
                kind,
                choices => choices.to_vec(),
                id => attribute.id.as_str(),
                name => &attribute.name,
                value => form.attributes.get(attribute.id.as_str()).map_or("", String::as_str),
                wrong => errors.contains(&FormError::Attribute(attribute.id.clone())),
            }
        });
        context! { email => &form.email, name => &form.name, asked => asked.collect::<Vec<Value>>(), hidden }
    }

    fn booking_values(&self, form: &BookingForm, base: &str) -> Value {
        let action = match &form.moving {
            None => format!("{base}/bookings"),
            Some(moving) => format!("{base}/bookings/{}/reschedule", moving.consultation_id),
        };
        let is_chosen = |slot: &SlotChoice| form.chosen.as_ref() == Some(&slot.value);
        let any_chosen = form.slots.iter().any(is_chosen);
        let mut days: Vec<(String, bool, Vec<Value>)> = vec![];
        for slot in &form.slots {
            let date = format::date(slot.start, form.time_zone, self.locale);
            if days.last().is_none_or(|(day, ..)| *day != date) {
                days.push((date, !any_chosen && days.is_empty(), vec![]));
            }
            if let Some((_, open, slots)) = days.last_mut() {
                *open |= is_chosen(slot);
                slots.push(context! { value => &slot.value, time => format::time(slot.start, form.time_zone), chosen => is_chosen(slot) });
            }
        }
        let days: Vec<Value> =
            days.into_iter().map(|(date, open, slots)| context! { date, open, slots }).collect();
        context! {
            action,
            days,
            token => &form.token,
            name => &form.name,
            note => &form.note,
            zone => format::zone_name(form.time_zone, self.locale),
            current => form.moving.as_ref().map(|moving| format::date_time(moving.start, form.time_zone, self.locale)),
        }
    }

    fn booked_values(&self, form: &BookedForm) -> Value {
        let minutes = self.consultation.as_ref().map_or(0, |offer| offer.availability.minutes);
        context! {
            minutes,
            token => &form.token,
            consultation_id => form.consultation_id.as_str(),
            start => format::date_time(form.start, form.time_zone, self.locale),
            end => format::time(form.start + TimeDelta::minutes(minutes), form.time_zone),
            zone => format::zone_name(form.time_zone, self.locale),
            fresh => form.fresh,
            open => form.open,
            reschedule_url => &form.reschedule_url,
        }
    }

    fn apply_values(&self, form: &ApplyForm) -> Value {
        let plans = self.plans.iter().map(|plan| {
            context! {
                id => plan.id.as_str(),
                name => &plan.name,
                description => &plan.description,
                price => format::money(plan.price, &self.currency),
                months => plan.months,
                chosen => form.chosen.as_deref() == Some(plan.id.as_str()),
            }
        });
        context! { token => &form.token, plans => plans.collect::<Vec<Value>>() }
    }

    fn error_text(&self, error: &FormError) -> String {
        let errors = &self.locale.texts().errors;
        let text = match error {
            FormError::Email => &errors.email,
            FormError::Name => &errors.name,
            FormError::Attribute(id) => return self.attribute_error(id),
            FormError::Consent => &errors.consent,
            FormError::ConsentChanged => &errors.consent_changed,
            FormError::LeadMagnet => &errors.lead_magnet,
            FormError::Slot => &errors.slot,
            FormError::SlotTaken => &errors.slot_taken,
            FormError::Note => &errors.note,
            FormError::Plan => &errors.plan,
        };
        text.clone()
    }

    fn attribute_error(&self, id: &Id) -> String {
        let errors = &self.locale.texts().errors;
        let attribute = self.attribute(id.as_str());
        let text = match attribute.map(|attribute| &attribute.kind) {
            Some(AttributeKind::Number) => &errors.attribute_number,
            Some(AttributeKind::Choice(_)) => &errors.attribute_choice,
            Some(AttributeKind::Text) | None => &errors.attribute_text,
        };
        text.replace("{name}", attribute.map_or(id.as_str(), |attribute| &attribute.name))
    }

    fn frame_page(&self, frame: &Frame<'_>, body: String) -> Result<String, minijinja::Error> {
        TEMPLATES.get_template("page.html")?.render(context! {
            lang => self.locale.as_str(),
            title => frame.title,
            description => frame.description,
            private => frame.private,
            visits => frame.visits,
            has_legal_notice => self.page("tokushoho").is_some(),
            base => base(frame.public_url),
            brand => context! { colour => &self.brand.colour, logo => &self.brand.logo },
            sender => context! { name => &self.sender.name, postal_address => &self.sender.postal_address, contact => &self.sender.contact },
            texts => self.page_texts(),
            style => Value::from_safe_string(include_str!("../templates/page.css").to_owned()),
            script => Value::from_safe_string(VISIT_SCRIPT.to_owned()),
            body => Value::from_safe_string(body),
        })
    }
}

fn preferences_values(form: &PreferencesForm) -> Value {
    let topics = form.topics.iter().map(|(id, name, wanted)| context! { id => id.as_str(), name, wanted });
    context! {
        topics => topics.collect::<Vec<Value>>(),
        token => &form.token,
        weekly => form.weekly,
        paused_until => &form.paused_until,
        subscribed => form.subscribed,
        saved => form.saved,
    }
}

/// What surrounds a page's body.
struct Frame<'a> {
    title: &'a str,
    description: &'a str,
    /// Reached by a personal link only: kept out of search engines.
    private: bool,
    /// The page's id if its visits are counted.
    visits: Option<&'a str>,
    public_url: &'a str,
}

/// What browsers may do on our pages: nothing but show them and send the visit. There is no
/// `form-action`, since browsers apply it to redirects too and the application form leads on to
/// the payment provider. The hash is that of the visit script, as a test checks.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-diyyzGtmp9498BtH7La4zk7nPRym6AT3cOXEIE0OJr8='; connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'";

const VISIT_SCRIPT: &str = include_str!("../templates/visit.js");

/// The forms' and frame's templates.
static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    escape_everything(&mut environment);
    for (name, text) in [
        ("page.html", include_str!("../templates/page.html")),
        ("errors.html", include_str!("../templates/errors.html")),
        ("opt_in.html", include_str!("../templates/opt_in.html")),
        ("booking.html", include_str!("../templates/booking.html")),
        ("booked.html", include_str!("../templates/booked.html")),
        ("cancelled.html", include_str!("../templates/cancelled.html")),
        ("apply.html", include_str!("../templates/apply.html")),
        ("preferences.html", include_str!("../templates/preferences.html")),
        ("confirm.html", include_str!("../templates/confirm.html")),
        ("unsubscribe.html", include_str!("../templates/unsubscribe.html")),
    ] {
        environment.add_template(name, text).expect("the embedded templates are read by this crate's tests");
    }
    environment
});

/// The path under which the API is reached: forms and links stay on the host that the reader is on.
fn base(public_url: &str) -> String {
    let after_scheme = public_url.split_once("://").map_or(public_url, |(_, rest)| rest);
    after_scheme.find('/').map_or_else(String::new, |at| after_scheme[at..].trim_end_matches('/').to_owned())
}

fn layout_problem(error: &minijinja::Error) -> RenderProblem {
    RenderProblem::Layout { file: error.name().unwrap_or("templates").to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use sha2::Digest;

    #[test]
    fn browsers_may_run_the_visit_script_and_no_other() {
        let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(VISIT_SCRIPT));
        assert!(CONTENT_SECURITY_POLICY.contains(&format!("script-src 'sha256-{hash}';")), "{hash}");
    }

    #[test]
    fn forms_stay_on_the_host_and_under_its_path() {
        for (url, expected) in [
            ("https://example.com", ""),
            ("http://127.0.0.1:4000", ""),
            ("https://abc.execute-api.ap-northeast-1.amazonaws.com/michi", "/michi"),
            ("https://example.com/a/b/", "/a/b"),
        ] {
            assert_eq!(base(url), expected, "{url}");
        }
    }
}
