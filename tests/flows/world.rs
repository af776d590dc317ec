//! A person's world: the product on the local cloud, on a clock that stands still until told.

use std::{path::Path, sync::Arc};

use axum::body::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use content::Funnel;
use domain::{id::Id, limits::VERDICT_SECONDS};
use michi::{
    aws::{Request, mail::Mail, ses::Reader},
    checkout::Checkout,
    clock::Clock,
    engine::{LocalCloud, Store},
    functions::{Secrets, Sweeps, cloud_of, launch, load_funnel, stack},
};
use serde_json::{Value, json};
use web::link::{Links, Purpose};

use crate::draft::Draft;

pub const PUBLIC_URL: &str = "https://michi.example.com";
pub const HUMAN: Reader<'static> =
    Reader { user_agent: "Mozilla/5.0 (iPhone)", ip: "198.51.100.7", bot: Some(false) };

/// The product with the sample funnel, and what the tests do in it. Dropping it demands that no
/// work was put aside unnoticed, and that nobody's data was logged.
pub struct World {
    pub cloud: LocalCloud,
    pub funnel: Arc<Funnel>,
    pub checkout: Checkout,
    pub links: Links,
    expected_dead_letters: usize,
}

/// An answer as a program sees it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub location: Option<String>,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

impl World {
    /// Monday, 1 March 2027, 10:00 in Tokyo.
    pub async fn new() -> Self {
        Self::at("2027-03-01T01:00:00Z").await
    }

    pub async fn at(now: &str) -> Self {
        let coaching = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../funnels/coaching"));
        Self::of(load_funnel(coaching).unwrap(), now).await
    }

    /// With a funnel of the test's own, from Monday, 1 March 2027, 10:00 in Tokyo.
    pub async fn with(draft: &Draft) -> Self {
        Self::of(draft.load(), "2027-03-01T01:00:00Z").await
    }

    async fn of(funnel: Arc<Funnel>, now: &str) -> Self {
        crate::privacy::keep_log();
        let secrets = Secrets::fixed();
        let stack = stack(&funnel, PUBLIC_URL, Sweeps::Seldom).unwrap();
        let clock = Clock::frozen(now.parse().unwrap());
        let cloud = launch(stack, Arc::clone(&funnel), Store::Memory, clock, &secrets).await.unwrap();
        let checkout = Checkout::open(&cloud, PUBLIC_URL, &secrets.stripe.webhook_secrets[0]);
        Self {
            checkout,
            links: Links::new(secrets.keys.link_keys()),
            cloud,
            funnel,
            expected_dead_letters: 0,
        }
    }

    /// Deploys another version of the funnel: the functions start anew, the tables stay.
    pub async fn deploy(&self, draft: &Draft) {
        michi::functions::start(&self.cloud, &draft.load()).await.unwrap();
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.cloud.clock().now()
    }

    pub async fn pass(&self, time: TimeDelta) {
        self.cloud.advance_to(self.now() + time).await;
    }

    pub async fn until(&self, instant: &str) {
        self.cloud.advance_to(instant.parse().unwrap()).await;
    }

