//! Stripe: a Checkout session to pay in, and the webhook that says it was paid.
//!
//! Two calls of Stripe's API; its Rust library is still a release candidate and would bring a
//! second HTTP and TLS stack into every function, so they are made here.

use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, SharedHttpConnector},
        orchestrator::HttpRequest,
    },
    http::Request,
};
use aws_smithy_types::body::SdkBody;
use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER_PERMISSIVE;
use domain::{
    customer::{Payment, Plan},
    id::Id,
    limits::WEBHOOK_TOLERANCE_SECONDS,
    mac::hmac_sha256,
};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// The version of Stripe's API that requests and webhooks are written for.
const API_VERSION: &str = "2025-03-31.basil";

/// Stripe's secrets, as the SSM parameter holds them.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StripeSecrets {
    /// `sk_…` or a restricted key that may write Checkout sessions.
    pub secret_key: String,
    /// `whsec_…`; two while a secret rotates.
    pub webhook_secrets: Vec<String>,
    /// Another place that speaks Stripe's API, such as a mock for tests.
    #[serde(default = "stripes_own", skip_serializing)]
    pub api_base: String,
}

impl std::fmt::Debug for StripeSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StripeSecrets(…)")
    }
}

fn stripes_own() -> String {
    "https://api.stripe.com".to_owned()
}

/// Why Stripe could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StripeError {
    /// No answer, or none that makes sense; trying again is safe.
    #[error("Stripe could not be reached: {0}")]
    Unreachable(String),
    /// Stripe refused the request.
    #[error("Stripe answered {status}: {code}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Stripe's error code or type.
        code: String,
    },
}

/// A client of Stripe's API.
#[derive(Debug, Clone)]
pub struct Stripe {
    http: SharedHttpConnector,
    secrets: StripeSecrets,
}

/// What to pay for.
#[derive(Debug)]
pub struct Checkout<'a> {
    pub lead_id: &'a Id,
    pub application_id: &'a Id,
    pub plan: &'a Plan,
    /// ISO 4217.
    pub currency: &'a str,
    pub email: &'a str,
    pub success_url: &'a str,
    pub cancel_url: &'a str,
}

#[derive(Deserialize)]
struct Session {
    url: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    error: FailureBody,
}

#[derive(Deserialize)]
struct FailureBody {
    code: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl Stripe {
    /// With these secrets.
    pub fn new(http: SharedHttpConnector, secrets: StripeSecrets) -> Self {
        Self { http, secrets }
    }

    /// Opens a Checkout session and returns the address of its page. Asked twice for the same,
    /// Stripe answers with the same session; its idempotency key covers the whole request, since
    /// Stripe refuses a key that comes back with other parameters.
    ///
    /// # Errors
    /// [`StripeError`].
    pub async fn open_checkout(&self, checkout: &Checkout<'_>) -> Result<String, StripeError> {
        let amount = checkout.plan.price.to_string();
        let currency = checkout.currency.to_ascii_lowercase();
        let fields = [
            ("mode", "payment"),
            ("client_reference_id", checkout.application_id.as_str()),
            ("customer_email", checkout.email),
            ("success_url", checkout.success_url),
            ("cancel_url", checkout.cancel_url),
            ("line_items[0][quantity]", "1"),
            ("line_items[0][price_data][currency]", &currency),
            ("line_items[0][price_data][unit_amount]", &amount),
            ("line_items[0][price_data][product_data][name]", &checkout.plan.name),
            ("metadata[lead_id]", checkout.lead_id.as_str()),
            ("metadata[application_id]", checkout.application_id.as_str()),
            ("metadata[plan]", checkout.plan.id.as_str()),
        ];
        let body = serde_urlencoded::to_string(fields)
            .map_err(|error| StripeError::Unreachable(error.to_string()))?;
        let (status, answer) =
            self.post("/v1/checkout/sessions", Id::derived("checkout", &[&body]).as_str(), body).await?;
        if status != 200 {
            let failure = serde_json::from_slice::<Failure>(&answer).ok().map(|failure| failure.error);
            let code = failure
                .and_then(|failure| failure.code.or(failure.kind))
                .unwrap_or_else(|| "no reason given".to_owned());
            return Err(StripeError::Refused { status, code });
        }
        let session: Session =
            serde_json::from_slice(&answer).map_err(|error| StripeError::Unreachable(error.to_string()))?;
        session.url.ok_or_else(|| StripeError::Unreachable("the session has no page".to_owned()))
    }

    async fn post(
        &self,
        path: &str,
        idempotency_key: &str,
        body: String,
    ) -> Result<(u16, Vec<u8>), StripeError> {
        let unreachable = |error: &dyn std::fmt::Display| StripeError::Unreachable(error.to_string());
        let mut request: HttpRequest = Request::new(SdkBody::from(body));
        request.set_method("POST").map_err(|error| unreachable(&error))?;
        request.set_uri(format!("{}{path}", self.secrets.api_base)).map_err(|error| unreachable(&error))?;
        let headers = request.headers_mut();
        headers.insert("content-type", "application/x-www-form-urlencoded");
        headers.insert("authorization", format!("Bearer {}", self.secrets.secret_key));
        headers.insert("idempotency-key", idempotency_key.to_owned());
        headers.insert("stripe-version", API_VERSION);
        let answer = self.http.call(request).await.map_err(|error| unreachable(&error))?;
        let status = answer.status().as_u16();
        let body = aws_smithy_types::byte_stream::ByteStream::new(answer.into_body()).collect().await;
        Ok((status, body.map_err(|error| unreachable(&error))?.to_vec()))
    }

    /// Reads a webhook's event, if its signature is right.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub fn read_webhook(
        &self,
        signature: Option<&str>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<Webhook, WebhookError> {
        let signature = Signature::parse(signature.ok_or(WebhookError::NoSignature)?)?;
        let known = self.secrets.webhook_secrets.iter().any(|secret| signature.is_by(secret, body));
        if !known {
            return Err(WebhookError::WrongSignature);
        }
        if (now.timestamp() - signature.timestamp).abs() > WEBHOOK_TOLERANCE_SECONDS {
            return Err(WebhookError::Stale);
        }
        let event: WebhookEvent =
            serde_json::from_slice(body).map_err(|error| WebhookError::Unreadable(error.to_string()))?;
        event.read()
    }
}

/// `t=1492774577,v1=5257a8…[,v1=…]`; other schemes are ignored, as Stripe asks.
struct Signature {
    timestamp: i64,
    v1: Vec<Vec<u8>>,
}

impl Signature {
    fn parse(header: &str) -> Result<Self, WebhookError> {
        let pairs = || header.split(',').filter_map(|pair| pair.trim().split_once('='));
        let timestamp = pairs().find(|(name, _)| *name == "t").and_then(|(_, value)| value.parse().ok());
        let v1 = pairs()
            .filter(|(name, _)| *name == "v1")
            .filter_map(|(_, value)| HEXLOWER_PERMISSIVE.decode(value.as_bytes()).ok());
        Ok(Self { timestamp: timestamp.ok_or(WebhookError::NoSignature)?, v1: v1.collect() })
    }

