//! Certificate requests over the wire: what is refused, with which status, and that the authority works on.

use rcgen::{CustomExtension, KeyUsagePurpose, SanType};
use rstest::rstest;
use secplane_identity::PrivateKey;
use secplane_proto::secplane::ca::v1::{IssueClientCertificateRequest, IssueServerCertificateRequest};
use secplane_tests::{authority::Ca, requests};
use tonic::Code;

const WORKLOAD: &str = "spiffe://example.org/workload";

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

fn naming(names: Vec<SanType>) -> Vec<u8> {
    requests::filled(|params| params.subject_alt_names = names)
}

fn valid() -> Vec<u8> {
    naming(vec![uri(WORKLOAD)])
}

fn truncated() -> Vec<u8> {
    let request = valid();
    request[..request.len() / 2].to_vec()
}

fn with_bytes_behind() -> Vec<u8> {
    [valid(), vec![0]].concat()
}

fn with_wrong_signature() -> Vec<u8> {
    let mut request = valid();
    *request.last_mut().unwrap() ^= 1;
    request
}

fn oversized() -> Vec<u8> {
    naming((0..1000).map(|number| dns(&format!("host-{number}.example.org"))).collect())
}

fn wanting_a_ca() -> Vec<u8> {
    /// id-ce-basicConstraints (RFC 5280, section 4.2.1.9).
    const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
    requests::filled(|params| {
        params.subject_alt_names = vec![uri(WORKLOAD)];
        let is_ca = vec![0x30, 3, 1, 1, 0xff];
        params.custom_extensions = vec![CustomExtension::from_oid_content(BASIC_CONSTRAINTS, is_ca)];
    })
}

fn wanting_to_sign() -> Vec<u8> {
    requests::filled(|params| {
        params.subject_alt_names = vec![uri(WORKLOAD)];
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    })
}

#[rstest]
#[case::empty(Vec::new(), Code::InvalidArgument, "missing CSR")]
#[case::truncated(truncated(), Code::InvalidArgument, "not DER PKCS#10")]
#[case::bytes_behind(with_bytes_behind(), Code::InvalidArgument, "not DER PKCS#10")]
#[case::no_der(b"-----BEGIN CERTIFICATE REQUEST-----".to_vec(), Code::InvalidArgument, "not DER PKCS#10")]
#[case::oversized(oversized(), Code::InvalidArgument, "at most 16384")]
#[case::wrong_signature(with_wrong_signature(), Code::InvalidArgument, "not signed by its own key")]
#[case::sha1(requests::stored("rsa-2048-sha1"), Code::InvalidArgument, "SHA-1")]
#[case::small_rsa(requests::stored("rsa-1024"), Code::InvalidArgument, "1024 bits")]
#[case::p521(requests::stored("ec-p521"), Code::InvalidArgument, "use P-256 or P-384")]
#[case::secp256k1(requests::stored("ec-secp256k1"), Code::InvalidArgument, "use P-256 or P-384")]
#[case::ca(wanting_a_ca(), Code::PermissionDenied, "CA certificate")]
#[case::cert_sign(wanting_to_sign(), Code::PermissionDenied, "keyCertSign")]
#[case::email(
    naming(vec![uri(WORKLOAD), SanType::Rfc822Name("a@example.org".try_into().unwrap())]),
    Code::InvalidArgument,
    "a@example.org"
)]
#[case::no_name(naming(Vec::new()), Code::InvalidArgument, "names no SPIFFE ID")]
#[case::two_uris(naming(vec![uri(WORKLOAD), uri("spiffe://example.org/b")]), Code::InvalidArgument, "2 URI names")]
#[case::ip_address(
    naming(vec![uri(WORKLOAD), SanType::IpAddress([10, 0, 0, 1].into())]),
    Code::PermissionDenied,
    "10.0.0.1"
)]
#[case::foreign(naming(vec![uri("spiffe://example.net/a")]), Code::InvalidArgument, "not a member of")]
#[case::reserved(naming(vec![uri("spiffe://example.org/spire/server")]), Code::InvalidArgument, "/spire")]
#[case::reserved_root(naming(vec![uri("spiffe://example.org/spire")]), Code::InvalidArgument, "/spire")]
#[case::trust_domain(naming(vec![uri("spiffe://example.org")]), Code::InvalidArgument, "example.org")]
#[case::upper_case(naming(vec![uri("spiffe://Example.org/a")]), Code::InvalidArgument, "spiffe://Example.org/a")]
#[case::dot_segment(naming(vec![uri("spiffe://example.org/a/../b")]), Code::InvalidArgument, "/a/../b")]
#[case::other_scheme(naming(vec![uri("https://example.org/a")]), Code::InvalidArgument, "https://example.org/a")]
#[case::bad_dns_name(naming(vec![uri(WORKLOAD), dns("a..b")]), Code::InvalidArgument, "a..b")]
#[case::hidden_name(
    requests::with_second_extension_list(WORKLOAD, "hidden.example.org"),
    Code::InvalidArgument,
    "extension"
)]
#[tokio::test]
async fn refuses_a_bad_request(#[case] csr: Vec<u8>, #[case] code: Code, #[case] said: &str) {
    let ca = Ca::start().await;
    let admin = ca.admin();
    let before = admin.records().await.unwrap().len();
    let refusal = admin.mint_with(csr, 0).await.unwrap_err();
    assert_eq!(refusal.code(), code, "{refusal}");
    assert!(refusal.message().contains(said), "{refusal}");
    assert_eq!(admin.records().await.unwrap().len(), before, "nothing was issued");
    admin.mint("/workload", 0).await.unwrap();
}

