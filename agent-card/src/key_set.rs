//! Key sets: public keys that the caller trusts to sign cards without a certificate (RFC 7517).

use std::collections::BTreeMap;

use secplane_identity::jwk::{self, JwkError};
use serde_json::Value;

use crate::{
    Algorithm,
    json::{self, JsonError},
    jws::{KeyError, PublicKey},
};

/// The largest key set that is read, in bytes.
pub const MAX_KEY_SET_BYTES: usize = 256 * 1024;
/// The most keys of one set that are read.
pub const MAX_KEYS: usize = 100;

/// A JSON Web Key Set: public keys by their key IDs.
///
/// It says that its keys may sign, and nothing of whom they belong to: no SPIFFE ID, no validity, no revocation.
///
/// ```
/// use secplane_agent_card::KeySet;
///
/// let keys = KeySet::parse(br#"{"keys":[{"kid":"a","kty":"OKP","crv":"Ed25519",
///     "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#)?;
/// assert_eq!(keys.len(), 1);
/// # Ok::<(), secplane_agent_card::KeySetError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug, Clone)]
struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, when the set says so.
    algorithm: Option<Algorithm>,
    public: PublicKey,
}

impl KeySet {
    /// Reads a key set. Keys for encryption and keys of kinds that sign no cards are passed over.
    ///
    /// # Errors
    /// When it is too large or no key set; when two keys have one ID; when a key is malformed, too weak, or private.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        if bytes.len() > MAX_KEY_SET_BYTES {
            return Err(KeySetError::TooLarge(bytes.len()));
        }
        let document = json::read_strictly(bytes)?;
        let entries = document.get("keys").and_then(Value::as_array).ok_or(KeySetError::NotAKeySet)?;
        if entries.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys(entries.len()));
        }
        let mut keys: Vec<Key> = Vec::with_capacity(entries.len());
        for (position, entry) in entries.iter().enumerate() {
            let Some(key) = read_key(entry, position)? else { continue };
            if keys.iter().any(|known| known.id == key.id) {
                return Err(KeySetError::SameId(key.id.unwrap_or_default()));
            }
            keys.push(key);
        }
        Ok(Self { keys })
    }

    /// How many keys it has that can verify a card.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has no key that can verify a card.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that a header names. A header without a key ID names the only key of a set that has one.
    fn key(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&PublicKey, String> {
        let found = match (id, self.keys.as_slice()) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            (None, [only]) => Some(only),
            (None, _) => return Err("the signature names no key (`kid`), and there are several".to_owned()),
        };
        let key =
            found.ok_or_else(|| "the key that the signature names (`kid`) is not among them".to_owned())?;
        match key.algorithm {
            Some(only) if only != algorithm => Err(format!("the key is for {only} alone, not {algorithm}")),
            _ => Ok(&key.public),
        }
    }
}

fn read_key(entry: &Value, position: usize) -> Result<Option<Key>, KeySetError> {
    let members = entry.as_object().ok_or(KeySetError::NotAKeySet)?;
    if ["d", "p", "q", "k"].iter().any(|secret| members.contains_key(*secret)) {
        return Err(KeySetError::Private(position));
    }
    let text = |name| members.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|usage| usage != "sig") {
        return Ok(None);
    }
    let algorithm = match text("alg").map(str::parse) {
        None => None,
        Some(Ok(algorithm)) => Some(algorithm),
        Some(Err(_)) => return Ok(None),
    };
    let info = jwk::public_key_info(members).map_err(|reason| KeySetError::Jwk { position, reason })?;
    let Some(info) = info else { return Ok(None) };
    let public = PublicKey::from_spki(&info).map_err(|reason| KeySetError::Key { position, reason })?;
    Ok(Some(Key { id: text("kid").map(str::to_owned), algorithm, public }))
}

/// The key sets that one verification may use. The default has none.
#[derive(Debug, Clone, Default)]
pub struct KeySets {
    trusted: Option<KeySet>,
    fetched: BTreeMap<String, Result<KeySet, String>>,
}

impl KeySets {
    /// Trusts the keys of a set, whatever a signature says of where its keys are.
    #[must_use]
    pub fn trusting(keys: KeySet) -> Self {
        Self { trusted: Some(keys), ..Self::default() }
    }

    /// Adds what was found at a URL that a card names (`jku`), or why nothing was. Whoever calls this trusts the
    /// host: the card alone chose the URL.
    pub fn add_fetched(&mut self, url: impl Into<String>, keys: Result<KeySet, String>) {
        self.fetched.insert(url.into(), keys);
    }

    /// The key of a signature without certificates, and where it is from; or why there is none.
    pub(crate) fn key(
        &self,
        id: Option<&str>,
        url: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<(&PublicKey, KeySource), String> {
        let trusted = self.trusted.as_ref().map(|keys| keys.key(id, algorithm));
        if let Some(Ok(key)) = trusted {
            return Ok((key, KeySource::Given));
        }
        match (url.map(|url| (url, self.fetched.get(url))), trusted) {
            (Some((url, Some(Ok(keys)))), _) => match keys.key(id, algorithm) {
                Ok(key) => Ok((key, KeySource::Fetched(url.to_owned()))),
                Err(why) => Err(format!("of the keys at {url}: {why}")),
            },
            (Some((url, Some(Err(why)))), _) => Err(format!("there are no keys at {url}: {why}")),
            (_, Some(Err(why))) => Err(format!("of the given keys: {why}")),
            (Some((url, None)), _) => Err(format!(
                "the signature carries no certificates (`x5c`), and {url}, where it says that its key is, was not asked"
            )),
            (None, _) => Err(
                "the signature carries no certificates (`x5c`) and no key set is given, so nothing says whose it is"
                    .to_owned(),
            ),
        }
    }
}

/// Where a key without a certificate is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// The caller.
    Given,
    /// This URL.
    Fetched(String),
}

