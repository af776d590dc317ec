//! SES: hands over one mail and tells exactly what is known of it afterwards.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_sesv2::{
    Client,
    config::{Config, retry::RetryConfig},
    error::SdkError,
    operation::send_email::SendEmailError,
    primitives::Blob,
    types::{
        Attachment, AttachmentContentTransferEncoding, Body, Content, Destination, EmailContent, Message,
        MessageHeader, MessageTag,
    },
};
use aws_smithy_runtime_api::client::{http::http_client_fn, result::ConnectorError};
use aws_smithy_types::error::display::DisplayErrorContext;
use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::BASE64;
use domain::limits::{SES_PAUSE_MINUTES, SILENCE_IN_A_ROW};

use crate::{CallError, Cloud, StartError};

/// A mail, rendered and ready.
#[derive(Debug, Clone)]
pub struct OutgoingMail {
    /// `名前 <address>`; the display name may be any text.
    pub from: String,
    pub to: String,
    pub reply_to: Option<String>,
    pub subject: String,
    pub html: String,
    pub text: String,
    /// Header names and values, ASCII.
    pub headers: Vec<(&'static str, String)>,
    /// SES message tags: they come back with every event about this mail.
    pub tags: Vec<(&'static str, String)>,
    /// An iCalendar file.
    pub calendar: Option<String>,
}

/// Why SES did not, or may not have, taken a mail.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Not taken, and never will be as it is.
    #[error("SES refused it: {0}")]
    Refused(String),
    /// Not taken for now: rate, quota, a paused account, rights that are missing, no way there.
    #[error("SES takes no mail at the moment: {0}")]
    NotNow(String),
    /// The answer was lost: it may have been taken.
    #[error("no answer from SES: {0}")]
    Unknown(String),
}

/// How much SES takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Mails a second, at least 1.
    pub per_second: u64,
    /// Mails that it still takes within these 24 hours, less a tenth of them all: a broadcast must not
    /// take the last that somebody waits for.
    pub left_for_broadcasts: u64,
}

/// Sends mail.
#[derive(Debug, Clone)]
pub struct Mailer {
    client: Client,
    /// For questions, which may be repeated: with the SDK's retries.
    asking: Client,
    configuration_set: String,
    cloud: Cloud,
    silence: Arc<Mutex<Silence>>,
}

/// Sends that SES left without a word, one after the other. While it answers nobody, every mail that is
/// handed to it would be in doubt for good, or would wait in vain for a connection.
#[derive(Debug, Default)]
struct Silence {
    in_a_row: u32,
    rests_until: Option<DateTime<Utc>>,
}

impl Mailer {
    /// The stack's mailer. The SDK's retries are off: `SendEmail` has no idempotency token, so
    /// a second try is a decision of the ledger, not of a client library.
    ///
    /// # Errors
    /// [`StartError`] if the configuration set's name is missing.
    pub fn new(cloud: &Cloud) -> Result<Self, StartError> {
        let way = cloud.mail.clone();
        let mut config = Config::from(&cloud.sdk).to_builder();
        if let Ok(url) = cloud.env.get("AWS_ENDPOINT_URL_SESV2") {
            config = config.endpoint_url(url);
        }
        let asking = Client::from_conf(config.clone().build());
        let config = config.retry_config(RetryConfig::disabled());
        let config = config.http_client(http_client_fn(move |_, _| way.clone()));
        Ok(Self {
            client: Client::from_conf(config.build()),
            asking,
            configuration_set: cloud.env.get("CONFIGURATION_SET")?,
            cloud: cloud.clone(),
            silence: Arc::default(),
        })
    }

    /// How much SES takes at the moment. SES answers this once a second at most.
    ///
    /// # Errors
    /// [`CallError`] if SES does not say.
    pub async fn quota(&self) -> Result<Quota, CallError> {
        let doing = "asking SES for the quota";
        let answer = self.asking.get_account().send().await.map_err(|error| CallError::new(doing, error))?;
        let quota = answer.send_quota().ok_or(CallError { doing, reason: "SES names none".to_owned() })?;
        // SES gives whole numbers as floating point; -1 is "no limit".
        let left = match quota.max24_hour_send() < 0.0 {
            true => u64::MAX,
            false => {
                let all = whole(quota.max24_hour_send());
                (all - all / 10).saturating_sub(whole(quota.sent_last24_hours()))
            }
        };
        Ok(Quota { per_second: whole(quota.max_send_rate()).max(1), left_for_broadcasts: left })
    }

