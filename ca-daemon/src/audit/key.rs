//! The key that a log's checkpoints are signed with: Ed25519 (RFC 8032), one a log.

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ED25519, Ed25519KeyPair, KeyPair, ParsedPublicKey},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::checkpoint::{Checkpoint, LogId, origin, origin_log};

/// Ed25519 in the C2SP signed-note format.
const SIGNATURE_TYPE: u8 = 1;
const PUBLIC_KEY_BYTES: usize = 32;
pub(super) const KEY_ID_BYTES: usize = 4;

/// A log's private key. Wiped when dropped.
pub struct LogKey {
    pair: Ed25519KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl LogKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, LogKeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| LogKeyError::Randomness)?;
        let document = pair.to_pkcs8().map_err(|_| LogKeyError::Form)?;
        Ok(Self { pair, pkcs8: Zeroizing::new(document.as_ref().to_vec()) })
    }

    /// Reads a key as [`LogKey::pkcs8`] gives it.
    ///
    /// # Errors
    /// When the bytes are no Ed25519 key in PKCS#8.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, LogKeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| LogKeyError::Form)?;
        Ok(Self { pair, pkcs8: Zeroizing::new(pkcs8.to_vec()) })
    }

    /// The private key in PKCS#8, to be sealed.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// What verifies its signatures.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let mut bytes = [0; PUBLIC_KEY_BYTES];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }

    pub(super) fn signature(&self, text: &[u8]) -> Result<Vec<u8>, LogKeyError> {
        Ok(self.pair.try_sign(text).map_err(|_| LogKeyError::Signing)?.as_ref().to_vec())
    }

    /// Signs a checkpoint, as text: see [`Checkpoint`] for its form.
    ///
    /// # Errors
    /// When the key does not sign, which a key that was read does.
    pub fn sign(&self, checkpoint: &Checkpoint, at: std::time::SystemTime) -> Result<String, LogKeyError> {
        checkpoint.sign(self, at)
    }
}

/// A log's public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; PUBLIC_KEY_BYTES]);

impl PublicKey {
    /// The key of these 32 bytes (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    /// When they are not 32, or no point of the curve.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LogKeyError> {
        let key = Self(bytes.try_into().map_err(|_| LogKeyError::PublicKey)?);
        ParsedPublicKey::new(&ED25519, key.0).map_err(|_| LogKeyError::PublicKey)?;
        Ok(key)
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.0
    }

    /// The key with the log's name, in the form in which C2SP's signed notes name a verifier:
    /// `<name>+<key ID>+<base64>`.
    #[must_use]
    pub fn verifier(&self, log: &LogId) -> String {
        let key = [&[SIGNATURE_TYPE], self.0.as_slice()].concat();
        format!("{}+{}+{}", origin(log), hex::encode(self.key_id(log)), BASE64_STANDARD.encode(key))
    }

    /// Reads what [`PublicKey::verifier`] wrote.
    ///
    /// # Errors
    /// When it is not of that form, or not for a log of this authority.
    pub fn parse_verifier(text: &str) -> Result<(LogId, Self), LogKeyError> {
        // A base64 text may hold further plus signs.
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(LogKeyError::Verifier);
        };
        let log = origin_log(name).ok_or(LogKeyError::Verifier)?;
        let key = BASE64_STANDARD.decode(key).map_err(|_| LogKeyError::Verifier)?;
        let key = match key.split_first() {
            Some((&SIGNATURE_TYPE, key)) => Self::from_bytes(key)?,
            _ => return Err(LogKeyError::Verifier),
        };
        if hex::encode(key.key_id(&log)) == id { Ok((log, key)) } else { Err(LogKeyError::Verifier) }
    }

    /// The first bytes of a hash over the name and the key, which tell signatures apart.
    pub(super) fn key_id(&self, log: &LogId) -> [u8; KEY_ID_BYTES] {
        let named = [origin(log).as_bytes(), b"\n", &[SIGNATURE_TYPE], &self.0].concat();
        let hash = digest(&SHA256, &named);
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&hash.as_ref()[..KEY_ID_BYTES]);
        id
    }

    pub(super) fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        ParsedPublicKey::new(&ED25519, self.0).is_ok_and(|key| key.verify_sig(text, signature).is_ok())
    }
}

/// Lower-case hex.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Why there is no key, or no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogKeyError {
    /// No randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// Not a private key.
    #[error("the audit log's key is no Ed25519 key in PKCS#8")]
    Form,
    /// The library refuses to sign.
    #[error("the audit log's key does not sign")]
    Signing,
    /// Not a public key.
    #[error("an audit log's public key is 32 bytes that are a point of Ed25519")]
    PublicKey,
    /// Not the text form of a public key.
    #[error(
        "an audit log's public key reads secplane-audit/<log>+<8 hex digits>+<base64>, as `secctl audit logs` shows it"
    )]
    Verifier,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn restores_a_stored_key() {
        let key = LogKey::generate().unwrap();
        let restored = LogKey::from_pkcs8(key.pkcs8()).unwrap();
        assert_eq!(restored.public_key(), key.public_key());
        assert!(key.public_key().has_signed(b"text", &restored.signature(b"text").unwrap()));
        assert!(!key.public_key().has_signed(b"test", &restored.signature(b"text").unwrap()));
    }

    #[test]
    fn reads_back_a_verifier() {
        let log = LogId::parse("0a1b").unwrap();
        let key = LogKey::generate().unwrap().public_key();
        let text = key.verifier(&log);
        assert_eq!(PublicKey::parse_verifier(&text).unwrap(), (log, key));
        let renamed = text.replace("0a1b", "0a1c");
        assert_eq!(PublicKey::parse_verifier(&renamed), Err(LogKeyError::Verifier));
    }

    #[rstest]
    #[case("")]
    #[case("secplane-audit/a+00000000")]
    #[case("secplane-audit/a+00000000+AAAA")]
    #[case("other/a+00000000+AAAA")]
    fn refuses_what_is_no_verifier(#[case] text: &str) {
        assert!(PublicKey::parse_verifier(text).is_err());
    }

    #[test]
    fn refuses_what_is_no_key() {
        assert_eq!(LogKey::from_pkcs8(b"key").err(), Some(LogKeyError::Form));
        assert_eq!(PublicKey::from_bytes(&[0; 31]), Err(LogKeyError::PublicKey));
    }
}
