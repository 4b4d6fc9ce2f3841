//! Private keys: their kinds, the wrapping key, and a CA for somebody else's key.

use std::{fs, path::Path};

use ca_daemon::{
    StartError,
    config::DatabaseConfig,
    keys::{KeyStorageKind, WrappingKeySource, generate_wrapping_key},
};
use rstest::rstest;
use secplane_identity::{
    KeyKind, PrivateKey, TrustBundle, TrustDomain,
    x509::{Certificate, Purpose, verify_x509_svid},
};
use secplane_proto::secplane::ca::v1::{
    IssueIstioCaRequest, ListAuthoritiesRequest, RekeyRequest, rekey_request::NewWrappingKey,
};
use secplane_tests::{
    authority::{Ca, CaFolder, TRUST_DOMAIN},
    entries::entry_for_this_process,
    workload::holder,
};
use tonic::Code;

fn rekey_to(path: &Path) -> RekeyRequest {
    let file = path.to_str().unwrap().to_owned();
    RekeyRequest { new_wrapping_key: Some(NewWrappingKey::File(file)) }
}

#[rstest]
#[case(KeyKind::EcP384)]
#[case(KeyKind::Ed25519)]
#[case(KeyKind::Rsa2048)]
#[tokio::test]
async fn of_each_kind_serve_a_workload(#[case] kind: KeyKind) {
    let ca = Ca::start_with(|config| config.keys.kind = kind).await;
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    let svid = ca.workload().x509_svids().await.unwrap().next_svid().await;
    let bundle = ca.bundle().await;
    let holder = holder(&svid);
    verify_x509_svid(holder.chain(), &bundle.into(), Purpose::ServerAuth, std::time::SystemTime::now())
        .unwrap();
    // Over TLS with a server certificate of that kind.
    ca.connect_as(&holder).await.renew().await.unwrap();
    ca.restart().await;
}

#[tokio::test]
async fn in_memory_serve_until_the_daemon_ends() {
    let mut folder = CaFolder::new();
    folder.config.keys.storage = Some(KeyStorageKind::Memory);
    if let DatabaseConfig::Postgres(_) = folder.config.database {
        let refusal = folder.refusal().await.to_string();
        assert!(refusal.contains("other replicas must find the keys"), "{refusal}");
        return;
    }
    let ca = folder.start().await;
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    let svid = ca.workload().x509_svids().await.unwrap().next_svid().await;
    ca.connect_as(&holder(&svid)).await.renew().await.unwrap();
    assert_eq!(key_storages(&ca).await, ["memory"]);
    let root = ca.root_fingerprint();
    let mut folder = ca.stop().await;
    assert_eq!(key_files(&folder), 0);

    let refusal = folder.refusal().await;
    assert!(matches!(refusal, StartError::KeysEnded), "{refusal}");
    assert!(refusal.to_string().contains("until the process ends"), "{refusal}");
    folder.config.data_dir = folder.path().join("another");
    let another = folder.start().await;
    assert_ne!(another.root_fingerprint(), root);
    another.admin().mint("/a", 60).await.unwrap();
}

/// The default with PostgreSQL, and a choice with SQLite.
#[tokio::test]
async fn in_the_database_are_there_after_a_restart() {
    let ca = Ca::start_with(|config| config.keys.storage = Some(KeyStorageKind::Database)).await;
    let held = ca.admin().mint("/held", 0).await.unwrap();
    assert_eq!(key_storages(&ca).await, ["database"]);
    let root = ca.root_fingerprint();
    let folder = ca.stop().await;
    assert_eq!(key_files(&folder), 0);
    let ca = folder.start().await;
    assert_eq!(ca.root_fingerprint(), root);
    let issued = ca.admin().mint("/a", 0).await.unwrap();
    assert_eq!(issued.chain()[1], held.chain()[1], "the issuing CA signs on");
    ca.connect_as(&held).await.renew().await.unwrap();
}

