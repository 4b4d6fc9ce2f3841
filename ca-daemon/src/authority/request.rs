//! Reading a certificate request (PKCS#10, RFC 2986).
//!
//! A request proves that its sender holds a key, and says which names it would like. Only the key is taken from
//! it; every name in it must be granted by someone else, or the request is refused: a name that is dropped in
//! silence misleads whoever asked for it.

use std::net::IpAddr;

use rcgen::{KeyUsagePurpose, PublicKeyData, SignatureAlgorithm};
use x509_parser::{
    asn1_rs::Header,
    certification_request::X509CertificationRequest,
    cri_attributes::ParsedCriAttribute,
    extensions::{GeneralName, ParsedExtension, X509Extension},
    oid_registry::{OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA},
    prelude::FromDer,
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

use secplane_identity::TrustDomain;

use super::{leaf::Subject, names::DnsName};

/// The largest request that is read, in bytes.
pub(super) const MAX_REQUEST_BYTES: usize = 16 * 1024;
const SMALLEST_RSA_BITS: usize = 2048;
const LARGEST_RSA_BITS: usize = 4096;

/// A certificate request whose sender has shown that it holds the private key.
#[derive(Debug)]
pub struct CertificateRequest {
    key: RequestedKey,
    names: RequestedNames,
}

/// The names that a request asks for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RequestedNames {
    /// URI names, in order.
    pub uris: Vec<String>,
    /// DNS names as they stand.
    pub dns_names: Vec<String>,
    /// IP addresses.
    pub ip_addresses: Vec<IpAddr>,
}

impl CertificateRequest {
    /// Reads a DER request and verifies its signature with its own key.
    ///
    /// # Errors
    /// When it is not a request, its signature is wrong, its key is of a kind that is not certified here, or it
    /// asks to become a CA.
    pub fn parse(der: &[u8]) -> Result<Self, RequestError> {
        let (request, wants_ca) = Self::read(der)?;
        if wants_ca { Err(RequestError::WantsCa) } else { Ok(request) }
    }

    /// As [`CertificateRequest::parse`], of a key that is to become a CA's; the request may say so. The only name
    /// that such a CA has is that of its trust domain, so another one is refused.
    ///
    /// # Errors
    /// As [`CertificateRequest::parse`]; or names the first name that a CA of `trust_domain` does not have.
    pub fn parse_for_ca(der: &[u8], trust_domain: &TrustDomain) -> Result<Self, RequestError> {
        let (request, _) = Self::read(der)?;
        let RequestedNames { uris, dns_names, ip_addresses } = &request.names;
        let own = trust_domain.id();
        let other = uris.iter().filter(|uri| **uri != own).map(|uri| format!("URI:{uri}"));
        let other = other.chain(dns_names.iter().map(|name| format!("DNS:{name}")));
        match other.chain(ip_addresses.iter().map(|address| format!("IP:{address}"))).next() {
            Some(name) => Err(RequestError::NotGranted { name, granted: format!("URI:{own}") }),
            None => Ok(request),
        }
    }

    /// Reads a request, and whether it asks to become a CA.
    fn read(der: &[u8]) -> Result<(Self, bool), RequestError> {
        if der.is_empty() {
            return Err(RequestError::Empty);
        }
        if der.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLarge(der.len()));
        }
        let (rest, request) = X509CertificationRequest::from_der(der)
            .map_err(|error| RequestError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(RequestError::Malformed(format!("{} bytes follow it", rest.len())));
        }
        let key = RequestedKey::read(&request.certification_request_info.subject_pki)?;
        let algorithm = &request.signature_algorithm.algorithm;
        if *algorithm == OID_PKCS1_SHA1WITHRSA || *algorithm == OID_SHA1_WITH_RSA {
            return Err(RequestError::WeakSignature);
        }
        request.verify_signature().map_err(|_| RequestError::Signature)?;

        let mut names = RequestedNames::default();
        let mut wants_ca = false;
        for extension in wanted_extensions(&request)? {
            let extension = extension.parsed_extension();
            wants_ca |= is_of_a_ca(extension);
            read_names(extension, &mut names)?;
        }
        Ok((Self { key, names }, wants_ca))
    }

    /// The public key.
    #[must_use]
    pub fn key(&self) -> &RequestedKey {
        &self.key
    }

    /// The names that it asks for.
    #[must_use]
    pub fn names(&self) -> &RequestedNames {
        &self.names
    }

    /// Refuses the request if it asks for a name that `granted` does not hold.
    ///
    /// # Errors
    /// Names the first name that was not granted.
    pub fn check_names(&self, granted: &Subject) -> Result<(), RequestError> {
        let refuse = |name: String| Err(RequestError::NotGranted { name, granted: granted.describe() });
        for uri in &self.names.uris {
            if granted.spiffe_id().map(|id| id.as_str()) != Some(uri) {
                return refuse(format!("URI:{uri}"));
            }
        }
        for name in &self.names.dns_names {
            let known = DnsName::parse(name).is_ok_and(|name| granted.dns_names().contains(&name));
            if !known {
                return refuse(format!("DNS:{name}"));
            }
        }
        for address in &self.names.ip_addresses {
            if !granted.ip_addresses().contains(address) {
                return refuse(format!("IP:{address}"));
            }
        }
        Ok(())
    }
}

