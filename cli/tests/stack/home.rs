//! A stack of one's own for each test: `secctl dev` in a temporary folder.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a test waits for what should happen within a moment, however busy the machine is.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// The last line that is printed when everything works.
const READY: &str = "Ctrl-C ends it.";

pub(crate) fn secctl() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("secctl"));
    for name in ["SECCTL_ADMIN_SOCKET", "SECCTL_BUNDLE_SERVICE", "SECCTL_BUNDLE_ADMIN_SOCKET"] {
        command.env_remove(name);
    }
    command
}

pub(crate) fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").canonicalize().unwrap()
}

/// `secctl dev` in a home of its own.
pub(crate) struct Home(pub(crate) TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn dev(&self, arguments: &[&str]) -> Command {
        let mut command = secctl();
        command.current_dir(self.0.path()).arg("dev").arg("--policies").arg(policies()).args(arguments);
        command
    }

    /// Runs another command in the home, to its end: status, standard output, standard error.
    pub(crate) fn secctl(&self, arguments: &[&str]) -> (i32, String, String) {
        ended(secctl().current_dir(self.0.path()).args(arguments))
    }

    /// As [`Home::secctl`], and the result as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> (i32, serde_json::Value, String) {
        let (status, stdout, stderr) = self.secctl(&[&["--output", "json"], arguments].concat());
        (status, serde_json::from_str(&stdout).unwrap_or_default(), stderr)
    }

    /// As [`Home::json`], of a command that must succeed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> serde_json::Value {
        let (status, document, stderr) = self.json(arguments);
        assert_eq!(status, 0, "{arguments:?}: {stderr}");
        document
    }

    /// Runs to the end: status, standard output, standard error.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        ended(&mut self.dev(arguments))
    }
}

pub(crate) fn ended(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A stack that runs until it is told to end.
pub(crate) struct Running {
    child: Child,
    pub(crate) printed: Vec<String>,
}

impl Running {
    /// Starts it and reads what it prints until it says that everything works.
    pub(crate) fn start(home: &Home, arguments: &[&str]) -> Self {
        Self::start_command(&mut home.dev(arguments))
    }

    /// As [`Running::start`], of a command of one's own.
    pub(crate) fn start_command(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
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
    pub(crate) fn commands(&self) -> Vec<&str> {
        let after = self.printed.iter().skip_while(|line| !line.contains("Try next"));
        after.filter_map(|line| line.strip_prefix("  ")).collect()
    }

    pub(crate) fn fact(&self, name: &str) -> &str {
        let line = self.printed.iter().find_map(|line| line.trim_start().strip_prefix(name));
        line.unwrap_or_default().trim()
    }

    pub(crate) fn end(mut self, signal: Signal) -> ExitStatus {
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

/// Copies a folder with everything below it.
pub(crate) fn copy(from: &Path, to: &Path) {
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
