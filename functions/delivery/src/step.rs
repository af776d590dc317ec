//! The steps that send no mail to the person: decisions, notes, tasks, notices, webhooks.

use std::collections::BTreeMap;

use cloud::{
    tables::Table,
    transaction::{Commit, Condition},
};
use domain::{
    condition::{Needs, Test},
    event::Event,
    id::Id,
    lead::{self, Lead, Stage},
    limits::{CONFLICT_RETRIES, WEBHOOK_TRIES},
    sequence::{Act, Enrolment, When},
    task::Task,
};
use serde_json::json;

use crate::{Delivery, Later, Outcome, Place};

/// A change of the person's row, and the fact that it is, if it is one.
type Change = Option<(Lead, Option<Event>)>;

impl Delivery {
    /// Does what the step says.
    pub(crate) async fn take(&self, place: &Place<'_>) -> Result<Outcome, Later> {
        let on = |why: &str| {
            Ok(Outcome::On { to: place.step.next.clone(), why: format!("{} {why}", place.step.id) })
        };
        let zone = self.funnel.time_zone;
        let (now, key) = (self.cloud.now(), place.enrolment.step_key(&place.step.id));
        match &place.step.act {
            Act::Send { mail, calendar } => self.send(place, mail, *calendar).await,
            Act::Branch { test, then, otherwise } => {
                let holds = self.holds(&place.enrolment, test).await?;
                let (to, answer) = if holds { (then, "yes") } else { (otherwise, "no") };
                Ok(Outcome::Decided { to: to.clone(), why: format!("{}: {answer}", test.text) })
            }
            Act::WaitFor { test, within, then, otherwise } => {
                self.wait(place, test, *within, then, otherwise).await
            }
            Act::Split { targets } => match place.program.split(&place.enrolment, place.step, targets) {
                Some(to) => Ok(Outcome::Decided { to: Some(to.clone()), why: format!("drawn by lot: {to}") }),
                None => on("has nowhere to lead"),
            },
            Act::Tag { tag } => {
                self.change(place, |lead| {
                    lead::tag(lead, tag, &key, now, zone).map(|change| (change.lead, Some(change.event)))
                })
                .await?;
                on("done")
            }
            Act::Untag { tag } => {
                self.change(place, |lead| lead::untag(lead, tag).map(|lead| (lead, None))).await?;
                on("done")
            }
            Act::Attribute { values } => {
                self.change(place, |lead| lead::describe(lead, values).map(|lead| (lead, None))).await?;
                on("done")
            }
            Act::Stage { stage } => self.stage(place, *stage, &key).await.and_then(|()| on("done")),
            Act::Task { title, assignee, due } => {
                self.task(place, title, assignee, *due).await?;
                on("done")
            }
            Act::Notice { text, to } => self.notice(place, text, to).await,
            Act::Webhook { url } => self.webhook(place, url, &key).await,
        }
    }

    async fn stage(&self, place: &Place<'_>, stage: Stage, key: &str) -> Result<(), Later> {
        let (now, zone) = (self.cloud.now(), self.funnel.time_zone);
        self.change(place, |lead| {
            lead::move_to(lead, stage, key, now, zone).map(|change| (change.lead, Some(change.event)))
        })
        .await
    }

    /// Whether a test holds of the person at this moment.
    pub(crate) async fn holds(&self, enrolment: &Enrolment, test: &Test) -> Result<bool, Later> {
        let person = self.tables.person(&enrolment.lead_id, test.condition.needs()).await?;
        let Some(person) = person else { return Ok(false) };
        let since = Some(enrolment.since());
        Ok(test.condition.holds(&person.known(&self.funnel.scoring, since, self.cloud.now())))
    }

