//! `crypto.sha256` and its kin: hexadecimal digests of a text's bytes.

use aws_lc_rs::{constant_time, digest, hmac};
use regorus::Value;

use super::text;

pub(super) fn sha1(arguments: &[Value]) -> Option<Value> {
    digest_of(arguments, &digest::SHA1_FOR_LEGACY_USE_ONLY)
}

pub(super) fn sha256(arguments: &[Value]) -> Option<Value> {
    digest_of(arguments, &digest::SHA256)
}

pub(super) fn hmac_sha1(arguments: &[Value]) -> Option<Value> {
    hmac_of(arguments, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY)
}

pub(super) fn hmac_sha256(arguments: &[Value]) -> Option<Value> {
    hmac_of(arguments, hmac::HMAC_SHA256)
}

pub(super) fn hmac_sha512(arguments: &[Value]) -> Option<Value> {
    hmac_of(arguments, hmac::HMAC_SHA512)
}

/// `crypto.hmac.equal`: compares in a time that does not depend on the texts.
pub(super) fn equal(arguments: &[Value]) -> Option<Value> {
    let (one, other) = (text(arguments, 0)?, text(arguments, 1)?);
    Some(constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok().into())
}

fn digest_of(arguments: &[Value], algorithm: &'static digest::Algorithm) -> Option<Value> {
    let digest = digest::digest(algorithm, text(arguments, 0)?.as_bytes());
    Some(hex::encode(digest).into())
}

/// The text first, then the key.
fn hmac_of(arguments: &[Value], algorithm: hmac::Algorithm) -> Option<Value> {
    let key = hmac::Key::new(algorithm, text(arguments, 1)?.as_bytes());
    Some(hex::encode(hmac::sign(&key, text(arguments, 0)?.as_bytes())).into())
}
