//! The database: what has been issued and registered, in SQLite (one daemon) or PostgreSQL (any number).
//!
//! Every change goes through one [`Writer`](group_commit::Writer), which commits many of them, with their entries of
//! the audit log, in one durable transaction; a call returns when its change is on disk. Reading has connections of
//! its own.

mod agents;
mod audit;
mod audit_reads;
mod authorities;
mod certificates;
mod change;
mod database;
mod entries;
mod federation;
mod group_commit;
mod join_tokens;
mod leases;
mod listen;
mod notices;
mod open;
mod readable;
mod replicas;
mod revocations;
mod secrets;
#[cfg(test)]
pub(crate) mod testing;
mod unused_tokens;

use std::sync::Arc;

use tokio::sync::broadcast;

pub use agents::AgentRow;
pub use audit::AuditLogRow;
pub use audit_reads::AuditEntryRow;
pub use authorities::{
    AuthorityFilter, AuthorityKind, AuthorityRow, AuthorityState, ELSEWHERE, TrustDomainRow,
};
pub use certificates::{CertificateFilter, CertificateRecord, Page, UnexpiredBelow};
pub use change::Change;
pub use entries::EntryRow;
pub use federation::{FederationRow, FederationTable};
pub use group_commit::Commit;
pub(crate) use group_commit::Outcome;
pub use join_tokens::JoinTokenRow;
pub use leases::Lease;
pub use listen::Patience;
pub use notices::Notice;
pub use open::StoreLocation;
pub(crate) use open::make_postgres_schema;
pub use revocations::{
    MendedRecord, Revocation, RevocationListRow, RevocationTarget, RevokedKeyRow, RevokedRow,
};
pub use secrets::SealedSecret;

use crate::{audit::Event, operations::Metrics};

/// The database of one authority. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    replica: Arc<str>,
    readers: database::Pools,
    writer: group_commit::Writer,
    notices: listen::Listener,
    metrics: Arc<Metrics>,
}

/// Why the database cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened or created.
    #[error("the database {name} cannot be opened: {source}")]
    Open {
        /// The file, or the server and database.
        name: String,
        /// Why.
        source: sqlx::Error,
    },
    /// A newer program wrote it.
    #[error(
        "the database {name} was written by a newer version of this program (schema {found}, this program knows {known}); \
         run that version, or restore a backup made before the upgrade"
    )]
    Newer {
        /// The file, or the server and database.
        name: String,
        /// The schema version found.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
    /// The schema cannot be brought up to date.
    #[error("the schema of the database {name} cannot be brought up to date: {source}")]
    Migrate {
        /// The file, or the server and database.
        name: String,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// A statement failed.
    #[error("the database failed: {0}")]
    Sql(#[source] sqlx::Error),
    /// The database was told to commit, and how that ended is not known: what was to be changed may be changed.
    #[error("whether it was changed is not known, look again: {0}")]
    Unsure(#[source] Box<StoreError>),
    /// A change was refused by the database.
    #[error("the database refused a change: {0}")]
    Refused(String),
    /// A change contradicts what stands in the database by now.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A row cannot be understood.
    #[error("a row of table {table} cannot be understood: {reason}")]
    Row {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The audit log's rows contradict one another.
    #[error("the audit log {log_id} cannot be continued: {reason}")]
    AuditLog {
        /// Which.
        log_id: String,
        /// Why.
        reason: String,
    },
    /// The writer has stopped.
    #[error("the database is closed; the daemon is shutting down")]
    Closed,
}

/// What a change contradicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// An entry of that ID stands already.
    #[error("an entry of this ID stands already")]
    EntryId,
    /// An entry of the same SPIFFE ID, parent and selectors stands already.
    #[error("a similar entry stands already")]
    SimilarEntry,
    /// Somebody else changed the row since it was read.
    #[error("it was changed by somebody else since it was read")]
    Changed,
    /// Another row is in that place already.
    #[error("another one is in that place already")]
    Taken,
}

impl StoreError {
    /// The same of a commit that may have been made all the same.
    fn unsure(self) -> Self {
        match self {
            Self::Unsure(_) => self,
            error => Self::Unsure(Box::new(error)),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    /// A place that is taken is no failure of the database.
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error().filter(|error| error.is_unique_violation()) else {
            return Self::Sql(error);
        };
        // SQLite names the columns, PostgreSQL the constraint.
        let said = format!("{} {}", database.constraint().unwrap_or_default(), database.message());
        Self::Conflict(if said.contains("likeness") {
            Conflict::SimilarEntry
        } else if said.contains("entries_pkey") || said.contains("entries.id") {
            Conflict::EntryId
        } else {
            Conflict::Taken
        })
    }
}

impl Store {
    /// Makes changes durable, all of them or none, together with what the audit log says of them. Many callers'
    /// commits share one transaction. Join tokens that can still be used are hidden in what the log says.
    ///
    /// # Errors
    /// When the database refuses a change, fails, or is closed.
    pub async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        match self.commit_unless_outrun(commit).await? {
            Outcome::Made => Ok(()),
            Outcome::Outrun(_) => Err(Conflict::Changed.into()),
        }
    }

    /// As [`Store::commit`], for whoever makes of [`Conflict::Changed`] another try with the same commit.
    ///
    /// # Errors
    /// As [`Store::commit`], but for that one.
    pub(crate) async fn commit_unless_outrun(&self, mut commit: Commit) -> Result<Outcome, StoreError> {
        self.hide_tokens_in(&mut commit).await;
        self.writer.commit(commit).await
    }

    /// Makes one change durable of which the audit log says nothing.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn write(&self, change: Change) -> Result<(), StoreError> {
        self.commit(Commit { changes: vec![change], events: Vec::new() }).await
    }

    /// Makes durable what the audit log says of something that changed nothing else in the database.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn record(&self, event: Event) -> Result<(), StoreError> {
        self.commit(Commit { changes: Vec::new(), events: vec![event] }).await
    }

    /// The ID of the daemon that this is, and of its audit log.
    #[must_use]
    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// What other replicas change from now on, and what was changed here by a commit whose end nobody heard. With
    /// SQLite there is only the latter.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Has whoever keeps something of the database in memory read it again, as if another replica had changed it.
    pub fn read_again(&self, notice: Notice) {
        self.notices.tell(notice);
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Waits until every accepted change is on disk, then closes the database.
    pub async fn close(self) {
        self.notices.close().await;
        self.readers.close().await;
        // The last to go: only who may write folds SQLite's write-ahead log into the file.
        self.writer.close().await;
    }
}
