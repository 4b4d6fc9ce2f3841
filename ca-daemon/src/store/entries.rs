//! Registration entries as they are kept: whole, with a proof of who wrote them.

use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use sqlx::{FromRow, PgPool, QueryBuilder};

use super::{
    Conflict, Store, StoreError,
    database::{Pools, Transaction, in_steps, on, within},
    readable::readable,
};

/// Reads whole rows; `$rest` says which.
macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, revision, created_at, body, mac, likeness FROM entries", $rest)
    };
}

/// How many rows one query on PostgreSQL reads, where a query has no more than half a minute.
const PAGE: usize = 10_000;

/// One entry at rest. What `body` and `mac` mean is the registry's business.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
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
    /// What makes it similar to another; `None` in a row of the first schema.
    pub likeness: Option<Vec<u8>>,
}

impl Store {
    /// Every entry, one after another.
    #[must_use]
    pub fn entries(&self) -> BoxStream<'_, Result<EntryRow, StoreError>> {
        match &self.readers {
            Pools::Sqlite(pool) => readable("entries", sqlx::query_as(select!("")).fetch(pool)),
            Pools::Postgres(pool) => in_pages(pool),
        }
    }

    /// One entry.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn entry(&self, id: &str) -> Result<Option<EntryRow>, StoreError> {
        let found = on!(&self.readers, pool => {
            sqlx::query_as(select!(" WHERE id = $1"))
                .bind(id)
                .fetch_optional(pool)
                .await?
        });
        Ok(found)
    }

    /// The entry that is similar.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn entry_like(&self, likeness: &[u8]) -> Result<Option<EntryRow>, StoreError> {
        let found = on!(&self.readers, pool => {
            sqlx::query_as(select!(" WHERE likeness = $1"))
                .bind(likeness)
                .fetch_optional(pool)
                .await?
        });
        Ok(found)
    }
}

/// What changes between two pages is told by a notice as well, so no page has to know of the others.
fn in_pages(pool: &PgPool) -> BoxStream<'_, Result<EntryRow, StoreError>> {
    stream::try_unfold(Some(String::new()), move |after| async move {
        let Some(after) = after else { return Ok::<_, StoreError>(None) };
        let rows = page_after(pool, &after).await?;
        let next = rows.last().filter(|_| rows.len() == PAGE).map(|last| last.id.clone());
        Ok(Some((stream::iter(rows.into_iter().map(Ok)), next)))
    })
    .try_flatten()
    .boxed()
}

async fn page_after(pool: &PgPool, id: &str) -> Result<Vec<EntryRow>, StoreError> {
    let rows = sqlx::query_as(select!(" WHERE id > $1 ORDER BY id LIMIT $2"))
        .bind(id)
        .bind(i64::try_from(PAGE).unwrap_or(i64::MAX))
        .fetch_all(pool)
        .await?;
    Ok(rows)
}

/// Adds entries. A place that is taken refuses all of them.
pub(super) async fn create(transaction: &mut Transaction, rows: &[&EntryRow]) -> Result<(), StoreError> {
    let insert_into = transaction.insert_into();
    for step in in_steps(rows) {
        within!(transaction, connection => {
            QueryBuilder::new(insert_into)
                .push("entries (id, revision, created_at, body, mac, likeness) ")
                .push_values(step, |mut values, row| {
                    values
                        .push_bind(&row.id)
                        .push_bind(row.revision)
                        .push_bind(row.created_at)
                        .push_bind(&row.body)
                        .push_bind(&row.mac)
                        .push_bind(&row.likeness);
                })
                .build()
                .execute(connection)
                .await?;
        });
    }
    Ok(())
}

/// Replaces an entry that is still at `old_revision`.
pub(super) async fn update(
    transaction: &mut Transaction,
    row: &EntryRow,
    old_revision: i64,
) -> Result<(), StoreError> {
    let changed = within!(transaction, connection => {
        sqlx::query(
            "UPDATE entries SET revision = $2, body = $3, mac = $4, likeness = $5 WHERE id = $1 AND revision = $6",
        )
        .bind(&row.id)
        .bind(row.revision)
        .bind(&row.body)
        .bind(&row.mac)
        .bind(&row.likeness)
        .bind(old_revision)
        .execute(connection)
        .await?
        .rows_affected()
    });
    if changed == 1 { Ok(()) } else { Err(Conflict::Changed.into()) }
}

/// Fills in the likeness of a row of the first schema.
pub(super) async fn fill_likeness(
    transaction: &mut Transaction,
    id: &str,
    likeness: &[u8],
) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query("UPDATE entries SET likeness = $2 WHERE id = $1 AND likeness IS NULL")
            .bind(id)
            .bind(likeness)
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Removes an entry that is still at a revision.
pub(super) async fn prune(transaction: &mut Transaction, id: &str, revision: i64) -> Result<(), StoreError> {
    let gone = within!(transaction, connection => {
        sqlx::query("DELETE FROM entries WHERE id = $1 AND revision = $2")
            .bind(id)
            .bind(revision)
            .execute(connection)
            .await?
            .rows_affected()
    });
    if gone == 1 { Ok(()) } else { Err(Conflict::Changed.into()) }
}

/// Removes an entry; one that is gone already is no failure.
pub(super) async fn delete(transaction: &mut Transaction, id: &str) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query("DELETE FROM entries WHERE id = $1").bind(id).execute(connection).await?;
    });
    Ok(())
}
