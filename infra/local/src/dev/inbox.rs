//! The inbox of captured mails. Reading one tells SES that it was opened, following a link that it
//! was clicked, as it would be on the way to a person.

use std::sync::Arc;

use axum::http::header::CONTENT_DISPOSITION;
use content::{Locale, format};
use domain::engagement::{Engagement, EngagementState};
use domain::id::Id;
use domain::time::iso;
use minijinja::{Value, context};
use serde::Serialize;
use url::Url;
use web::problem::{Failure, Problem, Status};

use super::Dev;
use super::front::{self, Answered, Asked, see_other};
use super::mailbox::{Preview, decoded, for_browser, headers, preview};
use super::pages::show;
use super::script::{goes_to, person};
use super::view::value;
use crate::aws::mail::Mail;

/// The most mails on a page.
const MAILS_PER_PAGE: usize = 50;

/// A mail may be styled and show pictures; it can't run anything or send forms.
const MAIL_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data: http: https:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'";

/// A mail in the list.
#[derive(Serialize)]
struct Line {
    id: u64,
    sent: String,
    instant: String,
    to: String,
    subject: String,
    preview: Value,
    badges: Badges,
}

/// What became of a mail.
#[derive(Default, Serialize)]
struct Badges {
    /// `sent`, `bounced` or `complained`.
    state: &'static str,
    opened: bool,
    clicked: bool,
}

impl Badges {
    fn of(row: Option<&Engagement>) -> Self {
        let Some(row) = row else { return Self { state: "sent", ..Self::default() } };
        let state = match row.state {
            EngagementState::Bounced => "bounced",
            EngagementState::Complained => "complained",
            EngagementState::Claimed
            | EngagementState::Sent
            | EngagementState::Unknown
            | EngagementState::Skipped => "sent",
        };
        Self { state, opened: row.opened, clicked: row.clicked }
    }
}

/// A mail that is in the outbox.
pub(super) fn known(dev: &Dev, id: &str) -> Result<Arc<Mail>, Problem> {
    let mail = id.parse().ok().and_then(|id| dev.cloud().mail(id));
    mail.ok_or_else(|| Problem::new(Status::NotFound, "there is no such mail"))
}

/// `GET /local/inbox`, newest first: `to` keeps one reader's, `before` goes on with older ones.
pub(super) async fn list(dev: &Dev, asked: &Asked) -> Answered {
    let to = asked.query("to");
    let before = asked.query("before").and_then(|id| id.parse().ok()).unwrap_or(u64::MAX);
    let mut mails = dev.cloud().mails();
    mails.reverse();
    mails.retain(|mail| mail.id < before && to.is_none_or(|to| goes_to(mail, to)));
    let more = mails.len() > MAILS_PER_PAGE;
    mails.truncate(MAILS_PER_PAGE);
    let older = mails.last().filter(|_| more).and_then(|last| {
        let query = [("before", last.id.to_string())].into_iter().chain(to.map(|to| ("to", to.to_owned())));
        serde_urlencoded::to_string(query.collect::<Vec<_>>()).ok()
    });
    let mut lines = Vec::with_capacity(mails.len());
    for mail in &mails {
        lines.push(line(dev, asked.locale, mail).await?);
    }
    show(dev, asked, "inbox.html", &context! { lines => value(lines), to, older })
}

async fn line(dev: &Dev, locale: Locale, mail: &Mail) -> Result<Line, Failure> {
    Ok(Line {
        id: mail.id,
        sent: format::date_time(mail.sent_at, dev.0.funnel.time_zone, locale),
        instant: iso(mail.sent_at),
        to: mail.to.join(", "),
        subject: mail.subject.clone(),
        preview: match preview(mail) {
            Preview::Html(html) => Value::from_safe_string(html.to_owned()),
            Preview::Text(text) => Value::from(text),
        },
        badges: badges(dev, mail).await?,
    })
}

/// From the send ledger, which is what the product knows.
async fn badges(dev: &Dev, mail: &Mail) -> Result<Badges, Failure> {
    let lead_id = lead_id(mail);
    let row = match lead_id.zip(mail.tags.get("engagement_id")) {
        Some((lead_id, engagement_id)) => dev.0.tables.engagement(&lead_id, engagement_id).await?,
        None => None,
    };
    Ok(Badges::of(row.as_ref()))
}

fn lead_id(mail: &Mail) -> Option<Id> {
    mail.tags.get("lead_id").and_then(|id| Id::parse(id).ok())
}

/// `GET /local/inbox/{id}`: reads a mail; `view` is `text` or `headers` instead of the HTML part.
pub(super) async fn mail(dev: &Dev, asked: &Asked, id: &str) -> Answered {
    let mail = known(dev, id)?;
    let view = match (asked.query("view"), &mail.html) {
        (Some("text"), _) => "text",
        (Some("headers"), _) => "headers",
        (_, Some(_)) => "html",
        (_, None) => "text",
    };
    if view == "html" {
        // The pixel that SES puts in is part of the HTML.
        dev.cloud().open(&mail, person());
        dev.settle().await;
    }
    let attachments =
        mail.attachments.iter().map(|attachment| (&attachment.file_name, attachment.content.len()));
    let page = context! {
        line => value(line(dev, asked.locale, &mail).await?),
        from => decoded(&mail.from),
        lead_id => value(lead_id(&mail)),
        view,
        text => mail.text.as_deref(),
        headers => value(headers(&mail)),
        attachments => value(attachments.collect::<Vec<_>>()),
    };
    show(dev, asked, "mail.html", &page)
}

/// `GET /local/inbox/{id}/html`: the HTML part, for the frame around it.
pub(super) fn html(dev: &Dev, id: &str) -> Answered {
    let mail = known(dev, id)?;
    let html =
        mail.html.as_deref().ok_or_else(|| Problem::new(Status::NotFound, "this mail has no HTML part"))?;
    Ok(front::html(for_browser(html, &mail.links, mail.id), MAIL_POLICY))
}

/// `GET /local/inbox/{id}/attachments/{number}`, from 0.
pub(super) fn attachment(dev: &Dev, id: &str, number: &str) -> Answered {
    let mail = known(dev, id)?;
    let attachment = number.parse().ok().and_then(|number: usize| mail.attachments.get(number));
    let attachment =
        attachment.ok_or_else(|| Problem::new(Status::NotFound, "this mail has no such attachment"))?;
    let mut response = front::with_body(&attachment.content_type, attachment.content.clone().into());
    let name: String = attachment
        .file_name
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || "._-".contains(*letter))
        .collect();
    front::insert(&mut response, CONTENT_DISPOSITION, &format!("attachment; filename=\"{name}\""));
    Ok(response)
}

/// `GET /local/inbox/{id}/click?link=…`: only to a link that the mail has and SES tracks.
pub(super) async fn click(dev: &Dev, asked: &Asked, id: &str) -> Answered {
    let mail = known(dev, id)?;
    let link = asked.query("link").unwrap_or_default();
    let told = dev.cloud().click(&mail, link, person());
    let target = Url::parse(link).ok().filter(|_| told);
    let target = target.ok_or_else(|| Problem::new(Status::NotFound, "this mail has no such link"))?;
    dev.settle().await;
    see_other(target.as_str())
}

/// `POST /local/inbox/{id}/complaint`: the button that mailboxes have for spam.
pub(super) async fn complaint(dev: &Dev, id: &str) -> Answered {
    let mail = known(dev, id)?;
    dev.cloud().complain(&mail);
    dev.settle().await;
    see_other(&format!("/local/inbox/{}?view=text", mail.id))
}
