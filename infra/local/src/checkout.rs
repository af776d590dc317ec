//! A stand-in for Stripe Checkout: answers the API as Stripe does, and tells of payments by a
//! signed webhook. No money moves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use axum::http::{Method, StatusCode};
use chrono::{DateTime, TimeDelta, Utc};
use domain::email_address::EmailAddress;
use domain::id::Id;
use integrations::stripe::sign_webhook;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use crate::aws::{Request, Response};
use crate::clock::Clock;
use crate::engine::LocalCloud;
use crate::shelf::{Shelf, ShelfError, ShelfFile, lock};

const HOST: &str = "api.stripe.com";
const SESSIONS_PATH: &str = "/v1/checkout/sessions";
const WEBHOOK_PATH: &str = "/webhooks/stripe";
const API_VERSION: &str = "2025-03-31.basil";
/// How long a session can be paid, and an idempotency key stands for its request.
const OPEN_HOURS: i64 = 24;
/// The largest amount that Stripe takes, in the currency's minor unit.
const MAX_AMOUNT: i64 = 99_999_999;

/// The parameters that this stand-in knows, apart from `metadata[…]`.
const PARAMETERS: [&str; 9] = [
    "mode",
    "client_reference_id",
    "customer_email",
    "success_url",
    "cancel_url",
    "line_items[0][quantity]",
    "line_items[0][price_data][currency]",
    "line_items[0][price_data][unit_amount]",
    "line_items[0][price_data][product_data][name]",
];

/// A Checkout session: one thing to pay for, once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// `cs_test_…`.
    pub id: String,
    /// When it was opened.
    pub created: DateTime<Utc>,
    /// What is paid for.
    pub product: String,
    /// In the currency's minor unit, all pieces together.
    pub amount_total: i64,
    /// ISO 4217 in lower case, as Stripe writes it.
    pub currency: String,
    /// Whom the receipt goes to.
    pub customer_email: Option<String>,
    /// The merchant's own name for it.
    pub client_reference_id: Option<String>,
    /// Where the person goes after paying.
    pub success_url: String,
    /// Where the person goes back to.
    pub cancel_url: Option<String>,
    /// The merchant's own notes.
    pub metadata: BTreeMap<String, String>,
    /// When it was paid.
    pub paid_at: Option<DateTime<Utc>>,
    /// The request as it came: under one idempotency key no other may come.
    request: BTreeMap<String, String>,
}

impl Session {
    /// When it can't be paid any more.
    #[must_use]
    pub fn expires_at(&self) -> DateTime<Utc> {
        self.created + TimeDelta::hours(OPEN_HOURS)
    }

    /// As Stripe shows it; an open one has a page.
    fn json(&self, page: Option<&str>) -> Value {
        let paid = page.is_none();
        json!({
            "id": self.id,
            "object": "checkout.session",
            "amount_subtotal": self.amount_total,
            "amount_total": self.amount_total,
            "cancel_url": self.cancel_url,
            "client_reference_id": self.client_reference_id,
            "created": self.created.timestamp(),
            "currency": self.currency,
            "customer": null,
            "customer_details": {"email": self.customer_email},
            "customer_email": self.customer_email,
            "expires_at": self.expires_at().timestamp(),
            "livemode": false,
            "metadata": self.metadata,
            "mode": "payment",
            "payment_intent": paid.then(|| self.id.replacen("cs_test_", "pi_", 1)),
            "payment_method_types": ["card"],
            "payment_status": if paid { "paid" } else { "unpaid" },
            "status": if paid { "complete" } else { "open" },
            "success_url": self.success_url,
            "url": page,
        })
    }
}

