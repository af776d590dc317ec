//! Reads a funnel's directory. Everything that is wrong is collected, so that one reading tells
//! all; only a funnel without errors comes out.

mod broadcasts;
mod clock;
mod config;
mod goals;
mod lints;
mod mails;
mod pages;
mod rates;
mod scores;
mod segments;
mod sequences;
mod steps;
mod triggers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use chrono::NaiveDateTime;
use domain::id::Id;
use domain::score::Scoring;

use crate::condition::{Given, Names};
use crate::funnel::Funnel;
use crate::mail::Mail;
use crate::problem::{Problem, Source, suggest};
use crate::reader::{At, Reader, parse};
use crate::simulation::Simulation;
use config::Config;

type Problems = Vec<Problem>;

/// A funnel's directory as it was found.
#[derive(Debug)]
pub struct Checked {
    /// In order of file and line.
    pub problems: Vec<Problem>,
    /// None if one of the problems is an error.
    pub funnel: Option<Funnel>,
}

/// Reads and checks a funnel's directory, and lays out every mail for everybody who may get it.
pub fn check(dir: &Path) -> Checked {
    let mut checked = checked(dir);
    if let Some(funnel) = &checked.funnel {
        mails::lay_out(funnel, &mut checked.problems);
    }
    checked.sorted()
}

fn checked(dir: &Path) -> Checked {
    let mut problems = vec![];
    let funnel = read(dir, &mut problems);
    Checked { problems, funnel }.sorted()
}

impl Checked {
    fn sorted(mut self) -> Self {
        self.problems.sort();
        self.problems.dedup();
        let broken = self.problems.iter().any(Problem::is_error);
        Self { funnel: self.funnel.filter(|_| !broken), problems: self.problems }
    }
}

impl Funnel {
    /// Reads a funnel's directory and checks its files. Warnings do not matter here, and the mails are
    /// laid out when they are first made: [`check`] has done that before a funnel is deployed, and a
    /// cold start has no time for it.
    ///
    /// # Errors
    /// Everything that is wrong with the files, in order of file and line. A broken funnel never
    /// starts.
    pub fn load(dir: &Path) -> Result<Self, Vec<Problem>> {
        let Checked { problems, funnel } = checked(dir);
        funnel.ok_or_else(|| problems.into_iter().filter(Problem::is_error).collect())
    }
}

/// What sequences, scores and broadcasts may speak of.
#[derive(Clone, Copy)]
struct Ground<'a> {
    config: &'a Config,
    names: &'a Names,
    mails: &'a BTreeMap<Id, Mail>,
    /// What the funnel's clocks skip.
    gaps: &'a [(NaiveDateTime, NaiveDateTime)],
}

fn read(dir: &Path, problems: &mut Problems) -> Option<Funnel> {
    let config = file(dir, "funnel.toml", problems).and_then(|source| config::read(&source, problems));
    let goals = file(dir, "goals.toml", problems).and_then(|source| goals::read(&source, problems));
    // The other files speak of what is in `funnel.toml`.
    let config = config.filter(|config| config.names_are_known)?;
    let files = Files::find(dir, problems);
    let simulation = file(dir, "simulation.toml", problems)
        .and_then(|source| rates::read(&source, &config, &files, problems));
    let sequences = sequences::parse_all(&files.sequences, problems);
    let broadcasts = sequences::parse_all(&files.broadcasts, problems);
    let mut names = names(&config, &files, simulation.as_ref());
    // Where a file can't be read, what it gives is not known.
    if sequences.len() == files.sequences.len() && broadcasts.len() == files.broadcasts.len() {
        let mut given = Given::default();
        sequences::given(&sequences, &mut given);
        broadcasts::given(&broadcasts, &mut given);
        names.given = Some(given);
    }
    let scores_file = optional_file(dir, "scores.toml", problems);
    let segments_file = optional_file(dir, "segments.toml", problems);
    let words = files.words([&scores_file, &segments_file]);
    let scores = scores_file.as_ref().and_then(|source| Some((source, parse(source, problems)?)));
    let mut scores = scores.as_ref().map(|(source, table)| Reader::file(source, table));
    let bands = scores.as_mut().map(|reader| scores::bands(reader, problems)).unwrap_or_default();
    names.bands = scores::spans(&bands);
    let segments =
        segments_file.map(|source| segments::read(&source, &mut names, problems)).unwrap_or_default();
    let declared = config.declared();
    let mails = mails::read(files.mails, files.snippets, &names, Some(&declared), problems);
    let pages = pages::read(files.pages, Some(&declared), problems);
    config.check_pages(&pages, problems);
    let gaps = config.basics.as_ref().map(|basics| clock::gaps(basics.time_zone)).unwrap_or_default();
    let ground = Ground { config: &config, names: &names, mails: &mails, gaps: &gaps };
    let mut scoring =
        scores.map_or_else(Scoring::default, |reader| scores::read(reader, bands, ground, problems));
    let sequences = sequences::read(&sequences, ground, problems);
    scoring.thresholds = scores::thresholds(&sequences);
    let broadcasts = broadcasts::read(&broadcasts, ground, problems);
    // The whole says more than its parts only if these are fine.
    if !problems.iter().any(Problem::is_error) {
        let (sequences, scoring, pages) = (&sequences, &scoring, &pages);
        lints::Whole { ground, sequences, scoring, pages, words: &words }.check(problems);
    }
    // What follows makes use of all that `funnel.toml` says.
    let basics = config.basics.filter(|_| !has_errors("funnel.toml", problems))?;
    let funnel = Funnel {
        name: basics.name,
        locale: basics.locale,
        time_zone: basics.time_zone,
        currency: basics.currency,
        sender: basics.sender,
        senders: config.senders,
        brand: basics.brand,
        consent: basics.consent,
        double_opt_in: config.double_opt_in,
        topics: config.topics,
        attributes: names.attributes,
        facts: config.facts.into_iter().map(|fact| fact.value).collect(),
        dates: config.dates,
        team: config.team,
        cap: config.cap,
        retention: config.retention,
        lead_magnets: config.lead_magnets.into_iter().map(|magnet| magnet.value).collect(),
        consultation: config.consultation,
        plans: config.plans,
        goals: goals?,
        sequences,
        scoring,
        segments,
        broadcasts,
        simulation: simulation?,
        layout: optional_file(dir, "layout.mjml", problems).map(|source| source.text),
        mails,
        pages,
    };
    pages::check_values(&funnel, &declared, problems);
    Some(funnel)
}

