//! Schedule expressions of EventBridge Scheduler: `at(…)` and `cron(…)`, in UTC.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Utc};

/// When a schedule is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Once.
    At(DateTime<Utc>),
    /// Again and again.
    Cron(Cron),
}

/// The minutes that a cron expression names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: BTreeSet<u32>,
    hours: BTreeSet<u32>,
    days: BTreeSet<u32>,
    months: BTreeSet<u32>,
    /// 1 is Sunday.
    weekdays: BTreeSet<u32>,
    years: BTreeSet<u32>,
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl Expression {
    /// Reads an expression. `rate(…)` and cron's L, W and # are not played here.
    ///
    /// # Errors
    /// If it is no such expression.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inside = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        let invalid = || format!("Invalid Schedule Expression {text}.");
        if let Some(time) = inside("at") {
            let time = NaiveDateTime::parse_from_str(time, "%Y-%m-%dT%H:%M:%S");
            return time.map(|time| Self::At(time.and_utc())).map_err(|_| invalid());
        }
        let fields = inside("cron").ok_or_else(invalid)?;
        Cron::parse(fields).map(Self::Cron).ok_or_else(invalid)
    }

    /// The first time after `now`; none if there is none.
    #[must_use]
    pub fn next_after(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::At(time) => Some(*time).filter(|time| *time > now),
            Self::Cron(cron) => cron.next_after(now),
        }
    }
}

impl Cron {
    fn parse(fields: &str) -> Option<Self> {
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays, years] = fields.as_slice() else {
            return None;
        };
        // Exactly one of the two kinds of day is left open.
        if (*days == "?") == (*weekdays == "?") {
            return None;
        }
        Some(Self {
            minutes: parse_field(minutes, 0, 59, &[])?,
            hours: parse_field(hours, 0, 23, &[])?,
            days: parse_field(days, 1, 31, &[])?,
            months: parse_field(months, 1, 12, &MONTHS)?,
            weekdays: parse_field(weekdays, 1, 7, &WEEKDAYS)?,
            years: parse_field(years, 1970, 2199, &[])?,
        })
    }

    fn next_after(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut day = now.date_naive();
        let last = NaiveDate::from_ymd_opt(i32::try_from(*self.years.last()?).ok()?, 12, 31)?;
        while day <= last {
            if self.fits(day) {
                let found = self.times().map(|time| day.and_time(time).and_utc());
                if let Some(found) = found.into_iter().find(|found| *found > now) {
                    return Some(found);
                }
            }
            day = day.checked_add_days(Days::new(1))?;
        }
        None
    }

    fn fits(&self, day: NaiveDate) -> bool {
        let year = u32::try_from(day.year()).unwrap_or(0);
        self.years.contains(&year)
            && self.months.contains(&day.month())
            && self.days.contains(&day.day())
            && self.weekdays.contains(&day.weekday().number_from_sunday())
    }

    fn times(&self) -> impl Iterator<Item = NaiveTime> {
        self.hours.iter().flat_map(|hour| {
            let minutes = self.minutes.iter();
            minutes.filter_map(|minute| NaiveTime::from_hms_opt(*hour, *minute, 0))
        })
    }
}

/// A field such as `*`, `5`, `MON-FRI`, `0/15` or `1,3,5`.
fn parse_field(field: &str, min: u32, max: u32, names: &[&str]) -> Option<BTreeSet<u32>> {
    let number = |text: &str| {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = match named {
            Some(index) => u32::try_from(index).ok()? + 1,
            None => text.parse().ok()?,
        };
        (min..=max).contains(&value).then_some(value)
    };
    let mut values = BTreeSet::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<usize>().ok().filter(|s| *s > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (number(from)?, number(to)?),
            None if range == "*" || range == "?" => (min, max),
            // A single value with a step starts there and goes on to the end.
            None if step.is_some() => (number(range)?, max),
            None => (number(range)?, number(range)?),
        };
        if from > to {
            return None;
        }
        values.extend((from..=to).step_by(step.unwrap_or(1)));
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_time_is_the_first_that_every_field_allows() {
        let table = [
            ("cron(30 18 * * ? *)", "2026-04-01T18:29:59Z", "2026-04-01T18:30:00Z"),
            ("cron(30 18 * * ? *)", "2026-04-01T18:30:00Z", "2026-04-02T18:30:00Z"),
            ("cron(0/15 * * * ? *)", "2026-04-01T10:16:00Z", "2026-04-01T10:30:00Z"),
            ("cron(0 9 ? * MON-FRI *)", "2026-04-03T09:00:00Z", "2026-04-06T09:00:00Z"),
            ("cron(0 0 29 2 ? *)", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("cron(0 8,20 1 JAN,JUL ? 2027)", "2026-12-31T00:00:00Z", "2027-01-01T08:00:00Z"),
            ("at(2026-04-01T09:00:00)", "2026-03-01T00:00:00Z", "2026-04-01T09:00:00Z"),
        ];
        for (text, now, expected) in table {
            let expression = Expression::parse(text).unwrap();
            assert_eq!(expression.next_after(at(now)), Some(at(expected)), "{text}");
        }
        let over = Expression::parse("cron(0 0 1 1 ? 2026)").unwrap();
        assert_eq!(over.next_after(at("2026-01-01T00:00:00Z")), None);
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        let table = [
            "cron(30 18 * * * *)",
            "cron(60 18 * * ? *)",
            "cron(30 18 * * ?)",
            "cron(0 0 L * ? *)",
            "cron(0 0 5-1 * ? *)",
            "at(2026-04-01)",
            "at(2026-04-01T09:00:00Z)",
            "rate(5 minutes)",
            "",
        ];
        for text in table {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
    }
}
