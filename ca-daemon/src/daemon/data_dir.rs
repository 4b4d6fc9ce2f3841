//! One daemon a data folder.

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use super::StartError;

/// Keeps other daemons out of the data folder for as long as it lives.
pub(crate) struct DataDirLock(File);

impl Drop for DataDirLock {
    /// Closing the file is not enough: a process that is being started at this moment holds a copy of it until it has
    /// become another program.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "the data folder's lock ends with its file");
        }
    }
}

/// Makes the data folder for its owner alone, and keeps a second daemon out of it.
pub(crate) fn take_data_dir(folder: &Path) -> Result<DataDirLock, StartError> {
    let failed = |source| StartError::DataDir { path: folder.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(folder.join("lock"))
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(DataDirLock(lock)),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
