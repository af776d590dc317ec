//! The words of the mails' frame and of the pages, in each language.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// A language in which Michi's own words exist. The funnel's texts are in its own language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Locale {
    Ja,
    En,
}

impl Locale {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Ja, Self::En];

    /// The language tag, as in HTML's `lang`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ja => "ja",
            Self::En => "en",
        }
    }

    /// Michi's words in this language.
    pub(crate) fn texts(self) -> &'static Texts {
        static JA: LazyLock<Texts> = LazyLock::new(|| read(include_str!("../texts/ja.toml")));
        static EN: LazyLock<Texts> = LazyLock::new(|| read(include_str!("../texts/en.toml")));
        match self {
            Self::Ja => &JA,
            Self::En => &EN,
        }
    }
}

fn read(toml: &str) -> Texts {
    toml::from_str(toml).expect("the embedded texts are read by this crate's tests")
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Texts {
    pub(crate) mail: MailTexts,
    /// What the templates of the pages name.
    pub(crate) page: BTreeMap<String, String>,
    pub(crate) errors: ErrorTexts,
    pub(crate) messages: MessageTexts,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MailTexts {
    pub(crate) why_marketing: String,
    pub(crate) why_transactional: String,
    pub(crate) preferences: String,
    pub(crate) unsubscribe: String,
    pub(crate) sender: String,
    pub(crate) address: String,
    pub(crate) contact: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErrorTexts {
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) attribute_text: String,
    pub(crate) attribute_number: String,
    pub(crate) attribute_choice: String,
    pub(crate) consent: String,
    pub(crate) consent_changed: String,
    pub(crate) lead_magnet: String,
    pub(crate) slot: String,
    pub(crate) slot_taken: String,
    pub(crate) note: String,
    pub(crate) plan: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageTexts {
    pub(crate) not_found: MessageText,
    pub(crate) link_invalid: MessageText,
    pub(crate) link_expired: MessageText,
    pub(crate) link_outdated: MessageText,
    pub(crate) closed: MessageText,
    pub(crate) bad_request: MessageText,
    pub(crate) unavailable: MessageText,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageText {
    pub(crate) title: String,
    pub(crate) text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(prefix: &str, table: &toml::Table, to: &mut BTreeMap<String, Vec<String>>) {
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) => texts(&format!("{prefix}{key}."), inner, to),
                text => drop(to.insert(format!("{prefix}{key}"), places(text.as_str().unwrap()))),
            }
        }
    }

    /// The values that a text is filled in with.
    fn places(text: &str) -> Vec<String> {
        text.split('{')
            .skip(1)
            .filter_map(|rest| rest.split_once('}'))
            .map(|(place, _)| place.to_owned())
            .collect()
    }

    #[test]
    fn every_language_has_the_same_words_and_fills_in_the_same_values() {
        let all = |text: &str| {
            let mut all = BTreeMap::new();
            texts("", &text.parse().unwrap(), &mut all);
            all
        };
        assert_eq!(all(include_str!("../texts/ja.toml")), all(include_str!("../texts/en.toml")));
        for locale in Locale::ALL {
            assert!(!locale.texts().messages.not_found.title.is_empty());
        }
    }
}
