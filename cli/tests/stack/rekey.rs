//! `secctl ca rekey`: another wrapping key, while the CA serves.

use std::fs;

use ca_daemon::keys::generate_wrapping_key;
use rustix::process::Signal;

use crate::home::{Home, Running};

#[test]
fn seals_everything_under_another_wrapping_key() {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    let root = stack.fact("Root SHA-256").to_owned();
    let (status, _, stderr) = home.json(&["ca", "rekey", "--file", "new.key"]);
    assert_eq!(status, 6, "there is no such file: {stderr}");
    generate_wrapping_key(&home.path("new.key")).unwrap();
    let done = home.ok(&["ca", "rekey", "--file", "new.key"]);
    assert!(done["sealed"].as_i64().unwrap() >= 3, "a root, an issuing CA and a JWT key at least: {done}");
    let setting = done["wrapping_key"].as_str().unwrap();
    assert!(setting.starts_with("{file: /") && setting.ends_with("/new.key}"), "{setting}");
    let (status, _, stderr) = home.json(&["ca", "rekey", "--file", "new.key"]);
    assert_eq!(status, 6, "it is the one in use: {stderr}");

    let told = home.ok(&["audit", "list", "--action", "keys.rekey", "--limit", "2"]);
    let told = told["entries"].as_array().unwrap();
    let mut outcomes: Vec<_> = told.iter().filter_map(|entry| entry["outcome"].as_str()).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["done", "failed"]);
    assert!(
        told.iter().all(|entry| entry["actor"].as_str().unwrap().starts_with("admin-socket")),
        "{told:?}"
    );
    let web = ["svid", "issue", "--spiffe-id", "spiffe://example.org/web", "--out", "web"];
    home.ok(&web);
    assert!(stack.end(Signal::TERM).success());

    let (status, _, stderr) = home.run(&["--exit"]);
    assert_ne!(status, 0);
    assert!(stderr.contains("sealed under wrapping key"), "the old one opens nothing: {stderr}");
    fs::rename(home.path("new.key"), home.path("secplane-dev/wrapping.key")).unwrap();
    let (status, stdout, stderr) = home.run(&["--exit"]);
    assert_eq!(status, 0, "{stderr}");
    assert!(stdout.contains(&root), "it is the same authority: {stdout}");
}
