//! Synthetic people: when they come, what they do with each mail, and how far they go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use content::{
    Funnel,
    funnel::{Attribute, AttributeKind},
    simulation::{Doing, People},
};
use serde_json::{Value, json};

use super::{
    Options, SimulationError,
    hands::{Hands, MACHINE, Newcomer, PERSON, token_in},
    luck::Luck,
    minutes,
};
use crate::{aws::mail::Mail, engine::LocalCloud, functions::Secrets};

/// The fact from which most behaviour counts.
const OPTED_IN: &str = "opted_in";
/// Sizes of companies, drawn where an attribute is a number.
const NUMBERS: [i64; 5] = [8, 40, 150, 600, 2500];

/// Something that somebody is going to do.
enum Act {
    Visit { person: usize },
    OptIn { person: usize },
    Confirm { person: usize, url: String },
    Do { person: usize, behaviour: usize, time: u32 },
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
    /// Facts and pages of the funnel's `[[behaviour]]`.
    did: BTreeSet<String>,
}

/// Everybody, and what they are going to do, in order of time.
pub struct Crowd<'a> {
    hands: Hands<'a>,
    funnel: Arc<Funnel>,
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
        let mut crowd = Self {
            hands: Hands::new(cloud, &funnel, secrets),
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
        let cloud = self.hands.cloud;
        loop {
            let person = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let Some(next) =
                [person, cloud.next_due()].into_iter().flatten().min().filter(|next| *next < end)
            else {
                break;
            };
            cloud.advance_to(next).await;
            self.read_mail();
            while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= next) {
                let act = entry.remove();
                self.act(act).await?;
                cloud.settle().await;
                self.read_mail();
            }
            tick(next);
        }
        cloud.advance_to(end).await;
        Ok(())
    }

    fn kind(&self, person: usize) -> &People {
        let people = &self.funnel.simulation.people;
        let kind = self.luck.choose(person, "kind", people.iter().map(|people| people.share));
        people.get(kind).unwrap_or(&people[0])
    }

    /// Each mail that arrived makes its reader plan what to do about it.
    fn read_mail(&mut self) {
        for mail in self.hands.cloud.take_mails() {
            let Some(person) = mail.to.first().and_then(|to| person_of(to)) else { continue };
            if person >= self.memories.len() {
                continue;
            }
            self.remember_links(person, &mail);
            self.react(person, &mail);
        }
    }

    fn remember_links(&mut self, person: usize, mail: &Mail) {
        let (booking, apply) = (token_in(mail, "booking"), token_in(mail, "apply"));
        let now = self.hands.now();
        let wants_to_book = !self.memories[person].booked
            && self.memories[person].booking_token.is_none()
            && booking.is_some();
        if let Some(rates) = self.funnel.simulation.consultations.as_ref().filter(|_| wants_to_book)
            && self.luck.strikes(person, "book", self.kind(person).book)
        {
            let (from, until) = rates.book_after_hours;
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
        // Her luck with a mail belongs to its step, not to the moment at which she entered: another
        // version of the funnel meets the same people.
        let tag = |name: &str| mail.tags.get(name).map(String::as_str).unwrap_or_default();
        let occasion = |what: &str| format!("{what} {}/{}", tag("sequence"), tag("step"));
        let rates = self.funnel.simulation.mails.clone();
        let People { open, click, unsubscribe, .. } = *self.kind(person);
        let now = self.hands.now();
        if let Some(link) = mail.links.iter().find(|link| link.href.contains("/confirm?")) {
            if self.luck.strikes(person, "confirm", self.funnel.simulation.confirm) {
                let after = self.luck.between(person, "confirm after", 1, 60);
                self.plan(now + minutes(after), Act::Confirm { person, url: link.href.clone() });
            }
            return;
        }
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

    /// Whatever the funnel's `[[behaviour]]` says comes after this.
    fn follow(&mut self, person: usize, what: &str) {
        let now = self.hands.now();
        let mut plans = vec![];
        for (number, behaviour) in self.funnel.simulation.behaviour.iter().enumerate() {
            let occasion = format!("behaviour {number}");
            if behaviour.after != what || !self.luck.strikes(person, &occasion, behaviour.of) {
                continue;
            }
            let (from, until) = behaviour.after_hours;
            let mut at = now;
            for time in 0..behaviour.times {
                let minutes_later =
                    self.luck.between(person, &format!("{occasion} after {time}"), from * 60, until * 60);
                at += minutes(minutes_later);
                plans.push((at, Act::Do { person, behaviour: number, time }));
            }
        }
        for (at, act) in plans {
            self.plan(at, act);
        }
    }

    async fn act(&mut self, act: Act) -> Result<(), SimulationError> {
        let cloud = self.hands.cloud;
        match act {
            Act::Visit { person } => self.hands.visit(&visitor(person), "landing").await,
            Act::OptIn { person } => self.opt_in(person).await,
            Act::Confirm { person, url } => {
                self.hands.confirm(&url).await?;
                self.follow(person, OPTED_IN);
                Ok(())
            }
            Act::Do { person, behaviour, time } => self.behave(person, behaviour, time).await,
            Act::Open { mail, machine } => {
                cloud.open(&mail, if machine { MACHINE } else { PERSON });
                Ok(())
            }
            Act::Click { mail } => {
                if let Some(link) = mail.visible_links().find(|link| link.tracked) {
                    cloud.click(&mail, &link.href, PERSON);
                }
                Ok(())
            }
            Act::Unsubscribe { mail } => self.hands.unsubscribe(&mail).await,
            Act::Complain { mail } => {
                cloud.complain(&mail);
                Ok(())
            }
            Act::Book { person } => self.book(person).await,
            Act::Cancel { manage_url } => {
                self.cancelled.extend(self.hands.cancel(&manage_url).await?);
                Ok(())
            }
            Act::Reschedule { person, manage_url } => self.reschedule(person, &manage_url).await,
            Act::Meet { person, consultation_id, start } => self.meet(person, &consultation_id, start).await,
            Act::Buy { person } => self.buy(person).await,
        }
    }

    async fn opt_in(&mut self, person: usize) -> Result<(), SimulationError> {
        let simulation = &self.funnel.simulation;
        let bounces = self.luck.strikes(person, "bounce", simulation.mails.bounce);
        let weights = simulation.sources.iter().map(|(_, weight)| *weight);
        let source = simulation.sources.get(self.luck.choose(person, "source", weights));
        let asked = self.funnel.attributes.iter().filter(|attribute| attribute.ask);
        let attributes = asked.map(|attribute| (attribute.id.to_string(), self.attribute(person, attribute)));
        let attributes: serde_json::Map<String, Value> = attributes.collect();
        self.hands
            .opt_in(&Newcomer {
                email: &address_of(person, bounces),
                name: &format!("見込 {person}"),
                visitor: &visitor(person),
                source: source.map(|(name, _)| name.as_str()),
                lead_magnet: self.funnel.lead_magnets.first().map(|magnet| magnet.id.as_str()),
                attributes: Value::Object(attributes),
            })
            .await?;
        self.memories[person].opted_in_at = Some(self.hands.now());
        if !self.funnel.double_opt_in {
            self.follow(person, OPTED_IN);
        }
        Ok(())
    }

    fn attribute(&self, person: usize, attribute: &Attribute) -> Value {
        let occasion = format!("attribute {}", attribute.id);
        let one_of = |count: usize| self.luck.choose(person, &occasion, std::iter::repeat_n(1, count));
        match &attribute.kind {
            AttributeKind::Text => json!("株式会社見本"),
            AttributeKind::Number => json!(NUMBERS.get(one_of(NUMBERS.len())).copied().unwrap_or(0)),
            AttributeKind::Choice(choices) => json!(choices.get(one_of(choices.len()))),
        }
    }

    async fn behave(&mut self, person: usize, number: usize, time: u32) -> Result<(), SimulationError> {
        let Some(behaviour) = self.funnel.simulation.behaviour.get(number).cloned() else { return Ok(()) };
        let gave_up = behaviour.unless.as_ref().is_some_and(|did| self.memories[person].did.contains(did));
        if gave_up {
            return Ok(());
        }
        let bounces = self.luck.strikes(person, "bounce", self.funnel.simulation.mails.bounce);
        let name = match &behaviour.what {
            Doing::Fact(fact) => {
                let key = format!("{person}-{number}-{time}");
                self.hands.tell(fact.as_str(), &address_of(person, bounces), &key).await?;
                fact.to_string()
            }
            Doing::Page(page) => {
                self.hands.visit(&visitor(person), page.as_str()).await?;
                page.to_string()
            }
        };
        self.memories[person].did.insert(name.clone());
        self.follow(person, &name);
        Ok(())
    }

    async fn book(&mut self, person: usize) -> Result<(), SimulationError> {
        let memory = &self.memories[person];
        let Some(token) = memory.booking_token.clone().filter(|_| !memory.booked) else { return Ok(()) };
        for slot in self.wanted_slots(person).await? {
            let Some(appointment) = self.hands.book(&token, &slot).await? else { continue };
            self.memories[person].booked = true;
            let Some(rates) = self.funnel.simulation.consultations.clone() else { return Ok(()) };
            let manage_url = appointment.manage_url;
            let halfway = self.hands.now() + (appointment.start - self.hands.now()) / 2;
            if self.luck.strikes(person, "cancel", rates.cancel) {
                self.plan(halfway, Act::Cancel { manage_url });
            } else if self.luck.strikes(person, "reschedule", rates.reschedule) {
                self.plan(halfway, Act::Reschedule { person, manage_url });
            }
            self.expect_to_meet(person, appointment.consultation_id, appointment.start);
            self.follow(person, "consultation_booked");
            return Ok(());
        }
        Ok(())
    }

    fn expect_to_meet(&mut self, person: usize, consultation_id: String, start: DateTime<Utc>) {
        self.plan(start + TimeDelta::hours(1), Act::Meet { person, consultation_id, start });
    }

    async fn wanted_slots(&mut self, person: usize) -> Result<Vec<String>, SimulationError> {
        let Some(rates) = &self.funnel.simulation.consultations else { return Ok(vec![]) };
        let (from, until) = rates.slot_after_hours;
        let later = TimeDelta::hours(self.luck.between(person, "slot after", from, until));
        let mut slots = self.hands.slots(self.hands.now() + later).await?;
        slots.truncate(5);
        Ok(slots)
    }

    async fn reschedule(&mut self, person: usize, manage_url: &str) -> Result<(), SimulationError> {
        for slot in self.wanted_slots(person).await? {
            if let Some(appointment) = self.hands.reschedule(manage_url, &slot).await? {
                self.expect_to_meet(person, appointment.consultation_id, appointment.start);
                break;
            }
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
        let Some(rates) = self
            .funnel
            .simulation
            .consultations
            .clone()
            .filter(|_| !self.cancelled.contains(consultation_id))
        else {
            return Ok(());
        };
        let sales = self.funnel.simulation.sales.clone();
        let attended = self.luck.strikes(person, "attend", rates.attend);
        let buyer = sales.filter(|sales| attended && self.luck.strikes(person, "buy", sales.buy));
        let outcome = match (&buyer, attended) {
            (Some(_), _) => "won",
            (None, true) => "lost",
            (None, false) => "missed",
        };
        // Else it was moved, and this was its earlier time.
        let stood = self.hands.conclude(consultation_id, outcome).await?;
        if stood && attended {
            self.follow(person, "consultation_held");
        }
        let Some(sales) = buyer.filter(|_| stood) else { return Ok(()) };
        let (from, until) = sales.buy_after_hours;
        let at = start + TimeDelta::hours(1 + self.luck.between(person, "buy after", from, until));
        self.memories[person].wants_to_buy = Some(at);
        if self.memories[person].apply_token.is_some() {
            self.plan(at, Act::Buy { person });
        }
        Ok(())
    }

    async fn buy(&mut self, person: usize) -> Result<(), SimulationError> {
        let memory = &self.memories[person];
        let Some(token) = memory.apply_token.clone().filter(|_| !memory.bought) else { return Ok(()) };
        let Some(sales) = &self.funnel.simulation.sales else { return Ok(()) };
        let weights = sales.plans.iter().map(|(_, weight)| *weight);
        let Some((plan, _)) = sales.plans.get(self.luck.choose(person, "plan", weights)) else {
            return Ok(());
        };
        let plan = plan.clone();
        self.hands.buy(&token, &plan).await?;
        self.memories[person].bought = true;
        self.follow(person, "customer_paid");
        Ok(())
    }
}

fn visitor(person: usize) -> String {
    format!("v-{person}")
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
