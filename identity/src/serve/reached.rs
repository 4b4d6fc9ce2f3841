//! Which limits on connections were reached: counted each time, and said in the log now and then.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::places::Holder;

/// How often the log says of a limit that it is reached: that may happen thousands of times a second.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// A limit on connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// On those of peers with a certificate.
    Peers,
    /// On those of one such peer.
    PeersOfOneIdentity,
    /// On those without a certificate.
    Anonymous,
    /// On those without a certificate from one origin.
    AnonymousOfOneAddress,
    /// On TLS handshakes that are under way.
    Handshakes,
    /// On TLS handshakes that are under way with one origin.
    HandshakesOfOneAddress,
    /// On those without TLS.
    Plain,
    /// On those without TLS from one origin.
    PlainOfOneAddress,
}

impl Limit {
    /// Each of them.
    pub const ALL: [Self; 8] = [
        Self::Peers,
        Self::PeersOfOneIdentity,
        Self::Anonymous,
        Self::AnonymousOfOneAddress,
        Self::Handshakes,
        Self::HandshakesOfOneAddress,
        Self::Plain,
        Self::PlainOfOneAddress,
    ];

    /// What it is called in metrics and in the configuration of a daemon.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::PeersOfOneIdentity => "peers_of_one_identity",
            Self::Anonymous => "anonymous",
            Self::AnonymousOfOneAddress => "anonymous_of_one_address",
            Self::Handshakes => "handshakes",
            Self::HandshakesOfOneAddress => "handshakes_of_one_address",
            Self::Plain => "plain",
            Self::PlainOfOneAddress => "plain_of_one_address",
        }
    }
}

/// How often which limit was reached. Every clone counts the same.
#[derive(Debug, Clone, Default)]
pub struct ReachedLimits {
    section: Option<&'static str>,
    counts: Arc<Mutex<BTreeMap<Limit, Count>>>,
}

impl ReachedLimits {
    /// Of limits that are set in this section of a configuration, where the log sends whoever wants others.
    #[must_use]
    pub fn set_in(section: &'static str) -> Self {
        Self { section: Some(section), counts: Arc::default() }
    }

    /// How often each limit was reached.
    #[must_use]
    pub fn counts(&self) -> [(Limit, u64); Limit::ALL.len()] {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        Limit::ALL.map(|limit| (limit, counts.get(&limit).map_or(0, |count| count.times)))
    }

    /// A limit of so many was reached: by one holder, or by all of them together.
    pub(super) fn note(&self, limit: Limit, most: usize, holder: Option<&Holder>) {
        let times = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.entry(limit).or_default().one_more(Instant::now())
        };
        let Some(times) = times else { return };
        let setting = match self.section {
            Some(section) => format!("{section}.{}", limit.name()),
            None => limit.name().to_owned(),
        };
        let holder = holder.map_or_else(|| "all together".to_owned(), ToString::to_string);
        tracing::warn!(
            %setting, most, %holder, times,
            "connections are closed, or wait: a limit is reached; raise it if so many are expected, as from behind one \
             load balancer"
        );
    }
}

#[derive(Debug, Default)]
struct Count {
    times: u64,
    /// Those that the log has not told of.
    untold: u64,
    told_at: Option<Instant>,
}

impl Count {
    /// One more. Answers how many the log should tell of, if it should now.
    fn one_more(&mut self, now: Instant) -> Option<u64> {
        self.times += 1;
        self.untold += 1;
        if self.told_at.is_some_and(|at| now.saturating_duration_since(at) < SAY_EVERY) {
            return None;
        }
        self.told_at = Some(now);
        Some(mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_at_once_then_now_and_then_of_all_since() {
        let (mut count, now) = (Count::default(), Instant::now());
        assert_eq!(count.one_more(now), Some(1));
        assert_eq!(count.one_more(now), None);
        assert_eq!(count.one_more(now + SAY_EVERY / 2), None);
        assert_eq!(count.one_more(now + SAY_EVERY), Some(3));
        assert_eq!(count.one_more(now + SAY_EVERY), None);
        assert_eq!(count.times, 5);
    }

    #[test]
    fn counts_each_limit_for_every_clone() {
        let reached = ReachedLimits::set_in("connections");
        reached.clone().note(Limit::Plain, 1, None);
        reached.note(Limit::Plain, 1, None);
        let counted = reached.counts().into_iter().filter(|(_, times)| *times > 0).collect::<Vec<_>>();
        assert_eq!(counted, [(Limit::Plain, 2)]);
    }
}
