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
