//! Renewing one's own certificate over mutual TLS.

use rcgen::SanType;
use rstest::rstest;
use secplane_identity::PrivateKey;
use secplane_proto::{
    secplane::ca::v1::RenewCertificateRequest,
    spire::api::{server::entry::v1::BatchUpdateEntryRequest, types},
};
use secplane_tests::{
    authority::Ca, database::Database, entries::entry_for_this_process, holder::Holder, requests, workload,
};
use tonic::Code;

#[tokio::test]
async fn renews_each_kind_of_certificate_under_its_names() {
    let ca = Ca::start().await;
    for holder in [
        ca.admin().mint("/a", 0).await.unwrap(),
        ca.admin().issue_client("alice", 0).await.unwrap(),
        ca.admin().issue_server(&["a.example.org", "b.example.org"]).await.unwrap(),
    ] {
        let renewed = ca.connect_as(&holder).await.renew().await.unwrap();
        let (old, new) = (holder.leaf(), renewed.leaf());
        assert_ne!(new.serial, old.serial);
        assert_ne!(new.public_key_info, old.public_key_info);
        assert_eq!(
            (&new.uris, &new.dns_names, &new.common_name, new.client_auth, new.server_auth),
            (&old.uris, &old.dns_names, &old.common_name, old.client_auth, old.server_auth)
        );
        let record = ca.admin().record(new.serial).await.unwrap();
        assert_eq!(record.renews, old.serial);

        let again = ca.connect_as(&renewed).await.renew().await.unwrap();
        assert_eq!(again.leaf().uris, old.uris);
    }
}

#[tokio::test]
async fn renews_with_the_old_key() {
    let ca = Ca::start().await;
    let holder = ca.admin().mint("/a", 0).await.unwrap();
    let request = RenewCertificateRequest { csr: holder.key().bare_request().unwrap(), ttl: 60 };
    let renewed = ca.connect_as(&holder).await.certificates().renew_certificate(request).await.unwrap();
    let chain = renewed.into_inner().certificate.unwrap().chain;
    assert_eq!(
        Holder::new(holder.key().clone(), chain).leaf().public_key_info,
        holder.leaf().public_key_info
    );
}

#[tokio::test]
async fn grants_no_further_name() {
    let ca = Ca::start().await;
    let client = ca.admin().issue_client("alice", 0).await.unwrap();
    let svid = ca.admin().mint("/a", 0).await.unwrap();
    let dns = SanType::DnsName("a.example.org".try_into().unwrap());
    let other = SanType::URI("spiffe://example.org/admin".try_into().unwrap());
    for (holder, name) in [(&client, &dns), (&client, &other), (&svid, &dns), (&svid, &other)] {
        let csr = requests::filled(|params| params.subject_alt_names = vec![name.clone()]);
        let clients = ca.connect_as(holder).await;
        let request = RenewCertificateRequest { csr, ttl: 0 };
        let refusal = clients.certificates().renew_certificate(request).await.unwrap_err();
        assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
        assert!(refusal.message().contains("not granted"), "{refusal}");
        clients.renew().await.unwrap();
    }
}

#[tokio::test]
async fn grants_no_longer_life_than_allowed() {
    let ca = Ca::start().await;
    let holder = ca.admin().issue_client("alice", 0).await.unwrap();
    let clients = ca.connect_as(&holder).await;
    for ttl in [-1, 1_000_000, i64::MAX] {
        let csr = PrivateKey::generate().unwrap().bare_request().unwrap();
        let refusal =
            clients.certificates().renew_certificate(RenewCertificateRequest { csr, ttl }).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    }
}

#[tokio::test]
async fn renews_nothing_for_whoever_presents_nothing() {
    let ca = Ca::start().await;
    for clients in [ca.admin(), ca.connect_anonymously().await] {
        let refusal = clients.renew().await.err().unwrap();
        assert_eq!(refusal.code(), Code::Unauthenticated, "{refusal}");
        assert!(refusal.message().contains("certificate to renew"), "{refusal}");
    }
}

#[tokio::test]
async fn renews_nothing_that_is_not_on_record() {
    let ca = Ca::start().await;
    let holder = ca.admin().mint("/a", 0).await.unwrap();
    let mut database = Database::open(ca.folder()).await;
    database.run("DELETE FROM certificates WHERE spiffe_id = 'spiffe://example.org/a'").await;
    let refusal = ca.connect_as(&holder).await.renew().await.err().unwrap();
    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
    assert!(refusal.message().contains(&holder.leaf().serial), "{refusal}");
}

