//! Certificate revocation lists (RFC 5280, section 5): one complete list an issuing CA, never a delta.

use std::time::SystemTime;

use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls_pki_types::CertificateRevocationListDer;
use secplane_identity::{TrustDomain, x509::Certificate};
use x509_parser::{
    prelude::{FromDer, X509Certificate},
    revocation_list::CertificateRevocationList,
};

use super::{
    ca::CaError,
    ca_key::CaKey,
    domain_ca::{may_sign_lists, signing_issuer},
};

/// A certificate that is revoked, as its issuer's list says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedCertificate {
    /// Its serial number.
    pub serial: u128,
    /// Since when; to the second.
    pub revoked_at: SystemTime,
    /// Why.
    pub reason: CrlReason,
}

/// Why a certificate is revoked (RFC 5280, section 5.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CrlReason {
    /// Nobody says; the list leaves the reason out then.
    #[default]
    Unspecified,
    /// The private key is, or may be, in other hands.
    KeyCompromise,
    /// The issuing CA's key is.
    CaCompromise,
    /// The holder is no longer who the certificate says.
    AffiliationChanged,
    /// Another certificate takes its place.
    Superseded,
    /// It is no longer needed.
    CessationOfOperation,
    /// The holder may no longer do what it was for.
    PrivilegeWithdrawn,
}

/// A list to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// Grows with every list of an issuer (section 5.2.3); at least 1.
    pub number: u64,
    /// When it was made; to the second.
    pub this_update: SystemTime,
    /// When the next one is there at the latest.
    pub next_update: SystemTime,
    /// The revoked certificates of the issuer.
    pub revoked: Vec<RevokedCertificate>,
}

/// A CA as the signer of its revocation lists. It may long have ceased to sign certificates.
pub struct ListSigner {
    certificate: Certificate,
    issuer: Issuer<'static, CaKey>,
}

impl ListSigner {
    /// Joins the DER certificate of a CA and its key.
    ///
    /// # Errors
    /// When they do not belong together, or the certificate is not that of a CA of the trust domain that may sign lists.
    pub fn new(trust_domain: &TrustDomain, der: &[u8], key: CaKey) -> Result<Self, CaError> {
        let certificate = Certificate::parse(der)?;
        let issuer = signing_issuer(trust_domain, &certificate, key)?;
        if !may_sign_lists(&certificate) {
            let reason = "its key usage lacks cRLSign: it signs no revocation list".to_owned();
            return Err(CaError::Unfit { serial: certificate.serial, reason });
        }
        Ok(Self { certificate, issuer })
    }

    /// Signs a complete list of what of this CA is revoked, and reads it back: what leaves is what was meant.
    ///
    /// # Errors
    /// When `next_update` is not after `this_update`, or the signed list does not say what it should.
    pub fn sign(&self, list: &RevocationList) -> Result<CertificateRevocationListDer<'static>, CrlError> {
        let key_id = hex::decode(self.certificate.subject_key_id.as_deref().unwrap_or_default())
            .map_err(|_| CrlError::Differs("the issuer's key identifier"))?;
        let signed = CertificateRevocationListParams {
            this_update: list.this_update.into(),
            next_update: list.next_update.into(),
            crl_number: SerialNumber::from_slice(&list.number.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: list.revoked.iter().map(RevokedCertificate::params).collect(),
            key_identifier_method: KeyIdMethod::PreSpecified(key_id),
        }
        .signed_by(&self.issuer)
        .map_err(CrlError::Encode)?;
        self.check_crl(signed.der(), list)?;
        Ok(signed.into())
    }

    fn check_crl(&self, der: &[u8], list: &RevocationList) -> Result<(), CrlError> {
        let (_, issuer) = X509Certificate::from_der(&self.certificate.der)
            .map_err(|_| CrlError::Differs("the issuer's certificate"))?;
        let (rest, read) =
            CertificateRevocationList::from_der(der).map_err(|_| CrlError::Differs("the encoding"))?;
        let differs = |what| Err(CrlError::Differs(what));
        if !rest.is_empty() {
            return differs("the encoding");
        }
        if read.verify_signature(issuer.public_key()).is_err() {
            return differs("the signature");
        }
        if read.issuer().as_raw() != issuer.subject().as_raw() {
            return differs("the issuer");
        }
        if read.crl_number().is_none_or(|number| *number != list.number.into()) {
            return differs("the number");
        }
        let dates = |read: i64, meant: SystemTime| read == crate::instant::unix(meant);
        let has_next = read.next_update().is_some_and(|next| dates(next.timestamp(), list.next_update));
        if !dates(read.last_update().timestamp(), list.this_update) || !has_next {
            return differs("the dates");
        }
        let same = read.iter_revoked_certificates().count() == list.revoked.len()
            && read.iter_revoked_certificates().zip(&list.revoked).all(|(read, meant)| {
                *read.serial() == meant.serial.into()
                    && dates(read.revocation_date.timestamp(), meant.revoked_at)
            });
        if same { Ok(()) } else { differs("the revoked certificates") }
    }
}

impl RevokedCertificate {
    fn params(&self) -> RevokedCertParams {
        use rcgen::RevocationReason as Wire;
        let reason = match self.reason {
            CrlReason::Unspecified => None,
            CrlReason::KeyCompromise => Some(Wire::KeyCompromise),
            CrlReason::CaCompromise => Some(Wire::CaCompromise),
            CrlReason::AffiliationChanged => Some(Wire::AffiliationChanged),
            CrlReason::Superseded => Some(Wire::Superseded),
            CrlReason::CessationOfOperation => Some(Wire::CessationOfOperation),
            CrlReason::PrivilegeWithdrawn => Some(Wire::PrivilegeWithdrawn),
        };
        RevokedCertParams {
            serial_number: SerialNumber::from_slice(&self.serial.to_be_bytes()),
            revocation_time: self.revoked_at.into(),
            reason_code: reason,
            invalidity_date: None,
        }
    }
}

