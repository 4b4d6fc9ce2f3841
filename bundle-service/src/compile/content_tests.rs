//! What goes into a bundle beside modules, until when it may be used, and what its tests keep out of it.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rstest::rstest;
use serde_json::{Value, json};

use super::{
    choice::Choice,
    tests::{allowed, decide, gone, id, object, policies, set, settings},
    *,
};
use crate::{
    policy::ResourceKey,
    policy_tests::{TestFailure, TestReport, TestRequest, Tester, worker},
};

const BY_ROLE: &str = "package authbridge.ns.inbound.request\n\ndefault allow := false\n\n\
                       allow if input.user in data.authbridge.ns.roles.admins\n";

#[test]
fn policies_decide_by_the_documents_beside_them() {
    let mut policies = policies();
    let roles = |users: &str| {
        set("team-a/p:namespace", &[("inbound/request.rego", BY_ROLE), ("roles/admins.json.rego", users)])
    };
    policies.apply(&[roles("[\"ann\"]")]);
    let bundle = policies.bundle(&id("team-a", "agent")).unwrap();
    let allows =
        |bundle: &Bundle, user: &str| decide(bundle, "inbound.request.allow", &json!({"user": user}));
    assert_eq!(allows(&bundle, "ann"), Some(json!(true)));
    assert_eq!(allows(&bundle, "eve"), Some(json!(false)));
    let archive = Archive::read(&bundle.bytes()).unwrap();
    assert!(
        archive.entries.iter().any(|entry| entry.name == "/authbridge/ns/data.json"),
        "{:?}",
        archive.entries
    );
    policies.apply(&[roles("[\"eve\"]")]);
    let after = policies.bundle(&id("team-a", "agent")).unwrap();
    assert_eq!(allows(&after, "eve"), Some(json!(true)));
    assert_ne!(after.revision(), bundle.revision());
}

#[test]
fn a_document_in_anothers_place_is_refused_where_it_came_from() {
    let mut policies = policies();
    policies.apply(&[set(
        "team-a/p:namespace",
        &[("inbound/request.rego", BY_ROLE), ("roles/admins.json.rego", "[]")],
    )]);
    let before = policies.bundle(&id("team-a", "agent")).unwrap();
    policies.apply(&[set("team-a/a-second:namespace", &[("roles.json.rego", "{\"admins\": [\"eve\"]}")])]);
    let refusals = policies.refusals();
    assert_eq!(refusals[0].code, "conflict", "{refusals:?}");
    assert_eq!(refusals[0].resource, Some(ResourceKey::new("team-a", "a-second")));
    assert_eq!(policies.bundle(&id("team-a", "agent")).unwrap().revision(), before.revision());
}

#[test]
fn a_bundle_says_whose_it_is() {
    let text = "package authbridge.ns.inbound.request\n\nimport data.authbridge.identity\n\ndefault allow := false\n\n\
                allow if identity.service_account == input.only\n";
    let mut policies = policies();
    policies.apply(&[set("team-a/p:namespace", &[("inbound/request.rego", text)])]);
    let (one, two) =
        (policies.bundle(&id("team-a", "one")).unwrap(), policies.bundle(&id("team-a", "two")).unwrap());
    let allows = |bundle: &Bundle| decide(bundle, "inbound.request.allow", &json!({"only": "one"}));
    assert_eq!((allows(&one), allows(&two)), (Some(json!(true)), Some(json!(false))));
    let foreign = SpiffeId::parse("spiffe://other.org/x").unwrap();
    let identity =
        Archive::read(&policies.bundle(&foreign).unwrap().bytes()).unwrap().data["authbridge"]["identity"]
            .clone();
    assert_eq!(identity, json!({"spiffe_id": "spiffe://other.org/x", "trust_domain": "other.org"}));
}

