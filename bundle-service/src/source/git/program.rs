//! The `git` program: run in a bare repository of our own, with no configuration but ours, within limits.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};

use super::GitConfig;

/// The oldest version that lets itself be kept from a user's configuration (`GIT_CONFIG_GLOBAL`).
const OLDEST: (u32, u32) = (2, 32);
/// The name of the repository in the scratch folder.
const REPOSITORY: &str = "fetched.git";
/// The most that is kept of what it complains of.
const MAX_WORDS: u64 = 4 * 1024;
/// The most that a file of credentials holds.
const MAX_CREDENTIALS: u64 = 16 * 1024;
/// What of the environment it is given.
const KEPT: [&str; 10] = [
    "PATH",
    "HOME",
    "SSH_AUTH_SOCK",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "GIT_SSL_CAINFO",
    "TMPDIR",
];
/// Only encrypted transports and repositories of this machine; nothing of a repository is run or believed.
const SETTINGS: [&str; 13] = [
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.ssh.allow=always",
    "protocol.file.allow=always",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "credential.helper=",
    "http.followRedirects=false",
    "transfer.fsckObjects=true",
    // One pack instead of loose objects, so that the limit on a file is one on all that is fetched.
    "fetch.unpackLimit=1",
    "gc.auto=0",
    "maintenance.auto=false",
];

/// Why manifests cannot be had from a repository.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no `git`.
    #[error(
        "source.git needs the program `git`, which cannot be run: {0}; install it, or take source.git out"
    )]
    Missing(#[source] io::Error),
    /// It is too old to be kept from configuration that is not ours.
    #[error("source.git needs git {}.{} or newer, and this is `{found}`; update it", OLDEST.0, OLDEST.1)]
    Old {
        /// What it says of itself.
        found: String,
    },
    /// There is no place for what is fetched.
    #[error("{} cannot be used for what is fetched: {source}; check source.git.scratch", path.display())]
    Scratch {
        /// The place.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The credentials cannot be used.
    #[error("the credentials in {} cannot be used: {reason}; check source.git.credentials", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why. None of them is in it.
        reason: String,
    },
    /// It cannot be spoken to.
    #[error("git {what} cannot be run: {source}")]
    Run {
        /// What it was to do.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error(
        "git {what} took longer than {limit:?}; check that the repository can be reached, or raise source.git.timeout"
    )]
    Slow {
        /// What it was to do.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// It printed too much.
    #[error("git {what} printed more than {most} bytes; the repository has too many or too large files")]
    TooMuch {
        /// What it was to do.
        what: &'static str,
        /// The limit.
        most: u64,
    },
    /// It refused.
    #[error("git {what} failed: {message}; check source.git")]
    Failed {
        /// What it was to do.
        what: &'static str,
        /// Its own words.
        message: String,
    },
    /// The repository has no such ref.
    #[error("the repository has no `{0}`; check source.git.reference")]
    NoReference(String),
    /// The commit has no such folder.
    #[error("commit {commit} has no folder `{folder}`; check source.git.folder")]
    NoFolder {
        /// The commit.
        commit: String,
        /// The folder.
        folder: String,
    },
    /// The process is ending.
    #[error("the reading of the repository was interrupted")]
    Interrupted,
}

/// The program, and the repository that it works in.
#[derive(Debug)]
pub(super) struct Git {
    config: GitConfig,
    repository: PathBuf,
}

impl Git {
    /// Finds the program, and makes a place for what is fetched.
    pub(super) async fn find(config: GitConfig) -> Result<Self, GitError> {
        let version = Command::new("git").arg("version").stdin(Stdio::null()).output();
        let version = timeout(config.timeout, version)
            .await
            .map_err(|_| GitError::Slow { what: "version", limit: config.timeout })?
            .map_err(GitError::Missing)?;
        let found = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        if version_of(&found).is_none_or(|version| version < OLDEST) {
            return Err(GitError::Old { found });
        }
        let scratch_error = |source| GitError::Scratch { path: config.scratch.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&config.scratch).map_err(scratch_error)?;
        let repository = config.scratch.canonicalize().map_err(scratch_error)?.join(REPOSITORY);
        let git = Self { config, repository };
        git.begin_anew("sha1").await?;
        Ok(git)
    }

