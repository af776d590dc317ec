//! The people and operators of a run: what they do, over the product's own doors, and what they
//! were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use cloud::{StartError, erase as erasure, keys::Keys, tables::Tables, timers::Timers};
use domain::email_address::EmailAddress;
use michi::aws::{Request, mail::Mail, ses::Reader};
use michi::checkout::Checkout;
use michi::engine::{Handler, LocalCloud};
use michi::functions::cloud_of;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use web::link::Links;

use crate::auditor::{Deed, Person};
use crate::storm::Shared;

/// The pages' address.
pub const PUBLIC_URL: &str = "https://michi.example.com";
/// Where machines come from; everybody else is a person.
pub const MACHINES: &str = "203.0.113.";

const BROWSER: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15";
const HUMAN: Reader<'static> = Reader { user_agent: BROWSER, ip: "198.51.100.7", bot: Some(false) };
const SCANNER: Reader<'static> = Reader { user_agent: BROWSER, ip: "203.0.113.9", bot: Some(true) };
const PROXY: Reader<'static> = Reader { user_agent: "Mozilla/5.0", ip: "203.0.113.10", bot: None };

/// Zones with clock changes of all kinds, one without, and one that does not exist.
const ZONES: [&str; 8] = [
    "Asia/Tokyo",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Pacific/Kiritimati",
    "Mars/Olympus_Mons",
];

/// Bodies with which mailboxes press the button of RFC 8058, and with which some do it wrong.
const WAYS_TO_LEAVE: [(&str, &str); 4] = [
    ("application/x-www-form-urlencoded", "List-Unsubscribe=One-Click"),
    ("application/x-www-form-urlencoded", ""),
    ("text/plain", "List-Unsubscribe=One-Click"),
    (
        "multipart/form-data; boundary=x",
        "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n",
    ),
];

/// What somebody chooses on the preference page.
#[derive(Clone, Copy, Debug)]
pub enum Choice {
    Pause,
    TopicOff,
    Weekly,
}

/// Something that somebody has set out to do.
#[derive(Clone, Debug)]
pub enum Act {
    OptIn {
        who: usize,
        magnet: &'static str,
        twice: bool,
        tries: u32,
    },
    Open {
        mail: Arc<Mail>,
        machine: bool,
    },
    Click {
        mail: Arc<Mail>,
        machine: bool,
    },
    Leave {
        who: usize,
        tries: u32,
    },
    Complain {
        mail: Arc<Mail>,
    },
    Prefer {
        who: usize,
        url: String,
        choice: Choice,
        tries: u32,
    },
    Book {
        who: usize,
        token: String,
        tries: u32,
    },
    Move {
        who: usize,
        url: String,
        tries: u32,
    },
    Cancel {
        who: usize,
        url: String,
        tries: u32,
    },
    Apply {
        who: usize,
        token: String,
        tries: u32,
    },
    Pay {
        session: String,
        tries: u32,
    },
    Conclude {
        consultation: String,
        outcome: &'static str,
        tries: u32,
    },
    Broadcast {
        command: &'static str,
        tries: u32,
    },
    /// The operator erases somebody; in two goes, with a break longer than a function may run.
    Erase {
        who: String,
        finish: bool,
        tries: u32,
    },
    /// The functions are deployed anew.
    Deploy,
}

/// What people do about the mails that they get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Lively,
    Scripted,
    Still,
}

/// Everybody, and what they mean to do.
pub struct People {
    pub cloud: LocalCloud,
    pub shared: Arc<Shared>,
    pub checkout: Checkout,
    links: Links,
    luck: ChaCha8Rng,
    agenda: BTreeMap<(DateTime<Utc>, u64), Act>,
    planned: u64,
    booked: BTreeSet<usize>,
    /// What people may book with, from their mails.
    tokens: BTreeMap<usize, String>,
    applied: BTreeSet<usize>,
    /// Bookings that are still to be moved, if that is not left to luck.
    moves: Option<u32>,
    /// The slot that somebody chose last.
    wanted: Option<String>,
    /// Checkout sessions whose payment was heard.
    pub paid: BTreeSet<String>,
    /// Asked to deploy the functions anew.
    pub deploy: bool,
}

