//! Who is at the other end of an accepted connection.

use std::time::SystemTime;

use rustls_pki_types::CertificateDer;

use crate::{
    IdentitySnapshot, SpiffeId, TrustDomain,
    x509::{Certificate, Purpose, SvidError, VerifiedChain, VerifiedSvid, verify_path},
};

/// Which clients a server lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientPolicy {
    /// Only holders of an X.509-SVID.
    Svid,
    /// Holders of an X.509-SVID or of any other certificate of the own trust domain's authority, and anonymous
    /// ones; what each may do is decided call by call.
    AnyOrNone,
}

/// The verified other end of a connection.
#[derive(Debug, Clone)]
pub enum Peer {
    /// It presented no certificate.
    Anonymous,
    /// It holds an X.509-SVID.
    Svid(VerifiedSvid),
    /// It holds a certificate of the own trust domain's authority that names no SPIFFE ID.
    Certificate(VerifiedCertificate),
}

/// A verified certificate that is no X.509-SVID.
#[derive(Debug, Clone)]
pub struct VerifiedCertificate {
    trust_domain: TrustDomain,
    chain: VerifiedChain,
}

impl VerifiedCertificate {
    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        self.chain.leaf()
    }
}

impl Peer {
    /// The SPIFFE ID, if the peer proved one.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&SpiffeId> {
        match self {
            Self::Svid(svid) => Some(svid.id()),
            Self::Anonymous | Self::Certificate(_) => None,
        }
    }

    /// The certificate that the peer presented.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Anonymous => None,
            Self::Svid(svid) => Some(svid.leaf()),
            Self::Certificate(verified) => Some(verified.certificate()),
        }
    }

    /// Refuses the peer if a certificate of its chain was revoked since it was verified.
    pub(crate) fn check_revocation(&self, snapshot: &IdentitySnapshot) -> Result<(), SvidError> {
        match self {
            Self::Anonymous => Ok(()),
            Self::Svid(svid) => snapshot.check_revocation(svid.chain(), svid.id().trust_domain()),
            Self::Certificate(verified) => snapshot.check_revocation(&verified.chain, &verified.trust_domain),
        }
    }
}

/// Verifies what a client presented, against the trust and the revocations of one snapshot.
///
/// # Errors
/// Says which check failed.
pub fn verify_client(
    chain: &[CertificateDer<'_>],
    snapshot: &IdentitySnapshot,
    policy: ClientPolicy,
    at: SystemTime,
) -> Result<Peer, SvidError> {
    match policy {
        ClientPolicy::AnyOrNone if chain.is_empty() => Ok(Peer::Anonymous),
        ClientPolicy::AnyOrNone => {
            let leaf = Certificate::parse(&chain[0])?;
            if leaf.uris.is_empty() {
                verify_own_certificate(leaf, &chain[1..], snapshot, at).map(Peer::Certificate)
            } else {
                snapshot.verify_svid(chain, Purpose::ClientAuth, at).map(Peer::Svid)
            }
        }
        ClientPolicy::Svid => snapshot.verify_svid(chain, Purpose::ClientAuth, at).map(Peer::Svid),
    }
}

/// A certificate without a SPIFFE ID can only be one of the own authority's. Its holder may be a server, which
/// has serverAuth alone and still must be able to renew.
fn verify_own_certificate(
    leaf: Certificate,
    above_leaf: &[CertificateDer<'_>],
    snapshot: &IdentitySnapshot,
    at: SystemTime,
) -> Result<VerifiedCertificate, SvidError> {
    let own = snapshot.identity.as_ref().ok_or(SvidError::NoUriName)?.id().trust_domain();
    let bundle = snapshot.bundles.get(own).ok_or_else(|| SvidError::UnknownTrustDomain(own.clone()))?;
    if leaf.is_ca {
        return Err(SvidError::LeafIsCa);
    }
    let purpose =
        if leaf.server_auth && !leaf.client_auth { Purpose::ServerAuth } else { Purpose::ClientAuth };
    let chain = verify_path(leaf, above_leaf, bundle, purpose, at)?;
    snapshot.check_revocation(&chain, own)?;
    Ok(VerifiedCertificate { trust_domain: own.clone(), chain })
}
