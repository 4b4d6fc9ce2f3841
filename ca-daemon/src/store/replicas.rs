//! Which replicas there are, and when each last wrote.

use super::{
    Store, StoreError,
    change::Change,
    database::{Transaction, within},
};

impl Store {
    /// Writes that this replica lives: a durable write that proves that the database takes some.
    ///
    /// # Errors
    /// When the database fails or is closed.
    pub async fn see_replica(&self, id: &str, at: i64) -> Result<(), StoreError> {
        self.write(Change::SeeReplica { id: id.to_owned(), at }).await
    }
}

pub(super) async fn see(transaction: &mut Transaction, id: &str, at: i64) -> Result<(), StoreError> {
    const SEE: &str = "INSERT INTO replicas (id, seen_at) VALUES ($1, $2)
        ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at";
    within!(transaction, connection => {
        sqlx::query(SEE).bind(id).bind(at).execute(connection).await?;
    });
    Ok(())
}
