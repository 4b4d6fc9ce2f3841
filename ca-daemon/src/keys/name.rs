//! What names a secret.

use std::fmt;

use super::KeyStoreError;

const MAX_BYTES: usize = 64;

/// The name of a secret: lower-case letters, digits and `-`, so that it is safe as part of a file's name. A private
/// key's is its key identifier in hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SecretName(String);

impl SecretName {
    pub(super) fn parse(text: &str) -> Result<Self, KeyStoreError> {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > MAX_BYTES || !text.bytes().all(is_name) {
            return Err(KeyStoreError::Name(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether it names a private key.
    pub(super) fn is_key_id(&self) -> bool {
        self.0.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0a1b", true)]
    #[case("audit-log", false)]
    fn tells_keys_from_other_secrets(#[case] text: &str, #[case] is_key: bool) {
        assert_eq!(SecretName::parse(text).unwrap().is_key_id(), is_key);
    }

    #[rstest]
    #[case("")]
    #[case("../a")]
    #[case("a/b")]
    #[case("A")]
    #[case("a.b")]
    #[case(&"a".repeat(65))]
    fn rejects_what_is_no_name(#[case] text: &str) {
        assert!(SecretName::parse(text).is_err());
    }
}
