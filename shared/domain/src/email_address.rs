//! A mail address that can be written to, and its identity.

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::limits::{EMAIL_BYTES, EMAIL_LOCAL_BYTES};

/// Why an address was refused. The message never repeats the address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmailAddressError {
    /// Nothing given.
    #[error("enter a mail address")]
    Empty,
    /// A line break or control character: it could break out of a mail header.
    #[error("must not contain line breaks or control characters")]
    ControlCharacter,
    /// Not of the form `name@domain.tld`.
    #[error("must look like name@example.com")]
    Shape,
    /// Longer than mail servers accept.
    #[error("is longer than {EMAIL_BYTES} characters")]
    TooLong,
}

/// A mail address. Full-width letters, as Japanese keyboards produce them, are folded; the domain
/// is lower case; the part before the `@` is kept as typed, since only its owner knows whether
/// case matters there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Trims, folds and checks an address.
    ///
    /// # Errors
    /// [`EmailAddressError`] naming what to mend. Quoted local parts, address literals and
    /// internationalised local parts are refused: SES does not send to them.
    pub fn parse(text: &str) -> Result<Self, EmailAddressError> {
        if text.trim_matches([' ', '\u{3000}']).chars().any(char::is_control) {
            return Err(EmailAddressError::ControlCharacter);
        }
        let text: String = text.trim().nfkc().collect();
        if text.is_empty() {
            return Err(EmailAddressError::Empty);
        }
        if text.len() > EMAIL_BYTES {
            return Err(EmailAddressError::TooLong);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(EmailAddressError::Shape)?;
        if local.len() > EMAIL_LOCAL_BYTES {
            return Err(EmailAddressError::TooLong);
        }
        if !is_local_part(local) || !is_domain(domain) {
            return Err(EmailAddressError::Shape);
        }
        Ok(Self(format!("{local}@{}", domain.to_ascii_lowercase())))
    }

    /// The address to write to.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What makes two addresses the same person's: everything in lower case. Tags and dots are
    /// kept, since whether they matter is up to each provider.
    pub fn identity(&self) -> String {
        self.0.to_lowercase()
    }
}

fn is_local_part(local: &str) -> bool {
    // Dots in odd places are against RFC 5321, but Japanese carriers gave out such addresses
    // and still deliver to them; SES takes them only quoted, so they are refused here too.
    !local.is_empty()
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && local.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~.-".contains(&b))
}

fn is_domain(domain: &str) -> bool {
    let labels: Vec<&str> = domain.split('.').collect();
    labels.len() >= 2
        && labels.iter().all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
        && labels.last().is_some_and(|top| top.len() >= 2 && !top.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_exists_can_be_written_to() {
        for (given, expected) in [
            ("hanako@example.com", Ok("hanako@example.com")),
            ("  Hanako+michi@Example.CO.jp ", Ok("Hanako+michi@example.co.jp")),
            ("ｈａｎａｋｏ＠ｅｘａｍｐｌｅ．ｃｏｍ", Ok("hanako@example.com")),
            ("", Err(EmailAddressError::Empty)),
            ("hanako", Err(EmailAddressError::Shape)),
            ("hanako@localhost", Err(EmailAddressError::Shape)),
            ("@example.com", Err(EmailAddressError::Shape)),
            ("a..b@example.com", Err(EmailAddressError::Shape)),
            ("a b@example.com", Err(EmailAddressError::Shape)),
            ("a@b@example.com", Err(EmailAddressError::Shape)),
            ("a@exa_mple.com", Err(EmailAddressError::Shape)),
            ("a@127.0.0.1", Err(EmailAddressError::Shape)),
            ("花子@example.com", Err(EmailAddressError::Shape)),
            ("<a@example.com>", Err(EmailAddressError::Shape)),
            ("a@example.com\r\nBcc: b@example.com", Err(EmailAddressError::ControlCharacter)),
            ("a@example.com\n", Err(EmailAddressError::ControlCharacter)),
            (&format!("{}@example.com", "a".repeat(65)), Err(EmailAddressError::TooLong)),
            (&format!("a@{}.com", "b.".repeat(130)), Err(EmailAddressError::TooLong)),
        ] {
            assert_eq!(
                EmailAddress::parse(given).as_ref().map(EmailAddress::as_str),
                expected.as_ref().map(|s| *s),
                "{given:?}"
            );
        }
    }

    #[test]
    fn case_does_not_make_a_second_person() {
        let (a, b) = (
            EmailAddress::parse("Hanako@example.com").unwrap(),
            EmailAddress::parse("hanako@EXAMPLE.com").unwrap(),
        );
        assert_eq!(a.identity(), b.identity());
    }
}
