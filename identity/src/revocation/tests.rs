use std::time::SystemTime;

use proptest::prelude::*;
use rcgen::{CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint};
use rstest::rstest;
use rustls_pki_types::CertificateDer;

use super::*;
use crate::{
    IdentitySnapshot, TrustBundleSet,
    testing::{TestCa, leaf, revocation_list, revocation_list_params},
    x509::{KeyUsages, Purpose, VerifiedSvid},
};

/// A root, an issuing CA, and a workload of it.
struct Chain {
    root: TestCa,
    issuing: TestCa,
    ders: Vec<CertificateDer<'static>>,
}

impl Chain {
    fn new() -> Self {
        let root = TestCa::root("example.org");
        let issuing = root.intermediate(|_| {});
        let ders = vec![issuing.sign(&leaf("spiffe://example.org/a")).0, issuing.der.clone()];
        Self { root, issuing, ders }
    }

    fn certificate(&self, position: usize) -> Certificate {
        Certificate::parse(&self.ders[position]).unwrap()
    }

    fn verify(&self, revocations: Revocations) -> Result<VerifiedSvid, SvidError> {
        let bundles = TrustBundleSet::from(self.root.bundle());
        let snapshot = IdentitySnapshot { bundles, revocations: Arc::new(revocations), ..Default::default() };
        snapshot.verify_svid(&self.ders, Purpose::ClientAuth, SystemTime::now())
    }

    fn serial(&self, position: usize) -> SerialNumber {
        self.certificate(position).serial.parse().unwrap()
    }

    fn issuer_of(&self, position: usize) -> String {
        self.certificate(position).authority_key_id.unwrap()
    }
}

fn parse(der: Vec<u8>) -> Arc<RevocationList> {
    Arc::new(RevocationList::parse(&der).unwrap())
}

fn lists(lists: impl IntoIterator<Item = Vec<u8>>) -> Revocations {
    let mut revocations = Revocations::default();
    revocations.take_lists(lists.into_iter().map(parse), SystemTime::now());
    revocations
}

#[rstest]
#[case::leaf(0)]
#[case::issuing_ca(1)]
fn refuses_what_the_authority_revoked(#[case] position: usize) {
    let chain = Chain::new();
    let mut revocations = Revocations::default();
    assert!(chain.verify(revocations.clone()).is_ok());
    assert!(revocations.revoke_serial(&chain.issuer_of(position), chain.serial(position)));
    assert!(!revocations.revoke_serial(&chain.issuer_of(position), chain.serial(position)), "no news");
    let serial = chain.certificate(position).serial;
    let expected = match position {
        0 => SvidError::Revoked { serial },
        _ => SvidError::IssuerRevoked { serial },
    };
    assert_eq!(chain.verify(revocations.clone()).unwrap_err(), expected);

    revocations.forget_serial(&chain.issuer_of(position), &chain.serial(position));
    assert!(chain.verify(revocations).is_ok());
}

#[rstest]
#[case::leaf(0)]
#[case::issuing_ca(1)]
fn refuses_every_certificate_of_a_revoked_key(#[case] position: usize) {
    let chain = Chain::new();
    let mut revocations = Revocations::default();
    assert!(revocations.revoke_key(KeyHash::of(&chain.certificate(position).public_key_info)));
    assert!(chain.verify(revocations).is_err());
}

#[rstest]
#[case::leaf(0)]
#[case::issuing_ca(1)]
fn refuses_what_a_list_names(#[case] position: usize) {
    let chain = Chain::new();
    let issuer = if position == 0 { &chain.issuing } else { &chain.root };
    let empty = revocation_list(issuer, 1, &[]);
    assert!(chain.verify(lists([empty])).is_ok());
    let other = revocation_list(issuer, 1, &[SerialNumber::from_bytes(&[7]).unwrap()]);
    assert!(chain.verify(lists([other])).is_ok());
    let list = revocation_list(issuer, 2, &[chain.serial(position)]);
    assert!(chain.verify(lists([list])).is_err());
}

#[test]
fn takes_a_serial_of_another_issuer_for_another_certificate() {
    let chain = Chain::new();
    let mut revocations = Revocations::default();
    revocations.revoke_serial(&chain.issuer_of(1), chain.serial(0));
    assert!(chain.verify(revocations).is_ok());
    let list = revocation_list(&chain.root, 1, &[chain.serial(0)]);
    assert!(chain.verify(lists([list])).is_ok());
}

/// Whoever forges a list can say nothing with it, and what it hides stays unknown.
#[test]
fn refuses_an_issuer_whose_list_another_key_signed() {
    let chain = Chain::new();
    let forger = TestCa::root("example.org");
    let params = rcgen::CertificateRevocationListParams {
        key_identifier_method: rcgen::KeyIdMethod::PreSpecified(hex::decode(chain.issuer_of(0)).unwrap()),
        ..revocation_list_params(1, &[])
    };
    let forged = forger.sign_revocation_list(params);
    assert_eq!(
        chain.verify(lists([forged])).unwrap_err(),
        SvidError::RevocationList { issuer_key_id: chain.issuer_of(0) }
    );
}

#[test]
fn keeps_the_newer_list_when_an_old_one_is_played_back() {
    let chain = Chain::new();
    let old = parse(revocation_list(&chain.issuing, 1, &[]));
    let new = parse(revocation_list(&chain.issuing, 2, &[chain.serial(0)]));
    let now = SystemTime::now();
    let mut revocations = Revocations::default();
    revocations.take_lists([new], now);
    revocations.take_lists([old], now);
    assert!(chain.verify(revocations.clone()).is_err());
    // A later one may take a certificate off again: it has expired.
    revocations.take_lists([parse(revocation_list(&chain.issuing, 3, &[]))], now);
    assert!(chain.verify(revocations.clone()).is_ok());
}

