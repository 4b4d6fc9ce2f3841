//! Against a real database in a temporary folder.

mod endpoint;
mod turns;

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use secplane_proto::spire::api::types::{
    FederationRelationship, federation_relationship::BundleEndpointProfile,
};

use super::*;
use crate::{
    access::LocalPeer,
    instant::Clock,
    keys::WrappingKey,
    store::{FederationRow, testing},
};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn mac() -> RowMac {
    WrappingKey::parse(KEY).unwrap().row_mac()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn admin() -> Caller {
    Caller::LocalAdmin(LocalPeer { pid: None, uid: 0, gid: 0 })
}

fn domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

async fn open(folder: &Path) -> (Arc<Federation>, Store) {
    let store = testing::open(folder, Clock::of(now)).await;
    (over(&store).await, store)
}

async fn over(store: &Store) -> Arc<Federation> {
    Arc::new(Federation::load(domain("example.org"), store.clone(), mac()).await.unwrap())
}

fn root_der() -> Vec<u8> {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn bundle(name: &str, sequence_number: u64) -> types::Bundle {
    types::Bundle { trust_domain: name.to_owned(), sequence_number, ..types::Bundle::default() }
}

fn relationship(name: &str) -> FederationRelationship {
    FederationRelationship {
        trust_domain: name.to_owned(),
        bundle_endpoint_url: format!("https://{name}/bundle"),
        bundle_endpoint_profile: Some(BundleEndpointProfile::HttpsWeb(types::HttpsWebProfile {})),
        trust_domain_bundle: None,
    }
}

#[tokio::test]
async fn keeps_bundles_and_relationships_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (federation, store) = open(folder.path()).await;
    let by = admin();
    let by = Author::Caller(&by);
    let with_root = types::Bundle {
        x509_authorities: vec![types::X509Certificate { asn1: root_der(), tainted: true }],
        refresh_hint: 60,
        ..bundle("a.net", 7)
    };
    federation.put_bundle(with_root.clone(), Before::Absent, by).await.unwrap();
    let wanted = Relationship::from_wire(&relationship("b.net")).unwrap();
    let made = wanted.clone();
    federation.put_relationship(&domain("b.net"), |_| Ok(made), Before::Absent, by).await.unwrap();
    federation.close().await;
    store.close().await;

    let (federation, _) = open(folder.path()).await;
    assert_eq!(*federation.bundle(&domain("a.net")).unwrap().to_wire(), with_root);
    assert_eq!(federation.bundle(&domain("a.net")).unwrap().trust_bundle().authorities().len(), 1);
    assert_eq!(*federation.relationship(&domain("b.net")).unwrap(), wanted);
}

#[tokio::test]
async fn says_whether_something_stands_already() {
    let folder = tempfile::tempdir().unwrap();
    let (federation, _) = open(folder.path()).await;
    let put = |before| federation.put_bundle(bundle("a.net", 1), before, Author::Daemon);
    assert!(matches!(put(Before::Present).await, Err(FederationError::NoBundle)));
    put(Before::Absent).await.unwrap();
    assert!(matches!(put(Before::Absent).await, Err(FederationError::BundleExists)));
    put(Before::Either).await.unwrap();
    let own = federation.put_bundle(bundle("example.org", 1), Before::Either, Author::Daemon).await;
    assert!(matches!(own, Err(FederationError::Own)), "{own:?}");
    federation.delete_bundle(&domain("a.net"), Author::Daemon).await.unwrap();
    let gone = federation.delete_bundle(&domain("a.net"), Author::Daemon).await;
    assert!(matches!(gone, Err(FederationError::NoBundle)));
}

#[tokio::test]
async fn changes_only_the_parts_that_a_mask_names() {
    let folder = tempfile::tempdir().unwrap();
    let (federation, _) = open(folder.path()).await;
    let first = types::Bundle { refresh_hint: 60, ..bundle("a.net", 1) };
    federation.put_bundle(first, Before::Absent, Author::Daemon).await.unwrap();
    let mask = types::BundleMask { sequence_number: true, ..types::BundleMask::default() };
    let changed = federation.change_bundle(bundle("a.net", 2), Some(&mask), Author::Daemon).await.unwrap();
    assert_eq!((changed.to_wire().sequence_number, changed.to_wire().refresh_hint), (2, 60));
    let changed = federation.change_bundle(bundle("a.net", 3), None, Author::Daemon).await.unwrap();
    assert_eq!((changed.to_wire().sequence_number, changed.to_wire().refresh_hint), (3, 0));
}

#[tokio::test]
async fn refuses_a_bundle_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let (federation, _) = open(folder.path()).await;
    let key = |key_id: &str, public_key: Vec<u8>| types::JwtKey {
        key_id: key_id.to_owned(),
        public_key,
        ..types::JwtKey::default()
    };
    for wrong in [
        types::Bundle { trust_domain: "A.net".into(), ..bundle("a.net", 1) },
        types::Bundle { refresh_hint: -1, ..bundle("a.net", 1) },
        types::Bundle {
            x509_authorities: vec![types::X509Certificate { asn1: vec![1], tainted: false }],
            ..bundle("a.net", 1)
        },
        types::Bundle { jwt_authorities: vec![key("a", vec![1])], ..bundle("a.net", 1) },
        types::Bundle { jwt_authorities: vec![key("", Vec::new())], ..bundle("a.net", 1) },
    ] {
        let refused = federation.put_bundle(wrong.clone(), Before::Either, Author::Daemon).await;
        assert!(matches!(refused, Err(FederationError::Bundle(_))), "{wrong:?}: {refused:?}");
    }
    assert!(federation.bundles().is_empty());
}

