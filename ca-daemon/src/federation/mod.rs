//! Federation: the foreign trust domains whose workloads ours may authenticate.
//!
//! A *bundle* says which roots and keys a foreign trust domain has; a *relationship* says where that bundle is fetched.
//! Either may stand without the other. All of them are in memory; the database is the truth and is written first. A row
//! whose MAC is wrong is refused and reported: whoever can only write the database can make nobody trusted.

mod bundle;
mod duty;
mod fetch;
mod refresh;
mod relationship;
mod rows;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use secplane_identity::TrustDomain;
use secplane_proto::spire::api::types;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio_util::task::TaskTracker;

pub use bundle::{BundleError, FederatedBundle, MAX_BUNDLE_BYTES};
pub use duty::Duty;
pub use fetch::{FetchError, Fetcher};
pub use refresh::{RefreshError, Refresher};
pub use relationship::{Endpoint, Profile, Relationship, RelationshipError, trust_domain};

use crate::{
    access::Caller,
    audit::{Action, Event},
    keys::RowMac,
    store::{Change, Commit, Conflict, FederationTable, Notice, Store, StoreError},
};

/// The foreign trust domains of an authority.
pub struct Federation {
    own: TrustDomain,
    store: Store,
    mac: RowMac,
    state: RwLock<State>,
    /// Held by whoever changes something: changes are few, and each looks at what stands first.
    changing: Arc<Mutex<()>>,
    /// Counts changes; whoever depends on bundles waits for it.
    generation: watch::Sender<u64>,
    tasks: TaskTracker,
}

#[derive(Default)]
struct State {
    relationships: BTreeMap<TrustDomain, Kept<Relationship>>,
    bundles: BTreeMap<TrustDomain, Kept<FederatedBundle>>,
    refused: RefusedRows,
}

/// How many rows this authority did not write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusedRows {
    /// Of relationships.
    pub relationships: usize,
    /// Of bundles.
    pub bundles: usize,
}

/// Something with the MAC of its row, which names its version.
struct Kept<T> {
    value: Arc<T>,
    mac: Vec<u8>,
}

/// Whether something must be there before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// It must not.
    Absent,
    /// It must.
    Present,
    /// It does not matter.
    Either,
}

impl Federation {
    /// Loads every bundle and relationship of the store.
    ///
    /// # Errors
    /// When the database fails. A row that is not ours is reported and left out.
    pub async fn load(own: TrustDomain, store: Store, mac: RowMac) -> Result<Self, StoreError> {
        let state = State::read(&store, &mac).await?;
        Ok(Self {
            own,
            store,
            mac,
            state: RwLock::new(state),
            changing: Arc::default(),
            generation: watch::Sender::new(1),
            tasks: TaskTracker::new(),
        })
    }

