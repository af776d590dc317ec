//! `michi dev`: everything on this machine, and the pages and the script API under `/local` that
//! stand for what a laptop lacks: a mailbox, a card terminal, and a clock that can be moved.

mod advance;
mod front;
mod inbox;
mod mailbox;
mod pages;
mod rows;
mod script;
mod view;

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use chrono::{DateTime, TimeDelta, Utc};
use cloud::tables::Tables;
use content::Funnel;
use tokio::time::MissedTickBehavior;
use web::link::Links;

use crate::checkout::Checkout;
use crate::clock::Clock;
use crate::engine::{CloudError, LocalCloud, Store};
use crate::functions::{LaunchError, Secrets, Sweeps, cloud_of, launch, load_funnel, stack};
use crate::server;
use crate::shelf::{Shelf, ShelfError, ShelfFile, lock};
use view::View;

/// How often what has become due while wall time passed is done.
const TICK: Duration = Duration::from_secs(1);
/// The clock's distance to the wall clock, in microseconds.
const OFFSET: &str = "offset";

/// How `michi dev` is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port on loopback; 0 lets the system choose.
    pub port: u16,
    /// Directory of the state.
    pub data: PathBuf,
    /// Directory of the funnel.
    pub funnel: PathBuf,
}

/// Why `michi dev` can't run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Something else listens there.
    #[error("port {0} is in use; choose another one: michi dev --port {next}", next = next_port(*.0))]
    PortInUse(u16),
    /// The port can't be listened on for another reason.
    #[error("can't listen on port {port}: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// The reason.
        source: std::io::Error,
    },
    /// Two processes would overwrite each other's state.
    #[error("another michi is using {}; stop it, or choose another directory: michi dev --data DIR", .0.display())]
    DataInUse(PathBuf),
    /// The directory of the state can't be used.
    #[error("can't use {}: {source}", path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The product can't start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The clock or the Checkout sessions can't be read.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// The server stopped.
    #[error("the server stopped: {0}")]
    Stopped(std::io::Error),
}

fn next_port(port: u16) -> u16 {
    port.checked_add(1).unwrap_or(4000)
}

/// Runs everything on this machine until Ctrl-C. The state is on disk at any time.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(options: Options) -> Result<(), ServeError> {
    let Options { port, data, funnel } = options;
    let funnel = load_funnel(&funnel)?;
    let listener = server::listen(port).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => ServeError::PortInUse(port),
        _ => ServeError::Listen { port, source },
    })?;
    let port = listener.local_addr().map_err(|source| ServeError::Listen { port, source })?.port();
    let _alone = lock_directory(&data)?;
    let dev = Dev::start(funnel, &data, &format!("http://localhost:{port}")).await?;
    announce(&dev, &data);
    let serving = axum::serve(listener, router(dev.clone()));
    tokio::select! {
        served = serving.into_future() => served.map_err(ServeError::Stopped),
        () = tick(&dev) => Ok(()),
        stopped = tokio::signal::ctrl_c() => stopped.map_err(ServeError::Stopped),
    }
}

/// Held as long as the process lives.
fn lock_directory(data: &Path) -> Result<File, ServeError> {
    let unusable = |source| ServeError::Data { path: data.to_owned(), source };
    std::fs::create_dir_all(data).map_err(unusable)?;
    let file = File::create(data.join("lock")).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ServeError::DataInUse(data.to_owned())),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

async fn tick(dev: &Dev) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        dev.settle().await;
    }
}

/// Nobody may be reading what is printed; that is no reason to stop.
fn announce(dev: &Dev, data: &Path) {
    let url = &dev.0.public_url;
    let zone = dev.0.funnel.time_zone;
    let now = dev.now().with_timezone(&zone).format("%Y-%m-%d %H:%M");
    let data = data.display();
    let _ = writeln!(
        std::io::stdout(),
        "
  道 Michi

  はじめに　　Start here   {url}/local
  登録ページ　Landing page {url}/
  受信箱　　　Inbox        {url}/local/inbox
  集計　　　　Figures      {url}/local/figures

  時計　　　　Clock        {now} ({zone})
  データ　　　Data         {data}
  AWS CLI                  aws --endpoint-url {url} dynamodb scan --table-name Leads

  Ctrl-C で終了します（データは残ります）。 Ctrl-C stops it; the data stays.
"
    );
}

