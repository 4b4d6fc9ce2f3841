//! The end of this replica's audit log: what the next entries are appended to, in the transaction of what they tell
//! of.

use std::time::SystemTime;

use sqlx::{FromRow, QueryBuilder};

use super::{
    Store, StoreError,
    audit_reads::{entries_in, proof_material},
    database::{Pools, Transaction, in_steps, on, within},
};
use crate::audit::{Checkpoint, Event, Frontier, LogId, LogKey, Node, ProofPlan, leaf_hash};

/// How many entries are read at once when the end of a log is checked.
const CHECKED_AT_ONCE: u64 = 1000;

/// What the database says of one log.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct AuditLogRow {
    /// The replica that writes it.
    pub log_id: String,
    /// Ed25519.
    pub public_key: Vec<u8>,
    /// How many entries it has.
    pub size: i64,
    /// An encoded [`Frontier`].
    pub frontier: Vec<u8>,
    /// The latest signed checkpoint.
    pub checkpoint: String,
}

impl Store {
    /// Begins this replica's audit log, or continues it. Before this, nothing that has an event can be committed.
    ///
    /// # Errors
    /// When the database fails, or holds a log that cannot be continued.
    pub async fn open_audit_log(&self, key: LogKey) -> Result<(), StoreError> {
        self.writer.open_log(key).await
    }

    /// Signs a checkpoint of every entry that was committed before, instead of waiting for the next one that is due.
    ///
    /// # Errors
    /// When the database is closed.
    pub async fn sign_audit_log(&self) -> Result<(), StoreError> {
        self.writer.sign_log().await
    }
}

/// The end of a log, with what is to be appended to it.
#[derive(Clone)]
pub(super) struct AuditTail {
    log_id: LogId,
    frontier: Frontier,
    /// The latest signed checkpoint, and for which size.
    checkpoint: String,
    signed_size: u64,
    leaves: Vec<Vec<u8>>,
    nodes: Vec<Node>,
}

impl AuditTail {
    /// Finds where this replica's log ends, or begins it with a checkpoint of nothing.
    pub(super) async fn open(
        pools: &Pools,
        replica: &str,
        key: &LogKey,
        now: SystemTime,
    ) -> Result<Self, StoreError> {
        let broken =
            |reason: &str| StoreError::AuditLog { log_id: replica.to_owned(), reason: reason.to_owned() };
        let log_id = LogId::parse(replica).map_err(|error| broken(&error.to_string()))?;
        let Some(row) = read(pools, replica).await? else {
            return Self::begin(pools, log_id, key, now).await;
        };
        if row.public_key != key.public_key().as_bytes() {
            return Err(broken("it was begun with another key than the one that is kept; restore the key"));
        }
        let frontier = Frontier::from_bytes(&row.frontier).map_err(|error| broken(&error.to_string()))?;
        let last: Option<i64> = on!(pools, pool => {
            sqlx::query_scalar("SELECT max(position) FROM audit_entries WHERE log_id = $1")
                .bind(replica)
                .fetch_one(pool)
                .await?
        });
        let entries = last.map_or(0, |last| u64::try_from(last).unwrap_or(0) + 1);
        if frontier.size() != entries || i64::try_from(entries).ok() != Some(row.size) {
            return Err(broken(&format!(
                "it says that it has {} entries, and {entries} are there; somebody changed the database",
                row.size
            )));
        }
        let signed = Checkpoint::verify(&row.checkpoint, &key.public_key())
            .map_err(|error| broken(&format!("its checkpoint is not its own: {error}")))?;
        let follows = if signed.checkpoint.size == entries {
            frontier.root() == signed.checkpoint.root
        } else {
            grown_from(pools, &signed.checkpoint, entries).await?.as_ref() == Some(&frontier)
        };
        if !follows {
            return Err(broken(
                "its end does not follow from its checkpoint; somebody changed the database. Keep the log as \
                 evidence, and delete the file `replica` in the data folder to begin another one",
            ));
        }
        Ok(Self {
            log_id,
            frontier,
            checkpoint: row.checkpoint,
            signed_size: signed.checkpoint.size,
            leaves: Vec::new(),
            nodes: Vec::new(),
        })
    }

    async fn begin(pools: &Pools, log_id: LogId, key: &LogKey, now: SystemTime) -> Result<Self, StoreError> {
        let mut tail = Self {
            log_id,
            frontier: Frontier::default(),
            checkpoint: String::new(),
            signed_size: 0,
            leaves: Vec::new(),
            nodes: Vec::new(),
        };
        tail.sign(key, now)?;
        on!(pools, pool => {
            sqlx::query(
                "INSERT INTO audit_logs (log_id, public_key, size, frontier, checkpoint) VALUES ($1, $2, 0, $3, $4)",
            )
            .bind(tail.log_id.as_str())
            .bind(key.public_key().as_bytes().as_slice())
            .bind(tail.frontier.to_bytes())
            .bind(&tail.checkpoint)
            .execute(pool)
            .await?;
        });
        Ok(tail)
    }

