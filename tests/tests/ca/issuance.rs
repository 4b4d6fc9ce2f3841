//! What is issued, and that it is on record before anybody has it.

use std::time::{Duration, SystemTime};

use secplane_identity::{
    trust_bundle::TrustBundleSet,
    x509::{Purpose, verify_x509_svid},
};
use secplane_proto::secplane::ca::v1::{CertificateKind, ListCertificatesRequest};
use secplane_tests::{authority::Ca, database::Database, requests};
use tonic::Code;

#[tokio::test]
async fn mints_a_chain_that_leads_to_the_root_and_does_not_hold_it() {
    let ca = Ca::start().await;
    let holder = ca.admin().mint("/ns/a/sa/b", 60).await.unwrap();
    let bundle = ca.bundle().await;
    let bundles = TrustBundleSet::from(bundle.clone());
    for purpose in [Purpose::ClientAuth, Purpose::ServerAuth] {
        let verified = verify_x509_svid(holder.chain(), &bundles, purpose, SystemTime::now()).unwrap();
        assert_eq!(verified.id().as_str(), "spiffe://example.org/ns/a/sa/b");
    }
    assert_eq!(holder.chain().len(), 2);
    assert!(!holder.chain().contains(&bundle.authorities().next().unwrap().der));
    let left = holder.leaf().not_after.duration_since(SystemTime::now()).unwrap();
    assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(30), "{left:?}");
}

#[tokio::test]
async fn mints_the_dns_names_of_the_request() {
    let ca = Ca::start().await;
    let csr = requests::filled(|params| {
        params.subject_alt_names = vec![
            rcgen::SanType::URI("spiffe://example.org/a".try_into().unwrap()),
            rcgen::SanType::DnsName("a.example.org".try_into().unwrap()),
        ];
    });
    let chain = ca.admin().mint_with(csr, 0).await.unwrap();
    let leaf = secplane_identity::x509::Certificate::parse(&chain[0]).unwrap();
    assert_eq!(leaf.dns_names, ["a.example.org"]);
}

#[tokio::test]
async fn records_who_got_what_from_whom() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let svid = admin.mint("/a", 60).await.unwrap();
    let client = admin.issue_client("alice", 60).await.unwrap();
    let server = admin.issue_server(&["a.example.org"]).await.unwrap();

    let requester = format!("admin-socket(uid={})", rustix::process::getuid().as_raw());
    for (holder, kind) in [
        (&svid, CertificateKind::X509Svid),
        (&client, CertificateKind::Client),
        (&server, CertificateKind::Server),
    ] {
        let record = admin.record(holder.leaf().serial).await.unwrap();
        assert_eq!(record.kind(), kind);
        assert_eq!(record.requester, requester);
        assert_eq!(record.certificate, holder.chain()[0].as_ref());
        assert_eq!(record.revoked_at, 0);
    }
    assert_eq!(admin.record(svid.leaf().serial).await.unwrap().spiffe_id, "spiffe://example.org/a");
    assert_eq!(admin.record(client.leaf().serial).await.unwrap().common_name, "alice");
    assert_eq!(admin.record(server.leaf().serial).await.unwrap().dns_names, ["a.example.org"]);
}

#[tokio::test]
async fn hands_nothing_out_that_it_cannot_record() {
    let ca = Ca::start().await;
    let mut database = Database::open(ca.folder()).await;
    let before = database.certificates().await;
    database.refuse_certificates().await;
    let admin = ca.admin();
    for refusal in [
        admin.mint("/a", 0).await.err().unwrap(),
        admin.issue_client("alice", 0).await.err().unwrap(),
        admin.issue_server(&["a.example.org"]).await.err().unwrap(),
    ] {
        assert_eq!(refusal.code(), Code::Internal, "{refusal}");
        assert!(!refusal.message().contains("disk full"), "the log says why, not the answer: {refusal}");
    }
    assert_eq!(database.certificates().await, before);

    database.take_certificates_again().await;
    admin.mint("/a", 0).await.unwrap();
}

#[tokio::test]
async fn lists_records_page_by_page_newest_first() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let mut issued = Vec::new();
    for number in 0..25 {
        issued.insert(0, admin.mint(&format!("/{number}"), 60).await.unwrap().leaf().serial);
    }
    admin.issue_client("alice", 60).await.unwrap();

    let mut request = ListCertificatesRequest { page_size: 10, unexpired_only: true, ..Default::default() };
    request.set_by_kind(CertificateKind::X509Svid);
    let mut listed = Vec::new();
    loop {
        let page = admin.certificates().list_certificates(request.clone()).await.unwrap().into_inner();
        assert!(page.certificates.len() <= 10);
        assert!(page.certificates.iter().all(|record| record.certificate.is_empty()));
        let paths = page.certificates.into_iter().filter(|record| !record.spiffe_id.contains("/spire/"));
        listed.extend(paths.map(|record| record.serial_number));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(listed, issued);

    request.page_token = String::new();
    request.by_spiffe_id = "spiffe://example.org/7".to_owned();
    let of_one = admin.certificates().list_certificates(request).await.unwrap().into_inner().certificates;
    assert_eq!(of_one.len(), 1);
}

#[tokio::test]
async fn says_what_a_list_may_not_ask_for() {
    let ca = Ca::start().await;
    let mut certificates = ca.admin().certificates();
    for request in [
        ListCertificatesRequest { page_size: -1, ..Default::default() },
        ListCertificatesRequest { page_token: "x".to_owned(), ..Default::default() },
        ListCertificatesRequest { by_spiffe_id: "example.org".to_owned(), ..Default::default() },
    ] {
        let refusal = certificates.list_certificates(request).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    }
    assert_eq!(ca.admin().record("0a1b".to_owned()).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(ca.admin().record("xyz".to_owned()).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn finds_a_record_by_its_serial_as_people_write_it() {
    let ca = Ca::start().await;
    let serial = ca.admin().mint("/a", 0).await.unwrap().leaf().serial;
    let padded = format!("{serial:0>32}").to_uppercase();
    let pairs: Vec<_> = padded.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
    assert_eq!(ca.admin().record(pairs.join(":")).await.unwrap().serial_number, serial);
}
