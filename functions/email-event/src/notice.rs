//! SES's events as EventBridge brings them, read into what they mean.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{
    engagement::attempt_key,
    event::Fact,
    id::Id,
    lead::SuppressionCause,
    limits::URL_BYTES,
    machine::{Reader, Touch},
};
use serde::Deserialize;
use serde_json::Value;

/// One piece of news about one mail.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    pub lead_id: Id,
    pub engagement_id: String,
    pub email_campaign_id: String,
    pub message_id: String,
    /// Which try to send it speaks of, from 1.
    pub attempt: u8,
    /// When it happened; for a send, when it was claimed, as everybody else dates it.
    pub at: DateTime<Utc>,
    /// When this try to send was claimed.
    pub claimed_at: DateTime<Utc>,
    pub news: News,
}

/// What happened to the mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    Sent,
    Delivered,
    /// It was opened, or a link in it followed.
    Touched(Touch),
    Bounced {
        bounce: Bounce,
        reason: String,
    },
    Complained,
    /// SES took it and then did not send it after all.
    Refused {
        reason: String,
    },
}

/// What a bounce says, by SES's types and subtypes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounce {
    /// The address takes no mail.
    Permanent,
    /// SES did not even try: the address stands on a suppression list.
    Listed,
    /// The mailbox is full; it may take the next mail.
    Full,
    /// The mailbox takes nothing for now, and nobody says why. Automatic replies to a mail that did
    /// arrive look the same.
    General,
    /// Nothing about the mailbox: it was too large, its content or its attachment was not liked, or
    /// nobody knows.
    OfThisMail,
}

impl Bounce {
    fn read(kind: &str, sub_type: &str) -> Self {
        match (kind, sub_type) {
            ("Permanent", "OnAccountSuppressionList" | "Suppressed") => Self::Listed,
            ("Permanent", _) => Self::Permanent,
            ("Transient", "MailboxFull") => Self::Full,
            ("Transient", "General") => Self::General,
            _ => Self::OfThisMail,
        }
    }

    /// Whether it came back for good.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::Permanent | Self::Listed)
    }

    /// Whether it counts against an address that may take the next mail.
    pub fn is_soft(self) -> bool {
        matches!(self, Self::Full | Self::General)
    }
}

