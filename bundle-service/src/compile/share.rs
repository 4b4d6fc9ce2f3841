//! How much of the time a namespace may take in the long run. What it may take in one change comes back slowly, so that
//! whoever changes something all the time takes no more than their share.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::{Policies, allowance::Allowance};

/// A namespace may have one part of so many of the time.
const PARTS: u32 = 10;

/// By when what each namespace took is made up for. The global tier counts as one.
#[derive(Debug, Default)]
pub(super) struct Shares(BTreeMap<Option<String>, SystemTime>);

impl Shares {
    /// What a namespace may take at a time, of what it may take at most.
    fn left(&self, namespace: Option<&str>, most: Duration, now: SystemTime) -> Duration {
        most.saturating_sub(self.owed(namespace, most, now) / PARTS)
    }

    /// Remembers what it took, which may be more than it had.
    fn take(&mut self, namespace: Option<&str>, took: Duration, most: Duration, now: SystemTime) {
        let owed = self.owed(namespace, most, now).saturating_add(took.saturating_mul(PARTS));
        self.0.retain(|_, until| *until > now);
        if let Some(until) = now.checked_add(owed.min(longest(most))) {
            self.0.insert(namespace.map(str::to_owned), until);
        }
    }

    /// Lets a namespace have all that it may have at once.
    pub(super) fn forget(&mut self, namespace: Option<&str>) {
        self.0.remove(&namespace.map(str::to_owned));
    }

    /// For how long it would take nothing before it had the most again.
    fn owed(&self, namespace: Option<&str>, most: Duration, now: SystemTime) -> Duration {
        let until = self.0.get(&namespace.map(str::to_owned));
        let owed = until.and_then(|until| until.duration_since(now).ok()).unwrap_or_default();
        owed.min(longest(most))
    }
}

/// The longest that is owed: twice what may be taken at once, also where a clock was set back.
fn longest(most: Duration) -> Duration {
    most.saturating_mul(2 * PARTS)
}

impl Policies {
    /// What a namespace may take in a change at this moment.
    pub(super) fn allowance_of(&self, namespace: Option<&str>) -> Allowance {
        let time = self.shares.left(namespace, self.allowance.time, self.now);
        Allowance { time, ..self.allowance }
    }

    /// Remembers what namespaces took in a change.
    pub(super) fn settle(&mut self, left: &BTreeMap<Option<String>, Allowance>) {
        for (namespace, left) in left.iter().filter(|(_, left)| !left.taken.is_zero()) {
            self.shares.take(namespace.as_deref(), left.taken, self.allowance.time, self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::UNIX_EPOCH};

    use super::*;
    use crate::{
        compile::{
            Standing,
            choice::Choice,
            testing::is_untested,
            tests::{policies, set},
        },
        policy::ResourceKey,
        policy_tests::{TestFailure, TestReport, TestRequest, Tester},
        source::Change,
    };

    const MOST: Duration = Duration::from_secs(20);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn what_was_taken_comes_back_by_a_tenth_of_the_time_and_never_beyond_the_most() {
        let mut shares = Shares::default();
        let left = |shares: &Shares, now: u64| shares.left(Some("a"), MOST, at(now));
        shares.take(Some("a"), seconds(15), MOST, at(0));
        assert_eq!([0, 10, 150, 1_000].map(|now| left(&shares, now)), [5, 6, 20, 20].map(seconds));
        assert_eq!(shares.left(Some("b"), MOST, at(0)), MOST);
        assert_eq!(shares.left(None, MOST, at(0)), MOST);
        shares.take(Some("a"), seconds(10), MOST, at(0));
        assert_eq!([0, 50, 60].map(|now| left(&shares, now)), [0, 0, 1].map(seconds), "more than it had");
    }

    #[test]
    fn takes_no_more_than_a_tenth_in_the_long_run() {
        let mut shares = Shares::default();
        let day = 24 * 60 * 60;
        let mut taken = Duration::ZERO;
        for now in 0..day {
            // Five seconds whenever there is anything left.
            if !shares.left(Some("a"), MOST, at(now)).is_zero() {
                shares.take(Some("a"), seconds(5), MOST, at(now));
                taken += seconds(5);
            }
        }
        let tenth = seconds(day / 10);
        assert!(taken <= tenth + MOST + seconds(5) && taken >= tenth, "{taken:?}");
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nobody_waiting() {
        let mut shares = Shares::default();
        shares.take(Some("a"), seconds(20), MOST, at(1_000_000));
        shares.take(Some("a"), seconds(1), MOST, at(0));
        assert!(!shares.left(Some("a"), MOST, at(400)).is_zero());
    }

    #[test]
    fn one_alone_has_no_end_of_it() {
        let mut shares = Shares::default();
        shares.take(None, seconds(1_000_000), Duration::MAX, at(0));
        assert!(!shares.left(None, Duration::MAX, at(0)).is_zero());
    }

    /// Passes everything.
    #[derive(Debug)]
    struct Passing;

    impl Tester for Passing {
        fn run(&self, _: &TestRequest) -> Result<TestReport, TestFailure> {
            Ok(TestReport::default())
        }
    }

    fn policy(namespace: &str, version: u32) -> Change {
        let text = format!("package authbridge.ns.a\n\nx := {version}\n");
        let test = format!("package authbridge.ns.a_test\n\ntest_x if data.authbridge.ns.a.x == {version}\n");
        set(&format!("{namespace}/p:namespace"), &[("a.rego", &text), ("a_test.rego", &test)])
    }

    fn is_newest(policies: &Policies, namespace: &str) -> bool {
        let verdict = policies.verdict(&ResourceKey::new(namespace, "p")).unwrap();
        matches!(verdict.standing, Standing::Newest { .. })
    }

    #[test]
    fn who_changes_something_all_the_time_waits_and_others_do_not() {
        let mut policies = policies().with_tester(Arc::new(Passing));
        // Every run takes more, and all that it may owe.
        policies.allowance.time = Duration::from_nanos(1);
        policies.apply(&[policy("team-a", 1)]);
        assert!(is_newest(&policies, "team-a"));
        for version in 2..4 {
            policies.apply(&[policy("team-a", version), policy("team-b", 1)]);
            assert!(!is_newest(&policies, "team-a") && is_newest(&policies, "team-b"));
            assert!(policies.refusals().iter().all(is_untested), "{:?}", policies.refusals());
            assert!(policies.to_try_again().is_empty(), "it has no time for a turn");
        }
        policies.set_time(at(1));
        let tiers = policies.to_try_again();
        policies.try_again(&tiers);
        assert!(is_newest(&policies, "team-a"), "{:?}", policies.refusals());
        assert!(policies.to_try_again().is_empty());
    }

    #[test]
    fn keeps_no_administrator_from_a_choice() {
        let key = ResourceKey::new("team-a", "p");
        let mut elsewhere = policies();
        elsewhere.apply(&[policy("team-a", 9)]);
        let chosen = elsewhere.resources[&key].good.as_ref().unwrap().stored.clone();
        let mut policies = policies().with_tester(Arc::new(Passing));
        policies.allowance.time = Duration::from_nanos(1);
        policies.apply(&[policy("team-a", 1)]);
        assert!(policies.allowance_of(Some("team-a")).is_spent());
        policies.choose(&[(key.clone(), Choice::Version(chosen))], "user 0: test").unwrap();
        let standing = policies.verdict(&key).unwrap().standing;
        assert!(matches!(standing, Standing::RolledBack { .. }), "{standing:?}");
    }
}
