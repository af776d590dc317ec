//! What the funnel calls its things, by their ids.

use std::collections::BTreeMap;

use content::Funnel;
use domain::{id::Id, sequence::Act};
use serde::Serialize;

type ById = BTreeMap<String, String>;

/// The names; the templates know them as `names`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Names {
    /// Broadcasts are sequences too.
    pub(crate) sequences: ById,
    pub(crate) magnets: ById,
    pub(crate) facts: ById,
    pub(crate) pages: ById,
    plans: ById,
    hosts: ById,
    attributes: ById,
    topics: ById,
    segments: ById,
    members: ById,
    /// The steps that write to the team, by the id under which the ledger keeps them.
    pub(crate) notices: BTreeMap<String, Notice>,
    currency: String,
}

/// A step that writes to somebody of the team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Notice {
    pub(crate) text: String,
    pub(crate) to: String,
}

impl Names {
    pub(crate) fn of(funnel: &Funnel) -> Self {
        let notices = funnel.all_sequences().flat_map(|sequence| {
            sequence.program.steps.iter().filter_map(move |step| match &step.act {
                Act::Notice { text, to } => {
                    let to = funnel.member(to).map_or(to.to_string(), |member| member.name.clone());
                    Some((format!("{}/{}", sequence.id, step.id), Notice { text: text.clone(), to }))
                }
                Act::Send { .. }
                | Act::WaitFor { .. }
                | Act::Branch { .. }
                | Act::Split { .. }
                | Act::Tag { .. }
                | Act::Untag { .. }
                | Act::Attribute { .. }
                | Act::Stage { .. }
                | Act::Task { .. }
                | Act::Webhook { .. } => None,
            })
        });
        let hosts = funnel.consultation.iter().flat_map(|offer| &offer.host_names);
        Self {
            sequences: by_id(funnel.all_sequences().map(|sequence| (&sequence.id, &sequence.name))),
            magnets: by_id(funnel.lead_magnets.iter().map(|magnet| (&magnet.id, &magnet.title))),
            facts: by_id(funnel.facts.iter().map(|fact| (&fact.id, &fact.name))),
            pages: by_id(funnel.pages().map(|page| (&page.id, &page.title))),
            plans: by_id(funnel.plans.iter().map(|plan| (&plan.id, &plan.name))),
            hosts: by_id(hosts),
            attributes: by_id(funnel.attributes.iter().map(|attribute| (&attribute.id, &attribute.name))),
            topics: by_id(funnel.topics.iter().map(|topic| (&topic.id, &topic.name))),
            segments: by_id(funnel.segments.iter().map(|segment| (&segment.id, &segment.name))),
            members: by_id(funnel.team.iter().map(|member| (&member.id, &member.name))),
            notices: notices.collect(),
            currency: funnel.currency.clone(),
        }
    }
}

fn by_id<'a>(pairs: impl Iterator<Item = (&'a Id, &'a String)>) -> ById {
    pairs.map(|(id, name)| (id.to_string(), name.clone())).collect()
}