/// Why a session was not paid.
#[derive(Debug, thiserror::Error)]
pub enum PayError {
    /// No such session.
    #[error("there is no Checkout session of this id")]
    Unknown,
    /// Sessions can be paid for a day.
    #[error("the Checkout session has expired")]
    Expired,
    /// It is paid, but the webhook's answer was not a success. Paying again sends the same event.
    #[error("{WEBHOOK_PATH} answered {0}")]
    NotHeard(StatusCode),
    /// The session could not be stored.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

/// Stripe's side: sessions, and the payments of people. Clones are the same.
#[derive(Clone)]
pub struct Checkout {
    desk: Arc<Desk>,
    webhook_secret: String,
}

/// What the API's host answers from; it must not keep the cloud alive.
struct Desk {
    clock: Clock,
    public_url: String,
    sessions: Mutex<Shelf<Session>>,
}

impl Checkout {
    /// Answers for `api.stripe.com` in this cloud. The pages to pay on are under `public_url`
    /// (without a slash at the end). Sessions end with the process.
    #[must_use]
    pub fn open(cloud: &LocalCloud, public_url: &str, webhook_secret: &str) -> Self {
        Self::with(
            cloud,
            public_url,
            webhook_secret,
            Shelf::open("checkout sessions", None).expect("no file is read"),
        )
    }

    /// As [`Checkout::open`], with sessions that survive in a file.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn kept(
        cloud: &LocalCloud,
        public_url: &str,
        webhook_secret: &str,
        file: &ShelfFile,
    ) -> Result<Self, ShelfError> {
        Ok(Self::with(cloud, public_url, webhook_secret, Shelf::open("checkout sessions", Some(file))?))
    }

    fn with(cloud: &LocalCloud, public_url: &str, webhook_secret: &str, sessions: Shelf<Session>) -> Self {
        let desk = Arc::new(Desk {
            clock: cloud.clock().clone(),
            public_url: public_url.to_owned(),
            sessions: Mutex::new(sessions),
        });
        let answering = Arc::clone(&desk);
        cloud.register_host(
            HOST,
            Arc::new(move |request| {
                let answer = answering.answer(&request);
                Box::pin(std::future::ready(answer))
            }),
        );
        Self { desk, webhook_secret: webhook_secret.to_owned() }
    }

    /// A session.
    #[must_use]
    pub fn session(&self, id: &str) -> Option<Session> {
        lock(&self.desk.sessions).get(id).cloned()
    }

    /// All sessions, oldest first.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        let mut sessions: Vec<Session> =
            lock(&self.desk.sessions).iter().map(|(_, session)| session.clone()).collect();
        sessions.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        sessions
    }

    /// Pays a session and tells the product so by webhook, signed at this moment. For a session
    /// that is paid the same event goes out again, as Stripe repeats its webhooks.
    ///
    /// # Errors
    /// [`PayError`].
    pub async fn pay(&self, cloud: &LocalCloud, id: &str) -> Result<Session, PayError> {
        let now = self.desk.clock.now();
        let session = self.desk.settle(id, now)?;
        let body = event(&session).to_string();
        let mut request = Request::new(Bytes::from(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = axum::http::Uri::from_static(WEBHOOK_PATH);
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        headers
            .insert(USER_AGENT, HeaderValue::from_static("Stripe/1.0 (+https://stripe.com/docs/webhooks)"));
        let signature = sign_webhook(&self.webhook_secret, body.as_bytes(), now);
        headers.insert(
            "stripe-signature",
            HeaderValue::from_str(&signature).expect("digits, letters and commas"),
        );
        let status = cloud.http(request).await.status();
        if status.is_success() { Ok(session) } else { Err(PayError::NotHeard(status)) }
    }
}

/// `checkout.session.completed` for a paid session: the same bytes every time.
fn event(session: &Session) -> Value {
    json!({
        "id": session.id.replacen("cs_test_", "evt_", 1),
        "object": "event",
        "api_version": API_VERSION,
        "created": session.paid_at.unwrap_or(session.created).timestamp(),
        "data": {"object": session.json(None)},
        "livemode": false,
        "pending_webhooks": 1,
        "request": {"id": null, "idempotency_key": null},
        "type": "checkout.session.completed",
    })
}

/// An error in Stripe's own form.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, kind: "invalid_request_error", code: None, param: None, message: message.into() }
    }

    fn param(param: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code: Some(code),
            param: Some(param.to_owned()),
            ..Self::new(StatusCode::BAD_REQUEST, message)
        }
    }

    fn response(&self) -> Response {
        let mut error = json!({"type": self.kind, "message": self.message});
        if let Some(code) = self.code {
            error["code"] = code.into();
            error["doc_url"] =
                format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-")).into();
        }
        if let Some(param) = &self.param {
            error["param"] = param.as_str().into();
        }
        response(self.status, &json!({"error": error}))
    }
}

