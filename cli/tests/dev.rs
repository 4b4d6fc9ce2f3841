//! `secctl dev`: the whole stack in one process, and the commands against it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The last line that is printed when everything works.
const READY: &str = "Ctrl-C ends it.";

fn secctl() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("secctl"));
    command.env_remove("SECCTL_ADMIN_SOCKET").env_remove("SECCTL_BUNDLE_SERVICE");
    command
}

fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").canonicalize().unwrap()
}

/// `secctl dev` in a home of its own.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn dev(&self, arguments: &[&str]) -> Command {
        let mut command = secctl();
        command.current_dir(self.0.path()).arg("dev").arg("--policies").arg(policies()).args(arguments);
        command
    }

    /// Runs to the end: status, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.dev(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

/// A stack that runs until it is told to end.
struct Running {
    child: Child,
    printed: Vec<String>,
}

impl Running {
    /// Starts it and reads what it prints until it says that everything works.
    fn start(home: &Home, arguments: &[&str]) -> Self {
        let mut child = home.dev(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut printed = Vec::new();
        for line in lines {
            let line = line.unwrap();
            let ready = line == READY;
            printed.push(line);
            if ready {
                return Self { child, printed };
            }
        }
        let status = child.wait().unwrap();
        panic!("it ended with {status} after:\n{}", printed.join("\n"));
    }

    /// The commands that it says to try next.
    fn commands(&self) -> Vec<&str> {
        let after = self.printed.iter().skip_while(|line| !line.contains("Try next"));
        after.filter_map(|line| line.strip_prefix("  ")).collect()
    }

    fn fact(&self, name: &str) -> &str {
        let line = self.printed.iter().find_map(|line| line.trim_start().strip_prefix(name));
        line.unwrap_or_default().trim()
    }

    fn end(mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fingerprint(stdout: &str) -> &str {
    stdout.split_once("Root SHA-256").unwrap().1.lines().next().unwrap().trim()
}

#[test]
fn does_the_main_job_and_keeps_what_it_made() {
    let home = Home::new();
    let (status, first, stderr) = home.run(&["--exit"]);
    assert_eq!(status, 0, "{first}\n{stderr}");
    for step in [
        "issue an SVID",
        "pull its bundle over mTLS",
        "refuse it another's bundle",
        "decide an allowed request",
        "decide a denied request",
        "sign an AgentCard",
        "verify the AgentCard",
    ] {
        let line = first.lines().find(|line| line.contains(step)).unwrap_or_default();
        assert!(line.starts_with("  ok ") && line.contains(" ms "), "{step}: {first}");
    }
    let mode = |name: &str| fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("secplane-dev"), mode("secplane-dev/wrapping.key")), (0o700, 0o600));
    assert!(!home.path("secplane-dev/ca/admin.sock").exists(), "a socket is left");

    let (status, second, _) = home.run(&["--exit"]);
    assert_eq!(status, 0, "{second}");
    assert_eq!(fingerprint(&first), fingerprint(&second));

    let (status, _, stderr) = home.run(&["--exit", "--trust-domain", "other.org"]);
    assert_eq!(status, 6, "{stderr}");
    assert!(stderr.contains("--trust-domain example.org"), "{stderr}");
}

#[test]
fn works_in_another_trust_domain() {
    let home = Home::new();
    let (status, stdout, stderr) = home.run(&["--exit", "--trust-domain", "other.org"]);
    assert_eq!(status, 0, "{stdout}\n{stderr}");
    assert!(stdout.contains("spiffe://other.org/ns/travel/sa/booking"), "{stdout}");
}

#[test]
fn tells_programs_the_same() {
    let home = Home::new();
    let (status, stdout, stderr) = home.run(&["--exit", "--output", "json"]);
    assert_eq!(status, 0, "{stderr}");
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["trust_domain"], "example.org");
    let steps = document["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 7);
    assert!(steps.iter().all(|step| step["result"] == "ok"), "{stdout}");
}

#[rstest]
#[case(&[])]
#[case(&["--dir", "it's-another"])]
fn prints_commands_that_work(#[case] arguments: &[&str]) {
    let home = Home::new();
    let stack = Running::start(&home, arguments);
    assert!(stack.commands().len() >= 5, "{:?}", stack.printed);
    for command in stack.commands() {
        let output = Command::new("sh").args(["-c", command]).current_dir(home.0.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}\n{stderr}");
        assert!(!output.stdout.is_empty(), "{command}");
    }
    assert!(stack.end(Signal::INT).success());
}

#[rstest]
#[case(Signal::INT)]
#[case(Signal::TERM)]
fn ends_cleanly_when_told(#[case] signal: Signal) {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    assert!(home.path("secplane-dev/workload.sock").exists());
    assert_eq!(stack.end(signal).code(), Some(0));
    assert!(!home.path("secplane-dev/workload.sock").exists(), "a socket is left");
}

#[test]
fn refuses_a_folder_that_is_in_use() {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    let (status, _, stderr) = home.run(&["--exit"]);
    assert_eq!(status, 6, "{stderr}");
    assert!(stderr.contains("another `secctl dev`") && stderr.contains("--dir"), "{stderr}");
    assert!(stack.end(Signal::TERM).success(), "the first is not disturbed");
}

#[rstest]
#[case("--ca-port")]
#[case("--bundle-port")]
#[case("--health-port")]
fn names_the_option_of_a_port_that_is_taken(#[case] option: &str) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let home = Home::new();
    let (status, _, stderr) = home.run(&["--exit", option, &port]);
    assert_eq!(status, 6, "{stderr}");
    assert!(stderr.contains(option) && stderr.contains(&port), "{stderr}");
}

#[test]
fn names_missing_policies_and_makes_nothing() {
    let home = Home::new();
    let output = secctl()
        .current_dir(home.0.path())
        .args(["dev", "--exit", "--policies", "nowhere"])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("nowhere") && stderr.contains("--policies"), "{stderr}");
    assert!(!home.path("secplane-dev").exists());
}

