//! Writes the parts of a text as plain text: a mail's other half.

use crate::markdown::{Block, Inline, Link};

/// The blocks with empty lines between them.
pub(crate) fn blocks(blocks: &[Block]) -> String {
    let written: Vec<String> = blocks.iter().map(block).filter(|text| !text.is_empty()).collect();
    written.join("\n\n")
}

fn block(block: &Block) -> String {
    match block {
        Block::Heading(_, inlines) => format!("■ {}", line(inlines)),
        Block::Paragraph(inlines) => line(inlines),
        Block::Button(link) => format!("▼ {}", self::link(link)),
        Block::List(first, items) => list(*first, items),
        Block::Quote(inner) => prefixed(&blocks(inner), "> ", "> "),
        Block::Rule => "----------".to_owned(),
        Block::Table { rows, .. } => rows
            .iter()
            .map(|row| row.iter().map(|cell| line(cell)).collect::<Vec<_>>().join(" | "))
            .collect::<Vec<_>>()
            .join("\n"),
        Block::Form => String::new(),
    }
}

fn list(first: Option<u64>, items: &[Vec<Block>]) -> String {
    let written: Vec<String> = items
        .iter()
        .zip(first.unwrap_or(1)..)
        .map(|(item, number)| {
            let mark = if first.is_some() { format!("{number}. ") } else { "・".to_owned() };
            let text: Vec<String> = item.iter().map(block).collect();
            prefixed(&text.join("\n"), &mark, "  ")
        })
        .collect();
    written.join("\n")
}

fn prefixed(text: &str, first: &str, rest: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .enumerate()
        .map(|(number, line)| format!("{}{line}", if number == 0 { first } else { rest }))
        .collect();
    lines.join("\n")
}

/// The parts of a line, without their emphasis.
pub(crate) fn line(inlines: &[Inline]) -> String {
    let mut text = String::new();
    for (at, inline) in inlines.iter().enumerate() {
        match inline {
            Inline::Text(part) | Inline::Code(part) => text.push_str(part),
            Inline::Strong(inner) | Inline::Emphasis(inner) => text.push_str(&line(inner)),
            Inline::Link(inner) => {
                text.push_str(&link(inner));
                // Mail readers take everything up to a space as the address.
                if at + 1 < inlines.len() {
                    text.push(' ');
                }
            }
            Inline::Break => text.push('\n'),
        }
    }
    text
}

fn link(Link { href, label }: &Link) -> String {
    let label = line(label);
    if label == *href { label } else { format!("{label}: {href}") }
}