fn address(who: usize) -> String {
    // The last of every five is dead.
    match who % 5 {
        4 => format!("bounce+{who}@simulator.amazonses.com"),
        _ => format!("hanako.{who}@people.example"),
    }
}

impl People {
    pub fn new(
        cloud: LocalCloud,
        shared: Arc<Shared>,
        checkout: Checkout,
        links: Links,
        luck: ChaCha8Rng,
    ) -> Self {
        Self {
            cloud,
            shared,
            checkout,
            links,
            luck,
            agenda: BTreeMap::new(),
            planned: 0,
            booked: BTreeSet::new(),
            tokens: BTreeMap::new(),
            applied: BTreeSet::new(),
            moves: None,
            wanted: None,
            paid: BTreeSet::new(),
            deploy: false,
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.cloud.clock().now()
    }

    fn within(&mut self, hours: i64) -> TimeDelta {
        TimeDelta::seconds(self.luck.random_range(1..=hours * 3600))
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.luck.random_range(0..count) == 0
    }

    /// Sets out to do something.
    pub fn plan(&mut self, at: DateTime<Utc>, act: Act) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), act);
    }

    /// When somebody wants to do something next.
    pub fn next(&self) -> Option<DateTime<Utc>> {
        self.agenda.first_key_value().map(|((at, _), _)| *at)
    }

    /// When the operator goes on with an erasure that has begun, if one has.
    pub fn finishes_erasing(&self) -> Option<DateTime<Utc>> {
        let finishing = |act: &&Act| matches!(act, Act::Erase { finish: true, .. });
        self.agenda.iter().filter(|(_, act)| finishing(act)).map(|((at, _), _)| *at).max()
    }

    /// A few people, who come within a day and a half, and an operator.
    pub fn gather(&mut self) {
        let count = self.luck.random_range(1..=4);
        let first = self.luck.random_range(0..5);
        for who in first..first + count {
            let at = self.now() + self.within(30);
            let twice = self.one_in(4);
            self.plan(at, Act::OptIn { who, magnet: "guide", twice, tries: 0 });
            if self.one_in(3) {
                let again = at + self.within(24);
                let magnet = if self.one_in(2) { "guide" } else { "catalogue" };
                self.plan(again, Act::OptIn { who, magnet, twice: false, tries: 0 });
            }
        }
        if self.one_in(2) {
            let at = self.now() + TimeDelta::hours(24) + self.within(10);
            self.plan(at, Act::Broadcast { command: "plan", tries: 0 });
            self.plan(at + TimeDelta::hours(1), Act::Broadcast { command: "start", tries: 0 });
        }
        if self.one_in(3) {
            let at = self.now() + self.within(50);
            self.plan(at, Act::Deploy);
        }
    }

    /// So many people who opt in and then do nothing, and a broadcast to all of them.
    pub fn crowd(&mut self, count: usize) {
        for who in 0..count {
            let at = self.now() + self.within(2);
            // Living addresses only.
            let who = who / 4 * 5 + who % 4;
            self.plan(at, Act::OptIn { who, magnet: "guide", twice: false, tries: 0 });
        }
        let at = self.now() + TimeDelta::hours(26);
        self.plan(at, Act::Broadcast { command: "plan", tries: 0 });
        self.plan(at + TimeDelta::hours(2), Act::Broadcast { command: "start", tries: 0 });
    }

    /// One person who does everything once, and whom nothing surprises; and one who gets the broadcast,
    /// does nothing and is erased, so that the auditor can still look at all of the first.
    pub fn scripted(&mut self) {
        self.moves = Some(1);
        let at = self.now();
        self.plan(at, Act::OptIn { who: 0, magnet: "guide", twice: false, tries: 0 });
        self.plan(at + TimeDelta::hours(30), Act::Broadcast { command: "plan", tries: 0 });
        self.plan(at + TimeDelta::hours(31), Act::Broadcast { command: "start", tries: 0 });
        let (comes, goes) = (at + TimeDelta::hours(25), at + TimeDelta::hours(50));
        self.plan(comes, Act::OptIn { who: 1, magnet: "guide", twice: false, tries: 0 });
        self.plan(goes, Act::Erase { who: address(1), finish: false, tries: 0 });
    }

    /// Does what is due, and lets everything happen that follows.
    pub async fn act(&mut self, manner: Manner) {
        while let Some(entry) =
            self.agenda.first_entry().filter(|entry| entry.key().0 <= self.cloud.clock().now())
        {
            let act = entry.remove();
            self.deed(act).await;
            self.cloud.settle().await;
            self.read_mail(manner);
        }
        let begun = std::mem::take(&mut self.shared.lock().erasing);
        for who in begun {
            let at = self.now() + TimeDelta::minutes(10);
            self.plan(at, Act::Erase { who, finish: true, tries: 0 });
        }
    }

    async fn deed(&mut self, act: Act) {
        let later = self.now() + TimeDelta::seconds(45);
        match act {
            Act::OptIn { who, magnet, twice, tries } => {
                let status = self.opt_in(who, magnet).await;
                if twice {
                    self.opt_in(who, magnet).await;
                }
                self.again(status, tries, later, |tries| Act::OptIn { who, magnet, twice: false, tries });
            }
            Act::Open { mail, machine } => self.cloud.open(&mail, if machine { PROXY } else { HUMAN }),
            Act::Click { mail, machine } => {
                let link = mail.links.iter().find(|link| link.tracked && link.href.starts_with(PUBLIC_URL));
                if let Some(link) = link {
                    self.cloud.click(&mail, &link.href, if machine { SCANNER } else { HUMAN });
                }
            }
            Act::Complain { mail } => {
                let who = mail.to.first().cloned().unwrap_or_default();
                self.shared.lock().auditor.deed(&who, Deed::Complains);
                self.cloud.complain(&mail);
            }
            Act::Leave { who, tries } => {
                let url = self.shared.lock().ways_out.get(&address(who)).cloned();
                let Some(url) = url else { return };
                let status = self.leave(who, &url).await;
                self.again(status, tries, later, |tries| Act::Leave { who, tries });
            }
            Act::Prefer { who, url, choice, tries } => {
                let status = self.prefer(who, &url, choice).await;
                self.again(status, tries, later, |tries| Act::Prefer { who, url, choice, tries });
            }
            Act::Book { who, token, tries } => {
                let status = self.book(who, &token).await;
                self.again(status, tries, later, |tries| Act::Book { who, token, tries });
            }
            Act::Move { who, url, tries } => {
                self.shared.lock().auditor.deed(&address(who), Deed::Rearranges);
                let status = self.reschedule(who, &url).await;
                self.again(status, tries, later, |tries| Act::Move { who, url, tries });
            }
            Act::Cancel { who, url, tries } => {
                self.shared.lock().auditor.deed(&address(who), Deed::Rearranges);
                let (path, token) = managed(&url);
                let status = self.post(&format!("{path}/cancel"), &json!({"t": token})).await.0;
                match status {
                    200 => self.shared.lock().auditor.cancelled(&booking_of(&path)),
                    500.. => self.shared.lock().auditor.unclear(&booking_of(&path)),
                    _ => {}
                }
                self.again(status, tries, later, |tries| Act::Cancel { who, url, tries });
            }
            Act::Apply { who, token, tries } => {
                self.shared.lock().auditor.deed(&address(who), Deed::Applies);
                let body = json!({"t": token, "plan": "course"});
                let (status, answer) = self.post("/applications", &body).await;
                if let Some(session) = answer["checkout_url"].as_str().and_then(|url| url.rsplit('/').next())
                {
                    let session = session.to_owned();
                    self.plan(later, Act::Pay { session, tries: 0 });
                }
                self.again(status, tries, later, |tries| Act::Apply { who, token, tries });
            }
            Act::Pay { session, tries } => self.pay(session, tries).await,
            Act::Conclude { consultation, outcome, tries } => {
                let token = self.links.sign_console(self.now());
                let path = format!("/console/consultations/{consultation}/outcome?t={token}");
                let status = self.post(&path, &json!({"outcome": outcome})).await.0;
                self.again(status, tries, later, |tries| Act::Conclude { consultation, outcome, tries });
            }
            Act::Broadcast { command, tries } => {
                let token = self.links.sign_console(self.now());
                let path = format!("/console/broadcasts/news?t={token}");
                let status = self.post(&path, &json!({"command": command})).await.0;
                self.again(status, tries, later, |tries| Act::Broadcast { command, tries });
            }
            Act::Erase { who, finish, tries } => {
                let done = erase(&self.cloud, &who, finish).await;
                let (at, tries) = (self.now() + TimeDelta::minutes(10), tries + 1);
                match done {
                    true if finish => {}
                    true => self.plan(at, Act::Erase { who, finish: true, tries: 0 }),
                    false if tries > 600 => {}
                    false => self.plan(at, Act::Erase { who, finish, tries }),
                }
            }
            Act::Deploy => self.deploy = true,
        }
    }

    /// Whoever was told of an error, or that somebody else was quicker, tries again, not for ever.
    fn again(&mut self, status: u16, tries: u32, at: DateTime<Utc>, act: impl FnOnce(u32) -> Act) {
        if (status >= 500 || status == 409) && tries < 8 {
            self.plan(at, act(tries + 1));
        }
    }

    async fn opt_in(&mut self, who: usize, magnet: &str) -> u16 {
        let (address, name) = (address(who), format!("見込 花子{who}"));
        let zone = ZONES[who % ZONES.len()];
        let browser = format!("browser-{who}-of-hers");
        let secrets = vec![address.clone(), name.clone(), browser.clone()];
        {
            let mut state = self.shared.lock();
            let known = zone.parse::<Tz>().unwrap_or(Tz::Asia__Tokyo);
            state.auditor.meet(&address, Person { zone: known, secrets });
            state.auditor.deed(&address, Deed::AskedToOptIn);
        }
        let body = json!({"email": address, "name": name, "consent": true, "time_zone": zone,
            "visitor_id": browser, "source": "instagram", "lead_magnet_type": magnet});
        let status = self.post("/opt-in", &body).await.0;
        let mut state = self.shared.lock();
        // It was taken at some time in between; whatever else happened meanwhile may have been before.
        state.auditor.deed(&address, Deed::AskedToOptIn);
        if status == 200 {
            state.auditor.deed(&address, Deed::OptedIn);
        }
        status
    }

    async fn leave(&mut self, who: usize, url: &str) -> u16 {
        let way = self.luck.random_range(0..WAYS_TO_LEAVE.len());
        leave_by(&self.cloud, &self.shared, &address(who), url, WAYS_TO_LEAVE[way]).await
    }

    async fn prefer(&mut self, who: usize, url: &str, choice: Choice) -> u16 {
        let token = parameter(url);
        let until = self.now() + TimeDelta::days(1);
        let (body, deed) = match choice {
            Choice::Pause => {
                let body = json!({"t": token, "topic_news": true, "frequency": "all", "pause": "1"});
                (body, Deed::Paused(until))
            }
            Choice::TopicOff => (json!({"t": token, "frequency": "all", "pause": "none"}), Deed::TopicOff),
            Choice::Weekly => {
                let body = json!({"t": token, "topic_news": true, "frequency": "weekly", "pause": "none"});
                (body, Deed::Weekly)
            }
        };
        self.shared.lock().auditor.deed(&address(who), Deed::Preferred);
        let status = self.post("/preferences", &body).await.0;
        if status == 200 {
            self.shared.lock().auditor.deed(&address(who), deed);
        }
        status
    }

    async fn slot(&mut self) -> Option<String> {
        // Some have had the form open since before somebody else took the slot.
        if self.moves.is_none() && self.wanted.is_some() && self.one_in(3) {
            return self.wanted.clone();
        }
        let answer = self.send("GET", "/slots", "", String::new()).await.1;
        let slots = answer["slots"].as_array().cloned().unwrap_or_default();
        // Everybody wants one of the first.
        let most = slots.len().min(2);
        let at = if most == 0 { return None } else { self.luck.random_range(0..most) };
        self.wanted = slots[at]["slot"].as_str().map(str::to_owned);
        self.wanted.clone()
    }

    async fn book(&mut self, who: usize, token: &str) -> u16 {
        let Some(slot) = self.slot().await else { return 503 };
        self.meet_rival(who, &slot);
        let (status, answer) = self.post("/bookings", &json!({"t": token, "slot": slot})).await;
        self.shared.lock().rival = None;
        self.remember_booking(who, &answer);
        status
    }

    /// Somebody else may want the same time at the same moment.
    fn meet_rival(&self, who: usize, slot: &str) {
        let other = self.tokens.iter().find(|(other, _)| **other != who);
        self.shared.lock().rival = other.map(|(_, token)| json!({"t": token, "slot": slot}));
    }

    async fn reschedule(&mut self, who: usize, url: &str) -> u16 {
        let (path, token) = managed(url);
        let Some(slot) = self.slot().await else { return 503 };
        self.meet_rival(who, &slot);
        let (status, answer) =
            self.post(&format!("{path}/reschedule"), &json!({"t": token, "slot": slot})).await;
        self.shared.lock().rival = None;
        if status >= 500 {
            self.shared.lock().auditor.unclear(&booking_of(&path));
        }
        self.remember_booking(who, &answer);
        status
    }

    fn remember_booking(&mut self, who: usize, answer: &Value) {
        let (Some(id), Some(start)) = (answer["consultation_id"].as_str(), answer["start"].as_str()) else {
            return;
        };
        let Ok(start) = start.parse::<DateTime<Utc>>() else { return };
        self.shared.lock().auditor.promised(id, start);
        let url = answer["manage_url"].as_str().unwrap_or_default().to_owned();
        let (moves, cancels) = match self.moves {
            Some(left) => {
                self.moves = Some(left.saturating_sub(1));
                (left > 0, false)
            }
            None => (self.one_in(4), self.one_in(6)),
        };
        if moves {
            let at = self.now() + TimeDelta::minutes(10);
            self.plan(at, Act::Move { who, url, tries: 0 });
        } else if cancels {
            let at = self.now() + self.within(6);
            self.plan(at, Act::Cancel { who, url, tries: 0 });
        }
        let outcome = if self.moves.is_none() && self.one_in(4) { "missed" } else { "thinking" };
        let told = start + TimeDelta::hours(1);
        self.plan(told, Act::Conclude { consultation: id.to_owned(), outcome, tries: 0 });
    }

    async fn pay(&mut self, session: String, tries: u32) {
        let heard = self.checkout.pay(&self.cloud, &session).await.is_ok();
        if heard {
            self.paid.insert(session.clone());
        }
        // Stripe repeats what it was not told to be heard for days, and now and then what was.
        if (!heard && tries < 30) || self.one_in(5) {
            let at = self.now() + TimeDelta::minutes(10);
            self.plan(at, Act::Pay { session, tries: tries + 1 });
        }
    }

    /// Each mail that arrived makes its reader do something, or nothing.
    pub fn read_mail(&mut self, manner: Manner) {
        for mail in self.cloud.take_mails() {
            let who = (0..10).find(|who| mail.to.first().is_some_and(|to| *to == address(*who)));
            let Some(who) = who else { continue };
            let header = mail.headers.iter().find(|(name, _)| name == "List-Unsubscribe");
            if let Some((_, url)) = header {
                let url = url.trim_matches(['<', '>']).to_owned();
                self.shared.lock().ways_out.insert(address(who), url);
            }
            self.tokens.extend(token_in(&mail, "booking").map(|token| (who, token)));
            match manner {
                Manner::Lively => self.react(who, &mail),
                Manner::Scripted if who == 0 => self.follow_script(who, &mail),
                Manner::Scripted | Manner::Still => {}
            }
        }
    }

    fn react(&mut self, who: usize, mail: &Arc<Mail>) {
        let now = self.now();
        if self.one_in(3) {
            let at = now + TimeDelta::seconds(3);
            self.plan(at, Act::Open { mail: Arc::clone(mail), machine: true });
            if self.one_in(2) {
                self.plan(at, Act::Click { mail: Arc::clone(mail), machine: true });
            }
        }
        if self.one_in(2) {
            let opened = now + TimeDelta::minutes(5) + self.within(6);
            self.plan(opened, Act::Open { mail: Arc::clone(mail), machine: false });
            if self.one_in(2) {
                let at = opened + TimeDelta::minutes(2);
                self.plan(at, Act::Click { mail: Arc::clone(mail), machine: false });
            }
        }
        if let Some(token) = token_in(mail, "booking").filter(|_| !self.booked.contains(&who))
            && self.one_in(2)
        {
            self.booked.insert(who);
            let at = now + self.within(12);
            self.plan(at, Act::Book { who, token, tries: 0 });
        }
        if let Some(token) = token_in(mail, "apply").filter(|_| !self.applied.contains(&who))
            && self.one_in(4)
        {
            self.applied.insert(who);
            let at = now + self.within(30);
            self.plan(at, Act::Apply { who, token, tries: 0 });
        }
        if self.one_in(12) {
            let at = now + self.within(20);
            match self.one_in(4) {
                true => self.plan(at, Act::Erase { who: address(who), finish: false, tries: 0 }),
                false => self.plan(at, Act::Leave { who, tries: 0 }),
            }
            if self.one_in(3) {
                let back = at + self.within(10);
                self.plan(back, Act::OptIn { who, magnet: "guide", twice: false, tries: 0 });
                // Some had called the mail spam before they went, or do when they are gone.
                if self.one_in(3) {
                    let at = at - TimeDelta::hours(1) + self.within(4);
                    self.plan(at, Act::Complain { mail: Arc::clone(mail) });
                }
            }
        } else if self.one_in(25) {
            let at = now + self.within(10);
            self.plan(at, Act::Complain { mail: Arc::clone(mail) });
        } else if self.one_in(12)
            && let Some(url) = link_to(mail, "preferences")
        {
            let at = now + self.within(10);
            let choice = [Choice::Pause, Choice::TopicOff, Choice::Weekly][self.luck.random_range(0..3)];
            self.plan(at, Act::Prefer { who, url, choice, tries: 0 });
        }
    }

    /// Everything once, in a fixed order.
    fn follow_script(&mut self, who: usize, mail: &Arc<Mail>) {
        let now = self.now();
        let minutes = TimeDelta::minutes;
        match mail.tags.get("step").map(String::as_str).unwrap_or_default() {
            "hello" if self.booked.insert(who) => {
                self.plan(now + minutes(5), Act::Open { mail: Arc::clone(mail), machine: true });
                if let Some(token) = token_in(mail, "booking") {
                    self.plan(now + minutes(10), Act::Book { who, token, tries: 0 });
                }
                if let Some(url) = link_to(mail, "preferences") {
                    self.plan(
                        now + minutes(20),
                        Act::Prefer { who, url, choice: Choice::TopicOff, tries: 0 },
                    );
                }
            }
            "day-1" => {
                self.plan(now + minutes(5), Act::Open { mail: Arc::clone(mail), machine: false });
                self.plan(now + minutes(6), Act::Click { mail: Arc::clone(mail), machine: false });
            }
            "after" if self.applied.insert(who) => {
                if let Some(token) = token_in(mail, "apply") {
                    self.plan(now + minutes(5), Act::Apply { who, token, tries: 0 });
                }
            }
            "receipt" => {
                self.plan(now + minutes(5), Act::Leave { who, tries: 0 });
                self.plan(now + minutes(30), Act::Complain { mail: Arc::clone(mail) });
            }
            _ => {}
        }
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, "application/json", body.to_string()).await
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: String) -> (u16, Value) {
        send(&self.cloud, &self.shared, method, path, content_type, body).await
    }
}

