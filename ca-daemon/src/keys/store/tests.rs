use super::*;
use crate::{instant::Clock, store::testing};

const OLD: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NEW: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn wrapping(text: &str) -> WrappingKey {
    WrappingKey::parse(text).unwrap()
}

/// One place of each kind, to be opened as often as a test likes; memory but once.
async fn places(folder: &tempfile::TempDir) -> Vec<KeyStorage> {
    let store = testing::open(folder.path(), Clock::system()).await;
    vec![KeyStorage::Files(folder.path().join("keys")), KeyStorage::Database(store), KeyStorage::Memory]
}

async fn open_with(storage: &KeyStorage, key: &str) -> Result<KeyStore, KeyStoreError> {
    KeyStore::open(storage.clone(), wrapping(key), KeyKind::EcP256).await
}

#[tokio::test]
async fn keeps_keys_and_secrets_in_every_place() {
    let folder = tempfile::tempdir().unwrap();
    for storage in places(&folder).await {
        let keys = open_with(&storage, OLD).await.unwrap();
        let key = keys.make().await.unwrap();
        keys.keep("0a1b", &key).await.unwrap();
        keys.keep_secret("a-secret", b"one").await.unwrap();
        keys.keep_secret("a-secret", b"two").await.unwrap();
        assert_eq!(keys.load("0a1b").await.unwrap().pkcs8_der(), key.pkcs8_der());
        assert_eq!(keys.load_secret("a-secret").await.unwrap().unwrap().as_slice(), b"two");
        assert!(matches!(keys.load("0c").await, Err(KeyStoreError::NoKey(_))));
        let made = keys.make_ca_key().await.unwrap();
        assert_eq!(keys.ca_key(&made.id()).await.unwrap().public_key_info(), made.public_key_info());
        keys.forget("a-secret").await.unwrap();
        keys.forget("a-secret").await.unwrap();
        assert!(keys.load_secret("a-secret").await.unwrap().is_none());
        assert!(matches!(keys.keep_secret("../a", b"x").await, Err(KeyStoreError::Name(_))));
        let sealed = keys.inner.place.all().await.unwrap();
        let shows = |sealed: &[u8]| sealed.windows(16).any(|w| key.pkcs8_der().windows(16).any(|k| k == w));
        assert!(sealed.len() == 2 && sealed.iter().all(|(_, sealed)| !shows(sealed)));
    }
}

#[tokio::test]
async fn seals_everything_under_another_wrapping_key() {
    let folder = tempfile::tempdir().unwrap();
    for storage in places(&folder).await {
        let keys = open_with(&storage, OLD).await.unwrap();
        let key = keys.make().await.unwrap();
        keys.keep("0a1b", &key).await.unwrap();
        keys.keep_secret("a-secret", b"one").await.unwrap();
        let done = keys.rekey(wrapping(NEW)).await.unwrap();
        let ids = (wrapping(OLD).id(), wrapping(NEW).id());
        assert_eq!(done, Rekeyed { sealed: 2, from: ids.0, to: ids.1 });
        // The daemon goes on with the new one.
        assert_eq!(keys.load("0a1b").await.unwrap().pkcs8_der(), key.pkcs8_der());
        keys.keep_secret("later", b"two").await.unwrap();
        for (name, sealed) in keys.inner.place.all().await.unwrap() {
            assert_eq!(sealed_under(&sealed).unwrap(), Some(ids.1), "{name}");
        }
        assert!(matches!(keys.rekey(wrapping(NEW)).await, Err(KeyStoreError::SameWrappingKey(_))));
        if matches!(storage, KeyStorage::Memory) {
            continue;
        }
        let refused = open_with(&storage, OLD).await.map(drop).unwrap_err().to_string();
        assert!(refused.contains(&ids.0.to_string()) && refused.contains(&ids.1.to_string()), "{refused}");
        let again = open_with(&storage, NEW).await.unwrap();
        assert_eq!(again.load_secret("later").await.unwrap().unwrap().as_slice(), b"two");
    }
}

#[tokio::test]
async fn adds_nothing_under_a_wrapping_key_that_another_replica_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let storage = KeyStorage::Database(testing::open(folder.path(), Clock::system()).await);
    let (one, other) = (open_with(&storage, OLD).await.unwrap(), open_with(&storage, OLD).await.unwrap());
    one.keep_secret("a", b"one").await.unwrap();
    one.rekey(wrapping(NEW)).await.unwrap();
    assert!(matches!(other.keep_secret("b", b"x").await, Err(KeyStoreError::RekeyedByAnother)));
    assert!(matches!(other.load_secret("a").await, Err(KeyStoreError::RekeyedByAnother)));
    assert!(other.rekey(wrapping(NEW)).await.is_err());
    assert_eq!(one.load_secret("a").await.unwrap().unwrap().as_slice(), b"one");
    assert!(one.load_secret("b").await.unwrap().is_none());
}

