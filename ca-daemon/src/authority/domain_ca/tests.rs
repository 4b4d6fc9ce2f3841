use rcgen::{DnType, KeyPair};
use rstest::rstest;
use secplane_identity::{
    KeyKind,
    x509::{Purpose, verify_chain, verify_x509_svid},
};

use super::*;
use crate::authority::testing::{DAY, ca_key, lifetimes, now, root, svid, trust_domain};

/// Somebody else's CA, of whatever shape.
struct OutsideCa {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl OutsideCa {
    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Acme");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = ((now() - DAY).into(), (now() + DAY * 1000).into());
        params.use_authority_key_identifier_extension = true;
        params
    }

    fn root() -> Self {
        let pair = KeyPair::generate().unwrap();
        let params = Self::params("Acme Root");
        let der = params.self_signed(&pair).unwrap().der().clone();
        Self { der, issuer: Issuer::new(params, pair) }
    }

    fn below(&self, name: &str) -> Self {
        let pair = KeyPair::generate().unwrap();
        let params = Self::params(name);
        let der = params.signed_by(&pair, &self.issuer).unwrap().der().clone();
        Self { der, issuer: Issuer::new(params, pair) }
    }

    fn sign(&self, key: &CaKey, spoil: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = Self::params("Acme Mesh");
        spoil(&mut params);
        params.signed_by(key, &self.issuer).unwrap().der().clone()
    }
}

#[rstest]
#[case(KeyKind::EcP256)]
#[case(KeyKind::EcP384)]
#[case(KeyKind::Ed25519)]
#[case(KeyKind::Rsa2048)]
fn makes_a_root_as_the_standard_wants_it(#[case] kind: KeyKind) {
    let root = root(kind);
    let certificate = root.certificate();
    assert!(certificate.is_ca && root.is_root() && root.below_root().is_empty());
    assert_eq!(certificate.uris, ["spiffe://example.org"]);
    let usage = certificate.key_usage.unwrap();
    assert!(usage.key_cert_sign && usage.crl_sign && !usage.digital_signature);
    assert!(certificate.subject.contains("O=SPIFFE"), "{}", certificate.subject);
    assert_eq!(certificate.subject_key_id.as_deref(), Some(root.key_id()));
    assert_eq!(root.key_id().len(), 40);
    assert_eq!(root.root_fingerprint(), Fingerprint::of(&certificate.der));
    assert!(root.above().is_empty());
}

#[test]
fn refuses_a_key_that_is_not_the_certificate_s() {
    let root = root(KeyKind::EcP256);
    let refused = DomainCa::restore(&trust_domain(), &root.certificate().der, &[], ca_key(KeyKind::EcP256));
    assert!(matches!(refused, Err(CaError::ForeignKey { .. })));
}

#[test]
fn signs_below_an_outside_root_with_the_whole_way_up_but_the_root() {
    let outside = OutsideCa::root();
    let between = outside.below("Acme Policy CA");
    let key = ca_key(KeyKind::EcP256);
    let der = between.sign(&key, |_| {});
    let above = [between.der.clone(), outside.der.clone()];
    let ca = DomainCa::restore(&trust_domain(), &der, &above, key.clone()).unwrap();
    ca.check(now()).unwrap();
    assert!(!ca.is_root());
    assert_eq!(ca.root_fingerprint(), Fingerprint::of(&outside.der));

    let issuing = ca.issue_ca(&PrivateKey::generate().unwrap(), DAY, now()).unwrap();
    let request = PrivateKey::generate().unwrap().bare_request().unwrap();
    let request = CertificateRequest::parse(&request).unwrap();
    let signed = issuing.sign(&request, svid(), None, &lifetimes(), now()).unwrap();
    assert_eq!(signed.chain.len(), 4);
    assert_eq!(signed.chain[1..], [issuing.certificate().der.clone(), der.clone(), between.der.clone()]);
    let bundle = TrustBundle::new(trust_domain(), [&outside.der]).unwrap();
    verify_x509_svid(&signed.chain, &bundle.into(), Purpose::ServerAuth, now()).unwrap();

    // What is kept of it is enough to find it again.
    let again = split_certificates(&ca.above()).unwrap();
    let again = DomainCa::restore(&trust_domain(), &ca.certificate().der, &again, key).unwrap();
    assert_eq!(again.below_root(), ca.below_root());
    assert_eq!(again.root_fingerprint(), ca.root_fingerprint());
}

