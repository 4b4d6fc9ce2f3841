//! Making a backup, and checking one.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{BufReader, BufWriter},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use tokio::sync::mpsc;

use super::{
    BackupError, DatabaseKind, Manifest,
    archive::{self, ArchiveWriter, Place},
    keys::SealedKeys,
    postgres::Export,
    sqlite::{self, Snapshot},
};
use crate::{Config, instant::unix, keys::WrappingKey, store::StoreLocation};

/// How many parts may wait to be sealed.
const QUEUE: usize = 4;

/// How often it is begun again because the private keys changed while the database was copied.
const TRIES: usize = 3;

/// What goes into a backup, in its order.
pub(super) enum Piece {
    /// What is at hand.
    Part {
        /// The member's name.
        name: String,
        /// Its content.
        content: Vec<u8>,
    },
    /// A file.
    File {
        /// The member's name.
        name: String,
        /// Where its content is.
        path: PathBuf,
    },
    /// Everything was handed over: without it, there is no backup.
    End,
}

/// Writes a backup of the authority of a configuration to a new file. The daemon may serve meanwhile: everything that
/// was recorded before this was called is in the backup.
///
/// # Errors
/// When the database or the keys cannot be read or do not fit together, the file is there already, or cannot be written.
pub async fn write(config: &Config, key: Arc<WrappingKey>, out: &Path) -> Result<Manifest, BackupError> {
    if out.exists() {
        return Err(BackupError::Exists(out.to_owned()));
    }
    let created_at = unix(SystemTime::now());
    let (moment, keys) = at_one_moment(config).await?;
    let kind = match &moment.database {
        Copied::Sqlite(_) => DatabaseKind::Sqlite,
        Copied::Postgres(_) => DatabaseKind::Postgres,
    };
    let manifest = Manifest::new(moment.trust_domain, kind, moment.schema, created_at, moment.keys_in_files);
    let (pieces, queue) = mpsc::channel(QUEUE);
    let sealing = begin_sealing(queue, out.to_owned(), key, manifest.clone());
    // A copy of the database goes away with this: not before it was read.
    let handed_over = hand_over(moment.database, keys, &pieces).await;
    drop(pieces);
    let sealed = ended(sealing).await;
    match handed_over {
        // A sealer that has failed says why itself.
        Ok(_) | Err(BackupError::Interrupted) => sealed.map(|()| manifest),
        Err(error) => Err(error),
    }
}

/// The database at one moment.
struct Moment {
    database: Copied,
    trust_domain: String,
    schema: i64,
    /// The authorities whose private keys have to be among the files.
    keys_in_files: Vec<String>,
}

enum Copied {
    Sqlite(Snapshot),
    Postgres(Export),
}

impl Moment {
    async fn take(config: &Config, location: &StoreLocation) -> Result<Self, BackupError> {
        match location {
            StoreLocation::Sqlite(database) => {
                let nothing = || BackupError::Nothing(database.display().to_string());
                if !database.exists() {
                    return Err(nothing());
                }
                let snapshot = Snapshot::take(database, &config.data_dir).await?;
                let mut copy = sqlite::open(snapshot.path()).await?;
                let (trust_domain, schema) = sqlite::identity(&mut copy).await?.ok_or_else(nothing)?;
                let keys_in_files = sqlite::keys_in_files(&mut copy).await?;
                Ok(Self { database: Copied::Sqlite(snapshot), trust_domain, schema, keys_in_files })
            }
            StoreLocation::Postgres(options) => {
                let mut export = Export::begin(options).await?;
                let (trust_domain, schema) = export.identity().await?;
                let database = Copied::Postgres(export);
                // Replicas share their keys as they share the database.
                Ok(Self { database, trust_domain, schema, keys_in_files: Vec::new() })
            }
        }
    }
}

