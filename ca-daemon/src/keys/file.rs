//! Sealed secrets as files: `<folder>/<key id>.key` for private keys, `<folder>/<name>.secret` for others.
//!
//! All of them are replaced at once by replacing the folder: the new files are written into `<folder>.next`, then the
//! folder becomes `<folder>.previous` and the new one takes its place. A daemon that was killed in between finds out
//! at its next start how far it came, so that it never sees files of both.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{KeyStoreError, SecretName};
use crate::whole_file;

/// The largest sealed secret that is read, in bytes.
const MAX_SEALED_BYTES: u64 = 64 * 1024;
const KEY: &str = "key";
const SECRET: &str = "secret";

/// A folder of sealed secrets. Its calls touch the disk and belong off the async runtime.
#[derive(Debug)]
pub(super) struct KeyFiles {
    folder: PathBuf,
}

impl KeyFiles {
    /// Uses a folder, creating it for its owner alone, and ends a replacement that was cut short.
    pub(super) fn open(folder: PathBuf) -> Result<Self, KeyStoreError> {
        let files = Self { folder };
        let failed = |source| KeyStoreError::Write { path: files.folder.clone(), source };
        files.end_replacement().map_err(failed)?;
        make_folder(&files.folder).map_err(failed)?;
        Ok(files)
    }

    pub(super) fn read(&self, name: &SecretName) -> Result<Option<Vec<u8>>, KeyStoreError> {
        let path = self.path(name);
        match read_bounded(&path) {
            Ok(sealed) => Ok(Some(sealed)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(KeyStoreError::Read { path, source }),
        }
    }

    /// When this returns it is on disk.
    pub(super) fn write(&self, name: &SecretName, sealed: &[u8]) -> Result<(), KeyStoreError> {
        let path = self.path(name);
        whole_file::write(&path, sealed, 0o600).map_err(|source| KeyStoreError::Write { path, source })
    }

    pub(super) fn delete(&self, name: &SecretName) -> Result<(), KeyStoreError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(KeyStoreError::Write { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Every sealed secret with its name.
    pub(super) fn all(&self) -> Result<Vec<(SecretName, Vec<u8>)>, KeyStoreError> {
        let unreadable = |source| KeyStoreError::Read { path: self.folder.clone(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let Some(name) = name_of(&path) else { continue };
            let sealed = read_bounded(&path).map_err(|source| KeyStoreError::Read { path, source })?;
            found.push((name, sealed));
        }
        Ok(found)
    }

    /// Replaces every secret at once: a crash at any moment leaves the old ones or the new ones.
    pub(super) fn replace_all(&self, sealed: &[(SecretName, Vec<u8>)]) -> Result<(), KeyStoreError> {
        let failed = |source| KeyStoreError::Write { path: self.folder.clone(), source };
        let next = Self { folder: self.sibling("next") };
        remove_folder(&next.folder).map_err(failed)?;
        make_folder(&next.folder).map_err(failed)?;
        for (name, sealed) in sealed {
            next.write(name, sealed)?;
        }
        self.sync_parent().map_err(failed)?;
        fs::rename(&self.folder, self.sibling("previous")).map_err(failed)?;
        // From here on the new ones count: a start that finds no folder takes the next one.
        self.end_replacement().map_err(failed)
    }

    fn end_replacement(&self) -> io::Result<()> {
        let (next, previous) = (self.sibling("next"), self.sibling("previous"));
        if !self.folder.try_exists()? && next.try_exists()? {
            fs::rename(&next, &self.folder)?;
            self.sync_parent()?;
        }
        remove_folder(&next)?;
        remove_folder(&previous)
    }

    fn sibling(&self, what: &str) -> PathBuf {
        let mut name = self.folder.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(what);
        self.folder.with_file_name(name)
    }

    fn sync_parent(&self) -> io::Result<()> {
        match self.folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => fs::File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    }

    fn path(&self, name: &SecretName) -> PathBuf {
        let extension = if name.is_key_id() { KEY } else { SECRET };
        self.folder.join(format!("{name}.{extension}"))
    }
}

fn name_of(path: &Path) -> Option<SecretName> {
    let is_ours = path.extension().is_some_and(|extension| extension == KEY || extension == SECRET);
    is_ours.then(|| path.file_stem()?.to_str()).flatten().and_then(|name| SecretName::parse(name).ok())
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut sealed = Vec::new();
    fs::File::open(path)?.take(MAX_SEALED_BYTES).read_to_end(&mut sealed)?;
    Ok(sealed)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName::parse(text).unwrap()
    }

    fn files(folder: &tempfile::TempDir) -> KeyFiles {
        KeyFiles::open(folder.path().join("keys")).unwrap()
    }

    #[test]
    fn keeps_files_private() {
        let folder = tempfile::tempdir().unwrap();
        files(&folder).write(&name("0a1b"), b"sealed").unwrap();
        files(&folder).write(&name("audit-log"), b"sealed too").unwrap();
        let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("keys/0a1b.key"), 0o600);
        assert_eq!(mode("keys/audit-log.secret"), 0o600);
        assert_eq!(mode("keys"), 0o700);
        assert_eq!(files(&folder).all().unwrap().len(), 2);
    }

    #[test]
    fn replaces_all_or_none_wherever_it_is_cut() {
        let old = [(name("0a"), b"old".to_vec()), (name("s"), b"old".to_vec())];
        let new = [(name("0a"), b"new".to_vec()), (name("s"), b"new".to_vec())];
        let started = || {
            let folder = tempfile::tempdir().unwrap();
            for (name, sealed) in &old {
                files(&folder).write(name, sealed).unwrap();
            }
            folder
        };
        let is_after_start = |folder: &tempfile::TempDir, expected: &[(SecretName, Vec<u8>)]| {
            let mut found = files(folder).all().unwrap();
            found.sort();
            assert_eq!(found, expected);
            let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
            assert_eq!(left.len(), 1, "nothing is left lying about: {left:?}");
        };

        let folder = started();
        files(&folder).replace_all(&new).unwrap();
        is_after_start(&folder, &new);

        // Killed while the new ones were written.
        let folder = started();
        let next = KeyFiles { folder: folder.path().join("keys.next") };
        make_folder(&next.folder).unwrap();
        next.write(&new[0].0, &new[0].1).unwrap();
        is_after_start(&folder, &old);

        // Killed between the two renamings.
        let folder = started();
        make_folder(&next_of(&folder).folder).unwrap();
        for (name, sealed) in &new {
            next_of(&folder).write(name, sealed).unwrap();
        }
        fs::rename(folder.path().join("keys"), folder.path().join("keys.previous")).unwrap();
        is_after_start(&folder, &new);

        // Killed before the old ones were removed.
        let folder = started();
        make_folder(&folder.path().join("keys.previous")).unwrap();
        is_after_start(&folder, &old);
    }

    fn next_of(folder: &tempfile::TempDir) -> KeyFiles {
        KeyFiles { folder: folder.path().join("keys.next") }
    }
}
