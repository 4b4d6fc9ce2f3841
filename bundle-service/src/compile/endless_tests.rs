//! Tests that never end: what they cost, and whom they must not hold up.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use super::{
    allowance::Allowance,
    content_tests::{ALLOW_GET, TEST_GET},
    tests::{policies, set},
    *,
};
use crate::{
    policy::ResourceKey,
    policy_tests::{TestFailure, TestReport, TestRequest, Tester, worker},
};

/// Runs tests in this process, except those that never end, or not where somebody made it so, or not with others that
/// are slow too. It counts how often that was.
#[derive(Debug, Default)]
struct Watchful(Mutex<usize>);

impl Tester for Watchful {
    fn run(&self, request: &TestRequest) -> Result<TestReport, TestFailure> {
        let tests = |name: &str| request.tests.iter().filter(|test| test.text.contains(name)).count();
        let stuck = tests("test_waits") > 0 && request.modules.iter().any(|it| it.text.contains("forever"));
        if tests("test_endless") == 0 && tests("test_slow") < 2 && !stuck {
            return worker::report(request).map_err(TestFailure::Load);
        }
        *self.0.lock().unwrap() += 1;
        Err(TestFailure::Limits("5s were over".to_owned()))
    }
}

/// Policies of which `p` stands, with a test.
fn tested() -> (Policies, Arc<Watchful>) {
    let watchful = Arc::new(Watchful::default());
    let mut policies = policies().with_tester(Arc::clone(&watchful) as Arc<dyn Tester>);
    policies.apply(&[good("p", 1)]);
    assert!(stands(&policies, "p"));
    (policies, watchful)
}

/// A policy that passes its tests, in one of its versions.
fn good(name: &str, version: u32) -> Change {
    let package = format!("package authbridge.ns.{name}\n\nx := {version}\n");
    let test = TEST_GET.replace("request_test", &format!("{name}_test"));
    let modules = [("a.rego", package.as_str()), ("a_test.rego", test.as_str())];
    match name {
        "p" => {
            let request = format!("{ALLOW_GET}\nx := {version}\n");
            set("team-a/p:namespace", &[("inbound/request.rego", &request), modules[1]])
        }
        name => set(&format!("team-a/{name}:namespace"), &modules),
    }
}

/// A policy whose tests never end.
fn endless(name: &str) -> Change {
    with_test(name, "test_endless")
}

/// A policy that goes with one test.
fn with_test(name: &str, test: &str) -> Change {
    let package = format!("package authbridge.ns.{name}\n\nx := 1\n");
    let test = format!("package authbridge.ns.{name}_test\n\n{test} if true\n");
    set(&format!("team-a/{name}:namespace"), &[("a.rego", &package), ("a_test.rego", &test)])
}

fn global(number: u32) -> Change {
    let content = format!("package authbridge.inbound.request\n\nallow if input.n == {number}\n");
    set("secplane-system/g:global", &[("a.rego", &content)])
}

fn stands(policies: &Policies, name: &str) -> bool {
    let verdict = policies.verdict(&ResourceKey::new("team-a", name)).unwrap();
    matches!(verdict.standing, Standing::Newest { .. })
}

/// A client policy in its namespace, with that test.
fn client(name: &str, test: &str) -> Change {
    let test = format!("package authbridge.client.t_test\n\n{test} if true\n");
    let policy = "package authbridge.client.inbound.request\n\nallow := true\n";
    set(&format!("{name}:client"), &[("a.rego", policy), ("a_test.rego", &test)])
}

/// Lets the namespace whose turn it is try again, and says which it is.
fn take_turn(policies: &mut Policies) -> Option<String> {
    let tiers = policies.to_try_again();
    policies.try_again(&tiers);
    tiers.first().and_then(|tier| tier.namespace().map(str::to_owned))
}

fn codes(policies: &Policies) -> Vec<String> {
    policies.refusals().into_iter().map(|refusal| refusal.code).collect()
}

#[test]
fn a_change_beside_tests_that_never_end_is_made() {
    let (mut policies, endless_runs) = tested();
    policies.apply(&[endless("a"), good("q", 1)]);
    assert!(stands(&policies, "q") && !stands(&policies, "a"));
    assert_eq!(codes(&policies), ["test_limits"]);
    assert_eq!(*endless_runs.0.lock().unwrap(), 2, "with all, and alone");
    policies.apply(&[good("q", 2)]);
    assert!(stands(&policies, "q"));
    assert_eq!(codes(&policies), ["test_limits"]);
    assert_eq!(*endless_runs.0.lock().unwrap(), 2, "the change of another is no reason to try it again");
}

