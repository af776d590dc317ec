//! Conditions as people write them: `score >= 50 and not tag("vip")`.

use std::collections::{BTreeMap, BTreeSet};

use domain::condition::{AttributeValue, Compare, Condition, Test};
use domain::event::FactKind;
use domain::id::Id;
use domain::lead::Stage;
use domain::text::ShortText;
use domain::trigger::Trigger;

use crate::funnel::{Attribute, AttributeKind};
use crate::mail::UNTRACKED;
use crate::problem::{Problem, Severity, Source, suggest};
use crate::reader::At;

/// Most brackets and `not`s around anything.
const DEPTH: usize = 30;
/// Most parts of a condition, those of the segments in it included.
const PARTS: usize = 500;

/// What a condition may begin with.
const WORDS: [&str; 16] = [
    "tag",
    "stage",
    "score",
    "band",
    "attribute",
    "source",
    "magnet",
    "locale",
    "opened",
    "clicked",
    "seen",
    "ever",
    "happened",
    "inside",
    "silent_days",
    "segment",
];

/// The URL variables whose links can be told apart, and the piece of the URL that tells them.
const LINKS: [(&str, &str); 3] =
    [("booking_url", "/booking"), ("apply_url", "/apply"), ("download_url", "/pages/")];

/// Where a condition stands in its file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) source: &'a Source,
    /// From 1.
    pub(crate) line: usize,
    /// Of its first letter, from 1.
    pub(crate) column: usize,
}

/// What a condition may speak of; all of it is known before any condition is read.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// File names in `mails`.
    pub(crate) mails: BTreeSet<Id>,
    /// File names in `pages`.
    pub(crate) pages: BTreeSet<Id>,
    /// File names in `sequences`.
    pub(crate) sequences: BTreeSet<Id>,
    /// File names in `snippets`.
    pub(crate) snippets: BTreeSet<Id>,
    pub(crate) attributes: Vec<Attribute>,
    /// The funnel's own facts.
    pub(crate) facts: BTreeSet<Id>,
    pub(crate) lead_magnets: BTreeSet<Id>,
    pub(crate) sources: BTreeSet<String>,
    /// Each band's first score and the next one's, if there is a next one.
    pub(crate) bands: BTreeMap<Id, (i64, Option<i64>)>,
    pub(crate) segments: BTreeMap<Id, Condition>,
    /// What the steps of all sequences do; none as long as that is not known.
    pub(crate) given: Option<Given>,
    /// The words of each mail with those of its snippets, to look for links in.
    pub(crate) mail_texts: BTreeMap<Id, String>,
}

/// What sequences and broadcasts do to people.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Mails that are sent.
    pub(crate) mails: BTreeSet<String>,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) attributes: BTreeSet<String>,
}

impl Names {
    /// Why nobody will ever have the tag, as far as the funnel knows. Opting in gives some.
    pub(crate) fn untold_tag(&self, tag: &str) -> Option<(String, String)> {
        let given = self.given.as_ref()?;
        let own = tag.starts_with("source:") || tag.starts_with("magnet:");
        if own || given.tags.contains(tag) {
            return None;
        }
        let mend = suggest(tag, given.tags.iter().map(String::as_str));
        let mend = match mend.starts_with("did you mean") {
            true => mend,
            false => "give it in a step: `tag = \"…\"`; a tag that somebody gives by hand is fine".to_owned(),
        };
        Some((format!("nobody gives the tag `{tag}`"), mend))
    }
}

/// Reads a condition. `in_step` allows `happened`, which asks about the time since she entered.
pub(crate) fn parse(
    text: &str,
    place: Place<'_>,
    names: &Names,
    in_step: bool,
    problems: &mut Vec<Problem>,
) -> Option<Test> {
    let (condition, slips) = read(text, names, in_step);
    problems.extend(slips.into_iter().map(|slip| {
        let before: String = text.chars().take(slip.at).collect();
        let line = before.rsplit('\n').next().unwrap_or_default().chars().count();
        let lines = before.matches('\n').count();
        Problem {
            column: Some(line + if lines == 0 { place.column } else { 1 }),
            severity: slip.severity,
            ..place.source.problem_in_line(place.line + lines, slip.what, slip.mend)
        }
    }));
    Some(Test { text: text.trim().to_owned(), condition: condition? })
}

