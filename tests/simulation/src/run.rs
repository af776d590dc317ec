//! One run: a world of its own, a storm, a calm, and the auditor's word.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use content::Funnel;
use michi::aws::Request;
use michi::checkout::Checkout;
use michi::clock::Clock;
use michi::engine::{Handler, LocalCloud, Store};
use michi::functions::{LaunchError, Secrets, Sweeps, launch, load_funnel, stack, start};
use michi::template::Stack;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use web::link::Links;

use crate::auditor::{Auditor, Books, Row, row};
use crate::peers::Tally;
use crate::people::{MACHINES, Manner, OPERATOR, PUBLIC_URL, People, operator};
use crate::storm::{Place, Shared, State, Storm, Strike, calm_at, saboteur};
use crate::trace::Trace;

/// When runs begin: before clock changes in three parts of the world, and at quiet times.
const STARTS: [&str; 6] = [
    "2027-03-12T02:00:00Z",
    "2027-03-26T02:00:00Z",
    "2027-04-02T02:00:00Z",
    "2027-10-29T02:00:00Z",
    "2027-11-05T02:00:00Z",
    "2027-06-15T02:00:00Z",
];
/// How long a run is.
pub const DAYS: i64 = 4;
const TABLES: [&str; 10] = [
    "Broadcasts",
    "Leads",
    "Email_Engagement",
    "Enrolments",
    "Events",
    "Consultations",
    "Customers",
    "Customer_Success",
    "Tasks",
    "KPI_Daily",
];
const FUNCTIONS: [&str; 3] = ["relay", "delivery", "email-event"];

/// What all runs have in common.
pub struct Stage {
    stack: Stack,
    funnel: Arc<Funnel>,
    secrets: Secrets,
}

impl Stage {
    /// Reads the torture's funnel.
    ///
    /// # Errors
    /// If funnel or template are broken.
    pub fn set() -> Result<Self, LaunchError> {
        let funnel = load_funnel(concat!(env!("CARGO_MANIFEST_DIR"), "/funnel").as_ref())?;
        let stack = stack(&funnel, PUBLIC_URL, Sweeps::Seldom)?;
        Ok(Self { stack, funnel, secrets: Secrets::fixed() })
    }
}

/// What is to be played.
#[derive(Clone, Debug)]
pub enum Play {
    /// A seed's people in a seed's storm.
    Seed(u64),
    /// A seed's people, and nothing goes wrong.
    Calm(u64),
    /// The script, and one fault at most.
    Script(Option<Strike>),
    /// So many people get two mails each, with the faults that others are compared under.
    Crowd(u64, usize),
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Promises broken.
    pub broken: Vec<String>,
    /// Mails that SES took.
    pub sends: u64,
    /// Virtual time, in seconds.
    pub seconds: i64,
    pub faults: BTreeMap<&'static str, u64>,
    pub calls: BTreeMap<String, (u64, u64)>,
    /// Marketing mails (the broadcast) and critical ones (the welcome).
    pub marketing: Tally,
    pub critical: Tally,
    /// Where a single fault could strike.
    pub places: Vec<Place>,
    /// Hash of everything that happened.
    pub trace: u64,
    pub lines: Vec<String>,
}

