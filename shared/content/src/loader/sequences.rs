//! `sequences/*.toml`: what sets a sequence going, and what holds for all of its steps.

use chrono::{DateTime, Utc};
use domain::engagement::MailClass;
use domain::event::{FactKind, Topic};
use domain::id::Id;
use domain::sending::{Window, next_open};
use domain::sequence::{Anchor, Inside, Program, Sequence, Step};
use domain::trigger::Trigger;
use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::config::{ANCHORS, hours, weekdays, window};
use super::steps::{self, About};
use super::triggers::{self, ENTRY, EXIT};
use super::{Ground, Problems, mails};
use crate::condition::{Given, parse_value};
use crate::problem::{Source, suggest};
use crate::reader::{At, Reader, parse};
use crate::written;

/// A file whose TOML is fine.
pub(super) struct Parsed<'a> {
    pub(super) id: &'a Id,
    pub(super) source: &'a Source,
    pub(super) table: Spanned<DeTable<'a>>,
}

/// The files whose TOML is fine.
pub(super) fn parse_all<'a>(files: &'a [(Id, Source)], problems: &mut Problems) -> Vec<Parsed<'a>> {
    let parsed =
        files.iter().filter_map(|(id, source)| Some(Parsed { id, source, table: parse(source, problems)? }));
    parsed.collect()
}

