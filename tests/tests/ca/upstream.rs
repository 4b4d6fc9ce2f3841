//! A CA below somebody else's root: taken out of Istio's files, or certified on request.

mod outside;
mod without_lists;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ca_daemon::config::{PemUpstreamConfig, UpstreamConfig};
use rcgen::{BasicConstraints, IsCa, KeyPair, SanType};
use rstest::rstest;
use rustls::{RootCertStore, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, UnixTime};
use secplane_identity::{
    Fingerprint, PrivateKey, TrustBundle, tls::crypto_provider, trust_bundle::to_certificate_pem,
    x509::Certificate,
};
use secplane_proto::{
    secplane::ca::v1::{
        AuditOutcome, AuthorityKind, AuthorityRecord, AuthorityState, GetUpstreamRequestRequest,
        ImportUpstreamChainRequest, ImportUpstreamChainResponse, ListAuthoritiesRequest,
    },
    spire::api::{
        server::{
            bundle::v1::GetBundleRequest,
            localauthority::v1::{
                ActivateX509AuthorityRequest, RevokeX509AuthorityRequest, RevokeX509UpstreamAuthorityRequest,
                TaintX509AuthorityRequest, TaintX509UpstreamAuthorityRequest,
            },
        },
        types,
    },
};
use secplane_tests::{
    audit_log::AuditLog,
    authority::{Ca, CaFolder},
    clients::Clients,
    holder::{Holder, client_config},
};
use tonic::{Code, Status};

use self::outside::{CaCerts, DAY, Outside, RequestedKey};
use super::root_rotation::{asking, when_safe};

const HOUR: Duration = Duration::from_secs(3600);

/// A folder whose authority begins with the CA in these files; and where they lie.
fn below(files: &CaCerts) -> (CaFolder, PathBuf) {
    let mut folder = CaFolder::new();
    let cacerts = folder.path().join("cacerts");
    files.write(&cacerts);
    folder.config.upstream = Some(UpstreamConfig::Pem(PemUpstreamConfig { folder: cacerts.clone() }));
    (folder, cacerts)
}

/// What stock rustls, told to trust one root, thinks of a holder.
fn verify(holder: &Holder, root: &CertificateDer<'static>) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto_provider());
    let (leaf, above) = holder.chain().split_first().unwrap();
    verifier.build().unwrap().verify_client_cert(leaf, above, UnixTime::now()).map(drop)
}

async fn roots(admin: &Clients) -> Vec<AuthorityRecord> {
    let listed = admin.authority().list_authorities(ListAuthoritiesRequest::default()).await.unwrap();
    let mut listed = listed.into_inner().authorities;
    listed.retain(|authority| authority.kind() == AuthorityKind::Root);
    listed
}

async fn bundle(admin: &Clients) -> types::Bundle {
    admin.bundle().get_bundle(GetBundleRequest::default()).await.unwrap().into_inner()
}

async fn activate(admin: &Clients, authority_id: String) {
    let request = asking(ActivateX509AuthorityRequest { authority_id }, true);
    admin.local_authority().activate_x509_authority(request).await.unwrap();
}

#[tokio::test]
async fn signs_below_the_root_of_its_files() {
    let outside = Outside::new();
    let (folder, cacerts) = below(&CaCerts::below(&outside));
    let ca = folder.start().await;
    assert_eq!(ca.root_fingerprint(), Fingerprint::of(&outside.root));
    let svid = ca.admin().mint("/a", 0).await.unwrap();
    assert_eq!(svid.chain().len(), 4, "the leaf, the issuing CA, ours, and the one above it");
    assert_eq!(svid.chain()[3], outside.between);
    verify(&svid, &outside.root).unwrap();
    verify(&svid, &Outside::new().root).unwrap_err();
    // Over TLS with a server certificate below that root.
    ca.connect_as(&svid).await.renew().await.unwrap();

    // The key is kept as one of ours from then on.
    let mut folder = ca.stop().await;
    folder.config.upstream = None;
    fs::remove_dir_all(cacerts).unwrap();
    let ca = folder.start().await;
    assert_eq!(ca.root_fingerprint(), Fingerprint::of(&outside.root));
    verify(&ca.admin().mint("/a", 0).await.unwrap(), &outside.root).unwrap();
}

