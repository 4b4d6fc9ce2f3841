//! A SQLite database at one moment, copied while it is written to.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{BackupError, BackupFormError};

const PREFIX: &str = "backup-";
const SUFFIX: &str = ".db";
/// How long a writer may keep a reader waiting.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A copy of the database in the data folder, which nobody else can read. It goes away with this.
pub(super) struct Snapshot {
    path: PathBuf,
    /// Locked for as long as the copy is in use: one that nobody has locked was left behind.
    _lock: File,
}

impl Snapshot {
    /// Copies the database in one read transaction: what was committed before it began is in it, and nothing of
    /// what is committed after.
    pub(super) async fn take(database: &Path, folder: &Path) -> Result<Self, BackupError> {
        remove_leftovers(folder);
        let mut number = [0; 8];
        aws_lc_rs::rand::fill(&mut number).map_err(|_| BackupFormError::Randomness)?;
        let path = folder.join(format!("{PREFIX}{}{SUFFIX}", hex::encode(number)));
        // SQLite takes an empty file over with the mode that it finds.
        let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        lock.try_lock().map_err(|error| BackupError::Io(error.into()))?;
        let snapshot = Self { path, _lock: lock };
        let name = snapshot
            .path
            .to_str()
            .ok_or_else(|| BackupError::Content(format!("{} is not UTF-8", snapshot.path.display())))?;
        let mut connection = open(database).await?;
        sqlx::query("VACUUM INTO $1").bind(name).execute(&mut connection).await?;
        connection.close().await?;
        let mut copy = open(&snapshot.path).await?;
        let damage = integrity(&mut copy).await?;
        copy.close().await?;
        match damage {
            None => Ok(snapshot),
            Some(damage) => Err(BackupError::Damaged(damage)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a copy of the database could not be removed");
        }
    }
}

/// Copies that a killed process left behind.
fn remove_leftovers(folder: &Path) {
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_copy =
            file.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        let is_unused = || File::open(file.path()).is_ok_and(|file| file.try_lock().is_ok());
        if is_copy && is_unused() {
            // If it cannot be removed it takes room and harms nothing else.
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

/// The authorities that are nothing without their keys, where those are files. An issuing CA is none of them: whoever is
/// restored makes one of their own. Nor is one that signs no more: it is trusted without its key.
pub(super) async fn keys_in_files(connection: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    // The first schema does not say where keys are: in files.
    let says_where: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pragma_table_info('authorities') WHERE name = 'key_storage')",
    )
    .fetch_one(&mut *connection)
    .await?;
    let keys = if says_where {
        "SELECT key_id FROM authorities
         WHERE kind IN ('root', 'jwt') AND state IN ('active', 'prepared') AND key_storage = 'file' ORDER BY key_id"
    } else {
        "SELECT key_id FROM authorities WHERE kind = 'root' ORDER BY key_id"
    };
    sqlx::query_scalar(keys).fetch_all(connection).await
}

/// Lets numbers that may only grow go on `by` so many above what they were.
pub(super) async fn leap(path: &Path, by: i64) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let [bundle, revocation_lists] = super::restore::LEAPS;
    sqlx::query(bundle).bind(by).execute(&mut connection).await?;
    // The first schema has no such table.
    let has_lists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'revocation_lists')")
            .fetch_one(&mut connection)
            .await?;
    if has_lists {
        sqlx::query(revocation_lists).bind(by).execute(&mut connection).await?;
    }
    connection.close().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_only_copies_that_nobody_uses() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["backup-left.db", "backup-used.db", "ca.db"] {
            fs::write(path(name), "").unwrap();
        }
        let used = File::open(path("backup-used.db")).unwrap();
        used.try_lock().unwrap();
        remove_leftovers(folder.path());
        assert!(!path("backup-left.db").exists());
        assert!(path("backup-used.db").exists() && path("ca.db").exists());
    }
}
