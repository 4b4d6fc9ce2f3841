//! Reading audit logs: this replica's own and those of all others.

use std::ops::Range;

use sqlx::FromRow;

use super::{
    AuditLogRow, Store, StoreError,
    database::{Pools, on},
};
use crate::audit::{Node, Place, ProofMaterial, ProofPlan, STORED_LEVEL};

/// An entry of an audit log, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct AuditEntryRow {
    /// Its place in the log, from 0 on.
    pub position: i64,
    /// An encoded record.
    pub leaf: Vec<u8>,
}

#[derive(FromRow)]
struct NodeRow {
    position: i64,
    hash: Vec<u8>,
}

impl Store {
    /// Every audit log, in the order of their IDs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit_logs(&self) -> Result<Vec<AuditLogRow>, StoreError> {
        Ok(on!(&self.readers, pool => {
            sqlx::query_as(
                "SELECT log_id, public_key, size, frontier, checkpoint FROM audit_logs ORDER BY log_id",
            )
            .fetch_all(pool)
            .await?
        }))
    }

    /// One audit log.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit_log(&self, log_id: &str) -> Result<Option<AuditLogRow>, StoreError> {
        Ok(on!(&self.readers, pool => {
            sqlx::query_as(
                "SELECT log_id, public_key, size, frontier, checkpoint FROM audit_logs WHERE log_id = $1",
            )
            .bind(log_id)
            .fetch_optional(pool)
            .await?
        }))
    }

    /// How many entries each audit log has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit_sizes(&self) -> Result<Vec<(String, i64)>, StoreError> {
        Ok(on!(&self.readers, pool => {
            sqlx::query_as("SELECT log_id, size FROM audit_logs ORDER BY log_id").fetch_all(pool).await?
        }))
    }

    /// Up to `most` entries of a log, from a position on, in their order. Entries that are missing are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit_entries(
        &self,
        log_id: &str,
        from: u64,
        most: u32,
    ) -> Result<Vec<AuditEntryRow>, StoreError> {
        Ok(on!(&self.readers, pool => {
            sqlx::query_as(
                "SELECT position, leaf FROM audit_entries WHERE log_id = $1 AND position >= $2
                 ORDER BY position LIMIT $3",
            )
            .bind(log_id)
            .bind(column(from))
            .bind(i64::from(most))
            .fetch_all(pool)
            .await?
        }))
    }

    /// Up to `most` stored blocks of 256 entries of a log, from one on, in their order.
    ///
    /// # Errors
    /// When the database fails, or a row is no hash.
    pub async fn audit_blocks(&self, log_id: &str, from: u64, most: u32) -> Result<Vec<Node>, StoreError> {
        let rows: Vec<NodeRow> = on!(&self.readers, pool => {
            sqlx::query_as(
                "SELECT position, hash FROM audit_nodes WHERE log_id = $1 AND level = $2 AND position >= $3
                 ORDER BY position LIMIT $4",
            )
            .bind(log_id)
            .bind(i64::from(STORED_LEVEL))
            .bind(column(from))
            .bind(i64::from(most))
            .fetch_all(pool)
            .await?
        });
        rows.into_iter().map(|row| node(STORED_LEVEL, &row)).collect()
    }

    /// What a proof over a log is made of: at most a few hundred entries and a hundred subtrees, however long the log
    /// is. What is missing in the database is missing in the answer.
    ///
    /// # Errors
    /// When the database fails, or a row is no hash.
    pub async fn audit_proof_material(
        &self,
        log_id: &str,
        plan: &ProofPlan,
    ) -> Result<ProofMaterial, StoreError> {
        proof_material(&self.readers, log_id, plan).await
    }
}

pub(super) async fn proof_material(
    pools: &Pools,
    log_id: &str,
    plan: &ProofPlan,
) -> Result<ProofMaterial, StoreError> {
    let mut material = ProofMaterial::default();
    for place in plan.nodes() {
        if let Some(node) = stored_node(pools, log_id, place).await? {
            material.add_node(&node);
        }
    }
    for range in plan.leaves() {
        for entry in entries_in(pools, log_id, range).await? {
            material.add_leaf(entry.position.unsigned_abs(), &entry.leaf);
        }
    }
    Ok(material)
}

async fn stored_node(pools: &Pools, log_id: &str, place: Place) -> Result<Option<Node>, StoreError> {
    let row: Option<NodeRow> = on!(pools, pool => {
        sqlx::query_as(
            "SELECT position, hash FROM audit_nodes WHERE log_id = $1 AND level = $2 AND position = $3",
        )
        .bind(log_id)
        .bind(i64::from(place.level))
        .bind(column(place.position))
        .fetch_optional(pool)
        .await?
    });
    row.map(|row| node(place.level, &row)).transpose()
}

/// The entries whose positions are in a range, in their order. Entries that are missing are left out.
pub(super) async fn entries_in(
    pools: &Pools,
    log_id: &str,
    range: Range<u64>,
) -> Result<Vec<AuditEntryRow>, StoreError> {
    Ok(on!(pools, pool => {
        sqlx::query_as(
            "SELECT position, leaf FROM audit_entries WHERE log_id = $1 AND position >= $2 AND position < $3
             ORDER BY position",
        )
        .bind(log_id)
        .bind(column(range.start))
        .bind(column(range.end))
        .fetch_all(pool)
        .await?
    }))
}

/// A position as the database counts; no log reaches what it cannot count.
fn column(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

fn node(level: u8, row: &NodeRow) -> Result<Node, StoreError> {
    let hash = row.hash.as_slice().try_into().map_err(|_| StoreError::Row {
        table: "audit_nodes",
        reason: format!("the hash of subtree {} of level {level} has {} bytes", row.position, row.hash.len()),
    })?;
    Ok(Node { level, position: row.position.unsigned_abs(), hash })
}
