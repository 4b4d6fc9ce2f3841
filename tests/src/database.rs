//! The daemon's database, opened behind its back: what an attacker with the disk would do, or an unlucky admin.

use std::path::Path;

use secplane_proto::spire::api::types;
use sqlx::{
    Connection, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

/// A connection to the database of an authority.
pub struct Database(SqliteConnection);

impl Database {
    /// Opens a database that exists.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub async fn open(path: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(path).journal_mode(SqliteJournalMode::Wal);
        Self(SqliteConnection::connect_with(&options).await.unwrap())
    }

    /// Closes it, so that everything is in the file.
    ///
    /// # Panics
    /// When it cannot be closed.
    pub async fn close(self) {
        self.0.close().await.unwrap();
    }

    /// Runs a statement.
    ///
    /// # Panics
    /// When the database refuses it.
    pub async fn run(&mut self, statement: &'static str) {
        sqlx::query(statement).execute(&mut self.0).await.unwrap();
    }

    /// Rewrites an entry and leaves its MAC as it is.
    ///
    /// # Panics
    /// When there is no such entry.
    pub async fn edit_entry(&mut self, id: &str, edit: impl FnOnce(&mut types::Entry)) {
        use prost::Message;
        let row = sqlx::query("SELECT body FROM entries WHERE id = $1")
            .bind(id)
            .fetch_one(&mut self.0)
            .await
            .unwrap();
        let mut entry = types::Entry::decode(row.get::<Vec<u8>, _>("body").as_slice()).unwrap();
        edit(&mut entry);
        let edited = sqlx::query("UPDATE entries SET body = $2 WHERE id = $1")
            .bind(id)
            .bind(entry.encode_to_vec())
            .execute(&mut self.0)
            .await
            .unwrap();
        assert_eq!(edited.rows_affected(), 1);
    }

    /// Adds the entries of another authority's database, as they stand there.
    ///
    /// # Panics
    /// When the other database cannot be read.
    pub async fn copy_entries_from(&mut self, other: &Path) {
        let path = other.to_str().unwrap();
        sqlx::query("ATTACH DATABASE $1 AS other").bind(path).execute(&mut self.0).await.unwrap();
        self.run("INSERT INTO entries SELECT * FROM other.entries").await;
        self.run("DETACH DATABASE other").await;
    }

    /// How many certificates are on record.
    ///
    /// # Panics
    /// When the table cannot be read.
    pub async fn certificates(&mut self) -> i64 {
        let row = sqlx::query("SELECT count(*) AS number FROM certificates").fetch_one(&mut self.0).await;
        row.unwrap().get("number")
    }
}
