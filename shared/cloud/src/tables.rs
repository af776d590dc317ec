//! The tables: key look-ups, bounded queries and conditional writes. Never a scan.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, KeysAndAttributes},
};
use aws_smithy_async::{
    rt::sleep::{AsyncSleep, SharedAsyncSleep},
    time::SharedTimeSource,
};
use chrono::{DateTime, NaiveDate, Utc};
use domain::{
    broadcast::Broadcast,
    condition::Needs,
    consultation::{Agenda, Agendas, Consultation},
    customer::Customer,
    engagement::{Engagement, MailClass},
    erasure::Row,
    event::Event,
    id::Id,
    kpi::KpiDaily,
    lead::{Lead, ListReason},
    limits::{BROADCAST_PAGE, CONFLICT_RETRIES, EVENT_SHARDS, KEYS_PER_BATCH},
    retention::Retention,
    sequence::{Enrolment, Inside, Program, Sequence},
    task::Task,
    time::iso,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    CallError, Cloud,
    person::Person,
    transaction::{Commit, Condition, Item, Transaction, to_item},
};

/// The index of the enrolments that wait for something, by the UTC hour at which they are due.
const DUE_INDEX: &str = "due";

/// The tables by their names in the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Leads,
    EmailEngagement,
    Consultations,
    Customers,
    KpiDaily,
    Events,
    Enrolments,
    Programs,
    Tasks,
    Broadcasts,
}

impl Table {
    fn base_name(self) -> &'static str {
        match self {
            Self::Leads => "Leads",
            Self::EmailEngagement => "Email_Engagement",
            Self::Consultations => "Consultations",
            Self::Customers => "Customers",
            Self::KpiDaily => "KPI_Daily",
            Self::Events => "Events",
            Self::Enrolments => "Enrolments",
            Self::Programs => "Programs",
            Self::Tasks => "Tasks",
            Self::Broadcasts => "Broadcasts",
        }
    }

    /// Its partition key.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Leads | Self::EmailEngagement | Self::Enrolments => "lead_id",
            Self::Consultations => "consultation_id",
            Self::Customers => "customer_id",
            Self::KpiDaily => "month",
            Self::Events => "day_shard",
            Self::Programs => "sequence",
            Self::Tasks => "task_id",
            Self::Broadcasts => "broadcast_id",
        }
    }
}

/// A client of the stack's tables. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tables {
    client: Client,
    prefix: String,
    clock: SharedTimeSource,
    sleep: SharedAsyncSleep,
    retention: Retention,
}

/// When DynamoDB may remove a row, in seconds since 1970; it takes up to two days over it.
pub(crate) const EXPIRES: &str = "expires_at";

/// The row of an event: its partition, and the timeline index for the kinds that stand there.
#[derive(Serialize)]
struct EventRow<'a> {
    day_shard: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline_lead_id: Option<&'a Id>,
    #[serde(flatten)]
    event: &'a Event,
}

/// A sequence's program as it is kept for the people inside.
#[derive(Serialize)]
struct ProgramRow<'a> {
    sequence: &'a Id,
    version: &'a str,
    program: String,
}

/// An enrolment whose step should have been taken by now.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Overdue {
    pub lead_id: Id,
    pub enrolment_id: String,
}

/// What came of claiming a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// Ours: send now.
    Yes,
    /// The person's row is not what the decision was made on: look again.
    LeadChanged,
    /// Somebody else claimed it in between.
    Taken,
}

impl Tables {
    /// The stack's tables; `TABLE_PREFIX` may be empty.
    pub fn new(cloud: &Cloud) -> Self {
        Self {
            client: Client::new(&cloud.sdk),
            prefix: cloud.env.get("TABLE_PREFIX").unwrap_or_default(),
            clock: cloud.sdk.time_source().unwrap_or_default(),
            sleep: cloud.sleep(),
            retention: Retention::default(),
        }
    }

    /// The same tables; what is written from now on is kept as long as this says.
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// Whether a row is still to be kept; DynamoDB removes it later than that.
    pub(crate) fn is_kept(&self, item: &Item) -> bool {
        let expires = item.get(EXPIRES).and_then(|at| at.as_n().ok()?.parse::<i64>().ok());
        expires.is_none_or(|expires| DateTime::<Utc>::from(self.clock.now()).timestamp() < expires)
    }

    pub(crate) fn event_item(&self, event: &Event) -> Result<Item, CallError> {
        let timeline_lead_id = event.lead_id.as_ref().filter(|_| event.fact.kind().on_timeline());
        let row = EventRow { day_shard: day_shard(event), timeline_lead_id, event };
        Ok(expiring(to_item(&row)?, self.retention.fact_goes(event)))
    }

