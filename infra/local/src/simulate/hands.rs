//! What people do, done as they do it: through the pages' endpoints, the mailbox and the till.

use axum::body::Bytes;
use chrono::{DateTime, Utc};
use content::Funnel;
use domain::id::Id;
use serde_json::{Value, json};
use web::link::{Links, Purpose};

use super::{PUBLIC_URL, SimulationError};
use crate::{
    aws::{Request, Response, mail::Mail, ses::Reader},
    checkout::Checkout,
    engine::LocalCloud,
    functions::Secrets,
};

/// A person with a telephone.
pub const PERSON: Reader<'static> = Reader {
    user_agent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)",
    ip: "198.51.100.7",
    bot: Some(false),
};
/// A mail provider's proxy.
pub const MACHINE: Reader<'static> = Reader { user_agent: "Mozilla/5.0", ip: "203.0.113.9", bot: Some(true) };

/// Somebody who opts in.
pub struct Newcomer<'a> {
    pub email: &'a str,
    pub name: &'a str,
    /// First-party id of her browser.
    pub visitor: &'a str,
    pub source: Option<&'a str>,
    pub lead_magnet: Option<&'a str>,
    pub attributes: Value,
}

/// A slot that was taken.
pub struct Appointment {
    pub consultation_id: String,
    pub start: DateTime<Utc>,
    pub manage_url: String,
}

/// The hands of all people.
pub struct Hands<'a> {
    pub cloud: &'a LocalCloud,
    links: Links,
    checkout: Checkout,
}

impl<'a> Hands<'a> {
    /// Hands in this cloud. Systems that the funnel's webhooks tell something listen and agree.
    pub fn new(cloud: &'a LocalCloud, funnel: &Funnel, secrets: &Secrets) -> Self {
        let webhook_secret = secrets.stripe.webhook_secrets.first().map(String::as_str).unwrap_or_default();
        for host in webhook_hosts(funnel) {
            cloud.register_host(&host, std::sync::Arc::new(|_| Box::pin(async { Response::default() })));
        }
        Self {
            cloud,
            links: Links::new(secrets.keys.link_keys()),
            checkout: Checkout::open(cloud, PUBLIC_URL, webhook_secret),
        }
    }

    /// The virtual time.
    pub fn now(&self) -> DateTime<Utc> {
        self.cloud.clock().now()
    }

    /// Looks at a page.
    ///
    /// # Errors
    /// [`SimulationError`] if the product does not answer as it should; so for all that follow.
    pub async fn visit(&self, visitor: &str, page: &str) -> Result<(), SimulationError> {
        self.post("/visits", &json!({"visitor_id": visitor, "page": page}), &[204]).await.map(|_| ())
    }

    /// Fills in the form of the landing page.
    pub async fn opt_in(&self, newcomer: &Newcomer<'_>) -> Result<(), SimulationError> {
        let body = json!({
            "email": newcomer.email,
            "name": newcomer.name,
            "consent": true,
            "visitor_id": newcomer.visitor,
            "source": newcomer.source,
            "lead_magnet_type": newcomer.lead_magnet,
            "attributes": newcomer.attributes,
        });
        self.post("/opt-in", &body, &[200]).await.map(|_| ())
    }

    /// Presses the button of the confirmation page that a mail leads to.
    pub async fn confirm(&self, url: &str) -> Result<(), SimulationError> {
        self.post("/confirm", &json!({"t": parameter(url, "t")}), &[200, 410]).await.map(|_| ())
    }

    /// Unsubscribes by the mail's header, as a mailbox's button does (RFC 8058).
    pub async fn unsubscribe(&self, mail: &Mail) -> Result<(), SimulationError> {
        let header = mail.headers.iter().find(|(name, _)| name == "List-Unsubscribe");
        let url = header.map(|(_, value)| value.trim_matches(['<', '>']).to_owned());
        let Some(url) = url else { return Err(self.broken("a mail without List-Unsubscribe")) };
        let body = "List-Unsubscribe=One-Click".to_owned();
        let answer = self.send("POST", &url, "application/x-www-form-urlencoded", body).await;
        self.expect(&url, answer, &[200]).map(|_| ())
    }

    /// Another system tells one of the funnel's own facts. A person who never confirmed is unknown.
    pub async fn tell(&self, fact: &str, email: &str, key: &str) -> Result<(), SimulationError> {
        let token = match Id::parse("simulation") {
            Ok(name) => self.links.sign(Purpose::Api, &name, None, self.now()),
            Err(_) => String::new(),
        };
        let body = json!({"fact": fact, "email": email, "key": key});
        let request = axum::http::Request::builder()
            .method("POST")
            .uri(format!("{PUBLIC_URL}/facts"))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"));
        let request: Request = request.body(Bytes::from(body.to_string())).unwrap_or_default();
        let answer = self.cloud.http(request).await;
        self.expect("/facts", answer, &[200, 404]).map(|_| ())
    }

