//! `mails/*.md` and `snippets/*.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use domain::engagement::MailClass;
use domain::id::Id;

use super::{FrontMatter, Problems, front_matter, parse_id};
use crate::condition::Names;
use crate::expression::{Escape, Expression, Origin, extract, fill};
use crate::funnel::Funnel;
use crate::mail::{
    APPLY_URL, BOOKING_URL, Body, BodyReader, CONFIRM_VARIABLES, CONSULTATION_VARIABLES, DEADLINE, Frame,
    Mail, OFFER_VARIABLES, OWN_VARIABLES, PURCHASE_VARIABLES, VARIABLES,
};
use crate::markdown::{self, Block};
use crate::problem::{Source, suggest};
use crate::reader::{At, Reader, parse};

/// Gmail clips a mail at 102 KB of HTML, and with it the unsubscribe link.
const MAIL_BYTES: usize = 100_000;
/// What a value is taken to add to a mail, in bytes: most are shorter, links with a key are not.
const VALUE_BYTES: usize = 120;

/// What `funnel.toml` declares, as far as mails and pages can speak of it.
#[derive(Debug, Default)]
pub(super) struct Declared {
    /// Whether there is a `[consultation]`.
    pub(super) consultation: bool,
    /// Whether there are `[[plans]]`.
    pub(super) plans: bool,
    pub(super) double_opt_in: bool,
    /// Ids of `[[senders]]`.
    pub(super) senders: BTreeSet<Id>,
    /// Ids of `[[topics]]`.
    pub(super) topics: BTreeSet<Id>,
    /// Ids of `[dates]`.
    pub(super) dates: BTreeSet<Id>,
}

impl Declared {
    /// What is missing in the funnel for a variable that others have.
    pub(super) fn lacks(&self, variable: &str) -> Option<(String, &'static str)> {
        let of_consultation = variable == BOOKING_URL
            || OFFER_VARIABLES.contains(&variable)
            || CONSULTATION_VARIABLES.contains(&variable);
        let of_plans =
            variable == APPLY_URL || PURCHASE_VARIABLES.contains(&variable) || variable.starts_with("plans.");
        let of_confirmation = CONFIRM_VARIABLES.contains(&variable);
        if of_consultation && !self.consultation {
            let what = format!("`{variable}` needs a consultation, and this funnel has none");
            Some((what, "add `[consultation]` to funnel.toml, or take the variable out"))
        } else if of_plans && !self.plans {
            let what = format!("`{variable}` needs plans, and this funnel has none");
            Some((what, "add `[[plans]]` to funnel.toml, or take the variable out"))
        } else if of_confirmation && !self.double_opt_in {
            let what = format!("`{variable}` needs an address to confirm, and this funnel asks for none");
            Some((what, "write `double = true` in [consent] of funnel.toml, or take the variable out"))
        } else {
            None
        }
    }

    /// The dates as variables.
    pub(super) fn date_variables(&self) -> impl Iterator<Item = String> {
        self.dates.iter().map(|id| format!("dates.{id}"))
    }
}

/// Reads the mails. Without `declared` (a `funnel.toml` that can't be read has its own problems)
/// nothing is said about what it would have to declare.
pub(super) fn read(
    files: Vec<(Id, Source)>,
    snippets: Vec<(Id, Source)>,
    names: &Names,
    declared: Option<&Declared>,
    problems: &mut Problems,
) -> BTreeMap<Id, Mail> {
    let snippets: BTreeMap<Id, Source> = snippets.into_iter().collect();
    let loader = Loader { names, declared, snippets: &snippets };
    for source in snippets.values() {
        loader.snippet(source, problems);
    }
    files
        .into_iter()
        .filter_map(|(id, source)| Some((id.clone(), loader.mail(id, source, problems)?)))
        .collect()
}

pub(super) fn class(text: &str) -> Result<MailClass, String> {
    match text {
        "marketing" => Ok(MailClass::Marketing),
        "transactional" => Ok(MailClass::Transactional),
        other => Err(suggest(other, ["marketing", "transactional"])),
    }
}

/// Lays every mail out, for everybody who may get it: tells what is wrong with the layout, and
/// what is too long.
pub(super) fn lay_out(funnel: &Funnel, problems: &mut Problems) {
    if funnel.layout.is_some() {
        let before = problems.len();
        funnel.check_layout(problems);
        // Every mail would only say the same again.
        if problems.len() > before {
            return;
        }
    }
    for mail in funnel.mails.values() {
        lay_out_one(funnel, mail, problems);
    }
}

fn lay_out_one(funnel: &Funnel, mail: &Mail, problems: &mut Problems) {
    let mut frames = vec![];
    for choice in mail.frames.keys() {
        match funnel.frame(mail, *choice) {
            Ok(frame) => frames.push(frame),
            Err(problem) => problems.push(problem),
        }
    }
    let is_long = |frame: &&Frame| {
        let values = vec!["x".repeat(VALUE_BYTES); mail.expressions.len() + frame.layout_expressions.len()];
        fill(&frame.html, &values, Escape::Html).len() > MAIL_BYTES
    };
    if frames.iter().any(is_long) {
        problems.push(mail.source.problem_of_file(
            format!("the finished mail is longer than {} KB", MAIL_BYTES / 1000),
            "shorten it: Gmail cuts off long mails, with the unsubscribe link",
        ));
    }
}

