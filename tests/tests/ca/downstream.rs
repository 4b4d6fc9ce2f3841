//! Authorities below this one, and authorities beside it: what they sign is accepted, recorded, and can be taken back.

use std::time::SystemTime;

use ca_daemon::authority::{CaKey, CertificateRequest, DomainCa, Lifetimes, Subject};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use secplane_identity::{
    PrivateKey, SpiffeId, TrustBundle, TrustDomain,
    revocation::SerialNumber,
    x509::{Certificate, Purpose, verify_x509_svid},
};
use secplane_proto::{
    secplane::ca::v1::{AuditOutcome, AuthorityKind, ListAuthoritiesRequest, revoke_request::Target},
    spire::api::{
        server::{
            bundle::v1::{AppendBundleRequest, GetBundleRequest, PublishJwtAuthorityRequest},
            localauthority::v1::{RevokeX509AuthorityRequest, TaintX509AuthorityRequest},
            svid::v1::NewDownstreamX509caRequest,
        },
        types,
    },
};
use secplane_tests::{
    audit_log::AuditLog,
    authority::{Ca, TRUST_DOMAIN},
    clients::Clients,
    entries::entry,
    holder::{Holder, client_config},
};
use tonic::{Code, Status};

use super::root_rotation::asking;

/// The clients of an authority that has a downstream entry.
async fn downstream(ca: &Ca) -> Clients {
    let registered = types::Entry { downstream: true, ..entry("/nested", &["uid:4711"]) };
    ca.admin().create_entry(registered).await;
    ca.connect_as(&ca.admin().mint("/nested", 0).await.unwrap()).await
}

async fn new_ca(
    clients: &Clients,
    csr: Vec<u8>,
    preferred_ttl: i32,
) -> Result<(Vec<Vec<u8>>, Vec<Vec<u8>>), Status> {
    let request = NewDownstreamX509caRequest { csr, preferred_ttl };
    let answer = clients.svid().new_downstream_x509ca(request).await?.into_inner();
    Ok((answer.ca_cert_chain, answer.x509_authorities))
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse(TRUST_DOMAIN).unwrap()
}

/// The CA of a downstream authority as that authority uses it: an issuing CA below it, and an SVID below that.
fn svid_below(key: &PrivateKey, chain: &[Vec<u8>], roots: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let above: Vec<_> = chain[1..].iter().chain(roots).map(|der| der.clone().into()).collect();
    let now = SystemTime::now();
    let ca = DomainCa::restore(&trust_domain(), &chain[0], &above, CaKey::try_from(key).unwrap()).unwrap();
    // Which verifies an SVID below it, as those who receive one will.
    let issuing = ca.issue_ca(&PrivateKey::generate().unwrap(), std::time::Duration::from_secs(600), now);
    issuing.unwrap().below_root().iter().map(|der| der.to_vec()).collect()
}

#[tokio::test]
async fn sign_what_everyone_accepts() {
    let ca = Ca::start().await;
    let clients = downstream(&ca).await;
    let key = PrivateKey::generate().unwrap();
    // The request may say what it is for, and whose CA it will be.
    let csr = DomainCa::request(&trust_domain(), &CaKey::try_from(&key).unwrap()).unwrap();
    let (chain, roots) = new_ca(&clients, csr, 600).await.unwrap();
    let bundle = ca.bundle().await;
    assert_eq!(TrustBundle::new(trust_domain(), &roots).unwrap().to_pem(), bundle.to_pem());
    let nested = Certificate::parse(&chain[0]).unwrap();
    assert!(nested.is_ca && nested.uris == [trust_domain().id()]);
    let lives = nested.not_after.duration_since(SystemTime::now()).unwrap().as_secs();
    assert!((500..=600).contains(&lives), "{lives}");
    assert_eq!(svid_below(&key, &chain, &roots).len(), 3, "two CAs follow the one that signs leaves");

    let request = ListAuthoritiesRequest::default();
    let listed = ca.admin().authority().list_authorities(request).await.unwrap().into_inner().authorities;
    let listed: Vec<_> = listed.iter().filter(|one| one.kind() == AuthorityKind::Downstream).collect();
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].authority_id, listed[0].key_storage.as_str()), (&nested.serial, "elsewhere"));
    let log = AuditLog::read(&ca.admin()).await;
    let record = log.one("certificate.issue", &nested.serial, AuditOutcome::Done);
    assert_eq!(record.actor, "spiffe://example.org/nested");
    assert_eq!(record.details["kind"], "downstream-ca");
}

