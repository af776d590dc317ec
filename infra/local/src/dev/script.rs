//! What the pages do, for scripts.

use chrono::{DateTime, Utc};
use domain::id::Id;
use domain::time::iso;
use serde_json::{Map, Number, Value, json};
use web::form::Form;
use web::problem::{Failure, Problem, Status};

use super::advance::Step;
use super::front::{Answered, Asked, json, see_other};
use super::mailbox::{READER, described};
use super::{Dev, inbox};
use crate::aws::mail::Mail;
use crate::aws::meter::Units;
use crate::aws::ses::Reader;

/// The address that readers here have.
const IP: &str = "127.0.0.1";

/// `GET /local/clock`.
pub(super) fn clock(dev: &Dev) -> Value {
    let (now, zone) = (dev.now(), dev.0.funnel.time_zone);
    json!({
        "now": iso(now),
        "time_zone": zone.name(),
        "local": now.with_timezone(&zone).to_rfc3339_opts(chrono::SecondsFormat::Millis, false),
        "next_due": dev.cloud().next_due().map(iso),
    })
}

/// `POST /local/clock`: a browser goes back to where it was.
pub(super) async fn advance(dev: &Dev, asked: &Asked) -> Answered {
    let mut form = asked.form()?;
    let step = form.required("advance", Step::parse);
    let back = form.text("back").filter(|back| is_here(back)).unwrap_or("/local").to_owned();
    let step = form.finish(step)?;
    dev.advance(step).await?;
    match asked.wants_html {
        true => see_other(&back),
        false => Ok(json(&clock(dev))),
    }
}

fn is_here(place: &str) -> bool {
    let rest = place.strip_prefix("/local");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
        && place.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// `GET /local/mails`, oldest first: `to` keeps one reader's, `after` those after a time or a mail.
pub(super) fn mails(dev: &Dev, asked: &Asked) -> Answered {
    let after = asked.query("after").map(After::parse).transpose()?;
    let mails = dev.cloud().mails();
    let wanted = mails.iter().filter(|mail| asked.query("to").is_none_or(|to| goes_to(mail, to)));
    let wanted = wanted.filter(|mail| after.as_ref().is_none_or(|after| after.is_before(mail)));
    Ok(json(&wanted.map(|mail| described(mail)).collect::<Vec<_>>()))
}

/// `DELETE /local/mails?lead_id=…`: a person's mails, and those to the team about her.
pub(super) fn forget(dev: &Dev, asked: &Asked) -> Answered {
    let lead_id = asked.query("lead_id").and_then(|id| Id::parse(id).ok());
    let lead_id = lead_id.ok_or_else(|| Problem::field("lead_id", "must be a lead's id"))?;
    Ok(json(&json!({"forgotten": dev.cloud().forget_mails(&lead_id)})))
}

enum After {
    Time(DateTime<Utc>),
    Mail(u64),
}

impl After {
    fn parse(text: &str) -> Result<Self, Problem> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Mail(id));
        }
        // A plus in a query means a space, but here it can only be an offset's.
        let time = DateTime::parse_from_rfc3339(&text.replace(' ', "+"));
        let time = time.map_err(|_| {
            Problem::field("after", "must be a time such as 2026-11-22T10:00:00Z, or a mail's id")
        })?;
        Ok(Self::Time(time.to_utc()))
    }

    fn is_before(&self, mail: &Mail) -> bool {
        match self {
            Self::Time(time) => mail.sent_at > *time,
            Self::Mail(id) => mail.id > *id,
        }
    }
}

/// Whether a mail goes to this address.
pub(super) fn goes_to(mail: &Mail, address: &str) -> bool {
    mail.to.iter().any(|to| to.eq_ignore_ascii_case(address.trim()))
}

/// `GET /local/mails/{id}`.
pub(super) fn mail(dev: &Dev, id: &str) -> Answered {
    Ok(json(&described(&*inbox::known(dev, id)?)))
}

