//! What was in force is kept, shown, and brought back.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::home::{Home, LONG, Running, copy, policies, secctl};

const SOCKET: &str = "secplane-dev/bundle.sock";
const TIER: [&str; 2] = ["--tier", "client/travel/booking"];

impl Home {
    fn history(&self) -> serde_json::Value {
        self.ok(&[&["bundle", "history"], &TIER[..]].concat())
    }

    /// Waits until the tier has so many publications.
    fn wait_for(&self, publications: usize) -> serde_json::Value {
        let given_up = Instant::now() + LONG;
        loop {
            let history = self.history();
            if history["entries"].as_array().unwrap().len() >= publications {
                return history;
            }
            assert!(Instant::now() < given_up, "{history}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

const BOOKING: [&str; 2] = ["--identity", "spiffe://example.org/ns/travel/sa/booking"];
const PLANNER: [&str; 2] = ["--identity", "spiffe://example.org/ns/travel/sa/planner"];
const RESOURCE: [&str; 2] = ["--resource", "travel/booking"];

impl Home {
    fn bundle(&self, command: &[&str], of: &[&str]) -> serde_json::Value {
        self.ok(&[&["bundle"], command, of].concat())
    }

    /// What came into force, of whatever is named.
    fn entries(&self, of: &[&str]) -> Vec<serde_json::Value> {
        self.bundle(&["history"], of)["entries"].as_array().unwrap().clone()
    }

    /// The diff as it is shown.
    fn shown_diff(&self, of: &[&str], points: &[&str]) -> String {
        let (status, diff, stderr) = self.secctl(&[&["bundle", "diff"], of, points].concat());
        assert_eq!(status, 0, "{stderr}");
        diff
    }

    /// A stack whose policy of booking has changed once.
    fn changed_once(&self) -> Running {
        copy(&policies(), &self.path("policies"));
        let stack = start(self);
        self.wait_for(1);
        let manifest = self.path("policies/agent-to-agent/booking.yaml");
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, text.replace("booking answers; it calls nobody", "booking is silent")).unwrap();
        self.wait_for(2);
        stack
    }
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap()
}

fn tells_the_change(diff: &str) -> bool {
    diff.contains("-reason := \"booking answers") && diff.contains("+reason := \"booking is silent")
}

fn start(home: &Home) -> Running {
    Running::start_command(secctl().current_dir(home.0.path()).args(["dev", "--policies", "policies"]))
}

#[test]
fn goes_back_and_forth() {
    let home = Home::new();
    copy(&policies(), &home.path("policies"));
    let stack = start(&home);
    assert_eq!(home.wait_for(1)["entries"][0]["causes"][0], "travel/booking is new");

    let manifest = home.path("policies/agent-to-agent/booking.yaml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("booking answers; it calls nobody", "booking is silent")).unwrap();
    let history = home.wait_for(2);
    assert_eq!(history["entries"][1]["causes"][0], "travel/booking changed");

    let (status, diff, stderr) = home.secctl(&[&["bundle", "diff", "--from", "1"], &TIER[..]].concat());
    assert_eq!(status, 0, "{stderr}");
    assert!(
        diff.contains("-reason := \"booking answers") && diff.contains("+reason := \"booking is silent"),
        "{diff}"
    );

    let back = ["bundle", "rollback", "--to", "1", "--reason", "incident-17"];
    let answer = home.ok(&[&back[..], &TIER[..]].concat());
    assert_eq!(answer["pins"][0]["resource"], "travel/booking");
    assert_eq!(answer["durable"], true);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(answer["replica"], host.trim(), "which replica it holds for");
    let history = home.wait_for(3);
    assert!(history["pins"][0]["by"].as_str().unwrap().ends_with("incident-17"), "{history}");
    let entries = history["entries"].as_array().unwrap();
    assert_eq!(entries[2]["digest"], entries[0]["digest"], "what was in force is in force");

    assert!(stack.end(Signal::TERM).success());
    let stack = start(&home);
    assert_eq!(home.history()["pins"], history["pins"], "also after a restart");

    let release = ["bundle", "release", "--resource", "travel/booking", "--reason", "over"];
    assert_eq!(home.ok(&release)["pins"].as_array().unwrap().len(), 0);
    let history = home.wait_for(4);
    let entries = history["entries"].as_array().unwrap();
    assert_eq!(entries[3]["digest"], entries[1]["digest"]);
    let (status, _, stderr) = home.secctl(&release);
    assert_eq!(status, 5, "{stderr}");

    let identity = "spiffe://example.org/ns/travel/sa/booking";
    let of_identity = home.ok(&["bundle", "history", "--identity", identity]);
    let revisions = of_identity["entries"].as_array().unwrap();
    assert!(revisions.last().unwrap()["revision"].is_string(), "{of_identity}");
    assert_eq!(home.secctl(&["svid", "issue", "--spiffe-id", identity, "--out", "booking"]).0, 0);
    let service = stack.fact("Bundle service (mTLS)").strip_prefix("https://").unwrap();
    let pull = ["bundle", "pull", "--bundle-service", service, "--svid-dir", "booking"];
    assert_eq!(
        home.ok(&pull)["revision"],
        revisions.last().unwrap()["revision"],
        "and that is what is served"
    );
    assert!(stack.end(Signal::TERM).success());
}

#[test]
fn brings_a_resource_back() {
    let home = Home::new();
    let stack = home.changed_once();
    let of_resource = home.entries(&RESOURCE);
    let [first, second] = of_resource.as_slice() else { panic!("{of_resource:?}") };
    let versions = [first, second].map(|entry| text(&entry["members"][0]["version"]));
    assert_ne!(versions[0], versions[1]);
    assert!(tells_the_change(&home.shown_diff(&RESOURCE, &["--from", versions[0]])));
    let nothing = home.shown_diff(&RESOURCE, &["--from", versions[1], "--to", versions[1]]);
    assert!(nothing.contains("nothing differs"), "{nothing}");

    let answer = home.bundle(&["rollback", "--to", &versions[0][..12], "--reason", "x"], &RESOURCE);
    assert_eq!(answer["pins"][0]["to"], versions[0]);
    assert_eq!(answer["pins"][0]["instead_of"], versions[1]);
    assert_eq!(home.entries(&RESOURCE)[2]["members"][0]["version"], versions[0]);
    assert!(stack.end(Signal::TERM).success());
}

#[test]
fn brings_one_identity_back_and_nobody_else() {
    let home = Home::new();
    let stack = home.changed_once();
    let of_booking = home.entries(&BOOKING);
    let [.., before, after] = of_booking.as_slice() else { panic!("{of_booking:?}") };
    let revisions = [before, after].map(|entry| text(&entry["revision"]));
    assert!(tells_the_change(&home.shown_diff(&BOOKING, &["--from", revisions[0]])));
    let back = home.shown_diff(&BOOKING, &["--from", revisions[1], "--to", revisions[0]]);
    assert!(back.contains("+reason := \"booking answers"), "{back}");

    let of_planner = home.entries(&PLANNER);
    for point in [revisions[0], "1"] {
        let answer = home.bundle(&["rollback", "--to", point, "--reason", "x"], &BOOKING);
        assert_eq!(answer["tiers"], serde_json::json!([TIER[1]]));
        assert_eq!(home.entries(&BOOKING).last().unwrap()["revision"], revisions[0]);
        let released = home.bundle(&["release", "--reason", "over"], &BOOKING);
        assert_eq!(released["pins"], serde_json::json!([]));
        assert_eq!(home.entries(&BOOKING).last().unwrap()["revision"], revisions[1]);
    }
    assert_eq!(home.entries(&PLANNER), of_planner, "nothing came into force for another");
    assert!(stack.end(Signal::TERM).success());
}

#[test]
fn says_what_it_cannot_do() {
    let home = Home::new();
    copy(&policies(), &home.path("policies"));
    let (status, _, stderr) = home.secctl(&["bundle", "history", "--tier", "global"]);
    assert_eq!(status, 3, "{stderr}");
    assert!(stderr.contains(SOCKET) && stderr.contains("admin_socket"), "{stderr}");

    let stack = start(&home);
    let rollback = |target: &[&str], to: &str| {
        home.secctl(&[&["bundle", "rollback", "--reason", "x", "--to", to][..], target].concat())
    };
    assert_eq!(rollback(&TIER, "99").0, 5);
    assert_eq!(rollback(&TIER, "yesterday").0, 6);
    assert_eq!(rollback(&["--resource", "travel/booking"], "0123456789ab").0, 5);
    assert_eq!(rollback(&["--resource", "travel/nobody"], "0123456789ab").0, 5);
    let guest = "spiffe://example.org/ns/travel/sa/guest";
    let (status, _, stderr) = rollback(&["--identity", guest], "1");
    assert_eq!(status, 6, "{stderr}");
    assert!(stderr.contains("--tier global") && stderr.contains("--tier namespace/travel"), "{stderr}");
    let (status, _, stderr) = home.secctl(&["bundle", "rollback", "--tier", "global", "--to", "1"]);
    assert_eq!(status, 2, "a reason is asked for: {stderr}");
    assert!(stack.end(Signal::TERM).success());
}