struct Loader<'a> {
    names: &'a Names,
    declared: Option<&'a Declared>,
    snippets: &'a BTreeMap<Id, Source>,
}

/// What a mail's front matter says.
struct Head {
    subject: String,
    preheader: String,
    class: MailClass,
    from: Option<Id>,
    topics: Vec<Id>,
    offer_hours: Option<i64>,
}

impl Loader<'_> {
    fn mail(&self, id: Id, source: Source, problems: &mut Problems) -> Option<Mail> {
        let FrontMatter { table, body, body_line } = front_matter(&source, problems)?;
        let mut expressions = vec![];
        let head = self.head(&table, &mut expressions, problems);
        let text = body;
        let mut reader = BodyReader {
            names: self.names,
            snippets: self.snippets,
            expressions: &mut expressions,
            problems,
        };
        let body = reader.mail(&source, &text, body_line);
        if text.trim().is_empty() {
            problems.push(
                source.problem_of_file("the mail says nothing", "write its text below the second `+++` line"),
            );
        }
        let blocks = blocks(&body, &expressions, problems);
        if blocks.iter().any(|blocks| blocks.contains(&Block::Form)) {
            problems.push(source.problem_of_file("a mail can't hold a form", "link to the page that has it"));
            return None;
        }
        self.check(&expressions, head.as_ref().is_none_or(|head| head.offer_hours.is_some()), problems);
        let head = head?;
        Some(Mail {
            id,
            class: head.class,
            topics: head.topics,
            from: head.from,
            offer_hours: head.offer_hours,
            source,
            subject: head.subject,
            preheader: head.preheader,
            frames: body.choices().into_iter().map(|choice| (choice, OnceLock::new())).collect(),
            body,
            expressions,
        })
    }

    /// What is wrong with a snippet is told even if no mail includes it.
    fn snippet(&self, source: &Source, problems: &mut Problems) {
        let mut expressions = vec![];
        let mut reader = BodyReader {
            names: self.names,
            snippets: self.snippets,
            expressions: &mut expressions,
            problems,
        };
        let body = reader.snippet(source);
        if source.text.trim().is_empty() {
            problems.push(
                source.problem_of_file("the snippet says nothing", "write its text, or delete the file"),
            );
        }
        blocks(&body, &expressions, problems);
        self.check(&expressions, true, problems);
    }

    fn head(
        &self,
        table: &Source,
        expressions: &mut Vec<Expression>,
        problems: &mut Problems,
    ) -> Option<Head> {
        let parsed = parse(table, problems)?;
        let mut reader = Reader::file(table, &parsed);
        let subject = line(&mut reader, "subject", "お届けします", expressions, problems);
        let preheader = line(&mut reader, "preheader", "ダウンロードはこちらから", expressions, problems);
        let class = reader.parsed("class", "marketing", class, problems);
        let from = reader.optional_text("from", "sales", problems);
        let topics = reader.texts("topics", "news", problems);
        let offer_hours = reader.optional_number("offer_hours", 1..=720, problems);
        reader.finish(problems);
        let senders = self.declared.map(|declared| &declared.senders);
        let from = from.and_then(|from| declared_id(&from, "sender", senders, table, problems));
        let is_transactional = class.as_ref().is_some_and(|class| class.value == MailClass::Transactional);
        if let Some(first) = topics.first().filter(|_| is_transactional) {
            problems.push(table.problem(
                &first.span,
                "only marketing mail has topics",
                "delete `topics`: what people asked for themselves comes in any case",
            ));
        }
        let known = self.declared.map(|declared| &declared.topics);
        let topics =
            topics.iter().filter_map(|topic| declared_id(topic, "topic", known, table, problems)).collect();
        Some(Head {
            subject: subject?,
            preheader: preheader?,
            class: class?.value,
            from,
            topics,
            offer_hours: offer_hours.map(|hours| hours.value),
        })
    }

    /// Every expression must say something to everybody.
    fn check(&self, expressions: &[Expression], has_deadline: bool, problems: &mut Problems) {
        for expression in expressions {
            let shown = &expression.text;
            let wrong = expression.variables.iter().find_map(|name| self.wrong(name, has_deadline));
            if let Some((what, mend)) = wrong {
                problems.push(expression.problem(what, mend));
            } else if let Err(reason) = expression.sample(|_| true) {
                problems.push(expression.problem(
                    format!("`{{{{ {shown} }}}}`: {reason}"),
                    "there are `default` and `honorific`: `{{ name | honorific(\"様\", \"こんにちは。\") }}`",
                ));
            } else if let Some(missing) = missing(expression) {
                let (whom, mend) = self.speechless(missing);
                problems
                    .push(expression.problem(format!("`{{{{ {shown} }}}}` has nothing to say {whom}"), mend));
            }
        }
    }

    /// What is wrong with a variable, and how to mend it.
    fn wrong(&self, name: &str, has_deadline: bool) -> Option<(String, String)> {
        if let Some((what, mend)) = self.declared.and_then(|declared| declared.lacks(name)) {
            return Some((what, mend.to_owned()));
        }
        if name == DEADLINE && !has_deadline {
            let what = "`deadline` is not known: the mail makes no offer for a time".to_owned();
            return Some((what, "write `offer_hours = 48` into its front matter".to_owned()));
        }
        let known: BTreeSet<String> = self.variables().collect();
        let is_declared = ["attribute.", "dates."].iter().any(|group| name.starts_with(group));
        let is_known =
            known.contains(name) || name.starts_with("fact.") || (is_declared && self.declared.is_none());
        (!is_known)
            .then(|| (format!("unknown variable `{name}`"), suggest(name, known.iter().map(String::as_str))))
    }

    /// All variables of this funnel's mails, but for what other systems tell.
    fn variables(&self) -> impl Iterator<Item = String> {
        let plain = VARIABLES
            .into_iter()
            .chain(OWN_VARIABLES)
            .chain(OFFER_VARIABLES)
            .chain(CONSULTATION_VARIABLES)
            .chain(PURCHASE_VARIABLES)
            .chain(CONFIRM_VARIABLES)
            .chain([BOOKING_URL, APPLY_URL, DEADLINE])
            .filter(|name| self.declared.is_none_or(|declared| declared.lacks(name).is_none()));
        let attributes = self.names.attributes.iter().map(|attribute| format!("attribute.{}", attribute.id));
        let dates = self.declared.into_iter().flat_map(Declared::date_variables);
        plain.map(str::to_owned).chain(attributes).chain(dates)
    }

    /// To whom there is nothing to say without this variable, and how to mend it.
    fn speechless(&self, variable: &str) -> (String, String) {
        let default = |text: &str| format!("write `{{{{ {variable} | default(\"{text}\") }}}}`");
        match variable.split_once('.') {
            Some(("attribute", id)) => {
                let attribute = self.names.attributes.iter().find(|attribute| attribute.id.as_str() == id);
                let name = attribute.map_or(id, |attribute| &attribute.name);
                (format!("to somebody whose `{name}` is not known"), default("…"))
            }
            Some((_, key)) => (format!("if `{key}` was not told"), default("…")),
            None => (
                "to somebody who gave no name".to_owned(),
                format!("{} or `{{{{ name | honorific(\"様\", \"こんにちは。\") }}}}`", default("あなた")),
            ),
        }
    }
}

