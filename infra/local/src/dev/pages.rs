//! The other pages: the start, everybody, the figures, and the place to pay at.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use content::{Locale, format};
use domain::id::Id;
use domain::lead::Lead;
use domain::limits::CONSOLE_LINK_HOURS;
use domain::sequence::Enrolment;
use domain::time;
use minijinja::{Value, context};
use serde::Serialize;
use serde_json::json;
use url::Url;
use web::link::Purpose;
use web::problem::{Failure, Problem, Status};

use super::front::{self, Answered, Asked, see_other};
use super::view::{Around, value};
use super::{Dev, script};
use crate::checkout::{PayError, Session};

/// The most lines of what is due next.
const DUE_SHOWN: usize = 8;
/// The most people on the page.
const PEOPLE_SHOWN: usize = 300;
/// Whom a link to the console is for.
const OPERATOR: &str = "operator";

/// Makes a page with the clock around it.
pub(super) fn show(dev: &Dev, asked: &Asked, template: &str, page: &Value) -> Answered {
    let zone = dev.0.funnel.time_zone;
    let now = dev.now();
    let around = Around {
        place: &asked.place,
        now: date_time(now, dev, asked.locale),
        instant: now.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Secs, false),
        zone: format::zone_name(zone, asked.locale),
    };
    let view = &dev.0.view;
    Ok(front::html(view.render(template, asked.locale, &around, page)?, view.policy()))
}

/// What went wrong, for a person.
pub(super) fn problem(dev: &Dev, asked: &Asked, problem: &Problem) -> Answered {
    show(dev, asked, "problem.html", &context! { status => problem.status(), detail => problem.detail() })
}

/// With the year: the clock may be anywhere.
fn date_time(at: DateTime<Utc>, dev: &Dev, locale: Locale) -> String {
    let zone = dev.0.funnel.time_zone;
    let year = at.with_timezone(&zone).format("%Y").to_string();
    let short = format::date_time(at, zone, locale);
    match locale {
        Locale::Ja => format!("{year}年{short}"),
        Locale::En => short.replacen(", ", &format!(" {year}, "), 1),
    }
}

/// Work that waits for its time.
#[derive(Serialize)]
struct Due {
    at: String,
    instant: String,
    who: String,
    lead_id: Id,
    what: String,
}

impl Due {
    fn of(enrolment: &Enrolment, leads: &BTreeMap<&Id, &Lead>, dev: &Dev, locale: Locale) -> Option<Self> {
        let at = enrolment.next_due?;
        let lead = leads.get(&enrolment.lead_id);
        let sequence = dev
            .0
            .funnel
            .sequence(&enrolment.sequence)
            .map_or(enrolment.sequence.as_str(), |sequence| &sequence.name);
        Some(Self {
            at: date_time(at, dev, locale),
            instant: time::iso(at),
            who: lead.map_or_else(|| enrolment.lead_id.to_string(), |lead| lead.email.as_str().to_owned()),
            lead_id: enrolment.lead_id.clone(),
            what: enrolment
                .step
                .as_ref()
                .map_or_else(|| sequence.to_owned(), |step| format!("{sequence} · {step}")),
        })
    }
}

/// `GET /local`.
pub(super) async fn start(dev: &Dev, asked: &Asked) -> Answered {
    let leads = dev.leads().await?;
    let by_id: BTreeMap<&Id, &Lead> = leads.rows.iter().map(|lead| (&lead.lead_id, lead)).collect();
    let waiting = dev.waiting().await?;
    let due: Vec<Due> = waiting
        .iter()
        .take(DUE_SHOWN)
        .filter_map(|enrolment| Due::of(enrolment, &by_id, dev, asked.locale))
        .collect();
    let paid = dev.0.checkout.sessions().iter().filter(|session| session.paid_at.is_some()).count();
    let page = context! {
        public_url => &dev.0.public_url,
        funnel => &dev.0.funnel.name,
        leads => leads.rows.len(),
        cut => leads.cut,
        mails => dev.cloud().mails().len(),
        waiting => waiting.len(),
        paid,
        dead_letters => dev.cloud().dead_letters().len(),
        due => value(due),
    };
    show(dev, asked, "start.html", &page)
}