impl From<ShelfError> for Refusal {
    fn from(error: ShelfError) -> Self {
        tracing::error!(%error, "a Checkout session could not be stored");
        Self {
            kind: "api_error",
            ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "An unknown error occurred")
        }
    }
}

fn response(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl Desk {
    fn answer(&self, request: &Request) -> Response {
        self.open_session(request).unwrap_or_else(|refusal| refusal.response())
    }

    fn open_session(&self, request: &Request) -> Result<Response, Refusal> {
        let (method, path) = (request.method(), request.uri().path());
        if (method, path) != (&Method::POST, SESSIONS_PATH) {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                format!("Unrecognized request URL ({method}: {path})."),
            ));
        }
        check_key(header(request, AUTHORIZATION.as_str()))?;
        let fields = form(request)?;
        let now = self.clock.now();
        let mut sessions = lock(&self.sessions);
        let key = match header(request, "idempotency-key") {
            Some(key) => key.to_owned(),
            None => format!("request {}", sessions.iter().count()),
        };
        let mut use_of_key = 0_u32;
        let id = loop {
            let derived = Id::derived("cs", &[&key, &use_of_key.to_string()]);
            let id = derived.as_str().replacen("cs-", "cs_test_", 1);
            match sessions.get(&id) {
                Some(session) if now < session.expires_at() => return self.replay(session, &fields),
                Some(_) => use_of_key += 1,
                None => break id,
            }
        };
        let session = Session::read(id.clone(), fields, now)?;
        let body = session.json(Some(&self.page(&id)));
        sessions.insert(id, session)?;
        Ok(response(StatusCode::OK, &body))
    }

    /// What was answered the first time, whatever has become of the session since.
    fn replay(&self, session: &Session, fields: &BTreeMap<String, String>) -> Result<Response, Refusal> {
        if session.request != *fields {
            let message = "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than the one that was sent if you meant to execute a different request.";
            return Err(Refusal {
                kind: "idempotency_error",
                ..Refusal::new(StatusCode::BAD_REQUEST, message)
            });
        }
        let mut response = response(StatusCode::OK, &session.json(Some(&self.page(&session.id))));
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
        Ok(response)
    }

    fn page(&self, id: &str) -> String {
        format!("{}/local/checkout/{id}", self.public_url)
    }

    /// Marks a session as paid, once, and returns it.
    fn settle(&self, id: &str, now: DateTime<Utc>) -> Result<Session, PayError> {
        let mut sessions = lock(&self.sessions);
        let session = sessions.get(id).ok_or(PayError::Unknown)?;
        if session.paid_at.is_none() {
            if now >= session.expires_at() {
                return Err(PayError::Expired);
            }
            let paid = Session { paid_at: Some(now), ..session.clone() };
            sessions.insert(id.to_owned(), paid)?;
        }
        sessions.get(id).cloned().ok_or(PayError::Unknown)
    }
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok().filter(|value| !value.is_empty())
}

/// Only keys of a test account: nobody should have typed a live one here.
fn check_key(authorization: Option<&str>) -> Result<(), Refusal> {
    let refused = |message| Err(Refusal::new(StatusCode::UNAUTHORIZED, message));
    match authorization.and_then(|value| value.strip_prefix("Bearer ")) {
        None => refused(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
        ),
        Some(key) if key.starts_with("sk_test_") || key.starts_with("rk_test_") => Ok(()),
        Some(_) => refused(
            "Invalid API Key provided: this stand-in takes keys of test mode only (sk_test_…, rk_test_…).",
        ),
    }
}

