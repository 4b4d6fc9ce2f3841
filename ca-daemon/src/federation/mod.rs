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
    /// The rows that are not ours.
    refused: Vec<(FederationTable, String)>,
}

impl State {
    fn is_refused(&self, table: FederationTable, trust_domain: &str) -> bool {
        self.refused.iter().any(|(of, name)| *of == table && name == trust_domain)
    }

    fn remove(&mut self, table: FederationTable, trust_domain: &TrustDomain) {
        match table {
            FederationTable::Relationships => drop(self.relationships.remove(trust_domain)),
            FederationTable::Bundles => drop(self.bundles.remove(trust_domain)),
        }
        self.refused.retain(|(of, name)| *of != table || name != trust_domain.as_str());
    }
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

/// Who wrote a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    ByUs,
    BySomebodyElse,
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
        let state = self.read();
        let count = |table: FederationTable| state.refused.iter().filter(|(of, _)| *of == table).count();
        RefusedRows {
            relationships: count(FederationTable::Relationships),
            bundles: count(FederationTable::Bundles),
        }
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

    /// Whether there is a bundle of a foreign trust domain, be it one that is refused.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn holds_bundle(&self, of: &TrustDomain) -> Result<bool, StoreError> {
        Ok(self.bundle(of).is_some() || self.standing(FederationTable::Bundles, of).await?.is_some())
    }

    /// Forgets a bundle, be it one that is refused.
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
        let is_known = self.bundle(of).is_some();
        let event = by.event(Action::FederationDelete, of, "bundle");
        let deleted = self.delete(FederationTable::Bundles, of, is_known, event, changing).await?;
        if deleted { Ok(()) } else { Err(FederationError::NoBundle) }
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

    /// Ends a relationship, be it one that is refused. The bundle that it fetched stays.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_relationship(
        self: &Arc<Self>,
        of: &TrustDomain,
        by: Author<'_>,
    ) -> Result<(), FederationError> {
        let changing = Arc::clone(&self.changing).lock_owned().await;
        let is_known = self.relationship(of).is_some();
        let event = by.event(Action::FederationDelete, of, "relationship");
        let deleted = self.delete(FederationTable::Relationships, of, is_known, event, changing).await?;
        if deleted { Ok(()) } else { Err(FederationError::NoRelationship) }
    }

    /// Deletes a row, be it one that is refused: that grants nothing, and would be in the way for ever. Answers whether
    /// there was one.
    async fn delete(
        self: &Arc<Self>,
        table: FederationTable,
        of: &TrustDomain,
        is_known: bool,
        event: Event,
        changing: OwnedMutexGuard<()>,
    ) -> Result<bool, FederationError> {
        let event = match self.standing(table, of).await? {
            Some(Written::ByUs) => event,
            Some(Written::BySomebodyElse) => event.of_refused_row(),
            // Somebody deleted it behind our back.
            None if is_known => event,
            None => return Ok(false),
        };
        let (change, gone) = (Change::RemoveFederation { table, trust_domain: of.to_string() }, of.clone());
        self.carry_out(change, event, changing, move |state| state.remove(table, &gone)).await?;
        Ok(true)
    }

    /// Who wrote the row of a trust domain that stands in the database.
    async fn standing(
        &self,
        table: FederationTable,
        of: &TrustDomain,
    ) -> Result<Option<Written>, StoreError> {
        let rows = self.store.federation(table).await?;
        let row = rows.into_iter().find(|row| row.trust_domain == of.as_str());
        Ok(row.map(|row| match rows::is_ours(table, &row, &self.mac) {
            true => Written::ByUs,
            false => Written::BySomebodyElse,
        }))
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
        let wanted = match &change {
            Change::AddFederation { table, row } | Change::ReplaceFederation { table, row, .. } => {
                Some((*table, row.trust_domain.clone()))
            }
            _ => None,
        };
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
                let state = self.read();
                Err(match wanted {
                    Some((table, of)) if state.is_refused(table, &of) => FederationError::Forged {
                        what: rows::what(table),
                        remedy: rows::remedy(table, &of),
                        of,
                    },
                    _ => FederationError::Raced,
                })
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
    /// A row that this authority did not write is in the way.
    #[error(
        "the database holds a {what} of {of} that this authority did not write and refuses; find out who wrote it, \
         and delete it with `{remedy}`"
    )]
    Forged {
        /// What the row says to be.
        what: &'static str,
        /// The foreign trust domain.
        of: String,
        /// What deletes it.
        remedy: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests;
