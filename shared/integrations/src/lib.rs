//! Third parties, each over the connector that the SDK's clients use.

pub mod stripe;
pub mod webhook;
