//! What is wrong with a funnel, told as a compiler would: where, what, and how to mend it.

use std::fmt;
use std::ops::Range;

/// One thing that keeps a funnel from starting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, relative to the funnel's directory.
    pub file: String,
    /// Line, from 1; none when it concerns the whole file.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub mend: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for place in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{place}")?;
        }
        write!(f, ": {}\n  mend: {}", self.what, self.mend)
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
            file: self.file.clone(),
            line: Some(before.matches('\n').count() + 1),
            column: Some(before.get(line_start..).unwrap_or_default().chars().count() + 1),
            what: what.into(),
            mend: mend.into(),
        }
    }

    /// A problem of a whole line; lines count from 1.
    pub(crate) fn problem_in_line(
        &self,
        line: usize,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) -> Problem {
        Problem {
            file: self.file.clone(),
            line: Some(line),
            column: None,
            what: what.into(),
            mend: mend.into(),
        }
    }

    /// A problem of the file as a whole.
    pub(crate) fn problem_of_file(&self, what: impl Into<String>, mend: impl Into<String>) -> Problem {
        Problem { file: self.file.clone(), line: None, column: None, what: what.into(), mend: mend.into() }
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
    }
}