impl News {
    /// Why the address must not be written to any more, if so.
    pub fn closes_address(&self) -> Option<SuppressionCause> {
        match self {
            Self::Bounced { bounce: Bounce::Permanent, .. } => Some(SuppressionCause::Bounced),
            Self::Bounced { bounce: Bounce::Listed, .. } => Some(SuppressionCause::Listed),
            Self::Complained => Some(SuppressionCause::Complained),
            Self::Bounced { .. } | Self::Sent | Self::Delivered | Self::Touched(_) | Self::Refused { .. } => {
                None
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    event_type: String,
    mail: MailPart,
    delivery: Option<Part>,
    open: Option<Part>,
    click: Option<Part>,
    bounce: Option<Part>,
    complaint: Option<Part>,
    reject: Option<Part>,
    failure: Option<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MailPart {
    timestamp: DateTime<Utc>,
    message_id: String,
    #[serde(default)]
    tags: BTreeMap<String, Vec<String>>,
}

/// The part that is named after the event; SES fills in what fits.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Part {
    timestamp: Option<DateTime<Utc>>,
    link: String,
    user_agent: String,
    ip_address: String,
    is_bot_event: Option<String>,
    bounce_type: String,
    bounce_sub_type: String,
    reason: String,
    error_message: String,
}

impl Notice {
    /// Reads an event. `None` for kinds that change nothing (a delay, a subscription).
    ///
    /// # Errors
    /// A sentence, without personal data, saying what is missing.
    pub fn read(event: &Value) -> Result<Option<Self>, String> {
        let detail = event.get("detail").ok_or("the event has no detail")?;
        let detail: Detail =
            serde_json::from_value(detail.clone()).map_err(|error| format!("detail: {error}"))?;
        let Some((part, news)) = news(&detail)? else { return Ok(None) };
        // A mail to somebody of the team is about a person, not to her. Who writes from the same domain
        // by other means may do so through our configuration set: SES takes it as the domain's default.
        let ours = ["lead_id", "engagement_id"].iter().any(|name| detail.mail.tags.contains_key(*name));
        if detail.mail.tags.contains_key("notice") || !ours {
            return Ok(None);
        }
        let tag = |name: &str| {
            detail
                .mail
                .tags
                .get(name)
                .and_then(|values| values.first())
                .ok_or(format!("detail.mail.tags.{name} is missing"))
        };
        let lead_id =
            Id::parse(tag("lead_id")?).map_err(|error| format!("detail.mail.tags.lead_id {error}"))?;
        // Mails that were on their way before these tags were made have none.
        let attempt = tag("attempt").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        let claimed = tag("claimed").ok().and_then(|text| text.parse().ok());
        let claimed_at = claimed.and_then(DateTime::from_timestamp_millis).unwrap_or(detail.mail.timestamp);
        let happened = part.and_then(|part| part.timestamp).unwrap_or(detail.mail.timestamp);
        let at = if news == News::Sent { claimed_at } else { happened };
        Ok(Some(Self {
            lead_id,
            attempt,
            engagement_id: tag("engagement_id")?.clone(),
            email_campaign_id: format!("{}/{}", tag("sequence")?, tag("step")?),
            message_id: detail.mail.message_id.clone(),
            at,
            claimed_at,
            news,
        }))
    }

    /// That SES took the mail, which all other news of it proves too, unless SES refused it in the end.
    pub fn proves_send(&self) -> Option<Self> {
        let taken = !matches!(self.news, News::Refused { .. });
        taken.then(|| Self { at: self.claimed_at, news: News::Sent, ..self.clone() })
    }

    /// The fact that it is, under a key that the same news always has. Only the first open and the
    /// first click of a link are facts; people's and machines' are kept apart, and of a machine's
    /// clicks only the first is a fact.
    pub fn fact(&self) -> Option<(String, Fact)> {
        let (engagement_id, email_campaign_id) = (self.engagement_id.clone(), self.email_campaign_id.clone());
        let key = format!("{}.{engagement_id}", self.lead_id);
        Some(match &self.news {
            News::Sent => {
                let key = attempt_key(&self.lead_id, &self.engagement_id, self.attempt);
                (key, Fact::MailSent { engagement_id, email_campaign_id })
            }
            News::Delivered => (key, Fact::MailDelivered { engagement_id, email_campaign_id }),
            News::Touched(Touch { link, machine, .. }) => {
                let machine = *machine;
                let key = match link {
                    _ if machine => format!("{key}.machine"),
                    Some(link) => format!("{key}.{}", Id::derived("link", &[link])),
                    None => key,
                };
                let fact = match link.clone() {
                    None => Fact::MailOpened { engagement_id, email_campaign_id, machine },
                    Some(link) => Fact::MailClicked { engagement_id, email_campaign_id, link, machine },
                };
                (key, fact)
            }
            News::Bounced { bounce, .. } => {
                let permanent = bounce.is_permanent();
                (key, Fact::MailBounced { engagement_id, email_campaign_id, permanent })
            }
            News::Complained => (key, Fact::MailComplained { engagement_id, email_campaign_id }),
            News::Refused { .. } => return None,
        })
    }
}

type Read<'a> = Option<(Option<&'a Part>, News)>;

fn news(detail: &Detail) -> Result<Read<'_>, String> {
    let needed = |part: &'static str, value: &'_ Option<Part>| match value {
        Some(_) => Ok(()),
        None => Err(format!("detail.{part} is missing")),
    };
    Ok(match detail.event_type.as_str() {
        "Send" => Some((None, News::Sent)),
        "Delivery" => Some((detail.delivery.as_ref(), News::Delivered)),
        "Open" => {
            needed("open", &detail.open)?;
            detail.open.as_ref().map(|open| {
                let at = open.timestamp.unwrap_or(detail.mail.timestamp);
                (Some(open), News::Touched(Touch::open(at, reader(open))))
            })
        }
        "Click" => {
            needed("click", &detail.click)?;
            detail.click.as_ref().map(|click| {
                let at = click.timestamp.unwrap_or(detail.mail.timestamp);
                let touch = Touch::click(at, &click.link, link(&click.link), reader(click));
                (Some(click), News::Touched(touch))
            })
        }
        "Bounce" => {
            needed("bounce", &detail.bounce)?;
            detail.bounce.as_ref().map(|part| {
                let (kind, sub_type) = (&part.bounce_type, &part.bounce_sub_type);
                let reason = format!("bounced: {kind} / {sub_type}");
                (Some(part), News::Bounced { bounce: Bounce::read(kind, sub_type), reason })
            })
        }
        "Complaint" => Some((detail.complaint.as_ref(), News::Complained)),
        "Reject" => {
            let reason = detail.reject.as_ref().map(|reject| reject.reason.clone()).unwrap_or_default();
            Some((None, News::Refused { reason: format!("SES rejected it: {reason}") }))
        }
        "Rendering Failure" => {
            let reason =
                detail.failure.as_ref().map(|failure| failure.error_message.clone()).unwrap_or_default();
            Some((None, News::Refused { reason: format!("SES could not render it: {reason}") }))
        }
        "DeliveryDelay" | "Subscription" => None,
        other => return Err(format!("detail.eventType {other} is not known")),
    })
}

fn reader(part: &Part) -> Reader<'_> {
    Reader {
        user_agent: &part.user_agent,
        ip: part.ip_address.parse().ok(),
        said_by_ses: part.is_bot_event.as_deref(),
    }
}