#[tokio::test]
async fn changes_nothing_when_a_secret_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let storage = KeyStorage::Files(folder.path().join("keys"));
    let keys = open_with(&storage, OLD).await.unwrap();
    keys.keep_secret("a", b"one").await.unwrap();
    keys.keep_secret("b", b"two").await.unwrap();
    std::fs::copy(folder.path().join("keys/a.key"), folder.path().join("keys/b.key")).unwrap();
    assert!(matches!(keys.rekey(wrapping(NEW)).await, Err(KeyStoreError::Seal { .. })));
    assert_eq!(keys.load_secret("a").await.unwrap().unwrap().as_slice(), b"one");
    assert!(open_with(&storage, OLD).await.is_ok());
}

#[tokio::test]
async fn keeps_the_row_mac_of_the_first_version_and_makes_its_own_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    for has_begun in [true, false] {
        let storage = KeyStorage::Files(folder.path().join(format!("keys-{has_begun}")));
        let keys = open_with(&storage, OLD).await.unwrap();
        let proof = keys.row_mac(has_begun).await.unwrap().of("entries", &[b"row"]);
        assert_eq!(wrapping(OLD).row_mac().is_of(&proof, "entries", &[b"row"]), has_begun);
        // It stays through another wrapping key.
        keys.rekey(wrapping(NEW)).await.unwrap();
        let again = open_with(&storage, NEW).await.unwrap().row_mac(true).await.unwrap();
        assert!(again.is_of(&proof, "entries", &[b"row"]));
    }
}

/// Two replicas on one database. One of them seals everything anew, the other finds the new key where it found the old.
#[tokio::test]
async fn follows_another_replica_that_sealed_everything_anew() {
    let folder = tempfile::tempdir().unwrap();
    let storage = KeyStorage::Database(testing::open(folder.path(), Clock::system()).await);
    let file = folder.path().join("wrapping.key");
    let put = |key: &str| crate::whole_file::write(&file, key.as_bytes(), 0o600).unwrap();
    put(OLD);
    let ours = open_with(&storage, OLD).await.unwrap();
    let theirs = open_with(&storage, OLD).await.unwrap();
    let theirs = theirs.reading_wrapping_key_from(WrappingKeySource::File(file.clone()));
    ours.keep_secret("a-secret", b"one").await.unwrap();

    ours.rekey(wrapping(NEW)).await.unwrap();
    let refused = theirs.load_secret("a-secret").await.unwrap_err().to_string();
    assert!(refused.contains(&wrapping(NEW).id().to_string()), "names the key that is wanted: {refused}");
    put(NEW);
    assert_eq!(theirs.load_secret("a-secret").await.unwrap().unwrap().as_slice(), b"one");

    // The same when it writes before it reads.
    ours.rekey(wrapping(OLD)).await.unwrap();
    assert!(theirs.keep_secret("another", b"two").await.is_err());
    put(OLD);
    theirs.keep_secret("another", b"two").await.unwrap();
    assert_eq!(ours.load_secret("another").await.unwrap().unwrap().as_slice(), b"two");
}

#[tokio::test]
async fn takes_no_wrapping_key_that_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrapping.key");
    for storage in places(&folder).await {
        let keys = open_with(&storage, OLD).await.unwrap();
        keys.keep_secret("a-secret", b"one").await.unwrap();
        crate::whole_file::write(&file, NEW.as_bytes(), 0o600).unwrap();
        let refused = keys.read_wrapping_key_from(WrappingKeySource::File(file.clone())).await;
        assert!(matches!(refused, Err(KeyStoreError::OtherWrappingKey { .. })), "{refused:?}");
        keys.load_secret("a-secret").await.unwrap().unwrap();
        crate::whole_file::write(&file, OLD.as_bytes(), 0o600).unwrap();
        keys.read_wrapping_key_from(WrappingKeySource::File(file.clone())).await.unwrap();
    }
}

#[tokio::test]
async fn deletes_the_key_files_that_nobody_needs() {
    let folder = tempfile::tempdir().unwrap();
    for storage in places(&folder).await {
        let keys = open_with(&storage, OLD).await.unwrap();
        let key = keys.make().await.unwrap();
        for id in ["0a", "0b"] {
            keys.keep(id, &key).await.unwrap();
        }
        keys.keep_secret("a-secret", b"one").await.unwrap();
        let deleted = keys.forget_keys_but(&["0a".to_owned()].into()).await.unwrap();
        let is_files = matches!(storage, KeyStorage::Files(_));
        assert_eq!(deleted, if is_files { vec!["0b".to_owned()] } else { Vec::new() });
        assert_eq!(keys.load("0b").await.is_err(), is_files);
        keys.load("0a").await.unwrap();
        keys.load_secret("a-secret").await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn lists_the_names_that_begin_alike_in_every_place() {
    let folder = tempfile::tempdir().unwrap();
    for storage in places(&folder).await {
        let keys = open_with(&storage, OLD).await.unwrap();
        for name in ["jwt-0a-one", "jwt-0a-other", "jwt-0b-one"] {
            keys.keep_secret(name, b"x").await.unwrap();
        }
        let mut found = keys.names_beginning_with("jwt-0a-").await.unwrap();
        found.sort();
        assert_eq!(found, ["jwt-0a-one", "jwt-0a-other"]);
    }
}