    /// Makes the repository anew. So nothing of an earlier fetch, or of one that was broken off, is in the way of the
    /// next, and what is kept on disk never grows.
    pub(super) async fn begin_anew(&self, format: &str) -> Result<(), GitError> {
        let path = self.repository.clone();
        let made = tokio::task::spawn_blocking(move || {
            remove(&path)?;
            DirBuilder::new().mode(0o700).create(&path)
        });
        let made = made.await.map_err(|_| GitError::Interrupted)?;
        made.map_err(|source| GitError::Scratch { path: self.repository.clone(), source })?;
        let format = format!("--object-format={format}");
        self.run("init", &["init", "--quiet", "--bare", "--template=", &format, "."], b"", 4096)
            .await
            .map(drop)
    }

    /// Removes what was fetched.
    pub(super) async fn tidy(self) {
        let _ = tokio::task::spawn_blocking(move || remove(&self.repository)).await;
    }

    /// Runs `git` to its end, and gives what it prints, at most so many bytes.
    pub(super) async fn run(
        &self,
        what: &'static str,
        arguments: &[&str],
        input: &[u8],
        most: u64,
    ) -> Result<Vec<u8>, GitError> {
        let limit = self.config.timeout;
        let command = self.command(arguments)?;
        timeout(limit, talk(what, command, input, most)).await.map_err(|_| GitError::Slow { what, limit })?
    }

    fn command(&self, arguments: &[&str]) -> Result<Command, GitError> {
        // The shell sets the largest file that git may write, in blocks of 512 bytes, and becomes git.
        let blocks = (self.config.max_bytes / 512).max(1).to_string();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "ulimit -f \"$0\" && exec git \"$@\"", &blocks]);
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        let kept = KEPT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command
            .args(arguments)
            .current_dir(&self.repository)
            .env_clear()
            .envs(kept)
            .envs(self.authorization()?)
            .env("GIT_DIR", ".")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "/bin/false")
            .env("GIT_SSH_COMMAND", ssh_command(&self.config))
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // It has helpers, which end with it.
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }

    /// What an https server is told, in the environment: others may read a process's arguments.
    fn authorization(&self) -> Result<Vec<(&'static str, String)>, GitError> {
        let Some(path) = &self.config.credentials else { return Ok(Vec::new()) };
        let refuse = |reason: String| GitError::Credentials { path: path.clone(), reason };
        let credentials = read_credentials(path).map_err(|error| refuse(error.to_string()))?;
        let credentials = credentials.trim_end_matches(['\r', '\n']);
        if !credentials.contains(':') || credentials.chars().any(char::is_control) {
            return Err(refuse("it is not one line of the form user:password".to_owned()));
        }
        let header = format!("Authorization: Basic {}", BASE64_STANDARD.encode(credentials));
        Ok(vec![
            ("GIT_CONFIG_COUNT", "1".to_owned()),
            ("GIT_CONFIG_KEY_0", "http.extraHeader".to_owned()),
            ("GIT_CONFIG_VALUE_0", header),
        ])
    }
}

fn read_credentials(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_CREDENTIALS {
        return Err(io::Error::other(format!("it has more than {MAX_CREDENTIALS} bytes")));
    }
    fs::read_to_string(path)
}

