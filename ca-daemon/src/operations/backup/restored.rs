//! A restore stands in the audit log that the restored authority begins: the log of the lost one cannot tell of it.
//!
//! Who restores has no log to write to. So a file waits in the data folder until its daemon opens one.

use std::{cmp::Reverse, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::Manifest;
use crate::{
    StartError,
    audit::{Action, Event},
    store::Store,
};

/// What waits for the log to be opened.
pub(super) const FILE: &str = "restored";
/// The lines of a checkpoint that say which log, how many records, and their root.
const TELLING_LINES: usize = 3;

/// From what an authority begins again.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Restored {
    backup: String,
    created_at: i64,
    restored_at: i64,
}

impl Restored {
    /// From the backup of a manifest, at `now` in Unix seconds.
    pub(super) fn new(backup: &Path, manifest: &Manifest, now: i64) -> Self {
        Self { backup: backup.display().to_string(), created_at: manifest.created_at, restored_at: now }
    }

    /// What is written into [`FILE`].
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }
}

/// Tells the audit log, which has just been opened, of the restore that it comes after, with the newest checkpoint of
/// each log that came out of the backup. A daemon that is killed in between may tell it twice, never not at all.
pub(crate) async fn record_restore(data_dir: &Path, store: &Store) -> Result<(), StartError> {
    let path = data_dir.join(FILE);
    let failed = |source| StartError::DataDir { path: path.clone(), source };
    let Some(Restored { backup, created_at, restored_at }) = read(&path).map_err(failed)? else {
        return Ok(());
    };
    let mut others = store.audit_logs().await?;
    others.retain(|log| log.log_id != store.replica());
    // A detail that is too long is cut at its end.
    others.sort_by_key(|log| Reverse(signed_at(&log.checkpoint)));
    let checkpoints: Vec<_> = others
        .iter()
        .map(|log| log.checkpoint.lines().take(TELLING_LINES).collect::<Vec<_>>().join(" "))
        .collect();
    let event = Event::by_daemon(Action::BackupRestore, backup)
        .with("created_at", created_at.to_string())
        .with("restored_at", restored_at.to_string())
        .with("checkpoints", checkpoints.join("; "));
    store.record(event).await?;
    fs::remove_file(&path).map_err(failed)
}

/// Unix milliseconds.
fn signed_at(checkpoint: &str) -> Option<u64> {
    checkpoint.lines().nth(TELLING_LINES)?.strip_prefix("time ")?.parse().ok()
}

fn read(path: &Path) -> io::Result<Option<Restored>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
