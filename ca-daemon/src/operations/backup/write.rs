//! Making a backup, and checking one.

use std::{
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
    archive::{self, ArchiveWriter},
    postgres,
    sqlite::{self, Snapshot},
};
use crate::{Config, instant::unix, keys::WrappingKey, store::StoreLocation};

/// How many parts may wait to be sealed.
const QUEUE: usize = 4;

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
    /// The sealed keys of a folder.
    Keys(PathBuf),
    /// Everything was handed over: without it, there is no backup.
    End,
}

/// Writes a backup of the authority of a configuration to a new file. The daemon may serve meanwhile: everything that
/// was recorded before this was called is in the backup.
///
/// # Errors
/// When the database or the keys cannot be read, the file is there already, or cannot be written.
pub async fn write(config: &Config, key: Arc<WrappingKey>, out: &Path) -> Result<Manifest, BackupError> {
    if out.exists() {
        return Err(BackupError::Exists(out.to_owned()));
    }
    let created_at = unix(SystemTime::now());
    let keys = config.data_dir.join("keys");
    let (pieces, queue) = mpsc::channel(QUEUE);
    match config.store_location()? {
        StoreLocation::Sqlite(database) => {
            if !database.exists() {
                return Err(BackupError::Nothing(database.display().to_string()));
            }
            let snapshot = Snapshot::take(&database, &config.data_dir).await?;
            let mut copy = sqlite::open(snapshot.path()).await?;
            let (name, schema) = sqlite::identity(&mut copy)
                .await?
                .ok_or_else(|| BackupError::Nothing(database.display().to_string()))?;
            let manifest = Manifest::new(name, DatabaseKind::Sqlite, schema, created_at);
            let sealing = begin_sealing(queue, out.to_owned(), key, manifest.clone());
            let path = snapshot.path().to_owned();
            // A sealer that has failed says why itself.
            let _ = pieces.send(Piece::File { name: "database/ca.db".to_owned(), path }).await;
            // After the database: a key is always kept before anything in the database needs it.
            let _ = pieces.send(Piece::Keys(keys)).await;
            let _ = pieces.send(Piece::End).await;
            ended(sealing).await?;
            Ok(manifest)
        }
        StoreLocation::Postgres(options) => {
            let mut export = postgres::Export::begin(&options).await?;
            let (name, schema) = export.identity().await?;
            let manifest = Manifest::new(name, DatabaseKind::Postgres, schema, created_at);
            let sealing = begin_sealing(queue, out.to_owned(), key, manifest.clone());
            let exported = export.send_all(&pieces).await;
            if exported.is_ok() {
                let _ = pieces.send(Piece::Keys(keys)).await;
                let _ = pieces.send(Piece::End).await;
            }
            drop(pieces);
            let sealed = ended(sealing).await;
            exported?;
            sealed?;
            Ok(manifest)
        }
    }
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
            Piece::Keys(folder) => {
                archive.add_keys(&folder)?;
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

/// Reads a backup to its end without restoring anything: every byte of it is checked.
///
/// # Errors
/// When it does not open with this key, or was changed or cut.
pub async fn verify(key: Arc<WrappingKey>, path: &Path) -> Result<Manifest, BackupError> {
    let path = path.to_owned();
    let read = move || {
        let file = BufReader::new(File::open(&path)?);
        archive::read(file, &key, |_| Ok(()), |_, _, _| Ok(()))
    };
    tokio::task::spawn_blocking(read).await.unwrap_or(Err(BackupError::Interrupted))
}
