//! Join tokens as they are kept: the hash of each, with a proof of who wrote the row.

use sqlx::FromRow;

use super::{
    Conflict, Store, StoreError,
    database::{Transaction, on, within},
};

/// One join token at rest. What `body` and `mac` mean is the business of [`crate::agents`].
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct JoinTokenRow {
    /// SHA-256 of the token, which itself is kept nowhere.
    pub token_sha256: Vec<u8>,
    /// Unix seconds.
    pub expires_at: i64,
    /// What is known of the token, encoded.
    pub body: Vec<u8>,
    /// Proof that this authority wrote the row.
    pub mac: Vec<u8>,
}

impl Store {
    /// One join token, used or not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn join_token(&self, token_sha256: &[u8]) -> Result<Option<JoinTokenRow>, StoreError> {
        let found = on!(&self.readers, pool => {
            sqlx::query_as("SELECT token_sha256, expires_at, body, mac FROM join_tokens WHERE token_sha256 = $1")
                .bind(token_sha256)
                .fetch_optional(pool)
                .await?
        });
        Ok(found)
    }
}

/// Adds a token.
pub(super) async fn add(transaction: &mut Transaction, row: &JoinTokenRow) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query("INSERT INTO join_tokens (token_sha256, expires_at, body, mac) VALUES ($1, $2, $3, $4)")
            .bind(&row.token_sha256)
            .bind(row.expires_at)
            .bind(&row.body)
            .bind(&row.mac)
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Replaces a token whose row is still the one with `old_mac`: of two that use it at once, one succeeds.
pub(super) async fn replace(
    transaction: &mut Transaction,
    row: &JoinTokenRow,
    old_mac: &[u8],
) -> Result<(), StoreError> {
    let changed = within!(transaction, connection => {
        sqlx::query(
            "UPDATE join_tokens SET expires_at = $2, body = $3, mac = $4 WHERE token_sha256 = $1 AND mac = $5",
        )
        .bind(&row.token_sha256)
        .bind(row.expires_at)
        .bind(&row.body)
        .bind(&row.mac)
        .bind(old_mac)
        .execute(connection)
        .await?
        .rows_affected()
    });
    if changed == 1 { Ok(()) } else { Err(Conflict::Changed.into()) }
}

/// Forgets the tokens that expired before an instant in Unix seconds, used or not.
pub(super) async fn forget_expired(transaction: &mut Transaction, before: i64) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query("DELETE FROM join_tokens WHERE expires_at < $1").bind(before).execute(connection).await?;
    });
    Ok(())
}
