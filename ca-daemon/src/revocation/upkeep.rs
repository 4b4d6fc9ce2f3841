//! Keeps one current revocation list for every CA of ours whose certificates may still be valid: the roots, and the
//! issuing CAs, be they this replica's, another's, or such as no longer sign.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use secplane_identity::{
    IdentityPublisher,
    revocation::{KeyHash, SerialNumber},
    x509::Certificate,
};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::{
    Revoker,
    cas::CaBelow,
    genuine::{Genuine, agrees},
    issuers::{has_ended, issuers},
    listless::Listless,
    lists::{CurrentList, Lists, MAX_ENTRIES, entries},
    remembered,
    signers::{SignerError, Signers},
};
use crate::{
    audit::{Action, Event},
    authority::{BACKDATE, RevocationList},
    instant::{from_unix, unix},
    store::{
        AuthorityRow, Change, Commit, Conflict, MendedRecord, Notice, Revocation, RevocationListRow,
        RevocationTarget, RevokedRow, StoreError,
    },
};

/// Revocations that come together share one list.
const COALESCE: Duration = Duration::from_millis(150);
/// How long another replica has to sign the list of what it revoked, before this one does.
const GRACE: Duration = Duration::from_secs(1);
/// How often it looks for issuing CAs without a list, and forgets what has expired.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long after its revocation a key is looked for among what was issued, in seconds: a replica that had not heard
/// of it yet may have signed for it.
const LATECOMERS: i64 = 60;
/// Why something is revoked again.
const CLEARED: &str = "its revocation was cleared in the database";

/// The work that keeps revocation lists current, and this daemon's connections free of whom they concern.
pub struct Upkeep {
    revoker: Arc<Revoker>,
    signers: Signers,
    /// The most entries of one list.
    max_entries: usize,
    /// The issuers of whom it was reported already that they have more.
    overfull: Mutex<HashSet<String>>,
    listless: Listless,
}

/// Who signs what is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signing {
    /// This daemon.
    Here,
    /// Whoever revoked, on another replica.
    Elsewhere,
}

/// What became of a revocation in the database.
enum Undone {
    /// It stands, or has ended.
    Nothing,
    /// It was cleared, or its record edited so that it would not be listed.
    Revocation {
        /// When the certificate ends.
        not_after: i64,
        /// What the record is made to say.
        mended: Option<MendedRecord>,
    },
    /// The whole record is gone, or no longer that of the certificate.
    Record,
}

impl Upkeep {
    /// Keeps the lists of all roots and issuing CAs; each is valid for `validity`, and is replaced when half of it is over.
    #[must_use]
    pub fn new(revoker: Arc<Revoker>, signers: Signers, validity: Duration) -> Self {
        revoker.set_list_validity(validity);
        Self {
            revoker,
            signers,
            max_entries: MAX_ENTRIES,
            overfull: Mutex::default(),
            listless: Listless::default(),
        }
    }

    /// Brings the lists up to date once, before the first of them is asked for, and takes from them what the database
    /// should know and does not.
    ///
    /// # Errors
    /// When the database fails. A list that cannot be signed is reported, and tried again later.
    pub async fn begin(&self) -> Result<(), StoreError> {
        self.pass(Signing::Elsewhere).await?;
        let lists = self.revoker.lists.borrow().clone();
        for current in lists.iter() {
            let key_id = &current.row().issuer_key_id;
            let issuer = self.certificate_of(key_id).await?;
            let rows = self.rows_of(key_id, issuer.as_ref(), current.keeps_from()).await?;
            self.cleared(current, &rows.iter().collect::<Vec<_>>()).await?;
        }
        self.pass(Signing::Here).await
    }