#[test]
fn a_change_above_runs_nothing_again_before_its_pause_is_over() {
    let (mut policies, endless_runs) = tested();
    policies.apply(&[endless("a"), good("q", 1)]);
    let before = *endless_runs.0.lock().unwrap();
    for number in 0..3 {
        policies.apply(&[global(number)]);
    }
    assert_eq!(*endless_runs.0.lock().unwrap(), before);
    policies.set_time(UNIX_EPOCH + Duration::from_secs(60));
    policies.apply(&[global(3)]);
    assert!(*endless_runs.0.lock().unwrap() > before);
    assert!(stands(&policies, "q"));
}

#[test]
fn tries_each_namespace_again_in_its_turn_without_a_change() {
    let (mut policies, endless_runs) = tested();
    policies.apply(&["team-a/one", "team-b/two"].map(|name| client(name, "test_endless")));
    assert!(policies.to_try_again().is_empty(), "their pauses are not over");
    policies.set_time(UNIX_EPOCH + Duration::from_secs(30));
    for (namespace, runs) in [("team-a", 3), ("team-b", 4)] {
        assert_eq!(take_turn(&mut policies).as_deref(), Some(namespace));
        assert_eq!(*endless_runs.0.lock().unwrap(), runs);
    }
    assert!(policies.to_try_again().is_empty());
}

/// Slow tests that end are many runs, or much time, in many tiers of one tenant.
#[test]
fn a_namespace_of_many_tiers_takes_no_more_than_one_of_few_and_no_more_turns() {
    let (mut policies, _) = tested();
    policies.allowance = Allowance { runs: 2, ..Allowance::default() };
    let many = |namespace: &str| -> Vec<Change> {
        ["a", "b", "c", "d", "e"].map(|name| client(&format!("{namespace}/{name}"), "test_good")).into()
    };
    let mut changes = [many("team-a"), many("team-b")].concat();
    changes.push(client("team-c/a", "test_good"));
    policies.apply(&changes);
    let standing = |policies: &Policies| {
        ["team-a", "team-b", "team-c"].map(|namespace| {
            let newest = |name: &str| {
                let verdict = policies.verdict(&ResourceKey::new(namespace, name));
                verdict.is_some_and(|verdict| matches!(verdict.standing, Standing::Newest { .. }))
            };
            ["a", "b", "c", "d", "e"].into_iter().filter(|name| newest(name)).count()
        })
    };
    assert_eq!(standing(&policies), [2, 2, 1]);
    let turns: Vec<Option<String>> = (0..4).map(|_| take_turn(&mut policies)).collect();
    let turns: Vec<Option<&str>> = turns.iter().map(Option::as_deref).collect();
    assert_eq!(turns, [Some("team-a"), Some("team-b"), Some("team-a"), Some("team-b")]);
    assert_eq!(standing(&policies), [5, 5, 1], "{:?}", policies.refusals());
    assert!(policies.to_try_again().is_empty());
}

#[test]
fn a_namespace_has_no_more_for_many_tiers() {
    let (mut policies, endless_runs) = tested();
    policies.allowance = Allowance { overruns: 2, ..Allowance::default() };
    let mut changes: Vec<Change> =
        ["team-a/a", "team-a/b", "team-a/c", "team-b/a"].map(|name| client(name, "test_endless")).into();
    changes.push(client("team-a/good", "test_good"));
    policies.apply(&changes);
    assert_eq!(*endless_runs.0.lock().unwrap(), 3, "two of one namespace, one of the other");
    assert!(!stands(&policies, "good"), "nothing is published untested");
    assert_eq!(take_turn(&mut policies).as_deref(), Some("team-a"));
    assert!(stands(&policies, "good"), "{:?}", policies.refusals());
}

#[test]
fn a_change_that_had_no_time_is_made_without_another() {
    let (mut policies, _) = tested();
    policies.allowance = Allowance { runs: 2, ..Allowance::default() };
    policies.apply(&[endless("a"), good("p", 2)]);
    assert_eq!(codes(&policies), ["test_limits", "test_budget"]);
    assert_eq!(take_turn(&mut policies).as_deref(), Some("team-a"));
    assert!(stands(&policies, "p"), "{:?}", policies.refusals());
    assert!(policies.to_try_again().is_empty());
}

#[test]
fn nobody_has_more_than_the_allowance_and_everybody_has_a_turn() {
    let (mut policies, endless_runs) = tested();
    policies.allowance = Allowance { runs: 3, ..Allowance::default() };
    policies.apply(&["a", "b", "c", "d", "e"].map(endless));
    assert_eq!(*endless_runs.0.lock().unwrap(), 3);
    assert_eq!(codes(&policies), ["test_limits", "test_limits", "test_budget", "test_budget", "test_budget"]);
    assert!(stands(&policies, "p"), "what was in force stays so");
    policies.apply(&[good("p", 2)]);
    assert_eq!(*endless_runs.0.lock().unwrap(), 6);
    assert_eq!(codes(&policies).last().map(String::as_str), Some("test_budget"), "{:?}", codes(&policies));
    policies.apply(&[good("p", 2)]);
    assert!(stands(&policies, "p"), "{:?}", policies.refusals());
}