/// Whoever can write the database must not be able to make anybody trusted.
#[tokio::test]
async fn leaves_out_a_row_that_somebody_else_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let (federation, store) = open(folder.path()).await;
    federation.put_bundle(bundle("a.net", 1), Before::Absent, Author::Daemon).await.unwrap();
    federation.put_bundle(bundle("b.net", 1), Before::Absent, Author::Daemon).await.unwrap();
    let rows = store.federation(FederationTable::Bundles).await.unwrap();
    let row = |name: &str| rows.iter().find(|row| row.trust_domain == name).unwrap().clone();
    let table = FederationTable::Bundles;
    let mut edited = row("a.net");
    edited.body.extend([0x20, 0x01]); // refresh_hint = 1
    let change = Change::ReplaceFederation { table, old_mac: edited.mac.clone(), row: edited };
    store.write(change).await.unwrap();
    let moved = FederationRow { trust_domain: "c.net".into(), ..row("b.net") };
    store.write(Change::AddFederation { table, row: moved }).await.unwrap();

    let federation = over(&store).await;
    let names: Vec<_> = federation.bundles().iter().map(|b| b.trust_domain().to_string()).collect();
    assert_eq!(names, ["b.net"]);
}

#[tokio::test]
async fn says_which_forged_row_is_in_the_way_and_deletes_it() {
    let folder = tempfile::tempdir().unwrap();
    let (federation, store) = open(folder.path()).await;
    federation.put_bundle(bundle("a.net", 1), Before::Absent, Author::Daemon).await.unwrap();
    let table = FederationTable::Bundles;
    let row = store.federation(table).await.unwrap().remove(0);
    let mut forged = row.clone();
    forged.mac[0] ^= 1;
    store.write(Change::ReplaceFederation { table, row: forged, old_mac: row.mac }).await.unwrap();

    let blocked = federation.put_bundle(bundle("a.net", 2), Before::Either, Author::Daemon).await;
    let blocked = blocked.unwrap_err().to_string();
    assert!(blocked.contains("`secctl federation delete a.net --bundle`"), "{blocked}");
    assert_eq!(federation.refused(), RefusedRows { relationships: 0, bundles: 1 });
    assert_eq!(federation.bundle(&domain("a.net")).map(|bundle| bundle.to_wire().sequence_number), None);

    federation.delete_bundle(&domain("a.net"), Author::Daemon).await.unwrap();
    assert_eq!(federation.refused(), RefusedRows::default());
    federation.put_bundle(bundle("a.net", 2), Before::Absent, Author::Daemon).await.unwrap();
}

#[tokio::test]
async fn lets_one_of_two_replicas_change_a_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let (here, store) = open(folder.path()).await;
    let there = over(&store).await;
    there.put_bundle(bundle("a.net", 1), Before::Absent, Author::Daemon).await.unwrap();
    let raced = here.put_bundle(bundle("a.net", 2), Before::Absent, Author::Daemon).await;
    assert!(matches!(raced, Err(FederationError::Raced)), "{raced:?}");
    assert!(here.bundle(&domain("a.net")).is_some(), "what is in the way is known now");
    there.put_bundle(bundle("a.net", 3), Before::Present, Author::Daemon).await.unwrap();
    let mut changes = here.changes();
    changes.mark_unchanged();
    here.reload().await.unwrap();
    assert!(changes.has_changed().unwrap());
    assert_eq!(here.bundle(&domain("a.net")).unwrap().to_wire().sequence_number, 3);
}

#[tokio::test]
async fn reads_again_what_a_commit_may_have_changed_whose_end_nobody_heard() {
    let folder = tempfile::tempdir().unwrap();
    let (federation, store) = open(folder.path()).await;
    let mut notices = store.changes();
    testing::leave_next_commit_unheard(&store);
    let written = federation.put_bundle(bundle("a.net", 1), Before::Absent, Author::Daemon).await;
    assert!(matches!(written, Err(FederationError::Store(StoreError::Unsure(_)))), "{written:?}");
    for notice in testing::heard(&mut notices) {
        federation.follow(&notice).await.unwrap();
    }
    assert!(federation.bundle(&domain("a.net")).is_some());
}
