use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use aws_sdk_dynamodb::types::AttributeValue;
use axum::body::Bytes;
use chrono::TimeDelta;

const TEMPLATE: &str = r#"
Resources:
  Notes:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: Notes
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions:
        - {AttributeName: id, AttributeType: S}
        - {AttributeName: owner, AttributeType: S}
      KeySchema: [{AttributeName: id, KeyType: HASH}]
      GlobalSecondaryIndexes:
        - IndexName: by_owner
          KeySchema: [{AttributeName: owner, KeyType: HASH}]
          Projection: {ProjectionType: ALL}
  Facts:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: Facts
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: id, AttributeType: S}]
      KeySchema: [{AttributeName: id, KeyType: HASH}]
      StreamSpecification: {StreamViewType: NEW_IMAGE}
  Work:
    Type: AWS::SQS::Queue
    Properties:
      QueueName: work
      VisibilityTimeout: 60
      RedrivePolicy: {deadLetterTargetArn: {Fn::GetAtt: [WorkDead, Arn]}, maxReceiveCount: 5}
  WorkDead: {Type: AWS::SQS::Queue, Properties: {QueueName: work-dead}}
  StreamDead: {Type: AWS::SQS::Queue, Properties: {QueueName: stream-dead}}
  DeadLetters: {Type: AWS::SQS::Queue, Properties: {QueueName: dead-letters}}
  Worker:
    Type: AWS::Lambda::Function
    Properties: {FunctionName: {Fn::Sub: "${AWS::StackName}-worker"}, Timeout: 10}
  Listener:
    Type: AWS::Lambda::Function
    Properties: {FunctionName: {Fn::Sub: "${AWS::StackName}-listener"}}
  Hearer:
    Type: AWS::Lambda::Function
    Properties: {FunctionName: {Fn::Sub: "${AWS::StackName}-hearer"}}
  HearerConfig:
    Type: AWS::Lambda::EventInvokeConfig
    Properties:
      FunctionName: {Ref: Hearer}
      MaximumRetryAttempts: 2
      DestinationConfig: {OnFailure: {Destination: {Fn::GetAtt: [DeadLetters, Arn]}}}
  Pages:
    Type: AWS::Lambda::Function
    Properties: {FunctionName: {Fn::Sub: "${AWS::StackName}-pages"}}
  WorkMapping:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: {Ref: Worker}
      EventSourceArn: {Fn::GetAtt: [Work, Arn]}
      BatchSize: 10
      FunctionResponseTypes: [ReportBatchItemFailures]
  FactsMapping:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: {Ref: Listener}
      EventSourceArn: {Fn::GetAtt: [Facts, StreamArn]}
      BatchSize: 8
      BisectBatchOnFunctionError: true
      MaximumRetryAttempts: 2
      MaximumRecordAgeInSeconds: 86400
      FunctionResponseTypes: [ReportBatchItemFailures]
      DestinationConfig: {OnFailure: {Destination: {Fn::GetAtt: [StreamDead, Arn]}}}
  Bus: {Type: AWS::Events::EventBus, Properties: {Name: facts}}
  MailRule:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {source: [aws.ses], detail: {mail: {tags: {"ses:configuration-set": [set]}}}}
      Targets: [{Id: hearer, Arn: {Fn::GetAtt: [Hearer, Arn]}}]
  FactRule:
    Type: AWS::Events::Rule
    Properties:
      EventBusName: {Ref: Bus}
      EventPattern: {source: [michi], detail-type: [{prefix: "Lead "}]}
      Targets: [{Id: work, Arn: {Fn::GetAtt: [Work, Arn]}}]
  Group: {Type: AWS::Scheduler::ScheduleGroup, Properties: {Name: group}}
  Nightly:
    Type: AWS::Scheduler::Schedule
    Properties:
      Name: nightly
      ScheduleExpression: cron(30 18 * * ? *)
      FlexibleTimeWindow: {Mode: "OFF"}
      Target:
        Arn: {Fn::GetAtt: [Hearer, Arn]}
        RoleArn: arn:aws:iam::000000000000:role/schedules
        Input: '{"nightly": "<aws.scheduler.scheduled-time>"}'
  Set: {Type: AWS::SES::ConfigurationSet, Properties: {Name: set, SuppressionOptions: {SuppressedReasons: [BOUNCE, COMPLAINT]}}}
  SetEvents:
    Type: AWS::SES::ConfigurationSetEventDestination
    Properties:
      ConfigurationSetName: {Ref: Set}
      EventDestination:
        MatchingEventTypes: [SEND, DELIVERY, OPEN, CLICK, BOUNCE, COMPLAINT]
        EventBridgeDestination: {EventBusArn: "arn:aws:events:ap-northeast-1:000000000000:event-bus/default"}
  Api: {Type: AWS::ApiGatewayV2::Api, Properties: {Name: api}}
  PagesIntegration:
    Type: AWS::ApiGatewayV2::Integration
    Properties: {IntegrationUri: {Fn::GetAtt: [Pages, Arn]}, PayloadFormatVersion: "2.0"}
  PageRoute:
    Type: AWS::ApiGatewayV2::Route
    Properties: {RouteKey: "GET /pages/{page}", Target: {Fn::Sub: "integrations/${PagesIntegration}"}}
  PostRoute:
    Type: AWS::ApiGatewayV2::Route
    Properties: {RouteKey: POST /notes, Target: {Fn::Sub: "integrations/${PagesIntegration}"}}