/// A policy that denies what the example allows: the step must notice, and be named.
#[test]
fn names_the_step_that_fails() {
    let home = Home::new();
    let changed = home.path("policies");
    copy(&policies(), &changed);
    let manifest = changed.join("agent-to-agent/booking.yaml");
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("sa/planner"));
    fs::write(&manifest, text.replace("sa/planner", "sa/nobody")).unwrap();

    let output = secctl()
        .current_dir(home.0.path())
        .args(["dev", "--exit", "--policies", "policies"])
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    assert!(stderr.contains("decide an allowed request"), "{stderr}");
    assert!(stdout.contains("FAILED"), "{stdout}");
    assert!(!home.path("secplane-dev/workload.sock").exists(), "the stack is stopped all the same");
}

#[test]
fn serves_the_admin_commands() {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    let json = |arguments: &[&str]| {
        let output =
            secctl().current_dir(home.0.path()).args(["--output", "json"]).args(arguments).output().unwrap();
        let status = output.status.code().unwrap();
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (status, document, String::from_utf8(output.stderr).unwrap())
    };
    let ok = |arguments: &[&str]| {
        let (status, document, stderr) = json(arguments);
        assert_eq!(status, 0, "{arguments:?}: {stderr}");
        document
    };
    let web = "spiffe://example.org/ns/demo/sa/web";

    let entries = ok(&["entry", "list"])["entries"].as_array().unwrap().len();
    let entry =
        ok(&["entry", "create", "--spiffe-id", web, "--selector", "unix:uid:4242", "--dns", "web.local"]);
    let id = entry["id"].as_str().unwrap().to_owned();
    assert_eq!(ok(&["entry", "show", &id])["dns_names"][0], "web.local");
    assert_eq!(ok(&["entry", "list"])["entries"].as_array().unwrap().len(), entries + 1);
    ok(&["entry", "delete", &id]);
    assert_eq!(json(&["entry", "show", &id]).0, 5);

    ok(&["svid", "issue", "--spiffe-id", web, "--ttl", "5m", "--out", "web"]);
    let key = fs::metadata(home.path("web/key.pem")).unwrap().permissions().mode() & 0o777;
    assert_eq!(key, 0o600);
    assert_eq!(json(&["svid", "issue", "--spiffe-id", "spiffe://other.org/a", "--out", "no"]).0, 6);
    assert!(!home.path("no").exists(), "nothing is written for a refused SVID");

    let ca = stack.fact("CA (gRPC, TLS 1.3)").to_owned();
    let (status, _, stderr) = json(&["ca", "status", "--server", &ca, "--svid-dir", "web"]);
    assert_eq!(status, 4, "a workload is no admin: {stderr}");

    ok(&["cert", "issue", "client", "--common-name", "backup", "--out", "backup"]);
    let first = fs::read_to_string(home.path("backup/key.pem")).unwrap();
    let renewed = ok(&["cert", "renew", "--dir", "backup", "--server", &ca, "--trust-domain", "example.org"]);
    assert_ne!(first, fs::read_to_string(home.path("backup/key.pem")).unwrap(), "a renewal has a new key");
    let serial = renewed["serial_number"].as_str().unwrap();
    assert_eq!(ok(&["cert", "show", serial])["common_name"], "backup");
    ok(&["cert", "revoke", serial, "--reason", "lost"]);
    let (status, _, stderr) =
        json(&["cert", "renew", "--dir", "backup", "--server", &ca, "--trust-domain", "example.org"]);
    assert_eq!(status, 4, "a revoked certificate renews nothing: {stderr}");

    let root = stack.fact("Root SHA-256").to_owned();
    let bundle = ok(&["trust-bundle", "show", "--server", &ca, "--fingerprint", &root]);
    assert_eq!(bundle["roots"][0]["fingerprint"], root);
    let (status, document, stderr) =
        json(&["trust-bundle", "show", "--server", &ca, "--fingerprint", &"00".repeat(32)]);
    assert_eq!((status, document), (7, serde_json::Value::Null), "{stderr}");
    ok(&["trust-bundle", "watch", "--count", "1"]);
    assert!(stack.end(Signal::TERM).success());
}

