//! Whose bundle a certificate gets.

use rustix::process::Signal;

use crate::home::{Home, Running, policies};

#[test]
fn gives_a_workload_its_own_bundle_only() {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    let service = stack.fact("Bundle service (mTLS)").strip_prefix("https://").unwrap();
    let planner = "spiffe://example.org/ns/travel/sa/planner";
    let booking = "spiffe://example.org/ns/travel/sa/booking";
    assert_eq!(home.secctl(&["svid", "issue", "--spiffe-id", planner, "--out", "planner"]).0, 0);

    let pull = ["bundle", "pull", "--bundle-service", service, "--svid-dir", "planner"];
    let (status, _, stderr) =
        home.secctl(&[&pull[..], &["--identity", booking, "--out", "stolen.tar.gz"]].concat());
    assert_eq!(status, 4, "{stderr}");
    assert!(!home.path("stolen.tar.gz").exists());

    let (status, stdout, stderr) = home.secctl(
        &[&["--output", "json"], &pull[..], &["--identity", planner, "--out", "own.tar.gz"]].concat(),
    );
    assert_eq!(status, 0, "{stderr}");
    let pulled: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let etag = pulled["etag"].as_str().unwrap();
    let (status, stdout, stderr) = home.secctl(&[&pull[..], &["--etag", etag]].concat());
    assert_eq!(status, 0, "{stderr}");
    assert!(stdout.contains("unchanged"), "{stdout}");

    let (status, stdout, _) = home.secctl(&["bundle", "inspect", "own.tar.gz"]);
    assert_eq!(status, 0);
    assert!(stdout.contains("authbridge.client.inbound.request"), "{stdout}");
    assert!(!stdout.contains("booking answers"), "{stdout}");

    let input = policies().join("agent-to-agent/inputs/booking-calls-planner.json");
    let eval = ["policy", "eval", "--bundle", "own.tar.gz", "--decision", "inbound/request", "--input"];
    let (status, stdout, _) = home.secctl(&[&eval[..], &[input.to_str().unwrap()]].concat());
    assert_eq!(status, 0);
    assert!(stdout.contains("deny"), "{stdout}");
    let (status, _, stderr) = home.secctl(&[&eval[..], &[input.to_str().unwrap(), "--fail"]].concat());
    assert_eq!(status, 7, "{stderr}");
    assert!(stack.end(Signal::TERM).success());
}
