//! How much one caller may ask for in a second.
//!
//! A bucket a caller, by identity where there is one: an address says nothing behind a load balancer. Kept as one
//! instant each (the generic cell rate algorithm, ITU-T I.371, annex A), and only while the bucket is not full.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use secplane_identity::{Origin, SpiffeId};

use crate::config::LimitsConfig;

/// How many callers are counted at once; a further one is refused while all of them are busy.
const MAX_CALLERS: usize = 65_536;
/// How long a call is held back before it is refused: a caller that keeps to the rate by its own clock is never
/// refused for arriving a little early.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest that who failed many times at once has to wait.
const LARGEST_DEBT: Duration = Duration::from_secs(10);
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What is limited.
#[derive(Debug)]
pub struct Limits {
    /// Attestations that fail, of nodes that have no identity yet.
    pub attestations: RateLimit<Origin>,
    /// Certificates and tokens for an agent and its workloads.
    pub signatures: RateLimit<SpiffeId>,
    /// What agents say of themselves.
    pub status_reports: RateLimit<SpiffeId>,
}

impl Limits {
    /// Limits as configured.
    #[must_use]
    pub fn new(config: &LimitsConfig) -> Self {
        Self {
            attestations: RateLimit::per_second(config.failed_attestations),
            signatures: RateLimit::per_second(config.signatures),
            status_reports: RateLimit::per_second(config.status_reports),
        }
    }

    /// Other limits from now on.
    pub fn set(&self, config: &LimitsConfig) {
        let LimitsConfig { failed_attestations, signatures, status_reports } = *config;
        self.attestations.set_per_second(failed_attestations);
        self.signatures.set_per_second(signatures);
        self.status_reports.set_per_second(status_reports);
    }
}

/// A limit on what each caller of one kind may ask for.
#[derive(Debug)]
pub struct RateLimit<K> {
    /// 0: no limit.
    per_second: AtomicU32,
    callers: Mutex<Callers<K>>,
}

/// What one caller may ask for.
#[derive(Debug, Clone, Copy)]
struct Rate {
    /// How much a caller may ask for at once.
    burst: u32,
    /// The time in which it may ask for one more.
    interval: Duration,
}

#[derive(Debug)]
struct Callers<K> {
    /// When the bucket of each is full again.
    full_at: HashMap<K, Instant>,
    swept_at: Option<Instant>,
}

impl<K: Eq + Hash + Clone> RateLimit<K> {
    /// `per_second` a caller, which is also what it may ask for at once; 0 for no limit.
    #[must_use]
    pub fn per_second(per_second: u32) -> Self {
        let callers = Mutex::new(Callers { full_at: HashMap::new(), swept_at: None });
        Self { per_second: AtomicU32::new(per_second), callers }
    }

    /// Another limit from now on. What callers took already counts on.
    pub fn set_per_second(&self, per_second: u32) {
        self.per_second.store(per_second, Ordering::Relaxed);
    }

    fn rate(&self) -> Option<Rate> {
        match self.per_second.load(Ordering::Relaxed) {
            0 => None,
            burst => Some(Rate { burst, interval: Duration::from_secs(1) / burst }),
        }
    }

    /// Takes `count` from the caller's bucket, at `now`; answers how long the caller must be held back.
    ///
    /// # Errors
    /// When there is not enough in it, and will not be soon.
    pub fn take(&self, caller: &K, count: u32, now: Instant) -> Result<Duration, OverLimit> {
        let Some(rate) = self.rate() else { return Ok(Duration::ZERO) };
        if count > rate.burst {
            return Err(OverLimit::Burst { count, burst: rate.burst });
        }
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = callers.full_at.get(caller).copied();
        let full_at = known.map_or(now, |at| at.max(now)) + rate.interval * count;
        let wait = full_at.saturating_duration_since(now + rate.interval * rate.burst);
        if wait > PATIENCE {
            return Err(OverLimit::Rate { per_second: rate.burst });
        }
        if known.is_none() && !callers.has_room(now) {
            return Err(OverLimit::Callers);
        }
        callers.full_at.insert(caller.clone(), full_at);
        Ok(wait)
    }

    /// As [`RateLimit::take`], and waits.
    ///
    /// # Errors
    /// As [`RateLimit::take`].
    pub async fn hold_back(&self, caller: &K, count: u32) -> Result<(), OverLimit> {
        let wait = self.take(caller, count, Instant::now())?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// Whether the caller may go on, for what is only taken by [`RateLimit::charge`] when it fails.
    ///
    /// # Errors
    /// When the caller has failed too often.
    pub fn check(&self, caller: &K, now: Instant) -> Result<(), OverLimit> {
        let Some(rate) = self.rate() else { return Ok(()) };
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let owed_until = callers.full_at.get(caller).copied();
        if owed_until.is_none() && !callers.has_room(now) {
            return Err(OverLimit::Callers);
        }
        if owed_until.is_some_and(|at| at >= now + rate.interval * rate.burst) {
            return Err(OverLimit::Rate { per_second: rate.burst });
        }
        Ok(())
    }

    /// Takes one, even if it is not there: what the caller owes must run off before it may go on.
    pub fn charge(&self, caller: &K, now: Instant) {
        let Some(rate) = self.rate() else { return };
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let owed = callers.full_at.get(caller).map_or(now, |at| (*at).max(now)) + rate.interval;
        if callers.full_at.contains_key(caller) || callers.has_room(now) {
            callers.full_at.insert(caller.clone(), owed.min(now + rate.interval * rate.burst + LARGEST_DEBT));
        }
    }
}

impl<K: Eq + Hash> Callers<K> {
    fn has_room(&mut self, now: Instant) -> bool {
        if self.full_at.len() < MAX_CALLERS {
            return true;
        }
        if self.swept_at.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP_EVERY) {
            // A full bucket is as good as none.
            self.full_at.retain(|_, full_at| *full_at > now);
            self.swept_at = Some(now);
        }
        self.full_at.len() < MAX_CALLERS
    }
}

