// A certificate authority for tests and documentation examples, which include this file.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use secplane_identity::{PrivateKey, TrustBundle, TrustBundleSet, TrustDomain, X509Identity};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A root and an issuing CA of one trust domain.
pub(crate) struct Authority {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) root: Vec<u8>,
    pub(crate) issuing: Vec<u8>,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(trust_domain: &str) -> Self {
        let root_key = KeyPair::generate().unwrap();
        let root_params = ca_params("root");
        let root = root_params.self_signed(&root_key).unwrap().der().to_vec();
        let root_issuer = Issuer::new(root_params, root_key);
        let issuing_key = KeyPair::generate().unwrap();
        let issuing_params = ca_params("issuing");
        let issuing = issuing_params.signed_by(&issuing_key, &root_issuer).unwrap().der().to_vec();
        Self {
            trust_domain: TrustDomain::parse(trust_domain).unwrap(),
            root,
            issuing,
            issuer: Issuer::new(issuing_params, issuing_key),
        }
    }

    /// The trust bundle set that trusts this authority alone.
    pub(crate) fn bundles(&self) -> TrustBundleSet {
        TrustBundle::new(self.trust_domain.clone(), [&self.root]).unwrap().into()
    }

    /// An SVID with an EC P-256 key, valid from yesterday until tomorrow.
    pub(crate) fn identity(&self, id: &str) -> X509Identity {
        self.identity_with(&KeyPair::generate().unwrap(), leaf_params(&[id]))
    }

    /// An SVID of another shape.
    pub(crate) fn identity_with(&self, key: &KeyPair, params: CertificateParams) -> X509Identity {
        let chain = vec![self.leaf(key, params).into(), self.issuing.clone().into()];
        X509Identity::new(chain, PrivateKey::from_pkcs8(key.serialize_der()).unwrap()).unwrap()
    }

    /// The DER of the issuing CA's revocation list with these serial numbers (hex), made now and good for a day.
    #[allow(dead_code, reason = "the documentation examples that include this file need none")]
    pub(crate) fn revocation_list(&self, serials: &[&str]) -> Vec<u8> {
        let now = SystemTime::now();
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            // Leading zeros are left out of a serial number, so its digits may be odd in number.
            serial_number: SerialNumber::from_slice(&hex::decode(format!("{serial:0>40}")).unwrap()),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + DAY).into(),
            crl_number: SerialNumber::from(7_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    /// The DER of a leaf of any shape.
    pub(crate) fn leaf(&self, key: &KeyPair, params: CertificateParams) -> Vec<u8> {
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (SystemTime::now() - 30 * DAY).into();
    params.not_after = (SystemTime::now() + 30 * DAY).into();
    params
}

/// A leaf that names `uris`, valid from yesterday until tomorrow.
pub(crate) fn leaf_params(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + DAY).into();
    params
}
