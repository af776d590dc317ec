//! The local cloud: the other side of the AWS SDK clients, in one process, on a clock that can be moved.

pub mod aws;
pub mod checkout;
pub mod clock;
pub mod dev;
pub mod engine;
pub mod faults;
pub mod functions;
pub mod gateway;
pub mod person;
pub mod preview;
pub mod remote;
pub mod server;
pub mod shelf;
pub mod simulate;
pub mod template;
