//! Whether a chain is an X.509-SVID (X509-SVID, section 5).
//!
//! Path validation is webpki's. It does not look at key usage nor at the validity of a trust anchor, and knows
//! nothing of SPIFFE IDs: those checks are ours and stand here.

use std::{sync::Arc, time::SystemTime};

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::certificate::{Certificate, CertificateError};
use crate::{SpiffeId, TrustBundle, TrustBundleSet, TrustDomain, spiffe_id::SpiffeIdError};

/// The longest chain that is verified, the leaf included.
pub const MAX_CHAIN_LENGTH: usize = 8;

/// What the holder uses the certificate for; decides which extended key usage it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Authenticating a TLS client, or signing a document.
    ClientAuth,
    /// Authenticating a TLS server.
    ServerAuth,
}

/// An X.509-SVID whose chain leads to a root of the trust domain that it names.
#[derive(Debug, Clone)]
pub struct VerifiedSvid {
    id: SpiffeId,
    chain: VerifiedChain,
}

impl VerifiedSvid {
    /// Who holds it.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The leaf certificate.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        self.chain.leaf()
    }

    /// The certificates that were verified.
    #[must_use]
    pub fn chain(&self) -> &VerifiedChain {
        &self.chain
    }
}

/// Certificates that lead to a root. Cheap to clone.
#[derive(Debug, Clone)]
pub struct VerifiedChain {
    leaf: Arc<Certificate>,
    above_leaf: Arc<[Certificate]>,
}

impl VerifiedChain {
    /// The leaf.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// The leaf, then the CA certificates that came with it, without the root.
    pub fn iter(&self) -> impl Iterator<Item = &Certificate> + Clone {
        std::iter::once(&*self.leaf).chain(self.above_leaf.iter())
    }
}

/// Verifies a chain (leaf first, the root not needed) as the X.509-SVID of a trust domain in `bundles`, at `at`.
///
/// The bundle is the one of the trust domain that the leaf names; no other root is ever considered. Whether trust was
/// taken back since is another question: [`IdentitySnapshot::verify_svid`](crate::IdentitySnapshot::verify_svid) asks
/// both.
///
/// # Errors
/// Says which check failed.
pub fn verify_x509_svid(
    chain: &[CertificateDer<'_>],
    bundles: &TrustBundleSet,
    purpose: Purpose,
    at: SystemTime,
) -> Result<VerifiedSvid, SvidError> {
    let leaf = Certificate::parse(chain.first().ok_or(SvidError::EmptyChain)?)?;
    let (id, bundle) = judge_leaf(&leaf, bundles)?;
    let chain = verify_path(leaf, &chain[1..], bundle, purpose, at)?;
    Ok(VerifiedSvid { id, chain })
}

/// As [`verify_x509_svid`], of certificates that were read already: answers whose SVID it is.
///
/// # Errors
/// Says which check failed.
pub fn verify_svid_certificates(
    leaf: &Certificate,
    above_leaf: &[Certificate],
    bundles: &TrustBundleSet,
    purpose: Purpose,
    at: SystemTime,
) -> Result<SpiffeId, SvidError> {
    let (id, bundle) = judge_leaf(leaf, bundles)?;
    check_bounds(leaf, above_leaf.len(), at)?;
    for (position, certificate) in above_leaf.iter().enumerate() {
        check_ca(certificate, position + 1)?;
    }
    let above_leaf: Vec<_> = above_leaf.iter().map(|ca| CertificateDer::from(ca.der.as_ref())).collect();
    verify_signatures(leaf, &above_leaf, bundle, purpose, at)?;
    Ok(id)
}

/// Whose SVID the leaf claims to be, and by which roots that is judged.
fn judge_leaf<'a>(
    leaf: &Certificate,
    bundles: &'a TrustBundleSet,
) -> Result<(SpiffeId, &'a TrustBundle), SvidError> {
    let id = leaf.spiffe_id()?;
    let bundle = bundles
        .get(id.trust_domain())
        .ok_or_else(|| SvidError::UnknownTrustDomain(id.trust_domain().clone()))?;
    check_leaf(leaf)?;
    Ok((id, bundle))
}

