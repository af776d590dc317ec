//! A broadcast's ticks: a page of people is counted or handed over, then the next tick is queued.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use cloud::{CallError, person::Person};
use content::funnel::Broadcast as Plan;
use domain::{
    broadcast::{Broadcast, BroadcastState, BroadcastTick, excluded},
    condition::Needs,
    engagement::MailClass,
    id::Id,
    lead::Lead,
    limits::{BROADCAST_PAGE, BROADCAST_SECONDS, BROADCAST_TICK_SECONDS, QUEUE_WAIT_SECONDS},
    sequence::Entry,
};

use crate::{Delivery, Later};

impl Delivery {
    /// Works on a page of people. The row's version, which every tick raises, makes sure that a
    /// tick that comes twice does its work once.
    pub(crate) async fn tick(&self, tick: &BroadcastTick) -> Result<(), Later> {
        let Some(row) = self.tables.broadcast(&tick.broadcast).await? else { return Ok(()) };
        if row.version == tick.version + 1 {
            // Perhaps that time we did not get as far as the next tick. It comes no earlier than that
            // one would have, so that a tick that came twice makes nothing faster.
            let waited = (self.cloud.now() - row.changed_at).num_seconds();
            let wait = self.funnel.broadcast(&tick.broadcast).map_or(0, slowest) - waited;
            return Ok(self.queue(&row, i32::try_from(wait.max(1)).unwrap_or(QUEUE_WAIT_SECONDS)).await?);
        }
        if row.version != tick.version || row.tick().is_none() {
            return Ok(());
        }
        let Some(plan) = self.funnel.broadcast(&tick.broadcast) else {
            tracing::error!(broadcast = %tick.broadcast, "the funnel has no such broadcast any more");
            return Ok(());
        };
        let sends = row.state == BroadcastState::Sending;
        let (most, delay) = if sends { self.pace(plan).await? } else { (u64::MAX, 0) };
        if most == 0 {
            // Tomorrow's quota. The row tells that somebody waits, or the sweep would add ticks.
            let waits = Broadcast { version: row.version + 1, changed_at: self.cloud.now(), ..row };
            if self.tables.put_broadcast(&waits).await? {
                self.queue(&waits, delay).await?;
            }
            return Ok(());
        }
        let (leads, next) = self.tables.leads_page(row.after.as_ref()).await?;
        let (mut taken, mut out, mut last) = (0, BTreeMap::new(), row.after.clone());
        let (mut cut, count) = (false, leads.len());
        let until = self.cloud.now() + TimeDelta::seconds(BROADCAST_SECONDS);
        for lead in leads {
            // A page that takes longer than the function may run would never be turned.
            if taken == most || self.cloud.now() >= until && last != row.after {
                cut = true;
                break;
            }
            let lead_id = lead.lead_id.clone();
            match self.leaves_out(plan, lead).await? {
                Some(reason) => *out.entry(reason).or_default() += 1,
                None => {
                    taken += 1;
                    if sends {
                        self.enrol_in(plan, &lead_id).await?;
                    }
                }
            }
            last = Some(lead_id);
        }
        tracing::info!(broadcast = %plan.id, people = count, taken, "a broadcast turned a page");
        let next = row.turned(if cut { last } else { next }, taken, out, self.cloud.now());
        if self.tables.put_broadcast(&next).await? {
            self.queue(&next, delay).await?;
        }
        Ok(())
    }

    async fn queue(&self, row: &Broadcast, delay: i32) -> Result<(), CallError> {
        match row.tick() {
            Some(tick) => self.queues.send_tick(&tick, delay).await,
            None => Ok(()),
        }
    }

    /// How many people this tick may take, and how many seconds to wait for the next one: within
    /// what the broadcast asks for and what SES allows.
    async fn pace(&self, plan: &Plan) -> Result<(u64, i32), Later> {
        let quota = self.mailer.quota().await?;
        if quota.left_for_broadcasts == 0 {
            return Ok((0, QUEUE_WAIT_SECONDS));
        }
        // A fifth of the rate stays free for mail that somebody waits for.
        let allowed = quota.per_second * 3600 * 4 / 5;
        let an_hour = plan.per_hour.map_or(allowed, |wanted| allowed.min(wanted.into())).max(1);
        let tick = u64::try_from(BROADCAST_TICK_SECONDS).unwrap_or(60);
        let page = u64::try_from(BROADCAST_PAGE).unwrap_or(100);
        let most = (an_hour * tick / 3600).max(1);
        // A page is at most what a tick may take; a faster pace has more pages in a tick's time, a
        // slower one than a person a tick waits longer.
        let delay = (3600 * page.min(most)).div_ceil(an_hour);
        let delay = i32::try_from(delay).unwrap_or(QUEUE_WAIT_SECONDS).min(QUEUE_WAIT_SECONDS);
        Ok((most.min(quota.left_for_broadcasts), delay))
    }

    async fn leaves_out(&self, plan: &Plan, lead: Lead) -> Result<Option<String>, Later> {
        let test = plan.segment.as_ref().and_then(|id| self.funnel.segment(id)).map(|segment| &segment.test);
        let needs = test.map_or(Needs::default(), |test| test.condition.needs());
        let person = match needs == Needs::default() {
            true => Person::of(lead),
            false => match self.tables.person(&lead.lead_id, needs).await? {
                Some(person) => person,
                None => return Ok(Some("the person is not known any more".to_owned())),
            },
        };
        let known = person.known(&self.funnel.scoring, None, self.cloud.now());
        let in_segment = test.is_none_or(|test| test.condition.holds(&known));
        let topics = self.funnel.mail(&plan.mail).map(|mail| mail.topics.as_slice()).unwrap_or_default();
        Ok(excluded(&person.lead, MailClass::Marketing, topics, in_segment))
    }

    /// A person gets a broadcast once: her enrolment in it is there or not.
    async fn enrol_in(&self, plan: &Plan, lead_id: &Id) -> Result<(), Later> {
        let now = self.cloud.now();
        let zone = self.zone(lead_id).await?;
        let entry = Entry {
            lead_id: lead_id.clone(),
            subject: None,
            generation: 1,
            at: now,
            anchor: now,
            values: BTreeMap::new(),
        };
        let planned = plan.sequence.enrol(entry, now, zone);
        let enrolment = match self.tables.enrol(&planned, false).await? {
            true => Some(planned),
            // Perhaps that time we did not get as far as the queue.
            false => self.tables.enrolment(lead_id, &planned.enrolment_id).await?,
        };
        if let Some(enrolment) = enrolment {
            self.timers.set(&enrolment, MailClass::Marketing, 0, now).await?;
        }
        Ok(())
    }
}

/// The longest time between two ticks of a broadcast, in seconds, but for a quota that is used up.
fn slowest(plan: &Plan) -> i64 {
    let a_mail = plan.per_hour.map_or(0, |an_hour| 3600 / i64::from(an_hour.max(1)));
    a_mail.clamp(BROADCAST_TICK_SECONDS, QUEUE_WAIT_SECONDS.into())
}
