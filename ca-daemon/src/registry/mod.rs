//! Registration entries: which workload gets which SPIFFE ID.
//!
//! All entries are in memory, indexed; the database is the truth and is written first. A row that this authority
//! did not write (its MAC is wrong) is refused and reported, never loaded: whoever can only write the database
//! can register nothing.

mod authorized;
mod changes;
mod encoding;
mod entry;
mod filter;
mod group;
mod index;
mod likeness;
mod load;
mod refresh;
mod selector;
mod sorted;
mod wire;

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::SystemTime,
};

use secplane_identity::TrustDomain;
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

pub use authorized::Node;
pub use entry::{Entry, EntryError, EntryFields, EntryId, MAX_HINT_BYTES};
pub use filter::{EntryFilter, Match};
pub use selector::Selector;
pub use sorted::SortedSet;
pub use wire::{spiffe_id_from_wire, spiffe_id_to_wire};

use self::{index::Index, likeness::Likeness, load::Loaded};
use crate::{
    keys::RowMac,
    store::{Change, Store, StoreError},
};

/// How many entries a search looks at before it lets others at the index, and the runtime at other work.
const SLICE: usize = 4096;

/// All registration entries of one trust domain.
pub struct Registry {
    trust_domain: TrustDomain,
    store: Store,
    mac: Arc<RowMac>,
    index: RwLock<Index>,
    /// Told whenever the place of an entry becomes free.
    freed: Notify,
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
        let mac = Arc::new(mac);
        let Loaded { index, unlike } = load::load(&store, &mac, &trust_domain).await?;
        for id in unlike {
            let Some(entry) = index.get(&id) else { continue };
            let likeness = Likeness::of(&entry).as_bytes().to_vec();
            store.write(Change::FillLikeness { id: id.to_string(), likeness }).await?;
        }
        Ok(Self {
            trust_domain,
            store,
            mac,
            index: RwLock::new(index),
            freed: Notify::new(),
            generation: watch::Sender::new(1),
            tasks: TaskTracker::new(),
        })
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

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read_index().len()
    }

    /// Whether there is no entry at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The IDs of the rows in the database that this authority did not write, and refuses.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        self.read_index().refused().iter().cloned().collect()
    }

    /// Up to `size` entries that pass the filter, in the order of their IDs, after `after`.
    ///
    /// Whoever asks for page after page, each after the last entry of the one before, sees every entry that stands
    /// all the while exactly once.
    pub async fn list(&self, filter: &EntryFilter, after: Option<&EntryId>, size: usize) -> Vec<Arc<Entry>> {
        let mut found = Vec::new();
        self.search(filter, after.cloned(), |entry| {
            found.push(Arc::clone(entry));
            found.len() < size
        })
        .await;
        found
    }

    /// How many entries pass the filter.
    pub async fn count(&self, filter: &EntryFilter) -> usize {
        if filter.is_empty() {
            return self.len();
        }
        let mut count = 0;
        self.search(filter, None, |_| {
            count += 1;
            true
        })
        .await;
        count
    }

    /// The entries that have expired.
    pub async fn expired(&self, now: SystemTime) -> Vec<EntryId> {
        let mut expired = Vec::new();
        self.search(&EntryFilter::default(), None, |entry| {
            if entry.is_expired(now) {
                expired.push(entry.id().clone());
            }
            true
        })
        .await;
        expired
    }

    /// Shows `found` the entries that pass a filter, in the order of their IDs, until it has enough.
    async fn search(
        &self,
        filter: &EntryFilter,
        mut after: Option<EntryId>,
        mut found: impl FnMut(&Arc<Entry>) -> bool,
    ) {
        loop {
            {
                let index = self.read_index();
                let mut looked_at = 0;
                let mut last = None;
                for entry in index.candidates(filter, after.as_ref()).take(SLICE) {
                    looked_at += 1;
                    last = Some(entry.id());
                    if filter.passes(entry) && !found(entry) {
                        return;
                    }
                }
                if looked_at < SLICE {
                    return;
                }
                after = last.cloned();
            }
            tokio::task::yield_now().await;
        }
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
    #[error("entry not found: {0}")]
    NotFound(EntryId),
    /// The caller's ID is in use.
    #[error("an entry with the ID {0} already exists")]
    IdTaken(EntryId),
    /// Another entry has the same SPIFFE ID, parent and selectors.
    #[error("similar entry already exists")]
    Similar(Arc<Entry>),
    /// Another replica changed the entry at the same moment.
    #[error(
        "another replica changed the entry {0} at the same moment; look at it again and repeat the change"
    )]
    Raced(EntryId),
    /// A row that this authority did not write is in the way.
    #[error(
        "the database holds a similar entry, {0}, that this authority did not write and refuses; \
         find out who wrote it, and delete it with `secctl entry delete {0}`"
    )]
    Forged(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod model;
#[cfg(test)]
pub(crate) mod tests;
