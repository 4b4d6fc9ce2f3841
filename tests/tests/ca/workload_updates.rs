//! What is pushed on a stream of the Workload API that is open.

use std::time::{Duration, SystemTime};

use secplane_proto::spire::api::{server::entry::v1::BatchUpdateEntryRequest, types};
use secplane_tests::{
    authority::{Ca, CaFolder},
    database::Database,
    entries::entry_for_this_process,
    moved_clock::MovedClock,
    soon,
    workload::holder,
};
use tonic::Code;

#[tokio::test]
async fn pushes_a_successor_before_an_svid_expires() {
    const HALF: Duration = Duration::from_secs(1800);
    let time = MovedClock::default();
    let ca = CaFolder::new().start_with_clock(time.clock()).await;
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    let mut svids = ca.workload().x509_svids().await.unwrap();
    let mut current = holder(&svids.next_svid().await).leaf();
    for _ in 0..2 {
        time.advance(HALF - Duration::from_secs(120));
        // Two minutes early nobody has made one yet; whoever asks gets the same.
        let again = ca.workload().x509_svids().await.unwrap().next_svid().await;
        assert_eq!(holder(&again).leaf().serial, current.serial);
        time.advance(Duration::from_secs(121));
        let next = holder(&svids.next_svid().await).leaf();
        assert_ne!(next.serial, current.serial);
        assert!(time.now() < current.not_after, "the old one is still valid when the new one comes");
        assert!(next.not_before >= current.not_before + HALF, "not before half of the life");
        current = next;
    }
}

#[tokio::test]
async fn issues_no_more_than_the_rotation_needs() {
    let time = MovedClock::default();
    let ca = CaFolder::new().start_with_clock(time.clock()).await;
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    let mut svids = ca.workload().x509_svids().await.unwrap();
    svids.next_svid().await;
    time.advance(Duration::from_secs(1801));
    svids.next_svid().await;
    let records = ca.admin().records().await.unwrap();
    assert_eq!(records.iter().filter(|record| record.spiffe_id == "spiffe://example.org/a").count(), 2);
}

#[tokio::test]
async fn pushes_what_an_admin_does_to_entries() {
    let ca = Ca::start().await;
    let first = ca.admin().create_entry(entry_for_this_process("/first")).await;
    let mut svids = ca.workload().x509_svids().await.unwrap();
    let before = svids.next_svid().await;

    let second = ca.admin().create_entry(entry_for_this_process("/second")).await;
    let both = svids.next().await.svids;
    let ids: Vec<_> = both.iter().map(|svid| svid.spiffe_id.as_str()).collect();
    assert_eq!(ids.len(), 2);
    assert!(both.contains(&before), "the first identity stays as it was");
    assert!(ids.contains(&"spiffe://example.org/second"));

    let change = types::Entry {
        id: first.id.clone(),
        dns_names: vec!["a.example.org".to_owned()],
        ..Default::default()
    };
    let input_mask = Some(types::EntryMask { dns_names: true, ..Default::default() });
    let request = BatchUpdateEntryRequest { entries: vec![change], input_mask, output_mask: None };
    ca.admin().entry().batch_update_entry(request).await.unwrap();
    let changed = svids.next().await.svids;
    let changed = changed.iter().find(|svid| svid.spiffe_id == before.spiffe_id).unwrap();
    assert_eq!(holder(changed).leaf().dns_names, ["a.example.org"]);

    ca.admin().delete_entry(&second).await;
    assert_eq!(svids.next_svid().await.spiffe_id, before.spiffe_id);
    ca.admin().delete_entry(&first).await;
    let end = svids.end().await;
    assert_eq!((end.code(), end.message()), (Code::PermissionDenied, "no identity issued"));
}

#[tokio::test]
async fn waits_a_moment_for_an_entry_that_is_on_its_way() {
    let ca = Ca::start_with(|config| config.workload_api.hold = Duration::from_secs(60)).await;
    let workload = ca.workload();
    let (mut svids, mut bundles) =
        (workload.x509_svids().await.unwrap(), workload.x509_bundles().await.unwrap());
    let first = tokio::spawn(async move { (svids.next_svid().await, bundles.next().await) });
    // An entry of somebody else answers nobody.
    ca.admin().create_entry(secplane_tests::entries::entry("/other", &["uid:4711"])).await;
    assert!(!first.is_finished());
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    assert_eq!(first.await.unwrap().0.spiffe_id, "spiffe://example.org/a");
}

