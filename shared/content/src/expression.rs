//! `{{ … }}` in texts: found first, compiled once, filled in last.
//!
//! While a text becomes HTML, each expression is a mark, a number between two letters that no mail
//! uses, which Markdown and MJML carry along untouched. Values come in only after all markup has
//! been made, so nothing that a person typed can become markup.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use minijinja::value::Value;
use minijinja::{Environment, UndefinedBehavior};

use crate::problem::{Problem, Severity};

/// Letters of Linear A: Markdown treats letters as nothing special, and mrml writes attributes in
/// Rust's `Debug` form, which would replace private-use and invisible characters.
const MARK_START: char = '\u{10600}';
const MARK_END: char = '\u{10601}';
/// Set beside `**` while Markdown is read (see [`crate::markdown`]).
pub(crate) const JOINER: char = '\u{10602}';

/// Only what texts may use: `default` and `honorific`, no statements, no loading.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // Else an optimised build would not say which name is undefined.
    environment.set_debug(true);
    environment.add_filter("default", minijinja::filters::default);
    environment.add_filter("honorific", honorific);
    environment
});

/// `{{ name | honorific("様", "こんにちは。") }}`: the name and its honorific, or the other text
/// for somebody whose name is not known.
fn honorific(name: Value, suffix: &str, unknown: &str) -> String {
    match name.as_str() {
        Some(name) if !name.trim().is_empty() => format!("{name}{suffix}"),
        _ => unknown.to_owned(),
    }
}

/// Variables that hold others by name: `attribute.industry`, `plans.standard.price`.
const GROUPS: [&str; 4] = ["attribute", "dates", "fact", "plans"];

/// One `{{ … }}`.
#[derive(Debug)]
pub(crate) struct Expression {
    /// What stands between the braces.
    pub(crate) text: String,
    pub(crate) file: Arc<str>,
    pub(crate) line: usize,
    pub(crate) column: Option<usize>,
    /// The variables it needs: `name`, `attribute.industry`.
    pub(crate) variables: BTreeSet<String>,
    compiled: minijinja::Expression<'static, 'static>,
}

impl Expression {
    /// A name alone, as the layout needs it.
    pub(crate) fn variable(name: &str) -> Self {
        let nowhere = Origin { file: &Arc::from("layout.mjml"), line: 1, columns: false };
        Self::compile(name, nowhere, None).expect("a plain name is an expression")
    }

    fn compile(text: &str, origin: Origin<'_>, column: Option<usize>) -> Result<Self, minijinja::Error> {
        let (readable, members) = members(text);
        let compiled = ENVIRONMENT.compile_expression_owned(readable)?;
        let mut variables: BTreeSet<String> = compiled.undeclared_variables(false).into_iter().collect();
        variables.retain(|name| !members.iter().any(|member| group(member) == Some(name.as_str())));
        variables.extend(members);
        let (file, line) = (origin.file.clone(), origin.line);
        Ok(Self { text: text.to_owned(), file, line, column, variables, compiled })
    }

    /// The value as one line of text.
    ///
    /// # Errors
    /// What is missing or wrong, in words.
    pub(crate) fn value(&self, variables: &Value) -> Result<String, String> {
        let value = self
            .compiled
            .eval(variables)
            .map_err(|error| error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))?;
        if value.is_undefined() || value.is_none() {
            return Err("it has no value".to_owned());
        }
        Ok(value.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    }

    /// What it says where some of its variables have a value.
    ///
    /// # Errors
    /// What is missing or wrong, in words.
    pub(crate) fn sample(&self, has_value: impl Fn(&str) -> bool) -> Result<String, String> {
        let mut groups: BTreeMap<&str, BTreeMap<&str, &str>> = GROUPS.map(|group| (group, [].into())).into();
        let mut plain: BTreeMap<&str, &str> = [].into();
        for name in self.variables.iter().filter(|name| has_value(name)) {
            let value = if is_url_name(name) { "https://example.com/" } else { "x" };
            match name.split_once('.') {
                Some((group, key)) => groups.entry(group).or_default().insert(key, value),
                None => plain.insert(name, value),
            };
        }
        let plain = plain.into_iter().map(|(name, value)| (name, Value::from(value)));
        let groups = groups.into_iter().map(|(name, members)| (name, Value::from_pairs(members)));
        self.value(&Value::from_pairs(plain.chain(groups)))
    }

