//! Moving the clock.

use chrono::{DateTime, Days, Months, TimeDelta, Utc};
use chrono_tz::Tz;
use web::problem::{Failure, Problem};

use super::Dev;

/// The furthest that the clock moves at once, in months.
const MAX_MONTHS: u32 = 120;
/// The most digits of one number in a duration: enough for ten years in seconds.
const MAX_DIGITS: usize = 9;
const WRONG: &str = "must be an ISO 8601 duration in whole numbers, more than nothing and at most ten years: for example P1D (a day), PT2H (two hours) or P1W (a week)";

impl Dev {
    /// Moves the clock on and does everything that is due on the way. Returns the new time.
    pub(super) async fn advance(&self, step: Step) -> Result<DateTime<Utc>, Failure> {
        let _turn = self.0.turn.lock().await;
        let cloud = &self.0.cloud;
        let now = self.now();
        let zone = self.0.funnel.time_zone;
        let latest = now.checked_add_months(Months::new(MAX_MONTHS));
        let to = step.after(now, zone).filter(|to| *to > now && latest.is_some_and(|latest| *to <= latest));
        let to = to.ok_or_else(wrong)?;
        cloud.settle().await;
        while let Some(due) = cloud.next_due().filter(|due| *due <= to) {
            let due = due.max(self.now());
            self.keep_clock(due)?;
            cloud.advance_to(due).await;
            // Nothing in here waits, and the server and Ctrl-C share the thread.
            tokio::task::yield_now().await;
        }
        self.keep_clock(to)?;
        cloud.advance_to(to).await;
        Ok(to)
    }
}

fn wrong() -> Problem {
    Problem::field("advance", WRONG)
}

/// An ISO 8601 duration. Years to days are the calendar's: a day is over at the same time of day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    months: u32,
    days: u64,
    seconds: u32,
}

impl Step {
    /// Reads `P[nY][nM][nW][nD][T[nH][nM][nS]]`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        Self::read(text.trim()).ok_or(WRONG)
    }

    fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix('P')?;
        let (date, time) = match text.split_once('T') {
            Some((date, time)) => (date, Some(time)),
            None => (text, None),
        };
        // A bare `P` or `T` promises numbers that don't follow.
        if time.unwrap_or(date).is_empty() {
            return None;
        }
        let [years, months, weeks, days] = numbers(date, ['Y', 'M', 'W', 'D'])?;
        let [hours, minutes, seconds] = numbers(time.unwrap_or_default(), ['H', 'M', 'S'])?;
        Some(Self {
            months: years.checked_mul(12)?.checked_add(months)?,
            days: u64::from(weeks) * 7 + u64::from(days),
            seconds: hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?.checked_add(seconds)?,
        })
    }

    fn after(self, now: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let local = now.with_timezone(&zone).naive_local();
        let moved =
            local.checked_add_months(Months::new(self.months))?.checked_add_days(Days::new(self.days))?;
        let day = match moved == local {
            true => now,
            false => domain::time::instant(moved.date(), moved.time(), zone),
        };
        day.checked_add_signed(TimeDelta::seconds(i64::from(self.seconds)))
    }
}

/// The numbers before these letters, each optional, in this order and nothing else.
fn numbers<const N: usize>(mut text: &str, letters: [char; N]) -> Option<[u32; N]> {
    let mut numbers = [0; N];
    for (number, letter) in numbers.iter_mut().zip(letters) {
        let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        if let Some(rest) = rest.strip_prefix(letter) {
            *number = digits.parse().ok().filter(|_| digits.len() <= MAX_DIGITS)?;
            text = rest;
        }
    }
    text.is_empty().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_moves_the_clock_by_the_calendar_of_its_zone() {
        let tokyo = Tz::Asia__Tokyo;
        let new_york = Tz::America__New_York;
        for (text, now, zone, expected) in [
            ("PT1H", "2026-11-22T01:00:00Z", tokyo, "2026-11-22T02:00:00Z"),
            ("P1D", "2026-11-22T01:00:00Z", tokyo, "2026-11-23T01:00:00Z"),
            ("P1W", "2026-11-22T01:00:00Z", tokyo, "2026-11-29T01:00:00Z"),
            ("P1M", "2026-11-30T16:00:00Z", tokyo, "2026-12-31T16:00:00Z"),
            ("P1Y2M3DT4H5M6S", "2026-01-01T00:00:00Z", tokyo, "2027-03-04T04:05:06Z"),
            // The clocks went back in between: the day has 25 hours.
            ("P1D", "2026-10-31T14:00:00Z", new_york, "2026-11-01T15:00:00Z"),
            ("PT24H", "2026-10-31T14:00:00Z", new_york, "2026-11-01T14:00:00Z"),
        ] {
            let moved = Step::parse(text).unwrap().after(now.parse().unwrap(), zone);
            assert_eq!(moved, Some(expected.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "P",
            "PT",
            "P1",
            "1D",
            "-P1D",
            "P-1D",
            "P1DT",
            "PT1D",
            "P1H",
            "P1D1Y",
            "P1.5D",
            "PinfD",
            "P1e3D",
            "P 1D",
            "P9999999999D",
            "PT9999999H9999999H",
            "one day",
            "P１D",
        ] {
            assert_eq!(Step::parse(text), Err(WRONG), "{text}");
        }
    }
}
