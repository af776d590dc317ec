//! HTTP at the edge: API Gateway's events in and out, forms, problems and signed links.

pub mod answer;
pub mod form;
pub mod link;
pub mod problem;
pub mod request;