/// What stands behind the pages. Clones are the same.
#[derive(Clone)]
pub struct Dev(Arc<Inner>);

struct Inner {
    cloud: LocalCloud,
    tables: Tables,
    funnel: Arc<Funnel>,
    links: Links,
    checkout: Checkout,
    public_url: String,
    view: View,
    /// One move of the clock at a time: +1 day, twice, is two days.
    turn: tokio::sync::Mutex<()>,
    offset: Mutex<Shelf<i64>>,
}

impl Dev {
    /// Starts the product in a directory, on a clock that goes on where it was left.
    async fn start(funnel: Arc<Funnel>, data: &Path, public_url: &str) -> Result<Self, ServeError> {
        let file = ShelfFile::open(&data.join("dev.sqlite"))?;
        let offset: Shelf<i64> = Shelf::open("clock", Some(&file))?;
        let clock = Clock::running(TimeDelta::microseconds(offset.get(OFFSET).copied().unwrap_or(0)));
        let secrets = Secrets::fixed();
        let stack = stack(&funnel, public_url, Sweeps::AsDeployed).map_err(LaunchError::from)?;
        let cloud = launch(stack, Arc::clone(&funnel), Store::Dir(data.to_owned()), clock, &secrets).await?;
        let checkout = Checkout::kept(&cloud, public_url, &webhook_secret(&secrets), &file)?;
        Ok(Self::new(cloud, funnel, &secrets, checkout, public_url, offset))
    }

    /// Starts the product in memory, on the clock given.
    ///
    /// # Errors
    /// [`LaunchError`].
    pub async fn in_memory(funnel: Arc<Funnel>, clock: Clock, public_url: &str) -> Result<Self, LaunchError> {
        let secrets = Secrets::fixed();
        let stack = stack(&funnel, public_url, Sweeps::AsDeployed)?;
        let cloud = launch(stack, Arc::clone(&funnel), Store::Memory, clock, &secrets).await?;
        let checkout = Checkout::open(&cloud, public_url, &webhook_secret(&secrets));
        let offset = Shelf::open("clock", None).map_err(CloudError::from)?;
        Ok(Self::new(cloud, funnel, &secrets, checkout, public_url, offset))
    }

    fn new(
        cloud: LocalCloud,
        funnel: Arc<Funnel>,
        secrets: &Secrets,
        checkout: Checkout,
        public_url: &str,
        offset: Shelf<i64>,
    ) -> Self {
        Self(Arc::new(Inner {
            tables: Tables::new(&cloud_of(&cloud, "console")),
            links: Links::new(secrets.keys.link_keys()),
            public_url: public_url.to_owned(),
            view: View::new(),
            turn: tokio::sync::Mutex::default(),
            offset: Mutex::new(offset),
            cloud,
            funnel,
            checkout,
        }))
    }

    /// The cloud that it all runs in.
    #[must_use]
    pub fn cloud(&self) -> &LocalCloud {
        &self.0.cloud
    }

    fn now(&self) -> DateTime<Utc> {
        self.0.cloud.clock().now()
    }

    /// Does what is due; waits for a move of the clock to be over.
    async fn settle(&self) {
        let _turn = self.0.turn.lock().await;
        self.0.cloud.settle().await;
    }

    /// Writes down where the clock will be, before it is: time never goes backwards, whenever the
    /// process ends.
    fn keep_clock(&self, to: DateTime<Utc>) -> Result<(), ShelfError> {
        let micros = (to - Utc::now()).num_microseconds().unwrap_or(0);
        lock(&self.0.offset).insert(OFFSET.to_owned(), micros)
    }
}

fn webhook_secret(secrets: &Secrets) -> String {
    secrets.stripe.webhook_secrets.first().cloned().unwrap_or_default()
}

/// `/local/…` for people and scripts on this machine; everything else is the product's and AWS's.
pub fn router(state: Dev) -> Router {
    let product = server::router(state.0.cloud.clone());
    let local = any(move |request| front::answer(state.clone(), request));
    product.route("/local", local.clone()).route("/local/", local.clone()).route("/local/{*rest}", local)
}

#[cfg(test)]
pub(crate) mod tests;
