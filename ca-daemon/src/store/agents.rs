//! Attested agents as they are kept: whole, with a proof of who wrote them.

use std::collections::{BTreeSet, HashMap};

use futures_util::stream::BoxStream;
use sqlx::{FromRow, QueryBuilder};

use super::{
    Conflict, Store, StoreError,
    database::{Transaction, in_steps, on, within},
    readable::readable,
};

/// One agent at rest. What `body` and `mac` mean is the business of [`crate::agents`].
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct AgentRow {
    /// The agent's SPIFFE ID.
    pub spiffe_id: String,
    /// The encoded agent.
    pub body: Vec<u8>,
    /// Proof that this authority wrote the row.
    pub mac: Vec<u8>,
}

impl Store {
    /// Every agent, one after another.
    #[must_use]
    pub fn agents(&self) -> BoxStream<'_, Result<AgentRow, StoreError>> {
        on!(&self.readers, pool => {
            readable("agents", sqlx::query_as("SELECT spiffe_id, body, mac FROM agents").fetch(pool))
        })
    }

    /// One agent.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn agent(&self, spiffe_id: &str) -> Result<Option<AgentRow>, StoreError> {
        let found = on!(&self.readers, pool => {
            sqlx::query_as("SELECT spiffe_id, body, mac FROM agents WHERE spiffe_id = $1")
                .bind(spiffe_id)
                .fetch_optional(pool)
                .await?
        });
        Ok(found)
    }

    /// Those of these SPIFFE IDs that are an agent's.
    pub(super) async fn known_agents(&self, spiffe_ids: &[&String]) -> Result<Vec<String>, StoreError> {
        let mut known = Vec::new();
        for step in in_steps(spiffe_ids) {
            let found: Vec<String> = on!(&self.readers, pool => {
                let mut query = QueryBuilder::new("SELECT spiffe_id FROM agents WHERE spiffe_id IN (");
                let mut list = query.separated(", ");
                for spiffe_id in step {
                    list.push_bind(*spiffe_id);
                }
                query.push(")");
                query.build_query_scalar().fetch_all(pool).await?
            });
            known.extend(found);
        }
        Ok(known)
    }
}

/// Adds an agent.
pub(super) async fn add(transaction: &mut Transaction, row: &AgentRow) -> Result<(), StoreError> {
    within!(transaction, connection => {
        sqlx::query("INSERT INTO agents (spiffe_id, body, mac) VALUES ($1, $2, $3)")
            .bind(&row.spiffe_id)
            .bind(&row.body)
            .bind(&row.mac)
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Replaces an agent whose row is still the one with `old_mac`.
pub(super) async fn replace(
    transaction: &mut Transaction,
    row: &AgentRow,
    old_mac: &[u8],
) -> Result<(), StoreError> {
    let changed = within!(transaction, connection => {
        sqlx::query("UPDATE agents SET body = $2, mac = $3 WHERE spiffe_id = $1 AND mac = $4")
            .bind(&row.spiffe_id)
            .bind(&row.body)
            .bind(&row.mac)
            .bind(old_mac)
            .execute(connection)
            .await?
            .rows_affected()
    });
    if changed == 1 { Ok(()) } else { Err(Conflict::Changed.into()) }
}

/// Removes an agent whose row is still the one with `old_mac`.
pub(super) async fn delete(
    transaction: &mut Transaction,
    spiffe_id: &str,
    old_mac: &[u8],
) -> Result<(), StoreError> {
    let gone = within!(transaction, connection => {
        sqlx::query("DELETE FROM agents WHERE spiffe_id = $1 AND mac = $2")
            .bind(spiffe_id)
            .bind(old_mac)
            .execute(connection)
            .await?
            .rows_affected()
    });
    if gone == 1 { Ok(()) } else { Err(Conflict::Changed.into()) }
}

/// Refuses unless the rows of all of these agents still are the ones with these MACs, and has them stay so until the
/// transaction has ended.
pub(super) async fn hold(transaction: &mut Transaction, held: &[(&str, &[u8])]) -> Result<(), StoreError> {
    // Many commits of one agent share a transaction; one look is enough for all of them. The order keeps replicas from
    // waiting for one another in a circle.
    let agents: BTreeSet<&str> = held.iter().map(|(spiffe_id, _)| *spiffe_id).collect();
    let agents: Vec<&str> = agents.into_iter().collect();
    let lock = match transaction {
        // Nobody else writes meanwhile.
        Transaction::Sqlite(_) => "",
        // Another replica's change of the row waits for this transaction, or this one sees that change.
        Transaction::Postgres(_) => " FOR SHARE",
    };
    let mut found: HashMap<String, Vec<u8>> = HashMap::new();
    for step in in_steps(&agents) {
        let rows: Vec<(String, Vec<u8>)> = within!(transaction, connection => {
            let mut query = QueryBuilder::new("SELECT spiffe_id, mac FROM agents WHERE spiffe_id IN (");
            let mut list = query.separated(", ");
            for spiffe_id in step {
                list.push_bind(*spiffe_id);
            }
            query.push(") ORDER BY spiffe_id").push(lock);
            query.build_query_as().fetch_all(connection).await?
        });
        found.extend(rows);
    }
    let stands = |(spiffe_id, mac): &(&str, &[u8])| found.get(*spiffe_id).is_some_and(|found| found == mac);
    if held.iter().all(stands) { Ok(()) } else { Err(Conflict::Changed.into()) }
}
