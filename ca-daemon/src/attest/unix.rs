//! Attests a process by what the kernel says of the other end of a Unix socket.
//!
//! The process is held by a pidfd from the moment it connected: when the pidfd still lives after `/proc` was
//! read, what was read is of that process and not of another one that got its number.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest;
use nix::sys::socket::{getsockopt, sockopt};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::net::UnixStream;

use crate::registry::Selector;

/// The largest executable that is hashed, in bytes.
const MAX_EXECUTABLE_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// How many executables' hashes are remembered.
const REMEMBERED_HASHES: usize = 1024;
/// The most that is read of `/proc/<pid>/status`.
const MAX_STATUS_BYTES: u64 = 64 * 1024;

/// A process that connected, held so that its number cannot come to mean another one.
#[derive(Debug)]
pub struct AttestedProcess {
    pid: i32,
    uid: u32,
    gid: u32,
    pidfd: OwnedFd,
}

impl AttestedProcess {
    /// Takes hold of the process at the other end of a socket.
    ///
    /// # Errors
    /// When the kernel cannot name it in our namespace, or it is gone.
    pub fn of(stream: &UnixStream) -> Result<Self, AttestError> {
        let credentials = stream.peer_cred().map_err(AttestError::Credentials)?;
        let pid = credentials.pid().filter(|pid| *pid > 0).ok_or(AttestError::ForeignNamespace)?;
        let pidfd = match getsockopt(stream, sockopt::PeerPidfd) {
            Ok(fd) => fd,
            // Linux before 6.5 has no such option: take hold by number. Between connecting and this moment the
            // number could have passed to another process; the window is as short as accepting takes.
            Err(_) => {
                let number = Pid::from_raw(pid).ok_or(AttestError::ForeignNamespace)?;
                pidfd_open(number, PidfdFlags::empty()).map_err(|_| AttestError::Gone(pid))?
            }
        };
        Ok(Self { pid, uid: credentials.uid(), gid: credentials.gid(), pidfd })
    }

    /// The process's number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its user when it connected.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Everything that can be said of the process. It reads files, so it belongs off the async runtime.
    ///
    /// The executable is hashed only when `hashes` is given: it costs, and few entries ask for it. What cannot be
    /// read (another user's executable, for one) yields no selector, and so grants nothing.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn selectors(&self, hashes: Option<&ExecutableHashes>) -> Result<BTreeSet<Selector>, AttestError> {
        let mut facts = vec![format!("uid:{}", self.uid), format!("gid:{}", self.gid)];
        if let Some(user) = uzers::get_user_by_uid(self.uid) {
            facts.push(format!("user:{}", user.name().to_string_lossy()));
        }
        if let Some(group) = uzers::get_group_by_gid(self.gid) {
            facts.push(format!("group:{}", group.name().to_string_lossy()));
        }
        for gid in self.supplementary_groups() {
            facts.push(format!("supplementary_gid:{gid}"));
            if let Some(group) = uzers::get_group_by_gid(gid) {
                facts.push(format!("supplementary_group:{}", group.name().to_string_lossy()));
            }
        }
        let executable = PathBuf::from(format!("/proc/{}/exe", self.pid));
        match fs::read_link(&executable) {
            Ok(path) => match path.to_str() {
                Some(path) => facts.push(format!("path:{path}")),
                None => tracing::debug!(pid = self.pid, "the executable's path is not UTF-8"),
            },
            Err(error) => tracing::debug!(pid = self.pid, %error, "the executable's path cannot be read"),
        }
        if let Some(hashes) = hashes {
            match hashes.of(&executable) {
                Ok(hash) => facts.push(format!("sha256:{hash}")),
                Err(error) => tracing::debug!(pid = self.pid, %error, "the executable cannot be hashed"),
            }
        }
        self.check_alive()?;
        // Every fact has a type and a value, so none is refused.
        Ok(facts.iter().filter_map(|fact| Selector::new("unix", fact).ok()).collect())
    }

    fn supplementary_groups(&self) -> Vec<u32> {
        let read = || -> io::Result<String> {
            use io::Read;
            let mut text = String::new();
            let file = fs::File::open(format!("/proc/{}/status", self.pid))?;
            file.take(MAX_STATUS_BYTES).read_to_string(&mut text)?;
            Ok(text)
        };
        let status = read().unwrap_or_default();
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
        groups.split_whitespace().filter_map(|gid| gid.parse().ok()).collect()
    }

    /// A pidfd becomes readable when its process ends.
    fn check_alive(&self) -> Result<(), AttestError> {
        let fd = self.pidfd.as_fd();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut fds, Some(&now)) {
            Ok(0) => Ok(()),
            _ => Err(AttestError::Gone(self.pid)),
        }
    }
}

