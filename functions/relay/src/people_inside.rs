//! People who are in a sequence when something happens: it may end their sequence, or their wait.

use cloud::{CallError, person::Person};
use domain::{
    engagement::MailClass,
    event::Event,
    id::Id,
    relay::stops,
    sequence::{Act, Enrolment, EnrolmentState, Sequence, to_the_second},
    trigger::Trigger,
};

use crate::Relay;

/// How the end of a wait is remembered.
const CAME_TRUE: &str = " came true";

impl Relay {
    pub(crate) async fn people_inside(&self, event: &Event) -> Result<(), CallError> {
        let Some(lead_id) = event.lead_id.as_ref() else { return Ok(()) };
        for enrolment in self.tables.enrolments(lead_id).await? {
            let Some(sequence) = self.funnel.sequence(&enrolment.sequence) else { continue };
            if stops(event, sequence, &enrolment) {
                self.stop(enrolment, sequence.class, event.fact.name()).await?;
            } else if enrolment.waiting && enrolment.state == EnrolmentState::Active {
                self.end_wait(event, sequence, enrolment).await?;
            } else if enrolment.decisions.last().is_some_and(|last| last.why.ends_with(CAME_TRUE)) {
                // Perhaps we ended her wait and did not get as far as the timer.
                self.timers.set(&enrolment, sequence.class, 0, self.cloud.now()).await?;
            }
        }
        Ok(())
    }

    /// Takes the person out of the sequences that end when she enters this one.
    pub(crate) async fn leave_for(
        &self,
        entered: &Sequence,
        event: &Event,
        lead_id: &Id,
    ) -> Result<(), CallError> {
        let trigger = Trigger::Enters(entered.id.clone());
        for sequence in self.funnel.sequences.iter().filter(|sequence| sequence.exit.contains(&trigger)) {
            for enrolment in self.tables.enrolments(lead_id).await? {
                // Whoever entered it with this fact, or later, entered it after this one.
                if enrolment.sequence == sequence.id
                    && !enrolment.is_watching()
                    && enrolment.since() < to_the_second(event.occurred_at)
                {
                    self.stop(enrolment, sequence.class, &format!("entered {}", entered.id)).await?;
                }
            }
        }
        Ok(())
    }

    async fn stop(&self, mut enrolment: Enrolment, class: MailClass, why: &str) -> Result<(), CallError> {
        // It may take a step while we look; then we look again.
        while let Some(stopped) = enrolment.clone().stop(why) {
            if self.tables.move_enrolment(&enrolment, &stopped).await? {
                tracing::info!(lead_id = %enrolment.lead_id, enrolment_id = enrolment.enrolment_id, "an enrolment was stopped");
                return self.timers.abandon(&enrolment, class, self.cloud.now()).await;
            }
            let generation = enrolment.generation;
            match self.tables.enrolment(&enrolment.lead_id, &enrolment.enrolment_id).await? {
                Some(now) if now.generation == generation => enrolment = now,
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    async fn end_wait(
        &self,
        event: &Event,
        sequence: &Sequence,
        enrolment: Enrolment,
    ) -> Result<(), CallError> {
        let program = self.tables.program_for(&enrolment, sequence).await?;
        let Some(step) = enrolment.step.as_ref().and_then(|step| program.step(step)) else { return Ok(()) };
        let Act::WaitFor { test, then, .. } = &step.act else { return Ok(()) };
        if !test.condition.listens_to(event.fact.kind()) {
            return Ok(());
        }
        let person = self.tables.person(&enrolment.lead_id, test.condition.needs()).await?;
        let Some(person) = person.map(|person: Person| person.with(event)) else { return Ok(()) };
        if program.version != enrolment.program {
            // She was moved over; what she goes on in must outlive the next edit too.
            self.tables.keep_program(&sequence.id, &program).await?;
        }
        let now = self.cloud.now();
        if !test.condition.holds(&person.known(&self.funnel.scoring, Some(enrolment.since()), now)) {
            return Ok(());
        }
        let zone = self.zone(&person.lead);
        let why = format!("{}{CAME_TRUE}", test.text);
        let decided = enrolment.clone().decided(&step.id, why.clone(), now);
        let next = program.advance(decided, then.clone(), &why, now, zone);
        // If it has moved on by itself meanwhile, delivery has seen the same.
        if self.tables.move_enrolment(&enrolment, &next).await? {
            self.timers.set(&next, sequence.class, 0, now).await?;
            self.timers.abandon(&enrolment, sequence.class, now).await?;
        }
        Ok(())
    }
}
