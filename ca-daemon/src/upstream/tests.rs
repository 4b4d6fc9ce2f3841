use std::{os::unix::fs::PermissionsExt, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rstest::rstest;
use secplane_identity::{KeyKind, trust_bundle::to_certificate_pem};

use super::*;
use crate::keys::{KeyStorage, WrappingKey};

const DAY: Duration = Duration::from_secs(86_400);
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = ((now() - DAY).into(), (now() + DAY * 100).into());
    params.use_authority_key_identifier_extension = true;
    params
}

/// An outside root with a CA below it.
struct Outside {
    root: CertificateDer<'static>,
    between: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Outside {
    fn new() -> Self {
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root_params = params("root");
        let root = root_params.self_signed(&root_key).unwrap().der().clone();
        let below = params("between");
        let between = below.signed_by(&key, &Issuer::new(root_params, root_key)).unwrap().der().clone();
        Self { root, between, issuer: Issuer::new(below, key) }
    }

    fn sign(&self, key: &impl rcgen::PublicKeyData) -> CertificateDer<'static> {
        params("mesh").signed_by(key, &self.issuer).unwrap().der().clone()
    }
}

fn pem(certificates: &[&CertificateDer<'static>]) -> String {
    to_certificate_pem(certificates.iter().map(|der| der.as_ref()))
}

/// A folder as Istio has it.
fn cacerts(outside: &Outside, kind: KeyKind) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let key = PrivateKey::generate_kind(kind).unwrap();
    let own = outside.sign(&key.signing_pair().unwrap());
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("ca-key.pem", &key.to_pem());
    write("ca-cert.pem", &pem(&[&own]));
    write("cert-chain.pem", &pem(&[&own, &outside.between, &outside.root]));
    write("root-cert.pem", &pem(&[&outside.root]));
    folder
}

#[rstest]
#[case(KeyKind::EcP256)]
#[case(KeyKind::EcP384)]
#[case(KeyKind::Rsa2048)]
fn takes_a_ca_out_of_istio_s_files(#[case] kind: KeyKind) {
    let outside = Outside::new();
    let folder = cacerts(&outside, kind);
    let ca = PemCa::read(folder.path()).unwrap().domain_ca(&trust_domain(), now()).unwrap();
    assert_eq!(ca.below_root().len(), 2);
    assert_eq!(ca.roots().next().unwrap().der, outside.root);
}

#[test]
fn takes_a_root_out_of_the_files_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let key = PrivateKey::generate().unwrap();
    let root =
        DomainCa::self_signed(&trust_domain(), CaKey::try_from(&key).unwrap(), DAY * 10, now()).unwrap();
    fs::write(folder.path().join("ca-key.pem"), key.to_pem().as_str()).unwrap();
    fs::set_permissions(folder.path().join("ca-key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["ca-cert.pem", "root-cert.pem"] {
        fs::write(folder.path().join(name), pem(&[&root.certificate().der])).unwrap();
    }
    let ca = PemCa::read(folder.path()).unwrap().domain_ca(&trust_domain(), now()).unwrap();
    assert!(ca.is_root());
}

#[test]
fn refuses_files_that_do_not_belong_together() {
    let outside = Outside::new();
    let read = |folder: &tempfile::TempDir| {
        PemCa::read(folder.path()).and_then(|ca| ca.domain_ca(&trust_domain(), now()).map(drop)).unwrap_err()
    };
    let folder = cacerts(&outside, KeyKind::EcP256);
    fs::set_permissions(folder.path().join("ca-key.pem"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(read(&folder), UpstreamError::Exposed { mode: 0o640, .. }));

    let (folder, other) = (cacerts(&outside, KeyKind::EcP256), cacerts(&outside, KeyKind::EcP256));
    fs::copy(other.path().join("ca-key.pem"), folder.path().join("ca-key.pem")).unwrap();
    assert!(matches!(read(&folder), UpstreamError::Ca(CaError::ForeignKey { .. })));

    let folder = cacerts(&outside, KeyKind::EcP256);
    fs::write(folder.path().join("root-cert.pem"), pem(&[&Outside::new().root])).unwrap();
    fs::write(folder.path().join("cert-chain.pem"), pem(&[&outside.between])).unwrap();
    assert!(matches!(read(&folder), UpstreamError::Ca(CaError::Throwaway(_))));

    let folder = cacerts(&outside, KeyKind::EcP256);
    fs::remove_file(folder.path().join("cert-chain.pem")).unwrap();
    assert!(matches!(read(&folder), UpstreamError::Ca(CaError::Throwaway(_))), "the one between is missing");
    fs::remove_file(folder.path().join("root-cert.pem")).unwrap();
    assert!(matches!(read(&folder), UpstreamError::Read { .. }));
}

#[tokio::test]
async fn has_its_request_answered() {
    let wrapping = WrappingKey::parse(KEY).unwrap();
    let keys = KeyStore::open(KeyStorage::Memory, wrapping, KeyKind::EcP256).await.unwrap();
    let outside = Outside::new();
    let answer = async |chain: Vec<CertificateDer<'static>>| {
        let roots = vec![outside.root.clone()];
        answered_request(&keys, &trust_domain(), chain, roots, now()).await
    };
    assert!(matches!(answer(vec![]).await, Err(UpstreamError::NoRequest)));

    let request = pending_request(&keys, &trust_domain()).await.unwrap().csr;
    let again = pending_request(&keys, &trust_domain()).await.unwrap().csr;
    let key_of = |request: &[u8]| {
        use x509_parser::prelude::{FromDer, X509CertificationRequest};
        let (_, request) = X509CertificationRequest::from_der(request).unwrap();
        request.certification_request_info.subject_pki.raw.to_vec()
    };
    assert_eq!(key_of(&request), key_of(&again), "one key until it is answered");

    let key = pending_key(&keys).await.unwrap().unwrap();
    let own = outside.sign(&key);
    assert!(matches!(answer(vec![]).await, Err(UpstreamError::NoChain)));
    assert!(matches!(answer(vec![own.clone()]).await, Err(UpstreamError::Ca(CaError::Throwaway(_)))));
    let foreign = outside.sign(&KeyPair::generate().unwrap());
    let refused = answer(vec![foreign, outside.between.clone()]).await;
    assert!(matches!(refused, Err(UpstreamError::Ca(CaError::ForeignKey { .. }))));
    let ca = answer(vec![own, outside.between.clone()]).await.unwrap();
    assert_eq!(ca.key_id(), key.id());
    forget_request(&keys).await.unwrap();
    let next = pending_request(&keys, &trust_domain()).await.unwrap().csr;
    assert_ne!(key_of(&next), key_of(&request));
}

/// Who puts the new chain in together with the new root signs at once below a root that followers do not have yet.
#[test]
fn advises_to_publish_the_other_root_before_anything_is_signed_below_it() {
    let advice = UpstreamError::OtherRoots.to_string();
    let steps = [
        "both roots into root-cert.pem",
        "rotation.publish_ahead",
        "the new certificate and chain",
        "take the old root out",
    ];
    let places: Vec<_> = steps.iter().map(|step| advice.find(step).unwrap()).collect();
    assert!(places.is_sorted(), "{advice}");
}
