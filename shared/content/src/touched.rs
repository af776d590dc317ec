//! Whom an edit of a funnel touches: two versions of it side by side, sequence by sequence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use domain::id::Id;
use domain::sequence::{Inside, Program, Sequence, Step};
use domain::trigger::Trigger;
use serde::Serialize;

use crate::funnel::Funnel;
use crate::written;

/// A sequence that was edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Touched {
    /// Its file name without `.toml`, or a broadcast's (`broadcast-` and its id).
    pub sequence: Id,
    pub change: Change,
    /// What is different for the sequence as a whole.
    pub settings: Vec<String>,
    /// The steps that are not as they were: those of the new version in its order, then those that
    /// are gone.
    pub steps: Vec<TouchedStep>,
    /// Who is touched, and how.
    pub people: Vec<String>,
}

/// A step that was edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TouchedStep {
    pub step: Id,
    pub change: Change,
    /// What is different, if it was changed.
    pub what: Vec<String>,
}

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Added,
    Removed,
    Changed,
}

impl Change {
    fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

impl fmt::Display for Touched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.sequence, self.change.as_str())?;
        for setting in &self.settings {
            write!(f, "\n  {setting}")?;
        }
        for TouchedStep { step, change, what } in &self.steps {
            write!(f, "\n  step `{step}` {}", change.as_str())?;
            if !what.is_empty() {
                write!(f, ": {}", what.join("; "))?;
            }
        }
        for line in &self.people {
            write!(f, "\n  > {line}")?;
        }
        Ok(())
    }
}

/// What an edit changes, and for whom. Sequences that are as they were are left out.
pub fn touched(before: &Funnel, after: &Funnel) -> Vec<Touched> {
    let (old, new) = (sequences(before), sequences(after));
    let ids: BTreeSet<&Id> = old.keys().chain(new.keys()).copied().collect();
    let edits = ids.into_iter().filter_map(|id| match (old.get(id), new.get(id)) {
        (Some(old), Some(new)) => changed(old, new, after),
        (None, Some(_)) => Some(whole(id, Change::Added, "nobody is inside; people enter from now on")),
        (Some(_), None) => {
            Some(whole(id, Change::Removed, "whoever is inside leaves it before her next step"))
        }
        (None, None) => None,
    });
    edits.collect()
}

fn sequences(funnel: &Funnel) -> BTreeMap<&Id, &Sequence> {
    funnel.all_sequences().map(|sequence| (&sequence.id, sequence)).collect()
}

fn whole(sequence: &Id, change: Change, people: &str) -> Touched {
    Touched {
        sequence: sequence.clone(),
        change,
        settings: vec![],
        steps: vec![],
        people: vec![people.to_owned()],
    }
}

fn changed(old: &Sequence, new: &Sequence, after: &Funnel) -> Option<Touched> {
    let settings = settings(old, new);
    let same = old.program.version == new.program.version;
    if same && settings.is_empty() {
        return None;
    }
    let (steps, people) = match (same, new.inside) {
        (true, _) => (
            vec![],
            vec!["people inside go on with the steps that they have; the rest holds for them too".to_owned()],
        ),
        (false, Inside::Finish) => (steps(&old.program, &new.program), finish(&old.program, after)),
        (false, Inside::Move) => {
            (steps(&old.program, &new.program), moved(&old.program, &new.program, after))
        }
    };
    Some(Touched { sequence: new.id.clone(), change: Change::Changed, settings, steps, people })
}

fn settings(old: &Sequence, new: &Sequence) -> Vec<String> {
    let triggers =
        |triggers: &[Trigger]| triggers.iter().map(written::trigger).collect::<Vec<_>>().join(", ");
    let test = |sequence: &Sequence| sequence.test.as_ref().map(|test| test.text.clone()).unwrap_or_default();
    let values = |sequence: &Sequence| {
        [
            ("name", sequence.name.clone()),
            ("class", format!("{:?}", sequence.class).to_lowercase()),
            ("entry", triggers(&sequence.entry)),
            ("if", test(sequence)),
            ("exit", triggers(&sequence.exit)),
            ("again", sequence.again.to_string()),
            ("priority", sequence.priority.to_string()),
            ("inside", format!("{:?}", sequence.inside).to_lowercase()),
            ("anchor", written::anchor(sequence.program.anchor)),
        ]
    };
    let pairs = values(old).into_iter().zip(values(new)).filter(|(old, new)| old != new);
    let mut lines: Vec<String> = pairs
        .map(|((key, old), (_, new))| format!("`{key}` is {} instead of {}", shown(&new), shown(&old)))
        .collect();
    if old.program.windows != new.program.windows {
        lines.push("its mails go out in other hours or on other weekdays, to people inside too".to_owned());
    }
    lines
}