#[tokio::test]
async fn prepares_the_ca_of_files_that_were_changed() {
    let (first, second) = (Outside::new(), Outside::new());
    let (folder, cacerts) = below(&CaCerts::below(&first));
    let folder = folder.start().await.stop().await;
    CaCerts::below(&second).write(&cacerts);
    let ca = folder.start().await;
    let admin = ca.admin();
    let listed = roots(&admin).await;
    let prepared = listed.iter().find(|root| root.state() == AuthorityState::Prepared).unwrap();
    let log = AuditLog::read(&admin).await;
    let record = log.one("authority.prepare", &prepared.authority_id, AuditOutcome::Done);
    assert_eq!(record.actor, "ca-daemon");
    verify(&admin.mint("/a", 0).await.unwrap(), &first.root).unwrap();
    activate(&admin, prepared.authority_id.clone()).await;
    verify(&admin.mint("/a", 0).await.unwrap(), &second.root).unwrap();
}

/// The usual renewal: the same key, other dates.
#[tokio::test]
async fn takes_in_a_certificate_that_was_renewed_for_its_key() {
    let outside = Outside::new();
    let mut files = CaCerts::below(&outside);
    let (folder, cacerts) = below(&files);
    let ca = folder.start().await;
    let before = bundle(&ca.admin()).await;
    let first = roots(&ca.admin()).await.remove(0);
    let folder = ca.stop().await;
    files.signed_by(&outside, |params| params.not_after = (SystemTime::now() + DAY * 50).into());
    files.write(&cacerts);
    let ca = folder.start().await;
    let admin = ca.admin();
    let listed = roots(&admin).await;
    let [renewed] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((renewed.state(), &renewed.authority_id), (AuthorityState::Active, &first.authority_id));
    assert_eq!(renewed.public[..], files.own[..]);
    assert!(renewed.not_after < first.not_after, "{renewed:?}");
    let svid = admin.mint("/a", 0).await.unwrap();
    assert_eq!(svid.chain()[2], files.own);
    verify(&svid, &outside.root).unwrap();
    assert_eq!(bundle(&admin).await.sequence_number, before.sequence_number, "whom to trust has not changed");
    let record = AuditLog::read(&admin).await.one("authority.renew", &first.authority_id, AuditOutcome::Done);
    assert_eq!(record.actor, "ca-daemon");

    // The same files are no renewal.
    let ca = ca.restart().await;
    assert_eq!(AuditLog::read(&ca.admin()).await.of("authority.renew").len(), 1);
}

/// With the same key, too: the root before must not leave the bundle under what leads to it.
#[tokio::test]
async fn goes_below_another_root_only_beside_the_one_before() {
    let (first, second) = (Outside::new(), Outside::new());
    let mut files = CaCerts::below(&first);
    let (folder, cacerts) = below(&files);
    let ca = folder.start().await;
    let before = bundle(&ca.admin()).await;
    let held = ca.admin().mint("/held", 0).await.unwrap();
    let folder = ca.stop().await;
    files.signed_by(&second, |_| {});
    files.between = vec![second.between.clone()];
    files.root = second.root.clone();
    files.write(&cacerts);
    let refusal = folder.refusal().await.to_string();
    assert!(refusal.contains("both roots into root-cert.pem"), "{refusal}");

    let both = to_certificate_pem([&first.root, &second.root].map(|root| root.as_ref()));
    fs::write(cacerts.join("root-cert.pem"), both).unwrap();
    let ca = folder.start().await;
    let admin = ca.admin();
    verify(&admin.mint("/a", 0).await.unwrap(), &second.root).unwrap();
    let after = bundle(&admin).await;
    assert!(after.sequence_number > before.sequence_number, "{after:?}");
    let trusted: Vec<_> = after.x509_authorities.iter().map(|root| &root.asn1[..]).collect();
    assert_eq!(trusted.len(), 2);
    assert!([&first.root, &second.root].iter().all(|root| trusted.contains(&root.as_ref())));
    let trusted = TrustBundle::new(ca.folder().config.trust_domain.clone(), trusted).unwrap();
    let holder = Clients::over_tls(ca.grpc_address(), client_config(&trusted, Some(&held)));
    holder.renew().await.expect("what leads to the root before is accepted");
}

fn key_of_another(_: &Outside, files: &mut CaCerts) {
    files.key = PrivateKey::generate().unwrap();
}

fn expired(outside: &Outside, files: &mut CaCerts) {
    files.signed_by(outside, |params| params.not_after = (SystemTime::now() - HOUR).into());
}

