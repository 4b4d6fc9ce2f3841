//! Looks into an archive that came from anywhere.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Read},
    sync::Arc,
};

use flate2::bufread::MultiGzDecoder;
use secplane_rego::{Gate, Module, Refusal};
use serde::Deserialize;
use serde_json::{Value, json};

use super::tier::{ORIGINS, Origin};

/// The most bytes that an archive may unpack to.
pub const MAX_UNPACKED_BYTES: u64 = 256 * 1024 * 1024;
/// The largest single entry.
pub const MAX_ENTRY_BYTES: u64 = 16 * 1024 * 1024;
/// The most entries.
pub const MAX_ENTRIES: usize = 100_000;

/// The content of an OPA bundle.
#[derive(Debug, Clone, PartialEq)]
pub struct Archive {
    /// What it says of itself.
    pub manifest: BundleManifest,
    /// Every regular file, in the order of the archive.
    pub entries: Vec<ArchiveEntry>,
    /// Its modules.
    pub modules: Vec<ArchivedModule>,
    /// Its data, merged.
    pub data: Value,
    /// Where each module comes from, by the name of its entry; empty for bundles that do not say.
    pub origins: BTreeMap<String, Origin>,
}

/// The `.manifest` of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BundleManifest {
    /// What identifies the content.
    #[serde(default)]
    pub revision: String,
    /// The paths below `data` that the bundle owns; without them it owns everything.
    #[serde(default = "everything")]
    pub roots: Vec<String>,
    /// The version of Rego that its modules are in.
    #[serde(default)]
    pub rego_version: Option<u8>,
    /// What else it says of itself.
    #[serde(default)]
    pub metadata: Value,
}

