//! Nightly aggregation: a day's figures from the day's facts. Run again, it writes the same row;
//! its cost grows with the day's facts, not with all leads. Then our suppression list and SES's tell
//! each other. In between, every few minutes, it only sweeps up work that was lost.

mod suppression;
mod sweep;

use std::sync::Arc;

use chrono::NaiveDate;
use cloud::{
    CallError, Cloud, StartError, keys::Keys, queues::Queues, suppression_list::SuppressionList,
    tables::Tables, timers::Timers,
};
use content::Funnel;
use domain::{
    kpi::{DayCount, KpiDaily},
    limits::{EVENT_SHARDS, LATE_DAYS},
    time,
};
use lambda_runtime::Error;
use serde::{Deserialize, Serialize};
use sweep::Swept;

/// The function's clients, made once.
#[derive(Debug)]
pub struct NightlyAggregation {
    cloud: Cloud,
    tables: Tables,
    keys: Keys,
    queues: Queues,
    timers: Timers,
    suppression_list: SuppressionList,
    funnel: Arc<Funnel>,
}

/// What starts it: the night's schedule says nothing, the other one asks for a sweep, an operator
/// may name a day.
#[derive(Debug, Default, Deserialize)]
pub struct Order {
    /// `2026-11-22`, in the funnel's zone.
    #[serde(default)]
    date: Option<String>,
    /// Only look for lost work.
    #[serde(default)]
    sweep: bool,
}

/// What it did.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The rows that were written, oldest first.
    kpi_daily: Vec<KpiDaily>,
    /// What was lost and found.
    swept: Swept,
}

/// Why an order was refused.
#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error("date: must be a day such as 2026-11-22")]
    Unreadable,
    #[error("date: must not be in the future (today is {0})")]
    Future(NaiveDate),
}

impl NightlyAggregation {
    /// Makes the clients and reads the keys.
    ///
    /// # Errors
    /// [`StartError`] if the environment or the keys are not as the template makes them.
    pub async fn start(cloud: Cloud, funnel: Arc<Funnel>) -> Result<Self, StartError> {
        Ok(Self {
            tables: Tables::new(&cloud),
            keys: Keys::load(&cloud).await?,
            queues: Queues::new(&cloud)?,
            timers: Timers::new(&cloud)?,
            suppression_list: SuppressionList::new(&cloud),
            funnel,
            cloud,
        })
    }

    /// Counts the day that was ordered, or the last few days that are over: facts may be heard
    /// of late.
    ///
    /// # Errors
    /// If the day is not one, or lies ahead, or the tables can't be reached.
    pub async fn handle(&self, order: Order) -> Result<Report, Error> {
        if order.sweep {
            return Ok(Report { kpi_daily: vec![], swept: self.sweep(false).await? });
        }
        let today = time::day(self.cloud.now(), self.funnel.time_zone);
        let (nightly, days) = match order.date {
            Some(text) => (false, vec![ordered(&text, today)?]),
            None => (true, (1..=LATE_DAYS).rev().map(|ago| time::plus_days(today, -ago)).collect()),
        };
        let mut kpi_daily = vec![];
        for day in days {
            let row = self.count(day).await?;
            self.tables.put_kpi_daily(&row).await?;
            kpi_daily.push(row);
        }
        tracing::info!(days = kpi_daily.len(), "the figures were rolled up");
        // The sweep first: what it waits for is mail.
        let swept = if nightly { self.sweep(true).await? } else { Swept::default() };
        if nightly {
            self.mirror_suppressions().await?;
        }
        Ok(Report { kpi_daily, swept })
    }

    async fn count(&self, day: NaiveDate) -> Result<KpiDaily, CallError> {
        let mut count = DayCount::new(day);
        for shard in 0..EVENT_SHARDS {
            let mut start = None;
            loop {
                let (events, next) = self.tables.events_page(day, shard, start).await?;
                events.iter().for_each(|event| count.add(event));
                start = next;
                if start.is_none() {
                    break;
                }
            }
        }
        Ok(count.finish())
    }
}

fn ordered(text: &str, today: NaiveDate) -> Result<NaiveDate, OrderError> {
    let day = text.parse().map_err(|_| OrderError::Unreadable)?;
    if day > today { Err(OrderError::Future(today)) } else { Ok(day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_day_that_has_begun_can_be_counted() {
        let today = "2026-11-22".parse().unwrap();
        for (text, expected) in [
            ("2026-11-22", Ok("2026-11-22".parse().unwrap())),
            ("2026-11-23", Err("date: must not be in the future (today is 2026-11-22)")),
            ("2026-02-30", Err("date: must be a day such as 2026-11-22")),
            ("yesterday", Err("date: must be a day such as 2026-11-22")),
        ] {
            assert_eq!(
                ordered(text, today).map_err(|error| error.to_string()),
                expected.map_err(str::to_owned),
                "{text}"
            );
        }
    }
}