    fn is_by(&self, secret: &str, body: &[u8]) -> bool {
        let expected =
            hmac_sha256(secret.as_bytes(), &[format!("{}.", self.timestamp).as_bytes(), body].concat());
        self.v1.iter().any(|given| bool::from(given.ct_eq(&expected)))
    }
}

/// The header that Stripe would send with a body: for tests and the local stand-in.
pub fn sign_webhook(secret: &str, body: &[u8], now: DateTime<Utc>) -> String {
    let timestamp = now.timestamp();
    let mac = hmac_sha256(secret.as_bytes(), &[format!("{timestamp}.").as_bytes(), body].concat());
    format!("t={timestamp},v1={}", HEXLOWER_PERMISSIVE.encode(&mac))
}

/// What a webhook says.
#[derive(Debug)]
pub enum Webhook {
    /// Money arrived.
    Paid(Payment),
    /// Something that changes nothing here.
    Other(String),
}

/// Why a webhook was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    #[error("the Stripe-Signature header is missing or has no timestamp")]
    NoSignature,
    #[error("no signature of scheme v1 fits the body and the webhook's secret")]
    WrongSignature,
    #[error("the signature is older than {WEBHOOK_TOLERANCE_SECONDS} seconds")]
    Stale,
    /// Signed, but not of the form that was agreed on: for a person to look at.
    #[error("the event can't be read: {0}")]
    Unreadable(String),
}

#[derive(Deserialize)]
struct WebhookEvent {
    #[serde(rename = "type")]
    kind: String,
    created: i64,
    data: WebhookData,
}

#[derive(Deserialize)]
struct WebhookData {
    object: serde_json::Value,
}

