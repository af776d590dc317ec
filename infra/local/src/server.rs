//! The same cloud on loopback, for browsers, webhooks and the AWS CLI.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::body::Body;
use axum::http::header::HOST;
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use tokio::net::TcpListener;

use crate::aws::{Request, Response, is_aws_request};
use crate::engine::LocalCloud;
use crate::gateway;

/// The largest body that any of the services takes.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// A router that hands AWS requests to AWS and everything else to the HTTP API. The cloud settles
/// before each answer. Further routes can be added; they come first.
pub fn router(cloud: LocalCloud) -> Router {
    Router::new().fallback(move |request| answer(cloud.clone(), request))
}

/// A listener that only this machine reaches.
///
/// # Errors
/// If the port is taken.
pub async fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}

async fn answer(cloud: LocalCloud, request: axum::http::Request<Body>) -> axum::http::Response<Body> {
    // A page elsewhere could give its own name this machine's address and read the answers.
    if !request.headers().get(HOST).is_some_and(names_this_machine) {
        return StatusCode::MISDIRECTED_REQUEST.into_response();
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        return gateway::own_response(status, "Request Entity Too Large").map(Body::from);
    };
    let response = respond(&cloud, Request::from_parts(parts, body)).await;
    cloud.settle().await;
    response.map(Body::from)
}

async fn respond(cloud: &LocalCloud, request: Request) -> Response {
    if is_aws_request(&request) { cloud.aws(&request) } else { cloud.http(request).await }
}

/// Whether a `Host` or `Origin` header is this machine's loopback.
pub(crate) fn names_this_machine(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    let authority = text.split_once("://").map_or(text, |(_, authority)| authority);
    let name = authority.rsplit_once(':').map_or(authority, |(name, _)| name);
    matches!(name, "localhost" | "127.0.0.1")
}

#[cfg(test)]
mod tests;
