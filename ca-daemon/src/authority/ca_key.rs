//! The private key of a CA, wherever it is kept.

use std::{fmt, sync::Arc};

use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};
use secplane_identity::{PrivateKey, private_key::PrivateKeyError, x509::CertificateError};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{ca::CaError, request::RequestedKey};

/// What a CA's key is called by its certificate's public key, whatever ID the certificate gives it. `None` when there is
/// no key in it that a CA of ours could have.
pub(crate) fn key_id_of(certificate: &[u8]) -> Option<String> {
    CaKey::absent(certificate).ok().map(|key| key.id())
}

/// A key that a CA signs with: held in memory, or in a token that never gives it out.
///
/// Signing with the key of a token may take as long as the token does: it belongs off the async runtime.
#[derive(Clone)]
pub struct CaKey {
    signer: Arc<dyn SigningKey + Send + Sync>,
    is_in_memory: bool,
    is_absent: bool,
}

impl CaKey {
    /// A key that signs by other means than its bytes.
    #[must_use]
    pub fn of(signer: impl SigningKey + Send + Sync + 'static) -> Self {
        Self { signer: Arc::new(signer), is_in_memory: false, is_absent: false }
    }

    /// The key of a CA certificate that cannot be had at this moment: it says which key that is, and signs nothing.
    pub(crate) fn absent(certificate: &[u8]) -> Result<Self, CaError> {
        let (_, certificate) = X509Certificate::from_der(certificate)
            .map_err(|error| CertificateError::Malformed(error.to_string()))?;
        let public = RequestedKey::read(certificate.public_key()).map_err(|error| CaError::Unfit {
            serial: certificate.raw_serial_as_string(),
            reason: error.to_string(),
        })?;
        Ok(Self { signer: Arc::new(Absent(public)), is_in_memory: false, is_absent: true })
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

    /// Whether it is elsewhere and signs nothing.
    pub(super) fn is_absent(&self) -> bool {
        self.is_absent
    }

    pub(super) fn public(&self) -> RequestedKey {
        RequestedKey::of(self)
    }
}

impl TryFrom<&PrivateKey> for CaKey {
    type Error = PrivateKeyError;

    fn try_from(key: &PrivateKey) -> Result<Self, Self::Error> {
        Ok(Self { signer: Arc::new(key.signing_pair()?), is_in_memory: true, is_absent: false })
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

/// What is left of a key that is away.
struct Absent(RequestedKey);

impl PublicKeyData for Absent {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for Absent {
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Err(rcgen::Error::RemoteKeyError)
    }
}
