//! Registration entries: which workload gets which SPIFFE ID.
//!
//! All entries are in memory, indexed; the database is the truth and is written first. A row that this authority
//! did not write (its MAC is wrong) is refused and reported, never loaded: whoever can only write the database
//! can register nothing.

mod encoding;
mod entry;
mod filter;
mod index;
mod wire;

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::SystemTime,
};

use futures_util::StreamExt;
use secplane_identity::{SpiffeId, TrustDomain};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

pub use entry::{Entry, EntryError, EntryFields, EntryId, MAX_HINT_BYTES, Selector};
pub use filter::{EntryFilter, Match};
pub use wire::spiffe_id_from_wire;

use self::index::Index;
use crate::{
    keys::RowMac,
    store::{Change, Store, StoreError},
};

/// All registration entries of one trust domain.
pub struct Registry {
    trust_domain: TrustDomain,
    store: Store,
    mac: RowMac,
    index: RwLock<Index>,
    /// Counts changes; whoever depends on entries waits for it.
    generation: watch::Sender<u64>,
    tasks: TaskTracker,
}

impl Registry {
    /// Loads every entry of the store.
    ///
    /// # Errors
    /// When the database fails. A row that is not ours is reported and left out.
    pub async fn load(trust_domain: TrustDomain, store: Store, mac: RowMac) -> Result<Self, StoreError> {
        let mut index = Index::default();
        {
            let mut rows = std::pin::pin!(store.entries());
            while let Some(row) = rows.next().await {
                let row = row?;
                match encoding::open(&row, &mac, &trust_domain) {
                    Ok(entry) => index.insert(Arc::new(entry)),
                    Err(error) => tracing::error!(entry = %row.id, %error, "a registration entry is refused"),
                }
            }
        }
        Ok(Self {
            trust_domain,
            store,
            mac,
            index: RwLock::new(index),
            generation: watch::Sender::new(1),
            tasks: TaskTracker::new(),
        })
    }

    /// Creates an entry. When this returns it is on disk.
    ///
    /// # Errors
    /// When the fields are invalid, the ID is taken, or a similar entry exists (which comes with the error).
    pub async fn create(
        self: &Arc<Self>,
        fields: EntryFields,
        now: SystemTime,
    ) -> Result<Arc<Entry>, RegistryError> {
        let entry = Arc::new(Entry::new(fields, &self.trust_domain, now)?);
        self.write_index().reserve(&entry)?;
        let change = Change::CreateEntry(encoding::seal(&entry, &self.mac));
        self.carry_out(change, Arc::clone(&entry), |index, entry| index.insert(entry)).await?;
        Ok(entry)
    }

    /// Replaces the fields of an entry by what `change` makes of them.
    ///
    /// # Errors
    /// When there is no such entry, the new fields are invalid, or a similar entry exists.
    pub async fn update(
        self: &Arc<Self>,
        id: &EntryId,
        change: impl FnOnce(&mut EntryFields) -> Result<(), EntryError>,
    ) -> Result<Arc<Entry>, RegistryError> {
        let old = self.entry(id).ok_or_else(|| RegistryError::NotFound(id.clone()))?;
        let entry = Arc::new(old.changed(change, &self.trust_domain)?);
        self.write_index().reserve_update(&old, &entry)?;
        let row = encoding::seal(&entry, &self.mac);
        let change = Change::UpdateEntry { row, old_revision: old.revision() };
        self.carry_out(change, Arc::clone(&entry), |index, entry| {
            index.remove(entry.id());
            index.insert(entry);
        })
        .await?;
        Ok(entry)
    }

    /// Deletes an entry. When this returns it is gone from disk, and no identity is issued for it any more.
    ///
    /// # Errors
    /// When there is no such entry.
    pub async fn delete(self: &Arc<Self>, id: &EntryId) -> Result<Arc<Entry>, RegistryError> {
        let entry = self.entry(id).ok_or_else(|| RegistryError::NotFound(id.clone()))?;
        self.write_index().reserve_update(&entry, &entry)?;
        let change = Change::DeleteEntry(id.as_str().to_owned());
        self.carry_out(change, Arc::clone(&entry), |index, entry| index.remove(entry.id())).await?;
        Ok(entry)
    }

