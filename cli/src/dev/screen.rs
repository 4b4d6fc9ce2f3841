//! What `secctl dev` prints: line by line for people, one document for programs.

use std::{env, path::Path};

use serde::Serialize;

use super::{
    DEFAULT_DIR,
    folder::DevFolder,
    self_check::{Step, StepResult},
    stack::Stack,
};
use crate::{
    failure::Failure,
    output::{Output, Report, facts, note, visible},
};

/// Where the lines go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    output: Output,
}

impl Screen {
    pub(super) fn new(output: Output) -> Self {
        Self { output }
    }

    pub(super) fn starting(self, folder: &DevFolder) -> Result<(), Failure> {
        let how = if folder.is_new { "for the first time" } else { "again" };
        self.line(&format!("Starting Secplane in {} {how}.", folder.shown.display()))
    }

    pub(super) fn started(self, stack: &Stack) -> Result<(), Failure> {
        let running = Running::of(stack, &[]);
        self.line("")?;
        self.line(&indented(&running.facts()))
    }

    pub(super) fn step(self, step: &Step) -> Result<(), Failure> {
        let result = match step.result {
            StepResult::Ok => "ok",
            StepResult::Failed => "FAILED",
            StepResult::Skipped => "skipped",
        };
        let took = step.took.as_secs_f64() * 1e3;
        let detail = visible(&step.detail).replace('\n', "\n      ");
        self.line(&format!("  {result:<8}{:<28}{took:>8.1} ms  {detail}", step.name))
    }

    /// The document for programs, when all is done.
    pub(super) fn checked(self, stack: &Stack, steps: &[Step]) -> Result<(), Failure> {
        if self.output.is_for_people() { Ok(()) } else { self.output.report(&Running::of(stack, steps)) }
    }

    pub(super) fn what_next(self, stack: &Stack) -> Result<(), Failure> {
        self.line("\nEverything works. Try next, in another terminal:\n")?;
        for command in commands(stack) {
            self.line(&format!("  {command}"))?;
        }
        self.line("\nCtrl-C ends it.")
    }

    pub(super) fn check_failed(self, stack: &Stack, failure: &Failure) {
        note(format_args!("error: {failure}"));
        let log = stack.folder.show("secplane.log");
        note(format_args!("\nThe stack runs on, so that you can look at it; its log is {}.", log.display()));
    }

    pub(super) fn ending(self) -> Result<(), Failure> {
        self.line("\nEnding.")
    }

    fn line(self, text: &str) -> Result<(), Failure> {
        if self.output.is_for_people() { self.output.text(&format!("{text}\n")) } else { Ok(()) }
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// The stack as it runs, and what the self-check found.
#[derive(Serialize)]
struct Running<'a> {
    trust_domain: String,
    root_sha256: String,
    ca: String,
    admin_socket: String,
    workload_api: String,
    bundle_service: String,
    health: String,
    log: String,
    steps: &'a [Step],
}

impl<'a> Running<'a> {
    fn of(stack: &Stack, steps: &'a [Step]) -> Self {
        Self {
            trust_domain: stack.trust_domain.to_string(),
            root_sha256: stack.root_fingerprint.to_string(),
            ca: stack.ca_address.to_string(),
            admin_socket: stack.admin_socket.display().to_string(),
            workload_api: format!("unix:{}", stack.folder.workload_api().display()),
            bundle_service: format!("https://localhost:{}", stack.bundle_address.port()),
            health: format!("http://{}/readyz", stack.health_address),
            log: stack.folder.show("secplane.log").display().to_string(),
            steps,
        }
    }

    fn facts(&self) -> String {
        facts([
            ("Trust domain", self.trust_domain.clone()),
            ("Root SHA-256", self.root_sha256.clone()),
            ("CA (gRPC, TLS 1.3)", self.ca.clone()),
            ("CA admin socket", self.admin_socket.clone()),
            ("Workload API", self.workload_api.clone()),
            ("Bundle service (mTLS)", self.bundle_service.clone()),
            ("Bundle service health", self.health.clone()),
            ("Log", self.log.clone()),
        ])
    }
}

impl Report for Running<'_> {
    fn table(&self) -> String {
        self.facts()
    }
}

/// Commands that work as they stand, in this order, in the folder where this one was started.
fn commands(stack: &Stack) -> Vec<String> {
    let secctl = program();
    let shown = |name: &str| quoted(&stack.folder.show(name).display().to_string());
    // The commands look for the CA in the usual folder by themselves.
    let is_usual = stack.folder.shown == Path::new(DEFAULT_DIR);
    let admin = if is_usual { String::new() } else { format!(" --admin-socket {}", shown("ca/admin.sock")) };
    let (svid, bundle) = (shown("planner"), shown("planner.tar.gz"));
    let id = format!("spiffe://{}/ns/travel/sa/planner", stack.trust_domain);
    let port = stack.bundle_address.port();
    let input = stack.folder.policies_shown().join("agent-to-agent/inputs/booking-calls-planner.json");
    let input = quoted(&input.display().to_string());
    vec![
        format!("{secctl} ca status{admin}"),
        format!(
            "{secctl} trust-bundle show --server {} --fingerprint {}",
            stack.ca_address, stack.root_fingerprint
        ),
        format!("{secctl} svid issue --spiffe-id {id} --out {svid}{admin}"),
        format!("{secctl} bundle pull --bundle-service localhost:{port} --svid-dir {svid} --out {bundle}"),
        format!("{secctl} bundle inspect {bundle}"),
        format!("{secctl} policy eval --bundle {bundle} --decision inbound/request --input {input}"),
        format!("{secctl} cert list{admin}"),
    ]
}

/// How a person here would call this program.
fn program() -> String {
    let Ok(path) = env::current_exe() else { return "secctl".to_owned() };
    let below = env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    match below {
        Some(below) => quoted(&format!("./{}", below.display())),
        None => quoted(&path.display().to_string()),
    }
}

/// A word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("./a-b/c.sock", "./a-b/c.sock")]
    #[case("a b", "'a b'")]
    #[case("it's", r"'it'\''s'")]
    #[case("$(x)", "'$(x)'")]
    #[case("", "''")]
    fn quotes_for_a_shell(#[case] word: &str, #[case] expected: &str) {
        assert_eq!(quoted(word), expected);
    }
}
