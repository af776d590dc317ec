use super::*;
use crate::samples::{Change, changes, offset};
use proptest::prelude::*;

fn local(date: &str, time: &str, zone: Tz) -> String {
    iso(instant(date.parse().unwrap(), time.parse().unwrap(), zone))
}

#[test]
fn a_clock_time_becomes_the_right_instant() {
    for (date, time, zone, expected) in [
        ("2026-11-22", "07:00:00", Tz::Asia__Tokyo, "2026-11-21T22:00:00.000Z"),
        // Skipped: 02:00–03:00 does not exist that night.
        ("2026-03-29", "02:30:00", Tz::Europe__Berlin, "2026-03-29T01:00:00.000Z"),
        // Twice: the first one.
        ("2026-10-25", "02:30:00", Tz::Europe__Berlin, "2026-10-25T00:30:00.000Z"),
        // A whole day skipped: Samoa had no 30 December 2011.
        ("2011-12-30", "07:00:00", Tz::Pacific__Apia, "2011-12-30T10:00:00.000Z"),
    ] {
        assert_eq!(local(date, time, zone), expected, "{date} {time} {zone}");
    }
}

#[test]
fn a_clock_change_has_a_day_and_most_days_have_none() {
    for (date, zone, expected) in [
        ("2026-03-29", Tz::Europe__Berlin, Some("2026-03-29T01:00:00.000Z")),
        ("2026-10-25", Tz::Europe__Berlin, Some("2026-10-25T01:00:00.000Z")),
        ("2026-03-28", Tz::Europe__Berlin, None),
        ("2026-03-30", Tz::Europe__Berlin, None),
        ("2026-03-29", Tz::Asia__Tokyo, None),
        // Put back at midnight: the last hour of Thursday comes twice.
        ("2026-10-29", Tz::Africa__Cairo, Some("2026-10-29T21:00:00.000Z")),
    ] {
        assert_eq!(change(date.parse().unwrap(), zone).map(iso).as_deref(), expected, "{date} {zone}");
    }
}

/// The instants at which the clock shows a local time, worked out from the two offsets alone.
fn shows(change: &Change, local: NaiveDateTime) -> Vec<DateTime<Utc>> {
    let instants = [change.before, change.after].map(|ahead| (local.and_utc() - ahead, ahead));
    let exist = instants.into_iter().filter(|(at, ahead)| offset(change.zone, *at) == *ahead);
    exist.map(|(at, _)| at).collect()
}

/// Local times around a change: minute by minute in the hours about it, more coarsely a day before
/// and after, on whole minutes and just off them.
fn local_times(change: &Change) -> impl Iterator<Item = NaiveDateTime> {
    let jump = (change.at + change.before).naive_utc();
    let near = (-150..=150).map(|minutes| minutes * 60);
    let far = (-15..=15).map(|hours| hours * 7_200);
    let edges = [change.before, change.after].into_iter().flat_map(move |ahead| {
        let seconds = ((change.at + ahead).naive_utc() - jump).num_seconds();
        (-1..=1).map(move |second| seconds + second)
    });
    let mut all: Vec<i64> = near.chain(far).chain(edges).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(move |seconds| jump + TimeDelta::seconds(seconds))
}

#[test]
fn around_every_clock_change_a_local_time_is_its_first_instant_or_the_end_of_the_gap() {
    for change in changes() {
        let mut last = DateTime::<Utc>::MIN_UTC;
        let mut existed = false;
        for local in local_times(change) {
            let (date, time) = (local.date(), local.time());
            let instants: Vec<_> = instants(date, time, change.zone).collect();
            let expected = shows(change, local);
            let exists = !expected.is_empty();
            let is = instant(date, time, change.zone);
            assert_eq!(instants, if exists { expected } else { vec![change.at] }, "{local} {change:?}");
            assert_eq!(Some(&is), instants.iter().min(), "{local} {change:?}");
            assert!(is >= last, "{local} comes before the local time before it: {change:?}");
            assert!(is > last || !(exists && existed), "two local times at once: {local} {change:?}");
            (last, existed) = (is, exists);
        }
    }
}

#[test]
fn every_clock_change_is_found_on_its_day() {
    for expected in changes() {
        let day = day(expected.at - TimeDelta::seconds(1), expected.zone);
        let next = plus_days(day, 1);
        let found: Vec<_> = [day, next].into_iter().filter_map(|day| change(day, expected.zone)).collect();
        // A gap at midnight lies between two days; the later one begins with it.
        let begins_the_day = instant(next, NaiveTime::MIN, expected.zone) == expected.at;
        assert!(found == [expected.at] || (found.is_empty() && begins_the_day), "{found:?} {expected:?}");
    }
}

#[test]
fn days_later_is_that_many_calendar_days_later_whatever_the_clock_does_between() {
    for change in changes() {
        for minutes in (-2_880..=2_880).step_by(45) {
            let from = change.at + TimeDelta::minutes(minutes);
            assert_eq!(later(from, 0, change.zone), from);
            for days in [1, 2, 7] {
                let moved = later(from, days, change.zone);
                let local = from.with_timezone(&change.zone).naive_local() + TimeDelta::days(days);
                // In Greenland the last hour of a Saturday is skipped: its end is on Sunday.
                let skipped = shows(change, local).is_empty() && moved == change.at;
                let fits = day(moved, change.zone) == local.date() || skipped;
                assert!(fits, "{from} and {days} days is {moved}: {change:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn text_order_is_time_order(a in 0_i64..4_000_000_000_000, b in 0_i64..4_000_000_000_000) {
        let (a, b) = (DateTime::from_timestamp_millis(a).unwrap(), DateTime::from_timestamp_millis(b).unwrap());
        prop_assert_eq!(a.cmp(&b), iso(a).cmp(&iso(b)));
    }

    #[test]
    fn no_clock_time_of_any_zone_comes_out_earlier_than_asked(
        zone in proptest::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
        day in 0_u64..4748, minute in 0_u32..1440,
    ) {
        let date = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap() + Days::new(day);
        let time = NaiveTime::from_hms_opt(minute / 60, minute % 60, 0).unwrap();
        let shown = instant(date, time, zone).with_timezone(&zone).naive_local();
        prop_assert!(shown >= date.and_time(time));
        prop_assert!(shown - date.and_time(time) <= TimeDelta::hours(24));
    }
}
