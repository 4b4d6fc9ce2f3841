//! What has its turn in a tier, and in what order.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    allowance::Allowance,
    choice::Choice,
    misfits::is_unjudged,
    testing::is_untested,
    tests::{large, policies, set, settings},
    *,
};
use crate::{
    policy::ResourceKey,
    policy_tests::{TestFailure, TestReport, TestRequest, Tester, worker},
};

const VALUE: &str = "package authbridge.ns.lib\n\nhelper := 1\n";
const FUNCTION: &str = "package authbridge.ns.lib\n\nhelper(x) := x\n";

/// Runs tests in this process, except those that never end.
#[derive(Debug)]
struct Ending;

impl Tester for Ending {
    fn run(&self, request: &TestRequest) -> Result<TestReport, TestFailure> {
        match request.tests.iter().any(|test| test.text.contains("test_endless")) {
            true => Err(TestFailure::Limits("5s were over".to_owned())),
            false => worker::report(request).map_err(TestFailure::Load),
        }
    }
}

/// Has time for all of them.
#[derive(Debug)]
struct Idle;

impl Tester for Idle {
    fn run(&self, request: &TestRequest) -> Result<TestReport, TestFailure> {
        worker::report(request).map_err(TestFailure::Load)
    }
}

fn tested() -> Policies {
    policies().with_tester(Arc::new(Ending))
}

fn policy(name: &str, content: &str) -> Change {
    set(&format!("team-a/{name}:namespace"), &[("a.rego", content)])
}

/// A policy that goes with one test.
fn with_test(name: &str, test: &str) -> Change {
    let package = format!("package authbridge.ns.{name}\n\nx := 1\n");
    let test = format!("package authbridge.ns.{name}_test\n\n{test}\n");
    set(&format!("team-a/{name}:namespace"), &[("a.rego", &package), ("a_test.rego", &test)])
}

fn stands(policies: &Policies, name: &str) -> bool {
    let verdict = policies.verdict(&ResourceKey::new("team-a", name)).unwrap();
    matches!(verdict.standing, Standing::Newest { .. })
}

fn take_turn(policies: &mut Policies) {
    let tiers = policies.to_try_again();
    policies.try_again(&tiers);
}

#[test]
fn misfits_that_are_known_use_up_nothing_that_others_wait_for() {
    let mut policies = tested();
    policies.allowance = Allowance { looks: 6, modules: 0, ..Allowance::default() };
    policies.apply(&[policy("s", VALUE)]);
    let mut changes: Vec<Change> = (0..4).map(|n| policy(&format!("m{n}"), FUNCTION)).collect();
    changes.push(with_test("t", "test_x if false"));
    changes.push(with_test("z", "test_x if true"));
    policies.apply(&changes);
    assert!(!stands(&policies, "z"), "there were no looks for it");
    (0..8).for_each(|_| take_turn(&mut policies));
    assert!(stands(&policies, "z"), "{:?}", policies.refusals());
    assert!(!policies.refusals().iter().any(is_untested), "{:?}", policies.refusals());
    assert!(policies.to_try_again().is_empty());
}

/// What was refused may have needed what nobody had looked at.
#[test]
fn what_was_refused_has_a_turn_beside_what_came_after_it() {
    let mut policies = policies();
    policies.allowance = Allowance { looks: 2, modules: 0, ..Allowance::default() };
    policies.apply(&[policy("s", VALUE)]);
    // The function is not there yet when its user is looked at, and is not looked at itself.
    let user = "package authbridge.ns.a\n\nx := data.authbridge.ns.functions.f(1)\n";
    policies.apply(&[
        policy("a", user),
        policy("m", FUNCTION),
        policy("z", "package authbridge.ns.functions\n\nf(x) := x\n"),
    ]);
    assert!(!stands(&policies, "a") && !stands(&policies, "z"));
    policies.allowance.looks = 8;
    (0..4).for_each(|_| take_turn(&mut policies));
    assert!(stands(&policies, "z") && stands(&policies, "a"), "{:?}", policies.refusals());
    assert!(policies.to_try_again().is_empty());
}

#[test]
fn what_was_never_tested_comes_before_what_did_not_end() {
    let mut policies = tested();
    policies.apply(&[with_test("p", "test_x if true")]);
    policies.allowance = Allowance { runs: 3, ..Allowance::default() };
    let endless = "test_endless if true";
    policies.apply(&[with_test("a", endless), with_test("b", endless), with_test("q", "test_x if true")]);
    assert!(!stands(&policies, "q"), "there was no time for it");
    policies.set_time(UNIX_EPOCH + Duration::from_secs(60));
    take_turn(&mut policies);
    assert!(stands(&policies, "q"), "{:?}", policies.refusals());
    assert!(!stands(&policies, "a") && !stands(&policies, "b"));
}