/// The constraints on a leaf that path validation does not look at (X509-SVID, sections 4.1 to 4.3).
fn check_leaf(leaf: &Certificate) -> Result<(), SvidError> {
    if leaf.is_ca {
        return Err(SvidError::LeafIsCa);
    }
    match leaf.key_usage {
        None => Err(SvidError::LeafKeyUsage("it has no key usage extension")),
        Some(usage) if !usage.digital_signature => {
            Err(SvidError::LeafKeyUsage("its key usage lacks digitalSignature"))
        }
        Some(usage) if usage.key_cert_sign || usage.crl_sign => {
            Err(SvidError::LeafKeyUsage("its key usage has keyCertSign or cRLSign"))
        }
        Some(_) => Ok(()),
    }
}

/// Verifies that certificates above a leaf are CA certificates that may sign.
///
/// # Errors
/// Names the first one that is not.
pub fn check_ca_certificates(above_leaf: &[CertificateDer<'_>]) -> Result<(), SvidError> {
    read_ca_certificates(above_leaf).map(drop)
}

pub(super) fn read_ca_certificates(above_leaf: &[CertificateDer<'_>]) -> Result<Vec<Certificate>, SvidError> {
    let read = |(position, der): (usize, &CertificateDer<'_>)| {
        let certificate = Certificate::parse(der)?;
        check_ca(&certificate, position + 1)?;
        Ok(certificate)
    };
    above_leaf.iter().enumerate().map(read).collect()
}

/// `position` is the certificate's place in the chain, where the leaf is 0.
fn check_ca(certificate: &Certificate, position: usize) -> Result<(), SvidError> {
    let may_sign = certificate.key_usage.is_some_and(|usage| usage.key_cert_sign);
    if certificate.is_ca && may_sign { Ok(()) } else { Err(SvidError::NotACa(position)) }
}

/// Verifies the path from a leaf to a root of `bundle`, at `at` (RFC 5280, section 6).
///
/// This is path validation alone: whether the leaf is an X.509-SVID is [`verify_x509_svid`]'s question.
///
/// # Errors
/// When there is no such path, or a certificate on it is out of date or may not be used so.
pub fn verify_chain(
    leaf: &Certificate,
    above_leaf: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    purpose: Purpose,
    at: SystemTime,
) -> Result<(), SvidError> {
    verify_above(leaf, above_leaf, bundle, purpose, at).map(drop)
}

/// As [`verify_chain`], and answers the certificates.
pub(crate) fn verify_path(
    leaf: Certificate,
    above_leaf: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    purpose: Purpose,
    at: SystemTime,
) -> Result<VerifiedChain, SvidError> {
    let above_leaf = verify_above(&leaf, above_leaf, bundle, purpose, at)?;
    Ok(VerifiedChain { leaf: Arc::new(leaf), above_leaf: above_leaf.into() })
}

fn verify_above(
    leaf: &Certificate,
    above_leaf: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    purpose: Purpose,
    at: SystemTime,
) -> Result<Vec<Certificate>, SvidError> {
    check_bounds(leaf, above_leaf.len(), at)?;
    let authorities = read_ca_certificates(above_leaf)?;
    verify_signatures(leaf, above_leaf, bundle, purpose, at)?;
    Ok(authorities)
}

pub(super) fn check_bounds(leaf: &Certificate, above_leaf: usize, at: SystemTime) -> Result<(), SvidError> {
    if above_leaf + 1 > MAX_CHAIN_LENGTH {
        return Err(SvidError::ChainTooLong(above_leaf + 1));
    }
    if at < leaf.not_before {
        return Err(SvidError::NotYetValid);
    }
    if at > leaf.not_after {
        return Err(SvidError::Expired);
    }
    Ok(())
}

/// Path validation by webpki.
fn verify_signatures(
    leaf: &Certificate,
    above_leaf: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    purpose: Purpose,
    at: SystemTime,
) -> Result<(), SvidError> {
    let anchors = bundle.trust_anchors_at(at);
    let end_entity = EndEntityCert::try_from(&leaf.der).map_err(SvidError::Path)?;
    let usage = match purpose {
        Purpose::ClientAuth => KeyUsage::client_auth(),
        Purpose::ServerAuth => KeyUsage::server_auth(),
    };
    let since_epoch = at.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| SvidError::NotYetValid)?;
    end_entity
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            above_leaf,
            UnixTime::since_unix_epoch(since_epoch),
            usage,
            None,
            None,
        )
        .map_err(|error| match error {
            webpki::Error::UnknownIssuer => {
                SvidError::UnknownIssuer { trust_domain: bundle.trust_domain().clone() }
            }
            other => SvidError::Path(other),
        })
        .map(drop)
}

