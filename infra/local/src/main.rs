//! `michi`: everything on one machine.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use chrono::{NaiveDate, NaiveTime};
use clap::{Args, Parser, Subcommand};
use cloud::keys::Keys;
use content::problem::Severity;
use domain::{email_address::EmailAddress, id::Id, limits::CLAIM_SETTLES_SECONDS, text::LongText};
use michi::{dev, functions::load_funnel, person, remote, simulate};
use tracing_subscriber::EnvFilter;
use web::link::{Links, Purpose};

/// The sample funnel, as seen from the root of the repository.
const SAMPLE_FUNNEL: &str = "funnels/coaching";

/// How long `michi dev` may still be at work for somebody: it looks every second.
const DEV_SETTLES: Duration = Duration::from_secs(2);

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
    /// Say what is wrong with a funnel, where, and how to mend it
    Check(Check),
    /// Show every mail of a funnel in the browser, live while its files are edited
    Preview(Preview),
    /// Play a funnel with synthetic people in virtual time
    Simulate(Simulate),
    /// Send a mail, made for a sample person, to an address of yours
    SendTest(SendTest),
    /// Say what a lead's score is made of
    Score(Score),
    /// Say what became of a person's mails, what comes next, and why
    Why(Why),
    /// Print everything that is kept on a person, as one JSON document
    Export(Person),
    /// Erase a person: without --yes, say what would go
    Erase(Erase),
    /// Print a token with which another system may tell facts; reads the SSM parameter's JSON
    Token {
        /// The other system's name: a-z, 0-9 and -
        #[arg(value_parser = name)]
        name: Id,
        /// Print the secret that webhooks are signed with instead
        #[arg(long)]
        webhook_secret: bool,
    },
    /// Stop all mail to somebody, and put the address on SES's suppression list in the night
    Suppress(Person),
    /// Open an address again that bounced, complained or was suppressed: here and at SES
    Reopen {
        #[command(flatten)]
        person: Person,
        /// Why mail may be written to it again; kept with the person
        #[arg(long)]
        because: String,
    },
    /// Print fresh keys for a deployment, as JSON for the SSM parameter
    Keygen {
        /// Put a new key that signs links before those of the SSM parameter's JSON, read from
        /// standard input: old links go on working
        #[arg(long)]
        rotate: bool,
    },
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
struct Check {
    /// Directory of the funnel
    #[arg(default_value = SAMPLE_FUNNEL)]
    funnel: PathBuf,
    /// An earlier version of it: say who would be touched by the change, and how
    #[arg(long)]
    against: Option<PathBuf>,
    /// One JSON object, for editors
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Preview {
    /// Directory of the funnel
    #[arg(default_value = SAMPLE_FUNNEL)]
    funnel: PathBuf,
    /// Port on loopback
    #[arg(long, default_value_t = 4100)]
    port: u16,
}

/// Where the product runs.
#[derive(Args)]
struct Where {
    /// A deployed stack, reached as AWS's environment variables say; else `michi dev` on this machine
    #[arg(long)]
    stack: Option<String>,
    /// Port of `michi dev`
    #[arg(long, default_value_t = 4000)]
    port: u16,
    /// Directory of the funnel
    #[arg(long, default_value = SAMPLE_FUNNEL)]
    funnel: PathBuf,
}

#[derive(Args)]
struct SendTest {
    /// The mail: a file name in `mails`, without `.md`
    mail: String,
    /// Whom to send it to
    #[arg(long)]
    to: String,
    #[command(flatten)]
    product: Where,
}

#[derive(Args)]
struct Score {
    /// A lead id, or a mail address
    lead: String,
    /// The end of this day; now if missing
    #[arg(long)]
    on: Option<NaiveDate>,
    #[command(flatten)]
    product: Where,
}

#[derive(Args)]
struct Person {
    /// A lead id, or a mail address
    person: String,
    #[command(flatten)]
    product: Where,
}

#[derive(Args)]
struct Why {
    /// A lead id, or a mail address
    person: String,
    /// Only this mail: its file name in `mails` without `.md`, or a step
    mail: Option<String>,
    #[command(flatten)]
    product: Where,
}

#[derive(Args)]
struct Erase {
    #[command(flatten)]
    whom: Person,
    /// Do it; there is no way back
    #[arg(long)]
    yes: bool,
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
    /// One person instead of a crowd, by what she does: "opens step 2, clicks booking_url, silent
    /// 10 days"
    #[arg(long, value_name = "SCRIPT", conflicts_with_all = ["json", "compare", "expect"])]
    person: Option<String>,
    /// Another funnel, for the same people with the same luck, side by side
    #[arg(long, value_name = "DIR", conflicts_with = "expect")]
    compare: Option<PathBuf>,
    /// Play what the funnel's `[expect]` says, and fail if the figures are not as expected
    #[arg(long)]
    expect: bool,
}

fn name(text: &str) -> Result<Id, String> {
    Id::parse(text).map_err(|error| error.to_string())
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
        Command::Check(options) => check(&options),
        Command::Preview(Preview { funnel, port }) => {
            log("info");
            Ok(michi::preview::serve(funnel, port).await?)
        }
        Command::Simulate(options) => play(&options).await,
        Command::SendTest(SendTest { mail, to, product }) => {
            log("warn");
            let to = EmailAddress::parse(&to).map_err(|error| format!("--to: {error}"))?;
            let cloud = remote::cloud(product.stack.as_deref(), product.port).await?;
            let sent = remote::send_test(&cloud, &*load_funnel(&product.funnel)?, &mail, &to).await?;
            Ok(writeln!(std::io::stdout(), "{sent}")?)
        }
        Command::Score(options) => score(&options).await,
        Command::Why(options) => why(&options).await,
        Command::Export(options) => export(&options).await,
        Command::Erase(options) => erase(&options).await,
        Command::Token { name, webhook_secret } => token(&name, webhook_secret),
        Command::Suppress(person) => {
            log("warn");
            let cloud = remote::cloud(person.product.stack.as_deref(), person.product.port).await?;
            Ok(writeln!(std::io::stdout(), "{}", remote::suppress(&cloud, &person.person).await?)?)
        }
        Command::Reopen { person, because } => {
            log("warn");
            let because = LongText::parse(&because).map_err(|error| format!("--because: {error}"))?;
            let cloud = remote::cloud(person.product.stack.as_deref(), person.product.port).await?;
            let told = remote::reopen(&cloud, &person.person, &because).await?;
            Ok(writeln!(std::io::stdout(), "{told}")?)
        }
        Command::Keygen { rotate } => keygen(rotate),
        Command::Console { url } => console(&url),
    }
}