    /// Adds entries; they are there when [`AuditTail::write`] is committed.
    pub(super) fn append(&mut self, events: &[&Event], at: SystemTime) {
        for event in events {
            let leaf = event.encode(at);
            self.frontier.append(leaf_hash(&leaf), &mut self.nodes);
            self.leaves.push(leaf);
        }
    }

    /// Signs the log as it is now.
    pub(super) fn sign(&mut self, key: &LogKey, now: SystemTime) -> Result<(), StoreError> {
        let (size, root) = (self.frontier.size(), self.frontier.root());
        let checkpoint = Checkpoint { log_id: self.log_id.clone(), size, root };
        self.checkpoint = key.sign(&checkpoint, now).map_err(|error| StoreError::AuditLog {
            log_id: self.log_id.as_str().to_owned(),
            reason: error.to_string(),
        })?;
        self.signed_size = size;
        Ok(())
    }

    /// How many entries the log has.
    pub(super) fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Whether the latest checkpoint covers every entry.
    pub(super) fn is_signed(&self) -> bool {
        self.signed_size == self.frontier.size()
    }

    /// Writes what was appended. It is refused when somebody else continued the log.
    pub(super) async fn write(&mut self, transaction: &mut Transaction) -> Result<(), StoreError> {
        let log_id = self.log_id.as_str();
        let size = i64::try_from(self.frontier.size()).unwrap_or(i64::MAX);
        let leaves = std::mem::take(&mut self.leaves);
        let first = size - i64::try_from(leaves.len()).unwrap_or(0);
        let rows: Vec<_> = (first..).zip(leaves).collect();
        let insert_into = transaction.insert_into();
        for step in in_steps(&rows) {
            within!(transaction, connection => {
                QueryBuilder::new(insert_into)
                    .push("audit_entries (log_id, position, leaf) ")
                    .push_values(step, |mut values, (position, leaf)| {
                        values.push_bind(log_id).push_bind(*position).push_bind(leaf);
                    })
                    .build()
                    .execute(connection)
                    .await?;
            });
        }
        let nodes = std::mem::take(&mut self.nodes);
        for step in in_steps(&nodes) {
            within!(transaction, connection => {
                QueryBuilder::new(insert_into)
                    .push("audit_nodes (log_id, level, position, hash) ")
                    .push_values(step, |mut values, node| {
                        values
                            .push_bind(log_id)
                            .push_bind(i64::from(node.level))
                            .push_bind(i64::try_from(node.position).unwrap_or(i64::MAX))
                            .push_bind(node.hash.as_slice());
                    })
                    .build()
                    .execute(connection)
                    .await?;
            });
        }
        let changed = within!(transaction, connection => {
            sqlx::query(
                "UPDATE audit_logs SET size = $2, frontier = $3, checkpoint = $4 WHERE log_id = $1 AND size = $5",
            )
            .bind(log_id)
            .bind(size)
            .bind(self.frontier.to_bytes())
            .bind(&self.checkpoint)
            .bind(first)
            .execute(connection)
            .await?
            .rows_affected()
        });
        if changed == 1 {
            return Ok(());
        }
        Err(StoreError::AuditLog {
            log_id: log_id.to_owned(),
            reason: "somebody else continued it; another daemon has this one's replica ID".to_owned(),
        })
    }
}

/// The frontier of the log with this many entries as it follows from a checkpoint and the entries since: whoever
/// changes an old entry and the stored frontier cannot have the lie signed with the next entry. `None` when the log
/// does not match the checkpoint.
async fn grown_from(
    pools: &Pools,
    checkpoint: &Checkpoint,
    entries: u64,
) -> Result<Option<Frontier>, StoreError> {
    let log_id = checkpoint.log_id.as_str();
    let plan = ProofPlan::peaks(checkpoint.size);
    let Ok(mut frontier) = plan.frontier(&proof_material(pools, log_id, &plan).await?) else {
        return Ok(None);
    };
    if frontier.root() != checkpoint.root {
        return Ok(None);
    }
    while frontier.size() < entries {
        let next = frontier.size();
        let rows = entries_in(pools, log_id, next..entries.min(next + CHECKED_AT_ONCE)).await?;
        for row in rows {
            if row.position.unsigned_abs() != frontier.size() {
                return Ok(None);
            }
            frontier.append(leaf_hash(&row.leaf), &mut Vec::new());
        }
        if frontier.size() == next {
            return Ok(None);
        }
    }
    Ok((frontier.size() == entries).then_some(frontier))
}

async fn read(pools: &Pools, log_id: &str) -> Result<Option<AuditLogRow>, StoreError> {
    let found = on!(pools, pool => {
        sqlx::query_as("SELECT log_id, public_key, size, frontier, checkpoint FROM audit_logs WHERE log_id = $1")
            .bind(log_id)
            .fetch_optional(pool)
            .await?
    });
    Ok(found)
}