/// What the steps do: conditions and triggers ask for it before any step is read.
pub(super) fn given(sequences: &[Parsed<'_>], given: &mut Given) {
    let steps =
        sequences.iter().filter_map(|parsed| parsed.table.get_ref().get("steps")?.get_ref().as_array());
    for step in steps.flat_map(|steps| steps.iter()).filter_map(|step| step.get_ref().as_table()) {
        let text = |key: &str| step.get(key).and_then(|value| value.get_ref().as_str()).map(str::to_owned);
        given.mails.extend(text("send"));
        given.tags.extend(text("tag"));
        if let Some(DeValue::Table(values)) = step.get("attribute").map(Spanned::get_ref) {
            given.attributes.extend(values.keys().map(|key| key.get_ref().to_string()));
        }
    }
}

pub(super) fn read(parsed: &[Parsed<'_>], ground: Ground<'_>, problems: &mut Problems) -> Vec<Sequence> {
    parsed.iter().filter_map(|parsed| sequence(parsed, ground, problems)).collect()
}

fn sequence(parsed: &Parsed<'_>, ground: Ground<'_>, problems: &mut Problems) -> Option<Sequence> {
    let (id, source) = (parsed.id, parsed.source);
    if id.as_str().starts_with("broadcast-") {
        problems.push(source.problem_of_file(
            "names that begin with `broadcast-` belong to broadcasts",
            "give the file another name",
        ));
    }
    let mut reader = Reader::file(source, &parsed.table);
    let name = reader.text("name", "ウェルカムメール", problems);
    let class = reader.parsed("class", "marketing", mails::class, problems);
    let before = problems.len();
    let entry = list(&mut reader, "entry", &ENTRY, ground, problems);
    if entry.is_empty() && problems.len() == before {
        problems.push(
            source.problem_of_file("nothing sets this sequence going", "write `entry = [\"opted_in\"]`"),
        );
    }
    check_consent(class.as_ref(), &entry, source, problems);
    let class = class.map(|class| class.value);
    let exit = list(&mut reader, "exit", &EXIT, ground, problems);
    let again = reader.flag("again", problems).is_some_and(|again| again.value);
    let test = reader
        .optional_text("if", "not tag(\\\"staff\\\")", problems)
        .and_then(|text| parse_value(&text, source, ground.names, false, problems));
    let priority = reader.optional_number("priority", -100..=100, problems);
    let inside = reader.optional_parsed("inside", "move", inside, problems);
    let topic = topic(&entry, source, problems);
    let anchor = anchor(&mut reader, topic, &entry, ground, problems);
    let windows = windows(&mut reader, class, ground, problems);
    let about = About { topic, entry: &entry, anchor, class };
    let steps = steps::read(&mut reader, &about, ground, problems);
    reader.finish(problems);
    Some(Sequence {
        id: id.clone(),
        name: name?.value,
        class: class?,
        entry,
        test,
        exit,
        again,
        priority: priority.map_or(0, |priority| priority.value),
        inside: inside.map_or(Inside::Finish, |inside| inside.value),
        program: program(anchor, windows, steps),
    })
}

/// Who has not confirmed her address yet has agreed to nothing but being asked.
fn check_consent(class: Option<&At<MailClass>>, entry: &[Trigger], source: &Source, problems: &mut Problems) {
    let unconfirmed = entry.contains(&Trigger::Fact(FactKind::OptInRequested));
    if let Some(class) = class.filter(|class| unconfirmed && class.value == MailClass::Marketing) {
        problems.push(source.problem(
            &class.span,
            "no marketing mail goes to an address that is not confirmed",
            "write `class = \"transactional\"`, or enter by `opted_in`",
        ));
    }
}

/// What a person goes through, with a version that any change of it changes.
pub(super) fn program(anchor: Anchor, windows: Vec<Window>, steps: Vec<Step>) -> Program {
    let program = Program { version: String::new(), anchor, windows, steps };
    let written = serde_json::to_vec(&program).unwrap_or_default();
    let hash = Sha256::digest(&written);
    let version = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Program { version, ..program }
}

fn inside(text: &str) -> Result<Inside, String> {
    match text {
        "finish" => Ok(Inside::Finish),
        "move" => Ok(Inside::Move),
        other => Err(suggest(other, ["finish", "move"])),
    }
}

fn list(
    reader: &mut Reader<'_>,
    key: &'static str,
    kinds: &[&'static str],
    ground: Ground<'_>,
    problems: &mut Problems,
) -> Vec<Trigger> {
    let source = reader.source();
    let items = reader.items(key, "opted_in", problems).into_iter();
    let read: Vec<At<Trigger>> =
        items.filter_map(|item| triggers::read(item, kinds, source, ground, problems)).collect();
    // Somebody looks now and then for the first one only.
    if let Some(second) = read.iter().filter(|trigger| key == "entry" && trigger.value.is_watched()).nth(1) {
        problems.push(source.problem(
            &second.span,
            "a sequence can look for one silence or falling score only",
            "write a sequence of its own for it",
        ));
    }
    read.into_iter().map(|trigger| trigger.value).collect()
}

/// What the facts that set a sequence going are about. Facts about different things would leave a
/// mail without its values half of the time.
fn topic(entry: &[Trigger], source: &Source, problems: &mut Problems) -> Option<Topic> {
    let about = |trigger: &Trigger| trigger.kind().and_then(FactKind::topic);
    let topic = entry.first().and_then(about);
    if let Some(other) = entry.iter().find(|trigger| about(trigger) != topic) {
        let other = written::trigger(other);
        let what = format!("`{other}` is about something else than the facts before it in `entry`");
        problems.push(source.problem_of_file(what, "write a sequence of its own for it"));
    }
    topic
}

/// What signed times count from.
fn anchor(
    reader: &mut Reader<'_>,
    topic: Option<Topic>,
    entry: &[Trigger],
    ground: Ground<'_>,
    problems: &mut Problems,
) -> Anchor {
    let Some(written) = reader.optional_text("anchor", "consultation", problems) else {
        let starts = [FactKind::ConsultationBooked, FactKind::ConsultationRescheduled].map(Trigger::Fact);
        let announced = entry.iter().any(|trigger| starts.contains(trigger));
        return if announced { Anchor::Consultation } else { Anchor::Entry };
    };
    let dates = &ground.config.dates;
    let (anchor, needs) = match written.value.as_str() {
        "entry" => (Anchor::Entry, None),
        "consultation" => (Anchor::Consultation, Some((Topic::Consultation, "a consultation"))),
        "renewal" => (Anchor::Renewal, Some((Topic::Customer, "`customer_paid`"))),
        name => match dates.iter().find(|(id, _)| id.as_str() == name) {
            Some((_, at)) => (Anchor::At(*at), None),
            None => {
                let known = ANCHORS.into_iter().chain(dates.keys().map(Id::as_str));
                let what = format!("no anchor is called `{name}`");
                problems.push(reader.source().problem(&written.span, what, suggest(name, known)));
                // So that no time seems to lie before the beginning.
                (Anchor::At(DateTime::UNIX_EPOCH), None)
            }
        },
    };
    if let Some((_, by)) = needs.filter(|(needed, _)| topic != Some(*needed)) {
        problems.push(reader.source().problem(
            &written.span,
            format!("this sequence knows no `{}`", written.value),
            format!("enter it by {by} only, or count from the entry: delete `anchor`"),
        ));
    }
    anchor
}

/// When its mails may go out: all marketing mail's window, and its own.
fn windows(
    reader: &mut Reader<'_>,
    class: Option<MailClass>,
    ground: Ground<'_>,
    problems: &mut Problems,
) -> Vec<Window> {
    let hours = hours(reader, "hours", "09:00-20:00", problems);
    let weekdays = weekdays(reader, problems);
    let place =
        hours.as_ref().map(|hours| hours.span.clone()).or(weekdays.as_ref().map(|days| days.span.clone()));
    let own = window(hours.map(|hours| hours.value), weekdays.map(|days| days.value));
    let general = ground.config.window.clone().filter(|_| class == Some(MailClass::Marketing));
    let windows: Vec<Window> = general.into_iter().chain(own).collect();
    let never = next_open(&windows, DateTime::<Utc>::UNIX_EPOCH, chrono_tz::Tz::UTC).is_none();
    if let Some(place) = place.filter(|_| never) {
        problems.push(reader.source().problem(
            &place,
            "its hours and those of `[sending]` leave no time for its mails",
            "let `hours` and `weekdays` reach into what `quiet_hours` and `weekdays` of funnel.toml leave",
        ));
    }
    windows
}
