//! Webhooks out: a step tells another system, signed as Standard Webhooks asks
//! (<https://www.standardwebhooks.com>).

use std::time::Duration;

use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, SharedHttpConnector},
        orchestrator::HttpRequest,
    },
    http::Request,
};
use aws_smithy_types::body::SdkBody;
use chrono::{DateTime, Utc};
use data_encoding::BASE64;
use domain::{limits::WEBHOOK_SECONDS, mac::hmac_sha256};
use serde_json::Value;

/// Posts to other systems.
#[derive(Clone)]
pub struct Webhooks {
    http: SharedHttpConnector,
    secret: Vec<u8>,
}

impl std::fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Webhooks(…)")
    }
}

/// Why a webhook did not arrive. Holds nothing of what was to be told.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// No answer, or none in time.
    #[error("the other system could not be reached: {0}")]
    Unreachable(String),
    /// An answer other than 2xx.
    #[error("the other system answered {0}")]
    Refused(u16),
}

impl Webhooks {
    /// Over this connection, signed with this secret.
    pub fn new(http: SharedHttpConnector, secret: Vec<u8>) -> Self {
        Self { http, secret }
    }

    /// Posts a body. `id` is the same for a repeat, so that the other system can tell.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn post(
        &self,
        url: &str,
        id: &str,
        body: &Value,
        now: DateTime<Utc>,
    ) -> Result<(), WebhookError> {
        let unreachable = |error: &dyn std::fmt::Display| WebhookError::Unreachable(error.to_string());
        let (body, timestamp) = (body.to_string(), now.timestamp().to_string());
        let signature = signature(&self.secret, id, &timestamp, &body);
        let mut request: HttpRequest = Request::new(SdkBody::from(body));
        request.set_method("POST").map_err(|error| unreachable(&error))?;
        request.set_uri(url.to_owned()).map_err(|error| unreachable(&error))?;
        let headers = request.headers_mut();
        headers.insert("content-type", "application/json");
        headers.insert("webhook-id", id.to_owned());
        headers.insert("webhook-timestamp", timestamp);
        headers.insert("webhook-signature", signature);
        let answer =
            tokio::time::timeout(Duration::from_secs(WEBHOOK_SECONDS), self.http.call(request)).await;
        let answer = answer.map_err(|_| WebhookError::Unreachable("no answer in time".to_owned()))?;
        match answer.map_err(|error| unreachable(&error))?.status().as_u16() {
            200..=299 => Ok(()),
            status => Err(WebhookError::Refused(status)),
        }
    }
}

/// `v1,` and the base64 of the HMAC over id, time and body.
fn signature(secret: &[u8], id: &str, timestamp: &str, body: &str) -> String {
    let mac = hmac_sha256(secret, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", BASE64.encode(&mac))
}

/// The secret as receivers' libraries want it.
pub fn shown_secret(secret: &[u8]) -> String {
    format!("whsec_{}", BASE64.encode(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standards_own_example() {
        let secret = BASE64.decode(b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed =
            signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(shown_secret(&secret), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    }
}
