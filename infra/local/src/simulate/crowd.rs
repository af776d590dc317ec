//! Synthetic people: when they come, what they do with each mail, and how far they go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::body::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use content::{Funnel, simulation::People};
use serde_json::{Value, json};
use web::link::Links;

use super::{Options, PUBLIC_URL, SimulationError, luck::Luck, minutes};
use crate::{
    aws::{Request, Response, mail::Mail, ses::Reader},
    checkout::Checkout,
    engine::LocalCloud,
    functions::Secrets,
};

const PERSON: Reader<'static> = Reader {
    user_agent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)",
    ip: "198.51.100.7",
    bot: Some(false),
};
const MACHINE: Reader<'static> = Reader { user_agent: "Mozilla/5.0", ip: "203.0.113.9", bot: Some(true) };

/// Something that somebody is going to do.
enum Act {
    Visit { person: usize },
    OptIn { person: usize },
    Open { mail: Arc<Mail>, machine: bool },
    Click { mail: Arc<Mail> },
    Unsubscribe { mail: Arc<Mail> },
    Complain { mail: Arc<Mail> },
    Book { person: usize },
    Cancel { manage_url: String },
    Reschedule { person: usize, manage_url: String },
    Meet { person: usize, consultation_id: String, start: DateTime<Utc> },
    Buy { person: usize },
}

/// What a person has come to know and to want.
#[derive(Default)]
struct Memory {
    opted_in_at: Option<DateTime<Utc>>,
    booking_token: Option<String>,
    apply_token: Option<String>,
    booked: bool,
    wants_to_buy: Option<DateTime<Utc>>,
    bought: bool,
}

/// Everybody, and what they are going to do, in order of time.
pub struct Crowd<'a> {
    cloud: &'a LocalCloud,
    funnel: Arc<Funnel>,
    checkout: Checkout,
    links: Links,
    luck: Luck,
    agenda: BTreeMap<(DateTime<Utc>, u64), Act>,
    planned: u64,
    memories: Vec<Memory>,
    cancelled: BTreeSet<String>,
}

impl<'a> Crowd<'a> {
    /// People who arrive between `start` and `end`, at the hours that the funnel's rates give.
    pub fn new(
        cloud: &'a LocalCloud,
        funnel: Arc<Funnel>,
        secrets: &Secrets,
        options: &Options,
        start: DateTime<Utc>,
        end: DateTime<Utc>,
    ) -> Self {
        let links = Links::new(secrets.keys.link_keys());
        let webhook_secret = secrets.stripe.webhook_secrets.first().map(String::as_str).unwrap_or_default();
        let mut crowd = Self {
            checkout: Checkout::open(cloud, PUBLIC_URL, webhook_secret),
            links,
            cloud,
            luck: Luck::new(options.seed),
            agenda: BTreeMap::new(),
            planned: 0,
            memories: (0..options.leads).map(|_| Memory::default()).collect(),
            cancelled: BTreeSet::new(),
            funnel,
        };
        crowd.arrive(options, start, end);
        crowd
    }

    fn arrive(&mut self, options: &Options, start: DateTime<Utc>, end: DateTime<Utc>) {
        let rate = usize::try_from(self.funnel.simulation.visitors_opt_in.max(1)).unwrap_or(1);
        let visitors = options.leads * 1000 / rate;
        for person in 0..visitors.max(options.leads) {
            let day = self.luck.between(person, "day", 0, i64::from(options.days) - 1);
            let hours = self.funnel.simulation.hours.iter().copied();
            let hour = i64::try_from(self.luck.choose(person, "hour", hours)).unwrap_or(0);
            let second = self.luck.between(person, "second", 0, 3599);
            let at = start + TimeDelta::days(day) + TimeDelta::hours(hour) + TimeDelta::seconds(second);
            self.plan(at.min(end), Act::Visit { person });
            if person < options.leads {
                self.plan(
                    (at + minutes(self.luck.between(person, "reading", 1, 8)))
                        .min(end - TimeDelta::seconds(1)),
                    Act::OptIn { person },
                );
            }
        }
    }

