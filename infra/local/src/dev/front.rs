//! Requests to `/local`: who may ask, what for, and what is told when it goes wrong.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT, ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST, HeaderMap,
    HeaderName, HeaderValue, LOCATION, ORIGIN, REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, StatusCode};
use content::Locale;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use web::form::Form;
use web::problem::{Failure, Problem, Status};

use super::{Dev, inbox, pages, script};
use crate::aws::Response;
use crate::server::names_this_machine;

/// The largest body that is read, in bytes: these are small forms.
const MAX_BODY_BYTES: usize = 64 * 1024;
const LANGUAGE_COOKIE: &str = "michi_language";

/// What every handler answers.
pub(super) type Answered = Result<Response, Failure>;

/// A request to `/local`.
pub(super) struct Asked {
    method: Method,
    /// The parts after `/local`, decoded.
    path: Vec<String>,
    query: BTreeMap<String, String>,
    content_type: String,
    body: Bytes,
    /// Whether a person in a browser waits for the answer, rather than a program.
    pub(super) wants_html: bool,
    pub(super) locale: Locale,
    /// Path and query, without the language.
    pub(super) place: String,
}

/// Answers a request. Everything that it causes is done by then.
pub(super) async fn answer(dev: Dev, request: axum::http::Request<Body>) -> axum::http::Response<Body> {
    // A page elsewhere could give its own name this machine's address and read the answers.
    if !request.headers().get(HOST).is_some_and(names_this_machine) {
        return with_status(StatusCode::MISDIRECTED_REQUEST).map(Body::from);
    }
    let foreign = request.headers().get(ORIGIN).is_some_and(|origin| !names_this_machine(origin));
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY_BYTES).await;
    let asked = Asked::read(&parts, body.as_ref().cloned().unwrap_or_default());
    let answered = match body {
        // A page elsewhere can send forms here.
        Ok(_) if foreign => {
            Err(Problem::new(Status::Forbidden, "this request comes from a page that is not on this machine")
                .into())
        }
        Err(_) => {
            Err(Problem::new(Status::TooLarge, &format!("the body may have {MAX_BODY_BYTES} bytes at most"))
                .into())
        }
        Ok(_) => {
            dev.settle().await;
            route(&dev, &asked).await
        }
    };
    let mut response =
        answered.unwrap_or_else(|failure| told(&dev, &asked, &failure.into_problem(&asked.place)));
    asked.remember_language(&mut response);
    response.map(Body::from)
}

async fn route(dev: &Dev, asked: &Asked) -> Answered {
    // A HEAD is a GET whose body the server leaves out.
    let method = if asked.method == Method::HEAD { "GET" } else { asked.method.as_str() };
    let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
    match (method, path.as_slice()) {
        ("GET", []) => pages::start(dev, asked).await,
        ("GET", ["people"]) => pages::people(dev, asked).await,
        ("GET", ["people", lead_id]) => pages::person(dev, lead_id),
        ("GET", ["figures"]) => pages::figures(dev).await,
        ("GET", ["checkout", id]) => pages::checkout(dev, asked, id),
        ("POST", ["checkout", id, "pay"]) => pages::pay(dev, asked, id).await,
        ("GET", ["inbox"]) => inbox::list(dev, asked).await,
        ("GET", ["inbox", id]) => inbox::mail(dev, asked, id).await,
        ("GET", ["inbox", id, "html"]) => inbox::html(dev, id),
        ("GET", ["inbox", id, "attachments", number]) => inbox::attachment(dev, id, number),
        ("GET", ["inbox", id, "click"]) => inbox::click(dev, asked, id).await,
        ("POST", ["inbox", id, "complaint"]) => inbox::complaint(dev, id).await,
        ("GET", ["clock"]) => Ok(json(&script::clock(dev))),
        ("POST", ["clock"]) => script::advance(dev, asked).await,
        ("GET", ["mails"]) => script::mails(dev, asked),
        ("DELETE", ["mails"]) => script::forget(dev, asked),
        ("GET", ["mails", id]) => script::mail(dev, id),
        ("POST", ["mails", id, "open"]) => script::open(dev, asked, id).await,
        ("POST", ["mails", id, "click"]) => script::click(dev, asked, id).await,
        ("POST", ["mails", id, "complaint"]) => script::complaint(dev, id).await,
        ("POST", ["nightly"]) => script::nightly(dev, asked).await,
        ("GET", ["dead-letters"]) => Ok(json(&script::dead_letters(dev))),
        ("GET", ["meter"]) => Ok(json(&script::meter(dev))),
        _ => {
            Err(Problem::new(Status::NotFound, "there is nothing here; GET /local lists what there is")
                .into())
        }
    }
}