    /// Writes a change for which a place is reserved, then shows it to everyone.
    ///
    /// It runs in a task of its own: a caller that goes away in the middle must leave neither the place taken
    /// nor the database ahead of the index.
    async fn carry_out(
        self: &Arc<Self>,
        change: Change,
        entry: Arc<Entry>,
        show: fn(&mut Index, Arc<Entry>),
    ) -> Result<(), RegistryError> {
        let registry = Arc::clone(self);
        let task = self.tasks.spawn(async move {
            let written = registry.store.write(change).await;
            {
                let mut index = registry.write_index();
                index.release(&entry);
                written?;
                show(&mut index, entry);
            }
            registry.generation.send_modify(|generation| *generation += 1);
            Ok(())
        });
        task.await.unwrap_or(Err(RegistryError::Busy))
    }

    /// Waits for the changes that are under way.
    pub async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// One entry.
    #[must_use]
    pub fn entry(&self, id: &EntryId) -> Option<Arc<Entry>> {
        self.read_index().get(id)
    }

    /// Up to `size` entries that pass the filter, in the order of their IDs, after `after`.
    #[must_use]
    pub fn list(&self, filter: &EntryFilter, after: Option<&EntryId>, size: usize) -> Vec<Arc<Entry>> {
        self.read_index().after(after).filter(|entry| filter.passes(entry)).take(size).cloned().collect()
    }

    /// How many entries pass the filter.
    #[must_use]
    pub fn count(&self, filter: &EntryFilter) -> usize {
        let index = self.read_index();
        if filter.is_empty() { index.len() } else { index.after(None).filter(|e| filter.passes(e)).count() }
    }

    /// The unexpired entries below `parent` whose selectors a workload with `selectors` has, oldest first.
    #[must_use]
    pub fn of_workload(
        &self,
        parent: &SpiffeId,
        selectors: &BTreeSet<Selector>,
        now: SystemTime,
    ) -> Vec<Arc<Entry>> {
        let index = self.read_index();
        let mut entries: Vec<_> = index
            .below(parent)
            .filter(|entry| !entry.is_expired(now))
            .filter(|entry| entry.fields().selectors.is_subset(selectors))
            .cloned()
            .collect();
        entries.sort_by(|a, b| (a.created_at(), a.id()).cmp(&(b.created_at(), b.id())));
        entries
    }

    /// Whether any entry below `parent` has a selector of this kind (`unix:sha256:`…), so that attestation can
    /// leave out what costs much and nobody asks for.
    #[must_use]
    pub fn uses_selector(&self, parent: &SpiffeId, kind: &str, prefix: &str) -> bool {
        self.read_index()
            .below(parent)
            .flat_map(|entry| entry.fields().selectors.iter())
            .any(|selector| selector.kind() == kind && selector.value().starts_with(prefix))
    }

    /// Whether a SPIFFE ID has an unexpired entry that makes it an admin.
    #[must_use]
    pub fn is_admin(&self, id: &SpiffeId, now: SystemTime) -> bool {
        self.read_index().of_id(id).any(|entry| entry.fields().admin && !entry.is_expired(now))
    }

    /// A receiver that sees every change of any entry.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// The index is whole after every statement that changes it, so a panic elsewhere does not spoil it.
    fn read_index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_index(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an entry cannot be created, changed or deleted.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A field is invalid.
    #[error(transparent)]
    Invalid(#[from] EntryError),
    /// There is no such entry.
    #[error("entry {0} not found")]
    NotFound(EntryId),
    /// The caller's ID is in use.
    #[error("an entry with the ID {0} already exists")]
    IdTaken(EntryId),
    /// Another entry has the same SPIFFE ID, parent and selectors.
    #[error("similar entry already exists")]
    Similar(Arc<Entry>),
    /// A change of the same entry, or a creation of the same one, is under way.
    #[error("another change of the same entry is under way; try again")]
    Busy,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests;
