//! The auditor: holds the product to its promises by what it saw from outside.
//!
//! It knows requests and answers of AWS, what people did and were told, and raw rows; it shares no
//! code with the product, and counts for itself. Its own knowledge of the torture's funnel is in
//! the constants below.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde_json::Value;

use crate::peers::Tally;

/// The funnel's own zone.
const HOME: Tz = Tz::Asia__Tokyo;
/// Marketing mail rests between these clock times of the person.
const QUIET: (&str, &str) = ("21:30:00", "06:30:00");
/// At most so many marketing mails a day and person.
const CAP: usize = 2;
/// What people wait for; all else is marketing.
const CRITICAL: [&str; 3] = ["welcome", "consultation", "receipt"];
/// How long after a claim its mail may still be on the way, in seconds.
const ON_THE_WAY_SECONDS: i64 = 90;
/// A second try comes so long after the first, in seconds, while nobody knows of that.
const DOUBT_SECONDS: i64 = 90;
/// A call that is slow takes so many seconds at most.
const SLOW_SECONDS: i64 = 70;

/// One row as JSON.
pub type Row = serde_json::Map<String, Value>;

/// What a person did, as the auditor heard of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// She is sending the form, or has sent it: it may have been taken whatever she was told.
    AskedToOptIn,
    /// She was told that she is in.
    OptedIn,
    /// She is about to say no.
    AsksToLeave,
    /// She said no and was told that it was heard.
    Left,
    /// She complains; who hears of it, and when, is another matter.
    Complains,
    /// SES told, and was told that it was heard, that she complained or the address is dead.
    Closed,
    /// She put the topic of the broadcast off.
    TopicOff,
    /// She asked for a pause.
    Paused(DateTime<Utc>),
    /// She asked for one mail a week.
    Weekly,
    /// She changed her mind about topic, pause or frequency, or tried to.
    Preferred,
    /// She is about to apply for a plan, which she may pay.
    Applies,
    /// She is about to move or call off a consultation.
    Rearranges,
    /// The operator erased her: from here on nobody knows her, until she opts in again.
    Erased,
}

#[derive(Clone, Debug)]
struct Claim {
    at_event: u64,
    at: DateTime<Utc>,
}

#[derive(Clone, Debug)]
struct Send {
    at_event: u64,
    at: DateTime<Utc>,
    to: String,
    lead_id: String,
    engagement_id: String,
    sequence: String,
    step: String,
    attempt: String,
    message_id: String,
}

/// A person as the auditor knows her.
#[derive(Clone, Debug)]
pub struct Person {
    /// Her zone; the funnel's if she named none that exists.
    pub zone: Tz,
    /// Words that no log may hold.
    pub secrets: Vec<String>,
}

/// What somebody was told about a consultation of hers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Promise {
    From(DateTime<Utc>),
    Cancelled,
    /// She asked for something else, and was not told what came of it.
    Unclear,
}

/// What the auditor saw.
#[derive(Default)]
pub struct Auditor {
    events: u64,
    people: BTreeMap<String, Person>,
    deeds: BTreeMap<String, Vec<(u64, Deed)>>,
    claims: BTreeMap<(String, String, String), Vec<Claim>>,
    /// The tokens of the transactions that were written.
    transactions: BTreeSet<String>,
    /// When the product was told that a mail was sent, by itself or by SES: by lead and engagement.
    settled: BTreeMap<(String, String), Vec<u64>>,
    sends: Vec<Send>,
    /// Ids of those who were erased, with their addresses; true once the operator was told that
    /// all of it is done.
    erased: BTreeMap<String, (String, bool)>,
    /// Checkout sessions whose payment was put aside for a person to look at, and of whom it is.
    put_aside: BTreeMap<String, String>,
    /// What SES told and the product said it had heard, people's opens and clicks only: as the fact's
    /// kind, lead and engagement.
    heard: BTreeMap<&'static str, BTreeSet<(String, String)>>,
    /// Tries to send of which SES told anything, and the product said that it had heard.
    heard_sent: BTreeSet<(String, String, String)>,
    /// Consultations that somebody was told to have.
    promised: BTreeMap<String, Promise>,
    /// Mails to the team: how many were claimed, and how many SES took. They name nobody.
    notices: (usize, usize),
    /// When something went wrong with a call of a sender, or took its time.
    troubles: Vec<DateTime<Utc>>,
    /// Mails that SES took for people, team included.
    pub accepted: u64,
}

/// The raw state at the end.
pub struct Books {
    /// The rows of each table.
    pub tables: BTreeMap<String, Vec<Row>>,
    /// Now.
    pub now: DateTime<Utc>,
    /// Checkout sessions that were paid and whose webhook was heard.
    pub paid: BTreeSet<String>,
    /// The days that nights have counted by themselves, and those that they have to have.
    pub counted: BTreeSet<String>,
    pub nights: BTreeSet<String>,
    /// Queues with messages that nobody takes, and how many.
    pub dead: BTreeMap<String, usize>,
    /// All that was logged.
    pub log: String,
}

