//! Signed links: who may do what, until when, without a password.
//!
//! A token is `key.subject.expiry.mac`, or `key.subject.expiry.generation.mac` for what has changed
//! since it was made: a first generation goes without saying. The MAC covers the purpose too, with a
//! key derived for it, so that a link to book can never unsubscribe anybody.
//!
//! Keys are rotated with `michi keygen --rotate`. What people hold goes on working, whichever key
//! signed it; what operators and other systems hold ends with the key that signed it, so that
//! rotating takes it back.

use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::BASE64URL_NOPAD;
use domain::{
    id::Id,
    limits::{CONSOLE_LINK_HOURS, PERSONAL_LINK_DAYS},
    mac::hmac_sha256,
};
use subtle::ConstantTimeEq;

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// End marketing mail to a lead. Never expires (RFC 8058; 特定電子メール法).
    Unsubscribe,
    /// Book a consultation as a lead.
    Book,
    /// Move or cancel a consultation, as it stood when the link was made.
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

    /// Whether an older key still is good for it. A person can't be sent a new mail for every old
    /// one; an operator can get a new link, and must be able to take the old ones back.
    fn outlives_its_key(self) -> bool {
        match self {
            Self::Unsubscribe
            | Self::Book
            | Self::Manage
            | Self::Apply
            | Self::Confirm
            | Self::Preferences => true,
            Self::Console | Self::Api => false,
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

/// What has not changed since it was made.
const FIRST: u32 = 1;

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

    /// A token for the subject, good for this long from now, or for ever.
    pub fn sign(
        &self,
        purpose: Purpose,
        subject: &Id,
        valid_for: Option<TimeDelta>,
        now: DateTime<Utc>,
    ) -> String {
        self.sign_generation(purpose, subject, valid_for, FIRST, now)
    }

    /// A token to manage a consultation that stands at this version, for [`PERSONAL_LINK_DAYS`].
    pub fn sign_manage(&self, consultation_id: &Id, version: u32, now: DateTime<Utc>) -> String {
        let valid_for = Some(TimeDelta::days(PERSONAL_LINK_DAYS));
        self.sign_generation(Purpose::Manage, consultation_id, valid_for, version, now)
    }

    fn sign_generation(
        &self,
        purpose: Purpose,
        subject: &Id,
        valid_for: Option<TimeDelta>,
        generation: u32,
        now: DateTime<Utc>,
    ) -> String {
        let Some((key_id, key)) = self.keys.first() else { return String::new() };
        let expiry = valid_for.map_or(0, |time| (now + time).timestamp());
        let signed = match generation {
            FIRST => format!("{subject}.{expiry}"),
            generation => format!("{subject}.{expiry}.{generation}"),
        };
        let mac = BASE64URL_NOPAD.encode(&mac(key, purpose, &signed));
        format!("{key_id}.{signed}.{mac}")
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
    /// [`LinkError::Invalid`] for every kind of wrong token alike; [`LinkError::Expired`] only for one
    /// that we did sign.
    pub fn verify(&self, purpose: Purpose, token: &str, now: DateTime<Utc>) -> Result<Id, LinkError> {
        let (subject, generation) = self.verify_generation(purpose, token, now)?;
        if generation == FIRST { Ok(subject) } else { Err(LinkError::Invalid) }
    }

    /// Which consultation the token manages, and the version that it stood at.
    ///
    /// # Errors
    /// As [`Links::verify`].
    pub fn verify_manage(&self, token: &str, now: DateTime<Utc>) -> Result<(Id, u32), LinkError> {
        self.verify_generation(Purpose::Manage, token, now)
    }

    fn verify_generation(
        &self,
        purpose: Purpose,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<(Id, u32), LinkError> {
        let (key_id, rest) = token.split_once('.').ok_or(LinkError::Invalid)?;
        let (signed, given) = rest.rsplit_once('.').ok_or(LinkError::Invalid)?;
        let good_keys = if purpose.outlives_its_key() { self.keys.len() } else { 1 };
        let mut keys = self.keys.iter().take(good_keys);
        let (_, key) = keys.find(|(id, _)| id == key_id).ok_or(LinkError::Invalid)?;
        let given = BASE64URL_NOPAD.decode(given.as_bytes()).map_err(|_| LinkError::Invalid)?;
        // Over the text as it came: two ways of writing a number are two tokens.
        if !bool::from(mac(key, purpose, signed).ct_eq(&given)) {
            return Err(LinkError::Invalid);
        }
        let parts: Vec<&str> = signed.split('.').collect();
        let (subject, expiry, generation) = match parts.as_slice() {
            [subject, expiry] => (subject, expiry, Ok(FIRST)),
            [subject, expiry, generation] => (subject, expiry, generation.parse()),
            _ => return Err(LinkError::Invalid),
        };
        let expiry: i64 = expiry.parse().map_err(|_| LinkError::Invalid)?;
        if expiry != 0 && now.timestamp() >= expiry {
            return Err(LinkError::Expired);
        }
        let subject = Id::parse(subject).map_err(|_| LinkError::Invalid)?;
        Ok((subject, generation.map_err(|_| LinkError::Invalid)?))
    }
}

fn mac(key: &[u8], purpose: Purpose, signed: &str) -> Vec<u8> {
    let derived = hmac_sha256(key, purpose.as_str().as_bytes());
    hmac_sha256(&derived, signed.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn what_operators_and_other_systems_hold_ends_with_the_key_that_signed_it() {
        let (subject, now) = (Id::parse("operator").unwrap(), at("2026-11-22T00:00:00Z"));
        for purpose in [Purpose::Console, Purpose::Api] {
            let old = links(&["k1"]).sign(purpose, &subject, None, now);
            assert_eq!(links(&["k2", "k1"]).verify(purpose, &old, now), Err(LinkError::Invalid));
            let new = links(&["k2", "k1"]).sign(purpose, &subject, None, now);
            assert_eq!(links(&["k2", "k1"]).verify(purpose, &new, now), Ok(subject.clone()));
        }
    }

    #[test]
    fn a_link_to_a_consultation_says_at_which_version_it_stood() {
        let (links, subject) = (links(&["k1"]), Id::parse("c-1").unwrap());
        let now = at("2026-11-22T00:00:00Z");
        for version in [1, 2, 40] {
            let token = links.sign_manage(&subject, version, now);
            assert_eq!(links.verify_manage(&token, now), Ok((subject.clone(), version)));
            let other = format!(".{}.", version + 1);
            let forged = token.replacen(&format!(".{version}."), &other, 1);
            assert!(version == 1 || links.verify_manage(&forged, now) == Err(LinkError::Invalid));
        }
        // A link of before there were generations is one of the first.
        let plain = links.sign(Purpose::Manage, &subject, Some(TimeDelta::days(90)), now);
        assert_eq!(links.verify_manage(&plain, now), Ok((subject.clone(), 1)));
        let said = plain.replacen("c-1.", "c-1.1.", 1);
        assert_eq!(links.verify_manage(&said, now), Err(LinkError::Invalid), "goes without saying");
        let moved = links.sign_manage(&subject, 2, now);
        assert_eq!(links.verify(Purpose::Manage, &moved, now), Err(LinkError::Invalid));
    }

    proptest! {
        #[test]
        fn a_token_with_any_other_character_opens_nothing(
            version in 1..5_u32,
            place in any::<prop::sample::Index>(),
            character in "[ -~あ]",
            removed in 0..2_usize,
        ) {
            let links = links(&["k2", "k1"]);
            let now = at("2026-11-22T00:00:00Z");
            let token = links.sign_manage(&Id::parse("c-1").unwrap(), version, now);
            let place = place.index(token.len());
            let mut changed = token.clone();
            changed.replace_range(place..place + removed, &character);
            prop_assume!(changed != token);
            prop_assert_eq!(links.verify_manage(&changed, now), Err(LinkError::Invalid));
            prop_assert_eq!(links.verify(Purpose::Manage, &changed, now), Err(LinkError::Invalid));
        }

        #[test]
        fn no_text_breaks_the_reading_of_tokens(text in "(k1|k2)?[.a-z0-9+=_あ-]{0,60}") {
            let links = links(&["k2", "k1"]);
            prop_assert_eq!(links.verify_manage(&text, at("2026-11-22T00:00:00Z")), Err(LinkError::Invalid));
        }
    }
}
