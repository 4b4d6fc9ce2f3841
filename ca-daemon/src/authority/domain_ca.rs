//! The CA of a trust domain: the one that signs issuing CAs.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, SanType};
use rustls_pki_types::CertificateDer;
use secplane_identity::{Fingerprint, PrivateKey, TrustBundle, TrustDomain, x509::Certificate};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    ca::{BelowCa, CaError, CaSigner, MAX_CERTIFICATES_ABOVE_ISSUING, ca_params, ca_subject, random_serial},
    ca_key::CaKey,
    issuing_ca::IssuingCa,
    request::{CertificateRequest, RequestedKey},
    subject_name::subject_of,
    validity::Validity,
};

/// The CA that signs issuing CAs: a self-signed root, or a CA below the root of somebody else.
///
/// It knows the way up: the certificates between it and the roots, and the roots, which trust bundles hold. What its
/// issuing CAs sign carries the way with it, the roots excepted.
///
/// Its key may be in a token: whatever signs may block and belongs off the async runtime.
pub struct DomainCa {
    trust_domain: TrustDomain,
    certificate: Certificate,
    issuer: Issuer<'static, CaKey>,
    key_id: String,
    has_key: bool,
    /// What follows an issuing CA in a chain: this CA and what is between it and the roots. Nothing when this is the
    /// root itself.
    below_root: Vec<CertificateDer<'static>>,
    /// The roots alone.
    roots: TrustBundle,
    crl_url: Option<String>,
}

impl DomainCa {
    /// Makes a new self-signed root.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn self_signed(
        trust_domain: &TrustDomain,
        key: CaKey,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Self, CaError> {
        let validity = Validity::starting(now, lifetime, None);
        let params = ca_params(trust_domain, &key.public(), random_serial()?, validity)?;
        let der = params.self_signed(&key).map_err(CaError::Encode)?.der().clone();
        Self::restore(trust_domain, &der, &[], key)
    }

