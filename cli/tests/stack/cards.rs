//! Signing a card with an SVID, and telling apart the ways in which one is not valid.

use std::fs;

use rstest::rstest;
use rustix::process::Signal;

use crate::home::{Home, Running};

const CARD: &str = r#"{"name":"Web","description":"Answers","version":"1.0.0"}"#;
const WEB: &str = "spiffe://example.org/ns/demo/sa/web";

#[test]
fn signs_and_verifies() {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    home.ok(&["svid", "issue", "--spiffe-id", WEB, "--out", "web"]);
    assert!(stack.end(Signal::TERM).success());

    fs::write(home.path("card.json"), CARD).unwrap();
    let signed = home.ok(&["agentcard", "sign", "card.json", "--svid-dir", "web", "--out", "signed.json"]);
    assert_eq!(signed["signer"], WEB);
    let verify = ["agentcard", "verify", "signed.json", "--svid-dir", "web"];
    let outcome = |more: &[&str]| {
        let (status, document, stderr) = home.json(&[&verify[..], more].concat());
        (status, document["outcome"].as_str().unwrap_or_default().to_owned(), stderr)
    };
    assert_eq!((0, "valid".into()), {
        let (s, o, _) = outcome(&["--expect", WEB]);
        (s, o)
    });
    let cases: [(&[&str], &str); 2] = [
        (&["--expect", "spiffe://example.org/ns/demo/sa/other"], "untrusted"),
        (&["--at", "2999-01-01T00:00:00Z"], "expired"),
    ];
    for (more, expected) in cases {
        let (status, outcome, stderr) = outcome(more);
        assert_eq!((status, outcome.as_str()), (7, expected), "{more:?}: {stderr}");
    }

    let text = fs::read_to_string(home.path("signed.json")).unwrap();
    fs::write(home.path("signed.json"), text.replace("Answers", "Asks")).unwrap();
    let (status, outcome, stderr) = outcome(&[]);
    assert_eq!((status, outcome.as_str()), (7, "tampered"), "{stderr}");
}

#[rstest]
#[case("unsigned.json", CARD, "unsigned")]
#[case("broken.json", "{", "malformed")]
fn tells_what_is_no_signed_card(#[case] name: &str, #[case] text: &str, #[case] expected: &str) {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    let bundle = home.secctl(&["trust-bundle", "show", "--format", "pem"]).1;
    assert!(stack.end(Signal::TERM).success());
    fs::write(home.path("roots.pem"), bundle).unwrap();
    fs::write(home.path(name), text).unwrap();
    let trust = ["--trust-bundle", "roots.pem", "--trust-domain", "example.org"];
    let (status, document, stderr) = home.json(&[&["agentcard", "verify", name], &trust[..]].concat());
    assert_eq!((status, document["outcome"].as_str()), (7, Some(expected)), "{stderr}");
}