/// As the intermediate CAs of Istio's `tools/certs`.
fn that_may_sign_leaves_alone(outside: &Outside, files: &mut CaCerts) {
    files.signed_by(outside, |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
}

fn no_ca(outside: &Outside, files: &mut CaCerts) {
    files.signed_by(outside, |params| params.is_ca = IsCa::ExplicitNoCa);
}

fn of_another_trust_domain(outside: &Outside, files: &mut CaCerts) {
    let other = || SanType::URI("spiffe://example.net".try_into().unwrap());
    files.signed_by(outside, |params| params.subject_alt_names = vec![other()]);
}

fn below_another_root(_: &Outside, files: &mut CaCerts) {
    files.root = Outside::new().root;
}

fn without_the_one_between(_: &Outside, files: &mut CaCerts) {
    files.between.clear();
}

fn without_a_root(outside: &Outside, files: &mut CaCerts) {
    files.root = outside.between.clone();
}

fn below_an_expired_root(_: &Outside, files: &mut CaCerts) {
    *files = CaCerts::below(&Outside::with_root_until(SystemTime::now() - HOUR));
}

#[rstest]
#[case(key_of_another, "is not its key")]
#[case(expired, "has expired")]
#[case(no_ca, "is not a CA certificate of trust domain example.org")]
#[case(that_may_sign_leaves_alone, "its path length is 0")]
#[case(of_another_trust_domain, "is not a CA certificate of trust domain example.org")]
#[case(below_another_root, "does not verify")]
#[case(without_the_one_between, "does not verify")]
#[case(without_a_root, "no self-signed root")]
#[case(below_an_expired_root, "has expired")]
#[tokio::test]
async fn refuses_files_that_nobody_would_accept(
    #[case] spoil: fn(&Outside, &mut CaCerts),
    #[case] said: &str,
) {
    let outside = Outside::new();
    let mut files = CaCerts::below(&outside);
    spoil(&outside, &mut files);
    let (folder, cacerts) = below(&files);
    let refusal = folder.refusal().await.to_string();
    assert!(refusal.contains(said), "{refusal}");

    // Nothing was begun: the right files are taken in the same folder.
    let right = Outside::new();
    CaCerts::below(&right).write(&cacerts);
    assert_eq!(folder.start().await.root_fingerprint(), Fingerprint::of(&right.root));
}

#[tokio::test]
async fn refuses_files_that_others_can_read_or_that_are_missing() {
    let files = CaCerts::below(&Outside::new());
    let (folder, cacerts) = below(&files);
    let key = cacerts.join("ca-key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let refusal = folder.refusal().await.to_string();
    assert!(refusal.contains(&format!("chmod 600 {}", key.display())), "{refusal}");

    for path in ["ca-key.pem", "ca-cert.pem", "root-cert.pem"].map(|name| cacerts.join(name)) {
        files.write(&cacerts);
        fs::remove_file(&path).unwrap();
        let gone = folder.refusal().await.to_string();
        files.write(&cacerts);
        fs::write(&path, "").unwrap();
        let empty = folder.refusal().await.to_string();
        for refusal in [gone, empty] {
            assert!(refusal.contains(path.to_str().unwrap()), "{refusal}");
        }
    }
}

async fn request(admin: &Clients) -> Vec<u8> {
    admin.authority().get_upstream_request(GetUpstreamRequestRequest {}).await.unwrap().into_inner().csr
}

async fn import(
    admin: &Clients,
    chain: &[CertificateDer<'static>],
    root: &CertificateDer<'static>,
) -> Result<ImportUpstreamChainResponse, Status> {
    let chain = chain.iter().map(|der| der.to_vec()).collect();
    let request = ImportUpstreamChainRequest { chain, roots: vec![root.to_vec()] };
    admin.authority().import_upstream_chain(request).await.map(tonic::Response::into_inner)
}

/// Has the CA certified on request, and lets it sign. Answers which authority it is.
async fn move_below(admin: &Clients, outside: &Outside) -> String {
    let own = outside.sign(&RequestedKey::of(&request(admin).await), |_| {});
    let taken = import(admin, &[own, outside.between.clone()], &outside.root).await.unwrap();
    let id = taken.authority.unwrap().authority_id;
    activate(admin, id.clone()).await;
    id
}

#[tokio::test]
async fn signs_below_an_outside_root_that_certified_its_request() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let outside = Outside::new();
    let own = outside.sign(&RequestedKey::of(&request(&admin).await), |_| {});
    let taken = import(&admin, &[own.clone(), outside.between.clone()], &outside.root).await.unwrap();
    let prepared = taken.authority.unwrap();
    assert_eq!(prepared.state(), AuthorityState::Prepared);
    assert_eq!(prepared.public[..], own[..]);
    // It is trusted, and signs nothing yet.
    let bundle = bundle(&admin).await;
    assert!(bundle.x509_authorities.iter().any(|root| root.asn1[..] == outside.root[..]), "{bundle:?}");
    verify(&admin.mint("/a", 0).await.unwrap(), &outside.root).unwrap_err();

    activate(&admin, prepared.authority_id.clone()).await;
    let svid = admin.mint("/a", 0).await.unwrap();
    assert_eq!(svid.chain()[2..], [own, outside.between.clone()]);
    verify(&svid, &outside.root).unwrap();
    let taint = TaintX509AuthorityRequest { authority_id: prepared.authority_id.clone() };
    let refused = admin.local_authority().taint_x509_authority(taint).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("if there is an upstream authority"), "{refused}");
    let log = AuditLog::read(&admin).await;
    for action in ["authority.request", "authority.prepare", "authority.activate"] {
        let record = log.one(action, &prepared.authority_id, AuditOutcome::Done);
        assert!(record.actor.starts_with("admin-socket(uid="), "{record:?}");
    }

    let ca = ca.restart().await;
    assert_eq!(ca.root_fingerprint(), Fingerprint::of(&outside.root));
    verify(&ca.admin().mint("/a", 0).await.unwrap(), &outside.root).unwrap();
}

#[tokio::test]
async fn records_a_request_whose_key_cannot_be_kept() {
    let ca = Ca::start().await;
    // Files alone can be taken away from under a daemon.
    let Some(keys) = ca.folder().config.key_folder() else { return };
    let aside = ca.folder().path().join("keys-aside");
    fs::rename(&keys, &aside).unwrap();
    let refused =
        ca.admin().authority().get_upstream_request(GetUpstreamRequestRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal, "{refused}");
    fs::rename(&aside, &keys).unwrap();

    let ca = ca.restart().await;
    let record = AuditLog::read(&ca.admin()).await.one("authority.request", "", AuditOutcome::Failed);
    assert!(record.actor.starts_with("admin-socket(uid="), "{record:?}");
}

/// It was made here, by the first start.
#[tokio::test]
async fn lets_the_root_of_before_go_by_the_ordinary_steps() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let own = roots(&admin).await.remove(0);
    let outside = Outside::new();
    move_below(&admin, &outside).await;
    let taint = TaintX509AuthorityRequest { authority_id: own.authority_id.clone() };
    when_safe("taint", async || admin.local_authority().taint_x509_authority(taint.clone()).await.map(drop))
        .await;
    let tainted = bundle(&admin).await.x509_authorities;
    let tainted: Vec<_> = tainted.iter().filter(|root| root.tainted).map(|root| &root.asn1).collect();
    assert_eq!(tainted, [&own.public]);
    let request = asking(RevokeX509AuthorityRequest { authority_id: own.authority_id.clone() }, true);
    admin.local_authority().revoke_x509_authority(request).await.unwrap();
    let trusted = bundle(&admin).await.x509_authorities;
    let trusted: Vec<_> = trusted.iter().map(|root| root.asn1.as_slice()).collect();
    assert_eq!(trusted, [&outside.root[..]]);
    verify(&admin.mint("/a", 0).await.unwrap(), &outside.root).unwrap();
    let log = AuditLog::read(&admin).await;
    for action in ["authority.taint", "authority.revoke"] {
        let _ = log.one(action, &own.authority_id, AuditOutcome::Done);
    }
}

