//! `goals.toml`.

use std::collections::BTreeSet;

use domain::goal::{Aim, Goal, Unit};

use super::Problems;
use crate::problem::{Source, suggest};
use crate::reader::{Reader, parse};

const UNITS: [(&str, Unit); 6] = [
    ("per_month", Unit::PerMonth),
    ("percent", Unit::PerMille),
    ("money", Unit::Money),
    ("days", Unit::Days),
    ("number", Unit::Number),
    ("ratio", Unit::Ratio),
];

pub(super) fn read(source: &Source, problems: &mut Problems) -> Option<Vec<Goal>> {
    let table = parse(source, problems)?;
    let mut file = Reader::file(source, &table);
    let mut seen = BTreeSet::new();
    let goals: Vec<Goal> = file
        .tables("goals", problems)
        .into_iter()
        .filter_map(|reader| goal(reader, &mut seen, problems))
        .collect();
    file.finish(problems);
    Some(goals)
}

fn goal(mut reader: Reader<'_>, seen: &mut BTreeSet<String>, problems: &mut Problems) -> Option<Goal> {
    let id = reader.text("id", "open_rate", problems);
    if let Some(twice) = id.as_ref().filter(|id| !seen.insert(id.value.clone())) {
        problems.push(reader.source().problem(
            &twice.span,
            format!("`{}` is there twice", twice.value),
            "give each its own id",
        ));
    }
    let name = reader.text("name", "メール開封率", problems);
    let level =
        reader.optional_number("level", 0..=6, problems).and_then(|level| u8::try_from(level.value).ok());
    let unit = reader.parsed(
        "unit",
        "percent",
        |text| {
            UNITS
                .iter()
                .find(|(name, _)| *name == text)
                .map(|(_, unit)| *unit)
                .ok_or_else(|| suggest(text, UNITS.iter().map(|(name, _)| *name)))
        },
        problems,
    );
    let before = problems.len();
    let at_least = reader.optional_thousandths("at_least", problems);
    let at_most = reader.optional_thousandths("at_most", problems);
    let aim = match (at_least, at_most) {
        (Some(value), None) => Some((Aim::AtLeast, value)),
        (None, Some(value)) => Some((Aim::AtMost, value)),
        (Some(_), Some(second)) => {
            problems.push(reader.source().problem(
                &second.span,
                "a goal has both `at_least` and `at_most`",
                "keep the one that is meant",
            ));
            None
        }
        (None, None) if problems.len() > before => None,
        (None, None) => {
            problems.push(reader.source().problem(
                &reader.span(),
                "a goal without a value",
                "write `at_least = …` or `at_most = …`",
            ));
            None
        }
    };
    let source = reader.source();
    reader.finish(problems);
    let (unit, (aim, thousandths)) = (unit?.value, aim?);
    let value = match unit {
        Unit::PerMille => Some(thousandths.value / 100).filter(|tenths| tenths * 100 == thousandths.value),
        Unit::Ratio => Some(thousandths.value),
        Unit::PerMonth | Unit::Money | Unit::Days | Unit::Number => {
            Some(thousandths.value / 1000).filter(|whole| whole * 1000 == thousandths.value)
        }
    };
    if value.is_none() {
        problems.push(source.problem(
            &thousandths.span,
            "more decimals than the unit has",
            "percent have one decimal at most, counts, days and money none",
        ));
    }
    Some(Goal { id: id?.value, name: name?.value, level, unit, aim, value: value? })
}
