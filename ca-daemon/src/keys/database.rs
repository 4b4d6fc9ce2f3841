//! Sealed secrets in the database, where every replica finds them.
//!
//! Beside them stands, in the clear, which wrapping key they are sealed under: a replica that still has another one
//! can then add nothing, so that no secrets under two wrapping keys stand side by side.

use super::{KeyStoreError, SecretName, WrappingKeyId};
use crate::store::{Change, Commit, Conflict, SealedSecret, Store, StoreError};

/// The name under which the wrapping key's ID stands.
const WRAPPING_KEY: &str = "wrapping-key-id";

#[derive(Clone)]
pub(super) struct Database(Store);

impl Database {
    /// Uses the secrets of a database that are sealed under the wrapping key of this ID.
    pub(super) async fn open(store: Store, wrapping: WrappingKeyId) -> Result<Self, KeyStoreError> {
        let database = Self(store);
        if database.wrapping_key().await?.is_none() {
            let id = Change::AddSecret { name: WRAPPING_KEY.into(), sealed: wrapping.as_bytes().to_vec() };
            match database.0.write(id).await {
                // Another replica was faster; whether it has the same wrapping key is seen below.
                Ok(()) | Err(StoreError::Conflict(Conflict::Taken)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match database.wrapping_key().await? {
            Some(found) if found == wrapping => Ok(database),
            found => Err(KeyStoreError::OtherWrappingKey {
                sealed_under: found.map_or_else(|| "unknown".into(), |id| id.to_string()),
                configured: wrapping,
            }),
        }
    }

    /// Which wrapping key the secrets are sealed under.
    pub(super) async fn wrapping_key(&self) -> Result<Option<WrappingKeyId>, KeyStoreError> {
        let found = self.0.secret(WRAPPING_KEY).await?;
        Ok(found.and_then(|bytes| WrappingKeyId::from_bytes(&bytes)))
    }

    pub(super) async fn read(&self, name: &SecretName) -> Result<Option<Vec<u8>>, KeyStoreError> {
        Ok(self.0.secret(name.as_str()).await?)
    }

    pub(super) async fn write(
        &self,
        name: &SecretName,
        sealed: Vec<u8>,
        wrapping: WrappingKeyId,
    ) -> Result<(), KeyStoreError> {
        let changes =
            vec![unless_changed(wrapping), Change::PutSecret { name: name.as_str().to_owned(), sealed }];
        self.commit(changes).await
    }

    /// As [`Database::write`], unless there is one of this name: of two replicas the first one stands.
    pub(super) async fn add(
        &self,
        name: &SecretName,
        sealed: Vec<u8>,
        wrapping: WrappingKeyId,
    ) -> Result<(), KeyStoreError> {
        let add = Change::AddSecret { name: name.as_str().to_owned(), sealed };
        match self.commit(vec![unless_changed(wrapping), add]).await {
            Err(KeyStoreError::Store(StoreError::Conflict(Conflict::Taken))) => Ok(()),
            result => result,
        }
    }

    pub(super) async fn delete(&self, name: &SecretName) -> Result<(), KeyStoreError> {
        Ok(self.0.write(Change::DeleteSecret(name.as_str().to_owned())).await?)
    }

    /// Every sealed secret with its name.
    pub(super) async fn all(&self) -> Result<Vec<(SecretName, Vec<u8>)>, KeyStoreError> {
        let found = self.0.secrets().await?;
        found
            .into_iter()
            .filter(|(name, _)| name != WRAPPING_KEY)
            .map(|(name, sealed)| Ok((SecretName::parse(&name)?, sealed)))
            .collect()
    }

    /// Replaces every secret in one transaction, if they all still stand as they were read.
    pub(super) async fn replace_all(
        &self,
        old: Vec<(SecretName, Vec<u8>)>,
        new: Vec<(SecretName, Vec<u8>)>,
        wrapping: (WrappingKeyId, WrappingKeyId),
    ) -> Result<(), KeyStoreError> {
        let secret =
            |(name, sealed): (SecretName, Vec<u8>)| SealedSecret { name: name.as_str().to_owned(), sealed };
        let id =
            |id: WrappingKeyId| SealedSecret { name: WRAPPING_KEY.into(), sealed: id.as_bytes().to_vec() };
        let old = std::iter::once(id(wrapping.0)).chain(old.into_iter().map(secret)).collect();
        let new = std::iter::once(id(wrapping.1)).chain(new.into_iter().map(secret)).collect();
        self.commit(vec![Change::ReplaceSecrets { old, new }]).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), KeyStoreError> {
        match self.0.commit(Commit { changes, events: Vec::new() }).await {
            Err(StoreError::Conflict(Conflict::Changed)) => Err(KeyStoreError::RekeyedByAnother),
            result => Ok(result?),
        }
    }
}

/// Holds the row of the wrapping key's ID until the transaction ends, and ends it if the ID is another one.
fn unless_changed(wrapping: WrappingKeyId) -> Change {
    Change::HoldSecret(SealedSecret { name: WRAPPING_KEY.into(), sealed: wrapping.as_bytes().to_vec() })
}
