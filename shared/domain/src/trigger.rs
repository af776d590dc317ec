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