    /// Whether a link may lead where it says: to a URL of ours or of another system, and nowhere
    /// that a person typed.
    pub(crate) fn leads_to_a_page(&self) -> bool {
        let without = self.sample(|_| false).ok();
        self.sample(|_| true).is_ok_and(|known| is_web_url(&known))
            && without.is_none_or(|url| is_web_url(&url))
    }

    /// A problem at the expression.
    pub(crate) fn problem(&self, what: impl Into<String>, mend: impl Into<String>) -> Problem {
        Problem {
            severity: Severity::Error,
            file: self.file.to_string(),
            line: Some(self.line),
            column: self.column,
            what: what.into(),
            mend: mend.into(),
        }
    }
}

/// Whether a variable of this name is a URL.
pub(crate) fn is_url_name(name: &str) -> bool {
    name.ends_with("_url")
}

/// Whether a browser would open it as a page.
pub(crate) fn is_web_url(text: &str) -> bool {
    ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme))
}

/// The group that a variable is in.
fn group(name: &str) -> Option<&str> {
    name.split_once('.').map(|(group, _)| group)
}

/// The members of groups that an expression names, and the expression as it is evaluated: ids may
/// hold dashes and begin with a digit, which would be read as a subtraction or not at all.
fn members(text: &str) -> (String, BTreeSet<String>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut members = BTreeSet::new();
    let mut readable = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            // A quoted text says what it says.
            '"' | '\'' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (word, after) = rest.split_at(length);
        let key = after.strip_prefix('.').filter(|_| GROUPS.contains(&word)).map(|keys| {
            let length = keys.find(|c: char| !is_word(c) && c != '-').unwrap_or(keys.len());
            &keys[..length]
        });
        readable.push_str(word);
        rest = after;
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            members.insert(format!("{word}.{key}"));
            if key.contains('-') || key.starts_with(|c: char| c.is_ascii_digit()) {
                readable.push_str(&format!("[\"{key}\"]"));
            } else {
                readable.push('.');
                readable.push_str(key);
            }
            rest = &after[1 + key.len()..];
        }
    }
    (readable, members)
}

/// Where a line stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) file: &'a Arc<str>,
    pub(crate) line: usize,
    /// Whether columns of the text are columns of the file (a body's are, a quoted text's are not).
    pub(crate) columns: bool,
}

/// Takes the expressions out of a line and leaves marks in their places.
pub(crate) fn extract(
    line: &str,
    origin: Origin<'_>,
    expressions: &mut Vec<Expression>,
    problems: &mut Vec<Problem>,
) -> String {
    let mut marked = String::with_capacity(line.len());
    let column = |rest: &str| origin.columns.then(|| line.chars().count() - rest.chars().count() + 1);
    let problem = |rest: &str, what: String, mend: &str| Problem {
        severity: Severity::Error,
        file: origin.file.to_string(),
        line: Some(origin.line),
        column: column(rest),
        what,
        mend: mend.to_owned(),
    };
    let mut rest = line;
    while let Some(at) = rest.find(['{', MARK_START, MARK_END, JOINER]) {
        let (before, found) = rest.split_at(at);
        marked.push_str(before);
        if let Some(inside) = found.strip_prefix("{{") {
            let Some((text, after)) = inside.split_once("}}") else {
                problems.push(problem(
                    found,
                    "`{{` is never closed".into(),
                    "close it with `}}` in the same line",
                ));
                return marked;
            };
            match Expression::compile(text.trim(), origin, column(found)) {
                Ok(expression) => {
                    marked.push_str(&mark(expressions.len()));
                    expressions.push(expression);
                }
                Err(error) => {
                    let reason = error.detail().unwrap_or("it can't be read").to_owned();
                    problems.push(problem(
                        found,
                        format!("`{{{{ {} }}}}`: {reason}", text.trim()),
                        "write a variable: `{{ name | default(\"…\") }}`",
                    ));
                }
            }
            rest = after;
        } else if found.starts_with("{%") || found.starts_with("{#") {
            problems.push(problem(
                found,
                format!("`{}` is not understood here", &found[..2]),
                "texts may hold `{{ variables }}`; in mails, `{% if … %}` and `{% include … %}` stand alone in their lines",
            ));
            rest = &found[2..];
        } else {
            let first = found.chars().next().unwrap_or('{');
            if first == '{' {
                marked.push('{');
            } else {
                problems.push(problem(
                    found,
                    format!(
                        "the letter {} (U+{:X}) can't be used",
                        found.chars().next().unwrap_or_default(),
                        found.chars().next().map_or(0, u32::from)
                    ),
                    "delete it; Michi uses it to mark variables",
                ));
            }
            rest = &found[first.len_utf8()..];
        }
    }
    marked.push_str(rest);
    marked
}

