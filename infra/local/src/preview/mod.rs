//! `michi preview`: every mail of a funnel in the browser, for a sample person, while its files are
//! being written.

pub mod sample;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    extract::{Path as Segment, Query, State},
    http::{HeaderMap, StatusCode, header::HOST},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use chrono::Utc;
use content::{Funnel, Mail, funnel::AttributeKind, problem::Severity};
use minijinja::{Environment, context};
use sample::Sample;
use sha2::{Digest, Sha256};

use crate::server;

/// Base URL of the links in previewed mails: they lead nowhere.
const PUBLIC_URL: &str = "https://michi.example.com";

/// The preview's pages.
struct Preview {
    funnel: PathBuf,
    templates: Environment<'static>,
}

/// Shows the mails until Ctrl-C.
///
/// # Errors
/// If the port is taken or the server stops.
pub async fn serve(funnel: PathBuf, port: u16) -> std::io::Result<()> {
    let listener = server::listen(port).await?;
    let port = listener.local_addr()?.port();
    let _ = writeln!(
        std::io::stdout(),
        "\n  {} のメール / mails: http://localhost:{port}/\n  保存するとすぐに反映されます。 Saved files show at once. Ctrl-C で終了します。\n",
        funnel.display()
    );
    axum::serve(listener, router(funnel)).await
}

/// The preview as a router.
pub fn router(funnel: PathBuf) -> Router {
    let mut templates = Environment::new();
    for (name, text) in [
        ("list.html", include_str!("list.html")),
        ("mail.html", include_str!("mail.html")),
        ("problems.html", include_str!("problems.html")),
    ] {
        templates.add_template(name, text).expect("the embedded templates are read by this crate's tests");
    }
    Router::new()
        .route("/", get(list))
        .route("/version", get(version))
        .route("/mails/{id}", get(mail))
        .route("/mails/{id}/html", get(mail_html))
        .with_state(Arc::new(Preview { funnel, templates }))
}

type Shared = State<Arc<Preview>>;
type Parameters = Query<BTreeMap<String, String>>;

impl Preview {
    /// The funnel as it is on disk at this moment, or the page that says what is wrong with it.
    fn load(&self, headers: &HeaderMap) -> Result<Funnel, Box<Response>> {
        // A page elsewhere could give its own name this machine's address.
        if !headers.get(HOST).is_some_and(server::names_this_machine) {
            return Err(Box::new(StatusCode::MISDIRECTED_REQUEST.into_response()));
        }
        let checked = content::check(&self.funnel);
        checked.funnel.ok_or_else(|| {
            let problems: Vec<String> = checked
                .problems
                .iter()
                .filter(|problem| problem.severity == Severity::Error)
                .map(ToString::to_string)
                .collect();
            let version = fingerprint(&self.funnel);
            Box::new(self.page("problems.html", context! { problems, version }))
        })
    }