    /// Sends a request and lets everything happen that follows at once.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{PUBLIC_URL}{path}") };
        let mut request = axum::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request: Request = request.body(body.into()).unwrap();
        let answer = self.cloud.http(request).await;
        self.cloud.settle().await;
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        Answer {
            status: answer.status().as_u16(),
            content_type: header("content-type").unwrap_or_default(),
            location: header("location"),
            text: String::from_utf8(answer.body().to_vec()).unwrap(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[("accept", "text/html")], "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub async fn opt_in(&self, email: &str) -> Id {
        let answer = self.post("/opt-in", &json!({"email": email, "name": "花子", "consent": true, "source": "instagram", "lead_magnet_type": "checklist"})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Id::parse(answer.json()["lead_id"].as_str().unwrap()).unwrap()
    }

    /// Opts in with more fields of the form.
    pub async fn opt_in_with(&self, email: &str, more: Value) -> Id {
        let mut form = json!({"email": email, "name": "花子", "consent": true, "visitor_id": "v-1"});
        form.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.post("/opt-in", &form).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Id::parse(answer.json()["lead_id"].as_str().unwrap()).unwrap()
    }

    /// Another system tells one of the funnel's facts.
    pub async fn tell(&self, fact: &str, email: &str, key: &str, values: Value) -> Answer {
        let token = self.token(Purpose::Api, &Id::parse("shop").unwrap());
        let body = json!({"fact": fact, "email": email, "key": key, "values": values}).to_string();
        let authorization = format!("Bearer {token}");
        let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
        self.send("POST", "/facts", &headers, body).await
    }

    /// The person with the visitor id `v-1` sees a page.
    pub async fn see(&self, page: &str) {
        let answer = self.post("/visits", &json!({"visitor_id": "v-1", "page": page})).await;
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    /// A person opens the mail of that step.
    pub async fn open(&self, email: &str, step: &str) {
        let mail = self.mail_of(email, step);
        self.cloud.open(&mail, HUMAN);
        self.until_judged().await;
    }

    /// A person follows the first tracked link of the mail of that step.
    pub async fn click(&self, email: &str, step: &str) {
        let mail = self.mail_of(email, step);
        let link = mail.visible_links().find(|link| link.tracked).unwrap().href.clone();
        assert!(self.cloud.click(&mail, &link, HUMAN));
        self.until_judged().await;
    }

    /// Waits until the opens and clicks up to now have become facts.
    pub async fn until_judged(&self) {
        self.pass(TimeDelta::seconds(VERDICT_SECONDS)).await;
    }

    pub fn mail_of(&self, email: &str, step: &str) -> Arc<Mail> {
        let mails = self.mails_to(email);
        let way = || mails.iter().map(|mail| &mail.tags["step"]).collect::<Vec<_>>();
        let mail = mails.iter().rev().find(|mail| mail.tags["step"] == step);
        mail.unwrap_or_else(|| panic!("no mail of step {step}: {:?}", way())).clone()
    }

    /// The person as her row says.
    pub async fn lead(&self, lead_id: &Id) -> domain::lead::Lead {
        self.tables().lead(lead_id).await.unwrap().unwrap()
    }

    /// Why each mail of hers was not sent.
    pub async fn not_sent(&self, lead_id: &Id) -> Vec<String> {
        let rows = self.tables().engagements(lead_id).await.unwrap();
        let told = rows.into_iter().filter_map(|row| {
            let reason = row.reason.filter(|_| row.sent_date.is_none())?;
            Some(format!("{}: {reason}", row.email_campaign_id))
        });
        told.collect()
    }

    /// Where she stands in a sequence, in words.
    pub async fn stands(&self, lead_id: &Id, sequence: &str) -> String {
        match self.tables().enrolment(lead_id, sequence).await.unwrap() {
            None => "not in it".to_owned(),
            Some(enrolment) => {
                let step = enrolment.step.map_or("–".to_owned(), |step| step.to_string());
                format!("{:?} at {step}: {}", enrolment.state, enrolment.why)
            }
        }
    }

    /// What was decided on her way through a sequence.
    pub async fn decisions(&self, lead_id: &Id, sequence: &str) -> Vec<String> {
        let enrolment = self.tables().enrolment(lead_id, sequence).await.unwrap().unwrap();
        enrolment.decisions.iter().map(|decision| format!("{}: {}", decision.step, decision.why)).collect()
    }

    pub fn token(&self, purpose: Purpose, subject: &Id) -> String {
        self.links.sign(purpose, subject, Some(TimeDelta::days(365)), self.now())
    }

    /// Books the first free slot that starts at or after an instant.
    pub async fn book(&self, lead_id: &Id, from: &str) -> Value {
        let slot = self.slots().await.into_iter().find(|slot| slot.as_str() >= from).expect("a free slot");
        let answer =
            self.post("/bookings", &json!({"t": self.token(Purpose::Book, lead_id), "slot": slot})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    pub async fn slots(&self) -> Vec<String> {
        let answer = self.get("/slots?until=2027-03-20").await.json();
        answer["slots"]
            .as_array()
            .unwrap()
            .iter()
            .map(|slot| slot["slot"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Applies for a plan and pays.
    pub async fn buy(&self, lead_id: &Id, plan: &str) -> String {
        let answer = self
            .post("/applications", &json!({"t": self.token(Purpose::Apply, lead_id), "plan": plan}))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let session = answer.json()["checkout_url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        self.checkout.pay(&self.cloud, &session).await.unwrap();
        self.cloud.settle().await;
        session
    }

    pub fn mails_to(&self, email: &str) -> Vec<Arc<Mail>> {
        self.cloud.mails().into_iter().filter(|mail| mail.to == [email]).collect()
    }

    /// Each mail to a person as its step and the time at which it came, in Tokyo.
    pub fn way_of(&self, email: &str) -> Vec<String> {
        let told = |mail: &Arc<Mail>| {
            let at = mail.sent_at.with_timezone(&self.funnel.time_zone).format("%m-%d %H:%M");
            format!("{at} {}/{}", mail.tags["sequence"], mail.tags["step"])
        };
        self.mails_to(email).iter().map(told).collect()
    }

    pub fn tables(&self) -> cloud::tables::Tables {
        cloud::tables::Tables::new(&cloud_of(&self.cloud, "console"))
    }

    pub async fn invoke(&self, function: &str, event: Value) -> Result<Value, String> {
        let answer = self.cloud.invoke(function, event).await;
        self.cloud.settle().await;
        answer
    }

    /// The product as `michi` reaches it from the command line.
    pub fn remote(&self) -> cloud::Cloud {
        cloud_of(&self.cloud, "delivery")
    }

    /// All rows of all tables, each as its table's name and its attributes.
    pub async fn rows(&self) -> Vec<String> {
        let client = aws_sdk_dynamodb::Client::new(&self.cloud.sdk_config());
        let mut rows = vec![];
        for table in self.cloud.stack().tables.keys() {
            let mut items = client.scan().table_name(table).into_paginator().items().send();
            while let Some(item) = items.next().await {
                rows.push(format!("{table} {:?}", item.unwrap()));
            }
        }
        rows
    }

    /// The figures of a day, counted now.
    pub async fn figures(&self, date: &str) -> Value {
        self.invoke("nightly-aggregation", json!({"date": date})).await.unwrap()["kpi_daily"][0].clone()
    }

    /// The reasons of the dead letters; they are expected from now on.
    pub fn dead_letters(&mut self) -> Vec<String> {
        let letters = self.cloud.dead_letters();
        self.expected_dead_letters = letters.len();
        let reason = |body: &str| {
            serde_json::from_str::<Value>(body)
                .ok()
                .and_then(|letter| letter["reason"].as_str().map(str::to_owned))
        };
        letters
            .iter()
            .map(|(_, message)| reason(&message.body).unwrap_or_else(|| message.body.clone()))
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let letters = self.cloud.dead_letters();
            assert_eq!(
                letters.len(),
                self.expected_dead_letters,
                "dead letters that no test looked at: {letters:?}"
            );
            let log = crate::privacy::log();
            let line = log.lines().find(|line| line.contains("@example.com") || line.contains("花子"));
            assert!(line.is_none(), "personal data in the log: {line:?}");
        }
    }
}

/// A batch of a queue as batches of one message each.
pub fn one_by_one(batch: &Value) -> Vec<Value> {
    batch["Records"].as_array().unwrap().iter().map(|record| json!({"Records": [record]})).collect()
}

/// What the message of a batch of one says.
pub fn said(batch: &Value) -> Value {
    serde_json::from_str(batch["Records"][0]["body"].as_str().unwrap()).unwrap()
}

/// A batch of one message that says this.
pub fn saying(event: &Value) -> Value {
    json!({"Records": [{"messageId": "1", "body": event.to_string()}]})
}
