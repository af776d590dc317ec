//! `mails/*.md`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use domain::engagement::MailClass;
use domain::id::Id;
use minijinja::value::Value;

use super::{FrontMatter, Problems, front_matter};
use crate::expression::{Expression, Origin, extract};
use crate::mail::{CONSULTATION_VARIABLES, Mail, PURCHASE_VARIABLES, VARIABLES};
use crate::markdown::{self, Block};
use crate::problem::{Source, suggest};
use crate::reader::{At, Reader, parse};

/// Gmail clips a mail at 102 KB of HTML; the layout and the markup take their part of it.
const BODY_BYTES: usize = 50_000;

pub(super) fn read(files: Vec<(Id, Source)>, problems: &mut Problems) -> BTreeMap<Id, Mail> {
    files.into_iter().filter_map(|(id, source)| Some((id.clone(), mail(id, source, problems)?))).collect()
}

fn mail(id: Id, source: Source, problems: &mut Problems) -> Option<Mail> {
    let FrontMatter { table, body, body_line } = front_matter(&source, problems)?;
    let parsed = parse(&table, problems)?;
    let mut reader = Reader::file(&table, &parsed);
    let mut expressions = vec![];
    let subject = line(&mut reader, "subject", "お届けします", &mut expressions, problems);
    let preheader = line(&mut reader, "preheader", "ダウンロードはこちらから", &mut expressions, problems);
    let class = reader.parsed("class", "marketing", class, problems);
    reader.finish(problems);
    let marked =
        extract(&body, Origin { line: body_line, columns: true }, &source, &mut expressions, problems);
    let blocks = markdown::parse(&marked, body_line, &source, &expressions, problems);
    check(&source, &body, &blocks, &expressions, problems);
    Some(Mail {
        id,
        class: class?.value,
        source,
        subject: subject?,
        preheader: preheader?,
        blocks,
        expressions,
        frame: OnceLock::new(),
    })
}

pub(super) fn class(text: &str) -> Result<MailClass, String> {
    match text {
        "marketing" => Ok(MailClass::Marketing),
        "transactional" => Ok(MailClass::Transactional),
        other => Err(suggest(other, ["marketing", "transactional"])),
    }
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
    let at = reader.source().problem(&span, "", "");
    Some(extract(
        &value,
        Origin { line: at.line.unwrap_or(1), columns: false },
        reader.source(),
        expressions,
        problems,
    ))
}

fn check(source: &Source, body: &str, blocks: &[Block], expressions: &[Expression], problems: &mut Problems) {
    if body.trim().is_empty() {
        problems.push(
            source.problem_of_file("the mail says nothing", "write its text below the second `+++` line"),
        );
    }
    if body.len() > BODY_BYTES {
        problems.push(source.problem_of_file(
            format!("the mail is longer than {} KB", BODY_BYTES / 1000),
            "shorten it: Gmail cuts off long mails, with the unsubscribe link",
        ));
    }
    if blocks.contains(&Block::Form) {
        problems.push(source.problem_of_file("a mail can't hold a form", "link to the page that has it"));
        return;
    }
    let named = Value::from_pairs(known().map(|name| (name, "x")));
    let nameless = Value::from_pairs(known().filter(|name| *name != "name").map(|name| (name, "x")));
    for expression in expressions {
        let shown = &expression.text;
        if let Some(unknown) = expression.variables.iter().find(|name| !known().any(|known| known == *name)) {
            problems.push(expression.problem(
                source,
                format!("unknown variable `{unknown}`"),
                suggest(unknown, known()),
            ));
        } else if let Err(reason) = expression.value(&named) {
            problems.push(expression.problem(
                source,
                format!("`{{{{ {shown} }}}}`: {reason}"),
                "there are `default` and `honorific`: `{{ name | honorific(\"様\", \"こんにちは。\") }}`",
            ));
        } else if expression.value(&nameless).is_err() {
            problems.push(expression.problem(
                source,
                format!("`{{{{ {shown} }}}}` has nothing to say to somebody who gave no name"),
                "write `{{ name | default(\"あなた\") }}` or `{{ name | honorific(\"様\", \"こんにちは。\") }}`",
            ));
        }
    }
}

fn known() -> impl Iterator<Item = &'static str> {
    VARIABLES.into_iter().chain(CONSULTATION_VARIABLES).chain(PURCHASE_VARIABLES)
}