    fn engagement_item(&self, row: &Engagement) -> Result<Item, CallError> {
        Ok(expiring(to_item(row)?, self.retention.mail_goes(row.claimed_at)))
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        self.sleep.sleep(time).await;
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn name(&self, table: Table) -> String {
        format!("{}{}", self.prefix, table.base_name())
    }

    /// Starts a transaction.
    pub fn transaction(&self) -> Transaction<'_> {
        Transaction::new(self)
    }

    /// A lead, as it is at this moment. Whoever was erased is none.
    ///
    /// # Errors
    /// [`CallError`], as for every method here.
    pub async fn lead(&self, lead_id: &Id) -> Result<Option<Lead>, CallError> {
        Ok(match self.lead_row(lead_id).await? {
            Some(Row::Lead(lead)) => Some(*lead),
            Some(Row::Erased(_)) | None => None,
        })
    }

    /// What stands under a lead's id.
    pub async fn lead_row(&self, lead_id: &Id) -> Result<Option<Row>, CallError> {
        let doing = "reading a lead";
        let item = self.get_item(Table::Leads, &[("lead_id", lead_id.as_str())], doing).await?;
        item.map(|item| lead_row(item, doing)).transpose()
    }

    /// A consultation.
    pub async fn consultation(&self, consultation_id: &Id) -> Result<Option<Consultation>, CallError> {
        self.get(
            Table::Consultations,
            &[("consultation_id", consultation_id.as_str())],
            "reading a consultation",
        )
        .await
    }

    /// A customer.
    pub async fn customer(&self, customer_id: &Id) -> Result<Option<Customer>, CallError> {
        self.get(Table::Customers, &[("customer_id", customer_id.as_str())], "reading a customer").await
    }

    /// An enrolment.
    pub async fn enrolment(&self, lead_id: &Id, enrolment_id: &str) -> Result<Option<Enrolment>, CallError> {
        let key = [("lead_id", lead_id.as_str()), ("enrolment_id", enrolment_id)];
        self.get(Table::Enrolments, &key, "reading an enrolment").await
    }

    /// A person with as much of her history as is needed.
    pub async fn person(&self, lead_id: &Id, needs: Needs) -> Result<Option<Person>, CallError> {
        let Some(lead) = self.lead(lead_id).await? else { return Ok(None) };
        let mut person = Person::of(lead);
        if needs.ledger {
            person.ledger = self.engagements(lead_id).await?;
        }
        if needs.timeline {
            person.timeline = self.timeline(lead_id).await?;
        }
        if needs.enrolments {
            person.enrolments = self.enrolments(lead_id).await?;
        }
        Ok(Some(person))
    }

    /// Who opted in from this browser, if anybody did. The index is a moment behind.
    pub async fn lead_of_visitor(&self, visitor_id: &Id) -> Result<Option<Id>, CallError> {
        #[derive(Deserialize)]
        struct Key {
            lead_id: Id,
        }
        let key = ("visitor_id", visitor_id.as_str());
        let found: Vec<Key> =
            self.query(Table::Leads, Some("by_visitor"), key, "reading a visitor's lead").await?;
        Ok(found.into_iter().next().map(|key| key.lead_id))
    }

    /// Writes a lead's row alone over the version before it. `false` when somebody else was faster.
    pub async fn put_lead(&self, lead: &Lead) -> Result<bool, CallError> {
        let doing = "writing a lead";
        let before = lead.version.saturating_sub(1);
        let request = self
            .client
            .put_item()
            .table_name(self.name(Table::Leads))
            .set_item(Some(to_item(lead)?))
            .condition_expression("version = :v")
            .expression_attribute_values(":v", AttributeValue::N(before.to_string()));
        unless_refused(request.send().await.map_err(|error| error.into_service_error()), doing, |error| {
            error.is_conditional_check_failed_exception()
        })
    }

    /// Who still has to be put on SES's suppression list. The index is a moment behind.
    pub async fn to_list(&self, reason: ListReason) -> Result<Vec<Id>, CallError> {
        #[derive(Deserialize)]
        struct Key {
            lead_id: Id,
        }
        let key = ("to_list", reason.as_str());
        let found: Vec<Key> =
            self.query(Table::Leads, Some("to_list"), key, "reading who is to be listed").await?;
        Ok(found.into_iter().map(|key| key.lead_id).collect())
    }

