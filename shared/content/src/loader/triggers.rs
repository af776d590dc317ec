//! Triggers: what `entry`, `exit` and the behaviour rules of scores are about.

use domain::event::{FactKind, Topic};
use domain::lead::Stage;
use domain::text::ShortText;
use domain::trigger::Trigger;

use super::{Ground, Problems, known_id};
use crate::condition::{named_fact, named_facts};
use crate::problem::{Source, suggest};
use crate::reader::{At, Item, Reader};

/// What sets a sequence going.
pub(super) const ENTRY: [&str; 8] =
    ["fact", "download", "page", "tag", "stage", "score_rises_to", "score_falls_to", "inactive_days"];
/// What takes a person out.
pub(super) const EXIT: [&str; 8] =
    ["fact", "download", "page", "tag", "stage", "score_rises_to", "score_falls_to", "enters"];
/// What gives points.
pub(super) const BEHAVIOUR: [&str; 3] = ["fact", "download", "page"];

/// Reads a trigger; `kinds` are the keys that a table may have.
pub(super) fn read(
    item: Item<'_>,
    kinds: &[&'static str],
    source: &Source,
    ground: Ground<'_>,
    problems: &mut Problems,
) -> Option<At<Trigger>> {
    let trigger = match item {
        Item::Text(text) => fact(text, source, ground, problems),
        Item::Table(reader) => table(reader, kinds, ground, problems),
    }?;
    if let Some(missing) = missing(&trigger.value, ground) {
        let what = format!("this never happens: funnel.toml has no {missing}");
        problems.push(source.problem(&trigger.span, what, "add it there, or leave this out").into_warning());
    }
    Some(trigger)
}

/// What the funnel would need for the trigger ever to happen.
fn missing(trigger: &Trigger, ground: Ground<'_>) -> Option<&'static str> {
    let config = ground.config;
    if *trigger == Trigger::Fact(FactKind::OptInRequested) {
        return (!config.double_opt_in).then_some("`double = true`");
    }
    match trigger.kind()?.topic()? {
        Topic::Consultation => (!config.has_consultation).then_some("[consultation]"),
        Topic::Application | Topic::Customer => config.plans.is_empty().then_some("[[plans]]"),
    }
}

/// A fact of Michi's own, by its name alone.
fn fact(
    text: At<String>,
    source: &Source,
    ground: Ground<'_>,
    problems: &mut Problems,
) -> Option<At<Trigger>> {
    if let Some(kind) = named_fact(&text.value) {
        return Some(At { value: Trigger::Fact(kind), span: text.span });
    }
    let own = ground.names.facts.iter().any(|fact| fact.as_str() == text.value);
    let mend = match own {
        true => format!("it is one of the funnel's: write `{{ fact = \"{}\" }}`", text.value),
        false => suggest(&text.value, named_facts()),
    };
    problems.push(source.problem(&text.span, format!("no fact is called `{}`", text.value), mend));
    None
}

fn table(
    mut reader: Reader<'_>,
    kinds: &[&'static str],
    ground: Ground<'_>,
    problems: &mut Problems,
) -> Option<At<Trigger>> {
    let span = reader.span();
    let written: Vec<&'static str> = kinds.iter().copied().filter(|key| reader.has(key)).collect();
    let trigger = match written.as_slice() {
        [only] => trigger(only, &mut reader, ground, problems),
        [] => {
            let source = reader.source();
            let before = problems.len();
            reader.finish(problems);
            if problems.len() == before {
                let kinds: Vec<String> = kinds.iter().map(|key| format!("`{key}`")).collect();
                let mend = format!("write one of {}", kinds.join(", "));
                problems.push(source.problem(&span, "nothing happens here", mend));
            }
            return None;
        }
        [first, second, ..] => {
            let what = format!("`{first}` and `{second}` are two things that happen");
            problems.push(reader.source().problem(&span, what, "write a table for each"));
            return None;
        }
    };
    reader.finish(problems);
    Some(At { value: trigger?, span })
}

fn trigger(
    key: &'static str,
    reader: &mut Reader<'_>,
    ground: Ground<'_>,
    problems: &mut Problems,
) -> Option<Trigger> {
    let names = ground.names;
    match key {
        "fact" => known_id(reader, key, "fact", &names.facts, problems).map(Trigger::Told),
        "download" => {
            known_id(reader, key, "lead magnet", &names.lead_magnets, problems).map(Trigger::Download)
        }
        "page" => {
            let page = known_id(reader, key, "page", &names.pages, problems);
            let times = reader.optional_number("times", 1..=1000, problems);
            let times = times.map_or(Some(1), |times| u32::try_from(times.value).ok());
            Some(Trigger::Page { page: page?, times: times? })
        }
        "tag" => {
            let tag = tag(key, reader, problems)?;
            if let Some((what, mend)) = names.untold_tag(&tag.value) {
                problems.push(reader.source().problem(&tag.span, what, mend).into_warning());
            }
            Some(Trigger::Tag(tag.value))
        }
        "stage" => stage(reader, problems).map(Trigger::Stage),
        "score_rises_to" => {
            reader.number(key, 1..=100_000, problems).map(|at| Trigger::ScoreRisesTo(at.value))
        }
        "score_falls_to" => {
            reader.number(key, 0..=100_000, problems).map(|at| Trigger::ScoreFallsTo(at.value))
        }
        "inactive_days" => {
            reader.number(key, 1..=3650, problems).map(|at| Trigger::Inactive { days: at.value })
        }
        _ => known_id(reader, key, "sequence", &names.sequences, problems).map(Trigger::Enters),
    }
}

/// A tag, as leads carry it.
pub(super) fn tag(key: &'static str, reader: &mut Reader<'_>, problems: &mut Problems) -> Option<At<String>> {
    let parse = |text: &str| {
        ShortText::parse(text).map(|tag| tag.as_str().to_owned()).map_err(|error| format!("a tag {error}"))
    };
    reader.parsed(key, "vip", parse, problems)
}

/// A stage of the lifecycle.
pub(super) fn stage(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<Stage> {
    let parse = |text: &str| {
        let stage = Stage::ALL.into_iter().find(|stage| stage.as_str() == text);
        stage.ok_or_else(|| suggest(text, Stage::ALL.map(Stage::as_str)))
    };
    reader.parsed("stage", "mql", parse, problems).map(|stage| stage.value)
}