"#;

pub(crate) const WORK_URL: &str = "https://sqs.ap-northeast-1.amazonaws.com/000000000000/work";

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub(crate) fn start() -> DateTime<Utc> {
    at("2026-04-01T00:00:00Z")
}

pub(crate) fn stack() -> Stack {
    Stack::parse(TEMPLATE, "s", &BTreeMap::new()).unwrap()
}

pub(crate) fn cloud() -> LocalCloud {
    LocalCloud::new(stack(), Store::Memory, Clock::frozen(start())).unwrap()
}

/// Everything that a function was given, in order.
pub(crate) type Seen = Arc<Mutex<Vec<Value>>>;

/// Registers a function that notes its events and answers with what `answer` says.
pub(crate) fn note(
    cloud: &LocalCloud,
    function: &str,
    answer: impl Fn(&Value) -> Result<Value, String> + Send + Sync + 'static,
) -> Seen {
    let seen = Seen::default();
    let notes = Arc::clone(&seen);
    let handler: Handler = Arc::new(move |event| {
        let answer = answer(&event);
        notes.lock().unwrap().push(event);
        Box::pin(async move { answer })
    });
    cloud.register(function, handler);
    seen
}

pub(crate) fn fine(_: &Value) -> Result<Value, String> {
    Ok(json!({}))
}

async fn put_fact(cloud: &LocalCloud, id: &str) {
    let client = aws_sdk_dynamodb::Client::new(&cloud.sdk_config());
    let put = client.put_item().table_name("Facts");
    let put = put.item("id", AttributeValue::S(id.to_owned()));
    put.send().await.unwrap();
}

async fn send(cloud: &LocalCloud, body: &str) {
    let client = aws_sdk_sqs::Client::new(&cloud.sdk_config());
    let send = client.send_message().queue_url(WORK_URL).message_body(body);
    send.send().await.unwrap();
}

fn fact_ids(seen: &Seen) -> Vec<Vec<String>> {
    let batch = |event: &Value| {
        let records = event["Records"].as_array().unwrap().iter();
        let id = |r: &Value| r["dynamodb"]["NewImage"]["id"]["S"].as_str().unwrap().to_owned();
        records.map(id).collect()
    };
    seen.lock().unwrap().iter().map(batch).collect()
}

#[tokio::test]
async fn a_written_row_reaches_the_listener_as_lambdas_stream_event() {
    let cloud = cloud();
    let seen = note(&cloud, "listener", fine);
    put_fact(&cloud, "a").await;
    put_fact(&cloud, "b").await;
    cloud.settle().await;
    assert_eq!(fact_ids(&seen), [["a", "b"]]);
    let event = seen.lock().unwrap()[0].clone();
    let record = &event["Records"][0];
    assert_eq!(record["eventName"], "INSERT");
    assert_eq!(record["dynamodb"]["SequenceNumber"].as_str().unwrap().len(), 21);
    assert!(record["eventSourceARN"].as_str().unwrap().contains(":table/Facts/stream/"));
    let typed: aws_lambda_events::event::dynamodb::Event = serde_json::from_value(event).unwrap();
    assert_eq!(typed.records.len(), 2);
}

#[tokio::test]
async fn a_record_that_cannot_be_handled_is_named_and_the_others_are_handled() {
    let cloud = cloud();
    let poison = |event: &Value| match event.to_string().contains("\"poison\"") {
        true => Err("poisoned".to_owned()),
        false => Ok(json!({})),
    };
    let seen = note(&cloud, "listener", poison);
    for id in ["a", "b", "c", "poison", "d", "e"] {
        put_fact(&cloud, id).await;
    }
    cloud.advance_to(start() + TimeDelta::minutes(10)).await;
    let letters = cloud.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].0, "stream-dead");
    let letter: Value = serde_json::from_str(&letters[0].1.body).unwrap();
    assert_eq!(letter["DDBStreamBatchInfo"]["batchSize"], 1);
    assert_eq!(letter["requestContext"]["condition"], "RetryAttemptsExhausted");
    let mut handled: Vec<String> =
        fact_ids(&seen).into_iter().filter(|batch| batch.iter().all(|id| id != "poison")).flatten().collect();
    handled.sort();
    assert_eq!(handled, ["a", "b", "c", "d", "e"]);
    let alone = |batch: &&Vec<String>| **batch == ["poison"];
    assert_eq!(fact_ids(&seen).iter().filter(alone).count(), 3, "once and two retries");
}

