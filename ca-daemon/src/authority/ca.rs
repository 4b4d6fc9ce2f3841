//! The CA certificates: the root and the issuing CAs below it.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use secplane_identity::{
    Fingerprint, PrivateKey, TrustBundle, TrustDomain,
    private_key::PrivateKeyError,
    trust_bundle::TrustBundleError,
    x509::{Certificate, CertificateError, Purpose, SvidError, verify_chain, verify_x509_svid},
};

use super::{
    leaf::{CertificateKind, SignError, SignedCertificate, Subject, rcgen_printable},
    request::{CertificateRequest, RequestedKey},
    validity::{Lifetimes, Validity},
};

/// A CA certificate with its private key, ready to sign.
struct SigningCa {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl SigningCa {
    /// Joins a certificate and its key, however they were kept.
    fn restore(trust_domain: &TrustDomain, der: &[u8], key: &PrivateKey) -> Result<Self, CaError> {
        let certificate = Certificate::parse(der)?;
        let pair = key.signing_pair()?;
        if rcgen::PublicKeyData::subject_public_key_info(&pair) != certificate.public_key_info {
            return Err(CaError::ForeignKey { serial: certificate.serial });
        }
        if !certificate.is_ca || certificate.uris != [trust_domain.id()] {
            return Err(CaError::NotACaOf { serial: certificate.serial, trust_domain: trust_domain.clone() });
        }
        let serial = u128::from_str_radix(&certificate.serial, 16).map_err(|_| CaError::NotACaOf {
            serial: certificate.serial.clone(),
            trust_domain: trust_domain.clone(),
        })?;
        let validity = Validity { not_before: certificate.not_before, not_after: certificate.not_after };
        let params = ca_params(trust_domain, &pair, serial, validity)?;
        Ok(Self { certificate, issuer: Issuer::new(params, pair) })
    }

    fn key_id(&self) -> &str {
        // Proof: `restore` and the two makers go through `ca_params`, which always sets the identifier.
        self.certificate.subject_key_id.as_deref().unwrap_or_default()
    }

    fn validity(&self) -> Validity {
        Validity { not_before: self.certificate.not_before, not_after: self.certificate.not_after }
    }
}

/// A CA certificate says the trust domain in its URI name (X509-SVID, section 4.2) and has a subject of its own:
/// path building stumbles over several CAs of one subject.
fn ca_params(
    trust_domain: &TrustDomain,
    pair: &KeyPair,
    serial: u128,
    validity: Validity,
) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = validity.bounds();
    params.serial_number = Some(SerialNumber::from_slice(&serial.to_be_bytes()));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, rcgen_printable("US"));
    params.distinguished_name.push(DnType::OrganizationName, "SPIFFE");
    let serial_number_attribute = DnType::CustomDnType(SERIAL_NUMBER_ATTRIBUTE.to_vec());
    params.distinguished_name.push(serial_number_attribute, rcgen_printable(&serial.to_string()));
    params.subject_alt_names = vec![SanType::URI(trust_domain.id().try_into().map_err(CaError::Encode)?)];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.key_identifier_method = KeyIdMethod::PreSpecified(RequestedKey::of(pair).identifier());
    Ok(params)
}

/// id-at-serialNumber (X.520).
const SERIAL_NUMBER_ATTRIBUTE: &[u64] = &[2, 5, 4, 5];

/// The root of a trust domain: what trust bundles hold.
pub struct Root(SigningCa);

impl Root {
    /// Makes a new self-signed root.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn create(
        trust_domain: &TrustDomain,
        key: &PrivateKey,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Self, CaError> {
        let pair = key.signing_pair()?;
        let validity = Validity::starting(now, lifetime, None);
        let params = ca_params(trust_domain, &pair, random_serial()?, validity)?;
        let der = params.self_signed(&pair).map_err(CaError::Encode)?.der().clone();
        Self::restore(trust_domain, &der, key)
    }

