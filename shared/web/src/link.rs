//! Signed links: who may do what, until when, without a password.
//!
//! A token is `key.subject.expiry.mac`. The MAC covers the purpose too, with a key derived for
//! it, so that a link to book can never unsubscribe anybody.

use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::BASE64URL_NOPAD;
use domain::{id::Id, limits::CONSOLE_LINK_HOURS, mac::hmac_sha256};
use subtle::ConstantTimeEq;

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// End marketing mail to a lead. Never expires (RFC 8058; 特定電子メール法).
    Unsubscribe,
    /// Book a consultation as a lead.
    Book,
    /// Move or cancel a consultation.
    Manage,
    /// Apply for a plan as a lead.
    Apply,
    /// Confirm an address (double opt-in).
    Confirm,
    /// Choose what mail to get. Never expires, like the way out.
    Preferences,
    /// Look into the console.
    Console,
    /// Tell facts as another system.
    Api,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unsubscribe => "unsubscribe",
            Self::Book => "book",
            Self::Manage => "manage",
            Self::Apply => "apply",
            Self::Confirm => "confirm",
            Self::Preferences => "preferences",
            Self::Console => "console",
            Self::Api => "api",
        }
    }
}

/// Why a token opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Not one of ours, or changed on the way.
    #[error("this link is not valid; open the one in your latest mail")]
    Invalid,
    /// Its time is over.
    #[error("this link has expired; open the one in your latest mail")]
    Expired,
}

/// Whom a link to the console is for: any operator, until there are roles.
pub const OPERATOR: &str = "operator";

/// Signs and verifies.
#[derive(Clone)]
pub struct Links {
    keys: Vec<(String, Vec<u8>)>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Links(…)")
    }
}

impl Links {
    /// With these keys: the first one signs, all of them verify.
    pub fn new<'a>(keys: impl Iterator<Item = (&'a str, Vec<u8>)>) -> Self {
        Self { keys: keys.map(|(id, key)| (id.to_owned(), key)).collect() }
    }

    /// A token for the subject, good for `days` from now, or for ever.
    pub fn sign(
        &self,
        purpose: Purpose,
        subject: &Id,
        valid_for: Option<TimeDelta>,
        now: DateTime<Utc>,
    ) -> String {
        let Some((key_id, key)) = self.keys.first() else { return String::new() };
        let expiry = valid_for.map_or(0, |time| (now + time).timestamp());
        let mac = BASE64URL_NOPAD.encode(&mac(key, purpose, subject.as_str(), expiry));
        format!("{key_id}.{subject}.{expiry}.{mac}")
    }

    /// A token that lets an operator into the console, for [`CONSOLE_LINK_HOURS`].
    pub fn sign_console(&self, now: DateTime<Utc>) -> String {
        match Id::parse(OPERATOR) {
            Ok(operator) => {
                self.sign(Purpose::Console, &operator, Some(TimeDelta::hours(CONSOLE_LINK_HOURS)), now)
            }
            Err(_) => String::new(),
        }
    }

    /// The secret with which webhooks to other systems are signed: derived from the key that signs
    /// links, so that it is rotated with it.
    pub fn webhook_secret(&self) -> Vec<u8> {
        self.keys.first().map(|(_, key)| hmac_sha256(key, b"webhook")).unwrap_or_default()
    }

    /// Whom the token is for.
    ///
    /// # Errors
    /// [`LinkError`], the same for every kind of wrong token.
    pub fn verify(&self, purpose: Purpose, token: &str, now: DateTime<Utc>) -> Result<Id, LinkError> {
        let parts: Vec<&str> = token.split('.').collect();
        let [key_id, subject, expiry, given] = parts.as_slice() else { return Err(LinkError::Invalid) };
        let (_, key) = self.keys.iter().find(|(id, _)| id == key_id).ok_or(LinkError::Invalid)?;
        let expiry: i64 = expiry.parse().map_err(|_| LinkError::Invalid)?;
        let given = BASE64URL_NOPAD.decode(given.as_bytes()).map_err(|_| LinkError::Invalid)?;
        if !bool::from(mac(key, purpose, subject, expiry).ct_eq(&given)) {
            return Err(LinkError::Invalid);
        }
        if expiry != 0 && now.timestamp() >= expiry {
            return Err(LinkError::Expired);
        }
        Id::parse(subject).map_err(|_| LinkError::Invalid)
    }
}

fn mac(key: &[u8], purpose: Purpose, subject: &str, expiry: i64) -> Vec<u8> {
    let derived = hmac_sha256(key, purpose.as_str().as_bytes());
    hmac_sha256(&derived, format!("{subject}.{expiry}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(keys: &[&'static str]) -> Links {
        Links::new(keys.iter().map(|key| (*key, key.as_bytes().repeat(16))))
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_link_opens_its_own_purpose_for_its_own_subject_in_its_own_time() {
        let (links, subject) = (links(&["k2", "k1"]), Id::parse("l-1").unwrap());
        let now = at("2026-11-22T00:00:00Z");
        let token = links.sign(Purpose::Book, &subject, Some(TimeDelta::days(1)), now);
        assert_eq!(links.verify(Purpose::Book, &token, now), Ok(subject.clone()));
        assert_eq!(links.verify(Purpose::Book, &token, at("2026-11-23T00:00:00Z")), Err(LinkError::Expired));
        assert_eq!(links.verify(Purpose::Unsubscribe, &token, now), Err(LinkError::Invalid));
        for broken in [
            "",
            "k2",
            "k2.l-1.0",
            &token.replace("l-1", "l-2"),
            &token.replace("k2.", "k1."),
            &format!("{token}A"),
            &token.to_uppercase(),
            &token[..token.len() - 2],
        ] {
            assert_eq!(links.verify(Purpose::Book, broken, now), Err(LinkError::Invalid), "{broken}");
        }
        let for_ever = links.sign(Purpose::Unsubscribe, &subject, None, now);
        assert_eq!(links.verify(Purpose::Unsubscribe, &for_ever, at("2046-11-22T00:00:00Z")), Ok(subject));
    }

    #[test]
    fn a_rotated_key_still_verifies_until_it_is_removed() {
        let (subject, now) = (Id::parse("l-1").unwrap(), at("2026-11-22T00:00:00Z"));
        let old = links(&["k1"]).sign(Purpose::Book, &subject, None, now);
        assert_eq!(links(&["k2", "k1"]).verify(Purpose::Book, &old, now), Ok(subject));
        assert_eq!(links(&["k2"]).verify(Purpose::Book, &old, now), Err(LinkError::Invalid));
    }
}
