//! What `michi` tells and does about one person: why she got a mail or did not, export, erasure.

use std::time::Duration;

use aws_smithy_runtime_api::client::{http::HttpConnector, orchestrator::HttpRequest};
use aws_smithy_types::body::SdkBody;
use chrono::NaiveDate;
use cloud::{Cloud, dossier::Dossier, erase, tables::Tables, timers::Timers};
use content::{Funnel, Locale};
use data_encoding::HEXLOWER;
use domain::{
    condition::Needs, consultation::ConsultationStatus, customer::CustomerStatus, erasure::Row, id::Id, time,
};

use crate::remote::{RemoteError, lead_id};

/// Why a person got, or did not get, her mails; only one of them if it is named.
///
/// # Errors
/// [`RemoteError`].
pub async fn why(
    cloud: &Cloud,
    funnel: &Funnel,
    person: &str,
    mail: Option<&str>,
) -> Result<String, RemoteError> {
    let (tables, lead_id) = (Tables::new(cloud), lead_id(cloud, person).await?);
    let all = Needs { ledger: true, timeline: true, enrolments: true };
    let known = tables.person(&lead_id, all).await?;
    let mut known = known.ok_or_else(|| RemoteError::NoLead(person.to_owned()))?;
    known.enrolments.sort_by_key(|enrolment| enrolment.enrolled_at);
    let programs = console::programs(&tables, funnel, &known.enrolments).await?;
    let told = console::why(funnel, Locale::En, &known, &programs, mail, cloud.now());
    told.ok_or_else(|| {
        let mails: Vec<&str> = funnel.mails().map(|mail| mail.id.as_str()).collect();
        RemoteError::NoMail(mail.unwrap_or_default().to_owned(), mails.join(", "))
    })
}

/// Everything that is kept on a person, as one JSON document (GDPR art. 15 and 20).
///
/// # Errors
/// [`RemoteError`].
pub async fn export(cloud: &Cloud, person: &str) -> Result<String, RemoteError> {
    let dossier = dossier(cloud, person).await?;
    Ok(serde_json::to_string_pretty(&dossier)?)
}

/// What [`erase()`] would do to a person's data.
///
/// # Errors
/// [`RemoteError`].
pub async fn what_goes(cloud: &Cloud, person: &str) -> Result<String, RemoteError> {
    let lead_id = lead_id(cloud, person).await?;
    if let Some(Row::Erased(erased)) = Tables::new(cloud).lead_row(&lead_id).await? {
        let at = time::iso(erased.erased_at);
        return Ok(match erased.rest {
            Some(_) => format!("{lead_id}: the erasure that began at {at} was broken off; --yes finishes it"),
            None => format!("{lead_id} was erased at {at}"),
        });
    }
    let dossier = dossier(cloud, person).await?;
    let now = cloud.now();
    let consultations = &dossier.consultations;
    let ahead = consultations.iter().filter(|consultation| {
        consultation.status == ConsultationStatus::Booked && consultation.scheduled_date > now
    });
    let mut told = vec![
        format!("{} would be erased for good (say --yes):", dossier.lead.lead_id),
        "  her row; a mark without personal data takes its place".to_owned(),
        format!("  {} mails in the ledger", dossier.mails.len()),
        format!("  {} enrolments and their timers", dossier.enrolments.len()),
        format!("  {} consultations", consultations.len()),
        format!("  {} tasks", dossier.tasks.len()),
        "and would stay, without her:".to_owned(),
        format!("  {} facts, so that figures stay what they are", dossier.facts.len()),
        format!("  {} purchases, for the books", dossier.purchases.len()),
    ];
    told.extend(ahead.map(|consultation| {
        format!(
            "! the consultation with {} at {} would be called off without a mail",
            consultation.host,
            time::iso(consultation.scheduled_date)
        )
    }));
    let runs = |until: NaiveDate| until >= now.date_naive();
    let running = dossier.purchases.iter();
    let running = running.filter(|bought| bought.status == CustomerStatus::Active && runs(bought.end_date));
    told.extend(running.map(|bought| {
        format!(
            "! she is a customer ({}) until {}: what the contract needs may have to be kept",
            bought.plan, bought.end_date
        )
    }));
    // What still is to be listed is not in it yet, and goes with her row.
    let reason = dossier.lead.suppression.and_then(|suppression| suppression.cause.list_reason());
    if reason.is_some() && dossier.lead.to_list.is_none() {
        told.push(
            "! SES's suppression list, where we put her address, keeps it in clear: `michi reopen` before \
             erasing takes it off"
                .to_owned(),
        );
    }
    Ok(told.join("\n"))
}

/// Erases a person. It may be broken off and begun again. `settles` is how long functions that
/// have read her row may still be at work.
///
/// # Errors
/// [`RemoteError`]; begin again.
pub async fn erase(cloud: &Cloud, person: &str, settles: Duration) -> Result<String, RemoteError> {
    let (tables, timers) = (Tables::new(cloud), Timers::new(cloud)?);
    let lead_id = lead_id(cloud, person).await?;
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| RemoteError::Random(error.to_string()))?;
    let key = HEXLOWER.encode(&random);
    let begun = erase::begin(&tables, &timers, &lead_id, &key, cloud.now()).await?;
    let mark = begun.ok_or_else(|| RemoteError::NoLead(person.to_owned()))?;
    tokio::time::sleep(settles).await;
    erase::finish(&tables, &timers, &mark, cloud.now()).await?;
    Ok(format!("{lead_id} is erased"))
}

/// Takes a person's mails out of the outbox of `michi dev` on this machine.
///
/// # Errors
/// [`RemoteError`] if it did not answer that it did.
pub async fn empty_outbox(cloud: &Cloud, port: u16, person: &str) -> Result<(), RemoteError> {
    let lead_id = lead_id(cloud, person).await?;
    let failed = |error: &dyn std::fmt::Display| RemoteError::Outbox(error.to_string());
    let mut request = HttpRequest::new(SdkBody::empty());
    request.set_method("DELETE").map_err(|error| failed(&error))?;
    request
        .set_uri(format!("http://127.0.0.1:{port}/local/mails?lead_id={lead_id}"))
        .map_err(|error| failed(&error))?;
    match cloud.http.call(request).await.map_err(|error| failed(&error))?.status().as_u16() {
        200..=299 => Ok(()),
        status => Err(failed(&status)),
    }
}

async fn dossier(cloud: &Cloud, person: &str) -> Result<Dossier, RemoteError> {
    let lead_id: Id = lead_id(cloud, person).await?;
    let dossier = Tables::new(cloud).dossier(&lead_id, cloud.now()).await?;
    dossier.ok_or_else(|| RemoteError::NoLead(person.to_owned()))
}
