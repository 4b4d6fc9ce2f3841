//! One's own identity as it changes: chain, key and trust bundles, always consistent with one another.

use std::{fmt, sync::Arc, time::SystemTime};

use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use crate::{
    PrivateKey, Revocations, SpiffeId, TrustBundleSet, TrustDomain,
    tls::crypto_provider,
    x509::{Certificate, Purpose, SvidError, VerifiedChain, VerifiedSvid, verify_x509_svid},
};

/// An X.509-SVID with its private key: what one authenticates with.
#[derive(Clone)]
pub struct X509Identity {
    id: SpiffeId,
    leaf: Certificate,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKey,
    certified: Arc<CertifiedKey>,
}

impl X509Identity {
    /// Joins a chain (leaf first) and the key of its leaf.
    ///
    /// # Errors
    /// When the chain is empty, the leaf names no SPIFFE ID, or the key is not the leaf's.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKey) -> Result<Self, IdentityError> {
        let leaf =
            Certificate::parse(chain.first().ok_or(SvidError::EmptyChain)?).map_err(SvidError::from)?;
        let id = leaf.spiffe_id()?;
        let certified = CertifiedKey::from_der(chain.clone(), key.to_rustls(), &crypto_provider())
            .map_err(IdentityError::Key)?;
        Ok(Self { id, leaf, chain, key, certified: Arc::new(certified) })
    }

    /// Who this is.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The leaf certificate.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// The certificates, leaf first, without the root.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The leaf's private key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for X509Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Identity").field("id", &self.id).field("serial", &self.leaf.serial).finish()
    }
}

/// An identity and whom it trusts, at one moment.
#[derive(Debug, Clone, Default)]
pub struct IdentitySnapshot {
    /// The own X.509-SVID; `None` for a client that has only trust bundles.
    pub identity: Option<X509Identity>,
    /// Whom to believe.
    pub bundles: TrustBundleSet,
    /// Whom no longer.
    pub revocations: Arc<Revocations>,
}

impl IdentitySnapshot {
    /// When the own certificate stops being valid.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.identity.as_ref().map(|identity| identity.leaf.not_after)
    }

    /// Verifies a peer's chain as [`verify_x509_svid`] does, and that none of its certificates was revoked.
    ///
    /// # Errors
    /// Says which check failed.
    pub fn verify_svid(
        &self,
        chain: &[CertificateDer<'_>],
        purpose: Purpose,
        at: SystemTime,
    ) -> Result<VerifiedSvid, SvidError> {
        let svid = verify_x509_svid(chain, &self.bundles, purpose, at)?;
        self.check_revocation(svid.chain(), svid.id().trust_domain())?;
        Ok(svid)
    }

    /// Refuses a verified chain of a trust domain of which a certificate was revoked since.
    ///
    /// # Errors
    /// Names the certificate.
    pub(crate) fn check_revocation(
        &self,
        chain: &VerifiedChain,
        trust_domain: &TrustDomain,
    ) -> Result<(), SvidError> {
        let bundle = self
            .bundles
            .get(trust_domain)
            .ok_or_else(|| SvidError::UnknownTrustDomain(trust_domain.clone()))?;
        self.revocations.check(chain, bundle)
    }
}

/// Where the current identity is read. Cheap to clone; every clone sees the same changes.
#[derive(Debug, Clone)]
pub struct IdentitySource(watch::Receiver<Arc<IdentitySnapshot>>);

/// The other end of an [`IdentitySource`]. Cheap to clone: who renews the identity and who revokes are not the same.
#[derive(Debug, Clone)]
pub struct IdentityPublisher(watch::Sender<Arc<IdentitySnapshot>>);

impl IdentitySource {
    /// A source and what publishes to it.
    #[must_use]
    pub fn channel(initial: IdentitySnapshot) -> (IdentityPublisher, Self) {
        let (sender, receiver) = watch::channel(Arc::new(initial));
        (IdentityPublisher(sender), Self(receiver))
    }

    /// A source that never changes.
    #[must_use]
    pub fn fixed(snapshot: IdentitySnapshot) -> Self {
        Self::channel(snapshot).1
    }

    /// The identity at this moment.
    #[must_use]
    pub fn current(&self) -> Arc<IdentitySnapshot> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits for a change since this clone last looked; for ever when the source can no longer change.
    pub async fn changed(&mut self) -> Arc<IdentitySnapshot> {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        Arc::clone(&self.0.borrow_and_update())
    }
}

impl IdentityPublisher {
    /// Replaces everything; every reader sees the new one from now on.
    pub fn publish(&self, snapshot: IdentitySnapshot) {
        self.0.send_replace(Arc::new(snapshot));
    }

    /// Replaces the identity and the bundles. What is revoked stays revoked.
    pub fn publish_identity(&self, identity: X509Identity, bundles: TrustBundleSet) {
        self.0.send_modify(|current| {
            let revocations = Arc::clone(&current.revocations);
            *current = Arc::new(IdentitySnapshot { identity: Some(identity), bundles, revocations });
        });
    }

    /// Replaces the bundles; open connections of whom they no longer vouch for end.
    pub fn publish_bundles(&self, bundles: TrustBundleSet) {
        self.0.send_modify(|current| {
            *current = Arc::new(IdentitySnapshot { bundles, ..IdentitySnapshot::clone(current) });
        });
    }

    /// Replaces what is revoked; open connections of whom that concerns end.
    pub fn publish_revocations(&self, revocations: Arc<Revocations>) {
        self.0.send_modify(|current| {
            *current = Arc::new(IdentitySnapshot { revocations, ..IdentitySnapshot::clone(current) });
        });
    }

    /// The identity at this moment.
    #[must_use]
    pub fn current(&self) -> Arc<IdentitySnapshot> {
        Arc::clone(&self.0.borrow())
    }
}

/// Why a chain and a key are not an identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The chain is not an X.509-SVID's.
    #[error(transparent)]
    Svid(#[from] SvidError),
    /// The key cannot be used, or is not the leaf's.
    #[error("the private key does not fit the certificate: {0}")]
    Key(#[source] rustls::Error),
}