/// Why a call is refused for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverLimit {
    /// One call asks for more than may be asked for at once.
    #[error("rate ({count}) exceeds burst size ({burst}); ask for less at once")]
    Burst {
        /// What was asked for.
        count: u32,
        /// What may be asked for.
        burst: u32,
    },
    /// The caller asked for too much within the last seconds.
    #[error("the caller asks for more than {per_second} a second; slow down and try again")]
    Rate {
        /// What may be asked for.
        per_second: u32,
    },
    /// Too many callers at once.
    #[error("more callers at once than are counted; try again")]
    Callers,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn lets_a_burst_through_then_holds_back_then_refuses() {
        let limit = RateLimit::per_second(10);
        let now = Instant::now();
        for _ in 0..10 {
            assert_eq!(limit.take(&"a", 1, now), Ok(Duration::ZERO));
        }
        assert_eq!(limit.take(&"a", 1, now), Ok(100 * MS));
        assert_eq!(limit.take(&"a", 9, now), Ok(1000 * MS));
        assert_eq!(limit.take(&"a", 1, now), Err(OverLimit::Rate { per_second: 10 }));
        assert_eq!(limit.take(&"b", 10, now), Ok(Duration::ZERO), "another caller has a bucket of its own");
        assert_eq!(limit.take(&"a", 1, now + 2000 * MS), Ok(Duration::ZERO));
    }

    #[test]
    fn refuses_more_than_a_burst_and_takes_nothing_for_it() {
        let limit = RateLimit::per_second(10);
        let now = Instant::now();
        assert_eq!(limit.take(&"a", 11, now), Err(OverLimit::Burst { count: 11, burst: 10 }));
        assert_eq!(limit.take(&"a", 10, now), Ok(Duration::ZERO));
    }

    #[test]
    fn takes_nothing_for_a_refused_call() {
        let limit = RateLimit::per_second(1);
        let now = Instant::now();
        limit.take(&"a", 1, now).unwrap();
        limit.take(&"a", 1, now).unwrap();
        for _ in 0..100 {
            assert!(limit.take(&"a", 1, now).is_err());
        }
        assert_eq!(limit.take(&"a", 1, now + 2000 * MS), Ok(Duration::ZERO));
    }

    #[test]
    fn refuses_who_failed_too_often_and_nobody_who_did_not() {
        let limit = RateLimit::per_second(2);
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(limit.check(&"honest", now), Ok(()));
        }
        for _ in 0..2 {
            assert_eq!(limit.check(&"guesser", now), Ok(()));
            limit.charge(&"guesser", now);
        }
        assert_eq!(limit.check(&"guesser", now), Err(OverLimit::Rate { per_second: 2 }));
        assert_eq!(limit.check(&"guesser", now + 600 * MS), Ok(()));
        assert_eq!(limit.check(&"honest", now), Ok(()));
    }

    #[test]
    fn bounds_what_is_owed() {
        let limit = RateLimit::per_second(2);
        let now = Instant::now();
        for _ in 0..1000 {
            limit.charge(&"a", now);
        }
        assert!(limit.check(&"a", now + 9000 * MS).is_err());
        assert_eq!(limit.check(&"a", now + LARGEST_DEBT + MS), Ok(()));
    }

    #[test]
    fn changes_while_callers_are_counted() {
        let limit = RateLimit::per_second(1);
        let now = Instant::now();
        limit.take(&"a", 1, now).unwrap();
        assert_eq!(limit.take(&"a", 2, now), Err(OverLimit::Burst { count: 2, burst: 1 }));
        limit.set_per_second(100);
        assert_eq!(limit.take(&"a", 2, now), Ok(20 * MS), "what was taken before counts on");
        limit.set_per_second(0);
        assert_eq!(limit.take(&"a", 1000, now), Ok(Duration::ZERO));
    }

    #[test]
    fn knows_no_limit_at_zero() {
        let limit = RateLimit::per_second(0);
        assert_eq!(limit.take(&"a", u32::MAX, Instant::now()), Ok(Duration::ZERO));
        limit.charge(&"a", Instant::now());
        assert_eq!(limit.check(&"a", Instant::now()), Ok(()));
    }

    #[test]
    fn counts_so_many_callers_and_forgets_those_with_full_buckets() {
        let limit = RateLimit::per_second(1);
        let now = Instant::now();
        for caller in 0..MAX_CALLERS {
            limit.take(&caller, 1, now).unwrap();
        }
        assert_eq!(limit.take(&MAX_CALLERS, 1, now), Err(OverLimit::Callers));
        assert!(limit.take(&0, 1, now).is_ok(), "who is counted already is served");
        let later = now + 3000 * MS;
        assert_eq!(limit.take(&MAX_CALLERS, 1, later), Ok(Duration::ZERO));
        assert_eq!(limit.callers.lock().unwrap().full_at.len(), 1);
    }
}