#[test]
fn a_bundle_tells_where_each_module_comes_from() {
    let mut policies = policies();
    policies.apply(&[set("team-a/p:namespace", &[("inbound/request.rego", BY_ROLE)])]);
    let archive = Archive::read(&policies.bundle(&id("team-a", "agent")).unwrap().bytes()).unwrap();
    for module in &archive.modules {
        let origin = &archive.origins[&module.name];
        assert_eq!(origin.resource.is_some(), !module.name.contains("completed"), "{}", module.name);
    }
    let own =
        archive.origins.values().find(|origin| origin.resource == Some(ResourceKey::new("team-a", "p")));
    assert_eq!(own.unwrap().path, "inbound/request.rego");
}

/// A tier is compressed once, whoever has it: bundles are its very bytes, one member after another.
#[test]
fn bundles_are_members_of_tiers_one_after_another() {
    let mut policies = policies();
    policies.apply(&[set("team-a/p:namespace", &[("inbound/request.rego", BY_ROLE)])]);
    let bytes =
        |policies: &mut Policies, account: &str| policies.bundle(&id("team-a", account)).unwrap().bytes();
    let (one, two) = (bytes(&mut policies, "one"), bytes(&mut policies, "two"));
    let gzip = [0x1f, 0x8b, 8];
    let members = one.windows(3).filter(|window| *window == gzip).count();
    assert!(members >= 4, "head, global, namespace, end: {members}");
    let shared = one.iter().rev().zip(two.iter().rev()).take_while(|(a, b)| a == b).count();
    assert!(shared > one.len() / 2, "all but the head is the same: {shared} of {}", one.len());
    assert_eq!(bytes(&mut policies, "one"), one, "the same content gives the same bytes");
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn a_bundle_ends_and_every_replica_agrees_when() {
    let hour = Settings { bundle_lifetime: Some(Duration::from_secs(3600)), ..settings() };
    let allow = "package authbridge.ns.inbound.request\n\nallow := true\n";
    let replica = |now: u64| {
        let mut policies = Policies::new(hour.clone());
        policies.set_time(at(now));
        policies.apply(&[set("team-a/p:namespace", &[("inbound/request.rego", allow)])]);
        policies.bundle(&id("team-a", "agent")).unwrap()
    };
    let bundle = replica(1_800_000_000);
    let end = bundle.not_after().unwrap();
    assert!((1_800_001_800..=1_800_003_600).contains(&end), "{end}");
    assert_eq!(replica(end - 1801).bytes(), bundle.bytes());
    assert_ne!(
        replica(end - 1800).etag(),
        bundle.etag(),
        "half a lifetime before its end there is a new one"
    );
    let archive = Archive::read(&bundle.bytes()).unwrap();
    assert_eq!(archive.manifest.metadata, json!({"not_after": end}));
    // These bundles end in 2027, as seen by the clock of today, or ended then.
    let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(decide(&replica(today), "inbound.request.allow", &json!({})), Some(json!(true)));
    let old = replica(today - 7200);
    assert_eq!(decide(&old, "inbound.request.allow", &json!({})), Some(json!(false)));
    let reason = decide(&old, "inbound.request.reason", &json!({})).unwrap();
    assert!(reason.as_str().unwrap().contains("out of date"), "{reason}");
}

#[test]
fn without_a_lifetime_nothing_ends() {
    let mut policies = policies();
    let bundle = policies.bundle(&id("team-a", "agent")).unwrap();
    assert_eq!(bundle.not_after(), None);
    assert_eq!(Archive::read(&bundle.bytes()).unwrap().manifest.metadata, Value::Null);
}

/// Runs tests in this process, and counts how often.
#[derive(Debug, Default)]
struct Here {
    runs: Mutex<usize>,
    busy: bool,
}

impl Tester for Here {
    fn run(&self, request: &TestRequest) -> Result<TestReport, TestFailure> {
        *self.runs.lock().unwrap() += 1;
        match self.busy {
            true => Err(TestFailure::Limits("5s were over".to_owned())),
            false => worker::report(request).map_err(TestFailure::Load),
        }
    }
}

fn tested() -> (Policies, Arc<Here>) {
    let here = Arc::new(Here::default());
    (policies().with_tester(Arc::clone(&here) as Arc<dyn Tester>), here)
}

pub(super) const ALLOW_GET: &str =
    "package authbridge.ns.inbound.request\n\ndefault allow := false\n\nallow if input.method == \"GET\"\n";
pub(super) const TEST_GET: &str = "package authbridge.ns.inbound.request_test\n\nimport data.authbridge.ns.inbound.request\n\n\
                        test_get if request.allow with input as {\"method\": \"GET\"}\n\n\
                        test_post if not request.allow with input as {\"method\": \"POST\"}\n";

#[test]
fn tests_run_and_stay_out_of_the_bundle() {
    let (mut policies, here) = tested();
    policies.apply(&[set(
        "team-a/p:namespace",
        &[("inbound/request.rego", ALLOW_GET), ("a_test.rego", TEST_GET)],
    )]);
    assert_eq!(policies.refusals(), []);
    assert!(allowed(&mut policies, &id("team-a", "agent")));
    assert_eq!(*here.runs.lock().unwrap(), 1);
    let tests = policies.verdict(&ResourceKey::new("team-a", "p")).unwrap().tests.unwrap();
    assert_eq!((tests.passed, tests.covered_percent), (2, 100));
    let archive = Archive::read(&policies.bundle(&id("team-a", "agent")).unwrap().bytes()).unwrap();
    assert!(archive.modules.iter().all(|module| !module.text.contains("test_get")));
    policies.apply(&[set("team-b/q:namespace", &[("inbound/request.rego", ALLOW_GET)])]);
    assert_eq!(*here.runs.lock().unwrap(), 1, "another's change is no reason to run them again");
    assert_eq!(policies.verdict(&ResourceKey::new("team-b", "q")).unwrap().tests, None);
}

#[test]
fn tests_of_what_was_left_out_are_not_those_of_its_tier() {
    let (mut policies, _) = tested();
    let helper = ("a.rego", "package authbridge.ns.lib\n\nx := 1\n");
    let test = "package authbridge.ns.lib_test\n\nimport data.authbridge.ns.lib\n\ntest_x if lib.x == 1\n";
    policies.apply(&[
        set("team-a/p:namespace", &[("inbound/request.rego", ALLOW_GET), ("a_test.rego", TEST_GET)]),
        set("team-a/q:namespace", &[helper, ("b_test.rego", test)]),
    ]);
    let tests = |policies: &Policies| -> Vec<String> {
        policies.tests().into_iter().flat_map(|(_, request)| request.tests).map(|test| test.name).collect()
    };
    assert_eq!(tests(&policies).len(), 2);
    policies.choose(&[(ResourceKey::new("team-a", "p"), Choice::LeftOut)], "user 0: test").unwrap();
    let left = tests(&policies);
    assert!(left.len() == 1 && left[0].starts_with("team-a/q:"), "{left:?}");
}

#[test]
fn a_failing_test_keeps_what_was_in_force() {
    let (mut policies, _) = tested();
    let with = |policy: &str| {
        set(
            "team-a/p:namespace",
            &[("inbound/request.rego", policy), ("inbound/request_test.rego", TEST_GET)],
        )
    };
    policies.apply(&[with(ALLOW_GET)]);
    let before = policies.bundle(&id("team-a", "agent")).unwrap();
    policies.apply(&[with(&ALLOW_GET.replace("GET", "POST"))]);
    let refusals = policies.refusals();
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    assert_eq!((refusals[0].code.as_str(), refusals[0].line), ("test", 5));
    assert!(
        refusals[0].message.contains("test_get") && refusals[0].source_line.contains("test_get"),
        "{}",
        refusals[0]
    );
    assert_eq!(refusals[0].path.as_deref(), Some("inbound/request_test.rego"));
    assert_eq!(policies.bundle(&id("team-a", "agent")).unwrap().revision(), before.revision());
    policies.apply(&[with(ALLOW_GET)]);
    assert_eq!(policies.refusals(), []);
}

#[test]
fn a_policy_whose_tests_never_passed_denies() {
    let (mut policies, _) = tested();
    let wrong = ALLOW_GET.replace("GET", "POST");
    policies
        .apply(&[set("team-a/p:namespace", &[("inbound/request.rego", &wrong), ("a_test.rego", TEST_GET)])]);
    assert!(!allowed(&mut policies, &id("team-a", "agent")));
}

/// Who changes a policy that another's test is about is who has to look at it.
#[test]
fn a_change_that_fails_anothers_test_is_refused() {
    let (mut policies, _) = tested();
    let lib = |answer: &str| {
        set(
            "team-a/lib:namespace",
            &[("lib.rego", &format!("package authbridge.ns.lib\n\nanswer := {answer}\n"))],
        )
    };
    let test = "package authbridge.ns.lib_test\n\ntest_answer if data.authbridge.ns.lib.answer == 42\n";
    policies.apply(&[
        lib("42"),
        set(
            "team-a/tests:namespace",
            &[("x_test.rego", test), ("x.rego", "package authbridge.ns.x\n\ny := 1\n")],
        ),
    ]);
    assert_eq!(policies.refusals(), []);
    policies.apply(&[lib("41")]);
    let refusals = policies.refusals();
    assert_eq!(refusals[0].resource, Some(ResourceKey::new("team-a", "lib")), "{refusals:?}");
    policies.apply(&[gone("team-a", "tests")]);
    policies.apply(&[lib("41")]);
    assert_eq!(policies.refusals(), []);
}

/// A test is about what is in force, and so is the last good version of a policy that is broken now.
#[test]
fn tests_see_the_last_good_version_of_what_is_broken() {
    let (mut policies, _) = tested();
    let lib = |text: &str| set("team-a/lib:namespace", &[("lib.rego", text)]);
    let user = |rule: &str| {
        let policy = format!("{ALLOW_GET}\n{rule}\n");
        let test = "package authbridge.ns.x_test\n\ntest_answer if data.authbridge.ns.lib.answer == 42\n";
        set("team-a/p:namespace", &[("inbound/request.rego", &policy), ("x_test.rego", test)])
    };
    policies.apply(&[lib("package authbridge.ns.lib\n\nanswer := 42\n"), user("x := 1")]);
    assert_eq!(policies.refusals(), []);
    policies.apply(&[lib("package authbridge.ns.lib\n\nanswer := {\n")]);
    policies.apply(&[user("x := 2")]);
    let refused: Vec<_> = policies.refusals().into_iter().filter_map(|refusal| refusal.resource).collect();
    assert!(
        refused.iter().all(|name| name.name == "lib"),
        "another's mistake is not that of `p`: {refused:?}"
    );
    let tests = policies.verdict(&ResourceKey::new("team-a", "p")).unwrap().tests;
    assert_eq!(tests.map(|tests| tests.passed), Some(1));
}

#[test]
fn tests_of_the_last_good_version_of_what_is_broken_still_hold() {
    let (mut policies, _) = tested();
    let lib = |answer: u32| {
        let text = format!("package authbridge.ns.lib\n\nanswer := {answer}\n");
        set("team-a/lib:namespace", &[("lib.rego", &text)])
    };
    let user = |policy: &str| {
        let test = "package authbridge.ns.x_test\n\ntest_answer if data.authbridge.ns.lib.answer == 42\n";
        set("team-a/p:namespace", &[("inbound/request.rego", policy), ("x_test.rego", test)])
    };
    policies.apply(&[lib(42), user(ALLOW_GET)]);
    policies.apply(&[user("package authbridge.ns.inbound.request\n\nallow if {\n")]);
    policies.apply(&[lib(41)]);
    let verdict = policies.verdict(&ResourceKey::new("team-a", "lib")).unwrap();
    assert_eq!(verdict.refusals.len(), 1, "{:?}", verdict.refusals);
    assert!(matches!(verdict.standing, Standing::Earlier { .. }), "{:?}", verdict.standing);
}

/// By itself it does not even compile: it calls what another one defines.
#[test]
fn tests_of_a_last_good_version_that_needs_another_still_hold() {
    let (mut policies, _) = tested();
    let lib = |answer: u32| {
        let text = format!("package authbridge.ns.lib\n\nanswer(x) := x + {answer}\n");
        set("team-a/lib:namespace", &[("lib.rego", &text)])
    };
    let user = |policy: &str| {
        let test = "package authbridge.ns.x_test\n\ntest_answer if data.authbridge.ns.lib.answer(1) == 43\n";
        set("team-a/p:namespace", &[("a.rego", policy), ("x_test.rego", test)])
    };
    let calls = "package authbridge.ns.a\n\nx := data.authbridge.ns.lib.answer(1)\n";
    policies.apply(&[lib(42), user(calls)]);
    assert_eq!(policies.refusals(), []);
    policies.apply(&[user("package authbridge.ns.a\n\nx if {\n")]);
    policies.apply(&[lib(41)]);
    let verdict = policies.verdict(&ResourceKey::new("team-a", "lib")).unwrap();
    assert!(matches!(verdict.standing, Standing::Earlier { .. }), "{:?}", verdict.standing);
    assert_eq!(verdict.refusals[0].code, "test", "{:?}", verdict.refusals);
}

/// What goes can no longer be refused: the policy whose test was about it stays in force, and its author is told.
#[test]
fn what_goes_takes_no_other_with_it() {
    let (mut policies, _) = tested();
    let lib = "package authbridge.ns.lib\n\nanswer := 42\n";
    let test = "package authbridge.ns.x_test\n\ntest_answer if data.authbridge.ns.lib.answer == 42\n";
    policies.apply(&[
        set("team-a/lib:namespace", &[("lib.rego", lib)]),
        set("team-a/p:namespace", &[("inbound/request.rego", ALLOW_GET), ("x_test.rego", test)]),
    ]);
    assert_eq!(policies.refusals(), []);
    policies.apply(&[gone("team-a", "lib")]);
    let refusals = policies.refusals();
    assert_eq!(
        (refusals.len(), refusals[0].severity),
        (1, crate::refusal::Severity::Warning),
        "{refusals:?}"
    );
    let verdict = policies.verdict(&ResourceKey::new("team-a", "p")).unwrap();
    let told: Vec<_> = verdict.warnings.iter().map(|warning| warning.code.as_str()).collect();
    assert_eq!((verdict.refusals.len(), told), (0, vec!["test"]), "in its status, too");
    assert!(allowed(&mut policies, &id("team-a", "agent")));
}

/// A change that needs another one of the same reading is made after it.
#[test]
fn changes_that_need_one_another_are_made_together() {
    let (mut policies, _) = tested();
    let wrong = "package authbridge.ns.y_test\n\ntest_never if false\n";
    let (answer, more) =
        ("package authbridge.ns.lib\n\nanswer := 42\n", "package authbridge.ns.y\n\nz := 1\n");
    let test = "package authbridge.ns.x_test\n\ntest_answer if data.authbridge.ns.lib.answer == 42\n";
    policies.apply(&[set("team-a/stood:namespace", &[("inbound/request.rego", ALLOW_GET)])]);
    policies.apply(&[
        set(
            "team-a/a:namespace",
            &[("a.rego", "package authbridge.ns.a\n\nb := 1\n"), ("x_test.rego", test)],
        ),
        set("team-a/lib:namespace", &[("lib.rego", answer)]),
        set("team-a/wrong:namespace", &[("y.rego", more), ("y_test.rego", wrong)]),
    ]);
    let refused: Vec<_> = policies.refusals().into_iter().filter_map(|refusal| refusal.resource).collect();
    assert_eq!(refused, [ResourceKey::new("team-a", "wrong")]);
}

#[test]
fn tests_that_did_not_end_are_run_again_after_a_growing_pause() {
    let busy = Arc::new(Here { busy: true, ..Here::default() });
    let mut policies = policies().with_tester(Arc::clone(&busy) as Arc<dyn Tester>);
    let mut runs_after = |seconds: u64, policy: &str| {
        policies.set_time(at(seconds));
        policies.apply(&[set(
            "team-a/p:namespace",
            &[("inbound/request.rego", policy), ("a_test.rego", TEST_GET)],
        )]);
        assert_eq!(policies.refusals()[0].code, "test_limits");
        *busy.runs.lock().unwrap()
    };
    let runs = [0, 29, 30, 60, 89, 90].map(|seconds| runs_after(seconds, ALLOW_GET));
    assert_eq!(runs, [1, 1, 2, 2, 2, 3]);
    assert_eq!(runs_after(90, &format!("{ALLOW_GET}\nx := 1\n")), 4, "another content is tried at once");
}

#[rstest]
#[case::the_clock("test_a if time.now_ns() == 1 with time.now_ns as 1", true)]
#[case::documents("test_a if data.authbridge.ns.x == 1 with data.authbridge.ns.x as 1", true)]
#[case::whose_it_is(
    "test_a if data.authbridge.identity.namespace == \"a\" with data.authbridge.identity as {\"namespace\": \"a\"}",
    true
)]
#[case::another_tier("test_a if data.authbridge.client.x == 1 with data.authbridge.client.x as 1", false)]
#[case::the_outside("test_a if http.send({\"method\": \"get\", \"url\": \"http://x\"})", false)]
fn a_test_may_replace(#[case] test: &str, #[case] may: bool) {
    let (mut policies, _) = tested();
    let test = format!("package authbridge.ns.t\n\n{test}\n");
    policies
        .apply(&[set("team-a/p:namespace", &[("inbound/request.rego", ALLOW_GET), ("a_test.rego", &test)])]);
    assert_eq!(policies.refusals().is_empty(), may, "{:?}", policies.refusals());
}

