//! Taking trust back before a certificate expires.
//!
//! A revocation is durable first; then this daemon refuses whom it concerns ([`Revoked`], which every call asks and
//! every open connection is checked against); then [`Upkeep`] signs new revocation lists, which travel over the API
//! and the Workload API to everyone else. Other replicas hear of it through the store, and do the same.

mod cas;
mod genuine;
mod issuers;
mod listless;
mod lists;
mod proof;
mod signers;
mod upkeep;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use secplane_identity::{
    SpiffeId, TrustDomain,
    revocation::{KeyHash, SerialNumber},
    x509::Certificate,
};
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

pub(crate) use lists::MAX_ENTRIES;
pub use lists::{CurrentList, Lists};
pub use signers::{SignerError, Signers};
pub use upkeep::Upkeep;

use self::{
    cas::CaBelow,
    genuine::{Genuine, agrees},
};
use crate::{
    access::{Revoked, RevokedCertificate},
    audit::Action,
    instant::{Clock, unix},
    issuance::Requester,
    keys::RowMac,
    store::{
        AuthorityRow, CertificateRecord, Change, Commit, MendedRecord, Revocation, RevocationTarget,
        RevokedRow, Store, StoreError,
    },
};

/// How many certificates of the first schema are brought up to date in one commit.
const FILL_AT_ONCE: u32 = 500;

/// What is revoked together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One certificate with all that renewed it.
    Certificate(SerialNumber),
    /// Every certificate of a SPIFFE ID that was issued until now.
    SpiffeId(SpiffeId),
    /// Every certificate of a public key, now and later.
    Key(KeyHash),
}

/// What of the issued certificates is revoked together.
#[derive(Default)]
struct Rows {
    targets: Vec<RevocationTarget>,
    /// What the record of the certificate that was named is made to say before.
    mended: Option<MendedRecord>,
    /// Somebody edited that record.
    is_edited: bool,
}

/// Revokes, and knows what is revoked.
pub struct Revoker {
    trust_domain: TrustDomain,
    store: Store,
    mac: RowMac,
    revoked: Arc<Revoked>,
    /// How many revoked keys' rows this authority did not write.
    refused: AtomicUsize,
    lists: watch::Sender<Lists>,
    /// How long a list is valid, in seconds.
    list_validity: AtomicU64,
    /// Rung when something was revoked here.
    news: Notify,
    /// What was begun is brought to its end, whether or not the caller waits for it.
    begun: TaskTracker,
    clock: Clock,
}

