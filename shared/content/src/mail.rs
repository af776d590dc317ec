//! Mails: Markdown with a front matter becomes one HTML and one text part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, OnceLock};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use domain::engagement::MailClass;
use domain::id::Id;
use minijinja::value::Value;
use minijinja::{Environment, UndefinedBehavior, context};
use mrml::prelude::render::RenderOptions;

use crate::expression::{Escape, Expression, escape_everything, escape_html, fill, mark};
use crate::format;
use crate::funnel::Funnel;
use crate::html::Look;
use crate::markdown::Block;
use crate::plain;
use crate::problem::Source;

/// Fonts that are there on the readers' devices; nothing is fetched.
const FONT: &str = "'Hiragino Kaku Gothic ProN', 'Hiragino Sans', 'Yu Gothic', Meiryo, sans-serif";

/// Variables that every mail may use.
pub(crate) const VARIABLES: [&str; 15] = [
    "name",
    "lead_magnet_title",
    "download_url",
    "booking_url",
    "apply_url",
    "unsubscribe_url",
    "public_url",
    "sender_name",
    "sender_address",
    "postal_address",
    "contact",
    "consultation_title",
    "consultation_minutes",
    "meeting_url",
    "meeting_note",
];
/// Variables of mails about a consultation.
pub(crate) const CONSULTATION_VARIABLES: [&str; 4] =
    ["consultation_start", "consultation_end", "consultation_time_zone", "manage_url"];
/// Variables of mails about a purchase.
pub(crate) const PURCHASE_VARIABLES: [&str; 4] = ["plan_name", "plan_months", "price", "paid_on"];
/// Links with a person's own key: SES must not rewrite them.
const UNTRACKED: [&str; 2] = ["unsubscribe_url", "manage_url"];

/// A mail of the funnel, checked.
#[derive(Debug)]
pub struct Mail {
    pub id: Id,
    pub class: MailClass,
    pub(crate) source: Source,
    /// With marks in place of expressions, as are all texts below.
    pub(crate) subject: String,
    pub(crate) preheader: String,
    pub(crate) blocks: Vec<Block>,
    pub(crate) expressions: Vec<Expression>,
    pub(crate) frame: OnceLock<Result<Frame, String>>,
}

/// A mail with all its markup, still without anybody's values.
#[derive(Debug)]
pub(crate) struct Frame {
    html: String,
    text: String,
    /// The expressions of the mail, and of the layout around it.
    layout_expressions: Vec<Expression>,
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
    pub booking_url: String,
    pub apply_url: String,
    pub unsubscribe_url: String,
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

/// A mail ready for one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedMail {
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
    /// A value is missing.
    #[error("{file}:{line}: `{{{{ {expression} }}}}`: {reason}")]
    Value { file: String, line: usize, expression: String, reason: String },
    /// The layout or a page's template is broken.
    #[error("{file}: {reason}")]
    Layout { file: String, reason: String },
}

impl Mail {
    /// The variables that the mail needs.
    pub(crate) fn variables(&self) -> BTreeSet<&str> {
        self.expressions.iter().flat_map(|expression| &expression.variables).map(String::as_str).collect()
    }

    /// Whether the mail shows a link with this URL variable (`booking_url`).
    pub fn links_to(&self, variable: &str) -> bool {
        self.variables().contains(variable)
    }
}

impl Funnel {
    /// Makes a mail for one person. The markup is made once per mail and kept; after that only the
    /// person's values are filled in.
    ///
    /// # Errors
    /// [`RenderProblem`] naming file, line and variable if a value is missing.
    pub fn render(&self, mail: &Mail, person: &MailContext) -> Result<RenderedMail, RenderProblem> {
        let frame = mail.frame.get_or_init(|| self.frame(mail)).as_ref().map_err(|reason| {
            RenderProblem::Layout { file: mail.source.file.clone(), reason: reason.clone() }
        })?;
        let variables = Value::from_pairs(self.variables(person));
        let mut values = Vec::with_capacity(mail.expressions.len() + 1);
        for expression in mail.expressions.iter().chain(&frame.layout_expressions) {
            let value = expression.value(&variables).map_err(|reason| RenderProblem::Value {
                file: mail.source.file.clone(),
                line: expression.line,
                expression: expression.text.clone(),
                reason,
            })?;
            values.push(value);
        }
        Ok(RenderedMail {
            subject: fill(&mail.subject, &values, Escape::None),
            preheader: fill(&mail.preheader, &values, Escape::None),
            html: fill(&frame.html, &values, Escape::Html),
            text: fill(&frame.text, &values, Escape::None),
        })
    }

