//! Clock times that a zone skips when it sets its clocks forward.

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Weekday};
use chrono_tz::Tz;
use domain::time;

/// The years that are looked at.
const YEARS: std::ops::RangeInclusive<i32> = 2024..=2036;

/// What a zone's clocks skip in those years: from (inclusive) and until (exclusive).
pub(super) fn gaps(zone: Tz) -> Vec<(NaiveDateTime, NaiveDateTime)> {
    let first = NaiveDate::from_yo_opt(*YEARS.start(), 1).unwrap_or_default();
    let days = first.iter_days().take_while(|day| day.year() <= *YEARS.end());
    let gaps = days.filter_map(|day| {
        let change = time::change(day, zone)?;
        let before = (change - TimeDelta::seconds(1)).with_timezone(&zone).naive_local();
        Some((before + TimeDelta::seconds(1), change.with_timezone(&zone).naive_local()))
    });
    gaps.filter(|(from, until)| from < until).collect()
}

/// The first date on which the clock time is skipped; on that weekday only, if one is given.
pub(super) fn skipped(
    gaps: &[(NaiveDateTime, NaiveDateTime)],
    time: NaiveTime,
    weekday: Option<Weekday>,
) -> Option<NaiveDate> {
    let dates = gaps.iter().flat_map(|(from, until)| {
        let on = move |date: NaiveDate| (*from..*until).contains(&date.and_time(time)).then_some(date);
        [on(from.date()), on(until.date())]
    });
    dates.flatten().find(|date| weekday.is_none_or(|weekday| date.weekday() == weekday))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_the_clock_never_shows_is_known() {
        for (zone, time, weekday, expected) in [
            (Tz::Asia__Tokyo, "02:30", None, None),
            (Tz::Europe__Berlin, "02:30", None, Some("2024-03-31")),
            (Tz::Europe__Berlin, "02:30", Some(Weekday::Mon), None),
            (Tz::Europe__Berlin, "03:00", None, None),
            (Tz::Africa__Cairo, "00:00", Some(Weekday::Fri), Some("2024-04-26")),
            (Tz::Australia__Lord_Howe, "02:29", None, Some("2024-10-06")),
            (Tz::Australia__Lord_Howe, "02:30", None, None),
        ] {
            let time = NaiveTime::parse_from_str(time, "%H:%M").unwrap();
            let found = skipped(&gaps(zone), time, weekday).map(|date| date.to_string());
            assert_eq!(found.as_deref(), expected, "{zone} {time}");
        }
    }
}
