//! The steps of a sequence, and the ways between them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use domain::engagement::MailClass;
use domain::event::{FactKind, Topic};
use domain::id::Id;
use domain::limits::STEPS;
use domain::sequence::{Act, Anchor, END, Step, WATCH, When};
use domain::trigger::Trigger;

use super::config::https;
use super::{Ground, Problems, clock, has_errors, known_id, parse_id, triggers, unique_id};
use crate::condition::parse_value;
use crate::funnel::AttributeKind;
use crate::mail::{CONSULTATION_VARIABLES, Mail, PURCHASE_VARIABLES};
use crate::problem::{Problem, Source, suggest};
use crate::reader::{At, Reader, Scalar};

/// What a step can do.
const ACTS: [&str; 11] = [
    "send",
    "wait_for",
    "branch",
    "split",
    "tag",
    "untag",
    "attribute",
    "stage",
    "task",
    "notice",
    "webhook",
];

/// What a sequence is about: it decides what its mails can tell and its times count from.
pub(super) struct About<'a> {
    pub(super) topic: Option<Topic>,
    pub(super) entry: &'a [Trigger],
    pub(super) anchor: Anchor,
    /// None if it can't be read.
    pub(super) class: Option<MailClass>,
}

/// A step while it is read.
struct Stand<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// The ids of the steps below; none where one can't be read.
    below: &'r [Option<At<Id>>],
    /// The ids of the steps above, and its own.
    above: &'r [Option<At<Id>>],
    about: &'r About<'r>,
    ground: Ground<'r>,
}

/// A step, and where it stands.
type Placed = (Step, Range<usize>);

pub(super) fn read(
    reader: &mut Reader<'_>,
    about: &About<'_>,
    ground: Ground<'_>,
    problems: &mut Problems,
) -> Vec<Step> {
    let source = reader.source();
    let mut readers = reader.tables("steps", problems);
    if readers.is_empty() && !has_errors(&source.file, problems) {
        problems.push(source.problem_of_file("nothing happens in this sequence", "write `[[steps]]`"));
    }
    if readers.len() > STEPS {
        let what = format!("the sequence has {} steps", readers.len());
        problems.push(source.problem_of_file(what, format!("write {STEPS} at most, and a second sequence")));
    }
    let before = problems.len();
    let mut seen = BTreeSet::new();
    let ids: Vec<Option<At<Id>>> =
        readers.iter_mut().map(|reader| step_id(reader, &mut seen, problems)).collect();
    let mut steps: Vec<Placed> = vec![];
    for (at, mut reader) in readers.into_iter().enumerate() {
        let (above, below) = ids.split_at((at + 1).min(ids.len()));
        let span = reader.span();
        let stand = Stand { reader: &mut reader, below, above, about, ground };
        steps.extend(stand.step(problems).map(|step| (step, span)));
        reader.finish(problems);
    }
    // Where a step is missing, its ways are too.
    if !problems.iter().skip(before).any(Problem::is_error) {
        check_ways(&steps, source, problems);
        check_times(&steps, source, problems);
    }
    steps.into_iter().map(|(step, _)| step).collect()
}

fn step_id(reader: &mut Reader<'_>, seen: &mut BTreeSet<Id>, problems: &mut Problems) -> Option<At<Id>> {
    let id = unique_id(reader, "day-1", seen, problems)?;
    if [WATCH, END].contains(&id.value.as_str()) {
        problems.push(reader.source().problem(
            &id.span,
            format!("no step can be called `{}`", id.value),
            "give it another id: the word means something else",
        ));
    }
    Some(id)
}

