//! `pages/*.md`.

use std::collections::BTreeMap;

use domain::id::Id;

use super::{FrontMatter, Problems, front_matter};
use crate::expression::{Origin, extract};
use crate::funnel::Funnel;
use crate::markdown::{self, Block};
use crate::page::{FormKind, Page};
use crate::problem::{Problem, Source, suggest};
use crate::reader::{Reader, parse};

/// The pages that the customer's way leads over, and what each is for.
const REQUIRED: [(&str, FormKind); 11] = [
    ("landing", FormKind::OptIn),
    ("thanks", FormKind::None),
    ("booking", FormKind::Booking),
    ("booked", FormKind::Booked),
    ("cancelled", FormKind::Cancelled),
    ("apply", FormKind::Apply),
    ("paid", FormKind::None),
    ("unsubscribe", FormKind::Unsubscribe),
    ("unsubscribed", FormKind::None),
    ("privacy", FormKind::None),
    ("tokushoho", FormKind::None),
];

pub(super) fn read(files: Vec<(Id, Source)>, problems: &mut Problems) -> BTreeMap<Id, Page> {
    let known: Vec<Id> = files.iter().map(|(id, _)| id.clone()).collect();
    let pages: BTreeMap<Id, Page> = files
        .into_iter()
        .filter_map(|(id, source)| Some((id.clone(), page(id, source, problems)?)))
        .collect();
    for (name, form) in REQUIRED {
        let file = format!("pages/{name}.md");
        match pages.values().find(|page| page.id.as_str() == name) {
            Some(page) if page.form == form => {}
            Some(page) => {
                problems.push(page.source.problem_in_line(1, "this page is for something else", mend(form)))
            }
            None if known.iter().any(|id| id.as_str() == name) => {}
            None => problems.push(Problem::of_file(
                file,
                "the page is missing",
                "add it; funnels/coaching has one to start from",
            )),
        }
    }
    pages
}

fn mend(form: FormKind) -> String {
    match FormKind::NAMED.iter().find(|(_, kind)| *kind == form) {
        Some((name, _)) => format!("write `form = \"{name}\"`"),
        None => "delete its `form`".to_owned(),
    }
}

fn page(id: Id, source: Source, problems: &mut Problems) -> Option<Page> {
    let FrontMatter { table, body, body_line } = front_matter(&source, problems)?;
    let parsed = parse(&table, problems)?;
    let mut reader = Reader::file(&table, &parsed);
    let title = reader.text("title", "お申し込み", problems);
    let description = reader.text("description", "検索結果に出る説明", problems);
    let form = match reader.optional_text("form", "opt_in", problems) {
        None => FormKind::None,
        Some(name) => match FormKind::NAMED.iter().find(|(known, _)| *known == name.value) {
            Some((_, form)) => *form,
            None => {
                problems.push(table.problem(
                    &name.span,
                    format!("there is no form `{}`", name.value),
                    suggest(&name.value, FormKind::NAMED.map(|(name, _)| name)),
                ));
                return None;
            }
        },
    };
    reader.finish(problems);
    let mut expressions = vec![];
    let marked =
        extract(&body, Origin { line: body_line, columns: true }, &source, &mut expressions, problems);
    let blocks = markdown::parse(&marked, body_line, &source, &expressions, problems);
    let page =
        Page { id, title: title?.value, description: description?.value, form, source, blocks, expressions };
    check_form(&page, problems);
    Some(page)
}

fn check_form(page: &Page, problems: &mut Problems) {
    let places = page.blocks.iter().filter(|block| **block == Block::Form).count();
    let mentioned: Vec<_> = page.expressions.iter().filter(|expression| expression.text == "form").collect();
    match (page.form, mentioned.as_slice()) {
        (FormKind::None, []) => {}
        (FormKind::None, [first, ..]) => problems.push(first.problem(
            &page.source,
            "this page has no form",
            "name it in the front matter: `form = \"opt_in\"`",
        )),
        (_, []) => problems.push(page.source.problem_of_file(
            "the form has no place",
            "write `{{ form }}` alone in a paragraph where it shall stand",
        )),
        (_, [_]) if places == 1 => {}
        (_, [.., last]) => problems.push(last.problem(
            &page.source,
            "`{{ form }}` must stand once, alone in its paragraph",
            "put an empty line before and after it",
        )),
    }
}

/// Every value that the pages show must be there. What they show is the same for everybody, so
/// this is known before anybody looks.
pub(super) fn check_values(funnel: &Funnel, problems: &mut Problems) {
    let variables = funnel.page_variables("https://example.com");
    for page in funnel.pages.values() {
        for expression in page.expressions.iter().filter(|expression| expression.text != "form") {
            let known =
                || funnel.own_variables("").into_iter().map(|(name, _)| name).chain(["plans", "form"]);
            if let Some(unknown) =
                expression.variables.iter().find(|name| !known().any(|known| known == *name))
            {
                problems.push(expression.problem(
                    &page.source,
                    format!("unknown variable `{unknown}`"),
                    suggest(unknown, known()),
                ));
            } else if let Err(reason) = expression.value(&variables) {
                problems.push(expression.problem(
                    &page.source,
                    format!("`{{{{ {} }}}}`: {reason}", expression.text),
                    "a plan has `name`, `price` and `months`: `{{ plans.standard.price }}`",
                ));
            }
        }
    }
}
