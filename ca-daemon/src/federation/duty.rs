//! Which of several replicas on one database fetches the bundles: a foreign endpoint is asked once, not by each.
//!
//! One that can fetch nothing stands back: any other takes the work over when it next asks. Where there is no other, or
//! it can fetch nothing either, the work goes on as before.

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
    stands_back: bool,
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

    /// Whether the fetching is this replica's. It asks the database when it has not done so for a while, and each time
    /// while it stands back: another may have taken over.
    pub(super) async fn ask(&self, before: Option<Told>) -> Told {
        let now = self.clock.now();
        let is_fresh = |told: &Told| {
            let may_be_taken = told.is_ours && told.stands_back;
            !may_be_taken && now.duration_since(told.at).is_ok_and(|age| age < ASK_EVERY)
        };
        match before {
            Some(told) if is_fresh(&told) => told,
            before => self.take(now, before.is_some_and(|told| told.stands_back)).await,
        }
    }

    /// Goes on as one that can fetch, or lets any other take over from it. `told` was the last to be said.
    pub(super) async fn after_fetching(&self, told: Told, can_fetch: bool) -> Told {
        match (told.stands_back, can_fetch) {
            (false, true) | (true, false) => told,
            (false, false) => {
                tracing::warn!(
                    "no foreign trust bundle can be fetched from here; any other replica may take over"
                );
                self.take(self.clock.now(), true).await
            }
            (true, true) => {
                tracing::info!("foreign trust bundles can be fetched from here again");
                self.take(self.clock.now(), false).await
            }
        }
    }

    async fn take(&self, now: SystemTime, stands_back: bool) -> Told {
        let lease = Lease::for_turns(LEASE, &self.replica, now, ASK_EVERY);
        let lease = if stands_back { lease.for_anybody_to_take() } else { lease };
        let taken = self.store.take_lease(lease).await;
        let is_ours = taken.unwrap_or_else(|error| {
            tracing::warn!(%error, "it cannot be told which replica fetches foreign trust bundles; asked again");
            false
        });
        Told { is_ours, stands_back, at: now }
    }
}

impl Told {
    /// When to ask again.
    pub(super) fn ends(&self) -> SystemTime {
        self.at + ASK_EVERY
    }
}