impl Revoker {
    /// Reads from the store what is revoked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open(
        trust_domain: TrustDomain,
        store: Store,
        mac: RowMac,
        clock: Clock,
    ) -> Result<Arc<Self>, StoreError> {
        let revoker = Self {
            trust_domain,
            store,
            mac,
            revoked: Arc::default(),
            refused: AtomicUsize::default(),
            lists: watch::Sender::default(),
            list_validity: AtomicU64::new(0),
            news: Notify::new(),
            begun: TaskTracker::new(),
            clock,
        };
        revoker.fill_keys_of_the_first_schema().await?;
        revoker.reload().await?;
        Ok(Arc::new(revoker))
    }

    /// Takes the trust from everything that the target names and that has not expired. Answers how many certificates
    /// that were.
    ///
    /// When this returns it is on disk, and this daemon refuses their holders. A CA below ours can be named, too;
    /// whoever revokes an issuing CA has the authorities looked at then, so that another one takes its place.
    ///
    /// # Errors
    /// When there is no such certificate, the SPIFFE ID is another trust domain's, or the database fails.
    pub async fn revoke(
        self: &Arc<Self>,
        target: Target,
        reason: String,
        requester: Requester,
    ) -> Result<usize, RevocationError> {
        let revoker = Arc::clone(self);
        // A caller who goes away must not leave the database and the memory at odds.
        let work =
            self.begun.spawn(async move { revoker.revoke_to_the_end(target, reason, &requester).await });
        work.await.unwrap_or(Err(RevocationError::Interrupted))
    }

    async fn revoke_to_the_end(
        &self,
        target: Target,
        reason: String,
        requester: &Requester,
    ) -> Result<usize, RevocationError> {
        let now = self.clock.now();
        let cas = self.cas_of(&target).await?;
        let rows = self.rows_of(&target, !cas.is_empty()).await?;
        let mut changes: Vec<_> =
            cas.iter().filter(|ca| !ca.is_revoked()).map(|ca| ca.revoke(unix(now), &self.mac)).collect();
        let mut is_edited = rows.is_edited || cas.iter().any(|ca| !ca.is_ours);
        if let Target::Key(key) = &target {
            // What somebody else wrote in its place would stay there, without our proof.
            let planted = self.store.revoked_keys().await?.into_iter().find(|row| {
                row.key_sha256.as_slice() == key.as_bytes().as_slice() && !proof::is_ours(row, &self.mac)
            });
            is_edited |= planted.is_some();
            changes.extend(planted.map(Change::ForgetRevokedKey));
            changes.push(Change::RevokeKey(proof::seal(key, unix(now), &reason, &self.mac)));
        }
        let event = requester
            .event(Action::CertificateRevoke, target.name())
            .with("by", target.kind())
            .with("reason", &reason);
        let event = if is_edited { event.of_refused_row() } else { event };
        changes.extend(rows.mended.map(Change::MendCertificate));
        changes.extend(
            rows.targets
                .iter()
                .cloned()
                .map(|target| Change::Revoke(Revocation { target, at: unix(now), reason: reason.clone() })),
        );
        self.store.commit(Commit { changes, events: vec![event] }).await?;

        let mut revoked = Vec::new();
        for named in &rows.targets {
            revoked.extend(self.store.revoked_of(named, unix(now)).await?);
        }
        revoked.extend(cas.iter().map(CaBelow::as_refused));
        let key = match target {
            Target::Key(key) => Some(key),
            Target::Certificate(_) | Target::SpiffeId(_) => None,
        };
        let news = self.revoked.add(revoked.iter().filter_map(remembered), key, now);
        self.news.notify_one();
        Ok(news)
    }

    /// The CAs below ours that a target names; those first whose rows this authority wrote. What somebody edited is
    /// there to be revoked all the same.
    async fn cas_of(&self, target: &Target) -> Result<Vec<CaBelow>, StoreError> {
        let mut cas = CaBelow::all(&self.store, &self.mac).await?;
        cas.retain(|ca| ca.is(target));
        cas.sort_by_key(|ca| !ca.is_ours);
        Ok(cas)
    }

    /// What of the issued certificates a target names: nothing when it `is_ca`, and nothing else has its serial number.
    async fn rows_of(&self, target: &Target, is_ca: bool) -> Result<Rows, RevocationError> {
        let named = match target {
            Target::Certificate(serial) => {
                return match self.store.certificate(&serial.to_string()).await? {
                    Some(record) => Ok(self.lineage_of(serial, record).await?),
                    None if is_ca => Ok(Rows::default()),
                    None => Err(RevocationError::NotFound(serial.to_string())),
                };
            }
            Target::SpiffeId(id) if *id.trust_domain() != self.trust_domain => {
                return Err(RevocationError::OtherTrustDomain(id.clone(), self.trust_domain.clone()));
            }
            Target::SpiffeId(id) => RevocationTarget::SpiffeId(id.to_string()),
            Target::Key(key) => RevocationTarget::Key(key.as_bytes().to_vec()),
        };
        Ok(Rows { targets: vec![named], ..Rows::default() })
    }

    /// A certificate with all that renewed it. If somebody may have edited its record, that is in any case the
    /// certificate itself, and whatever says that it renews it.
    async fn lineage_of(&self, serial: &SerialNumber, record: CertificateRecord) -> Result<Rows, StoreError> {
        let (mended, is_edited) = match Genuine::of(serial, &record, &self.store, &self.mac).await? {
            Genuine::Record => {
                let targets = vec![RevocationTarget::Lineage(record.lineage)];
                return Ok(Rows { targets, ..Rows::default() });
            }
            // A record from before there were proofs is not known to be edited.
            Genuine::Certificate(said) => {
                let is_edited = record.mac.is_some() || !agrees(&record, &said);
                (Some(said), is_edited)
            }
            Genuine::Nothing => (None, true),
        };
        if is_edited {
            tracing::error!(
                %serial,
                "the record of a certificate that is revoked was not written by this authority; somebody changed the database. \
                 Revoke its key or its SPIFFE ID, too: what renewed it cannot be known by its record"
            );
        }
        let targets = [record.serial, record.lineage].map(RevocationTarget::Lineage).into();
        Ok(Rows { targets, mended, is_edited })
    }

    /// A CA below ours with this serial number, revoked or not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ca(&self, serial: &SerialNumber) -> Result<Option<AuthorityRow>, StoreError> {
        let found = self.cas_of(&Target::Certificate(*serial)).await?;
        Ok(found.into_iter().next().map(|ca| ca.row))
    }

    /// What a commit has to hold that takes the trust from all certificates of an agent until now, together with
    /// something else: from its own, from those that it asked for on behalf of its workloads, whose keys it knows, and
    /// from whatever renewed them. When it is on disk, [`Revoker::heed`] is to be called.
    #[must_use]
    pub fn revocations_of_agent(&self, id: &SpiffeId, reason: &str) -> Vec<Change> {
        let at = unix(self.clock.now());
        [RevocationTarget::SpiffeId(id.to_string()), RevocationTarget::Requester(id.to_string())]
            .map(|target| Change::Revoke(Revocation { target, at, reason: reason.to_owned() }))
            .into()
    }

    /// Refuses what was revoked in the database together with something else, and has the lists renewed.
    ///
    /// # Errors
    /// When the database fails; then it is refused after the next look at the database.
    pub async fn heed(&self) -> Result<(), StoreError> {
        let heeded = self.reload().await;
        self.news.notify_one();
        heeded
    }

    /// Lists are valid for so long from the next one on.
    pub fn set_list_validity(&self, validity: Duration) {
        self.list_validity.store(validity.as_secs(), Ordering::Relaxed);
    }

    fn list_validity(&self) -> Duration {
        Duration::from_secs(self.list_validity.load(Ordering::Relaxed))
    }

    /// What this daemon refuses.
    #[must_use]
    pub fn revoked(&self) -> &Arc<Revoked> {
        &self.revoked
    }

    /// How many rows of revoked keys this authority did not write, as they were last read. Their keys are refused all
    /// the same.
    #[must_use]
    pub fn refused_rows(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// The current revocation lists, and every change of them.
    #[must_use]
    pub fn lists(&self) -> watch::Receiver<Lists> {
        self.lists.subscribe()
    }

    /// Waits for what was begun. Nothing may be revoked after.
    pub async fn close(&self) {
        self.begun.close();
        self.begun.wait().await;
    }

    /// Takes over what the store says is revoked. What it no longer says stays revoked here.
    async fn reload(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut rows = self.store.revoked_certificates(unix(now)).await?;
        rows.extend(CaBelow::revoked(&self.store, &self.mac).await?.iter().map(CaBelow::as_refused));
        let keys = self.store.revoked_keys().await?;
        let refused = keys.iter().filter(|row| !proof::is_ours(row, &self.mac)).count();
        self.refused.store(refused, Ordering::Relaxed);
        let keys = keys.iter().filter_map(|row| proof::open(row, &self.mac));
        self.revoked.add(rows.iter().filter_map(remembered), keys, now);
        Ok(())
    }

    /// The first schema did not hold the keys of certificates. Those that have expired need none.
    async fn fill_keys_of_the_first_schema(&self) -> Result<(), StoreError> {
        loop {
            let rows = self.store.without_key_hash(unix(self.clock.now()), FILL_AT_ONCE).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let changes = rows
                .into_iter()
                .map(|(serial, der)| {
                    let key_sha256 = key_sha256_of(&serial, &der);
                    Change::FillKeyHash { serial, key_sha256 }
                })
                .collect();
            self.store.commit(Commit { changes, events: Vec::new() }).await?;
        }
    }
}

