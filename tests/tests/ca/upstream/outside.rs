//! A CA of somebody else, which certifies the authority's: a root, and another CA between it and ours.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;
use secplane_identity::{PrivateKey, trust_bundle::to_certificate_pem};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

pub(super) const DAY: Duration = Duration::from_secs(86_400);

pub(super) struct Outside {
    pub(super) root: CertificateDer<'static>,
    pub(super) between: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Outside {
    pub(super) fn new() -> Self {
        Self::with_root_until(SystemTime::now() + DAY * 100)
    }

    pub(super) fn with_root_until(end: SystemTime) -> Self {
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut of_root = params("the root");
        of_root.not_after = end.into();
        let root = of_root.self_signed(&root_key).unwrap().der().clone();
        let below = params("a policy CA");
        let between = below.signed_by(&key, &Issuer::new(of_root, root_key)).unwrap().der().clone();
        Self { root, between, issuer: Issuer::new(below, key) }
    }

    /// Signs a CA, as `change` has it.
    pub(super) fn sign(
        &self,
        key: &impl PublicKeyData,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let mut params = params("a mesh");
        change(&mut params);
        params.signed_by(key, &self.issuer).unwrap().der().clone()
    }
}

fn params(name: &str) -> CertificateParams {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = ((now - DAY).into(), (now + DAY * 100).into());
    params.use_authority_key_identifier_extension = true;
    params
}

/// The EC P-256 key of a certificate request that its sender proved to hold.
pub(super) struct RequestedKey(Vec<u8>);

impl RequestedKey {
    pub(super) fn of(csr: &[u8]) -> Self {
        let (_, request) = X509CertificationRequest::from_der(csr).unwrap();
        request.verify_signature().unwrap();
        Self(request.certification_request_info.subject_pki.subject_public_key.data.to_vec())
    }
}

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// What lies in the four files of Istio's `cacerts`.
pub(super) struct CaCerts {
    pub(super) key: PrivateKey,
    pub(super) own: CertificateDer<'static>,
    pub(super) between: Vec<CertificateDer<'static>>,
    pub(super) root: CertificateDer<'static>,
}

impl CaCerts {
    pub(super) fn below(outside: &Outside) -> Self {
        let key = PrivateKey::generate().unwrap();
        let own = outside.sign(&key.signing_pair().unwrap(), |_| {});
        Self { key, own, between: vec![outside.between.clone()], root: outside.root.clone() }
    }

    /// Signs the certificate anew, as `change` has it.
    pub(super) fn signed_by(&mut self, outside: &Outside, change: impl FnOnce(&mut CertificateParams)) {
        self.own = outside.sign(&self.key.signing_pair().unwrap(), change);
    }

    pub(super) fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let key = folder.join("ca-key.pem");
        fs::write(&key, self.key.to_pem().as_str()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let pem = |certificates: &[&CertificateDer<'static>]| {
            to_certificate_pem(certificates.iter().map(|der| der.as_ref()))
        };
        let chain: Vec<_> = [&self.own].into_iter().chain(&self.between).collect();
        fs::write(folder.join("ca-cert.pem"), pem(&[&self.own])).unwrap();
        fs::write(folder.join("cert-chain.pem"), pem(&chain)).unwrap();
        fs::write(folder.join("root-cert.pem"), pem(&[&self.root])).unwrap();
    }
}
