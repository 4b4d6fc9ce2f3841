//! What the daemon does by itself as time goes by: it keeps in step with the authorities, and renews its own server
//! certificate at half of its life, when another issuing CA signs, or when it was revoked.

use std::{sync::Arc, time::SystemTime};

use rustls_pki_types::CertificateDer;
use secplane_identity::{
    IdentityPublisher, IdentitySnapshot, IdentitySource, PrivateKey, SpiffeId, TrustDomain, X509Identity,
    private_key::PrivateKeyError, revocation::Revocable, source::IdentityError, spiffe_id::SpiffeIdError,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::{
    authority::{CertificateRequest, DnsName, Subject, Validity},
    issuance::{Issuance, IssueError, Order, Requester},
    lifecycle::{Lifecycle, LifecycleError},
    store::Notice,
};

/// How long what failed waits before the next try.
const RETRY: std::time::Duration = std::time::Duration::from_secs(10);

/// The SPIFFE ID that the server of a trust domain has.
///
/// # Errors
/// Never for a trust domain of at most 2,000 bytes, which all are.
pub fn server_id(trust_domain: &TrustDomain) -> Result<SpiffeId, SpiffeIdError> {
    SpiffeId::from_parts(trust_domain, "/spire/server")
}

/// Keeps the authorities and the server's identity current.
pub struct Rotation {
    issuance: Arc<Issuance>,
    lifecycle: Arc<Lifecycle>,
    server_names: Vec<DnsName>,
    publisher: IdentityPublisher,
    /// The issuing CA that signed the server's certificate.
    signed_by: String,
}

impl Rotation {
    /// Issues the server's first identity.
    ///
    /// # Errors
    /// When it cannot be issued or recorded.
    pub async fn start(
        issuance: Arc<Issuance>,
        lifecycle: Arc<Lifecycle>,
        server_names: Vec<DnsName>,
    ) -> Result<(Self, IdentitySource), RotationError> {
        let (identity, signed_by) = server_identity(&issuance, &server_names).await?;
        let bundle = issuance.bundle().borrow().as_ref().clone();
        let (publisher, source) = IdentitySource::channel(IdentitySnapshot {
            identity: Some(identity),
            bundles: bundle.into(),
            ..IdentitySnapshot::default()
        });
        Ok((Self { issuance, lifecycle, server_names, publisher, signed_by }, source))
    }

    /// Where the server's identity is published; what is revoked is published there too.
    #[must_use]
    pub fn publisher(&self) -> IdentityPublisher {
        self.publisher.clone()
    }

    /// Goes on until `shutdown`. What fails is reported and tried again.
    pub async fn run(mut self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.keep_up_for_ever() => {}
        }
    }

    async fn keep_up_for_ever(&mut self) {
        let clock = self.issuance.clock().clone();
        let mut notices = self.issuance.store().changes();
        let mut caught_up = self.lifecycle.changes();
        let mut bundles = self.issuance.bundle();
        let mut revoked = self.issuance.revoked().changes();
        // Something may have been revoked since the server's certificate was issued.
        revoked.mark_changed();
        let mut failed = false;
        // What others changed since this replica read the authorities at its start was told to nobody.
        let mut by_others = true;
        loop {
            match self.keep_up(by_others).await {
                // Who did not look at the authorities cannot say that they are well again.
                Ok(()) => failed &= !by_others,
                Err(error) => {
                    failed = true;
                    tracing::error!(%error, "the authorities or the server's certificate could not be renewed; it is tried again");
                }
            }
            self.issuance.store().metrics().set_renewal_failing(failed);
            let due = self.lifecycle.next_due().min(self.server_due());
            let by_clock = async {
                if failed {
                    tokio::time::sleep(RETRY).await;
                } else {
                    clock.wait_until(due).await;
                }
            };
            by_others = tokio::select! {
                () = by_clock => true,
                () = concerning_authorities(&mut notices) => true,
                // This replica took a step itself, or has just tried to; only the server's certificate and trust remain
                // to follow. What failed before is not tried again here: each try ends with such a change.
                _ = caught_up.changed() => false,
                _ = bundles.changed() => false,
                _ = revoked.changed() => false,
            };
        }
    }

    async fn keep_up(&mut self, by_others: bool) -> Result<(), RotationError> {
        let followed = if by_others { self.lifecycle.keep_up().await } else { Ok(()) };
        // Whom the server trusts changes at once, whatever else fails.
        self.follow_bundle();
        if self.server_due() <= self.issuance.clock().now()
            || self.signed_by != self.issuance.issuing().key_id()
            || self.is_server_revoked()
        {
            self.renew_server().await?;
        }
        Ok(followed?)
    }

    fn server_due(&self) -> SystemTime {
        let current = self.publisher.current();
        current.identity.as_ref().map_or(SystemTime::UNIX_EPOCH, |identity| {
            let leaf = identity.leaf();
            Validity { not_before: leaf.not_before, not_after: leaf.not_after }.half_life()
        })
    }

    /// Whether everyone who reads revocation lists refuses this server.
    fn is_server_revoked(&self) -> bool {
        let current = self.publisher.current();
        current
            .identity
            .as_ref()
            .is_some_and(|identity| self.issuance.revoked().contains(&Revocable::of(identity.leaf())))
    }

    fn follow_bundle(&self) {
        let bundle = Arc::clone(&self.issuance.bundle().borrow());
        let current = self.publisher.current();
        let is_followed = current.bundles.get(bundle.trust_domain()).is_some_and(|followed| {
            followed.sequence() == bundle.sequence()
                && followed.authorities().map(|root| &root.der).eq(bundle.authorities().map(|root| &root.der))
        });
        if !is_followed {
            let mut bundles = current.bundles.clone();
            bundles.insert(bundle.as_ref().clone());
            self.publisher.publish_bundles(bundles);
        }
    }

    async fn renew_server(&mut self) -> Result<(), RotationError> {
        let (identity, signed_by) = server_identity(&self.issuance, &self.server_names).await?;
        self.publisher.publish_identity(identity, self.publisher.current().bundles.clone());
        self.signed_by = signed_by;
        tracing::info!("the server has a new certificate");
        Ok(())
    }
}

