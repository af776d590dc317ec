//! `pages/*.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::id::Id;

use super::mails::Declared;
use super::{FrontMatter, Problems, front_matter};
use crate::expression::{Origin, extract};
use crate::funnel::Funnel;
use crate::mail::{OFFER_VARIABLES, OWN_VARIABLES};
use crate::markdown::{self, Block, Line};
use crate::page::{FormKind, Page};
use crate::problem::{Problem, Severity, Source, suggest};
use crate::reader::{Reader, parse};

/// What not every funnel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Consultation,
    Plans,
    DoubleOptIn,
}

/// The pages that the customer's way leads over, what each is for, and in which funnels.
const REQUIRED: [(&str, FormKind, Option<Part>); 14] = [
    ("landing", FormKind::OptIn, None),
    ("thanks", FormKind::None, None),
    ("preferences", FormKind::Preferences, None),
    ("unsubscribe", FormKind::Unsubscribe, None),
    ("unsubscribed", FormKind::None, None),
    ("privacy", FormKind::None, None),
    ("booking", FormKind::Booking, Some(Part::Consultation)),
    ("booked", FormKind::Booked, Some(Part::Consultation)),
    ("cancelled", FormKind::Cancelled, Some(Part::Consultation)),
    ("apply", FormKind::Apply, Some(Part::Plans)),
    ("paid", FormKind::None, Some(Part::Plans)),
    ("tokushoho", FormKind::None, Some(Part::Plans)),
    ("confirm", FormKind::Confirm, Some(Part::DoubleOptIn)),
    ("confirmed", FormKind::None, Some(Part::DoubleOptIn)),
];

impl Part {
    fn is_in(self, declared: &Declared) -> bool {
        match self {
            Self::Consultation => declared.consultation,
            Self::Plans => declared.plans,
            Self::DoubleOptIn => declared.double_opt_in,
        }
    }

    /// What `funnel.toml` must say for it.
    fn declaration(self) -> &'static str {
        match self {
            Self::Consultation => "a `[consultation]`",
            Self::Plans => "`[[plans]]`",
            Self::DoubleOptIn => "`double = true` in [consent]",
        }
    }
}

/// Reads the pages. Without `declared` (a `funnel.toml` that can't be read has its own problems)
/// only those are missed that every funnel has.
pub(super) fn read(
    files: Vec<(Id, Source)>,
    declared: Option<&Declared>,
    problems: &mut Problems,
) -> BTreeMap<Id, Page> {
    let known: Vec<Id> = files.iter().map(|(id, _)| id.clone()).collect();
    let pages: BTreeMap<Id, Page> = files
        .into_iter()
        .filter_map(|(id, source)| Some((id.clone(), page(id, source, problems)?)))
        .collect();
    let is_wanted =
        |part: &Option<Part>| part.is_none_or(|part| declared.is_some_and(|declared| part.is_in(declared)));
    for (name, form, part) in REQUIRED.iter().filter(|(.., part)| is_wanted(part)) {
        match pages.values().find(|page| page.id.as_str() == *name) {
            Some(page) if page.form == *form => {}
            Some(page) => {
                problems.push(page.source.problem_in_line(1, "this page is for something else", mend(*form)))
            }
            None if known.iter().any(|id| id.as_str() == *name) => {}
            None => problems.push(Problem {
                severity: Severity::Error,
                file: format!("pages/{name}.md"),
                line: None,
                column: None,
                what: "the page is missing".into(),
                mend: format!("add it; {} has one to start from", example(*part)),
            }),
        }
    }
    for page in pages.values() {
        let usual = REQUIRED.iter().find(|(_, form, _)| page.form != FormKind::None && *form == page.form);
        let part = usual.and_then(|(.., part)| *part);
        let is_lacking = |part: &Part| declared.is_some_and(|declared| !part.is_in(declared));
        if let Some(part) = part.filter(is_lacking) {
            problems.push(page.source.problem_in_line(
                1,
                format!("the form of this page needs {} in funnel.toml", part.declaration()),
                "declare it there, or delete the page",
            ));
        }
    }
    pages
}

/// A ready funnel that has such pages.
fn example(part: Option<Part>) -> &'static str {
    match part {
        None | Some(Part::Consultation | Part::Plans) => "funnels/coaching",
        Some(Part::DoubleOptIn) => "funnels/b2b",
    }
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
    let file: Arc<str> = Arc::from(source.file.as_str());
    let lines: Vec<Line> = (body_line..)
        .zip(body.split('\n'))
        .map(|(number, line)| {
            let origin = Origin { file: &file, line: number, columns: true };
            let text = extract(line, origin, &mut expressions, problems);
            Line { text, file: file.clone(), number }
        })
        .collect();
    let blocks = markdown::parse(&lines.iter().collect::<Vec<_>>(), &expressions, problems);
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
        (FormKind::None, [first, ..]) => problems
            .push(first.problem("this page has no form", "name it in the front matter: `form = \"opt_in\"`")),
        (_, []) => problems.push(page.source.problem_of_file(
            "the form has no place",
            "write `{{ form }}` alone in a paragraph where it shall stand",
        )),
        (_, [_]) if places == 1 => {}
        (_, [.., last]) => problems.push(last.problem(
            "`{{ form }}` must stand once, alone in its paragraph",
            "put an empty line before and after it",
        )),
    }
}

/// Every value that the pages show must be there. What they show is the same for everybody, so
/// this is known before anybody looks.
pub(super) fn check_values(funnel: &Funnel, declared: &Declared, problems: &mut Problems) {
    // Where something else is wrong, values are missing because of that.
    if problems.iter().any(Problem::is_error) {
        return;
    }
    let variables = funnel.page_variables("https://example.com");
    let plain = OWN_VARIABLES.into_iter().chain(OFFER_VARIABLES).chain(["form"]);
    let known: Vec<String> = plain
        .filter(|name| declared.lacks(name).is_none())
        .map(str::to_owned)
        .chain(declared.date_variables())
        .chain(funnel.plans.iter().map(|plan| format!("plans.{}.price", plan.id)))
        .collect();
    let wrong = |name: &String| {
        let is_plan = name.starts_with("plans.");
        if let Some((what, mend)) =
            declared.lacks(name).filter(|_| is_plan || OFFER_VARIABLES.contains(&name.as_str()))
        {
            return Some((what, mend.to_owned()));
        }
        (!is_plan && !known.contains(name))
            .then(|| (format!("unknown variable `{name}`"), suggest(name, known.iter().map(String::as_str))))
    };
    for page in funnel.pages.values() {
        for expression in page.expressions.iter().filter(|expression| expression.text != "form") {
            if let Some((what, mend)) = expression.variables.iter().find_map(wrong) {
                problems.push(expression.problem(what, mend));
            } else if let Err(reason) = expression.value(&variables) {
                problems.push(expression.problem(
                    format!("`{{{{ {} }}}}`: {reason}", expression.text),
                    "a plan has `name`, `price` and `months`: `{{ plans.standard.price }}`",
                ));
            }
        }
    }
}
