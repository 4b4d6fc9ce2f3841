//! What tests came to, so that the same are not run again.
//!
//! What stands is known for as long as it stands, however many tiers there are: no tenant's changes have the tests of
//! others run again. Of all else a number is known.

use std::collections::{BTreeMap, HashMap};

use super::publication::PassedTests;
use crate::{digest::Digest, policy_tests::TestSummary, refusal::Refusal, tiers::TierKey};

/// How many contents are remembered that do not stand.
const MAX_OTHERS: usize = 10_000;

/// What the tests of a tier came to.
#[derive(Debug, Clone)]
pub(super) struct Tested {
    /// What they say against it.
    pub(super) refusals: Vec<Refusal>,
    pub(super) summary: Option<TestSummary>,
}

impl Tested {
    pub(super) fn passed(summary: TestSummary) -> Self {
        Self { refusals: Vec::new(), summary: Some(summary) }
    }
}

/// What tests came to, by what identifies all that went into them.
#[derive(Debug, Default)]
pub(super) struct TestResults {
    standing: HashMap<Digest, Tested>,
    /// Which of them stands in which tier.
    of_tier: BTreeMap<TierKey, Digest>,
    others: HashMap<Digest, Tested>,
}

impl TestResults {
    pub(super) fn get(&self, content: &Digest) -> Option<&Tested> {
        self.standing.get(content).or_else(|| self.others.get(content))
    }

    pub(super) fn remember(&mut self, content: Digest, tested: Tested) {
        if self.others.len() >= MAX_OTHERS {
            self.others.clear();
        }
        self.others.insert(content, tested);
    }

    /// Takes note of what a tier that came into force passed. What stood in it before is one of the others.
    pub(super) fn stands(&mut self, tier: &TierKey, passed: Option<PassedTests>) {
        let content = passed.map(|passed| passed.content);
        let before = match content {
            Some(content) => self.of_tier.insert(tier.clone(), content),
            None => self.of_tier.remove(tier),
        };
        if before == content {
            return;
        }
        if let Some(before) = before
            && let Some(tested) = self.standing.remove(&before)
        {
            self.remember(before, tested);
        }
        if let Some(PassedTests { content, summary }) = passed {
            self.others.remove(&content);
            self.standing.insert(content, Tested::passed(summary));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{
        policies::{PublishedTier, Remembered},
        tests::policies,
    };

    fn tier(number: usize) -> TierKey {
        TierKey::Namespace(format!("team-{number}"))
    }

    fn content(number: usize) -> Digest {
        Digest::of(&[&number.to_be_bytes()])
    }

    fn passed(number: usize) -> PassedTests {
        PassedTests { content: content(number), summary: TestSummary { passed: 1, covered_percent: 1 } }
    }

    #[test]
    fn forgets_nothing_that_stands_whatever_others_change() {
        let mut results = TestResults::default();
        for number in 0..2 * MAX_OTHERS {
            let PassedTests { content, summary } = passed(number);
            results.remember(content, Tested::passed(summary));
            results.stands(&tier(number), Some(passed(number)));
        }
        for number in 2 * MAX_OTHERS..=4 * MAX_OTHERS {
            results.remember(content(number), Tested { refusals: Vec::new(), summary: None });
        }
        assert!((0..2 * MAX_OTHERS).all(|number| results.get(&content(number)).is_some()));
        assert!(results.others.len() <= MAX_OTHERS);
    }

    #[test]
    fn keeps_one_a_tier_and_counts_what_stood_before_among_the_others() {
        let mut results = TestResults::default();
        for number in [1, 2, 2] {
            results.stands(&tier(0), Some(passed(number)));
        }
        assert_eq!((results.standing.len(), results.others.len()), (1, 1));
        results.stands(&tier(0), Some(passed(1)));
        assert!(results.standing.contains_key(&content(1)) && results.others.contains_key(&content(2)));
        assert_eq!((results.standing.len(), results.others.len()), (1, 1), "each is known once");
        results.stands(&tier(0), None);
        assert_eq!((results.standing.len(), results.of_tier.len(), results.others.len()), (0, 0, 2));
    }

    #[test]
    fn knows_after_a_start_what_every_tier_passed() {
        let published = |number| PublishedTier::of(Some(content(number)), false, Some(passed(number)), []);
        let tiers = (0..=MAX_OTHERS).map(|number| (tier(number), published(number))).collect();
        let mut policies = policies();
        policies.restore(Remembered { tiers, ..Remembered::default() });
        assert!((0..=MAX_OTHERS).all(|number| policies.tested.get(&content(number)).is_some()));
    }
}
