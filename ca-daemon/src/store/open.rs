//! Opening the database and bringing its schema up to date.

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::PathBuf, sync::Arc, time::Duration};

use sqlx::{
    Connection, Executor, PgConnection, PgPool, SqlitePool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Store, StoreError,
    database::Pools,
    group_commit::Writer,
    listen::{Listener, Patience},
};
use crate::{instant::Clock, operations::Metrics};

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");
static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

const READERS: u32 = 4;
/// How many rows SQLite's thread may be ahead of who reads them: it is woken once for many.
const ROWS_AHEAD: usize = 1024;
/// After so many pages of 4 KiB the journal is written back: seldom, as a page that has changed many times since is
/// written back once.
const PAGES_BETWEEN_CHECKPOINTS: &str = "4000";
/// How much of the database the writer keeps at hand, in KiB, negated as SQLite wants it: the indices' pages.
const WRITER_CACHE: &str = "-4000";
const POSTGRES_READERS: u32 = 8;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection to PostgreSQL may take, and how long callers wait for a free one.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the database is.
#[derive(Debug, Clone)]
pub enum StoreLocation {
    /// A file of this daemon alone.
    Sqlite(PathBuf),
    /// A server that any number of replicas share.
    Postgres(Box<PgConnectOptions>),
}

impl StoreLocation {
    /// The version of the newest schema that this program knows.
    #[must_use]
    pub fn newest_schema(&self) -> i64 {
        newest(match self {
            Self::Sqlite(_) => &SQLITE_MIGRATIONS,
            Self::Postgres(_) => &POSTGRES_MIGRATIONS,
        })
    }

    /// For messages: without a password.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(options) => format!(
                "{} on {}",
                options.get_database().unwrap_or(options.get_username()),
                options.get_host()
            ),
        }
    }
}

/// Makes the schema of a version, for a backup of that version to be put into.
pub(crate) async fn make_postgres_schema(
    connection: &mut PgConnection,
    version: i64,
) -> Result<(), MigrateError> {
    POSTGRES_MIGRATIONS.run_to(version, connection).await
}

fn newest(migrations: &Migrator) -> i64 {
    migrations.iter().map(|migration| migration.version).max().unwrap_or(0)
}

impl Store {
    /// Opens the database, creating its schema the first time. `replica` is the daemon's own ID, and no other daemon
    /// on the same database has it.
    ///
    /// # Errors
    /// When it cannot be opened, is no database, or was written by a newer version.
    pub async fn open(
        location: &StoreLocation,
        replica: &str,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        Self::open_with(location, replica, clock, metrics, Patience::default()).await
    }

    /// As [`Store::open`], with another patience with the connection over which other replicas are heard.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with(
        location: &StoreLocation,
        replica: &str,
        clock: Clock,
        metrics: Arc<Metrics>,
        patience: Patience,
    ) -> Result<Self, StoreError> {
        let (readers, writing, listener) = match location {
            StoreLocation::Sqlite(path) => {
                let (readers, writing) = open_sqlite(path.clone(), location).await?;
                (Pools::Sqlite(readers), Pools::Sqlite(writing), Listener::silent())
            }
            StoreLocation::Postgres(options) => {
                let (readers, writing) = open_postgres(options, replica, location).await?;
                let options = PgConnectOptions::clone(&readers.connect_options());
                let listener = Listener::start(options, replica.to_owned(), patience);
                (Pools::Postgres(readers), Pools::Postgres(writing), listener)
            }
        };
        let writer =
            Writer::start(writing, replica.to_owned(), listener.clone(), clock, Arc::clone(&metrics));
        Ok(Self { replica: replica.into(), readers, writer, notices: listener, metrics })
    }
}

async fn open_sqlite(
    path: PathBuf,
    location: &StoreLocation,
) -> Result<(SqlitePool, SqlitePool), StoreError> {
    let open = |source| StoreError::Open { name: location.name(), source };
    create_private(&path).map_err(|error| open(sqlx::Error::Io(error)))?;
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // What was acknowledged survives a power failure, not only a crash.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT);
    let writing = SqlitePoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        // The one who uses it owns it; a ping before each use would cost a round trip to its thread.
        .test_before_acquire(false)
        .connect_with(
            options
                .clone()
                .pragma("wal_autocheckpoint", PAGES_BETWEEN_CHECKPOINTS)
                .pragma("cache_size", WRITER_CACHE),
        )
        .await
        .map_err(open)?;
    SQLITE_MIGRATIONS.run(&writing).await.map_err(|error| migration(error, &SQLITE_MIGRATIONS, location))?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .connect_with(options.read_only(true).row_buffer_size(ROWS_AHEAD))
        .await
        .map_err(open)?;
    Ok((readers, writing))
}

/// SQLite would create the file for everyone to read; its journals take over the mode that they find.
fn create_private(path: &std::path::Path) -> io::Result<()> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map(drop)
}

async fn open_postgres(
    options: &PgConnectOptions,
    replica: &str,
    location: &StoreLocation,
) -> Result<(PgPool, PgPool), StoreError> {
    let open = |source| StoreError::Open { name: location.name(), source };
    let options = options.clone().application_name("ca-daemon").options([("statement_timeout", "30s")]);
    // Once by hand: a pool would try again and again, and in the end not say why.
    let mut first = PgConnection::connect_with(&options).await.map_err(open)?;
    be_the_only(&mut first, replica).await.map_err(open)?;
    // An index over millions of certificates takes longer than any other statement may, and a replica that starts
    // meanwhile waits for it.
    first.execute("SET statement_timeout = 0").await.map_err(open)?;
    POSTGRES_MIGRATIONS
        .run(&mut first)
        .await
        .map_err(|error| migration(error, &POSTGRES_MIGRATIONS, location))?;
    first.close().await.map_err(open)?;
    let replica: Arc<str> = replica.into();
    let writing = PgPoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(CONNECT_TIMEOUT)
        .after_connect(move |connection, _| {
            let replica = Arc::clone(&replica);
            Box::pin(async move {
                // A server that is set to acknowledge early must not do so for us.
                connection.execute("SET synchronous_commit = on").await?;
                be_the_only(connection, &replica).await
            })
        })
        .connect_with(options.clone())
        .await
        .map_err(open)?;
    let readers = PgPoolOptions::new()
        .max_connections(POSTGRES_READERS)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_with(options)
        .await
        .map_err(open)?;
    Ok((readers, writing))
}

/// Two daemons of one replica ID would write one audit log: a copied data folder must not start. The lock ends with
/// the connection, so it outlives no daemon that was killed for longer than the server takes to notice.
async fn be_the_only(connection: &mut PgConnection, replica: &str) -> Result<(), sqlx::Error> {
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(100);
    for _ in 0..TRIES {
        let is_ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 1))")
            .bind(format!("secplane replica {replica}"))
            .fetch_one(&mut *connection)
            .await?;
        if is_ours {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(sqlx::Error::Configuration(
        format!(
            "another daemon with the replica ID {replica} is connected; a copied data folder needs an ID of its own: \
             delete its file `replica`"
        )
        .into(),
    ))
}

fn migration(error: MigrateError, known: &Migrator, location: &StoreLocation) -> StoreError {
    match error {
        MigrateError::VersionMissing(found) => {
            let known = newest(known);
            StoreError::Newer { name: location.name(), found, known }
        }
        source => StoreError::Migrate { name: location.name(), source },
    }
}
