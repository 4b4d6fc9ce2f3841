//! Registration entries that somebody changed in the database: refused and reported, without harm to the others.

use rstest::rstest;
use secplane_proto::spire::api::{
    server::entry::v1::{BatchUpdateEntryRequest, GetEntryRequest},
    types,
};
use secplane_tests::{
    authority::{Ca, CaFolder},
    database::Database,
    entries::{entry, entry_for_this_process},
    process::CaProcess,
};
use tonic::Code;

fn named(name: &str, entry: types::Entry) -> types::Entry {
    types::Entry { id: name.to_owned(), ..entry }
}

/// Starts the authority in a process, and says which of two entries it knows and what it logged.
async fn loaded(folder: &CaFolder) -> ([Code; 2], String) {
    let ca = CaProcess::start(folder).await;
    let mut codes = [Code::Ok; 2];
    for (name, code) in ["tampered", "neighbour"].into_iter().zip(&mut codes) {
        let request = GetEntryRequest { id: name.to_owned(), output_mask: None };
        *code = ca.admin().entry().get_entry(request).await.err().map_or(Code::Ok, |status| status.code());
    }
    let log = ca.log();
    ca.terminate().await;
    (codes, log)
}

async fn two_entries() -> (CaFolder, Database) {
    let ca = Ca::start().await;
    ca.admin().create_entry(named("tampered", entry("/a", &["uid:4711"]))).await;
    ca.admin().create_entry(named("neighbour", entry("/b", &["uid:4711"]))).await;
    let folder = ca.stop().await;
    let database = Database::open(&folder).await;
    (folder, database)
}

async fn is_refused_and_reported(folder: &CaFolder) {
    let (codes, log) = loaded(folder).await;
    assert_eq!(codes, [Code::NotFound, Code::Ok]);
    let reported = log.lines().find(|line| line.contains("a registration entry is refused"));
    let reported = reported.unwrap_or_else(|| panic!("not reported: {log}"));
    assert!(reported.contains("tampered") && reported.contains("MAC"), "{reported}");
}

#[tokio::test]
async fn loads_what_nobody_touched() {
    let (folder, database) = two_entries().await;
    database.close().await;
    let (codes, log) = loaded(&folder).await;
    assert_eq!(codes, [Code::Ok; 2]);
    assert!(!log.contains("refused"), "{log}");
}

#[tokio::test]
async fn refuses_an_entry_that_was_made_an_admin() {
    let (folder, mut database) = two_entries().await;
    database.edit_entry("tampered", |entry| entry.admin = true).await;
    database.close().await;
    is_refused_and_reported(&folder).await;
}

#[tokio::test]
async fn refuses_an_entry_with_another_revision() {
    let (folder, mut database) = two_entries().await;
    database.run("UPDATE entries SET revision = revision + 1 WHERE id = 'tampered'").await;
    database.close().await;
    is_refused_and_reported(&folder).await;
}

#[tokio::test]
async fn refuses_an_entry_under_another_id() {
    let (folder, mut database) = two_entries().await;
    database
        .run(
            "UPDATE entries SET (revision, created_at, body, mac) =
                 (SELECT revision, created_at, body, mac FROM entries WHERE id = 'neighbour')
             WHERE id = 'tampered'",
        )
        .await;
    database.close().await;
    is_refused_and_reported(&folder).await;
}

#[tokio::test]
async fn refuses_a_row_of_garbage() {
    let (folder, mut database) = two_entries().await;
    database.write_entry("tampered", &[0xff], &[]).await;
    database.close().await;
    is_refused_and_reported(&folder).await;
}

#[tokio::test]
async fn refuses_the_entries_of_another_authority() {
    let (folder, mut database) = two_entries().await;
    let other = Ca::start().await;
    other.admin().create_entry(named("tampered", entry("/a", &["uid:4711"]))).await;
    let stolen = other.stop().await;
    database.run("DELETE FROM entries WHERE id = 'tampered'").await;
    database.copy_entries_from(&stolen).await;
    database.close().await;
    is_refused_and_reported(&folder).await;
}

/// What somebody does to a row while the daemon runs is seen at the next change of it, and from then on.
#[rstest]
#[case::edited("UPDATE entries SET revision = revision + 1 WHERE id = 'tampered'")]
#[case::deleted("DELETE FROM entries WHERE id = 'tampered'")]
#[tokio::test]
async fn reads_an_entry_again_whose_row_was_changed_meanwhile(#[case] statement: &'static str) {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let wanted = named("tampered", entry_for_this_process("/a"));
    let change = types::Entry { hint: "changed".to_owned(), ..admin.create_entry(wanted).await };
    let neighbour = admin.create_entry(named("neighbour", entry_for_this_process("/b"))).await;
    let mut svids = ca.workload().x509_svids().await.unwrap();
    assert_eq!(svids.next().await.svids.len(), 2);
    let mut database = Database::open(ca.folder()).await;
    database.run(statement).await;
    database.close().await;

    let request = BatchUpdateEntryRequest { entries: vec![change], input_mask: None, output_mask: None };
    let result = admin.entry().batch_update_entry(request).await.unwrap().into_inner().results.remove(0);
    assert_ne!(result.status.unwrap().code, i32::from(Code::Ok));
    assert_eq!(admin.get_entry("tampered").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(admin.get_entry("neighbour").await.unwrap(), neighbour);
    assert_eq!(svids.next_svid().await.spiffe_id, "spiffe://example.org/b", "it grants nothing any more");
}

#[tokio::test]
async fn gives_a_workload_nothing_for_a_forged_entry() {
    let ca = Ca::start().await;
    ca.admin().create_entry(named("tampered", entry("/a", &["uid:4711"]))).await;
    let folder = ca.stop().await;
    let mut database = Database::open(&folder).await;
    database.edit_entry("tampered", |entry| entry.selectors = entry_for_this_process("/a").selectors).await;
    database.close().await;
    let ca = folder.start().await;
    let refusal = ca.workload().x509_svids().await.unwrap().end().await;
    assert_eq!((refusal.code(), refusal.message()), (Code::PermissionDenied, "no identity issued"));
}
