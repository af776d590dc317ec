//! The torture: the whole product on the local cloud under faults, watched by an auditor that
//! shares no code with it. See docs/reliability.md.

pub mod auditor;
pub mod peers;
pub mod people;
pub mod run;
pub mod storm;
pub mod trace;
