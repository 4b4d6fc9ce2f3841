//! Instants as Unix seconds, the form of the wire and of the database.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
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

/// The last second that a certificate can name (RFC 5280, section 4.1.2.5), in Unix seconds: nothing ends later.
pub const LAST_SECOND: i64 = 253_402_300_799;

/// The end of what has none.
#[must_use]
pub fn no_end() -> SystemTime {
    from_unix(LAST_SECOND)
}

/// Where the present comes from. Tests hold it still or move it.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// What passes by as much as time does, whatever `now` is set to.
    passed: Arc<dyn Fn() -> Duration + Send + Sync>,
    look_every: Duration,
}

/// A moment by both measures.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    now: SystemTime,
    passed: Duration,
}

/// By how much the clock may be set without having jumped.
const ADJUSTMENT: Duration = Duration::from_secs(60);

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        let began = Instant::now();
        Self {
            now: Arc::new(SystemTime::now),
            passed: Arc::new(move || began.elapsed()),
            look_every: Duration::from_secs(30),
        }
    }

    /// A clock that says what a function says, and may say anything from one moment to the next.
    #[must_use]
    pub fn of(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        let now = Arc::new(now);
        let says = Arc::clone(&now);
        // Time passes as it says.
        let passed = move || says().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { now, passed: Arc::new(passed), look_every: Duration::from_millis(5) }
    }

    /// The same clock, over time that passes as a function says.
    #[cfg(test)]
    pub(crate) fn while_passes(self, passed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { passed: Arc::new(passed), ..self }
    }

    /// This moment, to ask [`Clock::has_jumped_since`] later.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment { now: self.now(), passed: self.passed() }
    }

    /// Whether the clock was set by more than a minute since then. It may be wrong now, or have been wrong before.
    #[must_use]
    pub fn has_jumped_since(&self, then: Moment) -> bool {
        let passed = self.passed().saturating_sub(then.passed);
        let expected = then.now.checked_add(passed).unwrap_or(then.now);
        let now = self.now();
        let apart = now.duration_since(expected).or_else(|_| expected.duration_since(now));
        apart.is_ok_and(|apart| apart > ADJUSTMENT)
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        (self.now)()
    }

    /// How much time has passed since some moment, whatever the clock was set to meanwhile.
    #[must_use]
    pub fn passed(&self) -> Duration {
        (self.passed)()
    }

    /// Waits until [`Clock::passed`] says at least `due`.
    pub async fn wait_until_passed(&self, due: Duration) {
        loop {
            let left = due.saturating_sub(self.passed());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(self.look_every)).await;
        }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn tells_a_clock_that_was_set_from_one_that_runs() {
        let (now, passed) = (Arc::new(AtomicU64::new(1_800_000_000)), Arc::new(AtomicU64::new(5)));
        let (says, passes) = (Arc::clone(&now), Arc::clone(&passed));
        let clock = Clock::of(move || from_unix(says.load(Ordering::Relaxed).try_into().unwrap()));
        let clock = clock.while_passes(move || Duration::from_secs(passes.load(Ordering::Relaxed)));
        let begin = clock.moment();
        assert!(!clock.has_jumped_since(begin));
        for (by_now, by_passed, jumped) in [(300, 300, false), (59, 0, false), (0, 180, true), (300, 0, true)]
        {
            now.fetch_add(by_now, Ordering::Relaxed);
            passed.fetch_add(by_passed, Ordering::Relaxed);
            assert_eq!(clock.has_jumped_since(begin), jumped, "{by_now} {by_passed}");
        }
        // It is ahead by 180 seconds now, and was not set since.
        assert!(!clock.has_jumped_since(clock.moment()));
        let free = Clock::of(SystemTime::now);
        assert!(!free.has_jumped_since(free.moment()));
    }

    #[tokio::test]
    async fn waits_for_time_to_pass_whatever_the_clock_is_set_to() {
        let (now, passed) = (Arc::new(AtomicU64::new(1_800_000_000)), Arc::new(AtomicU64::new(5)));
        let (says, passes) = (Arc::clone(&now), Arc::clone(&passed));
        let clock = Clock::of(move || from_unix(says.load(Ordering::Relaxed).try_into().unwrap()));
        let clock = clock.while_passes(move || Duration::from_secs(passes.load(Ordering::Relaxed)));
        let due = clock.passed() + Duration::from_secs(10);
        for (by_now, by_passed, is_over) in [(3600, 9, false), (0, 1, true)] {
            now.fetch_add(by_now, Ordering::Relaxed);
            passed.fetch_add(by_passed, Ordering::Relaxed);
            let is_over_now = clock.wait_until_passed(due).now_or_never().is_some();
            assert_eq!(is_over_now, is_over, "{by_now} {by_passed}");
        }
        now.fetch_sub(7200, Ordering::Relaxed);
        assert!(clock.wait_until_passed(due).now_or_never().is_some(), "set back, and due all the same");
    }
}
