//! Times and money as people read them.

use chrono::{DateTime, Datelike, Utc, Weekday};
use chrono_tz::Tz;

use crate::texts::Locale;

/// Day and clock time in the person's zone: `11月25日(水) 10:00`, `Wed 25 Nov, 10:00`.
pub fn date_time(at: DateTime<Utc>, zone: Tz, locale: Locale) -> String {
    let clock = time(at, zone);
    match locale {
        Locale::Ja => format!("{} {clock}", date(at, zone, locale)),
        Locale::En => format!("{}, {clock}", date(at, zone, locale)),
    }
}

/// A moment that may be meant for people elsewhere: its day and clock time in the person's zone, and
/// which zone that is if it is not the business's own: `3月20日(土) 20:00`,
/// `3月20日(土) 06:00（America/Chicago）`.
pub fn moment(at: DateTime<Utc>, zone: Tz, home: Tz, locale: Locale) -> String {
    let told = date_time(at, zone, locale);
    if zone == home {
        return told;
    }
    match locale {
        Locale::Ja => format!("{told}（{}）", zone_name(zone, locale)),
        Locale::En => format!("{told} ({})", zone_name(zone, locale)),
    }
}

/// The day in the person's zone: `11月25日(水)`, `Wed 25 Nov`.
pub fn date(at: DateTime<Utc>, zone: Tz, locale: Locale) -> String {
    let day = at.with_timezone(&zone);
    match locale {
        Locale::Ja => format!("{}月{}日({})", day.month(), day.day(), weekday_ja(day.weekday())),
        Locale::En => day.format("%a %-d %b").to_string(),
    }
}

/// The day with its year: `2026年11月25日`, `25 Nov 2026`.
pub fn full_date(at: DateTime<Utc>, zone: Tz, locale: Locale) -> String {
    let day = at.with_timezone(&zone);
    match locale {
        Locale::Ja => day.format("%Y年%-m月%-d日").to_string(),
        Locale::En => day.format("%-d %b %Y").to_string(),
    }
}

/// The clock time in the person's zone: `10:00`.
pub fn time(at: DateTime<Utc>, zone: Tz) -> String {
    at.with_timezone(&zone).format("%H:%M").to_string()
}

/// The zone as people call it: `日本時間`, or its place: `America/New York`.
pub fn zone_name(zone: Tz, locale: Locale) -> String {
    match (zone, locale) {
        (Tz::Asia__Tokyo | Tz::Japan, Locale::Ja) => "日本時間".to_owned(),
        (Tz::Asia__Tokyo | Tz::Japan, Locale::En) => "Japan time".to_owned(),
        (other, _) => other.name().replace('_', " "),
    }
}

/// An amount in the currency's minor unit: `¥330,000`, `$1,234.50`. `currency` is upper case
/// ISO 4217; currencies without their own sign are written with their code.
pub fn money(minor: i64, currency: &str) -> String {
    let sign = match currency {
        "JPY" => "¥",
        "USD" => "$",
        "EUR" => "€",
        "GBP" => "£",
        _ => "",
    };
    let code = if sign.is_empty() { format!("{currency} ") } else { String::new() };
    let minus = if minor < 0 { "-" } else { "" };
    let amount = minor.unsigned_abs();
    let number = match currency {
        "JPY" | "KRW" | "VND" => grouped(amount),
        _ => format!("{}.{:02}", grouped(amount / 100), amount % 100),
    };
    format!("{minus}{code}{sign}{number}")
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn weekday_ja(day: Weekday) -> &'static str {
    match day {
        Weekday::Mon => "月",
        Weekday::Tue => "火",
        Weekday::Wed => "水",
        Weekday::Thu => "木",
        Weekday::Fri => "金",
        Weekday::Sat => "土",
        Weekday::Sun => "日",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_written_in_its_own_currency() {
        for (minor, currency, expected) in [
            (330_000, "JPY", "¥330,000"),
            (1_650_000, "JPY", "¥1,650,000"),
            (999, "JPY", "¥999"),
            (0, "JPY", "¥0"),
            (-1000, "JPY", "-¥1,000"),
            (123_450, "USD", "$1,234.50"),
            (5, "EUR", "€0.05"),
            (10_000, "CHF", "CHF 100.00"),
        ] {
            assert_eq!(money(minor, currency), expected);
        }
    }

    #[test]
    fn a_time_is_shown_in_the_persons_zone_and_language() {
        let at = "2026-11-25T01:00:00Z".parse().unwrap();
        assert_eq!(date_time(at, Tz::Asia__Tokyo, Locale::Ja), "11月25日(水) 10:00");
        assert_eq!(date_time(at, Tz::America__New_York, Locale::Ja), "11月24日(火) 20:00");
        assert_eq!(date_time(at, Tz::America__New_York, Locale::En), "Tue 24 Nov, 20:00");
        assert_eq!(moment(at, Tz::Asia__Tokyo, Tz::Asia__Tokyo, Locale::Ja), "11月25日(水) 10:00");
        assert_eq!(
            moment(at, Tz::America__New_York, Tz::Asia__Tokyo, Locale::Ja),
            "11月24日(火) 20:00（America/New York）"
        );
        assert_eq!(
            moment(at, Tz::Asia__Tokyo, Tz::America__New_York, Locale::En),
            "Wed 25 Nov, 10:00 (Japan time)"
        );
        assert_eq!(full_date(at, Tz::Asia__Tokyo, Locale::Ja), "2026年11月25日");
        assert_eq!(
            (zone_name(Tz::Asia__Tokyo, Locale::Ja), zone_name(Tz::America__New_York, Locale::Ja)),
            ("日本時間".into(), "America/New York".into())
        );
    }
}
