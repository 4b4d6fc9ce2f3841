//! A private key in memory: wiped when dropped, never shown.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::SpiffeId;

/// A private key in PKCS#8 form (RFC 5958). Its bytes are zeroed when it is dropped.
#[derive(Clone)]
pub struct PrivateKey(Zeroizing<Vec<u8>>);

impl PrivateKey {
    /// Makes a new EC P-256 key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, PrivateKeyError> {
        let pair =
            KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(PrivateKeyError::Generate)?;
        Ok(Self(Zeroizing::new(pair.serialize_der())))
    }

    /// Takes PKCS#8 DER as it stands.
    ///
    /// # Errors
    /// When the bytes are not a key that can sign here (EC P-256/384/521, Ed25519, RSA).
    pub fn from_pkcs8(der: Vec<u8>) -> Result<Self, PrivateKeyError> {
        let key = Self(Zeroizing::new(der));
        key.signing_pair()?;
        Ok(key)
    }

    /// Reads the first PKCS#8 `PRIVATE KEY` block of a PEM text.
    ///
    /// # Errors
    /// When there is none or it is not a key that can sign here.
    pub fn from_pem(text: &str) -> Result<Self, PrivateKeyError> {
        let blocks = pem::parse_many(text).map_err(|e| PrivateKeyError::Pem(e.to_string()))?;
        let found = blocks.into_iter().find(|b| b.tag() == "PRIVATE KEY").ok_or_else(|| {
            PrivateKeyError::Pem("it has no PKCS#8 `PRIVATE KEY` block; convert the key to PKCS#8".into())
        })?;
        Self::from_pkcs8(found.into_contents())
    }

    /// PKCS#8 PEM, wiped when dropped.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem::encode_config(
            &pem::Pem::new("PRIVATE KEY", self.0.to_vec()),
            pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
        ))
    }

    /// PKCS#8 DER.
    #[must_use]
    pub fn pkcs8_der(&self) -> &[u8] {
        &self.0
    }

    /// The key in the form that rustls takes.
    #[must_use]
    pub fn to_rustls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.to_vec()))
    }

    /// The key as an rcgen signer.
    ///
    /// # Errors
    /// When the bytes are not a key that can sign here.
    pub fn signing_pair(&self) -> Result<KeyPair, PrivateKeyError> {
        KeyPair::try_from(self.0.as_slice()).map_err(PrivateKeyError::Unusable)
    }

    /// A DER certificate request (RFC 2986) for this key that names one SPIFFE ID.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn svid_request(&self, id: &SpiffeId) -> Result<Vec<u8>, PrivateKeyError> {
        let name = id.as_str().try_into().map_err(PrivateKeyError::Request)?;
        self.request(vec![SanType::URI(name)])
    }

    /// A DER certificate request (RFC 2986) for this key that names nothing: the issuer decides the names.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn bare_request(&self) -> Result<Vec<u8>, PrivateKeyError> {
        self.request(Vec::new())
    }

    fn request(&self, names: Vec<SanType>) -> Result<Vec<u8>, PrivateKeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names;
        let request = params.serialize_request(&self.signing_pair()?).map_err(PrivateKeyError::Request)?;
        Ok(request.der().to_vec())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// Why a private key cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateKeyError {
    /// No key could be generated.
    #[error("no private key could be generated: {0}")]
    Generate(#[source] rcgen::Error),
    /// The PEM text holds no key.
    #[error("the private key cannot be read: {0}")]
    Pem(String),
    /// The bytes are not a usable key.
    #[error("the private key is not a PKCS#8 key of a supported kind (EC P-256/384/521, Ed25519, RSA): {0}")]
    Unusable(#[source] rcgen::Error),
    /// No certificate request could be made.
    #[error("no certificate request could be made: {0}")]
    Request(#[source] rcgen::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_pem() {
        let key = PrivateKey::generate().unwrap();
        let again = PrivateKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(key.pkcs8_der(), again.pkcs8_der());
    }

    #[test]
    fn rejects_what_is_no_key() {
        assert!(PrivateKey::from_pkcs8(vec![0x30, 0x00]).is_err());
        assert!(PrivateKey::from_pem("nothing").is_err());
        assert!(
            PrivateKey::from_pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err()
        );
    }

    #[test]
    fn is_never_shown() {
        assert_eq!(format!("{:?}", PrivateKey::generate().unwrap()), "PrivateKey(…)");
    }
}
