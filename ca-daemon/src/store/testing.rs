//! A database in a folder, for tests of what stands on it.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use super::{Store, StoreLocation};
use crate::{audit::LogKey, instant::Clock};

/// The replica that a test's store is.
pub(crate) const REPLICA: &str = "00000000000000aa";

/// The next commit is made, and whoever waits for it is told that nobody knows.
pub(crate) fn leave_next_commit_unheard(store: &Store) {
    store.writer.unheard.store(true, Ordering::Relaxed);
}

/// From now on nothing can be read.
pub(crate) async fn stop_reading(store: &Store) {
    store.readers.close().await;
}

/// Opens `ca.db` in `folder`, with the audit log that the folder had before, if it had one.
pub(crate) async fn open(folder: &Path, clock: Clock) -> Store {
    let location = StoreLocation::Sqlite(folder.join("ca.db"));
    let store = Store::open(&location, REPLICA, clock, Arc::default()).await.unwrap();
    let path = folder.join("audit-key-of-this-test");
    let key = match fs::read(&path) {
        Ok(pkcs8) => LogKey::from_pkcs8(&pkcs8).unwrap(),
        Err(_) => LogKey::generate().unwrap(),
    };
    fs::write(&path, key.pkcs8()).unwrap();
    store.open_audit_log(key).await.unwrap();
    store
}