impl Stand<'_, '_> {
    fn step(mut self, problems: &mut Problems) -> Option<Step> {
        let written: Vec<&'static str> = ACTS.into_iter().filter(|key| self.reader.has(key)).collect();
        let when = self.time("when", problems).map(|when| when.value);
        let act = match written.as_slice() {
            [act] => self.act(act, problems),
            [] => {
                let acts = ACTS.map(|act| format!("`{act}`")).join(", ");
                self.slip("this step does nothing", format!("write one of {acts}"), problems)
            }
            [first, second, ..] => self.slip(
                format!("this step does two things: `{first}` and `{second}`"),
                "write a step for each",
                problems,
            ),
        };
        let below = self.below.iter().flatten().next().map(|id| id.value.clone());
        let next = match act {
            // Only for somebody whose time for the decision has passed before she came.
            Some(Act::WaitFor { .. } | Act::Branch { .. } | Act::Split { .. }) => {
                if self.reader.has("next") {
                    self.slip::<()>(
                        "`next` is not for a step that decides",
                        "write `then` and `else`, or the steps of the `split`",
                        problems,
                    );
                }
                below
            }
            Some(_) | None => self.way("next", problems),
        };
        let id = self.above.last().and_then(Option::as_ref)?.value.clone();
        Some(Step { id, when: when.unwrap_or(When::Now), act: act?, next })
    }

    fn act(&mut self, key: &'static str, problems: &mut Problems) -> Option<Act> {
        match key {
            "send" => self.send(problems),
            "wait_for" => {
                let test = self.test(key, problems);
                let within = self.within(problems);
                let (then, otherwise) = self.ways(problems);
                Some(Act::WaitFor { test: test?, within: within?, then, otherwise })
            }
            "branch" => {
                let test = self.test(key, problems);
                let (then, otherwise) = self.ways(problems);
                Some(Act::Branch { test: test?, then, otherwise })
            }
            "split" => self.split(problems),
            "tag" => Some(Act::Tag { tag: triggers::tag(key, self.reader, problems)?.value }),
            "untag" => Some(Act::Untag { tag: triggers::tag(key, self.reader, problems)?.value }),
            "attribute" => self.attribute(problems),
            "stage" => Some(Act::Stage { stage: triggers::stage(self.reader, problems)? }),
            "task" => {
                let title = self.reader.text(key, "電話でフォローする", problems);
                let assignee = self.member(problems);
                let due = self.time("due", problems).map_or(When::Now, |due| due.value);
                Some(Act::Task { title: title?.value, assignee: assignee?, due })
            }
            "notice" => {
                let text = self.reader.text(key, "料金ページを3回見ました", problems);
                let to = self.member(problems);
                Some(Act::Notice { text: text?.value, to: to? })
            }
            _ => {
                let url = self.reader.parsed(key, "https://example.com/michi", https, problems);
                Some(Act::Webhook { url: url?.value })
            }
        }
    }

    fn send(&mut self, problems: &mut Problems) -> Option<Act> {
        let send = self.reader.parsed("send", "day-1", parse_id, problems);
        let calendar = self.reader.flag("calendar", problems).is_some_and(|calendar| calendar.value);
        if calendar && self.about.topic != Some(Topic::Consultation) {
            self.slip::<()>(
                "there is no appointment to put into a calendar file",
                "delete `calendar`, or enter by `consultation_booked`",
                problems,
            );
        }
        let send = send?;
        let place = self.reader.span();
        let mail = mail(&send, self.reader.source(), self.ground, problems)?;
        self.about.check(mail, &place, self.reader.source(), problems);
        Some(Act::Send { mail: send.value, calendar })
    }

    fn test(&mut self, key: &'static str, problems: &mut Problems) -> Option<domain::condition::Test> {
        let text = self.reader.text(key, "opened(\\\"day-1\\\")", problems)?;
        parse_value(&text, self.reader.source(), self.ground.names, true, problems)
    }

    fn within(&mut self, problems: &mut Problems) -> Option<When> {
        let before = problems.len();
        let within = self.time("within", problems);
        if within.is_none() && problems.len() == before {
            return self.slip("a wait without an end", "write how long at most: `within = \"3d\"`", problems);
        }
        let within = within?;
        if within.value == When::Now {
            problems.push(self.reader.source().problem(
                &within.span,
                "the wait is over at once",
                "write a time: `within = \"3d\"`, or `branch` instead of `wait_for`",
            ));
        }
        Some(within.value)
    }

