//! Markdown as far as mails and pages use it, as a tree that is written once as HTML and once as
//! plain text.

use std::ops::Range;
use std::sync::Arc;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::expression::{Expression, JOINER, is_web_url, leading_mark, sole_mark};
use crate::problem::{Problem, Severity};

/// A part of the text that stands by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Block {
    /// Level 1 to 6.
    Heading(u8, Vec<Inline>),
    Paragraph(Vec<Inline>),
    /// A link alone in its paragraph.
    Button(Link),
    /// With the first number if its items are numbered.
    List(Option<u64>, Vec<Vec<Block>>),
    Quote(Vec<Block>),
    Rule,
    Table {
        head: Vec<Vec<Inline>>,
        rows: Vec<Vec<Vec<Inline>>>,
    },
    /// `{{ form }}` alone in its paragraph.
    Form,
}

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inline {
    Text(String),
    Code(String),
    Strong(Vec<Inline>),
    Emphasis(Vec<Inline>),
    Link(Link),
    /// A line break in the source is a line break for the reader.
    Break,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) href: String,
    pub(crate) label: Vec<Inline>,
}

/// A line with marks in place of its expressions, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) file: Arc<str>,
    /// From 1.
    pub(crate) number: usize,
}

/// Reads lines as one text. They may come from several files.
pub(crate) fn parse(lines: &[&Line], expressions: &[Expression], problems: &mut Vec<Problem>) -> Vec<Block> {
    let body: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    let joined = join_strong(&body.join("\n"));
    let events: Vec<(Event, Range<usize>)> =
        Parser::new_ext(&joined, Options::ENABLE_TABLES).into_offset_iter().collect();
    let mut tree =
        Tree { events: events.into_iter().peekable(), body: &joined, lines, expressions, problems };
    tree.blocks()
}

/// CommonMark does not see `**` between Japanese punctuation and a letter (`**「道」**は`) as
/// emphasis. A letter-like character on each side of every `**` makes it so; it is taken out of
/// the text again.
fn join_strong(body: &str) -> String {
    let mut joined = String::with_capacity(body.len() + 64);
    for (number, piece) in body.split("**").enumerate() {
        if number > 0 {
            joined.push(JOINER);
            joined.push_str("**");
            joined.push(JOINER);
        }
        joined.push_str(piece);
    }
    joined
}

struct Tree<'a, 'p, I: Iterator<Item = (Event<'a>, Range<usize>)>> {
    events: std::iter::Peekable<I>,
    body: &'a str,
    lines: &'p [&'p Line],
    expressions: &'p [Expression],
    problems: &'p mut Vec<Problem>,
}

