//! The AWS side of every function: tables, mail, queues, timers, bus and keys, through the
//! official SDK clients. What is on the other side of them (AWS, or the local cloud) is of no
//! concern here.

pub mod bus;
pub mod dossier;
pub mod erase;
pub mod keys;
pub mod mailer;
pub mod person;
pub mod queues;
pub mod suppression_list;
pub mod tables;
pub mod timers;
pub mod transaction;

use std::{collections::BTreeMap, error::Error, path::PathBuf, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableCredentialsProvider};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::{
    rt::sleep::{SharedAsyncSleep, TokioSleep},
    time::SystemTimeSource,
};
use aws_smithy_http_client::{
    Connector,
    tls::{self, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector, http_client_fn};
use aws_smithy_types::error::display::DisplayErrorContext;
use chrono::{DateTime, SubsecRound, Utc};

/// Longest wait for a connection. Within a region it takes milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for the first word of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// What a function starts with: AWS, its environment, and a way to third parties.
#[derive(Debug, Clone)]
pub struct Cloud {
    /// Configuration of the SDK's clients.
    pub sdk: SdkConfig,
    /// The function's environment.
    pub env: Env,
    /// Plain HTTPS to third parties, over the connector that the SDK's clients use.
    pub http: SharedHttpConnector,
    /// The way to SES for mail, which keeps no connection for later. A Lambda is frozen between two
    /// events; a kept connection may have ended meanwhile, which shows only when the mail is on its way:
    /// it would be in doubt, and a marketing mail in doubt is never sent again.
    pub mail: SharedHttpConnector,
}

impl Cloud {
    /// The cloud of a running Lambda: region, credentials and an optional endpoint from the
    /// environment that Lambda sets. Nothing is read from files: a cold start has no time for it.
    ///
    /// # Errors
    /// [`StartError`] if `AWS_REGION` is missing.
    pub fn from_lambda() -> Result<Self, StartError> {
        let env = Env::from_process();
        let credentials = SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new());
        let (region, endpoint) = (env.get("AWS_REGION")?, env.get("AWS_ENDPOINT_URL").ok());
        Ok(Self::over_the_network(env, region, endpoint, credentials))
    }

    /// The cloud that `michi dev` serves at a URL on this machine, which knows no secrets.
    pub fn on_this_machine(url: &str, env: Env) -> Self {
        let credentials = Credentials::new("local", "local", None, None, "michi");
        let credentials = SharedCredentialsProvider::new(credentials);
        Self::over_the_network(env, "ap-northeast-1".to_owned(), Some(url.to_owned()), credentials)
    }

    fn over_the_network(
        env: Env,
        region: String,
        endpoint: Option<String>,
        credentials: SharedCredentialsProvider,
    ) -> Self {
        // Below a function's own time-out: a call that hangs must leave it time for a word about it.
        let patience = HttpConnectorSettings::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build();
        let connector = |idle: usize| {
            let builder = Connector::builder()
                .connector_settings(patience.clone())
                .sleep_impl(TokioSleep::new())
                .pool_max_idle_per_host(idle)
                .tls_provider(tls::Provider::Rustls(CryptoMode::Ring));
            SharedHttpConnector::new(builder.build())
        };
        let http = connector(usize::MAX);
        let shared = http.clone();
        let mut sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .credentials_provider(credentials)
            .http_client(http_client_fn(move |_, _| shared.clone()))
            .sleep_impl(TokioSleep::new())
            .time_source(SystemTimeSource::new());
        sdk.set_endpoint_url(endpoint);
        Self { sdk: sdk.build(), env, http, mail: connector(0) }
    }

    /// Where the funnel's files are: `FUNNEL` (default `funnel`) in the function's zip.
    pub fn funnel_directory(&self) -> PathBuf {
        let root = self.env.get("LAMBDA_TASK_ROOT").unwrap_or_else(|_| ".".to_owned());
        PathBuf::from(root).join(self.env.get("FUNNEL").unwrap_or_else(|_| "funnel".to_owned()))
    }

    /// Base URL of the pages and of the links in mails, without a slash at the end.
    ///
    /// # Errors
    /// [`StartError`] if `PUBLIC_URL` is missing.
    pub fn public_url(&self) -> Result<String, StartError> {
        Ok(self.env.get("PUBLIC_URL")?.trim_end_matches('/').to_owned())
    }

    /// How to wait before a call is made again: as the SDK's clients do, so that on one machine it
    /// takes no time.
    pub(crate) fn sleep(&self) -> SharedAsyncSleep {
        self.sdk.sleep_impl().unwrap_or_else(|| SharedAsyncSleep::new(TokioSleep::new()))
    }

    /// The time: the wall clock in a Lambda, the local cloud's own clock on one machine.
    /// In whole milliseconds, as it is stored: what was written equals what is read back.
    pub fn now(&self) -> DateTime<Utc> {
        let source = self.sdk.time_source().unwrap_or_default();
        DateTime::<Utc>::from(source.now()).trunc_subsecs(3)
    }
}

/// A function's environment variables.
#[derive(Debug, Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// Of this process.
    pub fn from_process() -> Self {
        Self(std::env::vars().collect())
    }

    /// Of a function that runs inside another process.
    pub fn from_map(variables: BTreeMap<String, String>) -> Self {
        Self(variables)
    }

    /// The value of a variable.
    ///
    /// # Errors
    /// [`StartError::MissingVariable`] if it is not set, or empty.
    pub fn get(&self, name: &'static str) -> Result<String, StartError> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned().ok_or(StartError::MissingVariable(name))
    }
}

/// Why a function can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The template gives each function the variables that it needs.
    #[error("environment variable {0} is missing")]
    MissingVariable(&'static str),
    /// A parameter of the stack is not as `michi keygen` writes it.
    #[error("SSM parameter {name}: {reason}")]
    Parameter {
        /// Its name.
        name: String,
        /// What is wrong, without its content.
        reason: String,
    },
    /// The funnel in the zip is broken.
    #[error("the funnel can't be used: {0}")]
    Funnel(String),
    /// AWS could not be reached.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A call to AWS that failed for a reason that the caller can do nothing about but try again.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {reason}")]
pub struct CallError {
    /// What was being done to what.
    pub doing: &'static str,
    /// What AWS, or the way to it, said.
    pub reason: String,
}

impl CallError {
    /// Wraps an SDK error with all of its causes.
    pub fn new(doing: &'static str, error: impl Error) -> Self {
        Self { doing, reason: DisplayErrorContext(error).to_string() }
    }
}

/// Sends what the functions log to standard output as JSON, one line each: CloudWatch's form.
pub fn log_to_stdout() {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_max_level(tracing::Level::INFO)
        // CloudWatch stamps the lines.
        .without_time()
        .init();
}