/// Whatever a downstream authority signed is refused from then on, by its CA's serial number on our list.
#[tokio::test]
async fn are_refused_once_their_ca_is_revoked() {
    let ca = Ca::start().await;
    let clients = downstream(&ca).await;
    let key = PrivateKey::generate().unwrap();
    let (chain, _) = new_ca(&clients, key.bare_request().unwrap(), 0).await.unwrap();
    let nested = Certificate::parse(&chain[0]).unwrap();
    let serial = nested.serial.clone();
    assert_eq!(ca.admin().revoke_all(Target::SerialNumber(serial.clone())).await.unwrap(), 1);
    assert!(ca.admin().record(serial).await.unwrap().revoked_at > 0);
    let again = new_ca(&clients, key.bare_request().unwrap(), 0).await;
    again.expect("the certificate was revoked, not the key");
    let hash = secplane_identity::revocation::KeyHash::of(&nested.public_key_info).to_string();
    assert_eq!(ca.admin().revoke_all(Target::PublicKeySha256(hash)).await.unwrap(), 1, "the second one");
    let refusal = new_ca(&clients, key.bare_request().unwrap(), 0).await.unwrap_err();
    assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
}

#[tokio::test]
async fn get_no_ca_without_an_entry_or_for_other_names() {
    let ca = Ca::start().await;
    let csr = || PrivateKey::generate().unwrap().bare_request().unwrap();
    let stranger = ca.connect_as(&ca.admin().mint("/stranger", 0).await.unwrap()).await;
    assert_eq!(new_ca(&stranger, csr(), 0).await.unwrap_err().code(), Code::PermissionDenied);
    let clients = downstream(&ca).await;
    let key = PrivateKey::generate().unwrap();
    let workload = secplane_tests::requests::naming(&key, &["spiffe://example.org/a"]);
    for (csr, ttl, code, said) in [
        (Vec::new(), 0, Code::InvalidArgument, "missing CSR"),
        (vec![1, 2], 0, Code::InvalidArgument, "malformed CSR"),
        (workload, 0, Code::PermissionDenied, "spiffe://example.org/a"),
        (csr(), -1, Code::InvalidArgument, "ttl"),
    ] {
        let refusal = new_ca(&clients, csr, ttl).await.unwrap_err();
        assert_eq!(refusal.code(), code, "{refusal}");
        assert!(refusal.message().contains(said), "{refusal}");
    }
}

fn jwt_key(key_id: &str, key: &PrivateKey) -> types::JwtKey {
    let public_key = key.public_key_info().unwrap();
    types::JwtKey { public_key, key_id: key_id.to_owned(), expires_at: 4_000_000_000, tainted: false }
}

#[tokio::test]
async fn publish_the_keys_of_their_tokens() {
    let ca = Ca::start().await;
    let clients = downstream(&ca).await;
    let key = PrivateKey::generate().unwrap();
    let request = PublishJwtAuthorityRequest { jwt_authority: Some(jwt_key("theirs", &key)) };
    let published = clients.bundle().publish_jwt_authority(request).await.unwrap().into_inner();
    assert_eq!(published.jwt_authorities.len(), 2);
    let ca = ca.restart().await;
    let request = GetBundleRequest::default();
    let bundle = ca.admin().bundle().get_bundle(request).await.unwrap().into_inner();
    assert!(bundle.jwt_authorities.contains(&jwt_key("theirs", &key)), "{bundle:?}");

    let missing = PublishJwtAuthorityRequest { jwt_authority: None };
    let refusal = ca.connect_as(&holder(&ca).await).await.bundle().publish_jwt_authority(missing).await;
    assert_eq!(refusal.unwrap_err().message(), "missing JWT authority");
}