fn key_id_of(root: &CertificateDer<'static>) -> String {
    Certificate::parse(root).unwrap().subject_key_id.unwrap()
}

async fn taint(admin: &Clients, root: &CertificateDer<'static>) -> Result<(), Status> {
    let request = TaintX509UpstreamAuthorityRequest { subject_key_id: key_id_of(root) };
    admin.local_authority().taint_x509_upstream_authority(request).await.map(drop)
}

async fn revoke(admin: &Clients, root: &CertificateDer<'static>, force: bool) -> Result<(), Status> {
    let request = RevokeX509UpstreamAuthorityRequest { subject_key_id: key_id_of(root) };
    admin.local_authority().revoke_x509_upstream_authority(asking(request, force)).await.map(drop)
}

fn is_refused(outcome: Result<(), Status>, code: Code, said: &str) {
    let refused = outcome.unwrap_err();
    assert_eq!(refused.code(), code, "{refused}");
    assert!(refused.message().contains(said), "{refused}");
}

/// The CA of the trust domain went from below one to below another.
#[tokio::test]
async fn lets_an_outside_root_go_with_what_is_below_it() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let (first, second) = (Outside::new(), Outside::new());
    is_refused(taint(&admin, &first.root).await, Code::FailedPrecondition, "is not configured");
    let old = move_below(&admin, &first).await;
    let held = admin.mint("/held", 0).await.unwrap();
    is_refused(taint(&admin, &first.root).await, Code::InvalidArgument, "signing current authority");
    is_refused(revoke(&admin, &first.root, true).await, Code::InvalidArgument, "signing current authority");
    move_below(&admin, &second).await;
    is_refused(taint(&admin, &Outside::new().root).await, Code::InvalidArgument, "didn't sign");
    is_refused(revoke(&admin, &first.root, false).await, Code::Internal, "untainted");

    when_safe("taint", async || taint(&admin, &first.root).await).await;
    let roots = bundle(&admin).await.x509_authorities;
    let tainted: Vec<_> = roots.iter().filter(|root| root.tainted).map(|root| &root.asn1[..]).collect();
    assert_eq!(tainted, [&first.root[..]]);
    verify(&held, &first.root).unwrap();
    is_refused(revoke(&admin, &first.root, false).await, Code::FailedPrecondition, "neither expired");
    revoke(&admin, &first.root, true).await.unwrap();
    let roots = bundle(&admin).await.x509_authorities;
    assert!(roots.iter().all(|root| root.asn1[..] != first.root[..]), "{roots:?}");
    verify(&admin.mint("/a", 0).await.unwrap(), &second.root).unwrap();
    let log = AuditLog::read(&admin).await;
    for action in ["authority.taint", "authority.revoke"] {
        let record = log.one(action, &key_id_of(&first.root), AuditOutcome::Done);
        assert_eq!(record.details["authorities"], old);
    }
}