impl Asked {
    fn read(parts: &axum::http::request::Parts, body: Bytes) -> Self {
        let path = parts.uri.path().split('/').filter(|part| !part.is_empty()).skip(1);
        let query = parts.uri.query().unwrap_or_default();
        let query: BTreeMap<String, String> = serde_urlencoded::from_str(query).unwrap_or_default();
        let headers = &parts.headers;
        Self {
            method: parts.method.clone(),
            path: path.map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect(),
            locale: locale(&query, headers),
            place: place(parts.uri.path(), &query),
            query,
            content_type: text(headers, CONTENT_TYPE)
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase(),
            wants_html: text(headers, ACCEPT).contains("text/html"),
            body,
        }
    }

    /// A parameter of the query string.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The body's fields: JSON or what HTML forms send; none if there is no body.
    pub(super) fn form(&self) -> Result<Form, Problem> {
        let is_object = self.body.trim_ascii_start().starts_with(b"{");
        match self.content_type.as_str() {
            _ if self.body.is_empty() => Ok(Form::default()),
            "application/json" => Form::from_json(&self.body),
            // What `curl -d` calls JSON.
            "application/x-www-form-urlencoded" if is_object => Form::from_json(&self.body),
            "application/x-www-form-urlencoded" => Form::from_urlencoded(&self.body),
            _ => Err(Problem::new(
                Status::UnsupportedMediaType,
                "send application/json or application/x-www-form-urlencoded",
            )),
        }
    }

    fn remember_language(&self, response: &mut Response) {
        if self.query("lang").is_some() {
            let cookie = format!("{LANGUAGE_COOKIE}={}; Path=/local; SameSite=Lax", self.locale.as_str());
            insert(response, SET_COOKIE, &cookie);
        }
    }
}

/// The language asked for in the address, then the one chosen before, then the browser's.
fn locale(query: &BTreeMap<String, String>, headers: &HeaderMap) -> Locale {
    let known = |tag: &str| match tag.trim().get(..2)? {
        "ja" => Some(Locale::Ja),
        "en" => Some(Locale::En),
        _ => None,
    };
    let cookies = text(headers, COOKIE);
    let mut cookies = cookies.split(';').filter_map(|cookie| cookie.trim().split_once('='));
    let chosen = cookies.find(|(name, _)| *name == LANGUAGE_COOKIE).and_then(|(_, tag)| known(tag));
    let wanted = query.get("lang").and_then(|tag| known(tag));
    wanted
        .or(chosen)
        .or_else(|| text(headers, ACCEPT_LANGUAGE).split(',').find_map(known))
        .unwrap_or(Locale::Ja)
}

fn place(path: &str, query: &BTreeMap<String, String>) -> String {
    let kept: Vec<_> = query.iter().filter(|(name, _)| *name != "lang").collect();
    match serde_urlencoded::to_string(kept) {
        Ok(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path.to_owned(),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn told(dev: &Dev, asked: &Asked, problem: &Problem) -> Response {
    let status = u16::try_from(problem.status()).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let page = asked.wants_html.then(|| pages::problem(dev, asked, problem));
    let mut response = match page {
        Some(Ok(page)) => page,
        _ => {
            let mut response = json(problem);
            insert(&mut response, CONTENT_TYPE, "application/problem+json");
            response
        }
    };
    *response.status_mut() = status;
    response
}

/// An answer in JSON.
pub(super) fn json(body: &impl serde::Serialize) -> Response {
    let body = serde_json::to_value(body).unwrap_or(Value::Null).to_string();
    with_body("application/json", body.into())
}

/// A page of ours; the policy says what it may load and run.
pub(super) fn html(page: String, policy: &str) -> Response {
    let mut response = with_body("text/html; charset=utf-8", page.into());
    insert(&mut response, CONTENT_SECURITY_POLICY, policy);
    insert(&mut response, REFERRER_POLICY, "same-origin");
    response
}

/// Anything else.
pub(super) fn with_body(content_type: &str, body: Bytes) -> Response {
    let mut response = Response::new(body);
    insert(&mut response, CONTENT_TYPE, content_type);
    insert(&mut response, CACHE_CONTROL, "no-store");
    insert(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

/// "See there": a reload of the page there does nothing again.
pub(super) fn see_other(location: &str) -> Answered {
    let mut response = with_status(StatusCode::SEE_OTHER);
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(location)?);
    Ok(response)
}

/// Adds a header; a text that can't be one is left out.
pub(super) fn insert(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn with_status(status: StatusCode) -> Response {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}
