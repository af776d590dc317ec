//! `michi`: everything on one machine.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use chrono::NaiveDate;
use clap::{Args, Parser, Subcommand};
use michi::{dev, simulate};
use tracing_subscriber::EnvFilter;

/// The sample funnel, as seen from the root of the repository.
const SAMPLE_FUNNEL: &str = "funnels/coaching";

/// Marketing and sales funnels in your own AWS account, and on this machine.
#[derive(Parser)]
#[command(version, about)]
struct Michi {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    dev: Dev,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything on this machine (what `michi` does without a command)
    Dev(Dev),
    /// Play a funnel with synthetic people in virtual time
    Simulate(Simulate),
    /// Print fresh keys for a deployment, as JSON for the SSM parameter
    Keygen,
    /// Print a link to a deployment's console; reads the SSM parameter's JSON from standard input
    Console {
        /// Base URL of the deployment's API
        #[arg(long)]
        url: String,
    },
}

#[derive(Args)]
struct Dev {
    /// Port on loopback
    #[arg(long, default_value_t = 4000)]
    port: u16,
    /// Where the state is kept
    #[arg(long, default_value = ".michi")]
    data: PathBuf,
    /// Directory of the funnel
    #[arg(long, default_value = SAMPLE_FUNNEL)]
    funnel: PathBuf,
}

#[derive(Args)]
struct Simulate {
    /// People who opt in
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    leads: u32,
    /// Days to play
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_660))]
    days: u32,
    /// The same seed gives the same people with the same luck
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// First day
    #[arg(long, default_value = "2027-03-01")]
    start: NaiveDate,
    /// Directory of the funnel
    #[arg(long, default_value = SAMPLE_FUNNEL)]
    funnel: PathBuf,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let michi = Michi::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(michi)),
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "michi: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(michi: Michi) -> Result<(), Box<dyn std::error::Error>> {
    match michi.command.unwrap_or(Command::Dev(michi.dev)) {
        Command::Dev(Dev { port, data, funnel }) => {
            log("info");
            Ok(dev::serve(dev::Options { port, data, funnel }).await?)
        }
        Command::Simulate(options) => play(&options).await,
        Command::Keygen => keygen(),
        Command::Console { url } => console(&url),
    }
}

async fn play(options: &Simulate) -> Result<(), Box<dyn std::error::Error>> {
    log("error");
    let crowd = simulate::Options {
        leads: usize::try_from(options.leads)?,
        days: options.days,
        seed: options.seed,
        start: options.start,
    };
    let report = simulate::simulate(Path::new(&options.funnel), &crowd).await?;
    let mut out = std::io::stdout();
    match options.json {
        true => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        false => write!(out, "{}", report.table())?,
    }
    Ok(())
}

fn keygen() -> Result<(), Box<dyn std::error::Error>> {
    let (mut id_key, mut link_key) = ([0; 32], [0; 32]);
    getrandom::fill(&mut id_key).map_err(|error| error.to_string())?;
    getrandom::fill(&mut link_key).map_err(|error| error.to_string())?;
    let keys = cloud::keys::Keys::generate(id_key, link_key);
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(&keys)?)?)
}

fn console(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let keys = cloud::keys::Keys::parse(&std::io::read_to_string(std::io::stdin())?)?;
    let token = web::link::Links::new(keys.link_keys()).sign_console(chrono::Utc::now());
    Ok(writeln!(std::io::stdout(), "{}/console?t={token}", url.trim_end_matches('/'))?)
}

/// Logs to standard error, so that what is printed can be piped.
fn log(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).compact().init();
}
