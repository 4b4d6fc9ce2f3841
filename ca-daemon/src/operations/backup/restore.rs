//! Beginning again from a backup.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use tokio::sync::mpsc;

use super::{
    BackupError, DatabaseKind, Manifest,
    archive::{self, MAX_PART_BYTES, Place},
    postgres::Import,
    restored::{self, Restored},
    sqlite,
};
use crate::{Config, daemon::take_data_dir, instant::unix, keys::WrappingKey, store::StoreLocation};

/// Numbers that clients remember and that may never go back. The backup may be older than the last number that the
/// lost authority gave out, so each goes on `$1` above what it was.
pub(super) const LEAPS: [&str; 2] = [
    "UPDATE trust_domain SET bundle_sequence = bundle_sequence + $1",
    "UPDATE revocation_lists SET number = number + $1",
];

/// More than a number can grow in a second: a list is signed once in 150 ms by each replica, and the trust bundle
/// changes once a commit of the database. After a century a number is still below 2^53, which is as far as every reader of
/// JSON counts.
const FASTEST_A_SECOND: i64 = 1000;

/// What is in the data folder of an authority that has not begun.
const HARMLESS: [&str; 2] = ["lock", STAGING];
/// Where files wait until the whole backup has been read.
const STAGING: &str = "restoring";
/// The key of the audit log of the replica that the backup was made of: the restored one has a log of its own.
const NOT_RESTORED: &str = "audit-log";

/// Restores a backup into the empty data folder and database of a configuration. With `force`, what is there is
/// moved aside first and kept.
///
/// # Errors
/// When the backup does not open, is of another trust domain or another kind of database, or something is in its way.
pub async fn restore(
    config: &Config,
    key: Arc<WrappingKey>,
    from: &Path,
    force: bool,
) -> Result<Manifest, BackupError> {
    // Before anything is moved aside: it opens, it is whole, and it fits.
    let manifest = super::verify(Arc::clone(&key), from).await?;
    let location = config.store_location()?;
    check(config, &location, &manifest)?;
    let now = unix(SystemTime::now());
    let lock = take_data_dir(&config.data_dir).map_err(|error| BackupError::DataDir(Box::new(error)))?;
    let occupied = occupied(&config.data_dir)?;
    if occupied && !force {
        return Err(BackupError::NotEmpty(config.data_dir.display().to_string()));
    }
    // A replica on a shared database may have a folder without keys; only the database decides then.
    let lock = if occupied {
        move_aside(&config.data_dir, now)?;
        drop(lock);
        take_data_dir(&config.data_dir).map_err(|error| BackupError::DataDir(Box::new(error)))?
    } else {
        lock
    };
    let leap = leap(manifest.created_at, now);
    let staging = Staging::make(&config.data_dir)?;
    let note = Restored::new(from, &manifest, now).encode()?;
    write(&staging.0.join(restored::FILE), &mut note.as_slice())?;
    match location {
        StoreLocation::Sqlite(_) => {
            stage_sqlite(&staging, key, from.to_owned()).await?;
            sqlite::leap(&staging.0.join("ca.db"), leap).await?;
            staging.put_in_place(&config.data_dir)?;
        }
        StoreLocation::Postgres(options) => {
            let import = Import::begin(&options, manifest.schema, now, force).await?;
            import_postgres(import, &staging, key, from.to_owned(), leap).await?;
            staging.put_in_place(&config.data_dir)?;
        }
    }
    drop(lock);
    Ok(manifest)
}

/// How far numbers go on from a backup that was made at an instant; both in Unix seconds.
fn leap(created_at: i64, now: i64) -> i64 {
    let seconds = now.saturating_sub(created_at).max(0).saturating_add(1);
    seconds.saturating_mul(FASTEST_A_SECOND)
}

fn check(config: &Config, location: &StoreLocation, manifest: &Manifest) -> Result<(), BackupError> {
    if manifest.trust_domain != config.trust_domain.as_str() {
        return Err(BackupError::Content(format!(
            "it is of trust domain {}, and {} is configured",
            manifest.trust_domain, config.trust_domain
        )));
    }
    let configured = match location {
        StoreLocation::Sqlite(_) => DatabaseKind::Sqlite,
        StoreLocation::Postgres(_) => DatabaseKind::Postgres,
    };
    if manifest.database != configured {
        return Err(BackupError::Content(format!(
            "it is of a {} database, and {configured} is configured",
            manifest.database
        )));
    }
    let known = location.newest_schema();
    if manifest.schema > known {
        return Err(BackupError::Content(format!(
            "its schema is {}, and this program knows {known}; restore with version {} or later",
            manifest.schema, manifest.program
        )));
    }
    Ok(())
}

