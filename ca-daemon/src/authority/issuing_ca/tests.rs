use rstest::rstest;
use secplane_identity::KeyKind;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use super::*;
use crate::authority::testing::{DAY, authority, ca_key, lifetimes, now, root, svid};

fn request_of(kind: KeyKind) -> CertificateRequest {
    let key = PrivateKey::generate_kind(kind).unwrap();
    CertificateRequest::parse(&key.bare_request().unwrap()).unwrap()
}

fn sign(issuing: &IssuingCa, subject: Subject) -> (Certificate, SignedCertificate) {
    sign_for(issuing, KeyKind::EcP256, subject)
}

fn sign_for(issuing: &IssuingCa, kind: KeyKind, subject: Subject) -> (Certificate, SignedCertificate) {
    let signed = issuing.sign(&request_of(kind), subject, None, &lifetimes(), now()).unwrap();
    (Certificate::parse(&signed.chain[0]).unwrap(), signed)
}

/// The OIDs of the extensions that are critical, and of those that are not.
fn extensions(der: &[u8]) -> (Vec<String>, Vec<String>) {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let (critical, other): (Vec<_>, Vec<_>) =
        certificate.extensions().iter().partition(|extension| extension.critical);
    let oids = |list: Vec<&x509_parser::extensions::X509Extension<'_>>| {
        let mut oids: Vec<_> = list.iter().map(|extension| extension.oid.to_id_string()).collect();
        oids.sort();
        oids
    };
    (oids(critical), oids(other))
}

/// The bits of the key usage extension, the first bit being digitalSignature.
fn key_usage(der: &[u8]) -> u16 {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let usage = certificate.key_usage().unwrap().unwrap();
    usage.value.flags
}

const SUBJECT_KEY_ID: &str = "2.5.29.14";
const KEY_USAGE: &str = "2.5.29.15";
const ALTERNATIVE_NAME: &str = "2.5.29.17";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const CRL_POINTS: &str = "2.5.29.31";
const AUTHORITY_KEY_ID: &str = "2.5.29.35";
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";

const DIGITAL_SIGNATURE: u16 = 1;
const KEY_ENCIPHERMENT: u16 = 1 << 2;
const KEY_AGREEMENT: u16 = 1 << 4;

#[test]
fn chains_issuing_ca_to_root_under_subjects_of_their_own() {
    let (root, issuing) = authority(KeyKind::EcP256);
    assert_eq!(issuing.certificate().authority_key_id.as_deref(), Some(root.key_id()));
    assert_ne!(issuing.certificate().subject, root.certificate().subject);
    assert_eq!(issuing.validity().not_after, now() + DAY);
}

#[test]
fn signs_an_svid_as_the_standard_wants_it() {
    let (_, issuing) = authority(KeyKind::EcP256);
    let (leaf, signed) = sign(&issuing, svid());
    assert_eq!(leaf.uris, ["spiffe://example.org/a"]);
    assert_eq!(leaf.dns_names, ["a.example.org"]);
    assert_eq!(leaf.common_name.as_deref(), Some("a.example.org"));
    assert!(!leaf.is_ca && leaf.server_auth && leaf.client_auth);
    let usage = leaf.key_usage.unwrap();
    assert!(usage.digital_signature && !usage.key_cert_sign && !usage.crl_sign);
    assert_eq!(leaf.authority_key_id.as_deref(), Some(issuing.key_id()));
    assert_eq!(leaf.not_before, now() - Duration::from_secs(10));
    assert_eq!(leaf.serial, signed.serial);
    assert_eq!(signed.chain.len(), 2, "leaf and issuing CA, never the root");
    assert_eq!(signed.chain[1], issuing.certificate().der);
}

#[test]
fn marks_as_critical_what_must_be() {
    let (root, issuing) = authority(KeyKind::EcP256);
    let (_, signed) = sign(&issuing, svid());
    let (critical, other) = extensions(&signed.chain[0]);
    assert_eq!(critical, [KEY_USAGE, BASIC_CONSTRAINTS]);
    assert_eq!(other, [SUBJECT_KEY_ID, ALTERNATIVE_NAME, AUTHORITY_KEY_ID, EXTENDED_KEY_USAGE]);

    // Without a DNS name there is no common name, but still a subject: the alternative name need not be critical.
    let id = SpiffeId::parse("spiffe://example.org/a").unwrap();
    let (leaf, _) = sign(&issuing, Subject::X509Svid { id, dns_names: vec![] });
    assert_eq!(leaf.subject, "C=US, O=SPIRE");
    // A server certificate for an address alone has no subject, so its names are critical (RFC 5280, 4.2.1.6).
    let server = Subject::Server { dns_names: vec![], ip_addresses: vec!["10.0.0.1".parse().unwrap()] };
    let (leaf, signed) = sign(&issuing, server);
    assert_eq!(leaf.subject, "");
    assert_eq!(extensions(&signed.chain[0]).0, [KEY_USAGE, ALTERNATIVE_NAME, BASIC_CONSTRAINTS]);

    assert_eq!(extensions(&issuing.certificate().der).0, [KEY_USAGE, BASIC_CONSTRAINTS]);
    assert_eq!(extensions(&root.certificate().der).0, [KEY_USAGE, BASIC_CONSTRAINTS]);
    assert!(extensions(&issuing.certificate().der).1.contains(&AUTHORITY_KEY_ID.to_owned()));
}

