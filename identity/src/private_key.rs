//! A private key in memory: wiped when dropped, never shown.

use std::fmt;

use aws_lc_rs::{encoding::AsDer, signature};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData, RsaKeySize, SanType};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::SpiffeId;

/// The kinds of key that are made here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// ECDSA on P-256 with SHA-256: what everything understands, and fast.
    #[default]
    #[serde(rename = "ec-p256")]
    EcP256,
    /// ECDSA on P-384 with SHA-384.
    #[serde(rename = "ec-p384")]
    EcP384,
    /// Ed25519 (RFC 8032). Not every TLS library takes it in certificates, and no JWT-SVID may be signed with it.
    Ed25519,
    /// RSA with 2048 bits and SHA-256.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA with 3072 bits and SHA-256.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA with 4096 bits and SHA-256.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::EcP256, Self::EcP384, Self::Ed25519, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::Ed25519 => "ed25519",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
        })
    }
}

/// A private key in PKCS#8 form (RFC 5958). Its bytes are zeroed when it is dropped.
#[derive(Clone)]
pub struct PrivateKey(Zeroizing<Vec<u8>>);

impl PrivateKey {
    /// Makes a new EC P-256 key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, PrivateKeyError> {
        Self::generate_kind(KeyKind::EcP256)
    }

    /// Makes a new key of a kind. An RSA key takes up to seconds: make it off the async runtime.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate_kind(kind: KeyKind) -> Result<Self, PrivateKeyError> {
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
        let pair = match kind {
            KeyKind::EcP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyKind::EcP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyKind::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
            KeyKind::Rsa2048 => rsa(RsaKeySize::_2048),
            KeyKind::Rsa3072 => rsa(RsaKeySize::_3072),
            KeyKind::Rsa4096 => rsa(RsaKeySize::_4096),
        }
        .map_err(PrivateKeyError::Generate)?;
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

    /// Reads the first private key of a PEM text: PKCS#8 (`PRIVATE KEY`), or the older forms that OpenSSL has
    /// written (`EC PRIVATE KEY` of RFC 5915, `RSA PRIVATE KEY` of RFC 8017).
    ///
    /// # Errors
    /// When there is none, it is encrypted, or it is not a key that can sign here.
    pub fn from_pem(text: &str) -> Result<Self, PrivateKeyError> {
        let blocks = pem::parse_many(text).map_err(|e| PrivateKeyError::Pem(e.to_string()))?;
        for block in blocks {
            if block.headers().get("DEK-Info").is_some() || block.tag() == "ENCRYPTED PRIVATE KEY" {
                return Err(PrivateKeyError::Pem("it is encrypted; decrypt it first".into()));
            }
            match block.tag() {
                "PRIVATE KEY" => return Self::from_pkcs8(block.into_contents()),
                "EC PRIVATE KEY" => return Self::from_sec1(&Zeroizing::new(block.into_contents())),
                "RSA PRIVATE KEY" => return Self::from_pkcs1(&Zeroizing::new(block.into_contents())),
                _ => {}
            }
        }
        Err(PrivateKeyError::Pem("it has no `PRIVATE KEY` block".into()))
    }

    fn from_sec1(der: &[u8]) -> Result<Self, PrivateKeyError> {
        [&signature::ECDSA_P256_SHA256_ASN1_SIGNING, &signature::ECDSA_P384_SHA384_ASN1_SIGNING]
            .into_iter()
            .find_map(|curve| signature::EcdsaKeyPair::from_private_key_der(curve, der).ok())
            .and_then(|pair| pair.to_pkcs8v1().ok())
            .map(|document| Self(Zeroizing::new(document.as_ref().to_vec())))
            .ok_or_else(|| PrivateKeyError::Pem("its EC key is not on P-256 or P-384".into()))
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self, PrivateKeyError> {
        signature::RsaKeyPair::from_der(der)
            .ok()
            .and_then(|pair| pair.as_der().ok())
            .map(|document| Self(Zeroizing::new(document.as_ref().to_vec())))
            .ok_or_else(|| {
                PrivateKeyError::Pem("its RSA key is malformed or has fewer than 2048 bits".into())
            })
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

    /// DER of the public key's SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
    ///
    /// # Errors
    /// When the bytes are not a key that can sign here.
    pub fn public_key_info(&self) -> Result<Vec<u8>, PrivateKeyError> {
        Ok(self.signing_pair()?.subject_public_key_info())
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
    use rcgen::PublicKeyData;
    use rstest::rstest;

    use super::*;

    #[test]
    fn survives_pem() {
        let key = PrivateKey::generate().unwrap();
        let again = PrivateKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(key.pkcs8_der(), again.pkcs8_der());
    }

    #[rstest]
    #[case(KeyKind::EcP256)]
    #[case(KeyKind::EcP384)]
    #[case(KeyKind::Ed25519)]
    #[case(KeyKind::Rsa2048)]
    #[case(KeyKind::Rsa3072)]
    fn makes_each_kind_of_key(#[case] kind: KeyKind) {
        let key = PrivateKey::generate_kind(kind).unwrap();
        let again = PrivateKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(key.pkcs8_der(), again.pkcs8_der());
        let json = serde_json::to_value(kind).unwrap();
        assert_eq!(json, kind.to_string());
        assert_eq!(serde_json::from_value::<KeyKind>(json).unwrap(), kind);
    }

    /// The forms that OpenSSL wrote before PKCS#8, made out of a key in PKCS#8.
    fn older_form(key: &PrivateKey) -> pem::Pem {
        let der = key.pkcs8_der();
        match signature::EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, der) {
            Ok(pair) => {
                let inner: aws_lc_rs::encoding::EcPrivateKeyRfc5915Der<'_> =
                    pair.private_key().as_der().unwrap();
                pem::Pem::new("EC PRIVATE KEY", inner.as_ref())
            }
            // PKCS#8 puts 26 bytes before the RSA key of 2048 bits that it holds.
            Err(_) => pem::Pem::new("RSA PRIVATE KEY", &der[26..]),
        }
    }

    #[rstest]
    #[case(KeyKind::EcP256)]
    #[case(KeyKind::Rsa2048)]
    fn reads_the_older_forms_of_openssl(#[case] kind: KeyKind) {
        let key = PrivateKey::generate_kind(kind).unwrap();
        let read = PrivateKey::from_pem(&pem::encode(&older_form(&key))).unwrap();
        let public = |key: &PrivateKey| key.signing_pair().unwrap().subject_public_key_info();
        assert_eq!(public(&read), public(&key));
        assert!(PrivateKey::from_pkcs8(read.pkcs8_der().to_vec()).is_ok());
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
