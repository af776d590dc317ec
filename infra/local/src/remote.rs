//! What `michi` asks of a running product: `michi dev` on this machine, or a deployed stack.

use std::collections::BTreeMap;

use aws_smithy_runtime_api::client::{http::HttpConnector, orchestrator::HttpRequest};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream, error::display::DisplayErrorContext};
use chrono::{DateTime, Utc};
use cloud::{
    CallError, Cloud, Env, StartError,
    keys::Keys,
    mailer::{Mailer, OutgoingMail, SendError, mailbox},
    suppression_list::SuppressionList,
    tables::Tables,
};
use content::{Funnel, RenderProblem, format};
use domain::{
    email_address::EmailAddress,
    id::Id,
    lead::{self, SuppressionCause},
    limits::CONFLICT_RETRIES,
    text::LongText,
};

use serde_json::Value;

use crate::{clock::Clock, functions::stack_environment, preview::sample::Sample, template::TemplateError};

/// Why an answer could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The template can't be read for this stack.
    #[error("infra/template.yaml: {0}")]
    Template(#[from] TemplateError),
    /// Keys or names are missing.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The product did not answer.
    #[error("{0}; is `michi dev` running? (or give --stack NAME and AWS's environment variables)")]
    Call(#[from] CallError),
    /// Nobody is called so.
    #[error("`{0}` is no lead: write a lead id (l-…) or a mail address that has opted in")]
    NoLead(String),
    /// The person's row changes faster than it can be written.
    #[error("this person is being changed by others at this moment; try again")]
    Busy,
    /// There is no such mail.
    #[error("there is no mail `{0}`; there are {1}")]
    NoMail(String, String),
    /// The document can't be written.
    #[error("the document can't be written: {0}")]
    Document(#[from] serde_json::Error),
    /// There is no randomness to be had.
    #[error("no random key: {0}")]
    Random(String),
    /// `michi dev` still has her mails.
    #[error("her rows are erased, but `michi dev` did not empty its outbox of her mails: {0}; run it again")]
    Outbox(String),
    /// The mail can't be made.
    #[error(transparent)]
    Render(#[from] RenderProblem),
    /// SES did not take it.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// The product at `port` on this machine, with its clock, or the stack of that name in AWS.
///
/// # Errors
/// [`RemoteError`] if the environment lacks what AWS needs, or `michi dev` does not answer.
pub async fn cloud(stack: Option<&str>, port: u16) -> Result<Cloud, RemoteError> {
    match stack {
        None => {
            let environment = stack_environment(crate::functions::STACK, "delivery")?;
            let url = format!("http://127.0.0.1:{port}");
            let cloud = Cloud::on_this_machine(&url, Env::from_map(environment));
            // Days may have been skipped there: what happened on them is not in the future.
            let clock = Clock::running(time_at(&cloud, &url).await? - Utc::now());
            Ok(Cloud { sdk: cloud.sdk.into_builder().time_source(clock).build(), ..cloud })
        }
        Some(name) => {
            let cloud = Cloud::from_lambda()?;
            // What the stack's functions are told; the shell's own environment has the last word.
            let mut environment: BTreeMap<String, String> = stack_environment(name, "delivery")?;
            environment.extend(std::env::vars());
            Ok(Cloud { env: Env::from_map(environment), ..cloud })
        }
    }
}

/// What time it is for the `michi dev` that serves a URL.
async fn time_at(cloud: &Cloud, url: &str) -> Result<DateTime<Utc>, RemoteError> {
    let failed = |reason: String| CallError { doing: "asking `michi dev` for its clock", reason };
    let mut request = HttpRequest::new(SdkBody::empty());
    request.set_uri(format!("{url}/local/clock")).map_err(|error| failed(error.to_string()))?;
    let answer = cloud.http.call(request).await;
    let answer = answer.map_err(|error| failed(DisplayErrorContext(error).to_string()))?;
    let body = ByteStream::new(answer.into_body()).collect().await;
    let body = body.map_err(|error| failed(error.to_string()))?.into_bytes();
    let clock: Value = serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))?;
    let now = clock["now"].as_str().and_then(|now| now.parse().ok());
    Ok(now.ok_or_else(|| failed("it told no time".to_owned()))?)
}

/// Whom a lead id or a mail address means.
pub(crate) async fn lead_id(cloud: &Cloud, person: &str) -> Result<Id, RemoteError> {
    match (Id::parse(person), EmailAddress::parse(person)) {
        (_, Ok(address)) => Ok(Keys::load(cloud).await?.lead_id(&address)),
        (Ok(id), _) => Ok(id),
        _ => Err(RemoteError::NoLead(person.to_owned())),
    }
}

/// A lead's score and what it is made of, at a moment.
///
/// # Errors
/// [`RemoteError`].
pub async fn score(
    cloud: &Cloud,
    funnel: &Funnel,
    lead: &str,
    at: DateTime<Utc>,
) -> Result<String, RemoteError> {
    let tables = Tables::new(cloud);
    let lead_id = lead_id(cloud, lead).await?;
    let person = tables.person(&lead_id, funnel.scoring.needs()).await?;
    let person = person.ok_or_else(|| RemoteError::NoLead(lead.to_owned()))?;
    let score = funnel.scoring.score(&person.known(&funnel.scoring, None, at));
    let band = funnel.scoring.band(score.total).map(|band| format!(" ({})", band.name)).unwrap_or_default();
    let mut lines = vec![format!("{}{band} = {} + {}", score.total, score.fit, score.behaviour)];
    for entry in score.entries {
        let when = entry.at.map_or_else(
            || "–".to_owned(),
            |at| at.with_timezone(&funnel.time_zone).format("%Y-%m-%d %H:%M").to_string(),
        );
        lines.push(format!("{when:<18}{:>+5}  {}", entry.points, entry.what));
    }
    Ok(lines.join("\n"))
}

/// Stops all mail to somebody. SES's suppression list is told in the night.
///
/// # Errors
/// [`RemoteError`].
pub async fn suppress(cloud: &Cloud, lead: &str) -> Result<String, RemoteError> {
    let tables = Tables::new(cloud);
    let lead_id = lead_id(cloud, lead).await?;
    for _ in 0..CONFLICT_RETRIES {
        let known = tables.lead(&lead_id).await?.ok_or_else(|| RemoteError::NoLead(lead.to_owned()))?;
        let Some(closed) = lead::suppress(known, SuppressionCause::Operator, cloud.now()) else {
            return Ok(format!("{lead_id} is suppressed already"));
        };
        if tables.put_lead(&closed).await? {
            return Ok(format!("{lead_id} is suppressed"));
        }
    }
    Err(RemoteError::Busy)
}

/// Opens a suppressed address again, here and at SES, and keeps the reason with the person.
///
/// # Errors
/// [`RemoteError`].
pub async fn reopen(cloud: &Cloud, lead: &str, because: &LongText) -> Result<String, RemoteError> {
    let (tables, list) = (Tables::new(cloud), SuppressionList::new(cloud));
    let lead_id = lead_id(cloud, lead).await?;
    for _ in 0..CONFLICT_RETRIES {
        let known = tables.lead(&lead_id).await?.ok_or_else(|| RemoteError::NoLead(lead.to_owned()))?;
        // SES first: an address that we write to while it stands there bounces, and is closed again.
        list.remove(&known.email).await?;
        let Some(open) = lead::reopen(known, because.clone(), cloud.now()) else {
            return Ok(format!("{lead_id} is not suppressed"));
        };
        if tables.put_lead(&open).await? {
            return Ok(format!("{lead_id} is {} again", open.mailing.as_str()));
        }
    }
    Err(RemoteError::Busy)
}

/// Sends a mail of the funnel, made for a sample person, to an address of yours.
///
/// # Errors
/// [`RemoteError`].
pub async fn send_test(
    cloud: &Cloud,
    funnel: &Funnel,
    mail: &str,
    to: &EmailAddress,
) -> Result<String, RemoteError> {
    let known = || funnel.mails().map(|mail| mail.id.as_str()).collect::<Vec<_>>().join(", ");
    let mail = funnel
        .mails()
        .find(|known| known.id.as_str() == mail)
        .ok_or_else(|| RemoteError::NoMail(mail.to_owned(), known()))?;
    let url = cloud.public_url().unwrap_or_else(|_| "https://michi.example.com".to_owned());
    let rendered = Sample::known(funnel).render(funnel, mail, &url, cloud.now())?;
    let size = rendered.html.len() / 1024;
    let outgoing = OutgoingMail {
        from: mailbox(&rendered.from.name, rendered.from.address.as_str()),
        to: to.as_str().to_owned(),
        reply_to: None,
        subject: format!("[Test] {}", rendered.subject),
        html: rendered.html,
        text: rendered.text,
        headers: vec![],
        // A mail about nobody: what SES tells of it changes nothing.
        tags: vec![("notice", "test".to_owned())],
        calendar: None,
    };
    Mailer::new(cloud)?.send(outgoing).await?;
    let now = format::time(cloud.now(), funnel.time_zone);
    Ok(format!("{now} `{}` ({size} KB) → {}", mail.id, to.as_str()))
}
