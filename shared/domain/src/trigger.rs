//! Triggers: what sets a sequence going, ends it, or gives points.

use serde::{Deserialize, Serialize};

use crate::{
    condition::Needs,
    event::{Event, Fact, FactKind},
    id::Id,
    lead::Stage,
};

/// Something that happens to a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// One of Michi's own facts.
    Fact(FactKind),
    /// One of the funnel's own facts, told by another system.
    Told(Id),
    /// A lead magnet was asked for.
    Download(Id),
    /// A page was seen for the so-manieth time.
    Page { page: Id, times: u32 },
    /// A tag was given.
    Tag(String),
    /// A stage was reached.
    Stage(Stage),
    /// The score came up to this, or above it.
    ScoreRisesTo(i64),
    /// The score fell to this, or below it.
    ScoreFallsTo(i64),
    /// Nothing was heard of the person for so many days.
    Inactive { days: i64 },
    /// She enters another sequence.
    Enters(Id),
}

impl Trigger {
    /// Whether the fact is what the trigger waits for. A page that must be seen several times also
    /// needs [`is_nth_view`]; inactivity and entering a sequence are no facts.
    pub fn matches(&self, fact: &Fact) -> bool {
        match (self, fact) {
            (Self::Fact(kind), fact) => fact.kind() == *kind && !fact.is_by_machine(),
            (Self::Told(id), Fact::Told { fact, .. }) => id == fact,
            (Self::Download(id), Fact::OptedIn { lead_magnet_type: Some(magnet), .. }) => {
                id.as_str() == magnet
            }
            (Self::Page { page, .. }, Fact::PageSeen { page: seen }) => page.as_str() == seen,
            (Self::Tag(tag), Fact::Tagged { tag: given }) => tag == given,
            (Self::Stage(stage), Fact::StageChanged { stage: reached }) => stage == reached,
            // Whoever pays is a customer from then on.
            (Self::Stage(stage), Fact::CustomerPaid { .. }) => *stage == Stage::Customer,
            (Self::ScoreRisesTo(limit), Fact::ScoreCrossed { threshold, rising: true, .. })
            | (Self::ScoreFallsTo(limit), Fact::ScoreCrossed { threshold, rising: false, .. }) => {
                limit == threshold
            }
            (
                Self::Told(_)
                | Self::Download(_)
                | Self::Page { .. }
                | Self::Tag(_)
                | Self::Stage(_)
                | Self::ScoreRisesTo(_)
                | Self::ScoreFallsTo(_)
                | Self::Inactive { .. }
                | Self::Enters(_),
                _,
            ) => false,
        }
    }

    /// The kind of fact that it matches; none for what is no fact.
    pub fn kind(&self) -> Option<FactKind> {
        match self {
            Self::Fact(kind) => Some(*kind),
            Self::Told(_) => Some(FactKind::Told),
            Self::Download(_) => Some(FactKind::OptedIn),
            Self::Page { .. } => Some(FactKind::PageSeen),
            Self::Tag(_) => Some(FactKind::Tagged),
            Self::Stage(_) => Some(FactKind::StageChanged),
            Self::ScoreRisesTo(_) | Self::ScoreFallsTo(_) => Some(FactKind::ScoreCrossed),
            Self::Inactive { .. } | Self::Enters(_) => None,
        }
    }

    /// What has to be read to know whether it has happened. Mail's facts are told by the ledger; the
    /// timeline leaves them out.
    pub fn needs(&self) -> Needs {
        match self {
            Self::Fact(FactKind::MailOpened | FactKind::MailClicked | FactKind::MailBounced) => {
                Needs { ledger: true, ..Needs::default() }
            }
            _ => Needs { timeline: true, ..Needs::default() },
        }
    }

    /// Whether it is a matter of time rather than of a fact: somebody has to look now and then.
    pub fn is_watched(&self) -> bool {
        matches!(self, Self::Inactive { .. } | Self::ScoreFallsTo(_))
    }
}

