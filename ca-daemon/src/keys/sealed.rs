//! The form in which a secret is kept on disk.
//!
//! ```text
//! "SECPLANE-SEALED" | version (1 byte) | salt (32 bytes) | nonce (12 bytes) | AES-256-GCM ciphertext and tag
//! ```
//!
//! Each secret has a key of its own, derived from the wrapping key and the salt, so that no nonce is ever used
//! twice under one key. Everything before the ciphertext, and the secret's name, is authenticated with it: a
//! sealed key that is renamed does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::WrappingKey;

const MAGIC: &[u8] = b"SECPLANE-SEALED";
const VERSION: u8 = 1;
const SALT_BYTES: usize = 32;
const HEADER_BYTES: usize = MAGIC.len() + 1 + SALT_BYTES + NONCE_LEN;

/// Seals a secret under its name.
pub(super) fn seal(wrapping: &WrappingKey, name: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut salt = [0; SALT_BYTES];
    let mut nonce = [0; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| SealError::Randomness)?;
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| SealError::Randomness)?;

    let mut sealed = Vec::with_capacity(HEADER_BYTES + secret.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(MAGIC);
    sealed.push(VERSION);
    sealed.extend_from_slice(&salt);
    sealed.extend_from_slice(&nonce);
    let mut body = secret.to_vec();
    key(wrapping, &salt)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(authenticated(&sealed, name)),
            &mut body,
        )
        .map_err(|_| SealError::Cipher)?;
    sealed.append(&mut body);
    Ok(sealed)
}

/// Opens what was sealed under this name.
pub(super) fn open(
    wrapping: &WrappingKey,
    name: &str,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let rest = sealed.strip_prefix(MAGIC).ok_or(SealError::NotSealed)?;
    match rest.first() {
        Some(&VERSION) => {}
        Some(other) => return Err(SealError::Version(*other)),
        None => return Err(SealError::NotSealed),
    }
    let (header, body) = sealed.split_at_checked(HEADER_BYTES).ok_or(SealError::NotSealed)?;
    let (salt, nonce) = header[MAGIC.len() + 1..].split_at(SALT_BYTES);
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::NotSealed)?;
    let mut body = Zeroizing::new(body.to_vec());
    let length = key(wrapping, salt)?
        .open_in_place(nonce, Aad::from(authenticated(header, name)), &mut body)
        .map_err(|_| SealError::Cipher)?
        .len();
    body.truncate(length);
    Ok(body)
}

fn key(wrapping: &WrappingKey, salt: &[u8]) -> Result<LessSafeKey, SealError> {
    let key = wrapping.derive(salt, b"secplane ca-daemon sealed key v1");
    UnboundKey::new(&AES_256_GCM, key.as_ref()).map(LessSafeKey::new).map_err(|_| SealError::Cipher)
}

fn authenticated(header: &[u8], name: &str) -> Vec<u8> {
    [header, name.as_bytes()].concat()
}

/// Why a secret cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not of this form.
    #[error("it is not a sealed key of this program")]
    NotSealed,
    /// Of a later form.
    #[error("it is sealed in form {0}, which this program does not know; run the version that wrote it")]
    Version(u8),
    /// Wrong key, wrong name, or changed bytes.
    #[error(
        "it does not open: the wrapping key is another one than it was sealed with, or the file was changed"
    )]
    Cipher,
    /// No randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrapping(text: &str) -> WrappingKey {
        WrappingKey::parse(text).unwrap()
    }

    fn one() -> WrappingKey {
        wrapping("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
    }

    #[test]
    fn opens_only_with_its_key_and_name() {
        let sealed = seal(&one(), "a", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(open(&one(), "a", &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(open(&one(), "b", &sealed), Err(SealError::Cipher));
        let other = wrapping("ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
        assert_eq!(open(&other, "a", &sealed), Err(SealError::Cipher));
    }

    #[test]
    fn names_a_later_version() {
        let mut sealed = seal(&one(), "a", b"secret").unwrap();
        sealed[MAGIC.len()] = 2;
        assert_eq!(open(&one(), "a", &sealed), Err(SealError::Version(2)));
    }

    proptest! {
        #[test]
        fn notices_any_change(position in 0_usize..80, change in 1_u8..) {
            let mut sealed = seal(&one(), "a", b"a secret of some length").unwrap();
            let position = position % sealed.len();
            sealed[position] ^= change;
            prop_assert!(open(&one(), "a", &sealed).is_err());
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(open(&one(), "a", &bytes).is_err());
            prop_assert!(open(&one(), "a", &[MAGIC, &bytes].concat()).is_err());
        }
    }
}
