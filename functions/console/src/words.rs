//! The console's words, in each language.

use std::collections::BTreeMap;

use content::Locale;

/// Words by section and name; the templates name them as `t.section.name`.
pub(crate) type Words = BTreeMap<String, BTreeMap<String, String>>;

/// The words of a language.
pub(crate) fn words(locale: Locale) -> Words {
    toml::from_str(source(locale)).expect("the embedded texts are read by this crate's tests")
}

fn source(locale: Locale) -> &'static str {
    match locale {
        Locale::Ja => include_str!("../texts/ja.toml"),
        Locale::En => include_str!("../texts/en.toml"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::event::FactKind;

    use super::*;
    use crate::{figures::COLUMNS, view::TEMPLATES};

    /// The places to be filled, in the order of their names.
    fn places(text: &str) -> Vec<String> {
        let names = text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0.to_owned()));
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    #[test]
    fn every_language_has_the_same_words_and_fills_in_the_same_values() {
        let shape = |locale: Locale| -> Vec<(String, String, Vec<String>)> {
            words(locale)
                .into_iter()
                .flat_map(|(section, words)| {
                    words.into_iter().map(move |(name, text)| (section.clone(), name, places(&text)))
                })
                .collect()
        };
        assert_eq!(shape(Locale::Ja), shape(Locale::En));
    }

    #[test]
    fn what_a_stored_reason_says_is_said_in_every_language() {
        for locale in Locale::ALL {
            let words = words(locale);
            for (form, text) in words["reasons"].iter().chain(&words["points"]) {
                assert_eq!(places(form), places(text), "{form}");
            }
        }
    }

    #[test]
    fn no_word_is_empty() {
        for locale in Locale::ALL {
            for (section, words) in words(locale) {
                assert!(words.values().all(|text| !text.trim().is_empty()), "{locale:?} {section}");
            }
        }
    }

    #[test]
    fn whatever_can_be_said_of_a_mail_has_words() {
        for locale in Locale::ALL {
            let words = words(locale);
            let said: BTreeSet<&str> = words["fates"].keys().map(String::as_str).collect();
            assert_eq!(said, domain::fate::SAID.into_iter().chain(["then"]).collect());
        }
    }

    #[test]
    fn every_figure_and_every_fact_has_a_name() {
        for locale in Locale::ALL {
            let words = words(locale);
            for column in &COLUMNS {
                assert!(
                    words["figures"].contains_key(column.id) && words["groups"].contains_key(column.group),
                    "{}",
                    column.id
                );
            }
            for kind in FactKind::ALL {
                assert!(words["moments"].contains_key(kind.as_str()), "{kind:?}");
            }
        }
    }

    #[test]
    fn every_word_of_the_pages_is_on_one() {
        let text: String = TEMPLATES.iter().flat_map(|(_, text)| [*text, "\n"]).collect();
        let named: BTreeSet<&str> = text
            .split("t.ui.")
            .skip(1)
            .map(|rest| rest.split(|c: char| c != '_' && !c.is_ascii_lowercase()).next().unwrap())
            .collect();
        assert_eq!(words(Locale::Ja)["ui"].keys().map(String::as_str).collect::<BTreeSet<_>>(), named);
    }
}
