//! What a start waits for. Tests that passed before it are not run again, and those of a tier that stood are not waited for:
//! its last good versions stand meanwhile. What never stood would deny, so its tests are run first, within limits; where
//! these are too narrow, they go on until none of it waits.

use std::{collections::BTreeSet, time::Duration};

use super::{
    policies::{Policies, Touched},
    resource::Resource,
    testing::is_out_of_time,
};
use crate::{policy::ResourceKey, tiers::TierKey};

/// How long a start waits for the tests of tiers that did not stand before it, of all namespaces together.
pub(super) const TIME: Duration = Duration::from_secs(60);

impl Policies {
    /// Whether a tier denies because its tests have not run for lack of time, and may have its turn now.
    pub(crate) fn awaits_first_tests(&self) -> bool {
        let lacks_time = |tier: &TierKey, name: &ResourceKey| {
            let refusals = self.resources.get(name).map_or(&[][..], Resource::wanted_refusals);
            self.waits_untried(tier, name) == Some(true) && refusals.iter().any(is_out_of_time)
        };
        self.members.iter().any(|(tier, members)| {
            self.tier(tier).is_some_and(|tier| tier.denied.is_some())
                && !self.allowance_of(tier.namespace()).is_spent()
                && members.iter().any(|name| lacks_time(tier, name))
        })
    }

    /// Rebuilds tiers, by what a source said; if that was the first time, without what a start does not wait for.
    pub(super) fn rebuild_heard(&mut self, waiting: Touched) -> BTreeSet<TierKey> {
        self.starting = self.start.take();
        let touched = self.rebuild_all(waiting);
        self.starting = None;
        touched
    }

    /// Whether the tests of a tier wait for its namespace's turn.
    pub(super) fn are_tests_deferred(&self, tier: &TierKey) -> bool {
        let stood = || self.published.get(tier).is_some_and(|tier| tier.digest.is_some() && !tier.denied);
        self.starting.is_some_and(|left| left.is_zero() || stood())
    }

