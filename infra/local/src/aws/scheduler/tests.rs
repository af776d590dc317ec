use aws_sdk_scheduler::Client;
use aws_sdk_scheduler::error::SdkError;
use aws_sdk_scheduler::operation::create_schedule::CreateScheduleError;
use aws_sdk_scheduler::types::{
    ActionAfterCompletion, FlexibleTimeWindow, FlexibleTimeWindowMode, Target as SdkTarget,
};
use chrono::TimeDelta;

use crate::engine::LocalCloud;
use crate::engine::tests::{at, cloud, fine, note, start};

fn window() -> FlexibleTimeWindow {
    let window = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off);
    window.build().unwrap()
}

fn target(name: &str) -> SdkTarget {
    let target = SdkTarget::builder().arn(crate::template::queue_arn("work"));
    let target = target.role_arn("arn:aws:iam::000000000000:role/schedules");
    target.input(format!(r#"{{"wake":"{name}"}}"#)).build().unwrap()
}

/// Creates a schedule that wakes the worker and then removes itself.
pub(crate) async fn create(
    cloud: &LocalCloud,
    name: &str,
    expression: &str,
) -> Result<(), CreateScheduleError> {
    let client = Client::new(&cloud.sdk_config());
    let create = client
        .create_schedule()
        .name(name)
        .group_name("group")
        .schedule_expression(expression)
        .schedule_expression_timezone("UTC")
        .flexible_time_window(window())
        .action_after_completion(ActionAfterCompletion::Delete)
        .target(target(name));
    create.send().await.map(|_| ()).map_err(SdkError::into_service_error)
}

#[tokio::test]
async fn a_schedule_fires_at_its_minute_once_and_is_deleted() {
    let cloud = cloud();
    let seen = note(&cloud, "worker", fine);
    create(&cloud, "one", "at(2026-04-01T09:30:00)").await.unwrap();
    assert_eq!(cloud.next_due(), Some(at("2026-04-01T09:30:00Z")));
    cloud.advance_to(at("2026-04-01T09:29:59Z")).await;
    assert_eq!(seen.lock().unwrap().len(), 0);
    cloud.advance_to(at("2026-04-01T12:00:00Z")).await;
    assert_eq!(seen.lock().unwrap().len(), 1);
    let record = seen.lock().unwrap()[0]["Records"][0].clone();
    assert_eq!(record["body"], r#"{"wake":"one"}"#);
    let sent = at("2026-04-01T09:30:00Z").timestamp_millis().to_string();
    assert_eq!(record["attributes"]["SentTimestamp"], sent);
    let client = Client::new(&cloud.sdk_config());
    let gone = client.get_schedule().name("one").group_name("group").send().await;
    assert!(gone.unwrap_err().into_service_error().is_resource_not_found_exception());
    cloud.advance_to(start() + TimeDelta::days(2)).await;
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_name_is_taken_once_and_free_after_it_was_deleted() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    create(&cloud, "one", "at(2026-04-01T09:30:00)").await.unwrap();
    let error = create(&cloud, "one", "at(2026-04-01T10:00:00)").await.unwrap_err();
    assert!(error.is_conflict_exception(), "{error:?}");
    let delete = || client.delete_schedule().name("one").group_name("group").send();
    delete().await.unwrap();
    let error = delete().await.unwrap_err().into_service_error();
    assert!(error.is_resource_not_found_exception(), "{error:?}");
    assert_eq!(cloud.next_due(), Some(at("2026-04-01T18:30:00Z")), "only the nightly one is left");
    create(&cloud, "one", "at(2026-04-01T10:00:00)").await.unwrap();
}

#[tokio::test]
async fn an_update_moves_the_time_and_a_list_shows_it() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    create(&cloud, "one", "at(2026-04-01T09:30:00)").await.unwrap();
    let update = client
        .update_schedule()
        .name("one")
        .group_name("group")
        .schedule_expression("at(2026-04-01T11:00:00)")
        .flexible_time_window(window())
        .target(target("one"));
    update.send().await.unwrap();
    assert_eq!(cloud.next_due(), Some(at("2026-04-01T11:00:00Z")));
    let got = client.get_schedule().name("one").group_name("group").send().await.unwrap();
    assert_eq!(got.schedule_expression(), Some("at(2026-04-01T11:00:00)"));
    let all = client.list_schedules().send().await.unwrap();
    let names: Vec<_> = all.schedules().iter().map(|s| s.name().unwrap()).collect();
    assert_eq!(names, ["nightly", "one"]);
    let first = client.list_schedules().max_results(1).send().await.unwrap();
    let second = client.list_schedules().set_next_token(first.next_token).send().await.unwrap();
    assert_eq!(second.schedules()[0].name(), Some("one"));
}

#[tokio::test]
async fn a_wrong_schedule_is_refused() {
    let cloud = cloud();
    let long = "n".repeat(65);
    let table = [
        ("a b", "at(2026-04-01T09:30:00)"),
        (&long, "at(2026-04-01T09:30:00)"),
        ("one", "at(2026-04-01 09:30:00)"),
        ("one", "at(2026-03-31T23:59:59)"),
        ("one", "rate(1 day)"),
    ];
    for (name, expression) in table {
        let error = create(&cloud, name, expression).await.unwrap_err();
        assert!(error.is_validation_exception(), "{name} {expression}: {error:?}");
    }
    create(&cloud, "now", "at(2026-04-01T00:00:00)").await.expect("now is not in the past");
}

#[tokio::test]
async fn a_cron_schedule_of_the_template_fires_every_day() {
    let cloud = cloud();
    let seen = note(&cloud, "hearer", fine);
    cloud.advance_to(start() + TimeDelta::days(3)).await;
    let times: Vec<_> = seen.lock().unwrap().iter().map(|e| e["nightly"].clone()).collect();
    assert_eq!(times, ["2026-04-01T18:30:00Z", "2026-04-02T18:30:00Z", "2026-04-03T18:30:00Z"]);
}
