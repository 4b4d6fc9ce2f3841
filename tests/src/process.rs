//! A `ca-daemon` as a process: started, killed, read.

use std::{
    env,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    sync::OnceLock,
};

pub use rustix::process::Signal;
use secplane_identity::{Fingerprint, TrustBundle, TrustDomain};
use secplane_proto::spire::api::server::bundle::v1::GetBundleRequest;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{
    authority::CaFolder,
    clients::Clients,
    holder::{Holder, client_config},
    soon,
};

/// The program, built from the sources as they are.
///
/// Cargo builds a program only for the tests of its own package, so this asks it to when a source is newer than the
/// program.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn ca_daemon() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // A test is `<target>/<profile>/deps/<name>-<hash>`; a program, as the benchmarks are, `<target>/<profile>/<name>`.
        let itself = env::current_exe().unwrap();
        let folder = itself.parent().unwrap();
        let profile = if folder.ends_with("deps") { folder.parent().unwrap() } else { folder };
        let program = profile.join("ca-daemon");
        if !is_up_to_date(&program) {
            build(profile);
        }
        program
    })
}

/// Whether a program is as new as every source that it was made of. Cargo lists them beside it.
fn is_up_to_date(program: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let (Ok(built), Ok(list)) = (modified(program), fs::read_to_string(program.with_extension("d"))) else {
        return false;
    };
    let sources = list.split_once(": ").map(|(_, sources)| sources).unwrap_or_default();
    // A path with a space in it is split, not found, and so leads to a build that was not needed.
    !sources.is_empty()
        && sources.split_whitespace().all(|source| modified(Path::new(source)).is_ok_and(|at| at <= built))
}

fn build(profile: &Path) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = std::process::Command::new(cargo);
    // Both packages: so cargo chooses the same features for what they depend on as it did for this test.
    build.args(["build", "--quiet", "-p", "ca-daemon", "-p", "secplane-tests", "--bin", "ca-daemon"]);
    build.current_dir(env!("CARGO_MANIFEST_DIR")).arg("--target-dir").arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "ca-daemon cannot be built");
}

/// A run of `ca-daemon` with arguments, in an environment without settings of its own.
#[must_use]
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(ca_daemon());
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CA_DAEMON_")) {
        command.env_remove(name);
    }
    command
}

/// Runs `ca-daemon` with arguments to its end.
///
/// # Panics
/// When it does not end.
pub async fn run(arguments: &[&str]) -> Output {
    soon("ca-daemon ends", command(arguments).output()).await.unwrap()
}

/// What a program that failed said on standard error.
///
/// # Panics
/// When it did not fail, or panicked.
#[must_use]
pub fn complaint(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// A `ca-daemon serve` that is ready. Dropping it kills it.
pub struct CaProcess {
    child: Child,
    log: PathBuf,
    /// What it printed of itself.
    pub root_fingerprint: Fingerprint,
    /// Where it said that it listens.
    pub grpc_address: SocketAddr,
    admin_socket: PathBuf,
}

impl CaProcess {
    /// Starts `ca-daemon serve` in a folder and waits until it has said where it listens.
    ///
    /// # Panics
    /// When it does not come up: with its log.
    pub async fn start(folder: &CaFolder) -> Self {
        Self::start_with(folder, &[]).await
    }

    /// As [`CaProcess::start`], with further arguments.
    ///
    /// # Panics
    /// When it does not come up: with its log.
    pub async fn start_with(folder: &CaFolder, arguments: &[&str]) -> Self {
        Self::start_in(folder, arguments, &[]).await
    }

    /// As [`CaProcess::start_with`], with further variables in its environment.
    ///
    /// # Panics
    /// When it does not come up: with its log.
    pub async fn start_in(folder: &CaFolder, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let config = folder.write_config();
        let log = folder.path().join("ca.log");
        let mut child = command(&["serve", "--config", config.to_str().unwrap()])
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        while said.len() < 5 {
            match soon("ca-daemon says where it listens", lines.next_line()).await.unwrap() {
                Some(line) => said.push(line),
                None => panic!("ca-daemon ended: {}", fs::read_to_string(&log).unwrap()),
            }
        }
        let value = |name: &str| {
            let line = said.iter().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no `{name}` in {said:?}")).trim().to_owned()
        };
        Self {
            child,
            log,
            root_fingerprint: value("root SHA-256").parse().unwrap(),
            grpc_address: value("gRPC").parse().unwrap(),
            admin_socket: PathBuf::from(value("admin socket")),
        }
    }

    /// Its process ID.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Clients over the admin socket.
    #[must_use]
    pub fn admin(&self) -> Clients {
        Clients::over_unix_socket(&self.admin_socket)
    }

    /// The trust bundle.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn bundle(&self) -> TrustBundle {
        let wire = self.admin().bundle().get_bundle(GetBundleRequest::default()).await.unwrap().into_inner();
        let roots = wire.x509_authorities.iter().map(|root| root.asn1.as_slice());
        TrustBundle::new(TrustDomain::parse(&wire.trust_domain).unwrap(), roots).unwrap()
    }

    /// Clients over TLS that present a certificate, or nothing.
    ///
    /// # Panics
    /// When it does not say whom to trust.
    pub async fn connect(&self, holder: Option<&Holder>) -> Clients {
        Clients::over_tls(self.grpc_address, client_config(&self.bundle().await, holder))
    }

    /// Everything that it logged.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Kills it with SIGKILL: it gets no chance to clean up.
    ///
    /// # Panics
    /// When it has ended already.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn wait(mut self) -> ExitStatus {
        soon("ca-daemon ends", self.child.wait()).await.unwrap()
    }

    /// Ends it with SIGTERM.
    ///
    /// # Panics
    /// When it does not end, or fails.
    pub async fn terminate(mut self) {
        self.signal(Signal::TERM);
        let status = soon("ca-daemon ends after SIGTERM", self.child.wait()).await.unwrap();
        assert!(status.success(), "{status}: {}", self.log());
    }
}
