//! API Gateway's HTTP API: requests become events of payload format 2.0, answers become responses.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::aws::{Request, Response};
use crate::template::{ACCOUNT, REGION, Route};

/// The largest body that API Gateway takes.
pub const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;
const API_ID: &str = "httpapi";

/// The route that fits a request, with its path parameters.
pub(crate) struct Matched<'a> {
    pub(crate) route: &'a Route,
    parameters: BTreeMap<String, String>,
}

/// The most specific route for a method and path: fixed parts before parameters, a method before `ANY`.
pub(crate) fn find_route<'a>(routes: &'a [Route], method: &str, path: &str) -> Option<Matched<'a>> {
    let fitting = routes.iter().filter_map(|route| {
        if route.key == "$default" {
            return Some((0, false, route, BTreeMap::new()));
        }
        let (wanted, pattern) = route.key.split_once(' ')?;
        if wanted != method && wanted != "ANY" {
            return None;
        }
        let (fixed, parameters) = match_path(pattern, path)?;
        Some((fixed + 1, wanted != "ANY", route, parameters))
    });
    let best = fitting.max_by_key(|(fixed, exact, _, _)| (*fixed, *exact));
    best.map(|(_, _, route, parameters)| Matched { route, parameters })
}

/// How specific a pattern is and what its parameters are; none if it does not fit.
fn match_path(pattern: &str, path: &str) -> Option<(usize, BTreeMap<String, String>)> {
    let mut parameters = BTreeMap::new();
    let mut specific = 0;
    let mut path_parts = path.trim_start_matches('/').split('/');
    for part in pattern.trim_start_matches('/').split('/') {
        let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
            if path_parts.next()? != part {
                return None;
            }
            specific += 100;
            continue;
        };
        let value = match name.strip_suffix('+') {
            Some(_) => path_parts.by_ref().collect::<Vec<_>>().join("/"),
            None => path_parts.next()?.to_owned(),
        };
        if value.is_empty() {
            return None;
        }
        specific += usize::from(!name.ends_with('+'));
        let value = percent_decode_str(&value).decode_utf8_lossy().into_owned();
        parameters.insert(name.trim_end_matches('+').to_owned(), value);
    }
    path_parts.next().is_none().then_some((specific, parameters))
}

/// The event that a function gets for a request.
pub(crate) fn event(request: &Request, matched: &Matched<'_>, request_id: &str, now: DateTime<Utc>) -> Value {
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or_default();
    let (headers, cookies) = event_headers(request.headers());
    let domain = format!("{API_ID}.execute-api.{REGION}.amazonaws.com");
    let user_agent = headers.get("user-agent").cloned().unwrap_or(json!(""));
    let key = &matched.route.key;
    let mut event = json!({
        "version": "2.0",
        "routeKey": key,
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": API_ID,
            "domainName": domain,
            "domainPrefix": API_ID,
            "http": {
                "method": request.method().as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": user_agent,
            },
            "requestId": request_id,
            "routeKey": key,
            "stage": "$default",
            "time": now.format("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "timeEpoch": now.timestamp_millis(),
        },
        "isBase64Encoded": false,
    });
    if !cookies.is_empty() {
        event["cookies"] = cookies.into();
    }
    let parameters = query_parameters(query);
    if !parameters.is_empty() {
        event["queryStringParameters"] = Value::Object(parameters);
    }
    if !matched.parameters.is_empty() {
        event["pathParameters"] = json!(matched.parameters);
    }
    if !request.body().is_empty() {
        let (body, encoded) = event_body(request);
        event["body"] = body.into();
        event["isBase64Encoded"] = encoded.into();
    }
    event
}

/// Lower-cased names, values of one name joined by commas; cookies apart.
fn event_headers(headers: &HeaderMap) -> (Map<String, Value>, Vec<String>) {
    let (mut joined, mut cookies) = (Map::new(), Vec::new());
    for name in headers.keys() {
        let values: Vec<String> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        if name == "cookie" {
            let each = values.iter().flat_map(|value| value.split(';'));
            cookies.extend(each.map(|cookie| cookie.trim().to_owned()));
        } else {
            joined.insert(name.as_str().to_owned(), values.join(",").into());
        }
    }
    (joined, cookies)
}

fn query_parameters(query: &str) -> Map<String, Value> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
    let mut joined: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in pairs {
        joined.entry(name).or_default().push(value);
    }
    let joined = joined.into_iter();
    joined.map(|(name, values)| (name, values.join(",").into())).collect()
}

/// Text types stay text; API Gateway encodes everything else.
fn event_body(request: &Request) -> (String, bool) {
    let kind = request.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_text = kind.starts_with("text/")
        || kind.ends_with("+json")
        || matches!(kind, "application/json" | "application/xml" | "application/javascript");
    match std::str::from_utf8(request.body()) {
        Ok(text) if is_text => (text.to_owned(), false),
        _ => (STANDARD.encode(request.body()), true),
    }
}

