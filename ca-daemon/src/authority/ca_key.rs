//! The private key of a CA, wherever it is kept.

use std::{fmt, sync::Arc};

use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};
use secplane_identity::{PrivateKey, private_key::PrivateKeyError};

use super::request::RequestedKey;

/// A key that a CA signs with: held in memory, or in a token that never gives it out.
///
/// Signing with the key of a token may take as long as the token does: it belongs off the async runtime.
#[derive(Clone)]
pub struct CaKey {
    signer: Arc<dyn SigningKey + Send + Sync>,
    is_in_memory: bool,
}

impl CaKey {
    /// A key that signs by other means than its bytes.
    #[must_use]
    pub fn of(signer: impl SigningKey + Send + Sync + 'static) -> Self {
        Self { signer: Arc::new(signer), is_in_memory: false }
    }

    /// DER of the SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
    #[must_use]
    pub fn public_key_info(&self) -> Vec<u8> {
        self.signer.subject_public_key_info()
    }

    /// Lower-case hex of the key identifier (RFC 5280, section 4.2.1.2, method 1); names the key everywhere.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(self.public().identifier())
    }

    /// Whether this process signs, and nobody else.
    pub(super) fn is_in_memory(&self) -> bool {
        self.is_in_memory
    }

    pub(super) fn public(&self) -> RequestedKey {
        RequestedKey::of(self)
    }
}

impl TryFrom<&PrivateKey> for CaKey {
    type Error = PrivateKeyError;

    fn try_from(key: &PrivateKey) -> Result<Self, Self::Error> {
        Ok(Self { signer: Arc::new(key.signing_pair()?), is_in_memory: true })
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.signer.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.signer.algorithm()
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signer.sign(message)
    }
}

impl fmt::Debug for CaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaKey({})", self.id())
    }
}