/// A line of the list of people.
#[derive(Serialize)]
struct Person<'a> {
    lead_id: &'a Id,
    email: &'a str,
    name: Option<&'a str>,
    stage: String,
    mailing: &'static str,
    /// Query of the inbox with only her mails.
    inbox: String,
    score: i64,
    since: String,
    instant: String,
}

/// `GET /local/people`, the latest first.
pub(super) async fn people(dev: &Dev, asked: &Asked) -> Answered {
    let leads = dev.leads().await?;
    let people: Vec<Person<'_>> = leads
        .rows
        .iter()
        .take(PEOPLE_SHOWN)
        .map(|lead| Person {
            lead_id: &lead.lead_id,
            email: lead.email.as_str(),
            name: lead.name.as_ref().map(|name| name.as_str()),
            stage: json!(lead.stage).as_str().unwrap_or_default().to_owned(),
            mailing: lead.mailing.as_str(),
            inbox: serde_urlencoded::to_string([("to", lead.email.as_str())]).unwrap_or_default(),
            score: lead.score,
            since: format::date_time(lead.opt_in_date, dev.0.funnel.time_zone, asked.locale),
            instant: time::iso(lead.opt_in_date),
        })
        .collect();
    show(
        dev,
        asked,
        "people.html",
        &context! { people => value(people), total => leads.rows.len(), cut => leads.cut },
    )
}

/// `GET /local/people/{lead_id}`: to the console's page, with a fresh link.
pub(super) fn person(dev: &Dev, lead_id: &str) -> Answered {
    let lead_id = Id::parse(lead_id).map_err(|_| Problem::new(Status::NotFound, "there is no such lead"))?;
    see_other(&format!("/console/leads/{lead_id}?t={}", token(dev)?))
}

/// `GET /local/figures`: counts today, and then to the console's page with a fresh link.
pub(super) async fn figures(dev: &Dev) -> Answered {
    let today = time::day(dev.now(), dev.0.funnel.time_zone);
    script::roll_up(dev, json!({"date": today.to_string()})).await?;
    see_other(&format!("/console?t={}", token(dev)?))
}

fn token(dev: &Dev) -> Result<String, Failure> {
    let valid_for = Some(TimeDelta::hours(CONSOLE_LINK_HOURS));
    Ok(dev.0.links.sign(Purpose::Console, &Id::parse(OPERATOR)?, valid_for, dev.now()))
}

fn session(dev: &Dev, id: &str) -> Result<Session, Problem> {
    dev.0
        .checkout
        .session(id)
        .ok_or_else(|| Problem::new(Status::NotFound, "there is no such Checkout session"))
}

/// `GET /local/checkout/{id}`.
pub(super) fn checkout(dev: &Dev, asked: &Asked, id: &str) -> Answered {
    let session = session(dev, id)?;
    let currency = session.currency.to_ascii_uppercase();
    let state = match session.paid_at {
        Some(_) => "paid",
        None if dev.now() >= session.expires_at() => "expired",
        None => "open",
    };
    let page = context! {
        state,
        id => &session.id,
        product => &session.product,
        price => format::money(session.amount_total, &currency),
        email => session.customer_email.as_deref(),
        merchant => &dev.0.funnel.sender.name,
        success_url => &session.success_url,
        cancel_url => session.cancel_url.as_deref(),
    };
    show(dev, asked, "checkout.html", &page)
}

/// `POST /local/checkout/{id}/pay`: a browser goes to where Stripe would send it.
pub(super) async fn pay(dev: &Dev, asked: &Asked, id: &str) -> Answered {
    let paid = dev.0.checkout.pay(dev.cloud(), id).await.map_err(not_paid)?;
    dev.settle().await;
    if !asked.wants_html {
        return Ok(front::json(
            &json!({"id": paid.id, "paid_at": paid.paid_at.map(time::iso), "success_url": paid.success_url}),
        ));
    }
    see_other(Url::parse(&paid.success_url)?.as_str())
}

fn not_paid(error: PayError) -> Failure {
    match error {
        PayError::Unknown => Problem::new(Status::NotFound, "there is no such Checkout session").into(),
        PayError::Expired => {
            Problem::new(Status::Gone, "this Checkout session has expired; apply once more").into()
        }
        PayError::NotHeard(status) => {
            let detail = format!(
                "it is paid, but the webhook was answered with {}; pay again to send it again",
                status.as_u16()
            );
            Problem::new(Status::Unavailable, &detail).into()
        }
        PayError::Shelf(error) => error.into(),
    }
}
