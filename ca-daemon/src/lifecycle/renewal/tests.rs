use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use rcgen::{CertificateParams, Issuer, KeyPair, KeyUsagePurpose};
use secplane_identity::{PrivateKey, trust_bundle::to_certificate_pem};

use super::*;
use crate::{
    founding::{Founded, found_below},
    issuance::Requester,
    lifecycle::testing::{DAY, HOUR, World},
    store::{Store, testing::REPLICA},
};

/// An outside root that certifies one CA again and again.
struct Outside {
    root: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
    key: PrivateKey,
}

impl Outside {
    fn new(world: &World) -> Self {
        let key = KeyPair::generate().unwrap();
        let of_root = world.ca_params("the root", DAY * 1000);
        let root = of_root.self_signed(&key).unwrap().der().to_vec();
        Self { root, issuer: Issuer::new(of_root, key), key: PrivateKey::generate().unwrap() }
    }

    /// Certifies the CA from now on, lays it down as Istio does, and answers its certificate.
    fn certify(&self, world: &World, lifetime: Duration, folder: &Path) -> Vec<u8> {
        self.certify_as(world.ca_params("ours", lifetime), folder)
    }

    fn certify_as(&self, params: CertificateParams, folder: &Path) -> Vec<u8> {
        let key = self.key.signing_pair().unwrap();
        let own = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        let key_file = folder.join("ca-key.pem");
        fs::write(&key_file, self.key.to_pem().as_bytes()).unwrap();
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
        for (name, der) in [("ca-cert.pem", &own), ("root-cert.pem", &self.root)] {
            fs::write(folder.join(name), to_certificate_pem([der.as_slice()])).unwrap();
        }
        own
    }
}

async fn start(world: &World, store: &Store, folder: &Path) -> Founded {
    let vault = world.vault(store, "example.org", REPLICA).await;
    found_below(&vault, Some(folder.to_owned())).await.unwrap()
}

fn active(founded: &Founded) -> &AuthorityRow {
    founded.authorities.authorities.active(Line::Root).unwrap()
}

/// With the one before nothing could be signed any more, so that it must not be needed for the start.
#[tokio::test]
async fn takes_in_what_was_renewed_after_the_one_before_has_expired() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let (store, outside) = (world.store().await, Outside::new(&world));
    let first = outside.certify(&world, DAY * 10, folder.path());
    let before = start(&world, &store, folder.path()).await;
    assert_eq!(active(&before).public, first);

    world.advance(DAY * 20);
    let second = outside.certify(&world, DAY * 30, folder.path());
    let after = start(&world, &store, folder.path()).await;
    assert_eq!(active(&after).public, second);
    assert_eq!(active(&after).key_id, active(&before).key_id);
    assert_eq!(active(&after).since, active(&before).since, "it has signed all the time");
    assert_eq!(active(&after).not_after, crate::instant::unix(world.now() + DAY * 30));
    assert_eq!(after.issuing.below_root()[1].to_vec(), second);
    assert_eq!(after.bundle.sequence(), before.bundle.sequence(), "the root is the same");
}

/// What it signed a list for before is refused by whoever still holds that list, since it may sign none any more.
#[tokio::test]
async fn refuses_a_certificate_that_may_sign_no_more_lists() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let (store, outside) = (world.store().await, Outside::new(&world));
    outside.certify(&world, DAY * 10, folder.path());
    start(&world, &store, folder.path()).await;
    world.advance(DAY);
    let mut without = world.ca_params("ours", DAY * 10);
    without.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    outside.certify_as(without, folder.path());
    let vault = world.vault(&store, "example.org", REPLICA).await;
    let refused = found_below(&vault, Some(folder.path().to_owned())).await.err().unwrap().to_string();
    assert!(refused.contains("without cRLSign"), "{refused}");
}

#[tokio::test]
async fn keeps_what_is_newer_than_the_files() {
    let (world, folder, old) = (World::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, outside) = (world.store().await, Outside::new(&world));
    outside.certify(&world, DAY * 10, old.path());
    start(&world, &store, old.path()).await;
    world.advance(DAY);
    let newer = outside.certify(&world, DAY * 10, folder.path());
    start(&world, &store, folder.path()).await;
    // The folder of another replica, whose files nobody has renewed yet.
    let kept = start(&world, &store, old.path()).await;
    assert_eq!(active(&kept).public, newer);
}

#[tokio::test]
async fn signs_with_what_another_replica_has_taken_in() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let (store, outside) = (world.store().await, Outside::new(&world));
    outside.certify(&world, DAY * 10, folder.path());
    start(&world, &store, folder.path()).await;
    let (issuance, lifecycle) = world.start_replica(&store, REPLICA).await;

    world.advance(HOUR);
    let renewed = outside.certify(&world, DAY * 30, folder.path());
    let theirs = world.vault(&store, "example.org", "00000000000000bb").await;
    found_below(&theirs, Some(folder.path().to_owned())).await.unwrap();
    lifecycle.keep_up().await.unwrap();
    assert_eq!(lifecycle.domain_ca().certificate().der.to_vec(), renewed);
    assert_eq!(issuance.issuing().below_root()[1].to_vec(), renewed, "leaves carry it");
}

/// Two replicas that keep their keys in one database start on the same files.
#[tokio::test]
async fn takes_in_a_ca_once_and_keeps_its_key() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let (store, outside) = (world.store().await, Outside::new(&world));
    let (_, lifecycle) = world.start_replica(&store, REPLICA).await;
    outside.certify(&world, DAY * 10, folder.path());
    let ca = lifecycle.vault().outside_ca(PemCa::read(folder.path()).unwrap()).await.unwrap();
    for _ in 0..2 {
        let taken = lifecycle.take_in(Arc::clone(&ca), "file", Requester::daemon()).await.unwrap();
        assert_eq!((taken.key_id.as_str(), taken.state), (ca.key_id(), AuthorityState::Prepared));
    }
    assert!(world.key_file(ca.key_id()).exists());
}
