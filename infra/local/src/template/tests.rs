use super::*;

const REAL: &str = include_str!("../../../template.yaml");

fn real() -> Stack {
    let parameters = BTreeMap::from([
        ("SenderAddress".to_owned(), "mail@example.com".to_owned()),
        ("PublicUrl".to_owned(), "http://127.0.0.1:4000".to_owned()),
    ]);
    Stack::parse(REAL, "michi", &parameters).unwrap()
}

#[test]
fn the_real_template_names_every_part_of_the_stack() {
    let stack = real();
    let functions: Vec<&str> = stack.functions.keys().map(String::as_str).collect();
    assert_eq!(
        functions,
        [
            "booking",
            "console",
            "delivery",
            "email-event",
            "nightly-aggregation",
            "opt-in",
            "payment",
            "relay"
        ]
    );
    assert_eq!(stack.tables.len(), 11);
    assert_eq!(stack.tables["Events"]["StreamSpecification"]["StreamViewType"], "NEW_IMAGE");
    let urgent = &stack.queues["michi-urgent"];
    let redrive = urgent.redrive.as_ref().unwrap();
    assert_eq!((redrive.queue.as_str(), redrive.max_receive_count), ("michi-urgent-dead", 5));
    assert_eq!(stack.queue_sources.len(), 4);
    assert_eq!(stack.queues["michi-verdicts"].delay.num_seconds(), domain::limits::VERDICT_SECONDS);
    let relay = &stack.stream_sources[0];
    assert_eq!((relay.table.as_str(), relay.function.as_str()), ("Events", "relay"));
    assert!(relay.bisect && relay.reports_failures);
    assert_eq!(relay.max_retries, None);
    assert_eq!(relay.on_failure.as_deref(), Some("michi-relay-dead"));
    assert!(stack.routes.iter().any(|route| route.key == "POST /opt-in" && route.function == "opt-in"));
    assert_eq!(stack.rules[0].targets, [Target::Queue("michi-mail-events".to_owned())]);
    assert_eq!(stack.rules[1].targets, [Target::Queue("michi-verdicts".to_owned())]);
    assert!(stack.configuration_sets["michi"].events.contains("CLICK"));
    assert!(stack.buses.contains("michi") && stack.buses.contains("default"));
    let schedules: Vec<&str> = stack.schedules.iter().map(|schedule| schedule.name.as_str()).collect();
    assert_eq!(schedules, ["michi-nightly-aggregation", "michi-sweep"]);
}

#[test]
fn an_environment_is_resolved_with_the_parameters_that_were_given() {
    let stack = real();
    let relay = &stack.functions["relay"].environment;
    let table = [
        ("TABLE_PREFIX", ""),
        ("URGENT_QUEUE_URL", "https://sqs.ap-northeast-1.amazonaws.com/000000000000/michi-urgent"),
        ("URGENT_QUEUE_ARN", "arn:aws:sqs:ap-northeast-1:000000000000:michi-urgent"),
        ("SCHEDULE_GROUP", "michi"),
        ("EVENT_BUS", "michi"),
    ];
    for (name, value) in table {
        assert_eq!(relay[name], value, "{name}");
    }
    let opt_in = &stack.functions["opt-in"].environment;
    assert_eq!(opt_in["PUBLIC_URL"], "http://127.0.0.1:4000");
    assert_eq!(opt_in["KEYS_PARAMETER"], "/michi/keys");
}

#[test]
fn an_error_names_the_resource_and_the_property() {
    let table = [
        ("Parameters: {P: {Type: String}}\nResources: {}", "parameter P: has neither a value nor a default"),
        ("Resources: {Q: {Type: AWS::SQS::Queue, Properties: {}}}", "Q.QueueName: is missing"),
        (
            "Resources: {Q: {Type: AWS::SQS::Queue, Properties: {QueueName: {Fn::Base64: x}}}}",
            "Q.QueueName: Fn::Base64 is not known to the local cloud",
        ),
        (
            "Resources: {Q: {Type: AWS::SQS::Queue, Properties: {QueueName: {Ref: Nobody}}}}",
            "Q.QueueName: Nobody is neither a parameter nor a resource",
        ),
        (
            "Resources: {Q: {Type: AWS::SQS::Queue, Properties: {QueueName: q, DelaySeconds: soon}}}",
            "Q.DelaySeconds: soon is not a fitting number",
        ),
        (
            "Resources:\n  R: {Type: AWS::ApiGatewayV2::Route, Properties: {RouteKey: GET /, Target: integrations/x}}",
            "R.Target: no integrations/x",
        ),
    ];
    for (yaml, expected) in table {
        let error = Stack::parse(yaml, "s", &BTreeMap::new()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let unknown = BTreeMap::from([("Nope".to_owned(), String::new())]);
    let error = Stack::parse("Resources: {}", "s", &unknown).unwrap_err();
    assert_eq!(error.to_string(), "parameter Nope: is not declared");
}

#[test]
fn conditions_leave_resources_and_values_out() {
    let yaml = r#"
Parameters: {Debug: {Type: String, Default: ""}}
Conditions:
  Debugging: {Fn::Not: [{Fn::Equals: [{Ref: Debug}, ""]}]}
Resources:
  Extra: {Type: AWS::SQS::Queue, Condition: Debugging, Properties: {QueueName: extra}}
  Main:
    Type: AWS::SQS::Queue
    Properties:
      QueueName: {Fn::Join: ["-", [{Ref: AWS::StackName}, main]]}
      DelaySeconds: {Fn::If: [Debugging, 5, {Ref: AWS::NoValue}]}
"#;
    let plain = Stack::parse(yaml, "s", &BTreeMap::new()).unwrap();
    assert_eq!(plain.queues.keys().collect::<Vec<_>>(), ["s-main"]);
    assert_eq!(plain.queues["s-main"].delay, TimeDelta::zero());
    let debug = BTreeMap::from([("Debug".to_owned(), "1".to_owned())]);
    let debugging = Stack::parse(yaml, "s", &debug).unwrap();
    assert!(debugging.queues.contains_key("extra"));
    assert_eq!(debugging.queues["s-main"].delay, TimeDelta::seconds(5));
}