#[tokio::test]
async fn waits_no_longer_than_configured_for_an_entry() {
    let ca = Ca::start_with(|config| config.workload_api.hold = Duration::from_millis(300)).await;
    let began = std::time::Instant::now();
    let end = ca.workload().x509_svids().await.unwrap().end().await;
    assert_eq!((end.code(), end.message()), (Code::PermissionDenied, "no identity issued"));
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn says_unavailable_to_whoever_waits_when_the_daemon_stops() {
    let ca = Ca::start_with(|config| config.workload_api.hold = Duration::from_secs(60)).await;
    let mut svids = ca.workload().x509_svids().await.unwrap();
    let stopping = tokio::spawn(ca.stop());
    assert_eq!(svids.end().await.code(), Code::Unavailable);
    stopping.await.unwrap();
}

#[tokio::test]
async fn says_nothing_when_nothing_changes_for_the_workload() {
    let ca = Ca::start().await;
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    let mut svids = ca.workload().x509_svids().await.unwrap();
    svids.next_svid().await;
    let mut bundles = ca.workload().x509_bundles().await.unwrap();
    bundles.next().await;
    ca.admin().create_entry(secplane_tests::entries::entry("/other", &["uid:4711"])).await;
    let mine = ca.admin().create_entry(entry_for_this_process("/b")).await;
    // The next message is the one about the second identity, with none in between.
    assert_eq!(svids.next().await.svids.len(), 2);
    ca.admin().delete_entry(&mine).await;
    assert_eq!(svids.next().await.svids.len(), 1);
}

#[tokio::test]
async fn withdraws_an_identity_when_its_entry_ends() {
    let time = MovedClock::default();
    let ca = CaFolder::new().start_with_clock(time.clock()).await;
    let end = (time.now() + Duration::from_secs(600)).duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let expires_at = i64::try_from(end.as_secs()).unwrap();
    let ending = types::Entry { expires_at, ..entry_for_this_process("/a") };
    ca.admin().create_entry(ending).await;
    let mut svids = ca.workload().x509_svids().await.unwrap();
    let mut bundles = ca.workload().x509_bundles().await.unwrap();
    svids.next_svid().await;
    bundles.next().await;
    time.advance(Duration::from_secs(601));
    assert_eq!(svids.end().await.code(), Code::PermissionDenied);
    assert_eq!(bundles.end().await.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn ends_streams_with_unavailable_when_the_daemon_stops() {
    let ca = Ca::start().await;
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    let workload = ca.workload();
    let mut svids = workload.x509_svids().await.unwrap();
    let mut bundles = workload.x509_bundles().await.unwrap();
    svids.next_svid().await;
    bundles.next().await;
    let stopping = tokio::spawn(ca.stop());
    assert_eq!(svids.end().await.code(), Code::Unavailable);
    assert_eq!(bundles.end().await.code(), Code::Unavailable);

    let ca = stopping.await.unwrap().start().await;
    ca.workload().x509_svids().await.unwrap().next_svid().await;
}

#[tokio::test]
async fn keeps_a_valid_svid_while_no_other_can_be_issued() {
    let time = MovedClock::default();
    let mut folder = CaFolder::new();
    // So that nothing but the workload's SVID comes to the half of its life.
    folder.config.validity.server = Duration::from_secs(12 * 3600);
    let ca = folder.start_with_clock(time.clock()).await;
    ca.admin().create_entry(entry_for_this_process("/a")).await;
    let workload = ca.workload();
    let mut svids = workload.x509_svids().await.unwrap();
    let first = svids.next_svid().await;
    let mut database = Database::open(ca.folder()).await;
    database.refuse_certificates().await;
    time.advance(Duration::from_secs(1801));
    // Past that, newcomers still get the old one.
    for _ in 0..20 {
        assert!(workload.x509_svids().await.unwrap().next_svid().await == first);
    }
    let failures = ca.metric("secplane_ca_database_errors_total").await;
    assert!((1.0..10.0).contains(&failures), "it tries again, but not without a pause: {failures} times");

    database.take_certificates_again().await;
    // The pause between two tries.
    time.advance(Duration::from_secs(6));
    soon("another SVID", async { while svids.next_svid().await == first {} }).await;
    database.close().await;
}