/// Reads a condition that is a TOML value.
pub(crate) fn parse_value(
    value: &At<String>,
    source: &Source,
    names: &Names,
    in_step: bool,
    problems: &mut Vec<Problem>,
) -> Option<Test> {
    let (condition, slips) = read(&value.value, names, in_step);
    let written = source.text.get(value.span.clone()).unwrap_or_default();
    problems.extend(slips.into_iter().map(|slip| {
        let at = value.span.start + letter_of_value(written, slip.at);
        Problem { severity: slip.severity, ..source.problem(&(at..at), slip.what, slip.mend) }
    }));
    Some(Test { text: value.value.trim().to_owned(), condition: condition? })
}

/// Where the so-manieth letter of a TOML text stands in what was written, quotes and escapes
/// included.
fn letter_of_value(written: &str, letter: usize) -> usize {
    let quotes = if written.starts_with("'''") || written.starts_with("\"\"\"") { 3 } else { 1 };
    let broken = quotes == 3 && written.get(quotes..).is_some_and(|rest| rest.starts_with('\n'));
    let mut at = quotes + usize::from(broken);
    let escapes = written.starts_with('"');
    for _ in 0..letter {
        let rest = written.get(at..).unwrap_or_default();
        at += match rest.as_bytes() {
            [b'\\', b'u', ..] if escapes => 6,
            [b'\\', b'U', ..] if escapes => 10,
            [b'\\', b'x', ..] if escapes => 4,
            [b'\\', ..] if escapes => 2,
            _ => rest.chars().next().map_or(0, char::len_utf8),
        };
    }
    at
}

fn read(text: &str, names: &Names, in_step: bool) -> (Option<Condition>, Vec<Slip>) {
    let (tokens, slip) = tokens(text);
    let end = text.chars().count();
    let mut parser =
        Parser { tokens, next: 0, end, names, in_step, depth: 0, slips: slip.into_iter().collect() };
    let condition = if parser.slips.is_empty() { parser.whole() } else { None };
    let fine = parser.slips.iter().all(|slip| slip.severity == Severity::Warning);
    (condition.filter(|_| fine), parser.slips)
}

/// Something wrong, at a letter of the condition.
struct Slip {
    at: usize,
    severity: Severity,
    what: String,
    mend: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Number(i64),
    Compare(Compare),
    Open,
    Close,
    Comma,
}

/// A token, and the letters of it in the condition.
#[derive(Debug, Clone)]
struct Found {
    token: Token,
    at: usize,
    written: String,
}

/// The tokens up to the first thing that is none.
fn tokens(text: &str) -> (Vec<Found>, Option<Slip>) {
    let letters: Vec<char> = text.chars().collect();
    let mut found = vec![];
    let mut at = 0;
    while let Some(rest) = letters.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.first().is_some_and(|letter| letter.is_whitespace()) {
            at += 1;
            continue;
        }
        match token(rest) {
            Ok((token, length)) => {
                let written = rest.iter().take(length).collect();
                found.push(Found { token, at, written });
                at += length;
            }
            Err((what, mend)) => {
                let slip = Slip { at, severity: Severity::Error, what, mend: mend.to_owned() };
                return (found, Some(slip));
            }
        }
    }
    (found, None)
}

/// The first token, and how many letters it has.
fn token(rest: &[char]) -> Result<(Token, usize), (String, &'static str)> {
    let (first, second) = (rest.first().copied().unwrap_or(' '), rest.get(1).copied());
    let equal = second == Some('=');
    Ok(match first {
        '(' => (Token::Open, 1),
        ')' => (Token::Close, 1),
        ',' => (Token::Comma, 1),
        '=' if equal => (Token::Compare(Compare::Equal), 2),
        '!' if equal => (Token::Compare(Compare::Unequal), 2),
        '<' if equal => (Token::Compare(Compare::AtMost), 2),
        '>' if equal => (Token::Compare(Compare::AtLeast), 2),
        '<' => (Token::Compare(Compare::Less), 1),
        '>' => (Token::Compare(Compare::More), 1),
        '=' => return Err(("`=` compares nothing".to_owned(), "write `==`")),
        '!' => return Err(("`!` is not understood".to_owned(), "write `not`")),
        '&' => return Err(("`&` is not understood".to_owned(), "write `and`")),
        '|' => return Err(("`|` is not understood".to_owned(), "write `or`")),
        quote @ ('"' | '\'') => {
            let inside: String = rest.iter().skip(1).take_while(|letter| **letter != quote).collect();
            let length = inside.chars().count() + 2;
            if length > rest.len() {
                return Err((
                    format!("the text is never closed: `{quote}` is missing"),
                    "close it with the quote that it begins with",
                ));
            }
            (Token::Text(inside), length)
        }
        digit
            if digit.is_ascii_digit()
                || (digit == '-' && second.is_some_and(|second| second.is_ascii_digit())) =>
        {
            let rest_of_it =
                rest.iter().skip(1).take_while(|letter| letter.is_alphanumeric() || **letter == '.');
            let number: String = std::iter::once(&digit).chain(rest_of_it).collect();
            match number.parse() {
                Ok(value) => (Token::Number(value), number.chars().count()),
                Err(_) => return Err((format!("`{number}` is no whole number"), "write digits only: `50`")),
            }
        }
        letter if letter.is_alphabetic() => {
            let word: String = rest
                .iter()
                .take_while(|letter| letter.is_alphanumeric() || "_-.".contains(**letter))
                .collect();
            let length = word.chars().count();
            (Token::Word(word), length)
        }
        other => {
            return Err((format!("`{other}` is not understood"), "write words, numbers and quoted texts"));
        }
    })
}

