//! A request as API Gateway's HTTP API hands it over (payload format 2.0).

use std::collections::BTreeMap;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::limits::BODY_BYTES;

use crate::{
    form::Form,
    problem::{Problem, Status},
};

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST /opt-in`: which of the template's routes it came by.
    pub route: String,
    path: BTreeMap<String, String>,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    cookies: Vec<String>,
    /// A body that can't be had is nobody's business but that of who reads it: a way out, whose token
    /// is in the query, works all the same.
    body: Result<Vec<u8>, Problem>,
    /// The caller's address.
    pub ip: Option<String>,
}

impl Request {
    /// Reads the event. What is wrong with the body is told when the body is asked for.
    pub fn read(event: ApiGatewayV2httpRequest) -> Self {
        let body = body(event.body.unwrap_or_default(), event.is_base64_encoded);
        let headers = event
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
        let query =
            event.query_string_parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            route: event.route_key.unwrap_or_default(),
            path: event.path_parameters.into_iter().collect(),
            query: query.collect(),
            headers: headers.collect(),
            cookies: event.cookies.unwrap_or_default(),
            body,
            ip: event.request_context.http.source_ip,
        }
    }

    /// A parameter of the path.
    pub fn path(&self, name: &str) -> &str {
        self.path.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A parameter of the query string.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All parameters of the query string.
    pub fn all_query(&self) -> &BTreeMap<String, String> {
        &self.query
    }

    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// A cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        // API Gateway moves them into a list of their own; other front ends leave the header.
        let header = self.header("cookie").into_iter().flat_map(|header| header.split("; "));
        self.cookies
            .iter()
            .map(String::as_str)
            .chain(header)
            .find_map(|cookie| cookie.strip_prefix(name)?.strip_prefix('='))
    }

    /// The body as it came, which is what webhooks' signatures are made over.
    ///
    /// # Errors
    /// [`Problem`] if it is too large or not what its encoding says.
    pub fn body(&self) -> Result<&[u8], Problem> {
        self.body.as_deref().map_err(Clone::clone)
    }

    /// Whether a person in a browser waits for the answer, rather than a program.
    pub fn wants_html(&self) -> bool {
        self.header("accept").is_some_and(|accept| accept.contains("text/html"))
    }

    /// Reads the body as a form: JSON (an object of texts) or what HTML forms send.
    ///
    /// # Errors
    /// [`Problem`] if it is neither, or broken, or larger than [`BODY_BYTES`].
    pub fn form(&self) -> Result<Form, Problem> {
        let content_type = self.header("content-type").unwrap_or_default();
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/json" => Form::from_json(self.body()?),
            "application/x-www-form-urlencoded" => Form::from_urlencoded(self.body()?),
            _ => Err(Problem::new(
                Status::UnsupportedMediaType,
                "send application/json or application/x-www-form-urlencoded",
            )),
        }
    }
}

fn body(text: String, encoded: bool) -> Result<Vec<u8>, Problem> {
    let body = match encoded {
        true => STANDARD
            .decode(text)
            .map_err(|_| Problem::new(Status::BadRequest, "the body is not valid base64"))?,
        false => text.into_bytes(),
    };
    match body.len() > BODY_BYTES {
        true => Err(Problem::new(Status::TooLarge, &format!("the body may have {BODY_BYTES} bytes at most"))),
        false => Ok(body),
    }
}