/// An authority that was restored from a backup has forgotten the numbers that it gave since.
#[test]
fn takes_a_later_list_whatever_its_number() {
    let chain = Chain::new();
    let mut params = revocation_list_params(7, &[]);
    params.this_update -= std::time::Duration::from_secs(60);
    let before = parse(chain.issuing.sign_revocation_list(params));
    let restored = parse(revocation_list(&chain.issuing, 3, &[chain.serial(0)]));
    let mut revocations = Revocations::default();
    revocations.take_lists([before], SystemTime::now());
    revocations.take_lists([restored], SystemTime::now());
    assert!(chain.verify(revocations).is_err());
}

#[test]
fn keeps_a_list_that_is_no_longer_offered_until_its_time_is_over() {
    let chain = Chain::new();
    let list = parse(revocation_list(&chain.issuing, 1, &[chain.serial(0)]));
    let end = list.next_update();
    let mut revocations = Revocations::default();
    revocations.take_lists([Arc::clone(&list)], end);
    assert_eq!(revocations.lists().count(), 1, "what is offered is used, however old");
    revocations.take_lists([], end - std::time::Duration::from_secs(1));
    assert!(chain.verify(revocations.clone()).is_err());
    revocations.take_lists([], end);
    assert_eq!(revocations.lists().count(), 0);
}

#[test]
fn reads_what_a_list_says() {
    let ca = TestCa::root("example.org");
    let serials = [1_u8, 200].map(|byte| SerialNumber::from_bytes(&[byte]).unwrap());
    let der = revocation_list(&ca, 300, &serials);
    let list = RevocationList::parse(&der).unwrap();
    let issuer = Certificate::parse(&ca.der).unwrap();
    assert_eq!(Some(list.issuer_key_id()), issuer.subject_key_id.as_deref());
    assert_eq!(list.number(), "12c".parse().unwrap());
    assert_eq!(list.serials().len(), 2);
    assert!(serials.iter().all(|serial| list.contains(serial)));
    assert!(list.next_update() > SystemTime::now() && list.this_update() < SystemTime::now());
    assert_eq!(list.der(), der);
    assert!(list.is_signed_by(&issuer) && list.is_signed_by(&issuer));
}

#[test]
fn rejects_lists_that_do_not_cover_all() {
    let ca = TestCa::root("example.org");
    let good = || revocation_list_params(1, &[]);
    let partitioned = CertificateRevocationListParams {
        issuing_distribution_point: Some(CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint { uris: vec!["http://a/crl".to_owned()] },
            scope: None,
        }),
        ..good()
    };
    let refusal = RevocationList::parse(&ca.sign_revocation_list(partitioned)).unwrap_err();
    assert_eq!(refusal, RevocationListError::Partial);
    let mut trailing = ca.sign_revocation_list(good());
    trailing.push(0);
    assert!(matches!(RevocationList::parse(&trailing), Err(RevocationListError::Profile(_))));
    let large = vec![0; MAX_LIST_BYTES + 1];
    assert_eq!(
        RevocationList::parse(&large).unwrap_err(),
        RevocationListError::TooLarge { bytes: large.len(), most: MAX_LIST_BYTES }
    );
    assert!(
        matches!(RevocationList::parse_own(&large), Err(RevocationListError::Profile(_))),
        "it has more room"
    );
}

#[test]
fn takes_no_list_from_a_ca_that_may_sign_none() {
    let ca = TestCa::root("example.org");
    let list = RevocationList::parse(&revocation_list(&ca, 1, &[])).unwrap();
    let issuer = Certificate::parse(&ca.der).unwrap();
    let usage = issuer.key_usage.map(|usage| KeyUsages { crl_sign: false, ..usage });
    assert!(!list.is_signed_by(&Certificate { key_usage: usage, ..issuer.clone() }));
    assert!(!list.is_signed_by(&Certificate { is_ca: false, ..issuer.clone() }));
    assert!(list.is_signed_by(&issuer));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = RevocationList::parse(&bytes);
    }

    /// One changed byte of a good list is refused, by its form or by its signature; nothing panics.
    #[test]
    fn rejects_a_changed_list(position in any::<prop::sample::Index>(), change in 1_u8..) {
        let ca = TestCa::root("example.org");
        let mut der = revocation_list(&ca, 1, &[SerialNumber::from_bytes(&[9]).unwrap()]);
        let position = position.index(der.len());
        der[position] ^= change;
        let issuer = Certificate::parse(&ca.der).unwrap();
        prop_assert!(RevocationList::parse(&der).map_or(true, |list| !list.is_signed_by(&issuer)));
    }
}

#[test]
fn costs_no_copy_of_what_others_revoked() {
    let mut revocations = Revocations::default();
    for number in 0..1000_u32 {
        revocations.revoke_serial("aa", SerialNumber::from_bytes(&number.to_be_bytes()).unwrap());
    }
    let before = revocations.clone();
    revocations.revoke_serial("bb", SerialNumber::from_bytes(&[1]).unwrap());
    assert!(Arc::ptr_eq(&before.serials["aa"], &revocations.serials["aa"]));
    assert!(!before.serials.contains_key("bb"), "a snapshot does not change");
}
