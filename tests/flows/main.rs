//! Flows through the real handlers on the local cloud.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod bad_input;
mod booking;
mod consent;
mod console;
mod costs;
mod mails;
mod payment;
mod privacy;
mod simulation;
mod twice;
mod whole_way;
mod world;
