//! What a Workload API answered, as an identity, the bundles that go with it, and what is revoked.

use std::{sync::Arc, time::SystemTime};

use rustls_pki_types::CertificateDer;
use secplane_proto::workload::{X509svid, X509svidResponse};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    PrivateKey, Revocations, SpiffeId, TrustBundle, TrustBundleSet, TrustDomain, X509Identity,
    private_key::PrivateKeyError,
    revocation::{MAX_LISTS, RevocationList},
    source::IdentityError,
    spiffe_id::SpiffeIdError,
    trust_bundle::{MAX_AUTHORITIES, TrustBundleError},
    x509::{MAX_CHAIN_LENGTH, Purpose, SvidError, verify_x509_svid},
};

/// The most identities of one workload that are looked at.
pub const MAX_SVIDS: usize = 1024;
/// The most bundles of other trust domains that are taken over.
pub const MAX_FEDERATED_BUNDLES: usize = 1024;

/// One answer, read.
pub(super) struct Update {
    /// The identity and whom it trusts.
    pub(super) identity: Result<(X509Identity, TrustBundleSet), ResponseError>,
    /// What is revoked. It does not depend on the identity: an answer whose SVID is unusable still takes trust back.
    pub(super) revocations: Arc<Revocations>,
}

impl Update {
    /// Reads an answer that came at `at`; `held` is what was revoked before.
    pub(super) fn read(
        response: &X509svidResponse,
        wanted: Option<&SpiffeId>,
        held: &Revocations,
        at: SystemTime,
    ) -> Self {
        let identity = identity(response, wanted, at);
        Self { identity, revocations: Arc::new(revocations(response, held, at)) }
    }
}

fn identity(
    response: &X509svidResponse,
    wanted: Option<&SpiffeId>,
    at: SystemTime,
) -> Result<(X509Identity, TrustBundleSet), ResponseError> {
    if response.svids.len() > MAX_SVIDS {
        return Err(ResponseError::TooMany("identities"));
    }
    let svid = match wanted {
        None => response.svids.first(),
        Some(wanted) => response.svids.iter().find(|svid| svid.spiffe_id == wanted.as_str()),
    }
    .ok_or_else(|| ResponseError::NoSuchIdentity { wanted: wanted.cloned() })?;

    let chain = certificates(&svid.x509_svid, MAX_CHAIN_LENGTH)?;
    let key = PrivateKey::from_pkcs8(svid.x509_svid_key.clone())?;
    let identity = X509Identity::new(chain, key)?;
    if identity.id().as_str() != svid.spiffe_id {
        return Err(ResponseError::Contradiction { said: svid.spiffe_id.clone(), is: identity.id().clone() });
    }
    let bundles = bundles(response, svid, identity.id().trust_domain())?;
    verify_x509_svid(identity.chain(), &bundles, Purpose::ClientAuth, at)?;
    Ok((identity, bundles))
}

/// The own trust domain's bundle, and those of the domains it is federated with. These cannot speak for the own one.
fn bundles(
    response: &X509svidResponse,
    svid: &X509svid,
    own: &TrustDomain,
) -> Result<TrustBundleSet, ResponseError> {
    if response.federated_bundles.len() > MAX_FEDERATED_BUNDLES {
        return Err(ResponseError::TooMany("federated bundles"));
    }
    let bundle = |trust_domain: TrustDomain, ders: &[u8]| -> Result<TrustBundle, ResponseError> {
        Ok(TrustBundle::new(trust_domain, certificates(ders, MAX_AUTHORITIES)?)?)
    };
    let mut bundles = TrustBundleSet::default();
    for (id, ders) in &response.federated_bundles {
        bundles.insert(bundle(TrustDomain::parse(id)?, ders)?);
    }
    bundles.insert(bundle(own.clone(), &svid.bundle)?);
    Ok(bundles)
}

/// A list that cannot be read takes nothing back, and gives nothing: the one that is held stays.
fn revocations(response: &X509svidResponse, held: &Revocations, at: SystemTime) -> Revocations {
    let mut offered = Vec::new();
    for der in response.crl.iter().take(MAX_LISTS) {
        if let Some(known) = held.lists().find(|list| list.der() == der.as_slice()) {
            offered.push(Arc::clone(known));
            continue;
        }
        match RevocationList::parse_own(der) {
            Ok(list) => offered.push(Arc::new(list)),
            Err(error) => {
                tracing::warn!(%error, "a revocation list of the Workload API cannot be used; what is held stays");
                offered.extend(held.lists().cloned());
            }
        }
    }
    let mut revocations = held.clone();
    revocations.take_lists(offered, at);
    revocations
}

/// Certificates one after another, as the Workload API sends them.
fn certificates(mut ders: &[u8], most: usize) -> Result<Vec<CertificateDer<'static>>, ResponseError> {
    let mut certificates = Vec::new();
    while !ders.is_empty() {
        if certificates.len() == most {
            return Err(ResponseError::TooMany("certificates"));
        }
        let (rest, _) =
            X509Certificate::from_der(ders).map_err(|error| ResponseError::Malformed(error.to_string()))?;
        let (certificate, _) = ders.split_at(ders.len() - rest.len());
        certificates.push(CertificateDer::from(certificate.to_vec()));
        ders = rest;
    }
    Ok(certificates)
}

/// Why an answer of the Workload API cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// It gives identities, but not the wanted one.
    #[error("the Workload API does not give this workload the identity {}", .wanted.as_ref().map_or("it needs", SpiffeId::as_str))]
    NoSuchIdentity {
        /// The wanted one; `None` for any.
        wanted: Option<SpiffeId>,
    },
    /// More of something than is looked at.
    #[error("the Workload API answered with too many {0}")]
    TooMany(&'static str),
    /// The certificates are none.
    #[error("the Workload API answered with bytes that are not DER certificates one after another: {0}")]
    Malformed(String),
    /// The certificate names somebody else.
    #[error("the Workload API says that the SVID is that of {said}, and it is that of {is}")]
    Contradiction {
        /// What the answer says.
        said: String,
        /// What the certificate says.
        is: SpiffeId,
    },
    /// What it gave is no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The SVID does not verify against the bundle that came with it.
    #[error("the Workload API gave an SVID that its own bundle does not vouch for: {0}")]
    Svid(#[from] SvidError),
    /// What it gave has no usable key.
    #[error(transparent)]
    Key(#[from] PrivateKeyError),
    /// What it gave has no usable bundle.
    #[error(transparent)]
    Bundle(#[from] TrustBundleError),
    /// What it gave has no canonical trust domain.
    #[error(transparent)]
    TrustDomain(#[from] SpiffeIdError),
    /// The process is ending.
    #[error("the reading was interrupted: the process is ending")]
    Interrupted,
}
