//! `sequences/*.toml`, and whether their mails can be made from what sets them going.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Timelike;
use domain::event::{FactKind, Topic};
use domain::id::Id;
use domain::sequence::{Sequence, Step, When};

use super::{Problems, has_problems, mails, parse_id, unique_id};
use crate::mail::{CONSULTATION_VARIABLES, Mail, PURCHASE_VARIABLES};
use crate::problem::{Source, suggest};
use crate::reader::{Reader, parse};

pub(super) fn read(
    files: &[(Id, Source)],
    mails: &BTreeMap<Id, Mail>,
    problems: &mut Problems,
) -> Vec<Sequence> {
    files.iter().filter_map(|(id, source)| sequence(id, source, mails, problems)).collect()
}

fn sequence(
    id: &Id,
    source: &Source,
    mails: &BTreeMap<Id, Mail>,
    problems: &mut Problems,
) -> Option<Sequence> {
    let table = parse(source, problems)?;
    let mut reader = Reader::file(source, &table);
    let name = reader.text("name", "ウェルカムメール", problems);
    let class = reader.parsed("class", "marketing", mails::class, problems);
    let before = problems.len();
    let entry = facts(&mut reader, "entry", problems);
    if entry.is_empty() && problems.len() == before {
        problems.push(
            source.problem_of_file("nothing sets this sequence going", "write `entry = [\"opted_in\"]`"),
        );
    }
    let exit = facts(&mut reader, "exit", problems);
    let again = reader.flag("again", problems).is_some_and(|again| again.value);
    let about = About::of(&entry, source, problems);
    let mut seen = BTreeSet::new();
    let mut steps: Vec<Step> = vec![];
    for mut reader in reader.tables("steps", problems) {
        let step = step(&mut reader, &mut seen, mails, problems);
        if let Some((step, mail)) = step {
            about.check(&reader, &step, mail, problems);
            if let Some(class) = class.as_ref().map(|class| class.value).filter(|class| *class != mail.class)
            {
                let what = format!("the sequence is {}, its mail `{}` is not", class_name(class), mail.id);
                problems.push(source.problem(
                    &reader.span(),
                    what,
                    "give both the same `class`: it decides who may get the mail",
                ));
            }
            if steps.last().is_some_and(|before| later(before.when, step.when)) {
                problems.push(source.problem(
                    &reader.span(),
                    format!("step `{}` comes due before the one above it", step.id),
                    "write the steps in the order of their times",
                ));
            }
            steps.push(step);
        }
        reader.finish(problems);
    }
    reader.finish(problems);
    Some(Sequence { id: id.clone(), name: name?.value, class: class?.value, entry, exit, again, steps })
}

fn facts(reader: &mut Reader<'_>, key: &'static str, problems: &mut Problems) -> Vec<FactKind> {
    // A visitor is nobody yet, and what a sequence's own mails do must not restart it.
    let usable = || FactKind::ALL.into_iter().filter(|kind| *kind != FactKind::Visited);
    let mut facts = vec![];
    for text in reader.texts(key, "opted_in", problems) {
        match usable().find(|kind| kind.as_str() == text.value) {
            Some(kind) => facts.push(kind),
            None => problems.push(reader.source().problem(
                &text.span,
                format!("no fact is called `{}`", text.value),
                suggest(&text.value, usable().map(FactKind::as_str)),
            )),
        }
    }
    facts
}

fn step<'m>(
    reader: &mut Reader<'_>,
    seen: &mut BTreeSet<Id>,
    mails: &'m BTreeMap<Id, Mail>,
    problems: &mut Problems,
) -> Option<(Step, &'m Mail)> {
    let id = unique_id(reader, "day-1", seen, problems);
    let send = reader.parsed("send", "day-1", parse_id, problems);
    let when = reader.parsed(
        "when",
        "+1d 07:00",
        |text| When::parse(text).map_err(|error| error.to_string()),
        problems,
    );
    let calendar = reader.flag("calendar", problems).is_some_and(|calendar| calendar.value);
    let send = send?;
    let Some(mail) = mails.get(&send.value) else {
        if has_problems(&format!("mails/{}.md", send.value), problems) {
            return None;
        }
        let known = mails.keys().map(Id::as_str);
        problems.push(reader.source().problem(
            &send.span,
            format!("there is no mail `{}`", send.value),
            suggest(send.value.as_str(), known),
        ));
        return None;
    };
    Some((Step { id: id?.value, send: send.value, when: when?.value, calendar }, mail))
}

/// What the facts that set a sequence going are about: it decides what its mails can tell.
struct About {
    consultation: bool,
    purchase: bool,
}

impl About {
    /// Facts about different things would leave a mail without its values half of the time.
    fn of(entry: &[FactKind], source: &Source, problems: &mut Problems) -> Self {
        let topic = entry.first().and_then(|kind| kind.topic());
        if let Some(other) = entry.iter().find(|kind| kind.topic() != topic) {
            let what =
                format!("`{}` is about something else than the facts before it in `entry`", other.as_str());
            problems.push(source.problem_of_file(what, "write a sequence of its own for it"));
        }
        Self { consultation: topic == Some(Topic::Consultation), purchase: topic == Some(Topic::Customer) }
    }

    fn check(&self, reader: &Reader<'_>, step: &Step, mail: &Mail, problems: &mut Problems) {
        let needs = |names: &[&str]| {
            mail.variables().into_iter().find(|name| names.contains(name)).map(str::to_owned)
        };
        let source = reader.source();
        for (given, names, entry) in [
            (self.consultation, &CONSULTATION_VARIABLES, "consultation_booked"),
            (self.purchase, &PURCHASE_VARIABLES, "customer_paid"),
        ] {
            if let Some(variable) = needs(names).filter(|_| !given) {
                let what =
                    format!("mail `{}` tells `{variable}`, which this sequence does not know", mail.id);
                problems.push(source.problem(&reader.span(), what, format!("send it from a sequence whose every `entry` is of the kind `{entry}`, or take the variable out")));
            }
        }
        if step.calendar && !self.consultation {
            problems.push(source.problem(
                &reader.span(),
                "there is no appointment to put into a calendar file",
                "delete `calendar`, or enter by `consultation_booked`",
            ));
        }
        if step.when.is_before_anchor() && !self.consultation {
            problems.push(source.problem(
                &reader.span(),
                format!("step `{}` lies before the sequence begins", step.id),
                "write a time from then on: `+1d 07:00`",
            ));
        }
    }
}

fn class_name(class: domain::engagement::MailClass) -> &'static str {
    match class {
        domain::engagement::MailClass::Marketing => "marketing",
        domain::engagement::MailClass::Transactional => "transactional",
    }
}

/// Whether the first surely comes due after the second. A clock time and an offset can't be
/// compared without knowing the hour of the anchor.
fn later(first: When, second: When) -> bool {
    match (first, second) {
        (When::Offset { minutes: first }, When::Offset { minutes: second }) => first > second,
        (When::Clock { days: first, time: a }, When::Clock { days: second, time: b }) => {
            (first, a.num_seconds_from_midnight()) > (second, b.num_seconds_from_midnight())
        }
        (When::Now, _)
        | (_, When::Now)
        | (When::Offset { .. }, When::Clock { .. })
        | (When::Clock { .. }, When::Offset { .. }) => false,
    }
}
