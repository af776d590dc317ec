//! The storm: which fault strikes when, drawn from the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use michi::engine::LocalCloud;
use michi::faults::{Call, Failure, Saboteur, Verdict, Way};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::auditor::Auditor;
use crate::trace::Trace;

/// What every thread of a run sees.
pub struct Shared(Mutex<State>);

/// The state of a run that the storm, the people and the auditor have in common.
pub struct State {
    pub auditor: Auditor,
    pub storm: Storm,
    pub trace: Trace,
    /// The latest events that functions got, to be delivered again in the middle of something.
    pub latest: BTreeMap<String, Value>,
    /// Links by which people leave, by address.
    pub ways_out: BTreeMap<String, String>,
    /// The form of somebody else who wants the time that is being booked.
    pub rival: Option<Value>,
    /// Those whose erasure has begun in the middle of something.
    pub erasing: BTreeSet<String>,
}

impl Shared {
    pub fn new(state: State) -> Arc<Self> {
        Arc::new(Self(Mutex::new(state)))
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often somebody else is quicker with a time, in 100,000 bookings.
const RIVALS: u32 = 25_000;

/// How often each fault strikes, in 100,000 calls or deliveries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    before: u32,
    after: u32,
    /// Answers of SES to a send.
    answer_lost: u32,
    /// Senders just before or after the send; some of those to whom it was not sent leave at that moment.
    stopped_sender: u32,
    crash: u32,
    slow: u32,
    meanwhile: u32,
    timer_lost: u32,
    timer_late: u32,
    timer_twice: u32,
    timer_deleted: u32,
    news_lost: u32,
    news_late: u32,
    news_twice: u32,
    message_late: u32,
    message_twice: u32,
    stream_again: u32,
}

impl Weather {
    /// A seed's own weather: some faults never strike, some do all the time.
    fn draw(luck: &mut ChaCha8Rng) -> Self {
        let mut up_to = |most: u32| match luck.random_range(0..3) {
            0 => 0,
            1 => luck.random_range(0..=most / 10),
            _ => luck.random_range(0..=most),
        };
        Self {
            before: up_to(6_000),
            after: up_to(4_000),
            answer_lost: up_to(5_000),
            stopped_sender: up_to(12_000),
            crash: up_to(3_000),
            slow: up_to(2_000),
            meanwhile: up_to(3_000),
            timer_lost: up_to(30_000),
            timer_late: up_to(40_000),
            timer_twice: up_to(40_000),
            timer_deleted: up_to(80_000),
            news_lost: up_to(30_000),
            news_late: up_to(40_000),
            news_twice: up_to(40_000),
            message_late: up_to(20_000),
            message_twice: up_to(20_000),
            stream_again: up_to(30_000),
        }
    }
}

/// One fault at one call, instead of a storm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    /// The function.
    pub function: String,
    /// Its how-manieth call of all, from 1.
    pub at: u64,
    pub verdict: Verdict,
}

/// A call that a single fault can strike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub function: String,
    /// Its how-manieth call of all, from 1.
    pub at: u64,
    /// Whether it only reads: that it was done makes no difference then.
    pub reads: bool,
}

/// Draws the faults and counts them.
pub struct Storm {
    luck: ChaCha8Rng,
    weather: Weather,
    strike: Option<Strike>,
    /// Whether anything strikes at the moment.
    pub rages: bool,
    /// How deep we are in things that happen in the middle of others.
    depth: u32,
    pub faults: BTreeMap<&'static str, u64>,
    /// Calls by function, service and operation, and how many of them failed somehow.
    pub calls: BTreeMap<String, (u64, u64)>,
    /// How many calls each function has made.
    counts: BTreeMap<String, u64>,
    /// What each function has asked for in its present invocation.
    ways: BTreeMap<String, String>,
    /// Every way to a call that a function went, and the first call that it led to.
    pub places: BTreeMap<(String, String), Place>,
}

/// What the storm decided about a call.
pub enum Fate {
    Verdict(Verdict),
    /// Let so much time pass, then go on.
    Slow(TimeDelta),
    /// Let this happen first.
    Meanwhile(Meanwhile, Verdict),
}

