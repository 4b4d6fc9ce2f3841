//! SQLite and PostgreSQL behind one face. A statement is written once, in the SQL that both understand; only the
//! driver differs.

use sqlx::{PgPool, Postgres, Sqlite, SqlitePool};

use super::StoreError;

/// Connections to one of the databases. Cheap to clone.
#[derive(Clone)]
pub(super) enum Pools {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A transaction of one of the databases. Dropped without [`Transaction::commit`], it changes nothing.
pub(super) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// Runs one expression on whichever database it is: `on!(pools, pool => sqlx::query(…).execute(pool).await)`.
///
/// For [`Pools`], the name is bound to a reference to the pool.
macro_rules! on {
    ($pools:expr, $pool:ident => $body:expr) => {
        match $pools {
            $crate::store::database::Pools::Sqlite($pool) => $body,
            $crate::store::database::Pools::Postgres($pool) => $body,
        }
    };
}

/// As [`on!`] for a [`Transaction`]: the name is bound to its connection.
macro_rules! within {
    ($transaction:expr, $connection:ident => $body:expr) => {
        match $transaction {
            $crate::store::database::Transaction::Sqlite(transaction) => {
                let $connection = &mut **transaction;
                $body
            }
            $crate::store::database::Transaction::Postgres(transaction) => {
                let $connection = &mut **transaction;
                $body
            }
        }
    };
}

pub(super) use {on, within};

impl Pools {
    /// Begins a transaction that writes.
    pub(super) async fn begin(&self) -> Result<Transaction, StoreError> {
        Ok(match self {
            // Otherwise a transaction that reads first fails at once as busy when it comes to write.
            Self::Sqlite(pool) => Transaction::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?),
            Self::Postgres(pool) => Transaction::Postgres(pool.begin().await?),
        })
    }

    pub(super) async fn close(&self) {
        on!(self, pool => pool.close().await);
    }
}

impl Transaction {
    /// How a statement begins that inserts rows. A failure ends the whole transaction, so SQLite need not be ready to
    /// undo the statement alone, for which it would copy every page that it changes.
    pub(super) fn insert_into(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "INSERT OR FAIL INTO ",
            Self::Postgres(_) => "INSERT INTO ",
        }
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await?,
            Self::Postgres(transaction) => transaction.commit().await?,
        }
        Ok(())
    }
}

/// Rows for statements that insert many: powers of two, so that a handful of statements is prepared once and used
/// for any number of rows.
pub(super) fn in_steps<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    const LARGEST: usize = 64;
    std::iter::from_fn(move || {
        let step = if rows.len() >= LARGEST { LARGEST } else { 1 << rows.len().checked_ilog2()? };
        let (now, later) = rows.split_at(step);
        rows = later;
        Some(now)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn steps_hold_every_row_once_in_order(count in 0_usize..1000) {
            let rows: Vec<_> = (0..count).collect();
            let steps: Vec<_> = in_steps(&rows).collect();
            prop_assert!(steps.iter().all(|step| step.len().is_power_of_two() && step.len() <= 64));
            prop_assert_eq!(steps.concat(), rows);
        }
    }
}