fn everything() -> Vec<String> {
    vec![String::new()]
}

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveEntry {
    /// Its name as it stands there.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// One Rego module of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedModule {
    /// The name of its entry.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not a gzipped tar, or cut short.
    #[error("the archive is not a readable gzipped tar: {0}")]
    Unreadable(#[from] io::Error),
    /// Larger than is read.
    #[error("the archive is too large: {0}")]
    TooLarge(String),
    /// An entry that must be text or JSON is not.
    #[error("the entry `{name}` cannot be read: {reason}")]
    Entry {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Two entries that OPA takes for one: the last would win in silence.
    #[error("the archive holds `{0}` twice")]
    Twice(String),
    /// No manifest, or two.
    #[error("the archive has {0} manifests instead of one")]
    Manifests(usize),
}

impl Archive {
    /// Reads a gzipped tar, within limits on what it unpacks to.
    ///
    /// # Errors
    /// When it is no bundle, or exceeds a limit.
    pub fn read(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let mut unpacked = MultiGzDecoder::new(bytes).take(MAX_UNPACKED_BYTES + 1);
        let mut found = Found::default();
        let mut archive = tar::Archive::new(&mut unpacked);
        for entry in archive.entries()? {
            found.entry(entry?)?;
        }
        // What follows the end of the tar is part of the archive, and a cut archive fails here.
        io::copy(&mut unpacked, &mut io::sink())?;
        if unpacked.limit() == 0 {
            return Err(ArchiveError::TooLarge(format!(
                "it unpacks to more than {MAX_UNPACKED_BYTES} bytes"
            )));
        }
        let Found { mut manifests, entries, modules, data, origins, .. } = found;
        let count = manifests.len();
        match manifests.pop() {
            Some(manifest) if count == 1 => Ok(Self { manifest, entries, modules, data, origins }),
            _ => Err(ArchiveError::Manifests(count)),
        }
    }
}

impl Archive {
    /// Its modules, read by a gate.
    ///
    /// # Errors
    /// What is wrong with the first that is no module.
    pub fn parsed(&self, gate: Gate) -> Result<Vec<Arc<Module>>, Vec<Refusal>> {
        self.modules.iter().map(|module| gate.parse(&module.name, module.text.as_bytes())).collect()
    }

    /// The data that an OPA with this bundle has: its own, and what the OPA adds, which is the manifest of each bundle
    /// by its name.
    #[must_use]
    pub fn documents(&self) -> Value {
        let BundleManifest { revision, roots, metadata, .. } = &self.manifest;
        let manifest = json!({ "revision": revision, "roots": roots, "metadata": metadata });
        let mut documents = self.data.clone();
        if let Some(documents) = documents.as_object_mut() {
            let system = json!({ "bundles": { "authz": { "manifest": manifest } } });
            documents.entry("system").or_insert(system);
        }
        documents
    }
}

struct Found {
    /// Where OPA would put each entry.
    places: HashSet<String>,
    manifests: Vec<BundleManifest>,
    entries: Vec<ArchiveEntry>,
    modules: Vec<ArchivedModule>,
    data: Value,
    origins: BTreeMap<String, Origin>,
}

impl Default for Found {
    fn default() -> Self {
        let data = Value::Object(serde_json::Map::new());
        Self {
            places: HashSet::new(),
            manifests: Vec::new(),
            entries: Vec::new(),
            modules: Vec::new(),
            data,
            origins: BTreeMap::new(),
        }
    }
}

impl Found {
    fn entry(&mut self, entry: tar::Entry<'_, impl Read>) -> Result<(), ArchiveError> {
        if !entry.header().entry_type().is_file() {
            return Ok(());
        }
        if self.entries.len() == MAX_ENTRIES {
            return Err(ArchiveError::TooLarge(format!("it has more than {MAX_ENTRIES} entries")));
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !self.places.insert(place_of(&name)) {
            return Err(ArchiveError::Twice(name));
        }
        let size = entry.size();
        if size > MAX_ENTRY_BYTES {
            return Err(ArchiveError::TooLarge(format!("`{name}` has more than {MAX_ENTRY_BYTES} bytes")));
        }
        let mut content = Vec::new();
        entry.take(MAX_ENTRY_BYTES).read_to_end(&mut content)?;
        self.entries.push(ArchiveEntry { name: name.clone(), size });
        let refuse = |reason: String| ArchiveError::Entry { name: name.clone(), reason };
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", &name));
        if name.ends_with(".manifest") {
            self.manifests.push(serde_json::from_slice(&content).map_err(|error| refuse(error.to_string()))?);
        } else if name.ends_with(".rego") {
            let text = String::from_utf8(content).map_err(|error| refuse(error.to_string()))?;
            self.modules.push(ArchivedModule { name, text });
        } else if file == "data.json" {
            let value = serde_json::from_slice(&content).map_err(|error| refuse(error.to_string()))?;
            place(&mut self.data, folder, value);
        } else if file == ORIGINS {
            let origins: BTreeMap<String, Origin> =
                serde_json::from_slice(&content).map_err(|error| refuse(error.to_string()))?;
            self.origins.extend(origins);
        }
        Ok(())
    }
}

/// The name by which OPA knows an entry: it cleans paths, so `/a`, `./a` and `b/../a` are one.
fn place_of(name: &str) -> String {
    let mut segments = Vec::new();
    for segment in name.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    segments.join("/")
}

/// Puts a value at a folder's place in the data.
fn place(data: &mut Value, folder: &str, value: Value) {
    let mut at = data;
    for name in folder.split('/').filter(|name| !name.is_empty()) {
        if !at.is_object() {
            *at = Value::Object(serde_json::Map::new());
        }
        at = &mut at[name];
    }
    match (at, value) {
        (Value::Object(there), Value::Object(new)) => there.extend(new),
        (at, value) => *at = value,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::compile::archive::Member;

    fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
        let packed = Member::pack(entries.iter().map(|(name, content)| (*name, content.as_bytes())));
        [packed.bytes.as_ref(), Member::end().bytes.as_ref()].concat()
    }

    const MANIFEST: (&str, &str) =
        ("/.manifest", "{\"revision\":\"r\",\"roots\":[\"a\"],\"rego_version\":1}");

    #[test]
    fn reads_what_is_there() {
        let bytes = archive(&[MANIFEST, ("/a/b.rego", "package a"), ("/a/data.json", "{\"x\":1}")]);
        let archive = Archive::read(&bytes).unwrap();
        assert_eq!(archive.manifest.revision, "r");
        assert_eq!(archive.manifest.rego_version, Some(1));
        assert_eq!(archive.modules, [ArchivedModule { name: "/a/b.rego".into(), text: "package a".into() }]);
        assert_eq!(archive.data, serde_json::json!({"a": {"x": 1}}));
        assert_eq!(archive.entries.len(), 3);
    }

    #[test]
    fn refuses_two_manifests_or_none() {
        let two = archive(&[MANIFEST, ("/x/foo.manifest", "{}")]);
        assert!(matches!(Archive::read(&two), Err(ArchiveError::Manifests(2))));
        assert!(matches!(Archive::read(&archive(&[])), Err(ArchiveError::Manifests(0))));
    }

    #[test]
    fn refuses_two_entries_of_one_place() {
        for second in ["/a/b.rego", "/a//b.rego", "/./a/b.rego"] {
            let twice = archive(&[MANIFEST, ("/a/b.rego", "package a"), (second, "package a")]);
            assert!(matches!(Archive::read(&twice), Err(ArchiveError::Twice(_))), "{second}");
        }
    }

    #[test]
    fn refuses_what_is_cut_or_no_archive() {
        let whole = archive(&[MANIFEST, ("/a/b.rego", "package a")]);
        assert!(Archive::read(&whole[..whole.len() / 2]).is_err());
        assert!(Archive::read(&whole[..whole.len() - 4]).is_err());
        assert!(Archive::read(b"not gzip").is_err());
        assert!(Archive::read(b"").is_err());
    }

    #[test]
    fn refuses_a_gzip_bomb() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        let zeros = vec![0; 1024 * 1024];
        for _ in 0..257 {
            gzip.write_all(&zeros).unwrap();
        }
        let bomb = [archive(&[MANIFEST]), gzip.finish().unwrap()].concat();
        assert!(matches!(Archive::read(&bomb), Err(ArchiveError::TooLarge(_))));
    }
}