    /// One page of all leads after this one, in the table's own order, and after which the next one
    /// comes; none after the last. Only a broadcast, which is about everybody, looks at everybody.
    pub async fn leads_page(&self, after: Option<&Id>) -> Result<(Vec<Lead>, Option<Id>), CallError> {
        let doing = "reading a page of leads";
        let start =
            after.map(|id| HashMap::from([("lead_id".to_owned(), AttributeValue::S(id.to_string()))]));
        let answer = self
            .client
            .scan()
            .table_name(self.name(Table::Leads))
            .limit(BROADCAST_PAGE)
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| CallError::new(doing, error))?;
        let last = answer.last_evaluated_key.unwrap_or_default().remove("lead_id");
        let last = last.and_then(|id| id.as_s().ok().and_then(|id| Id::parse(id).ok()));
        let mut leads = vec![];
        for item in answer.items.unwrap_or_default() {
            if let Row::Lead(lead) = lead_row(item, doing)? {
                leads.push(*lead);
            }
        }
        Ok((leads, last))
    }

    /// A version of a sequence's program that was kept for the people inside.
    pub async fn program(&self, sequence: &Id, version: &str) -> Result<Option<Program>, CallError> {
        #[derive(Deserialize)]
        struct Row {
            program: String,
        }
        let doing = "reading a sequence's program";
        let key = [("sequence", sequence.as_str()), ("version", version)];
        let Some(row) = self.get::<Row>(Table::Programs, &key, doing).await? else { return Ok(None) };
        serde_json::from_str(&row.program).map(Some).map_err(|error| CallError::new(doing, error))
    }

    /// The program that a person goes on in: the version that she entered, or the present one if
    /// the editor moved people over and her step still is there. When mail may go out is no step: the
    /// present hours and weekdays hold for everybody.
    pub async fn program_for<'a>(
        &self,
        enrolment: &Enrolment,
        sequence: &'a Sequence,
    ) -> Result<Cow<'a, Program>, CallError> {
        let present = Cow::Borrowed(&sequence.program);
        let step = enrolment.step.as_ref().filter(|_| !enrolment.is_watching());
        let moves =
            sequence.inside == Inside::Move && step.is_none_or(|step| sequence.program.step(step).is_some());
        if moves || enrolment.program == sequence.program.version {
            return Ok(present);
        }
        let kept = self.program(&enrolment.sequence, &enrolment.program).await?;
        let windows = &sequence.program.windows;
        Ok(kept.map_or(present, |kept| Cow::Owned(Program { windows: windows.clone(), ..kept })))
    }

    /// Keeps a sequence's program for the people who enter it. `false` when it is kept already.
    pub async fn keep_program(&self, sequence: &Id, program: &Program) -> Result<bool, CallError> {
        let doing = "keeping a sequence's program";
        let text = serde_json::to_string(program).map_err(|error| CallError::new(doing, error))?;
        let row = ProgramRow { sequence, version: &program.version, program: text };
        self.put(Table::Programs, to_item(&row)?, &Condition::Absent, doing).await
    }

    /// A task.
    pub async fn task(&self, task_id: &Id) -> Result<Option<Task>, CallError> {
        self.get(Table::Tasks, &[("task_id", task_id.as_str())], "reading a task").await
    }

    /// What somebody of the team still has to do, the earliest first.
    pub async fn open_tasks(&self, assignee: &Id) -> Result<Vec<Task>, CallError> {
        self.query(Table::Tasks, Some("open"), ("assignee", assignee.as_str()), "reading open tasks").await
    }

    /// Makes a task. `false` when it is there already.
    pub async fn add_task(&self, task: &Task) -> Result<bool, CallError> {
        self.put(Table::Tasks, to_item(task)?, &Condition::Absent, "making a task").await
    }

    /// Writes a task over itself. `false` when it is gone: its person was erased.
    pub async fn put_task(&self, task: &Task) -> Result<bool, CallError> {
        let request = self
            .client
            .put_item()
            .table_name(self.name(Table::Tasks))
            .set_item(Some(to_item(task)?))
            .condition_expression("attribute_exists(task_id)");
        unless_refused(
            request.send().await.map_err(|error| error.into_service_error()),
            "writing a task",
            |error| error.is_conditional_check_failed_exception(),
        )
    }

    /// How far a broadcast is.
    pub async fn broadcast(&self, broadcast_id: &Id) -> Result<Option<Broadcast>, CallError> {
        self.get(Table::Broadcasts, &[("broadcast_id", broadcast_id.as_str())], "reading a broadcast").await
    }

    /// Writes a broadcast's row over the version before it. `false` when somebody else was faster.
    pub async fn put_broadcast(&self, row: &Broadcast) -> Result<bool, CallError> {
        let before = match row.version {
            1 => Condition::Absent,
            version => Condition::version(version - 1),
        };
        let transaction = self.transaction().put(Table::Broadcasts, row, &before)?;
        Ok(transaction.commit("writing a broadcast").await? == Commit::Done)
    }

    /// The ledger's row of a send.
    pub async fn engagement(
        &self,
        lead_id: &Id,
        engagement_id: &str,
    ) -> Result<Option<Engagement>, CallError> {
        let key = [("lead_id", lead_id.as_str()), ("engagement_id", engagement_id)];
        self.get(Table::EmailEngagement, &key, "reading the send ledger").await
    }

    /// A day's figures.
    pub async fn kpi_daily(&self, date: NaiveDate) -> Result<Option<KpiDaily>, CallError> {
        let (month, date) = (date.format("%Y-%m").to_string(), date.to_string());
        self.get(Table::KpiDaily, &[("month", &month), ("date", &date)], "reading a day's figures").await
    }

    /// A month's figures, day by day.
    pub async fn kpi_month(&self, month: &str) -> Result<Vec<KpiDaily>, CallError> {
        self.query(Table::KpiDaily, None, ("month", month), "reading a month's figures").await
    }

    /// Whether the person's timeline shows this event already, on whatever day it was written.
    pub async fn is_told(&self, event: &Event) -> Result<bool, CallError> {
        let Some(lead_id) = event.lead_id.as_ref() else { return Ok(false) };
        Ok(self.timeline(lead_id).await?.iter().any(|known| known.event_id == event.event_id))
    }

    /// All that happened to a person, in order of time, but for mail (which the ledger tells).
    pub async fn timeline(&self, lead_id: &Id) -> Result<Vec<Event>, CallError> {
        self.query(
            Table::Events,
            Some("timeline"),
            ("timeline_lead_id", lead_id.as_str()),
            "reading a timeline",
        )
        .await
    }

    /// All of a person's mails.
    pub async fn engagements(&self, lead_id: &Id) -> Result<Vec<Engagement>, CallError> {
        self.query(Table::EmailEngagement, None, ("lead_id", lead_id.as_str()), "reading the send ledger")
            .await
    }

    /// All of a person's enrolments.
    pub async fn enrolments(&self, lead_id: &Id) -> Result<Vec<Enrolment>, CallError> {
        self.query(Table::Enrolments, None, ("lead_id", lead_id.as_str()), "reading enrolments").await
    }

    /// All of a person's consultations.
    pub async fn consultations(&self, lead_id: &Id) -> Result<Vec<Consultation>, CallError> {
        self.query(
            Table::Consultations,
            Some("by_lead"),
            ("lead_id", lead_id.as_str()),
            "reading consultations",
        )
        .await
    }

    /// What a person bought.
    pub async fn customers(&self, lead_id: &Id) -> Result<Vec<Customer>, CallError> {
        self.query(Table::Customers, Some("by_lead"), ("lead_id", lead_id.as_str()), "reading customers")
            .await
    }

    /// All tasks about a person.
    pub async fn tasks(&self, lead_id: &Id) -> Result<Vec<Task>, CallError> {
        self.query(Table::Tasks, Some("by_lead"), ("lead_id", lead_id.as_str()), "reading a lead's tasks")
            .await
    }

    /// One page of a day's events in one of its shards (0 to [`EVENT_SHARDS`] − 1), and where the
    /// next page starts.
    pub async fn events_page(
        &self,
        day: NaiveDate,
        shard: u8,
        start: Option<Item>,
    ) -> Result<(Vec<Event>, Option<Item>), CallError> {
        let doing = "reading a day's events";
        let answer = self
            .client
            .query()
            .table_name(self.name(Table::Events))
            .key_condition_expression("day_shard = :k")
            .expression_attribute_values(":k", AttributeValue::S(format!("{day}#{shard}")))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| CallError::new(doing, error))?;
        Ok((rows(answer.items.unwrap_or_default(), doing)?, answer.last_evaluated_key))
    }

    /// The agendas with these keys, as they are at this moment; those that are there.
    pub async fn agendas(&self, keys: impl IntoIterator<Item = String>) -> Result<Agendas, CallError> {
        let doing = "reading agendas";
        let keys: Vec<String> = keys.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let mut agendas = Agendas::new();
        for batch in keys.chunks(KEYS_PER_BATCH) {
            let keys = batch
                .iter()
                .map(|key| HashMap::from([("consultation_id".to_owned(), AttributeValue::S(key.clone()))]));
            let request = KeysAndAttributes::builder().set_keys(Some(keys.collect())).consistent_read(true);
            let mut open = HashMap::from([(
                self.name(Table::Consultations),
                request.build().map_err(|error| CallError::new(doing, error))?,
            )]);
            while !open.is_empty() {
                let answer = self.client.batch_get_item().set_request_items(Some(open)).send().await;
                let answer = answer.map_err(|error| CallError::new(doing, error))?;
                let found = answer.responses.unwrap_or_default().into_values().flatten().collect();
                let found = rows::<Agenda>(found, doing)?.into_iter();
                agendas.extend(found.map(|agenda| (agenda.key.clone(), agenda)));
                open = answer.unprocessed_keys.unwrap_or_default();
            }
        }
        Ok(agendas)
    }

    /// Writes an event. `false` when it was there already: the same fact, told again.
    pub async fn add_event(&self, event: &Event) -> Result<bool, CallError> {
        self.put(Table::Events, self.event_item(event)?, &Condition::Absent, "writing an event").await
    }

    /// Writes a day's figures, over earlier ones.
    pub async fn put_kpi_daily(&self, row: &KpiDaily) -> Result<(), CallError> {
        let request =
            self.client.put_item().table_name(self.name(Table::KpiDaily)).set_item(Some(to_item(row)?));
        request.send().await.map(|_| ()).map_err(|error| CallError::new("writing a day's figures", error))
    }

    /// Enrols a person, or starts an earlier enrolment of an older generation afresh if `again`.
    /// `false` when this enrolment is there already.
    pub async fn enrol(&self, enrolment: &Enrolment, again: bool) -> Result<bool, CallError> {
        let request = self
            .client
            .put_item()
            .table_name(self.name(Table::Enrolments))
            .set_item(Some(to_item(enrolment)?));
        let request = match again {
            false => request.condition_expression("attribute_not_exists(lead_id)"),
            true => request
                .condition_expression("attribute_not_exists(lead_id) OR generation < :g")
                .expression_attribute_values(":g", AttributeValue::N(enrolment.generation.to_string())),
        };
        unless_refused(
            request.send().await.map_err(|error| error.into_service_error()),
            "enrolling",
            |error| error.is_conditional_check_failed_exception(),
        )
    }

    /// Who was due in this UTC hour of the day, on whatever day, before that instant. The index is
    /// a moment behind.
    pub async fn overdue(&self, hour: u32, before: DateTime<Utc>) -> Result<Vec<Overdue>, CallError> {
        let doing = "looking for lost steps";
        let found: Result<Vec<Item>, _> = self
            .client
            .query()
            .table_name(self.name(Table::Enrolments))
            .index_name(DUE_INDEX)
            .key_condition_expression("due_hour = :h")
            .filter_expression("next_due <= :b")
            .expression_attribute_values(":h", AttributeValue::S(format!("{hour:02}")))
            .expression_attribute_values(":b", AttributeValue::S(iso(before)))
            .into_paginator()
            .items()
            .send()
            .collect()
            .await;
        rows(found.map_err(|error| CallError::new(doing, error))?, doing)
    }

    /// Who was due before that instant, at whatever hour. The index, which is a moment behind, has
    /// only those who wait for something.
    pub async fn all_overdue(&self, before: DateTime<Utc>) -> Result<Vec<Overdue>, CallError> {
        let doing = "looking for all lost steps";
        let found: Result<Vec<Item>, _> = self
            .client
            .scan()
            .table_name(self.name(Table::Enrolments))
            .index_name(DUE_INDEX)
            .filter_expression("next_due <= :b")
            .expression_attribute_values(":b", AttributeValue::S(iso(before)))
            .into_paginator()
            .items()
            .send()
            .collect()
            .await;
        rows(found.map_err(|error| CallError::new(doing, error))?, doing)
    }

    /// Replaces an enrolment that still stands at the step, and for the moment, where it was read.
    /// `false` when it has moved on meanwhile.
    pub async fn move_enrolment(&self, before: &Enrolment, after: &Enrolment) -> Result<bool, CallError> {
        if self.try_to_move(before, after).await? {
            return Ok(true);
        }
        // The answer to our own move may have been lost, and the client tried again.
        let stands = self.enrolment(&after.lead_id, &after.enrolment_id).await?;
        Ok(stands.as_ref() == Some(after))
    }

    async fn try_to_move(&self, before: &Enrolment, after: &Enrolment) -> Result<bool, CallError> {
        let due = before.next_due.map(iso).unwrap_or_default();
        let step = before.step.as_ref().map(ToString::to_string).unwrap_or_default();
        let request = self
            .client
            .put_item()
            .table_name(self.name(Table::Enrolments))
            .set_item(Some(to_item(after)?))
            .condition_expression("generation = :g AND step = :s AND next_due = :d")
            .expression_attribute_values(":d", AttributeValue::S(due))
            .expression_attribute_values(":g", AttributeValue::N(before.generation.to_string()))
            .expression_attribute_values(":s", AttributeValue::S(step));
        unless_refused(
            request.send().await.map_err(|error| error.into_service_error()),
            "moving an enrolment",
            |error| error.is_conditional_check_failed_exception(),
        )
    }

    /// Claims a send: writes the ledger's row and makes sure, in the same transaction, that the
    /// person's row still is the one on which it was decided that she may be written to.
    /// `recent_mails`, of a mail that caps count, is what they count from then on.
    pub async fn claim(
        &self,
        row: &Engagement,
        lead: &Lead,
        recent_mails: Option<Vec<DateTime<Utc>>>,
    ) -> Result<Claimed, CallError> {
        let transaction =
            self.transaction().put_item(Table::EmailEngagement, self.engagement_item(row)?, &unclaimed(row));
        let unchanged = Condition::version(lead.version);
        let transaction = match recent_mails {
            None => transaction.check(Table::Leads, lead.lead_id.as_str(), &unchanged),
            Some(recent_mails) => {
                let lead = Lead { recent_mails, version: lead.version + 1, ..lead.clone() };
                transaction.put(Table::Leads, &lead, &unchanged)?
            }
        };
        Ok(match transaction.commit("claiming a send").await? {
            Commit::Done => Claimed::Yes,
            Commit::Refused(parts) if parts.contains(&1) => Claimed::LeadChanged,
            Commit::Refused(_) => Claimed::Taken,
        })
    }

    /// Claims a mail to somebody of the team, whose consent nobody has to ask for.
    pub async fn claim_notice(&self, row: &Engagement) -> Result<Claimed, CallError> {
        let transaction =
            self.transaction().put_item(Table::EmailEngagement, self.engagement_item(row)?, &unclaimed(row));
        Ok(match transaction.commit("claiming a notice").await? {
            Commit::Done => Claimed::Yes,
            Commit::Refused(_) => Claimed::Taken,
        })
    }

    /// Writes into the ledger that a mail was not sent, and why, if nothing is there yet.
    pub async fn skip_send(&self, row: &Engagement) -> Result<bool, CallError> {
        let item = self.engagement_item(row)?;
        self.put(Table::EmailEngagement, item, &Condition::Absent, "writing the send ledger").await
    }

    /// Changes the ledger's row of a send: sets the attributes, on a condition over `state` (or
    /// only that the row exists). `false` when the condition does not hold.
    pub async fn note(&self, lead_id: &Id, engagement_id: &str, note: &Note) -> Result<bool, CallError> {
        let mut request = self
            .client
            .update_item()
            .table_name(self.name(Table::EmailEngagement))
            .key("lead_id", AttributeValue::S(lead_id.to_string()))
            .key("engagement_id", AttributeValue::S(engagement_id.to_owned()));
        let mut sets = vec![];
        for (at, (attribute, value, once)) in note.set.iter().enumerate() {
            sets.push(match once {
                true => format!("#a{at} = if_not_exists(#a{at}, :a{at})"),
                false => format!("#a{at} = :a{at}"),
            });
            request = request
                .expression_attribute_names(format!("#a{at}"), *attribute)
                .expression_attribute_values(format!(":a{at}"), value.clone());
        }
        let mut condition = "attribute_exists(lead_id)".to_owned();
        if !note.only_in_state.is_empty() {
            let states: Vec<String> = (0..note.only_in_state.len()).map(|at| format!(":s{at}")).collect();
            condition = format!("{condition} AND #state IN ({})", states.join(", "));
            request = request.expression_attribute_names("#state", "state");
            for (name, state) in states.into_iter().zip(&note.only_in_state) {
                request = request.expression_attribute_values(name, AttributeValue::S((*state).to_owned()));
            }
        }
        if let Some(attempt) = note.only_of_attempt {
            condition = format!("{condition} AND attempt = :attempt");
            let attempt = AttributeValue::N(attempt.to_string());
            request = request.expression_attribute_values(":attempt", attempt);
        }
        let update = format!("SET {}", sets.join(", "));
        let request = request.update_expression(update).condition_expression(condition);
        unless_refused(
            request.send().await.map_err(|error| error.into_service_error()),
            "writing the send ledger",
            |error| error.is_conditional_check_failed_exception(),
        )
    }

    /// Writes what is known of the opens and clicks of a mail. `false` when the row is gone, or knows
    /// of more than `before` did.
    pub async fn put_touches(&self, before: &Engagement, after: &Engagement) -> Result<bool, CallError> {
        let columns = [
            "touches",
            "opened",
            "opened_at",
            "machine_opened",
            "clicked",
            "clicked_at",
            "click_url",
            "clicked_links",
        ];
        let mut item = to_item(after)?;
        let known = to_item(before)?.remove("touches");
        let mut request = self
            .client
            .update_item()
            .table_name(self.name(Table::EmailEngagement))
            .key("lead_id", AttributeValue::S(after.lead_id.to_string()))
            .key("engagement_id", AttributeValue::S(after.engagement_id.clone()));
        let (mut set, mut remove) = (vec![], vec![]);
        for (at, column) in columns.into_iter().enumerate() {
            request = request.expression_attribute_names(format!("#a{at}"), column);
            match item.remove(column) {
                Some(value) => {
                    request = request.expression_attribute_values(format!(":a{at}"), value);
                    set.push(format!("#a{at} = :a{at}"));
                }
                None => remove.push(format!("#a{at}")),
            }
        }
        let mut update = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            update = format!("{update} REMOVE {}", remove.join(", "));
        }
        // `#a0` is `touches`.
        let request = match known {
            None => request.condition_expression("attribute_exists(lead_id) AND attribute_not_exists(#a0)"),
            Some(known) => request
                .condition_expression("attribute_exists(lead_id) AND #a0 = :known")
                .expression_attribute_values(":known", known),
        };
        unless_refused(
            request.update_expression(update).send().await.map_err(|error| error.into_service_error()),
            "writing opens and clicks into the send ledger",
            |error| error.is_conditional_check_failed_exception(),
        )
    }

    /// Takes a claim back, when SES said that it did not take the mail; an earlier attempt that the
    /// row told of is a doubt again. If the cap counted it, it forgets it in the same transaction.
    pub async fn release(&self, row: &Engagement, earlier: Option<&Engagement>) -> Result<bool, CallError> {
        let mine = Condition::EqualsBoth(
            ("state", AttributeValue::S("claimed".to_owned())),
            ("attempt", AttributeValue::N(row.attempt.to_string())),
        );
        for _ in 0..CONFLICT_RETRIES {
            let key = [("lead_id", row.lead_id.as_str()), ("engagement_id", row.engagement_id.as_str())];
            let release = match earlier {
                None => self.transaction().delete(Table::EmailEngagement, &key, &mine),
                Some(earlier) => {
                    let doubt = self.engagement_item(&earlier.in_doubt())?;
                    self.transaction().put_item(Table::EmailEngagement, doubt, &mine)
                }
            };
            // Only marketing is counted; and one alone, if several were claimed in that instant.
            let lead = match row.class {
                MailClass::Marketing => self.lead(&row.lead_id).await?,
                MailClass::Transactional => None,
            };
            let counted = lead.and_then(|lead| {
                let at = lead.recent_mails.iter().position(|at| *at == row.claimed_at)?;
                Some((lead, at))
            });
            let release = match counted {
                None => release,
                Some((mut lead, at)) => {
                    let before = Condition::version(lead.version);
                    lead.recent_mails.remove(at);
                    lead.version += 1;
                    release.put(Table::Leads, &lead, &before)?
                }
            };
            match release.commit("releasing a claim").await? {
                Commit::Done => return Ok(true),
                Commit::Refused(parts) if parts.contains(&0) => return Ok(false),
                Commit::Refused(_) => {}
            }
        }
        Err(CallError { doing: "releasing a claim", reason: "other writers got there first".to_owned() })
    }

    async fn put(
        &self,
        table: Table,
        item: Item,
        condition: &Condition,
        doing: &'static str,
    ) -> Result<bool, CallError> {
        debug_assert!(matches!(condition, Condition::Absent), "single puts are for new rows");
        let request = self
            .client
            .put_item()
            .table_name(self.name(table))
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#k)")
            .expression_attribute_names("#k", table.key());
        unless_refused(request.send().await.map_err(|error| error.into_service_error()), doing, |error| {
            error.is_conditional_check_failed_exception()
        })
    }

    async fn get<T: DeserializeOwned>(
        &self,
        table: Table,
        key: &[(&str, &str)],
        doing: &'static str,
    ) -> Result<Option<T>, CallError> {
        let item = self.get_item(table, key, doing).await?;
        item.map(|item| row(item, doing)).transpose()
    }

    pub(crate) async fn get_item(
        &self,
        table: Table,
        key: &[(&str, &str)],
        doing: &'static str,
    ) -> Result<Option<Item>, CallError> {
        let key = key
            .iter()
            .map(|(name, value)| ((*name).to_owned(), AttributeValue::S((*value).to_owned())))
            .collect();
        let request =
            self.client.get_item().table_name(self.name(table)).set_key(Some(key)).consistent_read(true);
        let answer = request.send().await.map_err(|error| CallError::new(doing, error))?;
        Ok(answer.item.filter(|item| self.is_kept(item)))
    }

    pub(crate) async fn query<T: DeserializeOwned>(
        &self,
        table: Table,
        index: Option<&str>,
        key: (&str, &str),
        doing: &'static str,
    ) -> Result<Vec<T>, CallError> {
        let mut found = vec![];
        let mut start = None;
        loop {
            let answer = self
                .client
                .query()
                .table_name(self.name(table))
                .set_index_name(index.map(str::to_owned))
                // What is decided on these rows must not be a moment old; an index always is.
                .consistent_read(index.is_none())
                .key_condition_expression("#k = :k")
                .expression_attribute_names("#k", key.0)
                .expression_attribute_values(":k", AttributeValue::S(key.1.to_owned()))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| CallError::new(doing, error))?;
            let kept = answer.items.unwrap_or_default().into_iter().filter(|item| self.is_kept(item));
            found.extend(rows(kept.collect(), doing)?);
            start = answer.last_evaluated_key;
            if start.is_none() {
                return Ok(found);
            }
        }
    }
}

