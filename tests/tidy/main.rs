//! Rules of the house that a program can check.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file of the repository with this ending, build output and caches left out.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                found.extend(files(&path, ending));
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn manifest(folder: &str) -> toml::Table {
    fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap().parse().unwrap()
}

fn dependencies(folder: &str) -> Vec<String> {
    manifest(folder)["dependencies"].as_table().unwrap().keys().cloned().collect()
}

#[test]
fn the_domain_knows_nothing_but_time_and_text() {
    let allowed = [
        "chrono",
        "chrono-tz",
        "data-encoding",
        "hmac",
        "serde",
        "sha2",
        "thiserror",
        "unicode-normalization",
    ];
    assert_eq!(dependencies("shared/domain"), allowed);
    // chrono's `now` is behind its feature `now` (or `clock`); the domain must not turn it on.
    let features = manifest("shared/domain")["dependencies"]["chrono"]["features"].clone();
    assert_eq!(features, toml::Value::try_from(["std", "serde"]).unwrap());
    let banned = fs::read_to_string(root().join("shared/domain/clippy.toml")).unwrap();
    for ban in ["SystemTime::now", "Utc::now", "env::var", "HashMap", "fs::read"] {
        assert!(banned.contains(ban), "{ban} is banned");
    }
    for file in files(&root().join("shared/domain/src"), ".rs") {
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            !text.contains("async ") && !text.contains(".await"),
            "{} waits for something",
            file.display()
        );
    }
}

#[test]
fn arrows_between_rooms_point_downwards() {
    for (room, may_know) in [
        ("shared/domain", &[][..]),
        ("shared/content", &["domain"]),
        ("shared/web", &["domain"]),
        ("shared/cloud", &["domain"]),
        ("shared/integrations", &["domain"]),
    ] {
        let rooms =
            ["domain", "content", "web", "cloud", "integrations", "michi", "relay", "delivery", "console"];
        let known: Vec<String> =
            dependencies(room).into_iter().filter(|name| rooms.contains(&name.as_str())).collect();
        assert_eq!(known, may_know, "{room}");
    }
}

#[test]
fn a_functions_main_only_starts_it() {
    for main in files(&root().join("functions"), "main.rs") {
        let lines = fs::read_to_string(&main).unwrap().lines().count();
        assert!(lines <= 30, "{} has {lines} lines", main.display());
    }
}

#[test]
fn every_package_takes_versions_and_lints_from_the_workspace() {
    for manifest in files(&root(), "Cargo.toml") {
        let text = fs::read_to_string(&manifest).unwrap();
        if manifest.parent() == Some(root().as_path()) {
            continue;
        }
        assert!(text.contains("[lints]\nworkspace = true"), "{}", manifest.display());
        assert!(text.contains("version.workspace = true"), "{}", manifest.display());
    }
}

#[test]
fn rooms_have_names_that_say_what_they_do() {
    for file in files(&root(), ".rs") {
        let path = file.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        for vague in ["util", "common", "helper", "manager", "misc"] {
            assert!(!path.contains(vague), "{path}");
        }
    }
}

#[test]
fn the_auditor_shares_no_code_with_the_product() {
    let text = fs::read_to_string(root().join("tests/simulation/src/auditor.rs")).unwrap();
    let used: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("use ")).collect();
    let may_use = ["std::", "chrono::", "chrono_tz::", "serde_json::", "crate::peers::Tally"];
    assert!(used.iter().all(|used| may_use.iter().any(|allowed| used.starts_with(allowed))), "{used:?}");
    for room in ["domain::", "cloud::", "content::", "michi::", "delivery::", "web::"] {
        assert!(!text.contains(room), "the auditor asks {room}");
    }
}
