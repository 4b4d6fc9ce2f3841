//! Verifying with what else the caller knows: revocations, and key sets.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use rstest::rstest;
use secplane_identity::{
    Revocations, X509Identity, jwk,
    revocation::{Revocable, RevocationList, SerialNumber},
    x509::Certificate,
};
use serde_json::json;

use super::*;
use crate::{KeySet, SignOptions, sign, testing::Authority};

const ID: &str = "spiffe://example.org/agent/a";
const DAY: Duration = Duration::from_secs(24 * 3600);
const URL: &str = "https://keys.example/jwks.json";

fn card() -> AgentCard {
    AgentCard::parse(br#"{"name":"Agent A","version":"1"}"#).unwrap()
}

fn signed(identity: &X509Identity) -> AgentCard {
    sign(&card(), identity, &SignOptions::default()).unwrap()
}

fn line(verification: &Verification, name: CheckName) -> (CheckStatus, &str) {
    let check = verification.signatures[0].checks.iter().find(|check| check.name == name).unwrap();
    (check.status, &check.detail)
}

fn lists(lists: &[Vec<u8>]) -> Revocations {
    let mut revocations = Revocations::default();
    let lists = lists.iter().map(|der| Arc::new(RevocationList::parse(der).unwrap()));
    revocations.take_lists(lists, SystemTime::now());
    revocations
}

fn verify_with(
    card: &AgentCard,
    authority: &Authority,
    known: KnownRevocations<'_>,
    at: SystemTime,
) -> Verification {
    let bundles = authority.bundles();
    verify(card, &VerifyOptions { revocations: known, ..VerifyOptions::new(&bundles, at) })
}

#[test]
fn refuses_a_certificate_on_its_issuers_list() {
    let authority = Authority::new("example.org");
    let identity = authority.identity(ID);
    let card = signed(&identity);
    let now = SystemTime::now();

    let on_it = lists(&[authority.revocation_list(&[&identity.leaf().serial])]);
    let revoked = verify_with(&card, &authority, KnownRevocations::Lists(&on_it), now);
    assert_eq!(revoked.outcome, Outcome::Revoked, "{}", revoked.reason);
    // Revoked is more than expired.
    let late = verify_with(&card, &authority, KnownRevocations::Lists(&on_it), now + 2 * DAY);
    assert_eq!(late.outcome, Outcome::Revoked);

    let another = lists(&[authority.revocation_list(&["0a"])]);
    let good = verify_with(&card, &authority, KnownRevocations::Lists(&another), now);
    assert_eq!(good.outcome, Outcome::Valid);
    let (status, detail) = line(&good, CheckName::Revocation);
    assert_eq!(status, CheckStatus::Ok);
    assert!(detail.contains("list 7 of 20") && detail.contains("no list is at hand for 1 CA"), "{detail}");
}

#[test]
fn says_when_lists_cannot_tell() {
    let (authority, other) = (Authority::new("example.org"), Authority::new("example.org"));
    let card = signed(&authority.identity(ID));
    let now = SystemTime::now();

    let foreign = lists(&[other.revocation_list(&[])]);
    let unknown = verify_with(&card, &authority, KnownRevocations::Lists(&foreign), now);
    assert_eq!(unknown.outcome, Outcome::Valid);
    let (status, detail) = line(&unknown, CheckName::Revocation);
    assert_eq!(status, CheckStatus::NotChecked);
    assert!(detail.contains("no revocation list of its issuer"), "{detail}");

    let stale = lists(&[authority.revocation_list(&[])]);
    let later = now + DAY + Duration::from_secs(60);
    let (status, detail) = {
        let verification = verify_with(&card, &authority, KnownRevocations::Lists(&stale), later);
        let (status, detail) = line(&verification, CheckName::Revocation);
        (status, detail.to_owned())
    };
    assert_eq!(status, CheckStatus::NotChecked);
    assert!(detail.contains("out of date"), "{detail}");
}

#[test]
fn refuses_when_a_list_is_not_its_issuers() {
    let authority = Authority::new("example.org");
    let mut list = authority.revocation_list(&[]);
    *list.last_mut().unwrap() ^= 1;
    let forged = lists(&[list]);
    let verification = verify_with(
        &signed(&authority.identity(ID)),
        &authority,
        KnownRevocations::Lists(&forged),
        SystemTime::now(),
    );
    assert_eq!(verification.outcome, Outcome::Untrusted);
    assert!(verification.reason.contains("does not bear that issuer's signature"), "{}", verification.reason);
}

/// Which certificate the authority revoked, and by what.
#[rstest]
#[case::leaf(0, false)]
#[case::issuing_ca(1, false)]
#[case::key_of_the_leaf(0, true)]
fn believes_the_authority(#[case] position: usize, #[case] by_key: bool) {
    let authority = Authority::new("example.org");
    let identity = authority.identity(ID);
    let names = Revocable::of(&Certificate::parse(&identity.chain()[position]).unwrap());
    let mut revocations = Revocations::default();
    if by_key {
        revocations.revoke_key(names.key);
    } else {
        revocations.revoke_serial(&names.issuer_key_id.unwrap(), names.serial.unwrap());
    }
    let trust_domain = &authority.trust_domain;
    let known = KnownRevocations::OfAuthority { trust_domain, revocations: &revocations };
    let verification = verify_with(&signed(&identity), &authority, known, SystemTime::now());
    assert_eq!(verification.outcome, Outcome::Revoked);

    let other = TrustDomain::parse("other.example").unwrap();
    let known = KnownRevocations::OfAuthority { trust_domain: &other, revocations: &revocations };
    let verification = verify_with(&signed(&identity), &authority, known, SystemTime::now());
    assert_eq!(line(&verification, CheckName::Revocation).0, CheckStatus::NotChecked);

    let mut unrelated = Revocations::default();
    unrelated.revoke_serial("00", SerialNumber::from_bytes(&[1]).unwrap());
    let known = KnownRevocations::OfAuthority { trust_domain, revocations: &unrelated };
    let verification = verify_with(&signed(&identity), &authority, known, SystemTime::now());
    assert_eq!(line(&verification, CheckName::Revocation).0, CheckStatus::Ok);
}

/// A card signed by a bare key whose ID is `k`, and the key set with its public key.
fn signed_by_key(url: Option<&str>) -> (AgentCard, KeySet) {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut header = json!({"alg": "EdDSA", "kid": "k", "typ": "JOSE"});
    if let Some(url) = url {
        header["jku"] = url.into();
    }
    let card = card();
    let protected = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
    let input = Forms::of(&card).readings(Canonicalization::Raw).unwrap()[0].signing_input(&protected);
    let signature = BASE64_URL_SAFE_NO_PAD.encode(key.sign(&input).unwrap());
    let signed = card.with_signatures(vec![json!({"protected": protected, "signature": signature})]);
    let mut public = jwk::members(&key.subject_public_key_info()).unwrap();
    public.insert("kid".into(), "k".into());
    (signed, KeySet::parse(json!({"keys": [public]}).to_string().as_bytes()).unwrap())
}

fn verify_by_keys(card: &AgentCard, keys: &KeySets, expect: Option<&SpiffeId>) -> Verification {
    let nobody = TrustBundleSet::default();
    let options = VerifyOptions {
        key_sets: Some(keys),
        expected_id: expect,
        ..VerifyOptions::new(&nobody, SystemTime::now())
    };
    verify(card, &options)
}

#[test]
fn accepts_a_key_that_the_caller_trusts() {
    let (card, keys) = signed_by_key(None);
    let verification = verify_by_keys(&card, &KeySets::trusting(keys.clone()), None);
    assert_eq!(verification.outcome, Outcome::Valid, "{}", verification.reason);
    assert_eq!(verification.key_set.as_deref(), Some("the given key set"));
    assert_eq!(verification.signer, None);
    for name in [CheckName::Certificates, CheckName::SpiffeId, CheckName::Chain, CheckName::Validity] {
        assert_eq!(line(&verification, name).0, CheckStatus::NotChecked);
    }
    assert_eq!(line(&verification, CheckName::KeySet).0, CheckStatus::Ok);

    let (_, other) = signed_by_key(None);
    let verification = verify_by_keys(&card, &KeySets::trusting(other), None);
    assert_eq!(verification.outcome, Outcome::Tampered);
    assert_eq!(verify_by_keys(&card, &KeySets::default(), None).outcome, Outcome::Untrusted);

    let expected = SpiffeId::parse(ID).unwrap();
    let verification = verify_by_keys(&card, &KeySets::trusting(keys), Some(&expected));
    assert_eq!(verification.outcome, Outcome::Untrusted, "a key set names nobody");
}

#[test]
fn asks_only_the_url_that_the_header_names() {
    let (card, keys) = signed_by_key(Some(URL));
    assert_eq!(card.key_set_urls(), [URL]);
    let mut sets = KeySets::default();
    sets.add_fetched("https://keys.example/other.json", Ok(keys.clone()));
    assert_eq!(verify_by_keys(&card, &sets, None).outcome, Outcome::Untrusted);
    sets.add_fetched(URL, Ok(keys));
    let verification = verify_by_keys(&card, &sets, None);
    assert_eq!(verification.outcome, Outcome::Valid);
    assert_eq!(verification.key_set.unwrap(), format!("the key set at {URL}"));
}

#[test]
fn never_takes_a_key_set_for_a_signature_with_certificates() {
    let (stranger, authority) = (Authority::new("other.example"), Authority::new("example.org"));
    let identity = stranger.identity("spiffe://other.example/a");
    let mut public = jwk::members(&identity.leaf().public_key_info).unwrap();
    public.insert("kid".into(), "k".into());
    let keys = KeySets::trusting(KeySet::parse(json!({"keys": [public]}).to_string().as_bytes()).unwrap());
    let bundles = authority.bundles();
    let options = VerifyOptions { key_sets: Some(&keys), ..VerifyOptions::new(&bundles, SystemTime::now()) };
    assert_eq!(verify(&signed(&identity), &options).outcome, Outcome::Untrusted);
    assert_eq!(signed(&identity).key_set_urls(), [] as [String; 0]);
}
