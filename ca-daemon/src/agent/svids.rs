//! The SVIDs of this node's workloads: one an entry, shared by every process that has it, replaced at half of its
//! life.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::{Duration, SystemTime},
};

use secplane_identity::{
    KeyKind, PrivateKey, private_key::PrivateKeyError, revocation::Revocable, x509::Certificate,
};
use tokio::sync::Mutex;

use crate::{
    authority::{CertificateRequest, SignedCertificate, Subject},
    issuance::{Issuance, IssueError, Order, Requester},
    registry::{Entry, EntryId},
};

/// How long an issuing that failed waits for the next try.
const RETRY: Duration = Duration::from_secs(5);

/// An X.509-SVID with its key, and when its successor is due.
#[derive(Clone)]
pub(super) struct Svid {
    pub(super) certificate: SignedCertificate,
    pub(super) key: PrivateKey,
    pub(super) rotate_at: SystemTime,
    entry_revision: i64,
}

/// One place an entry: its lock lets one caller issue while the others wait for the result.
type Place = Arc<Mutex<Option<Arc<Svid>>>>;

/// Places are looked through for dead ones each time their number has doubled.
const FIRST_PRUNING: usize = 256;

pub(super) struct SvidCache {
    issuance: Arc<Issuance>,
    key_kind: KeyKind,
    places: std::sync::Mutex<Places>,
}

struct Places {
    by_entry: HashMap<EntryId, Place>,
    prune_at: usize,
}

impl SvidCache {
    pub(super) fn new(issuance: Arc<Issuance>, key_kind: KeyKind) -> Self {
        let places = Places { by_entry: HashMap::new(), prune_at: FIRST_PRUNING };
        Self { issuance, key_kind, places: std::sync::Mutex::new(places) }
    }

    /// The current SVID of an entry; a new one when there is none, it is half over or revoked, its root is tainted, or
    /// the entry changed.
    pub(super) async fn current(&self, entry: &Entry, requester: &str) -> Result<Arc<Svid>, SvidFailure> {
        let place = self.place(entry.id());
        let mut held = place.lock().await;
        let now = self.issuance.clock().now();
        let usable = held.as_ref().filter(|svid| self.is_usable(svid, entry, now)).map(Arc::clone);
        if let Some(svid) = usable.as_ref().filter(|svid| now < svid.rotate_at) {
            return Ok(Arc::clone(svid));
        }
        match self.issue(entry, requester).await {
            Ok(svid) => {
                let svid = Arc::new(svid);
                *held = Some(Arc::clone(&svid));
                Ok(svid)
            }
            // What is still valid serves on: a workload is better off with an old SVID than with none.
            Err(failure) => {
                let Some(svid) = usable else { return Err(failure) };
                tracing::error!(entry = %entry.id(), error = %failure, "an SVID could not be renewed; the old one serves on");
                let left = svid.certificate.not_after().duration_since(now).unwrap_or_default();
                let kept = Arc::new(Svid { rotate_at: now + RETRY.min(left / 2), ..Svid::clone(&svid) });
                *held = Some(Arc::clone(&kept));
                Ok(kept)
            }
        }
    }

    fn is_usable(&self, svid: &Svid, entry: &Entry, now: SystemTime) -> bool {
        let certificate = &svid.certificate;
        svid.entry_revision == entry.revision()
            && now < certificate.not_after()
            && !self.is_revoked(certificate)
            && !self.issuance.is_withdrawn(&certificate.issuer_key_id)
    }

    /// A certificate that cannot be read counts as revoked: nobody could use it.
    fn is_revoked(&self, certificate: &SignedCertificate) -> bool {
        let leaf = certificate.chain.first().and_then(|leaf| Certificate::parse(leaf).ok());
        leaf.is_none_or(|leaf| self.issuance.revoked().contains(&Revocable::of(&leaf)))
    }

    async fn issue(&self, entry: &Entry, requester: &str) -> Result<Svid, SvidFailure> {
        let fields = entry.fields();
        let kind = self.key_kind;
        let key = tokio::task::spawn_blocking(move || PrivateKey::generate_kind(kind))
            .await
            .map_err(|_| SvidFailure::Interrupted)??;
        let request =
            CertificateRequest::parse(&key.svid_request(&fields.spiffe_id)?).map_err(IssueError::from)?;
        let certificate = self
            .issuance
            .issue(Order {
                request,
                subject: Subject::X509Svid {
                    id: fields.spiffe_id.clone(),
                    dns_names: fields.dns_names.clone(),
                },
                lifetime: self.issuance.granted_lifetime(entry),
                requester: Requester::local(requester),
                entry_id: Some(entry.id().clone()),
                renews: None,
            })
            .await?;
        let rotate_at = certificate.validity.half_life();
        Ok(Svid { certificate, key, rotate_at, entry_revision: entry.revision() })
    }

    fn place(&self, id: &EntryId) -> Place {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.by_entry.len() >= places.prune_at {
            let now = self.issuance.clock().now();
            places.by_entry.retain(|_, place| is_alive(place, now));
            places.prune_at = (places.by_entry.len() * 2).max(FIRST_PRUNING);
        }
        Arc::clone(places.by_entry.entry(id.clone()).or_default())
    }
}

/// A place lives while somebody uses it or its SVID is valid.
fn is_alive(place: &Place, now: SystemTime) -> bool {
    match place.try_lock() {
        Ok(held) => held.as_ref().is_some_and(|svid| svid.certificate.not_after() > now),
        Err(_) => true,
    }
}

/// Why there is no SVID for an entry.
#[derive(Debug, thiserror::Error)]
pub(super) enum SvidFailure {
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Key(#[from] PrivateKeyError),
    #[error("the daemon is stopping")]
    Interrupted,
}