/// By this name the operator's `michi erase` runs, and fails as functions do.
pub const OPERATOR: &str = "operator";

/// The operator's command that erases somebody: the first half of it, or all.
///
/// # Errors
/// [`StartError`] if the template tells it too little.
pub fn operator(cloud: &LocalCloud, shared: &Arc<Shared>, keys: &Keys) -> Result<Handler, StartError> {
    // Timers are delivery's; the command asks for its settings too.
    let product = cloud_of(cloud, "delivery");
    let tools = Arc::new((Tables::new(&product), Timers::new(&product)?));
    let (shared, keys) = (Arc::clone(shared), keys.clone());
    Ok(Arc::new(move |order: Value| {
        let (tools, shared, keys) = (Arc::clone(&tools), Arc::clone(&shared), keys.clone());
        let now = product.now();
        // As little the same in two lives as the command's random one.
        let key = now.to_string();
        Box::pin(async move {
            let (tables, timers) = &*tools;
            let who = order["erase"].as_str().unwrap_or_default();
            let lead_id = keys.lead_id(&EmailAddress::parse(who).map_err(|error| error.to_string())?);
            let begun = erasure::begin(tables, timers, &lead_id, &key, now).await;
            let Some(erased) = begun.map_err(|error| error.to_string())? else { return Ok(Value::Null) };
            shared.lock().auditor.erased(who, lead_id.as_str(), false);
            if order["finish"] == true {
                let finished = erasure::finish(tables, timers, &erased, now).await;
                finished.map_err(|error| error.to_string())?;
                shared.lock().auditor.erased(who, lead_id.as_str(), true);
            }
            Ok(Value::Null)
        })
    }))
}

