//! The life of roots and JWT keys, and foreign trust domains, by command.

use std::fs;

use rstest::rstest;
use rustix::process::Signal;
use serde_json::Value;

use crate::home::{Home, Running};

/// The states of the authorities of a kind, in the order of the table.
fn states(home: &Home, kind: &str) -> Vec<(String, String, bool)> {
    let listed = home.ok(&["ca", "authorities"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of_kind = listed["authorities"].as_array().unwrap().iter().filter(|one| one["kind"] == kind);
    of_kind.map(|one| (text(&one["id"]), text(&one["state"]), one["tainted"].as_bool().unwrap())).collect()
}

fn state_of(home: &Home, kind: &str, id: &str) -> (String, bool) {
    let found = states(home, kind).into_iter().find(|(known, ..)| known == id);
    found.map(|(_, state, tainted)| (state, tainted)).unwrap()
}

#[rstest]
#[case("root", &[])]
#[case("jwt", &["--jwt"])]
fn go_through_their_life_step_by_step(#[case] kind: &str, #[case] line: &[&str]) {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    let step = |step: &str, more: &[&str]| home.json(&[&["ca", step], line, more].concat());
    let [(first, active, _)] = &states(&home, kind)[..] else { panic!("{:?}", states(&home, kind)) };
    assert_eq!(active, "active");

    let (status, prepared, stderr) = step("prepare", &[]);
    assert_eq!((status, &prepared["step"]), (0, &"prepared".into()), "{stderr}");
    let next = prepared["id"].as_str().unwrap();
    assert_eq!(state_of(&home, kind, next), ("prepared".to_owned(), false));
    let (status, _, stderr) = step("activate", &[]);
    assert_eq!(status, 6, "whoever polls the bundle does not know it yet: {stderr}");
    assert_eq!(step("activate", &["--force"]).0, 0);
    assert_eq!(state_of(&home, kind, next).0, "active");
    assert_eq!(state_of(&home, kind, first).0, "old");

    let (status, _, stderr) = step("taint", &[next]);
    assert_eq!(status, 6, "it signs: {stderr}");
    assert_eq!(step("taint", &["--force"]).0, 0, "by default the one whose turn it is");
    assert_eq!(state_of(&home, kind, first), ("old".to_owned(), true));
    let (status, _, stderr) = step("revoke", &[]);
    assert_eq!(status, 6, "what it signed is valid: {stderr}");
    assert_eq!(step("revoke", &["--force", first]).0, 0);
    assert_eq!(state_of(&home, kind, first).0, "revoked");

    let (status, rotated, stderr) = step("rotate", &["--force", "--revoke"]);
    assert_eq!((status, &rotated["old_is"]), (0, &"revoked".into()), "{stderr}");
    assert_eq!((&rotated["old"], &state_of(&home, kind, next).0), (&next.into(), &"revoked".to_owned()));
    // The stack goes on below what is new.
    home.ok(&["svid", "issue", "--spiffe-id", "spiffe://example.org/a", "--out", "a"]);
    assert!(stack.end(Signal::TERM).success());
}

/// The root stays while a mesh has a CA below it, and whoever looks sees which.
#[test]
fn stay_while_a_mesh_depends_on_them() {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    home.ok(&["ca", "export-istio-cacerts", "--out", "cacerts", "--ttl", "1h"]);
    let [(mesh, ..)] = &states(&home, "mesh")[..] else { panic!("{:?}", states(&home, "mesh")) };
    let (first, ..) = states(&home, "root").remove(0);
    home.ok(&["ca", "prepare"]);
    home.ok(&["ca", "activate", "--force"]);
    let (status, _, stderr) = home.json(&["ca", "taint", &first]);
    assert_eq!(status, 6, "{stderr}");
    assert!(stderr.contains(mesh), "{stderr}");
    home.ok(&["cert", "revoke", mesh, "--reason", "replaced"]);
    assert_eq!(home.ok(&["cert", "show", mesh])["kind"], "ca");
    home.ok(&["ca", "taint", &first]);
    assert!(stack.end(Signal::TERM).success());
}

#[test]
fn federates_with_foreign_trust_domains() {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    let federated = || home.ok(&["federation", "list"])["federated"].as_array().unwrap().len();
    assert_eq!(federated(), 0);
    assert_eq!(home.json(&["federation", "show", "example.com"]).0, 5);

    // Our own bundle as that of somebody else.
    let (_, document, _) = home.secctl(&["trust-bundle", "show", "--format", "spiffe"]);
    fs::write(home.path("theirs.json"), document).unwrap();
    let given = home.ok(&["federation", "set", "example.com", "--bundle", "theirs.json"]);
    assert_eq!((&given["roots"], &given["has_bundle"], &given["url"]), (&1.into(), &true.into(), &"".into()));
    let (status, _, stderr) = home.json(&["federation", "refresh", "example.com"]);
    assert_eq!(status, 5, "it is fetched from nowhere: {stderr}");

    let url = "https://localhost:1/bundle";
    let web = home.ok(&["federation", "set", "example.com", "--url", url]);
    assert_eq!((&web["url"], &web["profile"]), (&url.into(), &"https_web".into()));
    let id = "spiffe://example.com/bundles";
    let spiffe = home.ok(&["federation", "set", "example.com", "--url", url, "--endpoint-spiffe-id", id]);
    assert_eq!((&spiffe["profile"], &spiffe["endpoint_spiffe_id"]), (&"https_spiffe".into(), &id.into()));
    assert_eq!(spiffe["roots"], 1, "the bundle stays");
    let (status, _, stderr) = home.json(&["federation", "refresh", "example.com"]);
    assert_eq!(status, 3, "{stderr}");
    assert_eq!(federated(), 1);
    let (status, _, stderr) = home.json(&["federation", "set", "example.com", "--url", "http://localhost"]);
    assert_eq!(status, 6, "{stderr}");

    home.ok(&["federation", "delete", "example.com"]);
    assert_eq!(home.ok(&["federation", "show", "example.com"])["url"], "");
    home.ok(&["federation", "delete", "example.com", "--bundle", "--entries", "dissociate"]);
    assert_eq!(federated(), 0);
    assert!(stack.end(Signal::TERM).success());
}