/// The extensions that a request asks for: one list of them, or none (RFC 2985, section 5.4.2).
///
/// The parser looks at the first list alone, so a name in another one would be dropped in silence.
fn wanted_extensions<'a>(
    request: &'a X509CertificationRequest<'a>,
) -> Result<&'a [X509Extension<'a>], RequestError> {
    let attributes = request.certification_request_info.iter_attributes();
    let mut lists = attributes.filter_map(|attribute| match attribute.parsed_attribute() {
        ParsedCriAttribute::ExtensionRequest(wanted) => Some((attribute.value, wanted)),
        _ => None,
    });
    match (lists.next(), lists.next()) {
        (None, _) => Ok(&[]),
        (Some((values, wanted)), None) if is_whole_element(values) => Ok(&wanted.extensions),
        _ => Err(RequestError::Malformed("it has more than one list of wanted extensions".into())),
    }
}

/// Whether the bytes are all of the element that they begin with: the parser stops after an attribute's first value.
fn is_whole_element(der: &[u8]) -> bool {
    Header::from_der(der).is_ok_and(|(content, header)| header.length().definite() == Ok(content.len()))
}

/// Whether an extension is one of a CA certificate.
fn is_of_a_ca(extension: &ParsedExtension<'_>) -> bool {
    match extension {
        ParsedExtension::BasicConstraints(constraints) => constraints.ca,
        ParsedExtension::KeyUsage(usage) => usage.key_cert_sign() || usage.crl_sign(),
        _ => false,
    }
}

fn read_names(extension: &ParsedExtension<'_>, names: &mut RequestedNames) -> Result<(), RequestError> {
    match extension {
        ParsedExtension::SubjectAlternativeName(wanted) => {
            for name in &wanted.general_names {
                match name {
                    GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                    GeneralName::DNSName(dns) => names.dns_names.push((*dns).to_owned()),
                    GeneralName::IPAddress(bytes) => names.ip_addresses.push(ip_address(bytes)?),
                    other => return Err(RequestError::NameKind(other.to_string())),
                }
            }
            Ok(())
        }
        ParsedExtension::ParseError { error } => Err(RequestError::Malformed(error.to_string())),
        // Usages and identifiers are the issuer's to set; that a request carries its own is common and harmless.
        _ => Ok(()),
    }
}

fn ip_address(bytes: &[u8]) -> Result<IpAddr, RequestError> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .map_err(|_| RequestError::Malformed("an IP address has neither 4 nor 16 bytes".into()))
}

/// The public key of a request, of a kind that is certified here.
#[derive(Debug, Clone)]
pub struct RequestedKey {
    algorithm: &'static SignatureAlgorithm,
    /// The bits of `subjectPublicKey`.
    bits: Vec<u8>,
}

