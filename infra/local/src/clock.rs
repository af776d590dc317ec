//! The one clock that everything in the local cloud reads, the SDK clients included.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;
use chrono::{DateTime, TimeDelta, Utc};

/// A shared clock, precise to the microsecond. Clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// Microseconds since 1970.
    Frozen(AtomicI64),
    /// Microseconds that are added to the wall clock.
    Running(AtomicI64),
}

impl Clock {
    /// A clock that stands at `at` until it is told to move.
    #[must_use]
    pub fn frozen(at: DateTime<Utc>) -> Self {
        Self(Arc::new(Kind::Frozen(AtomicI64::new(at.timestamp_micros()))))
    }

    /// The wall clock, shifted by `offset`.
    #[must_use]
    pub fn running(offset: TimeDelta) -> Self {
        let micros = offset.num_microseconds().unwrap_or(0);
        Self(Arc::new(Kind::Running(AtomicI64::new(micros))))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        let micros = match &*self.0 {
            Kind::Frozen(at) => at.load(Ordering::SeqCst),
            Kind::Running(offset) => wall_micros().saturating_add(offset.load(Ordering::SeqCst)),
        };
        DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// Moves the clock to `to`. Time never goes backwards: an earlier `to` changes nothing.
    pub fn move_to(&self, to: DateTime<Utc>) {
        let to = to.timestamp_micros();
        match &*self.0 {
            Kind::Frozen(at) => at.fetch_max(to, Ordering::SeqCst),
            Kind::Running(offset) => offset.fetch_max(to.saturating_sub(wall_micros()), Ordering::SeqCst),
        };
    }
}

fn wall_micros() -> i64 {
    Utc::now().timestamp_micros()
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        SystemTime::from(Clock::now(self))
    }
}

impl dynoxide::storage_backend::Clock for Clock {
    fn now_unix_secs(&self) -> u64 {
        since_epoch(self).as_secs()
    }

    fn now_unix_secs_f64(&self) -> f64 {
        since_epoch(self).as_secs_f64()
    }
}

fn since_epoch(clock: &Clock) -> Duration {
    let micros = u64::try_from(clock.now().timestamp_micros()).unwrap_or(0);
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_frozen_clock_moves_forwards_only_and_for_every_clone() {
        let clock = Clock::frozen(at("2026-04-01T00:00:00Z"));
        let same = clock.clone();
        clock.move_to(at("2026-04-02T00:00:00Z"));
        clock.move_to(at("2026-03-01T00:00:00Z"));
        assert_eq!(same.now(), at("2026-04-02T00:00:00Z"));
        assert_eq!(TimeSource::now(&same), SystemTime::from(at("2026-04-02T00:00:00Z")));
    }

    #[test]
    fn a_running_clock_keeps_its_distance_to_the_wall_clock() {
        let clock = Clock::running(TimeDelta::days(3));
        let distance = clock.now() - Utc::now();
        assert!(distance > TimeDelta::days(3) - TimeDelta::minutes(1));
        let later = clock.now() + TimeDelta::hours(5);
        clock.move_to(later);
        assert!(clock.now() >= later);
    }
}
