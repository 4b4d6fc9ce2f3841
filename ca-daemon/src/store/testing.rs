//! A database of a test's own, for tests of what stands on it: a file, or one of a PostgreSQL server where the
//! environment names one.

use std::{
    env, fs,
    path::Path,
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use sqlx::{
    AssertSqlSafe, Connection, PgConnection, SqliteConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tokio::sync::broadcast;

use super::{Notice, Store, StoreLocation, database::Pools};
use crate::{audit::LogKey, instant::Clock};

/// The replica that a test's store is.
pub(crate) const REPLICA: &str = "00000000000000aa";
/// The URL of any database of a PostgreSQL server whose user may make others.
const SERVER: &str = "SECPLANE_UNIT_TESTS_ON";

/// Opens the database of `folder`, with the audit log that it had before, if it had one.
pub(crate) async fn open(folder: &Path, clock: Clock) -> Store {
    open_at(&location(folder).await, folder, clock).await
}

/// As [`open`], in any case in the file `ca.db`.
pub(crate) async fn open_file(folder: &Path, clock: Clock) -> Store {
    open_at(&file(folder), folder, clock).await
}

async fn open_at(location: &StoreLocation, folder: &Path, clock: Clock) -> Store {
    let store = Store::open(location, REPLICA, clock, Arc::default()).await.unwrap();
    let path = folder.join("audit-key-of-this-test");
    let key = match fs::read(&path) {
        Ok(pkcs8) => LogKey::from_pkcs8(&pkcs8).unwrap(),
        Err(_) => LogKey::generate().unwrap(),
    };
    fs::write(&path, key.pkcs8()).unwrap();
    store.open_audit_log(key).await.unwrap();
    store
}

fn file(folder: &Path) -> StoreLocation {
    StoreLocation::Sqlite(folder.join("ca.db"))
}

async fn location(folder: &Path) -> StoreLocation {
    match env::var(SERVER) {
        Ok(url) => StoreLocation::Postgres(Box::new(database_of(folder, url.parse().unwrap()).await)),
        Err(_) => file(folder),
    }
}

/// The database of a folder, made at the first time. The folder holds its name.
async fn database_of(folder: &Path, server: PgConnectOptions) -> PgConnectOptions {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let path = folder.join("database-of-this-test");
    let name = match fs::read_to_string(&path) {
        Ok(name) => name,
        Err(_) => {
            let name = format!("unit_{}_{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
            let mut connection = PgConnection::connect_with(&server).await.unwrap();
            let statement = AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"));
            sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            fs::write(&path, &name).unwrap();
            name
        }
    };
    server.database(&name)
}

/// What writes into the database of `folder`, whose schema is made. Nobody else may have it open.
pub(super) async fn writing(folder: &Path) -> Pools {
    match location(folder).await {
        StoreLocation::Sqlite(path) => {
            let options = SqliteConnectOptions::new().filename(path);
            Pools::Sqlite(SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap())
        }
        StoreLocation::Postgres(options) => {
            Pools::Postgres(PgPoolOptions::new().max_connections(1).connect_with(*options).await.unwrap())
        }
    }
}

/// Another replica that is about to change every agent, and has not decided; none with SQLite, where nobody else writes.
pub(crate) async fn change_of_all_agents(
    folder: &Path,
) -> Option<sqlx::Transaction<'static, sqlx::Postgres>> {
    let Pools::Postgres(pool) = writing(folder).await else { return None };
    let mut change = pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM agents FOR UPDATE").execute(&mut *change).await.unwrap();
    Some(change)
}

/// Changes the database of `folder` while no store has it open. Answers how many rows.
pub(crate) async fn change(folder: &Path, statement: &'static str) -> u64 {
    match location(folder).await {
        StoreLocation::Sqlite(path) => {
            let options = SqliteConnectOptions::new().filename(path);
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            let changed = sqlx::query(statement).execute(&mut connection).await.unwrap().rows_affected();
            connection.close().await.unwrap();
            changed
        }
        StoreLocation::Postgres(options) => {
            let mut connection = PgConnection::connect_with(&options).await.unwrap();
            let changed = sqlx::query(statement).execute(&mut connection).await.unwrap().rows_affected();
            connection.close().await.unwrap();
            changed
        }
    }
}

/// As [`change`], by somebody for whom no check of a column counts.
pub(crate) async fn change_past_checks(folder: &Path, statement: &'static str) -> u64 {
    match location(folder).await {
        StoreLocation::Sqlite(path) => {
            let options = SqliteConnectOptions::new().filename(path).pragma("ignore_check_constraints", "ON");
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            let changed = sqlx::query(statement).execute(&mut connection).await.unwrap().rows_affected();
            connection.close().await.unwrap();
            changed
        }
        StoreLocation::Postgres(_) => {
            for check in [
                "ALTER TABLE authorities DROP CONSTRAINT IF EXISTS authorities_kind_check",
                "ALTER TABLE authorities DROP CONSTRAINT IF EXISTS authorities_state_check",
                "ALTER TABLE certificates DROP CONSTRAINT IF EXISTS certificates_kind_check",
            ] {
                change(folder, check).await;
            }
            change(folder, statement).await
        }
    }
}

/// The next commit is made, and whoever waits for it is told that nobody knows.
pub(crate) fn leave_next_commit_unheard(store: &Store) {
    store.writer.unheard.store(true, Ordering::Relaxed);
}

/// From now on nothing can be read.
pub(crate) async fn stop_reading(store: &Store) {
    store.readers.close().await;
}

/// What has been told so far, but for what everybody is told who begins to listen.
pub(crate) fn heard(notices: &mut broadcast::Receiver<Notice>) -> Vec<Notice> {
    std::iter::from_fn(|| notices.try_recv().ok()).filter(|notice| *notice != Notice::Everything).collect()
}