    fn split(&mut self, problems: &mut Problems) -> Option<Act> {
        let table = self.reader.optional_table("split", problems)?;
        let source = self.reader.source();
        let place = table.span();
        let mut targets = vec![];
        let weights = table.weights(problems);
        if weights.len() < 2 {
            problems.push(source.problem(
                &place,
                "a split leads to one step only",
                "write two at least, with their weights: `split = { \"offer-a\" = 50, \"offer-b\" = 50 }`",
            ));
        }
        for (name, weight) in weights {
            if !(1..=1000).contains(&weight) {
                problems.push(source.problem(
                    &name.span,
                    format!("the weight of `{}` is out of range", name.value),
                    "write a whole number from 1 to 1000",
                ));
            }
            let step = self.target("split", &name, problems);
            if step == Some(None) {
                problems.push(source.problem(
                    &name.span,
                    "a split can't lead to the end",
                    "let it lead to a step whose `next` is \"end\"",
                ));
            }
            targets.extend(step.flatten().map(|step| (step, weight)));
        }
        Some(Act::Split { targets })
    }

    fn attribute(&mut self, problems: &mut Problems) -> Option<Act> {
        let table = self.reader.optional_table("attribute", problems)?;
        let source = self.reader.source();
        let (place, before) = (table.span(), problems.len());
        let mut values = BTreeMap::new();
        let known = &self.ground.names.attributes;
        for (name, value) in table.scalars(problems) {
            let Some(attribute) = known.iter().find(|known| known.id.as_str() == name.value) else {
                let mend = suggest(&name.value, known.iter().map(|known| known.id.as_str()));
                problems.push(source.problem(
                    &name.span,
                    format!("there is no attribute `{}`", name.value),
                    mend,
                ));
                continue;
            };
            match fitting(&attribute.kind, &value.value) {
                Some(fitting) => drop(values.insert(name.value, fitting)),
                None => {
                    let (what, mend) = unfit(&name.value, &attribute.kind, &value.value);
                    problems.push(source.problem(&name.span, what, mend));
                }
            }
        }
        if values.is_empty() && problems.len() == before {
            problems.push(source.problem(
                &place,
                "nothing is noted",
                "write `attribute = { industry = \"IT\" }`",
            ));
        }
        Some(Act::Attribute { values })
    }

    /// Somebody of the team.
    fn member(&mut self, problems: &mut Problems) -> Option<Id> {
        let team = self.ground.config.team.iter().map(|member| &member.id);
        known_id(self.reader, "for", "member of the team", team, problems)
    }

    /// A time; none if it is not written.
    fn time(&mut self, key: &'static str, problems: &mut Problems) -> Option<At<When>> {
        let parse = |text: &str| When::parse(text).map_err(|error| error.to_string());
        let when = self.reader.optional_parsed(key, "+1d 07:00", parse, problems)?;
        let source = self.reader.source();
        if when.value.is_before_anchor() && self.about.anchor == Anchor::Entry {
            let id = self.above.last().and_then(Option::as_ref).map_or("?", |id| id.value.as_str());
            let (what, mend) = (
                format!("step `{id}` lies before the sequence begins"),
                "write a time from then on: `+1d 07:00`",
            );
            self.slip::<()>(what, mend, problems);
        }
        let weekday = match when.value {
            When::NextWeekday { weekday, .. } => Some(weekday),
            When::Now
            | When::After { .. }
            | When::AfterClock { .. }
            | When::NextClock { .. }
            | When::Anchor { .. }
            | When::AnchorClock { .. } => None,
        };
        let skipped = |time| Some((time, clock::skipped(self.ground.gaps, time, weekday)?));
        if let Some((time, date)) = when.value.clock().and_then(skipped) {
            let what = format!("on {date} no clock of the funnel's zone shows {}", time.format("%H:%M"));
            problems.push(
                source
                    .problem(
                        &when.span,
                        what,
                        "choose another time; on such a day it becomes the first one after the gap",
                    )
                    .into_warning(),
            );
        }
        Some(when)
    }

