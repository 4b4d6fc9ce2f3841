//! The way of a certificate: granted, signed, recorded, handed out — in that order.
//!
//! A certificate leaves [`Issuance::issue`] only when its record is on disk, so that killing the daemon at any
//! moment loses no certificate that somebody received.

pub(crate) mod proof;

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use secplane_identity::{SpiffeId, TrustBundle, TrustDomain, revocation::KeyHash};
use tokio::sync::watch;

use crate::{
    access::{Caller, Revoked},
    audit::{Action, Event},
    authority::{
        CertificateRequest, DnsName, IssuingCa, Lifetimes, NameError, RequestError, SignError,
        SignedCertificate, Subject,
    },
    instant::{Clock, unix},
    keys::RowMac,
    operations::metrics::IssueResult,
    registry::{Entry, EntryId},
    store::{CertificateRecord, Change, Commit, Store, StoreError},
};

/// What is to be issued, and who asked.
#[derive(Debug)]
pub struct Order {
    /// The request with the public key.
    pub request: CertificateRequest,
    /// What was granted.
    pub subject: Subject,
    /// How long it shall live; `None` for the default of its kind.
    pub lifetime: Option<Duration>,
    /// Who asked.
    pub requester: Requester,
    /// The entry that granted it.
    pub entry_id: Option<EntryId>,
    /// The certificate that it renews.
    pub renews: Option<CertificateRecord>,
}

/// Who asked for something, for the record and the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    name: String,
    address: Option<SocketAddr>,
    /// The serial number of the certificate that they authenticated with.
    certificate: Option<String>,
}

impl Requester {
    /// The daemon itself.
    #[must_use]
    pub fn daemon() -> Self {
        Self::local("ca-daemon")
    }

    /// Somebody on this machine.
    #[must_use]
    pub fn local(name: impl Into<String>) -> Self {
        Self { name: name.into(), address: None, certificate: None }
    }

    /// As they stand in records.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What a commit begins with that is refused if their certificate was revoked by then: they were let in before, and
    /// their agent may have been banned since.
    pub(crate) fn still_trusted(&self) -> Option<Change> {
        self.certificate.clone().map(Change::HoldCertificate)
    }

    /// What they did to `target`, for the audit log.
    #[must_use]
    pub fn event(&self, action: Action, target: impl Into<String>) -> Event {
        Event { actor: self.name.clone(), address: self.address, ..Event::by_daemon(action, target) }
    }
}

impl From<&Caller> for Requester {
    fn from(caller: &Caller) -> Self {
        let certificate = caller.holder().map(|holder| holder.serial.clone());
        Self { name: caller.to_string(), address: caller.address(), certificate }
    }
}

/// Issues certificates and records them.
pub struct Issuance {
    trust_domain: TrustDomain,
    issuing: ArcSwap<IssuingCa>,
    lifetimes: ArcSwap<Lifetimes>,
    bundle: watch::Sender<Arc<TrustBundle>>,
    /// The key IDs of issuing CAs whose signatures are to be replaced.
    withdrawn: watch::Sender<Arc<HashSet<String>>>,
    revoked: Arc<Revoked>,
    store: Store,
    /// What proves its records.
    mac: RowMac,
    clock: Clock,
}

impl Issuance {
    /// Issues with `issuing`, below the roots of `bundle`.
    #[must_use]
    pub fn new(
        issuing: IssuingCa,
        bundle: TrustBundle,
        lifetimes: Lifetimes,
        revoked: Arc<Revoked>,
        store: Store,
        mac: RowMac,
        clock: Clock,
    ) -> Self {
        Self {
            trust_domain: bundle.trust_domain().clone(),
            issuing: ArcSwap::from_pointee(issuing),
            lifetimes: ArcSwap::from_pointee(lifetimes),
            bundle: watch::Sender::new(Arc::new(bundle)),
            withdrawn: watch::Sender::default(),
            revoked,
            store,
            mac,
            clock,
        }
    }