/// The outside CA certified the next one while the one before lives: nobody who has an SVID of either notices.
#[tokio::test]
async fn accepts_two_generations_below_one_outside_root() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let outside = Outside::new();
    let first = move_below(&admin, &outside).await;
    let held = admin.mint("/held", 0).await.unwrap();
    let second = move_below(&admin, &outside).await;
    assert_ne!(first, second);
    let fresh = admin.mint("/fresh", 0).await.unwrap();
    assert_ne!(held.chain()[2], fresh.chain()[2], "each carries the CA that it is below");

    is_refused(taint(&admin, &outside.root).await, Code::InvalidArgument, "signing current authority");
    is_refused(revoke(&admin, &outside.root, true).await, Code::InvalidArgument, "signing current authority");
    let roots = bundle(&admin).await.x509_authorities;
    let trusted: Vec<_> = roots.iter().filter(|root| root.asn1[..] == outside.root[..]).collect();
    assert!(matches!(trusted[..], [root] if !root.tainted), "{roots:?}");
    let known =
        TrustBundle::new(ca.folder().config.trust_domain.clone(), roots.iter().map(|root| &root.asn1))
            .unwrap();
    for holder in [held, fresh] {
        verify(&holder, &outside.root).unwrap();
        let clients = Clients::over_tls(ca.grpc_address(), client_config(&known, Some(&holder)));
        clients.renew().await.unwrap();
    }
}

#[tokio::test]
async fn refuses_an_answer_that_does_not_fit_its_request() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let (outside, other) = (Outside::new(), Outside::new());
    let dead = Outside::with_root_until(SystemTime::now() - HOUR);
    let refused = import(&admin, std::slice::from_ref(&outside.between), &outside.root).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("no request waits"), "{refused}");

    let key = RequestedKey::of(&request(&admin).await);
    let right = outside.sign(&key, |_| {});
    let foreign = outside.sign(&KeyPair::generate().unwrap(), |_| {});
    let expired = outside.sign(&key, |params| params.not_after = (SystemTime::now() - HOUR).into());
    let no_ca = outside.sign(&key, |params| params.is_ca = IsCa::ExplicitNoCa);
    let bounded = outside.sign(&key, |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let early = outside.sign(&key, |params| params.not_before = (SystemTime::now() + DAY).into());
    let chain = |own: &CertificateDer<'static>| vec![own.clone(), outside.between.clone()];
    for (chain, root, said) in [
        (chain(&foreign), &outside.root, "is not its key"),
        (chain(&expired), &outside.root, "has expired"),
        (chain(&early), &outside.root, "does not verify"),
        (chain(&no_ca), &outside.root, "is not a CA certificate"),
        (chain(&bounded), &outside.root, "its path length is 0"),
        (chain(&right), &other.root, "does not verify"),
        (chain(&right), &outside.between, "no self-signed root"),
        (vec![dead.sign(&key, |_| {}), dead.between.clone()], &dead.root, "has expired"),
        (vec![right.clone()], &outside.root, "does not verify"),
        (Vec::new(), &outside.root, "the chain is empty"),
    ] {
        let refused = import(&admin, &chain, root).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains(said), "{said}: {refused}");
    }
    assert_eq!(roots(&admin).await.len(), 1, "what was refused is trusted by nobody");
    import(&admin, &chain(&right), &outside.root).await.expect("the request still waits for its answer");
}