/// Whether the data folder holds anything that a restored authority would replace.
fn occupied(data_dir: &Path) -> io::Result<bool> {
    for file in fs::read_dir(data_dir)? {
        let name = file?.file_name();
        if !HARMLESS.iter().any(|harmless| name == *harmless) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where the files of a restore wait that was cut short, if there are any: before they are in their places, nothing in
/// the data folder is an authority, and none may begin there.
pub(crate) fn half_restored(data_dir: &Path) -> Option<PathBuf> {
    let staging = data_dir.join(STAGING);
    // A restore that was refused leaves none of them.
    let holds_keys = fs::read_dir(staging.join("keys")).is_ok_and(|mut keys| keys.next().is_some());
    (holds_keys || staging.join("ca.db").exists()).then_some(staging)
}

fn move_aside(data_dir: &Path, now: i64) -> io::Result<()> {
    let mut name = data_dir.file_name().unwrap_or_default().to_owned();
    name.push(format!(".before-restore-{now}"));
    let aside = data_dir.with_file_name(name);
    fs::rename(data_dir, &aside)?;
    tracing::warn!(folder = %aside.display(), "the old data folder was moved aside");
    Ok(())
}

/// Files that wait until everything is there.
struct Staging(PathBuf);

impl Staging {
    fn make(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(STAGING);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path.join("keys"))?;
        Ok(Self(path))
    }

    fn write_key(&self, name: &str, content: &mut dyn Read) -> io::Result<()> {
        if name.starts_with(NOT_RESTORED) {
            return Ok(());
        }
        write(&self.0.join("keys").join(name), &mut content.take(MAX_PART_BYTES))
    }

    /// The keys before the database: without them it would look like an authority. What is to be recorded before both:
    /// no authority begins without it.
    fn put_in_place(self, data_dir: &Path) -> io::Result<()> {
        fs::rename(self.0.join(restored::FILE), data_dir.join(restored::FILE))?;
        fs::rename(self.0.join("keys"), data_dir.join("keys"))?;
        let database = self.0.join("ca.db");
        if database.exists() {
            fs::rename(database, data_dir.join("ca.db"))?;
        }
        fs::remove_dir_all(&self.0)?;
        File::open(data_dir)?.sync_all()
    }
}

fn write(path: &Path, content: &mut dyn Read) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::copy(content, &mut file)?;
    file.sync_all()
}

async fn stage_sqlite(staging: &Staging, key: Arc<WrappingKey>, from: PathBuf) -> Result<(), BackupError> {
    let folder = Staging(staging.0.clone());
    let stage = move || {
        let file = BufReader::new(File::open(&from)?);
        archive::read(
            file,
            &key,
            |_| Ok(()),
            |place, _, content| match place {
                Place::Sqlite => Ok(write(&folder.0.join("ca.db"), content)?),
                Place::Key(name) => Ok(folder.write_key(&name, content)?),
                Place::Table(_) => Err(BackupError::Content("it mixes two kinds of database".to_owned())),
            },
        )
    };
    tokio::task::spawn_blocking(stage).await.unwrap_or(Err(BackupError::Interrupted)).map(drop)
}

/// A part of a table, in the order of the backup.
type TablePart = (String, Vec<u8>);

/// The backup is read off the runtime; tables come over a channel. Nothing is committed before its end was read.
async fn import_postgres(
    mut import: Import,
    staging: &Staging,
    key: Arc<WrappingKey>,
    from: PathBuf,
    leap: i64,
) -> Result<(), BackupError> {
    let (sender, mut parts) = mpsc::channel::<TablePart>(2);
    let folder = Staging(staging.0.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let file = BufReader::new(File::open(&from)?);
        archive::read(
            file,
            &key,
            |_| Ok(()),
            |place, size, content| match place {
                Place::Table(name) => {
                    if size > MAX_PART_BYTES {
                        return Err(BackupError::Content(format!("a part of table `{name}` is too large")));
                    }
                    let mut part = Vec::new();
                    content.read_to_end(&mut part)?;
                    sender.blocking_send((name, part)).map_err(|_| BackupError::Interrupted)
                }
                Place::Key(name) => Ok(folder.write_key(&name, content)?),
                Place::Sqlite => Err(BackupError::Content("it mixes two kinds of database".to_owned())),
            },
        )
    });
    let written = write_tables(&mut import, &mut parts).await;
    drop(parts);
    let read = reading.await.unwrap_or(Err(BackupError::Interrupted));
    // Why the tables could not be written matters more than that the reader was interrupted by it.
    written?;
    read?;
    import.finish(leap).await
}

async fn write_tables(import: &mut Import, parts: &mut mpsc::Receiver<TablePart>) -> Result<(), BackupError> {
    let mut next = parts.recv().await;
    while let Some((table, first)) = next.take() {
        let mut rows = import.table(&table).await?;
        rows.send(first).await?;
        loop {
            match parts.recv().await {
                Some((same, part)) if same == table => {
                    rows.send(part).await?;
                }
                other => {
                    next = other;
                    break;
                }
            }
        }
        rows.finish().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::at_once(1000, 1000, 1000)]
    #[case::a_minute_later(1000, 1060, 61_000)]
    // The clock of this machine is behind the other's.
    #[case::earlier(1000, 900, 1000)]
    #[case::by_a_clock_that_is_wrong(0, i64::MAX, i64::MAX)]
    fn goes_on_above_what_can_have_been_reached(
        #[case] created_at: i64,
        #[case] now: i64,
        #[case] expected: i64,
    ) {
        assert_eq!(leap(created_at, now), expected);
    }

    #[test]
    fn stays_within_what_json_counts_exactly_for_a_century() {
        assert!(leap(0, 100 * 366 * 86_400) < 1 << 53);
    }
}
