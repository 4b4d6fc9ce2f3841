//! The key that all other secrets are sealed under. It comes from outside and is never written by the daemon.

use std::{
    env, fmt, fs,
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::hkdf;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::RowMac;

/// The size of the wrapping key in bytes.
const WRAPPING_KEY_BYTES: usize = 32;
/// The most that is read of a file that should hold one.
const MAX_FILE_BYTES: u64 = 4096;

/// Where the wrapping key comes from. Each holds 32 random bytes as base64 or hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WrappingKeySource {
    /// A file that only the daemon can read.
    File(PathBuf),
    /// The name of a systemd credential (`LoadCredential=` or `LoadCredentialEncrypted=`).
    Credential(String),
    /// The name of an environment variable.
    Env(String),
}

impl WrappingKeySource {
    /// Reads the key.
    ///
    /// # Errors
    /// When it is not there, can be read by others, or is not 32 bytes.
    pub fn read(&self) -> Result<WrappingKey, WrappingKeyError> {
        WrappingKey::parse(&self.read_text()?)
    }

    /// Reads the text of a secret that is kept where wrapping keys can be.
    ///
    /// # Errors
    /// When it is not there, or can be read by others.
    pub fn read_text(&self) -> Result<Zeroizing<String>, WrappingKeyError> {
        match self {
            Self::File(path) => read_private(path),
            Self::Credential(name) => {
                let folder = env::var_os("CREDENTIALS_DIRECTORY").ok_or(WrappingKeyError::NoCredentials)?;
                if name.contains('/') || name == ".." {
                    return Err(WrappingKeyError::CredentialName(name.clone()));
                }
                read_private(&Path::new(&folder).join(name))
            }
            Self::Env(name) => {
                env::var(name).map(Zeroizing::new).map_err(|_| WrappingKeyError::NoVariable(name.clone()))
            }
        }
    }
}

fn read_private(path: &Path) -> Result<Zeroizing<String>, WrappingKeyError> {
    use std::os::unix::fs::MetadataExt;
    let unreadable = |source| WrappingKeyError::Unreadable { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode();
    if mode & 0o077 != 0 {
        return Err(WrappingKeyError::Exposed { path: path.to_owned(), mode: mode & 0o777 });
    }
    let mut text = Zeroizing::new(String::with_capacity(256));
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Makes a new wrapping key and writes it, as base64, to a new file that only its owner can read.
///
/// # Errors
/// When the file exists already or cannot be written.
pub fn generate_wrapping_key(path: &Path) -> Result<(), WrappingKeyError> {
    let mut bytes = Zeroizing::new([0; WRAPPING_KEY_BYTES]);
    aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| WrappingKeyError::Randomness)?;
    let text = Zeroizing::new(format!("{}\n", BASE64_STANDARD.encode(bytes.as_ref())));
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| WrappingKeyError::Unwritable { path: path.to_owned(), source })
}

/// The key that everything else is sealed under. Wiped when dropped.
pub struct WrappingKey(Zeroizing<[u8; WRAPPING_KEY_BYTES]>);