struct Parser<'n> {
    tokens: Vec<Found>,
    next: usize,
    /// The number of letters.
    end: usize,
    names: &'n Names,
    in_step: bool,
    depth: usize,
    slips: Vec<Slip>,
}

impl Parser<'_> {
    fn whole(&mut self) -> Option<Condition> {
        let condition = self.any()?;
        if let Some(rest) = self.tokens.get(self.next) {
            let (at, what) = (rest.at, format!("`{}` is not expected here", rest.written));
            return self.slip(at, what, "join conditions by `and` or `or`");
        }
        let parts = size(&condition);
        if parts > PARTS {
            let what = format!("the condition has {parts} parts, those of its segments included");
            return self.slip(0, what, format!("make it simpler: at most {PARTS}"));
        }
        Some(condition)
    }

    fn any(&mut self) -> Option<Condition> {
        let mut parts = vec![self.all()?];
        while self.takes_word("or") {
            parts.push(self.all()?);
        }
        Some(one_or(parts, Condition::Any))
    }

    fn all(&mut self) -> Option<Condition> {
        let mut parts = vec![self.one()?];
        while self.takes_word("and") {
            parts.push(self.one()?);
        }
        Some(one_or(parts, Condition::All))
    }

    fn one(&mut self) -> Option<Condition> {
        self.depth += 1;
        if self.depth > DEPTH {
            let at = self.place();
            return self.slip(
                at,
                "too many brackets",
                "make the condition simpler, with a segment for a part of it",
            );
        }
        let condition = if self.takes_word("not") {
            Condition::Not(Box::new(self.one()?))
        } else if self.takes(&Token::Open) {
            let inside = self.any()?;
            self.expect(&Token::Close, "a bracket is never closed", "write `)`")?;
            inside
        } else {
            self.term()?
        };
        self.depth -= 1;
        Some(condition)
    }

    fn term(&mut self) -> Option<Condition> {
        let Some(Found { token: Token::Word(word), at, .. }) = self.tokens.get(self.next).cloned() else {
            return self
                .unexpected("a condition is missing", "write one, such as `tag(\"vip\")` or `score >= 50`");
        };
        self.next += 1;
        if let Some(id) = word.strip_prefix("attribute.") {
            return self.attribute(id, at);
        }
        match word.as_str() {
            "tag" => self.tag(),
            "opened" => Some(Condition::Opened(self.call("day-1", Self::mail)?)),
            "clicked" => self.clicked(),
            "seen" => self.seen(),
            "ever" => Some(Condition::Ever(self.call("customer_paid", Self::fact)?)),
            "happened" if !self.in_step => self.slip(
                at,
                "`happened` asks about the time since somebody entered a sequence: only its steps know that",
                "write `ever`",
            ),
            "happened" => Some(Condition::Happened(self.call("ordered", Self::fact)?)),
            "inside" => Some(Condition::Inside(self.call("follow-up", |parser, id, at| {
                parser.id("sequence", id, at, &parser.names.sequences)
            })?)),
            "segment" => self.call("hot", Self::segment),
            "stage" => {
                let (compare, stage) = self.compared("stage", "\"mql\"", Self::stage)?;
                Some(Condition::Stage(compare, stage))
            }
            "score" => {
                let (compare, points) = self.compared("score", "50", Self::number)?;
                Some(Condition::Score(compare, points))
            }
            "silent_days" => {
                let (compare, days) = self.compared("silent_days", "30", Self::number)?;
                Some(Condition::SilentDays(compare, days))
            }
            "band" => self.is("band", "hot", Self::band),
            "source" => self.is("source", "instagram", Self::source),
            "magnet" => self.is("magnet", "checklist", |parser, id, at| {
                Some(Condition::Magnet(parser.id("lead magnet", id, at, &parser.names.lead_magnets)?))
            }),
            "locale" => self.is("locale", "ja", |_, locale, _| Some(Condition::Locale(locale.to_owned()))),
            "attribute" => self.slip(at, "`attribute` of what?", "write `attribute.` and the attribute's id"),
            other => self.slip(at, format!("a condition can't begin with `{other}`"), suggest(other, WORDS)),
        }
    }

    fn tag(&mut self) -> Option<Condition> {
        self.call("vip", |parser, tag, at| match ShortText::parse(tag) {
            Ok(tag) => {
                if let Some((what, mend)) = parser.names.untold_tag(tag.as_str()) {
                    parser.slips.push(Slip { at, severity: Severity::Warning, what, mend });
                }
                Some(Condition::Tag(tag.as_str().to_owned()))
            }
            Err(error) => parser.slip(at, format!("\"{tag}\" is no tag"), format!("a tag {error}")),
        })
    }

    fn clicked(&mut self) -> Option<Condition> {
        let example = "write `clicked(\"day-1\")` or `clicked(\"day-1\", \"booking_url\")`";
        self.expect(&Token::Open, "`clicked` of which mail?", example)?;
        let (mail, at) = self.text(example)?;
        let mail = self.mail(&mail, at);
        let link = if self.takes(&Token::Comma) { Some(self.text(example)?) } else { None };
        self.expect(&Token::Close, "a bracket is never closed", "write `)`")?;
        let link = match (&mail, link) {
            (Some(mail), Some((link, at))) => Some(self.link(mail, &link, at)?),
            (None, _) | (_, None) => None,
        };
        Some(Condition::Clicked { mail: mail?, link })
    }

    /// The piece of the URL that tells the link.
    fn link(&mut self, mail: &Id, link: &str, at: usize) -> Option<String> {
        if UNTRACKED.contains(&link) {
            let what = format!("nobody hears of clicks on `{link}`: it holds the person's own key");
            let mend =
                "ask for what follows from it: `ever(\"unsubscribed\")`, `ever(\"preferences_changed\")`";
            return self.slip(at, what, mend);
        }
        let text = self.names.mail_texts.get(mail);
        if link.is_empty() || text.is_some_and(|text| !text.contains(link)) {
            let what = format!("the mail `{mail}` has no link `{link}`");
            return self.slip(
                at,
                what,
                "write a URL variable of the mail, such as `booking_url`, or a piece of a URL in it",
            );
        }
        let piece = LINKS.iter().find(|(name, _)| *name == link).map_or(link, |(_, piece)| piece);
        Some(piece.to_owned())
    }

    fn seen(&mut self) -> Option<Condition> {
        let page = self.call("pricing", |parser, id, at| parser.id("page", id, at, &parser.names.pages))?;
        let (compare, times) = self.compared("seen(…)", "3", Self::number)?;
        Some(Condition::Seen { page, compare, times })
    }

    fn attribute(&mut self, id: &str, at: usize) -> Option<Condition> {
        let names = self.names;
        let Some(attribute) = names.attributes.iter().find(|attribute| attribute.id.as_str() == id) else {
            let known = names.attributes.iter().map(|attribute| attribute.id.as_str());
            return self.slip(at, format!("there is no attribute `{id}`"), suggest(id, known));
        };
        let (name, shown) = (id.to_owned(), format!("attribute.{id}"));
        let (compare, value) = match &attribute.kind {
            AttributeKind::Number => {
                let (compare, number) = self.compared(&shown, "100", Self::number)?;
                (compare, AttributeValue::Number(number))
            }
            AttributeKind::Text => {
                let (compare, (text, _)) = self.equal(&shown, "…", Self::text)?;
                (compare, AttributeValue::Text(text))
            }
            AttributeKind::Choice(choices) => {
                let example = choices.first().map_or("…", String::as_str);
                let (compare, (text, at)) = self.equal(&shown, example, Self::text)?;
                if !choices.contains(&text) {
                    let what = format!("`{id}` is never \"{text}\"");
                    return self.slip(at, what, suggest(&text, choices.iter().map(String::as_str)));
                }
                (compare, AttributeValue::Text(text))
            }
        };
        Some(Condition::Attribute { name, compare, value })
    }

    /// `name("text")`, the text being turned into something.
    fn call<T>(&mut self, example: &str, read: impl Fn(&mut Self, &str, usize) -> Option<T>) -> Option<T> {
        let word = self.tokens.get(self.next - 1).map(|found| found.written.clone()).unwrap_or_default();
        let mend = format!("write `{word}(\"{example}\")`");
        self.expect(&Token::Open, &format!("`{word}` of what?"), &mend)?;
        let (text, at) = self.text(&mend)?;
        let value = read(self, &text, at);
        self.expect(&Token::Close, "a bracket is never closed", "write `)`")?;
        value
    }

    /// `name == "text"` or `!=`, the text being turned into a condition.
    fn is(
        &mut self,
        name: &str,
        example: &str,
        read: impl Fn(&mut Self, &str, usize) -> Option<Condition>,
    ) -> Option<Condition> {
        let (compare, (text, at)) = self.equal(name, example, Self::text)?;
        let condition = read(self, &text, at)?;
        Some(if compare == Compare::Unequal { Condition::Not(Box::new(condition)) } else { condition })
    }

    /// `==` or `!=`, and what follows.
    fn equal<T>(
        &mut self,
        name: &str,
        example: &str,
        read: impl Fn(&mut Self, &str) -> Option<T>,
    ) -> Option<(Compare, T)> {
        let at = self.place();
        let (compare, value) = self.compared(name, &format!("\"{example}\""), read)?;
        if !matches!(compare, Compare::Equal | Compare::Unequal) {
            let what = format!("`{name}` is neither more nor less than something");
            return self.slip(at, what, "compare it with `==` or `!=`");
        }
        Some((compare, value))
    }

    /// A comparison, and what follows.
    fn compared<T>(
        &mut self,
        name: &str,
        example: &str,
        read: impl Fn(&mut Self, &str) -> Option<T>,
    ) -> Option<(Compare, T)> {
        let mend = format!("write `{name} == {example}`");
        let Some(Found { token: Token::Compare(compare), .. }) = self.tokens.get(self.next) else {
            return self.unexpected(&format!("`{name}` is compared with nothing"), &mend);
        };
        let compare = *compare;
        self.next += 1;
        Some((compare, read(self, &mend)?))
    }

    fn stage(&mut self, mend: &str) -> Option<Stage> {
        let (text, at) = self.text(mend)?;
        let stage = Stage::ALL.into_iter().find(|stage| stage.as_str() == text);
        if stage.is_none() {
            let what = format!("there is no stage `{text}`");
            return self.slip(at, what, suggest(&text, Stage::ALL.map(Stage::as_str)));
        }
        stage
    }

    fn number(&mut self, mend: &str) -> Option<i64> {
        let Some(Found { token: Token::Number(number), .. }) = self.tokens.get(self.next) else {
            return self.unexpected("a whole number is missing", mend);
        };
        let number = *number;
        self.next += 1;
        Some(number)
    }

    fn text(&mut self, mend: &str) -> Option<(String, usize)> {
        let Some(Found { token: Token::Text(text), at, .. }) = self.tokens.get(self.next).cloned() else {
            return self.unexpected("a text between quotes is missing", mend);
        };
        self.next += 1;
        Some((text, at))
    }

    fn mail(&mut self, id: &str, at: usize) -> Option<Id> {
        let mail = self.id("mail", id, at, &self.names.mails)?;
        let sent = self.names.given.as_ref().is_none_or(|given| given.mails.contains(id));
        if !sent {
            return self.slip(
                at,
                format!("no sequence sends the mail `{id}`"),
                "name a mail that people get, or send it",
            );
        }
        Some(mail)
    }

    fn fact(&mut self, name: &str, at: usize) -> Option<Trigger> {
        let own = self.names.facts.iter().find(|fact| fact.as_str() == name);
        let trigger = named_fact(name).map(Trigger::Fact).or_else(|| own.cloned().map(Trigger::Told));
        if trigger.is_none() {
            let known = named_facts().into_iter().chain(self.names.facts.iter().map(Id::as_str));
            let mend = suggest(name, known);
            return self.slip(at, format!("no fact is called `{name}`"), mend);
        }
        trigger
    }

    fn segment(&mut self, id: &str, at: usize) -> Option<Condition> {
        let segments = &self.names.segments;
        let segment = segments.iter().find(|(known, _)| known.as_str() == id);
        if segment.is_none() {
            let mend = suggest(id, segments.keys().map(Id::as_str));
            return self.slip(at, format!("there is no segment `{id}`"), mend);
        }
        segment.map(|(_, condition)| condition.clone())
    }

    fn band(&mut self, id: &str, at: usize) -> Option<Condition> {
        let bands = &self.names.bands;
        let Some((_, (from, next))) = bands.iter().find(|(known, _)| known.as_str() == id) else {
            let mend = suggest(id, bands.keys().map(Id::as_str));
            return self.slip(at, format!("there is no band `{id}`"), mend);
        };
        let parts = [
            Some(Condition::Score(Compare::AtLeast, *from)),
            next.map(|next| Condition::Score(Compare::Less, next)),
        ];
        Some(one_or(parts.into_iter().flatten().collect(), Condition::All))
    }

    fn source(&mut self, source: &str, at: usize) -> Option<Condition> {
        let known = &self.names.sources;
        if !known.is_empty() && !known.contains(source) {
            let (what, mend) = (
                format!("simulation.toml knows no source `{source}`"),
                suggest(source, known.iter().map(String::as_str)),
            );
            self.slips.push(Slip { at, severity: Severity::Warning, what, mend });
        }
        Some(Condition::Source(source.to_owned()))
    }

    fn id(&mut self, kind: &str, id: &str, at: usize, known: &BTreeSet<Id>) -> Option<Id> {
        let found = known.iter().find(|known| known.as_str() == id).cloned();
        if found.is_none() {
            let mend = suggest(id, known.iter().map(Id::as_str));
            return self.slip(at, format!("there is no {kind} `{id}`"), mend);
        }
        found
    }

    fn takes(&mut self, token: &Token) -> bool {
        let takes = self.tokens.get(self.next).is_some_and(|found| found.token == *token);
        self.next += usize::from(takes);
        takes
    }

    fn takes_word(&mut self, word: &str) -> bool {
        self.takes(&Token::Word(word.to_owned()))
    }

    fn expect(&mut self, token: &Token, what: &str, mend: &str) -> Option<()> {
        if self.takes(token) { Some(()) } else { self.unexpected(what, mend) }
    }

    /// Where the next token is.
    fn place(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |found| found.at)
    }

    /// The next token is not what has to stand there.
    fn unexpected<T>(&mut self, what: &str, mend: &str) -> Option<T> {
        let at = self.place();
        self.slip(at, what, mend)
    }

    fn slip<T>(&mut self, at: usize, what: impl Into<String>, mend: impl Into<String>) -> Option<T> {
        self.slips.push(Slip { at, severity: Severity::Error, what: what.into(), mend: mend.into() });
        None
    }
}

