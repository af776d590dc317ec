//! Answers in API Gateway's form.

use aws_lambda_events::{
    apigw::ApiGatewayV2httpResponse,
    encodings::Body,
    http::{HeaderMap, HeaderName, HeaderValue},
};
use serde::Serialize;

use crate::problem::Problem;

/// What a handler returns.
pub type Answer = ApiGatewayV2httpResponse;

/// An answer in JSON.
pub fn json(status: i64, body: &impl Serialize) -> Answer {
    let text = serde_json::to_string(body).unwrap_or_else(|_| "null".to_owned());
    answer(status, "application/json", text)
}

/// A page.
pub fn html(status: i64, page: String) -> Answer {
    answer(status, "text/html; charset=utf-8", page)
}

/// A problem.
pub fn problem(problem: &Problem) -> Answer {
    let body = serde_json::to_string(problem).unwrap_or_else(|_| "null".to_owned());
    answer(problem.status(), "application/problem+json", body)
}

/// Nothing to say.
pub fn no_content() -> Answer {
    answer(204, "text/plain; charset=utf-8", String::new())
}

/// "See there" after a form was taken: a reload of the page there sends nothing again.
pub fn see_other(location: &str) -> Answer {
    with_header(answer(303, "text/plain; charset=utf-8", String::new()), "location", location)
}

/// The same answer with one more header. A value that is no header value is left out.
#[must_use]
pub fn with_header(mut answer: Answer, name: &'static str, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers.insert(HeaderName::from_static(name), value);
    }
    answer
}

/// The same answer with a cookie that only our own pages see.
#[must_use]
pub fn with_cookie(mut answer: Answer, name: &str, value: &str, max_age_seconds: i64) -> Answer {
    answer
        .cookies
        .push(format!("{name}={value}; Max-Age={max_age_seconds}; Path=/; HttpOnly; Secure; SameSite=Lax"));
    answer
}

fn answer(status: i64, content_type: &'static str, body: String) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(content_type));
    // Pages carry personal links: they belong into no cache, frame or referrer.
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("x-frame-options", HeaderValue::from_static("DENY"));
    let mut answer = Answer::default();
    answer.status_code = status;
    answer.headers = headers;
    answer.body = Some(Body::Text(body));
    answer
}