fn text(row: &Row, name: &str) -> String {
    row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn instant(row: &Row, name: &str) -> Option<DateTime<Utc>> {
    row.get(name)?.as_str()?.parse().ok()
}

/// A DynamoDB attribute as plain JSON.
pub fn plain(attribute: &Value) -> Value {
    let Some((kind, value)) = attribute.as_object().and_then(|object| object.iter().next()) else {
        return Value::Null;
    };
    match kind.as_str() {
        "N" => serde_json::from_str(value.as_str().unwrap_or("null")).unwrap_or(Value::Null),
        "M" => Value::Object(row(value)),
        "L" => value.as_array().into_iter().flatten().map(plain).collect(),
        "NULL" => Value::Null,
        _ => value.clone(),
    }
}

/// A DynamoDB item as plain JSON.
pub fn row(item: &Value) -> Row {
    let attributes = item.as_object().into_iter().flatten();
    attributes.map(|(name, value)| (name.clone(), plain(value))).collect()
}

impl Auditor {
    fn next(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    /// A person who will come.
    pub fn meet(&mut self, address: &str, person: Person) {
        self.people.insert(address.to_owned(), person);
    }

    /// A person did something.
    pub fn deed(&mut self, address: &str, deed: Deed) {
        let event = self.next();
        self.deeds.entry(address.to_owned()).or_default().push((event, deed));
    }

    /// Somebody was told that a consultation is hers, and from when.
    pub fn promised(&mut self, consultation_id: &str, from: DateTime<Utc>) {
        self.promised.insert(consultation_id.to_owned(), Promise::From(from));
    }

    /// Somebody was told that her consultation is called off.
    pub fn cancelled(&mut self, consultation_id: &str) {
        self.promised.insert(consultation_id.to_owned(), Promise::Cancelled);
    }

    /// Somebody asked to move or call off her consultation, and was not told what came of it.
    pub fn unclear(&mut self, consultation_id: &str) {
        self.promised.insert(consultation_id.to_owned(), Promise::Unclear);
    }

    /// A sender's call fails, or any call is slow.
    pub fn trouble(&mut self, now: DateTime<Utc>) {
        self.troubles.push(now);
    }

    /// A person's row is gone, and whether everything else of hers is too.
    pub fn erased(&mut self, address: &str, lead_id: &str, wholly: bool) {
        if !wholly {
            self.deed(address, Deed::Erased);
        }
        let entry = self.erased.entry(lead_id.to_owned()).or_insert((address.to_owned(), false));
        entry.1 = wholly;
    }

    /// A call to AWS was made and succeeded with this answer.
    pub fn call(
        &mut self,
        service: &str,
        operation: &str,
        request: &[u8],
        answer: &[u8],
        now: DateTime<Utc>,
    ) {
        match (service, operation) {
            ("dynamodb", "TransactWriteItems") => {
                let request: Value = serde_json::from_slice(request).unwrap_or_default();
                // The same once more, since its answer was lost, writes nothing.
                let token = request["ClientRequestToken"].as_str().unwrap_or_default();
                if !self.transactions.insert(token.to_owned()) {
                    return;
                }
                for part in request["TransactItems"].as_array().into_iter().flatten() {
                    self.written(&part["Put"], now);
                }
            }
            ("dynamodb", "UpdateItem") => {
                let request: Value = serde_json::from_slice(request).unwrap_or_default();
                let values = request["ExpressionAttributeValues"].as_object();
                let sent = values.is_some_and(|values| values.values().any(|value| value["S"] == "sent"));
                if request["TableName"] == "Email_Engagement" && sent {
                    let key = row(&request["Key"]);
                    let event = self.next();
                    let key = (text(&key, "lead_id"), text(&key, "engagement_id"));
                    self.settled.entry(key).or_default().push(event);
                }
            }
            ("sqs", "SendMessage") => {
                let request: Value = serde_json::from_slice(request).unwrap_or_default();
                let letter = request["MessageBody"].as_str().unwrap_or_default();
                let letter: Value = serde_json::from_str(letter).unwrap_or_default();
                let paid = &letter["event"]["data"]["object"];
                let of = paid["metadata"]["lead_id"].as_str().unwrap_or_default().to_owned();
                self.put_aside.extend(paid["id"].as_str().map(|session| (session.to_owned(), of)));
            }
            ("ses", "SendEmail") => {
                let request: Value = serde_json::from_slice(request).unwrap_or_default();
                let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
                self.sent(&request, &answer, now);
            }
            _ => {}
        }
    }

    fn written(&mut self, put: &Value, now: DateTime<Utc>) {
        if put["TableName"] != "Email_Engagement" {
            return;
        }
        let row = row(&put["Item"]);
        if text(&row, "state") != "claimed" {
            return;
        }
        self.notices.0 += usize::from(!row.contains_key("mail"));
        let attempt = row.get("attempt").map(ToString::to_string).unwrap_or_default();
        let key = (text(&row, "lead_id"), text(&row, "engagement_id"), attempt);
        let claim = Claim { at_event: self.next(), at: now };
        self.claims.entry(key).or_default().push(claim);
    }

    fn sent(&mut self, request: &Value, answer: &Value, now: DateTime<Utc>) {
        self.accepted += 1;
        let tags = request["EmailTags"].as_array().into_iter().flatten();
        let tags: BTreeMap<&str, &str> =
            tags.filter_map(|tag| Some((tag["Name"].as_str()?, tag["Value"].as_str()?))).collect();
        if tags.contains_key("notice") {
            self.notices.1 += 1;
            return;
        }
        let tag = |name: &str| tags.get(name).copied().unwrap_or_default().to_owned();
        let send = Send {
            at_event: self.next(),
            at: now,
            to: request["Destination"]["ToAddresses"][0].as_str().unwrap_or_default().to_owned(),
            lead_id: tag("lead_id"),
            engagement_id: tag("engagement_id"),
            sequence: tag("sequence"),
            step: tag("step"),
            attempt: tag("attempt"),
            message_id: answer["MessageId"].as_str().unwrap_or_default().to_owned(),
        };
        self.sends.push(send);
    }

    /// SES told the product something, and the product said that it had heard.
    pub fn told(&mut self, event: &Value, by_machine: bool) {
        let detail = &event["detail"];
        let tag = |name: &str| detail["mail"]["tags"][name][0].as_str().unwrap_or_default().to_owned();
        let key = (tag("lead_id"), tag("engagement_id"));
        let to = detail["mail"]["destination"][0].as_str().unwrap_or_default().to_owned();
        if !matches!(detail["eventType"].as_str(), Some("Reject" | "Rendering Failure")) {
            let event = self.next();
            self.settled.entry(key.clone()).or_default().push(event);
            self.heard_sent.insert((key.0.clone(), key.1.clone(), tag("attempt")));
        }
        let kind = match detail["eventType"].as_str().unwrap_or_default() {
            "Click" if !by_machine => "mail_clicked",
            "Open" if !by_machine => "mail_opened",
            "Delivery" => "mail_delivered",
            "Complaint" => "mail_complained",
            "Bounce" => "mail_bounced",
            _ => return,
        };
        self.heard.entry(kind).or_default().insert(key);
        if kind == "mail_complained" || detail["bounce"]["bounceType"] == "Permanent" {
            self.deed(&to, Deed::Closed);
        }
    }

    /// Looks through everything; each line is a broken promise.
    pub fn close(&self, books: &Books) -> Vec<String> {
        let mut broken = vec![];
        self.consent(&mut broken);
        self.once(books, &mut broken);
        in_order(books, &mut broken);
        everybody_enrolled(books, &mut broken);
        self.for_a_reason(books, &mut broken);
        self.figures(books, &mut broken);
        self.logs(books, &mut broken);
        no_slot_twice(books, &mut broken);
        self.kept_promises(books, &mut broken);
        self.doubts(books, &mut broken);
        self.nothing_left(books, &mut broken);
        broken
    }

    /// How a mail fared that every lead is due.
    pub fn tally(&self, books: &Books, sequence: &str, step: &str) -> Tally {
        let mut tally = Tally::default();
        for lead in &books.tables["Leads"] {
            let lead_id = text(lead, "lead_id");
            let mine =
                |send: &&Send| send.lead_id == lead_id && send.sequence == sequence && send.step == step;
            let named = books.tables["Email_Engagement"].iter().any(|row| {
                text(row, "lead_id") == lead_id
                    && text(row, "email_campaign_id") == format!("{sequence}/{step}")
                    && matches!(text(row, "state").as_str(), "unknown" | "skipped")
            });
            tally.due += 1;
            match (self.sends.iter().filter(mine).count(), named) {
                (0, true) => tally.named += 1,
                (0, false) => tally.lost += 1,
                (1, _) => tally.once += 1,
                (_, _) => tally.doubled += 1,
            }
        }
        tally
    }

    /// Promise 1: nobody is written to against her will.
    fn consent(&self, broken: &mut Vec<String>) {
        let none = vec![];
        let mut marketing: BTreeMap<(&str, usize), Vec<(&Claim, &Send)>> = BTreeMap::new();
        for send in &self.sends {
            let name = format!("{} {}/{}", send.engagement_id, send.sequence, send.step);
            let key = (send.lead_id.clone(), send.engagement_id.clone(), send.attempt.clone());
            let claims = self.claims.get(&key).unwrap_or(&none);
            let Some(claim) = claims.iter().rfind(|claim| claim.at_event < send.at_event) else {
                broken.push(format!("1: {name} was sent without a claim"));
                continue;
            };
            if send.at > claim.at + TimeDelta::seconds(ON_THE_WAY_SECONDS) {
                broken.push(format!("1: {name} was sent long after its claim"));
            }
            let deeds = self.deeds.get(&send.to).map(Vec::as_slice).unwrap_or_default();
            let before: Vec<&Deed> =
                deeds.iter().filter(|(event, _)| *event < claim.at_event).map(|(_, deed)| deed).collect();
            // Whoever was erased and comes again begins a new life.
            let lives: Vec<&[&Deed]> = before.split(|deed| **deed == Deed::Erased).collect();
            let life = lives[lives.len() - 1];
            let last = |wanted: &dyn Fn(&Deed) -> bool| life.iter().rposition(|deed| wanted(deed));
            let Some(asked) = last(&|deed| *deed == Deed::AskedToOptIn) else {
                broken
                    .push(format!("1: {name} was sent to somebody who never opted in, or was erased since"));
                continue;
            };
            // That alone outlasts a life.
            if before.contains(&&Deed::Closed) {
                broken.push(format!("1: {name} was sent after a complaint or a hard bounce"));
            }
            if CRITICAL.contains(&send.sequence.as_str()) {
                continue;
            }
            if last(&|deed| *deed == Deed::Left).is_some_and(|left| left > asked) {
                broken.push(format!("1: {name} was sent after the person had left"));
            }
            let preferred = last(&|deed| *deed == Deed::Preferred);
            let off = last(&|deed| *deed == Deed::TopicOff).filter(|off| Some(*off) > preferred);
            if off.is_some() && send.sequence.contains("news") {
                broken.push(format!("1: {name} was sent though its topic is not wanted"));
            }
            let paused = last(&|deed| matches!(deed, Deed::Paused(_))).filter(|at| Some(*at) > preferred);
            if let Some(Deed::Paused(until)) = paused.map(|at| life[at])
                && claim.at < *until
            {
                broken.push(format!("1: {name} was sent in a pause"));
            }
            let zone = self.people.get(&send.to).map_or(HOME, |person| person.zone);
            if is_quiet(claim.at.with_timezone(&zone).time()) {
                broken.push(format!("1: {name} was sent in the quiet hours of {zone}"));
            }
            let weekly = last(&|deed| *deed == Deed::Weekly).filter(|at| Some(*at) > preferred);
            let day = marketing.entry((&send.to, lives.len())).or_default();
            // A run is shorter than a week.
            if weekly.is_some()
                && let Some((_, earlier)) = day.last()
            {
                broken.push(format!("1: {name} was sent in one week with {}", earlier.engagement_id));
            }
            // A slow call may lie between the decision, which the product dates by, and the claim.
            let slow = TimeDelta::seconds(ON_THE_WAY_SECONDS);
            day.push((claim, send));
            let recent = |(earlier, _): &&(&Claim, &Send)| earlier.at > claim.at - TimeDelta::days(1) + slow;
            let day: Vec<_> = day.iter().filter(recent).collect();
            if day.len() > CAP {
                let told =
                    |(claim, send): &&(&Claim, &Send)| format!("{} at {}", send.engagement_id, claim.at);
                let day: Vec<String> = day.iter().map(told).collect();
                broken.push(format!("1: {name} was one mail too many for one day: {}", day.join(", ")));
            }
        }
    }

    /// Promise 2: nothing twice, and the ledger says what happened.
    fn once(&self, books: &Books, broken: &mut Vec<String>) {
        let mut groups: BTreeMap<(&str, &str), Vec<&Send>> = BTreeMap::new();
        let mut lives: BTreeMap<(&str, usize, &str, &str), usize> = BTreeMap::new();
        for send in &self.sends {
            if !self.erased.contains_key(&send.lead_id) {
                groups.entry((&send.lead_id, &send.engagement_id)).or_default().push(send);
            }
            // Everybody goes through the three days and gets a broadcast once in a life.
            if send.sequence == "nurture" || send.sequence.contains("news") {
                let deeds = self.deeds.get(&send.to).map(Vec::as_slice).unwrap_or_default();
                let ended = |(event, deed): &&(u64, Deed)| *event < send.at_event && *deed == Deed::Erased;
                let life = deeds.iter().filter(ended).count();
                *lives.entry((&send.to, life, &send.sequence, &send.step)).or_default() += 1;
            }
        }
        for ((_, _, sequence, step), count) in lives.iter().filter(|(_, count)| **count > 1) {
            broken.push(format!("2: {sequence}/{step} was sent {count} times to one person"));
        }
        let ledger: BTreeMap<(String, String), &Row> = books.tables["Email_Engagement"]
            .iter()
            .map(|row| ((text(row, "lead_id"), text(row, "engagement_id")), row))
            .collect();
        for ((lead_id, engagement_id), sends) in &groups {
            let Some(row) = ledger.get(&((*lead_id).to_owned(), (*engagement_id).to_owned())) else {
                broken.push(format!("2: {engagement_id} was sent and is not in the ledger"));
                continue;
            };
            let critical = CRITICAL.contains(&sends[0].sequence.as_str());
            // A second one only if nobody knew of the first.
            let key = ((*lead_id).to_owned(), (*engagement_id).to_owned());
            let known = self.settled.get(&key).and_then(|events| events.first());
            let decided = self.claims.get(&(key.0.clone(), key.1.clone(), "2".to_owned()));
            let decided = decided.and_then(|claims| claims.last());
            let doubt = decided.is_some_and(|claim| known.is_none_or(|at| *at > claim.at_event));
            let allowed = if critical && doubt { 2 } else { 1 };
            if sends.len() > allowed {
                broken.push(format!("2: {engagement_id} was sent {} times", sends.len()));
            }
            let state = text(row, "state");
            if matches!(state.as_str(), "skipped" | "claimed") {
                broken.push(format!("2: {engagement_id} was sent, and its row says {state}"));
            }
        }
        // Neither for people nor for the team is a second try made while the first may be under way.
        for (key, claims) in self.claims.iter().filter(|((_, _, attempt), _)| attempt == "2") {
            let (lead_id, engagement_id, _) = key;
            let first = self.claims.get(&(lead_id.clone(), engagement_id.clone(), "1".to_owned()));
            for second in claims {
                let before = first.and_then(|first| first.iter().rfind(|it| it.at_event < second.at_event));
                let wait = TimeDelta::seconds(DOUBT_SECONDS - SLOW_SECONDS);
                if before.is_none_or(|before| second.at < before.at + wait) {
                    broken.push(format!("2: {engagement_id} was tried a second time at once"));
                }
            }
        }
        if self.notices.1 > self.notices.0 {
            let (claimed, sent) = self.notices;
            broken.push(format!("2: {sent} mails to the team were sent, {claimed} were claimed"));
        }
        for ((lead_id, engagement_id), row) in &ledger {
            let sends = groups.get(&(lead_id.as_str(), engagement_id.as_str()));
            let message = text(row, "message_id");
            let known = |send: &&&Send| send.message_id == message;
            if self.erased.contains_key(lead_id) {
                continue;
            }
            let notice = row.get("mail").is_none();
            if text(row, "state") == "sent" && !notice && sends.and_then(|s| s.iter().find(known)).is_none() {
                broken.push(format!("2: {engagement_id} says sent, and SES never took it"));
            }
        }
    }

    /// Promise 4: the figures are what was seen.
    fn figures(&self, books: &Books, broken: &mut Vec<String>) {
        let events = &books.tables["Events"];
        let mut days: BTreeMap<String, BTreeMap<&str, i64>> = BTreeMap::new();
        let mut clicks: BTreeSet<(String, String, String)> = BTreeSet::new();
        let mut facts: BTreeMap<&str, BTreeSet<(String, String)>> = BTreeMap::new();
        let mut dated: BTreeSet<String> = BTreeSet::new();
        let mut firsts: BTreeSet<String> = BTreeSet::new();
        let mut revenue: BTreeMap<String, i64> = BTreeMap::new();
        for event in events {
            // Visits are counted day by day. An open or click is dated by the first that was heard of by
            // then; an earlier one that comes later, and was of another day, has that day's date.
            let repeats = ["visited", "mail_opened", "mail_clicked"].contains(&text(event, "kind").as_str());
            if !repeats && !dated.insert(text(event, "event_id")) {
                broken.push(format!("4: {} has two dates", text(event, "event_id")));
            }
            let at = instant(event, "occurred_at").map(|at| at.with_timezone(&HOME).date_naive().to_string());
            if at.as_ref() != Some(&text(event, "day")) {
                broken.push(format!("4: {} is counted on {}", text(event, "event_id"), text(event, "day")));
            }
            let day = days.entry(text(event, "day")).or_default();
            let machine = event.get("machine").and_then(Value::as_bool).unwrap_or(false);
            let first = event.get("first").and_then(Value::as_bool).unwrap_or(false);
            let about = (text(event, "lead_id"), text(event, "engagement_id"));
            if text(event, "kind") == "customer_paid" {
                let price = event.get("price").and_then(Value::as_i64).unwrap_or(0);
                *revenue.entry(text(event, "day")).or_default() += price;
            }
            let column = match (text(event, "kind").as_str(), machine) {
                ("opted_in", _) if first => {
                    if !about.0.is_empty() && !firsts.insert(about.0) {
                        broken.push(format!("4: {} is new a second time", text(event, "lead_id")));
                    }
                    "opt_ins"
                }
                ("mail_sent", _) => "mails_sent",
                ("mail_unknown", _) => "mails_unknown",
                ("mail_delivered", _) => {
                    facts.entry("mail_delivered").or_default().insert(about);
                    "mails_delivered"
                }
                ("mail_opened", true) => "mails_opened_by_machine",
                ("mail_opened", false) => {
                    facts.entry("mail_opened").or_default().insert(about);
                    "mails_opened"
                }
                ("mail_clicked", false) => {
                    facts.entry("mail_clicked").or_default().insert(about.clone());
                    if !clicks.insert((text(event, "day"), about.0, about.1)) {
                        continue;
                    }
                    "mails_clicked"
                }
                ("mail_bounced", _) => {
                    facts.entry("mail_bounced").or_default().insert(about);
                    "mails_bounced"
                }
                ("mail_complained", _) => {
                    facts.entry("mail_complained").or_default().insert(about);
                    "mails_complained"
                }
                ("unsubscribed", _) => "unsubscribed",
                ("consultation_booked", _) => "consultation_requests",
                ("consultation_held", _) => "consultations_held",
                ("consultation_cancelled", _) => "consultations_cancelled",
                ("consultation_missed", _) => "consultations_missed",
                ("customer_paid", _) => "sales",
                ("application_submitted", _) => "applications",
                _ => continue,
            };
            *day.entry(column).or_default() += 1;
        }
        for figures in &books.tables["KPI_Daily"] {
            let date = text(figures, "date");
            let counted = days.remove(&date).unwrap_or_default();
            for (column, count) in &counted {
                let figure = figures.get(*column).and_then(Value::as_i64).unwrap_or(0);
                if figure != *count {
                    broken.push(format!("4: {column} of {date} is {figure}, counted {count}"));
                }
            }
            let money = figures.get("revenue").and_then(Value::as_i64).unwrap_or(0);
            if money != revenue.remove(&date).unwrap_or(0) {
                broken.push(format!("4: the revenue of {date} is {money}, and other money was paid"));
            }
            let sum: i64 = counted.values().sum();
            let shown: i64 = COLUMNS.iter().filter_map(|column| figures.get(*column)?.as_i64()).sum();
            if shown != sum {
                broken.push(format!("4: the figures of {date} add up to {shown}, counted {sum}"));
            }
        }
        for date in days.keys() {
            broken.push(format!("4: {date} has facts and no figures"));
        }
        self.facts(books, &facts, broken);
    }

    /// The facts themselves against what SES, Stripe and people know.
    fn facts(
        &self,
        books: &Books,
        facts: &BTreeMap<&str, BTreeSet<(String, String)>>,
        broken: &mut Vec<String>,
    ) {
        let none = BTreeSet::new();
        // Facts about somebody who was erased name nobody; they are counted, and can't be compared.
        let known = |lead_id: &str| !lead_id.is_empty() && !self.erased.contains_key(lead_id);
        for kind in ["mail_clicked", "mail_opened", "mail_delivered", "mail_bounced", "mail_complained"] {
            let (heard, told) = (self.heard.get(kind).unwrap_or(&none), facts.get(kind).unwrap_or(&none));
            for (_, engagement) in told.difference(heard).filter(|(lead_id, _)| known(lead_id)) {
                broken.push(format!("4: {engagement} counts as {kind}, and nobody told so"));
            }
            for (_, engagement) in heard.difference(told).filter(|(lead_id, _)| known(lead_id)) {
                broken.push(format!("4: {engagement} was told as {kind}, and does not count"));
            }
        }
        for date in books.nights.difference(&books.counted) {
            broken.push(format!("4: no night has counted {date}"));
        }
        let mut outcomes: BTreeMap<(String, String), BTreeMap<String, usize>> = BTreeMap::new();
        let mut paid: BTreeMap<String, usize> = BTreeMap::new();
        let mut sent_facts: BTreeSet<String> = BTreeSet::new();
        for event in &books.tables["Events"] {
            let kind = text(event, "kind");
            if kind == "mail_sent" {
                sent_facts.insert(text(event, "event_id"));
            }
            if kind == "mail_sent" || kind == "mail_unknown" {
                let key = (text(event, "lead_id"), text(event, "engagement_id"));
                *outcomes.entry(key).or_default().entry(kind).or_default() += 1;
            } else if kind == "customer_paid" {
                *paid.entry(text(event, "customer_id")).or_default() += 1;
            }
        }
        let mut sends: BTreeMap<(String, String), usize> = BTreeMap::new();
        for send in self.sends.iter().filter(|send| known(&send.lead_id)) {
            *sends.entry((send.lead_id.clone(), send.engagement_id.clone())).or_default() += 1;
        }
        for (key, counts) in outcomes.iter().filter(|((lead_id, _), _)| known(lead_id)) {
            let (sent, seen) =
                (counts.get("mail_sent").copied().unwrap_or(0), sends.get(key).copied().unwrap_or(0));
            if sent > seen {
                broken.push(format!("4: {} counts as sent {sent} times, SES took it {seen} times", key.1));
            }
        }
        for (lead_id, engagement_id, attempt) in self.heard_sent.iter().filter(|heard| known(&heard.0)) {
            let id = match attempt.as_str() {
                "1" => format!("mail_sent.{lead_id}.{engagement_id}"),
                later => format!("mail_sent.{lead_id}.{engagement_id}.{later}"),
            };
            let rows = || books.tables["Email_Engagement"].iter();
            let kept = rows()
                .any(|row| text(row, "lead_id") == *lead_id && text(row, "engagement_id") == *engagement_id);
            if kept && !sent_facts.contains(&id) {
                broken.push(format!(
                    "4: SES told of {engagement_id}, try {attempt}, and it does not count as sent"
                ));
            }
        }
        for (key, seen) in &sends {
            let counts = outcomes.get(key);
            let of = |kind: &str| counts.and_then(|counts| counts.get(kind)).copied().unwrap_or(0);
            if of("mail_sent") + of("mail_unknown") < *seen {
                let told = format!("{} as sent, {} in doubt", of("mail_sent"), of("mail_unknown"));
                broken.push(format!("4: SES took {} {seen} times, it counts {told}", key.1));
            }
        }
        // Promise 6: money once. What somebody pays who was erased meanwhile, a person looks at.
        let payments: usize = paid.values().sum();
        let erased = |session: &&String| {
            self.put_aside.get(*session).is_some_and(|lead_id| self.erased.contains_key(lead_id))
        };
        let (made, aside) = (books.paid.len(), books.paid.iter().filter(erased).count());
        if payments > made || payments + aside < made || paid.values().any(|times| *times > 1) {
            broken.push(format!("6: {made} payments were made, {payments} are counted, {aside} put aside"));
        }
    }

    /// Promise 7: of somebody who was erased nothing is left but the mark.
    fn nothing_left(&self, books: &Books, broken: &mut Vec<String>) {
        for (lead_id, (address, wholly)) in &self.erased {
            let deeds = self.deeds.get(address).map(Vec::as_slice).unwrap_or_default();
            let last = |wanted: Deed| deeds.iter().rposition(|(_, deed)| *deed == wanted);
            if !wholly {
                broken.push(format!("3: the erasure of {lead_id} has no end"));
            }
            if last(Deed::AskedToOptIn) > last(Deed::Erased) {
                continue;
            }
            let secrets = self.people.get(address).map(|person| person.secrets.clone()).unwrap_or_default();
            for (table, rows) in &books.tables {
                for row in rows {
                    let mark = table == "Leads" && row.contains_key("erased_at");
                    let told = Value::Object(row.clone()).to_string();
                    let id = Some(lead_id).filter(|_| !mark);
                    if secrets.iter().chain(id).any(|secret| told.contains(secret.as_str())) {
                        broken.push(format!("7: {lead_id} was erased, and {table} has {told}"));
                    }
                }
            }
        }
    }

    /// Promise 3: what was not sent, or is over before its end, has a reason in what she did.
    fn for_a_reason(&self, books: &Books, broken: &mut Vec<String>) {
        let leads = books.tables["Leads"].iter();
        let addresses: BTreeMap<String, String> =
            leads.map(|lead| (text(lead, "lead_id"), text(lead, "email"))).collect();
        let skipped = books.tables["Email_Engagement"].iter().filter(|row| text(row, "state") == "skipped");
        let skipped = skipped.map(|row| {
            let campaign = text(row, "email_campaign_id");
            let sequence = campaign.split('/').next().unwrap_or_default().to_owned();
            (row, sequence, campaign)
        });
        let stopped = books.tables["Enrolments"].iter().filter(|row| text(row, "state") == "stopped");
        let stopped = stopped.map(|row| (row, text(row, "sequence"), text(row, "enrolment_id")));
        let over = books.tables["Consultations"].iter();
        let over = over.filter(|row| matches!(text(row, "status").as_str(), "held" | "missed"));
        let over: BTreeSet<String> = over.map(|row| text(row, "lead_id")).collect();
        for (row, sequence, what) in skipped.chain(stopped) {
            let lead_id = text(row, "lead_id");
            let Some(address) = addresses.get(&lead_id).filter(|_| !self.erased.contains_key(&lead_id))
            else {
                continue;
            };
            let deeds = self.deeds.get(address).map(Vec::as_slice).unwrap_or_default();
            let did = |wanted: &[Deed]| deeds.iter().any(|(_, deed)| wanted.contains(deed));
            let closed = address.starts_with("bounce") || did(&[Deed::Complains]);
            let excused = match sequence.as_str() {
                // The reminder comes too late for who books late, or whose timer was late; and the
                // confirmation, if the consultation was over before SES took any mail.
                "consultation" => {
                    closed
                        || did(&[Deed::Rearranges])
                        || what.ends_with("/reminder")
                        || over.contains(&lead_id)
                }
                "welcome" | "receipt" => closed,
                _ => closed || did(&[Deed::AsksToLeave, Deed::Preferred, Deed::Applies]),
            };
            if !excused {
                let why = [text(row, "reason"), text(row, "why")].concat();
                broken.push(format!(
                    "3: {what} of {lead_id} is {} for nothing she did: {why}",
                    text(row, "state")
                ));
            }
        }
    }

    /// Promises 3 and 6, from the other side: who was told that she is in is known, and who was told
    /// that a time is hers has it.
    fn kept_promises(&self, books: &Books, broken: &mut Vec<String>) {
        let known: BTreeSet<String> = books.tables["Leads"].iter().map(|lead| text(lead, "email")).collect();
        for (address, deeds) in &self.deeds {
            let deeds: Vec<&Deed> = deeds.iter().map(|(_, deed)| deed).collect();
            let Some(told) = deeds.iter().rposition(|deed| **deed == Deed::OptedIn) else { continue };
            // She asked before and after: it was done between the two, as an erasure may have been.
            let asked = deeds[..told].iter().rposition(|deed| **deed == Deed::AskedToOptIn).unwrap_or(0);
            let asked = deeds[..asked].iter().rposition(|deed| **deed == Deed::AskedToOptIn).unwrap_or(0);
            if !deeds[asked..].contains(&&Deed::Erased) && !known.contains(address) {
                broken.push("3: somebody was told that she is in, and nobody knows of her".to_owned());
            }
        }
        let rows = books.tables["Consultations"].iter();
        let rows: BTreeMap<String, &Row> = rows.map(|row| (text(row, "consultation_id"), row)).collect();
        for (id, promise) in &self.promised {
            // Whose it was is not told by what is gone.
            let Some(row) = rows.get(id) else {
                if self.erased.is_empty() {
                    broken.push(format!("6: {id} was promised, and there is no such consultation"));
                }
                continue;
            };
            let (status, from) = (text(row, "status"), instant(row, "scheduled_date"));
            match promise {
                Promise::From(promised) if from != Some(*promised) || status == "cancelled" => {
                    broken.push(format!("6: {id} was promised for {promised}, and is {status} at {from:?}"));
                }
                Promise::Cancelled if status != "cancelled" => {
                    broken.push(format!("6: {id} was called off, and is {status}"));
                }
                _ => {}
            }
        }
    }

    /// Promise 3: nothing is in doubt for no trouble that its sender had.
    fn doubts(&self, books: &Books, broken: &mut Vec<String>) {
        // A doubt that was resolved is still a fact.
        let doubts = books.tables["Events"].iter().filter(|event| text(event, "kind") == "mail_unknown");
        for event in doubts.filter(|event| !text(event, "lead_id").is_empty()) {
            let Some(claimed) = instant(event, "occurred_at") else { continue };
            let slow = TimeDelta::seconds(SLOW_SECONDS);
            let had = |at: &DateTime<Utc>| *at >= claimed - slow && *at <= claimed + slow + slow;
            if !self.troubles.iter().any(had) {
                let id = text(event, "event_id");
                broken.push(format!("3: {id} was in doubt, and its sender had no trouble at {claimed}"));
            }
        }
    }

    /// Promise 5: no log line holds a person's data.
    fn logs(&self, books: &Books, broken: &mut Vec<String>) {
        for secret in self.people.values().flat_map(|person| &person.secrets) {
            if let Some(line) = books.log.lines().find(|line| line.contains(secret.as_str())) {
                broken.push(format!("5: a log line holds {secret:?}: {line}"));
            }
        }
    }
}

const COLUMNS: [&str; 16] = [
    "opt_ins",
    "mails_sent",
    "mails_unknown",
    "mails_delivered",
    "mails_opened_by_machine",
    "mails_opened",
    "mails_clicked",
    "mails_bounced",
    "mails_complained",
    "unsubscribed",
    "consultation_requests",
    "consultations_held",
    "consultations_cancelled",
    "consultations_missed",
    "sales",
    "applications",
];

fn is_quiet(clock: NaiveTime) -> bool {
    let of = |text: &str| text.parse::<NaiveTime>().unwrap_or(NaiveTime::MIN);
    clock >= of(QUIET.0) || clock < of(QUIET.1)
}

/// Promise 3: what is due is sent or has a reason, and nothing hangs.
fn in_order(books: &Books, broken: &mut Vec<String>) {
    let fresh = books.now - TimeDelta::hours(2);
    for row in &books.tables["Email_Engagement"] {
        let (id, state) = (text(row, "engagement_id"), text(row, "state"));
        let claimed = instant(row, "claimed_at").unwrap_or(books.now);
        if state == "claimed" && claimed < fresh {
            broken.push(format!("3: {id} is claimed since {claimed} and has no end"));
        }
        if matches!(state.as_str(), "skipped" | "unknown") && text(row, "reason").is_empty() {
            broken.push(format!("3: {id} is {state} without a reason"));
        }
    }
    let ledger: BTreeSet<(String, String)> = books.tables["Email_Engagement"]
        .iter()
        .map(|row| (text(row, "lead_id"), text(row, "engagement_id")))
        .collect();
    for row in &books.tables["Enrolments"] {
        let (id, lead_id) = (text(row, "enrolment_id"), text(row, "lead_id"));
        let state = text(row, "state");
        if text(row, "why").is_empty() {
            broken.push(format!("3: {id} stands where it stands without a reason"));
        }
        let due = instant(row, "next_due");
        if state == "active" && due.is_none_or(|due| due < fresh) {
            broken.push(format!("3: {id} has been due since {due:?} at {:?}", row.get("step")));
        }
        // A sequence lasts three days, and a pause one; one mail a week is another matter.
        if due.is_some_and(|due| due > books.now + TimeDelta::days(8)) {
            broken.push(format!("3: {id} is put off until {due:?}"));
        }
        let mails: &[&str] = match text(row, "sequence").as_str() {
            "welcome" => &["hello"],
            "nurture" => &["day-1", "day-2", "day-3"],
            // Who books at the last moment is not reminded.
            "consultation" => &["confirmation"],
            "broadcast-news" => &["mail"],
            "after" => &["after"],
            "receipt" => &["receipt"],
            _ => &[],
        };
        let generation = row.get("generation").map(ToString::to_string).unwrap_or_default();
        for step in mails.iter().filter(|_| state == "finished") {
            if !ledger.contains(&(lead_id.clone(), format!("{id}_{generation}_{step}"))) {
                broken.push(format!("3: {id} is finished, and the ledger has nothing about {step}"));
            }
        }
    }
    for row in &books.tables["Broadcasts"] {
        let (state, changed) = (text(row, "state"), instant(row, "changed_at").unwrap_or(books.now));
        if matches!(state.as_str(), "planning" | "sending") && changed < fresh {
            broken.push(format!("3: the broadcast is {state} since {changed}"));
        }
    }
    // Mail and payments may end there; facts and what the product tells itself may not.
    for (queue, count) in &books.dead {
        if ["relay-dead", "by relay", "by delivery", "by email-event"]
            .iter()
            .any(|dead| queue.ends_with(dead))
        {
            broken.push(format!("3: {count} given up in {queue}"));
        }
    }
}

/// Promise 3, for those who were never taken in.
fn everybody_enrolled(books: &Books, broken: &mut Vec<String>) {
    let generation = |row: &Row| row.get("generation").and_then(Value::as_i64).unwrap_or(0);
    let enrolled: BTreeMap<(String, String), i64> = books.tables["Enrolments"]
        .iter()
        .map(|row| ((text(row, "lead_id"), text(row, "enrolment_id")), generation(row)))
        .collect();
    let mut left: BTreeSet<String> = BTreeSet::new();
    let mut moved: BTreeSet<String> = BTreeSet::new();
    for event in &books.tables["Events"] {
        match text(event, "kind").as_str() {
            "unsubscribed" | "mail_complained" | "customer_paid" => drop(left.insert(text(event, "lead_id"))),
            "consultation_cancelled" | "consultation_rescheduled" => {
                moved.insert(text(event, "consultation_id"));
            }
            _ => {}
        }
    }
    for event in &books.tables["Events"] {
        let at = instant(event, "occurred_at").unwrap_or(books.now);
        if at > books.now - TimeDelta::hours(2) {
            continue;
        }
        let lead_id = text(event, "lead_id");
        // Of somebody who was erased.
        if lead_id.is_empty() {
            continue;
        }
        let wanted = match text(event, "kind").as_str() {
            "opted_in" if left.contains(&lead_id) => vec!["welcome".to_owned()],
            "opted_in" => vec!["welcome".to_owned(), "nurture".to_owned()],
            "consultation_booked" if !moved.contains(&text(event, "consultation_id")) => {
                vec![format!("consultation_{}", text(event, "consultation_id"))]
            }
            "customer_paid" => vec![format!("receipt_{}", text(event, "customer_id"))],
            _ => vec![],
        };
        for id in wanted {
            if !enrolled.contains_key(&(lead_id.clone(), id.clone())) {
                broken.push(format!("3: {} has happened, and {id} was never begun", text(event, "event_id")));
            }
        }
        // What begins afresh each time, and which time that is.
        let afresh = match text(event, "kind").as_str() {
            "opted_in" => Some(("welcome".to_owned(), at.timestamp())),
            "consultation_rescheduled" => {
                let version = event.get("version").and_then(Value::as_i64).unwrap_or(0);
                Some((format!("consultation_{}", text(event, "consultation_id")), version))
            }
            _ => None,
        };
        if let Some((id, time)) = afresh
            && enrolled.get(&(lead_id, id.clone())).is_none_or(|begun| *begun < time)
        {
            broken.push(format!("3: {} has happened, and {id} was not begun anew", text(event, "event_id")));
        }
    }
}

/// Promise 6: a host's time is sold once.
fn no_slot_twice(books: &Books, broken: &mut Vec<String>) {
    // A host's agenda is a row too, without a status.
    let stands = |row: &&Row| !matches!(text(row, "status").as_str(), "" | "cancelled");
    let standing: Vec<&Row> = books.tables["Consultations"].iter().filter(stands).collect();
    for (at, one) in standing.iter().enumerate() {
        for other in &standing[at + 1..] {
            // Stored instants are all of one form: the order of the texts is that of time.
            let begins_within = |a: &Row, b: &Row| {
                text(a, "scheduled_date") >= text(b, "scheduled_date")
                    && text(a, "scheduled_date") < text(b, "ends_at")
            };
            if text(one, "host") == text(other, "host")
                && (begins_within(one, other) || begins_within(other, one))
            {
                let [one, other] = [one, other].map(|row| {
                    format!("{} from {}", text(row, "consultation_id"), text(row, "scheduled_date"))
                });
                broken.push(format!("6: a host's time is sold twice: {one} and {other}"));
            }
        }
    }
}