/// The files of the folders.
struct Files {
    mails: Vec<(Id, Source)>,
    pages: Vec<(Id, Source)>,
    sequences: Vec<(Id, Source)>,
    broadcasts: Vec<(Id, Source)>,
    snippets: Vec<(Id, Source)>,
}

impl Files {
    fn find(dir: &Path, problems: &mut Problems) -> Self {
        let mut optional = |folder: &str, extension: &str| {
            if dir.join(folder).exists() { files(dir, folder, extension, problems) } else { vec![] }
        };
        let (broadcasts, snippets) = (optional("broadcasts", "toml"), optional("snippets", "md"));
        Self {
            mails: files(dir, "mails", "md", problems),
            pages: files(dir, "pages", "md", problems),
            sequences: files(dir, "sequences", "toml", problems),
            broadcasts,
            snippets,
        }
    }

    /// The text of everything that can make use of something.
    fn words(&self, more: [&Option<Source>; 2]) -> String {
        let folders = [&self.mails, &self.pages, &self.sequences, &self.broadcasts, &self.snippets];
        let files = folders.into_iter().flatten().map(|(_, source)| source);
        let texts = files.chain(more.into_iter().flatten()).map(|source| source.text.as_str());
        texts.collect::<Vec<_>>().join("\n")
    }
}

/// What conditions may speak of, as far as it is known before one is read.
fn names(config: &Config, files: &Files, simulation: Option<&Simulation>) -> Names {
    let sources = simulation.into_iter().flat_map(|simulation| &simulation.sources);
    Names {
        mails: ids(&files.mails),
        pages: ids(&files.pages),
        sequences: ids(&files.sequences),
        snippets: ids(&files.snippets),
        attributes: config.attributes.iter().map(|attribute| attribute.value.clone()).collect(),
        facts: config.facts.iter().map(|fact| fact.value.id.clone()).collect(),
        lead_magnets: config.lead_magnets.iter().map(|magnet| magnet.value.id.clone()).collect(),
        sources: sources.map(|(source, _)| source.clone()).collect(),
        mail_texts: mail_texts(&files.mails, &files.snippets),
        ..Names::default()
    }
}

/// The words of each mail, with those of the snippets in it.
fn mail_texts(mails: &[(Id, Source)], snippets: &[(Id, Source)]) -> BTreeMap<Id, String> {
    let texts = mails.iter().map(|(id, mail)| {
        let included = snippets.iter().filter(|(snippet, _)| {
            [format!("include \"{snippet}\""), format!("include '{snippet}'")]
                .iter()
                .any(|include| mail.text.contains(include))
        });
        let parts =
            std::iter::once(mail.text.as_str()).chain(included.map(|(_, snippet)| snippet.text.as_str()));
        (id.clone(), parts.collect::<Vec<_>>().join("\n"))
    });
    texts.collect()
}

fn ids(files: &[(Id, Source)]) -> BTreeSet<Id> {
    files.iter().map(|(id, _)| id.clone()).collect()
}

