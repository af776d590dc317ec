//! `scores.toml`.

use std::collections::{BTreeMap, BTreeSet};

use domain::condition::Condition;
use domain::id::Id;
use domain::score::{Band, BehaviourRule, Decay, FitRule, Once, Scoring};
use domain::sequence::Sequence;
use domain::trigger::Trigger;

use super::triggers::{self, BEHAVIOUR};
use super::{Ground, Problems, unique_id};
use crate::condition::parse_value;
use crate::problem::suggest;
use crate::reader::{At, Reader};
use crate::written;

/// The bands, in order of their points. Conditions speak of them, those of the scores' own rules
/// too, so they are read first.
pub(super) fn bands(file: &mut Reader<'_>, problems: &mut Problems) -> Vec<Band> {
    let mut seen = BTreeSet::new();
    let mut bands: Vec<Band> = vec![];
    for mut reader in file.tables("bands", problems) {
        let id = unique_id(&mut reader, "hot", &mut seen, problems);
        let name = reader.text("name", "ホット", problems);
        let from = reader.number("from", 0..=100_000, problems);
        if let Some(from) = &from
            && let Some(other) = bands.iter().find(|band| band.from == from.value)
        {
            problems.push(reader.source().problem(
                &from.span,
                format!("the band `{}` begins there too", other.id),
                "let each band begin at a score of its own",
            ));
        }
        reader.finish(problems);
        let (id, name) = (id.map(|id| id.value), name.map(|name| name.value).unwrap_or_default());
        bands.extend(id.map(|id| Band { id, name, from: from.map_or(0, |from| from.value) }));
    }
    bands.sort_by_key(|band| band.from);
    bands
}

/// Each band's first score, and the next one's.
pub(super) fn spans(bands: &[Band]) -> BTreeMap<Id, (i64, Option<i64>)> {
    let next = bands.iter().skip(1).map(|band| Some(band.from)).chain([None]);
    bands.iter().zip(next).map(|(band, next)| (band.id.clone(), (band.from, next))).collect()
}

/// The rules.
pub(super) fn read(
    mut file: Reader<'_>,
    bands: Vec<Band>,
    ground: Ground<'_>,
    problems: &mut Problems,
) -> Scoring {
    let fit = file.tables("fit", problems);
    let behaviour = file.tables("behaviour", problems);
    let decay = file.tables("decay", problems);
    file.finish(problems);
    Scoring {
        fit: fit.into_iter().filter_map(|reader| fit_rule(reader, ground, problems)).collect(),
        behaviour: behaviour
            .into_iter()
            .filter_map(|reader| behaviour_rule(reader, ground, problems))
            .collect(),
        decay: decays(decay, problems),
        bands,
        thresholds: vec![],
    }
}

/// The scores at which a sequence begins or ends, in order; and those from which one can fall.
pub(super) fn thresholds(sequences: &[Sequence]) -> Vec<i64> {
    let triggers = sequences.iter().flat_map(|sequence| sequence.entry.iter().chain(&sequence.exit));
    let limits: BTreeSet<i64> = triggers
        .flat_map(|trigger| match trigger {
            Trigger::ScoreRisesTo(limit) => vec![*limit],
            Trigger::ScoreFallsTo(limit) => vec![*limit, limit + 1],
            Trigger::Fact(_)
            | Trigger::Told(_)
            | Trigger::Download(_)
            | Trigger::Page { .. }
            | Trigger::Tag(_)
            | Trigger::Stage(_)
            | Trigger::Inactive { .. }
            | Trigger::Enters(_) => vec![],
        })
        .collect();
    limits.into_iter().collect()
}

fn points(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<At<i64>> {
    let points = reader.number("points", -1000..=1000, problems)?;
    if points.value == 0 {
        problems.push(reader.source().problem(
            &points.span,
            "a rule that gives nothing",
            "write a number of points, below 0 to take them",
        ));
    }
    Some(points)
}

fn fit_rule(mut reader: Reader<'_>, ground: Ground<'_>, problems: &mut Problems) -> Option<FitRule> {
    let source = reader.source();
    let text = reader.text("if", "attribute.employees >= 100", problems);
    let points = points(&mut reader, problems);
    reader.finish(problems);
    let text = text?;
    let test = parse_value(&text, source, ground.names, false, problems)?;
    // A score that asks for itself would never end, and time is the business of `[[decay]]`.
    let asked = [
        ("the score", test.condition.any_part(&|part| matches!(part, Condition::Score(..)))),
        ("silence", test.condition.any_part(&|part| matches!(part, Condition::SilentDays(..)))),
        ("sequences", test.condition.any_part(&|part| matches!(part, Condition::Inside(_)))),
    ];
    if let Some((what, _)) = asked.iter().find(|(_, asked)| *asked) {
        problems.push(source.problem(
            &text.span,
            format!("points for what a person is can't ask for {what}"),
            "ask for attributes, tags or the stage; `[[behaviour]]` and `[[decay]]` count the rest",
        ));
    }
    Some(FitRule { test, points: points?.value })
}

fn behaviour_rule(
    mut reader: Reader<'_>,
    ground: Ground<'_>,
    problems: &mut Problems,
) -> Option<BehaviourRule> {
    let source = reader.source();
    let on = reader
        .item("on", "mail_opened", problems)
        .and_then(|item| triggers::read(item, &BEHAVIOUR, source, ground, problems));
    let points = points(&mut reader, problems);
    let at_most = reader.optional_number("at_most", 1..=100_000, problems);
    let once = reader.optional_parsed("once", "day", once, problems);
    reader.finish(problems);
    let on = on?.value;
    Some(BehaviourRule {
        name: written::trigger(&on),
        on,
        points: points?.value,
        at_most: at_most.map(|at_most| at_most.value),
        once: once.map_or(Once::Always, |once| once.value),
    })
}

fn once(text: &str) -> Result<Once, String> {
    match text {
        "day" => Ok(Once::Day),
        "ever" => Ok(Once::Ever),
        other => Err(suggest(other, ["day", "ever"])),
    }
}

fn decays(readers: Vec<Reader<'_>>, problems: &mut Problems) -> Vec<Decay> {
    let mut decays: Vec<Decay> = vec![];
    for mut reader in readers {
        let after_days = reader.number("after_days", 1..=3650, problems);
        let points = reader.number("points", 1..=1000, problems);
        if let Some(after) =
            after_days.as_ref().filter(|after| decays.iter().any(|decay| decay.after_days == after.value))
        {
            problems.push(reader.source().problem(
                &after.span,
                format!("{} days of silence are there twice", after.value),
                "write one `[[decay]]` for them",
            ));
        }
        reader.finish(problems);
        if let (Some(after_days), Some(points)) = (after_days, points) {
            decays.push(Decay { after_days: after_days.value, points: points.value });
        }
    }
    decays.sort_by_key(|decay| decay.after_days);
    decays
}
