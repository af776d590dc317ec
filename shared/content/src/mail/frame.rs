//! A mail with all its markup, still without anybody's values: its blocks in the layout.

use domain::engagement::MailClass;
use minijinja::value::Value;
use minijinja::{Environment, UndefinedBehavior, context};
use mrml::prelude::parser::{Error as MjmlError, WarningKind};
use mrml::prelude::render::RenderOptions;

use crate::expression::{Expression, escape_everything, escape_html, mark};
use crate::funnel::Funnel;
use crate::html::Look;
use crate::mail::{Choice, Mail};
use crate::markdown::{self, Block};
use crate::plain;
use crate::problem::{Problem, Severity};

/// Fonts that are there on the readers' devices; nothing is fetched.
const FONT: &str = "'Hiragino Kaku Gothic ProN', 'Hiragino Sans', 'Yu Gothic', Meiryo, sans-serif";
/// The layout's file, in the funnel.
const LAYOUT: &str = "layout.mjml";
/// Michi's own layout.
const OWN_LAYOUT: &str = include_str!("../../layout.mjml");
/// The variables of the layout's own links, in the order of their marks.
const LINKS: [&str; 2] = ["preferences_url", "unsubscribe_url"];
/// Links with a person's own key that does more than recognise her: SES must not rewrite them.
pub(crate) const UNTRACKED: [&str; 4] = ["unsubscribe_url", "manage_url", "preferences_url", "confirm_url"];

/// The two halves of a mail, with marks in place of expressions: first the mail's own, then the
/// layout's.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) html: String,
    pub(crate) text: String,
    pub(crate) layout_expressions: [Expression; 2],
}

/// What is laid out.
struct Content<'a> {
    class: MailClass,
    subject: &'a str,
    preheader: &'a str,
    body: String,
    /// How many marks the content has; the layout's links come after them.
    marks: usize,
}

impl Funnel {
    /// A mail with the passages that a choice stands for, laid out once.
    ///
    /// # Errors
    /// [`Problem`] if the layout is broken.
    pub(crate) fn frame<'m>(&self, mail: &'m Mail, choice: Choice) -> Result<&'m Frame, Problem> {
        let none =
            || mail.source.problem_of_file("there is no such choice of passages", "tell Michi's makers");
        let frame = mail.frames.get(&choice).ok_or_else(none)?;
        frame.get_or_init(|| self.lay_out_mail(mail, choice)).as_ref().map_err(Problem::clone)
    }

    fn lay_out_mail(&self, mail: &Mail, choice: Choice) -> Result<Frame, Problem> {
        // What is wrong with the text was told when it was read.
        let blocks = &markdown::parse(&mail.body.lines(choice), &mail.expressions, &mut vec![]);
        let marks = mail.expressions.len();
        let content = Content {
            class: mail.class,
            subject: &mail.subject,
            preheader: &mail.preheader,
            body: self.body_mjml(blocks),
            marks,
        };
        let html = self.lay_out(&content)?;
        let [preferences, unsubscribe] = [mark(marks), mark(marks + 1)];
        let texts = &self.locale.texts().mail;
        let footer = [
            "----------".to_owned(),
            self.why(mail.class).to_owned(),
            format!("{}{}", texts.sender, self.sender.name),
            format!("{}{}", texts.address, self.sender.postal_address),
            format!("{}{}", texts.contact, self.sender.contact),
            format!("{}: {preferences}", texts.preferences),
            format!("{}: {unsubscribe}", texts.unsubscribe),
        ];
        let text = format!("{}\n\n{}\n", plain::blocks(blocks), footer.join("\n"));
        let layout_expressions = LINKS.map(Expression::variable);
        let html = keep_untracked(&html, mail.expressions.iter().chain(&layout_expressions));
        Ok(Frame { html, text, layout_expressions })
    }

    /// What is wrong with the funnel's layout, whatever the mail.
    pub(crate) fn check_layout(&self, problems: &mut Vec<Problem>) {
        for class in [MailClass::Marketing, MailClass::Transactional] {
            let body = format!("<mj-text>{}</mj-text>", mark(0));
            let content = Content { class, subject: "x", preheader: "x", body, marks: 1 };
            match self.lay_out(&content) {
                Err(problem) => problems.push(problem),
                Ok(html) => problems.extend(lacks(&html)),
            }
        }
    }

    fn why(&self, class: MailClass) -> &'static str {
        let texts = &self.locale.texts().mail;
        match class {
            MailClass::Marketing => &texts.why_marketing,
            MailClass::Transactional => &texts.why_transactional,
        }
    }

    fn lay_out(&self, content: &Content<'_>) -> Result<String, Problem> {
        let layout = self.layout.as_deref().unwrap_or(OWN_LAYOUT);
        let texts = &self.locale.texts().mail;
        let mjml = template(
            layout,
            context! {
                lang => self.locale.as_str(),
                font => Value::from_safe_string(FONT.to_owned()),
                subject => content.subject,
                preheader => content.preheader,
                brand => context! { colour => &self.brand.colour, logo => &self.brand.logo },
                sender => context! { name => &self.sender.name, postal_address => &self.sender.postal_address, contact => &self.sender.contact },
                texts => context! { sender => &texts.sender, address => &texts.address, contact => &texts.contact, preferences => &texts.preferences, unsubscribe => &texts.unsubscribe },
                body => Value::from_safe_string(content.body.clone()),
                why => self.why(content.class),
                // In a confirmation too: whoever wants no more marketing should not have to search.
                preferences => mark(content.marks),
                unsubscribe => mark(content.marks + 1),
            },
        )?;
        to_html(&mjml).map_err(|NotMjml { at, what }| Problem {
            severity: Severity::Error,
            file: LAYOUT.to_owned(),
            line: at.map(|at| template_line(layout, mjml.get(..at).unwrap_or(&mjml).matches('\n').count())),
            column: None,
            what: format!("not MJML: {what}"),
            mend: "see https://documentation.mjml.io, or start from Michi's own: shared/content/layout.mjml"
                .to_owned(),
        })
    }

    fn body_mjml(&self, blocks: &[Block]) -> String {
        let look = Look::mail(&self.brand.colour);
        let mut mjml = String::new();
        for block in blocks {
            match block {
                Block::Button(link) => {
                    mjml.push_str("<mj-button css-class=\"wide-on-phone\" href=\"");
                    escape_html(&link.href, &mut mjml);
                    mjml.push_str("\">");
                    look.inlines(&link.label, &mut mjml);
                    mjml.push_str("</mj-button>");
                }
                Block::Rule => mjml.push_str("<mj-divider />"),
                Block::Paragraph(inlines) => mj_text(&mut mjml, |to| look.inlines(inlines, to)),
                Block::Heading(..)
                | Block::List(..)
                | Block::Quote(_)
                | Block::Table { .. }
                | Block::Form => mj_text(&mut mjml, |to| look.block(block, to)),
            }
        }
        mjml
    }
}

