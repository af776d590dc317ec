//! Local clock times and their instants, and the one stored form of an instant.

use chrono::{DateTime, Days, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

/// The instant of a local clock time. A time that a clock change skips becomes the first instant
/// after the gap; one that occurs twice means its first occurrence.
pub fn instant(date: NaiveDate, time: NaiveTime, zone: Tz) -> DateTime<Utc> {
    let local = date.and_time(time);
    match local.and_local_timezone(zone) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.to_utc(),
        LocalResult::None => end_of_gap(local, zone),
    }
}

fn end_of_gap(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    // Gaps are at most a day (a zone moved across the date line); the wanted instant is the
    // transition itself: what the clock before the gap would have shown, less the overshoot.
    let mut low = local.and_utc() - TimeDelta::days(2);
    let mut high = local.and_utc() + TimeDelta::days(2);
    while high - low > TimeDelta::seconds(1) {
        let middle = low + (high - low) / 2;
        if middle.with_timezone(&zone).naive_local() < local {
            low = middle;
        } else {
            high = middle;
        }
    }
    DateTime::from_timestamp(high.timestamp(), 0).unwrap_or(high)
}

/// The calendar day of an instant in a zone.
pub fn day(at: DateTime<Utc>, zone: Tz) -> NaiveDate {
    at.with_timezone(&zone).date_naive()
}

/// The calendar day `days` later (or earlier, when negative); the calendar's end stays put.
pub fn plus_days(date: NaiveDate, days: i64) -> NaiveDate {
    let step = Days::new(days.unsigned_abs());
    let moved = if days < 0 { date.checked_sub_days(step) } else { date.checked_add_days(step) };
    moved.unwrap_or(date)
}

/// The stored form of an instant: UTC with milliseconds, so that text order is time order.
pub fn iso(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// `#[serde(with = "domain::time::stored")]` for an instant.
pub mod stored {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the stored form.
    pub fn serialize<S: Serializer>(at: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::iso(*at))
    }

    /// Reads any RFC 3339 form.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
        let text = String::deserialize(from)?;
        DateTime::parse_from_rfc3339(&text).map(|at| at.to_utc()).map_err(serde::de::Error::custom)
    }
}

/// `#[serde(with = "domain::time::stored_option", default)]` for an instant that may be missing.
pub mod stored_option {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the stored form, or nothing.
    pub fn serialize<S: Serializer>(at: &Option<DateTime<Utc>>, to: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => to.serialize_some(&super::iso(*at)),
            None => to.serialize_none(),
        }
    }

    /// Reads any RFC 3339 form, or nothing.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DateTime<Utc>>, D::Error> {
        #[derive(Deserialize)]
        struct Stored(#[serde(with = "super::stored")] DateTime<Utc>);
        Ok(Option::<Stored>::deserialize(from)?.map(|Stored(at)| at))
    }
}

/// `#[serde(with = "domain::time::stored_list")]` for a list of instants.
pub mod stored_list {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Stored(#[serde(with = "super::stored")] DateTime<Utc>);

    /// Writes the stored forms.
    pub fn serialize<S: Serializer>(times: &[DateTime<Utc>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(times.iter().map(|at| Stored(*at)))
    }

    /// Reads any RFC 3339 forms.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<DateTime<Utc>>, D::Error> {
        Ok(Vec::<Stored>::deserialize(from)?.into_iter().map(|Stored(at)| at).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
