use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};

use serde_json::json;

use super::*;
use crate::aws::meter::Units;
use crate::engine::tests::{cloud, fine, note};

impl DynamoDb {
    pub(crate) fn kept_stream_records(&self, table: &str) -> usize {
        let shard = streams::shard_id(table);
        let state = lock(&self.state);
        let records = state.storage.get_stream_records(table, &shard, 0, usize::MAX >> 1);
        records.unwrap().len()
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn put_if_new(id: &str) -> TransactWriteItem {
    let put = Put::builder().table_name("Notes").item("id", text(id));
    let put = put.condition_expression("attribute_not_exists(id)");
    TransactWriteItem::builder().put(put.build().unwrap()).build()
}

#[tokio::test]
async fn a_transaction_whose_condition_fails_names_the_reason() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    let first = client.transact_write_items().transact_items(put_if_new("a"));
    first.send().await.unwrap();
    let second =
        client.transact_write_items().transact_items(put_if_new("b")).transact_items(put_if_new("a"));
    let error = second.send().await.unwrap_err().into_service_error();
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = error else {
        panic!("{error:?}");
    };
    let codes: Vec<_> = cancelled.cancellation_reasons().iter().map(|r| r.code()).collect();
    assert_eq!(codes, [Some("None"), Some("ConditionalCheckFailed")]);
    let missing = client.get_item().table_name("Notes").key("id", text("b"));
    assert_eq!(missing.send().await.unwrap().item, None, "nothing was written");
}

#[tokio::test]
async fn a_repeated_token_does_a_transaction_once_and_refuses_another_one() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    let write = |id: &str| {
        let write = client.transact_write_items().client_request_token("token");
        write.transact_items(put_if_new(id)).send()
    };
    write("a").await.unwrap();
    write("a").await.expect("the same again is done already");
    let error = write("b").await.unwrap_err().into_service_error();
    assert!(error.is_idempotent_parameter_mismatch_exception(), "{error:?}");
    cloud.clock().move_to(cloud.clock().now() + TOKEN_LIFETIME);
    write("b").await.expect("the token is forgotten");
}

#[tokio::test]
async fn the_meter_counts_units_of_rows_indexes_and_transactions() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    let put = client.put_item().table_name("Notes").item("id", text("a"));
    let answer = put.item("owner", text("me")).send().await.unwrap();
    assert!(answer.consumed_capacity().is_none(), "nobody asked for it");
    assert_eq!(cloud.meter().tables["Notes"], Units { write: 200, read: 0 });
    cloud.reset_meter();
    let get = client.get_item().table_name("Notes").key("id", text("a"));
    let answer = get
        .return_consumed_capacity(aws_sdk_dynamodb::types::ReturnConsumedCapacity::Total)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.consumed_capacity().unwrap().capacity_units(), Some(0.5));
    let write = client.transact_write_items().transact_items(put_if_new("b"));
    write.send().await.unwrap();
    let query = client.query().table_name("Notes").index_name("by_owner");
    let query = query
        .key_condition_expression("#o = :o")
        .expression_attribute_names("#o", "owner")
        .expression_attribute_values(":o", text("me"));
    assert_eq!(query.send().await.unwrap().count(), 1);
    let meter = cloud.meter();
    assert_eq!(meter.tables["Notes"], Units { write: 200, read: 100 });
    assert_eq!(meter.calls["dynamodb:GetItem"], 1);
    assert_eq!((meter.write_units(), meter.read_units()), (200, 100));
}

#[tokio::test]
async fn errors_are_those_of_dynamodb() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    let put = || client.put_item().table_name("Notes").item("id", text("a"));
    put().send().await.unwrap();
    let again = put().condition_expression("attribute_not_exists(id)");
    let error = again.send().await.unwrap_err().into_service_error();
    assert!(error.is_conditional_check_failed_exception(), "{error:?}");
    let nowhere = client.get_item().table_name("Nowhere").key("id", text("a"));
    let error = nowhere.send().await.unwrap_err().into_service_error();
    assert!(error.is_resource_not_found_exception(), "{error:?}");
    let unknown = client.describe_endpoints().send().await.unwrap_err();
    assert_eq!(unknown.code(), Some("UnknownOperationException"));
}

#[tokio::test]
async fn a_table_tells_of_itself_and_its_stream() {
    let cloud = cloud();
    note(&cloud, "listener", fine);
    let client = Client::new(&cloud.sdk_config());
    let described = client.describe_table().table_name("Facts").send().await.unwrap();
    let table = described.table.unwrap();
    assert!(table.table_arn().unwrap().starts_with("arn:aws:dynamodb:ap-northeast-1:"));
    let names = client.list_tables().send().await.unwrap().table_names.unwrap();
    assert_eq!(names, ["Facts", "Notes"]);
}

#[tokio::test]
async fn a_stream_is_read_with_ids_that_the_cli_accepts() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    let put = client.put_item().table_name("Facts").item("id", text("a"));
    put.send().await.unwrap();
    let ask = |operation: &str, body: Value| -> Value {
        let target = format!("DynamoDBStreams_20120810.{operation}");
        let request = axum::http::Request::post("/").header("x-amz-target", target);
        let answer = cloud.aws(&request.body(body.to_string().into()).unwrap());
        assert_eq!(answer.status(), 200, "{answer:?}");
        serde_json::from_slice(answer.body()).unwrap()
    };
    let streams = ask("ListStreams", json!({}));
    let arn = &streams["Streams"][0]["StreamArn"];
    let stream = ask("DescribeStream", json!({ "StreamArn": arn }));
    let shard = &stream["StreamDescription"]["Shards"][0]["ShardId"];
    assert!(shard.as_str().unwrap().len() >= 28, "{shard}");
    let from = json!({"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = &ask("GetShardIterator", from)["ShardIterator"];
    let records = ask("GetRecords", json!({ "ShardIterator": iterator }));
    assert_eq!(records["Records"][0]["dynamodb"]["NewImage"], json!({"id": {"S": "a"}}));
    assert_eq!(records["Records"][0]["awsRegion"], REGION);
}