#[tokio::test]
async fn records_before_the_one_that_failed_are_not_delivered_again() {
    let cloud = cloud();
    let first_time = Arc::new(Mutex::new(true));
    let seen = note(&cloud, "listener", move |event| {
        let mut first = first_time.lock().unwrap();
        if std::mem::take(&mut *first) {
            let failed = &event["Records"][1]["dynamodb"]["SequenceNumber"];
            return Ok(json!({"batchItemFailures": [{"itemIdentifier": failed}]}));
        }
        Ok(json!({}))
    });
    for id in ["a", "b", "c"] {
        put_fact(&cloud, id).await;
    }
    cloud.settle().await;
    assert_eq!(fact_ids(&seen).len(), 1, "the rest waits for its pause");
    cloud.advance_to(start() + TimeDelta::seconds(1)).await;
    assert_eq!(fact_ids(&seen)[1..], [["b", "c"]]);
    assert_eq!(cloud.dead_letters().len(), 0);
}

#[tokio::test]
async fn only_the_messages_that_failed_come_back_and_then_become_dead_letters() {
    let cloud = cloud();
    let bad_ones = |event: &Value| {
        let records = event["Records"].as_array().unwrap().iter();
        let failed = records.filter(|record| record["body"] == "bad");
        let failed = failed.map(|record| json!({"itemIdentifier": record["messageId"]}));
        Ok(json!({"batchItemFailures": failed.collect::<Vec<_>>()}))
    };
    let seen = note(&cloud, "worker", bad_ones);
    for body in ["good", "bad", "fine"] {
        send(&cloud, body).await;
    }
    cloud.settle().await;
    assert_eq!(seen.lock().unwrap()[0]["Records"].as_array().unwrap().len(), 3);
    assert_eq!(cloud.next_due(), Some(start() + TimeDelta::seconds(60)));
    cloud.advance_to(start() + TimeDelta::minutes(30)).await;
    let counts: Vec<Value> = seen.lock().unwrap()[1..]
        .iter()
        .map(|event| event["Records"][0]["attributes"]["ApproximateReceiveCount"].clone())
        .collect();
    assert_eq!(counts, ["2", "3", "4", "5"]);
    let letters = cloud.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].0.as_str(), letters[0].1.body.as_str()), ("work-dead", "bad"));
}

#[tokio::test]
async fn an_asynchronous_invocation_is_repeated_twice_and_then_told_to_the_dead_letters() {
    let cloud = cloud();
    let seen = note(&cloud, "hearer", |_| Err("no".to_owned()));
    cloud.advance_to(at("2026-04-01T18:30:00Z")).await;
    assert_eq!(seen.lock().unwrap().len(), 1);
    cloud.advance_to(at("2026-04-01T18:31:00Z")).await;
    assert_eq!(seen.lock().unwrap().len(), 2);
    cloud.advance_to(at("2026-04-01T18:33:00Z")).await;
    assert_eq!(seen.lock().unwrap().len(), 3);
    let expected = json!({"nightly": "2026-04-01T18:30:00Z"});
    assert!(seen.lock().unwrap().iter().all(|event| *event == expected));
    let letters = cloud.dead_letters();
    assert_eq!((letters.len(), letters[0].0.as_str()), (1, "dead-letters"));
    let letter: Value = serde_json::from_str(&letters[0].1.body).unwrap();
    assert_eq!(letter["requestPayload"], expected);
    assert_eq!(letter["requestContext"]["approximateInvokeCount"], 3);
}

