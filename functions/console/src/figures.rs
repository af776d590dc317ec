//! The days' figures as tables and rates, each beside its goal. Rates are integers in per mille.

use chrono::{Datelike, NaiveDate};
use domain::{
    goal::{Aim, Goal, Unit as GoalUnit},
    kpi::KpiDaily,
};
use serde::Serialize;

type Read = fn(&KpiDaily) -> i64;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Count,
    /// In the currency's minor unit.
    Money,
    /// In per mille.
    Rate,
}

/// A column of the table of days. Columns of one group stand together.
#[derive(Debug, Serialize)]
pub(crate) struct Column {
    pub(crate) id: &'static str,
    pub(crate) group: &'static str,
    pub(crate) unit: Unit,
    #[serde(skip)]
    read: Read,
}

const fn column(group: &'static str, id: &'static str, unit: Unit, read: Read) -> Column {
    Column { id, group, unit, read }
}

/// Every figure of a day.
pub(crate) const COLUMNS: [Column; 20] = [
    column("visits", "website_visitors", Unit::Count, |day| count(day.website_visitors)),
    column("visits", "lp_visitors", Unit::Count, |day| count(day.lp_visitors)),
    column("visits", "opt_ins", Unit::Count, |day| count(day.opt_ins)),
    column("consultations", "consultation_requests", Unit::Count, |day| count(day.consultation_requests)),
    column("consultations", "consultations_cancelled", Unit::Count, |day| count(day.consultations_cancelled)),
    column("consultations", "consultations_held", Unit::Count, |day| count(day.consultations_held)),
    column("consultations", "consultations_missed", Unit::Count, |day| count(day.consultations_missed)),
    column("sales", "applications", Unit::Count, |day| count(day.applications)),
    column("sales", "sales", Unit::Count, |day| count(day.sales)),
    column("sales", "revenue", Unit::Money, |day| day.revenue),
    column("mails", "mails_sent", Unit::Count, |day| count(day.mails_sent)),
    column("mails", "mails_unknown", Unit::Count, |day| count(day.mails_unknown)),
    column("mails", "mails_delivered", Unit::Count, |day| count(day.mails_delivered)),
    column("mails", "mails_opened", Unit::Count, |day| count(day.mails_opened)),
    column("mails", "mails_opened_by_machine", Unit::Count, |day| count(day.mails_opened_by_machine)),
    column("mails", "mails_clicked", Unit::Count, |day| count(day.mails_clicked)),
    column("mails", "mails_clicked_by_machine", Unit::Count, |day| count(day.mails_clicked_by_machine)),
    column("mails", "mails_bounced", Unit::Count, |day| count(day.mails_bounced)),
    column("mails", "mails_complained", Unit::Count, |day| count(day.mails_complained)),
    column("mails", "unsubscribed", Unit::Count, |day| count(day.unsubscribed)),
];

/// A figure that can be held against a goal of the same id: a sum, or a sum over another.
struct Measure {
    id: &'static str,
    unit: Unit,
    part: Read,
    whole: Option<Read>,
}

const fn sum(id: &'static str, unit: Unit, part: Read) -> Measure {
    Measure { id, unit, part, whole: None }
}

const fn rate(id: &'static str, part: Read, whole: Read) -> Measure {
    Measure { id, unit: Unit::Rate, part, whole: Some(whole) }
}

