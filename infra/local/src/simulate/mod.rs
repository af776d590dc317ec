//! `michi simulate`: synthetic people go through the very same functions in virtual time.

mod crowd;
mod hands;
mod luck;
mod one;
mod report;
mod script;
mod tally;

use std::{path::Path, sync::Arc, time::Instant};

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta};
use domain::{kpi::KpiDaily, time};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::{
    clock::Clock,
    engine::Store,
    functions::{LaunchError, Secrets, Sweeps, launch, load_funnel, stack},
};
use crowd::Crowd;
use one::One;
pub use report::Report;
pub use script::{FORMS, ScriptError};
use tally::Tally;

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
    /// The person can't do what her script says.
    #[error("{at}: she can't {what}")]
    Script {
        /// Virtual time.
        at: DateTime<chrono::Utc>,
        /// What she was to do.
        what: String,
    },
    /// The script can't be read.
    #[error(transparent)]
    Unreadable(#[from] ScriptError),
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
    let stack = stack(&funnel, PUBLIC_URL, Sweeps::Seldom).map_err(LaunchError::from)?;
    let cloud = launch(stack, Arc::clone(&funnel), Store::Memory, Clock::frozen(start), &secrets).await?;
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
    let tally = Tally::count(&cloud, &funnel).await?;
    Ok(Report::new(&funnel, options, kpi_daily, tally, &meter, began.elapsed()))
}

/// Plays one person by a script and lets `days` more days pass. The answer is her way, day by day.
///
/// # Errors
/// [`SimulationError`] if the script can't be read, or she can't do what it says.
pub async fn simulate_one(
    funnel: &Path,
    script: &str,
    start: NaiveDate,
    days: u32,
) -> Result<String, SimulationError> {
    let deeds = script::parse(script)?;
    let funnel = load_funnel(funnel)?;
    // She sits down in the evening, when most people do.
    let evening = NaiveTime::from_hms_opt(20, 0, 0).unwrap_or(NaiveTime::MIN);
    let start = time::instant(start, evening, funnel.time_zone);
    let secrets = Secrets::fixed();
    let stack = stack(&funnel, PUBLIC_URL, Sweeps::Seldom).map_err(LaunchError::from)?;
    let cloud = launch(stack, Arc::clone(&funnel), Store::Memory, Clock::frozen(start), &secrets).await?;
    One::new(&cloud, funnel, &secrets).play(&deeds, days).await
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
