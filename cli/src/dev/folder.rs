//! What lies in the folder of `secctl dev`: the CA's data in `ca/`, the history of policies in `bundle/`, the wrapping
//! key, the sockets, the log.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Mutex,
};

use ca_daemon::keys::generate_wrapping_key;
use tracing_subscriber::EnvFilter;

use crate::{
    client_identity::unfit_for_endpoint,
    failure::{Failure, Kind},
};

/// The longest path of a Unix socket, its final NUL left out (Linux has 108 bytes, macOS 104).
const MAX_SOCKET_PATH: usize = 103;
/// What a socket's temporary name has in place of its own extension is never longer than this.
const LONGEST_SOCKET: &str = "ca/admin.sock";

/// A folder that is ready for use: absolute, private, with a wrapping key in it.
#[derive(Debug)]
pub(super) struct DevFolder {
    /// As it was given, to be shown.
    pub(super) shown: PathBuf,
    absolute: PathBuf,
    pub(super) policies: PathBuf,
    policies_shown: PathBuf,
    /// Whether it was made just now.
    pub(super) is_new: bool,
}

impl DevFolder {
    /// Makes or checks the folder; it and everything in it is for its owner alone.
    pub(super) fn prepare(dir: &Path, policies: &Path) -> Result<Self, Failure> {
        let what = || format!("use the folder `{}`", dir.display());
        let policies_shown = policies.to_owned();
        let policies = existing_policies(policies)?;
        let absolute = std::path::absolute(dir).map_err(|error| Failure::from_io(what(), &error))?;
        if absolute.join(LONGEST_SOCKET).as_os_str().len() > MAX_SOCKET_PATH {
            return Err(Failure::refused(what(), "the paths of the sockets in it would be too long")
                .remedy("choose a shorter path with --dir"));
        }
        if let Some(character) = unfit_for_endpoint(&absolute) {
            let why =
                format!("its path holds {character:?}, which the URI of the Workload API's socket cannot");
            return Err(Failure::refused(what(), why).remedy("choose a plainer path with --dir"));
        }
        let is_new = make_private(&absolute)
            .map_err(|error| Failure::from_io(what(), &error).remedy("choose another folder with --dir"))?;
        let folder = Self { shown: dir.to_owned(), absolute, policies, policies_shown, is_new };
        folder.ensure_wrapping_key()?;
        Ok(folder)
    }

    /// The CA's data folder.
    pub(super) fn ca(&self) -> PathBuf {
        self.absolute.join("ca")
    }

    /// The key that the CA's private keys are sealed under. Having it beside them is for development only.
    pub(super) fn wrapping_key(&self) -> PathBuf {
        self.absolute.join("wrapping.key")
    }

    /// The Workload API's socket.
    pub(super) fn workload_api(&self) -> PathBuf {
        self.absolute.join("workload.sock")
    }

    /// What the bundle service remembers.
    pub(super) fn bundle_data(&self) -> PathBuf {
        self.absolute.join("bundle")
    }

    /// The bundle service's admin socket.
    pub(super) fn bundle_admin(&self) -> PathBuf {
        self.absolute.join("bundle.sock")
    }

    /// The folder of policies, as a person would type it.
    pub(super) fn policies_shown(&self) -> &Path {
        &self.policies_shown
    }

    /// A path in the folder, as a person would type it.
    pub(super) fn show(&self, name: &str) -> PathBuf {
        self.shown.join(name)
    }

    fn ensure_wrapping_key(&self) -> Result<(), Failure> {
        let path = self.wrapping_key();
        let what = || format!("make the wrapping key `{}`", path.display());
        match path.try_exists() {
            Ok(true) => Ok(()),
            // Without its key the CA's data is lost; a new key would only hide that.
            Ok(false) if self.ca().join("ca.db").exists() => {
                Err(Failure::refused(what(), "the CA's keys beside it were sealed under one that is gone")
                    .remedy("put that file back, or start anew with another --dir"))
            }
            Ok(false) => {
                generate_wrapping_key(&path).map_err(|error| Failure::new(Kind::Other, what(), error))
            }
            Err(error) => Err(Failure::from_io(what(), &error)),
        }
    }