    fn ways(&mut self, problems: &mut Problems) -> (Option<Id>, Option<Id>) {
        let before = problems.len();
        let (then, otherwise) = (self.way("then", problems), self.way("else", problems));
        if then == otherwise && problems.len() == before {
            let whither = then.as_ref().map_or("the end".to_owned(), |step| format!("`{step}`"));
            let what = format!("`then` and `else` both lead to {whither}");
            let problem =
                self.reader.source().problem(&self.reader.span(), what, "let them lead to different steps");
            problems.push(problem.into_warning());
        }
        (then, otherwise)
    }

    /// The step to which a key leads: the one below if it is not written, none at the end.
    fn way(&mut self, key: &'static str, problems: &mut Problems) -> Option<Id> {
        let below = self.below.iter().flatten().next().map(|id| id.value.clone());
        let Some(name) = self.reader.optional_text(key, "day-2", problems) else { return below };
        self.target(key, &name, problems).unwrap_or(below)
    }

    /// The step of that name, which must be one below.
    fn target(&self, key: &str, name: &At<String>, problems: &mut Problems) -> Option<Option<Id>> {
        if name.value == END {
            return Some(None);
        }
        let named = |ids: &[Option<At<Id>>]| -> Option<Id> {
            ids.iter().flatten().map(|id| &id.value).find(|id| id.as_str() == name.value).cloned()
        };
        if let Some(step) = named(self.below) {
            return Some(Some(step));
        }
        let (what, mend) = match named(self.above) {
            Some(_) => (
                format!("`{key}` leads back to `{}`: nobody may go round in circles", name.value),
                "lead to a step below, or to \"end\"".to_owned(),
            ),
            None => {
                let known = self.below.iter().flatten().map(|id| id.value.as_str()).chain([END]);
                (format!("there is no step `{}` below", name.value), suggest(&name.value, known))
            }
        };
        problems.push(self.reader.source().problem(&name.span, what, mend));
        None
    }

    fn slip<T>(
        &self,
        what: impl Into<String>,
        mend: impl Into<String>,
        problems: &mut Problems,
    ) -> Option<T> {
        problems.push(self.reader.source().problem(&self.reader.span(), what, mend));
        None
    }
}

/// A mail by its name; nothing is said if the mail itself has errors.
pub(super) fn mail<'m>(
    name: &At<Id>,
    source: &Source,
    ground: Ground<'m>,
    problems: &mut Problems,
) -> Option<&'m Mail> {
    let mail = ground.mails.get(&name.value);
    if mail.is_none() && !has_errors(&format!("mails/{}.md", name.value), problems) {
        problems.push(source.problem(
            &name.span,
            format!("there is no mail `{}`", name.value),
            suggest(name.value.as_str(), ground.mails.keys().map(Id::as_str)),
        ));
    }
    mail
}

impl About<'_> {
    /// Whether the mail can be made from what sets the sequence going.
    pub(super) fn check(&self, mail: &Mail, place: &Range<usize>, source: &Source, problems: &mut Problems) {
        let told = self.entry.iter().any(|trigger| matches!(trigger, Trigger::Told(_)));
        let asks = self.entry.contains(&Trigger::Fact(FactKind::OptInRequested));
        for (given, names, entry) in [
            (
                self.topic == Some(Topic::Consultation),
                CONSULTATION_VARIABLES.as_slice(),
                "consultation_booked",
            ),
            (self.topic == Some(Topic::Customer), PURCHASE_VARIABLES.as_slice(), "customer_paid"),
            (asks, ["confirm_url"].as_slice(), "opt_in_requested"),
        ] {
            let missing = mail.variables().into_iter().find(|name| names.contains(name)).filter(|_| !given);
            if let Some(variable) = missing {
                let what =
                    format!("mail `{}` tells `{variable}`, which this sequence does not know", mail.id);
                problems.push(source.problem(place, what, format!("send it from a sequence whose every `entry` is of the kind `{entry}`, or take the variable out")));
            }
        }
        let fact = mail.variables().into_iter().find(|name| *name == "fact" || name.starts_with("fact."));
        if fact.is_some() && !told {
            let what =
                format!("mail `{}` tells values of a fact, which this sequence does not know", mail.id);
            problems.push(source.problem(
                place,
                what,
                "send it from a sequence that one of the funnel's own facts sets going, or take them out",
            ));
        }
        if let Some(class) = self.class.filter(|class| *class != mail.class) {
            problems.push(source.problem(
                place,
                format!("the sequence is {}, its mail `{}` is not", class_name(class), mail.id),
                "give both the same `class`: it decides who may get the mail",
            ));
        }
    }
}