#[tokio::test]
async fn a_request_goes_through_the_route_to_the_function_and_back() {
    let cloud = cloud();
    let seen = note(&cloud, "pages", |event| match event["rawPath"].as_str() {
        Some("/pages/broken") => Err("broken".to_owned()),
        _ => Ok(json!({"statusCode": 201, "body": "made", "headers": {"x-a": "b"}})),
    });
    let get = |path: &str| axum::http::Request::get(path).body(Bytes::new()).unwrap();
    let answer = cloud.http(get("/pages/one?x=1")).await;
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (201, &b"made"[..]));
    let event = seen.lock().unwrap()[0].clone();
    assert_eq!(event["pathParameters"]["page"], "one");
    let id = event["requestContext"]["requestId"].as_str().unwrap();
    assert_eq!(id, "0a9b0000-0000-4000-8000-000000000001");
    let nowhere = cloud.http(get("/nowhere")).await;
    assert_eq!((nowhere.status().as_u16(), &nowhere.body()[..]), (404, &br#"{"message":"Not Found"}"#[..]));
    let broken = cloud.http(get("/pages/broken")).await;
    assert_eq!(broken.status().as_u16(), 500);
    let big = vec![b'a'; gateway::MAX_BODY_BYTES + 1];
    let big = axum::http::Request::post("/notes").body(Bytes::from(big)).unwrap();
    assert_eq!(cloud.http(big).await.status().as_u16(), 413);
}

#[tokio::test]
async fn a_third_party_is_reached_through_the_same_connector_and_unknown_hosts_are_not() {
    use aws_smithy_runtime_api::client::http::HttpConnector;
    use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
    let cloud = cloud();
    let handler: HostHandler = Arc::new(|request| {
        let body = Bytes::from(request.uri().path().to_owned());
        Box::pin(async move { Response::new(body) })
    });
    cloud.register_host("api.stripe.com", handler);
    let connector = cloud.connector();
    let known = HttpRequest::get("https://api.stripe.com/v1/x").unwrap();
    let answer = connector.call(known).await.unwrap();
    assert_eq!(answer.body().bytes().unwrap(), b"/v1/x");
    let unknown = HttpRequest::get("https://example.com/").unwrap();
    assert!(connector.call(unknown).await.is_err());
    drop(cloud);
    let gone = HttpRequest::get("https://api.stripe.com/").unwrap();
    assert!(connector.call(gone).await.is_err());
}

#[tokio::test]
async fn the_same_calls_give_the_same_events_byte_for_byte() {
    async fn trace() -> String {
        let cloud = cloud();
        let listener = note(&cloud, "listener", fine);
        let worker = note(&cloud, "worker", fine);
        let client = aws_sdk_dynamodb::Client::new(&cloud.sdk_config());
        for number in 0..20 {
            let mut put = client.put_item().table_name("Facts");
            for field in ["id", "x", "y", "z", "w"] {
                put = put.item(field, AttributeValue::S(format!("{field}{number}")));
            }
            put.send().await.unwrap();
            send(&cloud, &format!("message {number}")).await;
            cloud.advance_to(start() + TimeDelta::minutes(number)).await;
        }
        let all = [listener.lock().unwrap().clone(), worker.lock().unwrap().clone()];
        serde_json::to_string(&all).unwrap()
    }
    assert_eq!(trace().await, trace().await);
}

#[tokio::test]
async fn a_restart_keeps_tables_schedules_messages_and_mails() {
    let directory = tempfile::tempdir().unwrap();
    let open = |now: &str| {
        let store = Store::Dir(directory.path().to_owned());
        LocalCloud::new(stack(), store, Clock::frozen(at(now))).unwrap()
    };
    let message_id = {
        let cloud = open("2026-04-01T00:00:00Z");
        put_fact(&cloud, "kept").await;
        send(&cloud, "kept").await;
        crate::aws::scheduler::tests::create(&cloud, "kept", "at(2026-04-01T09:00:00)").await.unwrap();
        crate::aws::ses::tests::send(&cloud, "a@example.com", "<p>kept</p>").await.unwrap()
    };
    let cloud = open("2026-04-01T08:00:00Z");
    let listener = note(&cloud, "listener", fine);
    let worker = note(&cloud, "worker", fine);
    let hearer = note(&cloud, "hearer", fine);
    cloud.settle().await;
    assert_eq!(fact_ids(&listener), [["kept"]]);
    assert_eq!(worker.lock().unwrap().len(), 1);
    assert_eq!(hearer.lock().unwrap().len(), 2, "sent and delivered");
    assert_eq!(cloud.mails()[0].message_id, message_id);
    cloud.advance_to(at("2026-04-01T09:00:00Z")).await;
    let woken = worker.lock().unwrap()[1]["Records"][0]["body"].clone();
    assert_eq!(woken, r#"{"wake":"kept"}"#);
    let again = crate::aws::ses::tests::send(&cloud, "a@example.com", "<p>new</p>").await.unwrap();
    assert_ne!(again, message_id);
    drop(cloud);
    let cloud = open("2026-04-01T10:00:00Z");
    let listener = note(&cloud, "listener", fine);
    cloud.settle().await;
    assert_eq!(listener.lock().unwrap().len(), 0, "what was handled stays handled");
    assert_eq!(cloud.mails().len(), 2);
}

#[tokio::test]
async fn handled_stream_records_are_forgotten_after_a_day() {
    let cloud = cloud();
    let seen = note(&cloud, "listener", fine);
    note(&cloud, "hearer", fine);
    for hour in 0..72 {
        put_fact(&cloud, &format!("{hour}")).await;
        cloud.advance_to(start() + TimeDelta::hours(hour)).await;
    }
    assert_eq!(fact_ids(&seen).concat().len(), 72);
    let kept = cloud.0.aws.dynamodb.kept_stream_records("Facts");
    assert!((24..=26).contains(&kept), "{kept}");
}
