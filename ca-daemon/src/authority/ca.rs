//! What every CA certificate of a trust domain has in common, and why one cannot be made or used.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, DistinguishedName, DnType, IsCa, Issuer,
    KeyIdMethod, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use secplane_identity::{
    TrustDomain,
    private_key::PrivateKeyError,
    trust_bundle::TrustBundleError,
    x509::{Certificate, CertificateError},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{ca_key::CaKey, leaf::rcgen_printable, request::RequestedKey, validity::Validity};

/// The most certificates between an issuing CA and the root: with leaf and issuing CA, a chain has at most as many
/// as are ever verified.
pub const MAX_CERTIFICATES_ABOVE_ISSUING: usize = secplane_identity::x509::MAX_CHAIN_LENGTH - 2;

/// id-at-serialNumber (X.520).
const SERIAL_NUMBER_ATTRIBUTE: &[u64] = &[2, 5, 4, 5];

/// The profile of a CA certificate: it says the trust domain in its URI name (X509-SVID, section 4.2) and has a
/// subject of its own, because path building stumbles over several CAs of one subject.
pub(super) fn ca_params(
    trust_domain: &TrustDomain,
    key: &RequestedKey,
    serial: u128,
    validity: Validity,
) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = validity.bounds();
    params.serial_number = Some(SerialNumber::from_slice(&serial.to_be_bytes()));
    params.distinguished_name = ca_subject(serial);
    params.subject_alt_names = vec![SanType::URI(trust_domain.id().try_into().map_err(CaError::Encode)?)];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.key_identifier_method = KeyIdMethod::PreSpecified(key.identifier());
    Ok(params)
}

/// What is particular about a CA below one of ours.
pub(super) struct BelowCa {
    /// How many CAs may follow below it.
    pub(super) constraints: BasicConstraints,
    /// The organizational unit of its subject.
    pub(super) unit: Option<&'static str>,
    /// How long it lives, unless its issuer ends sooner.
    pub(super) lifetime: Duration,
}

/// A CA of ours that signs another one.
pub(super) struct CaSigner<'a> {
    pub(super) trust_domain: &'a TrustDomain,
    pub(super) certificate: &'a Certificate,
    pub(super) issuer: &'a Issuer<'static, CaKey>,
    pub(super) crl_url: Option<&'a str>,
}

impl CaSigner<'_> {
    /// Signs a CA for `key`, and verifies the signature as its receivers will.
    pub(super) fn sign(
        &self,
        key: &RequestedKey,
        below: BelowCa,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, CaError> {
        CaError::expired_at(self.certificate, now)?;
        let validity = Validity::starting(now, below.lifetime, Some(self.certificate.not_after));
        let mut params = ca_params(self.trust_domain, key, random_serial()?, validity)?;
        if let Some(unit) = below.unit {
            params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        }
        params.is_ca = IsCa::Ca(below.constraints);
        params.use_authority_key_identifier_extension = true;
        params.crl_distribution_points = crl_distribution(self.crl_url);
        let signed = params.signed_by(key, self.issuer).map_err(CaError::Encode)?.der().clone();
        self.check(&signed)?;
        Ok(signed)
    }

    fn check(&self, signed: &[u8]) -> Result<(), CaError> {
        let read = |der| X509Certificate::from_der(der).map(|(_, certificate)| certificate);
        let verified = read(&self.certificate.der)
            .and_then(|issuer| Ok(read(signed)?.verify_signature(Some(issuer.public_key())).is_ok()));
        if verified == Ok(true) { Ok(()) } else { Err(CaError::Signature) }
    }
}

/// Where the list of the issuer is found, as a certificate says it (RFC 5280, section 4.2.1.13).
pub(super) fn crl_distribution(url: Option<&str>) -> Vec<CrlDistributionPoint> {
    url.map(|url| CrlDistributionPoint { uris: vec![url.to_owned()] }).into_iter().collect()
}

/// `C=US, O=SPIFFE, serialNumber=<number>`.
pub(super) fn ca_subject(number: u128) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, rcgen_printable("US"));
    name.push(DnType::OrganizationName, "SPIFFE");
    name.push(DnType::CustomDnType(SERIAL_NUMBER_ATTRIBUTE.to_vec()), rcgen_printable(&number.to_string()));
    name
}

/// A random serial number of up to 128 bits that is never zero.
pub(super) fn random_serial() -> Result<u128, CaError> {
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
    /// A root cannot be put into a bundle.
    #[error(transparent)]
    Bundle(#[from] TrustBundleError),
    /// What was signed does not verify.
    #[error("the signature of the CA certificate that was just signed does not verify")]
    Signature,
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
    /// A certificate lacks something that a CA must have.
    #[error("CA certificate {serial} cannot sign here: {reason}")]
    Unfit {
        /// The certificate.
        serial: String,
        /// What is missing.
        reason: String,
    },
    /// Too many certificates between the issuing CA and the root.
    #[error("{0} certificates stand above the issuing CA; at most {MAX_CERTIFICATES_ABOVE_ISSUING} may")]
    ChainTooLong(usize),
    /// No root among the certificates.
    #[error("no self-signed root is among the certificates above the CA")]
    NoRoot,
    /// The CA has expired.
    #[error("the CA certificate {serial} has expired; no issuing CA can be signed with it")]
    Expired {
        /// The certificate.
        serial: String,
    },
    /// No randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// The certificate cannot be encoded or signed.
    #[error("the CA certificate could not be made: {0}")]
    Encode(#[source] rcgen::Error),
    /// What a new CA signs does not verify.
    #[error("a certificate signed by the issuing CA does not verify: {0}")]
    Throwaway(String),
}

impl CaError {
    pub(super) fn expired_at(certificate: &Certificate, now: SystemTime) -> Result<(), Self> {
        if now >= certificate.not_after {
            return Err(Self::Expired { serial: certificate.serial.clone() });
        }
        Ok(())
    }
}
