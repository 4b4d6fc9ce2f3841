//! A SQLite database at one moment, copied while it is written to.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::BackupError;

const PREFIX: &str = "backup-";
const SUFFIX: &str = ".db";
/// How long a writer may keep a reader waiting.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A copy of the database in the data folder, which nobody else can read. It goes away with this.
pub(super) struct Snapshot(PathBuf);

impl Snapshot {
    /// Copies the database in one read transaction: what was committed before it began is in it, and nothing of
    /// what is committed after.
    pub(super) async fn take(database: &Path, folder: &Path) -> Result<Self, BackupError> {
        remove_leftovers(folder);
        let snapshot = Self(folder.join(format!("{PREFIX}{}{SUFFIX}", std::process::id())));
        // SQLite takes an empty file over with the mode that it finds.
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&snapshot.0)?;
        let name = snapshot
            .0
            .to_str()
            .ok_or_else(|| BackupError::Content(format!("{} is not UTF-8", snapshot.0.display())))?;
        let mut connection = open(database).await?;
        sqlx::query("VACUUM INTO $1").bind(name).execute(&mut connection).await?;
        connection.close().await?;
        let mut copy = open(&snapshot.0).await?;
        let damage = integrity(&mut copy).await?;
        copy.close().await?;
        match damage {
            None => Ok(snapshot),
            Some(damage) => Err(BackupError::Damaged(damage)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a copy of the database could not be removed");
        }
    }
}

/// Copies that a killed process left behind.
fn remove_leftovers(folder: &Path) {
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = file.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX))
            .filter(|id| id.bytes().all(|b| b.is_ascii_digit()));
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            let _ = fs::remove_file(file.path());
        }
    }
}

/// Opens a database for reading alone.
pub(in crate::operations) async fn open(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
    SqliteConnection::connect_with(&options).await
}

/// What is wrong with a database; nothing when it is sound.
pub(in crate::operations) async fn integrity(
    connection: &mut SqliteConnection,
) -> Result<Option<String>, sqlx::Error> {
    let found: Vec<String> = sqlx::query_scalar("PRAGMA quick_check(5)").fetch_all(connection).await?;
    Ok((found != ["ok"]).then(|| found.join("; ")))
}

/// The trust domain and the version of the schema.
pub(super) async fn identity(
    connection: &mut SqliteConnection,
) -> Result<Option<(String, i64)>, sqlx::Error> {
    let name: Option<String> =
        sqlx::query_scalar("SELECT name FROM trust_domain").fetch_optional(&mut *connection).await?;
    let schema: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(connection).await?;
    Ok(name.map(|name| (name, schema.unwrap_or(0))))
}

/// Lets numbers that may only grow go on above what they can have reached since the backup was made: `seconds` ago,
/// and none of them grows more than once in a second.
pub(super) async fn leap(path: &Path, seconds: i64) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let [bundle, revocation_lists] = super::restore::LEAPS;
    sqlx::query(bundle).bind(seconds).execute(&mut connection).await?;
    // The first schema has no such table.
    let has_lists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'revocation_lists')")
            .fetch_one(&mut connection)
            .await?;
    if has_lists {
        sqlx::query(revocation_lists).bind(seconds).execute(&mut connection).await?;
    }
    connection.close().await
}
