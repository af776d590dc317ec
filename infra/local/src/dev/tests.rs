use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

/// The sample funnel, as seen from this package.
pub(crate) const FUNNEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../funnels/coaching");
/// A Sunday morning in Tokyo.
pub(crate) const START: &str = "2026-11-22T01:00:00Z";