    /// Joins a root's certificate and key.
    ///
    /// # Errors
    /// When they do not belong together or are not a root of `trust_domain`.
    pub fn restore(trust_domain: &TrustDomain, der: &[u8], key: &PrivateKey) -> Result<Self, CaError> {
        SigningCa::restore(trust_domain, der, key).map(Self)
    }

    /// Signs a new issuing CA for `key`, and checks it by issuing a throw-away SVID.
    ///
    /// # Errors
    /// When the root has expired, or the result does not verify.
    pub fn issue_ca(
        &self,
        trust_domain: &TrustDomain,
        key: &PrivateKey,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<IssuingCa, CaError> {
        let pair = key.signing_pair()?;
        if now >= self.0.certificate.not_after {
            return Err(CaError::RootExpired);
        }
        let validity = Validity::starting(now, lifetime, Some(self.0.certificate.not_after));
        let mut params = ca_params(trust_domain, &pair, random_serial()?, validity)?;
        params.use_authority_key_identifier_extension = true;
        let der = params.signed_by(&pair, &self.0.issuer).map_err(CaError::Encode)?.der().clone();
        let issuing = IssuingCa::restore(trust_domain, &der, key, self)?;
        issuing.check_with_a_throwaway(trust_domain, now)?;
        Ok(issuing)
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.0.certificate
    }

    /// Its SHA-256.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0.certificate.der)
    }

    /// Lower-case hex of the subject key identifier.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.0.key_id()
    }
}

/// A CA that signs leaves. It lives a day or so and is never in a trust bundle.
pub struct IssuingCa {
    ca: SigningCa,
    /// The bundle with the root alone, against which every leaf is checked before it leaves.
    bundle: TrustBundle,
}

impl IssuingCa {
    /// Joins an issuing CA's certificate and key, below the root that signed it.
    ///
    /// # Errors
    /// When they do not belong together.
    pub fn restore(
        trust_domain: &TrustDomain,
        der: &[u8],
        key: &PrivateKey,
        root: &Root,
    ) -> Result<Self, CaError> {
        let ca = SigningCa::restore(trust_domain, der, key)?;
        let bundle = TrustBundle::new(trust_domain.clone(), [&root.0.certificate.der])?;
        Ok(Self { ca, bundle })
    }

    /// Signs a leaf for the key of a request whose names have been granted.
    ///
    /// A `lifetime` of `None` is the default of the kind. The end is never after the issuing CA's.
    ///
    /// # Errors
    /// When the lifetime is too long, the issuing CA has expired, or the result does not verify.
    pub fn sign(
        &self,
        request: &CertificateRequest,
        subject: Subject,
        lifetime: Option<Duration>,
        lifetimes: &Lifetimes,
        now: SystemTime,
    ) -> Result<SignedCertificate, SignError> {
        let lifetime = lifetime.unwrap_or_else(|| subject.lifetime(lifetimes));
        if lifetime > lifetimes.longest {
            return Err(SignError::TooLong {
                wanted: lifetime.as_secs(),
                longest: lifetimes.longest.as_secs(),
            });
        }
        self.sign_key(request.key(), subject, lifetime, now)
    }

