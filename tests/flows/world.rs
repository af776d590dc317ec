//! A person's world: the product on the local cloud, on a clock that stands still until told.

use std::{path::Path, sync::Arc};

use axum::body::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use content::Funnel;
use domain::id::Id;
use michi::{
    aws::{Request, mail::Mail, ses::Reader},
    checkout::Checkout,
    clock::Clock,
    engine::{LocalCloud, Store},
    functions::{Secrets, cloud_of, launch, load_funnel},
};
use serde_json::{Value, json};
use web::link::{Links, Purpose};

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
        crate::privacy::keep_log();
        let funnel =
            load_funnel(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../funnels/coaching"))).unwrap();
        let secrets = Secrets::fixed();
        let cloud = launch(
            Arc::clone(&funnel),
            Store::Memory,
            Clock::frozen(now.parse().unwrap()),
            PUBLIC_URL,
            &secrets,
        )
        .await
        .unwrap();
        let checkout = Checkout::open(&cloud, PUBLIC_URL, &secrets.stripe.webhook_secrets[0]);
        Self {
            checkout,
            links: Links::new(secrets.keys.link_keys()),
            cloud,
            funnel,
            expected_dead_letters: 0,
        }
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
