//! Who gets through the TLS handshake, and who does not.

use std::time::{Duration, SystemTime};

use ca_daemon::instant::Clock;
use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, Issuer, KeyUsagePurpose, SanType};
use rustls::HandshakeKind;
use secplane_identity::{
    PrivateKey, SpiffeId,
    tls::{ExpectedServer, bootstrap_client_config},
};
use secplane_proto::spire::api::server::bundle::v1::GetBundleRequest;
use secplane_tests::{
    authority::{Ca, CaFolder},
    clients::Clients,
    holder::{Holder, client_config, open},
    soon,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const HOUR: Duration = Duration::from_secs(3600);

/// The alert that a holder gets instead of an answer.
async fn alert(ca: &Ca, holder: &Holder) -> String {
    let refused = holder.knock(ca.grpc_address(), &ca.bundle().await).await;
    let said = refused.expect_err("the holder is refused").to_string();
    assert!(said.contains("alert"), "{said}");
    ca.admin().mint("/works/on", 0).await.unwrap();
    said
}

#[tokio::test]
async fn refuses_the_certificates_of_another_authority_of_the_same_name() {
    let (ca, foreign) = (Ca::start().await, Ca::start().await);
    for holder in [
        foreign.admin().mint("/a", 0).await.unwrap(),
        foreign.admin().issue_client("alice", 0).await.unwrap(),
        foreign.admin().issue_server(&["localhost"]).await.unwrap(),
    ] {
        assert!(alert(&ca, &holder).await.contains("UnknownCA"));
    }
}

#[tokio::test]
async fn refuses_another_trust_domain() {
    let foreign = Ca::start_with(|config| {
        config.trust_domain = secplane_identity::TrustDomain::parse("example.net").unwrap();
    })
    .await;
    let key = PrivateKey::generate().unwrap();
    let csr = secplane_tests::requests::naming(&key, &["spiffe://example.net/a"]);
    let holder = Holder::new(key, foreign.admin().mint_with(csr, 0).await.unwrap());
    let ca = Ca::start().await;
    assert!(alert(&ca, &holder).await.contains("UnknownCA"));
}

#[tokio::test]
async fn refuses_a_certificate_that_signed_itself() {
    let ca = Ca::start().await;
    let key = PrivateKey::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("spiffe://example.org/admin".try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(&key.signing_pair().unwrap()).unwrap();
    let holder = Holder::new(key, vec![certificate.der().to_vec()]);
    assert!(alert(&ca, &holder).await.contains("UnknownCA"));
}

#[tokio::test]
async fn refuses_a_certificate_that_a_workload_signed() {
    let ca = Ca::start().await;
    let workload = ca.admin().mint("/workload", 0).await.unwrap();
    let key = PrivateKey::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("spiffe://example.org/admin".try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // The workload's own subject, so that the names of the chain fit together.
    let mut workload_params = CertificateParams::default();
    workload_params.distinguished_name = DistinguishedName::new();
    let country = DnValue::PrintableString("US".try_into().unwrap());
    workload_params.distinguished_name.push(DnType::CountryName, country);
    workload_params.distinguished_name.push(DnType::OrganizationName, "SPIRE");
    let issuer = Issuer::new(workload_params, workload.key().signing_pair().unwrap());
    let forged = params.signed_by(&key.signing_pair().unwrap(), &issuer).unwrap();
    let chain = std::iter::once(forged.der()).chain(workload.chain()).map(|der| der.to_vec()).collect();
    alert(&ca, &Holder::new(key, chain)).await;
}

#[tokio::test]
async fn refuses_a_certificate_that_has_expired() {
    let ca = CaFolder::new().start_with_clock(Clock::of(|| SystemTime::now() - HOUR / 2)).await;
    let holder = ca.admin().mint("/a", 60).await.unwrap();
    let ca = ca.restart().await;
    assert!(holder.leaf().not_after < SystemTime::now());
    assert!(alert(&ca, &holder).await.contains("CertificateExpired"));
}

#[tokio::test]
async fn refuses_a_certificate_that_is_not_valid_yet() {
    let ca = Ca::start().await.stop().await.start_with_clock(Clock::of(|| SystemTime::now() + HOUR)).await;
    let holder = ca.admin().mint("/a", 0).await.unwrap();
    let ca = ca.restart().await;
    alert(&ca, &holder).await;
}

#[tokio::test]
async fn refuses_a_chain_that_is_too_long() {
    let ca = Ca::start().await;
    let holder = ca.admin().mint("/a", 0).await.unwrap();
    let issuing = std::iter::repeat_n(&holder.chain()[1], 8);
    let chain = std::iter::once(&holder.chain()[0]).chain(issuing).map(|der| der.to_vec()).collect();
    alert(&ca, &Holder::new(holder.key().clone(), chain)).await;
}

/// A ClientHello that knows TLS 1.2 alone (RFC 5246, section 7.4.1.2): it has no `supported_versions`.
fn hello_of_tls12() -> Vec<u8> {
    let version = [3, 3];
    let cipher_suites = [0, 2, 0xc0, 0x2b]; // one: ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..], // supported_groups: secp256r1
        &[0, 11, 0, 2, 1, 0][..],        // ec_point_formats: uncompressed
        &[0, 13, 0, 4, 0, 2, 4, 3][..],  // signature_algorithms: ecdsa_secp256r1_sha256
    ]
    .concat();
    let extensions_length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    let session_id_and_compression = ([0], [1, 0]);
    let body = [
        &version[..],
        &[7; 32],
        &session_id_and_compression.0,
        &cipher_suites,
        &session_id_and_compression.1,
        &extensions_length,
        &extensions,
    ]
    .concat();
    let body_length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let handshake = [&[1], &body_length[1..], &body].concat();
    let record_length = u16::try_from(handshake.len()).unwrap().to_be_bytes();
    [&[22, 3, 1][..], &record_length, &handshake].concat()
}

#[tokio::test]
async fn refuses_a_client_of_tls12() {
    let ca = Ca::start().await;
    let mut stream = TcpStream::connect(ca.grpc_address()).await.unwrap();
    stream.write_all(&hello_of_tls12()).await.unwrap();
    let mut answer = Vec::new();
    soon("the server hangs up", stream.read_to_end(&mut answer)).await.unwrap();
    let [21, 3, _, 0, 2, 2, 70] = answer[..] else {
        panic!("not a fatal protocol_version alert (RFC 8446, section 6): {answer:?}");
    };
    ca.admin().mint("/works/on", 0).await.unwrap();
}

#[tokio::test]
async fn refuses_what_is_no_tls() {
    let ca = Ca::start().await;
    let mut stream = TcpStream::connect(ca.grpc_address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: ca\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    soon("the server hangs up", stream.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn resumes_no_session() {
    let ca = Ca::start().await;
    let holder = ca.admin().mint("/a", 0).await.unwrap();
    // One configuration for both, so that the second connection could use a ticket of the first.
    let config = client_config(&ca.bundle().await, Some(&holder));
    for _ in 0..2 {
        let mut stream = open(ca.grpc_address(), config.clone()).await.unwrap();
        stream.write_all(b"OPTIONS * HTTP/1.1\r\nhost: ca\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 8]).await.unwrap();
        assert_ne!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

#[tokio::test]
async fn lets_a_newcomer_check_the_server_by_fingerprint() {
    let ca = Ca::start().await;
    let (config, bootstrap) = bootstrap_client_config().unwrap();
    let newcomer = Clients::over_tls(ca.grpc_address(), config);
    let wire = newcomer.bundle().get_bundle(GetBundleRequest::default()).await.unwrap().into_inner();
    let roots = wire.x509_authorities.iter().map(|root| root.asn1.as_slice());
    let trust_domain = secplane_identity::TrustDomain::parse(&wire.trust_domain).unwrap();
    let bundle = secplane_identity::TrustBundle::new(trust_domain, roots).unwrap();
    let root = bundle.authorities().next().unwrap();
    assert_eq!(secplane_identity::Fingerprint::of(&root.der), ca.root_fingerprint());
    let server = bootstrap.confirm(&bundle, SystemTime::now()).unwrap();
    assert_eq!(server.id().as_str(), "spiffe://example.org/spire/server");

    let other = Ca::start().await.bundle().await;
    assert!(bootstrap.confirm(&other, SystemTime::now()).is_err());
}

#[tokio::test]
async fn proves_itself_by_spiffe_id() {
    let folder = CaFolder::new();
    let ca = folder.start().await;
    let snapshot =
        secplane_identity::IdentitySnapshot { bundles: ca.bundle().await.into(), ..Default::default() };
    let source = secplane_identity::IdentitySource::fixed(snapshot);
    for (id, is_expected) in
        [("spiffe://example.org/spire/server", true), ("spiffe://example.org/other", false)]
    {
        let expected = ExpectedServer::Id(SpiffeId::parse(id).unwrap());
        let config = secplane_identity::tls::client_config(source.clone(), expected).unwrap();
        let answer = Clients::over_tls(ca.grpc_address(), config)
            .bundle()
            .get_bundle(GetBundleRequest::default())
            .await;
        assert_eq!(answer.is_ok(), is_expected, "{answer:?}");
    }
}
