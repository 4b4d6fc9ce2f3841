//! Entries out of files and into files.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::home::{Home, Running};

const TEAM: &str = "\
spiffe_id: spiffe://example.org/ns/demo/sa/web
selectors: [unix:uid:4242]
hint: team-x
dns_names: [Web.local]
x509_svid_ttl: 30m
---
- spiffe_id: spiffe://example.org/ns/demo/sa/db
  selectors: ['unix:uid:4243', 'unix:path:/usr/bin/db']
  hint: team-x
- id: chosen
  spiffe_id: spiffe://example.org/ns/demo/sa/job
  selectors: [unix:uid:4244]
  hint: team-x
  expires_at: 2096-10-02T07:06:40Z
";

fn actions(document: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let changes = document["changes"].as_array().unwrap();
    changes.iter().map(|step| (text(&step["action"]), text(&step["spiffe_id"]))).collect()
}

#[test]
fn applies_a_file_until_there_is_nothing_to_do() {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    fs::write(home.path("team.yaml"), TEAM).unwrap();
    let apply = |rest: &[&str]| home.json(&[&["entry", "apply", "-f", "team.yaml"], rest].concat());
    let before = home.ok(&["entry", "export"]);

    let (status, plan, stderr) = apply(&["--dry-run"]);
    assert_eq!((status, &plan["applied"]), (0, &Value::Bool(false)), "{stderr}");
    assert_eq!(actions(&plan).len(), 3);
    assert_eq!(home.ok(&["entry", "export"]), before, "a dry run changes nothing");
    let (status, _, stderr) = apply(&[]);
    assert_eq!(status, 2, "nobody sits there to say yes: {stderr}");
    assert!(stderr.contains("--yes"), "{stderr}");
    assert_eq!(home.ok(&["entry", "export"]), before);

    let (status, done, stderr) = apply(&["--yes"]);
    assert_eq!((status, &done["applied"]), (0, &Value::Bool(true)), "{stderr}");
    let (status, again, stderr) = apply(&["--yes"]);
    assert_eq!(
        (status, &again["changes"], &again["unchanged"]),
        (0, &Value::from(Vec::<Value>::new()), &3.into())
    );
    assert!(stderr.is_empty(), "{stderr}");

    // A changed field, an entry less and one more.
    let changed = TEAM
        .replace("x509_svid_ttl: 30m", "x509_svid_ttl: 15m\nadmin: true")
        .replace("id: chosen", "id: other")
        .replace("/sa/job", "/sa/cron");
    fs::write(home.path("team.yaml"), changed).unwrap();
    let (status, done, stderr) = apply(&["--prune", "--hint", "team-x", "--yes"]);
    assert_eq!(status, 0, "{stderr}");
    let id = |name| format!("spiffe://example.org/ns/demo/sa/{name}");
    assert_eq!(
        actions(&done),
        [("delete".into(), id("job")), ("update".into(), id("web")), ("create".into(), id("cron"))]
    );
    let differences = &done["changes"][1]["differences"];
    assert_eq!(differences[0], serde_json::json!({"field": "x509_svid_ttl", "from": "30m", "to": "15m"}));
    assert_eq!(differences[1], serde_json::json!({"field": "admin", "from": "", "to": "yes"}));
    assert_eq!(differences.as_array().unwrap().len(), 2);
    assert_eq!(home.json(&["entry", "show", "chosen"]).0, 5);
    assert!(stack.end(Signal::TERM).success());
}

#[test]
fn carries_entries_from_one_authority_to_another() {
    let (from, to) = (Home::new(), Home::new());
    let (first, second) = (Running::start(&from, &[]), Running::start(&to, &[]));
    fs::write(from.path("team.yaml"), TEAM).unwrap();
    from.ok(&["entry", "apply", "-f", "team.yaml", "--yes"]);
    let (status, exported, stderr) = from.secctl(&["entry", "export"]);
    assert_eq!(status, 0, "{stderr}");
    let team: Vec<Value> = serde_saphyr::from_str(&exported).unwrap();
    let team: Vec<_> = team.into_iter().filter(|entry| entry["hint"] == "team-x").collect();
    fs::write(to.path("team.yaml"), serde_saphyr::to_string(&team).unwrap()).unwrap();
    let imported = to.ok(&["entry", "import", "-f", "team.yaml"]);
    assert_eq!(actions(&imported).len(), 3);
    assert_eq!(to.ok(&["entry", "import", "-f", "team.yaml"])["unchanged"], 3);
    let there = to.ok(&["entry", "export"]);
    assert!(team.iter().all(|entry| there.as_array().unwrap().contains(entry)), "IDs and all: {there}");

    // What stands otherwise is not overwritten in passing.
    let other = serde_saphyr::to_string(&team).unwrap().replace("team-x", "team-y");
    fs::write(to.path("team.yaml"), other).unwrap();
    let (status, _, stderr) = to.json(&["entry", "import", "-f", "team.yaml"]);
    assert_eq!(status, 6, "{stderr}");
    assert!(stderr.contains("apply"), "{stderr}");
    assert_eq!(to.ok(&["entry", "export"]), there);
    assert!(first.end(Signal::TERM).success() && second.end(Signal::TERM).success());
}

#[test]
fn does_what_it_can_of_a_file_and_says_what_was_refused() {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    let bad = "\n- {spiffe_id: 'spiffe://other.org/a', selectors: ['unix:uid:1']}\n";
    let good = "- {spiffe_id: 'spiffe://example.org/good', selectors: ['unix:uid:1']}\n";
    fs::write(home.path("mixed.yaml"), format!("{bad}{good}")).unwrap();
    let (status, _, stderr) = home.json(&["entry", "apply", "-f", "mixed.yaml", "--yes"]);
    assert_eq!(status, 6, "{stderr}");
    assert!(stderr.contains("not a member of trust domain"), "{stderr}");
    let made = home.ok(&["entry", "list", "--spiffe-id", "spiffe://example.org/good"]);
    assert_eq!(made["entries"].as_array().unwrap().len(), 1);

    fs::write(home.path("broken.yaml"), "spiffe_id: spiffe://example.org/a\nselector: [unix:uid:1]\n")
        .unwrap();
    let (status, _, stderr) = home.json(&["entry", "apply", "-f", "broken.yaml", "--yes"]);
    assert_eq!(status, 6, "{stderr}");
    assert!(stderr.contains("`selector`") && stderr.contains("broken.yaml"), "{stderr}");
    let (status, _, stderr) = home.json(&["entry", "apply", "-f", "mixed.yaml", "--prune", "--yes"]);
    assert_eq!(status, 2, "what to prune must be said: {stderr}");
    assert!(stack.end(Signal::TERM).success());
}
