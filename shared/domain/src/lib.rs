//! What Michi decides, and nothing else.
//!
//! Every function here is `(state, command, now) → (new state, facts)`: no network, no storage,
//! no clock, no environment, no randomness. `clippy.toml` beside this package bans them and
//! `cargo check -p domain` builds it alone, so it stays that way.

pub mod broadcast;
pub mod condition;
pub mod consultation;
pub mod customer;
pub mod email_address;
pub mod engagement;
pub mod erasure;
pub mod event;
pub mod fate;
pub mod goal;
pub mod id;
pub mod kpi;
pub mod lead;
pub mod limits;
pub mod mac;
pub mod machine;
pub mod relay;
pub mod retention;
#[cfg(test)]
mod samples;
pub mod score;
pub mod sending;
pub mod sequence;
pub mod task;
pub mod text;
pub mod time;
pub mod trigger;