/// A file that may be missing.
fn optional_file(dir: &Path, name: &str, problems: &mut Problems) -> Option<Source> {
    if dir.join(name).exists() { file(dir, name, problems) } else { None }
}

fn file(dir: &Path, name: &str, problems: &mut Problems) -> Option<Source> {
    match fs::read(dir.join(name)) {
        Ok(bytes) => text(name.to_owned(), bytes, problems),
        Err(error) => {
            let (what, mend) = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    ("the file is missing".to_owned(), "add it; funnels/coaching has one to start from")
                }
                _ => (format!("the file can't be read: {error}"), "check its permissions"),
            };
            problems.push(Problem::of_file(name, what, mend));
            None
        }
    }
}

fn text(file: String, bytes: Vec<u8>, problems: &mut Problems) -> Option<Source> {
    match String::from_utf8(bytes) {
        Ok(text) => Some(Source {
            file,
            text: text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text).replace("\r\n", "\n"),
        }),
        Err(_) => {
            problems.push(Problem::of_file(file, "the file is not UTF-8", "save it as UTF-8"));
            None
        }
    }
}

/// The files of a folder, with the ids that their names are.
fn files(dir: &Path, folder: &str, extension: &str, problems: &mut Problems) -> Vec<(Id, Source)> {
    let Ok(entries) = fs::read_dir(dir.join(folder)) else {
        let mend = format!("add it, with its *.{extension} files");
        problems.push(Problem::of_file(folder, "the folder is missing", mend));
        return vec![];
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !name.ends_with('~'))
        .collect();
    names.sort();
    let mut found = vec![];
    for name in names {
        let path = format!("{folder}/{name}");
        let id = name
            .strip_suffix(extension)
            .and_then(|stem| stem.strip_suffix('.'))
            .and_then(|stem| Id::parse(stem).ok());
        match id {
            Some(id) => found.extend(file(dir, &path, problems).map(|source| (id, source))),
            None => problems.push(Problem::of_file(
                path,
                "this file is not read",
                format!("name it `id.{extension}`, with an id of a-z, 0-9 and -, or move it elsewhere"),
            )),
        }
    }
    found
}

/// Whether something is already wrong with the file: it need not be said again elsewhere.
fn has_errors(file: &str, problems: &Problems) -> bool {
    problems.iter().any(|problem| problem.file == file && problem.is_error())
}

/// A Markdown file's two halves: the table between `+++` lines, and the body with its first line.
/// The table keeps its place in the file, so that problems are reported at the right line.
struct FrontMatter {
    table: Source,
    body: String,
    body_line: usize,
}

fn front_matter(source: &Source, problems: &mut Problems) -> Option<FrontMatter> {
    let halves = source.text.strip_prefix("+++\n").and_then(|rest| {
        rest.split_once("\n+++\n").or_else(|| rest.strip_suffix("\n+++").map(|table| (table, "")))
    });
    let Some((table, body)) = halves else {
        problems.push(source.problem_in_line(
            1,
            "no front matter",
            "begin the file with a `+++` line, TOML, and another `+++` line",
        ));
        return None;
    };
    let body_line = 2 + table.matches('\n').count() + 2;
    Some(FrontMatter {
        table: Source { file: source.file.clone(), text: format!("\n{table}\n") },
        body: body.to_owned(),
        body_line,
    })
}

/// An id under `id`, different from those before it.
fn unique_id(
    reader: &mut Reader<'_>,
    example: &str,
    seen: &mut BTreeSet<Id>,
    problems: &mut Problems,
) -> Option<At<Id>> {
    let id = reader.parsed("id", example, parse_id, problems)?;
    if !seen.insert(id.value.clone()) {
        problems.push(reader.source().problem(
            &id.span,
            format!("`{}` is there twice", id.value),
            "give each its own id",
        ));
    }
    Some(id)
}

/// An id that must be one of those known.
fn known_id<'k>(
    reader: &mut Reader<'_>,
    key: &'static str,
    kind: &str,
    known: impl IntoIterator<Item = &'k Id>,
    problems: &mut Problems,
) -> Option<Id> {
    let known: Vec<&str> = known.into_iter().map(Id::as_str).collect();
    let id = reader.parsed(key, known.first().unwrap_or(&"…"), parse_id, problems)?;
    if known.contains(&id.value.as_str()) {
        return Some(id.value);
    }
    problems.push(reader.source().problem(
        &id.span,
        format!("there is no {kind} `{}`", id.value),
        suggest(id.value.as_str(), known),
    ));
    None
}

fn parse_id(text: &str) -> Result<Id, String> {
    Id::parse(text).map_err(|error| format!("an id {error}"))
}
