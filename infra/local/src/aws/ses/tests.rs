use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::error::SdkError;
use aws_sdk_sesv2::operation::send_email::SendEmailError;
use aws_sdk_sesv2::primitives::DateTime;
use aws_sdk_sesv2::types::{
    Attachment, Body, Content, Destination, EmailContent, Message, MessageHeader, MessageTag, RawMessage,
    SuppressionListReason,
};
use chrono::TimeDelta;
use serde_json::Value;

use super::Reader;
use crate::engine::LocalCloud;
use crate::engine::tests::{Seen, cloud, fine, note};

const READER: Reader<'static> = Reader { user_agent: "Mail/1.0", ip: "192.0.2.1", bot: Some(false) };

fn content(text: &str) -> Content {
    Content::builder().data(text).charset("UTF-8").build().unwrap()
}

fn message(html: &str) -> aws_sdk_sesv2::types::builders::MessageBuilder {
    let body = Body::builder().html(content(html)).text(content("text"));
    Message::builder().subject(content("件名")).body(body.build())
}

/// Sends a simple mail with the configuration set and gives its message id.
pub(crate) async fn send(cloud: &LocalCloud, to: &str, html: &str) -> Result<String, SendEmailError> {
    send_message(cloud, to, message(html).build()).await
}

async fn send_message(cloud: &LocalCloud, to: &str, message: Message) -> Result<String, SendEmailError> {
    let tag = MessageTag::builder().name("send_id").value("s-1").build().unwrap();
    let send = Client::new(&cloud.sdk_config())
        .send_email()
        .from_email_address("=?UTF-8?B?44G/44Gh?= <info@example.com>")
        .destination(Destination::builder().to_addresses(to).build())
        .configuration_set_name("set")
        .email_tags(tag)
        .content(EmailContent::builder().simple(message).build());
    let sent = send.send().await.map_err(SdkError::into_service_error)?;
    Ok(sent.message_id.unwrap())
}

fn types(seen: &Seen) -> Vec<String> {
    let kind = |event: &Value| event["detail-type"].as_str().unwrap().to_owned();
    seen.lock().unwrap().iter().map(kind).collect()
}

#[tokio::test]
async fn a_mail_is_sent_delivered_opened_and_clicked_as_events_tell() {
    let cloud = cloud();
    let seen = note(&cloud, "hearer", fine);
    let html =
        r#"<a href="https://example.com/x">x</a><a ses:no-track href="https://example.com/stop">stop</a>"#;
    let id = send(&cloud, "a@example.com", html).await.unwrap();
    let mail = cloud.mails()[0].clone();
    assert_eq!(mail.message_id, id);
    assert_eq!(mail.subject, "件名");
    assert!(!mail.html.as_ref().unwrap().contains("no-track"));
    cloud.open(&mail, READER);
    assert!(cloud.click(&mail, "https://example.com/x", READER));
    assert!(!cloud.click(&mail, "https://example.com/stop", READER));
    cloud.settle().await;
    assert_eq!(types(&seen), ["Email Sent", "Email Delivered", "Email Opened", "Email Clicked"]);
    for event in seen.lock().unwrap().iter() {
        assert_eq!(event["source"], "aws.ses");
        assert_eq!(event["detail"]["mail"]["messageId"], id);
        assert_eq!(event["detail"]["mail"]["tags"]["send_id"][0], "s-1");
        assert_eq!(event["detail"]["mail"]["tags"]["ses:configuration-set"][0], "set");
    }
    let click = seen.lock().unwrap()[3]["detail"].clone();
    assert_eq!(click["eventType"], "Click");
    assert_eq!(click["click"]["link"], "https://example.com/x");
    assert_eq!(click["click"]["ipAddress"], "192.0.2.1");
    assert_eq!(click["click"]["isBotEvent"], "Unlikely");
}

#[tokio::test]
async fn the_simulators_addresses_behave_as_at_ses() {
    let table = [
        ("success@simulator.amazonses.com", vec!["Email Sent", "Email Delivered"]),
        ("bounce+7@simulator.amazonses.com", vec!["Email Sent", "Email Bounced"]),
        (
            "complaint@simulator.amazonses.com",
            vec!["Email Sent", "Email Delivered", "Email Complaint Received"],
        ),
    ];
    for (address, expected) in table {
        let cloud = cloud();
        let seen = note(&cloud, "hearer", fine);
        send(&cloud, address, "<p>a</p>").await.unwrap();
        cloud.settle().await;
        assert_eq!(types(&seen), expected, "{address}");
        let last = seen.lock().unwrap().last().unwrap()["detail"].clone();
        match last["eventType"].as_str() {
            Some("Bounce") => assert_eq!(last["bounce"]["bounceType"], "Permanent"),
            Some("Complaint") => {
                assert_eq!(last["complaint"]["complainedRecipients"][0]["emailAddress"], address);
            }
            _ => assert_eq!(last["delivery"]["recipients"][0], address),
        }
    }
}