impl Transaction<'_> {
    /// Adds an event, on condition that it is new.
    ///
    /// # Errors
    /// [`CallError`] if the row can't be put into DynamoDB's form.
    pub fn event(self, event: &Event) -> Result<Self, CallError> {
        let item = self.tables().event_item(event)?;
        Ok(self.put_item(Table::Events, item, &Condition::Absent))
    }

    /// Writes agendas, each over the version before it.
    ///
    /// # Errors
    /// [`CallError`] if a row can't be put into DynamoDB's form.
    pub fn agendas(self, agendas: &[Agenda]) -> Result<Self, CallError> {
        agendas.iter().try_fold(self, |all, agenda| {
            let before = match agenda.version {
                1 => Condition::Absent,
                version => Condition::version(version - 1),
            };
            all.put(Table::Consultations, agenda, &before)
        })
    }
}

/// Changes to the ledger's row of a send.
#[derive(Debug, Clone, Default)]
pub struct Note {
    set: Vec<(&'static str, AttributeValue, bool)>,
    only_in_state: Vec<&'static str>,
    only_of_attempt: Option<u8>,
}

impl Note {
    /// Sets a text.
    pub fn text(mut self, attribute: &'static str, value: &str) -> Self {
        self.set.push((attribute, AttributeValue::S(value.to_owned()), false));
        self
    }

