//! The form in which a secret is kept on disk.
//!
//! ```text
//! "SECPLANE-SEALED" | 2 (1 byte) | wrapping key's ID (8 bytes) | salt (32 bytes) | nonce (12 bytes) | ciphertext, tag
//! ```
//!
//! The cipher is AES-256-GCM. Each secret has a key of its own, derived from the wrapping key and the salt, so that no
//! nonce is ever used twice under one key. Everything before the ciphertext, and the secret's name, is authenticated
//! with it: a sealed key that is renamed does not open. The first form, which is still read, lacks the ID.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::{WrappingKey, WrappingKeyId};

const MAGIC: &[u8] = b"SECPLANE-SEALED";
const FIRST_VERSION: u8 = 1;
const VERSION: u8 = 2;
const SALT_BYTES: usize = 32;

/// Seals a secret under its name.
pub(super) fn seal(wrapping: &WrappingKey, name: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut salt = [0; SALT_BYTES];
    let mut nonce = [0; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| SealError::Randomness)?;
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| SealError::Randomness)?;

    let mut sealed = [MAGIC, &[VERSION], wrapping.id().as_bytes(), &salt, &nonce].concat();
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
    let parts = Parts::of(sealed)?;
    if parts.wrapping_key.is_some_and(|id| id != wrapping.id()) {
        return Err(SealError::OtherWrappingKey(wrapping.id()));
    }
    let nonce = Nonce::try_assume_unique_for_key(parts.nonce).map_err(|_| SealError::NotSealed)?;
    let mut body = Zeroizing::new(parts.body.to_vec());
    let length = key(wrapping, parts.salt)?
        .open_in_place(nonce, Aad::from(authenticated(parts.header, name)), &mut body)
        .map_err(|_| SealError::Cipher)?
        .len();
    body.truncate(length);
    Ok(body)
}

/// The wrapping key that something is sealed under; `None` when it does not say, as the first form.
pub(crate) fn sealed_under(sealed: &[u8]) -> Result<Option<WrappingKeyId>, SealError> {
    Ok(Parts::of(sealed)?.wrapping_key)
}

struct Parts<'a> {
    header: &'a [u8],
    wrapping_key: Option<WrappingKeyId>,
    salt: &'a [u8],
    nonce: &'a [u8],
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(sealed: &'a [u8]) -> Result<Self, SealError> {
        let rest = sealed.strip_prefix(MAGIC).ok_or(SealError::NotSealed)?;
        let id_bytes = match rest.first() {
            Some(&FIRST_VERSION) => 0,
            Some(&VERSION) => WrappingKeyId::BYTES,
            Some(other) => return Err(SealError::Version(*other)),
            None => return Err(SealError::NotSealed),
        };
        let before_id = MAGIC.len() + 1;
        let header_bytes = before_id + id_bytes + SALT_BYTES + NONCE_LEN;
        let (header, body) = sealed.split_at_checked(header_bytes).ok_or(SealError::NotSealed)?;
        let (id, rest) = header[before_id..].split_at(id_bytes);
        let (salt, nonce) = rest.split_at(SALT_BYTES);
        Ok(Self { header, wrapping_key: WrappingKeyId::from_bytes(id), salt, nonce, body })
    }
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
    /// Sealed under another wrapping key.
    #[error("it is not sealed under the wrapping key {0} that is in use")]
    OtherWrappingKey(WrappingKeyId),
    /// Wrong key, wrong name, or changed bytes.
    #[error("it does not open: the wrapping key is another one than it was sealed with, or it was changed")]
    Cipher,
    /// No randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST_FORM: &str = "534543504c414e452d5345414c454401bc39d6fe560794a7b267046cd6cbe02086144ea4c404444239d07f47\
        a4027163a34e7737de8f1899d4f435b3be2d0312e77bfb68f5d6d2bd156ca4bee6d2f32e8c6b";

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
        assert_eq!(open(&other, "a", &sealed), Err(SealError::OtherWrappingKey(other.id())));
        assert_eq!(sealed_under(&sealed), Ok(Some(one().id())));
        // Whoever changes the ID gains nothing.
        let mut renamed = sealed.clone();
        renamed[MAGIC.len() + 1..][..WrappingKeyId::BYTES].copy_from_slice(other.id().as_bytes());
        assert_eq!(open(&other, "a", &renamed), Err(SealError::Cipher));
    }

    #[test]
    fn opens_the_first_form() {
        // Sealed by the first version: the text `secret`, under the name `a`.
        let sealed = hex::decode(FIRST_FORM).unwrap();
        assert_eq!(open(&one(), "a", &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(sealed_under(&sealed), Ok(None));
        assert_eq!(open(&one(), "b", &sealed), Err(SealError::Cipher));
    }

    #[test]
    fn names_a_later_version() {
        let mut sealed = seal(&one(), "a", b"secret").unwrap();
        sealed[MAGIC.len()] = 3;
        assert_eq!(open(&one(), "a", &sealed), Err(SealError::Version(3)));
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