/// Remembers the hashes of executables for as long as the files stay the same.
#[derive(Debug, Default)]
pub struct ExecutableHashes(Mutex<HashMap<FileVersion, String>>);

/// What changes when a file is replaced or written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct FileVersion {
    device: u64,
    inode: u64,
    size: u64,
    modified: Duration,
    changed: Duration,
}

impl ExecutableHashes {
    /// The SHA-256 of a file, in lower-case hex.
    fn of(&self, path: &PathBuf) -> io::Result<String> {
        let file = fs::File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.len() > MAX_EXECUTABLE_BYTES {
            return Err(io::Error::other(format!("it is larger than {MAX_EXECUTABLE_BYTES} bytes")));
        }
        let version = FileVersion {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: since_epoch(metadata.mtime(), metadata.mtime_nsec()),
            changed: since_epoch(metadata.ctime(), metadata.ctime_nsec()),
        };
        if let Some(hash) = self.remembered().get(&version) {
            return Ok(hash.clone());
        }
        let hash = sha256(file)?;
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED_HASHES {
            remembered.clear();
        }
        remembered.insert(version, hash.clone());
        Ok(hash)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<FileVersion, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn since_epoch(seconds: i64, nanoseconds: i64) -> Duration {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let nanoseconds = u32::try_from(nanoseconds).unwrap_or(0);
    Duration::new(seconds, nanoseconds.min(999_999_999))
}

fn sha256(mut file: fs::File) -> io::Result<String> {
    use io::Read;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(context.finish())),
            length => context.update(&buffer[..length]),
        }
    }
}

/// Why a process cannot be attested.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The kernel does not name the peer.
    #[error("the kernel does not say who is at the other end of the socket: {0}")]
    Credentials(#[source] io::Error),
    /// The peer lives in a process namespace that we cannot see into.
    #[error(
        "the process at the other end of the socket is in another PID namespace; run the daemon in the host's"
    )]
    ForeignNamespace,
    /// The process has ended.
    #[error("process {0} has ended")]
    Gone(i32),
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn myself() -> (AttestedProcess, UnixStream) {
        let (here, there) = UnixStream::pair().unwrap();
        (AttestedProcess::of(&here).unwrap(), there)
    }

    fn values(selectors: &BTreeSet<Selector>) -> Vec<&str> {
        selectors.iter().map(Selector::value).collect()
    }

    #[tokio::test]
    async fn names_user_group_and_executable() {
        let (process, _peer) = myself().await;
        let selectors = process.selectors(None).unwrap();
        let values = values(&selectors);
        let executable = std::env::current_exe().unwrap();
        assert!(values.contains(&format!("uid:{}", uzers::get_current_uid()).as_str()));
        assert!(values.contains(&format!("gid:{}", uzers::get_current_gid()).as_str()));
        assert!(values.contains(&format!("path:{}", executable.display()).as_str()));
        assert!(!values.iter().any(|value| value.starts_with("sha256:")), "nobody asked for it");
    }

    #[tokio::test]
    async fn hashes_the_executable_when_asked() {
        let (process, _peer) = myself().await;
        let hashes = ExecutableHashes::default();
        let selectors = process.selectors(Some(&hashes)).unwrap();
        let expected = sha256(fs::File::open(std::env::current_exe().unwrap()).unwrap()).unwrap();
        assert!(values(&selectors).contains(&format!("sha256:{expected}").as_str()));
        assert_eq!(hashes.remembered().len(), 1);
    }

    #[tokio::test]
    async fn notices_that_a_process_has_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let pidfd = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
        child.wait().unwrap();
        let process = AttestedProcess { pid, uid: 0, gid: 0, pidfd };
        assert!(matches!(process.selectors(None), Err(AttestError::Gone(gone)) if gone == pid));
    }
}
