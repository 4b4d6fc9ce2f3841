//! Who may do what.

use std::{fs, path::Path};

use secplane_proto::{
    secplane::ca::v1::{GetStatusRequest, WatchTrustBundleRequest},
    spire::api::{server::bundle::v1::GetBundleRequest, types},
};
use secplane_tests::{authority::Ca, clients::Clients, entries::entry, soon};
use tonic::Code;

/// Needs nothing.
const PUBLIC: [&str; 3] = [
    "/spire.api.server.bundle.v1.Bundle/GetBundle",
    "/spire.api.server.agent.v1.Agent/AttestAgent",
    "/secplane.ca.v1.TrustBundle/WatchTrustBundle",
];
/// For admins, and never ends by itself: it is only called by those who are denied.
const FOR_ADMINS_TO_FOLLOW: &str = "/secplane.ca.v1.Audit/TailEntries";
/// For admins on the machine itself.
const FOR_THE_ADMIN_SOCKET: &str = "/secplane.ca.v1.Authority/Rekey";
/// Needs the certificate that it is about.
const OWN_CERTIFICATE: &str = "/secplane.ca.v1.Certificates/RenewCertificate";
/// For attested node agents, and the last three for downstream authorities.
const AGENTS: [&str; 10] = [
    "/spire.api.server.agent.v1.Agent/RenewAgent",
    "/spire.api.server.agent.v1.Agent/PostStatus",
    "/spire.api.server.svid.v1.SVID/BatchNewX509SVID",
    "/spire.api.server.svid.v1.SVID/NewJWTSVID",
    "/spire.api.server.svid.v1.SVID/BatchNewWITSVID",
    "/spire.api.server.entry.v1.Entry/GetAuthorizedEntries",
    "/spire.api.server.entry.v1.Entry/SyncAuthorizedEntries",
    "/spire.api.server.svid.v1.SVID/NewDownstreamX509CA",
    "/spire.api.server.bundle.v1.Bundle/PublishJWTAuthority",
    "/spire.api.server.bundle.v1.Bundle/PublishWITAuthority",
];

/// Every other method of the contracts: for admins. A method that is added is one of these until it is listed above.
fn for_admins() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/proto");
    let mut methods = Vec::new();
    for file in [
        "spire/api/server/svid/v1/svid.proto",
        "spire/api/server/entry/v1/entry.proto",
        "spire/api/server/agent/v1/agent.proto",
        "spire/api/server/bundle/v1/bundle.proto",
        "secplane/ca/v1/certificates.proto",
        "secplane/ca/v1/authority.proto",
        "secplane/ca/v1/audit.proto",
    ] {
        let (mut package, mut service) = ("", "");
        for line in fs::read_to_string(folder.join(file)).unwrap().lines() {
            let mut words = line.split([' ', ';', '(']).filter(|word| !word.is_empty());
            match (words.next(), words.next()) {
                (Some("package"), Some(name)) => package = String::leak(name.to_owned()),
                (Some("service"), Some(name)) => service = String::leak(name.to_owned()),
                (Some("rpc"), Some(name)) => methods.push(format!("/{package}.{service}/{name}")),
                _ => {}
            }
        }
    }
    let others = [&PUBLIC[..], &[OWN_CERTIFICATE], &AGENTS].concat();
    assert!(others.iter().all(|method| methods.iter().any(|known| known == method)), "{methods:#?}");
    methods.retain(|method| !others.contains(&method.as_str()));
    methods
}

/// Every method ends with this code.
async fn all_end_with(code: Code, clients: &Clients, methods: &[impl AsRef<str>]) {
    for method in methods {
        let status = clients.call(method.as_ref()).await.expect_err(method.as_ref());
        assert_eq!(status.code(), code, "{}: {status}", method.as_ref());
    }
}

/// No method ends because of who is calling.
async fn none_is_denied(clients: &Clients, methods: &[String]) {
    for method in methods.iter().filter(|method| *method != FOR_ADMINS_TO_FOLLOW) {
        let code = clients.call(method).await.err().map_or(Code::Ok, |status| status.code());
        assert!(!matches!(code, Code::PermissionDenied | Code::Unauthenticated), "{method}: {code:?}");
    }
}

