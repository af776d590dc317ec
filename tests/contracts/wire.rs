//! The way to an engine, on which every call asks what it costs.

use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use serde_json::Value;

/// Passes requests on and keeps what the engine bills for them.
#[derive(Debug, Clone)]
pub struct Wire {
    inner: SharedHttpConnector,
    bill: Arc<Mutex<Vec<String>>>,
}

impl Wire {
    pub fn new(inner: SharedHttpConnector) -> Self {
        Self { inner, bill: Arc::default() }
    }

    /// What the calls since the last bill cost, such as `PutItem Events 2`, and how much they read
    /// or wrote is all that it says: a failed call is not billed.
    pub fn take_bill(&self) -> Vec<String> {
        std::mem::take(&mut *self.bill.lock().unwrap())
    }
}

impl HttpConnector for Wire {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        ask_for_the_bill(&mut request);
        let answer = self.inner.call(request);
        let bill = Arc::clone(&self.bill);
        HttpConnectorFuture::new(async move {
            let (response, body) = whole(answer.await?).await?;
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            bill.lock().unwrap().extend(entries(&operation, &body["ConsumedCapacity"]));
            Ok(response)
        })
    }
}

/// The signature no longer fits, which neither engine minds.
fn ask_for_the_bill(request: &mut HttpRequest) {
    let mut body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
    body["ReturnConsumedCapacity"] = "TOTAL".into();
    let body = body.to_string();
    request.headers_mut().insert("content-length", body.len().to_string());
    *request.body_mut() = SdkBody::from(body);
}

async fn whole(mut response: HttpResponse) -> Result<(HttpResponse, Vec<u8>), ConnectorError> {
    let body = ByteStream::new(response.take_body()).collect().await;
    let body = body.map_err(|error| ConnectorError::io(error.into()))?.to_vec();
    *response.body_mut() = SdkBody::from(body.clone());
    Ok((response, body))
}

/// One table's capacity, or a list of them in no certain order.
fn entries(operation: &str, consumed: &Value) -> Vec<String> {
    let one = std::slice::from_ref(consumed);
    let tables = consumed.as_array().map_or(one, Vec::as_slice).iter();
    let mut entries: Vec<String> = tables
        .filter_map(|table| {
            let name = table["TableName"].as_str()?.trim_start_matches("contracts-");
            Some(format!("{operation} {name} {}", table["CapacityUnits"].as_f64()?))
        })
        .collect();
    entries.sort();
    entries
}
