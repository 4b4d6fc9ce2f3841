//! `secctl policy`: what is refused, where, and what is decided. No daemon runs.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, path::PathBuf, process::Command};

use rstest::rstest;

const BOOKING: &str = "spiffe://example.org/ns/travel/sa/booking";
const PLANNER: &str = "spiffe://example.org/ns/travel/sa/planner";

fn policies() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../policies"))
}

fn secctl(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("secctl")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn manifest(scope: &str, content: &str) -> String {
    let indented: String = content.lines().map(|line| format!("        {line}\n")).collect();
    format!(
        "apiVersion: agent.kagenti.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata:\n  name: web\n  namespace: \
         demo\nspec:\n  scope: {scope}\n  policies:\n    - path: inbound/request.rego\n      content: |\n{indented}"
    )
}

#[test]
fn passes_the_shipped_policies() {
    let (status, stdout, stderr) = secctl(&["policy", "check", policies().to_str().unwrap()]);
    assert_eq!(status, 0, "{stdout}\n{stderr}");
    assert!(stdout.contains("none refused"), "{stdout}");
}

#[test]
fn checks_for_the_opa_that_sidecars_run() {
    let folder = tempfile::tempdir().unwrap();
    let newer = "package authbridge.client.inbound.request\n\nimport future.keywords.and\n\nallow if input.a and input.b";
    fs::write(folder.path().join("web.yaml"), manifest("client", newer)).unwrap();
    let path = folder.path().to_str().unwrap();
    let (status, stdout, _) = secctl(&["policy", "check", path]);
    assert_eq!(status, 7, "1.18 has no such keyword: {stdout}");
    let (status, stdout, _) = secctl(&["policy", "check", path, "--opa-version", "1.20"]);
    assert_eq!(status, 0, "{stdout}");
    let (status, _, stderr) = secctl(&["policy", "check", path, "--opa-version", "1.17"]);
    assert!(status == 2 && stderr.contains("1.18 to 1.22"), "{stderr}");
}

#[rstest]
#[case::syntax("client", "package authbridge.client.inbound.request\n\nallow if {", "inbound/request.rego:")]
#[case::confinement(
    "namespace",
    "package authbridge.inbound.request\n\nallow := true",
    "inbound/request.rego:1:"
)]
#[case::built_in(
    "client",
    "package authbridge.client.inbound.request\n\nallow if http.send({\"url\": \"http://x\"})",
    "http.send"
)]
#[case::scope("everyone", "package authbridge.client.inbound.request\n\nallow := true", "everyone")]
#[case::system_namespace("global", "package authbridge.inbound.request\n\nallow := true", "demo/web")]
fn names_what_is_refused_and_where(#[case] scope: &str, #[case] content: &str, #[case] expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("web.yaml"), manifest(scope, content)).unwrap();
    let path = folder.path().to_str().unwrap();
    let (status, stdout, stderr) = secctl(&["policy", "check", path]);
    assert_eq!(status, 7, "{stdout}\n{stderr}");
    assert!(stdout.contains("web.yaml") && stdout.contains(expected), "{stdout}");
    assert!(stderr.contains("refused: 1"), "{stderr}");

    let (status, stdout, _) = secctl(&["--output", "json", "policy", "check", path]);
    assert_eq!(status, 7);
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let refusal = &document["refusals"][0];
    assert!(
        refusal["message"].is_string() && refusal["line"].is_u64() && refusal["column"].is_u64(),
        "{stdout}"
    );
}

#[test]
fn names_a_missing_folder() {
    let (status, stdout, stderr) = secctl(&["policy", "check", "/nonexistent/policies"]);
    assert_eq!((status, stdout.as_str()), (5, ""), "{stderr}");
}

#[rstest]
#[case(BOOKING, "inbound/request", "planner-calls-booking.json", "allow")]
#[case(BOOKING, "outbound/request", "booking-sends-to-planner.json", "deny: ")]
#[case(PLANNER, "inbound/request", "booking-calls-planner.json", "deny: ")]
#[case("spiffe://example.org/ns/nobody/sa/x", "inbound/request", "planner-calls-booking.json", "deny: ")]
fn decides(#[case] id: &str, #[case] point: &str, #[case] input: &str, #[case] expected: &str) {
    let folder = policies();
    let input = folder.join("agent-to-agent/inputs").join(input);
    let eval =
        ["policy", "eval", "--policies", folder.to_str().unwrap(), "--spiffe-id", id, "--decision", point];
    let eval = [&eval[..], &["--input", input.to_str().unwrap()]].concat();
    let (status, stdout, stderr) = secctl(&eval);
    assert_eq!(status, 0, "{stderr}");
    assert!(stdout.starts_with(expected), "{stdout}");

    let (status, _, stderr) = secctl(&[&eval[..], &["--fail"]].concat());
    assert_eq!(status, if expected == "allow" { 0 } else { 7 }, "{stderr}");
}

/// A broken policy denies; it never disappears.
#[test]
fn denies_where_a_policy_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let broken = manifest("client", "package authbridge.client.inbound.request\n\nallow if {");
    fs::write(folder.path().join("web.yaml"), broken).unwrap();
    fs::write(folder.path().join("input.json"), "{}").unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (status, stdout, stderr) = secctl(&[
        "policy",
        "eval",
        "--policies",
        &path(""),
        "--spiffe-id",
        "spiffe://example.org/ns/demo/sa/web",
        "--decision",
        "inbound/request",
        "--input",
        &path("input.json"),
    ]);
    assert_eq!(status, 0, "{stderr}");
    assert!(stdout.starts_with("deny"), "{stdout}");
    assert!(stderr.contains("policy check"), "it says that something is refused: {stderr}");
}
