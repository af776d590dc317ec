//! Scores: points for what a person is and does, less what time takes away (seed 001, phase 2).
//!
//! A score is worked out from facts whenever it is asked for, at any moment of the past too. So
//! nothing has to visit every lead every night, new rules hold for everybody at once, and every
//! point can be explained.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    condition::{Known, Needs, Test},
    engagement::Engagement,
    event::{Fact, FactKind},
    id::Id,
    trigger::Trigger,
};

/// Time is taken off every so many days of silence.
const DECAY_EVERY_DAYS: i64 = 30;
/// How far ahead a fall is looked for: ten years of silence.
const DECAYS: i64 = 120;

/// A funnel's rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scoring {
    pub fit: Vec<FitRule>,
    pub behaviour: Vec<BehaviourRule>,
    /// In order of their days.
    pub decay: Vec<Decay>,
    /// In order of their points.
    pub bands: Vec<Band>,
    /// Scores at which something starts, in order: crossing one is a fact.
    pub thresholds: Vec<i64>,
}

/// Points for what a person is. Its test sees neither her score, of which it is a part, nor the
/// sequences that she is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FitRule {
    pub test: Test,
    pub points: i64,
}

/// Points for what a person does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BehaviourRule {
    pub on: Trigger,
    /// How the rule is called in explanations.
    pub name: String,
    pub points: i64,
    /// The rule's points in all, given or taken, never go beyond this.
    pub at_most: Option<i64>,
    pub once: Once,
}

/// How often the same thing counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Once {
    Always,
    /// Once in 24 hours.
    Day,
    Ever,
}

/// What silence costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decay {
    pub after_days: i64,
    /// Taken off every 30 days from then on, until the next rule holds.
    pub points: i64,
}

/// A range of scores with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Band {
    pub id: Id,
    pub name: String,
    pub from: i64,
}

/// A score and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// Never below 0.
    pub total: i64,
    pub fit: i64,
    /// May be below 0 as far as time has eaten into the fit.
    pub behaviour: i64,
    /// In order of time; the fit comes first.
    pub entries: Vec<ScoreEntry>,
}

/// Why there are so many points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreEntry {
    /// None for what the person is.
    #[serde(with = "crate::time::stored_option", default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
    pub what: String,
    /// What it gave or took; a cap or the floor may make it less than the rule says.
    pub points: i64,
}

/// The points so far, while facts are gone through in order of time.
struct Count {
    fit: i64,
    behaviour: i64,
    entries: Vec<ScoreEntry>,
    quiet_since: DateTime<Utc>,
    /// Decays since then.
    decays: i64,
}

impl Scoring {
    /// Whether there is anything to count.
    pub fn is_empty(&self) -> bool {
        self.fit.is_empty() && self.behaviour.is_empty()
    }

    /// The person's score at `known.now`: later facts are left out, so that any day of the past
    /// can be asked for. Attributes are as they are today.
    pub fn score(&self, known: &Known<'_>) -> Score {
        self.count(known).score()
    }

    /// When the score will have fallen to the threshold if nothing more is heard of the person;
    /// none if it never will, or already has.
    pub fn falls_to(&self, threshold: i64, known: &Known<'_>) -> Option<DateTime<Utc>> {
        let mut count = self.count(known);
        for _ in 0..DECAYS {
            if count.total() <= threshold {
                return None;
            }
            let at = self.next_decay(&count)?;
            self.decay_until(&mut count, at);
            if count.total() <= threshold {
                return Some(at);
            }
        }
        None
    }

    /// The band of a score.
    pub fn band(&self, total: i64) -> Option<&Band> {
        self.bands.iter().rev().find(|band| band.from <= total)
    }

    /// Which thresholds lie between an earlier score and the present one, and in which direction.
    pub fn crossed(&self, before: i64, after: i64) -> Vec<(i64, bool)> {
        let rising = self.thresholds.iter().filter(|limit| before < **limit && **limit <= after);
        let falling = self.thresholds.iter().rev().filter(|limit| after <= **limit && **limit < before);
        rising.map(|limit| (*limit, true)).chain(falling.map(|limit| (*limit, false))).collect()
    }

    /// Whether a fact of this kind can change a score.
    pub fn listens_to(&self, kind: FactKind) -> bool {
        // Any activity ends a silence.
        let fits = self.fit.iter().any(|rule| rule.test.condition.listens_to(kind));
        let rules = self.behaviour.iter().any(|rule| rule.on.kind() == Some(kind));
        fits || rules || (!self.is_empty() && kind.is_activity() && !self.decay.is_empty())
    }

    /// What has to be read for a score.
    pub fn needs(&self) -> Needs {
        Needs { ledger: true, timeline: true, enrolments: false }
    }

