use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::json;

use super::*;
use crate::engine::tests::{cloud, note};

async fn ask(cloud: &LocalCloud, request: axum::http::Request<Body>) -> (u16, String) {
    let response = answer(cloud.clone(), request).await;
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn to(path: &str, host: &str) -> axum::http::request::Builder {
    axum::http::Request::builder().uri(path).header(HOST, host)
}

#[tokio::test]
async fn one_port_serves_aws_and_the_http_api() {
    let cloud = cloud();
    note(&cloud, "pages", |_| Ok(json!({"statusCode": 200, "body": "page"})));
    let page = to("/pages/a", "localhost:4000").body(Body::empty()).unwrap();
    assert_eq!(ask(&cloud, page).await, (200, "page".to_owned()));
    let scan = to("/", "127.0.0.1:4000")
        .method("POST")
        .header("x-amz-target", "DynamoDB_20120810.Scan")
        .header(CONTENT_TYPE, "application/x-amz-json-1.0")
        .body(Body::from(r#"{"TableName": "Notes"}"#))
        .unwrap();
    let expected = r#"{"Count":0,"Items":[],"ScannedCount":0}"#;
    assert_eq!(ask(&cloud, scan).await, (200, expected.to_owned()));
    let schedules = to("/schedules", "127.0.0.1:4000")
        .header(AUTHORIZATION, "AWS4-HMAC-SHA256 Credential=x")
        .body(Body::empty())
        .unwrap();
    let (status, body) = ask(&cloud, schedules).await;
    assert!(status == 200 && body.contains("nightly"), "{status} {body}");
    let unsigned = to("/schedules", "127.0.0.1:4000").body(Body::empty()).unwrap();
    assert_eq!(ask(&cloud, unsigned).await.0, 404);
}

#[tokio::test]
async fn a_request_under_another_name_is_refused() {
    let cloud = cloud();
    let request = to("/pages/a", "evil.example:4000").body(Body::empty()).unwrap();
    assert_eq!(ask(&cloud, request).await.0, 421);
}
