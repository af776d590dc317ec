//! Conditions as people write them: `score >= 50 and not tag("vip")`.

use std::collections::{BTreeMap, BTreeSet};

use domain::condition::{Condition, Test};
use domain::id::Id;

use crate::funnel::Attribute;
use crate::problem::{Problem, Source};

/// Where a condition stands in its file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) source: &'a Source,
    /// From 1.
    pub(crate) line: usize,
    /// Of its first letter, from 1.
    pub(crate) column: usize,
}

/// What a condition may speak of; all of it is known before any condition is read.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// File names in `mails`.
    pub(crate) mails: BTreeSet<Id>,
    /// File names in `pages`.
    pub(crate) pages: BTreeSet<Id>,
    /// File names in `sequences`.
    pub(crate) sequences: BTreeSet<Id>,
    /// File names in `snippets`.
    pub(crate) snippets: BTreeSet<Id>,
    pub(crate) attributes: Vec<Attribute>,
    /// The funnel's own facts.
    pub(crate) facts: BTreeSet<Id>,
    pub(crate) lead_magnets: BTreeSet<Id>,
    pub(crate) sources: BTreeSet<String>,
    /// Each band's first score and the next one's, if there is a next one.
    pub(crate) bands: BTreeMap<Id, (i64, Option<i64>)>,
    pub(crate) segments: BTreeMap<Id, Condition>,
}

/// Reads a condition. `in_step` allows `happened`, which asks about the time since she entered.
pub(crate) fn parse(
    text: &str,
    place: Place<'_>,
    names: &Names,
    in_step: bool,
    problems: &mut Vec<Problem>,
) -> Option<Test> {
    let _ = (text, place, names, in_step, problems);
    None
}
