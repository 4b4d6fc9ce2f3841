//! Which of several replicas on one database fetches the bundles: a foreign endpoint is asked once, not by each.

use std::time::{Duration, SystemTime};

use crate::{
    instant::Clock,
    store::{Lease, Store},
};

/// The name of the lease.
const LEASE: &str = "federation";
/// How often it is kept, or asked for.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(60);

/// A replica's part in fetching.
pub struct Duty {
    replica: String,
    store: Store,
    clock: Clock,
}

/// What a replica was told when it last asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) is_ours: bool,
    at: SystemTime,
}

impl Duty {
    /// The part of `replica`.
    #[must_use]
    pub fn new(replica: String, store: Store, clock: Clock) -> Self {
        Self { replica, store, clock }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether the fetching is this replica's. It asks the database when it has not done so for a while.
    pub(super) async fn ask(&self, before: Option<Told>) -> Told {
        let now = self.clock.now();
        let is_fresh = |told: &Told| now.duration_since(told.at).is_ok_and(|age| age < ASK_EVERY);
        if let Some(told) = before.filter(is_fresh) {
            return told;
        }
        let lease = Lease::for_turns(LEASE, &self.replica, now, ASK_EVERY);
        let taken = self.store.take_lease(lease).await;
        let is_ours = taken.unwrap_or_else(|error| {
            tracing::warn!(%error, "it cannot be told which replica fetches foreign trust bundles; asked again");
            false
        });
        Told { is_ours, at: now }
    }
}

impl Told {
    /// When to ask again.
    pub(super) fn ends(&self) -> SystemTime {
        self.at + ASK_EVERY
    }
}
