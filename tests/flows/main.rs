//! Flows through the real handlers on the local cloud.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod bad_input;
mod booking;
mod broadcast;
mod consent;
mod console;
mod console_tasks;
mod costs;
mod draft;
mod edits;
mod erase;
mod export;
mod facts;
mod machines;
mod mails;
mod opt_out;
mod outage;
mod payment;
mod preferences;
mod privacy;
mod retention;
mod scores;
mod sending;
mod simulation;
mod steps;
mod sweep;
mod triggers;
mod twice;
mod whole_way;
mod why;
mod world;
