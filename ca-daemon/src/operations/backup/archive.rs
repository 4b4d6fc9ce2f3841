//! What is inside a backup: a tar archive, so that nothing of its form had to be invented.
//!
//! | member | holds |
//! |---|---|
//! | `manifest.json` | whose it is, when and by which program it was made; always the first |
//! | `database/ca.db` | the whole SQLite database |
//! | `database/<table>/<number>` | part of a PostgreSQL table, in the binary form of `COPY` |
//! | `keys/<name>` | a sealed private key, as it lies in the data folder |
//! | `end` | nothing; always the last, so that an archive without its end is none |

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
};

use serde::{Deserialize, Serialize};

use super::{
    BackupError,
    keys::file_name,
    sealed_stream::{OpeningReader, SealingWriter},
};
use crate::keys::WrappingKey;

const MANIFEST: &str = "manifest.json";
const END: &str = "end";
const FORMAT: u32 = 1;
/// The largest sealed key, and the largest part of a table, in bytes.
pub(super) const MAX_PART_BYTES: u64 = 64 * 1024 * 1024;
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

/// Which database a backup was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseKind {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

impl std::fmt::Display for DatabaseKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the archive's layout.
    format: u32,
    /// Whose authority it is.
    pub trust_domain: String,
    /// What the database is.
    pub database: DatabaseKind,
    /// The version of the database's schema.
    pub schema: i64,
    /// Unix seconds, before anything was read.
    pub created_at: i64,
    /// The version of the program that made it.
    pub program: String,
    /// The authorities of the database whose private keys have to be in it. Earlier versions do not say.
    #[serde(default)]
    keys: Vec<String>,
}

impl Manifest {
    pub(super) fn new(
        trust_domain: String,
        database: DatabaseKind,
        schema: i64,
        created_at: i64,
        keys: Vec<String>,
    ) -> Self {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, trust_domain, database, schema, created_at, program, keys }
    }

    /// Whether no private key is missing among the files that were found: what is restored without it would not start.
    pub(super) fn check_keys(&self, found: &BTreeSet<String>) -> Result<(), BackupError> {
        match self.keys.iter().find(|key_id| !found.contains(&file_name(key_id))) {
            None => Ok(()),
            Some(key_id) => {
                Err(BackupError::Content(format!("the private key of authority {key_id} is not in it")))
            }
        }
    }
}

/// Writes the members of a backup. Its calls touch the disk and belong off the async runtime.
pub(super) struct ArchiveWriter<W: Write> {
    tar: tar::Builder<SealingWriter<W>>,
    created_at: u64,
}

impl<W: Write> ArchiveWriter<W> {
    pub(super) fn new(out: W, key: &WrappingKey, manifest: &Manifest) -> Result<Self, BackupError> {
        let created_at = u64::try_from(manifest.created_at).unwrap_or(0);
        let mut archive = Self { tar: tar::Builder::new(SealingWriter::new(out, key)?), created_at };
        archive.add(MANIFEST, &serde_json::to_vec_pretty(manifest).map_err(io::Error::other)?)?;
        Ok(archive)
    }

    /// Adds a member that is at hand.
    pub(super) fn add(&mut self, name: &str, content: &[u8]) -> Result<(), BackupError> {
        self.add_stream(name, content.len() as u64, content)
    }

    /// Adds a member of a known size.
    pub(super) fn add_stream(
        &mut self,
        name: &str,
        size: u64,
        content: impl Read,
    ) -> Result<(), BackupError> {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o600);
        header.set_mtime(self.created_at);
        let mut exactly = content.take(size);
        self.tar.append_data(&mut header, name, &mut exactly)?;
        if exactly.limit() != 0 {
            return Err(io::Error::other(format!("{name} became shorter while it was read")).into());
        }
        Ok(())
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Result<W, BackupError> {
        self.add(END, b"")?;
        Ok(self.tar.into_inner()?.finish()?)
    }
}

/// The name of a sealed key's file: nothing that could be a path, and no file that is still being written.
pub(super) fn is_key_name(name: &str) -> bool {
    let is_fit = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    name.rsplit_once('.').is_some_and(|(stem, kind)| {
        matches!(kind, "key" | "secret") && !stem.is_empty() && stem.bytes().all(is_fit)
    })
}

/// Where a member belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The SQLite database.
    Sqlite,
    /// The next part of a PostgreSQL table.
    Table(String),
    /// A sealed key's file.
    Key(String),
}

impl Place {
    fn parse(name: &str) -> Option<Self> {
        let is_table = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        match name.split('/').collect::<Vec<_>>().as_slice() {
            ["database", "ca.db"] => Some(Self::Sqlite),
            ["database", table, _] if is_table(table) => Some(Self::Table((*table).to_owned())),
            ["keys", key] if is_key_name(key) => Some(Self::Key((*key).to_owned())),
            _ => None,
        }
    }
}

