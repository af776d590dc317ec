//! The stack's own keys: one that makes lead ids, some that sign links.

use aws_sdk_ssm::{Client, types::ParameterType};
use data_encoding::HEXLOWER_PERMISSIVE;
use domain::{email_address::EmailAddress, id::Id, mac::hmac_sha256};
use serde::{Deserialize, Serialize};

use crate::{CallError, Cloud, StartError};

/// The keys, as the SSM parameter holds them (JSON, keys in hexadecimal, at least 32 bytes).
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Makes lead ids from addresses. It must never change: all rows hang on it.
    id_key: String,
    /// Sign links; the first one signs, all of them verify, so that keys can be rotated.
    link_keys: Vec<LinkKey>,
}

/// A key that signs links.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkKey {
    /// Its name in the links.
    pub id: String,
    /// In hexadecimal.
    pub key: String,
}

/// Why keys can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Not the JSON that `michi keygen` prints.
    #[error("the keys are not JSON as `michi keygen` prints it (line {0}, column {1})")]
    Shape(usize, usize),
    /// Keys that could be guessed, or none.
    #[error("needs id_key and at least one of link_keys, each of 64 hexadecimal digits or more")]
    TooShort,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl Keys {
    /// Makes keys of 32 random bytes each.
    pub fn generate(id_key: [u8; 32], link_key: [u8; 32]) -> Self {
        let link_keys = vec![LinkKey { id: "k1".to_owned(), key: HEXLOWER_PERMISSIVE.encode(&link_key) }];
        Self { id_key: HEXLOWER_PERMISSIVE.encode(&id_key), link_keys }
    }

    /// The same keys with a new one in front, of 32 random bytes: it signs from now on, and the old
    /// ones go on verifying.
    #[must_use]
    pub fn rotated(mut self, link_key: [u8; 32]) -> Self {
        let number = |key: &LinkKey| key.id.strip_prefix('k').and_then(|number| number.parse::<u32>().ok());
        let last = self.link_keys.iter().filter_map(number).max().unwrap_or_default();
        let id = format!("k{}", last.saturating_add(1));
        self.link_keys.insert(0, LinkKey { id, key: HEXLOWER_PERMISSIVE.encode(&link_key) });
        self
    }

    /// Reads the parameter that `KEYS_PARAMETER` names.
    ///
    /// # Errors
    /// [`StartError`] if it can't be read or is not as expected.
    pub async fn load(cloud: &Cloud) -> Result<Self, StartError> {
        let name = cloud.env.get("KEYS_PARAMETER")?;
        Self::parse(&parameter(cloud, &name).await?)
            .map_err(|error| StartError::Parameter { name, reason: error.to_string() })
    }

    /// Reads the parameter's content.
    ///
    /// # Errors
    /// [`KeysError`], which tells no key.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let keys: Self =
            serde_json::from_str(text).map_err(|error| KeysError::Shape(error.line(), error.column()))?;
        let all = keys.link_keys.iter().map(|key| &key.key).chain([&keys.id_key]);
        let long_enough =
            |key: &String| HEXLOWER_PERMISSIVE.decode(key.as_bytes()).is_ok_and(|key| key.len() >= 32);
        if keys.link_keys.is_empty() || !all.into_iter().all(long_enough) {
            return Err(KeysError::TooShort);
        }
        Ok(keys)
    }

    /// The id of the person with this address: a keyed hash, so that nobody who sees an id can
    /// try addresses against it.
    pub fn lead_id(&self, email: &EmailAddress) -> Id {
        let key = HEXLOWER_PERMISSIVE.decode(self.id_key.as_bytes()).unwrap_or_default();
        Id::from_bytes("l", &hmac_sha256(&key, email.identity().as_bytes()))
    }

    /// The keys that sign links, the current one first.
    pub fn link_keys(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        self.link_keys
            .iter()
            .map(|key| (key.id.as_str(), HEXLOWER_PERMISSIVE.decode(key.key.as_bytes()).unwrap_or_default()))
    }
}

/// The type of the parameters: encrypted, and free of charge.
pub const SECURE: ParameterType = ParameterType::SecureString;

/// A client of SSM's Parameter Store.
pub fn client(cloud: &Cloud) -> Client {
    Client::new(&cloud.sdk)
}

/// A SecureString's value.
///
/// # Errors
/// [`StartError`] if it does not exist or can't be read.
pub async fn parameter(cloud: &Cloud, name: &str) -> Result<String, StartError> {
    let answer = client(cloud).get_parameter().name(name).with_decryption(true).send().await;
    let answer = answer.map_err(|error| CallError::new("reading an SSM parameter", error))?;
    let value = answer.parameter.and_then(|parameter| parameter.value);
    value.ok_or_else(|| StartError::Parameter { name: name.to_owned(), reason: "is empty".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_nobody_can_guess_are_taken() {
        let fresh = serde_json::to_string(&Keys::generate([1; 32], [2; 32])).unwrap();
        assert!(Keys::parse(&fresh).is_ok());
        let short = fresh.replace(&"01".repeat(32), "0101");
        let none = r#"{"id_key": "00", "link_keys": []}"#;
        for text in [short.as_str(), none] {
            assert_eq!(Keys::parse(text).unwrap_err(), KeysError::TooShort);
        }
        for text in ["hello", &fresh.replace("id_key", "key")] {
            let told = Keys::parse(text).unwrap_err();
            assert!(matches!(told, KeysError::Shape(..)) && !told.to_string().contains("0101"), "{told}");
        }
    }

    #[test]
    fn one_person_has_one_id_however_she_writes_her_address() {
        let keys = Keys::generate([1; 32], [2; 32]);
        let id = |text| keys.lead_id(&EmailAddress::parse(text).unwrap());
        assert_eq!(id("Hanako@Example.com"), id("hanako@example.com"));
        assert_ne!(id("hanako@example.com"), id("taro@example.com"));
        assert_ne!(
            id("hanako@example.com"),
            Keys::generate([3; 32], [2; 32]).lead_id(&EmailAddress::parse("hanako@example.com").unwrap())
        );
    }

    #[test]
    fn a_rotation_puts_a_key_of_a_new_name_in_front_and_keeps_the_rest() {
        let rotated = Keys::generate([1; 32], [2; 32]).rotated([3; 32]).rotated([4; 32]);
        let text = serde_json::to_string(&rotated).unwrap();
        let read = Keys::parse(&text).unwrap();
        let keys: Vec<_> = read.link_keys().collect();
        assert_eq!(keys, [("k3", vec![4; 32]), ("k2", vec![3; 32]), ("k1", vec![2; 32])]);
        let id = |keys: &Keys| keys.lead_id(&EmailAddress::parse("hanako@example.com").unwrap());
        assert_eq!(id(&read), id(&Keys::generate([1; 32], [9; 32])), "all rows hang on it");
        // A name that somebody gave by hand is left alone.
        let named = Keys::parse(&text.replace("k3", "spring")).unwrap().rotated([5; 32]);
        assert_eq!(
            named.link_keys().map(|(id, _)| id.to_owned()).collect::<Vec<_>>(),
            ["k3", "spring", "k2", "k1"]
        );
    }
}
