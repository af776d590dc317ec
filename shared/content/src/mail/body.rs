//! A mail's body: lines, and conditions that decide which of them a person gets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::condition::{Condition, Known, Needs, Test};
use domain::id::Id;

use crate::condition::{self, Names, Place};
use crate::expression::{Expression, Origin, extract};
use crate::markdown::Line;
use crate::problem::{Problem, Source, suggest};

/// Most conditions of one mail: their combinations are all checked before anybody gets it.
const CONDITIONS: usize = 8;

/// Which conditions of a body hold, one bit each. Those that nobody asks, because they stand in a
/// passage that is left out, are 0.
pub(crate) type Choice = u8;

/// The text between a mail's front matter and its end, with its snippets in their places.
#[derive(Debug, Default)]
pub(crate) struct Body {
    parts: Vec<Part>,
    /// Each of them once.
    tests: Vec<Test>,
}

#[derive(Debug)]
enum Part {
    Line(Line),
    If {
        /// Its place among the tests.
        test: usize,
        then: Vec<Part>,
        otherwise: Vec<Part>,
    },
}

impl Body {
    /// What has to be read before it can be decided what a person gets.
    pub(crate) fn needs(&self) -> Needs {
        self.tests.iter().map(|test| test.condition.needs()).fold(Needs::default(), Needs::and)
    }

    /// What holds of a person.
    pub(crate) fn choice(&self, known: &Known<'_>) -> Choice {
        self.chosen(&|test| self.tests.get(test).is_some_and(|test| test.condition.holds(known)))
    }

    /// Everything that can hold.
    pub(crate) fn choices(&self) -> BTreeSet<Choice> {
        let all = 1_u32 << self.tests.len().min(CONDITIONS);
        (0..all).map(|bits| self.chosen(&|test| bits & (1 << test) != 0)).collect()
    }

    /// The lines that somebody gets.
    pub(crate) fn lines(&self, choice: Choice) -> Vec<&Line> {
        let mut lines = vec![];
        walk(&self.parts, &|test| choice & (1 << test) != 0, &mut |step| match step {
            Step::Line(line) => lines.push(line),
            Step::Held(_) => {}
        });
        lines
    }

    fn chosen(&self, holds: &impl Fn(usize) -> bool) -> Choice {
        let mut choice = 0;
        walk(&self.parts, holds, &mut |step| match step {
            Step::Held(test) => choice |= 1 << test,
            Step::Line(_) => {}
        });
        choice
    }
}

/// What is met on the way through a body.
enum Step<'a> {
    Line(&'a Line),
    /// A condition that holds.
    Held(usize),
}

fn walk<'a>(parts: &'a [Part], holds: &impl Fn(usize) -> bool, meet: &mut impl FnMut(Step<'a>)) {
    for part in parts {
        match part {
            Part::Line(line) => meet(Step::Line(line)),
            Part::If { test, then, .. } if holds(*test) => {
                meet(Step::Held(*test));
                walk(then, holds, meet);
            }
            Part::If { otherwise, .. } => walk(otherwise, holds, meet),
        }
    }
}

/// Reads a body.
pub(crate) struct BodyReader<'a> {
    pub(crate) names: &'a Names,
    pub(crate) snippets: &'a BTreeMap<Id, Source>,
    pub(crate) expressions: &'a mut Vec<Expression>,
    pub(crate) problems: &'a mut Vec<Problem>,
}

