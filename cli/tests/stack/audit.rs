//! `secctl audit` against a CA, and without it.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::home::{Home, Running};

/// The first public key that `secctl audit logs` shows.
fn public_key(home: &Home) -> String {
    home.ok(&["audit", "logs"])["logs"][0]["public_key"].as_str().unwrap().to_owned()
}

/// Verifies, which signs everything until now.
fn verified(home: &Home, arguments: &[&str]) -> Value {
    home.ok(&[&["audit", "verify"], arguments].concat())["logs"][0].clone()
}

#[test]
fn lists_verifies_and_proves() {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    let web = "spiffe://example.org/ns/demo/sa/web";
    home.ok(&["svid", "issue", "--spiffe-id", web, "--out", "web"]);

    let issued = home.ok(&["audit", "list", "--action", "certificate.issue", "--limit", "1"]);
    let entry = &issued["entries"][0];
    assert_eq!(entry["action"], "certificate.issue");
    assert_eq!(entry["outcome"], "done");
    assert!(entry["actor"].as_str().unwrap().starts_with("admin-socket"), "{entry}");
    let (status, table, _) = home.secctl(&["audit", "list", "--limit", "3"]);
    assert_eq!((status, table.lines().count()), (0, 4), "{table}");
    let (status, lines, _) = home.secctl(&["audit", "tail", "--last", "2", "--count", "2"]);
    assert_eq!((status, lines.lines().count()), (0, 2), "{lines}");

    let key = public_key(&home);
    let first = verified(&home, &["--public-key", &key, "--save-checkpoint", "checkpoints"]);
    home.ok(&["svid", "issue", "--spiffe-id", web, "--out", "web"]);
    let second = verified(
        &home,
        &["--public-key", &key, "--checkpoint", "checkpoints", "--save-checkpoint", "checkpoints"],
    );
    assert_eq!(second["consistent_with"][0], first["signed_entries"]);

    // Whoever verifies one log alone keeps what they kept of the others.
    let (log, kept) =
        (second["log"].as_str().unwrap(), fs::read_to_string(home.path("checkpoints")).unwrap());
    let other = kept.replace(log, "00000000000000ff");
    fs::write(home.path("checkpoints"), format!("{kept}\n{other}")).unwrap();
    let alone = ["--replica", log, "--checkpoint", "checkpoints", "--save-checkpoint", "checkpoints"];
    verified(&home, &alone);
    let saved = fs::read_to_string(home.path("checkpoints")).unwrap();
    assert!(saved.contains(other.trim_end()), "{saved}");

    let proof = home.secctl(&["--output", "json", "audit", "prove", "2"]).1;
    fs::write(home.path("proof.json"), &proof).unwrap();
    home.ok(&["audit", "prove", "--proof", "proof.json", "--public-key", &key]);
    home.ok(&["audit", "prove", "2", "--checkpoint", "checkpoints"]);
    let mut forged: Value = serde_json::from_str(&proof).unwrap();
    forged["index"] = 3.into();
    fs::write(home.path("proof.json"), forged.to_string()).unwrap();
    let (status, _, stderr) = home.json(&["audit", "prove", "--proof", "proof.json", "--public-key", &key]);
    assert_eq!(status, 7, "{stderr}");

    assert_eq!(home.json(&["audit", "list", "--replica", "nobody"]).0, 5);
    assert_eq!(home.json(&["audit", "prove", "1000000"]).0, 6);
    assert!(stack.end(Signal::TERM).success());
}

#[test]
fn verifies_a_file_without_the_ca() {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    let key = public_key(&home);
    verified(&home, &["--save-checkpoint", "early"]);
    home.ok(&["svid", "issue", "--spiffe-id", "spiffe://example.org/ns/demo/sa/web", "--out", "web"]);
    home.ok(&["audit", "export", "--out", "log"]);
    assert!(stack.end(Signal::TERM).success());

    let offline = ["--log", "log", "--checkpoint", "early", "--public-key", &key];
    verified(&home, &offline);
    let (status, _, stderr) = home.json(&["audit", "verify", "--log", "log", "--checkpoint", "early"]);
    assert_eq!(status, 2, "a file's own word is not taken for its key: {stderr}");

    let whole = fs::read_to_string(home.path("log")).unwrap();
    let lines: Vec<_> = whole.lines().collect();
    let refused = |lines: &[&str], expected: &str| {
        fs::write(home.path("log"), lines.join("\n") + "\n").unwrap();
        let (status, _, stderr) = home.json(&[&["audit", "verify"], &offline[..]].concat());
        assert_eq!(status, 7, "{stderr}");
        assert!(stderr.contains(expected), "{expected}: {stderr}");
    };
    let mut changed = lines.clone();
    changed.remove(4);
    refused(&changed, "entry 3 is missing");
    let mut changed = lines.clone();
    changed.swap(3, 4);
    refused(&changed, "comes where");
    refused(&lines[..lines.len() - 1], "its end was cut off");
    let edited = lines[2].replace("\"leaf\":\"C", "\"leaf\":\"D");
    let mut changed = lines.clone();
    changed[2] = &edited;
    assert_ne!(lines[2], edited);
    refused(&changed, "entr");
    let shifted = lines[4].replace("\"index\":3", "\"index\":2");
    let back = lines[3].replace("\"index\":2", "\"index\":3");
    let mut changed = lines.clone();
    (changed[3], changed[4]) = (&shifted, &back);
    refused(&changed, "entries 2 and 3 are in each other's place");
}