#[test]
fn refuses_a_chain_that_does_not_hold() {
    let (outside, other) = (OutsideCa::root(), OutsideCa::root());
    let between = outside.below("Acme Policy CA");
    let key = ca_key(KeyKind::EcP256);
    let der = between.sign(&key, |_| {});
    let restore =
        |above: &[CertificateDer<'static>]| DomainCa::restore(&trust_domain(), &der, above, key.clone());
    assert!(matches!(restore(&[]), Err(CaError::NoRoot)));
    assert!(matches!(restore(std::slice::from_ref(&between.der)), Err(CaError::NoRoot)));
    let broken = restore(std::slice::from_ref(&outside.der)).unwrap();
    assert!(matches!(broken.check(now()), Err(CaError::Throwaway(_))), "the one between is missing");
    let foreign = restore(&[between.der.clone(), other.der.clone()]).unwrap();
    assert!(matches!(foreign.check(now()), Err(CaError::Throwaway(_))), "another root");
    let long: Vec<_> = (0..=MAX_CERTIFICATES_ABOVE_ISSUING)
        .map(|number| outside.below(&number.to_string()).der)
        .chain([outside.der.clone()])
        .collect();
    assert!(matches!(restore(&long), Err(CaError::ChainTooLong(_))));
}

#[test]
fn refuses_a_root_that_has_expired_above_a_ca_that_has_not() {
    let outside = OutsideCa::root();
    let key = ca_key(KeyKind::EcP256);
    let der = outside.sign(&key, |params| params.not_after = (now() + DAY * 3000).into());
    let ca = DomainCa::restore(&trust_domain(), &der, std::slice::from_ref(&outside.der), key).unwrap();
    ca.check(now()).unwrap();
    assert!(matches!(ca.check(now() + DAY * 1001), Err(CaError::Expired { .. })));
}

#[test]
fn refuses_a_ca_that_cannot_sign_here() {
    let outside = OutsideCa::root();
    let key = ca_key(KeyKind::EcP256);
    let restore = |spoil: fn(&mut CertificateParams)| {
        let der = outside.sign(&key, spoil);
        DomainCa::restore(&trust_domain(), &der, std::slice::from_ref(&outside.der), key.clone())
    };
    let not_a_ca = restore(|params| params.is_ca = IsCa::ExplicitNoCa);
    assert!(matches!(not_a_ca, Err(CaError::NotACaOf { .. } | CaError::Unfit { .. })));
    let no_certificates = restore(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    assert!(matches!(no_certificates, Err(CaError::Unfit { reason, .. }) if reason.contains("keyCertSign")));
    let another_domain = restore(|params| {
        params.subject_alt_names = vec![SanType::URI("spiffe://other.org".try_into().unwrap())];
    });
    assert!(matches!(another_domain, Err(CaError::NotACaOf { .. })));
    let no_further_ca = restore(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let says_why =
        matches!(&no_further_ca, Err(CaError::Unfit { reason, .. }) if reason.contains("path length is 0"));
    assert!(says_why, "it may sign leaves alone: {:?}", no_further_ca.err());
    let one_further_ca = restore(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1))).unwrap();
    one_further_ca.check(now()).unwrap();
    let expired = restore(|params| params.not_after = now().into()).unwrap();
    assert!(matches!(expired.check(now()), Err(CaError::Expired { .. })));
}

/// As Istio's own tools make them.
#[test]
fn signs_no_list_with_a_ca_that_may_sign_certificates_alone() {
    use crate::authority::ListSigner;
    let outside = OutsideCa::root();
    let key = ca_key(KeyKind::EcP256);
    let der = outside.sign(&key, |params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    let ca = DomainCa::restore(&trust_domain(), &der, std::slice::from_ref(&outside.der), key.clone());
    let ca = ca.unwrap().with_crl_url(Some("http://ca.example.org/crl/1.crl".to_owned()));
    ca.check(now()).unwrap();
    assert!(!ca.signs_lists());
    let issuing = ca.issue_ca(&PrivateKey::generate().unwrap(), DAY, now()).unwrap();
    let (_, issuing) = X509Certificate::from_der(&issuing.certificate().der).unwrap();
    let points = issuing.extensions().iter().filter(|extension| extension.oid.to_id_string() == "2.5.29.31");
    assert_eq!(points.count(), 0, "where no list is, nobody is sent to look for one");
    let signer = ListSigner::new(&trust_domain(), &der, key);
    assert!(matches!(signer.err(), Some(CaError::Unfit { reason, .. }) if reason.contains("cRLSign")));
}

#[test]
fn asks_an_outside_ca_for_what_it_needs() {
    use x509_parser::prelude::X509CertificationRequest;
    let request = DomainCa::request(&trust_domain(), &ca_key(KeyKind::EcP384)).unwrap();
    let (_, request) = X509CertificationRequest::from_der(&request).unwrap();
    request.verify_signature().unwrap();
    let wanted = format!("{:?}", request.requested_extensions().unwrap().collect::<Vec<_>>());
    assert!(wanted.contains("spiffe://example.org") && wanted.contains("ca: true"), "{wanted}");
}

#[test]
fn signs_a_mesh_s_ca_that_can_sign_no_further_one() {
    let root = root(KeyKind::EcP256);
    let mesh = ca_key(KeyKind::Rsa2048);
    let request = CertificateParams::default().serialize_request(&mesh).unwrap();
    let request = CertificateRequest::parse(request.der()).unwrap();
    let chain = root.sign_outside_ca(&request, DAY, now()).unwrap();
    assert_eq!(chain.len(), 1, "the root is not in it");
    let certificate = Certificate::parse(&chain[0]).unwrap();
    assert_eq!(certificate.uris, ["spiffe://example.org"]);
    let issuer = signing_issuer(&trust_domain(), &certificate, mesh).unwrap();

    let sign_leaf = |issuer: &Issuer<'static, CaKey>| {
        let mut leaf = CertificateParams::default();
        (leaf.not_before, leaf.not_after) = (now().into(), (now() + DAY / 2).into());
        let der = leaf.signed_by(&ca_key(KeyKind::EcP256), issuer).unwrap().der().clone();
        Certificate::parse(&der).unwrap()
    };
    let verify = |leaf: &Certificate, chain: &[CertificateDer<'static>]| {
        verify_chain(leaf, chain, root.root_bundle(), Purpose::ServerAuth, now())
    };
    verify(&sign_leaf(&issuer), &chain).unwrap();

    let further_key = ca_key(KeyKind::EcP256);
    let further_params = OutsideCa::params("one CA too many");
    let further = further_params.signed_by(&further_key, &issuer).unwrap().der().clone();
    let further_issuer = Issuer::new(further_params, further_key);
    let refused = verify(&sign_leaf(&further_issuer), &[further, chain[0].clone()]);
    assert!(refused.is_err(), "a mesh's CA signs leaves alone");
}