/// What happens in the middle of something else.
pub enum Meanwhile {
    /// A function gets its latest event once more.
    Again(String, Value),
    /// Somebody leaves.
    Leave(String, String),
    /// The operator begins to erase somebody.
    Erase(String),
    /// Somebody else books the same time.
    Book(Value),
}

impl Storm {
    pub fn new(seed: u64) -> Self {
        let mut luck = ChaCha8Rng::seed_from_u64(seed ^ 0x5_7012);
        let weather = Weather::draw(&mut luck);
        Self::of(luck, weather, None)
    }

    /// Nothing strikes, or only this.
    pub fn calm(strike: Option<Strike>) -> Self {
        Self::of(ChaCha8Rng::seed_from_u64(0), Weather::default(), strike)
    }

    /// Only what the models of others know too: processes that end, and answers that are lost.
    pub fn plain(seed: u64) -> Self {
        let weather = Weather { crash: 1_000, answer_lost: 1_000, ..Weather::default() };
        Self::of(ChaCha8Rng::seed_from_u64(seed), weather, None)
    }

    fn of(luck: ChaCha8Rng, weather: Weather, strike: Option<Strike>) -> Self {
        Self {
            luck,
            weather,
            strike,
            rages: true,
            depth: 0,
            faults: BTreeMap::new(),
            calls: BTreeMap::new(),
            counts: BTreeMap::new(),
            ways: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }

    fn strikes(&mut self, rate: u32) -> bool {
        rate > 0 && self.luck.random_range(0..100_000) < rate
    }

    fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    fn minutes(&mut self, most: i64) -> TimeDelta {
        TimeDelta::seconds(self.luck.random_range(1..=most * 60))
    }

    fn verdict(&mut self, call: &Call) -> Verdict {
        let count = self.counts.entry(call.function.clone()).or_default();
        *count += 1;
        let way = self.ways.entry(call.function.clone()).or_default();
        if call.number == 1 {
            way.clear();
        }
        way.push_str(&format!(" {}:{}", call.service, call.operation));
        let reads = ["Get", "Query", "Scan", "List"].iter().any(|reads| call.operation.starts_with(reads));
        self.places.entry((call.function.clone(), way.clone())).or_insert_with(|| Place {
            function: call.function.clone(),
            at: *count,
            reads,
        });
        if let Some(strike) = &self.strike {
            let now = strike.function == call.function && strike.at == *count;
            return if now { strike.verdict } else { Verdict::Pass };
        }
        let failures = [Failure::Error, Failure::Throttle, Failure::Conflict, Failure::NoAnswer];
        let sends = call.operation == "SendEmail";
        if self.strikes(self.weather.crash) || sends && self.strikes(self.weather.stopped_sender) {
            Verdict::Crash { done: self.luck.random_range(0..2) == 0 }
        } else if self.strikes(self.weather.before) {
            Verdict::Before(failures[self.luck.random_range(0..failures.len())])
        } else if self.strikes(self.weather.after) {
            Verdict::After(if self.luck.random_range(0..2) == 0 { Failure::Error } else { Failure::NoAnswer })
        } else if sends && self.strikes(self.weather.answer_lost) {
            Verdict::After(Failure::NoAnswer)
        } else {
            Verdict::Pass
        }
    }

    fn fate(
        &mut self,
        call: &Call,
        latest: &BTreeMap<String, Value>,
        ways_out: &BTreeMap<String, String>,
        rival: Option<&Value>,
    ) -> Fate {
        let name = format!("{} {}:{}", call.function, call.service, call.operation);
        if !self.rages {
            self.calls.entry(name).or_default().0 += 1;
            return Fate::Verdict(Verdict::Pass);
        }
        let verdict = self.verdict(call);
        let entry = self.calls.entry(name).or_default();
        entry.0 += 1;
        entry.1 += u64::from(verdict != Verdict::Pass);
        if verdict != Verdict::Pass {
            self.count(name_of(verdict));
            return match self.leaves(call, verdict, ways_out) {
                Some(leaves) => Fate::Meanwhile(leaves, verdict),
                None => Fate::Verdict(verdict),
            };
        }
        if self.strikes(self.weather.slow) {
            self.count("slow");
            return Fate::Slow(TimeDelta::seconds(self.luck.random_range(1..=70)));
        }
        if let Some(form) =
            rival.filter(|_| call.function == "booking" && call.operation == "TransactWriteItems")
            && self.depth == 0
            && self.weather.meanwhile > 0
            && self.strikes(RIVALS)
        {
            return Fate::Meanwhile(Meanwhile::Book(form.clone()), Verdict::Pass);
        }
        if self.depth == 0 && self.strikes(self.weather.meanwhile) {
            let what = match self.luck.random_range(0..20) {
                0..9 => self.somebody(ways_out).map(|(who, url)| Meanwhile::Leave(who, url)),
                9 => self.somebody(ways_out).map(|(who, _)| Meanwhile::Erase(who)),
                _ => self.again(latest),
            };
            if let Some(what) = what {
                return Fate::Meanwhile(what, Verdict::Pass);
            }
        }
        Fate::Verdict(Verdict::Pass)
    }

    /// Nobody takes up what a stopped sender left behind, if the person leaves just then.
    fn leaves(
        &mut self,
        call: &Call,
        verdict: Verdict,
        ways_out: &BTreeMap<String, String>,
    ) -> Option<Meanwhile> {
        let stopped = verdict == Verdict::Crash { done: false } && self.weather.stopped_sender > 0;
        if !stopped || self.depth > 0 {
            return None;
        }
        let who = addressee(call)?;
        let url = ways_out.get(&who)?.clone();
        (self.luck.random_range(0..2) == 0).then_some(Meanwhile::Leave(who, url))
    }

    /// Somebody, and her way out.
    fn somebody(&mut self, ways_out: &BTreeMap<String, String>) -> Option<(String, String)> {
        let at = self.luck.random_range(0..ways_out.len().max(1));
        ways_out.iter().nth(at).map(|(who, url)| (who.clone(), url.clone()))
    }

    fn again(&mut self, latest: &BTreeMap<String, Value>) -> Option<Meanwhile> {
        let at = self.luck.random_range(0..latest.len().max(1));
        let (function, event) = latest.iter().nth(at)?;
        Some(Meanwhile::Again(function.clone(), event.clone()))
    }

    fn copies(&mut self, way: Way) -> Vec<TimeDelta> {
        let at_once = TimeDelta::zero();
        if !self.rages {
            return if way == Way::DeletedSchedule { vec![] } else { vec![at_once] };
        }
        let weather = self.weather;
        let (lost, late, twice, most_late) = match way {
            Way::Schedule => (weather.timer_lost, weather.timer_late, weather.timer_twice, 24 * 60),
            Way::MailEvent => (weather.news_lost, weather.news_late, weather.news_twice, 20 * 60),
            Way::Message => (0, weather.message_late, weather.message_twice, 60),
            Way::Stream => (0, 0, weather.stream_again, 20 * 60),
            Way::DeletedSchedule => {
                return match self.strikes(weather.timer_deleted) {
                    true => {
                        self.count("timer fires after it was deleted");
                        vec![at_once]
                    }
                    false => vec![],
                };
            }
        };
        let name = |what: usize| match (way, what) {
            (Way::Schedule, 0) => "timer lost",
            (Way::Schedule, 1) => "timer late",
            (Way::Schedule, _) => "timer twice",
            (Way::MailEvent, 0) => "mail event lost",
            (Way::MailEvent, 1) => "mail event late",
            (Way::MailEvent, _) => "mail event twice",
            (Way::Message, 1) => "message late",
            (Way::Message, _) => "message twice",
            (Way::Stream | Way::DeletedSchedule, _) => "stream again",
        };
        if self.strikes(lost) {
            self.count(name(0));
            return vec![];
        }
        let first = match self.strikes(late) {
            true => {
                self.count(name(1));
                self.minutes(most_late)
            }
            false => at_once,
        };
        if self.strikes(twice) {
            self.count(name(2));
            let second = if self.luck.random_range(0..2) == 0 { at_once } else { self.minutes(most_late) };
            return vec![first, second];
        }
        vec![first]
    }
}

/// To whom a mail is about to be sent.
fn addressee(call: &Call) -> Option<String> {
    let body: Value = serde_json::from_slice(call.request.body()).ok()?;
    body["Destination"]["ToAddresses"][0].as_str().map(str::to_owned)
}

/// How a fault is counted.
pub fn name_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "none",
        Verdict::Before(Failure::Error) => "error before",
        Verdict::Before(Failure::Throttle) => "throttle",
        Verdict::Before(Failure::Conflict) => "conflict",
        Verdict::Before(Failure::NoAnswer) => "no way there",
        Verdict::After(Failure::NoAnswer) => "answer lost",
        Verdict::After(_) => "error after",
        Verdict::Crash { done: true } => "crash after",
        Verdict::Crash { done: false } => "crash before",
    }
}

