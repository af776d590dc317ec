//! Local clock times and their instants, and the one stored form of an instant.

use chrono::{DateTime, Days, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, Utc};
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

/// All instants of a local clock time: two if a clock change repeats it.
pub fn instants(date: NaiveDate, time: NaiveTime, zone: Tz) -> impl Iterator<Item = DateTime<Utc>> {
    let second = match date.and_time(time).and_local_timezone(zone) {
        LocalResult::Ambiguous(_, at) => Some(at.to_utc()),
        LocalResult::Single(_) | LocalResult::None => None,
    };
    std::iter::once(instant(date, time, zone)).chain(second)
}

/// The moment of the day's clock change, if it has one.
pub fn change(date: NaiveDate, zone: Tz) -> Option<DateTime<Utc>> {
    let offset = |at: DateTime<Utc>| at.with_timezone(&zone).offset().fix();
    let start = instant(date, NaiveTime::MIN, zone);
    let end = instant(plus_days(date, 1), NaiveTime::MIN, zone);
    let before = offset(start);
    (before != offset(end)).then(|| first(start, end, |at| offset(at) != before))
}

fn end_of_gap(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    // Gaps are at most a day (a zone moved across the date line); the wanted instant is the
    // transition itself: what the clock before the gap would have shown, less the overshoot.
    let (low, high) = (local.and_utc() - TimeDelta::days(2), local.and_utc() + TimeDelta::days(2));
    first(low, high, |at| at.with_timezone(&zone).naive_local() >= local)
}

/// The first whole second after `low` at which it is so, as it is at `high`.
fn first(
    mut low: DateTime<Utc>,
    mut high: DateTime<Utc>,
    so: impl Fn(DateTime<Utc>) -> bool,
) -> DateTime<Utc> {
    while high - low > TimeDelta::seconds(1) {
        let middle = low + (high - low) / 2;
        if so(middle) {
            high = middle;
        } else {
            low = middle;
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

/// The same clock time `days` calendar days later, where a day may have 23 or 25 hours.
pub fn later(at: DateTime<Utc>, days: i64, zone: Tz) -> DateTime<Utc> {
    let local = at.with_timezone(&zone).naive_local();
    // The second occurrence of a repeated time stays the second one.
    if days == 0 { at } else { instant(plus_days(local.date(), days), local.time(), zone) }
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
mod tests;