impl<'a, I: Iterator<Item = (Event<'a>, Range<usize>)>> Tree<'a, '_, I> {
    fn problem(&mut self, at: &Range<usize>, what: impl Into<String>, mend: impl Into<String>) {
        let number = self.body.get(..at.start).unwrap_or_default().matches('\n').count();
        let Some(line) = self.lines.get(number).or(self.lines.last()) else { return };
        let problem = Problem {
            severity: Severity::Error,
            file: line.file.to_string(),
            line: Some(line.number),
            column: None,
            what: what.into(),
            mend: mend.into(),
        };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Blocks up to the end of what encloses them.
    fn blocks(&mut self) -> Vec<Block> {
        let mut blocks = vec![];
        while let Some((event, at)) = self.events.next_if(|(event, _)| !matches!(event, Event::End(_))) {
            match event {
                Event::Start(Tag::Paragraph) => {
                    let inlines = self.inlines();
                    blocks.push(self.paragraph(inlines));
                    self.events.next();
                }
                Event::Start(Tag::Heading { level, .. }) => {
                    let inlines = self.inlines();
                    blocks.push(Block::Heading(depth(level), inlines));
                    self.events.next();
                }
                Event::Start(Tag::BlockQuote(_)) => {
                    let inner = self.blocks();
                    blocks.push(Block::Quote(inner));
                    self.events.next();
                }
                Event::Start(Tag::List(first)) => {
                    let items = self.items();
                    blocks.push(Block::List(first, items));
                    self.events.next();
                }
                Event::Start(Tag::Table(_)) => {
                    let table = self.table();
                    blocks.push(table);
                    self.events.next();
                }
                Event::Rule => blocks.push(Block::Rule),
                Event::Start(tag) if is_inline(&tag) => {
                    let inlines = self.inlines_from(Some((Event::Start(tag), at)));
                    blocks.push(Block::Paragraph(inlines));
                }
                Event::Start(tag) => {
                    self.problem(
                        &at,
                        "this can't be shown",
                        "use paragraphs, headings, lists, quotes, tables and links",
                    );
                    self.skip(&tag);
                }
                // A tight list's item holds its text without a paragraph.
                inline => {
                    let inlines = self.inlines_from(Some((inline, at)));
                    blocks.push(Block::Paragraph(inlines));
                }
            }
        }
        blocks
    }

    fn paragraph(&self, inlines: Vec<Inline>) -> Block {
        match inlines.as_slice() {
            [Inline::Link(link)] => Block::Button(link.clone()),
            [Inline::Text(text)]
                if sole_mark(text)
                    .and_then(|index| self.expressions.get(index))
                    .is_some_and(|e| e.text == "form") =>
            {
                Block::Form
            }
            _ => Block::Paragraph(inlines),
        }
    }

    fn items(&mut self) -> Vec<Vec<Block>> {
        let mut items = vec![];
        while self.events.next_if(|(event, _)| matches!(event, Event::Start(Tag::Item))).is_some() {
            items.push(self.blocks());
            self.events.next();
        }
        items
    }

    fn table(&mut self) -> Block {
        let (mut head, mut rows) = (vec![], vec![]);
        while let Some((event, _)) =
            self.events.next_if(|(event, _)| matches!(event, Event::Start(Tag::TableHead | Tag::TableRow)))
        {
            let mut cells = vec![];
            while self.events.next_if(|(event, _)| matches!(event, Event::Start(Tag::TableCell))).is_some() {
                cells.push(self.inlines());
                self.events.next();
            }
            self.events.next();
            match event {
                Event::Start(Tag::TableHead) => head = cells,
                _ => rows.push(cells),
            }
        }
        Block::Table { head, rows }
    }

    /// The parts of a line up to the end of what encloses them, or to the next block.
    fn inlines(&mut self) -> Vec<Inline> {
        self.inlines_from(None)
    }

    fn inlines_from(&mut self, first: Option<(Event<'a>, Range<usize>)>) -> Vec<Inline> {
        let mut inlines = vec![];
        let mut next = first;
        while let Some((event, at)) =
            next.take().or_else(|| self.events.next_if(|(event, _)| is_part_of_line(event)))
        {
            match event {
                Event::Text(text) => self.text(&text, &at, &mut inlines),
                Event::Code(text) => inlines.push(Inline::Code(text.replace(JOINER, ""))),
                Event::SoftBreak | Event::HardBreak => inlines.push(Inline::Break),
                Event::Start(Tag::Strong) => {
                    let inner = self.inlines();
                    inlines.push(Inline::Strong(inner));
                    self.events.next();
                }
                Event::Start(Tag::Emphasis) => {
                    let inner = self.inlines();
                    inlines.push(Inline::Emphasis(inner));
                    self.events.next();
                }
                Event::Start(Tag::Link { dest_url, .. }) => {
                    let href = dest_url.replace(JOINER, "");
                    self.check_link(&href, &at);
                    let label = self.inlines();
                    inlines.push(Inline::Link(Link { href, label }));
                    self.events.next();
                }
                Event::Start(tag) => {
                    self.problem(
                        &at,
                        "an image can't be shown yet",
                        "write what it shows, or link to it: `[text](https://…)`",
                    );
                    self.skip(&tag);
                }
                _ => self.problem(&at, "HTML can't be used", "write Markdown; `<` alone is written `\\<`"),
            }
        }
        inlines
    }

    fn text(&mut self, text: &str, at: &Range<usize>, inlines: &mut Vec<Inline>) {
        // Every `**` of the source has a joiner before it; as text it only comes out when unpaired.
        let unpaired =
            text.starts_with('*') && self.body.get(..at.start).is_some_and(|before| before.ends_with(JOINER));
        let text = text.replace(JOINER, "");
        if unpaired {
            self.problem(
                at,
                "`**` without its other half",
                "close the bold text with `**`, or write `\\*\\*`",
            );
        }
        match inlines.last_mut() {
            Some(Inline::Text(before)) => before.push_str(&text),
            _ if text.is_empty() => {}
            _ => inlines.push(Inline::Text(text)),
        }
    }

    /// A link leads to a web page or a mail address, literally or by a variable that is a URL;
    /// anything else (`javascript:`, a variable that a person typed) is refused.
    fn check_link(&mut self, href: &str, at: &Range<usize>) {
        let by_variable = leading_mark(href)
            .and_then(|index| self.expressions.get(index))
            .is_some_and(Expression::leads_to_a_page);
        if !by_variable
            && !is_web_url(href)
            && !["mailto:", "tel:"].iter().any(|scheme| href.starts_with(scheme))
        {
            self.problem(
                at,
                "a link to nowhere",
                "write `https://…`, `mailto:…` or a URL variable such as `{{ booking_url }}`",
            );
        }
        // MJML's writer would change it, as it writes attributes in Rust's `Debug` form.
        if format!("{href:?}") != format!("\"{href}\"") {
            self.problem(at, "a link with a letter that can't be kept", "write the letter percent-encoded");
        }
    }

    /// Leaves out an element with all it holds.
    fn skip(&mut self, tag: &Tag<'a>) {
        let end = tag.to_end();
        let mut depth = 1_u32;
        while depth > 0 {
            match self.events.next() {
                Some((Event::End(tag), _)) if tag == end => depth -= 1,
                Some((Event::Start(tag), _)) if tag.to_end() == end => depth += 1,
                Some(_) => {}
                None => return,
            }
        }
    }
}

fn depth(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

fn is_inline(tag: &Tag<'_>) -> bool {
    matches!(tag.to_end(), TagEnd::Strong | TagEnd::Emphasis | TagEnd::Link | TagEnd::Image)
}

fn is_part_of_line(event: &Event<'_>) -> bool {
    match event {
        Event::Start(tag) => is_inline(tag),
        Event::End(_) | Event::Rule => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> (Vec<Block>, Vec<String>) {
        let file: Arc<str> = Arc::from("mail.md");
        let line = |(number, text): (usize, &str)| Line { text: text.into(), file: file.clone(), number };
        let lines: Vec<Line> = (1..).zip(body.split('\n')).map(line).collect();
        let mut problems = vec![];
        let blocks = parse(&lines.iter().collect::<Vec<_>>(), &[], &mut problems);
        (blocks, problems.iter().map(|p| format!("{}: {}", p.line.unwrap(), p.what)).collect())
    }

    fn text(text: &str) -> Inline {
        Inline::Text(text.into())
    }

    #[test]
    fn bold_works_beside_japanese_punctuation() {
        for body in ["これは**「道」**です", "**「道」**です", "これは**道です。**次", "**道**"]
        {
            let (blocks, problems) = read(body);
            assert!(problems.is_empty(), "{body}: {problems:?}");
            assert!(
                matches!(&blocks[0], Block::Paragraph(inlines) if inlines.iter().any(|i| matches!(i, Inline::Strong(_)))),
                "{body}: {blocks:?}"
            );
        }
    }

    #[test]
    fn a_link_alone_is_a_button_and_a_line_break_stays_one() {
        let (blocks, _) = read("[予約する](https://example.com/b)\n\n一行目\n二行目");
        let link = Link { href: "https://example.com/b".into(), label: vec![text("予約する")] };
        assert_eq!(
            blocks,
            [Block::Button(link), Block::Paragraph(vec![text("一行目"), Inline::Break, text("二行目")])]
        );
    }

    #[test]
    fn lists_hold_bold_and_nested_lists() {
        let (blocks, problems) = read("- **日時**:明日\n- 場所\n  - オンライン\n\n6. 六つ目");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            blocks,
            [
                Block::List(
                    None,
                    vec![
                        vec![Block::Paragraph(vec![Inline::Strong(vec![text("日時")]), text(":明日")])],
                        vec![
                            Block::Paragraph(vec![text("場所")]),
                            Block::List(None, vec![vec![Block::Paragraph(vec![text("オンライン")])]])
                        ],
                    ]
                ),
                Block::List(Some(6), vec![vec![Block::Paragraph(vec![text("六つ目")])]]),
            ]
        );
    }

    #[test]
    fn stars_can_be_written_too() {
        for body in [r"a \*\*b\*\* c", "2 * 3 * 4", "`**`"] {
            assert_eq!(read(body).1, Vec::<String>::new(), "{body}");
        }
    }

    #[test]
    fn what_can_not_be_shown_is_reported_at_its_line() {
        for (body, expected) in [
            ("a\n\n<b>x</b>", "3: HTML can't be used"),
            ("a\n\n<div>x</div>", "3: this can't be shown"),
            ("a\n\n```\ncode\n```", "3: this can't be shown"),
            ("a ![x](https://example.com/x.png)", "1: an image can't be shown yet"),
            ("a **b", "1: `**` without its other half"),
            ("**a** b\n\n- c**", "3: `**` without its other half"),
            ("a\n[x](javascript:alert(1))", "2: a link to nowhere"),
            ("[x](/pages/privacy)", "1: a link to nowhere"),
            ("[x](https://example.com/a\u{200B})", "1: a link with a letter that can't be kept"),
        ] {
            assert_eq!(read(body).1, [expected], "{body}");
        }
    }
}
