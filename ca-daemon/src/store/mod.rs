//! The database: what has been issued and registered. SQLite in WAL mode, one writer, several readers.
//!
//! Every change goes through one [`Writer`](group_commit::Writer), which commits many of them in one durable
//! transaction; a call returns when its change is on disk.

mod authorities;
mod certificates;
mod entries;
mod group_commit;
mod open;

use sqlx::SqlitePool;

pub use authorities::{AuthorityKind, AuthorityRow, AuthorityState, TrustDomainRow};
pub use certificates::{CertificateFilter, CertificateRecord, Page, Revocation};
pub use entries::EntryRow;
pub use group_commit::Change;

/// The database of one authority. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    readers: SqlitePool,
    writer: group_commit::Writer,
}

/// Why the database cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or created.
    #[error("the database {path} cannot be opened: {source}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        source: sqlx::Error,
    },
    /// A newer program wrote it.
    #[error(
        "the database {path} was written by a newer version of this program (schema {found}, this program knows {known}); \
         run that version, or restore a backup made before the upgrade"
    )]
    Newer {
        /// The file.
        path: String,
        /// The schema version found.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
    /// The schema cannot be brought up to date.
    #[error("the schema of the database {path} cannot be brought up to date: {source}")]
    Migrate {
        /// The file.
        path: String,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// A statement failed.
    #[error("the database failed: {0}")]
    Sql(#[from] sqlx::Error),
    /// A change was refused by the database.
    #[error("the database refused a change: {0}")]
    Refused(String),
    /// A row cannot be understood.
    #[error("a row of table {table} cannot be understood: {reason}")]
    Row {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The writer has stopped.
    #[error("the database is closed; the daemon is shutting down")]
    Closed,
}

impl Store {
    /// Makes a change durable. Many callers' changes share one commit.
    ///
    /// # Errors
    /// When the database refuses it, or is closed.
    pub async fn write(&self, change: Change) -> Result<(), StoreError> {
        self.writer.write(change).await
    }

    /// Waits until every accepted change is on disk, then closes the database.
    pub async fn close(self) {
        self.writer.close().await;
        self.readers.close().await;
    }
}
