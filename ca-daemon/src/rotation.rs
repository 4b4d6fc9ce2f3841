//! What the daemon renews by itself: its issuing CA and its own server certificate, each at half of its life.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use secplane_identity::{
    IdentityPublisher, IdentitySnapshot, IdentitySource, PrivateKey, SpiffeId, TrustBundle, TrustDomain,
    X509Identity, private_key::PrivateKeyError, source::IdentityError, spiffe_id::SpiffeIdError,
};
use tokio_util::sync::CancellationToken;

use crate::{
    authority::{CaError, CertificateRequest, DnsName, DomainCa, Subject, Validity},
    founding::{self, FoundingError},
    issuance::{Issuance, IssueError, Order, Requester},
    keys::KeyStore,
    store::StoreError,
};

/// How long a failed renewal waits before the next try.
const RETRY: std::time::Duration = std::time::Duration::from_secs(10);

/// The SPIFFE ID that the server of a trust domain has.
///
/// # Errors
/// Never for a trust domain of at most 2,000 bytes, which all are.
pub fn server_id(trust_domain: &TrustDomain) -> Result<SpiffeId, SpiffeIdError> {
    SpiffeId::from_parts(trust_domain, "/spire/server")
}

/// Renews the issuing CA and the server's identity as they age.
pub struct Rotation {
    issuance: Arc<Issuance>,
    domain_ca: Arc<DomainCa>,
    replica: String,
    keys: KeyStore,
    issuing_lifetime: std::time::Duration,
    server_names: Vec<DnsName>,
    publisher: IdentityPublisher,
}

impl Rotation {
    /// Issues the server's first identity.
    ///
    /// # Errors
    /// When it cannot be issued or recorded.
    pub async fn start(
        issuance: Arc<Issuance>,
        domain_ca: Arc<DomainCa>,
        replica: String,
        keys: KeyStore,
        issuing_lifetime: std::time::Duration,
        server_names: Vec<DnsName>,
    ) -> Result<(Self, IdentitySource), RotationError> {
        let (identity, bundle) = server_identity(&issuance, &server_names).await?;
        let (publisher, source) = IdentitySource::channel(IdentitySnapshot {
            identity: Some(identity),
            bundles: bundle.into(),
            ..IdentitySnapshot::default()
        });
        Ok((Self { issuance, domain_ca, replica, keys, issuing_lifetime, server_names, publisher }, source))
    }

    /// Where the server's identity is published; what is revoked is published there too.
    #[must_use]
    pub fn publisher(&self) -> IdentityPublisher {
        self.publisher.clone()
    }

    /// Renews until `shutdown`. A renewal that fails is reported and tried again.
    pub async fn run(self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.renew_for_ever() => {}
        }
    }

    async fn renew_for_ever(&self) {
        let clock = self.issuance.clock();
        loop {
            let issuing_due = self.issuance.issuing().validity().half_life();
            let server_due = self.server_due();
            clock.wait_until(issuing_due.min(server_due)).await;
            let result = if clock.now() >= issuing_due {
                self.renew_issuing().await
            } else {
                self.renew_server().await
            };
            if let Err(error) = result {
                tracing::error!(%error, "a renewal failed; it is tried again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    fn server_due(&self) -> std::time::SystemTime {
        let current = self.publisher.current();
        current.identity.as_ref().map_or(std::time::SystemTime::UNIX_EPOCH, |identity| {
            let leaf = identity.leaf();
            Validity { not_before: leaf.not_before, not_after: leaf.not_after }.half_life()
        })
    }

    /// The key is on disk before the certificate is in the database, and that before it signs anything.
    async fn renew_issuing(&self) -> Result<(), RotationError> {
        let issuing = founding::new_issuing_ca(
            &self.domain_ca,
            &self.replica,
            &self.keys,
            self.issuance.store(),
            self.issuing_lifetime,
            self.issuance.clock().now(),
        )
        .await?;
        tracing::info!(key_id = issuing.key_id(), "a new issuing CA signs from now on");
        self.issuance.replace_issuing(issuing);
        self.renew_server().await
    }

    async fn renew_server(&self) -> Result<(), RotationError> {
        let (identity, bundle) = server_identity(&self.issuance, &self.server_names).await?;
        self.publisher.publish_identity(identity, bundle.into());
        tracing::info!("the server has a new certificate");
        Ok(())
    }
}

async fn server_identity(
    issuance: &Issuance,
    server_names: &[DnsName],
) -> Result<(X509Identity, TrustBundle), RotationError> {
    let id = server_id(issuance.trust_domain())?;
    let key = PrivateKey::generate()?;
    let request = CertificateRequest::parse(&key.svid_request(&id)?).map_err(IssueError::from)?;
    let signed = issuance
        .issue(Order {
            request,
            subject: Subject::X509Svid { id, dns_names: server_names.to_vec() },
            lifetime: None,
            requester: Requester::daemon(),
            entry_id: None,
            renews: None,
        })
        .await?;
    let chain: Vec<CertificateDer<'static>> = signed.chain;
    let bundle = issuance.bundle().borrow().as_ref().clone();
    Ok((X509Identity::new(chain, key)?, bundle))
}

/// Why something could not be renewed.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A certificate could not be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// An issuing CA could not be made.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// An issuing CA could not be kept.
    #[error(transparent)]
    Founding(#[from] FoundingError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] PrivateKeyError),
    /// The result is no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The server's ID is no SPIFFE ID.
    #[error(transparent)]
    Id(#[from] SpiffeIdError),
}
