//! Contents whose tests did not end within their limits, and for how long they are not tried again.
//!
//! A busy machine is no property of a content, so it is tried again. One that never ends must not cost its time with
//! every change of others, so each pause is twice as long as the one before.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use crate::{digest::Digest, refusal::Refusal};

/// How many contents are remembered.
const MAX_REMEMBERED: usize = 10_000;
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What waits to be tried again: versions of resources, and tiers as they would be.
#[derive(Debug, Default)]
pub(super) struct Postponed(HashMap<Digest, Pause>);

#[derive(Debug)]
struct Pause {
    length: Duration,
    until: SystemTime,
    refusals: Vec<Refusal>,
}

impl Postponed {
    /// What is refused of a content that is not tried again yet.
    pub(super) fn refusals(&self, content: &Digest, now: SystemTime) -> Option<Vec<Refusal>> {
        let pause = self.0.get(content)?;
        let left = pause.until.duration_since(now).ok()?;
        // A clock that was set back makes no pause longer.
        let waits = !left.is_zero() && left <= pause.length;
        waits.then(|| pause.refusals.clone())
    }

    /// Does not try a content again for a while.
    pub(super) fn put_off(&mut self, content: Digest, refusals: Vec<Refusal>, now: SystemTime) {
        let before = self.0.get(&content).map(|pause| pause.length);
        let length = before.map_or(FIRST_PAUSE, |before| (before * 2).min(LONGEST_PAUSE));
        if self.0.len() >= MAX_REMEMBERED {
            self.0.retain(|_, pause| pause.until > now);
        }
        if self.0.len() >= MAX_REMEMBERED {
            self.0.clear();
        }
        self.0.insert(content, Pause { length, until: now + length, refusals });
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn waits_twice_as_long_each_time_up_to_an_hour() {
        let (content, mut postponed) = (Digest::of(&[b"x"]), Postponed::default());
        let refusals = vec![Refusal::new("test_limits", "too slow")];
        let mut now = 0;
        for pause in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
            assert_eq!(postponed.refusals(&content, at(now)), None);
            postponed.put_off(content, refusals.clone(), at(now));
            assert_eq!(postponed.refusals(&content, at(now + pause - 1)), Some(refusals.clone()));
            now += pause;
        }
        assert_eq!(postponed.refusals(&Digest::of(&[b"y"]), at(0)), None);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_pause_longer() {
        let (content, mut postponed) = (Digest::of(&[b"x"]), Postponed::default());
        postponed.put_off(content, Vec::new(), at(1_000_000));
        assert_eq!(postponed.refusals(&content, at(0)), None);
    }

    #[test]
    fn forgets_what_need_not_wait_any_more() {
        let mut postponed = Postponed::default();
        let content = |number: usize| Digest::of(&[&number.to_be_bytes()]);
        for number in 0..MAX_REMEMBERED {
            postponed.put_off(content(number), Vec::new(), at(0));
        }
        postponed.put_off(content(MAX_REMEMBERED), Vec::new(), at(60));
        assert_eq!(postponed.0.len(), 1);
    }
}