impl RequestedKey {
    /// The SHA-256 of the `SubjectPublicKeyInfo`: what a key is known by when it is revoked.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        let info = rcgen::PublicKeyData::subject_public_key_info(self);
        hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &info).as_ref());
        hash
    }

    pub(super) fn read(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, RequestError> {
        let unsupported = || RequestError::KeyKind(info.algorithm.algorithm.to_id_string());
        let algorithm = match info.parsed().map_err(|_| unsupported())? {
            PublicKey::RSA(key) => match key.key_size() {
                SMALLEST_RSA_BITS..=LARGEST_RSA_BITS => &rcgen::PKCS_RSA_SHA256,
                bits => return Err(RequestError::RsaSize(bits)),
            },
            PublicKey::EC(_) => {
                let curve = info.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
                match curve.map(|oid| oid.to_id_string()).as_deref() {
                    Some("1.2.840.10045.3.1.7") => &rcgen::PKCS_ECDSA_P256_SHA256,
                    Some("1.3.132.0.34") => &rcgen::PKCS_ECDSA_P384_SHA384,
                    other => return Err(RequestError::Curve(other.unwrap_or("none").to_owned())),
                }
            }
            _ if info.algorithm.algorithm.to_id_string() == "1.3.101.112" => &rcgen::PKCS_ED25519,
            _ => return Err(unsupported()),
        };
        Ok(Self { algorithm, bits: info.subject_public_key.data.to_vec() })
    }

    /// Takes a key that is in our hands.
    pub(super) fn of(key: &impl PublicKeyData) -> Self {
        Self { algorithm: key.algorithm(), bits: key.der_bytes().to_vec() }
    }

    /// What the key can do in a key exchange beside signing: RSA can encipher (RFC 3279, section 2.3.1), EC can agree
    /// and not encipher (RFC 8813, section 3), Ed25519 can do neither (RFC 9295, section 3).
    pub(super) fn exchange_usage(&self) -> Option<KeyUsagePurpose> {
        if *self.algorithm == rcgen::PKCS_ED25519 {
            None
        } else if *self.algorithm == rcgen::PKCS_RSA_SHA256 {
            Some(KeyUsagePurpose::KeyEncipherment)
        } else {
            Some(KeyUsagePurpose::KeyAgreement)
        }
    }

    /// The key identifier: SHA-1 of the key's bits (RFC 5280, section 4.2.1.2, method 1). It names the key and
    /// protects nothing.
    pub(super) fn identifier(&self) -> Vec<u8> {
        use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
        digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.bits).as_ref().to_vec()
    }
}

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// The identifier of a key in our hands (RFC 5280, section 4.2.1.2, method 1).
pub(crate) fn key_identifier(key: &impl PublicKeyData) -> Vec<u8> {
    RequestedKey::of(key).identifier()
}