/// Plays one run. `keep` keeps the trace's lines.
///
/// # Errors
/// [`LaunchError`] if the world can't be made.
pub async fn play(stage: &Stage, play: &Play, keep: bool) -> Result<Outcome, LaunchError> {
    let seed = match play {
        Play::Seed(seed) | Play::Calm(seed) | Play::Crowd(seed, _) => *seed,
        Play::Script(_) => 0,
    };
    let mut luck = ChaCha8Rng::seed_from_u64(seed);
    let began: DateTime<Utc> = match play {
        Play::Script(_) => STARTS[5].parse().unwrap_or_default(),
        _ => STARTS[luck.random_range(0..STARTS.len())].parse().unwrap_or_default(),
    };
    let began = began + TimeDelta::milliseconds(luck.random_range(0..86_400_000));
    let clock = Clock::frozen(began);
    let cloud =
        launch(stage.stack.clone(), Arc::clone(&stage.funnel), Store::Memory, clock, &stage.secrets).await?;
    let storm = match play {
        Play::Seed(seed) => Storm::new(*seed),
        Play::Calm(_) => Storm::calm(None),
        Play::Crowd(seed, _) => Storm::plain(*seed),
        Play::Script(strike) => Storm::calm(strike.clone()),
    };
    let shared = Shared::new(State {
        auditor: Auditor::default(),
        storm,
        trace: if keep { Trace::kept() } else { Trace::default() },
        latest: BTreeMap::new(),
        ways_out: BTreeMap::new(),
        erasing: BTreeSet::new(),
        rival: None,
    });
    cloud.register(OPERATOR, operator(&cloud, &shared, &stage.secrets.keys)?);
    listen(&cloud, &shared);
    let checkout = Checkout::open(&cloud, PUBLIC_URL, &stage.secrets.stripe.webhook_secrets[0]);
    let links = Links::new(stage.secrets.keys.link_keys());
    let mut people = People::new(cloud.clone(), Arc::clone(&shared), checkout, links, luck);
    let manner = match play {
        Play::Seed(_) | Play::Calm(_) => Manner::Lively,
        Play::Script(_) => Manner::Scripted,
        Play::Crowd(..) => Manner::Still,
    };
    match play {
        Play::Seed(_) | Play::Calm(_) => people.gather(),
        Play::Script(_) => people.scripted(),
        Play::Crowd(_, count) => people.crowd(*count),
    }
    cloud.sabotage(Some(saboteur(&cloud, &shared)));
    let log = Log::default();
    let logged = tracing::subscriber::set_default(log.subscriber());
    live(&cloud, &mut people, stage, calm_at(began), manner).await?;
    shared.lock().storm.rages = false;
    live(&cloud, &mut people, stage, began + TimeDelta::days(DAYS), manner).await?;
    // Half of it would be no fault of the product.
    while let Some(at) = people.finishes_erasing() {
        live(&cloud, &mut people, stage, at + TimeDelta::seconds(1), manner).await?;
    }
    let outcome = close(&cloud, &shared, &people, began, &log).await;
    drop(logged);
    cloud.sabotage(None);
    Ok(outcome)
}

/// Lives until `end`: time goes from one due instant to the next, the cloud's or a person's.
async fn live(
    cloud: &LocalCloud,
    people: &mut People,
    stage: &Stage,
    end: DateTime<Utc>,
    manner: Manner,
) -> Result<(), LaunchError> {
    loop {
        let due = [people.next(), cloud.next_due()].into_iter().flatten().min();
        let Some(next) = due.filter(|next| *next < end) else { break };
        cloud.advance_to(next).await;
        people.read_mail(manner);
        people.act(manner).await;
        if std::mem::take(&mut people.deploy) {
            start(cloud, &stage.funnel).await?;
            listen(cloud, &people.shared);
        }
    }
    cloud.advance_to(end).await;
    people.read_mail(manner);
    Ok(())
}

/// Lets the auditor hear what functions are told, and what they say to it.
fn listen(cloud: &LocalCloud, shared: &Arc<Shared>) {
    for function in FUNCTIONS {
        let Some(inner) = cloud.handler(function) else { continue };
        let shared = Arc::clone(shared);
        let handler: Handler = Arc::new(move |event: Value| {
            let (inner, shared) = (Arc::clone(&inner), Arc::clone(&shared));
            Box::pin(async move {
                shared.lock().latest.insert(function.to_owned(), event.clone());
                let answer = inner(event.clone()).await;
                if let (true, Ok(said)) = (function == "email-event", &answer) {
                    for event in heard(&event, said) {
                        let detail = &event["detail"];
                        let ip = [&detail["click"]["ipAddress"], &detail["open"]["ipAddress"]];
                        let machine = |ip: &&Value| ip.as_str().is_some_and(|ip| ip.starts_with(MACHINES));
                        shared.lock().auditor.told(&event, ip.iter().any(machine));
                    }
                }
                answer
            })
        });
        cloud.register(function, handler);
    }
}