    /// Signs what was ordered, records it, and answers it.
    ///
    /// # Errors
    /// When the request asks for a name that was not granted, the lifetime is refused, or the record cannot be
    /// written: then nothing is handed out.
    pub async fn issue(&self, order: Order) -> Result<SignedCertificate, IssueError> {
        let now = self.clock.now();
        let signed = self.sign(order, now);
        match signed {
            Ok((signed, record, event)) => {
                let changes = vec![Change::Issue(vec![record])];
                self.store.commit(Commit { changes, events: vec![event] }).await?;
                Ok(signed)
            }
            Err((error, event)) => {
                self.store.record(event).await?;
                Err(error)
            }
        }
    }

    /// Signs what was ordered, and answers with it the commit that records it: for a certificate that is recorded
    /// together with something else. Nobody may be given the certificate before that commit is on disk. A refusal is
    /// recorded by whoever calls this, as part of what they do with it.
    ///
    /// # Errors
    /// When the request asks for a name that was not granted, or the lifetime is refused.
    pub fn prepare(&self, order: Order) -> Result<(SignedCertificate, Commit), IssueError> {
        let (signed, record, event) = self.sign(order, self.clock.now()).map_err(|(error, _)| error)?;
        let commit = Commit { changes: vec![Change::Issue(vec![record])], events: vec![event] };
        Ok((signed, commit))
    }

    /// As [`Issuance::prepare`] for many, with one commit that records all of them and the refusals. The answers are in
    /// the order of the orders; one that is refused harms no other. If the commit fails, they are [`unrecorded`].
    pub async fn prepare_all(
        &self,
        orders: Vec<Order>,
    ) -> (Vec<Result<SignedCertificate, IssueError>>, Commit) {
        let now = self.clock.now();
        let mut results = Vec::with_capacity(orders.len());
        let (mut records, mut events) = (Vec::with_capacity(orders.len()), Vec::with_capacity(orders.len()));
        for order in orders {
            match self.sign(order, now) {
                Ok((signed, record, event)) => {
                    records.push(record);
                    events.push(event);
                    results.push(Ok(signed));
                }
                Err((error, event)) => {
                    events.push(event);
                    results.push(Err(error));
                }
            }
            // A long list must not keep others from the processor.
            tokio::task::yield_now().await;
        }
        let changes = if records.is_empty() { Vec::new() } else { vec![Change::Issue(records)] };
        (results, Commit { changes, events })
    }

    #[expect(clippy::result_large_err, reason = "both outcomes carry their entry of the audit log")]
    fn sign(
        &self,
        order: Order,
        now: SystemTime,
    ) -> Result<(SignedCertificate, CertificateRecord, Event), (IssueError, Event)> {
        let Order { request, subject, lifetime, requester, entry_id, renews } = order;
        let action = if renews.is_some() { Action::CertificateRenew } else { Action::CertificateIssue };
        let (kind, names) = (subject.kind(), subject.describe());
        let began = Instant::now();
        let key_sha256 = request.key().sha256();
        let signed = request.check_names(&subject).map_err(IssueError::from).and_then(|()| {
            self.refuse_revoked_key(&key_sha256)?;
            Ok(self.issuing.load().sign(&request, subject, lifetime, &self.lifetimes.load(), now)?)
        });
        match signed {
            Ok(signed) => {
                self.store.metrics().signed(kind.as_str(), began.elapsed());
                let event =
                    requester.event(action, &signed.serial).with("kind", kind.as_str()).with("names", names);
                let record = record(&signed, requester, entry_id, renews, key_sha256, now);
                Ok((signed, proof::seal(record, &self.mac), event))
            }
            Err(error) => {
                self.store.metrics().issued(kind.as_str(), error.counted_as());
                let event =
                    requester.event(action, names).with("kind", kind.as_str()).failed(error.to_string());
                Err((error, event))
            }
        }
    }

    fn refuse_revoked_key(&self, sha256: &[u8; 32]) -> Result<(), IssueError> {
        let key = KeyHash::from(*sha256);
        if self.revoked.contains_key(&key) { Err(IssueError::KeyRevoked(key)) } else { Ok(()) }
    }

