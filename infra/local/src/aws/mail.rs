//! A mail as SES takes it, checks it and delivers it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::AwsError;

const MAX_RECIPIENTS: usize = 50;
const MAX_HEADERS: usize = 15;
const MAX_HEADER_VALUE: usize = 995;
const MAX_TAG: usize = 256;

/// Headers that SES writes itself and therefore refuses.
const RESERVED_HEADERS: [&str; 12] = [
    "bcc",
    "cc",
    "content-disposition",
    "content-transfer-encoding",
    "content-type",
    "date",
    "from",
    "message-id",
    "mime-version",
    "reply-to",
    "subject",
    "to",
];

/// A mail that SES accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mail {
    /// Its number in the outbox, from 1.
    pub id: u64,
    /// SES's id for it.
    pub message_id: String,
    /// The sender, with its display name.
    pub from: String,
    /// Everyone it went to: To, Cc and Bcc.
    pub to: Vec<String>,
    /// Where answers go.
    pub reply_to: Vec<String>,
    /// The subject.
    pub subject: String,
    /// Custom headers in the order they were given.
    pub headers: Vec<(String, String)>,
    /// The HTML part as it was delivered: without `ses:no-track`.
    pub html: Option<String>,
    /// The text part; the whole body if the mail was sent raw.
    pub text: Option<String>,
    /// Attached files.
    pub attachments: Vec<Attachment>,
    /// Tags of the request.
    pub tags: BTreeMap<String, String>,
    /// The configuration set it was sent with.
    pub configuration_set: Option<String>,
    /// The links of the HTML part, in their order.
    pub links: Vec<Link>,
    /// When it was sent.
    pub sent_at: DateTime<Utc>,
}

/// A file that is attached to a mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its name.
    pub file_name: String,
    /// Its media type.
    pub content_type: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// A link in a mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Where it leads.
    pub href: String,
    /// Whether SES learns of clicks on it.
    pub tracked: bool,
    /// Whether nobody can see it.
    #[serde(default)]
    pub hidden: bool,
}

fn bad(problem: impl Into<String>) -> AwsError {
    AwsError::new("BadRequestException", problem)
}

impl Mail {
    /// The links that a person sees, in their order.
    pub fn visible_links(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(|link| !link.hidden)
    }

    /// The mail that a SendEmail request asks for.
    pub(super) fn parse(
        input: &Value,
        id: u64,
        message_id: String,
        now: DateTime<Utc>,
    ) -> Result<Self, AwsError> {
        let content = &input["Content"];
        let mut mail = Self {
            id,
            message_id,
            from: input["FromEmailAddress"].as_str().unwrap_or_default().to_owned(),
            to: Vec::new(),
            reply_to: texts(&input["ReplyToAddresses"]),
            subject: String::new(),
            headers: Vec::new(),
            html: None,
            text: None,
            attachments: Vec::new(),
            tags: tags(&input["EmailTags"])?,
            configuration_set: input["ConfigurationSetName"].as_str().map(str::to_owned),
            links: Vec::new(),
            sent_at: now,
        };
        for kind in ["ToAddresses", "CcAddresses", "BccAddresses"] {
            mail.to.extend(texts(&input["Destination"][kind]));
        }
        if let Some(simple) = content.get("Simple") {
            mail.fill_simple(simple)?;
        } else if let Some(raw) = content["Raw"]["Data"].as_str() {
            mail.fill_raw(raw)?;
        } else {
            return Err(bad("The local cloud sends Simple and Raw content."));
        }
        mail.check_addresses()?;
        Ok(mail)
    }

    fn fill_simple(&mut self, simple: &Value) -> Result<(), AwsError> {
        let part = |place: &Value| place["Data"].as_str().map(str::to_owned);
        self.subject = part(&simple["Subject"]).ok_or_else(|| bad("Subject is required."))?;
        self.text = part(&simple["Body"]["Text"]);
        if let Some(html) = part(&simple["Body"]["Html"]) {
            let (html, links) = deliver_links(&html);
            self.html = Some(html);
            self.links = links;
        }
        if self.text.is_none() && self.html.is_none() {
            return Err(bad("Body must have a text or an HTML part."));
        }
        self.headers = headers(&simple["Headers"])?;
        for attachment in simple["Attachments"].as_array().into_iter().flatten() {
            self.attachments.push(Attachment::parse(attachment)?);
        }
        Ok(())
    }