    /// Hands a mail to SES and returns SES's message id.
    ///
    /// # Errors
    /// [`SendError`], which tells a clear no from a lost answer.
    pub async fn send(&self, mail: OutgoingMail) -> Result<String, SendError> {
        if self.rests() {
            return Err(SendError::NotNow("it left the last mails without an answer".to_owned()));
        }
        let (to, reply_to, from) = (mail.to.clone(), mail.reply_to.clone(), mail.from.clone());
        let sender = address(&mail.from).to_owned();
        let tags = mail
            .tags
            .iter()
            .filter_map(|(name, value)| MessageTag::builder().name(*name).value(value).build().ok())
            .collect();
        let answer = self
            .client
            .send_email()
            .from_email_address(from)
            .destination(Destination::builder().to_addresses(to).build())
            .set_reply_to_addresses(reply_to.map(|address| vec![address]))
            .content(EmailContent::builder().simple(message(mail).map_err(SendError::Refused)?).build())
            .configuration_set_name(&self.configuration_set)
            .set_email_tags(Some(tags))
            .send()
            .await;
        let told = answer.map(|answer| answer.message_id.unwrap_or_default());
        let silent = matches!(&told, Err(error) if !answered(error));
        let told = told.map_err(|error| classify(error, &sender));
        self.heard(silent || matches!(told, Err(SendError::Unknown(_))));
        told
    }

    fn rests(&self) -> bool {
        let silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        silence.rests_until.is_some_and(|until| self.cloud.now() < until)
    }

    fn heard(&self, nothing: bool) {
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        silence.in_a_row = if nothing { silence.in_a_row + 1 } else { 0 };
        if silence.in_a_row >= SILENCE_IN_A_ROW {
            tracing::error!(sends = silence.in_a_row, "SES does not answer; no mail for a while");
            silence.rests_until = Some(self.cloud.now() + TimeDelta::minutes(SES_PAUSE_MINUTES));
        }
    }
}

/// A number as SES gives it, without its fraction.
fn whole(number: f64) -> u64 {
    format!("{:.0}", number.max(0.0).floor()).parse().unwrap_or(0)
}

fn message(mail: OutgoingMail) -> Result<Message, String> {
    let content = |data: String| {
        Content::builder().data(data).charset("UTF-8").build().map_err(|error| error.to_string())
    };
    let headers: Result<Vec<_>, _> = mail
        .headers
        .into_iter()
        .map(|(name, value)| MessageHeader::builder().name(name).value(value).build())
        .collect();
    let attachment = mail.calendar.map(|calendar| {
        Attachment::builder()
            .file_name("consultation.ics")
            .content_type("text/calendar; charset=utf-8; method=REQUEST")
            // SES declares 7 bits otherwise, and Japanese does not come through.
            .content_transfer_encoding(AttachmentContentTransferEncoding::Base64)
            .raw_content(Blob::new(calendar))
            .build()
            .map_err(|error| error.to_string())
    });
    Ok(Message::builder()
        .subject(content(mail.subject)?)
        .body(Body::builder().html(content(mail.html)?).text(content(mail.text)?).build())
        .set_headers(Some(headers.map_err(|error| error.to_string())?))
        .set_attachments(attachment.transpose()?.map(|attachment| vec![attachment]))
        .build())
}

/// `name <address>` as a mail header wants it: a name with other than ASCII letters becomes
/// RFC 2047 encoded words of at most 75 characters.
pub fn mailbox(name: &str, address: &str) -> String {
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b' ') {
        return format!("{name} <{address}>");
    }
    let mut words: Vec<String> = vec![];
    let mut word = String::new();
    for letter in name.chars().filter(|letter| !letter.is_control()) {
        // 45 bytes become 60 of base64; `=?UTF-8?B?` and `?=` are 12 more.
        if word.len() + letter.len_utf8() > 45 {
            words.push(std::mem::take(&mut word));
        }
        word.push(letter);
    }
    words.push(word);
    let words: Vec<String> =
        words.iter().map(|word| format!("=?UTF-8?B?{}?=", BASE64.encode(word.as_bytes()))).collect();
    format!("{} <{address}>", words.join(" "))
}