    /// Sets a text unless there already is one.
    pub fn text_once(mut self, attribute: &'static str, value: &str) -> Self {
        self.set.push((attribute, AttributeValue::S(value.to_owned()), true));
        self
    }

    /// Sets a time unless there already is one.
    pub fn at_once(mut self, attribute: &'static str, at: DateTime<Utc>) -> Self {
        self.set.push((attribute, AttributeValue::S(iso(at)), true));
        self
    }

    /// Only if the row's `state` is one of these.
    pub fn only_in(mut self, states: &[&'static str]) -> Self {
        self.only_in_state = states.to_vec();
        self
    }

    /// Only if the row still speaks of that try.
    pub fn only_of(mut self, attempt: u8) -> Self {
        self.only_of_attempt = Some(attempt);
        self
    }
}

/// An attempt is claimed once: the first if there is no row, a later one if the row is of the one
/// before it.
fn unclaimed(row: &Engagement) -> Condition {
    match row.attempt {
        1 => Condition::Absent,
        // SES's own event may have settled the one before it while we looked.
        attempt => {
            Condition::EqualsWithout(("attempt", AttributeValue::N((attempt - 1).to_string())), "message_id")
        }
    }
}

fn expiring(mut item: Item, at: Option<DateTime<Utc>>) -> Item {
    item.extend(at.map(|at| (EXPIRES.to_owned(), AttributeValue::N(at.timestamp().to_string()))));
    item
}

pub(crate) fn day_shard(event: &Event) -> String {
    // Any even spread will do, as long as the same event always falls into the same shard.
    let sum =
        event.event_id.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    format!("{}#{}", event.day, sum % u32::from(EVENT_SHARDS))
}

pub(crate) fn rows<T: DeserializeOwned>(items: Vec<Item>, doing: &'static str) -> Result<Vec<T>, CallError> {
    items.into_iter().map(|item| row(item, doing)).collect()
}

fn lead_row(item: Item, doing: &'static str) -> Result<Row, CallError> {
    Ok(match item.contains_key("email") {
        true => Row::Lead(Box::new(row(item, doing)?)),
        false => Row::Erased(row(item, doing)?),
    })
}

fn row<T: DeserializeOwned>(item: Item, doing: &'static str) -> Result<T, CallError> {
    serde_dynamo::from_item(item)
        .map_err(|error| CallError { doing, reason: format!("a row can't be read: {error}") })
}

fn unless_refused<T, E: std::error::Error>(
    answer: Result<T, E>,
    doing: &'static str,
    refused: impl Fn(&E) -> bool,
) -> Result<bool, CallError> {
    match answer {
        Ok(_) => Ok(true),
        Err(error) if refused(&error) => Ok(false),
        Err(error) => Err(CallError::new(doing, error)),
    }
}