/// In the order of the customer's way.
const MEASURES: [Measure; 12] = [
    sum("website_visitors", Unit::Count, |day| count(day.website_visitors)),
    sum("lp_visitors", Unit::Count, |day| count(day.lp_visitors)),
    rate("opt_in_rate", |day| count(day.opt_ins), |day| count(day.lp_visitors)),
    sum("opt_ins", Unit::Count, |day| count(day.opt_ins)),
    rate("open_rate", |day| count(day.mails_opened), |day| count(day.mails_delivered)),
    rate("click_rate", |day| count(day.mails_clicked), |day| count(day.mails_delivered)),
    rate("consultation_request_rate", |day| count(day.consultation_requests), |day| count(day.opt_ins)),
    rate("attendance_rate", |day| count(day.consultations_held), |day| count(day.consultation_requests)),
    sum("consultations_held", Unit::Count, |day| count(day.consultations_held)),
    rate("close_rate", |day| count(day.sales), |day| count(day.consultations_held)),
    sum("sales", Unit::Count, |day| count(day.sales)),
    sum("revenue", Unit::Money, |day| day.revenue),
];

/// A month up to today.
#[derive(Debug, Serialize)]
pub(crate) struct Month {
    /// Any day of it.
    pub(crate) month: NaiveDate,
    /// The newest first.
    pub(crate) days: Vec<Day>,
    /// Over the counted days, column by column.
    pub(crate) sums: Vec<i64>,
    pub(crate) measures: Vec<Measured>,
}

/// A day's line in the table.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Day {
    pub(crate) date: NaiveDate,
    /// Column by column; none before the night in which they are counted.
    pub(crate) figures: Option<Vec<i64>>,
}

/// One day's figures: all columns, and the rates.
#[derive(Debug, Serialize)]
pub(crate) struct Counted {
    pub(crate) figures: Vec<i64>,
    pub(crate) measures: Vec<Measured>,
}

/// A figure beside its goal.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Measured {
    pub(crate) id: &'static str,
    pub(crate) unit: Unit,
    /// None when there is nothing to divide by.
    pub(crate) value: Option<i64>,
    pub(crate) goal: Option<Target>,
}

/// A goal, and how the figure stands to it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Target {
    /// As the funnel calls it.
    pub(crate) name: String,
    pub(crate) value: i64,
    pub(crate) at_least: bool,
    pub(crate) standing: Standing,
    /// How much of a goal to be reached is there, in per cent up to 100.
    pub(crate) percent: i64,
}

/// How a figure stands to its goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    Reached,
    Missed,
    /// The month is not over yet, or there is no figure.
    Open,
}

/// The month of `day`, from `rows` that may be of other months too. Days without a row are told
/// from the first counted day on: before it there was nothing to count.
pub(crate) fn month(day: NaiveDate, today: NaiveDate, rows: &[KpiDaily], goals: &[Goal]) -> Month {
    let first_counted = rows.iter().map(|row| row.date).min();
    let of_month = |date: &NaiveDate| (date.year(), date.month()) == (day.year(), day.month());
    let first = day.with_day(1).unwrap_or(day);
    let mut days: Vec<Day> = first
        .iter_days()
        .take_while(|date| of_month(date) && *date <= today)
        .map(|date| Day { date, figures: rows.iter().find(|row| row.date == date).map(figures) })
        .filter(|day| day.date == today || first_counted.is_some_and(|first| first <= day.date))
        .collect();
    days.reverse();
    let rows: Vec<&KpiDaily> = rows.iter().filter(|row| of_month(&row.date)).collect();
    let sums = COLUMNS.iter().map(|column| total(&rows, column.read)).collect();
    let measures = MEASURES.iter().map(|measure| measured(measure, &rows, goals, of_month(&today))).collect();
    Month { month: first, days, sums, measures }
}

/// One day.
pub(crate) fn day(row: &KpiDaily, goals: &[Goal]) -> Counted {
    // Goals for counts are a month's; a single day is held against rates alone.
    let rates = MEASURES.iter().filter(|measure| measure.unit == Unit::Rate);
    Counted {
        figures: figures(row),
        measures: rates.map(|measure| measured(measure, &[row], goals, false)).collect(),
    }
}

fn figures(row: &KpiDaily) -> Vec<i64> {
    COLUMNS.iter().map(|column| (column.read)(row)).collect()
}