    fn page(&self, name: &str, shown: minijinja::Value) -> Response {
        match self.templates.get_template(name).and_then(|template| template.render(shown)) {
            Ok(html) => Html(html).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

async fn version(State(preview): Shared) -> String {
    fingerprint(&preview.funnel)
}

async fn list(State(preview): Shared, headers: HeaderMap) -> Response {
    let funnel = match preview.load(&headers) {
        Ok(funnel) => funnel,
        Err(page) => return *page,
    };
    let sample = Sample::known(&funnel);
    let mails: Vec<_> = funnel
        .mails()
        .map(|mail| {
            let rendered = sample.render(&funnel, mail, PUBLIC_URL, Utc::now());
            let (subject, preheader, size) = match &rendered {
                Ok(mail) => (mail.subject.clone(), mail.preheader.clone(), mail.html.len() / 1024),
                Err(problem) => (problem.to_string(), String::new(), 0),
            };
            context! { id => mail.id.as_str(), subject, preheader, size, sent_by => sent_by(&funnel, mail) }
        })
        .collect();
    preview
        .page("list.html", context! { funnel => funnel.name, mails, version => fingerprint(&preview.funnel) })
}

async fn mail(
    State(preview): Shared,
    Segment(id): Segment<String>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Response {
    let funnel = match preview.load(&headers) {
        Ok(funnel) => funnel,
        Err(page) => return *page,
    };
    let Some(mail) = funnel.mails().find(|mail| mail.id.as_str() == id) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let sample = sample(&funnel, &query);
    let rendered = match sample.render(&funnel, mail, PUBLIC_URL, Utc::now()) {
        Ok(rendered) => rendered,
        Err(problem) => {
            let problems = vec![problem.to_string()];
            return preview
                .page("problems.html", context! { problems, version => fingerprint(&preview.funnel) });
        }
    };
    let attributes: Vec<_> = funnel
        .attributes
        .iter()
        .map(|attribute| {
            let value = sample.attributes.get(attribute.id.as_str()).cloned().unwrap_or_default();
            let choices = match &attribute.kind {
                AttributeKind::Choice(choices) => choices.clone(),
                AttributeKind::Text | AttributeKind::Number => vec![],
            };
            context! { id => attribute.id.as_str(), name => attribute.name.clone(), value, choices }
        })
        .collect();
    let ids: Vec<&str> = funnel.mails().map(|mail| mail.id.as_str()).collect();
    let at = ids.iter().position(|other| *other == id).unwrap_or(0);
    preview.page(
        "mail.html",
        context! {
            id,
            subject => rendered.subject,
            preheader => rendered.preheader,
            from => format!("{} <{}>", rendered.from.name, rendered.from.address.as_str()),
            text => rendered.text,
            size => rendered.html.len() / 1024,
            sent_by => sent_by(&funnel, mail),
            name => sample.name,
            tags => sample.tags.join(" "),
            attributes,
            query => encoded(&query),
            before => at.checked_sub(1).and_then(|at| ids.get(at)).copied(),
            after => ids.get(at + 1).copied(),
            version => fingerprint(&preview.funnel),
        },
    )
}

async fn mail_html(
    State(preview): Shared,
    Segment(id): Segment<String>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Response {
    let funnel = match preview.load(&headers) {
        Ok(funnel) => funnel,
        Err(page) => return *page,
    };
    let rendered = funnel
        .mails()
        .find(|mail| mail.id.as_str() == id)
        .map(|mail| sample(&funnel, &query).render(&funnel, mail, PUBLIC_URL, Utc::now()));
    match rendered {
        Some(Ok(mail)) => Html(mail.html).into_response(),
        Some(Err(problem)) => problem.to_string().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The person that the form describes; somebody well known if it was not sent yet.
fn sample(funnel: &Funnel, query: &BTreeMap<String, String>) -> Sample {
    if !query.contains_key("name") {
        return Sample::known(funnel);
    }
    let attributes = query.iter().filter_map(|(field, value)| {
        let name = field.strip_prefix("attribute_")?;
        (!value.is_empty()).then(|| (name.to_owned(), value.clone()))
    });
    let tags = query.get("tags").map(String::as_str).unwrap_or_default();
    Sample {
        name: query.get("name").cloned().unwrap_or_default(),
        attributes: attributes.collect(),
        tags: tags.split_whitespace().map(str::to_owned).collect(),
    }
}

fn encoded(query: &BTreeMap<String, String>) -> String {
    serde_urlencoded::to_string(query).unwrap_or_default()
}

/// Which steps send the mail.
fn sent_by(funnel: &Funnel, mail: &Mail) -> Vec<String> {
    let steps = funnel
        .all_sequences()
        .flat_map(|sequence| sequence.program.steps.iter().map(move |step| (sequence, step)));
    steps
        .filter(|(_, step)| step.mail() == Some(&mail.id))
        .map(|(sequence, step)| format!("{}/{}", sequence.id, step.id))
        .collect()
}

/// Changes whenever a file of the funnel does.
fn fingerprint(funnel: &Path) -> String {
    let mut hash = Sha256::new();
    let mut folders = vec![funnel.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                hash.update(path.to_string_lossy().as_bytes());
                hash.update(bytes);
            }
        }
    }
    data_encoding::HEXLOWER.encode(hash.finalize().get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests;