/// What is wrong, or what a change touches. Fails if the funnel has errors.
fn check(options: &Check) -> Result<(), Box<dyn std::error::Error>> {
    let checked = content::check(&options.funnel);
    let errors = checked.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let touched = match (&options.against, &checked.funnel) {
        (Some(against), Some(funnel)) => content::touched(&*load_funnel(against)?, funnel),
        _ => vec![],
    };
    let mut out = std::io::stdout();
    if options.json {
        let told = serde_json::json!({"problems": checked.problems, "touched": touched});
        writeln!(out, "{told}")?;
    } else {
        for problem in &checked.problems {
            writeln!(out, "{problem}")?;
        }
        for touched in &touched {
            writeln!(out, "{touched}")?;
        }
        if let Some(funnel) = &checked.funnel {
            let warnings = checked.problems.len() - errors;
            let (sequences, mails) = (funnel.sequences.len(), funnel.mails().count());
            writeln!(out, "{}: {sequences} sequences, {mails} mails, {warnings} warnings", funnel.name)?;
        }
    }
    match errors {
        0 => Ok(()),
        1 => Err("1 error".into()),
        many => Err(format!("{many} errors").into()),
    }
}

async fn score(options: &Score) -> Result<(), Box<dyn std::error::Error>> {
    log("warn");
    let product = &options.product;
    let funnel = load_funnel(&product.funnel)?;
    let cloud = remote::cloud(product.stack.as_deref(), product.port).await?;
    let at = match options.on {
        Some(day) => domain::time::instant(domain::time::plus_days(day, 1), NaiveTime::MIN, funnel.time_zone),
        None => cloud.now(),
    };
    let told = remote::score(&cloud, &funnel, &options.lead, at).await?;
    Ok(writeln!(std::io::stdout(), "{told}")?)
}

async fn why(Why { person, mail, product }: &Why) -> Result<(), Box<dyn std::error::Error>> {
    log("warn");
    let funnel = load_funnel(&product.funnel)?;
    let cloud = remote::cloud(product.stack.as_deref(), product.port).await?;
    let told = person::why(&cloud, &funnel, person, mail.as_deref()).await?;
    Ok(writeln!(std::io::stdout(), "{told}")?)
}