    fn sign_key(
        &self,
        key: &RequestedKey,
        subject: Subject,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<SignedCertificate, SignError> {
        let issuer = &self.ca.certificate;
        if now >= issuer.not_after {
            return Err(SignError::IssuerExpired);
        }
        let serial = random_serial().map_err(|_| SignError::Randomness)?;
        let validity = Validity::starting(now, lifetime, Some(issuer.not_after));
        let params = subject.profile(key, serial, validity)?;
        let leaf = params.signed_by(key, &self.ca.issuer).map_err(SignError::Encode)?.der().clone();
        let chain = vec![leaf, issuer.der.clone()];
        self.check(&chain, subject.kind(), now).map_err(SignError::SelfCheck)?;
        Ok(SignedCertificate {
            serial: format!("{serial:x}"),
            subject,
            validity,
            chain,
            issuer_key_id: self.ca.key_id().to_owned(),
        })
    }

    /// Verifies what was just signed as its receivers will: nothing leaves that they would refuse.
    fn check(
        &self,
        chain: &[CertificateDer<'static>],
        kind: CertificateKind,
        now: SystemTime,
    ) -> Result<(), SvidError> {
        match kind {
            CertificateKind::X509Svid => {
                verify_x509_svid(chain, &self.bundle.clone().into(), Purpose::ClientAuth, now).map(drop)
            }
            CertificateKind::Server | CertificateKind::Client => {
                let leaf = Certificate::parse(&chain[0])?;
                let purpose = match kind {
                    CertificateKind::Server => Purpose::ServerAuth,
                    _ => Purpose::ClientAuth,
                };
                verify_chain(&leaf, &chain[1..], &self.bundle, purpose, now)
            }
        }
    }

    fn check_with_a_throwaway(&self, trust_domain: &TrustDomain, now: SystemTime) -> Result<(), CaError> {
        let pair = KeyPair::generate().map_err(CaError::Encode)?;
        let id = secplane_identity::SpiffeId::from_parts(trust_domain, "/throwaway")
            .map_err(|error| CaError::Throwaway(error.to_string()))?;
        let subject = Subject::X509Svid { id, dns_names: Vec::new() };
        self.sign_key(&RequestedKey::of(&pair), subject, Duration::from_secs(60), now)
            .map_err(|error| CaError::Throwaway(error.to_string()))?;
        Ok(())
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.ca.certificate
    }

    /// Lower-case hex of the subject key identifier.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.ca.key_id()
    }

    /// When it is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.ca.validity()
    }
}

/// A random serial number of up to 128 bits that is never zero.
fn random_serial() -> Result<u128, CaError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CaError::Randomness)?;
    Ok(u128::from_be_bytes(bytes).max(1))
}

