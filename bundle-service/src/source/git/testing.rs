//! Real repositories for tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::GitConfig;

/// A manifest of a policy called `NAME`.
pub(crate) const MANIFEST: &str = "apiVersion: agent.kagenti.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: NAME}\n\
     spec: {policies: [{path: a.rego, content: x}]}\n";

/// A repository that somebody works in.
pub(crate) struct Repository(TempDir);

impl Repository {
    /// Empty, with hashes of a format.
    pub(crate) fn of_format(format: &str) -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        fs::create_dir(repository.work()).unwrap();
        repository.git(&["init", "--quiet", &format!("--object-format={format}")]);
        repository.git(&["symbolic-ref", "HEAD", "refs/heads/main"]);
        repository
    }

    /// With one manifest in one commit.
    pub(crate) fn with_one() -> Self {
        let repository = Self::of_format("sha1");
        repository.write("a.yaml", "one");
        repository.commit();
        repository
    }

    /// The folder that it is in, with room beside it.
    pub(crate) fn place(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.0.path().join("work")
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let done = std::process::Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgSign=false"])
            .args(arguments)
            .current_dir(self.work())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn put(&self, file: &str, content: &str) {
        let path = self.work().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn write(&self, file: &str, name: &str) {
        self.put(file, &MANIFEST.replace("NAME", name));
    }

    pub(crate) fn commit(&self) -> String {
        self.git(&["add", "--all", "--force"]);
        self.git(&["commit", "--quiet", "--message", "x"]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub(crate) fn config(&self) -> GitConfig {
        GitConfig::new(&self.work().display().to_string(), self.0.path().join("scratch"))
    }
}
