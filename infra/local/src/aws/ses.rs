//! SES v2: sending, the suppression list, and what becomes of sent mail as events on the default bus.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use domain::id::Id;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::events::{Events, Fact};
use super::mail::{Mail, bare_address};
use super::{Answer, AwsError, Call, Ids, required, unknown_operation};
use crate::clock::Clock;
use crate::shelf::{Shelf, ShelfError, ShelfFile, lock, numbered};
use crate::template::{ACCOUNT, ConfigurationSet, REGION, Stack};

const SIMULATOR: &str = "@simulator.amazonses.com";

/// Addresses in one page of the suppression list: few, so that whoever reads it has to go on.
const SUPPRESSED_PAGE: usize = 10;

/// Who reads a mail, as SES sees it.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The mail program or browser.
    pub user_agent: &'a str,
    /// Its address.
    pub ip: &'a str,
    /// SES's guess whether it is a machine; none if SES does not say.
    pub bot: Option<bool>,
}

/// An address that mail is not sent to any more.
#[derive(Serialize, Deserialize)]
struct Suppressed {
    /// `BOUNCE` or `COMPLAINT`.
    reason: String,
    since: DateTime<Utc>,
}

/// The mail service of an account.
pub(crate) struct Ses {
    clock: Clock,
    ids: Ids,
    sets: BTreeMap<String, ConfigurationSet>,
    events: Arc<Events>,
    outbox: Mutex<Shelf<Arc<Mail>>>,
    suppressed: Mutex<Shelf<Suppressed>>,
    /// Whether the account's sending is paused, as AWS or its owner may do.
    paused: AtomicBool,
}

impl Ses {
    pub(crate) fn open(
        stack: &Stack,
        file: Option<&ShelfFile>,
        clock: &Clock,
        events: Arc<Events>,
    ) -> Result<Self, ShelfError> {
        Ok(Self {
            clock: clock.clone(),
            ids: Ids::open("mail", "0a3e", file)?,
            sets: stack.configuration_sets.clone(),
            events,
            outbox: Mutex::new(Shelf::open("outbox", file)?),
            suppressed: Mutex::new(Shelf::open("suppressed addresses", file)?),
            paused: AtomicBool::new(false),
        })
    }

    pub(crate) fn call(&self, call: &Call, input: &Value) -> Answer {
        match call.operation.as_str() {
            "SendEmail" => self.send(input),
            "GetAccount" => Ok(self.account()),
            "PutSuppressedDestination" => {
                let address = required(input, "EmailAddress")?;
                self.suppress(address, required(input, "Reason")?)?;
                Ok(json!({}))
            }
            "ListSuppressedDestinations" => self.list_suppressed(call),
            "GetSuppressedDestination" => {
                let suppressed = lock(&self.suppressed);
                let found = suppressed.get(&call.name.to_lowercase());
                let found = found.ok_or_else(not_suppressed)?;
                Ok(json!({"SuppressedDestination": {"EmailAddress": call.name,
                    "Reason": found.reason, "LastUpdateTime": found.since.timestamp()}}))
            }
            "DeleteSuppressedDestination" => {
                let removed = lock(&self.suppressed).remove(&call.name.to_lowercase())?;
                removed.map_or_else(|| Err(not_suppressed()), |_| Ok(json!({})))
            }
            operation => Err(unknown_operation(operation)),
        }
    }

    /// One page of the suppression list, by address.
    fn list_suppressed(&self, call: &Call) -> Answer {
        let moment = |name: &str| match call.query(name) {
            None => Ok(None),
            Some(text) => DateTime::parse_from_rfc3339(text)
                .map(|at| Some(at.to_utc()))
                .map_err(|_| AwsError::new("BadRequestException", format!("{name} is not a timestamp."))),
        };
        let (from, until) = (moment("StartDate")?, moment("EndDate")?);
        let suppressed = lock(&self.suppressed);
        let mut found = suppressed.iter().filter(|(address, entry)| {
            call.query("NextToken").is_none_or(|last| *address > last)
                && call.query("Reason").is_none_or(|reason| reason == entry.reason)
                && from.is_none_or(|from| entry.since >= from)
                && until.is_none_or(|until| entry.since <= until)
        });
        let mut page: Vec<Value> = vec![];
        for (address, entry) in found.by_ref().take(SUPPRESSED_PAGE) {
            page.push(json!({"EmailAddress": address, "Reason": entry.reason,
                "LastUpdateTime": entry.since.timestamp()}));
        }
        let next = found.next().and(page.last()).map(|last| last["EmailAddress"].clone());
        Ok(json!({"SuppressedDestinationSummaries": page, "NextToken": next}))
    }