impl WrappingKey {
    /// Reads 32 bytes in base64 or hex, with white space around them.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, WrappingKeyError> {
        let text = text.trim();
        let decoded = hex::decode(text)
            .ok()
            .or_else(|| BASE64_STANDARD.decode(text).ok())
            .map(Zeroizing::new)
            .ok_or(WrappingKeyError::Form)?;
        let mut bytes = Zeroizing::new([0; WRAPPING_KEY_BYTES]);
        if decoded.len() != bytes.len() {
            return Err(WrappingKeyError::Size(decoded.len()));
        }
        bytes.copy_from_slice(&decoded);
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return Err(WrappingKeyError::Weak);
        }
        Ok(Self(bytes))
    }

    /// Derives a key for one purpose (HKDF-SHA-256, RFC 5869).
    #[expect(clippy::expect_used, reason = "HKDF-SHA-256 gives any length up to 255 times 32 bytes")]
    pub(crate) fn derive(&self, salt: &[u8], purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        let purpose = [purpose];
        hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
            .extract(self.0.as_ref())
            .expand(&purpose, hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(key.as_mut()))
            .expect("32 bytes were asked for and filled");
        key
    }

    /// What tells this key from others and gives nothing of it away.
    #[must_use]
    pub fn id(&self) -> WrappingKeyId {
        let derived = self.derive(b"", b"secplane ca-daemon wrapping key id v1");
        let mut id = [0; WrappingKeyId::BYTES];
        id.copy_from_slice(&derived[..WrappingKeyId::BYTES]);
        WrappingKeyId(id)
    }

    /// The MAC of rows as the first version made it, under a key that is derived from this one.
    #[must_use]
    pub fn row_mac(&self) -> RowMac {
        RowMac::new(&self.row_mac_key())
    }

    pub(super) fn row_mac_key(&self) -> Zeroizing<[u8; RowMac::KEY_BYTES]> {
        self.derive(b"", b"secplane ca-daemon row mac v1")
    }
}

/// Tells wrapping keys apart: in messages, and beside what is sealed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WrappingKeyId([u8; Self::BYTES]);

impl WrappingKeyId {
    pub(super) const BYTES: usize = 8;

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for WrappingKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for WrappingKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why there is no wrapping key.
#[derive(Debug, thiserror::Error)]
pub enum WrappingKeyError {
    /// The file cannot be read.
    #[error(
        "the wrapping key {path} cannot be read: {source}; make one with `ca-daemon wrapping-key --out {path}`"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read the file.
    #[error("the wrapping key {path} can be read by others (mode {mode:o}); run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file cannot be written.
    #[error("the wrapping key {path} cannot be written: {source}")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not started by systemd with credentials.
    #[error(
        "the wrapping key is configured as a systemd credential, but CREDENTIALS_DIRECTORY is not set; add `LoadCredential=` to the unit"
    )]
    NoCredentials,
    /// A credential's name is a path.
    #[error("`{0}` is not the name of a systemd credential")]
    CredentialName(String),
    /// The variable is not set.
    #[error("the wrapping key is configured as the environment variable {0}, which is not set")]
    NoVariable(String),
    /// Neither base64 nor hex.
    #[error("the wrapping key is neither base64 nor hex; make one with `ca-daemon wrapping-key --out FILE`")]
    Form,
    /// Not 32 bytes.
    #[error("the wrapping key has {0} bytes; it must have {WRAPPING_KEY_BYTES}")]
    Size(usize),
    /// All bytes are the same.
    #[error("the wrapping key is not random: all its bytes are the same")]
    Weak,
    /// No randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    pub(crate) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn reads_hex_and_base64_alike() {
        let hex = WrappingKey::parse(KEY).unwrap();
        let base64 = WrappingKey::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
        assert_eq!(hex.derive(b"s", b"p"), base64.derive(b"s", b"p"));
        assert_ne!(hex.derive(b"s", b"p"), hex.derive(b"s", b"q"));
        assert_ne!(hex.derive(b"s", b"p"), hex.derive(b"t", b"p"));
    }

    #[rstest]
    #[case("")]
    #[case("secret")]
    #[case("00")]
    #[case(&"00".repeat(32))]
    #[case(&"01".repeat(33))]
    fn rejects_what_is_no_key(#[case] text: &str) {
        assert!(WrappingKey::parse(text).is_err());
    }

    #[test]
    fn refuses_a_file_that_others_can_read() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        generate_wrapping_key(&path).unwrap();
        assert!(WrappingKeySource::File(path.clone()).read().is_ok());
        assert!(generate_wrapping_key(&path).is_err(), "an existing key is never overwritten");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = WrappingKeySource::File(path).read();
        assert!(matches!(refused, Err(WrappingKeyError::Exposed { mode: 0o640, .. })));
    }
}
