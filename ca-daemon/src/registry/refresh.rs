//! Following what other replicas change in the database that all of them share.

use std::{collections::HashSet, sync::Arc};

use futures_util::StreamExt;

use super::{Entry, EntryId, Registry, RegistryError, encoding, index::Index, load};
use crate::store::{EntryRow, Notice};

impl Registry {
    /// Reads again what another replica changed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn follow(self: &Arc<Self>, notice: &Notice) -> Result<(), RegistryError> {
        match notice {
            Notice::Entries(ids) => self.refresh(ids).await,
            Notice::Everything => self.refresh_all().await,
            Notice::Revocations | Notice::Authorities | Notice::Agents(_) | Notice::Federation => Ok(()),
        }
    }

    /// Reads these entries again: what other replicas changed holds here when this returns.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refresh(self: &Arc<Self>, ids: &[String]) -> Result<(), RegistryError> {
        for id in ids {
            self.refresh_one(id).await?;
        }
        Ok(())
    }

    /// Reads every entry and takes over those that differ: after notices may have been lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refresh_all(self: &Arc<Self>) -> Result<(), RegistryError> {
        let mut unseen: HashSet<EntryId> =
            self.read_index().after(None).map(|entry| entry.id().clone()).collect();
        let mut differing = Vec::new();
        let mut rows = self.store.entries();
        while let Some(row) = rows.next().await {
            let row = row?;
            let known = EntryId::parse(&row.id).ok().and_then(|id| unseen.take(&id));
            let known = known.and_then(|id| self.entry(&id));
            if known.is_none_or(|known| !self.is_as_kept(&known, &row)) {
                differing.push(row.id);
            }
        }
        drop(rows);
        for id in differing.iter().map(String::as_str).chain(unseen.iter().map(EntryId::as_str)) {
            self.refresh_one(id).await?;
        }
        Ok(())
    }

    /// A MAC is over everything that a row says of its entry.
    fn is_as_kept(&self, known: &Entry, row: &EntryRow) -> bool {
        encoding::seal(known, &self.mac).mac == row.mac
    }

    async fn refresh_one(self: &Arc<Self>, id: &str) -> Result<(), RegistryError> {
        // What is no ID stands in a row that somebody else wrote.
        let Ok(id) = EntryId::parse(id) else { return Ok(()) };
        // No change of ours may come between reading the row and showing what it says.
        let place = self.reserve(|index| index.reserve_id(&id)).await?;
        let (registry, wanted) = (Arc::clone(self), id.clone());
        let read = async move { registry.store.entry(wanted.as_str()).await };
        let registry = Arc::clone(self);
        let show = move |index: &mut Index, row: Option<EntryRow>| {
            index.remove(&id);
            let Some(row) = row else { return };
            match load::open(&row, &registry.mac, &registry.trust_domain) {
                Some(entry) => {
                    let entry = index.with_shared_parent(entry);
                    index.insert(entry);
                }
                None => index.refuse(row.id),
            }
        };
        Ok(self.occupy(place, read, show).await?)
    }
}