    fn account(&self) -> Value {
        let since = self.clock.now() - TimeDelta::hours(24);
        let outbox = lock(&self.outbox);
        let sent = outbox.iter().filter(|(_, mail)| mail.sent_at > since);
        json!({"DedicatedIpAutoWarmupEnabled": false, "EnforcementStatus": "HEALTHY",
            "ProductionAccessEnabled": true, "SendingEnabled": true,
            "SendQuota": {"Max24HourSend": 1_000_000, "MaxSendRate": 1000,
                "SentLast24Hours": sent.count()},
            "SuppressionAttributes": {"SuppressedReasons": ["BOUNCE", "COMPLAINT"]}})
    }

    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Everything in the outbox, oldest first.
    pub(crate) fn mails(&self) -> Vec<Arc<Mail>> {
        let outbox = lock(&self.outbox);
        outbox.iter().map(|(_, mail)| Arc::clone(mail)).collect()
    }

    pub(crate) fn mail(&self, id: u64) -> Option<Arc<Mail>> {
        lock(&self.outbox).get(&numbered(id)).cloned()
    }

    pub(crate) fn take_mails(&self) -> Result<Vec<Arc<Mail>>, ShelfError> {
        lock(&self.outbox).drain()
    }

    pub(crate) fn forget_mails(&self, lead_id: &Id) -> Result<usize, ShelfError> {
        let mut outbox = lock(&self.outbox);
        // What goes to the team links to her page.
        let names = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains(lead_id.as_str()));
        let about_her = |mail: &Mail| {
            mail.tags.get("lead_id").is_some_and(|id| id == lead_id.as_str())
                || names(&mail.text)
                || names(&mail.html)
        };
        let keys: Vec<String> =
            outbox.iter().filter(|(_, mail)| about_her(mail)).map(|(key, _)| key.to_owned()).collect();
        for key in &keys {
            outbox.remove(key)?;
        }
        Ok(keys.len())
    }

    /// Tells that someone opened a mail.
    pub(crate) fn open_mail(&self, mail: &Mail, reader: Reader<'_>) -> Result<(), AwsError> {
        self.tell(mail, Kind::Open, self.engagement(reader))
    }

    /// Tells that someone followed a link; nothing if the mail has no such tracked link.
    pub(crate) fn click(&self, mail: &Mail, link: &str, reader: Reader<'_>) -> Result<bool, AwsError> {
        let tracked = |known: &super::mail::Link| known.tracked && known.href == link;
        if !mail.links.iter().any(tracked) {
            return Ok(false);
        }
        let mut detail = self.engagement(reader);
        detail["link"] = link.into();
        detail["linkTags"] = Value::Null;
        self.tell(mail, Kind::Click, detail)?;
        Ok(true)
    }

    /// Tells that everyone a mail went to reported it as spam.
    pub(crate) fn complain(&self, mail: &Mail) -> Result<(), AwsError> {
        for address in &mail.to {
            self.suppress(bare_address(address), "COMPLAINT")?;
        }
        let everyone: Vec<&str> = mail.to.iter().map(String::as_str).collect();
        self.tell_complaint(mail, &everyone)
    }

    fn engagement(&self, reader: Reader<'_>) -> Value {
        let mut detail = json!({"ipAddress": reader.ip, "timestamp": millis(self.clock.now()),
            "userAgent": reader.user_agent});
        if let Some(bot) = reader.bot {
            detail["isBotEvent"] = if bot { "Likely" } else { "Unlikely" }.into();
        }
        detail
    }

    fn send(&self, input: &Value) -> Answer {
        if let Some(name) = input["ConfigurationSetName"].as_str()
            && !self.sets.contains_key(name)
        {
            let problem = format!("Configuration set <{name}> does not exist.");
            return Err(AwsError::new("NotFoundException", problem).with_status(StatusCode::NOT_FOUND));
        }
        if self.paused.load(Ordering::Relaxed) {
            return Err(AwsError::new(
                "SendingPausedException",
                "Email sending is disabled for your account.",
            ));
        }
        let (number, uuid) = self.ids.next()?;
        let message_id = format!("0106{number:012x}-{uuid}-000000");
        let now = self.clock.now();
        let mail = Arc::new(Mail::parse(input, number, message_id, now)?);
        lock(&self.outbox).insert(numbered(number), Arc::clone(&mail))?;
        self.tell(&mail, Kind::Send, json!({}))?;
        self.deliver(&mail)?;
        Ok(json!({"MessageId": mail.message_id}))
    }

    /// What becomes of a mail is known at once here.
    fn deliver(&self, mail: &Mail) -> Result<(), AwsError> {
        let (mut delivered, mut complaining) = (Vec::new(), Vec::new());
        for address in mail.to.iter().map(String::as_str) {
            let bare = bare_address(address).to_lowercase();
            if let Some(fate) = simulated(&bare) {
                match fate {
                    "bounce" => self.tell_bounce(mail, address, "General")?,
                    "suppressionlist" => self.tell_bounce(mail, address, "Suppressed")?,
                    "complaint" => {
                        delivered.push(address);
                        complaining.push(address);
                    }
                    _ => delivered.push(address),
                }
            } else if self.is_suppressed(mail, &bare) {
                self.tell_bounce(mail, address, "OnAccountSuppressionList")?;
            } else {
                delivered.push(address);
            }
        }
        if !delivered.is_empty() {
            let detail = json!({"timestamp": millis(self.clock.now()), "processingTimeMillis": 500,
                "recipients": delivered, "smtpResponse": "250 2.0.0 OK",
                "remoteMtaIp": "127.0.0.1", "reportingMTA": "local.smtp-out.amazonses.com"});
            self.tell(mail, Kind::Delivery, detail)?;
        }
        if !complaining.is_empty() {
            self.tell_complaint(mail, &complaining)?;
        }
        Ok(())
    }

    fn is_suppressed(&self, mail: &Mail, address: &str) -> bool {
        let suppressed = lock(&self.suppressed);
        let Some(entry) = suppressed.get(address) else {
            return false;
        };
        let set = mail.configuration_set.as_ref();
        let set = set.and_then(|name| self.sets.get(name));
        set.is_none_or(|set| set.suppressed_reasons.contains(&entry.reason))
    }

    fn suppress(&self, address: &str, reason: &str) -> Result<(), AwsError> {
        if !matches!(reason, "BOUNCE" | "COMPLAINT") {
            let problem = "Reason must be BOUNCE or COMPLAINT.";
            return Err(AwsError::new("BadRequestException", problem));
        }
        let entry = Suppressed { reason: reason.to_owned(), since: self.clock.now() };
        Ok(lock(&self.suppressed).insert(address.to_lowercase(), entry)?)
    }

    fn tell_bounce(&self, mail: &Mail, address: &str, sub_type: &str) -> Result<(), AwsError> {
        let detail = json!({"feedbackId": format!("{}-feedback", mail.message_id),
            "bounceType": "Permanent", "bounceSubType": sub_type,
            "bouncedRecipients": [{"emailAddress": address, "action": "failed", "status": "5.1.1",
                "diagnosticCode": "smtp; 550 5.1.1 user unknown"}],
            "timestamp": millis(self.clock.now()), "reportingMTA": "dsn; local.smtp-out.amazonses.com"});
        self.tell(mail, Kind::Bounce, detail)
    }

    fn tell_complaint(&self, mail: &Mail, addresses: &[&str]) -> Result<(), AwsError> {
        let recipients = addresses.iter().map(|address| json!({"emailAddress": address}));
        let now = millis(self.clock.now());
        let detail = json!({"feedbackId": format!("{}-feedback", mail.message_id),
            "complaintSubType": null, "complainedRecipients": recipients.collect::<Vec<_>>(),
            "timestamp": now, "userAgent": "Amazon SES Mailbox Simulator",
            "complaintFeedbackType": "abuse", "arrivalDate": now});
        self.tell(mail, Kind::Complaint, detail)
    }

    /// Publishes an event if the mail's configuration set asks for it.
    fn tell(&self, mail: &Mail, kind: Kind, detail: Value) -> Result<(), AwsError> {
        let Some(name) = &mail.configuration_set else {
            return Ok(());
        };
        let (wanted, detail_type, event_type, key) = kind.names();
        let set = self.sets.get(name);
        if !set.is_some_and(|set| set.events.contains(wanted)) {
            return Ok(());
        }
        let mut whole = json!({"eventType": event_type, "mail": description(mail, name)});
        whole[key] = detail;
        let fact = Fact {
            source: "aws.ses".to_owned(),
            detail_type: detail_type.to_owned(),
            detail: whole,
            resources: vec![format!("arn:aws:ses:{REGION}:{ACCOUNT}:configuration-set/{name}")],
            time: self.clock.now(),
        };
        self.events.publish("default", fact)?;
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Send,
    Delivery,
    Open,
    Click,
    Bounce,
    Complaint,
}