#[tokio::test]
async fn a_suppressed_address_bounces_until_it_is_taken_off_the_list() {
    let cloud = cloud();
    let seen = note(&cloud, "hearer", fine);
    let client = Client::new(&cloud.sdk_config());
    send(&cloud, "a@example.com", "<p>a</p>").await.unwrap();
    cloud.complain(&cloud.mails()[0]);
    let listed = client.get_suppressed_destination().email_address("a@example.com");
    let listed = listed.send().await.unwrap().suppressed_destination.unwrap();
    assert_eq!(*listed.reason(), SuppressionListReason::Complaint);
    send(&cloud, "A@example.com", "<p>b</p>").await.unwrap();
    cloud.settle().await;
    assert_eq!(types(&seen)[3..], ["Email Sent", "Email Bounced"]);
    let bounce = seen.lock().unwrap()[4]["detail"]["bounce"].clone();
    assert_eq!(bounce["bounceSubType"], "OnAccountSuppressionList");
    let delete = || client.delete_suppressed_destination().email_address("a@example.com").send();
    delete().await.unwrap();
    assert!(delete().await.unwrap_err().into_service_error().is_not_found_exception());
    send(&cloud, "a@example.com", "<p>c</p>").await.unwrap();
    cloud.settle().await;
    assert_eq!(types(&seen)[5..], ["Email Sent", "Email Delivered"]);
}

#[tokio::test]
async fn what_ses_refuses_is_refused_and_not_in_the_outbox() {
    let cloud = cloud();
    let header = |name: &str, value: &str| MessageHeader::builder().name(name).value(value).build().unwrap();
    let mut many = message("<p>a</p>");
    for number in 0..16 {
        many = many.headers(header(&format!("X-{number}"), "1"));
    }
    let table = [
        ("no address", message("<p>a</p>")),
        ("a@example.com", many),
        ("a@example.com", message("<p>a</p>").headers(header("Subject", "b"))),
        ("a@example.com", message("<p>a</p>").headers(header("X-A", "日本"))),
    ];
    for (to, message) in table {
        let error = send_message(&cloud, to, message.build()).await.unwrap_err();
        assert!(error.is_bad_request_exception(), "{error:?}");
    }
    let unknown_set = Client::new(&cloud.sdk_config())
        .send_email()
        .from_email_address("a@example.com")
        .configuration_set_name("other")
        .content(EmailContent::builder().simple(message("a").build()).build());
    let error = unknown_set.send().await.unwrap_err().into_service_error();
    assert!(error.is_not_found_exception(), "{error:?}");
    assert_eq!(cloud.mails().len(), 0);
}

#[tokio::test]
async fn the_suppression_list_comes_page_by_page_since_a_moment_and_by_reason() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    let begin = cloud.clock().now();
    for n in 0..25 {
        let reason = if n < 20 { SuppressionListReason::Bounce } else { SuppressionListReason::Complaint };
        let put = client.put_suppressed_destination().email_address(format!("a{n:02}@example.com"));
        put.reason(reason).send().await.unwrap();
        if n == 11 {
            cloud.advance_to(begin + TimeDelta::hours(1)).await;
        }
    }
    let at = |hours: i64| DateTime::from_secs((begin + TimeDelta::minutes(hours * 60)).timestamp());
    for (from, reason, expected) in [
        (None, None, vec![10, 10, 5]),
        (Some(at(0)), None, vec![10, 10, 5]),
        (Some(at(1)), None, vec![10, 3]),
        (None, Some(SuppressionListReason::Complaint), vec![5]),
        (Some(at(2)), None, vec![0]),
    ] {
        let pages = client.list_suppressed_destinations().set_start_date(from);
        let pages = pages.set_reasons(reason.clone().map(|reason| vec![reason]));
        let mut pages = pages.into_paginator().send();
        let mut sizes = vec![];
        while let Some(page) = pages.next().await {
            sizes.push(page.unwrap().suppressed_destination_summaries().len());
        }
        assert_eq!(sizes, expected, "{from:?} {reason:?}");
    }
}

#[tokio::test]
async fn headers_attachments_and_raw_mails_reach_the_outbox() {
    let cloud = cloud();
    let attachment = Attachment::builder()
        .file_name("a.ics")
        .content_type("text/calendar")
        .raw_content(b"BEGIN".to_vec().into())
        .build()
        .unwrap();
    let header = MessageHeader::builder().name("List-Unsubscribe").value("<https://x.test/u>");
    let simple = message("<p>a</p>").attachments(attachment).headers(header.build().unwrap());
    send_message(&cloud, "a@example.com", simple.build()).await.unwrap();
    let raw = b"From: a@example.com\r\nTo: b@example.com\r\nSubject: raw\r\nX-Long: one\r\n two\r\n\r\nbody";
    let raw = RawMessage::builder().data(raw.to_vec().into()).build().unwrap();
    let client = Client::new(&cloud.sdk_config());
    let send = client.send_email().content(EmailContent::builder().raw(raw).build());
    send.send().await.unwrap();
    let mails = cloud.take_mails();
    assert_eq!(mails[0].attachments[0].content, b"BEGIN");
    assert_eq!(mails[0].headers[0].0, "List-Unsubscribe");
    assert_eq!(mails[1].subject, "raw");
    assert_eq!(mails[1].to, ["b@example.com"]);
    assert_eq!(mails[1].headers, [("X-Long".to_owned(), "one two".to_owned())]);
    assert_eq!(mails[1].text.as_deref(), Some("body"));
    assert!(cloud.mails().is_empty());
    let account = client.get_account().send().await.unwrap();
    assert!(account.production_access_enabled());
}
