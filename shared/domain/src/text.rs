//! Short texts from people: trimmed, bounded, on one line.

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::limits::{LONG_TEXT_CHARS, SHORT_TEXT_CHARS};

/// Why a text was refused. The message names the mend and never repeats the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing is left after trimming.
    #[error("must not be empty")]
    Empty,
    /// More characters than allowed.
    #[error("must be at most {0} characters")]
    TooLong(usize),
    /// A line break or control character: it could break out of a mail header.
    #[error("must be a single line without control characters")]
    ControlCharacter,
}

/// A name, source or tag: one line, 1 to 100 characters, NFC, trimmed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShortText(String);

impl ShortText {
    /// Trims and checks.
    ///
    /// # Errors
    /// [`TextError`] if empty, too long or not a single line.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let text: String = text.trim().nfc().collect();
        if text.is_empty() {
            return Err(TextError::Empty);
        }
        if text.chars().count() > SHORT_TEXT_CHARS {
            return Err(TextError::TooLong(SHORT_TEXT_CHARS));
        }
        if text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            return Err(TextError::ControlCharacter);
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A free text of up to 2,000 characters; line breaks are kept, other control characters are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LongText(String);

impl LongText {
    /// Trims and checks.
    ///
    /// # Errors
    /// [`TextError`] if empty, too long or with control characters other than line breaks.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let text: String = text.trim().replace("\r\n", "\n").nfc().collect();
        if text.is_empty() {
            return Err(TextError::Empty);
        }
        if text.chars().count() > LONG_TEXT_CHARS {
            return Err(TextError::TooLong(LONG_TEXT_CHARS));
        }
        if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
            return Err(TextError::ControlCharacter);
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_one_trimmed_line() {
        for (given, expected) in [
            ("  山田 花子 ", Ok("山田 花子")),
            ("", Err(TextError::Empty)),
            ("   ", Err(TextError::Empty)),
            ("a\r\nBcc: b@example.com", Err(TextError::ControlCharacter)),
            ("a\u{2028}b", Err(TextError::ControlCharacter)),
            (&"あ".repeat(101), Err(TextError::TooLong(100))),
        ] {
            assert_eq!(
                ShortText::parse(given).as_ref().map(ShortText::as_str),
                expected.as_ref().map(|s| *s),
                "{given:?}"
            );
        }
    }
}
