//! Following what other replicas change in the database that all of them share.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::time::timeout;

use super::{Entry, EntryId, Registry, RegistryError, encoding, index::Index, load};
use crate::store::{EntryRow, Notice};

/// How long an entry whose state is not known may grant what it did while it is read.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

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
        let show = move |index: &mut Index, row| registry.take_over(index, &id, row);
        Ok(self.occupy(place, read, show).await?)
    }

    /// Shows what the database holds of an entry that may have been changed or not, while its place is kept. If it
    /// cannot be read, the entry grants nothing until it has been.
    pub(super) async fn look_again(&self, id: &EntryId) {
        let read = timeout(LONGEST_LOOK, self.store.entry(id.as_str())).await;
        let mut index = self.write_index();
        if let Ok(Ok(row)) = read {
            self.take_over(&mut index, id, row);
        } else {
            tracing::error!(entry = %id, "an entry that may have changed cannot be read; until then it grants nothing");
            index.remove(id);
            self.store.read_again(Notice::Entries(vec![id.to_string()]));
        }
    }

    /// Makes of an entry what its row says.
    fn take_over(&self, index: &mut Index, id: &EntryId, row: Option<EntryRow>) {
        index.remove(id);
        let Some(row) = row else { return };
        match load::open(&row, &self.mac, &self.trust_domain) {
            Some(entry) => {
                let entry = index.with_shared_parent(entry);
                index.insert(entry);
            }
            None => index.refuse(row.id),
        }
    }
}
