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
    let room = found.f_bavail.saturating_mul(found.f_frsize);
    let shown = format!("{} MiB are free for {}", room / (1024 * 1024), config.data_dir.display());
    let mut findings = vec![match room {
        room if room < ROOM_FAIL => {
            Finding::fail(CHECK, format!("{shown}; make room, or nothing can be issued"))
        }
        room if room < ROOM_WARN => Finding::warn(CHECK, format!("{shown}; make room")),
        _ => Finding::ok(CHECK, shown),
    }];
    // A file system without a fixed number of inodes shows 0 of 0.
    if found.f_files > 0 {
        let shown = format!("{} inodes are free", found.f_favail);
        findings.push(match found.f_favail < INODES_WARN {
            true => Finding::warn("inodes", format!("{shown}; remove files")),
            false => Finding::ok("inodes", shown),
        });
    }
    findings
}

/// The data folder, or what it will be made in.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}