/// A record is worth something only as this authority wrote it: whoever can write the database grants nothing by it.
#[rstest]
#[case::of_an_admin(
    "UPDATE certificates SET spiffe_id = 'spiffe://example.org/admin', entry_id = NULL
     WHERE spiffe_id = 'spiffe://example.org/a'"
)]
#[case::without_its_entry(
    "UPDATE certificates SET entry_id = NULL WHERE spiffe_id = 'spiffe://example.org/a'"
)]
#[case::of_another_entry(
    "UPDATE certificates SET entry_id = 'other' WHERE spiffe_id = 'spiffe://example.org/a'"
)]
#[case::of_another_kind(
    "UPDATE certificates SET kind = 'client', common_name = 'admin' WHERE spiffe_id = 'spiffe://example.org/a'"
)]
#[case::of_another_name(
    "UPDATE certificates SET dns_names = 'b.example.org', entry_id = NULL
     WHERE spiffe_id = 'spiffe://example.org/a'"
)]
#[case::of_another_lineage(
    "UPDATE certificates SET lineage = 'ab' WHERE spiffe_id = 'spiffe://example.org/a'"
)]
#[case::without_a_proof("UPDATE certificates SET mac = NULL WHERE spiffe_id = 'spiffe://example.org/a'")]
#[tokio::test]
async fn renews_nothing_by_a_record_that_was_changed(#[case] statement: &'static str) {
    let ca = Ca::start().await;
    let (_, holder) = entry_and_svid(&ca).await;
    let clients = ca.connect_as(&holder).await;
    clients.renew().await.unwrap();
    let mut database = Database::open(ca.folder()).await;
    database.run(statement).await;
    database.close().await;
    let refusal = clients.renew().await.err().unwrap();
    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
    assert!(refusal.message().contains(&holder.leaf().serial), "{refusal}");
}

/// Neither what another record says, nor the whole of it with its proof.
#[rstest]
#[case::all_but_the_certificate(
    "UPDATE certificates SET (spiffe_id, requester, lineage, issued_at, not_before, not_after, mac) =
         (SELECT spiffe_id, requester, lineage, issued_at, not_before, not_after, mac FROM certificates
          WHERE spiffe_id = 'spiffe://example.org/admin')
     WHERE spiffe_id = 'spiffe://example.org/a'"
)]
#[case::the_certificate_too(
    "UPDATE certificates SET (spiffe_id, requester, lineage, issued_at, not_before, not_after, certificate, mac) =
         (SELECT spiffe_id, requester, lineage, issued_at, not_before, not_after, certificate, mac FROM certificates
          WHERE spiffe_id = 'spiffe://example.org/admin')
     WHERE spiffe_id = 'spiffe://example.org/a'"
)]
#[tokio::test]
async fn renews_nothing_by_the_record_of_somebody_else(#[case] statement: &'static str) {
    let ca = Ca::start().await;
    let holder = ca.admin().mint("/a", 0).await.unwrap();
    let other = ca.admin().mint("/admin", 0).await.unwrap();
    let mut database = Database::open(ca.folder()).await;
    database.run(statement).await;
    database.close().await;
    let refusal = ca.connect_as(&holder).await.renew().await.err().unwrap();
    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
    ca.connect_as(&other).await.renew().await.expect("its own record is as it was");
}

/// A workload's SVID, and its entry.
async fn entry_and_svid(ca: &Ca) -> (types::Entry, Holder) {
    let entry = types::Entry { dns_names: vec!["a.example.org".to_owned()], ..entry_for_this_process("/a") };
    let entry = ca.admin().create_entry(entry).await;
    let svid = ca.workload().x509_svids().await.unwrap().next_svid().await;
    (entry, workload::holder(&svid))
}

#[tokio::test]
async fn renews_an_identity_while_its_entry_grants_it() {
    let ca = Ca::start().await;
    let (entry, holder) = entry_and_svid(&ca).await;
    let clients = ca.connect_as(&holder).await;
    let renewed = clients.renew().await.unwrap();
    assert_eq!(renewed.leaf().dns_names, ["a.example.org"]);
    assert_eq!(ca.admin().record(renewed.leaf().serial).await.unwrap().entry_id, entry.id);

    ca.admin().delete_entry(&entry).await;
    for clients in [clients, ca.connect_as(&renewed).await] {
        let refusal = clients.renew().await.err().unwrap();
        assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
        assert!(refusal.message().contains("no longer grants"), "{refusal}");
    }
}

#[tokio::test]
async fn renews_no_name_that_the_entry_lost() {
    let ca = Ca::start().await;
    let (entry, holder) = entry_and_svid(&ca).await;
    let changed = types::Entry { dns_names: vec!["b.example.org".to_owned()], ..entry };
    let request = BatchUpdateEntryRequest { entries: vec![changed], ..Default::default() };
    ca.admin().entry().batch_update_entry(request).await.unwrap();
    let refusal = ca.connect_as(&holder).await.renew().await.err().unwrap();
    assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
}