fn form(request: &Request) -> Result<BTreeMap<String, String>, Refusal> {
    let unreadable = || {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "Invalid request (check that your POST content type is application/x-www-form-urlencoded).",
        )
    };
    let kind = header(request, CONTENT_TYPE.as_str()).unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") {
        return Err(unreadable());
    }
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_bytes(request.body()).map_err(|_| unreadable())?;
    Ok(pairs.into_iter().collect())
}

impl Session {
    fn read(id: String, fields: BTreeMap<String, String>, now: DateTime<Utc>) -> Result<Self, Refusal> {
        let metadata = metadata(&fields)?;
        let optional = |param: &str| fields.get(param).filter(|value| !value.is_empty()).cloned();
        let required = |param: &str| {
            optional(param).ok_or_else(|| {
                Refusal::param(param, "parameter_missing", format!("Missing required param: {param}."))
            })
        };
        if required("mode")? != "payment" {
            return Err(Refusal::param(
                "mode",
                "parameter_invalid",
                "Invalid mode: this stand-in knows payment only.",
            ));
        }
        let currency = required("line_items[0][price_data][currency]")?.to_ascii_lowercase();
        if currency.len() != 3 || !currency.bytes().all(|letter| letter.is_ascii_lowercase()) {
            return Err(Refusal::param(
                "line_items[0][price_data][currency]",
                "parameter_invalid",
                "Invalid currency.",
            ));
        }
        let number = |param: &str| {
            let number = required(param)?.parse::<i64>().ok().filter(|number| *number >= 0);
            number.ok_or_else(|| {
                Refusal::param(param, "parameter_invalid_integer", "Invalid non-negative integer")
            })
        };
        let unit_amount = number("line_items[0][price_data][unit_amount]")?;
        let amount_total = unit_amount.saturating_mul(number("line_items[0][quantity]")?);
        if !(1..=MAX_AMOUNT).contains(&amount_total) {
            let code = if amount_total < 1 { "amount_too_small" } else { "amount_too_large" };
            return Err(Refusal::param(
                "line_items",
                code,
                format!("The total amount must be between 1 and {MAX_AMOUNT}."),
            ));
        }
        let customer_email = optional("customer_email");
        if customer_email.as_ref().is_some_and(|email| EmailAddress::parse(email).is_err()) {
            return Err(Refusal::param("customer_email", "email_invalid", "Invalid email address."));
        }
        let success_url = required("success_url")?;
        let cancel_url = optional("cancel_url");
        for (param, address) in [("success_url", Some(&success_url)), ("cancel_url", cancel_url.as_ref())] {
            let web = |address: &String| {
                Url::parse(address).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
            };
            if address.is_some_and(|address| !web(address)) {
                return Err(Refusal::param(param, "url_invalid", "Not a valid URL"));
            }
        }
        Ok(Self {
            product: required("line_items[0][price_data][product_data][name]")?,
            amount_total,
            currency,
            customer_email,
            client_reference_id: optional("client_reference_id"),
            success_url: success_url.replace("{CHECKOUT_SESSION_ID}", &id),
            cancel_url,
            metadata,
            paid_at: None,
            created: now,
            request: fields,
            id,
        })
    }
}