/// Reads a backup from its beginning to its end, and hands each member to `each`.
///
/// What `each` gets is authentic as far as it has come, but only when this returns is it known that nothing is
/// missing: what was read has to wait until then before it is put to use.
pub(super) fn read(
    input: impl Read,
    key: &WrappingKey,
    begin: impl FnOnce(&Manifest) -> Result<(), BackupError>,
    mut each: impl FnMut(Place, u64, &mut dyn Read) -> Result<(), BackupError>,
) -> Result<Manifest, BackupError> {
    let mut archive = tar::Archive::new(OpeningReader::new(input, key)?);
    let mut members = archive.entries()?;
    let manifest = match members.next() {
        Some(member) => read_manifest(&mut member?)?,
        None => return Err(BackupError::Content("it is empty".to_owned())),
    };
    begin(&manifest)?;
    let mut has_end = false;
    for member in members {
        let mut member = member?;
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        if has_end || member.header().entry_type() != tar::EntryType::Regular {
            return Err(BackupError::Content(format!("`{name}` does not belong there")));
        }
        if name == END {
            has_end = true;
            continue;
        }
        let place = Place::parse(&name)
            .ok_or_else(|| BackupError::Content(format!("`{name}` is not known to this program")))?;
        let size = member.size();
        each(place, size, &mut member)?;
        // What was not read is still checked.
        io::copy(&mut member, &mut io::sink())?;
    }
    if !has_end {
        return Err(BackupError::Content("its end is missing".to_owned()));
    }
    // Beyond the archive's own end: the last chunk has to be there.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(manifest)
}

fn read_manifest(member: &mut tar::Entry<'_, impl Read>) -> Result<Manifest, BackupError> {
    if member.path_bytes().as_ref() != MANIFEST.as_bytes() {
        return Err(BackupError::Content("it does not begin with its manifest".to_owned()));
    }
    let mut text = Vec::new();
    member.take(MAX_MANIFEST_BYTES).read_to_end(&mut text)?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| BackupError::Content(format!("its manifest cannot be read: {error}")))?;
    if manifest.format != FORMAT {
        return Err(BackupError::Content(format!(
            "its layout is version {}, this program knows {FORMAT}; use the version that wrote it ({})",
            manifest.format, manifest.program
        )));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn key() -> WrappingKey {
        WrappingKey::parse("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f").unwrap()
    }

    fn manifest() -> Manifest {
        Manifest::new("example.org".to_owned(), DatabaseKind::Postgres, 2, 1000, vec!["0a1b".to_owned()])
    }

    fn members(backup: &[u8]) -> Result<Vec<(Place, Vec<u8>)>, BackupError> {
        let mut found = Vec::new();
        read(
            backup,
            &key(),
            |_| Ok(()),
            |place, _, content| {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                found.push((place, bytes));
                Ok(())
            },
        )?;
        Ok(found)
    }

    #[test]
    fn gives_back_what_was_added() {
        let mut archive = ArchiveWriter::new(Vec::new(), &key(), &manifest()).unwrap();
        archive.add("database/entries/000001", b"rows").unwrap();
        archive.add("keys/0a1b.key", b"0a1b.key").unwrap();
        archive.add("keys/row-mac.secret", b"row-mac.secret").unwrap();
        let backup = archive.finish().unwrap();
        let expected = [
            (Place::Table("entries".to_owned()), b"rows".to_vec()),
            (Place::Key("0a1b.key".to_owned()), b"0a1b.key".to_vec()),
            (Place::Key("row-mac.secret".to_owned()), b"row-mac.secret".to_vec()),
        ];
        assert_eq!(members(&backup).unwrap(), expected);
        let read = read(&backup[..], &key(), |_| Ok(()), |_, _, _| Ok(())).unwrap();
        assert_eq!(read, manifest());
    }

    /// Whoever has the key could write such a file; it must still not lead out of the data folder.
    #[rstest]
    #[case("keys/../../etc/passwd")]
    #[case("keys/.key")]
    #[case("keys/A.key")]
    #[case("keys/a/b.key")]
    #[case("database/ca.db-wal")]
    #[case("database/Entries/1")]
    #[case("lock")]
    fn refuses_members_that_it_does_not_know(#[case] name: &str) {
        assert_eq!(Place::parse(name), None);
        let mut archive = ArchiveWriter::new(Vec::new(), &key(), &manifest()).unwrap();
        if archive.add(name, b"x").is_ok() {
            let refused = members(&archive.finish().unwrap()).unwrap_err();
            assert!(matches!(refused, BackupError::Content(_)), "{refused}");
        }
    }

    #[test]
    fn refuses_an_archive_without_its_end() {
        let archive = ArchiveWriter::new(Vec::new(), &key(), &manifest()).unwrap();
        let backup = archive.tar.into_inner().unwrap().finish().unwrap();
        let refused = members(&backup).unwrap_err().to_string();
        assert!(refused.contains("end"), "{refused}");
    }
}
