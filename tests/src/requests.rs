//! Certificate requests (PKCS#10), good and bad.

use std::path::Path;

use rcgen::{Attribute, CertificateParams, DistinguishedName, KeyPair, SanType};
use secplane_identity::PrivateKey;

/// A request for a key that names URIs.
///
/// # Panics
/// When a URI is not ASCII.
#[must_use]
pub fn naming(key: &PrivateKey, uris: &[&str]) -> Vec<u8> {
    let names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    with(key, |params| params.subject_alt_names = names)
}

/// A request for a key that names a URI and a DNS name.
///
/// # Panics
/// When a name is not ASCII.
#[must_use]
pub fn naming_a_server(key: &PrivateKey, uri: &str, dns_name: &str) -> Vec<u8> {
    let names = vec![SanType::URI(uri.try_into().unwrap()), SanType::DnsName(dns_name.try_into().unwrap())];
    with(key, |params| params.subject_alt_names = names)
}

/// A request for a new key with whatever `fill` puts into it.
///
/// # Panics
/// When it cannot be encoded.
#[must_use]
pub fn filled(fill: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    with(&PrivateKey::generate().unwrap(), fill)
}

/// A request for a new key on another curve, that names a URI.
///
/// # Panics
/// When it cannot be encoded.
#[must_use]
pub fn with_algorithm(algorithm: &'static rcgen::SignatureAlgorithm, uri: &str) -> Vec<u8> {
    let mut params = empty();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    let key = KeyPair::generate_for(algorithm).unwrap();
    params.serialize_request(&key).unwrap().der().to_vec()
}

/// A request that names `uri` where everybody looks, and a DNS name in a second list of wanted extensions behind it.
///
/// # Panics
/// When it cannot be encoded.
#[must_use]
pub fn with_second_extension_list(uri: &str, hidden_dns_name: &str) -> Vec<u8> {
    /// pkcs-9-at-extensionRequest (RFC 2985, section 5.4.2).
    const EXTENSION_REQUEST: &[u64] = &[1, 2, 840, 113_549, 1, 9, 14];
    /// id-ce-subjectAltName (RFC 5280, section 4.2.1.6), as an element.
    const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x06, 3, 0x55, 0x1d, 0x11];
    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    const OCTET_STRING: u8 = 0x04;
    const DNS_NAME: u8 = 0x82;
    let names = element(SEQUENCE, &element(DNS_NAME, hidden_dns_name.as_bytes()));
    let extension = [SUBJECT_ALTERNATIVE_NAME, &element(OCTET_STRING, &names)].concat();
    let values = element(SET, &element(SEQUENCE, &element(SEQUENCE, &extension)));

    let mut params = empty();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    let key = PrivateKey::generate().unwrap().signing_pair().unwrap();
    let second = Attribute { oid: EXTENSION_REQUEST, values };
    params.serialize_request_with_attributes(&key, vec![second]).unwrap().der().to_vec()
}

/// A DER element of less than 128 bytes.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 128).unwrap();
    [&[tag, length], content].concat()
}

/// A request that only another program makes, from `certificate-requests/`. Each names
/// `spiffe://example.org/workload`.
///
/// # Panics
/// When there is no such file.
#[must_use]
pub fn stored(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("certificate-requests");
    let text = std::fs::read_to_string(folder.join(name).with_extension("pem")).unwrap();
    pem::parse(text).unwrap().into_contents()
}

fn with(key: &PrivateKey, fill: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = empty();
    fill(&mut params);
    params.serialize_request(&key.signing_pair().unwrap()).unwrap().der().to_vec()
}

/// Without the common name that rcgen puts in by itself.
fn empty() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
}
