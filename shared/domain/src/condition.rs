//! Conditions over what is known of a person: for entries, branches, waits, segments, mail blocks
//! and fit points.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    engagement::Engagement,
    event::{Event, Fact, FactKind},
    id::Id,
    lead::{Lead, Stage},
    score::Scoring,
    sequence::{Enrolment, EnrolmentState},
    trigger::Trigger,
};

/// A condition as it was written, for explanations, and as it is decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    pub text: String,
    pub condition: Condition,
}

/// What may hold of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Every one of them; true when there is none.
    All(Vec<Self>),
    /// One of them at least; false when there is none.
    Any(Vec<Self>),
    Not(Box<Self>),
    Tag(String),
    Stage(Compare, Stage),
    Score(Compare, i64),
    /// An attribute that is not known fits nothing, not even `!=`.
    Attribute {
        name: String,
        compare: Compare,
        value: AttributeValue,
    },
    Source(String),
    Magnet(Id),
    Locale(String),
    /// A person, no machine, opened the mail.
    Opened(Id),
    /// A person followed a link in it; any, or one that contains the text.
    Clicked {
        mail: Id,
        link: Option<String>,
    },
    Seen {
        page: Id,
        compare: Compare,
        times: i64,
    },
    /// The fact has happened, ever.
    Ever(Trigger),
    /// It happened since she entered the sequence that asks.
    Happened(Trigger),
    /// She is in a sequence at the moment.
    Inside(Id),
    SilentDays(Compare, i64),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// What an attribute is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeValue {
    Text(String),
    Number(i64),
}

impl Compare {
    fn holds<T: Ord>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::More => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

/// What has to be read before a condition can be decided. The lead always is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// The send ledger.
    pub ledger: bool,
    pub timeline: bool,
    pub enrolments: bool,
}

impl Needs {
    /// What either needs.
    pub fn and(self, other: Self) -> Self {
        Self {
            ledger: self.ledger || other.ledger,
            timeline: self.timeline || other.timeline,
            enrolments: self.enrolments || other.enrolments,
        }
    }
}

/// A person as she is known at a moment. What the condition does not need may be left empty.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub lead: &'a Lead,
    pub ledger: &'a [Engagement],
    /// In order of time.
    pub timeline: &'a [Event],
    pub enrolments: &'a [Enrolment],
    pub scoring: &'a Scoring,
    /// When she entered the sequence that asks.
    pub entered_at: Option<DateTime<Utc>>,
    pub now: DateTime<Utc>,
}

impl Known<'_> {
    /// When the person herself last did something.
    pub fn last_activity(&self) -> DateTime<Utc> {
        let told = self.timeline.iter().filter(|event| event.fact.kind().is_activity());
        let mail = self.ledger.iter().flat_map(|mail| [mail.opened_at, mail.clicked_at]).flatten();
        let acts = told.map(|event| event.occurred_at).chain(mail).filter(|at| *at <= self.now);
        acts.max().unwrap_or(self.lead.opt_in_date)
    }

    /// Whether the trigger has happened, since that moment if there is one.
    pub fn happened(&self, trigger: &Trigger, since: Option<DateTime<Utc>>) -> bool {
        let late_enough = |at: DateTime<Utc>| at <= self.now && since.is_none_or(|since| at >= since);
        let mails =
            |at: fn(&Engagement) -> Option<DateTime<Utc>>| self.ledger.iter().filter_map(at).any(late_enough);
        // Mail's facts are told by the ledger; the timeline leaves them out.
        match trigger {
            Trigger::Fact(FactKind::MailOpened) => mails(|mail| mail.opened_at),
            Trigger::Fact(FactKind::MailClicked) => mails(|mail| mail.clicked_at),
            Trigger::Fact(FactKind::MailBounced) => mails(Engagement::bounced_at),
            Trigger::Page { page, times } => {
                let since = since.unwrap_or(DateTime::<Utc>::MIN_UTC);
                self.views(page, since) >= i64::from(*times)
            }
            trigger => self
                .timeline
                .iter()
                .any(|event| trigger.matches(&event.fact) && late_enough(event.occurred_at)),
        }
    }

    /// The sends of a mail.
    fn mails(&self, mail: &Id) -> impl Iterator<Item = &Engagement> {
        self.ledger.iter().filter(move |row| row.mail.as_ref() == Some(mail))
    }

    /// Whether that was before now, as far as anybody knows.
    fn was(&self, at: Option<DateTime<Utc>>) -> bool {
        at.is_none_or(|at| at <= self.now)
    }

    fn views(&self, page: &Id, since: DateTime<Utc>) -> i64 {
        let views = self.timeline.iter().filter(|event| {
            event.occurred_at >= since
                && event.occurred_at <= self.now
                && matches!(&event.fact, Fact::PageSeen { page: seen } if seen == page.as_str())
        });
        i64::try_from(views.count()).unwrap_or(i64::MAX)
    }
}

