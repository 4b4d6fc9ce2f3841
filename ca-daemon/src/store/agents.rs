//! Attested agents as they are kept: whole, with a proof of who wrote them.

use std::collections::{BTreeSet, HashMap};

use futures_util::stream::BoxStream;
use sqlx::{FromRow, QueryBuilder};

use super::{
    Change, Conflict, Store, StoreError,
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

/// The rows of all agents that a batch of changes names, as they stand in its transaction. Nobody else changes them
/// until it has ended.
#[derive(Default)]
pub(super) struct LockedAgents {
    macs: HashMap<String, Vec<u8>>,
}

impl LockedAgents {
    /// Locks the rows, before anything else of the batch is done.
    ///
    /// What the batch changes is locked as for a change from the beginning, in one order for all replicas: of two that
    /// held a row together, neither could change it. For what it does not change it never waits: a row that somebody
    /// is changing is left out, as if it had been changed.
    pub(super) async fn lock(transaction: &mut Transaction, changes: &[&Change]) -> Result<Self, StoreError> {
        let (mut changed, mut held) = (BTreeSet::new(), BTreeSet::new());
        for change in changes {
            match change {
                Change::ReplaceAgent { row, .. } => changed.insert(row.spiffe_id.as_str()),
                Change::DeleteAgent { spiffe_id, .. } => changed.insert(spiffe_id.as_str()),
                Change::HoldAgent { spiffe_id, .. } => held.insert(spiffe_id.as_str()),
                _ => continue,
            };
        }
        let (to_change, to_hold) = match transaction {
            // Nobody else writes meanwhile.
            Transaction::Sqlite(_) => ("", ""),
            // Byte by byte, as the set is ordered.
            Transaction::Postgres(_) => (" COLLATE \"C\" FOR UPDATE", " COLLATE \"C\" FOR SHARE SKIP LOCKED"),
        };
        let held: Vec<&str> = held.difference(&changed).copied().collect();
        let changed: Vec<&str> = changed.into_iter().collect();
        let mut locked = Self::default();
        locked.read(transaction, &changed, to_change).await?;
        locked.read(transaction, &held, to_hold).await?;
        Ok(locked)
    }

    async fn read(
        &mut self,
        transaction: &mut Transaction,
        agents: &[&str],
        lock: &'static str,
    ) -> Result<(), StoreError> {
        for step in in_steps(agents) {
            let rows: Vec<(String, Vec<u8>)> = within!(transaction, connection => {
                let mut query = QueryBuilder::new("SELECT spiffe_id, mac FROM agents WHERE spiffe_id IN (");
                let mut list = query.separated(", ");
                for spiffe_id in step {
                    list.push_bind(*spiffe_id);
                }
                query.push(") ORDER BY spiffe_id").push(lock);
                query.build_query_as().fetch_all(connection).await?
            });
            self.macs.extend(rows);
        }
        Ok(())
    }

    /// Refuses unless an agent's row still is the one with this MAC.
    pub(super) fn hold(&self, spiffe_id: &str, mac: &[u8]) -> Result<(), StoreError> {
        match self.macs.get(spiffe_id) {
            Some(found) if found == mac => Ok(()),
            _ => Err(Conflict::Changed.into()),
        }
    }

    /// Adds an agent.
    pub(super) async fn add(
        &mut self,
        transaction: &mut Transaction,
        row: &AgentRow,
    ) -> Result<(), StoreError> {
        within!(transaction, connection => {
            sqlx::query("INSERT INTO agents (spiffe_id, body, mac) VALUES ($1, $2, $3)")
                .bind(&row.spiffe_id)
                .bind(&row.body)
                .bind(&row.mac)
                .execute(connection)
                .await?;
        });
        self.macs.insert(row.spiffe_id.clone(), row.mac.clone());
        Ok(())
    }

    /// Replaces an agent whose row is still the one with `old_mac`.
    pub(super) async fn replace(
        &mut self,
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
        if changed != 1 {
            return Err(Conflict::Changed.into());
        }
        self.macs.insert(row.spiffe_id.clone(), row.mac.clone());
        Ok(())
    }

    /// Removes an agent whose row is still the one with `old_mac`.
    pub(super) async fn delete(
        &mut self,
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
        if gone != 1 {
            return Err(Conflict::Changed.into());
        }
        self.macs.remove(spiffe_id);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
