//! The CA that signs leaves.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, Issuer};
use rustls_pki_types::CertificateDer;
use secplane_identity::{
    PrivateKey, SpiffeId, TrustBundle, TrustDomain,
    x509::{Certificate, Purpose, verify_x509_svid},
};

use super::{
    ca::{BelowCa, CaError, CaSigner, crl_distribution, random_serial},
    ca_key::CaKey,
    domain_ca::{DomainCa, signing_issuer},
    leaf::{CertificateKind, SignError, SignedCertificate, Subject},
    request::{CertificateRequest, RequestedKey},
    self_check::{Granted, SelfCheck},
    validity::{Lifetimes, Validity},
};

/// A CA that signs leaves. It lives a day or so and is never in a trust bundle.
///
/// That its certificate leads to a root, for servers and clients alike, was verified when it was made: a leaf needs
/// to be checked against this CA alone.
pub struct IssuingCa {
    trust_domain: TrustDomain,
    certificate: Certificate,
    issuer: Issuer<'static, CaKey>,
    key_id: String,
    /// What follows the leaf in every chain: this CA and what is between it and the root.
    below_root: Vec<CertificateDer<'static>>,
    self_check: SelfCheck,
    crl_url: Option<String>,
}

impl IssuingCa {
    /// Joins an issuing CA's certificate and key, below the CA that signed it, and checks by a throw-away SVID that
    /// what it signs at `now` is accepted by whoever trusts the roots.
    ///
    /// # Errors
    /// When they do not belong together, or what it signs does not verify.
    pub fn restore(der: &[u8], key: CaKey, signed_by: &DomainCa, now: SystemTime) -> Result<Self, CaError> {
        let trust_domain = signed_by.trust_domain().clone();
        let certificate = Certificate::parse(der)?;
        let key_id = key.id();
        let is_in_memory = key.is_in_memory();
        let issuer = signing_issuer(&trust_domain, &certificate, key)?;
        let mut below_root = vec![certificate.der.clone()];
        below_root.extend(signed_by.below_root().iter().cloned());
        let itself = TrustBundle::new(trust_domain.clone(), [&certificate.der])?;
        let self_check = SelfCheck::new(itself, !is_in_memory);
        let ca = Self { trust_domain, certificate, issuer, key_id, below_root, self_check, crl_url: None };
        ca.check_with_a_throwaway(signed_by.root_bundle(), now)?;
        Ok(ca)
    }

    /// The same CA, naming in every leaf where its CRL is found (RFC 5280, section 4.2.1.13).
    #[must_use]
    pub fn with_crl_url(self, url: Option<String>) -> Self {
        Self { crl_url: url, ..self }
    }

    /// Signs a leaf for the key of a request whose names have been granted.
    ///
    /// A `lifetime` of `None` is the default of the kind, or the longest allowed if that is shorter: what nobody asked
    /// for is not refused. An X.509-SVID is cut down to the longest too, as its clients know it; a server or client
    /// certificate of more is refused, for people renew them by the date that they asked for. The end is never after the
    /// issuing CA's.
    ///
    /// # Errors
    /// When the lifetime is refused, the issuing CA has expired, or the result does not verify.
    pub fn sign(
        &self,
        request: &CertificateRequest,
        subject: Subject,
        lifetime: Option<Duration>,
        lifetimes: &Lifetimes,
        now: SystemTime,
    ) -> Result<SignedCertificate, SignError> {
        let longest = lifetimes.longest;
        let lifetime = match lifetime {
            Some(wanted) if wanted > longest && subject.kind() != CertificateKind::X509Svid => {
                return Err(SignError::TooLong { wanted: wanted.as_secs(), longest: longest.as_secs() });
            }
            wanted => wanted.unwrap_or_else(|| subject.lifetime(lifetimes)).min(longest),
        };
        self.sign_key(request.key(), subject, lifetime, now)
    }

    fn sign_key(
        &self,
        key: &RequestedKey,
        subject: Subject,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<SignedCertificate, SignError> {
        if now >= self.certificate.not_after {
            return Err(SignError::IssuerExpired);
        }
        let serial = random_serial().map_err(|_| SignError::Randomness)?;
        let validity = Validity::starting(now, lifetime, Some(self.certificate.not_after));
        let mut params = subject.profile(key, serial, validity)?;
        params.crl_distribution_points = crl_distribution(self.crl_url.as_deref());
        let leaf = params.signed_by(key, &self.issuer).map_err(SignError::Encode)?.der().clone();
        let serial = format!("{serial:x}");
        let granted =
            Granted { subject: &subject, key, serial: &serial, validity, issuer_key_id: &self.key_id };
        self.self_check.check(&leaf, &granted, now).map_err(SignError::SelfCheck)?;
        let mut chain = Vec::with_capacity(1 + self.below_root.len());
        chain.push(leaf);
        chain.extend_from_slice(&self.below_root);
        Ok(SignedCertificate { serial, subject, validity, chain, issuer_key_id: self.key_id.clone() })
    }

    /// Signs the CA of a downstream authority for its key. It may sign leaves, and CAs that sign leaves, as our own
    /// authority does below it; a further authority below those is refused. Answers its chain, the new CA first, the
    /// root excepted.
    ///
    /// # Errors
    /// When this CA has expired.
    pub fn sign_downstream_ca(
        &self,
        key: &RequestedKey,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Vec<CertificateDer<'static>>, CaError> {
        let signer = CaSigner {
            trust_domain: &self.trust_domain,
            certificate: &self.certificate,
            issuer: &self.issuer,
            crl_url: self.crl_url.as_deref(),
        };
        let constraints = BasicConstraints::Constrained(1);
        let mut chain =
            vec![signer.sign(key, BelowCa { constraints, unit: Some("DOWNSTREAM-1"), lifetime }, now)?];
        chain.extend_from_slice(&self.below_root);
        Ok(chain)
    }

    /// Verifies a chain from a leaf of this CA up to the roots, for both purposes.
    fn check_with_a_throwaway(&self, roots: &TrustBundle, now: SystemTime) -> Result<(), CaError> {
        let failed = |error: &dyn std::error::Error| CaError::Throwaway(error.to_string());
        let id = SpiffeId::from_parts(&self.trust_domain, "/throwaway").map_err(|error| failed(&error))?;
        let subject = Subject::X509Svid { id, dns_names: Vec::new() };
        let key = CaKey::try_from(&PrivateKey::generate()?)?.public();
        let signed =
            self.sign_key(&key, subject, Duration::from_secs(60), now).map_err(|error| failed(&error))?;
        let roots = roots.clone().into();
        for purpose in [Purpose::ServerAuth, Purpose::ClientAuth] {
            verify_x509_svid(&signed.chain, &roots, purpose, now).map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What follows the leaf in every chain: this CA first, the root excepted.
    #[must_use]
    pub fn below_root(&self) -> &[CertificateDer<'static>] {
        &self.below_root
    }

    /// Lower-case hex of the subject key identifier.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// When it is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        Validity { not_before: self.certificate.not_before, not_after: self.certificate.not_after }
    }
}

#[cfg(test)]
mod tests;