async fn export(Person { person, product }: &Person) -> Result<(), Box<dyn std::error::Error>> {
    log("warn");
    let cloud = remote::cloud(product.stack.as_deref(), product.port).await?;
    Ok(writeln!(std::io::stdout(), "{}", person::export(&cloud, person).await?)?)
}

async fn erase(options: &Erase) -> Result<(), Box<dyn std::error::Error>> {
    log("warn");
    let Person { person, product } = &options.whom;
    let cloud = remote::cloud(product.stack.as_deref(), product.port).await?;
    let mut out = std::io::stdout();
    if !options.yes {
        return Ok(writeln!(out, "{}", person::what_goes(&cloud, person).await?)?);
    }
    let settles = match product.stack {
        Some(_) => Duration::from_secs(CLAIM_SETTLES_SECONDS.unsigned_abs()),
        None => DEV_SETTLES,
    };
    writeln!(out, "erasing; this takes {} seconds or more", settles.as_secs())?;
    let told = person::erase(&cloud, person, settles).await?;
    if product.stack.is_none() {
        person::empty_outbox(&cloud, product.port, person).await?;
    }
    Ok(writeln!(out, "{told}")?)
}

fn token(name: &Id, webhook_secret: bool) -> Result<(), Box<dyn std::error::Error>> {
    let keys = Keys::parse(&std::io::read_to_string(std::io::stdin())?)?;
    let links = Links::new(keys.link_keys());
    let shown = match webhook_secret {
        true => integrations::webhook::shown_secret(&links.webhook_secret()),
        false => links.sign(Purpose::Api, name, None, chrono::Utc::now()),
    };
    Ok(writeln!(std::io::stdout(), "{shown}")?)
}

async fn play(options: &Simulate) -> Result<(), Box<dyn std::error::Error>> {
    log("error");
    let mut out = std::io::stdout();
    if let Some(script) = &options.person {
        let story = simulate::simulate_one(&options.funnel, script, options.start, options.days).await?;
        return Ok(write!(out, "{story}")?);
    }
    let mut crowd = simulate::Options {
        leads: usize::try_from(options.leads)?,
        days: options.days,
        seed: options.seed,
        start: options.start,
    };
    let expect = match options.expect {
        true => load_funnel(&options.funnel)?.simulation.expect.clone(),
        false => None,
    };
    if let Some(expect) = &expect {
        crowd.leads = usize::try_from(expect.leads)?;
        (crowd.days, crowd.seed) = (expect.days, expect.seed);
    }
    let report = simulate::simulate(&options.funnel, &crowd).await?;
    let other = match &options.compare {
        Some(other) => Some(simulate::simulate(other, &crowd).await?),
        None => None,
    };
    match (options.json, &other) {
        (true, None) => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        (true, Some(other)) => writeln!(out, "{}", serde_json::json!({"a": report, "b": other}))?,
        (false, None) => write!(out, "{}", report.table())?,
        (false, Some(other)) => write!(out, "{}", report.beside(other))?,
    }
    if options.expect {
        let expect = expect.ok_or("simulation.toml has no [expect]")?;
        let surprises = report.surprises(&expect);
        if !surprises.is_empty() {
            return Err(surprises.join("; ").into());
        }
    }
    Ok(())
}

fn keygen(rotate: bool) -> Result<(), Box<dyn std::error::Error>> {
    let (mut id_key, mut link_key) = ([0; 32], [0; 32]);
    getrandom::fill(&mut link_key).map_err(|error| error.to_string())?;
    let keys = match rotate {
        true => Keys::parse(&std::io::read_to_string(std::io::stdin())?)?.rotated(link_key),
        false => {
            getrandom::fill(&mut id_key).map_err(|error| error.to_string())?;
            Keys::generate(id_key, link_key)
        }
    };
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(&keys)?)?)
}

fn console(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let keys = Keys::parse(&std::io::read_to_string(std::io::stdin())?)?;
    let token = Links::new(keys.link_keys()).sign_console(chrono::Utc::now());
    Ok(writeln!(std::io::stdout(), "{}/console?t={token}", url.trim_end_matches('/'))?)
}

/// Logs to standard error, so that what is printed can be piped.
fn log(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).compact().init();
}
