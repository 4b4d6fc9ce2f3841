//! Creating, changing and deleting entries: the place first, then the database, then the index.

use std::{future::Future, sync::Arc, time::SystemTime};

use super::{
    Entry, EntryError, EntryFields, EntryId, Registry, RegistryError, Selector, encoding,
    index::{Index, NoPlace, Place},
    likeness::Likeness,
};
use crate::{
    access::Caller,
    audit::{Action, Event},
    store::{Change, Commit, Conflict, StoreError},
};

impl Registry {
    /// Creates an entry. When this returns it is on disk.
    ///
    /// # Errors
    /// When the fields are invalid, the ID is taken, or a similar entry exists (which comes with the error).
    pub async fn create(
        self: &Arc<Self>,
        fields: EntryFields,
        by: &Caller,
        now: SystemTime,
    ) -> Result<Arc<Entry>, RegistryError> {
        let entry = Entry::new(fields, &self.trust_domain, now)?;
        let entry = self.read_index().with_shared_parent(entry);
        let place = self.reserve(|index| index.reserve(&entry)).await?;
        let change = Change::CreateEntry(encoding::seal(&entry, &self.mac));
        let event = describe(Event::by(by, Action::EntryCreate, entry.id().as_str()), &entry);
        self.write(place, change, event, entry).await
    }

    /// Replaces the fields of an entry by what `change` makes of them. When this returns it is on disk.
    ///
    /// `change` may be asked several times: it is given the entry as it stands after changes that were under way.
    ///
    /// # Errors
    /// When there is no such entry, the new fields are invalid, a similar entry exists, or another replica changed
    /// the entry at the same moment.
    pub async fn update(
        self: &Arc<Self>,
        id: &EntryId,
        change: impl Fn(&mut EntryFields) -> Result<(), EntryError>,
        by: &Caller,
    ) -> Result<Arc<Entry>, RegistryError> {
        let (old, entry, place) = self
            .reserve(|index| {
                let old = index.get(id).ok_or_else(|| RegistryError::NotFound(id.clone()))?;
                let entry = index.with_shared_parent(old.changed(&change, &self.trust_domain)?);
                let place = index.reserve_update(&entry)?;
                Ok((old, entry, place))
            })
            .await?;
        let event = Event::by(by, Action::EntryUpdate, id.as_str())
            .with("revision", entry.revision().to_string())
            .with("changed", old.fields().differences(entry.fields()).join(" "));
        let row = encoding::seal(&entry, &self.mac);
        let change = Change::UpdateEntry { row, old_revision: old.revision() };
        self.write(place, change, describe(event, &entry), entry).await
    }

    /// Deletes an entry. When this returns it is gone from disk, and no identity is issued for it any more. A row
    /// that is refused can be deleted likewise.
    ///
    /// # Errors
    /// When there is no such entry.
    pub async fn delete(self: &Arc<Self>, id: &EntryId, by: &Caller) -> Result<(), RegistryError> {
        if self.entry(id).is_none() {
            // Nobody tells of a row that somebody wrote behind our back.
            self.refresh(&[id.to_string()]).await?;
        }
        let (entry, place) = self
            .reserve(|index| {
                let entry = index.get(id);
                if entry.is_none() && !index.refused().contains(id.as_str()) {
                    return Err(RegistryError::NotFound(id.clone()).into());
                }
                Ok((entry, index.reserve_id(id)?))
            })
            .await?;
        let event = Event::by(by, Action::EntryDelete, id.as_str());
        let event = match &entry {
            Some(entry) => describe(event, entry),
            None => event.of_refused_row(),
        };
        let change = Change::DeleteEntry(id.as_str().to_owned());
        Ok(self.remove(id, place, change, event).await?)
    }

