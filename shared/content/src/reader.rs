//! Reads TOML tables key by key, so that every slip in a file is reported at once, at its place,
//! and a key that nobody asked for is a problem.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{Problem, Source, suggest};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// A text or a table, where either may be written.
pub(crate) enum Item<'a> {
    Text(At<String>),
    Table(Reader<'a>),
}

/// A text or a whole number, where either may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scalar {
    Text(String),
    Number(i64),
}

/// A table being read.
pub(crate) struct Reader<'a> {
    source: &'a Source,
    table: &'a DeTable<'a>,
    /// Where the table stands: what a missing key is reported at.
    span: Range<usize>,
    /// What the table is called in messages: `[sender]`, `[[plans]]`, or nothing for the file.
    title: String,
    asked: BTreeSet<&'static str>,
}

type Problems = Vec<Problem>;

/// Parses a file. What is no TOML is reported, all of it, and nothing else is said about the file.
pub(crate) fn parse<'a>(source: &'a Source, problems: &mut Problems) -> Option<Spanned<DeTable<'a>>> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    let readable = errors.is_empty();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        problems.push(source.problem(
            &span,
            format!("not TOML: {}", error.message()),
            "write `key = value` lines under `[table]` headings",
        ));
    }
    readable.then_some(table)
}

impl<'a> Reader<'a> {
    /// Reads the top level of a file.
    pub(crate) fn file(source: &'a Source, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self { source, table: table.get_ref(), span: 0..0, title: String::new(), asked: BTreeSet::new() }
    }