impl Condition {
    /// Whether it holds.
    pub fn holds(&self, known: &Known<'_>) -> bool {
        let lead = known.lead;
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(known)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(known)),
            Self::Not(part) => !part.holds(known),
            Self::Tag(tag) => lead.tags.contains(tag),
            Self::Stage(compare, stage) => compare.holds(&lead.stage, stage),
            Self::Score(compare, points) => compare.holds(&known.scoring.score(known).total, points),
            Self::Attribute { name, compare, value } => match (lead.attributes.get(name), value) {
                (None, _) => false,
                (Some(is), AttributeValue::Text(text)) => compare.holds(is, text),
                (Some(is), AttributeValue::Number(number)) => {
                    is.parse::<i64>().is_ok_and(|is| compare.holds(&is, number))
                }
            },
            Self::Source(source) => lead.source.as_ref().is_some_and(|is| is.as_str() == source),
            Self::Magnet(magnet) => lead.lead_magnet_type.as_ref() == Some(magnet),
            Self::Locale(locale) => lead.locale.as_ref() == Some(locale),
            Self::Opened(mail) => known.mails(mail).any(|row| row.opened && known.was(row.opened_at)),
            Self::Clicked { mail, link } => {
                known.mails(mail).filter(|row| known.was(row.clicked_at)).any(|row| match link {
                    None => row.clicked,
                    Some(link) => row.clicked_links.iter().any(|clicked| clicked.contains(link.as_str())),
                })
            }
            Self::Seen { page, compare, times } => {
                compare.holds(&known.views(page, DateTime::<Utc>::MIN_UTC), times)
            }
            Self::Ever(trigger) => known.happened(trigger, None),
            Self::Happened(trigger) => known.happened(trigger, known.entered_at),
            Self::Inside(sequence) => known.enrolments.iter().any(|enrolment| {
                enrolment.sequence == *sequence
                    && enrolment.state == EnrolmentState::Active
                    && !enrolment.is_watching()
            }),
            Self::SilentDays(compare, days) => {
                compare.holds(&(known.now - known.last_activity()).num_days(), days)
            }
        }
    }

    /// What has to be read to decide it.
    pub fn needs(&self) -> Needs {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().map(Self::needs).fold(Needs::default(), Needs::and)
            }
            Self::Not(part) => part.needs(),
            Self::Tag(_)
            | Self::Stage(..)
            | Self::Attribute { .. }
            | Self::Source(_)
            | Self::Magnet(_)
            | Self::Locale(_) => Needs::default(),
            Self::Score(..) | Self::SilentDays(..) => {
                Needs { ledger: true, timeline: true, enrolments: false }
            }
            Self::Opened(_) | Self::Clicked { .. } => Needs { ledger: true, ..Needs::default() },
            Self::Seen { .. } => Needs { timeline: true, ..Needs::default() },
            Self::Ever(trigger) | Self::Happened(trigger) => trigger.needs(),
            Self::Inside(_) => Needs { enrolments: true, ..Needs::default() },
        }
    }

    /// Whether a fact of this kind can make it true or false: whoever waits for the condition has
    /// to look again then.
    pub fn listens_to(&self, kind: FactKind) -> bool {
        use FactKind as K;
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(|part| part.listens_to(kind)),
            Self::Not(part) => part.listens_to(kind),
            Self::Tag(_) => matches!(kind, K::Tagged | K::OptInRequested | K::OptedIn),
            Self::Stage(..) => matches!(kind, K::StageChanged | K::CustomerPaid),
            Self::Attribute { .. } | Self::Source(_) | Self::Magnet(_) | Self::Locale(_) => {
                matches!(kind, K::OptInRequested | K::OptedIn)
            }
            Self::Opened(_) => kind == K::MailOpened,
            Self::Clicked { .. } => kind == K::MailClicked,
            Self::Seen { .. } => kind == K::PageSeen,
            Self::Ever(trigger) | Self::Happened(trigger) => trigger.kind() == Some(kind),
            // Any fact that funnels can name may have points, and fits may ask about any.
            Self::Score(..) => kind.is_named_by_funnels() || kind == K::Told,
            Self::SilentDays(..) => kind.is_activity(),
            // Entering a sequence is no fact; a wait for it looks when its time is over.
            Self::Inside(_) => false,
        }
    }

    /// Whether the condition, or a part of it, is one of these.
    pub fn any_part(&self, is: &impl Fn(&Self) -> bool) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(|part| part.any_part(is)),
            Self::Not(part) => part.any_part(is),
            part => is(part),
        }
    }
}

#[cfg(test)]
mod tests;
