//! Opening the database and bringing its schema up to date.

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use sqlx::{
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Store, StoreError, group_commit::Writer};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

const READERS: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

impl Store {
    /// Opens the database file, creating it and its schema the first time.
    ///
    /// # Errors
    /// When the file cannot be opened, is no database, or was written by a newer version.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What was acknowledged survives a power failure, not only a crash.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        create_private(path).map_err(|error| StoreError::Open {
            path: path.display().to_string(),
            source: sqlx::Error::Io(error),
        })?;
        let shown = || path.display().to_string();
        let open = |source| StoreError::Open { path: shown(), source };

        let writing = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await
            .map_err(open)?;
        MIGRATIONS.run(&writing).await.map_err(|source| match source {
            MigrateError::VersionMissing(found) => {
                let known = MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0);
                StoreError::Newer { path: shown(), found, known }
            }
            source => StoreError::Migrate { path: shown(), source },
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true))
            .await
            .map_err(open)?;
        Ok(Self { readers, writer: Writer::start(writing) })
    }
}

/// SQLite would create the file for everyone to read; its journals take over the mode that they find.
fn create_private(path: &Path) -> io::Result<()> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map(drop)
}
