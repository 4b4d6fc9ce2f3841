//! What every CA certificate of a trust domain has in common, and why one cannot be made or used.

use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyIdMethod, KeyUsagePurpose,
    SanType, SerialNumber,
};
use secplane_identity::{
    TrustDomain,
    private_key::PrivateKeyError,
    trust_bundle::TrustBundleError,
    x509::{Certificate, CertificateError},
};

use super::{leaf::rcgen_printable, request::RequestedKey, validity::Validity};

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
