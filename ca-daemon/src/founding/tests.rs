use std::fs;

use secplane_identity::{PrivateKey, trust_bundle::to_certificate_pem};

use super::*;
use crate::{
    authority::CaKey,
    lifecycle::testing::{DAY, World},
    store::testing::REPLICA,
    whole_file,
};

/// The files of a root that was made elsewhere.
fn write_files(world: &World, folder: &std::path::Path) {
    let key = PrivateKey::generate().unwrap();
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let ca_key = CaKey::try_from(&key).unwrap();
    let root = DomainCa::self_signed(&trust_domain, ca_key, DAY * 30, world.now()).unwrap();
    let pem = to_certificate_pem([root.certificate().der.as_ref()]);
    whole_file::write(&folder.join("ca-key.pem"), key.to_pem().as_bytes(), 0o600).unwrap();
    for name in ["ca-cert.pem", "root-cert.pem"] {
        fs::write(folder.join(name), &pem).unwrap();
    }
}

#[tokio::test]
async fn begins_no_other_authority_where_keys_of_one_are() {
    let world = World::new();
    let store = world.store().await;
    let vault = world.vault(&store, "example.org", REPLICA).await;
    let left = vault.new_root(AuthorityState::Active).await.unwrap().key_id;
    assert!(matches!(found(&vault).await, Err(FoundingError::KeysWithoutDatabase)));
    assert!(world.key_file(&left).exists());
    assert!(store.trust_domain().await.unwrap().is_none(), "nothing was begun");
}

#[tokio::test]
async fn begins_after_a_first_start_that_was_cut_short() {
    let world = World::new();
    let store = world.store().await;
    let vault = world.vault(&store, "example.org", REPLICA).await;
    vault.keys.keep_secret(BEGINNING, b"example.org").await.unwrap();
    let left = vault.new_root(AuthorityState::Active).await.unwrap().key_id;
    assert!(found(&vault).await.unwrap().is_new);
    assert!(world.key_file(&left).exists(), "a first start deletes nothing");
    assert!(vault.keys.load_secret(BEGINNING).await.unwrap().is_none(), "it is over");
    assert!(!found(&vault).await.unwrap().is_new);
    assert!(!world.key_file(&left).exists(), "nobody needs it");
}

#[tokio::test]
async fn keeps_the_key_that_two_replicas_begin_with() {
    let world = World::new();
    let store = world.store().await;
    let files = tempfile::tempdir().unwrap();
    write_files(&world, files.path());
    let ours = world.vault(&store, "example.org", REPLICA).await;
    let theirs = world.vault(&store, "example.org", "00000000000000bb").await;
    let begin_with_files = async |vault: &Vault| begin(vault, Some(files.path().to_owned())).await.unwrap();
    assert!(begin_with_files(&ours).await);
    assert!(!begin_with_files(&theirs).await, "the other one was faster");
    for vault in [&ours, &theirs] {
        let founded = found(vault).await.unwrap();
        assert!(world.key_file(founded.domain_ca().key_id()).exists());
    }
}

/// It looked for a database before another replica had made one, and for keys and the note of a first start after.
#[tokio::test]
async fn goes_on_where_another_replica_has_just_begun() {
    let world = World::new();
    let store = world.store().await;
    world.found(&store, "example.org").await.unwrap();
    let late = world.vault(&store, "example.org", "00000000000000bb").await;
    assert!(!begin_where_nothing_is(&late, None).await.unwrap(), "it is not taken for a lost database");
}
