//! Signing with the key of an SVID.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{self as primitive, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RsaKeyPair},
};
use secplane_identity::{PrivateKey, X509Identity};

use super::{Algorithm, KeyError, PublicKey};

/// A private key and the algorithm that it signs with.
#[derive(Debug)]
pub(crate) struct SigningKey {
    algorithm: Algorithm,
    pair: KeyPair,
}

#[derive(Debug)]
enum KeyPair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static dyn primitive::RsaEncoding),
}

impl SigningKey {
    /// Takes the key of an identity, to sign with `algorithm` or with the usual one for its kind.
    pub(crate) fn of(identity: &X509Identity, algorithm: Option<Algorithm>) -> Result<Self, SigningKeyError> {
        let public = PublicKey::from_spki(&identity.leaf().public_key_info)?;
        let algorithm = algorithm.unwrap_or_else(|| public.kind().preferred_algorithm());
        if !public.kind().fits(algorithm) {
            return Err(SigningKeyError::OtherAlgorithm { algorithm, key: public.kind().as_str() });
        }
        Ok(Self { algorithm, pair: KeyPair::read(identity.key(), algorithm)? })
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningKeyError> {
        let random = SystemRandom::new();
        match &self.pair {
            KeyPair::Ecdsa(pair) => {
                pair.sign(&random, message).map(|s| s.as_ref().to_vec()).map_err(|_| SigningKeyError::Sign)
            }
            KeyPair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            KeyPair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).map_err(|_| SigningKeyError::Sign)?;
                Ok(signature)
            }
        }
    }
}

impl KeyPair {
    fn read(key: &PrivateKey, algorithm: Algorithm) -> Result<Self, SigningKeyError> {
        let rsa = |encoding| {
            RsaKeyPair::from_pkcs8(key.pkcs8_der())
                .map(|pair| Self::Rsa(pair, encoding))
                .map_err(|e| SigningKeyError::Unusable(e.to_string()))
        };
        match algorithm {
            Algorithm::Es256 => ecdsa(key, &primitive::ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => ecdsa(key, &primitive::ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::Es512 => ecdsa(key, &primitive::ECDSA_P521_SHA512_FIXED_SIGNING),
            Algorithm::Rs256 => rsa(&primitive::RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&primitive::RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&primitive::RSA_PKCS1_SHA512),
            Algorithm::Ps256 => rsa(&primitive::RSA_PSS_SHA256),
            Algorithm::Ps384 => rsa(&primitive::RSA_PSS_SHA384),
            Algorithm::Ps512 => rsa(&primitive::RSA_PSS_SHA512),
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.pkcs8_der())
                .map(Self::Ed25519)
                .map_err(|e| SigningKeyError::Unusable(e.to_string())),
        }
    }
}

fn ecdsa(key: &PrivateKey, algorithm: &'static EcdsaSigningAlgorithm) -> Result<KeyPair, SigningKeyError> {
    EcdsaKeyPair::from_pkcs8(algorithm, key.pkcs8_der())
        .map(KeyPair::Ecdsa)
        .map_err(|e| SigningKeyError::Unusable(e.to_string()))
}

/// Why an SVID's key cannot sign a card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// The certificate's key signs no cards.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The wanted algorithm is not one of the key's.
    #[error("the SVID's key is {key} and cannot sign with {algorithm}; choose another algorithm or none")]
    OtherAlgorithm {
        /// What was asked for.
        algorithm: Algorithm,
        /// What the SVID holds.
        key: &'static str,
    },
    /// The private key cannot be used.
    #[error("the SVID's private key cannot be used: {0}")]
    Unusable(String),
    /// The signature could not be made.
    #[error("the SVID's private key could not sign")]
    Sign,
}
