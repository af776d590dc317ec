//! The pages. What a person typed never becomes markup: the templates escape every value.

use std::sync::Arc;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc};
use chrono_tz::Tz;
use content::{Funnel, Locale, format};
use domain::{id::Id, lead, time};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, context, value::Serde};
use serde::Serialize;
use web::problem::Problem;

use crate::{
    broadcasts::Shown,
    figures::{COLUMNS, Counted, Month},
    names::Names,
    reasons::Reasons,
    story::{Scored, Story},
    tasks::Duties,
    told::Teller,
    words::{Words, words},
};

/// What there is to see.
#[derive(Debug)]
pub(crate) enum Sight<'a> {
    Dashboard {
        today: NaiveDate,
        months: &'a [Month],
    },
    /// Without figures before the night in which they are counted.
    Day {
        date: NaiveDate,
        today: NaiveDate,
        counted: Option<&'a Counted>,
    },
    Lead {
        story: &'a Story,
        /// None where the funnel gives no points.
        score: Option<&'a Scored<'a>>,
        /// The day at whose end the score was so; else it is so now.
        score_on: Option<NaiveDate>,
        now: DateTime<Utc>,
    },
    Tasks {
        /// Whose tasks these are, if not everybody's.
        chosen: Option<&'a Id>,
        duties: &'a [Duties],
    },
    Broadcasts(&'a [Shown<'a>]),
    Problem(&'a Problem),
}

/// The templates, with the funnel's names, words, zone and currency in them.
#[derive(Debug)]
pub(crate) struct View {
    environment: Environment<'static>,
    words: Words,
    names: Names,
    teller: Teller,
    zone: Tz,
}

pub(crate) const TEMPLATES: [(&str, &str); 8] = [
    ("frame.html", include_str!("../templates/frame.html")),
    ("parts.html", include_str!("../templates/parts.html")),
    ("dashboard.html", include_str!("../templates/dashboard.html")),
    ("day.html", include_str!("../templates/day.html")),
    ("lead.html", include_str!("../templates/lead.html")),
    ("tasks.html", include_str!("../templates/tasks.html")),
    ("broadcasts.html", include_str!("../templates/broadcasts.html")),
    ("problem.html", include_str!("../templates/problem.html")),
];

impl View {
    /// Reads the templates. `base` is the path under which the API is reached.
    pub(crate) fn new(funnel: &Funnel, base: &str) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // An error's text must never carry the values around it into the log.
        environment.set_debug(false);
        for (name, text) in TEMPLATES {
            environment
                .add_template(name, text)
                .expect("the embedded templates are read by this crate's tests");
        }
        let (locale, zone, currency) = (funnel.locale, funnel.time_zone, funnel.currency.clone());
        let (words, names) = (words(locale), Names::of(funnel));
        environment.add_global("lang", locale.as_str());
        environment.add_global("base", base);
        environment.add_global(
            "style",
            Value::from_safe_string(include_str!("../templates/console.css").to_owned()),
        );
        environment
            .add_global("brand", context! { colour => &funnel.brand.colour, logo => &funnel.brand.logo });
        environment.add_global("t", value(&words));
        environment.add_global("zone", format::zone_name(zone, locale));
        environment.add_global("columns", value(&COLUMNS));
        environment.add_global("groups", value(groups()));
        environment.add_global("names", value(&names));
        environment
            .add_filter("day", move |date: &str| Ok::<_, Error>(short_day(parse(date)?, zone, locale)));
        environment
            .add_filter("full_day", move |date: &str| Ok::<_, Error>(full_day(parse(date)?, zone, locale)));
        environment.add_filter("month", move |date: &str| Ok::<_, Error>(month_name(parse(date)?, locale)));
        environment.add_filter("moment", move |at: &str| Ok::<_, Error>(moment(instant(at)?, zone, locale)));
        environment.add_filter("clock", move |at: &str| Ok::<_, Error>(format::time(instant(at)?, zone)));
        environment.add_filter("money", |minor: i64, currency: &str| format::money(minor, currency));
        environment.add_filter("amount", move |value: i64, unit: &str| amount(value, unit, &currency));
        let reasons = Arc::new(Reasons::new(words.clone(), names.clone()));
        let (points, evidence) = (Arc::clone(&reasons), Arc::clone(&reasons));
        environment.add_filter("reason", move |stored: &str| reasons.why(stored));
        environment.add_filter("evidence", move |stored: &str| evidence.evidence(stored));
        environment.add_filter("points", move |stored: &str| points.points(stored));
        Self { environment, words, names, teller: Teller::new(funnel, locale), zone }
    }

    /// Makes a page.
    ///
    /// # Errors
    /// [`Error`] if a template names what is not there, which this crate's tests rule out.
    pub(crate) fn render(&self, sight: &Sight<'_>) -> Result<String, Error> {
        let (template, values) = match sight {
            Sight::Dashboard { today, months } => {
                ("dashboard.html", context! { today => value(today), months => value(months) })
            }
            Sight::Day { date, today, counted } => {
                let next = time::plus_days(*date, 1);
                let next = (next <= *today).then_some(next);
                (
                    "day.html",
                    context! { date => value(date), counted => value(counted), previous => value(time::plus_days(*date, -1)), next => value(next) },
                )
            }
            Sight::Lead { story, score, score_on, now } => {
                let mut purchases: Vec<_> = story.purchases.iter().collect();
                purchases.sort_by_key(|customer| customer.paid_at);
                let page = context! {
                    lead => value(&story.person.lead),
                    score => value(score),
                    score_on => value(score_on),
                    today => value(time::day(*now, self.zone)),
                    now => time::iso(*now),
                    consultations => value(story.meetings(*now)),
                    enrolments => value(story.stays(&self.teller, *now)),
                    purchases => value(purchases),
                    consents => value(lead::consents(&story.person.lead, &story.person.timeline)),
                    timeline => value(story.timeline(&self.names)),
                };
                ("lead.html", page)
            }
            Sight::Tasks { chosen, duties } => {
                ("tasks.html", context! { chosen => value(chosen), duties => value(duties) })
            }
            Sight::Broadcasts(broadcasts) => {
                ("broadcasts.html", context! { broadcasts => value(broadcasts) })
            }
            Sight::Problem(problem) => ("problem.html", self.problem(problem)),
        };
        self.environment.get_template(template)?.render(values)
    }

    fn problem(&self, problem: &Problem) -> Value {
        let word = |section: &str, name: &str| self.words.get(section).and_then(|words| words.get(name));
        let status = problem.status().to_string();
        let known = if word("problem_titles", &status).is_some() { status.as_str() } else { "503" };
        let errors = problem.errors().iter().map(|error| {
            let field = format!("{}_{status}", error.field);
            word("fields", &field).cloned().unwrap_or_else(|| format!("{}: {}", error.field, error.message))
        });
        context! {
            title => word("problem_titles", known),
            text => word("conflicts", problem.detail()).or_else(|| word("problem_texts", known)),
            errors => errors.collect::<Vec<_>>(),
            locked_out => problem.status() == 403,
        }
    }
}

