//! Sealed keys as files: `<folder>/<key id>.key`.

use std::{fs, io, os::unix::fs::DirBuilderExt, path::PathBuf};

use secplane_identity::{PrivateKey, private_key::PrivateKeyError};
use zeroize::Zeroizing;

use super::{
    WrappingKey,
    sealed::{SealError, open, seal},
};
use crate::whole_file;

/// The largest sealed key that is read, in bytes.
const MAX_SEALED_BYTES: u64 = 64 * 1024;

/// A folder of sealed private keys. Its calls touch the disk and belong off the async runtime.
pub struct KeyFiles {
    folder: PathBuf,
    wrapping: WrappingKey,
}

impl KeyFiles {
    /// Uses a folder, creating it for its owner alone.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn new(folder: PathBuf, wrapping: WrappingKey) -> Result<Self, KeyStoreError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|source| KeyStoreError::Write { path: folder.clone(), source })?;
        Ok(Self { folder, wrapping })
    }

    /// The wrapping key.
    #[must_use]
    pub fn wrapping(&self) -> &WrappingKey {
        &self.wrapping
    }

    /// Keeps a key. When this returns it is on disk.
    ///
    /// # Errors
    /// When it cannot be sealed or written.
    pub fn keep(&self, key_id: &str, key: &PrivateKey) -> Result<(), KeyStoreError> {
        let path = self.path(key_id)?;
        let sealed = seal(&self.wrapping, key_id, key.pkcs8_der())
            .map_err(|source| KeyStoreError::Seal { path: path.clone(), source })?;
        whole_file::write(&path, &sealed, 0o600).map_err(|source| KeyStoreError::Write { path, source })
    }

    /// Reads a key.
    ///
    /// # Errors
    /// When it is not there, does not open, or is no key.
    pub fn load(&self, key_id: &str) -> Result<PrivateKey, KeyStoreError> {
        use std::io::Read;
        let path = self.path(key_id)?;
        let mut sealed = Vec::new();
        fs::File::open(&path)
            .and_then(|file| file.take(MAX_SEALED_BYTES).read_to_end(&mut sealed))
            .map_err(|source| KeyStoreError::Read { path: path.clone(), source })?;
        let secret = open(&self.wrapping, key_id, &sealed)
            .map_err(|source| KeyStoreError::Seal { path: path.clone(), source })?;
        PrivateKey::from_pkcs8(secret.to_vec()).map_err(|source| KeyStoreError::Key { path, source })
    }

    /// Keeps another secret than a CA's key, under a name of lower-case letters, digits and `-`.
    ///
    /// # Errors
    /// When it cannot be sealed or written.
    pub fn keep_secret(&self, name: &str, secret: &[u8]) -> Result<(), KeyStoreError> {
        let path = self.secret_path(name)?;
        let sealed = seal(&self.wrapping, name, secret)
            .map_err(|source| KeyStoreError::Seal { path: path.clone(), source })?;
        whole_file::write(&path, &sealed, 0o600).map_err(|source| KeyStoreError::Write { path, source })
    }

    /// Reads what [`KeyFiles::keep_secret`] kept; `None` when there is none.
    ///
    /// # Errors
    /// When it does not open.
    pub fn load_secret(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError> {
        let path = self.secret_path(name)?;
        let sealed = match fs::read(&path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeyStoreError::Read { path, source }),
        };
        open(&self.wrapping, name, &sealed).map(Some).map_err(|source| KeyStoreError::Seal { path, source })
    }

    fn secret_path(&self, name: &str) -> Result<PathBuf, KeyStoreError> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return Err(KeyStoreError::KeyId(name.to_owned()));
        }
        Ok(self.folder.join(format!("{name}.secret")))
    }

    /// Key identifiers are hex; nothing else becomes part of a path.
    fn path(&self, key_id: &str) -> Result<PathBuf, KeyStoreError> {
        if key_id.is_empty() || !key_id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(KeyStoreError::KeyId(key_id.to_owned()));
        }
        Ok(self.folder.join(format!("{key_id}.key")))
    }
}

/// Why a key cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// Not a key identifier.
    #[error("`{0}` is not a key identifier")]
    KeyId(String),
    /// The file cannot be read.
    #[error("the private key {path} cannot be read: {source}; restore it from a backup")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be sealed or opened.
    #[error("the private key {path} cannot be used: {source}")]
    Seal {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SealError,
    },
    /// What is inside is no key.
    #[error("the private key {path} cannot be used: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PrivateKeyError,
    },
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn keeps_keys_sealed_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let files = KeyFiles::new(folder.path().join("keys"), WrappingKey::parse(KEY).unwrap()).unwrap();
        let key = PrivateKey::generate().unwrap();
        files.keep("0a1b", &key).unwrap();
        assert_eq!(files.load("0a1b").unwrap().pkcs8_der(), key.pkcs8_der());

        let path = folder.path().join("keys/0a1b.key");
        let sealed = fs::read(&path).unwrap();
        assert!(!sealed.windows(16).any(|w| key.pkcs8_der().windows(16).any(|k| k == w)));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(folder.path().join("keys")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn refuses_an_id_that_is_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let files = KeyFiles::new(folder.path().to_owned(), WrappingKey::parse(KEY).unwrap()).unwrap();
        assert!(matches!(files.load("../a"), Err(KeyStoreError::KeyId(_))));
    }
}
