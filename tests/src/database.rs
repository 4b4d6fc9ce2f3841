//! The daemon's database, opened behind its back: what an attacker with the disk would do, or an unlucky admin.

use std::env;

use ca_daemon::config::{DatabaseConfig, PostgresConfig};
use secplane_proto::spire::api::types;
use sqlx::{
    Connection, PgConnection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use crate::{authority::CaFolder, postgres};

/// The database that the tests of this program run on: PostgreSQL where the program's name says so.
#[must_use]
pub fn of_these_tests() -> DatabaseConfig {
    let program = env::current_exe().unwrap();
    if program.file_name().is_some_and(|name| name.to_string_lossy().contains("on_postgres")) {
        DatabaseConfig::Postgres(PostgresConfig { url: postgres::new_database(), password: None })
    } else {
        DatabaseConfig::default()
    }
}

/// What a copy of a database's authority is configured with. A file is copied with the folder that it lies in.
///
/// # Panics
/// When the database cannot be copied.
#[must_use]
pub fn copy_of(database: &DatabaseConfig) -> DatabaseConfig {
    match database {
        DatabaseConfig::Sqlite(_) => database.clone(),
        DatabaseConfig::Postgres(config) => {
            DatabaseConfig::Postgres(PostgresConfig { url: postgres::copy_of(&config.url), ..config.clone() })
        }
    }
}

/// An audit log as it stands in the database.
pub struct AuditedLog {
    /// Ed25519.
    pub public_key: Vec<u8>,
    /// The latest signed one.
    pub checkpoint: String,
    /// Positions and leaves, in their order.
    pub entries: Vec<(i64, Vec<u8>)>,
}

/// A connection to the database of an authority.
pub enum Database {
    /// To its file.
    Sqlite(SqliteConnection),
    /// To its server.
    Postgres(PgConnection),
}

/// Runs one expression on whichever it is.
macro_rules! on {
    ($database:expr, $connection:ident => $body:expr) => {
        match $database {
            Database::Sqlite($connection) => $body,
            Database::Postgres($connection) => $body,
        }
    };
}

impl Database {
    /// Opens a database that exists.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub async fn open(folder: &CaFolder) -> Self {
        match &folder.config.database {
            DatabaseConfig::Sqlite(_) => {
                let options = SqliteConnectOptions::new()
                    .filename(folder.database())
                    .journal_mode(SqliteJournalMode::Wal);
                Self::Sqlite(SqliteConnection::connect_with(&options).await.unwrap())
            }
            DatabaseConfig::Postgres(config) => {
                Self::Postgres(PgConnection::connect(&config.url).await.unwrap())
            }
        }
    }

    /// Closes it, so that everything is in the file.
    ///
    /// # Panics
    /// When it cannot be closed.
    pub async fn close(self) {
        on!(self, connection => connection.close().await.unwrap());
    }

    /// Runs a statement.
    ///
    /// # Panics
    /// When the database refuses it.
    pub async fn run(&mut self, statement: &'static str) {
        on!(self, connection => {
            sqlx::query(statement).execute(connection).await.unwrap();
        });
    }

    /// The number that a query answers.
    ///
    /// # Panics
    /// When it answers anything else.
    pub async fn number(&mut self, query: &'static str) -> i64 {
        on!(self, connection => sqlx::query_scalar(query).fetch_one(connection).await.unwrap())
    }

    /// Rewrites an entry and leaves its MAC as it is.
    ///
    /// # Panics
    /// When there is no such entry.
    pub async fn edit_entry(&mut self, id: &str, edit: impl FnOnce(&mut types::Entry)) {
        use prost::Message;
        let body: Vec<u8> = on!(self, connection => {
            sqlx::query_scalar("SELECT body FROM entries WHERE id = $1").bind(id).fetch_one(connection).await.unwrap()
        });
        let mut entry = types::Entry::decode(body.as_slice()).unwrap();
        let mac: Vec<u8> = on!(self, connection => {
            sqlx::query_scalar("SELECT mac FROM entries WHERE id = $1").bind(id).fetch_one(connection).await.unwrap()
        });
        edit(&mut entry);
        self.write_entry(id, &entry.encode_to_vec(), &mac).await;
    }

    /// Writes an entry's row.
    ///
    /// # Panics
    /// When there is no such entry.
    pub async fn write_entry(&mut self, id: &str, body: &[u8], mac: &[u8]) {
        let edited = on!(self, connection => {
            sqlx::query("UPDATE entries SET body = $2, mac = $3 WHERE id = $1")
                .bind(id)
                .bind(body)
                .bind(mac)
                .execute(connection)
                .await
                .unwrap()
                .rows_affected()
        });
        assert_eq!(edited, 1);
    }

    /// Rewrites an entry of the audit log.
    ///
    /// # Panics
    /// When there is no such entry.
    pub async fn edit_audit_entry(&mut self, position: i64, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut leaf: Vec<u8> = on!(&mut *self, connection => {
            sqlx::query_scalar("SELECT leaf FROM audit_entries WHERE position = $1")
                .bind(position)
                .fetch_one(connection)
                .await
                .unwrap()
        });
        edit(&mut leaf);
        on!(self, connection => {
            sqlx::query("UPDATE audit_entries SET leaf = $2 WHERE position = $1")
                .bind(position)
                .bind(leaf)
                .execute(connection)
                .await
                .unwrap();
        });
    }

    /// Puts another checkpoint into the audit log.
    ///
    /// # Panics
    /// When there is no log.
    pub async fn put_audit_checkpoint(&mut self, text: &str) {
        on!(self, connection => {
            sqlx::query("UPDATE audit_logs SET checkpoint = $1").bind(text).execute(connection).await.unwrap();
        });
    }

    /// Rewrites what the audit log's next entry is added to.
    ///
    /// # Panics
    /// When there is no log.
    pub async fn edit_audit_frontier(&mut self, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut frontier: Vec<u8> = on!(&mut *self, connection => {
            sqlx::query_scalar("SELECT frontier FROM audit_logs").fetch_one(connection).await.unwrap()
        });
        edit(&mut frontier);
        on!(self, connection => {
            sqlx::query("UPDATE audit_logs SET frontier = $1").bind(frontier).execute(connection).await.unwrap();
        });
    }

    /// Adds the entries of another authority's database, as they stand there.
    ///
    /// # Panics
    /// When the other database cannot be read.
    pub async fn copy_entries_from(&mut self, other: &CaFolder) {
        type Row = (String, i64, i64, Vec<u8>, Vec<u8>, Option<Vec<u8>>);
        let mut other = Self::open(other).await;
        let rows: Vec<Row> = on!(&mut other, connection => {
            sqlx::query_as("SELECT id, revision, created_at, body, mac, likeness FROM entries")
                .fetch_all(connection)
                .await
                .unwrap()
        });
        other.close().await;
        for (id, revision, created_at, body, mac, likeness) in rows {
            on!(self, connection => {
                sqlx::query(
                    "INSERT INTO entries (id, revision, created_at, body, mac, likeness)
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(id)
                .bind(revision)
                .bind(created_at)
                .bind(body)
                .bind(mac)
                .bind(likeness)
                .execute(connection)
                .await
                .unwrap();
            });
        }
    }

    /// How many certificates are on record.
    ///
    /// # Panics
    /// When the table cannot be read.
    pub async fn certificates(&mut self) -> i64 {
        on!(self, connection => {
            sqlx::query_scalar("SELECT count(*) FROM certificates").fetch_one(connection).await.unwrap()
        })
    }

    /// The audit log of an authority that is the only one on its database.
    ///
    /// # Panics
    /// When there is none, or are several.
    pub async fn audit_log(&mut self) -> AuditedLog {
        let logs: Vec<(Vec<u8>, String)> = on!(&mut *self, connection => {
            sqlx::query_as("SELECT public_key, checkpoint FROM audit_logs").fetch_all(connection).await.unwrap()
        });
        let [(public_key, checkpoint)] = <[_; 1]>::try_from(logs).unwrap();
        let entries = on!(self, connection => {
            sqlx::query_as("SELECT position, leaf FROM audit_entries ORDER BY position")
                .fetch_all(connection)
                .await
                .unwrap()
        });
        AuditedLog { public_key, checkpoint, entries }
    }

    /// The secrets that are kept in it, as they stand there.
    ///
    /// # Panics
    /// When the table cannot be read.
    pub async fn secrets(&mut self) -> Vec<Vec<u8>> {
        on!(self, connection => sqlx::query_scalar("SELECT sealed FROM secrets").fetch_all(connection).await.unwrap())
    }

    /// Changes the last byte of a sealed secret, if it is kept here.
    ///
    /// # Panics
    /// When the table cannot be written.
    pub async fn damage_secret(&mut self, name: &str) {
        let sealed: Option<Vec<u8>> = on!(&mut *self, connection => {
            sqlx::query_scalar("SELECT sealed FROM secrets WHERE name = $1")
                .bind(name)
                .fetch_optional(connection)
                .await
                .unwrap()
        });
        let Some(mut sealed) = sealed else { return };
        *sealed.last_mut().unwrap() ^= 1;
        on!(self, connection => {
            sqlx::query("UPDATE secrets SET sealed = $2 WHERE name = $1")
                .bind(name)
                .bind(sealed)
                .execute(connection)
                .await
                .unwrap();
        });
    }

    /// Makes every record of a certificate fail from now on, as a full disk would.
    ///
    /// # Panics
    /// When the database refuses it.
    pub async fn refuse_certificates(&mut self) {
        match self {
            Self::Sqlite(_) => {
                self.run("CREATE TRIGGER is_full BEFORE INSERT ON certificates BEGIN SELECT RAISE(ABORT, 'disk full'); END")
                    .await;
            }
            Self::Postgres(_) => {
                self.run("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'disk full'; END$$")
                    .await;
                self.run("CREATE TRIGGER is_full BEFORE INSERT ON certificates EXECUTE FUNCTION refuse()")
                    .await;
            }
        }
    }

    /// Takes [`Database::refuse_certificates`] back.
    ///
    /// # Panics
    /// When the database refuses it.
    pub async fn take_certificates_again(&mut self) {
        match self {
            Self::Sqlite(_) => self.run("DROP TRIGGER is_full").await,
            Self::Postgres(_) => self.run("DROP TRIGGER is_full ON certificates").await,
        }
    }
}
