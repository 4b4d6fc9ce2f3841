//! Registration entries as they are kept: whole, with a proof of who wrote them.

use futures_util::{Stream, TryStreamExt};
use sqlx::{Row, SqliteConnection};

use super::{Store, StoreError};

/// One entry at rest. What `body` and `mac` mean is the registry's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRow {
    /// The entry's ID.
    pub id: String,
    /// Grows with each change.
    pub revision: i64,
    /// Unix seconds.
    pub created_at: i64,
    /// The encoded entry.
    pub body: Vec<u8>,
    /// Proof that this authority wrote the row.
    pub mac: Vec<u8>,
}

impl Store {
    /// Every entry, one after another.
    pub fn entries(&self) -> impl Stream<Item = Result<EntryRow, StoreError>> + '_ {
        sqlx::query("SELECT id, revision, created_at, body, mac FROM entries")
            .fetch(&self.readers)
            .map_err(StoreError::from)
            .and_then(|row| async move {
                Ok(EntryRow {
                    id: row.try_get("id")?,
                    revision: row.try_get("revision")?,
                    created_at: row.try_get("created_at")?,
                    body: row.try_get("body")?,
                    mac: row.try_get("mac")?,
                })
            })
    }
}

impl EntryRow {
    pub(super) async fn put(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO entries (id, revision, created_at, body, mac) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, body = excluded.body, mac = excluded.mac",
        )
        .bind(&self.id)
        .bind(self.revision)
        .bind(self.created_at)
        .bind(&self.body)
        .bind(&self.mac)
        .execute(connection)
        .await?;
        Ok(())
    }

    pub(super) async fn delete(connection: &mut SqliteConnection, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM entries WHERE id = $1").bind(id).execute(connection).await?;
        Ok(())
    }
}