    /// What may be granted to the holder of a certificate that wants a successor: the same names.
    ///
    /// # Errors
    /// When its lineage has been revoked or its record cannot be read back.
    pub fn subject_of(&self, record: &CertificateRecord) -> Result<Subject, IssueError> {
        use crate::authority::CertificateKind;
        let unreadable = |reason: String| IssueError::Record { serial: record.serial.clone(), reason };
        let dns_names = record
            .dns_names
            .iter()
            .map(|name| DnsName::parse(name))
            .collect::<Result<Vec<_>, NameError>>()
            .map_err(|e| unreadable(e.to_string()))?;
        let ip_addresses = record
            .ip_addresses
            .iter()
            .map(|address| address.parse())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| unreadable("an IP address".into()))?;
        match record.kind {
            CertificateKind::X509Svid => {
                let id = record.spiffe_id.as_deref().unwrap_or_default();
                let id = SpiffeId::parse(id).map_err(|e| unreadable(e.to_string()))?;
                Ok(Subject::X509Svid { id, dns_names })
            }
            CertificateKind::Server => Ok(Subject::Server { dns_names, ip_addresses }),
            CertificateKind::Client => {
                let common_name = record.common_name.clone().unwrap_or_default();
                Ok(Subject::Client { common_name, dns_names, ip_addresses })
            }
        }
    }

    /// Which certificates are revoked, and every revocation from now on.
    #[must_use]
    pub fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// What is on record of a certificate.
    ///
    /// # Errors
    /// When there is no such certificate.
    pub async fn record(&self, serial: &str) -> Result<CertificateRecord, IssueError> {
        self.store.certificate(serial).await?.ok_or_else(|| IssueError::NotFound(serial.to_owned()))
    }

    /// Whether a record says what this authority wrote into it when it issued the certificate.
    #[must_use]
    pub fn wrote(&self, record: &CertificateRecord) -> bool {
        proof::is_ours(record, &self.mac)
    }

    /// The records.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Signs with another issuing CA from now on.
    pub fn replace_issuing(&self, issuing: IssuingCa) {
        self.issuing.store(Arc::new(issuing));
    }

    /// How long an X.509-SVID of an entry lives, if the entry says so: no longer than anything may. Whoever lowers that
    /// shortens the SVIDs of entries that say more; to refuse them would leave their workloads without any.
    #[must_use]
    pub fn granted_lifetime(&self, entry: &Entry) -> Option<Duration> {
        let longest = self.lifetimes.load().longest;
        entry.fields().x509_svid_ttl.map(|ttl| ttl.min(longest))
    }

    /// Grants other lifetimes from now on.
    pub fn set_lifetimes(&self, lifetimes: Lifetimes) {
        self.lifetimes.store(Arc::new(lifetimes));
    }

    /// The issuing CA that signs.
    #[must_use]
    pub fn issuing(&self) -> Arc<IssuingCa> {
        self.issuing.load_full()
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The trust bundle, and every change of it.
    #[must_use]
    pub fn bundle(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.bundle.subscribe()
    }

    /// The bundle is this one from now on; whoever watches it hears of it, if it differs.
    pub fn publish(&self, bundle: TrustBundle) {
        self.bundle.send_if_modified(|current| {
            if is_same(current, &bundle) {
                return false;
            }
            *current = Arc::new(bundle);
            true
        });
    }

    /// What these issuing CAs signed is to be replaced: they are below a root that is tainted or revoked.
    pub fn withdraw(&self, issuers: HashSet<String>) {
        self.withdrawn.send_if_modified(|current| {
            if **current == issuers {
                return false;
            }
            *current = Arc::new(issuers);
            true
        });
    }

    /// The issuing CAs whose signatures are to be replaced, and every change.
    #[must_use]
    pub fn withdrawn(&self) -> watch::Receiver<Arc<HashSet<String>>> {
        self.withdrawn.subscribe()
    }

    /// Whether what an issuing CA signed is to be replaced, and can be: by one that is not withdrawn itself.
    #[must_use]
    pub fn is_withdrawn(&self, issuer_key_id: &str) -> bool {
        let withdrawn = self.withdrawn.borrow();
        withdrawn.contains(issuer_key_id) && !withdrawn.contains(self.issuing.load().key_id())
    }

    /// The clock that it issues by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
}