#[rstest]
#[case::another_dns_name(naming(vec![dns("a.example.org"), dns("b.example.org")]), "DNS:b.example.org")]
#[case::wildcard(naming(vec![dns("*.example.org")]), "DNS:*.example.org")]
#[case::ip_address(naming(vec![SanType::IpAddress([127, 0, 0, 1].into())]), "IP:127.0.0.1")]
#[case::spiffe_id(valid(), "URI:spiffe://example.org/workload")]
#[tokio::test]
async fn refuses_a_name_that_was_not_granted(#[case] csr: Vec<u8>, #[case] named: &str) {
    let ca = Ca::start().await;
    let mut certificates = ca.admin().certificates();
    let dns_names = vec!["a.example.org".to_owned()];
    let server = IssueServerCertificateRequest {
        csr: csr.clone(),
        dns_names: dns_names.clone(),
        ..Default::default()
    };
    let client = IssueClientCertificateRequest {
        csr,
        common_name: "alice".to_owned(),
        dns_names,
        ..Default::default()
    };
    for refusal in [
        certificates.issue_server_certificate(server).await.unwrap_err(),
        certificates.issue_client_certificate(client).await.unwrap_err(),
    ] {
        assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
        assert!(refusal.message().contains(named), "{refusal}");
        assert!(refusal.message().contains("granted: "), "{refusal}");
    }
    ca.admin().issue_server(&["a.example.org"]).await.unwrap();
}

#[rstest]
#[case::no_common_name("", vec![], vec![], 0, "common name")]
#[case::long_common_name(&"a".repeat(65), vec![], vec![], 0, "64")]
#[case::control_character("a\nb", vec![], vec![], 0, "printable")]
#[case::no_dns_name("alice", vec!["a b"], vec![], 0, "a b")]
#[case::no_ip_address("alice", vec![], vec!["10.0.0"], 0, "10.0.0")]
#[case::too_many_names("alice", vec!["a.example.org"; 101], vec![], 0, "at most 100")]
#[case::negative_lifetime("alice", vec![], vec![], -1, "negative")]
#[case::long_lifetime("alice", vec![], vec![], 1_000_000, "at most 86400")]
#[tokio::test]
async fn refuses_a_bad_order(
    #[case] common_name: &str,
    #[case] dns_names: Vec<&str>,
    #[case] ip_addresses: Vec<&str>,
    #[case] ttl: i64,
    #[case] said: &str,
) {
    let ca = Ca::start().await;
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let order = IssueClientCertificateRequest {
        csr: PrivateKey::generate().unwrap().bare_request().unwrap(),
        common_name: common_name.to_owned(),
        dns_names: owned(dns_names),
        ip_addresses: owned(ip_addresses),
        ttl,
    };
    let refusal = ca.admin().certificates().issue_client_certificate(order).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(refusal.message().contains(said), "{refusal}");
}

#[tokio::test]
async fn refuses_a_server_without_a_name() {
    let ca = Ca::start().await;
    let refusal = ca.admin().issue_server(&[]).await.err().unwrap();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(refusal.message().contains("at least one DNS name or IP address"), "{refusal}");
}

/// The curve of a key is its own, whatever the signature's hash suggests.
#[tokio::test]
async fn certifies_a_p384_key_that_signs_with_sha256() {
    let ca = Ca::start().await;
    let csr = requests::stored("ec-p384-sha256");
    let chain = ca.admin().mint_with(csr.clone(), 0).await.unwrap();
    let leaf = secplane_identity::x509::Certificate::parse(&chain[0]).unwrap();
    assert!(csr.windows(leaf.public_key_info.len()).any(|window| window == leaf.public_key_info));
}

#[tokio::test]
async fn refuses_a_message_that_is_too_large() {
    let ca = Ca::start().await;
    let refusal = ca.admin().mint_with(vec![0x30; 5 * 1024 * 1024], 0).await.unwrap_err();
    assert_eq!(refusal.code(), Code::OutOfRange, "{refusal}");
    ca.admin().mint("/workload", 0).await.unwrap();
}

#[rstest]
#[case::p256(&rcgen::PKCS_ECDSA_P256_SHA256)]
#[case::p384(&rcgen::PKCS_ECDSA_P384_SHA384)]
#[case::ed25519(&rcgen::PKCS_ED25519)]
#[case::rsa(&rcgen::PKCS_RSA_SHA256)]
#[tokio::test]
async fn certifies_each_kind_of_key(#[case] algorithm: &'static rcgen::SignatureAlgorithm) {
    let ca = Ca::start().await;
    let csr = requests::with_algorithm(algorithm, WORKLOAD);
    let chain = ca.admin().mint_with(csr, 0).await.unwrap();
    let leaf = secplane_identity::x509::Certificate::parse(&chain[0]).unwrap();
    assert_eq!(leaf.uris, [WORKLOAD]);
}