impl std::fmt::Display for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given => f.write_str("the given key set"),
            Self::Fetched(url) => write!(f, "the key set at {url}"),
        }
    }
}

/// Why bytes are not a key set that is used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Larger than [`MAX_KEY_SET_BYTES`].
    #[error("the key set has {0} bytes; at most {MAX_KEY_SET_BYTES} are read")]
    TooLarge(usize),
    /// Not JSON that means the same to every reader.
    #[error("the key set cannot be read: {0}")]
    Json(#[from] JsonError),
    /// JSON, but no key set.
    #[error("it is no JSON Web Key Set: an object whose `keys` is a list of objects (RFC 7517, section 5)")]
    NotAKeySet,
    /// More than [`MAX_KEYS`].
    #[error("the key set has {0} keys; at most {MAX_KEYS} are read")]
    TooManyKeys(usize),
    /// Two keys have one ID.
    #[error("two keys of the set have the ID {0:?}, so it does not say which one is meant")]
    SameId(String),
    /// A private or symmetric key.
    #[error("key {0} of the set (the first is 0) is private or symmetric; publish the public key alone")]
    Private(usize),
    /// A key that is malformed.
    #[error("key {position} of the set (the first is 0): {reason}")]
    Jwk {
        /// Its place in the set.
        position: usize,
        /// What is wrong.
        reason: JwkError,
    },
    /// A key that verifies no cards.
    #[error("key {position} of the set (the first is 0): {reason}")]
    Key {
        /// Its place in the set.
        position: usize,
        /// What is wrong.
        reason: KeyError,
    },
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const ED25519: &str =
        r#"{"kid":"a","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn set(keys: &[Value]) -> Vec<u8> {
        json!({ "keys": keys }).to_string().into_bytes()
    }

    fn key(change: Value) -> Value {
        let mut key: Value = serde_json::from_str(ED25519).unwrap();
        key.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        key
    }

    #[test]
    fn finds_keys_by_id_and_algorithm() {
        let one = KeySet::parse(&set(&[key(json!({"alg": "EdDSA"}))])).unwrap();
        assert!(one.key(Some("a"), Algorithm::EdDsa).is_ok());
        assert!(one.key(None, Algorithm::EdDsa).is_ok());
        assert!(one.key(Some("b"), Algorithm::EdDsa).is_err());
        assert!(one.key(Some("a"), Algorithm::Es256).is_err());
        let two = KeySet::parse(&set(&[key(json!({})), key(json!({"kid": "b"}))])).unwrap();
        assert!(two.key(Some("b"), Algorithm::EdDsa).is_ok());
        assert!(two.key(None, Algorithm::EdDsa).is_err());
    }

    #[rstest]
    #[case::encryption(json!({"use": "enc"}))]
    #[case::other_algorithm(json!({"alg": "HS256"}))]
    #[case::other_curve(json!({"crv": "X25519"}))]
    fn passes_over_keys_that_sign_no_cards(#[case] change: Value) {
        assert!(KeySet::parse(&set(&[key(change)])).unwrap().is_empty());
    }

    #[rstest]
    #[case::no_set(b"[]".to_vec(), KeySetError::NotAKeySet)]
    #[case::text(br#"{"keys":["a"]}"#.to_vec(), KeySetError::NotAKeySet)]
    #[case::private(set(&[key(json!({"d": "AAAA"}))]), KeySetError::Private(0))]
    #[case::same_id(set(&[key(json!({})), key(json!({}))]), KeySetError::SameId("a".into()))]
    #[case::malformed(
        set(&[key(json!({"x": "AAAA"}))]),
        KeySetError::Jwk { position: 0, reason: JwkError::Member("x") }
    )]
    #[case::many(set(&vec![json!({}); MAX_KEYS + 1]), KeySetError::TooManyKeys(MAX_KEYS + 1))]
    #[case::large(vec![b' '; MAX_KEY_SET_BYTES + 1], KeySetError::TooLarge(MAX_KEY_SET_BYTES + 1))]
    #[case::twice(
        br#"{"keys":[],"keys":[]}"#.to_vec(),
        KeySetError::Json(JsonError::DuplicateMember("keys".into()))
    )]
    fn rejects_other_documents(#[case] bytes: Vec<u8>, #[case] expected: KeySetError) {
        assert_eq!(KeySet::parse(&bytes).unwrap_err(), expected);
    }

    #[test]
    fn says_why_there_is_no_key() {
        let why = |sets: &KeySets, url| sets.key(Some("b"), url, Algorithm::EdDsa).unwrap_err();
        let url = "https://keys.example/jwks.json";
        let mut sets = KeySets::default();
        assert!(why(&sets, None).contains("no key set is given"));
        assert!(why(&sets, Some(url)).contains("was not asked"));
        sets.add_fetched(url, Err("it is away".to_owned()));
        assert!(why(&sets, Some(url)).contains("it is away"));
        sets.add_fetched(url, KeySet::parse(&set(&[key(json!({}))])).map_err(|e| e.to_string()));
        assert!(why(&sets, Some(url)).contains("not among them"));
        let given = KeySets::trusting(KeySet::parse(&set(&[key(json!({}))])).unwrap());
        assert!(why(&given, None).contains("of the given keys"));
        assert_eq!(given.key(Some("a"), None, Algorithm::EdDsa).unwrap().1, KeySource::Given);
    }
}
