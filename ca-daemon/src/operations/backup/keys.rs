//! The sealed keys that belong to a copy of the database.
//!
//! A key is kept before a row names it and destroyed once none needs it, and all of them may be sealed anew: each of that
//! may happen while the database is copied. So the folder is read before and after, and what either look found goes into
//! the backup.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    BackupError,
    archive::{MAX_PART_BYTES, is_key_name},
};
use crate::keys::{SealError, WrappingKeyId, sealed_under};

/// The files of a folder of sealed keys, by their names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SealedKeys(BTreeMap<String, Vec<u8>>);

impl SealedKeys {
    /// Reads what is in a folder now.
    pub(super) async fn read(folder: &Path) -> Result<Self, BackupError> {
        let folder = folder.to_owned();
        let read = move || -> Result<Self, BackupError> { Ok(Self(read_folder(&folder)?)) };
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(BackupError::Interrupted))
    }

    /// What was found by this look and by one `after` it, if it belongs together and holds the keys of all `needed`
    /// authorities.
    pub(super) fn joined(self, after: Self, needed: &[String], folder: &Path) -> Result<Self, KeysError> {
        // Whoever keeps keys in files has at least the one that proves the rows.
        if after.0.is_empty() {
            return Err(KeysError::None(folder.to_owned()));
        }
        let mut all = self.0;
        all.extend(after.0);
        let mut wrapping_key = None;
        for (name, sealed) in &all {
            let found = sealed_under(sealed)
                .map_err(|source| KeysError::Damaged { path: folder.join(name), source })?;
            // The first form does not say what it is sealed under.
            let Some(found) = found else { continue };
            let first = *wrapping_key.get_or_insert(found);
            if first != found {
                return Err(KeysError::Mixed(first, found));
            }
        }
        match needed.iter().find(|key_id| !all.contains_key(&file_name(key_id))) {
            Some(key_id) => Err(KeysError::Missing(key_id.clone())),
            None => Ok(Self(all)),
        }
    }

    /// The names and the contents, in the order of the names.
    pub(super) fn into_files(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.0.into_iter()
    }
}

/// What the file of an authority's key is called.
pub(super) fn file_name(key_id: &str) -> String {
    format!("{key_id}.key")
}

fn read_folder(folder: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let files = match fs::read_dir(folder) {
        Ok(files) => files,
        // Just now another folder takes its place, or there is none: the next look tells.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut found = BTreeMap::new();
    for file in files {
        let file = file?;
        let Some(name) = file.file_name().to_str().filter(|name| is_key_name(name)).map(str::to_owned) else {
            continue;
        };
        let mut content = Vec::new();
        match File::open(file.path()) {
            Ok(sealed) => {
                sealed.take(MAX_PART_BYTES).read_to_end(&mut content)?;
            }
            // It was destroyed meanwhile. Whether it is needed is seen later.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        found.insert(name, content);
    }
    Ok(found)
}

/// Why private keys do not go into a backup.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// There are none.
    #[error("there are none in {0}; if the daemon was killed, start it once, and repeat the backup")]
    None(PathBuf),
    /// They are sealed under different wrapping keys.
    #[error(
        "they are sealed under two wrapping keys, {0} and {1}; repeat the backup when no `secctl ca rekey` is running"
    )]
    Mixed(WrappingKeyId, WrappingKeyId),
    /// One is missing.
    #[error("the one of authority {0} is missing; what is restored without it would not start")]
    Missing(String),
    /// One is no sealed key.
    #[error("{path} cannot be used: {source}")]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: SealError,
    },
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secplane_identity::KeyKind;

    use super::*;
    use crate::keys::{KeyStorage, KeyStore, WrappingKey};

    fn wrapping(first: &str) -> WrappingKey {
        WrappingKey::parse(&format!("{first}0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"))
            .unwrap()
    }

    /// A folder of keys that are sealed under a wrapping key.
    async fn keys(wrapping_key: &str, names: &[&str]) -> SealedKeys {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("keys");
        let storage = KeyStorage::Files(folder.clone());
        let store = KeyStore::open(storage, wrapping(wrapping_key), KeyKind::EcP256).await.unwrap();
        for name in names {
            store.keep_secret(name, b"secret").await.unwrap();
        }
        SealedKeys::read(&folder).await.unwrap()
    }

    fn joined(before: SealedKeys, after: SealedKeys, needed: &[&str]) -> Result<Vec<String>, KeysError> {
        let needed: Vec<_> = needed.iter().map(|key_id| (*key_id).to_owned()).collect();
        let all = before.joined(after, &needed, Path::new("keys"))?;
        Ok(all.into_files().map(|(name, _)| name).collect())
    }

    #[tokio::test]
    async fn holds_what_was_destroyed_and_what_was_made_meanwhile() {
        let (before, after) = (keys("00", &["0a", "row-mac"]).await, keys("00", &["0b", "row-mac"]).await);
        assert_eq!(joined(before, after, &["0a", "0b"]).unwrap(), ["0a.key", "0b.key", "row-mac.secret"]);
    }

    #[tokio::test]
    async fn takes_the_later_look_where_both_found_something() {
        let (before, after) = (keys("00", &["0a"]).await, keys("00", &["0a"]).await);
        let expected: Vec<_> = after.0.clone().into_iter().collect();
        let all = before.joined(after, &[], Path::new("keys")).unwrap();
        assert_eq!(all.into_files().collect::<Vec<_>>(), expected);
    }

    /// One was destroyed before everything was sealed anew: no wrapping key opens both.
    #[tokio::test]
    async fn refuses_keys_under_two_wrapping_keys() {
        let (before, after) = (keys("00", &["0a", "0b"]).await, keys("ff", &["0b"]).await);
        let ids = (wrapping("00").id(), wrapping("ff").id());
        assert_eq!(joined(before, after, &["0b"]), Err(KeysError::Mixed(ids.0, ids.1)));
    }

    #[rstest]
    #[case("0a", "0a", KeysError::Missing("0b".to_owned()))]
    #[case("0b", "", KeysError::None("keys".into()))]
    #[case("", "", KeysError::None("keys".into()))]
    #[tokio::test]
    async fn refuses_a_backup_without_what_is_needed(
        #[case] before: &str,
        #[case] after: &str,
        #[case] refusal: KeysError,
    ) {
        let before = keys("00", &before.split_whitespace().collect::<Vec<_>>()).await;
        let after = keys("00", &after.split_whitespace().collect::<Vec<_>>()).await;
        assert_eq!(joined(before, after, &["0b"]), Err(refusal));
    }

    #[tokio::test]
    async fn refuses_what_is_no_sealed_key() {
        let damaged = SealedKeys(BTreeMap::from([("0a.key".to_owned(), b"x".to_vec())]));
        let refusal = joined(keys("00", &["0a"]).await, damaged, &["0a"]).unwrap_err();
        assert!(matches!(refusal, KeysError::Damaged { .. }), "{refusal}");
    }

    #[tokio::test]
    async fn finds_nothing_where_no_folder_is() {
        let folder = tempfile::tempdir().unwrap();
        let found = SealedKeys::read(&folder.path().join("keys")).await.unwrap();
        assert_eq!(found, SealedKeys::default());
    }

    #[tokio::test]
    async fn leaves_out_what_is_still_being_written() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["0a.key", "row-mac.secret", "0a.key.new", "notes.txt"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let found = SealedKeys::read(folder.path()).await.unwrap();
        let names: Vec<_> = found.into_files().map(|(name, _)| name).collect();
        assert_eq!(names, ["0a.key", "row-mac.secret"]);
    }
}