/// Which check of an X.509-SVID failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    /// No certificate at all.
    #[error("the chain is empty")]
    EmptyChain,
    /// More than [`MAX_CHAIN_LENGTH`].
    #[error("the chain has {0} certificates; at most {MAX_CHAIN_LENGTH} are verified")]
    ChainTooLong(usize),
    /// A certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No URI name.
    #[error("the certificate names no SPIFFE ID: it has no URI name (X509-SVID, section 2)")]
    NoUriName,
    /// More than one URI name.
    #[error("the certificate has {0} URI names; an X.509-SVID has exactly one (X509-SVID, section 2)")]
    SeveralUriNames(usize),
    /// The URI name is not a canonical SPIFFE ID of a workload.
    #[error("the certificate's URI name {text:?} is not the SPIFFE ID of a workload: {source}")]
    InvalidId {
        /// The name as it stands.
        text: String,
        /// The rule that it breaks.
        source: SpiffeIdError,
    },
    /// There is no bundle for the trust domain that the leaf names.
    #[error("the certificate belongs to trust domain {0}, which is not trusted here")]
    UnknownTrustDomain(TrustDomain),
    /// The leaf is a CA certificate.
    #[error(
        "the certificate is a CA certificate and cannot authenticate a workload (X509-SVID, section 4.1)"
    )]
    LeafIsCa,
    /// The key usage is missing or wrong.
    #[error("the certificate cannot authenticate a workload: {0} (X509-SVID, section 4.3)")]
    LeafKeyUsage(&'static str),
    /// A certificate above the leaf is not a CA certificate that may sign.
    #[error(
        "certificate {0} of the chain (the leaf is 0) is not a CA certificate that may sign certificates"
    )]
    NotACa(usize),
    /// Before its validity.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// After its validity.
    #[error("the certificate has expired")]
    Expired,
    /// The chain does not lead to a root that is in date.
    #[error("the chain does not lead to a root of trust domain {trust_domain} that is in date")]
    UnknownIssuer {
        /// The trust domain whose bundle was used.
        trust_domain: TrustDomain,
    },
    /// The leaf was revoked.
    #[error("the certificate {serial} has been revoked")]
    Revoked {
        /// Which.
        serial: String,
    },
    /// A CA above the leaf was revoked.
    #[error("the CA certificate {serial} of the chain has been revoked")]
    IssuerRevoked {
        /// Which.
        serial: String,
    },
    /// Whether it was revoked cannot be told.
    #[error(
        "whether the certificate was revoked cannot be told: the revocation list of issuer {issuer_key_id} \
         does not bear that issuer's signature"
    )]
    RevocationList {
        /// Whose list.
        issuer_key_id: String,
    },
    /// Any other failure of path validation.
    #[error("the chain does not verify: {0}")]
    Path(#[source] webpki::Error),
}

#[cfg(test)]
mod tests;
