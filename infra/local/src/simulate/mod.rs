//! `michi simulate`: synthetic people go through the very same functions in virtual time.

mod crowd;
mod luck;
mod report;

use std::{path::Path, sync::Arc, time::Instant};

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta};
use domain::{kpi::KpiDaily, time};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::{
    clock::Clock,
    engine::Store,
    functions::{LaunchError, Secrets, launch, load_funnel},
};
use crowd::Crowd;
pub use report::Report;

/// Base URL of the simulated pages: nobody outside ever follows it.
const PUBLIC_URL: &str = "https://michi.example.com";

/// What to simulate.
#[derive(Debug, Clone)]
pub struct Options {
    /// People who opt in.
    pub leads: usize,
    /// Days to simulate; people arrive on all of them.
    pub days: u32,
    /// The same seed gives the same people with the same luck.
    pub seed: u64,
    /// The first day, in the funnel's zone.
    pub start: NaiveDate,
}

/// Why a simulation ended early.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// It could not begin.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The product gave an answer that nobody could go on with.
    #[error("{at}: {what}")]
    Product {
        /// Virtual time.
        at: DateTime<chrono::Utc>,
        /// What was asked and answered.
        what: String,
    },
}

/// Plays a funnel and returns its figures, which are the product's own: the rows of KPI_Daily.
///
/// # Errors
/// [`SimulationError`].
pub async fn simulate(funnel: &Path, options: &Options) -> Result<Report, SimulationError> {
    let began = Instant::now();
    let funnel = load_funnel(funnel)?;
    let zone = funnel.time_zone;
    let start = time::instant(options.start, NaiveTime::MIN, zone);
    let end = time::instant(time::plus_days(options.start, options.days.into()), NaiveTime::MIN, zone);
    let secrets = Secrets::fixed();
    let cloud =
        launch(Arc::clone(&funnel), Store::Memory, Clock::frozen(start), PUBLIC_URL, &secrets).await?;
    let progress = progress_bar((end - start).num_hours());
    let mut crowd = Crowd::new(&cloud, Arc::clone(&funnel), &secrets, options, start, end);
    crowd
        .live(end, &mut |now| progress.set_position(u64::try_from((now - start).num_hours()).unwrap_or(0)))
        .await?;
    progress.finish_and_clear();
    let mut kpi_daily = vec![];
    for day in 0..options.days {
        let date = time::plus_days(options.start, day.into());
        let answer = cloud.invoke("nightly-aggregation", json!({"date": date})).await;
        let rows = answer
            .ok()
            .and_then(|answer| serde_json::from_value::<Vec<KpiDaily>>(answer["kpi_daily"].clone()).ok());
        kpi_daily.extend(
            rows.ok_or_else(|| SimulationError::Product { at: end, what: format!("no figures for {date}") })?,
        );
    }
    let meter = cloud.meter();
    Ok(Report::new(&funnel, options, kpi_daily, &meter, began.elapsed()))
}

fn progress_bar(hours: i64) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(hours).unwrap_or(0));
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3} %  {elapsed_precise}  {msg}") {
        bar.set_style(style);
    }
    bar
}

/// A span of minutes or hours as simulation.toml gives it, drawn by luck.
fn minutes(value: i64) -> TimeDelta {
    TimeDelta::minutes(value)
}
