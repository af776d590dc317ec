//! Names of things: short, safe in a URL, a mail tag and a schedule name.

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// An id: 1 to 64 of `a-z 0-9 -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(String);

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 of a-z, 0-9 and -")]
pub struct IdError;

impl Id {
    /// Checks.
    ///
    /// # Errors
    /// [`IdError`] if there is any other character, or none, or too many.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        fits.then(|| Self(text.to_owned())).ok_or(IdError)
    }

    /// An id that is the same whenever the parts are the same: the prefix, a dash and 26
    /// characters of the parts' SHA-256. This is what makes a repeated request find its own row.
    pub fn derived(prefix: &str, parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(format!("{prefix}-{}", short(&hash.finalize())))
    }

    /// An id from key material that already is uniformly distributed (a MAC): prefix, dash and
    /// 26 characters.
    pub fn from_bytes(prefix: &str, bytes: &[u8]) -> Self {
        Self(format!("{prefix}-{}", short(bytes)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn short(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes.get(..16).unwrap_or(bytes)).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_id_depends_on_every_part_and_its_borders() {
        assert_eq!(Id::derived("c", &["a", "b"]), Id::derived("c", &["a", "b"]));
        assert_ne!(Id::derived("c", &["a", "b"]), Id::derived("c", &["ab", ""]));
        assert!(Id::parse(Id::derived("c", &["a"]).as_str()).is_ok());
    }

    #[test]
    fn an_id_is_safe_everywhere() {
        for bad in ["", "A", "a_b", "a b", "a/b", "../x", "é", &"a".repeat(65)] {
            assert!(Id::parse(bad).is_err(), "{bad:?}");
        }
    }
}
