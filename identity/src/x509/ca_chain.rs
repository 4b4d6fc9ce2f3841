//! Whether the certificate of a CA leads to a root. Path validation as TLS knows it takes leaves alone.

use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    Certificate,
    verify::{SvidError, check_bounds, read_ca_certificates},
};
use crate::TrustBundle;

/// Verifies that every certificate of a CA's chain (the CA first, the root not needed) is a CA certificate that is valid
/// at `at`, and was signed by the next one, the last by a root of `bundle`.
///
/// What else a path asks, such as the lengths that its certificates allow, is seen when a leaf is verified.
///
/// # Errors
/// When the chain is empty or leads to no such root, or a certificate of it is out of date or not a CA's.
pub fn verify_ca_chain(
    chain: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    at: SystemTime,
) -> Result<(), SvidError> {
    let certificates: Vec<Certificate> = read_ca_certificates(chain)?;
    for certificate in &certificates {
        check_bounds(certificate, certificates.len(), at)?;
    }
    let last = chain.last().ok_or(SvidError::EmptyChain)?;
    let holds_together = chain.windows(2).all(|pair| is_signed_by(&pair[0], &pair[1]));
    if holds_together && bundle.authorities().any(|root| is_signed_by(last, &root.der)) {
        Ok(())
    } else {
        Err(SvidError::UnknownIssuer { trust_domain: bundle.trust_domain().clone() })
    }
}

impl Certificate {
    /// Whether a CA's key signed this certificate, whatever else a path asks.
    #[must_use]
    pub fn is_signed_by(&self, ca: &Self) -> bool {
        is_signed_by(&self.der, &ca.der)
    }
}

fn is_signed_by(der: &[u8], issuer: &[u8]) -> bool {
    let (Ok((_, certificate)), Ok((_, issuer))) =
        (X509Certificate::from_der(der), X509Certificate::from_der(issuer))
    else {
        return false;
    };
    certificate.issuer().as_raw() == issuer.subject().as_raw()
        && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

    use super::*;
    use crate::TrustDomain;

    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = ((now() - HOUR).into(), (now() + HOUR).into());
        params
    }

    /// A chain of two CAs, and the root above.
    fn chain() -> (Vec<CertificateDer<'static>>, CertificateDer<'static>) {
        let (root_key, between_key, key) =
            (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        // All roots of these tests have one name: the signature decides.
        let of_root = params("root");
        let root = of_root.self_signed(&root_key).unwrap().der().clone();
        let of_between = params("between");
        let root_issuer = Issuer::new(of_root, root_key);
        let between = of_between.signed_by(&between_key, &root_issuer).unwrap().der().clone();
        let ca = params("ca").signed_by(&key, &Issuer::new(of_between, between_key)).unwrap().der().clone();
        (vec![ca, between], root)
    }

    fn bundle(root: &CertificateDer<'static>) -> TrustBundle {
        TrustBundle::new(TrustDomain::parse("example.org").unwrap(), [root]).unwrap()
    }

    #[test]
    fn accepts_a_chain_that_leads_to_the_root() {
        let (chain, root) = chain();
        verify_ca_chain(&chain, &bundle(&root), now()).unwrap();
        verify_ca_chain(&chain[1..], &bundle(&root), now()).unwrap();
    }

    #[test]
    fn refuses_what_leads_elsewhere_or_is_out_of_date() {
        let ((right, root), (other, other_root)) = (chain(), chain());
        let unknown = |chain: &[CertificateDer<'static>], root: &CertificateDer<'static>| {
            matches!(verify_ca_chain(chain, &bundle(root), now()), Err(SvidError::UnknownIssuer { .. }))
        };
        assert!(unknown(&right, &other_root));
        assert!(unknown(&right[..1], &root), "the one between is missing");
        assert!(unknown(&[right[0].clone(), other[1].clone()], &other_root), "it was signed by another one");
        assert_eq!(verify_ca_chain(&[], &bundle(&root), now()), Err(SvidError::EmptyChain));
        assert_eq!(verify_ca_chain(&right, &bundle(&root), now() + HOUR * 2), Err(SvidError::Expired));
        assert_eq!(verify_ca_chain(&right, &bundle(&root), now() - HOUR * 2), Err(SvidError::NotYetValid));
    }
}
