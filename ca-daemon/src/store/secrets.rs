//! Sealed secrets that live in the database, so that every replica finds them.

use super::{
    Store, StoreError,
    database::{Transaction, on, within},
};

impl Store {
    /// A sealed secret.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let found = on!(&self.readers, pool => {
            sqlx::query_scalar("SELECT sealed FROM secrets WHERE name = $1").bind(name).fetch_optional(pool).await?
        });
        Ok(found)
    }

    /// Every sealed secret with its name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn secrets(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let found = on!(&self.readers, pool => {
            sqlx::query_as("SELECT name, sealed FROM secrets ORDER BY name").fetch_all(pool).await?
        });
        Ok(found)
    }
}

/// Adds a secret or replaces it.
pub(super) async fn put(transaction: &mut Transaction, name: &str, sealed: &[u8]) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query(
            "INSERT INTO secrets (name, sealed) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed",
        )
        .bind(name)
        .bind(sealed)
        .execute(connection)
        .await?;
    });
    Ok(())
}

/// Adds a secret that must not be there yet.
pub(super) async fn add(transaction: &mut Transaction, name: &str, sealed: &[u8]) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query("INSERT INTO secrets (name, sealed) VALUES ($1, $2)")
            .bind(name)
            .bind(sealed)
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Removes a secret.
pub(super) async fn delete(transaction: &mut Transaction, name: &str) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query("DELETE FROM secrets WHERE name = $1").bind(name).execute(connection).await?;
    });
    Ok(())
}
