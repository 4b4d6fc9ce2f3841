//! `secctl dev` itself: the main job, what it keeps, what it refuses.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, process::Command};

use rstest::rstest;
use rustix::process::Signal;

use crate::home::{Home, Running, copy, policies, secctl};

fn fingerprint(stdout: &str) -> &str {
    stdout.split_once("Root SHA-256").unwrap().1.lines().next().unwrap().trim()
}

#[test]
fn does_the_main_job_and_keeps_what_it_made() {
    let home = Home::new();
    let (status, first, stderr) = home.run(&["--exit"]);
    assert_eq!(status, 0, "{first}\n{stderr}");
    for step in [
        "issue an SVID",
        "pull its bundle over mTLS",
        "refuse it another's bundle",
        "decide an allowed request",
        "decide a denied request",
        "sign an AgentCard",
        "verify the AgentCard",
    ] {
        let line = first.lines().find(|line| line.contains(step)).unwrap_or_default();
        assert!(line.starts_with("  ok ") && line.contains(" ms "), "{step}: {first}");
    }
    let mode = |name: &str| fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("secplane-dev"), mode("secplane-dev/wrapping.key")), (0o700, 0o600));
    assert!(!home.path("secplane-dev/ca/admin.sock").exists(), "a socket is left");

    let (status, second, _) = home.run(&["--exit"]);
    assert_eq!(status, 0, "{second}");
    assert_eq!(fingerprint(&first), fingerprint(&second));

    let (status, _, stderr) = home.run(&["--exit", "--trust-domain", "other.org"]);
    assert_eq!(status, 6, "{stderr}");
    assert!(stderr.contains("--trust-domain example.org"), "{stderr}");
}

#[test]
fn works_in_another_trust_domain() {
    let home = Home::new();
    let (status, stdout, stderr) = home.run(&["--exit", "--trust-domain", "other.org"]);
    assert_eq!(status, 0, "{stdout}\n{stderr}");
    assert!(stdout.contains("spiffe://other.org/ns/travel/sa/booking"), "{stdout}");
}

#[test]
fn tells_programs_the_same() {
    let home = Home::new();
    let (status, stdout, stderr) = home.run(&["--exit", "--output", "json"]);
    assert_eq!(status, 0, "{stderr}");
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["trust_domain"], "example.org");
    let steps = document["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 7);
    assert!(steps.iter().all(|step| step["result"] == "ok"), "{stdout}");
}

#[rstest]
#[case(&[])]
#[case(&["--dir", "it's-another"])]
fn prints_commands_that_work(#[case] arguments: &[&str]) {
    let home = Home::new();
    let stack = Running::start(&home, arguments);
    assert!(stack.commands().len() >= 5, "{:?}", stack.printed);
    for command in stack.commands() {
        let output = Command::new("sh").args(["-c", command]).current_dir(home.0.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}\n{stderr}");
        assert!(!output.stdout.is_empty(), "{command}");
    }
    assert!(stack.end(Signal::INT).success());
}

#[rstest]
#[case(Signal::INT)]
#[case(Signal::TERM)]
fn ends_cleanly_when_told(#[case] signal: Signal) {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    assert!(home.path("secplane-dev/workload.sock").exists());
    assert_eq!(stack.end(signal).code(), Some(0));
    let log = fs::read_to_string(home.path("secplane-dev/secplane.log")).unwrap();
    assert!(log.contains("the authority has stopped"), "the CA did not end by itself: {log}");
    assert!(!home.path("secplane-dev/workload.sock").exists(), "a socket is left");
}

#[test]
fn refuses_a_folder_that_is_in_use() {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    let (status, _, stderr) = home.run(&["--exit"]);
    assert_eq!(status, 6, "{stderr}");
    assert!(stderr.contains("another `secctl dev`") && stderr.contains("--dir"), "{stderr}");
    assert!(stack.end(Signal::TERM).success(), "the first is not disturbed");
}

#[rstest]
#[case("--ca-port")]
#[case("--bundle-port")]
#[case("--health-port")]
fn names_the_option_of_a_port_that_is_taken(#[case] option: &str) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let home = Home::new();
    let (status, _, stderr) = home.run(&["--exit", option, &port]);
    assert_eq!(status, 6, "{stderr}");
    assert!(stderr.contains(option) && stderr.contains(&port), "{stderr}");
}

#[test]
fn names_missing_policies_and_makes_nothing() {
    let home = Home::new();
    let output = secctl()
        .current_dir(home.0.path())
        .args(["dev", "--exit", "--policies", "nowhere"])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("nowhere") && stderr.contains("--policies"), "{stderr}");
    assert!(!home.path("secplane-dev").exists());
}

/// A policy that denies what the example allows: the step must notice, and be named.
#[test]
fn names_the_step_that_fails() {
    let home = Home::new();
    let changed = home.path("policies");
    copy(&policies(), &changed);
    let manifest = changed.join("agent-to-agent/booking.yaml");
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("sa/planner"));
    fs::write(&manifest, text.replace("sa/planner", "sa/nobody")).unwrap();

    let output = secctl()
        .current_dir(home.0.path())
        .args(["dev", "--exit", "--policies", "policies"])
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    assert!(stderr.contains("decide an allowed request"), "{stderr}");
    assert!(stdout.contains("FAILED"), "{stdout}");
    assert!(!home.path("secplane-dev/workload.sock").exists(), "the stack is stopped all the same");
}