/// What is wrong with a laid out mail that says its first expression only.
fn lacks(html: &str) -> impl Iterator<Item = Problem> {
    let wrong = [
        (
            !html.contains(&mark(0)),
            "no mail says anything in this layout",
            "write `{{ body }}` in an `<mj-column>`",
        ),
        (
            !html.contains(&format!("href=\"{}\"", mark(2))),
            "nobody can leave",
            "write `<a href=\"{{ unsubscribe }}\">{{ texts.unsubscribe }}</a>`",
        ),
        // mrml writes attributes in Rust's `Debug` form.
        (
            html.contains("\\u{"),
            "an attribute holds a letter that can't be kept",
            "write plain letters into attributes",
        ),
    ];
    wrong.into_iter().filter(|(is_wrong, ..)| *is_wrong).map(|(_, what, mend)| Problem {
        severity: Severity::Error,
        file: LAYOUT.to_owned(),
        line: None,
        column: None,
        what: what.to_owned(),
        mend: mend.to_owned(),
    })
}

fn mj_text(mjml: &mut String, write: impl FnOnce(&mut String)) {
    mjml.push_str("<mj-text>");
    write(mjml);
    mjml.push_str("</mj-text>");
}

/// Fills in a layout. It is written by the funnel's author, so it may use statements.
fn template(layout: &str, variables: Value) -> Result<String, Problem> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_debug(true);
    escape_everything(&mut environment);
    let template = environment.template_from_named_str(LAYOUT, layout);
    template.and_then(|template| template.render(variables)).map_err(|error| Problem {
        severity: Severity::Error,
        file: LAYOUT.to_owned(),
        line: error.line(),
        column: None,
        what: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
        mend: "the variables of a layout are listed in Michi's own: shared/content/layout.mjml".to_owned(),
    })
}

/// The line of a layout that the filled one has after so many line breaks: what stands between
/// braces may take several lines of the one and none of the other.
fn template_line(layout: &str, breaks: usize) -> usize {
    let (mut line, mut written, mut rest) = (1, 0, layout);
    while written < breaks && !rest.is_empty() {
        let braced = [("{#", "#}"), ("{%", "%}"), ("{{", "}}")]
            .into_iter()
            .find_map(|(open, close)| rest.strip_prefix(open)?.split_once(close));
        if let Some((inside, after)) = braced {
            line += inside.matches('\n').count();
            rest = after;
            continue;
        }
        let mut chars = rest.chars();
        if chars.next() == Some('\n') {
            line += 1;
            written += 1;
        }
        rest = chars.as_str();
    }
    line
}

