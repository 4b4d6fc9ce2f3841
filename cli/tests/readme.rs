//! The commands of the README's tour, run as a reader would: in a shell, one after another, in a folder of their own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// The last line that `secctl dev` prints when everything works.
const READY: &str = "Ctrl-C ends it.";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn readme() -> String {
    std::fs::read_to_string(repository().join("README.md")).unwrap()
}

/// The lines of every block of code that is marked as part of the tour.
fn tour() -> Vec<String> {
    let readme = readme();
    let mut commands = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match line {
            "```sh tour" => inside = true,
            "```" => inside = false,
            command if inside => commands.push(command.to_owned()),
            _ => {}
        }
    }
    commands
}

/// A shell in which `secctl` is the program that was just built.
fn shell(folder: &Path, command: &str) -> Command {
    let program = assert_cmd::cargo::cargo_bin!("secctl");
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.current_dir(folder).env("PATH", path).env_remove("SECCTL_ADMIN_SOCKET").arg("-ec").arg(command);
    shell
}

#[test]
fn every_command_of_the_tour_works() {
    let commands = tour();
    assert!(commands.len() >= 15, "the README's tour was not found: {commands:?}");
    let home = tempfile::tempdir().unwrap();
    symlink(repository().join("policies"), home.path().join("policies")).unwrap();
    let start = readme().lines().find(|line| line.starts_with("secctl dev --ca-port")).unwrap().to_owned();
    // Whatever ports are free.
    let exec = format!("exec {}", start.replace("8081", "0").replace("8443", "0"));
    let mut stack = shell(home.path(), &exec).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(stack.stdout.take().unwrap()).lines();
    let mut told = Vec::new();
    let is_ready = lines.any(|line| {
        told.push(line.unwrap());
        told.last().is_some_and(|line| line == READY)
    });
    assert!(is_ready, "the stack did not become ready: {told:#?}");
    let port = |name: &str| {
        let fact = told.iter().find(|line| line.contains(name)).unwrap();
        fact.rsplit(':').next().unwrap().trim().to_owned()
    };
    let (ca, bundles) = (port("CA (gRPC, TLS 1.3)"), port("Bundle service (mTLS)"));
    let with_ports = |line: &str| line.replace("8081", &ca).replace("8443", &bundles);

    let mut printed = String::new();
    let mut failed = None;
    for command in commands {
        let output = shell(home.path(), &with_ports(&command)).output().unwrap();
        printed.push_str(&String::from_utf8(output.stdout).unwrap());
        if !output.status.success() {
            failed = Some(format!("{command}\n{}", String::from_utf8_lossy(&output.stderr)));
            break;
        }
    }
    kill_process(Pid::from_child(&stack), Signal::INT).unwrap();
    assert!(stack.wait().unwrap().success(), "Ctrl-C ends it cleanly");
    if let Some(failed) = failed {
        panic!("a command of the tour failed: {failed}\nprinted before:\n{printed}");
    }
    // What the text around the commands says of them.
    for promised in ["refused", "booking answers; it calls nobody", "valid", "moved to another machine"] {
        assert!(printed.contains(promised), "the tour never printed `{promised}`:\n{printed}");
    }
    assert!(!home.path().join("not-mine.tar.gz").exists());
}

#[test]
fn the_two_commands_are_those_of_the_readme() {
    let readme = readme();
    for command in ["cargo run -p secctl -- dev", "cargo test --workspace"] {
        assert!(readme.lines().any(|line| line == command), "the README does not say `{command}`");
    }
}