    fn plan(&mut self, at: DateTime<Utc>, act: Act) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), act);
    }

    /// Lives until `end`: time goes from one due instant to the next, the cloud's or a person's.
    ///
    /// # Errors
    /// [`SimulationError`] if the product does what nobody could go on with.
    pub async fn live(
        &mut self,
        end: DateTime<Utc>,
        tick: &mut impl FnMut(DateTime<Utc>),
    ) -> Result<(), SimulationError> {
        loop {
            let person = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let Some(next) =
                [person, self.cloud.next_due()].into_iter().flatten().min().filter(|next| *next < end)
            else {
                break;
            };
            self.cloud.advance_to(next).await;
            self.read_mail();
            while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= next) {
                let act = entry.remove();
                self.act(act).await?;
                self.cloud.settle().await;
                self.read_mail();
            }
            tick(next);
        }
        self.cloud.advance_to(end).await;
        Ok(())
    }

    fn now(&self) -> DateTime<Utc> {
        self.cloud.clock().now()
    }

    fn kind(&self, person: usize) -> &People {
        let people = &self.funnel.simulation.people;
        let kind = self.luck.choose(person, "kind", people.iter().map(|people| people.share));
        people.get(kind).unwrap_or(&people[0])
    }

    /// Each mail that arrived makes its reader plan what to do about it.
    fn read_mail(&mut self) {
        for mail in self.cloud.take_mails() {
            let Some(person) = mail.to.first().and_then(|to| person_of(to)) else { continue };
            self.remember_links(person, &mail);
            self.react(person, &mail);
        }
    }

    fn remember_links(&mut self, person: usize, mail: &Mail) {
        let token = |path: &str| {
            let link = mail.links.iter().find(|link| link.href.starts_with(&format!("{PUBLIC_URL}/{path}?")));
            link.and_then(|link| parameter(&link.href, "t"))
        };
        let (booking, apply) = (token("booking"), token("apply"));
        let now = self.now();
        let wants_to_book = !self.memories[person].booked
            && self.memories[person].booking_token.is_none()
            && booking.is_some();
        if wants_to_book && self.luck.strikes(person, "book", self.kind(person).book) {
            let (from, until) = self.funnel.simulation.consultations.book_after_hours;
            let patience = TimeDelta::hours(self.luck.between(person, "book after", from, until));
            let opted_in_at = self.memories[person].opted_in_at.unwrap_or(now);
            self.plan((opted_in_at + patience).max(now + minutes(20)), Act::Book { person });
        }
        let memory = &mut self.memories[person];
        memory.booking_token = booking.or(memory.booking_token.take());
        let had_apply = memory.apply_token.is_some();
        memory.apply_token = apply.or(memory.apply_token.take());
        if let Some(at) = memory.wants_to_buy.filter(|_| !had_apply && memory.apply_token.is_some()) {
            self.plan(at.max(now + minutes(20)), Act::Buy { person });
        }
    }

    fn react(&mut self, person: usize, mail: &Arc<Mail>) {
        let occasion = |what: &str| {
            format!("{what} {}", mail.tags.get("engagement_id").map(String::as_str).unwrap_or_default())
        };
        let rates = self.funnel.simulation.mails.clone();
        let People { open, click, unsubscribe, .. } = *self.kind(person);
        let now = self.now();
        if self.luck.strikes(person, &occasion("machine"), rates.machine_open) {
            self.plan(now + TimeDelta::seconds(2), Act::Open { mail: Arc::clone(mail), machine: true });
        }
        // One draw decides both: only an opened mail can be clicked.
        let interest = self.luck.between(person, &occasion("open"), 0, 999);
        if interest >= i64::from(open) {
            return;
        }
        let (from, until) = rates.open_after_minutes;
        let opened = now + minutes(self.luck.between(person, &occasion("open after"), from, until));
        self.plan(opened, Act::Open { mail: Arc::clone(mail), machine: false });
        if interest < i64::from(click) {
            let (from, until) = rates.click_after_minutes;
            let clicked = opened + minutes(self.luck.between(person, &occasion("click after"), from, until));
            self.plan(clicked, Act::Click { mail: Arc::clone(mail) });
        } else if self.luck.strikes(person, &occasion("unsubscribe"), unsubscribe * 1000 / open.max(1)) {
            self.plan(opened + minutes(1), Act::Unsubscribe { mail: Arc::clone(mail) });
        } else if self.luck.strikes(person, "complaint", rates.complaint) {
            self.plan(opened + minutes(1), Act::Complain { mail: Arc::clone(mail) });
        }
    }

    async fn act(&mut self, act: Act) -> Result<(), SimulationError> {
        match act {
            Act::Visit { person } => self.visit(person).await,
            Act::OptIn { person } => self.opt_in(person).await,
            Act::Open { mail, machine } => {
                self.cloud.open(&mail, if machine { MACHINE } else { PERSON });
                Ok(())
            }
            Act::Click { mail } => {
                if let Some(link) = mail.links.iter().find(|link| link.tracked) {
                    self.cloud.click(&mail, &link.href, PERSON);
                }
                Ok(())
            }
            Act::Unsubscribe { mail } => self.unsubscribe(&mail).await,
            Act::Complain { mail } => {
                self.cloud.complain(&mail);
                Ok(())
            }
            Act::Book { person } => self.book(person).await,
            Act::Cancel { manage_url } => self.cancel(&manage_url).await,
            Act::Reschedule { person, manage_url } => self.reschedule(person, &manage_url).await,
            Act::Meet { person, consultation_id, start } => self.meet(person, &consultation_id, start).await,
            Act::Buy { person } => self.buy(person).await,
        }
    }

    async fn visit(&mut self, person: usize) -> Result<(), SimulationError> {
        let body = json!({"visitor_id": format!("v-{person}"), "page": "landing"});
        self.post("/visits", &body, &[204]).await.map(|_| ())
    }

    async fn opt_in(&mut self, person: usize) -> Result<(), SimulationError> {
        let simulation = &self.funnel.simulation;
        let bounces = self.luck.strikes(person, "bounce", simulation.mails.bounce);
        let source = simulation.sources.get(self.luck.choose(
            person,
            "source",
            simulation.sources.iter().map(|(_, weight)| *weight),
        ));
        let body = json!({
            "email": address_of(person, bounces),
            "name": format!("見込 {person}"),
            "consent": true,
            "visitor_id": format!("v-{person}"),
            "source": source.map(|(name, _)| name),
            "lead_magnet_type": self.funnel.lead_magnets.first().map(|magnet| magnet.id.as_str()),
        });
        self.memories[person].opted_in_at = Some(self.now());
        self.post("/opt-in", &body, &[200]).await.map(|_| ())
    }

    async fn unsubscribe(&mut self, mail: &Mail) -> Result<(), SimulationError> {
        let header = mail
            .headers
            .iter()
            .find(|(name, _)| name == "List-Unsubscribe")
            .map(|(_, value)| value.trim_matches(['<', '>']).to_owned());
        let Some(url) = header else { return Err(self.broken("a mail without List-Unsubscribe")) };
        let answer = self
            .send("POST", &url, "application/x-www-form-urlencoded", "List-Unsubscribe=One-Click".to_owned())
            .await;
        self.expect(&url, answer, &[200]).map(|_| ())
    }

    async fn book(&mut self, person: usize) -> Result<(), SimulationError> {
        let Some(token) =
            self.memories[person].booking_token.clone().filter(|_| !self.memories[person].booked)
        else {
            return Ok(());
        };
        for slot in self.wanted_slots(person).await? {
            let body = json!({"t": token, "slot": slot, "note": "集客から成約までの流れを相談したいです。"});
            let answer = self.post("/bookings", &body, &[200, 404, 409, 422]).await?;
            let Some(consultation_id) = answer["consultation_id"].as_str() else { continue };
            self.memories[person].booked = true;
            self.after_booking(person, consultation_id, &answer);
            return Ok(());
        }
        Ok(())
    }

    fn after_booking(&mut self, person: usize, consultation_id: &str, answer: &Value) {
        let Some(start) = answer["start"].as_str().and_then(|start| start.parse::<DateTime<Utc>>().ok())
        else {
            return;
        };
        let manage_url = answer["manage_url"].as_str().unwrap_or_default().to_owned();
        let rates = &self.funnel.simulation.consultations;
        let halfway = self.now() + (start - self.now()) / 2;
        if self.luck.strikes(person, "cancel", rates.cancel) {
            self.plan(halfway, Act::Cancel { manage_url });
        } else if self.luck.strikes(person, "reschedule", rates.reschedule) {
            self.plan(halfway, Act::Reschedule { person, manage_url });
        }
        self.plan(
            start + TimeDelta::hours(1),
            Act::Meet { person, consultation_id: consultation_id.to_owned(), start },
        );
    }

    async fn wanted_slots(&mut self, person: usize) -> Result<Vec<String>, SimulationError> {
        let (from, until) = self.funnel.simulation.consultations.slot_after_hours;
        let wanted = self.now() + TimeDelta::hours(self.luck.between(person, "slot after", from, until));
        let answer = self.send("GET", &format!("{PUBLIC_URL}/slots"), "", String::new()).await;
        let answer = self.expect("/slots", answer, &[200])?;
        let slots = answer["slots"].as_array().cloned().unwrap_or_default();
        let text = |slot: &Value, field: &str| slot[field].as_str().unwrap_or_default().to_owned();
        let is_later =
            |slot: &&Value| text(slot, "start").parse::<DateTime<Utc>>().is_ok_and(|start| start >= wanted);
        Ok(slots.iter().filter(is_later).take(5).map(|slot| text(slot, "slot")).collect())
    }

    async fn cancel(&mut self, manage_url: &str) -> Result<(), SimulationError> {
        let (path, token) = managed(manage_url);
        let answer = self.post(&format!("{path}/cancel"), &json!({"t": token}), &[200, 409]).await?;
        self.cancelled.extend(answer["consultation_id"].as_str().map(str::to_owned));
        Ok(())
    }

    async fn reschedule(&mut self, person: usize, manage_url: &str) -> Result<(), SimulationError> {
        let (path, token) = managed(manage_url);
        for slot in self.wanted_slots(person).await? {
            let answer = self
                .post(&format!("{path}/reschedule"), &json!({"t": token, "slot": slot}), &[200, 409, 422])
                .await?;
            let (Some(id), Some(start)) = (answer["consultation_id"].as_str(), answer["start"].as_str())
            else {
                continue;
            };
            if let Ok(start) = start.parse::<DateTime<Utc>>() {
                self.plan(
                    start + TimeDelta::hours(1),
                    Act::Meet { person, consultation_id: id.to_owned(), start },
                );
            }
            break;
        }
        Ok(())
    }

    /// The hour is over: the coach says what came of it.
    async fn meet(
        &mut self,
        person: usize,
        consultation_id: &str,
        start: DateTime<Utc>,
    ) -> Result<(), SimulationError> {
        if self.cancelled.contains(consultation_id) {
            return Ok(());
        }
        let attended = self.luck.strikes(person, "attend", self.funnel.simulation.consultations.attend);
        let buys = attended && self.luck.strikes(person, "buy", self.funnel.simulation.sales.buy);
        let outcome = if buys {
            "won"
        } else if attended {
            "lost"
        } else {
            "missed"
        };
        let path = format!(
            "/console/consultations/{consultation_id}/outcome?t={}",
            self.links.sign_console(self.now())
        );
        // 409: it was moved, and this was its earlier time.
        let answer = self.post(&path, &json!({"outcome": outcome}), &[200, 409]).await?;
        if answer["consultation_id"].is_null() || !buys {
            return Ok(());
        }
        let (from, until) = self.funnel.simulation.sales.buy_after_hours;
        let at = start + TimeDelta::hours(1 + self.luck.between(person, "buy after", from, until));
        self.memories[person].wants_to_buy = Some(at);
        if self.memories[person].apply_token.is_some() {
            self.plan(at, Act::Buy { person });
        }
        Ok(())
    }

    async fn buy(&mut self, person: usize) -> Result<(), SimulationError> {
        let Some(token) = self.memories[person].apply_token.clone().filter(|_| !self.memories[person].bought)
        else {
            return Ok(());
        };
        let plans = &self.funnel.simulation.sales.plans;
        let plan = plans
            .get(self.luck.choose(person, "plan", plans.iter().map(|(_, weight)| *weight)))
            .map(|(id, _)| id.clone());
        let answer = self.post("/applications", &json!({"t": token, "plan": plan}), &[200]).await?;
        let session = answer["checkout_url"]
            .as_str()
            .and_then(|url| url.rsplit('/').next())
            .unwrap_or_default()
            .to_owned();
        let paid = self.checkout.pay(self.cloud, &session).await;
        paid.map_err(|error| self.broken(&format!("paying: {error}")))?;
        self.memories[person].bought = true;
        Ok(())
    }

    async fn post(&self, path: &str, body: &Value, expected: &[u16]) -> Result<Value, SimulationError> {
        let answer =
            self.send("POST", &format!("{PUBLIC_URL}{path}"), "application/json", body.to_string()).await;
        self.expect(path, answer, expected)
    }

    async fn send(&self, method: &str, url: &str, content_type: &str, body: String) -> Response {
        let request = axum::http::Request::builder()
            .method(method)
            .uri(url)
            .header("content-type", content_type)
            .header("accept", "application/json");
        let request: Request = request.body(Bytes::from(body)).unwrap_or_default();
        self.cloud.http(request).await
    }

    fn expect(&self, path: &str, answer: Response, expected: &[u16]) -> Result<Value, SimulationError> {
        let status = answer.status().as_u16();
        if !expected.contains(&status) {
            let path = path.split('?').next().unwrap_or_default();
            return Err(
                self.broken(&format!("{path} answered {status}: {}", String::from_utf8_lossy(answer.body())))
            );
        }
        Ok(serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
    }

    fn broken(&self, what: &str) -> SimulationError {
        SimulationError::Product { at: self.now(), what: what.to_owned() }
    }
}

/// Bouncing addresses are those of SES's mailbox simulator.
fn address_of(person: usize, bounces: bool) -> String {
    match bounces {
        true => format!("bounce+{person}@simulator.amazonses.com"),
        false => format!("person+{person}@people.example.com"),
    }
}

fn person_of(address: &str) -> Option<usize> {
    address.split_once('+')?.1.split_once('@')?.0.parse().ok()
}

fn parameter(url: &str, name: &str) -> Option<String> {
    url::Url::parse(url).ok()?.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn managed(url: &str) -> (String, String) {
    let path = url.strip_prefix(PUBLIC_URL).unwrap_or(url).split('?').next().unwrap_or_default().to_owned();
    (path, parameter(url, "t").unwrap_or_default())
}