/// Why a certificate request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No bytes.
    #[error("the certificate request is missing; send a DER PKCS#10 request")]
    Empty,
    /// Larger than [`MAX_REQUEST_BYTES`].
    #[error("the certificate request has {0} bytes; at most {MAX_REQUEST_BYTES} are read")]
    TooLarge(usize),
    /// Not a request.
    #[error("the certificate request is not DER PKCS#10 (RFC 2986): {0}")]
    Malformed(String),
    /// Signed by another key, or with an algorithm that does not fit the key.
    #[error(
        "the certificate request is not signed by its own key; sign it with the private key of the public key in it"
    )]
    Signature,
    /// SHA-1.
    #[error("the certificate request is signed with SHA-1; use SHA-256 or better")]
    WeakSignature,
    /// An unknown kind of key.
    #[error("a key of kind {0} is not certified here; use EC P-256, EC P-384, Ed25519 or RSA 2048 to 4096")]
    KeyKind(String),
    /// An unknown curve.
    #[error("an EC key on curve {0} is not certified here; use P-256 or P-384")]
    Curve(String),
    /// An RSA key that is too small or too large.
    #[error("an RSA key of {0} bits is not certified here; use 2048 to 4096 bits, or EC P-256")]
    RsaSize(usize),
    /// It asks for a CA certificate.
    #[error(
        "the certificate request asks for a CA certificate, which is not issued here; leave out cA, keyCertSign and cRLSign"
    )]
    WantsCa,
    /// A name that is neither URI, DNS nor IP.
    #[error("the certificate request asks for the name {0}; only URI, DNS and IP names can be granted")]
    NameKind(String),
    /// A name that nobody granted.
    #[error(
        "the certificate request asks for {name}, which was not granted (granted: {granted}); remove it from the request or have it granted"
    )]
    NotGranted {
        /// The name.
        name: String,
        /// What was granted.
        granted: String,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType};
    use rstest::rstest;
    use secplane_identity::SpiffeId;

    use super::*;

    fn request(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        signed_by(&KeyPair::generate().unwrap(), change)
    }

    fn signed_by(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        change(&mut params);
        params.serialize_request(key).unwrap().der().to_vec()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    fn workload() -> Subject {
        Subject::X509Svid {
            id: SpiffeId::parse("spiffe://example.org/a").unwrap(),
            dns_names: vec![DnsName::parse("a.example.org").unwrap()],
        }
    }

    #[test]
    fn reads_the_names_that_are_asked_for() {
        let der = request(|params| {
            params.subject_alt_names = vec![
                uri("spiffe://example.org/a"),
                dns("A.example.org"),
                SanType::IpAddress("10.0.0.1".parse().unwrap()),
            ];
        });
        let read = CertificateRequest::parse(&der).unwrap();
        assert_eq!(read.names().uris, ["spiffe://example.org/a"]);
        assert_eq!(read.names().dns_names, ["A.example.org"]);
        assert_eq!(read.names().ip_addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[rstest]
    #[case(vec![], None)]
    #[case(vec![uri("spiffe://example.org/a")], None)]
    #[case(vec![uri("spiffe://example.org/a"), dns("a.example.org")], None)]
    #[case(vec![dns("A.EXAMPLE.org")], None)]
    #[case(vec![uri("spiffe://example.org/b")], Some("URI:spiffe://example.org/b"))]
    #[case(vec![uri("spiffe://example.org/a"), uri("spiffe://example.org/admin")], Some("URI:spiffe://example.org/admin"))]
    #[case(vec![dns("b.example.org")], Some("DNS:b.example.org"))]
    #[case(vec![dns("*.example.org")], Some("DNS:*.example.org"))]
    #[case(vec![SanType::IpAddress([10, 0, 0, 1].into())], Some("IP:10.0.0.1"))]
    fn refuses_any_name_that_was_not_granted(#[case] names: Vec<SanType>, #[case] refused: Option<&str>) {
        let der = request(|params| params.subject_alt_names = names);
        let result = CertificateRequest::parse(&der).unwrap().check_names(&workload());
        match (result, refused) {
            (Ok(()), None) => {}
            (Err(RequestError::NotGranted { name, .. }), Some(expected)) => assert_eq!(name, expected),
            (result, _) => panic!("{result:?}"),
        }
    }

    #[test]
    fn refuses_to_make_a_ca() {
        for change in [
            (|params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
                as fn(&mut CertificateParams),
            |params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign],
            |params| params.key_usages = vec![KeyUsagePurpose::CrlSign],
        ] {
            assert_eq!(CertificateRequest::parse(&request(change)).unwrap_err(), RequestError::WantsCa);
            CertificateRequest::parse_for_ca(&request(change), &crate::authority::testing::trust_domain())
                .unwrap();
        }
    }

    #[test]
    fn refuses_names_that_nobody_can_grant() {
        let der = request(|params| {
            params.subject_alt_names = vec![SanType::Rfc822Name("a@example.org".try_into().unwrap())];
        });
        assert!(matches!(CertificateRequest::parse(&der), Err(RequestError::NameKind(_))));
    }

    #[test]
    fn refuses_another_key_s_signature() {
        let der = request(|_| {});
        let last = der.len() - 1;
        let mut changed = der.clone();
        changed[last] ^= 1;
        assert!(matches!(
            CertificateRequest::parse(&changed),
            Err(RequestError::Signature | RequestError::Malformed(_))
        ));
        // The key of one request under the signature of another.
        let other = request(|_| {});
        let spliced = [&der[..der.len() - 70], &other[other.len() - 70..]].concat();
        assert!(CertificateRequest::parse(&spliced).is_err());
    }

    #[rstest]
    #[case(&rcgen::PKCS_ECDSA_P256_SHA256)]
    #[case(&rcgen::PKCS_ECDSA_P384_SHA384)]
    #[case(&rcgen::PKCS_ED25519)]
    #[case(&rcgen::PKCS_RSA_SHA256)]
    fn accepts_each_kind_of_key(#[case] algorithm: &'static SignatureAlgorithm) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let read = CertificateRequest::parse(&signed_by(&key, |_| {})).unwrap();
        assert_eq!(read.key().der_bytes(), key.public_key_raw());
        assert_eq!(read.key().algorithm(), algorithm);
    }

    #[test]
    fn refuses_a_curve_that_is_not_certified() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
        let refused = CertificateRequest::parse(&signed_by(&key, |_| {}));
        assert!(matches!(refused, Err(RequestError::Curve(_))), "{refused:?}");
    }

    #[test]
    fn refuses_what_is_no_request() {
        let der = request(|_| {});
        assert_eq!(CertificateRequest::parse(b"").unwrap_err(), RequestError::Empty);
        assert!(matches!(CertificateRequest::parse(&der[..40]), Err(RequestError::Malformed(_))));
        assert!(matches!(
            CertificateRequest::parse(&[&der[..], b"x"].concat()),
            Err(RequestError::Malformed(_))
        ));
        assert!(matches!(
            CertificateRequest::parse(&vec![0x30; MAX_REQUEST_BYTES + 1]),
            Err(RequestError::TooLarge(_))
        ));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = CertificateRequest::parse(&bytes);
        }

        // What follows the signed part says how it is signed, and the parser reads some of it leniently; nothing is
        // taken from there.
        #[test]
        fn never_accepts_a_changed_request(position in any::<prop::sample::Index>(), change in 1_u8..) {
            let mut der = request(|params| params.subject_alt_names = vec![uri("spiffe://example.org/a")]).to_vec();
            let (_, whole) = X509CertificationRequest::from_der(&der).unwrap();
            let signed_length = whole.certification_request_info.raw.len();
            let (content, _) = Header::from_der(&der).unwrap();
            let signed_from = der.len() - content.len();
            der[signed_from + position.index(signed_length)] ^= change;
            prop_assert!(CertificateRequest::parse(&der).is_err());
        }
    }
}
