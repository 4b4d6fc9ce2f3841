//! Signing and verifying cards, and telling apart the ways in which one is not valid.

use std::{
    fs,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    card_server::CardServer,
    home::{Home, LONG, Running, ended, secctl},
};

const CARD: &str = r#"{"name":"Web","description":"Answers","version":"1.0.0"}"#;
pub(crate) const WEB: &str = "spiffe://example.org/ns/demo/sa/web";
const OTHER: &str = "spiffe://example.org/ns/demo/sa/other";

/// A stack, and in the home a card that is signed by `WEB`, whose SVID is in `web`.
fn with_signed_card() -> (Home, Running) {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    home.ok(&["svid", "issue", "--spiffe-id", WEB, "--out", "web"]);
    fs::write(home.path("card.json"), CARD).unwrap();
    let signed = home.ok(&["agentcard", "sign", "card.json", "--svid-dir", "web", "--out", "signed.json"]);
    assert_eq!(signed["signer"], WEB);
    (home, stack)
}

/// Exit status and report of a verification.
fn verify(home: &Home, arguments: &[&str]) -> (i32, Value) {
    let (status, document, stderr) = home.json(&[&["agentcard", "verify"], arguments].concat());
    assert!(!document.is_null(), "{stderr}");
    (status, document)
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["signatures"][0]["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap()
}

#[test]
fn tells_the_class_by_the_exit_status() {
    let (home, stack) = with_signed_card();
    assert!(stack.end(Signal::TERM).success());
    let trust = ["signed.json", "--svid-dir", "web"];
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--expect-id", WEB], 0, "valid"),
        (&["--canonicalization", "kagenti"], 0, "valid"),
        (&["--expect-id", OTHER], 10, "untrusted"),
        (&["--at", "2999-01-01T00:00:00Z"], 12, "expired"),
        (&["--at", "2001-01-01T00:00:00Z"], 10, "untrusted"),
        (&["--key-set", "web/svid.pem"], 6, ""),
    ];
    for (more, status, class) in cases {
        let (found, document, stderr) = home.json(&[&["agentcard", "verify"], &trust[..], more].concat());
        let outcome = document["outcome"].as_str().unwrap_or_default();
        assert_eq!((found, outcome), (status, class), "{more:?}: {stderr}");
    }

    let text = fs::read_to_string(home.path("signed.json")).unwrap();
    fs::write(home.path("changed.json"), text.replace("Answers", "Asks")).unwrap();
    let (status, report) = verify(&home, &["changed.json", "--svid-dir", "web"]);
    assert_eq!((status, report["outcome"].as_str()), (11, Some("tampered")));
    assert_eq!(check(&report, "signature")["status"], "failed");
    assert_eq!(check(&report, "chain")["status"], "ok");
}

#[rstest]
#[case("unsigned.json", CARD, 14, "unsigned")]
#[case("broken.json", "{", 15, "malformed")]
fn tells_what_is_no_signed_card(
    #[case] name: &str,
    #[case] text: &str,
    #[case] expected: i32,
    #[case] class: &str,
) {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    let bundle = home.secctl(&["trust-bundle", "show", "--format", "pem"]).1;
    assert!(stack.end(Signal::TERM).success());
    fs::write(home.path("roots.pem"), bundle).unwrap();
    fs::write(home.path(name), text).unwrap();
    let (status, report) =
        verify(&home, &[name, "--trust-bundle", "roots.pem", "--trust-domain", "example.org"]);
    assert_eq!((status, report["outcome"].as_str()), (expected, Some(class)));
}

