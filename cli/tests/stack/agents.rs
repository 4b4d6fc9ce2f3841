//! A node that joins, by hand.

use std::{fs, os::unix::fs::PermissionsExt};

use rustix::process::Signal;

use crate::home::{Home, Running};

#[test]
fn lets_a_node_join_and_shuts_it_out() {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    let ca = stack.fact("CA (gRPC, TLS 1.3)").to_owned();
    home.ok(&["svid", "issue", "--spiffe-id", "spiffe://example.org/any", "--out", "any"]);

    let created =
        home.ok(&["token", "create", "--ttl", "5m", "--agent-id", "spiffe://example.org/nodes/one"]);
    fs::write(home.path("token"), format!("{}\n", created["token"].as_str().unwrap())).unwrap();
    let attest = || {
        home.json(&[
            "agent",
            "attest",
            "--server",
            &ca,
            "--trust-bundle",
            "any/bundle.pem",
            "--trust-domain",
            "example.org",
            "--join-token-file",
            "token",
            "--out",
            "node",
        ])
    };
    let (status, node, stderr) = attest();
    assert_eq!(status, 0, "{stderr}");
    let key = fs::metadata(home.path("node/key.pem")).unwrap().permissions().mode() & 0o777;
    assert_eq!(key, 0o600);
    let (status, again, stderr) = attest();
    assert_eq!((status, &again["serial_number"]), (0, &node["serial_number"]), "{stderr}");

    let agent = node["spiffe_id"].as_str().unwrap();
    assert_eq!(home.ok(&["agent", "count"])["count"], 1);
    assert_eq!(home.ok(&["agent", "list"])["agents"][0]["spiffe_id"], agent);
    let shown = home.ok(&["agent", "show", agent]);
    assert_eq!((&shown["serial_number"], &shown["banned"]), (&node["serial_number"], &false.into()));
    let below = home.ok(&["entry", "list", "--parent-id", agent]);
    assert_eq!(below["entries"][0]["spiffe_id"], "spiffe://example.org/nodes/one");

    home.ok(&["agent", "ban", agent]);
    assert_eq!(home.ok(&["agent", "list", "--banned"])["agents"][0]["banned"], true);
    let (status, _, stderr) = attest();
    assert_eq!(status, 4, "{stderr}");
    home.ok(&["agent", "evict", agent]);
    assert_eq!(home.json(&["agent", "show", agent]).0, 5);
    let (status, _, stderr) = attest();
    assert_eq!(status, 6, "its token is spent: {stderr}");
    assert!(stack.end(Signal::TERM).success());
}
