//! Reading an OPA bundle archive, of which nothing is believed: every size has a limit.

use std::{
    fmt,
    io::{self, Read},
};

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;

/// The largest archive that is read, compressed.
pub(crate) const MAX_ARCHIVE_BYTES: usize = 64 * 1024 * 1024;
/// The most bytes that an archive may unpack to.
const MAX_UNPACKED_BYTES: u64 = 256 * 1024 * 1024;
/// The most entries in an archive.
const MAX_ENTRIES: usize = 100_000;
const MANIFEST: &str = ".manifest";

/// A bundle as it stands in its archive.
#[derive(Debug)]
pub(crate) struct BundleArchive {
    pub(crate) manifest: Manifest,
    pub(crate) modules: Vec<ArchivedModule>,
    pub(crate) data: serde_json::Value,
    /// Names of the entries that are neither the manifest nor a module.
    pub(crate) other: Vec<String>,
}

/// What the manifest says of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Manifest {
    #[serde(default)]
    pub(crate) revision: String,
    /// Without this member a bundle owns everything.
    #[serde(default = "everything")]
    pub(crate) roots: Vec<String>,
    pub(crate) rego_version: Option<u8>,
}

fn everything() -> Vec<String> {
    vec![String::new()]
}

/// A Rego module of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArchivedModule {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl BundleArchive {
    /// Reads a gzipped tar.
    pub(crate) fn read(archive: &[u8]) -> Result<Self, ArchiveError> {
        let unpacked = MultiGzDecoder::new(archive).take(MAX_UNPACKED_BYTES);
        let mut tar = tar::Archive::new(unpacked);
        let mut manifest = None;
        let (mut modules, mut other) = (Vec::new(), Vec::new());
        for (position, entry) in tar.entries().map_err(ArchiveError::Unreadable)?.enumerate() {
            if position == MAX_ENTRIES {
                return Err(ArchiveError::TooManyEntries);
            }
            let mut entry = entry.map_err(ArchiveError::Unreadable)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches('/').to_owned();
            if path.ends_with(MANIFEST) {
                let text = read_text(&mut entry, &path)?;
                let read =
                    serde_json::from_str(&text).map_err(|error| ArchiveError::Manifest(error.to_string()))?;
                if manifest.replace(read).is_some() {
                    return Err(ArchiveError::Manifest("there are two of them".into()));
                }
            } else if path.ends_with(".rego") {
                let text = read_text(&mut entry, &path)?;
                modules.push(ArchivedModule { path, text });
            } else {
                other.push(path);
            }
        }
        // An archive that is cut at the limit may look as if it ended there.
        if tar.into_inner().limit() == 0 {
            return Err(ArchiveError::TooLarge);
        }
        modules.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some(pair) = modules.windows(2).find(|pair| pair[0].path == pair[1].path) {
            return Err(ArchiveError::Duplicate(pair[0].path.clone()));
        }
        Ok(Self {
            manifest: manifest.ok_or(ArchiveError::NoManifest)?,
            modules,
            data: serde_json::json!({}),
            other,
        })
    }
}

impl ArchivedModule {
    /// Which tier the module's place in the archive says it is of.
    pub(crate) fn tier(&self) -> Tier {
        match self.path.split('/').collect::<Vec<_>>().as_slice() {
            ["authbridge", "global", ..] => Tier::Global,
            ["authbridge", "ns", ..] => Tier::Namespace,
            ["authbridge", "client", ..] => Tier::Client,
            _ => Tier::None,
        }
    }
}

/// A tier by its folder in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    Global,
    Namespace,
    Client,
    /// Outside the folders of the tiers.
    None,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "global",
            Self::Namespace => "namespace",
            Self::Client => "client",
            Self::None => "-",
        })
    }
}

fn read_text(entry: &mut impl Read, path: &str) -> Result<String, ArchiveError> {
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(ArchiveError::Unreadable)?;
    String::from_utf8(bytes).map_err(|_| ArchiveError::NotText(path.to_owned()))
}

/// Why an archive is not a bundle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("it is not a gzipped tar, or it is cut off: {0}")]
    Unreadable(#[source] io::Error),
    #[error("it unpacks to {MAX_UNPACKED_BYTES} bytes or more")]
    TooLarge,
    #[error("it has more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    #[error("it has no .manifest, so it is not an OPA bundle of ours")]
    NoManifest,
    #[error("its .manifest cannot be read: {0}")]
    Manifest(String),
    #[error("its entry {0} is not UTF-8 text")]
    NotText(String),
    #[error("it has the entry {0} twice")]
    Duplicate(String),
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn member(entries: &[(&str, &str)], end: bool) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            // As OPA bundles have it, and which the tar crate would not write by itself.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            tar.append(&header, text.as_bytes()).unwrap();
        }
        let bytes = tar.into_inner().unwrap();
        let kept = if end { bytes.len() } else { bytes.len() - 1024 };
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&bytes[..kept]).unwrap();
        gzip.finish().unwrap()
    }

    const BASE: (&str, &str) = ("/.manifest", r#"{"revision":"r1","roots":["authbridge"],"rego_version":1}"#);

    #[test]
    fn reads_members_that_follow_one_another() {
        let module = ("/authbridge/ns/a.rego", "package authbridge.ns.x");
        let archive = [member(&[BASE], false), member(&[module], true)].concat();
        let bundle = BundleArchive::read(&archive).unwrap();
        assert_eq!(bundle.manifest.revision, "r1");
        assert_eq!(bundle.modules[0].path, "authbridge/ns/a.rego");
        assert_eq!(bundle.modules[0].tier(), Tier::Namespace);
    }

    #[test]
    fn refuses_two_manifests() {
        let archive = member(&[BASE, ("/x/foo.manifest", "{}")], true);
        assert!(matches!(BundleArchive::read(&archive), Err(ArchiveError::Manifest(_))));
    }

    #[test]
    fn refuses_two_modules_of_one_name() {
        let archive = member(&[BASE, ("/a.rego", "1"), ("a.rego", "2")], true);
        assert!(matches!(BundleArchive::read(&archive), Err(ArchiveError::Duplicate(_))));
    }

    #[test]
    fn refuses_what_is_no_archive() {
        assert!(matches!(BundleArchive::read(b"hello"), Err(ArchiveError::Unreadable(_))));
        let whole = member(&[BASE], true);
        assert!(BundleArchive::read(&whole[..whole.len() / 2]).is_err());
        assert!(matches!(BundleArchive::read(&member(&[], true)), Err(ArchiveError::NoManifest)));
    }
}