/// Why a revocation list cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    /// It cannot be encoded or signed.
    #[error("the revocation list could not be made: {0}")]
    Encode(#[source] rcgen::Error),
    /// What was signed says something else.
    #[error("the revocation list that was just signed does not read back as it was meant: {0} differs")]
    Differs(&'static str),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use rstest::rstest;
    use secplane_identity::{KeyKind, PrivateKey};

    use super::*;
    use crate::authority::testing::{DAY, now, root, trust_domain};

    /// An issuing CA with a key of a kind.
    fn signer(kind: KeyKind) -> ListSigner {
        let key = PrivateKey::generate_kind(kind).unwrap();
        let issuing = root(kind).issue_ca(&key, DAY, now()).unwrap();
        let key = CaKey::try_from(&key).unwrap();
        ListSigner::new(&trust_domain(), &issuing.certificate().der, key).unwrap()
    }

    fn list(revoked: Vec<RevokedCertificate>) -> RevocationList {
        RevocationList { number: 7, this_update: now(), next_update: now() + DAY, revoked }
    }

    fn revoked(serial: u128, reason: CrlReason) -> RevokedCertificate {
        RevokedCertificate { serial, revoked_at: now() - Duration::from_secs(60), reason }
    }

    #[rstest]
    #[case(KeyKind::EcP256)]
    #[case(KeyKind::EcP384)]
    #[case(KeyKind::Ed25519)]
    #[case(KeyKind::Rsa2048)]
    fn signs_with_each_kind_of_key(#[case] kind: KeyKind) {
        let issuing = signer(kind);
        let der = issuing.sign(&list(vec![revoked(1, CrlReason::KeyCompromise)])).unwrap();
        let (_, read) = CertificateRevocationList::from_der(&der).unwrap();
        let oids: Vec<_> = read.extensions().iter().map(|e| (e.oid.to_id_string(), e.critical)).collect();
        // Authority key identifier and CRL number, neither critical (sections 5.2.1 and 5.2.3).
        assert_eq!(oids, [("2.5.29.35".to_owned(), false), ("2.5.29.20".to_owned(), false)]);
        let key_id = format!("{:?}", read.extensions()[0].parsed_extension());
        assert!(key_id.contains("key_identifier: Some"), "{key_id}");
        assert_eq!(read.version().unwrap().0, 1, "version 2");
    }

    #[test]
    fn says_the_reason_only_when_there_is_one() {
        let issuing = signer(KeyKind::EcP256);
        let der = issuing
            .sign(&list(vec![revoked(1, CrlReason::Unspecified), revoked(2, CrlReason::Superseded)]))
            .unwrap();
        let (_, read) = CertificateRevocationList::from_der(&der).unwrap();
        let reasons: Vec<_> = read
            .iter_revoked_certificates()
            .map(|entry| entry.reason_code().map(|(_, code)| code.0))
            .collect();
        assert_eq!(reasons, [None, Some(4)]);
    }

    #[test]
    fn leaves_an_empty_list_out() {
        let issuing = signer(KeyKind::EcP256);
        let der = issuing.sign(&list(vec![])).unwrap();
        let (_, read) = CertificateRevocationList::from_der(&der).unwrap();
        assert_eq!(read.iter_revoked_certificates().count(), 0);
    }

    #[test]
    fn refuses_a_list_that_ends_before_it_begins() {
        let issuing = signer(KeyKind::EcP256);
        let refused = issuing.sign(&RevocationList { next_update: now(), ..list(vec![]) });
        assert!(matches!(refused, Err(CrlError::Encode(_))));
    }

    #[test]
    fn notices_a_list_that_says_something_else() {
        let issuing = signer(KeyKind::EcP256);
        let other = signer(KeyKind::EcP256);
        let meant = list(vec![revoked(1, CrlReason::Superseded)]);
        let der = issuing.sign(&meant).unwrap();
        assert!(matches!(other.check_crl(&der, &meant), Err(CrlError::Differs("the signature"))));
        let differs = |meant: RevocationList| match issuing.check_crl(&der, &meant) {
            Err(CrlError::Differs(what)) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(differs(RevocationList { number: 8, ..meant.clone() }), "the number");
        assert_eq!(differs(RevocationList { next_update: now() + DAY * 2, ..meant.clone() }), "the dates");
        assert_eq!(differs(list(vec![revoked(2, CrlReason::Superseded)])), "the revoked certificates");
        assert_eq!(differs(list(vec![])), "the revoked certificates");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn says_every_serial(serials in proptest::collection::vec(1_u128.., 0..20), number in 1_u64..) {
            let issuing = signer(KeyKind::EcP256);
            let entries = serials.iter().map(|serial| revoked(*serial, CrlReason::default())).collect();
            let der = issuing.sign(&RevocationList { number, ..list(entries) }).unwrap();
            let (_, read) = CertificateRevocationList::from_der(&der).unwrap();
            let said: Vec<_> = read.iter_revoked_certificates().map(|entry| entry.serial().clone()).collect();
            let meant: Vec<_> = serials.iter().map(|serial| (*serial).into()).collect();
            prop_assert_eq!(said, meant);
        }
    }
}
