//! Who of several replicas does the work that is done once.

use std::time::{Duration, SystemTime};

use super::{
    Conflict, Store, StoreError,
    change::Change,
    database::{Transaction, within},
};
use crate::instant::unix;

/// The right to some work for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The work.
    pub name: String,
    /// The replica that does it.
    pub holder: String,
    /// The present, in Unix seconds.
    pub at: i64,
    /// Until when nobody else may do it, in Unix seconds.
    pub until: i64,
    /// Whoever has it until later than this, in Unix seconds, took it by a wrong clock, and does not have it.
    pub absurd: i64,
}

impl Lease {
    /// The right to work that is looked at in turns: whoever dies is followed by another after it missed one.
    #[must_use]
    pub fn for_turns(name: &str, holder: &str, now: SystemTime, every: Duration) -> Self {
        Self {
            name: name.to_owned(),
            holder: holder.to_owned(),
            at: unix(now),
            until: unix(now + Self::lasts(every)),
            absurd: unix(now + every * 3),
        }
    }

    /// The same right, which anybody may take from its holder at any time, whatever their clock says.
    #[must_use]
    pub fn for_anybody_to_take(self) -> Self {
        Self { until: 0, ..self }
    }

    /// How long the right to work in such turns lasts.
    #[must_use]
    pub fn lasts(every: Duration) -> Duration {
        every + every / 2
    }
}

impl Store {
    /// Takes a lease, or keeps it if its holder has it already. `false` when another replica has it.
    ///
    /// # Errors
    /// When the database fails or is closed.
    pub async fn take_lease(&self, lease: Lease) -> Result<bool, StoreError> {
        match self.write(Change::TakeLease(lease)).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

pub(super) async fn take(transaction: &mut Transaction, lease: &Lease) -> Result<(), StoreError> {
    const TAKE: &str = "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3)
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
        WHERE leases.holder = excluded.holder OR leases.until <= $4 OR leases.until > $5";
    let taken = within!(transaction, connection => {
        sqlx::query(TAKE)
            .bind(&lease.name)
            .bind(&lease.holder)
            .bind(lease.until)
            .bind(lease.at)
            .bind(lease.absurd)
            .execute(connection)
            .await?
            .rows_affected()
    });
    if taken == 1 { Ok(()) } else { Err(Conflict::Taken.into()) }
}
