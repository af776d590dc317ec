//! A mail as its reader gets it: decoded, described, and with links that tell when they are followed.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::time::iso;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::aws::mail::{Link, Mail};
use crate::template::REGION;

/// The mail program that reads here: a person's.
pub(super) const READER: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15";

/// All of a mail, for scripts.
pub(super) fn described(mail: &Mail) -> Value {
    let tag = |name: &str| mail.tags.get(name);
    let attachments = mail.attachments.iter();
    let attachments = attachments.map(|attachment| {
        json!({"file_name": attachment.file_name, "content_type": attachment.content_type, "content": STANDARD.encode(&attachment.content)})
    });
    json!({
        "id": mail.id,
        "to": mail.to.join(", "),
        "from": decoded(&mail.from),
        "subject": mail.subject,
        "headers": headers(mail).into_iter().map(|(name, value)| (name, value.into())).collect::<Map<_, _>>(),
        "html": mail.html,
        "text": mail.text,
        "sent_at": iso(mail.sent_at),
        "lead_id": tag("lead_id"),
        "engagement_id": tag("engagement_id"),
        "links": mail.visible_links().map(|link| &link.href).collect::<Vec<_>>(),
        "attachments": attachments.collect::<Vec<_>>(),
    })
}

/// The headers with which a mail arrives.
pub(super) fn headers(mail: &Mail) -> Vec<(String, String)> {
    let own = [
        ("From", mail.from.clone()),
        ("To", mail.to.join(", ")),
        ("Reply-To", mail.reply_to.join(", ")),
        ("Subject", mail.subject.clone()),
        ("Date", mail.sent_at.to_rfc2822()),
        ("Message-ID", format!("<{}@{REGION}.amazonses.com>", mail.message_id)),
    ];
    let own = own.into_iter().filter(|(_, value)| !value.is_empty());
    own.map(|(name, value)| (name.to_owned(), value)).chain(mail.headers.iter().cloned()).collect()
}

/// A header's encoded words (RFC 2047) as people read them; what can't be decoded stays as it is.
pub(super) fn decoded(header: &str) -> String {
    let mut read = String::new();
    let mut after_word = false;
    for part in header.split(' ') {
        let word = word(part);
        // A space between two encoded words only parts them.
        if !(read.is_empty() || after_word && word.is_some()) {
            read.push(' ');
        }
        after_word = word.is_some();
        read.push_str(&word.unwrap_or_else(|| part.to_owned()));
    }
    read
}

fn word(part: &str) -> Option<String> {
    let base64 = part.strip_prefix("=?UTF-8?B?")?.strip_suffix("?=")?;
    String::from_utf8(STANDARD.decode(base64).ok()?).ok()
}

/// What mailboxes show after the subject: the hidden text at the start of the HTML part, as HTML
/// without any tag; otherwise the first line of the text part, still to be escaped.
pub(super) enum Preview<'a> {
    Html(&'a str),
    Text(&'a str),
}

/// The preview of a mail.
pub(super) fn preview(mail: &Mail) -> Preview<'_> {
    let hidden = mail.html.as_deref().and_then(|html| {
        let (_, rest) = html.split_once("<div style=\"display:none")?;
        let (_, rest) = rest.split_once('>')?;
        rest.split('<').next().map(str::trim).filter(|text| !text.is_empty())
    });
    let text = || mail.text.as_deref().unwrap_or_default().lines().find(|line| !line.trim().is_empty());
    hidden.map_or_else(|| Preview::Text(text().unwrap_or_default()), Preview::Html)
}

/// The HTML part with every tracked link leading through `/local`, as SES leads it through its own
/// host, and every link opening in the whole window instead of the frame.
pub(super) fn for_browser(html: &str, links: &[Link], id: u64) -> String {
    let mut links = links.iter();
    let mut shown = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(start) = anchor(rest) {
        let (before, from) = rest.split_at(start);
        let (tag, after) = from.split_at(tag_end(from));
        shown.push_str(before);
        shown.push_str(&anchor_for_browser(tag, &mut links, id));
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// Where the next `<a …>` starts. SES writes them in lower case.
fn anchor(html: &str) -> Option<usize> {
    html.match_indices("<a")
        .map(|(start, _)| start)
        .find(|start| html[start + 2..].starts_with(|next: char| next.is_ascii_whitespace()))
}

/// How long a tag is; a bracket inside quotes does not end it.
fn tag_end(tag: &str) -> usize {
    split_outside_quotes(tag, '>').map_or(tag.len(), |end| end + 1)
}

fn split_outside_quotes(text: &str, wanted: char) -> Option<usize> {
    let mut quote = None;
    for (index, character) in text.char_indices() {
        match (quote, character) {
            (None, found) if found == wanted => return Some(index),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    None
}

fn anchor_for_browser<'a>(tag: &str, links: &mut impl Iterator<Item = &'a Link>, id: u64) -> String {
    let mut shown = String::from("<a");
    let mut rest = tag.trim_start_matches("<a").trim_end_matches('>').trim();
    while !rest.is_empty() {
        let (attribute, after) = rest.split_at(split_outside_quotes(rest, ' ').unwrap_or(rest.len()));
        rest = after.trim_start();
        let name = attribute.split('=').next().unwrap_or_default().to_ascii_lowercase();
        if name == "target" || name == "rel" {
            continue;
        }
        match (name.as_str(), if name == "href" { links.next() } else { None }) {
            ("href", Some(link)) if link.tracked => {
                let link = utf8_percent_encode(&link.href, NON_ALPHANUMERIC);
                let _ = write!(shown, " href=\"/local/inbox/{id}/click?link={link}\"");
            }
            _ => {
                let _ = write!(shown, " {attribute}");
            }
        }
    }
    shown.push_str(" target=\"_top\">");
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracked_links_lead_through_here_and_others_lead_where_they_say() {
        let link = |href: &str, tracked| Link { href: href.to_owned(), tracked, hidden: false };
        let links = [
            link("https://example.com/a?x=1&y=2", true),
            link("https://example.com/out", false),
            link("mailto:a@example.com", false),
        ];
        let html = r#"<p>a <a target="_blank" class="x > y" href="https://example.com/a?x=1&amp;y=2">A</a><abbr>b</abbr><a name="top">N</a>
<a href='https://example.com/out'>B</a> <a href="mailto:a@example.com" rel="noopener">C</a></p>"#;
        let expected = r#"<p>a <a class="x > y" href="/local/inbox/7/click?link=https%3A%2F%2Fexample%2Ecom%2Fa%3Fx%3D1%26y%3D2" target="_top">A</a><abbr>b</abbr><a name="top" target="_top">N</a>
<a href='https://example.com/out' target="_top">B</a> <a href="mailto:a@example.com" target="_top">C</a></p>"#;
        assert_eq!(for_browser(html, &links, 7), expected);
    }

    #[test]
    fn a_senders_name_is_shown_as_it_was_written() {
        for (header, expected) in [
            ("=?UTF-8?B?6YGT44Kz44O844OB44Oz44Kw?= <a@example.com>", "道コーチング <a@example.com>"),
            ("=?UTF-8?B?6YGT?= =?UTF-8?B?6YGT?= <a@example.com>", "道道 <a@example.com>"),
            ("Michi Coaching <a@example.com>", "Michi Coaching <a@example.com>"),
            ("=?UTF-8?B?!?= <a@example.com>", "=?UTF-8?B?!?= <a@example.com>"),
        ] {
            assert_eq!(decoded(header), expected);
        }
    }
}
