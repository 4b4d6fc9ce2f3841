//! Sealed secrets that live in the database, so that every replica finds them.

use super::{
    Conflict, Store, StoreError,
    database::{Transaction, on, within},
};

/// A secret with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// What names it.
    pub name: String,
    /// The sealed secret.
    pub sealed: Vec<u8>,
}

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

/// Refuses the transaction unless a secret still is what it was, and keeps it so until the transaction ends.
pub(super) async fn hold(transaction: &mut Transaction, secret: &SealedSecret) -> Result<(), StoreError> {
    replace(transaction, secret, secret).await
}

/// Replaces every secret there is, if all of them still stand as `old` says. The first of them is taken first, so that
/// whoever holds it keeps out whoever replaces all.
pub(super) async fn replace_all(
    transaction: &mut Transaction,
    old: &[SealedSecret],
    new: &[SealedSecret],
) -> Result<(), StoreError> {
    for (old, new) in old.iter().zip(new) {
        replace(transaction, old, new).await?;
    }
    let count: i64 = within!(transaction, connection => {
        sqlx::query_scalar("SELECT count(*) FROM secrets").fetch_one(connection).await?
    });
    if usize::try_from(count) == Ok(old.len()) && old.len() == new.len() {
        Ok(())
    } else {
        Err(Conflict::Changed.into())
    }
}

async fn replace(
    transaction: &mut Transaction,
    old: &SealedSecret,
    new: &SealedSecret,
) -> Result<(), StoreError> {
    let changed = within!(transaction, connection => {
        sqlx::query("UPDATE secrets SET sealed = $3 WHERE name = $1 AND sealed = $2")
            .bind(&old.name)
            .bind(&old.sealed)
            .bind(&new.sealed)
            .execute(connection)
            .await?
            .rows_affected()
    });
    if changed == 1 { Ok(()) } else { Err(Conflict::Changed.into()) }
}