fn class_name(class: MailClass) -> &'static str {
    match class {
        MailClass::Marketing => "marketing",
        MailClass::Transactional => "transactional",
    }
}

/// The value as leads carry it, if it is one of the attribute's.
fn fitting(kind: &AttributeKind, value: &Scalar) -> Option<String> {
    match (kind, value) {
        (AttributeKind::Number, Scalar::Number(number)) => Some(number.to_string()),
        (AttributeKind::Text, Scalar::Text(text)) => {
            Some(text.clone()).filter(|text| !text.trim().is_empty())
        }
        (AttributeKind::Choice(choices), Scalar::Text(text)) => {
            Some(text.clone()).filter(|text| choices.contains(text))
        }
        (AttributeKind::Number, Scalar::Text(_))
        | (AttributeKind::Text | AttributeKind::Choice(_), Scalar::Number(_)) => None,
    }
}

/// Why a value is none of the attribute's.
fn unfit(name: &str, kind: &AttributeKind, value: &Scalar) -> (String, String) {
    match (kind, value) {
        (AttributeKind::Choice(choices), Scalar::Text(text)) => {
            (format!("`{name}` is never \"{text}\""), suggest(text, choices.iter().map(String::as_str)))
        }
        (AttributeKind::Number, Scalar::Text(_) | Scalar::Number(_)) => {
            (format!("`{name}` is a number"), format!("write `{name} = 100`"))
        }
        (AttributeKind::Text, Scalar::Text(_) | Scalar::Number(_))
        | (AttributeKind::Choice(_), Scalar::Number(_)) => {
            (format!("`{name}` is a text"), format!("write `{name} = \"…\"`"))
        }
    }
}

/// Every step must be one that somebody can come to.
fn check_ways(steps: &[Placed], source: &Source, problems: &mut Problems) {
    // Ways lead forward only, so that each step's are known before it is come to.
    let mut reached: BTreeSet<&Id> = steps.first().map(|(first, _)| &first.id).into_iter().collect();
    for (step, place) in steps {
        if reached.contains(&step.id) {
            reached.extend(step.targets());
        } else {
            problems.push(source.problem(
                place,
                format!("no step leads to `{}`", step.id),
                "lead to it by `next`, `then`, `else` or `split` of a step above, or delete it",
            ));
        }
    }
}

fn check_times(steps: &[Placed], source: &Source, problems: &mut Problems) {
    for pair in steps.windows(2) {
        let [(above, _), (below, place)] = pair else { continue };
        if above.targets().contains(&&below.id) && later(above.when, below.when) {
            problems.push(source.problem(
                place,
                format!("step `{}` comes due before the one above it", below.id),
                "write the steps in the order of their times",
            ));
        }
    }
}

/// Whether the first surely comes due after the second. Only times from the anchor can be compared,
/// and of these clock times with each other only: how long a day's hours are from it is not known.
fn later(first: When, second: When) -> bool {
    match (first, second) {
        (When::Anchor { minutes: first }, When::Anchor { minutes: second }) => first > second,
        (When::AnchorClock { days: first, time: a }, When::AnchorClock { days: second, time: b }) => {
            (first, a) > (second, b)
        }
        (
            When::Now
            | When::After { .. }
            | When::AfterClock { .. }
            | When::NextClock { .. }
            | When::NextWeekday { .. }
            | When::Anchor { .. }
            | When::AnchorClock { .. },
            _,
        ) => false,
    }
}