#[rstest]
fn signs_for_each_kind_of_key_with_each(
    #[values(KeyKind::EcP256, KeyKind::EcP384, KeyKind::Ed25519, KeyKind::Rsa2048)] ca: KeyKind,
    #[values(KeyKind::EcP256, KeyKind::EcP384, KeyKind::Ed25519, KeyKind::Rsa2048)] leaf: KeyKind,
) {
    let (_, issuing) = authority(ca);
    let (_, signed) = sign_for(&issuing, leaf, svid());
    // Each key has the usages that its algorithm can serve (RFC 3279, RFC 8813, RFC 9295).
    let expected = match leaf {
        KeyKind::EcP256 | KeyKind::EcP384 => DIGITAL_SIGNATURE | KEY_AGREEMENT,
        KeyKind::Ed25519 => DIGITAL_SIGNATURE,
        _ => DIGITAL_SIGNATURE | KEY_ENCIPHERMENT,
    };
    assert_eq!(key_usage(&signed.chain[0]), expected);
}

#[test]
fn signs_server_and_client_certificates_for_one_use_each() {
    let (_, issuing) = authority(KeyKind::EcP256);
    let (server, signed) = sign(
        &issuing,
        Subject::Server { dns_names: vec![], ip_addresses: vec!["10.0.0.1".parse().unwrap()] },
    );
    assert!(server.server_auth && !server.client_auth && server.uris.is_empty());
    assert_eq!(server.ip_addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(key_usage(&signed.chain[0]), DIGITAL_SIGNATURE);
    let client = Subject::Client { common_name: "alice".into(), dns_names: vec![], ip_addresses: vec![] };
    let (client, _) = sign(&issuing, client);
    assert!(client.client_auth && !client.server_auth && client.uris.is_empty());
    assert_eq!(client.common_name.as_deref(), Some("alice"));
}

#[test]
fn names_where_its_crl_is_found_when_it_is_told() {
    let (_, issuing) = authority(KeyKind::EcP256);
    let issuing = issuing.with_crl_url(Some("http://ca.example.org/crl/1.crl".into()));
    let (_, signed) = sign(&issuing, svid());
    let (_, leaf) = X509Certificate::from_der(&signed.chain[0]).unwrap();
    let points = leaf.extensions().iter().find(|e| e.oid.to_id_string() == CRL_POINTS).unwrap();
    let ParsedExtension::CRLDistributionPoints(points) = points.parsed_extension() else {
        panic!("{points:?}")
    };
    assert!(format!("{points:?}").contains("http://ca.example.org/crl/1.crl"), "{points:?}");
}

#[test]
fn never_lets_a_leaf_outlive_its_issuer() {
    let (_, issuing) = authority(KeyKind::EcP256);
    let request = request_of(KeyKind::EcP256);
    let late = now() + DAY - Duration::from_secs(60);
    let signed = issuing.sign(&request, svid(), None, &lifetimes(), late).unwrap();
    assert_eq!(signed.not_after(), issuing.validity().not_after);
    let too_late = now() + DAY;
    let refused = issuing.sign(&request, svid(), None, &lifetimes(), too_late);
    assert!(matches!(refused, Err(SignError::IssuerExpired)));
}

#[test]
fn refuses_a_lifetime_beyond_the_longest_but_of_an_svid() {
    let (_, issuing) = authority(KeyKind::EcP256);
    let client = Subject::Client { common_name: "alice".into(), dns_names: vec![], ip_addresses: vec![] };
    let server = Subject::Server { dns_names: vec![], ip_addresses: vec!["10.0.0.1".parse().unwrap()] };
    for subject in [client, server] {
        let refused = issuing.sign(&request_of(KeyKind::EcP256), subject, Some(DAY * 2), &lifetimes(), now());
        assert!(matches!(refused, Err(SignError::TooLong { .. })));
    }
}

#[test]
fn cuts_an_svid_and_a_default_down_to_the_longest() {
    let (_, issuing) = authority(KeyKind::EcP256);
    let minute = Duration::from_secs(60);
    let lifetimes = Lifetimes { longest: minute, ..lifetimes() };
    for wanted in [None, Some(minute * 2)] {
        let signed = issuing.sign(&request_of(KeyKind::EcP256), svid(), wanted, &lifetimes, now()).unwrap();
        assert_eq!(signed.not_after(), now() + minute);
    }
}

#[test]
fn is_not_restored_below_a_ca_that_did_not_sign_it() {
    let key = PrivateKey::generate().unwrap();
    let root_ca = root(KeyKind::EcP256);
    let issuing = root_ca.issue_ca(&key, DAY, now()).unwrap();
    let der = issuing.certificate().der.clone();
    let key = CaKey::try_from(&key).unwrap();
    assert!(IssuingCa::restore(&der, key.clone(), &root_ca, now()).is_ok());
    let refused = IssuingCa::restore(&der, key.clone(), &root(KeyKind::EcP256), now());
    assert!(matches!(refused, Err(CaError::Throwaway(_))));
    let refused = IssuingCa::restore(&der, key, &root_ca, now() + DAY);
    assert!(matches!(refused, Err(CaError::Throwaway(_))), "it has expired");
    let refused = IssuingCa::restore(&der, ca_key(KeyKind::EcP256), &root_ca, now());
    assert!(matches!(refused, Err(CaError::ForeignKey { .. })));
}

#[test]
fn gives_no_serial_twice() {
    let (_, issuing) = authority(KeyKind::EcP256);
    let mut serials: Vec<_> = (0..50).map(|_| sign(&issuing, svid()).1.serial).collect();
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 50);
    assert!(serials.iter().all(|serial| serial.len() > 20), "128 random bits");
}
