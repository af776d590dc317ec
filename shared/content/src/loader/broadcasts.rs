//! `broadcasts/*.toml`.

use domain::engagement::MailClass;
use domain::id::Id;
use domain::sequence::{Act, Anchor, Inside, Sequence, Step, When};

use super::sequences::{Parsed, program};
use super::steps::{self, About};
use super::{Ground, Problems, known_id, parse_id};
use crate::condition::Given;
use crate::funnel::Broadcast;
use crate::reader::Reader;

/// What the broadcasts send: conditions ask for it before any broadcast is read.
pub(super) fn given(broadcasts: &[Parsed<'_>], given: &mut Given) {
    let mails = broadcasts.iter().filter_map(|parsed| parsed.table.get_ref().get("mail")?.get_ref().as_str());
    given.mails.extend(mails.map(str::to_owned));
}

pub(super) fn read(parsed: &[Parsed<'_>], ground: Ground<'_>, problems: &mut Problems) -> Vec<Broadcast> {
    parsed.iter().filter_map(|parsed| broadcast(parsed, ground, problems)).collect()
}

fn broadcast(parsed: &Parsed<'_>, ground: Ground<'_>, problems: &mut Problems) -> Option<Broadcast> {
    let source = parsed.source;
    let mut reader = Reader::file(source, &parsed.table);
    let name = reader.text("name", "年末のご案内", problems);
    let mail = reader.parsed("mail", "year-end", parse_id, problems);
    let segment = reader.has("segment").then(|| {
        let segments = ground.names.segments.keys();
        known_id(&mut reader, "segment", "segment", segments, problems)
    });
    let per_hour = reader.optional_number("per_hour", 4..=1_000_000, problems);
    reader.finish(problems);
    let sequence = Id::parse(&format!("broadcast-{}", parsed.id));
    if sequence.is_err() {
        problems.push(source.problem_of_file("the file's name is too long", "name it in 54 letters at most"));
    }
    let mail = mail?;
    let about = About { topic: None, entry: &[], anchor: Anchor::Entry, class: None };
    if let Some(found) = steps::mail(&mail, source, ground, problems) {
        about.check(found, &mail.span, source, problems);
        if found.class != MailClass::Marketing {
            problems.push(source.problem(
                &mail.span,
                format!("the mail `{}` is transactional: nobody has asked for a broadcast", found.id),
                "send a mail with `class = \"marketing\"`",
            ));
        }
    }
    let (name, id, per_hour) =
        (name?.value, sequence.ok()?, per_hour.and_then(|limit| u32::try_from(limit.value).ok()));
    let step = Step {
        id: Id::parse("mail").ok()?,
        when: When::Now,
        act: Act::Send { mail: mail.value.clone(), calendar: false },
        next: None,
    };
    let windows = ground.config.window.clone().into_iter().collect();
    let sequence = Sequence {
        id,
        name: name.clone(),
        class: MailClass::Marketing,
        entry: vec![],
        test: None,
        exit: vec![],
        again: false,
        priority: 0,
        inside: Inside::Finish,
        program: program(Anchor::Entry, windows, vec![step]),
    };
    Some(Broadcast {
        id: parsed.id.clone(),
        name,
        mail: mail.value,
        segment: segment.flatten(),
        per_hour,
        sequence,
    })
}
