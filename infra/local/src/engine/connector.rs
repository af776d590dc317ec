//! The way SDK clients reach the cloud without a network.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{AsyncSleep, SharedAsyncSleep, Sleep};
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use axum::body::Bytes;

use super::Inner;
use crate::aws::{Aws, Request, Response};
use crate::clock::Clock;
use crate::faults::{Call, Failure, Running, Saboteur, Verdict};
use crate::shelf::lock;
use crate::template::REGION;

/// How the names of AWS's hosts end.
const AWS: &str = ".amazonaws.com";

/// Holds the cloud weakly: handlers keep clients, clients keep this.
pub(super) struct Connector(Weak<Inner>);

impl Connector {
    pub(super) fn new(cloud: &Arc<Inner>) -> Self {
        Self(Arc::downgrade(cloud))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Some(cloud) = self.0.upgrade() else {
            return failed("the local cloud is gone");
        };
        let request = match whole(request) {
            Ok(request) => request,
            Err(error) => return HttpConnectorFuture::ready(Err(error)),
        };
        if let (Some(running), Some(saboteur)) = (Running::now(), cloud.aws.faults.saboteur()) {
            return HttpConnectorFuture::new(sabotaged(cloud, saboteur, running, request));
        }
        let host = request.uri().host().unwrap_or_default();
        if host.ends_with(AWS) {
            return HttpConnectorFuture::ready(to_sdk(cloud.aws.handle(&request)));
        }
        let handler = lock(&cloud.hosts).get(host).cloned();
        match handler {
            Some(handler) => HttpConnectorFuture::new(async move { to_sdk(handler(request).await) }),
            None => failed(&format!("the local cloud has no way to {host}")),
        }
    }
}

/// Makes a function's call as the saboteur wants it.
async fn sabotaged(
    cloud: Arc<Inner>,
    saboteur: Saboteur,
    running: Arc<Running>,
    request: Request,
) -> Result<HttpResponse, ConnectorError> {
    let host = request.uri().host().unwrap_or_default().to_owned();
    let (service, operation) = match host.ends_with(AWS) {
        true => {
            let (service, operation) = Aws::operation(&request);
            (service.to_owned(), operation)
        }
        false => (host.clone(), request.uri().path().to_owned()),
    };
    let number = running.calls.fetch_add(1, Ordering::SeqCst) + 1;
    let call = Call { function: running.function.clone(), number, service, operation, request };
    let verdict = (saboteur.before)(call.clone()).await;
    // Whatever happened meanwhile took its time.
    if cloud.clock.now() >= running.until || verdict == (Verdict::Crash { done: false }) {
        running.crash().await;
    }
    let fail = |failure: Failure| match cloud.aws.failed(&call.request, failure) {
        Some(response) => to_sdk(response),
        None => Err(ConnectorError::io("the connection ended without an answer".into())),
    };
    if let Verdict::Before(failure) = verdict {
        return fail(failure);
    }
    let response = if host.ends_with(AWS) {
        cloud.aws.handle(&call.request)
    } else {
        let handler = lock(&cloud.hosts).get(&host).cloned();
        let handler = handler.ok_or_else(|| ConnectorError::io(format!("no way to {host}").into()))?;
        handler(call.request.clone()).await
    };
    (saboteur.after)(&call, &response, verdict);
    match verdict {
        Verdict::After(failure) => fail(failure),
        Verdict::Crash { .. } => running.crash().await,
        Verdict::Pass | Verdict::Before(_) => to_sdk(response),
    }
}

fn failed(problem: &str) -> HttpConnectorFuture {
    HttpConnectorFuture::ready(Err(ConnectorError::io(problem.into())))
}

fn whole(request: HttpRequest) -> Result<Request, ConnectorError> {
    let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
    let (parts, body) = request.into_parts();
    let body = body.bytes().map(Bytes::copy_from_slice);
    let body = body.ok_or_else(|| ConnectorError::user("the body must be in memory".into()))?;
    Ok(Request::from_parts(parts, body))
}

fn to_sdk(response: Response) -> Result<HttpResponse, ConnectorError> {
    HttpResponse::try_from(response.map(SdkBody::from))
        .map_err(|error| ConnectorError::other(error.into(), None))
}

/// Waiting takes no time: it is the clock's business how late it is.
#[derive(Debug)]
struct NoSleep;

impl AsyncSleep for NoSleep {
    fn sleep(&self, _: Duration) -> Sleep {
        Sleep::new(std::future::ready(()))
    }
}

pub(super) fn sdk_config(connector: &SharedHttpConnector, clock: &Clock) -> SdkConfig {
    let connector = connector.clone();
    let credentials = Credentials::new("local", "local", None, None, "the local cloud");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .time_source(SharedTimeSource::new(clock.clone()))
        .sleep_impl(SharedAsyncSleep::new(NoSleep))
        .retry_config(RetryConfig::standard())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build()
}