/// Where the keys of the authorities are, each place once.
async fn key_storages(ca: &Ca) -> Vec<String> {
    let request = ListAuthoritiesRequest::default();
    let listed = ca.admin().authority().list_authorities(request).await.unwrap().into_inner().authorities;
    assert!(listed.len() >= 3, "a root, an issuing CA and a JWT key at least: {listed:?}");
    let mut storages: Vec<_> = listed.into_iter().map(|authority| authority.key_storage).collect();
    storages.dedup();
    storages
}

fn key_files(folder: &CaFolder) -> usize {
    fs::read_dir(folder.config.data_dir.join("keys")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn are_sealed_under_another_wrapping_key_while_the_daemon_serves() {
    let ca = Ca::start().await;
    let entry = ca.admin().create_entry(entry_for_this_process("/a")).await;
    let (old, new) = (ca.folder().path().join("wrapping.key"), ca.folder().path().join("new.key"));
    generate_wrapping_key(&new).unwrap();
    let answer = ca.admin().authority().rekey(rekey_to(&new)).await.unwrap().into_inner();
    assert!(answer.sealed >= 3, "a root, an issuing CA and the row MAC at least: {}", answer.sealed);
    ca.admin().mint("/b", 60).await.unwrap();
    let root = ca.root_fingerprint();
    let again = ca.admin().authority().rekey(rekey_to(&new)).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition, "{again}");

    let mut folder = ca.stop().await;
    let refusal = folder.refusal().await.to_string();
    assert!(refusal.contains("sealed under wrapping key"), "{refusal}");
    fs::remove_file(&old).unwrap();
    folder.config.wrapping_key = WrappingKeySource::File(new);
    let ca = folder.start().await;
    assert_eq!(ca.root_fingerprint(), root);
    // Rows are still believed: the key of their MAC came along.
    assert_eq!(ca.admin().get_entry(&entry.id).await.unwrap().id, entry.id);
    ca.workload().x509_svids().await.unwrap().next_svid().await;
}

#[tokio::test]
async fn are_sealed_anew_for_the_machine_s_admin_alone() {
    let ca = Ca::start().await;
    let new = ca.folder().path().join("new.key");
    let authority = ca.admin().authority();
    let refused = authority.clone().rekey(rekey_to(&new)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "there is no such file: {refused}");
    let refused = authority.clone().rekey(rekey_to(Path::new("new.key"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let refused = authority.clone().rekey(RekeyRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    generate_wrapping_key(&new).unwrap();
    let mut entry = entry_for_this_process("/admin");
    entry.admin = true;
    ca.admin().create_entry(entry).await;
    let svid = ca.workload().x509_svids().await.unwrap().next_svid().await;
    let remote = ca.connect_as(&holder(&svid)).await;
    let refused = remote.authority().rekey(rekey_to(&new)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("admin socket"), "{refused}");
}

#[tokio::test]
async fn of_a_mesh_are_certified_below_the_same_root() {
    let ca = Ca::start().await;
    let key = PrivateKey::generate().unwrap();
    let request = IssueIstioCaRequest { csr: key.bare_request().unwrap(), ttl: 3600 };
    let answer = ca.admin().authority().issue_istio_ca(request.clone()).await.unwrap().into_inner();
    let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
    let bundle = TrustBundle::new(trust_domain.clone(), &answer.roots).unwrap();
    assert_eq!(bundle.to_pem(), ca.bundle().await.to_pem());
    let mesh = Certificate::parse(&answer.chain[0]).unwrap();
    assert!(mesh.is_ca && mesh.uris == [trust_domain.id()]);
    let endless = IssueIstioCaRequest { ttl: i64::MAX, ..request.clone() };
    let answer = ca.admin().authority().issue_istio_ca(endless).await.unwrap().into_inner();
    let root_ends = ca.bundle().await.authorities().map(|root| root.not_after).min();
    assert_eq!(
        Some(Certificate::parse(&answer.chain[0]).unwrap().not_after),
        root_ends,
        "it outlives no root"
    );
    let nobody = ca.connect_anonymously().await;
    let refused = nobody.authority().issue_istio_ca(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}