    /// Takes the headers of a raw mail and leaves its body as it is.
    fn fill_raw(&mut self, data: &str) -> Result<(), AwsError> {
        let bytes = STANDARD.decode(data).map_err(|_| bad("Data is not base64."))?;
        let raw = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
        let (head, body) = raw.split_once("\n\n").unwrap_or((&raw, ""));
        let unfolded = head.replace("\n ", " ").replace("\n\t", " ");
        for line in unfolded.lines() {
            let (name, value) = line.split_once(':').ok_or_else(|| bad("A header has no colon."))?;
            let value = value.trim().to_owned();
            match name.to_ascii_lowercase().as_str() {
                "from" if self.from.is_empty() => self.from = value,
                "to" if self.to.is_empty() => {
                    self.to = value.split(',').map(|to| to.trim().to_owned()).collect();
                }
                "subject" => self.subject = value,
                _ => self.headers.push((name.to_owned(), value)),
            }
        }
        self.text = Some(body.to_owned());
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), AwsError> {
        if self.from.is_empty() {
            return Err(bad("FromEmailAddress is required."));
        }
        if self.to.is_empty() || self.to.len() > MAX_RECIPIENTS {
            return Err(bad(format!("A mail goes to between 1 and {MAX_RECIPIENTS} recipients.")));
        }
        let from = std::iter::once(&self.from);
        for address in from.chain(&self.to).chain(&self.reply_to) {
            check_address(address)?;
        }
        Ok(())
    }
}

impl Attachment {
    fn parse(input: &Value) -> Result<Self, AwsError> {
        let file_name = input["FileName"].as_str();
        let file_name = file_name.ok_or_else(|| bad("An attachment needs a FileName."))?;
        let content = input["RawContent"].as_str().unwrap_or_default();
        let content = STANDARD.decode(content).map_err(|_| bad("An attachment's content is not base64."))?;
        // SES would declare it as 7 bits, and what comes is anybody's guess.
        let encoding = input["ContentTransferEncoding"].as_str().unwrap_or("SEVEN_BIT");
        if encoding == "SEVEN_BIT" && !content.is_ascii() {
            return Err(bad("An attachment with other than ASCII letters needs a ContentTransferEncoding."));
        }
        let content_type = input["ContentType"].as_str().unwrap_or("application/octet-stream").to_owned();
        Ok(Self { file_name: file_name.to_owned(), content_type, content })
    }
}

/// The bare address in `Name <address>`.
pub(super) fn bare_address(address: &str) -> &str {
    match address.rsplit_once('<') {
        Some((_, rest)) => rest.trim_end().trim_end_matches('>'),
        None => address.trim(),
    }
}

/// Addresses are not repeated in errors: they are personal data.
fn check_address(address: &str) -> Result<(), AwsError> {
    if !address.is_ascii() {
        return Err(bad(
            "Addresses are ASCII: encode a display name as in RFC 2047 and a domain as in RFC 3490.",
        ));
    }
    let bare = bare_address(address);
    let Some((local, domain)) = bare.rsplit_once('@') else {
        return Err(bad("Missing final '@domain'."));
    };
    let bad_character =
        |c: char| c.is_ascii_whitespace() || c.is_ascii_control() || "<>(),;:\\\"[]@".contains(c);
    if local.is_empty() || local.len() > 64 || local.contains(bad_character) {
        return Err(bad("Local address contains control or whitespace."));
    }
    let label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !domain.contains('.') || !domain.split('.').all(label) {
        return Err(bad("Domain contains illegal character or lacks a dot."));
    }
    Ok(())
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|text| Some(text.as_str()?.to_owned())).collect()
}

fn headers(list: &Value) -> Result<Vec<(String, String)>, AwsError> {
    let list = list.as_array().map_or(&[] as &[_], Vec::as_slice);
    if list.len() > MAX_HEADERS {
        return Err(bad(format!("A mail has at most {MAX_HEADERS} custom headers.")));
    }
    let mut headers = Vec::new();
    for header in list {
        let (Some(name), Some(value)) = (header["Name"].as_str(), header["Value"].as_str()) else {
            return Err(bad("A header has a name and a value."));
        };
        let fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic() && c != ':');
        if !fits || RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(bad(format!("Header {name} is not allowed.")));
        }
        let printable = value.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        if value.is_empty() || value.len() > MAX_HEADER_VALUE || !printable {
            return Err(bad(format!(
                "The value of header {name} must be printable ASCII of at most {MAX_HEADER_VALUE} characters."
            )));
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    Ok(headers)
}

fn tags(list: &Value) -> Result<BTreeMap<String, String>, AwsError> {
    let fits = |text: &str| {
        !text.is_empty()
            && text.len() <= MAX_TAG
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    let mut tags = BTreeMap::new();
    for tag in list.as_array().into_iter().flatten() {
        let name = tag["Name"].as_str().unwrap_or_default();
        let value = tag["Value"].as_str().unwrap_or_default();
        if !fits(name) || !fits(value) {
            return Err(bad(format!(
                "Tag names and values must match ^[A-Za-z0-9_-]+$ and have at most {MAX_TAG} characters: {name}."
            )));
        }
        if tags.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(bad(format!("Tag {name} is given twice.")));
        }
    }
    Ok(tags)
}