    /// A DER certificate request (RFC 2986) by which an outside CA can sign `key` as the CA of the trust domain.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn request(trust_domain: &TrustDomain, key: &CaKey) -> Result<Vec<u8>, CaError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = ca_subject(random_serial()?);
        params.subject_alt_names = vec![SanType::URI(trust_domain.id().try_into().map_err(CaError::Encode)?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(params.serialize_request(key).map_err(CaError::Encode)?.der().to_vec())
    }

    /// Joins a CA certificate and its key. `above` is everything above it, the roots included: empty for a
    /// self-signed root. What is self-signed in it is a root; the rest stands in the order of the chain.
    ///
    /// Whether the chain holds together is seen by [`DomainCa::check`], and each time an issuing CA is signed.
    ///
    /// # Errors
    /// When certificate and key do not belong together, it is not a CA certificate that may sign another CA's, it
    /// names another trust domain, or no root is above it.
    pub fn restore(
        trust_domain: &TrustDomain,
        der: &[u8],
        above: &[CertificateDer<'static>],
        key: CaKey,
    ) -> Result<Self, CaError> {
        let certificate = Certificate::parse(der)?;
        let (key_id, has_key) = (key.id(), !key.is_absent());
        let issuer = signing_issuer(trust_domain, &certificate, key)?;
        refuse_without_room_below(&certificate)?;
        let mut below_root = Vec::new();
        let mut roots = Vec::new();
        if is_self_issued(&certificate.der) {
            roots.push(certificate.der.clone());
        } else {
            below_root.push(certificate.der.clone());
        }
        for der in above.iter().filter(|above| **above != certificate.der) {
            let list = if is_self_issued(der) { &mut roots } else { &mut below_root };
            if !list.contains(der) {
                list.push(der.clone());
            }
        }
        if roots.is_empty() {
            return Err(CaError::NoRoot);
        }
        if below_root.len() > MAX_CERTIFICATES_ABOVE_ISSUING {
            return Err(CaError::ChainTooLong(below_root.len()));
        }
        let roots = TrustBundle::new(trust_domain.clone(), &roots)?;
        let trust_domain = trust_domain.clone();
        Ok(Self { trust_domain, certificate, issuer, key_id, has_key, below_root, roots, crl_url: None })
    }

    /// The same CA, naming in every CA certificate that it signs where its CRL is found; nothing, when it has none.
    #[must_use]
    pub fn with_crl_url(self, url: Option<String>) -> Self {
        Self { crl_url: url.filter(|_| self.signs_lists()), ..self }
    }

    /// Signs a new issuing CA for `key`, and checks it by issuing a throw-away SVID.
    ///
    /// # Errors
    /// When this CA has expired, or what the issuing CA signs does not verify.
    pub fn issue_ca(
        &self,
        key: &PrivateKey,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<IssuingCa, CaError> {
        let key = CaKey::try_from(key)?;
        let der = self.sign_ca(&key.public(), BasicConstraints::Unconstrained, lifetime, now)?;
        IssuingCa::restore(&der, key, self, now)
    }

    /// Signs a CA below this one for somebody else's key, such as that of a mesh: it can sign leaves and no further
    /// CA. Answers its chain, the new CA first, the root excepted.
    ///
    /// # Errors
    /// When this CA has expired.
    pub fn sign_outside_ca(
        &self,
        request: &CertificateRequest,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Vec<CertificateDer<'static>>, CaError> {
        let der = self.sign_ca(request.key(), BasicConstraints::Constrained(0), lifetime, now)?;
        let mut chain = vec![der];
        chain.extend(self.below_root.iter().cloned());
        Ok(chain)
    }

    /// Proves that what is signed below this CA is accepted, by signing throw-away certificates. Wanted before a CA
    /// that somebody else signed is put to use.
    ///
    /// # Errors
    /// Says what does not verify.
    pub fn check(&self, now: SystemTime) -> Result<(), CaError> {
        // Path validation here takes a root as it is; most who are shown the chain look at its dates.
        let live = self.roots().map(|root| CaError::expired_at(root, now));
        live.reduce(Result::or).unwrap_or(Err(CaError::NoRoot))?;
        self.issue_ca(&PrivateKey::generate()?, Duration::from_secs(60), now).map(drop)
    }

    fn sign_ca(
        &self,
        key: &RequestedKey,
        constraints: BasicConstraints,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, CaError> {
        let signer = CaSigner {
            trust_domain: &self.trust_domain,
            certificate: &self.certificate,
            issuer: &self.issuer,
            crl_url: self.crl_url.as_deref(),
        };
        signer.sign(key, BelowCa { constraints, unit: None, lifetime }, now)
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Whether this CA is itself the root that trust bundles hold.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.below_root.is_empty()
    }

    /// The SHA-256 of the root that is trusted; of the first one, when there are several.
    #[must_use]
    pub fn root_fingerprint(&self) -> Fingerprint {
        // Proof: `restore` refuses a CA without a root, so that the certificate's own is never taken in its place.
        Fingerprint::of(self.roots.authorities().next().map_or(&self.certificate.der, |root| &root.der))
    }

    /// The roots: what trust bundles hold on its account.
    pub fn roots(&self) -> impl ExactSizeIterator<Item = &Certificate> {
        self.roots.authorities()
    }

    /// What follows an issuing CA in a chain: this CA and what is between it and the roots.
    #[must_use]
    pub fn below_root(&self) -> &[CertificateDer<'static>] {
        &self.below_root
    }

    /// Everything above this CA, the roots included, as [`DomainCa::restore`] takes it: DER, one after another.
    #[must_use]
    pub fn above(&self) -> Vec<u8> {
        let between = self.below_root.iter().skip(1).map(AsRef::as_ref);
        let roots = self.roots.authorities().map(|root| root.der.as_ref());
        between.chain(roots.filter(|_| !self.is_root())).collect::<Vec<&[u8]>>().concat()
    }

    /// Lower-case hex of the key's identifier, which is the certificate's subject key identifier unless an outside CA
    /// has chosen another; names the key in its storage.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Whether it may sign the list of what was revoked below it.
    #[must_use]
    pub fn signs_lists(&self) -> bool {
        may_sign_lists(&self.certificate)
    }

    /// Whether its key was there when it was restored; without it, it signs nothing.
    pub(crate) fn has_key(&self) -> bool {
        self.has_key
    }

    pub(super) fn root_bundle(&self) -> &TrustBundle {
        &self.roots
    }
}

/// Splits certificates that stand one after another in DER.
///
/// # Errors
/// When the bytes are anything else.
pub fn split_certificates(mut der: &[u8]) -> Result<Vec<CertificateDer<'static>>, CaError> {
    use secplane_identity::x509::CertificateError;
    let mut certificates = Vec::new();
    while !der.is_empty() {
        let (rest, _) =
            X509Certificate::from_der(der).map_err(|error| CertificateError::Malformed(error.to_string()))?;
        certificates.push(CertificateDer::from(der[..der.len() - rest.len()].to_vec()));
        der = rest;
    }
    Ok(certificates)
}

/// Joins a CA certificate and its key for signing, once it is known that they may.
pub(super) fn signing_issuer(
    trust_domain: &TrustDomain,
    certificate: &Certificate,
    key: CaKey,
) -> Result<Issuer<'static, CaKey>, CaError> {
    let unfit =
        |reason: &str| CaError::Unfit { serial: certificate.serial.clone(), reason: reason.to_owned() };
    if key.public_key_info() != certificate.public_key_info {
        return Err(CaError::ForeignKey { serial: certificate.serial.clone() });
    }
    // A CA certificate should name the trust domain; one of an outside CA may name nothing (X509-SVID, section 4.2).
    let names_another = certificate.uris.iter().any(|uri| *uri != trust_domain.id());
    if !certificate.is_ca || names_another {
        return Err(CaError::NotACaOf {
            serial: certificate.serial.clone(),
            trust_domain: trust_domain.clone(),
        });
    }
    if !certificate.key_usage.is_some_and(|usage| usage.key_cert_sign) {
        return Err(unfit("its key usage lacks keyCertSign"));
    }
    let key_id = match &certificate.subject_key_id {
        Some(id) => hex::decode(id).map_err(|_| unfit("its subject key identifier cannot be read"))?,
        None => return Err(unfit("it has no subject key identifier (RFC 5280, section 4.2.1.2)")),
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = subject_of(&certificate.der).map_err(|reason| unfit(&reason))?;
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_id);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    if may_sign_lists(certificate) {
        params.key_usages.push(KeyUsagePurpose::CrlSign);
    }
    Ok(Issuer::new(params, key))
}

/// Whether a CA may sign revocation lists. Those that Istio's own tools make may not.
pub(crate) fn may_sign_lists(ca: &Certificate) -> bool {
    ca.key_usage.is_some_and(|usage| usage.crl_sign)
}

/// Says by its name what path validation would only call invalid: that no issuing CA may stand below a CA.
fn refuse_without_room_below(ca: &Certificate) -> Result<(), CaError> {
    let unfit = |reason: String| CaError::Unfit { serial: ca.serial.clone(), reason };
    let (_, read) = X509Certificate::from_der(&ca.der).map_err(|error| unfit(error.to_string()))?;
    let constraints = read.basic_constraints().map_err(|error| unfit(error.to_string()))?;
    if constraints.is_some_and(|constraints| constraints.value.path_len_constraint == Some(0)) {
        return Err(unfit(
            "its path length is 0: it may sign no issuing CA; make it with a path length of at least 1 or none"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Whether a certificate names itself as its issuer, as roots do. What cannot be read does not.
#[must_use]
pub fn is_self_issued(der: &[u8]) -> bool {
    X509Certificate::from_der(der)
        .is_ok_and(|(_, certificate)| certificate.subject().as_raw() == certificate.issuer().as_raw())
}

#[cfg(test)]
mod tests;
