//! How much one namespace may take while its tiers are rebuilt, by its tests and by what does not fit together: meanwhile
//! every other change waits. All tiers of the namespace share it, or a tenant with many clients would have it many times.
//! How its time comes back, `share` says.

use std::time::Duration;

/// Runs of tests, looks at whether versions fit together, and the time for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) runs: u32,
    pub(super) time: Duration,
    /// Of the runs, those that do not end within their limits.
    pub(super) overruns: u32,
    /// How often it is looked whether some of a tier's versions fit where not all do, however large they are: a misfit
    /// among a thousand takes eleven looks.
    pub(super) looks: u32,
    /// And beyond that, at how many modules in all.
    pub(super) modules: usize,
    /// What was taken of the time, and beyond it.
    pub(super) taken: Duration,
}

impl Default for Allowance {
    /// A policy whose tests never end takes two runs of five seconds: one with all others, and one alone. As much again
    /// is for the others.
    fn default() -> Self {
        let (time, taken) = (Duration::from_secs(20), Duration::ZERO);
        Self { runs: 1_000, time, overruns: 12, looks: 32, modules: 100_000, taken }
    }
}

impl Allowance {
    /// Of who holds nobody up. Tests that do not end are few all the same, or there would be no answer.
    pub(super) fn of_one_alone() -> Self {
        let (time, looks, modules) = (Duration::MAX, u32::MAX, usize::MAX);
        Self { runs: u32::MAX, time, looks, modules, ..Self::default() }
    }

    /// Takes one run away, and what it took.
    pub(super) fn spend(&mut self, took: Duration) {
        self.runs = self.runs.saturating_sub(1);
        self.take(took);
    }

    /// Takes time away.
    pub(super) fn take(&mut self, took: Duration) {
        self.time = self.time.saturating_sub(took);
        self.taken = self.taken.saturating_add(took);
    }

    /// Takes one away of those that may not end.
    pub(super) fn overrun(&mut self) {
        self.overruns = self.overruns.saturating_sub(1);
    }

    /// Whether it may be looked once more whether versions with so many modules fit together; takes that away.
    pub(super) fn look(&mut self, modules: usize) -> bool {
        let may = !self.time.is_zero() && (self.looks > 0 || self.modules > 0);
        self.looks = self.looks.saturating_sub(1);
        self.modules = self.modules.saturating_sub(modules);
        may
    }

    /// Whether no more tests are run.
    pub(super) fn is_spent(&self) -> bool {
        self.runs == 0 || self.time.is_zero() || self.overruns == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_with_its_runs_or_with_its_time() {
        let of = |runs: u32, seconds: u64| {
            let time = Duration::from_secs(seconds);
            Allowance { runs, time, ..Allowance::default() }
        };
        let after = |mut allowance: Allowance, took: &[u64]| {
            took.iter().for_each(|seconds| allowance.spend(Duration::from_secs(*seconds)));
            allowance.is_spent()
        };
        assert!(!after(of(3, 10), &[5, 4]));
        assert!(after(of(3, 10), &[5, 5]), "no time is left");
        assert!(after(of(3, 10), &[5, 7]), "nor is there less than none");
        assert!(after(of(3, 10), &[0, 0, 0]), "no run is left");
    }

    #[test]
    fn looks_at_nothing_without_time_and_knows_what_was_taken_beyond_it() {
        let mut allowance = Allowance::default();
        assert!(allowance.look(1));
        allowance.take(Duration::from_secs(30));
        assert!(!allowance.look(1));
        assert_eq!(allowance.taken, Duration::from_secs(30));
    }

    #[test]
    fn is_never_spent_by_one_alone_but_for_what_does_not_end() {
        let mut allowance = Allowance::of_one_alone();
        allowance.spend(Duration::from_secs(24 * 60 * 60));
        assert!(!allowance.is_spent() && allowance.look(usize::MAX) && allowance.look(1));
        (0..12).for_each(|_| allowance.overrun());
        assert!(allowance.is_spent());
    }

    #[test]
    fn looks_a_few_times_at_what_is_large_and_often_at_what_is_small() {
        let looks = |modules: usize| {
            let mut allowance = Allowance { looks: 3, modules: 100, ..Allowance::default() };
            (0..1_000).take_while(|_| allowance.look(modules)).count()
        };
        assert_eq!((looks(1_000), looks(50), looks(1)), (3, 3, 100));
    }
}
