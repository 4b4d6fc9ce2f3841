//! What the command says and how it ends when no daemon is there.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use assert_cmd::Command;
use rstest::rstest;

fn secctl(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("secctl")
        .unwrap()
        .args(arguments)
        .env_remove("SECCTL_ADMIN_SOCKET")
        .env_remove("SECCTL_BUNDLE_SERVICE")
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[rstest]
#[case(&["--help"], "Exit statuses:")]
#[case(&["entry", "create", "--help"], "--selector unix:uid:1000")]
#[case(&["trust-bundle", "show", "--help"], "--fingerprint")]
#[case(&["bundle", "pull", "--help"], "The certificate decides whose bundle it is")]
fn helps(#[case] arguments: &[&str], #[case] expected: &str) {
    let (status, stdout, stderr) = secctl(arguments);
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert!(stdout.contains(expected), "{stdout}");
}

#[rstest]
#[case(&[])]
#[case(&["no-such-command"])]
#[case(&["entry", "create", "--spiffe-id", "spiffe://example.org/a"])]
#[case(&["entry", "create", "--spiffe-id", "SPIFFE://example.org/a", "--selector", "unix:uid:1"])]
#[case(&["entry", "create", "--spiffe-id", "spiffe://example.org/a", "--selector", "unix"])]
#[case(&["svid", "issue", "--out", "/nonexistent/x"])]
#[case(&["ca", "status", "--admin-socket", "/nonexistent/a", "--server", "localhost:1"])]
#[case(&["ca", "status", "--server", "localhost:1"])]
#[case(&["ca", "taint", "--upstream"])]
#[case(&["ca", "revoke", "--upstream", "--jwt", "0a"])]
#[case(&["trust-bundle", "show", "--fingerprint", "00"])]
#[case(&["policy", "eval", "--bundle", "b", "--config", "c", "--decision", "inbound/request", "--input", "-"])]
#[case(&["cert", "issue", "server", "--out", "/nonexistent/x"])]
#[case(&["cert", "issue", "client", "--out", "/nonexistent/x"])]
fn ends_with_2_for_a_wrong_command_line(#[case] arguments: &[&str]) {
    let (status, stdout, stderr) = secctl(arguments);
    assert_eq!((status, stdout.as_str()), (2, ""), "{stderr}");
    assert!(!stderr.is_empty());
}

#[rstest]
#[case(&["ca", "status", "--admin-socket", "/nonexistent/admin.sock"], "/nonexistent/admin.sock")]
#[case(&["entry", "list", "--admin-socket", "/nonexistent/admin.sock"], "--admin-socket")]
#[case(&["svid", "issue", "--workload-api", "/nonexistent/w.sock", "--out", "/nonexistent/x"], "/nonexistent/w.sock")]
fn ends_with_3_when_nobody_is_there(#[case] arguments: &[&str], #[case] expected: &str) {
    let (status, stdout, stderr) = secctl(arguments);
    assert_eq!((status, stdout.as_str()), (3, ""), "{stderr}");
    assert!(stderr.starts_with("error: cannot ") && stderr.contains(expected), "{stderr}");
    assert!(stderr.contains("what to do:"), "{stderr}");
}

/// A port on which nobody listens: bound here, and never listened on.
#[test]
fn ends_with_3_when_the_server_is_down() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    drop(taken);
    let fingerprint = "00".repeat(32);
    let (status, stdout, stderr) =
        secctl(&["trust-bundle", "show", "--server", &address, "--fingerprint", &fingerprint]);
    assert_eq!((status, stdout.as_str()), (3, ""), "{stderr}");
    assert!(stderr.contains(&address), "{stderr}");
}

#[rstest]
#[case(&["bundle", "inspect", "/nonexistent/b.tar.gz"])]
#[case(&["bundle", "pull", "--bundle-service", "localhost:1", "--svid-dir", "/nonexistent/svid"])]
#[case(&["cert", "renew", "--dir", "/nonexistent/c", "--server", "localhost:1", "--trust-domain", "a.org"])]
fn ends_with_5_for_a_missing_file(#[case] arguments: &[&str]) {
    let (status, stdout, stderr) = secctl(arguments);
    assert_eq!((status, stdout.as_str()), (5, ""), "{stderr}");
    assert!(stderr.contains("/nonexistent/"), "{stderr}");
}

#[test]
fn ends_with_6_for_a_file_that_is_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle.tar.gz");
    fs::write(&path, "not an archive").unwrap();
    let (status, stdout, stderr) = secctl(&["bundle", "inspect", text(&path)]);
    assert_eq!((status, stdout.as_str()), (6, ""), "{stderr}");

    for name in ["svid.pem", "key.pem", "bundle.pem"] {
        fs::write(folder.path().join(name), "-----BEGIN NOTHING-----\n").unwrap();
    }
    let (status, _, stderr) =
        secctl(&["ca", "status", "--server", "localhost:1", "--svid-dir", text(folder.path())]);
    assert_eq!(status, 6, "{stderr}");
    assert!(stderr.contains("svid.pem"), "{stderr}");
}

#[test]
fn never_prints_a_key_that_it_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("svid.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let secret = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0c2VjcmV0\n-----END PRIVATE KEY-----\n";
    let key = folder.path().join("key.pem");
    fs::write(&key, secret).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let (status, stdout, stderr) =
        secctl(&["ca", "status", "--server", "localhost:1", "--svid-dir", text(folder.path())]);
    assert_eq!(status, 6, "{stderr}");
    assert!(!stdout.contains("c2VjcmV0") && !stderr.contains("c2VjcmV0"));
}

/// Every bad card of the corpus, as a script would see it.
#[test]
fn ends_with_the_status_of_each_bad_cards_class() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent-card/corpus");
    let of = |name: &str| text(&corpus.join(name)).to_owned();
    let manifest: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(corpus.join("manifest.json")).unwrap()).unwrap();
    let (bundle, crl) = (of("bundle.json"), of("crl.pem"));
    let trust = ["--trust-bundle", &bundle, "--trust-domain", "example.org", "--crl", &crl];
    let at = ["--at", manifest["at"].as_str().unwrap()];
    for (name, expected) in manifest["cards"].as_object().unwrap() {
        let card = of(name);
        let (status, _, stderr) = secctl(&[&["agentcard", "verify", &card][..], &trust, &at].concat());
        let expected = match expected["class"].as_str().unwrap() {
            "valid" => 0,
            "untrusted" => 10,
            "tampered" => 11,
            "expired" => 12,
            "revoked" => 13,
            "unsigned" => 14,
            "malformed" => 15,
            other => panic!("{name}: {other}"),
        };
        assert_eq!(status, expected, "{name}: {stderr}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
