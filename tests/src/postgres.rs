//! A PostgreSQL server of this test process alone: Debian's, in a temporary folder, on a Unix socket.
//!
//! It is started when the first test asks for a database, and ends with the process: a small shell waits for its
//! standard input to close, which happens however the process ends.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

/// `nobody` of Debian: the server refuses to run as root.
const UNPRIVILEGED: u32 = 65534;

struct Server {
    folder: PathBuf,
    _shell: Child,
    /// The server ends when this is closed.
    _alive: ChildStdin,
}

/// The URL of a new, empty database.
///
/// # Panics
/// When PostgreSQL is not installed or does not start: on Debian it is the package `postgresql`.
#[must_use]
pub fn new_database() -> String {
    create_database("template1")
}

/// The URL of a new database that holds what another one does. Nobody may be connected to the other.
///
/// # Panics
/// When the URL is not one of [`new_database`], or somebody is connected.
#[must_use]
pub fn copy_of(url: &str) -> String {
    let after_host = url.strip_prefix(URL_START).expect("a URL of this server");
    create_database(after_host.split('?').next().unwrap())
}

const URL_START: &str = "postgres://secplane@localhost/";

fn create_database(template: &str) -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = &SERVER.get_or_init(Server::start).folder;
    let name = format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let created = program("createdb")
        .args(["--username=secplane", "--no-password", "--template", template, "--host"])
        .arg(folder.join("run"))
        .arg(&name)
        .status()
        .unwrap();
    assert!(created.success(), "createdb failed");
    format!("{URL_START}{name}?host={}", folder.join("run").display())
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("secplane-postgres").tempdir().unwrap().keep();
        let (data, run, log) = (folder.join("data"), folder.join("run"), folder.join("log"));
        for path in [&folder, &data, &run] {
            fs::create_dir_all(path).unwrap();
            if rustix::process::getuid().is_root() {
                chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
            }
        }
        let made = program("initdb")
            .args([
                "--username=secplane",
                "--auth=trust",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
                "--pgdata",
            ])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success(), "initdb failed");

        // Fewer buffers and connections than a server of its own would have; durable all the same.
        let script = r#"
            "$1" -D "$2" -k "$3" -c listen_addresses= -c max_connections=400 -c shared_buffers=64MB \
                -c autovacuum=off >"$4" 2>&1 &
            server=$!
            read -r _
            kill -INT "$server"
            wait "$server"
            rm -rf "$5"
        "#;
        let mut shell = unprivileged(Command::new("sh"))
            .args(["-c", script, "sh"])
            .args([binary("postgres"), data, run.clone(), log.clone(), folder.clone()])
            .current_dir("/")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let alive = shell.stdin.take().unwrap();
        let begun = Instant::now();
        // Its socket is there before it takes connections.
        let is_ready = || {
            let asked = program("pg_isready").args(["--quiet", "--host"]).arg(&run).status();
            asked.unwrap().success()
        };
        while !is_ready() {
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(180), "PostgreSQL does not start: {}", said());
            sleep(Duration::from_millis(20));
        }
        Self { folder, _shell: shell, _alive: alive }
    }
}

fn program(name: &str) -> Command {
    let mut command = unprivileged(Command::new(binary(name)));
    command.current_dir("/");
    command
}

fn unprivileged(mut command: Command) -> Command {
    if rustix::process::getuid().is_root() {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    command
}

/// Debian keeps the server's programs out of the path.
fn binary(name: &str) -> PathBuf {
    let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .map(|folder| folder.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect())
        .unwrap_or_default();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        versions.into_iter().rev().chain(std::env::split_paths(&path)).map(|folder| folder.join(name));
    let mut found = found.filter(|path| path.is_file());
    found.next().unwrap_or_else(|| panic!("there is no `{name}`; install PostgreSQL (Debian: `postgresql`)"))
}