/// The database and the keys that belong to it.
async fn at_one_moment(config: &Config) -> Result<(Moment, SealedKeys), BackupError> {
    let location = config.store_location()?;
    let Some(folder) = config.key_folder() else {
        return Ok((Moment::take(config, &location).await?, SealedKeys::default()));
    };
    let mut tries = 1;
    loop {
        let before = SealedKeys::read(&folder).await?;
        let moment = Moment::take(config, &location).await?;
        let after = SealedKeys::read(&folder).await?;
        match before.joined(after, &moment.keys_in_files, &folder) {
            Ok(keys) => return Ok((moment, keys)),
            Err(error) if tries < TRIES => {
                tries += 1;
                tracing::info!(%error, "the private keys may have changed meanwhile; the backup begins again");
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Hands everything to the sealer, and answers the copy that it reads from, if there is one.
async fn hand_over(
    database: Copied,
    keys: SealedKeys,
    pieces: &mpsc::Sender<Piece>,
) -> Result<Option<Snapshot>, BackupError> {
    let snapshot = match database {
        Copied::Sqlite(snapshot) => {
            let path = snapshot.path().to_owned();
            send(pieces, Piece::File { name: "database/ca.db".to_owned(), path }).await?;
            Some(snapshot)
        }
        Copied::Postgres(export) => {
            export.send_all(pieces).await?;
            None
        }
    };
    for (name, content) in keys.into_files() {
        send(pieces, Piece::Part { name: format!("keys/{name}"), content }).await?;
    }
    send(pieces, Piece::End).await?;
    Ok(snapshot)
}

async fn send(pieces: &mpsc::Sender<Piece>, piece: Piece) -> Result<(), BackupError> {
    pieces.send(piece).await.map_err(|_| BackupError::Interrupted)
}

type Sealing = tokio::task::JoinHandle<Result<(), BackupError>>;

fn begin_sealing(
    pieces: mpsc::Receiver<Piece>,
    out: PathBuf,
    key: Arc<WrappingKey>,
    manifest: Manifest,
) -> Sealing {
    tokio::task::spawn_blocking(move || seal(pieces, &out, &key, &manifest))
}

async fn ended(sealing: Sealing) -> Result<(), BackupError> {
    sealing.await.unwrap_or(Err(BackupError::Interrupted))
}

/// Writes to a file beside the one that is wanted, which appears only when it is whole and on disk.
fn seal(
    mut pieces: mpsc::Receiver<Piece>,
    out: &Path,
    key: &WrappingKey,
    manifest: &Manifest,
) -> Result<(), BackupError> {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let unfinished = Unfinished(out.with_file_name(name));
    let _ = fs::remove_file(&unfinished.0);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished.0)?;
    let mut archive = ArchiveWriter::new(BufWriter::new(file), key, manifest)?;
    loop {
        match pieces.blocking_recv().ok_or(BackupError::Interrupted)? {
            Piece::Part { name, content } => archive.add(&name, &content)?,
            Piece::File { name, path } => {
                let file = File::open(path)?;
                let size = file.metadata()?.len();
                archive.add_stream(&name, size, BufReader::new(file))?;
            }
            Piece::End => break,
        }
    }
    let file = archive.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    if out.exists() {
        return Err(BackupError::Exists(out.to_owned()));
    }
    fs::rename(&unfinished.0, out)?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(File::open(folder)?.sync_all()?)
}

/// A file that is removed, unless it became a backup.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Reads a backup to its end without restoring anything: every byte of it is checked, and that no private key is missing
/// that the restored authority could not begin without.
///
/// # Errors
/// When it does not open with this key, was changed or cut, or lacks a key.
pub async fn verify(key: Arc<WrappingKey>, path: &Path) -> Result<Manifest, BackupError> {
    let path = path.to_owned();
    let read = move || -> Result<Manifest, BackupError> {
        let mut keys = BTreeSet::new();
        let manifest = archive::read(
            BufReader::new(File::open(&path)?),
            &key,
            |_| Ok(()),
            |place, _, _| {
                if let Place::Key(name) = place {
                    keys.insert(name);
                }
                Ok(())
            },
        )?;
        manifest.check_keys(&keys)?;
        Ok(manifest)
    };
    tokio::task::spawn_blocking(read).await.unwrap_or(Err(BackupError::Interrupted))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As one that was made while a root was revoked could have been.
    #[tokio::test]
    async fn refuses_a_backup_that_lacks_the_key_of_an_authority() {
        let folder = tempfile::tempdir().unwrap();
        let text = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let key = Arc::new(WrappingKey::parse(text).unwrap());
        let needed = ["0a", "0b"].map(str::to_owned).to_vec();
        let manifest = Manifest::new("example.org".to_owned(), DatabaseKind::Sqlite, 4, 1000, needed);
        for (held, is_whole) in [(&["0a"][..], false), (&["0a", "0b"][..], true)] {
            let path = folder.path().join(format!("{}.backup", held.len()));
            let mut archive = ArchiveWriter::new(File::create(&path).unwrap(), &key, &manifest).unwrap();
            for key_id in held {
                archive.add(&format!("keys/{key_id}.key"), b"sealed").unwrap();
            }
            archive.finish().unwrap();
            let verified = verify(Arc::clone(&key), &path).await;
            assert_eq!(verified.is_ok(), is_whole, "{verified:?}");
            if let Err(refusal) = verified {
                assert!(refusal.to_string().contains("authority 0b"), "{refusal}");
            }
        }
    }
}