impl Kind {
    /// The event destination's name, the detail type, the event type, and the detail's key.
    fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Send => ("SEND", "Email Sent", "Send", "send"),
            Self::Delivery => ("DELIVERY", "Email Delivered", "Delivery", "delivery"),
            Self::Open => ("OPEN", "Email Opened", "Open", "open"),
            Self::Click => ("CLICK", "Email Clicked", "Click", "click"),
            Self::Bounce => ("BOUNCE", "Email Bounced", "Bounce", "bounce"),
            Self::Complaint => ("COMPLAINT", "Email Complaint Received", "Complaint", "complaint"),
        }
    }
}

/// The `mail` object of every event.
fn description(mail: &Mail, set: &str) -> Value {
    let bare = bare_address(&mail.from);
    let domain = bare.rsplit('@').next().unwrap_or_default();
    let own = [
        ("From", mail.from.as_str()),
        ("To", &mail.to.join(", ")),
        ("Subject", &mail.subject),
        ("MIME-Version", "1.0"),
    ]
    .map(|(name, value)| json!({"name": name, "value": value}));
    let custom = mail.headers.iter();
    let custom = custom.map(|(name, value)| json!({"name": name, "value": value}));
    let headers: Vec<Value> = own.into_iter().chain(custom).collect();
    let mut tags = json!({
        "ses:configuration-set": [set],
        "ses:source-ip": ["127.0.0.1"],
        "ses:from-domain": [domain],
        "ses:caller-identity": ["local"],
        "ses:outgoing-ip": ["127.0.0.1"],
    });
    for (name, value) in &mail.tags {
        tags[name] = json!([value]);
    }
    json!({
        "timestamp": millis(mail.sent_at),
        "source": mail.from,
        "sourceArn": format!("arn:aws:ses:{REGION}:{ACCOUNT}:identity/{bare}"),
        "sendingAccountId": ACCOUNT,
        "messageId": mail.message_id,
        "destination": mail.to,
        "headersTruncated": false,
        "headers": headers,
        "commonHeaders": {"from": [mail.from], "to": mail.to, "messageId": mail.message_id,
            "subject": mail.subject},
        "tags": tags,
    })
}

/// What SES's mailbox simulator does with an address, labels such as `bounce+7@` included.
fn simulated(address: &str) -> Option<&str> {
    let local = address.strip_suffix(SIMULATOR)?;
    local.split('+').next()
}

fn millis(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn not_suppressed() -> AwsError {
    let problem = "The address is not on the suppression list.";
    AwsError::new("NotFoundException", problem).with_status(StatusCode::NOT_FOUND)
}

#[cfg(test)]
pub(crate) mod tests;
