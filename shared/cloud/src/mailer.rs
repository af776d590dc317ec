//! SES: hands over one mail and tells exactly what is known of it afterwards.

use aws_sdk_sesv2::{
    Client,
    config::{Config, retry::RetryConfig},
    error::SdkError,
    operation::send_email::SendEmailError,
    primitives::Blob,
    types::{Attachment, Body, Content, Destination, EmailContent, Message, MessageHeader, MessageTag},
};
use aws_smithy_types::error::display::DisplayErrorContext;
use data_encoding::BASE64;

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
    /// Not taken for now: rate, quota or a paused account.
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
    /// Mails that it still takes within these 24 hours.
    pub left_today: u64,
}

/// Sends mail.
#[derive(Debug, Clone)]
pub struct Mailer {
    client: Client,
    configuration_set: String,
}

impl Mailer {
    /// The stack's mailer. The SDK's retries are off: `SendEmail` has no idempotency token, so
    /// a second try is a decision of the ledger, not of a client library.
    ///
    /// # Errors
    /// [`StartError`] if the configuration set's name is missing.
    pub fn new(cloud: &Cloud) -> Result<Self, StartError> {
        let mut config = Config::from(&cloud.sdk).to_builder().retry_config(RetryConfig::disabled());
        if let Ok(url) = cloud.env.get("AWS_ENDPOINT_URL_SESV2") {
            config = config.endpoint_url(url);
        }
        Ok(Self {
            client: Client::from_conf(config.build()),
            configuration_set: cloud.env.get("CONFIGURATION_SET")?,
        })
    }

    /// How much SES takes at the moment. SES answers this once a second at most.
    ///
    /// # Errors
    /// [`CallError`] if SES does not say.
    pub async fn quota(&self) -> Result<Quota, CallError> {
        let doing = "asking SES for the quota";
        let answer = self.client.get_account().send().await.map_err(|error| CallError::new(doing, error))?;
        let quota = answer.send_quota().ok_or(CallError { doing, reason: "SES names none".to_owned() })?;
        // SES gives whole numbers as floating point; -1 is "no limit".
        let left = match quota.max24_hour_send() < 0.0 {
            true => u64::MAX,
            false => whole(quota.max24_hour_send()).saturating_sub(whole(quota.sent_last24_hours())),
        };
        Ok(Quota { per_second: whole(quota.max_send_rate()).max(1), left_today: left })
    }

    /// Hands a mail to SES and returns SES's message id.
    ///
    /// # Errors
    /// [`SendError`], which tells a clear no from a lost answer.
    pub async fn send(&self, mail: OutgoingMail) -> Result<String, SendError> {
        let (to, reply_to, from) = (mail.to.clone(), mail.reply_to.clone(), mail.from.clone());
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
        match answer {
            Ok(answer) => Ok(answer.message_id.unwrap_or_default()),
            Err(error) => Err(classify(error)),
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

fn classify(error: SdkError<SendEmailError>) -> SendError {
    let told = without_addresses(&DisplayErrorContext(&error).to_string());
    match &error {
        SdkError::ConstructionFailure(_) => SendError::Refused(told),
        SdkError::ServiceError(answer) => match answer.err() {
            SendEmailError::TooManyRequestsException(_)
            | SendEmailError::LimitExceededException(_)
            | SendEmailError::SendingPausedException(_)
            | SendEmailError::AccountSuspendedException(_) => SendError::NotNow(told),
            _ if answer.raw().status().is_client_error() => SendError::Refused(told),
            _ => SendError::Unknown(told),
        },
        _ => SendError::Unknown(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn what_ses_says_is_kept_without_addresses() {
        let told = "Email address is not verified: hanako@example.com, in region";
        assert_eq!(without_addresses(told), "Email address is not verified: (address) in region");
    }
}