    /// Sends what the daemons log to a file, so that the terminal stays readable.
    pub(super) fn log_to_file(&self) -> Result<(), Failure> {
        let path = self.absolute.join("secplane.log");
        let what = || format!("log to `{}`", path.display());
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Failure::from_io(what(), &error))?;
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("info"))
            .with_ansi(false)
            .with_writer(Mutex::new(file))
            .try_init()
            .map_err(|error| Failure::new(Kind::Other, what(), error))
    }
}

fn existing_policies(policies: &Path) -> Result<PathBuf, Failure> {
    let what = || format!("use the policies in `{}`", policies.display());
    match fs::metadata(policies) {
        Ok(found) if found.is_dir() => {
            std::path::absolute(policies).map_err(|error| Failure::from_io(what(), &error))
        }
        Ok(_) => Err(Failure::refused(what(), "it is not a folder").remedy("give --policies DIR")),
        Err(error) => Err(Failure::from_io(what(), &error).remedy(
            "run in the project's folder, or give --policies DIR with AuthorizationPolicy manifests",
        )),
    }
}

/// Makes the folder with mode 0700, or checks that the one there is the user's own and closed to others.
fn make_private(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => Err(io::Error::other("it is not a folder")),
        Ok(found) if found.uid() != rustix::process::geteuid().as_raw() => {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"))
        }
        Ok(found) if found.permissions().mode() & 0o077 != 0 => {
            let mode = found.permissions().mode() & 0o777;
            Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("others may look into it (mode {mode:o}); run `chmod 700` on it if it is yours"),
            ))
        }
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map(|()| true)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn makes_a_private_folder_with_a_key_once() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("dev");
        let folder = DevFolder::prepare(&dir, home.path()).unwrap();
        assert!(folder.is_new);
        assert_eq!((mode(&dir), mode(&folder.wrapping_key())), (0o700, 0o600));
        let key = fs::read(folder.wrapping_key()).unwrap();

        let again = DevFolder::prepare(&dir, home.path()).unwrap();
        assert!(!again.is_new);
        assert_eq!(fs::read(again.wrapping_key()).unwrap(), key);
    }

    #[test]
    fn refuses_a_folder_that_others_may_look_into() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("dev");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let failure = DevFolder::prepare(&dir, home.path()).unwrap_err();
        assert_eq!(failure.kind(), Kind::Denied);
        assert!(failure.to_string().contains("755"), "{failure}");
    }

    #[test]
    fn refuses_a_path_too_long_for_its_sockets() {
        let home = tempfile::tempdir().unwrap();
        let failure = DevFolder::prepare(&home.path().join("x".repeat(100)), home.path()).unwrap_err();
        assert!(failure.to_string().contains("shorter"), "{failure}");
    }

    #[test]
    fn refuses_a_path_that_a_uri_would_change() {
        let home = tempfile::tempdir().unwrap();
        let failure = DevFolder::prepare(&home.path().join("a b"), home.path()).unwrap_err();
        assert_eq!(failure.kind(), Kind::Refused);
        assert!(!home.path().join("a b").exists());
    }

    #[test]
    fn makes_no_second_key_for_sealed_data() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("dev");
        let folder = DevFolder::prepare(&dir, home.path()).unwrap();
        fs::create_dir(folder.ca()).unwrap();
        fs::write(folder.ca().join("ca.db"), "").unwrap();
        fs::remove_file(folder.wrapping_key()).unwrap();
        assert_eq!(DevFolder::prepare(&dir, home.path()).unwrap_err().kind(), Kind::Refused);
        assert!(!folder.wrapping_key().exists());
    }

    #[test]
    fn names_missing_policies() {
        let home = tempfile::tempdir().unwrap();
        let failure = DevFolder::prepare(&home.path().join("dev"), Path::new("/nonexistent/p")).unwrap_err();
        assert_eq!(failure.kind(), Kind::NotFound);
        assert!(failure.to_string().contains("--policies"), "{failure}");
        assert!(!home.path().join("dev").exists(), "nothing is made when the start cannot succeed");
    }
}
