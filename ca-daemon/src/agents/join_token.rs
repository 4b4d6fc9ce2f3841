//! Join tokens: a secret that lets one node prove itself once.
//!
//! Only the SHA-256 of a token is kept. A token is bound to the key of the node that uses it: when the answer is lost,
//! the same node may ask again with the same key and is answered alike; anybody else is refused.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use secplane_identity::{SpiffeId, TrustDomain};
use zeroize::Zeroizing;

/// What the attestation by join token is called on the wire and in the agent's ID.
pub const JOIN_TOKEN: &str = "join_token";

/// The shortest token that a caller may choose: shorter ones could be guessed.
pub(super) const MIN_CHARACTERS: usize = 16;
const MAX_CHARACTERS: usize = 128;
/// How much randomness a token has that the authority chooses.
const RANDOM_BYTES: usize = 16;
/// The longest that a token may wait for its node.
pub const LONGEST_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// The text of a token. Wiped when dropped, and never shown.
pub struct JoinToken(Zeroizing<String>);

impl JoinToken {
    /// Takes a token of 16 to 128 letters, digits, `-`, `_` and `.`: it becomes a part of the agent's SPIFFE ID.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if !(MIN_CHARACTERS..=MAX_CHARACTERS).contains(&text.len()) {
            return Err(TokenError::Length(text.len()));
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return Err(TokenError::Character);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// A random token of 128 bits.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn random() -> Result<Self, TokenError> {
        let mut bytes = Zeroizing::new([0; RANDOM_BYTES]);
        aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| TokenError::Randomness)?;
        Ok(Self(Zeroizing::new(hex::encode(bytes.as_ref()))))
    }

    /// The token itself, for the one who is to use it.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }

    /// The ID of the agent that uses it.
    ///
    /// # Errors
    /// When the trust domain's name leaves no room for it.
    pub fn agent_id(
        &self,
        trust_domain: &TrustDomain,
    ) -> Result<SpiffeId, secplane_identity::spiffe_id::SpiffeIdError> {
        SpiffeId::from_parts(trust_domain, &format!("/spire/agent/{JOIN_TOKEN}/{}", self.secret()))
    }
}

/// The SHA-256 of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Of a text that may be a token.
    pub(super) fn of(text: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(hash)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Enough of it to tell tokens apart in a log.
    #[must_use]
    pub fn prefix(&self) -> String {
        hex::encode(&self.0[..8])
    }
}

/// What is known of a token that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Which token.
    pub hash: TokenHash,
    /// When it ends, used or not.
    pub expires_at: SystemTime,
    /// The further SPIFFE ID that the agent gets.
    pub alias: Option<SpiffeId>,
    /// Who used it.
    pub used: Option<TokenUse>,
}

/// Who used a token, and what they were answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUse {
    /// SHA-256 of the node's key.
    pub key_sha256: [u8; 32],
    /// The serial of the SVID that it was given.
    pub serial: String,
    /// The SVID, leaf first, DER.
    pub chain: Vec<Vec<u8>>,
    /// When the SVID ends.
    pub not_after: SystemTime,
}

/// Why a text cannot be a join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Too short or too long.
    #[error("a join token has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters, this one has {0}")]
    Length(usize),
    /// Something that cannot be in a SPIFFE ID.
    #[error("a join token holds only letters, digits, `-`, `_` and `.`")]
    Character,
    /// No randomness.
    #[error("the system gives no randomness for a token")]
    Randomness,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0123456789abcdef")]
    #[case("d1f8a1f0-8c5a-4b1f-9d3c-0a1b2c3d4e5f")]
    #[case(&"a".repeat(128))]
    fn accepts_valid(#[case] text: &str) {
        assert_eq!(JoinToken::parse(text).unwrap().secret(), text);
    }

    #[rstest]
    #[case("")]
    #[case("short")]
    #[case("0123456789abcde/")]
    #[case("0123456789abcd e")]
    #[case("0123456789abcdé-")]
    #[case(&"a".repeat(129))]
    fn rejects_invalid(#[case] text: &str) {
        assert!(JoinToken::parse(text).is_err());
    }

    #[test]
    fn makes_tokens_that_differ_and_name_an_agent() {
        let (a, b) = (JoinToken::random().unwrap(), JoinToken::random().unwrap());
        assert_ne!(a.secret(), b.secret());
        assert_ne!(a.hash(), b.hash());
        let id = a.agent_id(&TrustDomain::parse("example.org").unwrap()).unwrap();
        assert_eq!(id.path(), format!("/spire/agent/join_token/{}", a.secret()));
        assert!(JoinToken::parse(a.secret()).is_ok());
    }
}
