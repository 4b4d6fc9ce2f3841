//! Rows that cannot be read at all: SQLite keeps any bytes as text. Whoever writes such a row could as well have deleted
//! it, so it counts as none; an error would take the whole table with it.

use futures_util::{Stream, StreamExt, TryStreamExt, future, stream::BoxStream};

use super::StoreError;

/// The rows of a table that can be read, one after another. The others are reported.
pub(super) fn readable<'a, T: Send + 'a>(
    table: &'static str,
    rows: impl Stream<Item = Result<T, sqlx::Error>> + Send + 'a,
) -> BoxStream<'a, Result<T, StoreError>> {
    let read = rows.filter_map(move |row| {
        future::ready(match row {
            Ok(row) => Some(Ok(row)),
            Err(error) => unreadable(table, error).err().map(Err),
        })
    });
    read.boxed()
}

/// As [`readable`], all of them.
pub(super) async fn all_readable<'a, T: Send + 'a>(
    table: &'static str,
    rows: impl Stream<Item = Result<T, sqlx::Error>> + Send + 'a,
) -> Result<Vec<T>, StoreError> {
    readable(table, rows).try_collect::<Vec<T>>().await
}

/// As [`readable`], the one that there may be.
pub(super) fn one_readable<T>(
    table: &'static str,
    row: Result<Option<T>, sqlx::Error>,
) -> Result<Option<T>, StoreError> {
    match row {
        Ok(row) => Ok(row),
        Err(error) => unreadable(table, error).map(|()| None),
    }
}

/// Reports an error of one row; any other one is passed on.
fn unreadable(table: &'static str, error: sqlx::Error) -> Result<(), StoreError> {
    if !matches!(error, sqlx::Error::ColumnDecode { .. }) {
        return Err(error.into());
    }
    tracing::error!(table, %error, "a row cannot be read and counts as none; somebody changed the database");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sqlx::{Connection, SqliteConnection};

    use super::*;
    use crate::{
        instant::Clock,
        store::{
            AgentRow, AuthorityFilter, AuthorityKind, AuthorityRow, AuthorityState, Change, Store, testing,
        },
    };

    /// The database of a folder, with the change that a statement makes. PostgreSQL keeps no text that is none.
    async fn changed_by(folder: &Path, store: Store, statement: &'static str) -> Store {
        store.close().await;
        let url = format!("sqlite:{}", folder.join("ca.db").display());
        let mut database = SqliteConnection::connect(&url).await.unwrap();
        let changed = sqlx::query(statement).execute(&mut database).await.unwrap().rows_affected();
        assert_eq!(changed, 1);
        database.close().await.unwrap();
        testing::open_file(folder, Clock::system()).await
    }

    #[tokio::test]
    async fn reads_the_agents_beside_one_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::open_file(folder.path(), Clock::system()).await;
        for name in ["a", "b"] {
            let row = AgentRow { spiffe_id: name.to_owned(), body: vec![0], mac: vec![1] };
            store.write(Change::AddAgent(row)).await.unwrap();
        }
        let statement = "UPDATE agents SET spiffe_id = CAST(x'ff' AS TEXT) WHERE spiffe_id = 'a'";
        let store = changed_by(folder.path(), store, statement).await;
        let agents: Vec<AgentRow> = store.agents().try_collect().await.unwrap();
        assert_eq!(agents.iter().map(|row| row.spiffe_id.as_str()).collect::<Vec<_>>(), ["b"]);
        store.close().await;
    }

    #[tokio::test]
    async fn reads_the_authorities_beside_one_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::open_file(folder.path(), Clock::system()).await;
        for key_id in ["a", "b"] {
            let row = AuthorityRow {
                key_id: key_id.to_owned(),
                kind: AuthorityKind::Issuing,
                state: AuthorityState::Old,
                tainted: false,
                public: vec![1],
                chain: Vec::new(),
                issuer_key_id: "c".to_owned(),
                replica: String::new(),
                key_storage: "file".to_owned(),
                not_before: 1,
                not_after: 2,
                created_at: 1,
                since: 1,
                mac: None,
            };
            store.write(Change::AddAuthority(row)).await.unwrap();
        }
        let statement = "UPDATE authorities SET replica = CAST(x'ff' AS TEXT) WHERE key_id = 'a'";
        let store = changed_by(folder.path(), store, statement).await;
        let all = store.authorities(&AuthorityFilter::default()).await.unwrap();
        assert_eq!(all.iter().map(|row| row.key_id.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(store.authority("a").await.unwrap(), None);
        store.close().await;
    }
}