/// The operator erases somebody: the first half of it, or all. False if the command failed.
pub async fn erase(cloud: &LocalCloud, who: &str, finish: bool) -> bool {
    cloud.invoke(OPERATOR, json!({"erase": who, "finish": finish})).await.is_ok()
}

/// Somebody sends the form of the booking page, and takes what it says for true.
pub async fn book(cloud: &LocalCloud, shared: &Arc<Shared>, form: &Value) {
    let (_, answer) = send(cloud, shared, "POST", "/bookings", "application/json", form.to_string()).await;
    let from = answer["start"].as_str().and_then(|start| start.parse().ok());
    if let (Some(id), Some(from)) = (answer["consultation_id"].as_str(), from) {
        shared.lock().auditor.promised(id, from);
    }
}

/// Somebody leaves by the button of her mailbox.
pub async fn leave(cloud: &LocalCloud, shared: &Arc<Shared>, who: &str, url: &str) {
    leave_by(cloud, shared, who, url, WAYS_TO_LEAVE[0]).await;
}

async fn leave_by(
    cloud: &LocalCloud,
    shared: &Arc<Shared>,
    who: &str,
    url: &str,
    (content_type, body): (&str, &str),
) -> u16 {
    let path = url.strip_prefix(PUBLIC_URL).unwrap_or(url);
    shared.lock().auditor.deed(who, Deed::AsksToLeave);
    let status = send(cloud, shared, "POST", path, content_type, body.to_owned()).await.0;
    if status == 200 {
        shared.lock().auditor.deed(who, Deed::Left);
    }
    status
}