/// Nobody can say an end that the authority cannot reckon with: it would fail at every start from then on.
#[tokio::test]
async fn publish_no_key_that_ends_beyond_all_time() {
    let ca = Ca::start().await;
    let clients = downstream(&ca).await;
    let key = PrivateKey::generate().unwrap();
    let ending = |expires_at| types::JwtKey { expires_at, ..jwt_key("theirs", &key) };
    for expires_at in [i64::MAX, 253_402_300_800, -1] {
        let request = PublishJwtAuthorityRequest { jwt_authority: Some(ending(expires_at)) };
        let refusal = clients.bundle().publish_jwt_authority(request).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
        let request = AppendBundleRequest { jwt_authorities: vec![ending(expires_at)], ..Default::default() };
        let refusal = ca.admin().bundle().append_bundle(request).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    }
    let last = ending(253_402_300_799);
    let request = PublishJwtAuthorityRequest { jwt_authority: Some(last.clone()) };
    clients.bundle().publish_jwt_authority(request).await.unwrap();
    let ca = ca.restart().await;
    let bundle = ca.admin().bundle().get_bundle(GetBundleRequest::default()).await.unwrap().into_inner();
    assert!(bundle.jwt_authorities.contains(&last), "{bundle:?}");
}

/// A bundle that is full would keep ours from succeeding one another, and the authority from starting.
#[tokio::test]
async fn fill_no_more_than_their_part_of_the_bundle() {
    let ca = Ca::start().await;
    let key = PrivateKey::generate().unwrap();
    let keys = |count: usize| -> Vec<_> {
        (0..count).map(|number| jwt_key(&format!("theirs-{number}"), &key)).collect()
    };
    let append =
        |count| AppendBundleRequest { jwt_authorities: keys(count), ..AppendBundleRequest::default() };
    let refusal = ca.admin().bundle().append_bundle(append(65)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
    ca.admin().bundle().append_bundle(append(64)).await.unwrap();

    let clients = downstream(&ca).await;
    let request = PublishJwtAuthorityRequest { jwt_authority: Some(jwt_key("another", &key)) };
    let published = clients.bundle().publish_jwt_authority(request).await.unwrap().into_inner();
    assert_eq!(published.jwt_authorities.len(), 1 + 64 + 1);
    let ca = ca.restart().await;
    let refusal = ca.admin().bundle().append_bundle(append(65)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted, "it knows whose they are: {refusal}");
}

async fn holder(ca: &Ca) -> Holder {
    ca.admin().mint("/nested", 0).await.unwrap()
}

/// A root that another authority of the trust domain signs with is trusted beside ours.
#[tokio::test]
async fn are_trusted_beside_ours_once_appended() {
    let ca = Ca::start().await;
    let key = CaKey::try_from(&PrivateKey::generate().unwrap()).unwrap();
    let now = SystemTime::now();
    let hour = std::time::Duration::from_secs(3600);
    let other = DomainCa::self_signed(&trust_domain(), key, hour, now).unwrap();
    let root = types::X509Certificate { asn1: other.certificate().der.to_vec(), tainted: false };
    let token_key = jwt_key("theirs", &PrivateKey::generate().unwrap());
    let request = AppendBundleRequest {
        x509_authorities: vec![root],
        jwt_authorities: vec![token_key],
        output_mask: Some(types::BundleMask { x509_authorities: true, ..Default::default() }),
        ..Default::default()
    };
    let bundle = ca.admin().bundle().append_bundle(request.clone()).await.unwrap().into_inner();
    assert_eq!((bundle.x509_authorities.len(), bundle.jwt_authorities.len()), (2, 0), "as the mask says");
    let again = ca.admin().bundle().append_bundle(request).await.unwrap().into_inner();
    assert_eq!(again.x509_authorities.len(), 2);

    let issuing = other.issue_ca(&PrivateKey::generate().unwrap(), hour / 2, now).unwrap();
    let roots = again.x509_authorities.iter().map(|root| &root.asn1);
    let trusted = TrustBundle::new(trust_domain(), roots).unwrap();
    let request =
        CertificateRequest::parse(&PrivateKey::generate().unwrap().bare_request().unwrap()).unwrap();
    let id = SpiffeId::parse("spiffe://example.org/theirs").unwrap();
    let subject = Subject::X509Svid { id, dns_names: Vec::new() };
    let lifetimes = Lifetimes { x509_svid: hour, server: hour, client: hour, longest: hour };
    let svid = issuing.sign(&request, subject, None, &lifetimes, now).unwrap();
    verify_x509_svid(&svid.chain, &trusted.into(), Purpose::ClientAuth, now).unwrap();
    let log = AuditLog::read(&ca.admin()).await;
    let record = &log.of("authority.publish")[0];
    assert!(record.details["all"].contains("theirs"), "{record:?}");
}

/// What they signed with it is not known here.
#[tokio::test]
async fn keep_their_root_until_it_ends_or_somebody_insists() {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let key = CaKey::try_from(&PrivateKey::generate().unwrap()).unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let other = DomainCa::self_signed(&trust_domain(), key, hour, SystemTime::now()).unwrap();
    let other = other.certificate();
    let root = types::X509Certificate { asn1: other.der.to_vec(), tainted: false };
    let request = AppendBundleRequest { x509_authorities: vec![root.clone()], ..Default::default() };
    admin.bundle().append_bundle(request).await.unwrap();
    let authority_id = other.subject_key_id.clone().unwrap();
    let taint = TaintX509AuthorityRequest { authority_id: authority_id.clone() };
    admin.local_authority().taint_x509_authority(taint).await.unwrap();

    let revoke = RevokeX509AuthorityRequest { authority_id };
    let refused = admin.local_authority().revoke_x509_authority(revoke.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("somebody else's"), "{refused}");
    let end = other.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().to_string();
    assert_eq!(refused.metadata().get("secplane-retry-at").unwrap().to_str().unwrap(), end);
    let trusted = async || {
        let bundle = admin.bundle().get_bundle(GetBundleRequest::default()).await.unwrap().into_inner();
        bundle.x509_authorities.iter().any(|trusted| trusted.asn1 == root.asn1)
    };
    assert!(trusted().await);
    admin.local_authority().revoke_x509_authority(asking(revoke, true)).await.unwrap();
    assert!(!trusted().await);
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// The root of an authority beside ours, and an SVID below it that has a serial number of their choice.
fn root_and_svid(serial: &str) -> (Vec<u8>, Holder) {
    let (now, hour) = (SystemTime::now(), std::time::Duration::from_secs(3600));
    let key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::default();
    (root.not_before, root.not_after) = ((now - hour).into(), (now + hour).into());
    root.subject_alt_names = vec![uri(&trust_domain().id())];
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = root.self_signed(&key).unwrap().der().to_vec();
    let issuer = Issuer::new(root, key);

    let key = PrivateKey::generate().unwrap();
    let mut svid = CertificateParams::default();
    (svid.not_before, svid.not_after) = ((now - hour).into(), (now + hour).into());
    svid.distinguished_name = DistinguishedName::new();
    svid.serial_number =
        Some(rcgen::SerialNumber::from_slice(serial.parse::<SerialNumber>().unwrap().as_bytes()));
    svid.subject_alt_names = vec![uri("spiffe://example.org/theirs")];
    svid.is_ca = IsCa::ExplicitNoCa;
    svid.use_authority_key_identifier_extension = true;
    svid.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    svid.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = svid.signed_by(&key.signing_pair().unwrap(), &issuer).unwrap().der().to_vec();
    (certificate, Holder::new(key, vec![leaf]))
}

/// Whoever signs beside us or below us chooses serial numbers as they like: also those of our certificates.
#[tokio::test]
async fn renew_nothing_of_ours_by_its_serial_number() {
    let ca = Ca::start().await;
    let ours = ca.admin().mint("/ours", 0).await.unwrap();
    let bundle = ca.bundle().await;
    let (root, theirs) = root_and_svid(&ours.leaf().serial);
    let request = AppendBundleRequest {
        x509_authorities: vec![types::X509Certificate { asn1: root, tainted: false }],
        ..Default::default()
    };
    ca.admin().bundle().append_bundle(request).await.unwrap();
    let ca = ca.restart().await;
    let clients = |holder| Clients::over_tls(ca.grpc_address(), client_config(&bundle, Some(holder)));
    let refusal = clients(&theirs).renew().await.err().unwrap();
    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
    assert!(refusal.message().contains("is not the one on record"), "{refusal}");
    clients(&ours).renew().await.unwrap();
}
