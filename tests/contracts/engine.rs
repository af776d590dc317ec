//! The engines, each with the tables of the deployed template.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::{rt::sleep::TokioSleep, time::SystemTimeSource};
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::{SharedHttpConnector, http_client_fn};
use chrono::TimeDelta;
use cloud::{Cloud, Env, tables::Tables};
use michi::{
    clock::Clock,
    engine::{LocalCloud, Store},
    template::{REGION, Stack},
};

use crate::{server, wire::Wire};

const TEMPLATE: &str = include_str!("../../infra/template.yaml");
/// Every name of a table has it, so that a table reached without it is missed.
const PREFIX: &str = "contracts-";

/// One engine with empty tables, nobody else's.
pub struct Engine {
    pub tables: Tables,
    /// What the calls to it cost.
    pub wire: Wire,
    /// Dynoxide lives as long as this does.
    _local: Option<LocalCloud>,
}

impl Engine {
    /// The engine of the local cloud, in memory.
    pub fn dynoxide() -> Self {
        let local = LocalCloud::new(stack(), Store::Memory, Clock::running(TimeDelta::zero())).unwrap();
        Self::reached(Wire::new(local.connector()), "local", None, Some(local))
    }

    /// AWS's DynamoDB Local, with a database of its own: it keeps one for every access key.
    pub async fn dynamodb_local() -> Self {
        static DATABASES: AtomicU32 = AtomicU32::new(1);
        let url = server::dynamodb_local();
        let access_key = format!("case{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let connector = SharedHttpConnector::new(Connector::builder().build_http());
        for table in stack().tables.values() {
            server::create_table(&connector, url, &access_key, table).await;
        }
        Self::reached(Wire::new(connector), &access_key, Some(url), None)
    }

    fn reached(wire: Wire, access_key: &str, url: Option<&str>, local: Option<LocalCloud>) -> Self {
        let credentials = Credentials::new(access_key, "secret", None, None, "contracts");
        let http = SharedHttpConnector::new(wire.clone());
        let way = http.clone();
        let mut sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(http_client_fn(move |_, _| way.clone()))
            .sleep_impl(TokioSleep::new())
            .time_source(SystemTimeSource::new());
        sdk.set_endpoint_url(url.map(str::to_owned));
        let env = Env::from_map(BTreeMap::from([("TABLE_PREFIX".to_owned(), PREFIX.to_owned())]));
        let tables = Tables::new(&Cloud { sdk: sdk.build(), env, mail: http.clone(), http });
        Self { tables, wire, _local: local }
    }
}

fn stack() -> Stack {
    let parameters = BTreeMap::from([
        ("SenderAddress".to_owned(), "coach@example.com".to_owned()),
        ("TablePrefix".to_owned(), PREFIX.to_owned()),
    ]);
    Stack::parse(TEMPLATE, "contracts", &parameters).unwrap()
}