#[test]
fn gives_a_workload_its_own_bundle_only() {
    let home = Home::new();
    let stack = Running::start(&home, &[]);
    let run = |arguments: &[&str]| {
        let output = secctl().current_dir(home.0.path()).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap(), text, String::from_utf8(output.stderr).unwrap())
    };
    let service = stack.fact("Bundle service (mTLS)").strip_prefix("https://").unwrap();
    let planner = "spiffe://example.org/ns/travel/sa/planner";
    let booking = "spiffe://example.org/ns/travel/sa/booking";
    assert_eq!(run(&["svid", "issue", "--spiffe-id", planner, "--out", "planner"]).0, 0);

    let pull = ["bundle", "pull", "--bundle-service", service, "--svid-dir", "planner"];
    let (status, _, stderr) = run(&[&pull[..], &["--identity", booking, "--out", "stolen.tar.gz"]].concat());
    assert_eq!(status, 4, "{stderr}");
    assert!(!home.path("stolen.tar.gz").exists());

    let (status, stdout, stderr) =
        run(&[&["--output", "json"], &pull[..], &["--identity", planner, "--out", "own.tar.gz"]].concat());
    assert_eq!(status, 0, "{stderr}");
    let pulled: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let etag = pulled["etag"].as_str().unwrap();
    let (status, stdout, stderr) = run(&[&pull[..], &["--etag", etag]].concat());
    assert_eq!(status, 0, "{stderr}");
    assert!(stdout.contains("unchanged"), "{stdout}");

    let (status, stdout, _) = run(&["bundle", "inspect", "own.tar.gz"]);
    assert_eq!(status, 0);
    assert!(stdout.contains("authbridge.client.inbound.request"), "{stdout}");
    assert!(!stdout.contains("booking answers"), "{stdout}");

    let input = policies().join("agent-to-agent/inputs/booking-calls-planner.json");
    let eval = ["policy", "eval", "--bundle", "own.tar.gz", "--decision", "inbound/request", "--input"];
    let (status, stdout, _) = run(&[&eval[..], &[input.to_str().unwrap()]].concat());
    assert_eq!(status, 0);
    assert!(stdout.contains("deny"), "{stdout}");
    let (status, _, stderr) = run(&[&eval[..], &[input.to_str().unwrap(), "--fail"]].concat());
    assert_eq!(status, 7, "{stderr}");
    assert!(stack.end(Signal::TERM).success());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