/// Of a release that ran no tests, or of a machine that is busy since.
#[test]
fn what_stood_is_told_that_its_tests_do_not_end_and_they_run_again_after_their_pause() {
    let mut policies = policies();
    policies.apply(&[with_test("a", "test_endless if true"), policy("s", VALUE)]);
    policies.tester = Some(Arc::new(Ending));
    policies.apply(&[policy("s", VALUE)]);
    let told = |policies: &Policies, name: &str| -> Vec<String> {
        let verdict = policies.verdict(&ResourceKey::new("team-a", name)).unwrap();
        assert_eq!(verdict.refusals, []);
        verdict.warnings.into_iter().map(|warning| warning.code).collect()
    };
    assert!(stands(&policies, "a") && stands(&policies, "s"));
    assert_eq!((told(&policies, "a"), told(&policies, "s")), (vec!["test_limits".to_owned()], Vec::new()));
    assert!(policies.to_try_again().is_empty(), "its pause is not over");
    policies.set_time(UNIX_EPOCH + Duration::from_secs(60));
    policies.tester = Some(Arc::new(Idle));
    take_turn(&mut policies);
    assert_eq!(told(&policies, "a"), Vec::<String>::new());
    let tests = policies.verdict(&ResourceKey::new("team-a", "a")).unwrap().tests;
    assert_eq!(tests.map(|tests| tests.passed), Some(1));
    assert!(policies.to_try_again().is_empty());
}

/// There may be as many of them as a tier holds.
#[test]
fn what_is_passed_over_is_judged_in_turns() {
    let names = ["a", "b", "c"];
    let mut policies = policies();
    policies.apply(&names.map(|name| policy(name, &format!("package authbridge.ns.{name}\n\nx := 1\n"))));
    let choices = names.map(|name| (ResourceKey::new("team-a", name), Choice::LeftOut));
    policies.choose(&choices, "user 0: test").unwrap();
    assert_eq!(policies.to_try_again(), BTreeSet::new());
    policies.allowance = Allowance { looks: 1, modules: 0, ..Allowance::default() };
    policies.apply(&[policy("s", VALUE)]);
    for left in [2, 1, 0] {
        let unjudged = policies.refusals().iter().filter(|refusal| is_unjudged(refusal)).count();
        assert_eq!(unjudged, left, "{:?}", policies.refusals());
        assert_eq!(policies.to_try_again().is_empty(), left == 0);
        take_turn(&mut policies);
    }
}

/// What stood does not fit any more where what is above it grew, and a part of it comes back beside what changes then.
#[test]
fn nothing_comes_into_force_beside_what_comes_back_and_fails_its_tests_with_it() {
    const LIMIT: usize = 64 * 1024;
    let mut policies = Policies::new(Settings { bundle_size_limit: LIMIT, ..settings() });
    policies = policies.with_tester(Arc::new(Ending));
    let global = |bytes| set("secplane-system/g:global", &[("a.rego", &large("authbridge.noise", bytes))]);
    let r = |test: &str| {
        let test = format!("package authbridge.ns.r_test\n\n{test}\n");
        let modules = [("a.rego", large("authbridge.ns.r", LIMIT / 4)), ("a_test.rego", test)];
        let modules: Vec<(&str, &str)> = modules.iter().map(|(path, text)| (*path, text.as_str())).collect();
        set("team-a/r:namespace", &modules)
    };
    policies.apply(&[
        policy("p", &large("authbridge.ns.p", LIMIT / 4)),
        r("test_r if not data.authbridge.ns.p.bad"),
    ]);
    assert!(stands(&policies, "p") && stands(&policies, "r"), "{:?}", policies.refusals());
    policies.apply(&[global(LIMIT / 2)]);
    assert!(!stands(&policies, "r"), "there is no place for both");
    policies.apply(&[policy("p", "package authbridge.ns.p\n\nbad := true\n"), r("test_r if false")]);
    for name in ["p", "r"] {
        let verdict = policies.verdict(&ResourceKey::new("team-a", name)).unwrap();
        assert_eq!(verdict.refusals[0].code, "test", "{verdict:?}");
        assert!(matches!(verdict.standing, Standing::Denied { .. }), "{verdict:?}");
    }
    policies.apply(&[policy("p", "package authbridge.ns.p\n\ngood := true\n")]);
    assert!(stands(&policies, "p"), "{:?}", policies.refusals());
}
