//! `segments.toml`.

use std::collections::BTreeSet;

use domain::condition::Condition;

use super::{Problems, unique_id};
use crate::condition::{Names, parse_value};
use crate::funnel::Segment;
use crate::problem::Source;
use crate::reader::{Reader, parse};

/// Reads the segments, and makes each known to those below it and to all other conditions.
pub(super) fn read(source: &Source, names: &mut Names, problems: &mut Problems) -> Vec<Segment> {
    let Some(table) = parse(source, problems) else { return vec![] };
    let mut file = Reader::file(source, &table);
    let mut seen = BTreeSet::new();
    let mut segments = vec![];
    for mut reader in file.tables("segments", problems) {
        let id = unique_id(&mut reader, "hot", &mut seen, problems);
        let name = reader.text("name", "ホットリード", problems);
        let test = reader
            .text("if", "score >= 50", problems)
            .and_then(|text| parse_value(&text, source, names, false, problems));
        reader.finish(problems);
        let Some(id) = id.map(|id| id.value) else { continue };
        // One that can't be read has a name nevertheless: others may speak of it.
        let condition = test.as_ref().map_or(Condition::All(vec![]), |test| test.condition.clone());
        names.segments.insert(id.clone(), condition);
        if let (Some(name), Some(test)) = (name, test) {
            segments.push(Segment { id, name: name.value, test });
        }
    }
    file.finish(problems);
    segments
}
