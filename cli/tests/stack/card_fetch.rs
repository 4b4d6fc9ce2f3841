//! Fetching the card of a running agent, and the examples of every command for cards.

use std::{fs, path::Path, process::Command};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    card_server::CardServer,
    cards::WEB,
    home::{Home, Running, ended, secctl},
};

const NEW: &str = "/.well-known/agent-card.json";
const OLD: &str = "/.well-known/agent.json";
const OTHER: &str = "spiffe://example.org/ns/demo/sa/other";

/// A card without a fault.
fn card() -> String {
    json!({
        "name": "Web", "description": "Answers.", "version": "1.0.0",
        "supportedInterfaces": [{"url": "https://web.example", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "capabilities": {"streaming": true},
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
        "skills": [{"id": "answer", "name": "Answer", "description": "Answers questions.", "tags": ["web"]}],
    })
    .to_string()
}

/// A stack, SVIDs in `web` and `other`, and `signed.json` signed by `WEB`.
fn prepared() -> (Home, Running) {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    for (id, folder) in [(WEB, "web"), (OTHER, "other")] {
        home.ok(&["svid", "issue", "--spiffe-id", id, "--out", folder]);
    }
    fs::write(home.path("card.json"), card()).unwrap();
    home.ok(&["agentcard", "sign", "card.json", "--svid-dir", "web", "--portable", "--out", "signed.json"]);
    (home, stack)
}

fn fetch(home: &Home, url: &str, more: &[&str]) -> (i32, Value, String) {
    home.json(&[&["agentcard", "fetch", url, "--svid-dir", "other"], more].concat())
}

#[test]
fn says_who_served_the_card_and_who_signed_it() {
    let (home, stack) = prepared();
    for path in [NEW, OLD, "/cards/web.json"] {
        let agent = CardServer::start(&home.path("signed.json"), path, Some(&home.path("web")));
        let explicit = if path.starts_with("/.well-known") { "" } else { path };
        let url = format!("https://localhost:{}{explicit}", agent.port);
        let (status, report, stderr) = fetch(&home, &url, &["--out", "fetched.json"]);
        assert_eq!(status, 0, "{stderr}");
        assert_eq!(report["attested_id"], WEB);
        assert_eq!(report["attested_is_signer"], true);
        assert!(report["url"].as_str().unwrap().ends_with(path), "{report}");
        assert_eq!(report["verification"]["outcome"], "valid");
        assert_eq!(fs::read(home.path("fetched.json")).unwrap(), fs::read(home.path("signed.json")).unwrap());
        fs::remove_file(home.path("fetched.json")).unwrap();
    }
    assert!(stack.end(Signal::TERM).success());
}

#[test]
fn refuses_a_card_that_nobody_answers_for() {
    let (home, stack) = prepared();
    // Served by one, signed by another.
    let agent = CardServer::start(&home.path("signed.json"), NEW, Some(&home.path("other")));
    let url = format!("https://localhost:{}", agent.port);
    let (status, report, stderr) = fetch(&home, &url, &["--out", "fetched.json"]);
    assert_eq!((status, report["attested_is_signer"].as_bool()), (7, Some(false)), "{stderr}");
    assert!(!home.path("fetched.json").exists());
    // Not whom the caller expects.
    for mode in ["strict", "permissive"] {
        let (status, _, stderr) = fetch(&home, &url, &["--expect-id", WEB, "--mode", mode]);
        assert_eq!(status, 4, "{mode}: {stderr}");
    }
    // A redirect leads nowhere.
    let (status, _, stderr) = fetch(&home, &format!("{url}/moved.json"), &[]);
    assert_eq!(status, 6, "{stderr}");
    assert!(stderr.contains("redirects are not followed"), "{stderr}");
    let (status, ..) = fetch(&home, &format!("{url}/nothing.json"), &[]);
    assert_eq!(status, 5);
    drop(agent);

    // Unsigned: its server answers for it, if it proved who it is.
    let agent = CardServer::start(&home.path("card.json"), NEW, Some(&home.path("web")));
    let (status, report, stderr) = fetch(&home, &format!("https://localhost:{}", agent.port), &[]);
    assert_eq!((status, report["verification"]["outcome"].as_str()), (0, Some("unsigned")), "{stderr}");
    assert!(stack.end(Signal::TERM).success());
}

#[test]
fn keeps_to_its_mode() {
    let (home, stack) = prepared();
    let signed = CardServer::start(&home.path("signed.json"), NEW, None);
    let unsigned = CardServer::start(&home.path("card.json"), NEW, None);
    let url = |scheme: &str, agent: &CardServer| format!("{scheme}://localhost:{}", agent.port);
    let cases = [
        (url("https", &signed), "strict", 3),
        (url("http", &signed), "strict", 2),
        (url("https", &signed), "permissive", 0),
        (url("https", &unsigned), "permissive", 14),
        (url("http", &signed), "disabled", 0),
        (url("http", &unsigned), "disabled", 14),
    ];
    for (url, mode, expected) in cases {
        let (status, report, stderr) = fetch(&home, &url, &["--mode", mode]);
        assert_eq!(status, expected, "{url} {mode}: {stderr}");
        assert!(report["attested_id"].is_null(), "{report}");
    }
    assert!(stack.end(Signal::TERM).success());
}

#[test]
fn refuses_a_card_that_is_too_large() {
    let (home, stack) = prepared();
    fs::write(home.path("large.json"), vec![b' '; 1024 * 1024 + 1]).unwrap();
    let agent = CardServer::start(&home.path("large.json"), NEW, Some(&home.path("web")));
    let (status, _, stderr) = fetch(&home, &format!("https://localhost:{}", agent.port), &[]);
    assert_eq!(status, 6, "{stderr}");
    assert!(stderr.contains("at most 1048576 bytes"), "{stderr}");
    assert!(stack.end(Signal::TERM).success());
}

/// The lines of a command's help that a reader would type.
fn examples(command: &[&str]) -> Vec<String> {
    let (status, help, _) = ended(secctl().arg("agentcard").args(command).arg("--help"));
    assert_eq!(status, 0);
    // A long example is broken over several lines.
    let mut lines: Vec<String> = Vec::new();
    let mut inside = false;
    for line in help.lines() {
        match line.strip_prefix("  ") {
            Some(example) if example.starts_with("secctl ") => {
                inside = true;
                lines.push(example.to_owned());
            }
            _ if line.trim().is_empty() => inside = false,
            _ => {
                if let (true, Some(last)) = (inside, lines.last_mut()) {
                    last.push(' ');
                    last.push_str(line.trim());
                }
            }
        }
    }
    assert!(!lines.is_empty(), "{command:?} has no example");
    lines
}

/// The commands in the documentation that say of themselves that they are run.
fn documented() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/agentcards.md");
    let text = fs::read_to_string(path).unwrap();
    let blocks = text.split("```sh example\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// A shell in which `secctl` is the program that was just built.
fn shell(folder: &Path, line: &str) -> Command {
    let program = assert_cmd::cargo::cargo_bin!("secctl");
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.current_dir(folder).env("PATH", path).env_remove("SECCTL_ADMIN_SOCKET").args(["-ec", line]);
    shell
}

#[test]
fn every_example_in_the_help_and_the_documentation_works() {
    let (home, stack) = prepared();
    fs::copy(home.path("web/bundle.pem"), home.path("bundle.pem")).unwrap();
    let agent = CardServer::start(&home.path("signed.json"), NEW, Some(&home.path("web")));
    for command in [&[][..], &["sign"], &["verify"], &["fetch"], &["lint"]] {
        for example in examples(command) {
            let mut line = example.replace("9443", &agent.port.to_string());
            let watches = line.contains("--watch");
            if watches {
                // Such a command ends when it is told to, once it has begun: that takes a while on a busy machine.
                line = format!("timeout --preserve-status --signal TERM 8 {line}");
            }
            let (status, stdout, stderr) = ended(&mut shell(home.0.path(), &line));
            assert_eq!(status, 0, "{line}\n{stdout}{stderr}");
        }
    }
    let documented = documented();
    assert!(documented.len() >= 7, "the examples of docs/agentcards.md were not found: {documented:?}");
    for line in documented {
        let (status, stdout, stderr) = ended(&mut shell(home.0.path(), &line));
        assert_eq!(status, 0, "{line}\n{stdout}{stderr}");
    }
    assert!(stack.end(Signal::TERM).success());
}