fn measured(measure: &Measure, rows: &[&KpiDaily], goals: &[Goal], running: bool) -> Measured {
    let part = total(rows, measure.part);
    let value = match measure.whole {
        None => Some(part),
        Some(whole) => per_mille(part, total(rows, whole)),
    };
    let unit = match measure.unit {
        Unit::Count => GoalUnit::PerMonth,
        Unit::Money => GoalUnit::Money,
        Unit::Rate => GoalUnit::PerMille,
    };
    let goal = goals.iter().find(|goal| goal.id == measure.id && goal.unit == unit);
    let goal = goal.map(|goal| target(goal, value, running && measure.unit != Unit::Rate));
    Measured { id: measure.id, unit: measure.unit, value, goal }
}

fn target(goal: &Goal, value: Option<i64>, growing: bool) -> Target {
    let standing = match (value, goal.aim) {
        (None, _) => Standing::Open,
        (Some(value), Aim::AtLeast) if value >= goal.value => Standing::Reached,
        (Some(value), Aim::AtMost) if value > goal.value => Standing::Missed,
        (Some(_), _) if growing => Standing::Open,
        (Some(_), Aim::AtLeast) => Standing::Missed,
        (Some(_), Aim::AtMost) => Standing::Reached,
    };
    let percent = value.unwrap_or(0).saturating_mul(100).checked_div(goal.value).unwrap_or(100).clamp(0, 100);
    Target {
        name: goal.name.clone(),
        value: goal.value,
        at_least: goal.aim == Aim::AtLeast,
        standing,
        percent,
    }
}

fn total(rows: &[&KpiDaily], read: Read) -> i64 {
    rows.iter().fold(0, |sum, row| sum.saturating_add(read(row)))
}