/// SES repeats addresses in its messages; ledger and logs must not.
fn without_addresses(text: &str) -> String {
    let words = text.split(' ').map(|word| if word.contains('@') { "(address)" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// The bare address of `name <address>`.
fn address(mailbox: &str) -> &str {
    let bare = mailbox.rsplit_once('<').map_or(mailbox, |(_, address)| address);
    bare.trim_end_matches('>').trim()
}

/// Whether a refusal is about the sender's identity: `Email address is not verified. The following
/// identities failed the check in region AP-NORTHEAST-1: coach@example.com, ...`. That is mended for all
/// mails at once; in SES's sandbox a recipient may be named alone, and no other mail has to do with it.
fn sender_is_not_verified(message: &str, sender: &str) -> bool {
    let Some((_, rest)) = message.split_once("not verified") else { return false };
    let domain = sender.rsplit_once('@').map_or(sender, |(_, domain)| domain);
    let named = rest.rsplit_once(": ").map_or(rest, |(_, identities)| identities);
    named.split(',').map(address).any(|identity| {
        [sender, domain].iter().any(|own| own.eq_ignore_ascii_case(identity.trim_end_matches('.')))
    })
}

fn classify(error: SdkError<SendEmailError>, sender: &str) -> SendError {
    let told = without_addresses(&DisplayErrorContext(&error).to_string());
    match &error {
        SdkError::ConstructionFailure(_) => SendError::Refused(told),
        SdkError::ServiceError(answer) => match answer.err() {
            SendEmailError::MessageRejected(rejected)
                if sender_is_not_verified(rejected.message().unwrap_or_default(), sender) =>
            {
                SendError::NotNow(told)
            }
            // The mail itself is at fault.
            SendEmailError::MessageRejected(_) | SendEmailError::BadRequestException(_) => {
                SendError::Refused(told)
            }
            // Anything else that the caller is told to mend is mended for all mails at once: rates and
            // quotas, rights, domains, configuration sets.
            _ if answer.raw().status().is_client_error() => SendError::NotNow(told),
            _ => SendError::Unknown(told),
        },
        SdkError::DispatchFailure(failure) if failure.as_connector_error().is_some_and(never_left) => {
            SendError::NotNow(told)
        }
        _ => SendError::Unknown(told),
    }
}

/// Whether SES said anything at all.
fn answered(error: &SdkError<SendEmailError>) -> bool {
    !matches!(error, SdkError::DispatchFailure(_) | SdkError::TimeoutError(_))
}

/// Whether there was no connection that a request could have gone over.
fn never_left(error: &ConnectorError) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.is_connect();
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    use super::*;
    use crate::Env;

    #[test]
    fn a_senders_name_survives_any_mail_server() {
        for (name, expected) in [
            ("Michi Coaching", "Michi Coaching <a@example.com>"),
            ("道コーチング", "=?UTF-8?B?6YGT44Kz44O844OB44Oz44Kw?= <a@example.com>"),
            ("Evil\r\nBcc: x", "=?UTF-8?B?RXZpbEJjYzogeA==?= <a@example.com>"),
            ("A, B", "=?UTF-8?B?QSwgQg==?= <a@example.com>"),
        ] {
            assert_eq!(mailbox(name, "a@example.com"), expected);
        }
        assert!(mailbox(&"道".repeat(60), "a@example.com").split(' ').all(|word| word.len() <= 75));
    }

    /// A mailer whose SES gives this answer to one request; none hangs up without a word.
    fn facing(answer: Option<(u16, &str)>) -> Mailer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = answer.map(|(status, body)| {
            format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        });
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 16 * 1024];
            let read = stream.read(&mut request).unwrap();
            assert!(read > 0);
            if let Some(answer) = answer {
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        at(&url)
    }

    fn at(url: &str) -> Mailer {
        let environment = [("CONFIGURATION_SET".to_owned(), "michi".to_owned())];
        Mailer::new(&Cloud::on_this_machine(url, Env::from_map(environment.into()))).unwrap()
    }

    fn mail() -> OutgoingMail {
        OutgoingMail {
            from: "a@example.com".to_owned(),
            to: "b@example.com".to_owned(),
            reply_to: None,
            subject: "x".to_owned(),
            html: "x".to_owned(),
            text: "x".to_owned(),
            headers: vec![],
            tags: vec![],
            calendar: None,
        }
    }

    #[tokio::test]
    async fn only_a_mail_that_ses_refuses_is_given_up_and_only_one_that_it_may_have_is_in_doubt() {
        let error = |code: &str| format!(r#"{{"__type":"{code}","message":"x"}}"#);
        for (status, code, expected) in [
            (400, "MessageRejected", "refused"),
            (400, "BadRequestException", "refused"),
            (400, "ThrottlingException", "not now"),
            (429, "TooManyRequestsException", "not now"),
            (400, "LimitExceededException", "not now"),
            (400, "MailFromDomainNotVerifiedException", "not now"),
            (403, "AccessDeniedException", "not now"),
            (404, "NotFoundException", "not now"),
            (500, "InternalFailure", "in doubt"),
            (503, "ServiceUnavailable", "in doubt"),
        ] {
            let told = facing(Some((status, &error(code)))).send(mail()).await.unwrap_err();
            assert_eq!(kind(&told), expected, "{code}: {told}");
        }
        assert_eq!(kind(&facing(None).send(mail()).await.unwrap_err()), "in doubt", "no answer");
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let told = at(&format!("http://{closed}")).send(mail()).await.unwrap_err();
        assert_eq!(kind(&told), "not now", "nobody listens: {told}");
    }

    #[tokio::test]
    async fn a_mail_waits_until_its_sender_is_verified_and_is_given_up_if_only_its_reader_is_not() {
        let failed = "Email address is not verified. The following identities failed the check in region AP-NORTHEAST-1: ";
        for (identities, expected) in [
            ("a@example.com", "not now"),
            ("A@Example.com, reader@example.org", "not now"),
            ("道 <a@example.com>", "not now"),
            ("example.com", "not now"),
            ("reader@example.com", "refused"),
            ("reader@example.org", "refused"),
        ] {
            let answer = format!(r#"{{"__type":"MessageRejected","message":"{failed}{identities}"}}"#);
            let told = facing(Some((400, &answer))).send(mail()).await.unwrap_err();
            assert_eq!(kind(&told), expected, "{identities}");
            assert!(!told.to_string().contains('@'), "{told}");
        }
    }

    #[tokio::test]
    async fn ses_is_left_alone_after_three_sends_that_found_no_way_to_it() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mailer = at(&format!("http://{closed}"));
        for _ in 0..SILENCE_IN_A_ROW {
            assert!(!mailer.rests());
            assert_eq!(kind(&mailer.send(mail()).await.unwrap_err()), "not now");
        }
        assert!(mailer.rests());
    }

    #[tokio::test]
    async fn no_mail_goes_over_a_connection_that_was_kept_from_an_earlier_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mailer = at(&format!("http://{}", listener.local_addr().unwrap()));
        // Takes one mail a connection, which stays open and is never looked at again.
        std::thread::spawn(move || {
            let mut kept = vec![];
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 16 * 1024];
                assert!(stream.read(&mut request).unwrap() > 0);
                let body = r#"{"MessageId":"m"}"#;
                let head = format!("HTTP/1.1 200 x\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all((head + body).as_bytes()).unwrap();
                kept.push(stream);
            }
        });
        for _ in 0..2 {
            assert_eq!(mailer.send(mail()).await.unwrap(), "m");
        }
    }

    fn kind(error: &SendError) -> &'static str {
        match error {
            SendError::Refused(_) => "refused",
            SendError::NotNow(_) => "not now",
            SendError::Unknown(_) => "in doubt",
        }
    }

    #[tokio::test]
    async fn a_tenth_of_the_days_quota_is_not_for_broadcasts() {
        for (most, sent, expected) in [
            ("50000.0", "10000.0", 35_000),
            ("50000.0", "45000.0", 0),
            ("50000.0", "49000.0", 0),
            ("200.0", "0.0", 180),
            ("-1.0", "7.0", u64::MAX),
        ] {
            let answer = format!(
                r#"{{"SendQuota":{{"Max24HourSend":{most},"MaxSendRate":14.0,"SentLast24Hours":{sent}}}}}"#
            );
            let quota = facing(Some((200, &answer))).quota().await.unwrap();
            assert_eq!(quota, Quota { per_second: 14, left_for_broadcasts: expected }, "{most} {sent}");
        }
    }

    #[test]
    fn what_ses_says_is_kept_without_addresses() {
        let told = "Email address is not verified: hanako@example.com, in region";
        assert_eq!(without_addresses(told), "Email address is not verified: (address) in region");
    }
}