/// A `{% … %}`.
enum Statement<'a> {
    If(&'a str),
    Else,
    EndIf,
    Include(&'a str),
    Unknown(&'a str),
}

/// An `{% if %}` whose `{% endif %}` is still to come.
struct Open {
    line: usize,
    test: usize,
    before: Vec<Part>,
    /// None before the `{% else %}`.
    then: Option<Vec<Part>>,
}

impl BodyReader<'_> {
    /// Reads a mail's body, which begins at that line of its file.
    pub(crate) fn mail(&mut self, source: &Source, text: &str, first_line: usize) -> Body {
        let mut body = Body::default();
        body.parts = self.parts(source, text, first_line, true, &mut body.tests);
        body
    }

    /// Reads a snippet by itself.
    pub(crate) fn snippet(&mut self, source: &Source) -> Body {
        let mut body = Body::default();
        body.parts = self.parts(source, &source.text, 1, false, &mut body.tests);
        body
    }

    fn parts(
        &mut self,
        source: &Source,
        text: &str,
        first_line: usize,
        in_mail: bool,
        tests: &mut Vec<Test>,
    ) -> Vec<Part> {
        let file: Arc<str> = Arc::from(source.file.as_str());
        let mut parts: Vec<Part> = vec![];
        let mut open: Vec<Open> = vec![];
        for (line, number) in text.trim_end_matches('\n').split('\n').zip(first_line..) {
            let Some(statement) = statement(line) else {
                let origin = Origin { file: &file, line: number, columns: true };
                let text = extract(line, origin, self.expressions, self.problems);
                parts.push(Part::Line(Line { text, file: file.clone(), number }));
                continue;
            };
            match (statement, open.last_mut()) {
                (Statement::If(condition), _) => {
                    let test = self.test(source, (line, number), condition, tests);
                    open.push(Open { line: number, test, before: std::mem::take(&mut parts), then: None });
                }
                (Statement::Else, Some(last)) if last.then.is_none() => {
                    last.then = Some(std::mem::take(&mut parts));
                }
                (Statement::EndIf, Some(_)) => close(&mut open, &mut parts),
                (Statement::Else | Statement::EndIf, _) => self.wrong(
                    source,
                    number,
                    format!("`{}` without its `{{% if … %}}`", line.trim()),
                    "write `{% if … %}` above it, one for each `{% endif %}`, with one `{% else %}` at most",
                ),
                (Statement::Include(name), _) if in_mail => {
                    parts.extend(self.include(source, number, name, tests));
                }
                (Statement::Include(_), _) => self.wrong(
                    source,
                    number,
                    "a snippet can't include another",
                    "write its text here, or include both in the mail",
                ),
                (Statement::Unknown(text), _) => self.wrong(
                    source,
                    number,
                    format!("`{text}` can't be read"),
                    "write `{% if … %}`, `{% else %}`, `{% endif %}` or `{% include \"…\" %}`, each alone in its line",
                ),
            }
        }
        while let Some(last) = open.last() {
            let line = last.line;
            self.wrong(source, line, "this `{% if … %}` is never closed", "close it with `{% endif %}`");
            close(&mut open, &mut parts);
        }
        parts
    }

    fn test(
        &mut self,
        source: &Source,
        (line, number): (&str, usize),
        condition: &str,
        tests: &mut Vec<Test>,
    ) -> usize {
        // `condition` is a part of `line`.
        let before = line.split_once(condition).map_or("", |(before, _)| before);
        let place = Place { source, line: number, column: before.chars().count() + 1 };
        let test = condition::parse(condition, place, self.names, false, self.problems)
            // What is wrong with it is told; the passages are still worth reading.
            .unwrap_or_else(|| Test { text: condition.to_owned(), condition: Condition::All(vec![]) });
        match tests.iter().position(|other| other.condition == test.condition) {
            Some(known) => known,
            None if tests.len() < CONDITIONS => {
                tests.push(test);
                tests.len() - 1
            }
            None => {
                self.wrong(
                    source,
                    number,
                    format!("more than {CONDITIONS} conditions in one mail"),
                    "write several mails, and let a `branch` of the sequence choose",
                );
                0
            }
        }
    }

    fn include(&mut self, source: &Source, number: usize, name: &str, tests: &mut Vec<Test>) -> Vec<Part> {
        let Some(snippet) = Id::parse(name).ok().and_then(|id| self.snippets.get(&id)) else {
            // One that can't be read has its own problem.
            if !self.names.snippets.iter().any(|known| known.as_str() == name) {
                let known = self.names.snippets.iter().map(Id::as_str);
                self.wrong(source, number, format!("there is no snippet `{name}`"), suggest(name, known));
            }
            return vec![];
        };
        self.parts(snippet, &snippet.text, 1, false, tests)
    }

    fn wrong(&mut self, source: &Source, line: usize, what: impl Into<String>, mend: impl Into<String>) {
        self.problems.push(source.problem_in_line(line, what, mend));
    }
}

/// Ends the innermost `{% if %}`.
fn close(open: &mut Vec<Open>, parts: &mut Vec<Part>) {
    if let Some(Open { test, before, then, .. }) = open.pop() {
        let last = std::mem::replace(parts, before);
        let (then, otherwise) = match then {
            Some(then) => (then, last),
            None => (last, vec![]),
        };
        parts.push(Part::If { test, then, otherwise });
    }
}

/// The statement that a line is.
fn statement(line: &str) -> Option<Statement<'_>> {
    let whole = line.trim();
    let inside = whole.strip_prefix("{%")?;
    let Some(inside) = inside.strip_suffix("%}").filter(|inside| !inside.contains("%}")) else {
        return Some(Statement::Unknown(whole));
    };
    let (word, rest) = inside.trim().split_once(' ').unwrap_or((inside.trim(), ""));
    let quoted = rest.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    Some(match (word, rest.trim(), quoted) {
        ("if", condition, _) if !condition.is_empty() => Statement::If(condition),
        ("else", "", _) => Statement::Else,
        ("endif", "", _) => Statement::EndIf,
        ("include", _, Some(name)) => Statement::Include(name),
        _ => Statement::Unknown(whole),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Part {
        Part::Line(Line { text: text.into(), file: Arc::from("mail.md"), number: 1 })
    }

    #[test]
    fn passages_that_nobody_reaches_make_no_choices() {
        let test = |tag: &str| Test { text: tag.into(), condition: Condition::Tag(tag.into()) };
        let inner = Part::If { test: 1, then: vec![line("b")], otherwise: vec![line("c")] };
        let body = Body {
            parts: vec![line("a"), Part::If { test: 0, then: vec![inner], otherwise: vec![line("d")] }],
            tests: vec![test("first"), test("second")],
        };
        let texts = |choice| -> String { body.lines(choice).iter().map(|line| line.text.as_str()).collect() };
        let all: Vec<(Choice, String)> =
            body.choices().into_iter().map(|choice| (choice, texts(choice))).collect();
        assert_eq!(all, [(0b00, "ad".to_owned()), (0b01, "ac".to_owned()), (0b11, "ab".to_owned())]);
    }
}