/// Rounded to the nearest; none of nothing.
fn per_mille(part: i64, whole: i64) -> Option<i64> {
    (whole > 0).then(|| part.saturating_mul(1000).saturating_add(whole / 2) / whole)
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    pub(crate) fn row(date: &str, numbers: u64) -> KpiDaily {
        KpiDaily {
            website_visitors: 20 * numbers,
            lp_visitors: 12 * numbers,
            opt_ins: 2 * numbers,
            consultation_requests: numbers,
            consultations_held: numbers,
            sales: numbers / 2,
            revenue: 330_000 * i64::try_from(numbers / 2).unwrap(),
            mails_sent: 40 * numbers,
            mails_delivered: 39 * numbers,
            mails_opened: 14 * numbers,
            mails_opened_by_machine: 3 * numbers,
            mails_clicked: 3 * numbers,
            mails_clicked_by_machine: numbers,
            mails_bounced: numbers,
            ..KpiDaily::empty(date.parse().unwrap())
        }
    }

    fn goal(id: &str, unit: GoalUnit, aim: Aim, value: i64) -> Goal {
        Goal { id: id.into(), name: format!("goal {id}"), level: None, unit, aim, value }
    }

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn every_figure_of_a_day_has_a_column() {
        let row = serde_json::to_value(KpiDaily::empty(date("2026-11-22"))).unwrap();
        let stored: BTreeSet<&str> = row
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .filter(|key| !matches!(*key, "month" | "date"))
            .collect();
        assert_eq!(COLUMNS.iter().map(|column| column.id).collect::<BTreeSet<_>>(), stored);
    }

    #[test]
    fn every_column_reads_the_figure_that_it_is_named_after() {
        for (at, column) in COLUMNS.iter().enumerate() {
            let mut row = serde_json::to_value(KpiDaily::empty(date("2026-11-22"))).unwrap();
            row[column.id] = 7.into();
            let figures = figures(&serde_json::from_value(row).unwrap());
            let expected: Vec<i64> =
                (0..COLUMNS.len()).map(|other| if other == at { 7 } else { 0 }).collect();
            assert_eq!(figures, expected, "{}", column.id);
        }
    }

    #[test]
    fn rates_are_rounded_to_tenths_of_a_per_cent() {
        for (part, whole, expected) in [
            (0, 0, None),
            (5, 0, None),
            (0, 7, Some(0)),
            (1, 3, Some(333)),
            (2, 3, Some(667)),
            (1, 2000, Some(1)),
            (1, 2001, Some(0)),
            (3, 2, Some(1500)),
            (i64::MAX, i64::MAX, Some(1)),
        ] {
            assert_eq!(per_mille(part, whole), expected, "{part} of {whole}");
        }
    }

    #[test]
    fn a_figure_is_judged_by_what_it_shows_and_a_growing_one_not_before_its_time() {
        use Standing::{Missed, Open, Reached};
        for (aim, value, growing, expected) in [
            (Aim::AtLeast, Some(350), false, Reached),
            (Aim::AtLeast, Some(349), false, Missed),
            (Aim::AtLeast, Some(349), true, Open),
            (Aim::AtLeast, Some(350), true, Reached),
            (Aim::AtMost, Some(350), false, Reached),
            (Aim::AtMost, Some(350), true, Open),
            (Aim::AtMost, Some(351), true, Missed),
            (Aim::AtLeast, None, false, Open),
            (Aim::AtMost, None, false, Open),
        ] {
            let goal = goal("open_rate", GoalUnit::PerMille, aim, 350);
            assert_eq!(target(&goal, value, growing).standing, expected, "{aim:?} {value:?} {growing}");
        }
    }

    #[test]
    fn a_month_shows_its_counted_days_its_gaps_and_today() {
        let rows = [row("2026-10-31", 9), row("2026-11-20", 1), row("2026-11-22", 2)];
        let month = month(date("2026-11-01"), date("2026-11-23"), &rows[1..], &[]);
        let days: Vec<(String, bool)> =
            month.days.iter().map(|day| (day.date.format("%d").to_string(), day.figures.is_some())).collect();
        assert_eq!(
            days,
            [("23".into(), false), ("22".into(), true), ("21".into(), false), ("20".into(), true)]
        );
        assert_eq!(month.sums[..4], [60, 36, 6, 3]);
    }

    #[test]
    fn a_month_counts_no_other_months_days() {
        let rows = [row("2026-10-31", 9), row("2026-11-20", 1)];
        assert_eq!(month(date("2026-11-01"), date("2026-11-23"), &rows, &[]).sums[0], 20);
        let last = month(date("2026-10-31"), date("2026-11-23"), &rows, &[]);
        assert_eq!((last.sums[0], last.days.len(), last.month), (180, 1, date("2026-10-01")));
    }

    #[test]
    fn the_first_day_of_all_shows_only_itself() {
        let month = month(date("2026-11-01"), date("2026-11-23"), &[], &[]);
        assert_eq!(month.days, [Day { date: date("2026-11-23"), figures: None }]);
    }

    #[test]
    fn a_goal_of_another_unit_is_no_goal_of_this_figure() {
        let rows = [row("2026-11-20", 1)];
        let goals = [
            goal("opt_ins", GoalUnit::PerMille, Aim::AtLeast, 10),
            goal("open_rate", GoalUnit::PerMille, Aim::AtLeast, 350),
        ];
        let month = month(date("2026-11-01"), date("2026-11-23"), &rows, &goals);
        let with_goals: Vec<(&str, Option<i64>, Standing, i64)> = month
            .measures
            .iter()
            .filter_map(|m| m.goal.as_ref().map(|goal| (m.id, m.value, goal.standing, goal.percent)))
            .collect();
        assert_eq!(with_goals, [("open_rate", Some(359), Standing::Reached, 100)]);
    }

    #[test]
    fn a_single_day_is_held_against_rates_alone() {
        let counted = day(&row("2026-11-20", 2), &[]);
        assert!(counted.measures.iter().all(|measure| measure.unit == Unit::Rate));
        assert_eq!(counted.measures.len(), 6);
    }
}