/// Why a CA certificate cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] PrivateKeyError),
    /// The root cannot be put into a bundle.
    #[error(transparent)]
    Bundle(#[from] TrustBundleError),
    /// Certificate and key do not belong together.
    #[error("the private key kept for CA certificate {serial} is not its key")]
    ForeignKey {
        /// The certificate.
        serial: String,
    },
    /// Not a CA certificate of the trust domain.
    #[error("certificate {serial} is not a CA certificate of trust domain {trust_domain}")]
    NotACaOf {
        /// The certificate.
        serial: String,
        /// The trust domain.
        trust_domain: TrustDomain,
    },
    /// The root has expired.
    #[error("the root has expired; no issuing CA can be signed with it")]
    RootExpired,
    /// No randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// The certificate cannot be encoded or signed.
    #[error("the CA certificate could not be made: {0}")]
    Encode(#[source] rcgen::Error),
    /// What a new CA signs does not verify.
    #[error("a certificate signed by the new issuing CA does not verify: {0}")]
    Throwaway(String),
}

#[cfg(test)]
mod tests {
    use secplane_identity::SpiffeId;

    use super::*;
    use crate::authority::DnsName;

    const DAY: Duration = Duration::from_secs(86_400);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn trust_domain() -> TrustDomain {
        TrustDomain::parse("example.org").unwrap()
    }

    fn lifetimes() -> Lifetimes {
        let hour = Duration::from_secs(3600);
        Lifetimes { x509_svid: hour, server: hour, client: hour, longest: DAY }
    }

    fn authority() -> (Root, IssuingCa) {
        let root =
            Root::create(&trust_domain(), &PrivateKey::generate().unwrap(), DAY * 3650, now()).unwrap();
        let issuing = root.issue_ca(&trust_domain(), &PrivateKey::generate().unwrap(), DAY, now()).unwrap();
        (root, issuing)
    }

    fn sign(issuing: &IssuingCa, subject: Subject) -> (Certificate, SignedCertificate) {
        let key = PrivateKey::generate().unwrap();
        let request = CertificateRequest::parse(&key.bare_request().unwrap()).unwrap();
        let signed = issuing.sign(&request, subject, None, &lifetimes(), now()).unwrap();
        (Certificate::parse(&signed.chain[0]).unwrap(), signed)
    }

    fn svid() -> Subject {
        Subject::X509Svid {
            id: SpiffeId::parse("spiffe://example.org/a").unwrap(),
            dns_names: vec![DnsName::parse("a.example.org").unwrap()],
        }
    }

    #[test]
    fn makes_a_root_as_the_standard_wants_it() {
        let (root, _) = authority();
        let certificate = root.certificate();
        assert!(certificate.is_ca);
        assert_eq!(certificate.uris, ["spiffe://example.org"]);
        let usage = certificate.key_usage.unwrap();
        assert!(usage.key_cert_sign && usage.crl_sign && !usage.digital_signature);
        assert!(certificate.subject.contains("O=SPIFFE"), "{}", certificate.subject);
        assert_eq!(certificate.subject_key_id.as_deref().unwrap().len(), 40);
    }

    #[test]
    fn chains_issuing_ca_to_root_under_subjects_of_their_own() {
        let (root, issuing) = authority();
        assert_eq!(issuing.certificate().authority_key_id.as_deref(), Some(root.key_id()));
        assert_ne!(issuing.certificate().subject, root.certificate().subject);
        assert_eq!(issuing.validity().not_after, now() + DAY);
    }

    #[test]
    fn signs_an_svid_as_the_standard_wants_it() {
        let (_, issuing) = authority();
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
    fn signs_server_and_client_certificates_for_one_use_each() {
        let (_, issuing) = authority();
        let (server, _) = sign(
            &issuing,
            Subject::Server { dns_names: vec![], ip_addresses: vec!["10.0.0.1".parse().unwrap()] },
        );
        assert!(server.server_auth && !server.client_auth && server.uris.is_empty());
        assert_eq!(server.ip_addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
        let client = Subject::Client { common_name: "alice".into(), dns_names: vec![], ip_addresses: vec![] };
        let (client, _) = sign(&issuing, client);
        assert!(client.client_auth && !client.server_auth && client.uris.is_empty());
        assert_eq!(client.common_name.as_deref(), Some("alice"));
    }

    #[test]
    fn never_lets_a_leaf_outlive_its_issuer() {
        let (_, issuing) = authority();
        let key = PrivateKey::generate().unwrap();
        let request = CertificateRequest::parse(&key.bare_request().unwrap()).unwrap();
        let late = now() + DAY - Duration::from_secs(60);
        let signed = issuing.sign(&request, svid(), None, &lifetimes(), late).unwrap();
        assert_eq!(signed.not_after(), issuing.validity().not_after);
        let too_late = now() + DAY;
        let refused = issuing.sign(&request, svid(), None, &lifetimes(), too_late);
        assert!(matches!(refused, Err(SignError::IssuerExpired)));
    }

    #[test]
    fn refuses_a_lifetime_beyond_the_longest() {
        let (_, issuing) = authority();
        let key = PrivateKey::generate().unwrap();
        let request = CertificateRequest::parse(&key.bare_request().unwrap()).unwrap();
        let refused = issuing.sign(&request, svid(), Some(DAY * 2), &lifetimes(), now());
        assert!(matches!(refused, Err(SignError::TooLong { .. })));
    }

    #[test]
    fn refuses_a_key_that_is_not_the_certificate_s() {
        let (root, _) = authority();
        let other = PrivateKey::generate().unwrap();
        let refused = Root::restore(&trust_domain(), &root.certificate().der, &other);
        assert!(matches!(refused, Err(CaError::ForeignKey { .. })));
    }

    #[test]
    fn gives_no_serial_twice() {
        let (_, issuing) = authority();
        let mut serials: Vec<_> = (0..50).map(|_| sign(&issuing, svid()).1.serial).collect();
        serials.sort();
        serials.dedup();
        assert_eq!(serials.len(), 50);
        assert!(serials.iter().all(|serial| serial.len() > 20), "128 random bits");
    }
}
