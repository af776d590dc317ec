//! The days' figures.

use chrono::NaiveDate;
use domain::kpi::KpiDaily;

use crate::engine::Engine;

pub async fn a_days_figures_are_written_over_and_come_month_by_month(engine: &Engine) {
    let tables = &engine.tables;
    for date in ["2027-03-31", "2027-03-01", "2027-02-28", "2027-03-09"] {
        tables.put_kpi_daily(&KpiDaily { opt_ins: 1, ..KpiDaily::empty(day(date)) }).await.unwrap();
    }
    let counted_again = KpiDaily { opt_ins: 2, revenue: 330_000, ..KpiDaily::empty(day("2027-03-09")) };
    tables.put_kpi_daily(&counted_again).await.unwrap();
    assert_eq!(tables.kpi_daily(day("2027-03-09")).await.unwrap(), Some(counted_again.clone()));
    assert_eq!(tables.kpi_daily(day("2027-03-10")).await.unwrap(), None);
    let one = |date| KpiDaily { opt_ins: 1, ..KpiDaily::empty(day(date)) };
    let march = tables.kpi_month("2027-03").await.unwrap();
    assert_eq!(march, [one("2027-03-01"), counted_again, one("2027-03-31")]);
    assert_eq!(tables.kpi_month("2027-04").await.unwrap(), []);
}

fn day(date: &str) -> NaiveDate {
    date.parse().unwrap()
}