fn shown(value: &str) -> String {
    if value.is_empty() { "nothing".to_owned() } else { format!("`{value}`") }
}

fn steps(old: &Program, new: &Program) -> Vec<TouchedStep> {
    let touched = |step: &Step, change, what| TouchedStep { step: step.id.clone(), change, what };
    let kept = new.steps.iter().filter_map(|step| match old.step(&step.id) {
        None => Some(touched(step, Change::Added, vec![])),
        Some(before) => {
            let what = differences(before, step);
            (!what.is_empty()).then(|| touched(step, Change::Changed, what))
        }
    });
    let removed = gone(old, new).into_iter().map(|step| touched(step, Change::Removed, vec![]));
    kept.chain(removed).collect()
}

/// The steps that the new version has no more.
fn gone<'p>(old: &'p Program, new: &Program) -> Vec<&'p Step> {
    old.steps.iter().filter(|step| new.step(&step.id).is_none()).collect()
}

fn differences(old: &Step, new: &Step) -> Vec<String> {
    let mut what = vec![];
    if old.when != new.when {
        what.push(format!("comes at {} instead of {}", written::when(new.when), written::when(old.when)));
    }
    let (before, after) = (written::act(&old.act), written::act(&new.act));
    if before != after {
        what.push(format!("does {after} instead of {before}"));
    }
    let ways: BTreeMap<&str, &str> = written::ways(old).into_iter().collect();
    for (key, to) in written::ways(new) {
        match ways.get(key) {
            Some(before) if *before != to => what.push(format!("`{key}` leads to {to} instead of {before}")),
            Some(_) | None => {}
        }
    }
    what
}

/// Who entered finishes the version that she entered.
fn finish(old: &Program, after: &Funnel) -> Vec<String> {
    let mut people = vec![
        "people inside finish the version that they entered; who enters from now on gets the new one"
            .to_owned(),
    ];
    people.extend(held(&old.steps.iter().collect::<Vec<_>>(), after));
    people
}

/// People follow the edit, as far as the step where they stand is still there.
fn moved(old: &Program, new: &Program, after: &Funnel) -> Vec<String> {
    let kept: Vec<&Step> = new.steps.iter().filter(|step| old.step(&step.id).is_some()).collect();
    let mut people = vec![];
    if !kept.is_empty() {
        people
            .push(format!("people at {} go on in the new version", any_of(kept.iter().map(|step| &step.id))));
    }
    for step in &new.steps {
        let before: Vec<&Id> =
            kept.iter().filter(|from| new.leads(&from.id, &step.id)).map(|from| &from.id).collect();
        let whom = || match before.as_slice() {
            [] => "those only who enter from now on".to_owned(),
            before => format!("people at {}", any_of(before.iter().copied())),
        };
        match old.step(&step.id) {
            None => people.push(format!("`{}` is new for {}", step.id, whom())),
            Some(was) if was.when != step.when => people.push(format!(
                "`{}` comes at {} instead of {} for {}; who stands at it keeps the time that she has",
                step.id,
                written::when(step.when),
                written::when(was.when),
                whom()
            )),
            Some(_) => {}
        }
    }
    let gone = gone(old, new);
    if !gone.is_empty() {
        let steps = any_of(gone.iter().map(|step| &step.id));
        people.push(format!("people standing at removed {steps} finish the old version"));
        let rest: Vec<&Step> = old
            .steps
            .iter()
            .filter(|step| gone.iter().any(|from| from.id == step.id || old.leads(&from.id, &step.id)))
            .collect();
        people.extend(held(&rest, after));
    }
    people
}

/// The mails that the old version still sends, but that are no more.
fn held(steps: &[&Step], after: &Funnel) -> Vec<String> {
    let lost = steps.iter().filter_map(|step| {
        let mail = step.mail().filter(|mail| after.mail(mail).is_none())?;
        Some(format!(
            "the mail `{mail}` is gone, but the old version sends it at `{}`: whoever comes there goes on without it",
            step.id
        ))
    });
    lost.collect()
}

/// `day-1`, `day-2` or `day-3`.
fn any_of<'i>(ids: impl Iterator<Item = &'i Id>) -> String {
    let mut names: Vec<String> = ids.map(|id| format!("`{id}`")).collect();
    match (names.pop(), names.as_slice()) {
        (Some(last), []) => last,
        (Some(last), before) => format!("{} or {last}", before.join(", ")),
        (None, _) => String::new(),
    }
}