    /// Remembers of a tier that was rebuilt whether its tests still have to run, and how long it took.
    pub(super) fn note_tests(&mut self, tier: &TierKey, took: Duration) {
        self.starting = self.starting.map(|left| left.saturating_sub(took));
        if self.unrun {
            self.untested.insert(tier.clone());
        } else {
            self.untested.remove(tier);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::{SystemTime, UNIX_EPOCH},
    };

    use super::*;
    use crate::{
        catalog::Catalog,
        compile::{
            Standing,
            tests::{policies, set},
        },
        history::{History, HistoryLimits},
        policy_tests::{TestFailure, TestReport, TestRequest, Tester, worker},
        source::{Batch, Change},
    };

    /// Runs tests in this process, and counts how often.
    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl Tester for Counting {
        fn run(&self, request: &TestRequest) -> Result<TestReport, TestFailure> {
            self.0.fetch_add(1, Ordering::Relaxed);
            worker::report(request).map_err(TestFailure::Load)
        }
    }

    impl Counting {
        fn runs(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn counted() -> (Policies, Arc<Counting>) {
        let counting = Arc::new(Counting::default());
        (policies().with_tester(Arc::clone(&counting) as Arc<dyn Tester>), counting)
    }

    /// Starts with what a folder holds, takes in what the source has, and writes down what came of it.
    fn start(folder: &Path, changes: &[Change]) -> (Policies, Arc<Counting>) {
        let limits = HistoryLimits::default();
        let (mut history, opened) = History::open(folder, "secplane-system", limits, UNIX_EPOCH).unwrap();
        let (mut policies, counting) = counted();
        policies.restore(opened.remembered);
        policies.take_in(changes, &[]);
        history.publish(&policies.take_journal().publications, UNIX_EPOCH).unwrap();
        (policies, counting)
    }

    fn policy(namespace: &str, version: u32) -> Change {
        let text = format!("package authbridge.ns.a\n\nx := {version}\n");
        let test = format!("package authbridge.ns.a_test\n\ntest_x if data.authbridge.ns.a.x == {version}\n");
        set(&format!("{namespace}/p:namespace"), &[("a.rego", &text), ("a_test.rego", &test)])
    }

    fn standing(policies: &Policies, namespace: &str) -> Standing {
        policies.verdict(&ResourceKey::new(namespace, "p")).unwrap().standing
    }

    fn is_newest(policies: &Policies, namespace: &str) -> bool {
        matches!(standing(policies, namespace), Standing::Newest { .. })
    }

    fn take_turn(policies: &mut Policies) {
        let tiers = policies.to_try_again();
        policies.try_again(&tiers);
    }

    #[test]
    fn runs_nothing_again_that_passed_before() {
        let folder = tempfile::tempdir().unwrap();
        let namespaces: Vec<String> = (0..20).map(|number| format!("team-{number}")).collect();
        let changes: Vec<Change> = namespaces.iter().map(|namespace| policy(namespace, 1)).collect();
        for runs in [20, 0, 0] {
            let (policies, counting) = start(folder.path(), &changes);
            assert_eq!(counting.runs(), runs);
            assert!(namespaces.iter().all(|namespace| is_newest(&policies, namespace)));
            let tests = policies.verdict(&ResourceKey::new("team-0", "p")).unwrap().tests;
            assert_eq!(tests.map(|tests| tests.passed), Some(1), "what they came to is known");
            assert!(policies.to_try_again().is_empty());
        }
    }

    #[test]
    fn waits_for_no_tests_where_an_earlier_version_stands() {
        let folder = tempfile::tempdir().unwrap();
        drop(start(folder.path(), &[policy("team-a", 1)]));
        let (mut policies, counting) = start(folder.path(), &[policy("team-a", 2), policy("team-b", 1)]);
        assert!(matches!(standing(&policies, "team-a"), Standing::Earlier { .. }), "nothing is untested");
        assert!(is_newest(&policies, "team-b"), "it would have denied");
        assert_eq!(counting.runs(), 1);
        take_turn(&mut policies);
        assert!(is_newest(&policies, "team-a"), "{:?}", policies.refusals());
        assert_eq!(counting.runs(), 2);
        assert!(policies.to_try_again().is_empty());
        policies.take_in(&[policy("team-a", 3)], &[]);
        assert!(is_newest(&policies, "team-a"), "the start is over");
    }

    #[test]
    fn denies_what_there_was_no_time_to_test_until_its_turn() {
        let (mut policies, counting) = counted();
        policies.start = Some(Duration::ZERO);
        policies.take_in(&[policy("team-a", 1)], &[]);
        assert!(matches!(standing(&policies, "team-a"), Standing::Denied { .. }));
        assert_eq!(counting.runs(), 0);
        take_turn(&mut policies);
        assert!(is_newest(&policies, "team-a"), "{:?}", policies.refusals());
    }

    #[tokio::test]
    async fn goes_on_until_what_never_stood_was_tested() {
        let (mut policies, counting) = counted();
        policies.start = Some(Duration::ZERO);
        let catalog = Catalog::remembering(policies, None, Arc::new(SystemTime::now));
        let batch = |version| Batch { changes: vec![policy("team-a", version)], ..Batch::default() };
        let applied = catalog.apply(batch(1)).await.unwrap();
        assert_eq!(applied.refusals[0].code, "test_budget", "{:?}", applied.refusals);
        assert!(catalog.is_ready() && catalog.is_starting());
        let tried = catalog.try_again().await.unwrap().unwrap();
        assert_eq!((tried.refusals, counting.runs()), (Vec::new(), 1));
        assert!(!catalog.is_starting());
        catalog.apply(batch(2)).await.unwrap();
        assert!(!catalog.is_starting(), "what is over stays so");
    }

    #[test]
    fn goes_on_for_nothing_that_stands_nor_for_tests_that_cannot_run() {
        #[derive(Debug)]
        struct NoChild;
        impl Tester for NoChild {
            fn run(&self, _: &TestRequest) -> Result<TestReport, TestFailure> {
                Err(TestFailure::Start("no child".to_owned()))
            }
        }
        let mut childless = policies().with_tester(Arc::new(NoChild));
        childless.take_in(&[policy("team-a", 1)], &[]);
        assert!(matches!(standing(&childless, "team-a"), Standing::Denied { .. }));
        assert!(!childless.awaits_first_tests(), "it would be tried in vain without a pause");
        let folder = tempfile::tempdir().unwrap();
        drop(start(folder.path(), &[policy("team-a", 1)]));
        let (stood, _) = start(folder.path(), &[policy("team-a", 2)]);
        assert!(!stood.to_try_again().is_empty() && !stood.awaits_first_tests());
    }

    /// Of an earlier release, whose history does not say what tests came to.
    #[test]
    fn runs_tests_of_which_nothing_is_known_after_the_start() {
        let (folder, changes) = (tempfile::tempdir().unwrap(), [policy("team-a", 1)]);
        let open = || {
            let limits = HistoryLimits::default();
            History::open(folder.path(), "secplane-system", limits, UNIX_EPOCH).unwrap()
        };
        let (mut earlier, _) = counted();
        earlier.take_in(&changes, &[]);
        let mut published = earlier.take_journal().publications;
        published.iter_mut().for_each(|publication| publication.tests = None);
        open().0.publish(&published, UNIX_EPOCH).unwrap();

        let (mut history, opened) = open();
        let (mut policies, counting) = counted();
        policies.restore(opened.remembered);
        policies.take_in(&changes, &[]);
        assert!(is_newest(&policies, "team-a"), "it stood");
        assert_eq!((counting.runs(), policies.take_journal().publications.len()), (0, 0));
        take_turn(&mut policies);
        assert_eq!(counting.runs(), 1);
        assert!(policies.to_try_again().is_empty());
        let published = policies.take_journal().publications;
        assert_eq!(published.len(), 1, "what they came to is written down");
        history.publish(&published, UNIX_EPOCH).unwrap();
        policies.apply(&changes);
        assert_eq!(policies.take_journal().publications, [], "once");
        drop(history);

        let (policies, counting) = start(folder.path(), &changes);
        assert_eq!(counting.runs(), 0);
        assert!(policies.to_try_again().is_empty());
        assert_eq!(open().1.remembered.tiers.len(), 1);
    }
}
