//! The trust bundle of a foreign trust domain.

use std::collections::BTreeSet;

use prost::Message;
use secplane_identity::{
    TrustBundle, TrustDomain,
    trust_bundle::{JwtAuthority, TrustBundleError},
};
use secplane_proto::spire::api::types;
use x509_parser::{prelude::FromDer, x509::SubjectPublicKeyInfo};

use crate::instant::from_unix;

/// The largest bundle, in bytes as a message: any of them fits into an answer.
pub const MAX_BUNDLE_BYTES: usize = 1024 * 1024;
/// The longest ID of a key, in bytes.
const MAX_KEY_ID_BYTES: usize = 1024;

/// A foreign trust bundle of which every part can be used.
#[derive(Debug, Clone)]
pub struct FederatedBundle {
    wire: types::Bundle,
    trust: TrustBundle,
}

impl FederatedBundle {
    /// Checks a bundle.
    ///
    /// # Errors
    /// Names the part that cannot be used.
    pub fn new(wire: types::Bundle) -> Result<Self, BundleError> {
        if wire.encoded_len() > MAX_BUNDLE_BYTES {
            return Err(BundleError::TooLarge(wire.encoded_len()));
        }
        let trust_domain = TrustDomain::parse(&wire.trust_domain)
            .map_err(|error| BundleError::TrustDomain(error.to_string()))?;
        if wire.refresh_hint < 0 {
            return Err(BundleError::RefreshHint);
        }
        let roots = wire.x509_authorities.iter().map(|root| root.asn1.as_slice());
        let jwt_keys = wire.jwt_authorities.iter().map(|key| JwtAuthority {
            key_id: key.key_id.clone(),
            public_key_info: key.public_key.clone(),
            expires_at: (key.expires_at > 0).then(|| from_unix(key.expires_at)),
            tainted: key.tainted,
        });
        let trust = TrustBundle::new(trust_domain, roots)?
            .with_jwt_authorities(jwt_keys.collect())?
            .with_sequence(wire.sequence_number);
        let mut ids: BTreeSet<_> = wire.jwt_authorities.iter().map(|key| &key.key_id).collect();
        for key in &wire.wit_authorities {
            if key.key_id.is_empty() || key.key_id.len() > MAX_KEY_ID_BYTES || !ids.insert(&key.key_id) {
                return Err(BundleError::KeyId(key.key_id.chars().take(64).collect()));
            }
            if !SubjectPublicKeyInfo::from_der(&key.public_key).is_ok_and(|(rest, _)| rest.is_empty()) {
                return Err(BundleError::Key(key.key_id.clone()));
            }
        }
        // The name in its one form: it may have come as `spiffe://…`.
        let trust_domain = trust.trust_domain().to_string();
        Ok(Self { wire: types::Bundle { trust_domain, ..wire }, trust })
    }

    /// The bundle with the parts that a mask names taken from another one; no mask names them all.
    ///
    /// # Errors
    /// As [`FederatedBundle::new`].
    pub fn changed(
        &self,
        from: types::Bundle,
        mask: Option<&types::BundleMask>,
    ) -> Result<Self, BundleError> {
        let old = self.wire.clone();
        let Some(mask) = mask else {
            return Self::new(types::Bundle { trust_domain: old.trust_domain, ..from });
        };
        Self::new(types::Bundle {
            trust_domain: old.trust_domain,
            x509_authorities: if mask.x509_authorities {
                from.x509_authorities
            } else {
                old.x509_authorities
            },
            jwt_authorities: if mask.jwt_authorities { from.jwt_authorities } else { old.jwt_authorities },
            wit_authorities: if mask.wit_authorities { from.wit_authorities } else { old.wit_authorities },
            refresh_hint: if mask.refresh_hint { from.refresh_hint } else { old.refresh_hint },
            sequence_number: if mask.sequence_number { from.sequence_number } else { old.sequence_number },
        })
    }

    /// Whose it is.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        self.trust.trust_domain()
    }

    /// The whole bundle as a message.
    #[must_use]
    pub fn to_wire(&self) -> &types::Bundle {
        &self.wire
    }

    /// Its X.509 roots and JWT keys.
    #[must_use]
    pub fn trust_bundle(&self) -> &TrustBundle {
        &self.trust
    }

    /// How often it should be fetched again, in seconds; 0 when it does not say.
    #[must_use]
    pub fn refresh_hint_seconds(&self) -> u64 {
        u64::try_from(self.wire.refresh_hint).unwrap_or(0)
    }
}

impl PartialEq for FederatedBundle {
    fn eq(&self, other: &Self) -> bool {
        self.wire == other.wire
    }
}

/// Why a bundle cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The name is not one.
    #[error("invalid bundle: the trust domain is not usable: {0}")]
    TrustDomain(String),
    /// Larger than [`MAX_BUNDLE_BYTES`].
    #[error("invalid bundle: it has {0} bytes, and at most {MAX_BUNDLE_BYTES} are kept")]
    TooLarge(usize),
    /// A root or a JWT key is not one.
    #[error("invalid bundle: {0}")]
    Trust(#[from] TrustBundleError),
    /// The ID of another key is empty, too long or there twice.
    #[error(
        "invalid bundle: the key ID `{0}` is empty, longer than {MAX_KEY_ID_BYTES} bytes, or there twice"
    )]
    KeyId(String),
    /// A JWT key is not one.
    #[error(
        "invalid bundle: the public key of `{0}` is not a SubjectPublicKeyInfo in DER (RFC 5280, section 4.1)"
    )]
    Key(String),
    /// The hint is negative.
    #[error("invalid bundle: the refresh hint is negative")]
    RefreshHint,
}