/// The mark of an expression.
pub(crate) fn mark(index: usize) -> String {
    format!("{MARK_START}{index}{MARK_END}")
}

/// The index of the expression whose mark is the whole text.
pub(crate) fn sole_mark(text: &str) -> Option<usize> {
    text.strip_prefix(MARK_START)?.strip_suffix(MARK_END)?.parse().ok()
}

/// The index of the expression whose mark the text begins with.
pub(crate) fn leading_mark(text: &str) -> Option<usize> {
    let (index, _) = text.strip_prefix(MARK_START)?.split_once(MARK_END)?;
    index.parse().ok()
}

/// The indices of the expressions whose marks stand in a text.
pub(crate) fn marks(text: &str) -> impl Iterator<Item = usize> {
    text.split(MARK_START).skip(1).filter_map(|rest| rest.split_once(MARK_END)?.0.parse().ok())
}

/// How values are written into a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escape {
    Html,
    None,
}

/// Puts the values in place of the marks.
pub(crate) fn fill(marked: &str, values: &[String], escape: Escape) -> String {
    let mut filled = String::with_capacity(marked.len() + 256);
    let mut rest = marked;
    while let Some((before, after)) = rest.split_once(MARK_START) {
        filled.push_str(before);
        let (index, after) = after.split_once(MARK_END).unwrap_or((after, ""));
        let value = index.parse().ok().and_then(|index: usize| values.get(index)).map_or("", String::as_str);
        match escape {
            Escape::Html => escape_html(value, &mut filled),
            Escape::None => filled.push_str(value),
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// Makes an environment escape as [`escape_html`] does, whatever the template's name.
pub(crate) fn escape_everything(environment: &mut Environment<'_>) {
    environment.set_formatter(|out, _, value| {
        let text = value.to_string();
        if value.is_safe() {
            return Ok(out.write_str(&text)?);
        }
        let mut escaped = String::with_capacity(text.len());
        escape_html(&text, &mut escaped);
        Ok(out.write_str(&escaped)?)
    });
}

/// Escapes a text for HTML content and quoted attributes. `/` stays as it is: link trackers read
/// URLs in attributes literally.
pub(crate) fn escape_html(text: &str, to: &mut String) {
    for c in text.chars() {
        match c {
            '&' => to.push_str("&amp;"),
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '"' => to.push_str("&quot;"),
            '\'' => to.push_str("&#39;"),
            other => to.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    fn rendered(text: &str, variables: Value) -> Result<String, Vec<String>> {
        let file = Arc::from("mail.md");
        let (mut expressions, mut problems) = (vec![], vec![]);
        let origin = Origin { file: &file, line: 1, columns: true };
        let marked = extract(text, origin, &mut expressions, &mut problems);
        if !problems.is_empty() {
            return Err(problems
                .iter()
                .map(|p| format!("{}:{} {}", p.line.unwrap(), p.column.unwrap(), p.what))
                .collect());
        }
        let values: Result<Vec<String>, String> = expressions.iter().map(|e| e.value(&variables)).collect();
        Ok(fill(&marked, &values.map_err(|error| vec![error])?, Escape::Html))
    }

    #[test]
    fn a_name_is_addressed_politely_and_its_absence_too() {
        let text = "{{ name | honorific(\" 様\", \"こんにちは。\") }}";
        for (variables, expected) in [
            (context! { name => "山田花子" }, "山田花子 様"),
            (context! { name => "  " }, "こんにちは。"),
            (context! {}, "こんにちは。"),
        ] {
            assert_eq!(rendered(text, variables).unwrap(), expected);
        }
        assert_eq!(rendered("{{ name | default('あなた') }}へ", context! {}).unwrap(), "あなたへ");
    }

    #[test]
    fn nothing_that_a_person_typed_becomes_markup() {
        for (name, expected) in [
            ("<b>x</b>", "&lt;b&gt;x&lt;/b&gt;"),
            ("[x](http://evil)", "[x](http://evil)"),
            ("{{ 7*7 }}", "{{ 7*7 }}"),
            ("\" onclick='x'", "&quot; onclick=&#39;x&#39;"),
            ("a\r\nBcc: b@example.com", "a  Bcc: b@example.com"),
            ("A & B", "A &amp; B"),
            ("\u{10600}0\u{10601}", "\u{10600}0\u{10601}"),
        ] {
            assert_eq!(rendered("{{ name }}", context! { name }).unwrap(), expected);
        }
    }

    #[test]
    fn a_missing_variable_and_a_broken_expression_are_errors() {
        assert_eq!(rendered("{{ name }}", context! {}), Err(vec!["it has no value".into()]));
        assert_eq!(rendered("あ {{ name", context! {}), Err(vec!["1:3 `{{` is never closed".into()]));
        assert_eq!(
            rendered("b {% if x %}", context! {}),
            Err(vec!["1:3 `{%` is not understood here".into()])
        );
        assert_eq!(rendered("{{ name | }}", context! {}).unwrap_err().len(), 1);
        assert_eq!(
            rendered("a \u{10600}", context! {}),
            Err(vec!["1:3 the letter \u{10600} (U+10600) can't be used".into()])
        );
        assert_eq!(rendered("{ x } {", context! {}).unwrap(), "{ x } {");
    }
    #[test]
    fn members_of_a_group_may_have_dashes_in_their_names() {
        let variables = context! {
            attribute => context! { industry => "IT" },
            dates => Value::from_pairs([("early-bird", "3月4日"), ("2nd", "3月5日")]),
        };
        for (text, expected) in [
            ("{{ attribute.industry }}", "IT"),
            ("{{ dates.early-bird }}と{{ dates.2nd }}", "3月4日と3月5日"),
            ("{{ attribute.company-size | default('attribute.a-b') }}", "attribute.a-b"),
            ("{{ attribute.size | default(attribute.industry) }}", "IT"),
        ] {
            assert_eq!(rendered(text, variables.clone()).unwrap(), expected, "{text}");
        }
        let (_, names) = members("attribute.company-size | default(\"fact.no\") ~ name ~ fact.items");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["attribute.company-size", "fact.items"]);
    }

    #[test]
    fn a_link_leads_by_a_url_and_by_nothing_that_a_person_typed() {
        let leads = |text: &str| {
            let file = Arc::from("mail.md");
            let origin = Origin { file: &file, line: 1, columns: true };
            Expression::compile(text, origin, None).unwrap().leads_to_a_page()
        };
        for (text, expected) in [
            ("booking_url", true),
            ("fact.cart_url | default(\"https://shop.example.com/\")", true),
            ("fact.cart_url | default(\"cart\")", false),
            ("fact.cart | default(\"https://shop.example.com/\")", false),
            ("name | default(\"https://example.com/\")", false),
            ("attribute.site", false),
        ] {
            assert_eq!(leads(text), expected, "{text}");
        }
    }
}
