//! A database in a folder, for tests of what stands on it.

use std::{fs, path::Path, sync::Arc};

use super::{Store, StoreLocation};
use crate::{audit::LogKey, instant::Clock};

/// The replica that a test's store is.
pub(crate) const REPLICA: &str = "00000000000000aa";

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