    /// Waits, unless it is true already or the time is over. While a person waits, the relay looks
    /// at every fact that may make it true.
    async fn wait(
        &self,
        place: &Place<'_>,
        test: &Test,
        within: When,
        then: &Option<Id>,
        otherwise: &Option<Id>,
    ) -> Result<Outcome, Later> {
        if self.holds(&place.enrolment, test).await? {
            return Ok(Outcome::Decided { to: then.clone(), why: format!("{} is true", test.text) });
        }
        let now = self.cloud.now();
        let zone = self.zone(&place.enrolment.lead_id).await?;
        let until = within.due(place.enrolment.anchor, now, zone);
        if place.enrolment.waiting || until <= now {
            let why = format!("{} did not come true in time", test.text);
            return Ok(Outcome::Decided { to: otherwise.clone(), why });
        }
        Ok(Outcome::Waits { until, why: format!("{} is waited for", test.text) })
    }

    /// Changes the person's row as it stands now, with the fact in the same transaction.
    async fn change(&self, place: &Place<'_>, change: impl Fn(Lead) -> Change) -> Result<(), Later> {
        for _ in 0..CONFLICT_RETRIES {
            let Some(lead) = self.tables.lead(&place.enrolment.lead_id).await? else { return Ok(()) };
            let before = Condition::version(lead.version);
            let Some((lead, event)) = change(lead) else { return Ok(()) };
            let transaction = self.tables.transaction().put(Table::Leads, &lead, &before)?;
            let transaction = match &event {
                Some(event) => transaction.event(event)?,
                None => transaction,
            };
            match transaction.commit("changing a lead at a step").await? {
                Commit::Done => return Ok(()),
                // The fact is there: the step was done before, and somebody changed it back since.
                Commit::Refused(parts) if !parts.contains(&0) => return Ok(()),
                Commit::Refused(_) => {}
            }
        }
        Err(Later::Because("the lead is being changed by others".to_owned()))
    }

    async fn task(&self, place: &Place<'_>, title: &str, assignee: &Id, due: When) -> Result<(), Later> {
        let now = self.cloud.now();
        let due = due.due(place.enrolment.anchor, now, self.funnel.time_zone);
        self.make_task(place, "task", title, assignee, due).await
    }

    /// Makes a task; `kind` tells two tasks of the same step apart.
    pub(crate) async fn make_task(
        &self,
        place: &Place<'_>,
        kind: &str,
        title: &str,
        assignee: &Id,
        due: chrono::DateTime<chrono::Utc>,
    ) -> Result<(), Later> {
        let task = Task {
            task_id: Id::derived("t", &[kind, &place.enrolment.step_key(&place.step.id)]),
            lead_id: place.enrolment.lead_id.clone(),
            title: title.to_owned(),
            assignee: Some(assignee.clone()),
            given_to: assignee.clone(),
            due,
            created_at: self.cloud.now(),
            made_by: format!("{}/{}", place.sequence.id, place.step.id),
            done_at: None,
        };
        self.tables.add_task(&task).await?;
        Ok(())
    }

    /// Tells another system. It is tried a few times; then the person goes on without it, and her
    /// enrolment says so.
    async fn webhook(&self, place: &Place<'_>, url: &str, key: &str) -> Result<Outcome, Later> {
        let needs = self.funnel.scoring.needs().and(Needs::default());
        let Some(person) = self.tables.person(&place.enrolment.lead_id, needs).await? else {
            return Ok(Outcome::Out("the person is not known any more".to_owned()));
        };
        let now = self.cloud.now();
        let score = self.funnel.scoring.score(&person.known(&self.funnel.scoring, None, now)).total;
        let attributes: &BTreeMap<String, String> = &person.lead.attributes;
        let body = json!({
            "type": "step",
            "lead_id": person.lead.lead_id,
            "sequence": place.sequence.id,
            "step": place.step.id,
            "attributes": attributes,
            "tags": person.lead.tags,
            "stage": person.lead.stage,
            "score": score,
        });
        let id = Id::derived("w", &[key]);
        let to = place.step.next.clone();
        match self.webhooks.post(url, id.as_str(), &body, now).await {
            Ok(()) => Ok(Outcome::On { to, why: format!("{} done", place.step.id) }),
            Err(error) if place.errand.tries < WEBHOOK_TRIES => Err(Later::Because(error.to_string())),
            Err(error) => {
                tracing::error!(lead_id = %person.lead.lead_id, step = %place.step.id, %error, "a webhook was given up");
                Ok(Outcome::Decided { to, why: format!("given up: {error}") })
            }
        }
    }
}
