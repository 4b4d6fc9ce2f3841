//! A PostgreSQL database at one moment, read while others write to it, and written into an empty one.
//!
//! Tables travel in the binary form of `COPY`, which gives back every value exactly.

use futures_util::TryStreamExt;
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgCopyIn, PgPoolOptions},
};
use tokio::sync::mpsc;

use super::{BackupError, write::Piece};
use crate::store::make_postgres_schema;

/// How much of a table is one member of the archive, in bytes.
const PART_BYTES: usize = 4 * 1024 * 1024;

/// A transaction that sees one moment of the database.
pub(super) struct Export {
    connection: PgConnection,
    name: String,
}

impl Export {
    pub(super) async fn begin(options: &PgConnectOptions) -> Result<Self, BackupError> {
        let name = options.get_database().unwrap_or(options.get_username()).to_owned();
        let mut connection = PgConnection::connect_with(options).await?;
        sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut connection).await?;
        Ok(Self { connection, name })
    }

    /// The trust domain and the version of the schema.
    pub(super) async fn identity(&mut self) -> Result<(String, i64), BackupError> {
        let nothing = || BackupError::Nothing(format!("database {}", self.name));
        let tables = tables(&mut self.connection).await?;
        if !tables.iter().any(|table| table == "trust_domain") {
            return Err(nothing());
        }
        let name: Option<String> =
            sqlx::query_scalar("SELECT name FROM trust_domain").fetch_optional(&mut self.connection).await?;
        let schema: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
            .fetch_one(&mut self.connection)
            .await?;
        Ok((name.ok_or_else(nothing)?, schema.unwrap_or(0)))
    }

    /// Sends every table in parts.
    pub(super) async fn send_all(mut self, pieces: &mpsc::Sender<Piece>) -> Result<(), BackupError> {
        for table in tables(&mut self.connection).await? {
            let statement = format!("COPY \"{table}\" TO STDOUT (FORMAT binary)");
            let mut rows = self.connection.copy_out_raw(&statement).await?;
            let mut parts = 0_u32;
            let mut content = Vec::with_capacity(PART_BYTES);
            while let Some(bytes) = rows.try_next().await? {
                content.extend_from_slice(&bytes);
                if content.len() >= PART_BYTES {
                    send(pieces, &table, &mut parts, std::mem::take(&mut content)).await?;
                }
            }
            send(pieces, &table, &mut parts, content).await?;
        }
        Ok(self.connection.close().await?)
    }
}

async fn send(
    pieces: &mpsc::Sender<Piece>,
    table: &str,
    parts: &mut u32,
    content: Vec<u8>,
) -> Result<(), BackupError> {
    *parts += 1;
    let name = format!("database/{table}/{parts:06}");
    pieces.send(Piece::Part { name, content }).await.map_err(|_| BackupError::Interrupted)
}

/// The tables of the schema, but for the record of migrations, which a restored database makes itself.
async fn tables(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT tablename::text FROM pg_tables
         WHERE schemaname = current_schema() AND tablename <> '_sqlx_migrations' ORDER BY tablename",
    )
    .fetch_all(connection)
    .await
}

/// An empty database that tables are written into, all of them or none.
pub(super) struct Import {
    pool: PgPool,
    transaction: Transaction<'static, Postgres>,
    known: Vec<String>,
}

impl Import {
    /// Makes the schema of a version. What is there already is refused, or moved aside when `force` says so: into
    /// a schema of its own, where it stays.
    pub(super) async fn begin(
        options: &PgConnectOptions,
        schema: i64,
        now: i64,
        force: bool,
    ) -> Result<Self, BackupError> {
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        let mut transaction = pool.begin().await?;
        let name = format!("database {}", options.get_database().unwrap_or(options.get_username()));
        let in_use: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'ca-daemon')",
        )
        .fetch_one(&mut *transaction)
        .await?;
        if in_use {
            return Err(BackupError::InUse(name));
        }
        if !tables(&mut transaction).await?.is_empty() {
            if !force {
                return Err(BackupError::NotEmpty(name));
            }
            move_aside(&mut transaction, now).await?;
        }
        make_postgres_schema(&mut transaction, schema).await?;
        let known = tables(&mut transaction).await?;
        Ok(Self { pool, transaction, known })
    }

    /// Begins to fill a table.
    pub(super) async fn table(&mut self, table: &str) -> Result<PgCopyIn<&mut PgConnection>, BackupError> {
        if !self.known.iter().any(|known| known == table) {
            return Err(BackupError::Content(format!("table `{table}` is not known to this program")));
        }
        // A migration may have put rows there.
        let clear = AssertSqlSafe(format!("DELETE FROM \"{table}\""));
        sqlx::query(clear).execute(&mut *self.transaction).await?;
        let statement = format!("COPY \"{table}\" FROM STDIN (FORMAT binary)");
        Ok(self.transaction.copy_in_raw(&statement).await?)
    }

    /// Everything is there: it becomes durable, and numbers that may only grow go on `leap` above what they were.
    pub(super) async fn finish(mut self, leap: i64) -> Result<(), BackupError> {
        for statement in super::restore::LEAPS {
            sqlx::query(statement).bind(leap).execute(&mut *self.transaction).await?;
        }
        let columns: Vec<(String, String)> = sqlx::query_as(
            "SELECT table_name::text, column_name::text FROM information_schema.columns
             WHERE table_schema = current_schema() AND is_identity = 'YES'",
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        for (table, column) in columns {
            let statement = AssertSqlSafe(format!(
                "SELECT setval(pg_get_serial_sequence('\"{table}\"', '{column}'),
                 (SELECT coalesce(max(\"{column}\"), 0) + 1 FROM \"{table}\"), false)"
            ));
            sqlx::query(statement).execute(&mut *self.transaction).await?;
        }
        self.transaction.commit().await?;
        self.pool.close().await;
        Ok(())
    }
}

async fn move_aside(connection: &mut PgConnection, now: i64) -> Result<(), BackupError> {
    let schema: String =
        sqlx::query_scalar("SELECT quote_ident(current_schema()::text)").fetch_one(&mut *connection).await?;
    let aside = format!("before_restore_{now}");
    for statement in [format!("ALTER SCHEMA {schema} RENAME TO {aside}"), format!("CREATE SCHEMA {schema}")] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await?;
    }
    tracing::warn!(schema = %aside, "the old tables were moved aside");
    Ok(())
}
