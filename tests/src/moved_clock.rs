//! A clock that a test moves on: hours of rotation in a moment. And one that stands still.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use ca_daemon::instant::Clock;

/// The present, and as much later as a test says. Whoever verifies certificates by the machine's clock, as stock TLS
/// clients do, does not come along.
#[derive(Clone, Default)]
pub struct MovedClock(Arc<AtomicU64>);

impl MovedClock {
    /// The clock for an authority.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let moved = self.clone();
        Clock::of(move || moved.now())
    }

    /// What it says.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    /// Moves it on, in whole seconds.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

/// A clock that stands still. An authority by it never looks by itself for what may have changed: what it heeds, it was
/// told of.
#[must_use]
pub fn stopped() -> Clock {
    let at = SystemTime::now();
    Clock::of(move || at)
}