/// What becomes of certificates whose commit failed: nothing is on record, so nothing is handed out.
#[must_use]
pub fn unrecorded(
    results: Vec<Result<SignedCertificate, IssueError>>,
    error: StoreError,
) -> Vec<Result<SignedCertificate, IssueError>> {
    let error = Arc::new(error);
    let unrecorded = || Err(IssueError::Unrecorded(Arc::clone(&error)));
    results.into_iter().map(|result| result.and_then(|_| unrecorded())).collect()
}

fn is_same(one: &TrustBundle, other: &TrustBundle) -> bool {
    let ders =
        |bundle: &TrustBundle| -> Vec<_> { bundle.authorities().map(|root| root.der.clone()).collect() };
    one.sequence() == other.sequence()
        && ders(one) == ders(other)
        && one.jwt_authorities() == other.jwt_authorities()
        && one.tainted_roots().map(|root| &root.der).eq(other.tainted_roots().map(|root| &root.der))
}

fn record(
    signed: &SignedCertificate,
    requester: Requester,
    entry_id: Option<EntryId>,
    renews: Option<CertificateRecord>,
    key_sha256: [u8; 32],
    now: SystemTime,
) -> CertificateRecord {
    let subject = &signed.subject;
    CertificateRecord {
        position: 0,
        serial: signed.serial.clone(),
        kind: subject.kind(),
        spiffe_id: subject.spiffe_id().map(ToString::to_string),
        common_name: subject.common_name().map(str::to_owned),
        dns_names: subject.dns_names().iter().map(ToString::to_string).collect(),
        ip_addresses: subject.ip_addresses().iter().map(ToString::to_string).collect(),
        not_before: unix(signed.validity.not_before),
        not_after: unix(signed.validity.not_after),
        issued_at: unix(now),
        requester: requester.name,
        entry_id: entry_id.map(|id| id.as_str().to_owned()),
        lineage: renews.as_ref().map_or_else(|| signed.serial.clone(), |old| old.lineage.clone()),
        renews: renews.map(|old| old.serial),
        issuer_key_id: signed.issuer_key_id.clone(),
        certificate: signed.chain.first().map(|leaf| leaf.to_vec()).unwrap_or_default(),
        key_sha256: key_sha256.to_vec(),
        revoked_at: None,
        revocation_reason: None,
        mac: None,
    }
}

/// Why a certificate was not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The request is refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// It cannot be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Several could not be recorded together.
    #[error(transparent)]
    Unrecorded(Arc<StoreError>),
    /// The key of the request was revoked.
    #[error("the public key {0} (SHA-256) has been revoked: nothing is issued for it; make a new key")]
    KeyRevoked(KeyHash),
    /// There is no such certificate.
    #[error("certificate {0} not found; `secctl cert list` shows what was issued")]
    NotFound(String),
    /// A record cannot be read back.
    #[error("the record of certificate {serial} cannot be read: {reason}")]
    Record {
        /// The certificate.
        serial: String,
        /// What is wrong.
        reason: String,
    },
}

impl IssueError {
    /// Whether the request was at fault or the authority.
    fn counted_as(&self) -> IssueResult {
        match self {
            Self::Request(_)
            | Self::KeyRevoked(_)
            | Self::NotFound(_)
            | Self::Sign(SignError::TooLong { .. }) => IssueResult::Refused,
            Self::Sign(_) | Self::Store(_) | Self::Unrecorded(_) | Self::Record { .. } => IssueResult::Failed,
        }
    }
}

#[cfg(test)]
mod tests;