fn remove(repository: &Path) -> io::Result<()> {
    match fs::remove_dir_all(repository) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// `git version 2.39.5 (and more)`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("git version ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The servers' keys have to be known beforehand, and nobody is there to be asked.
fn ssh_command(config: &GitConfig) -> OsString {
    let mut command = OsString::from("ssh -o BatchMode=yes -o StrictHostKeyChecking=yes");
    if let Some(path) = &config.ssh_known_hosts {
        command.push(" -o UserKnownHostsFile=");
        command.push(quoted(path));
    }
    if let Some(path) = &config.ssh_key {
        command.push(" -o IdentitiesOnly=yes -i ");
        command.push(quoted(path));
    }
    command
}

/// A path as the shell reads it as itself.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// Runs a command to its end.
async fn talk(
    what: &'static str,
    mut command: Command,
    input: &[u8],
    most: u64,
) -> Result<Vec<u8>, GitError> {
    let failed = |source| GitError::Run { what, source };
    let mut child = command.spawn().map_err(failed)?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let missing = || failed(io::Error::other("it has no pipes"));
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let write = async {
        // One that ends early has its reasons, which it says.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        Ok(())
    };
    let read = async {
        let mut output = Vec::new();
        let read = stdout.take(most.saturating_add(1)).read_to_end(&mut output).await.map_err(failed)?;
        if read as u64 > most { Err(GitError::TooMuch { what, most }) } else { Ok(output) }
    };
    let complain = async {
        let mut words = Vec::new();
        let mut stderr = stderr;
        (&mut stderr).take(MAX_WORDS).read_to_end(&mut words).await.map_err(failed)?;
        // Whoever speaks on is not kept waiting.
        tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await.map_err(failed)?;
        Ok(words)
    };
    let ((), output, words) = tokio::try_join!(write, read, complain)?;
    let status = child.wait().await.map_err(failed)?;
    group.ended();
    if status.success() {
        return Ok(output);
    }
    let words = String::from_utf8_lossy(&words).trim().replace('\n', "; ");
    let message = if words.is_empty() { status.to_string() } else { words };
    Err(GitError::Failed { what, message })
}

/// The processes of one run, which are ended with it when it is given up.
struct Group(Option<Pid>);

impl Group {
    /// The first of them has ended by itself, and its number may soon be another's.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // They may have ended already.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("git version 2.39.5", Some((2, 39)))]
    #[case("git version 2.50.1 (Apple Git-155)", Some((2, 50)))]
    #[case("git version 3.0", Some((3, 0)))]
    #[case("git", None)]
    #[case("", None)]
    fn reads_the_version(#[case] text: &str, #[case] version: Option<(u32, u32)>) {
        assert_eq!(version_of(text), version);
    }

    #[test]
    fn the_shell_reads_a_path_as_itself() {
        let config = GitConfig {
            ssh_key: Some("/a b/it's".into()),
            ssh_known_hosts: Some("/hosts; touch /x".into()),
            ..GitConfig::new("ssh://host/x", "/scratch".into())
        };
        assert_eq!(
            ssh_command(&config).to_string_lossy(),
            "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile='/hosts; touch /x' \
             -o IdentitiesOnly=yes -i '/a b/it'\\''s'"
        );
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        command
    }

    #[tokio::test]
    async fn what_is_printed_is_bounded() {
        let printed = talk("test", shell("cat"), b"four", 4).await.unwrap();
        assert_eq!(printed, b"four");
        let error = talk("test", shell("cat"), b"five!", 4).await.unwrap_err();
        assert!(matches!(error, GitError::TooMuch { most: 4, .. }), "{error}");
        let endless = talk("test", shell("cat /dev/zero"), b"", 1 << 20).await.unwrap_err();
        assert!(matches!(endless, GitError::TooMuch { .. }), "{endless}");
    }

    #[tokio::test]
    async fn a_failure_is_told_in_its_own_words() {
        let error = talk("test", shell("echo no such thing >&2; exit 3"), b"", 10).await.unwrap_err();
        assert_eq!(error.to_string(), "git test failed: no such thing; check source.git");
        let silent = talk("test", shell("kill -XFSZ $$"), b"", 10).await.unwrap_err().to_string();
        assert!(silent.contains("signal"), "{silent}");
    }

    #[tokio::test]
    async fn helpers_end_with_a_run_that_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        // The helper holds the pipe open for as long as it lives.
        let script = format!("mkfifo {0} && (exec sleep 1000 >{0}) & wait", pipe.display());
        let opened = timeout(Duration::from_secs(20), async {
            let run = talk("test", shell(&script), b"", 10);
            let open = async {
                while !pipe.exists() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                tokio::fs::File::open(&pipe).await.unwrap()
            };
            tokio::select! {
                ended = run => panic!("{ended:?}"),
                opened = open => opened,
            }
        });
        let mut opened = opened.await.unwrap();
        let ended = timeout(Duration::from_secs(20), opened.read_to_end(&mut Vec::new())).await.unwrap();
        assert_eq!(ended.unwrap(), 0);
    }
}