/// Waits until another replica changed an authority, or may have.
async fn concerning_authorities(notices: &mut Receiver<Notice>) {
    loop {
        match notices.recv().await {
            Ok(Notice::Authorities | Notice::Everything) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            // There are no other replicas, or the daemon is stopping.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

async fn server_identity(
    issuance: &Issuance,
    server_names: &[DnsName],
) -> Result<(X509Identity, String), RotationError> {
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
    Ok((X509Identity::new(chain, key)?, signed.issuer_key_id))
}

/// Why something could not be renewed.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A certificate could not be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The authorities could not be followed or renewed.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
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

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use crate::lifecycle::{
        Line,
        testing::{HOUR, World},
    };

    const MINUTE: Duration = Duration::from_secs(60);

    async fn shows(issuance: &Issuance, line: &str) {
        let shown = async {
            while !issuance.store().metrics().encode().unwrap().lines().any(|found| found == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(MINUTE, shown).await.unwrap();
    }

    #[tokio::test]
    async fn tells_while_nothing_new_can_be_made() {
        let world = World::new();
        let (issuance, lifecycle) = world.start().await;
        let root = world.key_file(&lifecycle.standing().active(Line::Root).unwrap().key_id);
        let aside = root.with_extension("aside");
        issuance.store().clone().close().await;
        fs::rename(&root, &aside).unwrap();
        world.advance(HOUR * 13);

        let (issuance, lifecycle) = world.start().await;
        let before = issuance.issuing().key_id().to_owned();
        let (rotation, _identity) =
            Rotation::start(Arc::clone(&issuance), lifecycle, Vec::new()).await.unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(rotation.run(stop.clone()));
        shows(&issuance, "secplane_ca_renewal_failing 1").await;
        assert_eq!(issuance.issuing().key_id(), before);
        fs::rename(&aside, &root).unwrap();
        issuance.store().read_again(Notice::Everything);
        shows(&issuance, "secplane_ca_renewal_failing 0").await;
        assert_ne!(issuance.issuing().key_id(), before);
        stop.cancel();
        running.await.unwrap();
    }
}
