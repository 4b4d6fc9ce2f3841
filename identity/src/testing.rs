//! A small authority for tests: real certificates, with whatever is wrong in them that a test wants.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber as RcgenSerial,
};
use rustls_pki_types::CertificateDer;

use crate::{IdentitySnapshot, PrivateKey, TrustBundle, TrustDomain, X509Identity, revocation::SerialNumber};

/// A CA with its key.
pub(crate) struct TestCa {
    pub(crate) der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    trust_domain: TrustDomain,
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// The parameters of a good leaf, for a test to spoil.
pub(crate) fn leaf(id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri(id)];
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(60)).into();
    params.not_after = (now + Duration::from_secs(3600)).into();
    params
}

/// The parameters of a good revocation list, for a test to spoil.
pub(crate) fn revocation_list_params(
    number: u64,
    serials: &[SerialNumber],
) -> CertificateRevocationListParams {
    let now = SystemTime::now();
    let revoked = |serial: &SerialNumber| RevokedCertParams {
        serial_number: RcgenSerial::from_slice(serial.as_bytes()),
        revocation_time: now.into(),
        reason_code: None,
        invalidity_date: None,
    };
    CertificateRevocationListParams {
        this_update: (now - Duration::from_secs(60)).into(),
        next_update: (now + Duration::from_secs(3600)).into(),
        crl_number: RcgenSerial::from(number),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

/// A good revocation list.
pub(crate) fn revocation_list(ca: &TestCa, number: u64, serials: &[SerialNumber]) -> Vec<u8> {
    ca.sign_revocation_list(revocation_list_params(number, serials))
}

fn ca_params(trust_domain: &TrustDomain, name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.subject_alt_names = vec![uri(&trust_domain.id())];
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(60)).into();
    params.not_after = (now + Duration::from_secs(86_400)).into();
    params
}

impl TestCa {
    pub(crate) fn root(trust_domain: &str) -> Self {
        Self::spoiled_root(trust_domain, |_| {})
    }

    pub(crate) fn spoiled_root(trust_domain: &str, spoil: impl FnOnce(&mut CertificateParams)) -> Self {
        let trust_domain = TrustDomain::parse(trust_domain).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = ca_params(&trust_domain, "root");
        spoil(&mut params);
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { der, issuer: Issuer::new(params, key), trust_domain }
    }

    pub(crate) fn intermediate(&self, spoil: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = ca_params(&self.trust_domain, "intermediate");
        spoil(&mut params);
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self { der, issuer: Issuer::new(params, key), trust_domain: self.trust_domain.clone() }
    }

    pub(crate) fn sign(&self, params: &CertificateParams) -> (CertificateDer<'static>, PrivateKey) {
        let key = PrivateKey::generate().unwrap();
        let der = params.signed_by(&key.signing_pair().unwrap(), &self.issuer).unwrap().der().clone();
        (der, key)
    }

    pub(crate) fn sign_revocation_list(&self, params: CertificateRevocationListParams) -> Vec<u8> {
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        TrustBundle::new(self.trust_domain.clone(), [&self.der]).unwrap()
    }

    /// A workload of this CA that trusts this CA.
    pub(crate) fn workload(&self, params: &CertificateParams) -> IdentitySnapshot {
        let (leaf, key) = self.sign(params);
        IdentitySnapshot {
            identity: Some(X509Identity::new(vec![leaf], key).unwrap()),
            bundles: self.bundle().into(),
            ..IdentitySnapshot::default()
        }
    }
}