    /// Works until `shutdown`.
    pub async fn run(self, publisher: IdentityPublisher, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.keep_current() => {}
            () = cut_connections(&self.revoker, &publisher) => {}
        }
        self.revoker.close().await;
    }

    #[cfg(test)]
    pub(super) async fn pass_here(&self) {
        self.pass(Signing::Here).await.unwrap();
    }

    #[cfg(test)]
    pub(super) fn hold_at_most(&mut self, entries: usize) {
        self.max_entries = entries;
    }

    /// Works for ever. How often it looks goes by the clock: while that stands still, it heeds only what it is told of.
    pub(super) async fn keep_current(&self) {
        let clock = &self.revoker.clock;
        let mut notices = self.revoker.store.changes();
        let mut look_at = clock.passed() + LOOK_EVERY;
        loop {
            let signing = tokio::select! {
                () = self.revoker.news.notified() => {
                    tokio::time::sleep(COALESCE).await;
                    Signing::Here
                }
                () = clock.wait_until_passed(look_at) => Signing::Here,
                notice = notices.recv() => match notice {
                    Ok(Notice::Revocations | Notice::Authorities | Notice::Everything)
                    | Err(RecvError::Lagged(_)) => Signing::Elsewhere,
                    Ok(_) => continue,
                    // The store has closed: the daemon is stopping.
                    Err(RecvError::Closed) => std::future::pending().await,
                },
            };
            if let Err(error) = self.pass(signing).await {
                tracing::error!(%error, "what is revoked could not be read from the database; it is tried again");
            }
            look_at = match signing {
                Signing::Here => clock.passed() + LOOK_EVERY,
                Signing::Elsewhere => look_at.min(clock.passed() + GRACE),
            };
        }
    }

    /// Reads what is revoked, signs the lists that are due, and hands the current ones on.
    async fn pass(&self, signing: Signing) -> Result<(), StoreError> {
        let now = self.revoker.clock.now();
        self.revoker.reload().await?;
        if signing == Signing::Here {
            self.revoke_latecomers(now).await?;
        }
        let mut numbers: HashMap<String, i64> =
            self.revoker.store.revocation_list_numbers().await?.into_iter().collect();
        let mut lists = Vec::new();
        let Revoker { store, mac, .. } = self.revoker.as_ref();
        for issuer in self.listless.leave_out(issuers(store, mac, &self.signers, now).await?) {
            let number = numbers.remove(&issuer.key_id);
            let current = match number {
                Some(number) => self.current(&issuer, number).await?,
                None => None,
            };
            let next = match signing {
                Signing::Here => self.next(&issuer, number, current.as_deref(), now).await,
                Signing::Elsewhere => Ok(None),
            };
            let next = next.unwrap_or_else(|error| {
                self.report(&issuer.key_id, &error);
                None
            });
            lists.extend(next.map(Arc::new).or(current));
        }
        if signing == Signing::Here {
            self.forget(numbers.into_keys(), now).await?;
        }
        let lists = Lists::new(lists);
        self.revoker.lists.send_if_modified(|before| {
            let has_changed = *before != lists;
            *before = lists;
            has_changed
        });
        Ok(())
    }

    /// That a list would be too long is said once: nothing changes it soon.
    fn report(&self, issuer: &str, error: &UpkeepError) {
        let is_news = match error {
            UpkeepError::Overfull { .. } => {
                let mut overfull = self.overfull.lock().unwrap_or_else(PoisonError::into_inner);
                overfull.insert(issuer.to_owned())
            }
            _ => true,
        };
        if is_news {
            tracing::error!(issuer, %error, "a revocation list could not be renewed; it is tried again");
        }
    }

    /// The list that an issuer has. One that is not genuine counts as none.
    async fn current(
        &self,
        issuer: &AuthorityRow,
        number: i64,
    ) -> Result<Option<Arc<CurrentList>>, StoreError> {
        let held = self.revoker.lists.borrow().of_issuer(&issuer.key_id).cloned();
        // What was verified once is not read again, and one played back from the past is not taken up.
        if let Some(held) = held.filter(|held| held.row().number >= number) {
            return Ok(Some(held));
        }
        let Some(row) = self.revoker.store.revocation_list(&issuer.key_id).await? else { return Ok(None) };
        let opened = Certificate::parse(&issuer.public)
            .map_err(|error| error.to_string())
            .and_then(|issuer| CurrentList::open(row, &issuer).map_err(|error| error.to_string()));
        Ok(opened
            .inspect_err(|error| {
                tracing::error!(issuer = issuer.key_id, error, "a revocation list is replaced")
            })
            .ok()
            .map(Arc::new))
    }

    /// Signs the next list of an issuer, if it is due. `number` is that of the list in the database.
    async fn next(
        &self,
        issuer: &AuthorityRow,
        number: Option<i64>,
        current: Option<&CurrentList>,
        now: SystemTime,
    ) -> Result<Option<CurrentList>, UpkeepError> {
        let end = current.map_or(unix(now), CurrentList::keeps_from);
        let above = Certificate::parse(&issuer.public).ok();
        let mut rows = self.rows_of(&issuer.key_id, above.as_ref(), end).await?;
        if let Some(current) = current {
            let known: Vec<_> = rows.iter().collect();
            if !current.is_due(&known, now) {
                return Ok(None);
            }
            rows.extend(self.cleared(current, &known).await?);
        }
        // Before it is signed and replaces the last good one.
        if rows.len() > self.max_entries {
            return Err(UpkeepError::Overfull { entries: rows.len(), most: self.max_entries });
        }
        let before = number.unwrap_or(0);
        let highest = current.map_or(0, |current| current.row().number).max(before);
        let this_update = from_unix(unix(now.checked_sub(BACKDATE).unwrap_or(now)));
        let list = RevocationList {
            number: u64::try_from(highest).unwrap_or(0).saturating_add(1),
            this_update,
            next_update: from_unix(unix(now + self.revoker.list_validity())),
            revoked: entries(&rows, |row| self.has_revoked_key(row), this_update),
        };
        let row = RevocationListRow {
            issuer_key_id: issuer.key_id.clone(),
            number: highest.saturating_add(1),
            this_update: unix(list.this_update),
            next_update: unix(list.next_update),
            crl: self.signers.sign(issuer, list).await?,
        };
        let change = Change::PutRevocationList { row: row.clone(), before };
        match self.revoker.store.write(change).await {
            Ok(()) => {}
            // Another replica was first, and its notice brings its list.
            Err(StoreError::Conflict(Conflict::Changed)) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        tracing::info!(
            issuer = row.issuer_key_id,
            number = row.number,
            entries = rows.len(),
            "a revocation list was signed"
        );
        let issuer = Certificate::parse(&issuer.public).map_err(SignerError::from)?;
        Ok(Some(CurrentList::open(row, &issuer).map_err(|error| UpkeepError::Unreadable(error.to_string()))?))
    }

    fn has_revoked_key(&self, row: &RevokedRow) -> bool {
        let key = row.key_sha256.as_deref().and_then(KeyHash::from_bytes);
        key.is_some_and(|key| self.revoker.revoked.contains_key(&key))
    }

    /// The certificate of an issuer, if there is one in its row.
    async fn certificate_of(&self, issuer: &str) -> Result<Option<Certificate>, StoreError> {
        let row = self.revoker.store.authority(issuer).await?;
        Ok(row.and_then(|row| Certificate::parse(&row.public).ok()))
    }

    /// The revoked certificates of an issuer, whose own is `above`, that end at `end` or later, in Unix seconds.
    async fn rows_of(
        &self,
        issuer: &str,
        above: Option<&Certificate>,
        end: i64,
    ) -> Result<Vec<RevokedRow>, StoreError> {
        let store = &self.revoker.store;
        let mut rows = store.revoked_certificates(end).await?;
        rows.retain(|row| row.issuer_key_id == issuer);
        let cas = CaBelow::revoked(store, &self.revoker.mac).await?;
        let below = cas.iter().filter(|ca| ca.is_below(issuer, above));
        let revoked = below.map(|ca| RevokedRow { issuer_key_id: issuer.to_owned(), ..ca.as_revoked() });
        rows.extend(revoked.filter(|row| row.not_after >= end));
        Ok(rows)
    }

    /// What the current list names though the database says that it is not revoked: somebody cleared it there. It stays
    /// revoked, and that is reported.
    async fn cleared(
        &self,
        current: &CurrentList,
        known: &[&RevokedRow],
    ) -> Result<Vec<RevokedRow>, StoreError> {
        let mut cleared = Vec::new();
        let unknown = current.not_among(known);
        if unknown.is_empty() {
            return Ok(cleared);
        }
        let issuer = self.certificate_of(&current.row().issuer_key_id).await?;
        let mut cas = CaBelow::all(&self.revoker.store, &self.revoker.mac).await?;
        // A row with any certificate of the same serial number is quickly written, and says nothing.
        cas.retain(|ca| ca.is_ours || issuer.as_ref().is_some_and(|issuer| ca.is_signed_by(issuer)));
        for serial in unknown {
            if let Some(ca) = cas.iter().find(|ca| ca.has_serial(&serial)) {
                let revoked = ca.as_revoked();
                if !ca.is_revoked() && revoked.not_after >= current.keeps_from() {
                    self.revoke_ca_again(ca).await?;
                    cleared.push(revoked);
                }
                continue;
            }
            let (not_after, changes) = match self.undone(&serial, current).await? {
                Undone::Nothing => continue,
                Undone::Revocation { not_after, mended } => (not_after, self.again(&serial, mended)),
                // Nothing that the issuer signed ends after this.
                Undone::Record => (current.row().next_update, Vec::new()),
            };
            let serial = serial.to_string();
            tracing::error!(
                serial,
                "a revocation was cleared in the database; the certificate stays revoked"
            );
            let event = Event::by_daemon(Action::CertificateRevoke, &serial).with("reason", CLEARED);
            self.revoker.store.commit(Commit { changes, events: vec![event] }).await?;
            cleared.push(RevokedRow {
                serial,
                issuer_key_id: current.row().issuer_key_id.clone(),
                not_after,
                revoked_at: current.row().this_update,
                key_sha256: None,
            });
        }
        self.revoker.revoked.add(cleared.iter().filter_map(remembered), [], self.revoker.clock.now());
        Ok(cleared)
    }

    async fn revoke_ca_again(&self, ca: &CaBelow) -> Result<(), StoreError> {
        tracing::error!(
            serial = ca.row.key_id,
            "the revocation of a CA was cleared in the database; it stays revoked"
        );
        let at = unix(self.revoker.clock.now());
        let changes = vec![ca.revoke(at, &self.revoker.mac)];
        let event =
            Event::by_daemon(Action::CertificateRevoke, ca.as_revoked().serial).with("reason", CLEARED);
        let event = if ca.is_ours { event } else { event.of_refused_row() };
        self.revoker.store.commit(Commit { changes, events: vec![event] }).await
    }

    /// What somebody did to the record of a certificate that is on the current list, and not among what the database
    /// says to be revoked.
    async fn undone(&self, serial: &SerialNumber, current: &CurrentList) -> Result<Undone, StoreError> {
        let store = &self.revoker.store;
        let Some(record) = store.certificate(&serial.to_string()).await? else { return Ok(Undone::Record) };
        let (not_after, mended) = match Genuine::of(serial, &record, store, &self.revoker.mac).await? {
            Genuine::Record => (record.not_after, None),
            Genuine::Certificate(said) => (said.not_after, Some(said)),
            Genuine::Nothing => return Ok(Undone::Record),
        };
        let is_as_it_was =
            record.revoked_at.is_some() && mended.as_ref().is_none_or(|said| agrees(&record, said));
        // What has expired leaves the lists as it should.
        if is_as_it_was || not_after < current.keeps_from() {
            return Ok(Undone::Nothing);
        }
        Ok(Undone::Revocation { not_after, mended })
    }

    /// What revokes a certificate again, whatever its record says.
    fn again(&self, serial: &SerialNumber, mended: Option<MendedRecord>) -> Vec<Change> {
        let revocation = Revocation {
            target: RevocationTarget::Lineage(serial.to_string()),
            at: unix(self.revoker.clock.now()),
            reason: CLEARED.to_owned(),
        };
        mended.map(Change::MendCertificate).into_iter().chain([Change::Revoke(revocation)]).collect()
    }

    /// Revokes what was issued for a revoked key while the news was on its way.
    async fn revoke_latecomers(&self, now: SystemTime) -> Result<(), StoreError> {
        let mut found = false;
        for row in self.revoker.store.revoked_keys().await? {
            let target = RevocationTarget::Key(row.key_sha256.clone());
            if row.revoked_at < unix(now) - LATECOMERS
                || !self.revoker.store.has_unrevoked(&target, unix(now)).await?
            {
                continue;
            }
            let event = Event::by_daemon(Action::CertificateRevoke, hex::encode(&row.key_sha256))
                .with("by", "public-key")
                .with("reason", &row.reason);
            let change = Change::Revoke(Revocation { target, at: unix(now), reason: row.reason });
            self.revoker.store.commit(Commit { changes: vec![change], events: vec![event] }).await?;
            found = true;
        }
        if found { self.revoker.reload().await.map(drop) } else { Ok(()) }
    }

    /// Forgets the lists of issuers that have expired. Of an issuer that is unknown the list is kept: it may be that of
    /// a replica that has just begun. So it is of one whose row somebody edited.
    async fn forget(&self, issuers: impl Iterator<Item = String>, now: SystemTime) -> Result<(), StoreError> {
        for key_id in issuers {
            let issuer = self.revoker.store.authority(&key_id).await?;
            if issuer.is_some_and(|issuer| has_ended(&issuer, &self.revoker.mac, now)) {
                self.revoker.store.write(Change::ForgetRevocationList(key_id)).await?;
            }
        }
        Ok(())
    }
}

/// Ends the connections of whoever was revoked.
async fn cut_connections(revoker: &Revoker, publisher: &IdentityPublisher) {
    let mut changes = revoker.revoked.changes();
    loop {
        let revocations = Arc::clone(&changes.borrow_and_update());
        publisher.publish_revocations(revocations);
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Why a list was not renewed.
#[derive(Debug, thiserror::Error)]
enum UpkeepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Signer(#[from] SignerError),
    #[error(
        "{entries} certificates would be on it, and it has room for {most}; the last list stays, and no later revocation \
         of this issuer is published: revoke the issuing CA, which is one entry on the root's list"
    )]
    Overfull { entries: usize, most: usize },
    #[error("the list that was just signed cannot be read back: {0}")]
    Unreadable(String),
}