/// Each source of trust, and what it knows of a revocation.
#[test]
fn takes_trust_from_everywhere() {
    let (home, stack) = with_signed_card();
    let spiffe = home.secctl(&["trust-bundle", "show", "--format", "spiffe"]).1;
    let pem = fs::read_to_string(home.path("web/bundle.pem")).unwrap();
    fs::write(home.path("bundle.json"), &spiffe).unwrap();
    let map = |key: &str, text: &str| {
        let data = serde_json::json!({ key: text });
        serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "spire-bundle"}, "data": data})
            .to_string()
    };
    fs::write(home.path("newer.yaml"), map("bundle.spiffe", &spiffe)).unwrap();
    let indented: String = pem.lines().map(|line| format!("    {line}\n")).collect();
    let yaml = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: spire-bundle\ndata:\n  bundle.crt: |\n{indented}"
    );
    fs::write(home.path("older.yaml"), yaml).unwrap();

    let admin_socket = "secplane-dev/ca/admin.sock";
    let server = format!("localhost:{}", stack.fact("CA (gRPC, TLS 1.3)").rsplit(':').next().unwrap());
    let files = ["web/bundle.pem", "bundle.json", "newer.yaml", "older.yaml"];
    let by_file = files.map(|file| vec!["--trust-bundle", file, "--trust-domain", "example.org"]);
    let by_ca: [Vec<&str>; 6] = [
        vec![],
        vec!["--admin-socket", admin_socket],
        vec!["--via-ca"],
        vec!["--server", &server, "--svid-dir", "web"],
        vec!["--server", &server, "--svid-dir", "web", "--via-ca"],
        vec!["--workload-api", "secplane-dev/workload.sock"],
    ];
    for source in by_file.iter().chain(&by_ca) {
        let (status, report) = verify(&home, &[&["signed.json"], &source[..]].concat());
        assert_eq!((status, report["outcome"].as_str()), (0, Some("valid")), "{source:?}: {report}");
        assert_eq!(report["signer"], WEB);
        let revocation = check(&report, "revocation")["status"].as_str();
        let expected = if by_file.contains(source) { "not-checked" } else { "ok" };
        assert_eq!(revocation, Some(expected), "{source:?}: {report}");
    }
    let crl = home.secctl(&["ca", "crl", "--format", "pem"]).1;
    fs::write(home.path("before.pem"), crl).unwrap();

    home.ok(&["svid", "issue", "--spiffe-id", "spiffe://example.org/admin", "--out", "admin"]);
    home.ok(&["cert", "revoke", "web/svid.pem"]);
    // One of the lists follows the revocation within a moment: each issuer has its own.
    let revoked = |list: &Value| !list["revoked"].as_array().unwrap().is_empty();
    let given_up = Instant::now() + LONG;
    while !home.ok(&["ca", "crl"])["lists"].as_array().unwrap().iter().any(revoked) {
        assert!(Instant::now() < given_up, "no list has the certificate that was revoked");
    }
    let crl = home.secctl(&["ca", "crl", "--format", "pem"]).1;
    fs::write(home.path("after.pem"), crl).unwrap();
    let trust = ["signed.json", "--trust-bundle", "bundle.json", "--trust-domain", "example.org"];
    for (list, expected) in [("before.pem", 0), ("after.pem", 13)] {
        assert_eq!(verify(&home, &[&trust[..], &["--crl", list]].concat()).0, expected, "{list}");
    }
    let by_ca: [&[&str]; 5] = [
        &[],
        &["--via-ca"],
        &["--server", &server, "--svid-dir", "admin"],
        &["--server", &server, "--svid-dir", "admin", "--via-ca"],
        &["--workload-api", "secplane-dev/workload.sock"],
    ];
    for source in by_ca {
        let (status, report) = verify(&home, &[&["signed.json"], source].concat());
        assert_eq!((status, report["outcome"].as_str()), (13, Some("revoked")), "{source:?}: {report}");
    }
    assert!(stack.end(Signal::TERM).success());
}

/// A file, standard input, or a URL; and for people every check is a line, whatever came of it.
#[test]
fn takes_the_card_from_everywhere() {
    let (home, stack) = with_signed_card();
    let agent = CardServer::start(&home.path("signed.json"), "/card.json", None);
    let url = format!("http://localhost:{}/card.json", agent.port);
    for card in ["signed.json", &url] {
        assert_eq!(verify(&home, &[card, "--svid-dir", "web"]).0, 0, "{card}");
    }
    let (status, ..) = home.json(&["agentcard", "verify", &format!("{url}x"), "--svid-dir", "web"]);
    assert_eq!(status, 5);

    let mut command = secctl();
    command.current_dir(home.0.path()).args(["agentcard", "verify", "-", "--svid-dir", "web"]);
    command.args(["--expect-id", OTHER]).stdin(fs::File::open(home.path("signed.json")).unwrap());
    let (status, table, stderr) = ended(&mut command);
    assert_eq!(status, 10, "{stderr}");
    let results = [
        ("format", "ok"),
        ("certificates", "ok"),
        ("key-set", "not checked"),
        ("spiffe-id", "ok"),
        ("key-usage", "ok"),
        ("algorithm", "ok"),
        ("signature", "ok"),
        ("coverage", "ok"),
        ("trust-domain", "not checked"),
        ("expected-id", "failed"),
        ("chain", "ok"),
        ("revocation", "not checked"),
        ("validity", "ok"),
    ];
    for (name, result) in results {
        let line = table.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
        let detail = line.and_then(|line| line.strip_prefix(result)).map(str::trim);
        assert!(detail.is_some_and(|detail| !detail.is_empty()), "{name} is not {result}:\n{table}");
    }
    assert!(stack.end(Signal::TERM).success());
}

