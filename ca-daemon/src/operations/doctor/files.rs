//! What lies on the disk: keys, permissions, room.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::Finding;
use crate::{Config, config::unreachable_socket};

/// Less room than this fails, in bytes: the next checkpoint of the database may need it.
const ROOM_FAIL: u64 = 128 * 1024 * 1024;
/// Less room than this warns, in bytes.
const ROOM_WARN: u64 = 1024 * 1024 * 1024;
/// Fewer free inodes than this warn.
const INODES_WARN: u64 = 1_000;

/// Whether the wrapping key is there and for its owner alone.
pub(super) fn wrapping_key(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "wrapping key";
    vec![match config.wrapping_key.read() {
        Ok(_) => Finding::ok(CHECK, "it can be read"),
        Err(error) => Finding::fail(CHECK, error.to_string()),
    }]
}

/// Whether everything that is private is private.
pub(super) fn permissions(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "permissions";
    let data_dir = &config.data_dir;
    let keys = data_dir.join("keys");
    let mut private = vec![data_dir.clone(), keys.clone(), config.admin_socket()];
    for name in ["ca.db", "ca.db-wal", "ca.db-shm", "replica", "lock"] {
        private.push(data_dir.join(name));
    }
    private.extend(fs::read_dir(&keys).into_iter().flatten().flatten().map(|file| file.path()));

    let mut findings: Vec<_> = private.iter().filter_map(exposed).collect();
    for socket in [config.admin_socket(), config.workload_api_socket()] {
        if let Some(reason) = unreachable_socket(&socket) {
            findings.push(Finding::fail("sockets", reason));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "what is private can be opened by its owner alone"));
    }
    findings
}

/// What is wrong with a file that only its owner, who is the owner of the data folder, may open.
fn exposed(path: &PathBuf) -> Option<Finding> {
    const CHECK: &str = "permissions";
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Ok(found) if found.mode() & 0o077 != 0 => Some(Finding::fail(
            CHECK,
            format!("{shown} is open to others (mode {:o}); run `chmod go= {shown}`", found.mode() & 0o777),
        )),
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Finding::warn(
            CHECK,
            format!("{shown} cannot be looked at: {error}; run this as the user of the daemon"),
        )),
    }
}

/// Whether there is room to go on writing.
pub(super) fn disk(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "disk";
    let folder = existing(&config.data_dir);
    let found = match rustix::fs::statvfs(folder) {
        Ok(found) => found,
        Err(error) => {
            return vec![Finding::warn(CHECK, format!("{} cannot be looked at: {error}", folder.display()))];
        }
    };
    let mut findings = vec![room(found.f_bavail.saturating_mul(found.f_frsize), &config.data_dir)];
    // A file system without a fixed number of inodes shows 0 of 0.
    if found.f_files > 0 {
        findings.push(inodes(found.f_favail));
    }
    findings
}

fn room(bytes: u64, data_dir: &Path) -> Finding {
    const CHECK: &str = "disk";
    let shown = format!("{} MiB are free for {}", bytes / (1024 * 1024), data_dir.display());
    match bytes {
        bytes if bytes < ROOM_FAIL => {
            Finding::fail(CHECK, format!("{shown}; make room, or nothing can be issued"))
        }
        bytes if bytes < ROOM_WARN => Finding::warn(CHECK, format!("{shown}; make room")),
        _ => Finding::ok(CHECK, shown),
    }
}

fn inodes(free: u64) -> Finding {
    const CHECK: &str = "inodes";
    let shown = format!("{free} inodes are free");
    match free < INODES_WARN {
        true => Finding::warn(CHECK, format!("{shown}; remove files")),
        false => Finding::ok(CHECK, shown),
    }
}

/// The data folder, or what it will be made in.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::operations::doctor::Verdict;

    const MIB: u64 = 1024 * 1024;

    #[rstest]
    #[case::none(0, Verdict::Fail)]
    #[case::too_little_for_a_checkpoint(127 * MIB, Verdict::Fail)]
    #[case::little(128 * MIB, Verdict::Warn)]
    #[case::nearly_enough(1023 * MIB, Verdict::Warn)]
    #[case::enough(1024 * MIB, Verdict::Ok)]
    fn judges_the_room_that_is_left(#[case] bytes: u64, #[case] verdict: Verdict) {
        let found = room(bytes, Path::new("/var/lib/ca"));
        assert_eq!((found.check, found.verdict), ("disk", verdict));
        let shown = format!("{} MiB are free for /var/lib/ca", bytes / MIB);
        assert!(found.message.starts_with(&shown), "{}", found.message);
        assert_eq!(found.message.contains("make room"), verdict != Verdict::Ok, "{}", found.message);
    }

    #[rstest]
    #[case(999, Verdict::Warn)]
    #[case(1000, Verdict::Ok)]
    fn judges_the_inodes_that_are_left(#[case] free: u64, #[case] verdict: Verdict) {
        assert_eq!(inodes(free).verdict, verdict);
    }

    #[test]
    fn looks_at_the_disk_of_a_folder_that_is_not_there_yet() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(existing(&folder.path().join("a/b")), folder.path());
    }
}
