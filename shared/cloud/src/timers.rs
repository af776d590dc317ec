//! One timer for each enrolment's next step.

use aws_sdk_scheduler::{
    Client,
    types::{ActionAfterCompletion, FlexibleTimeWindow, FlexibleTimeWindowMode, Target},
};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    engagement::MailClass,
    limits::DUE_NOW_SECONDS,
    sequence::{DueStep, Enrolment},
};

use crate::{
    CallError, Cloud, StartError,
    queues::{Queues, message},
};

/// Timers in EventBridge Scheduler that put due work into the queues.
#[derive(Debug, Clone)]
pub struct Timers {
    client: Client,
    queues: Queues,
    group: String,
    role_arn: String,
    urgent_arn: String,
    bulk_arn: String,
}

impl Timers {
    /// The stack's timers.
    ///
    /// # Errors
    /// [`StartError`] if the environment lacks a name.
    pub fn new(cloud: &Cloud) -> Result<Self, StartError> {
        Ok(Self {
            client: Client::new(&cloud.sdk),
            queues: Queues::new(cloud)?,
            group: cloud.env.get("SCHEDULE_GROUP")?,
            role_arn: cloud.env.get("SCHEDULE_ROLE_ARN")?,
            urgent_arn: cloud.env.get("URGENT_QUEUE_ARN")?,
            bulk_arn: cloud.env.get("BULK_QUEUE_ARN")?,
        })
    }

    /// Sees to it that the enrolment's next step is worked on when it is due: at once through the
    /// queue, later through a timer. Doing it twice makes one timer.
    ///
    /// # Errors
    /// [`CallError`] if neither queue nor Scheduler took it.
    pub async fn set(
        &self,
        enrolment: &Enrolment,
        class: MailClass,
        hops: u32,
        now: DateTime<Utc>,
    ) -> Result<(), CallError> {
        let (Some(step), Some(due)) = (enrolment.step.as_ref(), enrolment.next_due) else { return Ok(()) };
        let work = DueStep {
            lead_id: enrolment.lead_id.clone(),
            enrolment_id: enrolment.enrolment_id.clone(),
            generation: enrolment.generation,
            step: step.clone(),
            hops,
        };
        if due <= now + TimeDelta::seconds(DUE_NOW_SECONDS) {
            // Scheduler's precision is a minute; the queue keeps to the second, so that a mail is not
            // looked at again and again until its hour has come.
            let seconds = (due - now + TimeDelta::milliseconds(999)).num_seconds().max(0);
            return self.queues.send(class, &work, i32::try_from(seconds).unwrap_or(0)).await;
        }
        self.schedule(&enrolment.schedule_name(step), due, class, &work).await
    }

    async fn schedule(
        &self,
        name: &str,
        due: DateTime<Utc>,
        class: MailClass,
        work: &DueStep,
    ) -> Result<(), CallError> {
        let doing = "setting a timer";
        let queue = match class {
            MailClass::Transactional => &self.urgent_arn,
            MailClass::Marketing => &self.bulk_arn,
        };
        let target = Target::builder().arn(queue).role_arn(&self.role_arn).input(message(work)?).build();
        let exact = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build();
        let answer = self
            .client
            .create_schedule()
            .name(name)
            .group_name(&self.group)
            .schedule_expression(format!("at({})", due.format("%Y-%m-%dT%H:%M:%S")))
            .target(target.map_err(|error| CallError::new(doing, error))?)
            .flexible_time_window(exact.map_err(|error| CallError::new(doing, error))?)
            .action_after_completion(ActionAfterCompletion::Delete)
            .send()
            .await
            .map_err(|error| error.into_service_error());
        match answer {
            Ok(_) => Ok(()),
            // The same step's timer: somebody was here before.
            Err(error) if error.is_conflict_exception() => Ok(()),
            Err(error) => Err(CallError::new(doing, error)),
        }
    }

    /// Somebody else than its step's sender has moved an enrolment on: its timer goes.
    ///
    /// If the step's time has come already, it is queued a last time instead. Its sender may have stopped
    /// half way, and nobody but the step's message ever looks at the claim that it left behind.
    ///
    /// # Errors
    /// [`CallError`] if Scheduler, or the queue, could not be asked.
    pub async fn abandon(
        &self,
        enrolment: &Enrolment,
        class: MailClass,
        now: DateTime<Utc>,
    ) -> Result<(), CallError> {
        match enrolment.next_due.is_some_and(|due| due <= now) {
            true => self.set(enrolment, class, 0, now).await,
            false => self.clear(enrolment).await,
        }
    }

    /// Takes the enrolment's timer away. A timer that is gone, or fires all the same, does no harm.
    ///
    /// # Errors
    /// [`CallError`] if Scheduler could not be asked.
    pub async fn clear(&self, enrolment: &Enrolment) -> Result<(), CallError> {
        let Some(step) = enrolment.step.as_ref() else { return Ok(()) };
        let answer = self
            .client
            .delete_schedule()
            .name(enrolment.schedule_name(step))
            .group_name(&self.group)
            .send()
            .await;
        match answer.map_err(|error| error.into_service_error()) {
            Ok(_) => Ok(()),
            Err(error) if error.is_resource_not_found_exception() => Ok(()),
            Err(error) => Err(CallError::new("taking a timer away", error)),
        }
    }
}
