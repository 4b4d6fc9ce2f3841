//! Chains that are almost right, each with the one thing that is wrong.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use rstest::rstest;

use super::*;
use crate::testing::{TestCa, leaf, uri};

const ID: &str = "spiffe://example.org/a";

/// Verifies a chain, and its certificates once they were read: whatever is wrong, both say the same.
fn verify(root: &TestCa, chain: &[CertificateDer<'_>]) -> Result<VerifiedSvid, SvidError> {
    let (bundles, now) = (root.bundle().into(), SystemTime::now());
    let verdict = verify_x509_svid(chain, &bundles, Purpose::ClientAuth, now);
    if let Ok(read) = chain.iter().map(|der| Certificate::parse(der)).collect::<Result<Vec<_>, _>>()
        && let Some((leaf, above_leaf)) = read.split_first()
    {
        let again = verify_svid_certificates(leaf, above_leaf, &bundles, Purpose::ClientAuth, now);
        assert_eq!(again.as_ref(), verdict.as_ref().map(VerifiedSvid::id));
    }
    verdict
}

fn verify_leaf(spoil: impl FnOnce(&mut CertificateParams)) -> Result<VerifiedSvid, SvidError> {
    let root = TestCa::root("example.org");
    let mut params = leaf(ID);
    spoil(&mut params);
    verify(&root, &[root.sign(&params).0])
}

#[test]
fn accepts_a_leaf_below_the_root_and_below_an_intermediate() {
    let root = TestCa::root("example.org");
    let direct = root.sign(&leaf(ID)).0;
    assert_eq!(verify(&root, &[direct]).unwrap().id().as_str(), ID);
    let intermediate = root.intermediate(|_| {});
    let below = intermediate.sign(&leaf(ID)).0;
    assert_eq!(verify(&root, &[below.clone(), intermediate.der.clone()]).unwrap().id().as_str(), ID);
    assert!(matches!(verify(&root, &[below]), Err(SvidError::UnknownIssuer { .. })), "a link is missing");
}

#[test]
fn accepts_a_leaf_without_extended_key_usage() {
    assert!(verify_leaf(|params| params.extended_key_usages.clear()).is_ok());
}

#[rstest]
#[case::no_uri(|p: &mut CertificateParams| p.subject_alt_names.clear(), SvidError::NoUriName)]
#[case::two_uris(|p: &mut CertificateParams| p.subject_alt_names.push(uri("spiffe://example.org/b")), SvidError::SeveralUriNames(2))]
#[case::is_ca(|p: &mut CertificateParams| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), SvidError::LeafIsCa)]
#[case::no_key_usage(|p: &mut CertificateParams| p.key_usages.clear(), SvidError::LeafKeyUsage("it has no key usage extension"))]
#[case::no_digital_signature(|p: &mut CertificateParams| p.key_usages = vec![KeyUsagePurpose::KeyAgreement], SvidError::LeafKeyUsage("its key usage lacks digitalSignature"))]
#[case::may_sign_certificates(|p: &mut CertificateParams| p.key_usages.push(KeyUsagePurpose::KeyCertSign), SvidError::LeafKeyUsage("its key usage has keyCertSign or cRLSign"))]
#[case::may_sign_crls(|p: &mut CertificateParams| p.key_usages.push(KeyUsagePurpose::CrlSign), SvidError::LeafKeyUsage("its key usage has keyCertSign or cRLSign"))]
fn rejects_a_spoiled_leaf(#[case] spoil: fn(&mut CertificateParams), #[case] error: SvidError) {
    assert_eq!(verify_leaf(spoil).unwrap_err(), error);
}

#[rstest]
#[case("spiffe://example.org")]
#[case("spiffe://Example.org/a")]
#[case("spiffe://example.org/a/../b")]
#[case("spiffe://example.org/a?x=y")]
#[case("https://example.org/a")]
fn rejects_a_name_that_is_no_canonical_id(#[case] name: &str) {
    let result = verify_leaf(|params| params.subject_alt_names = vec![uri(name)]);
    assert!(matches!(result, Err(SvidError::InvalidId { .. })), "{result:?}");
}

#[test]
fn rejects_the_wrong_use() {
    let server_only = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    assert!(matches!(verify_leaf(server_only), Err(SvidError::Path(_))));
}

#[test]
fn rejects_what_is_out_of_date() {
    let past = SystemTime::now() - Duration::from_secs(30);
    let future = SystemTime::now() + Duration::from_secs(30);
    assert_eq!(verify_leaf(|p| p.not_after = past.into()).unwrap_err(), SvidError::Expired);
    assert_eq!(verify_leaf(|p| p.not_before = future.into()).unwrap_err(), SvidError::NotYetValid);
}

#[test]
fn rejects_a_root_that_has_expired() {
    let past = SystemTime::now() - Duration::from_secs(30);
    let root = TestCa::spoiled_root("example.org", |params| params.not_after = past.into());
    let chain = [root.sign(&leaf(ID)).0];
    assert!(matches!(verify(&root, &chain), Err(SvidError::UnknownIssuer { .. })));
}

#[test]
fn rejects_an_intermediate_that_may_not_sign() {
    let root = TestCa::root("example.org");
    let no_ca = root.intermediate(|params| params.is_ca = IsCa::ExplicitNoCa);
    let chain = [no_ca.sign(&leaf(ID)).0, no_ca.der.clone()];
    assert_eq!(verify(&root, &chain).unwrap_err(), SvidError::NotACa(1));
    let no_usage = root.intermediate(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let chain = [no_usage.sign(&leaf(ID)).0, no_usage.der.clone()];
    assert_eq!(verify(&root, &chain).unwrap_err(), SvidError::NotACa(1));
}

/// A workload that signs "certificates" with its own SVID gains nothing.
#[test]
fn rejects_a_leaf_signed_by_a_leaf() {
    let root = TestCa::root("example.org");
    let workload = root.intermediate(|params| *params = leaf("spiffe://example.org/mallory"));
    let chain = [workload.sign(&leaf(ID)).0, workload.der.clone()];
    assert_eq!(verify(&root, &chain).unwrap_err(), SvidError::NotACa(1));
}

/// A trusted foreign root must not vouch for our names: bundles are never one pool.
#[test]
fn rejects_a_foreign_root_s_leaf_in_our_name() {
    let ours = TestCa::root("example.org");
    let theirs = TestCa::root("other.org");
    let mut bundles = TrustBundleSet::from(ours.bundle());
    bundles.insert(theirs.bundle());
    let verify = |chain: &[CertificateDer<'_>]| {
        verify_x509_svid(chain, &bundles, Purpose::ClientAuth, SystemTime::now())
    };
    assert!(verify(&[theirs.sign(&leaf("spiffe://other.org/a")).0]).is_ok());
    let forged = verify(&[theirs.sign(&leaf(ID)).0]);
    let refused = matches!(forged, Err(SvidError::UnknownIssuer { .. } | SvidError::Path(_)));
    assert!(refused, "{forged:?}");
    let unknown = verify(&[ours.sign(&leaf("spiffe://third.org/a")).0]);
    assert!(matches!(unknown, Err(SvidError::UnknownTrustDomain(_))), "{unknown:?}");
}

#[test]
fn rejects_chains_of_the_wrong_length() {
    let root = TestCa::root("example.org");
    assert_eq!(verify(&root, &[]).unwrap_err(), SvidError::EmptyChain);
    let mut chain = vec![root.sign(&leaf(ID)).0];
    chain.extend(std::iter::repeat_n(root.der.clone(), MAX_CHAIN_LENGTH));
    assert_eq!(verify(&root, &chain).unwrap_err(), SvidError::ChainTooLong(MAX_CHAIN_LENGTH + 1));
}

#[test]
fn rejects_changed_and_oversized_certificates() {
    let root = TestCa::root("example.org");
    let good = root.sign(&leaf(ID)).0.to_vec();
    let mut changed = good.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    assert!(verify(&root, &[changed.into()]).is_err());
    let trailing = [&good[..], b"x"].concat();
    assert!(matches!(
        verify(&root, &[trailing.into()]),
        Err(SvidError::Certificate(CertificateError::TrailingBytes(1)))
    ));
    let huge = vec![0x30; crate::x509::MAX_CERTIFICATE_BYTES + 1];
    assert!(matches!(
        verify(&root, &[huge.into()]),
        Err(SvidError::Certificate(CertificateError::TooLarge(_)))
    ));
}
