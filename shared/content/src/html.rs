//! Writes the parts of a text as HTML, with the styles that the place needs.

use crate::expression::escape_html;
use crate::markdown::{Block, Inline, Link};

/// Attributes of the elements: mails carry their styles in place, pages have a style sheet.
pub(crate) struct Look {
    pub(crate) paragraph: &'static str,
    pub(crate) heading: &'static str,
    pub(crate) link: String,
    pub(crate) list: &'static str,
    pub(crate) item: &'static str,
    pub(crate) quote: &'static str,
    pub(crate) code: &'static str,
    pub(crate) table: &'static str,
    pub(crate) cell: &'static str,
}

impl Look {
    /// For pages, where a style sheet does it.
    pub(crate) fn plain() -> Self {
        Self {
            paragraph: "",
            heading: "",
            link: String::new(),
            list: "",
            item: "",
            quote: "",
            code: "",
            table: "",
            cell: "",
        }
    }

    /// For mails, whose readers drop style sheets.
    pub(crate) fn mail(colour: &str) -> Self {
        Self {
            paragraph: " style=\"margin:0\"",
            heading: " style=\"margin:10px 0 0;font-size:18px;line-height:1.5\"",
            link: format!(" style=\"color:{colour};text-decoration:underline\""),
            list: " style=\"margin:0;padding-left:26px\"",
            item: " style=\"margin:0 0 6px\"",
            quote: " style=\"margin:0;padding:2px 0 2px 16px;border-left:4px solid #d5dbd8;color:#444444\"",
            code: " style=\"font-family:monospace;overflow-wrap:anywhere\"",
            table: " style=\"border-collapse:collapse;width:100%\"",
            // A short first column would shrink to one letter a line: Japanese breaks anywhere.
            cell: " style=\"border:1px solid #dddddd;padding:6px 10px;min-width:4em;text-align:left;vertical-align:top\"",
        }
    }

    /// Writes a block. A button inside a list or quote is a link there.
    pub(crate) fn block(&self, block: &Block, to: &mut String) {
        match block {
            Block::Heading(level, inlines) => self.element(&format!("h{level}"), self.heading, inlines, to),
            Block::Paragraph(inlines) => self.element("p", self.paragraph, inlines, to),
            Block::Button(link) => self.element("p", self.paragraph, &[Inline::Link(link.clone())], to),
            Block::List(first, items) => self.list(*first, items, to),
            Block::Quote(blocks) => {
                to.push_str(&format!("<blockquote{}>", self.quote));
                self.blocks(blocks, to);
                to.push_str("</blockquote>");
            }
            Block::Rule => to.push_str("<hr />"),
            Block::Table { head, rows } => self.table(head, rows, to),
            Block::Form => {}
        }
    }

    fn blocks(&self, blocks: &[Block], to: &mut String) {
        for block in blocks {
            self.block(block, to);
        }
    }

    fn list(&self, first: Option<u64>, items: &[Vec<Block>], to: &mut String) {
        let (open, close) = match first {
            None => (format!("<ul{}>", self.list), "</ul>"),
            Some(1) => (format!("<ol{}>", self.list), "</ol>"),
            Some(first) => (format!("<ol start=\"{first}\"{}>", self.list), "</ol>"),
        };
        to.push_str(&open);
        for item in items {
            to.push_str(&format!("<li{}>", self.item));
            match item.as_slice() {
                [Block::Paragraph(inlines), rest @ ..] => {
                    self.inlines(inlines, to);
                    self.blocks(rest, to);
                }
                blocks => self.blocks(blocks, to),
            }
            to.push_str("</li>");
        }
        to.push_str(close);
    }

    fn table(&self, head: &[Vec<Inline>], rows: &[Vec<Vec<Inline>>], to: &mut String) {
        to.push_str(&format!("<table{}><thead><tr>", self.table));
        for cell in head {
            self.element("th", self.cell, cell, to);
        }
        to.push_str("</tr></thead><tbody>");
        for row in rows {
            to.push_str("<tr>");
            for cell in row {
                self.element("td", self.cell, cell, to);
            }
            to.push_str("</tr>");
        }
        to.push_str("</tbody></table>");
    }

    fn element(&self, name: &str, attributes: &str, inlines: &[Inline], to: &mut String) {
        to.push_str(&format!("<{name}{attributes}>"));
        self.inlines(inlines, to);
        to.push_str(&format!("</{name}>"));
    }

    /// Writes the parts of a line.
    pub(crate) fn inlines(&self, inlines: &[Inline], to: &mut String) {
        for inline in inlines {
            match inline {
                Inline::Text(text) => escape_html(text, to),
                Inline::Code(text) => {
                    to.push_str(&format!("<code{}>", self.code));
                    escape_html(text, to);
                    to.push_str("</code>");
                }
                Inline::Strong(inner) => self.element("strong", "", inner, to),
                Inline::Emphasis(inner) => self.element("em", "", inner, to),
                Inline::Link(Link { href, label }) => {
                    to.push_str("<a href=\"");
                    escape_html(href, to);
                    to.push_str(&format!("\"{}>", self.link));
                    self.inlines(label, to);
                    to.push_str("</a>");
                }
                Inline::Break => to.push_str("<br />"),
            }
        }
    }
}
