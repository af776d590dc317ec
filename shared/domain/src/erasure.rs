//! Erasing a person (GDPR art. 17; 個人情報保護法 35条): what stays in her row's place, and how she
//! begins anew if she opts in again.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    event::Event,
    id::Id,
    lead::{Lead, Mailing},
    time,
};

/// What stands in the Leads table in place of a person who was erased: nothing that says who she
/// was, and enough to tell late news of her earlier life from a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    pub lead_id: Id,
    #[serde(with = "time::stored")]
    pub erased_at: DateTime<Utc>,
    /// Whether the address was closed, for whatever reason, or news that closes it came later: a new
    /// opt-in does not open it again.
    pub suppressed: bool,
    /// What still has to be done; none when all of it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
    pub version: u64,
}

/// What it takes to finish an erasure that stopped half way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// The day of the first fact about her.
    pub since: NaiveDate,
    /// Her browsers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub visitor_ids: Vec<Id>,
    /// Makes the new ids of her facts ([`Event::anonymous`]).
    pub key: String,
}

/// A row of the Leads table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Row {
    Lead(Box<Lead>),
    Erased(Erased),
}

impl Erased {
    /// What takes the place of a person's row.
    pub fn of(lead: &Lead, rest: Rest, now: DateTime<Utc>) -> Self {
        Self {
            lead_id: lead.lead_id.clone(),
            erased_at: now,
            suppressed: lead.mailing == Mailing::Suppressed,
            rest: Some(rest),
            version: lead.version + 1,
        }
    }

    /// The mark of another run of the erasure. Even one that is finished has something to do again: it
    /// keeps her from opting in until this run is over. `key` is used if there was none.
    pub fn again(self, key: String) -> Self {
        let since = time::plus_days(self.erased_at.date_naive(), -1);
        let rest = self.rest.unwrap_or(Rest { since, visitor_ids: vec![], key });
        Self { rest: Some(rest), version: self.version + 1, ..self }
    }

    /// The same when nothing is left to do.
    pub fn finished(self) -> Self {
        Self { rest: None, version: self.version + 1, ..self }
    }

    /// What closes an address was heard of only after the erasure. None if it is closed already.
    pub fn suppress(self) -> Option<Self> {
        (!self.suppressed).then(|| Self { suppressed: true, version: self.version + 1, ..self })
    }

    /// Somebody who opts in again, as a new lead: nothing of the earlier life is known.
    pub fn begin_anew(&self, lead: Lead) -> Lead {
        Lead {
            mailing: if self.suppressed { Mailing::Suppressed } else { lead.mailing },
            erased_at: Some(self.erased_at),
            version: self.version + 1,
            ..lead
        }
    }
}

impl Lead {
    /// Whether what happened then happened in a life that was erased since.
    pub fn has_forgotten(&self, at: DateTime<Utc>) -> bool {
        self.erased_at.is_some_and(|erased_at| at <= erased_at)
    }
}