    fn variables<'a>(&'a self, person: &'a MailContext) -> impl Iterator<Item = (&'static str, Value)> {
        let magnet = self.lead_magnet_or_first(person.lead_magnet.as_ref());
        let mut variables: BTreeMap<&'static str, Value> = BTreeMap::from([
            ("lead_magnet_title", Value::from(&magnet.title)),
            ("download_url", Value::from(format!("{}/pages/{}", person.public_url, magnet.page))),
            ("booking_url", Value::from(&person.booking_url)),
            ("apply_url", Value::from(&person.apply_url)),
            ("unsubscribe_url", Value::from(&person.unsubscribe_url)),
        ]);
        variables.extend(self.own_variables(&person.public_url));
        if let Some(name) = &person.name {
            variables.insert("name", Value::from(name));
        }
        if let Some(consultation) = &person.consultation {
            let minutes = self.consultation.as_ref().map_or(0, |offer| offer.availability.minutes);
            let end = consultation.start + TimeDelta::minutes(minutes);
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
        variables.into_iter()
    }

    /// Variables that say the same to everybody.
    pub(crate) fn own_variables(&self, public_url: &str) -> Vec<(&'static str, Value)> {
        let mut variables = vec![
            ("public_url", Value::from(public_url)),
            ("sender_name", Value::from(&self.sender.name)),
            ("sender_address", Value::from(self.sender.address.as_str())),
            ("postal_address", Value::from(&self.sender.postal_address)),
            ("contact", Value::from(&self.sender.contact)),
        ];
        if let Some(consultation) = &self.consultation {
            variables.extend([
                ("consultation_title", Value::from(&consultation.title)),
                ("consultation_minutes", Value::from(consultation.availability.minutes)),
                ("meeting_url", Value::from(&consultation.meeting_url)),
                ("meeting_note", Value::from(&consultation.meeting_note)),
            ]);
        }
        variables
    }

    fn frame(&self, mail: &Mail) -> Result<Frame, String> {
        let texts = &self.locale.texts().mail;
        let why = match mail.class {
            MailClass::Marketing => &texts.why_marketing,
            MailClass::Transactional => &texts.why_transactional,
        };
        // In a confirmation too: whoever wants no more marketing should not have to search.
        let unsubscribe = mark(mail.expressions.len());
        let layout_expressions = vec![Expression::variable("unsubscribe_url")];
        let layout = LAYOUT.get_template("layout.mjml").map_err(|error| error.to_string())?;
        let mjml = layout
            .render(context! {
                lang => self.locale.as_str(),
                font => Value::from_safe_string(FONT.to_owned()),
                subject => &mail.subject,
                preheader => &mail.preheader,
                brand => context! { colour => &self.brand.colour, logo => &self.brand.logo },
                sender => context! { name => &self.sender.name, postal_address => &self.sender.postal_address, contact => &self.sender.contact },
                texts => context! { sender => &texts.sender, address => &texts.address, contact => &texts.contact, unsubscribe => &texts.unsubscribe },
                body => Value::from_safe_string(self.body_mjml(&mail.blocks)),
                why,
                unsubscribe => &unsubscribe,
            })
            .map_err(|error| error.to_string())?;
        let parsed = mrml::parse(&mjml).map_err(|error| error.to_string())?;
        let options = RenderOptions { fonts: Default::default(), ..RenderOptions::default() };
        let html = parsed.element.render(&options).map_err(|error| error.to_string())?;
        // mrml writes attributes in Rust's `Debug` form: an unusual letter in a link would be lost.
        if html.contains("\\u{") {
            return Err("a link holds a letter that can't be kept; write it percent-encoded".to_owned());
        }
        let footer = [
            "----------".to_owned(),
            why.clone(),
            format!("{}{}", texts.sender, self.sender.name),
            format!("{}{}", texts.address, self.sender.postal_address),
            format!("{}{}", texts.contact, self.sender.contact),
            format!("{}: {unsubscribe}", texts.unsubscribe),
        ];
        let text = format!("{}\n\n{}\n", plain::blocks(&mail.blocks), footer.join("\n"));
        let expressions: Vec<&Expression> = mail.expressions.iter().chain(&layout_expressions).collect();
        Ok(Frame { html: keep_untracked(&html, &expressions), text, layout_expressions })
    }

    fn body_mjml(&self, blocks: &[Block]) -> String {
        let look = Look::mail(&self.brand.colour);
        let mut mjml = String::new();
        for block in blocks {
            match block {
                Block::Button(link) => {
                    mjml.push_str("<mj-button css-class=\"wide-on-phone\" href=\"");
                    escape_html(&link.href, &mut mjml);
                    mjml.push_str("\">");
                    look.inlines(&link.label, &mut mjml);
                    mjml.push_str("</mj-button>");
                }
                Block::Rule => mjml.push_str("<mj-divider />"),
                Block::Paragraph(inlines) => mj_text(&mut mjml, |to| look.inlines(inlines, to)),
                Block::Heading(..)
                | Block::List(..)
                | Block::Quote(_)
                | Block::Table { .. }
                | Block::Form => mj_text(&mut mjml, |to| look.block(block, to)),
            }
        }
        mjml
    }
}

fn mj_text(mjml: &mut String, write: impl FnOnce(&mut String)) {
    mjml.push_str("<mj-text>");
    write(mjml);
    mjml.push_str("</mj-text>");
}

/// The layout's own environment: it is Michi's, not the funnel's, so it may use statements.
static LAYOUT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    escape_everything(&mut environment);
    environment
        .add_template("layout.mjml", include_str!("../layout.mjml"))
        .expect("the embedded layout is read by this crate's tests");
    environment
});

/// Marks the links that SES must leave alone. MJML's button takes no such attribute, so it is
/// added to the finished HTML.
fn keep_untracked(html: &str, expressions: &[&Expression]) -> String {
    let own: Vec<String> = expressions
        .iter()
        .enumerate()
        .filter(|(_, expression)| UNTRACKED.iter().any(|name| expression.variables.contains(*name)))
        .map(|(index, _)| mark(index))
        .collect();
    let mut pieces = html.split("<a ");
    let mut marked = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let tag = piece.split('>').next().unwrap_or_default();
        let keep = own.iter().any(|mark| tag.contains(mark.as_str()));
        marked.push_str(if keep { "<a ses:no-track " } else { "<a " });
        marked.push_str(piece);
    }
    marked
}
