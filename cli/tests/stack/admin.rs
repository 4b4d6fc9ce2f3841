//! The commands that speak to the CA.

use std::{fs, os::unix::fs::PermissionsExt};

use rustix::process::Signal;

use crate::home::{Home, Running};

#[test]
fn serves_the_admin_commands() {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    let web = "spiffe://example.org/ns/demo/sa/web";

    let entries = home.ok(&["entry", "list"])["entries"].as_array().unwrap().len();
    let entry = home.ok(&[
        "entry",
        "create",
        "--spiffe-id",
        web,
        "--selector",
        "unix:uid:4242",
        "--dns",
        "web.local",
    ]);
    let id = entry["id"].as_str().unwrap().to_owned();
    assert_eq!(home.ok(&["entry", "show", &id])["dns_names"][0], "web.local");
    assert_eq!(home.ok(&["entry", "list"])["entries"].as_array().unwrap().len(), entries + 1);
    home.ok(&["entry", "delete", &id]);
    assert_eq!(home.json(&["entry", "show", &id]).0, 5);

    home.ok(&["svid", "issue", "--spiffe-id", web, "--ttl", "5m", "--out", "web"]);
    let key = fs::metadata(home.path("web/key.pem")).unwrap().permissions().mode() & 0o777;
    assert_eq!(key, 0o600);
    assert_eq!(home.json(&["svid", "issue", "--spiffe-id", "spiffe://other.org/a", "--out", "no"]).0, 6);
    assert!(!home.path("no").exists(), "nothing is written for a refused SVID");

    let ca = stack.fact("CA (gRPC, TLS 1.3)").to_owned();
    let (status, _, stderr) = home.json(&["ca", "status", "--server", &ca, "--svid-dir", "web"]);
    assert_eq!(status, 4, "a workload is no admin: {stderr}");

    home.ok(&["cert", "issue", "client", "--common-name", "backup", "--out", "backup"]);
    let first = fs::read_to_string(home.path("backup/key.pem")).unwrap();
    let renewed =
        home.ok(&["cert", "renew", "--dir", "backup", "--server", &ca, "--trust-domain", "example.org"]);
    assert_ne!(first, fs::read_to_string(home.path("backup/key.pem")).unwrap(), "a renewal has a new key");
    let serial = renewed["serial_number"].as_str().unwrap();
    assert_eq!(home.ok(&["cert", "show", serial])["common_name"], "backup");
    home.ok(&["cert", "revoke", serial, "--reason", "lost"]);
    let (status, _, stderr) =
        home.json(&["cert", "renew", "--dir", "backup", "--server", &ca, "--trust-domain", "example.org"]);
    // Refused as a caller, or already as a client of TLS.
    assert!(matches!(status, 3 | 4), "a revoked certificate renews nothing: {stderr}");

    let root = stack.fact("Root SHA-256").to_owned();
    let bundle = home.ok(&["trust-bundle", "show", "--server", &ca, "--fingerprint", &root]);
    assert_eq!(bundle["roots"][0]["fingerprint"], root);
    let (status, document, stderr) =
        home.json(&["trust-bundle", "show", "--server", &ca, "--fingerprint", &"00".repeat(32)]);
    assert_eq!((status, document), (7, serde_json::Value::Null), "{stderr}");
    home.ok(&["trust-bundle", "watch", "--count", "1"]);
    assert!(stack.end(Signal::TERM).success());
}