/// A fact of Michi's that funnels may name.
pub(crate) fn named_fact(name: &str) -> Option<FactKind> {
    FactKind::ALL.into_iter().find(|kind| kind.is_named_by_funnels() && kind.as_str() == name)
}

/// The names of the facts of Michi's that funnels may name.
pub(crate) fn named_facts() -> Vec<&'static str> {
    FactKind::ALL.into_iter().filter(|kind| kind.is_named_by_funnels()).map(FactKind::as_str).collect()
}

fn one_or(parts: Vec<Condition>, several: fn(Vec<Condition>) -> Condition) -> Condition {
    match <[Condition; 1]>::try_from(parts) {
        Ok([only]) => only,
        Err(parts) => several(parts),
    }
}

/// How many parts it has.
fn size(condition: &Condition) -> usize {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => 1 + parts.iter().map(size).sum::<usize>(),
        Condition::Not(part) => 1 + size(part),
        Condition::Tag(_)
        | Condition::Stage(..)
        | Condition::Score(..)
        | Condition::Attribute { .. }
        | Condition::Source(_)
        | Condition::Magnet(_)
        | Condition::Locale(_)
        | Condition::Opened(_)
        | Condition::Clicked { .. }
        | Condition::Seen { .. }
        | Condition::Ever(_)
        | Condition::Happened(_)
        | Condition::Inside(_)
        | Condition::SilentDays(..) => 1,
    }
}

#[cfg(test)]
mod tests;