/// The columns' groups, each with the number of its columns.
fn groups() -> Vec<(&'static str, usize)> {
    let chunks = COLUMNS.chunk_by(|one, next| one.group == next.group);
    chunks.filter_map(|chunk| Some((chunk.first()?.group, chunk.len()))).collect()
}

fn value(shown: impl Serialize) -> Value {
    Value::from(Serde(shown))
}

fn parse(date: &str) -> Result<NaiveDate, Error> {
    date.parse().map_err(|_| Error::new(ErrorKind::InvalidOperation, "not a day"))
}

fn instant(at: &str) -> Result<DateTime<Utc>, Error> {
    at.parse().map_err(|_| Error::new(ErrorKind::InvalidOperation, "not an instant"))
}

/// `11月25日(水)`, `Wed 25 Nov`.
fn short_day(date: NaiveDate, zone: Tz, locale: Locale) -> String {
    format::date(time::instant(date, NaiveTime::MIN, zone), zone, locale)
}

/// `2026年11月25日(水)`, `Wed 25 Nov 2026`.
fn full_day(date: NaiveDate, zone: Tz, locale: Locale) -> String {
    match locale {
        Locale::Ja => format!("{}年{}", date.year(), short_day(date, zone, locale)),
        Locale::En => format!("{} {}", short_day(date, zone, locale), date.year()),
    }
}

/// `2026年11月`, `November 2026`.
fn month_name(date: NaiveDate, locale: Locale) -> String {
    match locale {
        Locale::Ja => date.format("%Y年%-m月").to_string(),
        Locale::En => date.format("%B %Y").to_string(),
    }
}

/// `2026年11月25日(水) 10:00`, `Wed 25 Nov 2026, 10:00`.
pub(crate) fn moment(at: DateTime<Utc>, zone: Tz, locale: Locale) -> String {
    let (day, clock) = (full_day(time::day(at, zone), zone, locale), format::time(at, zone));
    match locale {
        Locale::Ja => format!("{day} {clock}"),
        Locale::En => format!("{day}, {clock}"),
    }
}

/// A figure as people read it: `1,234`, `¥330,000`, `35.9%`.
fn amount(value: i64, unit: &str, currency: &str) -> String {
    match unit {
        "money" => format::money(value, currency),
        "rate" => format!("{}.{}%", value / 10, value % 10),
        _ => grouped(value),
    }
}

fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
pub(crate) mod tests;