    /// Where the table stands.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The file that is read.
    pub(crate) fn source(&self) -> &'a Source {
        self.source
    }

    fn find(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.insert(key);
        self.table.get(key)
    }

    /// Whether the key is written.
    pub(crate) fn has(&mut self, key: &'static str) -> bool {
        self.find(key).is_some()
    }

    fn wrong(&self, value: &Spanned<DeValue<'_>>, key: &str, wanted: &str) -> Problem {
        let what =
            format!("`{key}` is {} {}", article(value.get_ref().type_str()), value.get_ref().type_str());
        self.source.problem(&value.span(), what, format!("write {wanted}"))
    }

    fn missing(&self, key: &str, wanted: &str) -> Problem {
        let inside = if self.title.is_empty() { String::new() } else { format!(" in {}", self.title) };
        let (what, mend) = (format!("`{key}` is missing{inside}"), format!("write {wanted}"));
        if self.span.is_empty() {
            self.source.problem_of_file(what, mend)
        } else {
            self.source.problem(&self.span, what, mend)
        }
    }

    /// A text that may be missing.
    pub(crate) fn optional_text(
        &mut self,
        key: &'static str,
        example: &str,
        problems: &mut Problems,
    ) -> Option<At<String>> {
        let value = self.find(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(At { value: text.to_owned(), span: value.span() }),
            None => {
                problems.push(self.wrong(value, key, &format!("a text: `{key} = \"{example}\"`")));
                None
            }
        }
    }

    /// A text that must be there and not be blank.
    pub(crate) fn text(
        &mut self,
        key: &'static str,
        example: &str,
        problems: &mut Problems,
    ) -> Option<At<String>> {
        let Some(_) = self.find(key) else {
            problems.push(self.missing(key, &format!("`{key} = \"{example}\"`")));
            return None;
        };
        let text = self.optional_text(key, example, problems)?;
        if text.value.trim().is_empty() {
            problems.push(self.source.problem(
                &text.span,
                format!("`{key}` is empty"),
                format!("write `{key} = \"{example}\"`"),
            ));
            return None;
        }
        Some(text)
    }

    /// A text that must be there and is turned into a value.
    pub(crate) fn parsed<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, String>,
        problems: &mut Problems,
    ) -> Option<At<T>> {
        let text = self.text(key, example, problems)?;
        match parse(&text.value) {
            Ok(value) => Some(At { value, span: text.span }),
            Err(mend) => {
                problems.push(self.source.problem(
                    &text.span,
                    format!("`{key}` can't be \"{}\"", text.value),
                    mend,
                ));
                None
            }
        }
    }

    /// A text that may be missing and is turned into a value.
    pub(crate) fn optional_parsed<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, String>,
        problems: &mut Problems,
    ) -> Option<At<T>> {
        self.find(key)?;
        self.parsed(key, example, parse, problems)
    }

    /// A whole number within limits.
    pub(crate) fn number(
        &mut self,
        key: &'static str,
        limits: std::ops::RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> Option<At<i64>> {
        let wanted = format!("a whole number from {} to {}", limits.start(), limits.end());
        let Some(value) = self.find(key) else {
            problems.push(self.missing(key, &format!("`{key} = …`, {wanted}")));
            return None;
        };
        match integer(value.get_ref()).filter(|number| limits.contains(number)) {
            Some(number) => Some(At { value: number, span: value.span() }),
            None if value.get_ref().is_integer() => {
                problems.push(self.source.problem(
                    &value.span(),
                    format!("`{key}` is out of range"),
                    format!("write {wanted}"),
                ));
                None
            }
            None => {
                problems.push(self.wrong(value, key, &wanted));
                None
            }
        }
    }

    /// A whole number within limits; it may be missing.
    pub(crate) fn optional_number(
        &mut self,
        key: &'static str,
        limits: std::ops::RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> Option<At<i64>> {
        self.find(key)?;
        self.number(key, limits, problems)
    }

    /// A number with up to three decimals, in thousandths; it may be missing.
    pub(crate) fn optional_thousandths(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<At<i64>> {
        let value = self.find(key)?;
        let read = match value.get_ref() {
            DeValue::Float(float) => thousandths(float.as_str()),
            other => integer(other).and_then(|whole| whole.checked_mul(1000)),
        };
        match read {
            Some(thousandths) => Some(At { value: thousandths, span: value.span() }),
            None => {
                let what = format!("`{key}` can't be read");
                problems.push(self.source.problem(
                    &value.span(),
                    what,
                    "write a number with at most three decimals",
                ));
                None
            }
        }
    }

    /// `true` or `false`; false when missing.
    pub(crate) fn flag(&mut self, key: &'static str, problems: &mut Problems) -> Option<At<bool>> {
        let value = self.find(key)?;
        match value.get_ref().as_bool() {
            Some(flag) => Some(At { value: flag, span: value.span() }),
            None => {
                problems.push(self.wrong(value, key, "`true` or `false`"));
                None
            }
        }
    }

    /// A list of texts; it may be missing.
    pub(crate) fn texts(
        &mut self,
        key: &'static str,
        example: &str,
        problems: &mut Problems,
    ) -> Vec<At<String>> {
        let Some(value) = self.find(key) else { return vec![] };
        let Some(list) = value.get_ref().as_array() else {
            problems.push(self.wrong(value, key, &format!("a list of texts: `{key} = [\"{example}\"]`")));
            return vec![];
        };
        let mut texts = vec![];
        for item in list.iter() {
            match item.get_ref().as_str() {
                Some(text) => texts.push(At { value: text.to_owned(), span: item.span() }),
                None => {
                    problems.push(self.wrong(item, key, &format!("texts only: `{key} = [\"{example}\"]`")))
                }
            }
        }
        texts
    }

    /// A list of whole numbers within limits, of which there must be so many.
    pub(crate) fn numbers(
        &mut self,
        key: &'static str,
        count: usize,
        limits: std::ops::RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> Option<At<Vec<i64>>> {
        let wanted = format!("a list of {count} whole numbers from {} to {}", limits.start(), limits.end());
        let Some(value) = self.find(key) else {
            problems.push(self.missing(key, &wanted));
            return None;
        };
        self.fitting_numbers(key, value, count, &limits, problems)
    }

    fn fitting_numbers(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        count: usize,
        limits: &std::ops::RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> Option<At<Vec<i64>>> {
        let numbers: Option<Vec<i64>> = value.get_ref().as_array().and_then(|list| {
            list.iter().map(|item| integer(item.get_ref()).filter(|number| limits.contains(number))).collect()
        });
        match numbers.filter(|numbers| numbers.len() == count) {
            Some(numbers) => Some(At { value: numbers, span: value.span() }),
            None => {
                problems.push(self.source.problem(
                    &value.span(),
                    format!("`{key}` does not fit"),
                    format!(
                        "write a list of {count} whole numbers from {} to {}",
                        limits.start(),
                        limits.end()
                    ),
                ));
                None
            }
        }
    }

    /// A table that must be there.
    pub(crate) fn table(&mut self, key: &'static str, problems: &mut Problems) -> Option<Reader<'a>> {
        if !self.has(key) {
            problems.push(self.missing(key, &format!("a table `[{}]`", self.path(key))));
        }
        self.optional_table(key, problems)
    }

    /// A table that may be missing, written under its heading or between braces.
    pub(crate) fn optional_table(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Reader<'a>> {
        let value = self.find(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(self.inner(table, value.span(), format!("[{}]", self.path(key)))),
            None => {
                problems.push(self.wrong(value, key, &format!("a table `[{}]`", self.path(key))));
                None
            }
        }
    }

    /// A list of tables; it may be missing.
    pub(crate) fn tables(&mut self, key: &'static str, problems: &mut Problems) -> Vec<Reader<'a>> {
        let Some(value) = self.find(key) else { return vec![] };
        let title = format!("[[{}]]", self.path(key));
        let Some(list) = value.get_ref().as_array() else {
            problems.push(self.wrong(value, key, &format!("tables `{title}`")));
            return vec![];
        };
        let mut tables = vec![];
        for item in list.iter() {
            match item.get_ref().as_table() {
                Some(table) => tables.push(self.inner(table, item.span(), title.clone())),
                None => problems.push(self.wrong(item, key, &format!("tables `{title}`"))),
            }
        }
        tables
    }

    /// A list of texts and tables; it may be missing.
    pub(crate) fn items(
        &mut self,
        key: &'static str,
        example: &str,
        problems: &mut Problems,
    ) -> Vec<Item<'a>> {
        let Some(value) = self.find(key) else { return vec![] };
        let Some(list) = value.get_ref().as_array() else {
            problems.push(self.wrong(value, key, &format!("a list: `{key} = [\"{example}\"]`")));
            return vec![];
        };
        list.iter().filter_map(|item| self.as_item(key, example, item, problems)).collect()
    }

    /// A text or a table that must be there.
    pub(crate) fn item(
        &mut self,
        key: &'static str,
        example: &str,
        problems: &mut Problems,
    ) -> Option<Item<'a>> {
        let Some(value) = self.find(key) else {
            problems.push(self.missing(key, &format!("`{key} = \"{example}\"`")));
            return None;
        };
        self.as_item(key, example, value, problems)
    }

    fn as_item(
        &self,
        key: &'static str,
        example: &str,
        value: &'a Spanned<DeValue<'a>>,
        problems: &mut Problems,
    ) -> Option<Item<'a>> {
        if let Some(text) = value.get_ref().as_str() {
            return Some(Item::Text(At { value: text.to_owned(), span: value.span() }));
        }
        if let Some(table) = value.get_ref().as_table() {
            return Some(Item::Table(self.inner(table, value.span(), format!("`{key}`"))));
        }
        problems.push(self.wrong(value, key, &format!("a text such as `\"{example}\"`, or a table")));
        None
    }

    /// All keys of the table with their texts and whole numbers.
    pub(crate) fn scalars(self, problems: &mut Problems) -> Vec<(At<String>, At<Scalar>)> {
        let mut scalars = vec![];
        for (key, value) in self.table {
            let text = value.get_ref().as_str().map(|text| Scalar::Text(text.to_owned()));
            match text.or_else(|| integer(value.get_ref()).map(Scalar::Number)) {
                Some(scalar) => scalars.push((name_of(key), At { value: scalar, span: value.span() })),
                None => problems.push(self.wrong(value, key.get_ref(), "a text or a whole number")),
            }
        }
        scalars
    }

    /// All keys of the table with their texts.
    pub(crate) fn texts_by_name(
        self,
        example: &str,
        problems: &mut Problems,
    ) -> Vec<(At<String>, At<String>)> {
        let mut texts = vec![];
        for (key, value) in self.table {
            match value.get_ref().as_str() {
                Some(text) => texts.push((name_of(key), At { value: text.to_owned(), span: value.span() })),
                None => problems.push(self.wrong(
                    value,
                    key.get_ref(),
                    &format!("a text: `{} = \"{example}\"`", key.get_ref()),
                )),
            }
        }
        texts
    }

    /// All keys of the table with their whole numbers (weights by name).
    pub(crate) fn weights(self, problems: &mut Problems) -> Vec<(At<String>, u32)> {
        let mut weights = vec![];
        for (key, value) in self.table {
            match integer(value.get_ref()).and_then(|number| u32::try_from(number).ok()) {
                Some(weight) => weights.push((name_of(key), weight)),
                None => problems.push(self.wrong(value, key.get_ref(), "a whole number from 0")),
            }
        }
        weights
    }

    /// All keys of the table with their pairs of whole numbers.
    pub(crate) fn pairs(
        self,
        limits: &std::ops::RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> Vec<(At<String>, At<Vec<i64>>)> {
        let mut pairs = vec![];
        for (key, value) in self.table {
            let pair = self.fitting_numbers(key.get_ref(), value, 2, limits, problems);
            pairs.extend(pair.map(|pair| (name_of(key), pair)));
        }
        pairs
    }

    /// Reports the keys that nobody asked for.
    pub(crate) fn finish(self, problems: &mut Problems) {
        for key in self.table.keys().filter(|key| !self.asked.contains(key.get_ref().as_ref())) {
            let inside = if self.title.is_empty() { String::new() } else { format!(" in {}", self.title) };
            problems.push(self.source.problem(
                &key.span(),
                format!("unknown key `{}`{inside}", key.get_ref()),
                suggest(key.get_ref(), self.asked.iter().copied()),
            ));
        }
    }

    fn path(&self, key: &str) -> String {
        match self.title.trim_matches(['[', ']']) {
            "" => key.to_owned(),
            outer => format!("{outer}.{key}"),
        }
    }

    fn inner(&self, table: &'a DeTable<'a>, span: Range<usize>, title: String) -> Self {
        Reader { source: self.source, table, span, title, asked: BTreeSet::new() }
    }
}

fn name_of(key: &Spanned<std::borrow::Cow<'_, str>>) -> At<String> {
    At { value: key.get_ref().to_string(), span: key.span() }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// `5.0` as 5000: read as text, since money and goals are never floating point.
fn thousandths(decimal: &str) -> Option<i64> {
    let (whole, fraction) = decimal.split_once('.')?;
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) || whole.starts_with('-') {
        return None;
    }
    let scaled = format!("{whole}{fraction:0<3}");
    scaled.parse().ok()
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, expected) in [
            ("5.0", Some(5000)),
            ("0.125", Some(125)),
            ("12.34", Some(12340)),
            ("1.2345", None),
            ("1e3", None),
            ("-1.5", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
        }
    }
}