impl Event {
    /// Whether it sets anything going: not if it concerns a person who was erased since.
    pub fn counts_for(&self, lead: Option<&Lead>) -> bool {
        !self.is_anonymous()
            && (self.lead_id.is_none() || lead.is_some_and(|lead| !lead.has_forgotten(self.occurred_at)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono_tz::Tz::Asia__Tokyo;

    use super::*;
    use crate::{
        event::{Fact, FactKind},
        kpi::DayCount,
        samples::{at, fact, id, person},
    };

    fn erased(lead: &Lead) -> Erased {
        let rest =
            Rest { since: "2026-09-01".parse().unwrap(), visitor_ids: vec![], key: "secret".to_owned() };
        Erased::of(lead, rest, at("2026-10-01T00:00:00Z"))
    }

    #[test]
    fn who_opts_in_again_is_new_but_a_closed_address_stays_closed() {
        let lead = person().lead;
        let finished = erased(&lead).finished();
        assert_eq!(finished.rest, None);
        let anew = finished.begin_anew(Lead { version: 1, ..lead.clone() });
        assert_eq!((anew.mailing, anew.version), (Mailing::Subscribed, lead.version + 3));
        let closed = erased(&Lead { mailing: Mailing::Suppressed, ..lead.clone() });
        assert_eq!(closed.clone().suppress(), None);
        let closed_since = finished.clone().suppress().unwrap();
        assert_eq!(closed_since.version, finished.version + 1);
        for closed in [closed, closed_since] {
            assert_eq!(closed.begin_anew(lead.clone()).mailing, Mailing::Suppressed);
        }
    }

    #[test]
    fn a_mark_that_is_taken_up_again_has_something_to_do_and_another_version() {
        let begun = erased(&person().lead);
        let again = begun.clone().again("other".to_owned());
        assert_eq!((&again.rest, again.version), (&begun.rest, begun.version + 1));
        let finished = begun.finished();
        let again = finished.clone().again("other".to_owned());
        let rest = again.rest.unwrap();
        assert_eq!((rest.since, rest.key.as_str()), ("2026-09-30".parse().unwrap(), "other"));
        assert_eq!((again.version, again.erased_at), (finished.version + 1, finished.erased_at));
    }

    #[test]
    fn a_fact_of_an_erased_life_counts_for_nobody() {
        let lead = person().lead;
        let anew = erased(&lead).begin_anew(lead.clone());
        let fact = |when| Event::about(&lead.lead_id, "k", Fact::Unsubscribed {}, at(when), Asia__Tokyo);
        let (before, after) = (fact("2026-10-01T00:00:00Z"), fact("2026-10-01T00:00:01Z"));
        let visit =
            Event::visit(&id("v-1"), "guide", true, None, BTreeMap::new(), before.occurred_at, Asia__Tokyo);
        for (what, event, lead, expected) in [
            ("hers", &before, Some(&lead), true),
            ("an erased person's", &after, None, false),
            ("of the earlier life", &before, Some(&anew), false),
            ("of the new life", &after, Some(&anew), true),
            ("a visitor's", &visit, None, true),
            ("an anonymous one", &visit.anonymous("secret"), None, false),
        ] {
            assert_eq!(event.counts_for(lead), expected, "{what}");
        }
    }

    #[test]
    fn anonymous_facts_name_nobody_and_count_the_same() {
        let secrets =
            ["l-1", "v-1", "\"c-1", "a-1", "u-1", "hanako", "nurture_1", "同意", "家", "8f3a", "03:25"];
        let count = |events: &[Event]| {
            let mut day = DayCount::new("2026-11-22".parse().unwrap());
            events.iter().for_each(|event| day.add(event));
            day.finish()
        };
        let values = BTreeMap::from([("for".to_owned(), "家のhanako".to_owned())]);
        let consent = person().lead.consent;
        let all = FactKind::ALL.map(fact).into_iter().map(|mut fact| {
            match &mut fact {
                Fact::OptedIn { visitor_id, source, .. } => {
                    *visitor_id = Some(id("v-1"));
                    *source = Some("a friend of hanako's".to_owned());
                }
                Fact::OptInRequested { source, .. } => *source = Some("hanako".to_owned()),
                Fact::MailClicked { link, .. } => *link = "https://shop.example.com/carts/8f3a".to_owned(),
                Fact::ConsultationBooked { scheduled_date, .. }
                | Fact::ConsultationRescheduled { scheduled_date, .. } => {
                    *scheduled_date = at("2026-11-30T03:25:00Z");
                }
                Fact::Told { values: told, .. } => told.clone_from(&values),
                _ => {}
            }
            fact
        });
        let about = |(number, fact): (usize, Fact)| {
            let at = at("2026-11-22T01:02:03Z");
            match fact {
                Fact::Visited { visitor_id, .. } => {
                    Event::visit(&visitor_id, "landing", true, None, BTreeMap::new(), at, Asia__Tokyo)
                }
                fact => Event::about(&id("l-1"), &format!("l-1.{number}"), fact, at, Asia__Tokyo)
                    .with_consent(&consent),
            }
        };
        let facts: Vec<Event> = all.enumerate().map(about).collect();
        let anonymous: Vec<Event> = facts.iter().map(|fact| fact.anonymous("secret")).collect();
        assert_eq!(count(&anonymous), count(&facts));
        for (event, anonymous) in facts.iter().zip(&anonymous) {
            let stored = serde_json::to_string(anonymous).unwrap();
            let told = secrets.iter().find(|secret| stored.contains(*secret));
            assert_eq!(told, None, "{stored}");
            assert_eq!(anonymous.fact.kind(), event.fact.kind());
            assert_eq!(event.anonymous("secret"), *anonymous, "the same under the same key");
            assert_ne!(event.anonymous("other"), *anonymous);
        }
    }
}
