//! What is wrong with a funnel, told as a compiler would: where, what, and how to mend it.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

/// One thing that is wrong with a funnel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file, relative to the funnel's directory.
    pub file: String,
    /// Line, from 1; none when it concerns the whole file.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub mend: String,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The funnel does not start.
    Error,
    /// It starts, but hardly does what was meant.
    Warning,
}

impl Problem {
    /// A problem of a file or folder as a whole.
    pub(crate) fn of_file(file: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: None,
            column: None,
            severity: Severity::Error,
            what: what.into(),
            mend: mend.into(),
        }
    }

    /// The same, as a warning.
    pub(crate) fn into_warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// Whether it keeps the funnel from starting.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for place in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{place}")?;
        }
        let warning = if self.is_error() { "" } else { "warning: " };
        write!(f, ": {warning}{}\n  mend: {}", self.what, self.mend)
    }
}

/// All problems, one below the other.
pub fn report(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A text file of the funnel, and what is wrong with it.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) file: String,
    pub(crate) text: String,
}

impl Source {
    /// A problem at a byte range of the file.
    pub(crate) fn problem(
        &self,
        span: &Range<usize>,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) -> Problem {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Problem {
            line: Some(before.matches('\n').count() + 1),
            column: Some(before.get(line_start..).unwrap_or_default().chars().count() + 1),
            ..self.problem_of_file(what, mend)
        }
    }

    /// A problem of a whole line; lines count from 1.
    pub(crate) fn problem_in_line(
        &self,
        line: usize,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) -> Problem {
        Problem { line: Some(line), ..self.problem_of_file(what, mend) }
    }

    /// A problem of the file as a whole.
    pub(crate) fn problem_of_file(&self, what: impl Into<String>, mend: impl Into<String>) -> Problem {
        Problem::of_file(&self.file, what, mend)
    }
}

/// A mend for an unknown name: the nearest known one if a slip of a few letters explains it, and
/// else all of them.
pub(crate) fn suggest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known.iter().map(|name| (distance(unknown, name), *name)).min();
    match nearest {
        Some((slips, name)) if slips <= (unknown.chars().count() + 1).max(3) / 3 => {
            format!("did you mean `{name}`?")
        }
        Some(_) => format!(
            "known here: {}",
            known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        ),
        None => "none is known here".to_owned(),
    }
}

/// Letters to insert, delete or replace to get from one name to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(&to) {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = *cell;
            left = replaced.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_a_few_letters_is_recognised() {
        for (unknown, expected) in [
            ("welcom", "did you mean `welcome`?"),
            ("day1", "did you mean `day-1`?"),
            ("dya-7", "did you mean `day-7`?"),
            ("invoice", "known here: `welcome`, `day-1`, `day-7`"),
        ] {
            assert_eq!(suggest(unknown, ["welcome", "day-1", "day-7"]), expected, "{unknown}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        let source = Source { file: "a.toml".into(), text: "x = 1\n名前 = 2\n".into() };
        let at = source.text.find('=').map(|_| source.text.rfind('=').unwrap()).unwrap();
        let problem = source.problem(&(at..at + 1), "what", "mend");
        assert_eq!((problem.line, problem.column), (Some(2), Some(4)));
        assert_eq!(problem.to_string(), "a.toml:2:4: what\n  mend: mend");
        assert_eq!(problem.into_warning().to_string(), "a.toml:2:4: warning: what\n  mend: mend");
    }
}
