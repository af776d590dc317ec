use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_eventbridge::types::builders::PutEventsRequestEntryBuilder;

use crate::engine::tests::{cloud, fine, note};

fn entry(source: &str, kind: &str, detail: &str) -> PutEventsRequestEntryBuilder {
    let entry = PutEventsRequestEntry::builder().source(source);
    entry.detail_type(kind).detail(detail)
}

#[tokio::test]
async fn put_events_refuses_the_sources_of_aws_and_answers_per_entry() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    let put = client
        .put_events()
        .entries(entry("aws.ses", "Email Sent", "{}").build())
        .entries(entry("michi", "Lead opted in", "{}").event_bus_name("facts").build())
        .entries(entry("michi", "Lead opted in", "no json").build())
        .entries(entry("michi", "", "{}").build())
        .entries(entry("michi", "Lead opted in", "{}").event_bus_name("nowhere").build());
    let answer = put.send().await.unwrap();
    assert_eq!(answer.failed_entry_count(), 4);
    let codes: Vec<_> = answer.entries().iter().map(|e| e.error_code()).collect();
    assert_eq!(
        codes,
        [
            Some("NotAuthorizedForSourceException"),
            None,
            Some("MalformedDetail"),
            Some("InvalidArgument"),
            Some("ResourceNotFoundException")
        ]
    );
    assert_eq!(cloud.bus_events().len(), 1);
}

#[tokio::test]
async fn a_rule_hands_a_fitting_event_to_its_target() {
    let cloud = cloud();
    let seen = note(&cloud, "worker", fine);
    let client = Client::new(&cloud.sdk_config());
    for kind in ["Lead opted in", "Customer paid"] {
        let entry = entry("michi", kind, r#"{"lead_id":"l"}"#).event_bus_name("facts");
        client.put_events().entries(entry.build()).send().await.unwrap();
    }
    cloud.settle().await;
    let records = seen.lock().unwrap()[0]["Records"].as_array().unwrap().clone();
    assert_eq!(records.len(), 1);
    let event: serde_json::Value = serde_json::from_str(records[0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(event["detail-type"], "Lead opted in");
    assert_eq!(event["detail"]["lead_id"], "l");
    assert_eq!(event["time"], "2026-04-01T00:00:00Z");
}

#[tokio::test]
async fn a_request_with_too_many_entries_is_refused_as_a_whole() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    let entries = vec![entry("michi", "x", "{}").build(); 11];
    let error = client.put_events().set_entries(Some(entries)).send().await.unwrap_err();
    use aws_sdk_eventbridge::error::ProvideErrorMetadata;
    assert_eq!(error.code(), Some("ValidationException"));
}
