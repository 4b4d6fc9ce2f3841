//! Instants as Unix seconds, the form of the wire and of the database.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Seconds since 1970; an instant before it counts as 0.
#[must_use]
pub fn unix(instant: SystemTime) -> i64 {
    let since = instant.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The instant of Unix seconds; a negative number counts as 0.
#[must_use]
pub fn from_unix(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Where the present comes from. Tests hold it still or move it.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    look_every: Duration,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self { now: Arc::new(SystemTime::now), look_every: Duration::from_secs(30) }
    }

    /// A clock that says what a function says, and may say anything from one moment to the next.
    #[must_use]
    pub fn of(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(now), look_every: Duration::from_millis(5) }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        (self.now)()
    }

    /// Waits until the clock reads at least `instant`.
    ///
    /// It looks again at least every half minute: a machine that slept finds its timers late but its clock right.
    pub async fn wait_until(&self, instant: SystemTime) {
        while let Ok(left) = instant.duration_since(self.now()) {
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(self.look_every)).await;
        }
    }
}
