//! Several authorities on one database serve as one.

mod agents;
mod killed;
mod notices;
mod propagation;
mod silence;
mod steps;

use std::time::Duration;

use ca_daemon::keys::{WrappingKeySource, generate_wrapping_key};
use secplane_identity::revocation::RevocationList;
use secplane_proto::{
    secplane::ca::v1::{
        RekeyRequest, RevokeCertificateRequest, WatchTrustBundleRequest, rekey_request::NewWrappingKey,
    },
    spire::api::server::{
        bundle::v1::GetBundleRequest,
        localauthority::v1::{
            PrepareJwtAuthorityRequest, PrepareX509AuthorityRequest,
            local_authority_client::LocalAuthorityClient,
        },
    },
};
use secplane_tests::{
    authority::{Ca, CaFolder},
    entries::{entry, entry_for_this_process},
    moved_clock::stopped,
    soon,
};

/// Two replicas that serve.
async fn two() -> (Ca, Ca) {
    let first = CaFolder::new();
    let second = CaFolder::replica_of(&first);
    (first.start().await, second.start().await)
}

/// Two replicas whose clock stands still: what one of them heeds of the other it was told of, for it never looks by
/// itself.
///
/// A replica reads everything once when it begins to listen. That is over here: of a change of each kind it knows.
async fn two_that_must_be_told() -> (Ca, Ca) {
    let clock = stopped();
    let first = CaFolder::new();
    let second = CaFolder::replica_of(&first);
    let (one, other) = (first.start_with_clock(clock.clone()).await, second.start_with_clock(clock).await);

    let created = one.admin().create_entry(entry("/known", &["uid:4711"])).await;
    until("an entry", async || other.admin().get_entry(&created.id).await.ok()).await;
    one.admin().local_authority().prepare_jwt_authority(PrepareJwtAuthorityRequest {}).await.unwrap();
    until("a prepared key", async || {
        let bundle = other.admin().bundle().get_bundle(GetBundleRequest::default()).await.unwrap();
        (bundle.into_inner().jwt_authorities.len() == 2).then_some(())
    })
    .await;
    // Last, because whoever heeds the others looks for it, too.
    let holder = one.admin().mint("/known", 0).await.unwrap();
    let clients = other.connect_as(&holder).await;
    one.admin().revoke(&holder).await.unwrap();
    until("a refusal", async || clients.renew().await.err()).await;
    (one, other)
}

/// Asks until the answer is there: it has to come by itself.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

#[tokio::test]
async fn are_one_authority_with_an_issuing_ca_each() {
    let (one, other) = two().await;
    assert_eq!(one.root_fingerprint(), other.root_fingerprint());
    let (a, b) = (one.admin().mint("/a", 0).await.unwrap(), other.admin().mint("/b", 0).await.unwrap());
    assert_ne!(a.leaf().authority_key_id, b.leaf().authority_key_id);
    // What one issued, the other takes.
    a.knock(other.grpc_address(), &other.bundle().await).await.unwrap();
    b.knock(one.grpc_address(), &one.bundle().await).await.unwrap();
    let record = other.admin().record(a.leaf().serial).await.unwrap();
    assert_eq!(record.spiffe_id, "spiffe://example.org/a");
}

#[tokio::test]
async fn begin_an_authority_together() {
    let first = CaFolder::new();
    let others: Vec<_> = (0..3).map(|_| CaFolder::replica_of(&first)).collect();
    let starts = std::iter::once(first).chain(others).map(CaFolder::start);
    let started = futures_util::future::join_all(starts).await;
    assert!(started.iter().all(|ca| ca.root_fingerprint() == started[0].root_fingerprint()));
    for ca in &started {
        ca.admin().mint("/a", 0).await.unwrap();
    }
}

#[tokio::test]
async fn hear_of_each_others_entries() {
    let (one, other) = two_that_must_be_told().await;
    let created = one.admin().create_entry(entry_for_this_process("/a")).await;
    until("the entry at the other replica", async || other.admin().get_entry(&created.id).await.ok()).await;
    let mut svids = other.workload().x509_svids().await.unwrap();
    assert_eq!(svids.next_svid().await.spiffe_id, "spiffe://example.org/a");

    one.admin().delete_entry(&created).await;
    assert_eq!(svids.end().await.message(), "no identity issued");
}