/// The `metadata[…]` fields; any other field must be one of [`PARAMETERS`].
fn metadata(fields: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refusal> {
    let mut metadata = BTreeMap::new();
    for (param, value) in fields {
        match param.strip_prefix("metadata[").and_then(|rest| rest.strip_suffix(']')) {
            Some(name) => _ = metadata.insert(name.to_owned(), value.clone()),
            None if PARAMETERS.contains(&param.as_str()) => {}
            None => {
                return Err(Refusal::param(
                    param,
                    "parameter_unknown",
                    format!("Received unknown parameter: {param}"),
                ));
            }
        }
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::tests::{FUNNEL, START};
    use crate::engine::{BoxFuture, Store};
    use crate::functions::{Secrets, Sweeps, launch, load_funnel, stack};

    const GOOD: [(&str, &str); 11] = [
        ("mode", "payment"),
        ("client_reference_id", "a-1"),
        ("customer_email", "hanako@example.com"),
        ("success_url", "http://localhost:4000/paid?session={CHECKOUT_SESSION_ID}"),
        ("cancel_url", "http://localhost:4000/apply"),
        ("line_items[0][quantity]", "1"),
        ("line_items[0][price_data][currency]", "jpy"),
        ("line_items[0][price_data][unit_amount]", "330000"),
        ("line_items[0][price_data][product_data][name]", "3か月コース"),
        ("metadata[lead_id]", "l-1"),
        ("metadata[plan]", "standard"),
    ];

    async fn cloud() -> LocalCloud {
        let clock = Clock::frozen(START.parse().unwrap());
        let funnel = load_funnel(FUNNEL.as_ref()).unwrap();
        let stack = stack(&funnel, "http://localhost:4000", Sweeps::Seldom).unwrap();
        launch(stack, funnel, Store::Memory, clock, &Secrets::fixed()).await.unwrap()
    }

    fn request(fields: &[(&str, &str)], key: &str) -> Request {
        axum::http::Request::post(format!("https://{HOST}{SESSIONS_PATH}"))
            .header("authorization", "Bearer sk_test_1")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("idempotency-key", key)
            .body(Bytes::from(serde_urlencoded::to_string(fields).unwrap()))
            .unwrap()
    }

    fn ask(checkout: &Checkout, request: &Request) -> (u16, Value) {
        let response = checkout.desk.answer(request);
        (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap())
    }

    #[tokio::test]
    async fn the_same_key_opens_the_same_session_for_a_day_and_no_other_request() {
        let cloud = cloud().await;
        let checkout = Checkout::open(&cloud, "http://localhost:4000", "whsec");
        let (status, first) = ask(&checkout, &request(&GOOD, "a-1"));
        assert_eq!(
            (status, &first["status"], &first["amount_total"], &first["currency"]),
            (200, &json!("open"), &json!(330_000), &json!("jpy"))
        );
        let id = first["id"].as_str().unwrap();
        assert_eq!(first["url"], format!("http://localhost:4000/local/checkout/{id}"));
        assert_eq!(first["success_url"], format!("http://localhost:4000/paid?session={id}"));
        assert_eq!(ask(&checkout, &request(&GOOD, "a-1")), (200, first.clone()));
        let (status, changed) = ask(&checkout, &request(&GOOD[..10], "a-1"));
        assert_eq!((status, &changed["error"]["type"]), (400, &json!("idempotency_error")));
        cloud.clock().move_to(cloud.clock().now() + TimeDelta::hours(OPEN_HOURS));
        let (_, next) = ask(&checkout, &request(&GOOD, "a-1"));
        assert_ne!(next["id"], first["id"]);
        assert_eq!(checkout.sessions().len(), 2);
        assert!(matches!(checkout.pay(&cloud, id).await, Err(PayError::Expired)));
    }

    #[tokio::test]
    async fn a_wrong_request_is_refused_in_stripes_own_words() {
        let cloud = cloud().await;
        let checkout = Checkout::open(&cloud, "http://localhost:4000", "whsec");
        for (field, value, code) in [
            ("mode", "", "parameter_missing"),
            ("mode", "subscription", "parameter_invalid"),
            ("success_url", "/paid", "url_invalid"),
            ("cancel_url", "javascript:alert(1)", "url_invalid"),
            ("customer_email", "nobody", "email_invalid"),
            ("line_items[0][quantity]", "0", "amount_too_small"),
            ("line_items[0][price_data][unit_amount]", "-5", "parameter_invalid_integer"),
            ("line_items[0][price_data][unit_amount]", "3.5", "parameter_invalid_integer"),
            ("line_items[0][price_data][unit_amount]", "100000000", "amount_too_large"),
            ("line_items[0][price_data][currency]", "yen?", "parameter_invalid"),
            ("line_items[0][price_data][product_data][name]", "", "parameter_missing"),
            ("line_items[0][price]", "price_1", "parameter_unknown"),
        ] {
            let others = GOOD.iter().filter(|(name, _)| *name != field).copied();
            let fields: Vec<(&str, &str)> = others.chain([(field, value)]).collect();
            let (status, body) = ask(&checkout, &request(&fields, "k"));
            assert_eq!((status, &body["error"]["code"]), (400, &json!(code)), "{field}={value}: {body}");
        }
        assert!(checkout.sessions().is_empty());
    }

    #[tokio::test]
    async fn only_keys_of_test_mode_and_known_paths_are_answered() {
        let cloud = cloud().await;
        let checkout = Checkout::open(&cloud, "http://localhost:4000", "whsec");
        for (key, expected) in [
            (None, 401),
            (Some("Basic c2s="), 401),
            (Some("Bearer sk_live_1"), 401),
            (Some("Bearer rk_test_1"), 200),
        ] {
            let mut request = request(&GOOD, "k");
            request.headers_mut().remove(AUTHORIZATION);
            if let Some(key) = key {
                request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static(key));
            }
            assert_eq!(ask(&checkout, &request).0, expected, "{key:?}");
        }
        let mut other = request(&GOOD, "k");
        *other.uri_mut() = axum::http::Uri::from_static("https://api.stripe.com/v1/charges");
        assert_eq!(ask(&checkout, &other).0, 404);
    }

    #[tokio::test]
    async fn paying_twice_sends_the_same_event_with_a_fresh_signature() {
        let cloud = cloud().await;
        let checkout = Checkout::open(&cloud, "http://localhost:4000", "whsec");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hearing = Arc::clone(&heard);
        cloud.register(
            "payment",
            Arc::new(move |event: Value| -> BoxFuture<'static, _> {
                lock(&hearing).push(event);
                Box::pin(std::future::ready(Ok(json!({"statusCode": 200}))))
            }),
        );
        let (_, session) = ask(&checkout, &request(&GOOD, "a-1"));
        let id = session["id"].as_str().unwrap();
        checkout.pay(&cloud, id).await.unwrap();
        cloud.clock().move_to(cloud.clock().now() + TimeDelta::days(2));
        checkout.pay(&cloud, id).await.unwrap();
        let heard = std::mem::take(&mut *lock(&heard));
        assert_eq!((heard.len(), &heard[0]["body"]), (2, &heard[1]["body"]));
        assert_ne!(heard[0]["headers"]["stripe-signature"], heard[1]["headers"]["stripe-signature"]);
        let event: Value = serde_json::from_str(heard[0]["body"].as_str().unwrap()).unwrap();
        assert_eq!(event["id"], id.replace("cs_test_", "evt_"));
        let object = &event["data"]["object"];
        assert_eq!(
            (&object["payment_status"], &object["metadata"]["lead_id"], &object["url"]),
            (&json!("paid"), &json!("l-1"), &Value::Null)
        );
        assert!(matches!(checkout.pay(&cloud, "cs_test_none").await, Err(PayError::Unknown)));
    }

    #[tokio::test]
    async fn sessions_survive_in_their_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dev.sqlite");
        let cloud = cloud().await;
        let kept = |file: &ShelfFile| Checkout::kept(&cloud, "http://localhost:4000", "whsec", file).unwrap();
        let (_, session) = ask(&kept(&ShelfFile::open(&path).unwrap()), &request(&GOOD, "a-1"));
        let again = kept(&ShelfFile::open(&path).unwrap());
        let found = again.session(session["id"].as_str().unwrap()).unwrap();
        assert_eq!((found.amount_total, found.product.as_str()), (330_000, "3か月コース"));
    }
}