/// Lets the storm loose on a cloud.
pub fn saboteur(cloud: &LocalCloud, shared: &Arc<Shared>) -> Saboteur {
    let (before, after, copies) = (Arc::clone(shared), Arc::clone(shared), Arc::clone(shared));
    let clock = cloud.clock().clone();
    let inside = cloud.clone();
    Saboteur {
        before: Arc::new(move |call| {
            let (shared, cloud) = (Arc::clone(&before), inside.clone());
            Box::pin(async move { struck(&cloud, &shared, call).await })
        }),
        after: Arc::new(move |call, answer, verdict| {
            let now = clock.now();
            let mut state = after.lock();
            state.trace.call(now, call, verdict, answer.status().as_u16());
            if answer.status().is_success() {
                let (request, body) = (call.request.body(), answer.body());
                state.auditor.call(&call.service, &call.operation, request, body, now);
            }
        }),
        copies: Arc::new(move |way| {
            let mut state = copies.lock();
            let copies = state.storm.copies(way);
            state.trace.copies(way, &copies);
            copies
        }),
    }
}

async fn struck(cloud: &LocalCloud, shared: &Arc<Shared>, call: Call) -> Verdict {
    let fate = {
        let state = &mut *shared.lock();
        let fate = state.storm.fate(&call, &state.latest, &state.ways_out, state.rival.as_ref());
        let harmless = matches!(fate, Fate::Verdict(Verdict::Pass) | Fate::Meanwhile(_, Verdict::Pass));
        if !harmless && (call.function == "delivery" || matches!(fate, Fate::Slow(_))) {
            state.auditor.trouble(cloud.clock().now());
        }
        fate
    };
    let verdict = match fate {
        Fate::Verdict(verdict) => verdict,
        Fate::Slow(time) => {
            shared.lock().trace.deed(cloud.clock().now(), "a call is slow", 0);
            cloud.clock().move_to(cloud.clock().now() + time);
            Verdict::Pass
        }
        Fate::Meanwhile(what, verdict) => {
            let name = match what {
                Meanwhile::Again(..) => "meanwhile an event again",
                Meanwhile::Leave(..) => "meanwhile somebody leaves",
                Meanwhile::Erase(..) => "meanwhile somebody is erased",
                Meanwhile::Book(..) => "meanwhile somebody books",
            };
            {
                let state = &mut *shared.lock();
                state.storm.count(name);
                state.storm.depth += 1;
                state.trace.deed(cloud.clock().now(), name, 0);
            }
            match what {
                Meanwhile::Again(function, event) => drop(cloud.invoke(&function, event).await),
                Meanwhile::Book(form) => crate::people::book(cloud, shared, &form).await,
                Meanwhile::Leave(who, url) => crate::people::leave(cloud, shared, &who, &url).await,
                Meanwhile::Erase(who) => {
                    crate::people::erase(cloud, &who, false).await;
                    shared.lock().erasing.insert(who);
                }
            }
            shared.lock().storm.depth -= 1;
            verdict
        }
    };
    if matches!(verdict, Verdict::Before(_) | Verdict::Crash { done: false }) {
        shared.lock().trace.call(cloud.clock().now(), &call, verdict, 0);
    }
    verdict
}

/// The time until which faults strike.
pub fn calm_at(start: DateTime<Utc>) -> DateTime<Utc> {
    start + TimeDelta::hours(60)
}