/// `POST /local/mails/{id}/open`.
pub(super) async fn open(dev: &Dev, asked: &Asked, id: &str) -> Answered {
    let mail = inbox::known(dev, id)?;
    dev.cloud().open(&mail, reader(&asked.form()?));
    dev.settle().await;
    Ok(json(&json!({"id": mail.id, "opened_at": iso(dev.now())})))
}

/// `POST /local/mails/{id}/click`.
pub(super) async fn click(dev: &Dev, asked: &Asked, id: &str) -> Answered {
    let mail = inbox::known(dev, id)?;
    let mut form = asked.form()?;
    let link = form.required("link", |link| match mail.links.iter().any(|known| known.href == link) {
        true => Ok(link.to_owned()),
        false => Err(no_such_link(&mail)),
    });
    let reader_form = form.clone();
    let link = form.finish(link)?;
    let tracked = dev.cloud().click(&mail, &link, reader(&reader_form));
    dev.settle().await;
    Ok(json(&json!({"id": mail.id, "link": link, "tracked": tracked, "clicked_at": iso(dev.now())})))
}

fn no_such_link(mail: &Mail) -> String {
    let links: Vec<&str> = mail.links.iter().map(|link| link.href.as_str()).collect();
    format!("is not a link of this mail; its links: {}", links.join(" "))
}

fn reader(form: &Form) -> Reader<'_> {
    Reader { user_agent: form.text("user_agent").unwrap_or(READER), ip: IP, bot: Some(false) }
}

/// A person with a browser.
pub(super) fn person() -> Reader<'static> {
    Reader { user_agent: READER, ip: IP, bot: Some(false) }
}

/// `POST /local/mails/{id}/complaint`.
pub(super) async fn complaint(dev: &Dev, id: &str) -> Answered {
    let mail = inbox::known(dev, id)?;
    dev.cloud().complain(&mail);
    dev.settle().await;
    Ok(json(&json!({"id": mail.id, "complained_at": iso(dev.now())})))
}

/// `POST /local/nightly`: the roll-up, of one day or of the last few that are over.
pub(super) async fn nightly(dev: &Dev, asked: &Asked) -> Answered {
    let form = asked.form()?;
    let order = form.text("date").map_or_else(|| json!({}), |date| json!({"date": date}));
    Ok(json(&roll_up(dev, order).await?))
}

/// Invokes the roll-up as Scheduler does.
pub(super) async fn roll_up(dev: &Dev, order: Value) -> Result<Value, Failure> {
    let told = dev.cloud().invoke("nightly-aggregation", order).await;
    told.map_err(|problem| match problem.strip_prefix("date: ") {
        Some(reason) => Problem::field("date", reason).into(),
        None => {
            tracing::error!(problem, "the roll-up failed");
            Problem::new(Status::Unavailable, "the roll-up failed; the log says why").into()
        }
    })
}

/// `GET /local/dead-letters`: what no function could read, with the reason if one was given.
pub(super) fn dead_letters(dev: &Dev) -> Value {
    let letters = dev.cloud().dead_letters().into_iter().map(|(queue, message)| {
        let body = serde_json::from_str(&message.body).unwrap_or(Value::String(message.body));
        json!({"queue": queue, "id": message.id, "body": body, "attributes": message.attributes, "sent_at": iso(message.sent_at), "receive_count": message.receive_count})
    });
    letters.collect()
}

/// `GET /local/meter`: what was asked of AWS since the start.
pub(super) fn meter(dev: &Dev) -> Value {
    let meter = dev.cloud().meter();
    let units = |units: &Units| json!({"write_units": number(units.write), "read_units": number(units.read)});
    let tables: Map<String, Value> =
        meter.tables.iter().map(|(table, used)| (table.clone(), units(used))).collect();
    json!({"write_units": number(meter.write_units()), "read_units": number(meter.read_units()), "tables": tables, "calls": meter.calls})
}

/// Hundredths as a number with up to two decimals.
fn number(hundredths: u64) -> Value {
    let whole = hundredths / 100;
    match hundredths % 100 {
        0 => whole.into(),
        rest => {
            let number = format!("{whole}.{rest:02}").parse().ok().and_then(Number::from_f64);
            number.map_or(Value::Null, Value::Number)
        }
    }
}