async fn send(
    cloud: &LocalCloud,
    shared: &Arc<Shared>,
    method: &str,
    path: &str,
    content_type: &str,
    body: String,
) -> (u16, Value) {
    let request = axum::http::Request::builder()
        .method(method)
        .uri(format!("{PUBLIC_URL}{path}"))
        .header("content-type", content_type)
        .header("accept", "application/json");
    let request: Request = request.body(Bytes::from(body)).unwrap_or_default();
    let answer = cloud.http(request).await;
    let status = answer.status().as_u16();
    let what = path.split('?').next().unwrap_or_default();
    shared.lock().trace.deed(cloud.clock().now(), &format!("{method} {what}"), status);
    (status, serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
}

fn link_to(mail: &Mail, page: &str) -> Option<String> {
    let wanted = format!("{PUBLIC_URL}/{page}?");
    mail.links.iter().find(|link| link.href.starts_with(&wanted)).map(|link| link.href.clone())
}

fn token_in(mail: &Mail, page: &str) -> Option<String> {
    link_to(mail, page).map(|url| parameter(&url))
}

fn parameter(url: &str) -> String {
    url.split_once("t=").map(|(_, token)| token.to_owned()).unwrap_or_default()
}

/// The consultation that a page is about.
fn booking_of(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn managed(url: &str) -> (String, String) {
    let path = url.strip_prefix(PUBLIC_URL).unwrap_or(url).split('?').next().unwrap_or_default();
    (path.to_owned(), parameter(url))
}