/// Each ends within the limits by itself: that together they do not is nobody's fault.
#[test]
fn tests_that_end_apart_are_no_fault() {
    let (mut policies, _) = tested();
    policies.apply(&["a", "b"].map(|name| with_test(name, "test_slow")));
    assert_eq!(policies.refusals(), []);
    assert!(stands(&policies, "a") && stands(&policies, "b"));
    policies.apply(&[good("q", 1)]);
    assert!(stands(&policies, "q"), "{:?}", policies.refusals());
    let tests = policies.verdict(&ResourceKey::new("team-a", "q")).unwrap().tests.unwrap();
    assert_eq!(tests.passed, 6, "two of `p`, two of `q`, and the slow ones");
}

#[test]
fn puts_off_nobody_for_tests_that_did_not_end_before_either() {
    let mut policies = policies();
    policies.apply(&[good("p", 1), endless("s")]);
    policies.tester = Some(Arc::new(Watchful::default()));
    policies.apply(&[good("q", 1)]);
    assert!(!stands(&policies, "q"), "nothing is published untested");
    let refusals = policies.refusals();
    assert_eq!(codes(&policies), ["test_limits"]);
    assert!(refusals[0].message.contains("the tests of team-a/s"), "{refusals:?}");
    policies.apply(&[good("s", 1)]);
    assert!(stands(&policies, "s") && stands(&policies, "q"), "{:?}", policies.refusals());
}

#[test]
fn puts_off_what_keeps_the_tests_of_another_from_their_end() {
    let (mut policies, endless_runs) = tested();
    policies.apply(&[with_test("w", "test_waits")]);
    assert!(stands(&policies, "w"));
    policies.apply(&[set("team-a/f:namespace", &[("a.rego", "package authbridge.ns.f\n\nforever := 1\n")])]);
    assert!(!stands(&policies, "f") && stands(&policies, "w"));
    assert_eq!(codes(&policies), ["test_limits"]);
    assert!(policies.to_try_again().is_empty(), "its pause is not over");
    let before = *endless_runs.0.lock().unwrap();
    policies.apply(&[good("q", 1)]);
    assert!(stands(&policies, "q"), "{:?}", policies.refusals());
    assert_eq!(*endless_runs.0.lock().unwrap(), before);
}

/// Of those whose tests fail each is held against all that stands.
#[test]
fn goes_on_in_its_turn_where_too_many_tests_fail() {
    let (mut policies, _) = tested();
    policies.allowance = Allowance { looks: 2, modules: 0, ..Allowance::default() };
    policies.apply(&[
        with_test("a", "test_x if false # "),
        with_test("b", "test_x if false # "),
        good("q", 1),
    ]);
    assert_eq!(codes(&policies), ["test", "test", "fit_budget"]);
    assert_eq!(take_turn(&mut policies).as_deref(), Some("team-a"));
    assert!(stands(&policies, "q"), "{:?}", policies.refusals());
    assert_eq!(take_turn(&mut policies).as_deref(), Some("team-a"), "what has come may be what they need");
    assert_eq!(codes(&policies), ["test", "test"]);
    assert!(policies.to_try_again().is_empty());
}

/// Nothing of what stood is refused when its tests cannot be run, so it is the tier that waits.
#[test]
fn runs_the_tests_of_what_stood_as_soon_as_they_can_be() {
    #[derive(Debug)]
    struct NoChild;
    impl Tester for NoChild {
        fn run(&self, _: &TestRequest) -> Result<TestReport, TestFailure> {
            Err(TestFailure::Start("no child".to_owned()))
        }
    }
    let mut policies = policies();
    policies.apply(&[good("p", 1)]);
    policies.tester = Some(Arc::new(NoChild));
    policies.apply(&[good("p", 1)]);
    assert!(stands(&policies, "p"));
    let verdict = policies.verdict(&ResourceKey::new("team-a", "p")).unwrap();
    assert_eq!((verdict.refusals, verdict.warnings[0].code.as_str()), (Vec::new(), "test_start"));
    policies.tester = Some(Arc::new(Watchful::default()));
    assert_eq!(take_turn(&mut policies).as_deref(), Some("team-a"));
    assert_eq!(policies.refusals(), []);
    assert!(policies.to_try_again().is_empty());
}
