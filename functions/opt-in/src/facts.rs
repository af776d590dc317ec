//! Facts that other systems tell: `POST /facts` with a token from `michi token NAME`.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    email_address::EmailAddress,
    event::{Event, Fact},
    id::Id,
    lead::Mailing,
    limits::{CLOCK_SKEW_SECONDS, FACT_AGE_DAYS, FACT_VALUES},
    text::{LongText, ShortText},
};
use serde_json::json;
use web::{
    answer::{self, Answer},
    form::Form,
    link::Purpose,
    problem::{Failure, Problem, Status},
    request::Request,
};

use crate::OptIn;

/// A told fact whose every field has been checked.
struct Told {
    lead_id: Id,
    key: ShortText,
    fact: Id,
    values: BTreeMap<String, String>,
    at: DateTime<Utc>,
}

impl OptIn {
    pub(crate) async fn fact(&self, request: &Request) -> Result<Answer, Failure> {
        let token = request.header("authorization").and_then(|header| header.strip_prefix("Bearer "));
        let wrong = || {
            Problem::new(Status::Unauthorized, "send `Authorization: Bearer` and a token of `michi token`")
        };
        let token = token.ok_or_else(wrong)?;
        let teller = self.links.verify(Purpose::Api, token.trim(), self.cloud.now()).map_err(|_| wrong())?;
        let told = self.read_fact(request.form()?)?;
        // Michi writes to nobody who did not agree, so a fact makes no lead.
        let lead = self.tables.lead(&told.lead_id).await?;
        if lead.is_none_or(|lead| lead.mailing == Mailing::Pending) {
            return Err(Problem::new(Status::NotFound, "nobody with this address ever opted in").into());
        }
        let key = format!("{}.{}.{}.{}", told.lead_id, told.fact, teller, told.key.as_str());
        let fact = Fact::Told { fact: told.fact, values: told.values };
        let event = Event::about(&told.lead_id, &key, fact, told.at, self.funnel.time_zone);
        // A repeat after midnight would fall into another day; her timeline knows it all the same.
        let new = !self.tables.is_told(&event).await? && self.tables.add_event(&event).await?;
        Ok(answer::json(200, &json!({"status": if new { "told" } else { "known" }})))
    }

    fn read_fact(&self, mut form: Form) -> Result<Told, Problem> {
        let known = || self.funnel.facts.iter().map(|fact| fact.id.as_str()).collect::<Vec<_>>().join(", ");
        let fact = form.required("fact", |text| {
            let fact = self.funnel.facts.iter().find(|fact| fact.id.as_str() == text);
            fact.map(|fact| fact.id.clone())
                .ok_or_else(|| format!("is not a fact of this funnel; known: {}", known()))
        });
        let email = form.required("email", EmailAddress::parse);
        let key = form.required("key", ShortText::parse);
        let now = self.cloud.now();
        let at = form.optional("at", |text| moment(text, now)).unwrap_or(now);
        let values = form.group("values.");
        if values.len() > FACT_VALUES {
            form.wrong("values", &format!("may have {FACT_VALUES} entries at most"));
        }
        for (name, value) in &values {
            if let Err(error) = LongText::parse(value) {
                form.wrong(&format!("values.{name}"), &error.to_string());
            } else if name.ends_with("_url") && !value.starts_with("https://") {
                form.wrong(&format!("values.{name}"), "must begin with https://: mails link to it");
            }
        }
        let told = match (email, key, fact) {
            (Some(email), Some(key), Some(fact)) => {
                Some(Told { lead_id: self.keys.lead_id(&email), key, fact, values, at })
            }
            _ => None,
        };
        form.finish(told)
    }
}

fn moment(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let at = DateTime::parse_from_rfc3339(text)
        .map_err(|_| "must be a time such as 2027-03-01T10:00:00+09:00".to_owned())?
        .to_utc();
    if at > now + TimeDelta::seconds(CLOCK_SKEW_SECONDS) {
        return Err("lies in the future".to_owned());
    }
    if at < now - TimeDelta::days(FACT_AGE_DAYS) {
        return Err(format!("lies more than {FACT_AGE_DAYS} days back"));
    }
    Ok(at.min(now))
}
