//! What is asked of a leaf that was just signed, before anybody gets it.
//!
//! What it says is compared with what was granted, each time. Its signature is verified each time when the key lies
//! outside of this process, and otherwise now and then: docs/decisions/self-check.md says why.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use rcgen::PublicKeyData;
use rustls_pki_types::CertificateDer;
use secplane_identity::{
    TrustBundle, TrustBundleSet,
    x509::{Certificate, CertificateError, Purpose, SvidError, verify_chain, verify_x509_svid},
};

use super::{
    leaf::{CertificateKind, Subject},
    names::DnsName,
    request::RequestedKey,
    validity::Validity,
};

/// Of so many signatures of a key in memory, one is verified: the first, and then every so manieth.
const ONE_IN: u64 = 64;

/// Checks the leaves of one issuing CA.
pub(super) struct SelfCheck {
    /// The issuing CA alone: that it leads to a root was verified when it was made.
    itself: TrustBundle,
    itself_as_set: TrustBundleSet,
    /// Whether every signature is verified.
    each: bool,
    signed: AtomicU64,
}

/// What a leaf has to say.
pub(super) struct Granted<'a> {
    pub(super) subject: &'a Subject,
    pub(super) key: &'a RequestedKey,
    pub(super) serial: &'a str,
    pub(super) validity: Validity,
    pub(super) issuer_key_id: &'a str,
}

/// What is wrong with a leaf that was just signed.
#[derive(Debug, thiserror::Error)]
pub enum SelfCheckError {
    /// It cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// It says something else than was granted.
    #[error("its {0} is not what was granted")]
    Differs(&'static str),
    /// Its receivers would refuse it.
    #[error(transparent)]
    Refused(#[from] SvidError),
}

impl SelfCheck {
    /// For the leaves of an issuing CA; `each` when every signature is to be verified.
    pub(super) fn new(itself: TrustBundle, each: bool) -> Self {
        Self { itself_as_set: itself.clone().into(), itself, each, signed: AtomicU64::new(0) }
    }

    /// Checks a leaf.
    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        granted: &Granted<'_>,
        now: SystemTime,
    ) -> Result<(), SelfCheckError> {
        let number = self.signed.fetch_add(1, Ordering::Relaxed);
        granted.compare(&Certificate::parse(leaf)?)?;
        if self.each || number.is_multiple_of(ONE_IN) {
            self.verify(leaf, granted.subject.kind(), now)?;
        }
        Ok(())
    }

    /// Verifies a leaf as its receivers will.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        kind: CertificateKind,
        now: SystemTime,
    ) -> Result<(), SelfCheckError> {
        let purpose = match kind {
            CertificateKind::X509Svid => {
                let chain = std::slice::from_ref(leaf);
                verify_x509_svid(chain, &self.itself_as_set, Purpose::ClientAuth, now)?;
                return Ok(());
            }
            CertificateKind::Server => Purpose::ServerAuth,
            CertificateKind::Client => Purpose::ClientAuth,
        };
        Ok(verify_chain(&Certificate::parse(leaf)?, &[], &self.itself, purpose, now)?)
    }
}