/// Links carry signed tokens: what is kept is where it led, not the key to it.
fn link(link: &str) -> String {
    let page = link.split(['?', '#']).next().unwrap_or_default();
    page.chars().take(URL_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::machine::{Evidence, HIDDEN_LINK};
    use serde_json::json;

    fn touched(at: &str, link: Option<&str>, evidence: &[Evidence]) -> News {
        News::Touched(Touch {
            at: at.parse().unwrap(),
            link: link.map(str::to_owned),
            machine: false,
            evidence: evidence.to_vec(),
        })
    }

    fn event(kind: &str, extra: Value) -> Value {
        let mut detail = json!({
            "eventType": kind,
            "mail": {
                "timestamp": "2026-11-22T01:00:00.000Z",
                "messageId": "0100018f",
                "tags": {"lead_id": ["l-1"], "engagement_id": ["nurture_1_day-1"], "sequence": ["nurture"], "step": ["day-1"], "ses:configuration-set": ["michi"]}
            }
        });
        if let (Some(detail), Value::Object(extra)) = (detail.as_object_mut(), extra) {
            detail.extend(extra);
        }
        json!({"version": "0", "id": "1", "source": "aws.ses", "detail-type": "Email", "detail": detail})
    }

    #[test]
    fn each_of_sess_events_is_understood() {
        let link = "https://example.com/booking?t=k1.l-1.0.abc";
        let hidden = format!("https://example.com{HIDDEN_LINK}");
        let iphone = "Mozilla/5.0 (iPhone)";
        for (event, expected) in [
            (event("Send", json!({"send": {}})), Some(News::Sent)),
            (
                event("Delivery", json!({"delivery": {"timestamp": "2026-11-22T01:00:02.000Z"}})),
                Some(News::Delivered),
            ),
            (
                event(
                    "Open",
                    json!({"open": {"timestamp": "2026-11-22T02:00:00.000Z", "userAgent": iphone, "ipAddress": "198.51.100.1"}}),
                ),
                Some(touched("2026-11-22T02:00:00Z", None, &[])),
            ),
            (
                event("Open", json!({"open": {"userAgent": iphone, "isBotEvent": "Likely"}})),
                Some(touched("2026-11-22T01:00:00Z", None, &[Evidence::SesLikely])),
            ),
            (
                event("Open", json!({"open": {"userAgent": iphone, "ipAddress": "209.222.82.1"}})),
                Some(touched("2026-11-22T01:00:00Z", None, &[Evidence::Scanner("Barracuda".into())])),
            ),
            (
                event("Click", json!({"click": {"link": link, "userAgent": iphone, "linkTags": null}})),
                Some(touched("2026-11-22T01:00:00Z", Some("https://example.com/booking"), &[])),
            ),
            (
                event("Click", json!({"click": {"link": hidden, "userAgent": iphone}})),
                Some(touched(
                    "2026-11-22T01:00:00Z",
                    Some("https://example.com/pages/privacy"),
                    &[Evidence::HiddenLink],
                )),
            ),
            (
                event("Bounce", json!({"bounce": {"bounceType": "Permanent", "bounceSubType": "General"}})),
                Some(News::Bounced {
                    bounce: Bounce::Permanent,
                    reason: "bounced: Permanent / General".into(),
                }),
            ),
            (
                event(
                    "Bounce",
                    json!({"bounce": {"bounceType": "Transient", "bounceSubType": "MailboxFull"}}),
                ),
                Some(News::Bounced {
                    bounce: Bounce::Full,
                    reason: "bounced: Transient / MailboxFull".into(),
                }),
            ),
            (
                event("Complaint", json!({"complaint": {"complaintFeedbackType": "abuse"}})),
                Some(News::Complained),
            ),
            (
                event("Reject", json!({"reject": {"reason": "Bad content"}})),
                Some(News::Refused { reason: "SES rejected it: Bad content".into() }),
            ),
            (event("DeliveryDelay", json!({"deliveryDelay": {}})), None),
        ] {
            assert_eq!(Notice::read(&event).unwrap().map(|notice| notice.news), expected, "{event}");
        }
    }

    #[test]
    fn of_a_link_its_key_is_not_kept_whatever_letters_it_has() {
        for (whole, kept) in [
            ("https://example.com/booking?t=k1.l-1.0.abc", "https://example.com/booking"),
            ("https://shop.example.com/カート?cart=abcdef", "https://shop.example.com/カート"),
            ("https://example.com/#id=7?x", "https://example.com/"),
            ("", ""),
        ] {
            assert_eq!(link(whole), kept);
        }
        assert_eq!(link(&"道".repeat(URL_BYTES + 1)).chars().count(), URL_BYTES);
    }

    #[test]
    fn a_mail_that_is_none_of_ours_is_no_news() {
        let mut foreign = event("Send", json!({}));
        foreign["detail"]["mail"]["tags"] = json!({"ses:configuration-set": ["michi"]});
        assert_eq!(Notice::read(&foreign).unwrap().map(|notice| notice.news), None);
    }

    #[test]
    fn an_event_that_cant_be_read_says_what_is_missing() {
        let mut half = event("Send", json!({}));
        half["detail"]["mail"]["tags"] = json!({"engagement_id": ["nurture_1_day-1"]});
        let mut foreign = event("Send", json!({}));
        foreign["detail"]["mail"]["tags"]["lead_id"] = json!(["Nobody <x@example.com>"]);
        for (event, expected) in [
            (json!({}), "the event has no detail"),
            (json!({"detail": {"eventType": "Send"}}), "detail: missing field `mail`"),
            (half, "detail.mail.tags.lead_id is missing"),
            (foreign, "detail.mail.tags.lead_id must be 1 to 64 of a-z, 0-9 and -"),
            (event("Open", json!({})), "detail.open is missing"),
            (event("Party", json!({})), "detail.eventType Party is not known"),
        ] {
            assert_eq!(Notice::read(&event).unwrap_err(), expected);
        }
    }

    #[test]
    fn the_same_news_is_the_same_fact_and_a_machines_is_another() {
        let notice = Notice::read(&event("Open", json!({"open": {"userAgent": "x"}}))).unwrap().unwrap();
        let key = |link: Option<&str>, machine| {
            let touch = Touch { at: notice.at, link: link.map(str::to_owned), machine, evidence: vec![] };
            Notice { news: News::Touched(touch), ..notice.clone() }.fact().unwrap().0
        };
        assert_eq!(key(None, false), key(None, false));
        assert_ne!(key(None, false), key(None, true));
        assert_ne!(key(Some("/a"), false), key(Some("/b"), false));
        assert_eq!(key(Some("/a"), true), key(Some("/b"), true), "a machine follows them all");
    }

    #[test]
    fn only_a_bounce_that_speaks_of_the_mailbox_counts_against_it() {
        for (kind, sub_type, expected, soft, closes) in [
            ("Permanent", "General", Bounce::Permanent, false, Some(SuppressionCause::Bounced)),
            ("Permanent", "NoEmail", Bounce::Permanent, false, Some(SuppressionCause::Bounced)),
            ("Permanent", "Suppressed", Bounce::Listed, false, Some(SuppressionCause::Listed)),
            ("Permanent", "OnAccountSuppressionList", Bounce::Listed, false, Some(SuppressionCause::Listed)),
            ("Transient", "MailboxFull", Bounce::Full, true, None),
            ("Transient", "General", Bounce::General, true, None),
            ("Transient", "ContentRejected", Bounce::OfThisMail, false, None),
            ("Transient", "MessageTooLarge", Bounce::OfThisMail, false, None),
            ("Transient", "AttachmentRejected", Bounce::OfThisMail, false, None),
            ("Transient", "SomethingNew", Bounce::OfThisMail, false, None),
            ("Undetermined", "Undetermined", Bounce::OfThisMail, false, None),
        ] {
            let bounce = Bounce::read(kind, sub_type);
            let news = News::Bounced { bounce, reason: String::new() };
            assert_eq!(
                (bounce, bounce.is_soft(), news.closes_address()),
                (expected, soft, closes),
                "{sub_type}"
            );
        }
    }
}