#[derive(Deserialize)]
struct CompletedSession {
    id: String,
    payment_status: String,
    amount_total: i64,
    currency: String,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
struct Metadata {
    lead_id: Option<String>,
    application_id: Option<String>,
    plan: Option<String>,
}

impl WebhookEvent {
    fn read(self) -> Result<Webhook, WebhookError> {
        // A session paid by bank transfer or at a convenience store completes unpaid and
        // reports the money later.
        if !matches!(
            self.kind.as_str(),
            "checkout.session.completed" | "checkout.session.async_payment_succeeded"
        ) {
            return Ok(Webhook::Other(self.kind));
        }
        let unreadable = |what: &str| WebhookError::Unreadable(what.to_owned());
        let session: CompletedSession =
            serde_json::from_value(self.data.object).map_err(|error| unreadable(&error.to_string()))?;
        if session.payment_status != "paid" {
            return Ok(Webhook::Other(format!("{} ({})", self.kind, session.payment_status)));
        }
        let id = |value: Option<String>, name: &str| {
            value
                .and_then(|text| Id::parse(&text).ok())
                .ok_or_else(|| unreadable(&format!("metadata.{name} is missing or not an id")))
        };
        Ok(Webhook::Paid(Payment {
            lead_id: id(session.metadata.lead_id, "lead_id")?,
            application_id: id(session.metadata.application_id, "application_id")?,
            plan: id(session.metadata.plan, "plan")?,
            amount: session.amount_total,
            currency: session.currency.to_ascii_uppercase(),
            reference: session.id,
            paid_at: DateTime::from_timestamp(self.created, 0)
                .ok_or_else(|| unreadable("created is no time"))?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_runtime_api::client::http::HttpConnectorFuture;

    #[derive(Debug)]
    struct Nowhere;

    impl HttpConnector for Nowhere {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            unreachable!("webhooks call nobody")
        }
    }

    fn stripe(secrets: &[&str]) -> Stripe {
        let webhook_secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        Stripe::new(
            SharedHttpConnector::new(Nowhere),
            StripeSecrets { secret_key: "sk_test".into(), webhook_secrets, api_base: stripes_own() },
        )
    }

    fn completed(payment_status: &str) -> String {
        serde_json::json!({
            "id": "evt_1", "object": "event", "type": "checkout.session.completed", "created": 1_795_309_200,
            "data": {"object": {
                "id": "cs_test_1", "object": "checkout.session", "payment_status": payment_status,
                "amount_total": 1_500_000, "currency": "jpy",
                "metadata": {"lead_id": "l-1", "application_id": "a-1", "plan": "vip"}
            }}
        })
        .to_string()
    }

    #[test]
    fn a_signature_made_outside_this_code_is_recognised() {
        // printf '%s' '1614556800.{"a":1}' | openssl dgst -sha256 -hmac whsec_test
        let header = "t=1614556800,v0=00,v1=c0ffee,v1=f2a60f86f2bdd1169572cd27ae5e6522e19b4183bab11c6d3d2ed0082341793f";
        let signature = Signature::parse(header).unwrap();
        assert!(signature.is_by("whsec_test", br#"{"a":1}"#));
        assert!(!signature.is_by("whsec_test", br#"{"a":2}"#));
    }

    #[test]
    fn only_a_right_and_fresh_signature_opens_the_event() {
        let now = DateTime::from_timestamp(1_795_309_200, 0).unwrap();
        let body = completed("paid");
        let good = sign_webhook("whsec_1", body.as_bytes(), now);
        let rotated = format!("{good},v1={}", "ab".repeat(32));
        let late = now + chrono::TimeDelta::seconds(WEBHOOK_TOLERANCE_SECONDS + 1);
        let other = sign_webhook("whsec_2", body.as_bytes(), now);
        for (what, header, body, now, expected) in [
            ("right", Some(good.as_str()), body.as_str(), now, Ok(())),
            ("one of two", Some(rotated.as_str()), &body, now, Ok(())),
            ("none", None, &body, now, Err(WebhookError::NoSignature)),
            ("nonsense", Some("hello"), &body, now, Err(WebhookError::NoSignature)),
            ("another secret's", Some(other.as_str()), &body, now, Err(WebhookError::WrongSignature)),
            (
                "another body's",
                Some(good.as_str()),
                &body.replace("1500000", "1"),
                now,
                Err(WebhookError::WrongSignature),
            ),
            (
                "scheme v0",
                Some(good.replace("v1=", "v0=").as_str()),
                &body,
                now,
                Err(WebhookError::WrongSignature),
            ),
            ("stale", Some(good.as_str()), &body, late, Err(WebhookError::Stale)),
        ] {
            let read = stripe(&["whsec_1"]).read_webhook(header, body.as_bytes(), now).map(|_| ());
            assert_eq!(read, expected, "{what}");
        }
        assert!(
            stripe(&["whsec_new", "whsec_1"]).read_webhook(Some(&good), body.as_bytes(), now).is_ok(),
            "while rotating"
        );
    }

    #[test]
    fn only_money_that_arrived_is_a_payment() {
        let now = DateTime::from_timestamp(1_795_309_200, 0).unwrap();
        let read = |body: String| {
            stripe(&["w"]).read_webhook(Some(&sign_webhook("w", body.as_bytes(), now)), body.as_bytes(), now)
        };
        assert!(
            matches!(read(completed("paid")), Ok(Webhook::Paid(payment)) if payment.amount == 1_500_000 && payment.currency == "JPY" && payment.paid_at == now)
        );
        assert!(matches!(read(completed("unpaid")), Ok(Webhook::Other(_))));
        assert!(matches!(
            read(completed("paid").replace("checkout.session.completed", "invoice.created")),
            Ok(Webhook::Other(_))
        ));
        assert!(matches!(
            read(completed("paid").replace("\"l-1\"", "null")),
            Err(WebhookError::Unreadable(_))
        ));
    }
}