/// The response that a function's answer describes; none if it describes none.
pub(crate) fn response(answer: &Value) -> Option<Response> {
    let Some(status) = answer.get("statusCode") else {
        // An answer without a status is the body itself.
        let mut response = Response::new(Bytes::from(answer.to_string()));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        return Some(response);
    };
    let status = u16::try_from(status.as_u64()?).ok()?;
    let text = answer["body"].as_str().unwrap_or_default();
    let body = match answer["isBase64Encoded"].as_bool() {
        Some(true) => STANDARD.decode(text).ok()?,
        _ => text.as_bytes().to_vec(),
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(status).ok()?;
    let headers = response.headers_mut();
    let singles = answer["headers"].as_object().into_iter().flatten();
    for (name, value) in singles {
        add_header(headers, name, value)?;
    }
    let multiples = answer["multiValueHeaders"].as_object().into_iter().flatten();
    for (name, values) in multiples {
        for value in values.as_array()? {
            add_header(headers, name, value)?;
        }
    }
    for cookie in answer["cookies"].as_array().into_iter().flatten() {
        headers.append(SET_COOKIE, HeaderValue::from_str(cookie.as_str()?).ok()?);
    }
    let plain = HeaderValue::from_static("text/plain;charset=utf-8");
    headers.entry(CONTENT_TYPE).or_insert(plain);
    Some(response)
}

fn add_header(headers: &mut HeaderMap, name: &str, value: &Value) -> Option<()> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    headers.append(name, HeaderValue::from_str(&text).ok()?);
    Some(())
}

/// A response that API Gateway gives by itself.
pub(crate) fn own_response(status: StatusCode, message: &str) -> Response {
    let mut response = Response::new(Bytes::from(json!({"message": message}).to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(keys: &[&str]) -> Vec<Route> {
        let route = |key: &&str| Route { key: (*key).to_owned(), function: "f".to_owned() };
        keys.iter().map(route).collect()
    }

    #[test]
    fn the_most_specific_route_answers() {
        let routes = routes(&[
            "$default",
            "GET /",
            "GET /pages/{page}",
            "GET /pages/{rest+}",
            "GET /pages/about",
            "ANY /pages/about",
            "POST /bookings/{id}/cancel",
        ]);
        let table = [
            ("GET", "/", "GET /"),
            ("GET", "/pages/about", "GET /pages/about"),
            ("PUT", "/pages/about", "ANY /pages/about"),
            ("GET", "/pages/other", "GET /pages/{page}"),
            ("GET", "/pages/a/b", "GET /pages/{rest+}"),
            ("POST", "/bookings/7/cancel", "POST /bookings/{id}/cancel"),
            ("POST", "/bookings//cancel", "$default"),
            ("GET", "/nowhere", "$default"),
        ];
        for (method, path, expected) in table {
            let found = find_route(&routes, method, path).unwrap();
            assert_eq!(found.route.key, expected, "{method} {path}");
        }
        assert!(find_route(&routes[1..], "DELETE", "/nowhere").is_none());
    }

    fn event_of(request: Request, key: &str) -> Value {
        let routes = routes(&[key]);
        let path = request.uri().path().to_owned();
        let matched = find_route(&routes, request.method().as_str(), &path).unwrap();
        let now = "2026-04-01T09:05:00Z".parse().unwrap();
        event(&request, &matched, "id-1", now)
    }

    #[test]
    fn an_event_has_the_shape_of_payload_format_2() {
        let request = axum::http::Request::post("/pages/%E3%81%82?a=1&a=2&b=x%20y")
            .header("X-One", "1")
            .header("x-one", "2")
            .header("Cookie", "k=v; l=w")
            .header("Content-Type", "application/json; charset=utf-8")
            .body(Bytes::from_static(b"{}"))
            .unwrap();
        let event = event_of(request, "POST /pages/{page}");
        assert_eq!(event["rawPath"], "/pages/%E3%81%82");
        assert_eq!(event["rawQueryString"], "a=1&a=2&b=x%20y");
        assert_eq!(event["pathParameters"], json!({"page": "あ"}));
        assert_eq!(event["queryStringParameters"], json!({"a": "1,2", "b": "x y"}));
        assert_eq!(event["headers"]["x-one"], "1,2");
        assert_eq!(event["headers"].get("cookie"), None);
        assert_eq!(event["cookies"], json!(["k=v", "l=w"]));
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("{}"), &json!(false)));
        let context = &event["requestContext"];
        assert_eq!(context["time"], "01/Apr/2026:09:05:00 +0000");
        assert_eq!(context["timeEpoch"], 1_775_034_300_000_u64);
        assert_eq!(context["http"]["method"], "POST");
        let typed: aws_lambda_events::event::apigw::ApiGatewayV2httpRequest =
            serde_json::from_value(event).unwrap();
        assert_eq!(typed.route_key.as_deref(), Some("POST /pages/{page}"));
    }

    #[test]
    fn a_form_arrives_encoded_as_api_gateway_encodes_it() {
        let request = axum::http::Request::post("/opt-in")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(Bytes::from_static(b"a=b"))
            .unwrap();
        let event = event_of(request, "POST /opt-in");
        assert_eq!(event["isBase64Encoded"], true);
        assert_eq!(event["body"], "YT1i");
    }

    #[test]
    fn an_answer_becomes_a_response() {
        let answer = json!({"statusCode": 303, "headers": {"Location": "/thanks"},
            "multiValueHeaders": {"x-a": ["1", "2"]}, "cookies": ["k=v"],
            "body": "aGk=", "isBase64Encoded": true});
        let built = response(&answer).unwrap();
        assert_eq!(built.status(), 303);
        assert_eq!(built.headers()["location"], "/thanks");
        assert_eq!(built.headers().get_all("x-a").iter().count(), 2);
        assert_eq!(built.headers()["set-cookie"], "k=v");
        assert_eq!(&built.body()[..], b"hi");
        let bare = response(&json!({"fine": true})).unwrap();
        assert_eq!(bare.status(), 200);
        assert_eq!(bare.headers()["content-type"], "application/json");
        assert!(response(&json!({"statusCode": "no"})).is_none());
    }
}