/// SES's events of a batch that a function was given and does not want again. Opens and clicks count
/// when they come to be judged.
fn heard(batch: &Value, said: &Value) -> Vec<Value> {
    let records = batch["Records"].as_array().map(Vec::as_slice).unwrap_or_default();
    let failed: Vec<&Value> = said["batchItemFailures"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|failure| &failure["itemIdentifier"])
        .collect();
    let taken = records.iter().filter(|record| !failed.contains(&&record["messageId"]));
    taken
        .filter_map(|record| {
            let event: Value = serde_json::from_str(record["body"].as_str()?).ok()?;
            let touch = ["Open", "Click"].iter().any(|kind| event["detail"]["eventType"] == *kind);
            let judged = record["eventSourceARN"].as_str()?.ends_with(":michi-verdicts");
            (touch == judged).then_some(event)
        })
        .collect()
}

async fn close(
    cloud: &LocalCloud,
    shared: &Arc<Shared>,
    people: &People,
    began: DateTime<Utc>,
    log: &Log,
) -> Outcome {
    let now = cloud.clock().now();
    let mut broken = vec![];
    let counted = scan(cloud, "KPI_Daily")
        .iter()
        .filter_map(|day| Some(day.get("date")?.as_str()?.to_owned()))
        .collect();
    // Facts may be heard of late; the operator has all days counted again.
    for day in 0..=DAYS + 1 {
        let date = (began + TimeDelta::hours(9) + TimeDelta::days(day)).date_naive();
        if date <= (now + TimeDelta::hours(9)).date_naive() {
            let order = json!({"date": date.to_string()});
            if let Err(problem) = cloud.invoke("nightly-aggregation", order).await {
                broken.push(format!("4: {date} can't be counted: {problem}"));
            }
        }
    }
    let mut dead = BTreeMap::new();
    for (queue, message) in cloud.dead_letters() {
        let letter: Value = serde_json::from_str(&message.body).unwrap_or_default();
        // Facts may come again long after they were written, and then the bus has one chance.
        if letter["reason"].as_str().is_some_and(|reason| reason.starts_with("the bus did not take")) {
            continue;
        }
        let by = letter["function"].as_str().map(|function| format!(" by {function}")).unwrap_or_default();
        *dead.entry(queue + &by).or_default() += 1;
    }
    let books = Books {
        tables: TABLES.iter().map(|table| ((*table).to_owned(), scan(cloud, table))).collect(),
        now,
        counted,
        nights: nights(began, now),
        paid: people.paid.clone(),
        dead,
        log: log.text(),
    };
    let state = &mut *shared.lock();
    Outcome {
        broken: broken.into_iter().chain(state.auditor.close(&books)).collect(),
        sends: state.auditor.accepted,
        marketing: state.auditor.tally(&books, "broadcast-news", "mail"),
        critical: state.auditor.tally(&books, "welcome", "hello"),
        seconds: (now - began).num_seconds(),
        faults: std::mem::take(&mut state.storm.faults),
        calls: std::mem::take(&mut state.storm.calls),
        places: state.storm.places.values().cloned().collect(),
        trace: state.trace.hash(),
        lines: state.trace.lines().to_vec(),
    }
}

/// The days that the last night before `now` counts, and that are over: four, in the funnel's zone, at
/// half past three.
fn nights(began: DateTime<Utc>, now: DateTime<Utc>) -> BTreeSet<String> {
    let home = TimeDelta::hours(9);
    let (first, last) = ((began + home).date_naive(), (now + home - TimeDelta::hours(4)).date_naive());
    let days = (1..=4).map(|days| last - TimeDelta::days(days));
    days.filter(|day| *day >= first).map(|day| day.to_string()).collect()
}

/// All rows of a table, asked for as the AWS CLI would.
fn scan(cloud: &LocalCloud, table: &str) -> Vec<Row> {
    let (mut rows, mut start) = (vec![], Value::Null);
    loop {
        let mut body = json!({"TableName": table});
        if !start.is_null() {
            body["ExclusiveStartKey"] = start;
        }
        let request = axum::http::Request::post("https://dynamodb.ap-northeast-1.amazonaws.com/")
            .header("x-amz-target", "DynamoDB_20120810.Scan");
        let request: Request = request.body(Bytes::from(body.to_string())).unwrap_or_default();
        let answer: Value = serde_json::from_slice(cloud.aws(&request).body()).unwrap_or_default();
        rows.extend(answer["Items"].as_array().into_iter().flatten().map(row));
        start = answer["LastEvaluatedKey"].clone();
        if start.is_null() {
            return rows;
        }
    }
}

/// What was logged in one run.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        let writer = self.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
