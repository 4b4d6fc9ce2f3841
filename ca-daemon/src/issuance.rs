//! The way of a certificate: granted, signed, recorded, handed out — in that order.
//!
//! A certificate leaves [`Issuance::issue`] only when its record is on disk, so that killing the daemon at any
//! moment loses no certificate that somebody received.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use secplane_identity::{SpiffeId, TrustBundle, TrustDomain};
use tokio::sync::watch;

use crate::{
    access::RevokedSerials,
    authority::{
        CertificateRequest, DnsName, IssuingCa, Lifetimes, NameError, RequestError, SignError,
        SignedCertificate, Subject,
    },
    instant::{Clock, unix},
    registry::EntryId,
    store::{CertificateRecord, Change, Revocation, Store, StoreError},
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
    /// Who asked, for the record.
    pub requester: String,
    /// The entry that granted it.
    pub entry_id: Option<EntryId>,
    /// The certificate that it renews.
    pub renews: Option<CertificateRecord>,
}

/// Issues certificates, records them, and revokes them.
pub struct Issuance {
    trust_domain: TrustDomain,
    issuing: ArcSwap<IssuingCa>,
    lifetimes: Lifetimes,
    bundle: watch::Sender<Arc<TrustBundle>>,
    revoked: Arc<RevokedSerials>,
    store: Store,
    clock: Clock,
}

impl Issuance {
    /// Issues with `issuing`, below the roots of `bundle`.
    #[must_use]
    pub fn new(
        issuing: IssuingCa,
        bundle: TrustBundle,
        lifetimes: Lifetimes,
        revoked: Arc<RevokedSerials>,
        store: Store,
        clock: Clock,
    ) -> Self {
        Self {
            trust_domain: bundle.trust_domain().clone(),
            issuing: ArcSwap::from_pointee(issuing),
            lifetimes,
            bundle: watch::Sender::new(Arc::new(bundle)),
            revoked,
            store,
            clock,
        }
    }

    /// Signs what was ordered, records it, and answers it.
    ///
    /// # Errors
    /// When the request asks for a name that was not granted, the lifetime is too long, or the record cannot be
    /// written: then nothing is handed out.
    pub async fn issue(&self, order: Order) -> Result<SignedCertificate, IssueError> {
        order.request.check_names(&order.subject)?;
        let now = self.clock.now();
        let signed =
            self.issuing.load().sign(&order.request, order.subject, order.lifetime, &self.lifetimes, now)?;
        let record = record(&signed, order.requester, order.entry_id, order.renews, now);
        self.store.write(Change::Issue(vec![record])).await?;
        Ok(signed)
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

    /// Takes the trust from a certificate and from all that renewed it. When this returns it is on disk, and
    /// this daemon refuses their holders.
    ///
    /// # Errors
    /// When there is no such certificate.
    pub async fn revoke(&self, serial: &str, reason: String) -> Result<CertificateRecord, IssueError> {
        let record = self.record(serial).await?;
        let at = unix(self.clock.now());
        self.store.write(Change::Revoke(Revocation { lineage: record.lineage.clone(), at, reason })).await?;
        self.revoked.add(self.store.lineage(&record.lineage).await?);
        self.record(serial).await
    }

    /// Which certificates are revoked, and every revocation from now on.
    #[must_use]
    pub fn revoked(&self) -> &RevokedSerials {
        &self.revoked
    }

    /// What is on record of a certificate.
    ///
    /// # Errors
    /// When there is no such certificate.
    pub async fn record(&self, serial: &str) -> Result<CertificateRecord, IssueError> {
        self.store.certificate(serial).await?.ok_or_else(|| IssueError::NotFound(serial.to_owned()))
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

    /// The clock that it issues by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
}

fn record(
    signed: &SignedCertificate,
    requester: String,
    entry_id: Option<EntryId>,
    renews: Option<CertificateRecord>,
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
        requester,
        entry_id: entry_id.map(|id| id.as_str().to_owned()),
        lineage: renews.as_ref().map_or_else(|| signed.serial.clone(), |old| old.lineage.clone()),
        renews: renews.map(|old| old.serial),
        issuer_key_id: signed.issuer_key_id.clone(),
        certificate: signed.chain.first().map(|leaf| leaf.to_vec()).unwrap_or_default(),
        revoked_at: None,
        revocation_reason: None,
    }
}

/// Why a certificate was not issued or revoked.
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

#[cfg(test)]
mod tests;
