//! Reads a funnel's directory. Everything that is wrong is collected, so that one reading tells
//! all; only a funnel without problems comes out.

mod config;
mod goals;
mod mails;
mod pages;
mod rates;
mod sequences;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use domain::id::Id;

use crate::funnel::Funnel;
use crate::problem::{Problem, Source};
use crate::reader::{At, Reader};

type Problems = Vec<Problem>;

impl Funnel {
    /// Reads and checks a funnel's directory.
    ///
    /// # Errors
    /// Everything that is wrong with it, in order of file and line. A broken funnel never starts.
    pub fn load(dir: &Path) -> Result<Self, Vec<Problem>> {
        let mut problems = vec![];
        let funnel = read(dir, &mut problems);
        problems.sort();
        problems.dedup();
        match funnel {
            Some(funnel) if problems.is_empty() => Ok(funnel),
            _ => Err(problems),
        }
    }
}

fn read(dir: &Path, problems: &mut Problems) -> Option<Funnel> {
    let config = file(dir, "funnel.toml", problems).and_then(|source| config::read(&source, problems));
    let goals = file(dir, "goals.toml", problems).and_then(|source| goals::read(&source, problems));
    let mails = mails::read(files(dir, "mails", "md", problems), problems);
    let pages = pages::read(files(dir, "pages", "md", problems), problems);
    let sequences = sequences::read(&files(dir, "sequences", "toml", problems), &mails, problems);
    let simulation = file(dir, "simulation.toml", problems).and_then(|source| rates::read(&source, problems));
    // What follows compares files; a broken file would only repeat its own problems there.
    if has_problems("funnel.toml", problems) {
        return None;
    }
    let config = config?;
    config.check_pages(&pages, problems);
    let funnel = Funnel {
        name: config.name,
        locale: config.locale,
        time_zone: config.time_zone,
        currency: config.currency,
        sender: config.sender,
        brand: config.brand,
        consent: config.consent,
        lead_magnets: config.lead_magnets.into_iter().map(|magnet| magnet.value).collect(),
        consultation: config.consultation,
        plans: config.plans,
        goals: goals?,
        sequences,
        simulation: simulation?,
        mails,
        pages,
    };
    rates::check_plans(&funnel, problems);
    pages::check_values(&funnel, problems);
    Some(funnel)
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
            problems.push(Problem {
                file: name.to_owned(),
                line: None,
                column: None,
                what,
                mend: mend.to_owned(),
            });
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
            problems.push(Problem {
                file,
                line: None,
                column: None,
                what: "the file is not UTF-8".into(),
                mend: "save it as UTF-8".into(),
            });
            None
        }
    }
}

/// The files of a folder, with the ids that their names are.
fn files(dir: &Path, folder: &str, extension: &str, problems: &mut Problems) -> Vec<(Id, Source)> {
    let Ok(entries) = fs::read_dir(dir.join(folder)) else {
        problems.push(Problem {
            file: folder.to_owned(),
            line: None,
            column: None,
            what: "the folder is missing".into(),
            mend: format!("add it, with its *.{extension} files"),
        });
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
            None => problems.push(Problem {
                file: path,
                line: None,
                column: None,
                what: "this file is not read".into(),
                mend: format!("name it `id.{extension}`, with an id of a-z, 0-9 and -, or move it elsewhere"),
            }),
        }
    }
    found
}

/// Whether something is already said about the file.
fn has_problems(file: &str, problems: &Problems) -> bool {
    problems.iter().any(|problem| problem.file == file)
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

fn parse_id(text: &str) -> Result<Id, String> {
    Id::parse(text).map_err(|error| format!("an id {error}"))
}