impl Granted<'_> {
    fn compare(&self, leaf: &Certificate) -> Result<(), SelfCheckError> {
        let Self { subject, key, serial, validity, issuer_key_id } = *self;
        let is_svid = subject.kind() == CertificateKind::X509Svid;
        let usage_fits = leaf
            .key_usage
            .is_some_and(|usage| usage.digital_signature && !usage.key_cert_sign && !usage.crl_sign);
        let says = [
            ("serial number", leaf.serial == serial),
            ("key", leaf.public_key_info == key.subject_public_key_info()),
            ("issuer's key identifier", leaf.authority_key_id.as_deref() == Some(issuer_key_id)),
            ("start", leaf.not_before == validity.not_before),
            ("end", leaf.not_after == validity.not_after),
            ("SPIFFE ID", leaf.uris.iter().map(String::as_str).eq(subject.spiffe_id().map(|id| id.as_str()))),
            ("DNS names", leaf.dns_names.iter().eq(subject.dns_names().iter().map(DnsName::as_str))),
            ("IP addresses", leaf.ip_addresses == subject.ip_addresses()),
            ("common name", leaf.common_name.as_deref() == subject.common_name()),
            ("basic constraints", !leaf.is_ca),
            ("key usage", usage_fits),
            ("server usage", leaf.server_auth == (is_svid || subject.kind() == CertificateKind::Server)),
            ("client usage", leaf.client_auth == (is_svid || subject.kind() == CertificateKind::Client)),
        ];
        match says.into_iter().find(|(_, fits)| !fits) {
            None => Ok(()),
            Some((what, _)) => Err(SelfCheckError::Differs(what)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secplane_identity::{KeyKind, PrivateKey, SpiffeId, TrustDomain};

    use super::*;
    use crate::authority::{
        CertificateRequest,
        testing::{DAY, authority, lifetimes, now, svid},
    };

    /// What a leaf says, one thing of it changed.
    #[rstest]
    #[case::serial("serial number")]
    #[case::key("key")]
    #[case::issuer("issuer's key identifier")]
    #[case::end("end")]
    #[case::id("SPIFFE ID")]
    #[case::dns("DNS names")]
    fn refuses_what_was_not_granted(#[case] changed: &str) {
        let request = |key: &PrivateKey| CertificateRequest::parse(&key.bare_request().unwrap()).unwrap();
        let key = PrivateKey::generate_kind(KeyKind::EcP256).unwrap();
        let (_, issuing) = authority(KeyKind::EcP256);
        let signed = issuing.sign(&request(&key), svid(), None, &lifetimes(), now()).unwrap();
        let other = request(&PrivateKey::generate().unwrap());
        let (mut subject, mut request) = (svid(), request(&key));
        let (mut serial, mut validity, mut issuer) =
            (signed.serial.clone(), signed.validity, signed.issuer_key_id.clone());
        let granted_as_it_is = Granted {
            subject: &subject,
            key: request.key(),
            serial: &serial,
            validity,
            issuer_key_id: &issuer,
        };
        let leaf = Certificate::parse(&signed.chain[0]).unwrap();
        granted_as_it_is.compare(&leaf).unwrap();
        let Subject::X509Svid { id, dns_names } = &mut subject else { unreachable!() };
        match changed {
            "serial number" => serial.push('0'),
            "key" => request = other,
            "issuer's key identifier" => issuer.push('0'),
            "end" => validity.not_after += DAY,
            "SPIFFE ID" => *id = SpiffeId::parse("spiffe://example.org/b").unwrap(),
            _ => dns_names.clear(),
        }
        let granted = Granted {
            subject: &subject,
            key: request.key(),
            serial: &serial,
            validity,
            issuer_key_id: &issuer,
        };
        let error = granted.compare(&leaf).unwrap_err();
        assert!(matches!(error, SelfCheckError::Differs(what) if what == changed), "{error}");
    }

    /// A leaf of another CA says the right things but for the signature.
    #[rstest]
    #[case::each(true, 64)]
    #[case::now_and_then(false, 1)]
    fn verifies_signatures(#[case] each: bool, #[case] refused: usize) {
        let key = PrivateKey::generate().unwrap();
        let request = CertificateRequest::parse(&key.bare_request().unwrap()).unwrap();
        let (_, issuing) = authority(KeyKind::EcP256);
        let (_, other) = authority(KeyKind::EcP256);
        let signed = other.sign(&request, svid(), None, &lifetimes(), now()).unwrap();
        let itself =
            TrustBundle::new(TrustDomain::parse("example.org").unwrap(), [&issuing.certificate().der])
                .unwrap();
        let check = SelfCheck::new(itself, each);
        let subject = svid();
        let granted = Granted {
            subject: &subject,
            key: request.key(),
            serial: &signed.serial,
            validity: signed.validity,
            issuer_key_id: &signed.issuer_key_id,
        };
        let results = (0..ONE_IN).map(|_| check.check(&signed.chain[0], &granted, now()));
        let refusals: Vec<_> = results.filter_map(Result::err).collect();
        assert_eq!(refusals.len(), refused);
        assert!(refusals.iter().all(|error| matches!(error, SelfCheckError::Refused(_))));
    }

    #[test]
    fn verifies_as_the_receivers_of_each_kind_will() {
        let key = PrivateKey::generate().unwrap();
        let (_, issuing) = authority(KeyKind::EcP256);
        let sign = |subject| {
            let request = CertificateRequest::parse(&key.bare_request().unwrap()).unwrap();
            issuing.sign(&request, subject, None, &lifetimes(), now()).unwrap().chain.swap_remove(0)
        };
        let itself =
            TrustBundle::new(TrustDomain::parse("example.org").unwrap(), [&issuing.certificate().der])
                .unwrap();
        let check = SelfCheck::new(itself, true);
        let fits = |leaf: &CertificateDer<'_>, kind| check.verify(leaf, kind, now()).is_ok();
        let leaf = sign(svid());
        assert!(fits(&leaf, CertificateKind::X509Svid));
        assert!(fits(&leaf, CertificateKind::Server), "an SVID serves a server too");
        let mut spoiled = leaf.to_vec();
        *spoiled.last_mut().unwrap() ^= 1;
        assert!(!fits(&spoiled.into(), CertificateKind::X509Svid));
        let client = Subject::Client { common_name: "alice".into(), dns_names: vec![], ip_addresses: vec![] };
        let leaf = sign(client);
        assert!(fits(&leaf, CertificateKind::Client));
        assert!(!fits(&leaf, CertificateKind::Server));
        assert!(!fits(&leaf, CertificateKind::X509Svid));
    }
}
