//! The pages' templates and words. What a mail or a form brought never becomes markup.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use content::Locale;
use minijinja::value::Serde;
use minijinja::{Environment, Error, UndefinedBehavior, Value, context};
use serde::Serialize;
use sha2::{Digest, Sha256};

const TEMPLATES: [(&str, &str); 8] = [
    ("frame.html", include_str!("templates/frame.html")),
    ("start.html", include_str!("templates/start.html")),
    ("inbox.html", include_str!("templates/inbox.html")),
    ("badges.html", include_str!("templates/badges.html")),
    ("mail.html", include_str!("templates/mail.html")),
    ("people.html", include_str!("templates/people.html")),
    ("checkout.html", include_str!("templates/checkout.html")),
    ("problem.html", include_str!("templates/problem.html")),
];

/// Makes a mail's frame as high as the mail.
const SCRIPT: &str = include_str!("templates/frame.js");

/// Words by section and name; the templates name them as `t.section.name`.
type Words = BTreeMap<String, BTreeMap<String, String>>;

fn words(locale: Locale) -> Words {
    let source = match locale {
        Locale::Ja => include_str!("texts/ja.toml"),
        Locale::En => include_str!("texts/en.toml"),
    };
    toml::from_str(source).expect("the embedded texts are read by this crate's tests")
}

/// Anything as the templates see it.
pub(super) fn value(shown: impl Serialize) -> Value {
    Value::from(Serde(shown))
}

/// What every page shows.
#[derive(Debug, Serialize)]
pub(super) struct Around<'a> {
    /// Path and query of the page.
    pub(super) place: &'a str,
    /// The time in the funnel's zone, for people.
    pub(super) now: String,
    /// The same as RFC 3339.
    pub(super) instant: String,
    pub(super) zone: String,
}

/// The templates.
pub(super) struct View {
    environment: Environment<'static>,
    words: BTreeMap<&'static str, Value>,
    policy: String,
}

impl View {
    /// Reads the templates.
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // An error's text must never carry the values around it into the log.
        environment.set_debug(false);
        for (name, text) in TEMPLATES {
            environment
                .add_template(name, text)
                .expect("the embedded templates are read by this crate's tests");
        }
        environment
            .add_global("style", Value::from_safe_string(include_str!("templates/style.css").to_owned()));
        environment.add_global("script", Value::from_safe_string(SCRIPT.to_owned()));
        let hash = STANDARD.encode(Sha256::digest(SCRIPT));
        Self {
            environment,
            words: Locale::ALL.into_iter().map(|locale| (locale.as_str(), value(words(locale)))).collect(),
            policy: format!(
                "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; frame-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
            ),
        }
    }

    /// What the pages may load and run.
    pub(super) fn policy(&self) -> &str {
        &self.policy
    }

    /// Makes a page.
    pub(super) fn render(
        &self,
        template: &str,
        locale: Locale,
        around: &Around<'_>,
        page: &Value,
    ) -> Result<String, Error> {
        let words = self.words.get(locale.as_str());
        let template = self.environment.get_template(template)?;
        template.render(context! { lang => locale.as_str(), t => words, around => value(around), page })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_the_same_words_and_fills_in_the_same_values() {
        let shape = |locale: Locale| -> Vec<(String, String, usize)> {
            let places = |text: &str| text.matches('{').count();
            let sections = words(locale).into_iter();
            sections
                .flat_map(|(section, words)| {
                    words.into_iter().map(move |(name, text)| (section.clone(), name, places(&text)))
                })
                .collect()
        };
        assert_eq!(shape(Locale::Ja), shape(Locale::En));
        assert!(Locale::ALL.into_iter().all(|locale| {
            words(locale).values().flat_map(BTreeMap::values).all(|text| !text.trim().is_empty())
        }));
    }
}
