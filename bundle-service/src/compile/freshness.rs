//! Until when a bundle may be used: so that nobody decides by an old one for long, be it replayed or left over.
//!
//! Every replica must give the same bundle the same end, so ends come from the calendar: time is cut into periods of
//! half a lifetime, and all bundles of one content that are made in a period end at the same instant. At least half a
//! lifetime is left of a bundle when it is made. Where the periods begin depends on the content, so that not everybody
//! fetches at the same moment.

use std::{
    iter::successors,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::digest::Digest;

/// The shortest lifetime that makes sense: clocks differ, and every renewal is a download and an activation.
pub const SHORTEST_LIFETIME: Duration = Duration::from_secs(60);

/// The end of a bundle with this content that is made now, in seconds since 1970.
pub(crate) fn not_after(content: &Digest, lifetime: Duration, now: SystemTime) -> u64 {
    let period = period(lifetime);
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let begins = content.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes)) % period;
    // Before the first period began there is only the rest of one; with every clock of today it is far behind.
    let began = ((now + begins) / period * period).saturating_sub(begins);
    began + lifetime.as_secs()
}

/// The ends of all bundles with this content that are made between two moments, the latest first.
pub(crate) fn ends(
    content: Digest,
    lifetime: Duration,
    from: SystemTime,
    until: SystemTime,
) -> impl Iterator<Item = u64> {
    let (first, last) = (not_after(&content, lifetime, from), not_after(&content, lifetime, until));
    let ends = successors(Some(last), move |end| end.checked_sub(period(lifetime)));
    ends.take_while(move |end| *end >= first)
}

/// In seconds.
fn period(lifetime: Duration) -> u64 {
    (lifetime.as_secs() / 2).max(1)
}

/// How often to look for bundles that need a new end: often enough that hardly anything of a period is lost.
pub(crate) fn look_every(lifetime: Duration) -> Duration {
    (lifetime / 32).clamp(Duration::from_secs(1), Duration::from_secs(300))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    proptest! {
        #[test]
        fn at_least_half_a_lifetime_is_left(
            now in 1_700_000_000_u64..4_000_000_000, lifetime in 60_u64..10_000_000, content in any::<u64>()
        ) {
            let content = Digest::of(&[&content.to_be_bytes()]);
            let end = not_after(&content, Duration::from_secs(lifetime), at(now));
            prop_assert!(end >= now + lifetime / 2, "{end}");
            prop_assert!(end <= now + lifetime, "{end}");
        }

        #[test]
        fn replicas_agree_within_a_period(now in 1_700_000_000_u64..4_000_000_000, content in any::<u64>()) {
            let content = Digest::of(&[&content.to_be_bytes()]);
            let lifetime = Duration::from_secs(3600);
            let end = not_after(&content, lifetime, at(now));
            // It is the same until half a lifetime is left, and another one then.
            prop_assert_eq!(not_after(&content, lifetime, at(end - 1801)), end);
            prop_assert_eq!(not_after(&content, lifetime, at(end - 1800)), end + 1800);
        }
    }

    #[test]
    fn lists_each_end_once_the_latest_first() {
        let (content, lifetime) = (Digest::of(&[b"x"]), Duration::from_secs(60));
        let (from, until) = (1_800_000_000, 1_800_000_100);
        let mut made: Vec<u64> = (from..=until).map(|now| not_after(&content, lifetime, at(now))).collect();
        made.dedup();
        made.reverse();
        assert_eq!(ends(content, lifetime, at(from), at(until)).collect::<Vec<_>>(), made);
        assert_eq!(ends(content, lifetime, at(from), at(from)).count(), 1);
    }

    #[test]
    fn a_clock_before_1970_gives_an_end_all_the_same() {
        let end = not_after(&Digest::of(&[]), Duration::from_secs(3600), at(0) - Duration::from_secs(5));
        assert!((1800..=3600).contains(&end), "{end}");
    }
}
