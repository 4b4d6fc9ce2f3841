//! How much the tests of one namespace may take while its tiers are rebuilt: meanwhile every other change waits. All tiers
//! of the namespace share it, or a tenant with many clients would have it many times.

use std::time::Duration;

/// Runs of tests, and the time for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) runs: u32,
    pub(super) time: Duration,
    /// Of the runs, those that do not end within their limits.
    pub(super) overruns: u32,
}

impl Default for Allowance {
    /// A policy whose tests never end takes two runs of five seconds: one with all others, and one alone. As much again
    /// is for the others.
    fn default() -> Self {
        Self { runs: 1_000, time: Duration::from_secs(20), overruns: 12 }
    }
}

impl Allowance {
    /// Takes one run away, and what it took.
    pub(super) fn spend(&mut self, took: Duration) {
        self.runs = self.runs.saturating_sub(1);
        self.time = self.time.saturating_sub(took);
    }

    /// Takes one away of those that may not end.
    pub(super) fn overrun(&mut self) {
        self.overruns = self.overruns.saturating_sub(1);
    }

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
}