/// A workload that asks at one replica before its entry is created at another one.
#[tokio::test]
async fn hold_a_workload_until_its_entry_is_created_elsewhere() {
    let mut first = CaFolder::new();
    first.config.workload_api.hold = Duration::from_secs(60);
    let second = CaFolder::replica_of(&first);
    let (one, other) = (first.start().await, second.start().await);
    let mut svids = other.workload().x509_svids().await.unwrap();
    one.admin().create_entry(entry_for_this_process("/a")).await;
    assert_eq!(soon("the SVID", svids.next_svid()).await.spiffe_id, "spiffe://example.org/a");
}

#[tokio::test]
async fn carry_on_when_one_seals_everything_anew() {
    let (one, other) = two().await;
    let old = other.folder().config.wrapping_key.clone();
    let WrappingKeySource::File(file) = old else { panic!("{old:?}") };
    let new = one.folder().path().join("new.key");
    generate_wrapping_key(&new).unwrap();
    let request = RekeyRequest { new_wrapping_key: Some(NewWrappingKey::File(new.display().to_string())) };
    one.admin().authority().rekey(request).await.unwrap();
    // The admin puts the new key where the other replica had the old one, and does nothing else.
    std::fs::copy(&new, &file).unwrap();
    let holder = other.admin().issue_client("alice", 0).await.unwrap();
    let request = RevokeCertificateRequest { serial_number: holder.leaf().serial, reason: "lost".to_owned() };
    other.admin().certificates().revoke_certificate(request).await.unwrap();
    // Its list is signed with a key that was sealed anew; so is the CA of a mesh.
    until("the list", async || {
        let lists = other.admin().revocation_lists().await.unwrap();
        let serial = holder.leaf().serial.parse().unwrap();
        lists.iter().any(|list| RevocationList::parse(&list.crl).unwrap().contains(&serial)).then_some(())
    })
    .await;
    LocalAuthorityClient::new(other.admin().channel())
        .prepare_x509_authority(PrepareX509AuthorityRequest {})
        .await
        .unwrap();
}

#[tokio::test]
async fn create_an_entry_once() {
    let (one, other) = two().await;
    for number in 0..10 {
        let wanted = || entry(&format!("/{number}"), &["uid:4711"]);
        let (ours, theirs) = (one.admin(), other.admin());
        let (a, b) = tokio::join!(ours.try_create_entry(wanted()), theirs.try_create_entry(wanted()));
        let ids: Vec<_> = [a, b].into_iter().flatten().map(|entry| entry.id).collect();
        assert!(!ids.is_empty());
        assert!(ids.iter().all(|id| *id == ids[0]), "two similar entries: {ids:?}");
    }
}

#[tokio::test]
async fn refuse_what_another_one_revoked() {
    let (one, other) = two_that_must_be_told().await;
    let holder = one.admin().issue_client("alice", 0).await.unwrap();
    let clients = other.connect_as(&holder).await;
    clients.renew().await.unwrap();
    let request = RevokeCertificateRequest { serial_number: holder.leaf().serial, reason: "lost".to_owned() };
    one.admin().certificates().revoke_certificate(request).await.unwrap();
    until("a refusal at the other replica", async || clients.renew().await.err()).await;
}

#[tokio::test]
async fn publish_one_bundle() {
    let (one, other) = two_that_must_be_told().await;
    let mut bundles = other
        .admin()
        .trust_bundle()
        .watch_trust_bundle(WatchTrustBundleRequest {})
        .await
        .unwrap()
        .into_inner();
    let mut roots = async || bundles.message().await.unwrap().unwrap().bundle.unwrap().x509_authorities.len();
    assert_eq!(roots().await, 1);
    LocalAuthorityClient::new(one.admin().channel())
        .prepare_x509_authority(PrepareX509AuthorityRequest {})
        .await
        .unwrap();
    soon("the prepared root at the other replica", async { while roots().await != 2 {} }).await;
}

#[tokio::test]
async fn refuse_a_copy_of_themselves() {
    let one = Ca::start().await;
    let mut copy = CaFolder::replica_of(one.folder());
    std::fs::create_dir_all(&copy.config.data_dir).unwrap();
    let id = "replica";
    std::fs::copy(one.folder().config.data_dir.join(id), copy.config.data_dir.join(id)).unwrap();
    copy.config.server_names = Vec::new();
    let refusal = copy.refusal().await.to_string();
    assert!(refusal.contains("replica ID"), "{refusal}");
}