/// Whoever makes a card writes some of what is said of it, and must not write to the terminal.
#[test]
fn shows_nothing_that_a_terminal_obeys() {
    let home = Home::new();
    fs::write(home.path("card.json"), "{\"name\":\"a\\u001b[2Jb\",\"signatures\":[{\"protected\":\"eyJhbGciOiJFUzI1NiIsImNyaXQiOiJcdTAwOWIyIn0\",\"signature\":\"\"}]}").unwrap();
    fs::write(home.path("roots.json"), r#"{"keys":[]}"#).unwrap();
    let trust = ["--trust-bundle", "roots.json", "--trust-domain", "example.org"];
    let (status, table, stderr) = home.secctl(&[&["agentcard", "verify", "card.json"], &trust[..]].concat());
    assert_eq!(status, 15, "{stderr}");
    assert!(table.contains("a\\u{1b}[2Jb") && stderr.contains("\\u{9b}2"), "{table}{stderr}");
    assert!(!table.chars().chain(stderr.chars()).any(|c| c.is_control() && c != '\n'));
}

#[test]
fn writes_and_reads_a_config_map() {
    let (home, stack) = with_signed_card();
    home.ok(&[
        "agentcard",
        "sign",
        "card.json",
        "--svid",
        "web/svid.pem",
        "--key",
        "web/key.pem",
        "--write-configmap",
        "web",
        "--namespace",
        "demo",
        "--out",
        "map.yaml",
    ]);
    let text = fs::read_to_string(home.path("map.yaml")).unwrap();
    assert!(text.contains("name: web-card-signed") && text.contains("agent-card.json"), "{text}");
    assert_eq!(verify(&home, &["map.yaml", "--from-configmap"]).0, 0);
    // Read as a card, it is one without a signature at best.
    assert_ne!(verify(&home, &["map.yaml"]).0, 0);
    assert!(stack.end(Signal::TERM).success());
}

#[test]
fn adds_to_signatures_and_replaces_its_own() {
    let (home, stack) = with_signed_card();
    home.ok(&["svid", "issue", "--spiffe-id", OTHER, "--out", "other"]);
    let sign = |more: &[&str]| {
        let first = ["agentcard", "sign", "signed.json", "--svid-dir", "other", "--out", "signed.json"];
        home.ok(&[&first[..], more].concat())["signatures"].as_u64().unwrap()
    };
    assert_eq!(sign(&[]), 2);
    assert_eq!(sign(&[]), 2, "its own is replaced");
    assert_eq!(sign(&["--existing", "keep"]), 3);
    for id in [WEB, OTHER] {
        assert_eq!(verify(&home, &["signed.json", "--expect-id", id]).0, 0, "{id}");
    }
    assert_eq!(sign(&["--existing", "replace-all"]), 1);
    assert_eq!(verify(&home, &["signed.json", "--expect-id", WEB]).0, 10);
    assert!(stack.end(Signal::TERM).success());
}

#[test]
fn names_what_makes_verifiers_disagree() {
    let (home, stack) = with_signed_card();
    fs::write(home.path("differing.json"), r#"{"name":"Web","version":"1","skills":[]}"#).unwrap();
    let (status, _, stderr) = home.json(&["agentcard", "sign", "differing.json", "--svid-dir", "web"]);
    assert_eq!(status, 6);
    assert!(stderr.contains("sdk and kagenti drops skills") && stderr.contains("--portable"), "{stderr}");
    let portable = home.ok(&[
        "agentcard",
        "sign",
        "differing.json",
        "--svid-dir",
        "web",
        "--portable",
        "--out",
        "p.json",
    ]);
    assert_eq!(portable["signatures"], 2);
    for form in ["raw", "presence", "sdk", "kagenti"] {
        assert_eq!(verify(&home, &["p.json", "--canonicalization", form]).0, 0, "{form}");
    }
    assert!(stack.end(Signal::TERM).success());
}

#[test]
fn signs_again_when_the_svid_rotates() {
    let (home, stack) = with_signed_card();
    let user = format!("unix:uid:{}", rustix::process::geteuid().as_raw());
    // The shortest that is issued: a successor comes at half of it.
    home.ok(&["entry", "create", "--spiffe-id", WEB, "--selector", &user, "--ttl", "6s"]);
    let mut watching = secctl()
        .current_dir(home.0.path())
        .args(["agentcard", "sign", "card.json", "--workload-api", "secplane-dev/workload.sock"])
        .args(["--identity", WEB, "--watch", "--out", "watched.json"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let path = home.path("watched.json");
    let mut seen = std::collections::HashSet::new();
    let given_up = Instant::now() + LONG;
    while seen.len() < 3 {
        assert!(Instant::now() < given_up, "only {} signatures came", seen.len());
        assert_eq!(watching.try_wait().unwrap(), None, "it ended by itself");
        if let Ok(text) = fs::read_to_string(&path) {
            let card: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(card["signatures"].as_array().unwrap().len(), 1);
            seen.insert(card["signatures"][0]["protected"].as_str().unwrap().to_owned());
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(verify(&home, &["watched.json", "--expect-id", WEB]).0, 0);
    kill_process(Pid::from_child(&watching), Signal::TERM).unwrap();
    assert!(watching.wait().unwrap().success());
    assert!(stack.end(Signal::TERM).success());
}

#[test]
fn lints() {
    let home = Home::new();
    fs::write(home.path("card.json"), CARD).unwrap();
    let (status, report, _) = home.json(&["agentcard", "lint", "card.json"]);
    assert_eq!(status, 7);
    let missing: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["rule"] == "required")
        .map(|finding| finding["member"].as_str().unwrap())
        .collect();
    assert_eq!(
        missing,
        ["supportedInterfaces", "capabilities", "defaultInputModes", "defaultOutputModes", "skills"]
    );
}
