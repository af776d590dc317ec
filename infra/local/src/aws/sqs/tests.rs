use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};

use super::*;
use crate::engine::tests::{WORK_URL, cloud, start};

#[tokio::test]
async fn a_message_comes_back_after_its_visibility_timeout_and_is_dead_after_five() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    let send = client.send_message().queue_url(WORK_URL).message_body("hello");
    let sent = send.send().await.unwrap();
    assert_eq!(sent.md5_of_message_body(), Some("5d41402abc4b2a76b9719d911017c592"));
    let receive = || {
        let receive = client.receive_message().queue_url(WORK_URL);
        receive.message_system_attribute_names(MessageSystemAttributeName::All).send()
    };
    for count in 1..=5 {
        let received = receive().await.unwrap().messages.unwrap();
        let attributes = received[0].attributes().unwrap();
        let told = &attributes[&MessageSystemAttributeName::ApproximateReceiveCount];
        assert_eq!(*told, count.to_string());
        assert_eq!(receive().await.unwrap().messages, None, "it is hidden");
        cloud.clock().move_to(start() + TimeDelta::seconds(60 * count));
    }
    assert_eq!(receive().await.unwrap().messages, None);
    let letters = cloud.dead_letters();
    assert_eq!((letters[0].0.as_str(), letters[0].1.body.as_str()), ("work-dead", "hello"));
}

#[tokio::test]
async fn only_the_latest_receipt_deletes() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    let send = client.send_message().queue_url(WORK_URL).message_body("a");
    send.send().await.unwrap();
    let receipt = || async {
        let receive = client.receive_message().queue_url(WORK_URL);
        let messages = receive.send().await.unwrap().messages.unwrap_or_default();
        messages.into_iter().next().and_then(|message| message.receipt_handle)
    };
    let delete = |receipt: String| {
        let delete = client.delete_message().queue_url(WORK_URL);
        delete.receipt_handle(receipt).send()
    };
    let first = receipt().await.unwrap();
    cloud.clock().move_to(start() + TimeDelta::seconds(60));
    let second = receipt().await.unwrap();
    delete(first).await.unwrap();
    cloud.clock().move_to(start() + TimeDelta::seconds(120));
    let third = receipt().await.expect("an outdated receipt deletes nothing");
    assert_ne!(second, third);
    delete(third).await.unwrap();
    cloud.clock().move_to(start() + TimeDelta::seconds(180));
    assert_eq!(receipt().await, None);
}

#[tokio::test]
async fn a_batch_answers_for_each_entry_and_delays_hold() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    let entry = |id: &str, body: &str| {
        let entry = SendMessageBatchRequestEntry::builder().id(id);
        entry.message_body(body).delay_seconds(10).build().unwrap()
    };
    let batch = client
        .send_message_batch()
        .queue_url(WORK_URL)
        .entries(entry("1", "fine"))
        .entries(entry("2", "not \u{0} fine"));
    let answer = batch.send().await.unwrap();
    assert_eq!(answer.successful()[0].id(), "1");
    assert_eq!((answer.failed()[0].id(), answer.failed()[0].code()), ("2", "InvalidMessageContents"));
    let attributes =
        client.get_queue_attributes().queue_url(WORK_URL).attribute_names(QueueAttributeName::All);
    let attributes = attributes.send().await.unwrap().attributes.unwrap();
    assert_eq!(attributes[&QueueAttributeName::ApproximateNumberOfMessagesDelayed], "1");
    let receive = || client.receive_message().queue_url(WORK_URL).send();
    assert_eq!(receive().await.unwrap().messages, None);
    cloud.clock().move_to(start() + TimeDelta::seconds(10));
    assert_eq!(receive().await.unwrap().messages.unwrap()[0].body(), Some("fine"));
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_an_error_the_client_knows() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    let send = client.send_message().queue_url("https://x/0/nowhere").message_body("a");
    let error = send.send().await.unwrap_err().into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
    let url = client.get_queue_url().queue_name("work").send().await.unwrap();
    assert_eq!(url.queue_url(), Some(WORK_URL));
}

#[tokio::test]
async fn attributes_travel_with_their_digest() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    let attribute = MessageAttributeValue::builder().data_type("String").string_value("v");
    let send = client
        .send_message()
        .queue_url(WORK_URL)
        .message_body("a")
        .message_attributes("test_attribute_name_1", attribute.build().unwrap());
    let sent = send.send().await.unwrap();
    let receive = client.receive_message().queue_url(WORK_URL).message_attribute_names("All");
    let received = receive.send().await.unwrap().messages.unwrap();
    assert_eq!(received[0].md5_of_message_attributes(), sent.md5_of_message_attributes());
    let value = &received[0].message_attributes().unwrap()["test_attribute_name_1"];
    assert_eq!(value.string_value(), Some("v"));
}

#[tokio::test]
async fn purging_empties_a_queue() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    client.send_message().queue_url(WORK_URL).message_body("a").send().await.unwrap();
    client.purge_queue().queue_url(WORK_URL).send().await.unwrap();
    let left = client.receive_message().queue_url(WORK_URL).send().await.unwrap();
    assert_eq!(left.messages, None);
    assert_eq!(client.list_queues().send().await.unwrap().queue_urls().len(), 4);
}