/// Takes `ses:no-track` out of every anchor, as SES does, and lists the links.
fn deliver_links(html: &str) -> (String, Vec<Link>) {
    let (mut delivered, mut links) = (String::with_capacity(html.len()), Vec::new());
    let mut rest = html;
    while let Some(start) = anchor_start(rest) {
        delivered.push_str(&rest[..start]);
        let tag_end = tag_end(&rest[start..]);
        let tag = &rest[start..start + tag_end];
        let (tag, link) = deliver_anchor(tag);
        delivered.push_str(&tag);
        links.extend(link);
        rest = &rest[start + tag_end..];
    }
    delivered.push_str(rest);
    (delivered, links)
}

fn anchor_start(html: &str) -> Option<usize> {
    html.match_indices("<a")
        .chain(html.match_indices("<A"))
        .map(|(start, _)| start)
        .filter(|start| html[start + 2..].starts_with(|c: char| c.is_ascii_whitespace()))
        .min()
}

/// How long a tag is, its angle brackets included; a bracket inside quotes does not end it.
fn tag_end(tag: &str) -> usize {
    let mut quote = None;
    for (index, character) in tag.char_indices() {
        match (quote, character) {
            (None, '>') => return index + 1,
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    tag.len()
}

fn deliver_anchor(tag: &str) -> (String, Option<Link>) {
    let mut kept = String::from("<a");
    let (mut href, mut tracked, mut hidden) = (None, true, false);
    let mut rest = tag[2..].trim_end_matches('>');
    while let Some((attribute, after)) = next_attribute(rest) {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        let name = name.trim();
        if name.eq_ignore_ascii_case("ses:no-track") {
            tracked = false;
        } else {
            kept.push(' ');
            kept.push_str(attribute.trim());
        }
        hidden |= name.eq_ignore_ascii_case("style") && value.contains("display:none");
        if name.eq_ignore_ascii_case("href") {
            let value = value.trim().trim_matches(|c| c == '"' || c == '\'');
            href = Some(unescape(value));
        }
        rest = after;
    }
    kept.push('>');
    let link = href.map(|href| Link {
        tracked: tracked && (href.starts_with("https://") || href.starts_with("http://")),
        href,
        hidden,
    });
    (kept, link)
}

/// The first `name` or `name="value"` and what follows it.
fn next_attribute(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let mut quote = None;
    for (index, character) in text.char_indices() {
        match (quote, character) {
            (None, c) if c.is_ascii_whitespace() => return Some(text.split_at(index)),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    (!text.is_empty()).then_some((text, ""))
}

/// The character references that renderers write into attributes.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let reference = after.split_once(';').and_then(|(name, after)| {
            let character = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => numeric(name)?,
            };
            Some((character, after))
        });
        match reference {
            Some((character, after)) => {
                plain.push(character);
                rest = after;
            }
            None => {
                plain.push('&');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn numeric(name: &str) -> Option<char> {
    let number = name.strip_prefix('#')?;
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => number.parse().ok()?,
    };
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_track_is_taken_out_and_only_web_links_are_tracked() {
        let html = r#"<p>a > b <a class="x" href="https://example.com/a?x=1&amp;y=&#x2f;2">A</a>
<A HREF='https://example.com/b' ses:no-track>B</A><a ses:no-track="" href="https://example.com/c">C</a>
<a href="mailto:a@example.com">D</a><abbr title="no anchor">E</abbr><a name="top">F</a></p>"#;
        let (delivered, links) = deliver_links(html);
        assert!(!delivered.contains("no-track"), "{delivered}");
        assert!(delivered.contains(r#"<a href="https://example.com/c">C</a>"#));
        assert!(delivered.contains("<abbr title"));
        let links: Vec<(&str, bool)> = links.iter().map(|l| (l.href.as_str(), l.tracked)).collect();
        assert_eq!(
            links,
            [
                ("https://example.com/a?x=1&y=/2", true),
                ("https://example.com/b", false),
                ("https://example.com/c", false),
                ("mailto:a@example.com", false),
            ]
        );
    }

    #[test]
    fn addresses_are_checked_as_ses_does() {
        let table = [
            ("a@example.com", true),
            ("Name <a+b@mail.example.com>", true),
            ("=?UTF-8?B?44G/44Gh?= <info@example.com>", true),
            ("みち <info@example.com>", false),
            ("a", false),
            ("a b@example.com", false),
            ("@example.com", false),
            ("a@localhost", false),
            ("a@exa mple.com", false),
            ("a@example..com", false),
        ];
        for (address, fine) in table {
            assert_eq!(check_address(address).is_ok(), fine, "{address}");
        }
    }
}