async fn reads_the_bundle(clients: &Clients) {
    clients.bundle().get_bundle(GetBundleRequest::default()).await.unwrap();
    let stream = clients.trust_bundle().watch_trust_bundle(WatchTrustBundleRequest {}).await.unwrap();
    let first = soon("the first bundle", stream.into_inner().message()).await.unwrap().unwrap();
    assert_eq!(first.bundle.unwrap().x509_authorities.len(), 1);
}

#[tokio::test]
async fn lets_anybody_read_the_bundle_and_do_nothing_else() {
    let ca = Ca::start().await;
    let anybody = ca.connect_anonymously().await;
    reads_the_bundle(&anybody).await;
    all_end_with(Code::Unauthenticated, &anybody, &for_admins()).await;
    all_end_with(Code::Unauthenticated, &anybody, &AGENTS).await;
    all_end_with(Code::Unauthenticated, &anybody, &[OWN_CERTIFICATE]).await;
}

#[tokio::test]
async fn lets_no_workload_administer() {
    let ca = Ca::start().await;
    ca.admin().create_entry(entry("/workload", &["uid:4711"])).await;
    let holder = ca.admin().mint("/workload", 0).await.unwrap();
    let workload = ca.connect_as(&holder).await;
    reads_the_bundle(&workload).await;
    all_end_with(Code::PermissionDenied, &workload, &for_admins()).await;
    all_end_with(Code::PermissionDenied, &workload, &AGENTS).await;

    let refusal = workload.mint("/workload", 0).await.err().unwrap();
    assert!(refusal.message().contains("spiffe://example.org/workload"), "{refusal}");
    assert!(refusal.message().contains("`admin`"), "{refusal}");
}

#[tokio::test]
async fn lets_no_certificate_without_spiffe_id_administer() {
    let ca = Ca::start().await;
    for holder in [
        ca.admin().issue_client("admin", 0).await.unwrap(),
        ca.admin().issue_server(&["admin.example.org"]).await.unwrap(),
    ] {
        let clients = ca.connect_as(&holder).await;
        reads_the_bundle(&clients).await;
        all_end_with(Code::PermissionDenied, &clients, &for_admins()).await;
        all_end_with(Code::PermissionDenied, &clients, &AGENTS).await;
    }
}

#[tokio::test]
async fn lets_the_svid_of_an_admin_entry_administer() {
    let ca = Ca::start().await;
    let admin_entry = types::Entry { admin: true, ..entry("/admin", &["uid:4711"]) };
    let admin_entry = ca.admin().create_entry(admin_entry).await;
    let holder = ca.admin().mint("/admin", 0).await.unwrap();
    let admin = ca.connect_as(&holder).await;
    let from_afar =
        for_admins().into_iter().filter(|method| method != FOR_THE_ADMIN_SOCKET).collect::<Vec<_>>();
    none_is_denied(&admin, &from_afar).await;
    all_end_with(Code::PermissionDenied, &admin, &[FOR_THE_ADMIN_SOCKET]).await;
    all_end_with(Code::PermissionDenied, &admin, &AGENTS).await;

    let minted = admin.mint("/other", 0).await.unwrap();
    let record = admin.record(minted.leaf().serial).await.unwrap();
    assert_eq!(record.requester, "spiffe://example.org/admin");

    ca.admin().delete_entry(&admin_entry).await;
    all_end_with(Code::PermissionDenied, &admin, &for_admins()).await;
}

#[tokio::test]
async fn lets_no_admin_go_on_whose_entry_has_ended() {
    let ca = Ca::start().await;
    let long_ago = types::Entry { admin: true, expires_at: 1, ..entry("/admin", &["uid:4711"]) };
    ca.admin().create_entry(long_ago).await;
    let holder = ca.admin().mint("/admin", 0).await.unwrap();
    all_end_with(Code::PermissionDenied, &ca.connect_as(&holder).await, &for_admins()).await;
}

#[tokio::test]
async fn lets_the_admin_socket_do_everything() {
    let ca = Ca::start().await;
    none_is_denied(&ca.admin(), &for_admins()).await;
    let status = ca.admin().authority().get_status(GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.trust_domain, "example.org");
    assert_eq!(status.root_fingerprints, [ca.root_fingerprint().to_string()]);
    assert!(!status.insecure);
}