    /// Reads everything again, after another replica changed something.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reload(&self) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let state = State::read(&self.store, &self.mac).await?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.announce();
        Ok(())
    }

    /// Reads again what another replica changed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn follow(&self, notice: &Notice) -> Result<(), FederationError> {
        match notice {
            Notice::Federation | Notice::Everything => Ok(self.reload().await?),
            Notice::Entries(_) | Notice::Revocations | Notice::Authorities | Notice::Agents(_) => Ok(()),
        }
    }

    /// Waits for the changes that are under way.
    pub async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The bundle of a foreign trust domain.
    #[must_use]
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Option<Arc<FederatedBundle>> {
        self.read().bundles.get(trust_domain).map(|kept| Arc::clone(&kept.value))
    }

    /// Every bundle, in the order of their names.
    #[must_use]
    pub fn bundles(&self) -> Vec<Arc<FederatedBundle>> {
        self.read().bundles.values().map(|kept| Arc::clone(&kept.value)).collect()
    }

    /// The relationship with a foreign trust domain.
    #[must_use]
    pub fn relationship(&self, trust_domain: &TrustDomain) -> Option<Arc<Relationship>> {
        self.read().relationships.get(trust_domain).map(|kept| Arc::clone(&kept.value))
    }

    /// Every relationship, in the order of their names.
    #[must_use]
    pub fn relationships(&self) -> Vec<Arc<Relationship>> {
        self.read().relationships.values().map(|kept| Arc::clone(&kept.value)).collect()
    }

    /// How many rows are refused, as they were last read.
    #[must_use]
    pub fn refused(&self) -> RefusedRows {
        self.read().refused
    }

    /// A receiver that sees every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Writes a whole bundle. When this returns it is on disk.
    ///
    /// # Errors
    /// When it is of the own trust domain, cannot be used, or something else than `before` says is there.
    pub async fn put_bundle(
        self: &Arc<Self>,
        wire: types::Bundle,
        before: Before,
        by: Author<'_>,
    ) -> Result<Arc<FederatedBundle>, FederationError> {
        let bundle = FederatedBundle::new(wire)?;
        self.refuse_own(bundle.trust_domain())?;
        let changing = Arc::clone(&self.changing).lock_owned().await;
        let exists = self.bundle(bundle.trust_domain()).is_some();
        check(before, exists, FederationError::NoBundle, FederationError::BundleExists)?;
        self.write_bundle(bundle, by, changing).await
    }

    /// Changes the parts of a bundle that a mask names.
    ///
    /// # Errors
    /// When there is none of that trust domain, or what would become of it cannot be used.
    pub async fn change_bundle(
        self: &Arc<Self>,
        wire: types::Bundle,
        mask: Option<&types::BundleMask>,
        by: Author<'_>,
    ) -> Result<Arc<FederatedBundle>, FederationError> {
        let of = trust_domain(&wire.trust_domain)?;
        self.refuse_own(&of)?;
        let changing = Arc::clone(&self.changing).lock_owned().await;
        let old = self.bundle(&of).ok_or(FederationError::NoBundle)?;
        self.write_bundle(old.changed(wire, mask)?, by, changing).await
    }

    /// Forgets a bundle.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_bundle(
        self: &Arc<Self>,
        of: &TrustDomain,
        by: Author<'_>,
    ) -> Result<(), FederationError> {
        self.refuse_own(of)?;
        let changing = Arc::clone(&self.changing).lock_owned().await;
        self.bundle(of).ok_or(FederationError::NoBundle)?;
        let (event, gone) = (by.event(Action::FederationDelete, of, "bundle"), of.clone());
        let change =
            Change::RemoveFederation { table: FederationTable::Bundles, trust_domain: of.to_string() };
        self.carry_out(change, event, changing, move |state| drop(state.bundles.remove(&gone))).await
    }

    /// Adds or changes a relationship, by what `make` makes of the one that stands.
    ///
    /// # Errors
    /// When it cannot be used, is with the own trust domain, or something else than `before` says is there.
    pub async fn put_relationship(
        self: &Arc<Self>,
        of: &TrustDomain,
        make: impl FnOnce(Option<&Relationship>) -> Result<Relationship, RelationshipError>,
        before: Before,
        by: Author<'_>,
    ) -> Result<Arc<Relationship>, FederationError> {
        self.refuse_own(of)?;
        let changing = Arc::clone(&self.changing).lock_owned().await;
        let old = self.relationship(of);
        check(before, old.is_some(), FederationError::NoRelationship, FederationError::RelationshipExists)?;
        let new = Arc::new(make(old.as_deref())?);
        let row = rows::seal_relationship(&new, &self.mac);
        let old_mac = self.read().relationships.get(of).map(|kept| kept.mac.clone());
        let action = if old.is_some() { Action::FederationUpdate } else { Action::FederationCreate };
        let event =
            by.event(action, of, "relationship").with("bundle_endpoint_url", new.endpoint.uri().to_string());
        let kept = Kept { value: Arc::clone(&new), mac: row.mac.clone() };
        let change = put(FederationTable::Relationships, row, old_mac);
        let of = of.clone();
        self.carry_out(change, event, changing, move |state| {
            state.relationships.insert(of, kept);
        })
        .await?;
        Ok(new)
    }

    /// Ends a relationship. The bundle that it fetched stays.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_relationship(
        self: &Arc<Self>,
        of: &TrustDomain,
        by: Author<'_>,
    ) -> Result<(), FederationError> {
        let changing = Arc::clone(&self.changing).lock_owned().await;
        self.relationship(of).ok_or(FederationError::NoRelationship)?;
        let (event, gone) = (by.event(Action::FederationDelete, of, "relationship"), of.clone());
        let change =
            Change::RemoveFederation { table: FederationTable::Relationships, trust_domain: of.to_string() };
        self.carry_out(change, event, changing, move |state| drop(state.relationships.remove(&gone))).await
    }

    async fn write_bundle(
        self: &Arc<Self>,
        bundle: FederatedBundle,
        by: Author<'_>,
        changing: OwnedMutexGuard<()>,
    ) -> Result<Arc<FederatedBundle>, FederationError> {
        let bundle = Arc::new(bundle);
        let of = bundle.trust_domain().clone();
        let row = rows::seal_bundle(&bundle, &self.mac);
        let old_mac = self.read().bundles.get(&of).map(|kept| kept.mac.clone());
        let action = if old_mac.is_some() { Action::FederationUpdate } else { Action::FederationCreate };
        let event = by
            .event(action, &of, "bundle")
            .with("x509_authorities", bundle.to_wire().x509_authorities.len().to_string())
            .with("jwt_authorities", bundle.to_wire().jwt_authorities.len().to_string())
            .with("sequence_number", bundle.to_wire().sequence_number.to_string());
        let kept = Kept { value: Arc::clone(&bundle), mac: row.mac.clone() };
        let change = put(FederationTable::Bundles, row, old_mac);
        self.carry_out(change, event, changing, move |state| {
            state.bundles.insert(of, kept);
        })
        .await?;
        Ok(bundle)
    }

    /// Writes a change, then shows it. It runs in a task of its own: a caller that goes away in the middle must not
    /// leave the database ahead of the memory.
    async fn carry_out(
        self: &Arc<Self>,
        change: Change,
        event: Event,
        changing: OwnedMutexGuard<()>,
        show: impl FnOnce(&mut State) + Send + 'static,
    ) -> Result<(), FederationError> {
        let federation = Arc::clone(self);
        let task = self.tasks.spawn(async move {
            federation.store.commit(Commit { changes: vec![change], events: vec![event] }).await?;
            show(&mut federation.state.write().unwrap_or_else(PoisonError::into_inner));
            federation.announce();
            drop(changing);
            Ok(())
        });
        match task.await.unwrap_or(Err(StoreError::Closed)) {
            Ok(()) => Ok(()),
            // Another replica was quicker: what it wrote is known from here on.
            Err(StoreError::Conflict(Conflict::Changed | Conflict::Taken)) => {
                self.reload().await?;
                Err(FederationError::Raced)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn refuse_own(&self, of: &TrustDomain) -> Result<(), FederationError> {
        if *of == self.own { Err(FederationError::Own) } else { Ok(()) }
    }

    fn announce(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who changes something: a caller, or the daemon by what it fetched.
#[derive(Debug, Clone, Copy)]
pub enum Author<'a> {
    /// A caller.
    Caller(&'a Caller),
    /// The daemon.
    Daemon,
}

impl Author<'_> {
    fn event(self, action: Action, of: &TrustDomain, what: &str) -> Event {
        let event = match self {
            Self::Caller(caller) => Event::by(caller, action, of.as_str()),
            Self::Daemon => Event::by_daemon(action, of.as_str()),
        };
        event.with("what", what)
    }
}

fn put(table: FederationTable, row: crate::store::FederationRow, old_mac: Option<Vec<u8>>) -> Change {
    match old_mac {
        None => Change::AddFederation { table, row },
        Some(old_mac) => Change::ReplaceFederation { table, row, old_mac },
    }
}

fn check(
    before: Before,
    exists: bool,
    missing: FederationError,
    standing: FederationError,
) -> Result<(), FederationError> {
    match (before, exists) {
        (Before::Absent, true) => Err(standing),
        (Before::Present, false) => Err(missing),
        _ => Ok(()),
    }
}

/// Why something cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// A bundle cannot be used.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A relationship cannot be used.
    #[error("invalid federation relationship: {0}")]
    Relationship(#[from] RelationshipError),
    /// It is about the own trust domain.
    #[error("this is the server's own trust domain; only other ones are federated with")]
    Own,
    /// There is no such bundle.
    #[error("bundle not found")]
    NoBundle,
    /// There is such a bundle.
    #[error("bundle already exists")]
    BundleExists,
    /// There is no such relationship.
    #[error("federation relationship does not exist")]
    NoRelationship,
    /// There is such a relationship.
    #[error("federation relationship already exists")]
    RelationshipExists,
    /// Another replica was quicker.
    #[error("another replica changed it at the same moment; look at it again and repeat the change")]
    Raced,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests;