/// The variable without which an expression says nothing, if there is one.
fn missing(expression: &Expression) -> Option<&str> {
    let optional =
        |name: &str| name == "name" || ["attribute.", "fact."].iter().any(|of| name.starts_with(of));
    expression.sample(|name| !optional(name)).err()?;
    let mut names = expression.variables.iter().map(String::as_str).filter(|name| optional(name));
    let alone = names.clone().find(|missing| expression.sample(|name| name != *missing).is_err());
    alone.or(names.next())
}

/// The text as Markdown, whatever of it somebody gets.
fn blocks(body: &Body, expressions: &[Expression], problems: &mut Problems) -> Vec<Vec<Block>> {
    let choices = body.choices().into_iter();
    choices.map(|choice| markdown::parse(&body.lines(choice), expressions, problems)).collect()
}

/// An id that the funnel declares.
fn declared_id(
    text: &At<String>,
    kind: &str,
    declared: Option<&BTreeSet<Id>>,
    source: &Source,
    problems: &mut Problems,
) -> Option<Id> {
    let id = parse_id(&text.value).ok().filter(|id| declared.is_none_or(|ids| ids.contains(id)));
    if id.is_none() {
        let known = declared.into_iter().flatten();
        problems.push(source.problem(
            &text.span,
            format!("there is no {kind} `{}`", text.value),
            suggest(&text.value, known.map(Id::as_str)),
        ));
    }
    id
}

/// A one-line text of the front matter, with marks in place of its expressions.
fn line(
    reader: &mut Reader<'_>,
    key: &'static str,
    example: &str,
    expressions: &mut Vec<Expression>,
    problems: &mut Problems,
) -> Option<String> {
    let At { value, span } = reader.text(key, example, problems)?;
    if value.contains(char::is_control) {
        problems.push(reader.source().problem(
            &span,
            format!("`{key}` is more than one line"),
            "write it in one line",
        ));
        return None;
    }
    let (file, at) = (Arc::from(reader.source().file.as_str()), reader.source().problem(&span, "", ""));
    let origin = Origin { file: &file, line: at.line.unwrap_or(1), columns: false };
    Some(extract(&value, origin, expressions, problems))
}