    /// Deletes an entry if it has expired. Answers whether it did.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prune(self: &Arc<Self>, id: &EntryId, now: SystemTime) -> Result<bool, RegistryError> {
        let reserved = self
            .reserve(|index| {
                let entry = index.get(id).filter(|entry| entry.is_expired(now));
                entry.map(|entry| Ok((entry, index.reserve_id(id)?))).transpose()
            })
            .await?;
        let Some((entry, place)) = reserved else { return Ok(false) };
        let event = Event::by_daemon(Action::EntryDelete, id.as_str()).with("reason", "expired");
        let change = Change::PruneEntry { id: id.as_str().to_owned(), revision: entry.revision() };
        match self.remove(id, place, change, describe(event, &entry)).await {
            Ok(()) => Ok(true),
            // Another replica changed or deleted it, and tells us.
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes that an entry goes, and takes it from the index.
    async fn remove(
        self: &Arc<Self>,
        id: &EntryId,
        place: Place,
        change: Change,
        event: Event,
    ) -> Result<(), StoreError> {
        let (id, commit) = (id.clone(), Commit { changes: vec![change], events: vec![event] });
        let store = self.store.clone();
        let show = move |index: &mut Index, ()| drop(index.remove(&id));
        self.occupy(place, async move { store.commit(commit).await }, show).await
    }

    /// Writes a change and shows the entry that it makes.
    async fn write(
        self: &Arc<Self>,
        place: Place,
        change: Change,
        event: Event,
        entry: Arc<Entry>,
    ) -> Result<Arc<Entry>, RegistryError> {
        let (store, shown) = (self.store.clone(), Arc::clone(&entry));
        let commit = Commit { changes: vec![change], events: vec![event] };
        let written = self
            .occupy(place, async move { store.commit(commit).await }, move |index, ()| index.insert(shown))
            .await;
        match written {
            Ok(()) => Ok(entry),
            Err(StoreError::Conflict(conflict)) => Err(self.explain(conflict, &entry).await),
            Err(error) => Err(error.into()),
        }
    }

    /// What the database holds that contradicts an entry: something that another replica wrote and that is not known
    /// here yet. Afterwards it is.
    async fn explain(self: &Arc<Self>, conflict: Conflict, entry: &Entry) -> RegistryError {
        let id = match conflict {
            Conflict::SimilarEntry => match self.store.entry_like(Likeness::of(entry).as_bytes()).await {
                Ok(Some(row)) => row.id,
                // It is gone again.
                Ok(None) => return RegistryError::Raced(entry.id().clone()),
                Err(error) => return error.into(),
            },
            Conflict::EntryId | Conflict::Changed | Conflict::Taken => entry.id().to_string(),
        };
        if let Err(error) = self.refresh(std::slice::from_ref(&id)).await {
            return error;
        }
        let standing = EntryId::parse(&id).ok().and_then(|id| self.entry(&id));
        match (conflict, standing) {
            (Conflict::SimilarEntry, Some(similar)) => RegistryError::Similar(similar),
            (Conflict::EntryId, Some(_)) => RegistryError::IdTaken(entry.id().clone()),
            (Conflict::Changed, None) => RegistryError::NotFound(entry.id().clone()),
            (Conflict::SimilarEntry | Conflict::EntryId, None)
                if self.read_index().refused().contains(&id) =>
            {
                RegistryError::Forged(id)
            }
            _ => RegistryError::Raced(entry.id().clone()),
        }
    }

    /// A place in the index, once nobody else's change is in the way of it.
    pub(super) async fn reserve<T>(
        &self,
        mut take: impl FnMut(&mut Index) -> Result<T, NoPlace>,
    ) -> Result<T, RegistryError> {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // From here on no place becomes free unnoticed.
            freed.as_mut().enable();
            let taken = take(&mut self.write_index());
            match taken {
                Ok(taken) => return Ok(taken),
                Err(NoPlace::Refused(error)) => return Err(error),
                Err(NoPlace::Underway) => freed.await,
            }
        }
    }

    /// Does `work` in the database for a place that is reserved, then shows to everyone what came of it.
    ///
    /// It runs in a task of its own: a caller that goes away in the middle must leave neither the place taken
    /// nor the database ahead of the index.
    pub(super) async fn occupy<R: Send + 'static>(
        self: &Arc<Self>,
        place: Place,
        work: impl Future<Output = Result<R, StoreError>> + Send + 'static,
        show: impl FnOnce(&mut Index, R) + Send + 'static,
    ) -> Result<(), StoreError> {
        let registry = Arc::clone(self);
        let task = self.tasks.spawn(async move {
            let result = work.await;
            if matches!(result, Err(StoreError::Unsure(_))) {
                registry.look_again(place.id()).await;
            }
            let result = {
                let mut index = registry.write_index();
                index.release(&place);
                result.map(|result| show(&mut index, result))
            };
            registry.freed.notify_waiters();
            registry.generation.send_modify(|generation| *generation += 1);
            result
        });
        task.await.unwrap_or(Err(StoreError::Closed))
    }
}

/// What an entry grants to whom, for the audit log.
fn describe(event: Event, entry: &Entry) -> Event {
    let fields = entry.fields();
    let selectors: Vec<_> = fields.selectors.iter().map(Selector::as_str).collect();
    let event = event
        .with("spiffe_id", fields.spiffe_id.as_str())
        .with("parent_id", fields.parent_id.as_str())
        .with("selectors", selectors.join(" "));
    let rights = [("admin", fields.admin), ("downstream", fields.downstream)];
    rights.into_iter().filter(|(_, has)| *has).fold(event, |event, (right, _)| event.with(right, "true"))
}