    fn count(&self, known: &Known<'_>) -> Count {
        let mut count =
            Count { fit: 0, behaviour: 0, entries: vec![], quiet_since: known.lead.opt_in_date, decays: 0 };
        let without = Self::default();
        let as_fit = Known { scoring: &without, enrolments: &[], ..*known };
        for rule in self.fit.iter().filter(|rule| rule.test.condition.holds(&as_fit)) {
            count.fit += rule.points;
            count.entries.push(ScoreEntry { at: None, what: rule.test.text.clone(), points: rule.points });
        }
        let mut given: BTreeMap<usize, (i64, DateTime<Utc>)> = BTreeMap::new();
        let mut views: BTreeMap<String, u32> = BTreeMap::new();
        for (at, _, fact) in acts(known) {
            self.decay_until(&mut count, at);
            let view = nth_view(&mut views, &fact);
            for (number, rule) in
                self.behaviour.iter().enumerate().filter(|(_, rule)| rule.is_about(&fact, view))
            {
                let earlier = given.get(&number).copied();
                let repeated = earlier.is_some_and(|(_, last)| match rule.once {
                    Once::Always => false,
                    Once::Day => at < last + TimeDelta::days(1),
                    Once::Ever => true,
                });
                if repeated {
                    continue;
                }
                let so_far = earlier.map_or(0, |(points, _)| points);
                let left = rule.at_most.map_or(i64::MAX, |most| (most - so_far.abs()).max(0));
                let points = rule.points.clamp(-left, left);
                given.insert(number, (so_far + points, at));
                count.add(at, rule.name.clone(), points);
            }
            if fact.kind().is_activity() {
                count.quiet_since = at;
                count.decays = 0;
            }
        }
        self.decay_until(&mut count, known.now);
        count
    }

    fn next_decay(&self, count: &Count) -> Option<DateTime<Utc>> {
        let first = self.decay.first()?;
        Some(count.quiet_since + TimeDelta::days(first.after_days + count.decays * DECAY_EVERY_DAYS))
    }

    fn decay_until(&self, count: &mut Count, until: DateTime<Utc>) {
        while let Some(at) = self.next_decay(count).filter(|at| *at <= until && count.decays < DECAYS) {
            let days = (at - count.quiet_since).num_days();
            count.decays += 1;
            if let Some(rule) = self.decay.iter().rev().find(|rule| rule.after_days <= days) {
                count.add(at, format!("{days} days of silence"), -rule.points);
            }
        }
    }
}

impl BehaviourRule {
    /// `view` says for the so-manieth time its page was seen, if the fact is that.
    fn is_about(&self, fact: &Fact, view: u32) -> bool {
        let counted = match self.on {
            Trigger::Page { times, .. } if times > 1 => view == times,
            _ => true,
        };
        counted && self.on.matches(fact)
    }
}

/// Counts the views of each page.
fn nth_view(views: &mut BTreeMap<String, u32>, fact: &Fact) -> u32 {
    let Fact::PageSeen { page } = fact else { return 0 };
    let view = views.entry(page.clone()).or_default();
    *view += 1;
    *view
}

impl Count {
    /// Adds points, but never so that the total falls below 0.
    fn add(&mut self, at: DateTime<Utc>, what: String, points: i64) {
        let floor = -self.fit;
        let after = (self.behaviour + points).max(floor.min(self.behaviour));
        let points = after - self.behaviour;
        self.behaviour = after;
        if points != 0 {
            self.entries.push(ScoreEntry { at: Some(at), what, points });
        }
    }

    fn total(&self) -> i64 {
        (self.fit + self.behaviour).max(0)
    }

    fn score(self) -> Score {
        Score { total: self.total(), fit: self.fit, behaviour: self.behaviour, entries: self.entries }
    }
}

/// What the person did until `known.now`, in order of time: the timeline, and of each mail in the
/// ledger that it was opened, clicked or came back. What happened at the same moment is in the order
/// of names, so that the score never depends on the order in which rows were read.
fn acts(known: &Known<'_>) -> Vec<(DateTime<Utc>, String, Fact)> {
    let told =
        known.timeline.iter().map(|event| (event.occurred_at, event.event_id.clone(), event.fact.clone()));
    let mail = known.ledger.iter().flat_map(|row| {
        let act = |at: Option<DateTime<Utc>>, fact: fn(String, String, &Engagement) -> Fact| {
            let fact = fact(row.engagement_id.clone(), row.email_campaign_id.clone(), row);
            at.map(|at| (at, format!("{}.{}", fact.kind().as_str(), row.engagement_id), fact))
        };
        let opened = act(row.opened_at, |engagement_id, email_campaign_id, _| Fact::MailOpened {
            engagement_id,
            email_campaign_id,
            machine: false,
        });
        let clicked = act(row.clicked_at, |engagement_id, email_campaign_id, row| Fact::MailClicked {
            engagement_id,
            email_campaign_id,
            link: row.click_url.clone().unwrap_or_default(),
            machine: false,
        });
        let bounced = act(row.bounced_at(), |engagement_id, email_campaign_id, _| Fact::MailBounced {
            engagement_id,
            email_campaign_id,
            permanent: true,
        });
        [opened, clicked, bounced].into_iter().flatten()
    });
    let mut acts: Vec<_> = told.chain(mail).filter(|(at, ..)| *at <= known.now).collect();
    acts.sort_by(|(at, key, _), (other_at, other, _)| (at, key).cmp(&(other_at, other)));
    acts
}

#[cfg(test)]
mod tests;