/// Why a filled-in layout can't be turned into HTML, and at which byte of it.
struct NotMjml {
    at: Option<usize>,
    what: String,
}

impl NotMjml {
    fn new(at: impl Into<Option<usize>>, what: impl Into<String>) -> Self {
        Self { at: at.into(), what: what.into() }
    }
}

fn to_html(mjml: &str) -> Result<String, NotMjml> {
    let parsed = mrml::parse(mjml).map_err(|error| match unclosed(mjml) {
        // Whatever the parser stumbled over comes of that.
        Some(at) => NotMjml::new(at, "this element is never closed"),
        None => not_parsed(mjml, &error),
    })?;
    if let Some(warning) = parsed.warnings.first() {
        let what = match warning.kind {
            WarningKind::UnexpectedAttribute => "there is no such attribute",
            WarningKind::InlineStyleUnsupported => "`inline` styles can't be used",
        };
        return Err(NotMjml::new(warning.span.start, what));
    }
    let options = RenderOptions { fonts: Default::default(), ..RenderOptions::default() };
    let html = parsed.element.render(&options).map_err(|error| NotMjml::new(None, error.to_string()))?;
    // An element that mrml does not know is left as it is.
    if let Some((_, rest)) = html.split_once("<mj-") {
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        return Err(NotMjml::new(mjml.find(&format!("<mj-{name}")), format!("there is no `<mj-{name}>`")));
    }
    Ok(html)
}

fn not_parsed(mjml: &str, error: &MjmlError) -> NotMjml {
    match error {
        MjmlError::UnexpectedElement { position, .. } => {
            NotMjml::new(position.start, "this element can't stand here")
        }
        MjmlError::UnexpectedToken { position, .. } => NotMjml::new(position.start, "this can't stand here"),
        MjmlError::MissingAttribute { name, position, .. } => {
            NotMjml::new(position.start, format!("the attribute `{name}` is missing"))
        }
        MjmlError::InvalidAttribute { position, .. } => {
            NotMjml::new(position.start, "this attribute can't be read")
        }
        MjmlError::InvalidFormat { position, .. } => NotMjml::new(position.start, "this can't be read"),
        MjmlError::IncludeLoaderError { position, .. } => {
            NotMjml::new(position.start, "`<mj-include>` can't be used")
        }
        MjmlError::ParserError { source, .. } => {
            let lines = mjml.split_inclusive('\n').take((source.pos().row as usize).saturating_sub(1));
            NotMjml::new(lines.map(str::len).sum::<usize>(), "this can't be read")
        }
        MjmlError::EndOfStream { .. } => NotMjml::new(mjml.len(), "it ends too early"),
        MjmlError::SizeLimit { .. } => NotMjml::new(None, "it is too long"),
        MjmlError::NoRootNode => NotMjml::new(None, "there is no `<mjml>`"),
    }
}

/// The first of MJML's own elements that ends in the wrong place, or nowhere.
fn unclosed(mjml: &str) -> Option<usize> {
    let mut open: Vec<(usize, &str)> = vec![];
    for (at, _) in mjml.match_indices('<') {
        let tag = mjml.get(at + 1..)?.split('>').next()?;
        let name = tag.split_whitespace().next().unwrap_or_default();
        if let Some(closed) = name.strip_prefix('/').filter(|closed| closed.starts_with("mj")) {
            let (opened, expected) = open.pop()?;
            if closed != expected {
                return Some(opened);
            }
        } else if name.starts_with("mj") && !tag.ends_with('/') {
            open.push((at, name));
        }
    }
    open.last().map(|(opened, _)| *opened)
}

/// Marks the links that SES must leave alone. MJML's button takes no such attribute, so it is
/// added to the finished HTML.
fn keep_untracked<'a>(html: &str, expressions: impl Iterator<Item = &'a Expression>) -> String {
    let own: Vec<String> = expressions
        .enumerate()
        .filter(|(_, expression)| UNTRACKED.iter().any(|name| expression.variables.contains(*name)))
        .map(|(index, _)| mark(index))
        .collect();
    let mut pieces = html.split("<a ");
    let mut marked = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let tag = piece.split('>').next().unwrap_or_default();
        let keep = own.iter().any(|mark| tag.contains(mark.as_str()));
        marked.push_str(if keep { "<a ses:no-track " } else { "<a " });
        marked.push_str(piece);
    }
    marked
}