/// The SHA-256 of a certificate's key. What cannot be read has none; it must not keep the others, and with them the
/// whole daemon, from going on.
fn key_sha256_of(serial: &str, der: &[u8]) -> Vec<u8> {
    match Certificate::parse(der) {
        Ok(leaf) => KeyHash::of(&leaf.public_key_info).as_bytes().to_vec(),
        Err(error) => {
            tracing::error!(serial, %error, "a record holds no certificate; somebody changed the database. It cannot be revoked by its key");
            Vec::new()
        }
    }
}

/// A row as it is kept in memory. Every serial number of this authority fits.
fn remembered(row: &RevokedRow) -> Option<RevokedCertificate> {
    Some(RevokedCertificate {
        not_after: row.not_after,
        issuer_key_id: row.issuer_key_id.clone(),
        serial: row.serial.parse().ok()?,
    })
}

impl Target {
    fn kind(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "serial-number",
            Self::SpiffeId(_) => "spiffe-id",
            Self::Key(_) => "public-key",
        }
    }

    /// What it names.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Certificate(serial) => serial.to_string(),
            Self::SpiffeId(id) => id.to_string(),
            Self::Key(key) => key.to_string(),
        }
    }
}

/// Why nothing was revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// There is no such certificate.
    #[error("certificate {0} not found; `secctl cert list` shows what was issued")]
    NotFound(String),
    /// Another authority issued for it.
    #[error(
        "{0} is not an identity of trust domain {1}; only what this authority issued can be revoked here"
    )]
    OtherTrustDomain(SpiffeId, TrustDomain),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The daemon is stopping.
    #[error(
        "the revocation was interrupted: the daemon is stopping; look whether it took place, and repeat it"
    )]
    Interrupted,
}

#[cfg(test)]
mod tests;