#[test]
fn tests_alone_make_no_tier() {
    let (mut policies, _) = tested();
    let test = "package authbridge.ns.t\n\ntest_a if true\n";
    policies.apply(&[set("team-a/p:namespace", &[("a_test.rego", test)])]);
    assert_eq!(policies.refusals(), []);
    assert_eq!(policies.tiers_of(&id("team-a", "agent")), [TierKind::Global]);
    assert_eq!(object("team-a/p:namespace", &[("a_test.rego", test)]).key.name, "p");
}

/// The last good version may have stood below another tier than there is now.
#[test]
fn a_last_good_version_comes_back_only_where_it_still_fits() {
    let by = |test: &str| format!("package authbridge.inbound.request\n\nallow if {test}\n");
    let global = |test: &str| set("secplane-system/g:global", &[("a.rego", &by(test))]);
    let helper = |value: &str| format!("package authbridge.ns\n\nhelper := {value}\n");
    let fails = "package authbridge.ns_test\n\ntest_helper if false\n".replace("ns_test", "ns.helper_test");
    let (mut policies, _) = tested();
    policies.apply(&[
        global("data.authbridge.ns.helper == 1"),
        set("team-a/p:namespace", &[("a.rego", &helper("1"))]),
    ]);
    assert!(allowed(&mut policies, &id("team-a", "agent")));
    policies.apply(&[
        global("lower(data.authbridge.ns.helper) == \"a\""),
        set("team-a/p:namespace", &[("a.rego", &helper("\"A\"")), ("a_test.rego", &fails)]),
    ]);
    let standing = policies.verdict(&ResourceKey::new("team-a", "p")).unwrap().standing;
    assert!(matches!(standing, crate::compile::Standing::Denied { .. }), "{standing:?}");
    assert!(policies.bundle(&id("team-a", "agent")).is_ok(), "what denies fits");
}