/// Whether the view is the `times`th of its page by this person: decided by its place among the
/// views before it, so that a view told twice or late is counted as the same one.
pub fn is_nth_view(event: &Event, times: u32, timeline: &[Event]) -> bool {
    let Fact::PageSeen { page } = &event.fact else { return false };
    let earlier = timeline.iter().filter(|other| {
        matches!(&other.fact, Fact::PageSeen { page: seen } if seen == page)
            && (other.occurred_at, &other.event_id) < (event.occurred_at, &event.event_id)
    });
    u32::try_from(earlier.count()).is_ok_and(|before| before + 1 == times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{fact, id, person, seen, told};

    fn triggers() -> Vec<(Trigger, Vec<Fact>)> {
        let crossed = |threshold, rising| Fact::ScoreCrossed { threshold, rising, score: 60 };
        let page = |times| Trigger::Page { page: id("pricing"), times };
        let facts = FactKind::ALL.map(|kind| (Trigger::Fact(kind), vec![fact(kind)]));
        let others = [
            (Trigger::Told(id("ordered")), vec![told("ordered")]),
            (Trigger::Told(id("shipped")), vec![]),
            (Trigger::Download(id("guide")), vec![fact(FactKind::OptedIn)]),
            (Trigger::Download(id("checklist")), vec![]),
            (page(1), vec![seen("pricing")]),
            (page(3), vec![seen("pricing")]),
            (Trigger::Page { page: id("cases"), times: 1 }, vec![]),
            (Trigger::Tag("vip".into()), vec![fact(FactKind::Tagged)]),
            (Trigger::Tag("staff".into()), vec![]),
            (Trigger::Stage(Stage::Mql), vec![fact(FactKind::StageChanged)]),
            (Trigger::Stage(Stage::Sql), vec![]),
            (Trigger::ScoreRisesTo(50), vec![crossed(50, true)]),
            (Trigger::ScoreRisesTo(75), vec![]),
            (Trigger::ScoreFallsTo(50), vec![crossed(50, false)]),
            (Trigger::ScoreFallsTo(20), vec![]),
            (Trigger::Inactive { days: 60 }, vec![]),
            (Trigger::Enters(id("follow-up")), vec![]),
        ];
        facts.into_iter().chain(others).collect()
    }

    #[test]
    fn a_trigger_is_set_off_by_its_own_facts_and_no_others() {
        let crossed = |rising| Fact::ScoreCrossed { threshold: 50, rising, score: 60 };
        let all: Vec<_> =
            FactKind::ALL.map(fact).into_iter().chain([crossed(true), crossed(false)]).collect();
        for (trigger, facts) in triggers() {
            for fact in &all {
                // Any score that crosses, rising or falling, is of one kind.
                let kind =
                    trigger == Trigger::Fact(FactKind::ScoreCrossed) && fact.kind() == FactKind::ScoreCrossed;
                let same = |own: &Fact| match (own, fact) {
                    (Fact::ScoreCrossed { rising, .. }, Fact::ScoreCrossed { rising: is, .. }) => {
                        rising == is
                    }
                    _ => own == fact,
                };
                assert_eq!(trigger.matches(fact), kind || facts.iter().any(same), "{trigger:?} {fact:?}");
                assert!(
                    !trigger.matches(fact) || trigger.kind() == Some(fact.kind()),
                    "{trigger:?} {fact:?}"
                );
            }
            let watched = matches!(trigger, Trigger::Inactive { .. } | Trigger::ScoreFallsTo(_));
            assert_eq!(trigger.is_watched(), watched, "{trigger:?}");
            let stored = serde_json::to_value(&trigger).unwrap();
            assert_eq!(serde_json::from_value::<Trigger>(stored).unwrap(), trigger);
        }
    }

    #[test]
    fn what_a_machine_does_sets_nothing_off() {
        let (engagement_id, email_campaign_id) = (String::new(), String::new());
        let opened = Fact::MailOpened {
            engagement_id: engagement_id.clone(),
            email_campaign_id: email_campaign_id.clone(),
            machine: true,
        };
        let link = "https://example.com".to_owned();
        let clicked = Fact::MailClicked { engagement_id, email_campaign_id, link, machine: true };
        for fact in [opened, clicked] {
            assert!(!Trigger::Fact(fact.kind()).matches(&fact), "{fact:?}");
        }
    }

    #[test]
    fn a_view_is_the_third_one_however_late_or_often_it_is_told() {
        let known = person()
            .did(seen("pricing"), "2026-11-01T00:00:00Z")
            .did(seen("cases"), "2026-11-02T00:00:00Z")
            .did(seen("pricing"), "2026-11-03T00:00:00Z")
            .did(seen("pricing"), "2026-11-03T00:00:00Z")
            .did(seen("pricing"), "2026-11-05T00:00:00Z");
        let views: Vec<_> = known.timeline.iter().filter(|event| event.fact == seen("pricing")).collect();
        for (number, view) in (1..).zip(&views) {
            let (mut told_again, mut not_yet) = (known.timeline.clone(), known.timeline.clone());
            told_again.reverse();
            not_yet.retain(|event| event.event_id != view.event_id);
            for timeline in [&known.timeline, &told_again, &not_yet] {
                for times in 0..6 {
                    assert_eq!(is_nth_view(view, times, timeline), times == number, "{times} {view:?}");
                }
            }
        }
        assert!(!is_nth_view(&known.timeline[0], 1, &known.timeline), "an opt-in is no view");
    }
}