    /// The values of free slots that begin at `from` or later, the first ones first.
    pub async fn slots(&self, from: DateTime<Utc>) -> Result<Vec<String>, SimulationError> {
        let answer = self.send("GET", &format!("{PUBLIC_URL}/slots"), "", String::new()).await;
        let answer = self.expect("/slots", answer, &[200])?;
        let text = |slot: &Value, field: &str| slot[field].as_str().unwrap_or_default().to_owned();
        let late_enough =
            |slot: &&Value| text(slot, "start").parse::<DateTime<Utc>>().is_ok_and(|start| start >= from);
        let slots = answer["slots"].as_array().cloned().unwrap_or_default();
        Ok(slots.iter().filter(late_enough).map(|slot| text(slot, "slot")).collect())
    }

    /// Books a slot; none if it is taken or no longer offered.
    pub async fn book(&self, token: &str, slot: &str) -> Result<Option<Appointment>, SimulationError> {
        let body = json!({"t": token, "slot": slot, "note": "集客から成約までの流れを相談したいです。"});
        Ok(appointment(&self.post("/bookings", &body, &[200, 404, 409, 422]).await?))
    }

    /// Moves a booking to another slot; none if that is taken.
    pub async fn reschedule(
        &self,
        manage_url: &str,
        slot: &str,
    ) -> Result<Option<Appointment>, SimulationError> {
        let (path, token) = managed(manage_url);
        let body = json!({"t": token, "slot": slot});
        Ok(appointment(&self.post(&format!("{path}/reschedule"), &body, &[200, 409, 422]).await?))
    }

    /// Cancels a booking and returns its consultation's id; none if it no longer stands.
    pub async fn cancel(&self, manage_url: &str) -> Result<Option<String>, SimulationError> {
        let (path, token) = managed(manage_url);
        let answer = self.post(&format!("{path}/cancel"), &json!({"t": token}), &[200, 409]).await?;
        Ok(answer["consultation_id"].as_str().map(str::to_owned))
    }

    /// The host says what came of a consultation. False if it was moved or cancelled before.
    pub async fn conclude(&self, consultation_id: &str, outcome: &str) -> Result<bool, SimulationError> {
        let token = self.links.sign_console(self.now());
        let path = format!("/console/consultations/{consultation_id}/outcome?t={token}");
        let answer = self.post(&path, &json!({"outcome": outcome}), &[200, 409]).await?;
        Ok(!answer["consultation_id"].is_null())
    }

    /// Applies for a plan and pays by card.
    pub async fn buy(&self, token: &str, plan: &str) -> Result<(), SimulationError> {
        let answer = self.post("/applications", &json!({"t": token, "plan": plan}), &[200]).await?;
        let session = answer["checkout_url"].as_str().and_then(|url| url.rsplit('/').next());
        let paid = self.checkout.pay(self.cloud, session.unwrap_or_default()).await;
        paid.map_err(|error| self.broken(&format!("paying: {error}")))?;
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

fn appointment(answer: &Value) -> Option<Appointment> {
    Some(Appointment {
        consultation_id: answer["consultation_id"].as_str()?.to_owned(),
        start: answer["start"].as_str()?.parse().ok()?,
        manage_url: answer["manage_url"].as_str().unwrap_or_default().to_owned(),
    })
}

/// The key in a mail's link to one of the personal pages (`booking`, `apply`).
pub fn token_in(mail: &Mail, path: &str) -> Option<String> {
    let link = mail.links.iter().find(|link| link.href.starts_with(&format!("{PUBLIC_URL}/{path}?")))?;
    parameter(&link.href, "t")
}

/// A parameter of a URL.
pub fn parameter(url: &str, name: &str) -> Option<String> {
    url::Url::parse(url).ok()?.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn managed(url: &str) -> (String, String) {
    let path = url.strip_prefix(PUBLIC_URL).unwrap_or(url).split('?').next().unwrap_or_default().to_owned();
    (path, parameter(url, "t").unwrap_or_default())
}

fn webhook_hosts(funnel: &Funnel) -> Vec<String> {
    let steps = funnel.sequences.iter().flat_map(|sequence| &sequence.program.steps);
    let hosts = steps.filter_map(|step| match &step.act {
        domain::sequence::Act::Webhook { url } => url::Url::parse(url).ok()?.host_str().map(str::to_owned),
        _ => None,
    });
    hosts.collect()
}
