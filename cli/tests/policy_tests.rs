//! `secctl policy test`, and the limits that the tests of a stranger run under.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, process::Command, time::Instant};

use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

fn secctl(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("secctl")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const POLICY: &str = "package authbridge.ns.inbound.request\n\ndefault allow := false\n\nallow if input.x == 1\n\nallow if {\n\tinput.y == 2\n\tinput.z == 3\n}\n";

fn folder(test: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let manifest = json!({
        "apiVersion": "agent.kagenti.dev/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "a"},
        "spec": {"scope": "namespace", "policies": [
            {"path": "inbound/request.rego", "content": POLICY},
            {"path": "p_test.rego", "content": format!("package authbridge.ns.p_test\n\nimport data.authbridge.ns.inbound.request\n\n{test}\n")},
        ]},
    });
    fs::write(folder.path().join("p.yaml"), manifest.to_string()).unwrap();
    folder
}

fn tested(folder: &TempDir) -> (i32, Value) {
    let (status, stdout, stderr) =
        secctl(&["--output", "json", "policy", "test", folder.path().to_str().unwrap(), "--uncovered"]);
    (status, serde_json::from_str(&stdout).unwrap_or_else(|_| json!({"stderr": stderr})))
}

#[test]
fn passes_the_shipped_policies() {
    let (status, stdout, stderr) =
        secctl(&["policy", "test", concat!(env!("CARGO_MANIFEST_DIR"), "/../policies")]);
    assert_eq!(status, 0, "{stdout}\n{stderr}");
    assert!(stdout.contains("namespace/payroll") && stdout.contains("global_test.rego"), "{stdout}");
}

#[test]
fn tells_what_passed_and_what_was_not_gone_through() {
    let (status, report) = tested(&folder("test_a if request.allow with input as {\"x\": 1}"));
    assert_eq!((status, &report["tests"]), (0, &json!(1)), "{report}");
    let uncovered = &report["suites"][0]["uncovered"][0];
    assert!(uncovered["lines"].as_array().unwrap().contains(&json!(9)), "{report}");
}

#[test]
fn names_the_test_that_fails() {
    let folder = folder("test_a if request.allow with input as {\"x\": 2}");
    let (status, report) = tested(&folder);
    assert_eq!((status, &report["failed"]), (7, &json!(1)), "{report}");
    let (status, stdout, _) = secctl(&["policy", "check", folder.path().to_str().unwrap()]);
    assert_eq!(status, 7, "what fails its tests is not published");
    assert!(stdout.contains("p_test.rego:5") && stdout.contains("test_a"), "{stdout}");
}

/// What the service would not publish is in no bundle that is built, and nothing is decided by it.
#[rstest]
#[case::passing("1", true)]
#[case::failing("2", false)]
fn builds_and_decides_by_what_passes_its_tests(#[case] x: &str, #[case] passes: bool) {
    let folder = folder(&format!("test_a if request.allow with input as {{\"x\": {x}}}"));
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (policies, bundle, input) = (path(""), path("bundle.tar.gz"), path("input.json"));
    fs::write(&input, "{\"x\": 1}").unwrap();
    let identity = "spiffe://example.org/ns/a/sa/b";

    let (status, _, stderr) =
        secctl(&["bundle", "build", "--policies", &policies, "--spiffe-id", identity, "--out", &bundle]);
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(stderr.contains("policy check"), !passes, "it says that something is refused: {stderr}");
    let (_, inspected, _) = secctl(&["--output", "json", "bundle", "inspect", &bundle, "--source"]);
    assert_eq!(inspected.contains("input.y == 2"), passes, "{inspected}");

    let (status, stdout, stderr) = secctl(&[
        "policy",
        "eval",
        "--policies",
        &policies,
        "--spiffe-id",
        identity,
        "--decision",
        "inbound/request",
        "--input",
        &input,
    ]);
    assert_eq!(status, 0, "{stderr}");
    assert!(stdout.starts_with(if passes { "allow" } else { "deny" }), "{stdout}");
    assert_eq!(stderr.contains("policy check"), !passes, "{stderr}");
}

#[rstest]
#[case::time(
    "test_a if {\n\tsome a in numbers.range(1, 3000)\n\tsome b in numbers.range(1, 3000)\n\tsome c in numbers.range(1, 3000)\n\ta * b * c < 0\n}"
)]
#[case::memory("test_a if count([x | some a in numbers.range(1, 20000); x := numbers.range(1, 20000)]) < 0")]
#[case::a_function_that_no_limit_interrupts("test_a if count(numbers.range(1, 900000000)) < 0")]
fn a_test_that_takes_too_much_is_ended(#[case] test: &str) {
    let started = Instant::now();
    let (status, report) = tested(&folder(test));
    assert_eq!(status, 7, "{report}");
    // Many times what it takes, which is less than the test would without a limit.
    assert!(started.elapsed().as_secs() < 200, "{:?}", started.elapsed());
}

#[test]
fn a_folder_without_tests_has_not_passed() {
    let folder = tempfile::tempdir().unwrap();
    let (status, _, stderr) = secctl(&["policy", "test", folder.path().to_str().unwrap()]);
    assert_eq!(status, 7, "{stderr}");
    assert!(stderr.contains("_test.rego"), "{stderr}");
}

/// The subcommand of the child is not for people, and without a request it does nothing.
#[test]
fn the_worker_reads_one_request() {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("secctl"))
        .args(["policy-test-worker", "2", "536870912"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("load"), "{output:?}");
}
