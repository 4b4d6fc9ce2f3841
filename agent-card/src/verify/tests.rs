//! Good cards, and bad ones of every known kind with the class that each is refused with.

use std::time::{Duration, SystemTime};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize,
    SignatureAlgorithm,
};
use rstest::rstest;
use secplane_identity::{Revocations, TrustBundle, X509Identity};
use serde_json::json;

use super::*;
use crate::{
    Algorithm, FormsToSign, SignOptions, sign,
    testing::{Authority, leaf_params},
};

const ID: &str = "spiffe://example.org/agent/a";
const CARD: &str = r#"{
    "name": "Agent A", "description": "It cooks.", "version": "1.0.0",
    "capabilities": {"streaming": true, "extensions": [{"uri": "u", "params": {"limit": 100, "ratio": 0.5}}]},
    "defaultInputModes": ["text/plain"],
    "skills": [{"id": "s", "name": "S", "description": "d", "tags": ["t", "ü"]}]
}"#;
const HOUR: Duration = Duration::from_secs(3600);

fn card() -> AgentCard {
    AgentCard::parse(CARD.as_bytes()).unwrap()
}

fn signed(identity: &X509Identity) -> AgentCard {
    sign(&card(), identity, &SignOptions::default()).unwrap()
}

fn outcome(card: &AgentCard, authority: &Authority) -> Outcome {
    verify(card, &VerifyOptions::new(&authority.bundles(), SystemTime::now())).outcome
}

/// The status of one line of the first signature's report.
fn line(verification: &Verification, name: CheckName) -> CheckStatus {
    verification.signatures[0].checks.iter().find(|check| check.name == name).unwrap().status
}

/// The card with its first signature changed.
fn altered(card: &AgentCard, change: impl FnOnce(&mut Value)) -> AgentCard {
    let mut json = card.to_json();
    change(&mut json["signatures"][0]);
    AgentCard::parse(json.to_string().as_bytes()).unwrap()
}

fn decode(text: &Value) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap()
}

fn encode(bytes: impl AsRef<[u8]>) -> Value {
    BASE64_URL_SAFE_NO_PAD.encode(bytes).into()
}

/// A card whose raw form is signed with `key` under a header of any shape.
pub(super) fn signed_with_header(key: &KeyPair, header: &Value) -> AgentCard {
    use rcgen::SigningKey as _;

    let card = card();
    let protected = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
    let forms = Forms::of(&card);
    let input = forms.readings(Canonicalization::Raw).unwrap()[0].signing_input(&protected);
    let der = key.sign(&input).unwrap();
    card.with_signatures(vec![json!({"protected": protected, "signature": encode(raw_p256(&der))})])
}

/// R‖S of a DER ECDSA-Sig-Value on P-256.
fn raw_p256(der: &[u8]) -> Vec<u8> {
    let (r_length, rest) = (usize::from(der[3]), &der[4..]);
    let (r, rest) = rest.split_at(r_length);
    let s = &rest[2..];
    let pad = |integer: &[u8]| {
        let digits = &integer[integer.len().saturating_sub(32)..];
        [vec![0; 32 - digits.len()], digits.to_vec()].concat()
    };
    [pad(r), pad(s)].concat()
}

pub(super) fn x5c(chain: &[&[u8]]) -> Value {
    chain.iter().map(|der| BASE64_STANDARD.encode(der)).collect()
}

/// A card signed with a leaf of any shape, the chain as `arrange` puts it.
fn signed_by_leaf(
    authority: &Authority,
    params: CertificateParams,
    arrange: impl FnOnce(&[u8]) -> Vec<Vec<u8>>,
) -> AgentCard {
    let key = KeyPair::generate().unwrap();
    let leaf = authority.leaf(&key, params);
    let chain = arrange(&leaf);
    let chain: Vec<_> = chain.iter().map(Vec::as_slice).collect();
    signed_with_header(&key, &json!({"alg": "ES256", "typ": "JOSE", "x5c": x5c(&chain)}))
}

#[test]
fn accepts_a_good_card_and_says_what_it_checked() {
    let authority = Authority::new("example.org");
    let bundles = authority.bundles();
    let expected = SpiffeId::parse(ID).unwrap();
    let nothing_revoked = Revocations::default();
    let trust_domain = expected.trust_domain();
    let options = VerifyOptions {
        expected_id: Some(&expected),
        trust_domain: Some(trust_domain),
        revocations: KnownRevocations::OfAuthority { trust_domain, revocations: &nothing_revoked },
        ..VerifyOptions::new(&bundles, SystemTime::now())
    };
    let verification = verify(&signed(&authority.identity(ID)), &options);
    assert_eq!(verification.outcome, Outcome::Valid, "{verification:#?}");
    assert_eq!(verification.signer, Some(expected));
    assert_eq!(verification.canonicalization, Some(Canonicalization::Raw));
    assert_eq!(verification.covered_card(), Some(card().unsigned()));
    let names: Vec<_> = verification.signatures[0].checks.iter().map(|check| check.name).collect();
    assert_eq!(names, CheckName::ALL);
    let not_ok = verification.signatures[0].checks.iter().filter(|check| check.status != CheckStatus::Ok);
    assert_eq!(not_ok.map(|check| check.name).collect::<Vec<_>>(), [CheckName::KeySet]);
}

#[test]
fn says_what_it_did_not_check() {
    let authority = Authority::new("example.org");
    let bundles = authority.bundles();
    let options = VerifyOptions::new(&bundles, SystemTime::now());
    let verification = verify(&signed(&authority.identity(ID)), &options);
    for name in [CheckName::TrustDomain, CheckName::ExpectedId, CheckName::Revocation] {
        assert_eq!(line(&verification, name), CheckStatus::NotChecked);
    }
    let json = serde_json::to_value(&verification).unwrap();
    assert_eq!(json["outcome"], "valid");
    assert_eq!(json["signatures"][0]["checks"][11]["name"], "revocation");
    assert_eq!(json["signatures"][0]["checks"][11]["status"], "not-checked");
}

#[rstest]
#[case(&PKCS_ECDSA_P256_SHA256, Algorithm::Es256)]
#[case(&PKCS_ECDSA_P384_SHA384, Algorithm::Es384)]
#[case(&PKCS_ECDSA_P521_SHA512, Algorithm::Es512)]
#[case(&PKCS_ED25519, Algorithm::EdDsa)]
fn accepts_each_kind_of_key(#[case] kind: &'static SignatureAlgorithm, #[case] algorithm: Algorithm) {
    let authority = Authority::new("example.org");
    let identity = authority.identity_with(&KeyPair::generate_for(kind).unwrap(), leaf_params(&[ID]));
    let signed = signed(&identity);
    let verification = verify(&signed, &VerifyOptions::new(&authority.bundles(), SystemTime::now()));
    assert_eq!(verification.outcome, Outcome::Valid, "{}", verification.reason);
    assert_eq!(verification.signatures[0].algorithm, Some(algorithm));
}

#[test]
fn accepts_rsa_with_each_algorithm() {
    let authority = Authority::new("example.org");
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let identity = authority.identity_with(&key, leaf_params(&[ID]));
    for algorithm in
        Algorithm::ALL.into_iter().filter(|a| a.as_str().contains('S') && !a.as_str().starts_with('E'))
    {
        let options = SignOptions { algorithm: Some(algorithm), ..SignOptions::default() };
        let signed = sign(&card(), &identity, &options).unwrap();
        assert_eq!(outcome(&signed, &authority), Outcome::Valid, "{algorithm}");
    }
}

/// Changes of the signature's bytes.
#[rstest]
#[case::zero(|_: &[u8]| vec![0; 64])]
#[case::r_zero(|raw: &[u8]| [&[0; 32], &raw[32..]].concat())]
#[case::s_zero(|raw: &[u8]| [&raw[..32], &[0; 32]].concat())]
#[case::r_out_of_range(|raw: &[u8]| [&[0xff; 32], &raw[32..]].concat())]
#[case::s_out_of_range(|raw: &[u8]| [&raw[..32], &[0xff; 32]].concat())]
#[case::der(|raw: &[u8]| [&[0x30, 68, 2, 32], &raw[..32], &[2, 32], &raw[32..]].concat())]
#[case::swapped(|raw: &[u8]| [&raw[32..], &raw[..32]].concat())]
#[case::longer(|raw: &[u8]| [raw, &[0]].concat())]
#[case::shorter(|raw: &[u8]| raw[..63].to_vec())]
#[case::empty(|_: &[u8]| Vec::new())]
fn refuses_a_changed_signature(#[case] change: fn(&[u8]) -> Vec<u8>) {
    let authority = Authority::new("example.org");
    let good = signed(&authority.identity(ID));
    let bad = altered(&good, |entry| entry["signature"] = encode(change(&decode(&entry["signature"]))));
    assert_eq!(outcome(&good, &authority), Outcome::Valid);
    assert_eq!(outcome(&bad, &authority), Outcome::Tampered);
}

/// Changes of the protected header.
#[rstest]
#[case::none(json!({"alg": "none"}), Outcome::Malformed)]
#[case::symmetric(json!({"alg": "HS256"}), Outcome::Malformed)]
#[case::other_curve(json!({"alg": "ES384"}), Outcome::Tampered)]
#[case::rsa_for_ec(json!({"alg": "RS256"}), Outcome::Tampered)]
#[case::eddsa_for_ec(json!({"alg": "EdDSA"}), Outcome::Tampered)]
#[case::critical(json!({"crit": ["x"], "x": 1}), Outcome::Malformed)]
#[case::unencoded(json!({"b64": false}), Outcome::Malformed)]
#[case::no_chain(json!({"x5c": null}), Outcome::Malformed)]
#[case::broken_certificate(json!({"x5c": ["AAAA"]}), Outcome::Malformed)]
#[case::other_key_id(json!({"kid": "0000000000000000"}), Outcome::Tampered)]
fn refuses_a_changed_header(#[case] changes: Value, #[case] expected: Outcome) {
    let authority = Authority::new("example.org");
    let bad = altered(&signed(&authority.identity(ID)), |entry| {
        let mut header: Value = serde_json::from_slice(&decode(&entry["protected"])).unwrap();
        header.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        entry["protected"] = encode(header.to_string());
    });
    assert_eq!(outcome(&bad, &authority), expected);
}

#[test]
fn refuses_a_signature_without_certificates() {
    let authority = Authority::new("example.org");
    let card = signed_with_header(&KeyPair::generate().unwrap(), &json!({"alg": "ES256", "kid": "k"}));
    assert_eq!(outcome(&card, &authority), Outcome::Untrusted);
}

#[test]
fn refuses_a_duplicated_member() {
    let authority = Authority::new("example.org");
    let text = signed(&authority.identity(ID)).to_json().to_string();
    let twice = text.replacen('{', "{\"name\":\"Mallory\",", 1);
    let bundles = authority.bundles();
    let verification = verify_bytes(twice.as_bytes(), &VerifyOptions::new(&bundles, SystemTime::now()));
    assert_eq!(verification.outcome, Outcome::Malformed);
    assert!(verification.reason.contains("\"name\" appears twice"), "{}", verification.reason);
}

/// Leaves that are not an SVID's, and the line that says so.
#[rstest]
#[case::two_uris(leaf_params(&[ID, "spiffe://example.org/agent/b"]), CheckName::SpiffeId)]
#[case::no_uri(leaf_params(&[]), CheckName::SpiffeId)]
#[case::no_spiffe_id(leaf_params(&["https://example.org/a"]), CheckName::SpiffeId)]
#[case::trust_domain_alone(leaf_params(&["spiffe://example.org"]), CheckName::SpiffeId)]
#[case::ca({
    let mut params = leaf_params(&[ID]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}, CheckName::KeyUsage)]
#[case::no_key_usage({
    let mut params = leaf_params(&[ID]);
    params.key_usages.clear();
    params
}, CheckName::KeyUsage)]
#[case::may_sign_certificates({
    let mut params = leaf_params(&[ID]);
    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    params
}, CheckName::KeyUsage)]
#[case::only_key_agreement({
    let mut params = leaf_params(&[ID]);
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    params
}, CheckName::KeyUsage)]
fn refuses_a_leaf_that_is_no_svid(#[case] params: CertificateParams, #[case] failed: CheckName) {
    let authority = Authority::new("example.org");
    let issuing = authority.issuing.clone();
    let card = signed_by_leaf(&authority, params, |leaf| vec![leaf.to_vec(), issuing]);
    let verification = verify(&card, &VerifyOptions::new(&authority.bundles(), SystemTime::now()));
    assert_eq!(verification.outcome, Outcome::Untrusted);
    assert_eq!(line(&verification, failed), CheckStatus::Failed);
    assert_eq!(line(&verification, CheckName::Chain), CheckStatus::Failed);
    assert_eq!(line(&verification, CheckName::Signature), CheckStatus::Ok);
}

#[rstest]
#[case::out_of_order(|leaf: &[u8], issuing: &[u8]| vec![issuing.to_vec(), leaf.to_vec()])]
#[case::gap(|leaf: &[u8], _: &[u8]| vec![leaf.to_vec()])]
#[case::leaf_above_leaf(|leaf: &[u8], issuing: &[u8]| vec![leaf.to_vec(), leaf.to_vec(), issuing.to_vec()])]
fn refuses_a_chain_that_leads_nowhere(#[case] arrange: fn(&[u8], &[u8]) -> Vec<Vec<u8>>) {
    let authority = Authority::new("example.org");
    let issuing = authority.issuing.clone();
    let good = signed_by_leaf(&authority, leaf_params(&[ID]), |leaf| vec![leaf.to_vec(), issuing.clone()]);
    assert_eq!(outcome(&good, &authority), Outcome::Valid);
    let bad = signed_by_leaf(&authority, leaf_params(&[ID]), |leaf| arrange(leaf, &issuing));
    assert_eq!(outcome(&bad, &authority), Outcome::Untrusted);
}

#[test]
fn believes_only_the_roots_of_the_domain_that_the_leaf_names() {
    let (authority, foreign) = (Authority::new("example.org"), Authority::new("other.example"));
    // The foreign authority is trusted, but for its own domain.
    let mut bundles = authority.bundles();
    bundles.insert(TrustBundle::new(foreign.trust_domain.clone(), [&foreign.root]).unwrap());
    let options = VerifyOptions::new(&bundles, SystemTime::now());
    let impostor = verify(&signed(&foreign.identity(ID)), &options);
    assert_eq!(impostor.outcome, Outcome::Untrusted);
    assert_eq!(line(&impostor, CheckName::Chain), CheckStatus::Failed);
    assert_eq!(impostor.signer, None);
    let guest = verify(&signed(&foreign.identity("spiffe://other.example/a")), &options);
    assert_eq!(guest.outcome, Outcome::Valid);
    let stranger = signed(&foreign.identity("spiffe://other.example/a"));
    assert_eq!(outcome(&stranger, &authority), Outcome::Untrusted);
}

#[test]
fn refuses_whom_the_caller_does_not_expect() {
    let authority = Authority::new("example.org");
    let bundles = authority.bundles();
    let card = signed(&authority.identity(ID));
    let (other_id, other_domain) = (
        SpiffeId::parse("spiffe://example.org/agent/b").unwrap(),
        TrustDomain::parse("other.example").unwrap(),
    );
    let options = VerifyOptions::new(&bundles, SystemTime::now());
    let verification = verify(&card, &VerifyOptions { expected_id: Some(&other_id), ..options });
    assert_eq!(verification.outcome, Outcome::Untrusted);
    assert_eq!(line(&verification, CheckName::ExpectedId), CheckStatus::Failed);
    let verification = verify(&card, &VerifyOptions { trust_domain: Some(&other_domain), ..options });
    assert_eq!(verification.outcome, Outcome::Untrusted);
    assert_eq!(line(&verification, CheckName::TrustDomain), CheckStatus::Failed);
}

#[test]
fn tells_expired_from_untrusted() {
    let (authority, foreign) = (Authority::new("example.org"), Authority::new("example.org"));
    let now = SystemTime::now();
    let params = || {
        let mut params = leaf_params(&[ID]);
        params.not_before = (now - 3 * HOUR).into();
        params.not_after = (now - HOUR).into();
        params
    };
    let key = KeyPair::generate().unwrap();
    let card = signed(&authority.identity_with(&key, params()));
    let bundles = authority.bundles();
    let at = |at| verify(&card, &VerifyOptions::new(&bundles, at));
    let expired = at(now);
    assert_eq!(expired.outcome, Outcome::Expired);
    assert_eq!(line(&expired, CheckName::Chain), CheckStatus::Ok);
    assert_eq!(line(&expired, CheckName::Validity), CheckStatus::Failed);
    assert_eq!(at(now - 2 * HOUR).outcome, Outcome::Valid);
    assert_eq!(at(now - 4 * HOUR).outcome, Outcome::Untrusted);
    assert_eq!(at(SystemTime::UNIX_EPOCH - HOUR).outcome, Outcome::Untrusted);
    assert_eq!(at(now + 100 * 24 * HOUR).outcome, Outcome::Expired);

    let impostor = signed(&foreign.identity_with(&key, params()));
    assert_eq!(outcome(&impostor, &authority), Outcome::Untrusted);
}

#[test]
fn refuses_members_that_the_signature_does_not_cover() {
    let authority = Authority::new("example.org");
    // All forms of this card agree; the addition is one that the weaker forms leave out.
    let mut json = signed(&authority.identity(ID)).to_json();
    json["supportedInterfaces"] = json!([{"url": "https://mallory.example"}]);
    let card = AgentCard::parse(json.to_string().as_bytes()).unwrap();
    let bundles = authority.bundles();
    let options = VerifyOptions::new(&bundles, SystemTime::now());
    let verification = verify(&card, &options);
    assert_eq!(verification.outcome, Outcome::Tampered);
    assert_eq!(verification.covered_card(), None);
    assert_eq!(verification.signatures[0].uncovered[0].member, "supportedInterfaces");

    let accepting = verify(&card, &VerifyOptions { accept_uncovered: true, ..options });
    assert_eq!(accepting.outcome, Outcome::Valid);
    assert_eq!(accepting.canonicalization, Some(Canonicalization::Kagenti));
    assert_eq!(line(&accepting, CheckName::Coverage), CheckStatus::NotChecked);
    assert_eq!(accepting.covered_card(), Some(self::card().unsigned()));
}

/// A small card whose report would not be: it has tens of thousands of members that are not covered, some of them below
/// a very long name, others below very many names.
#[test]
fn answers_briefly_whatever_the_card_is() {
    let mut many: serde_json::Map<_, _> = (0..20_000).map(|n| (format!("m{n}"), json!(""))).collect();
    let mut json = card().to_json();
    json.as_object_mut().unwrap().extend(many.clone());
    many.insert("description".into(), "d".into());
    json["securitySchemes"] = json!({"k".repeat(20_000): {"mtlsSecurityScheme": many}});
    let deep = (0..40).fold(json!(vec![""; 20_000]), |inner, n| json!({format!("{n:060}"): inner, "x": 1}));
    json["capabilities"]["extensions"][0]["params"] = deep;
    let card = AgentCard::parse(json.to_string().as_bytes()).unwrap();

    let authority = Authority::new("example.org");
    let identity = authority.identity(ID);
    let bundles = authority.bundles();
    let options = VerifyOptions { accept_uncovered: true, ..VerifyOptions::new(&bundles, SystemTime::now()) };
    for form in [Canonicalization::Sdk, Canonicalization::Kagenti] {
        let signing = SignOptions { forms: FormsToSign::One(form), ..SignOptions::default() };
        let verification = verify(&sign(&card, &identity, &signing).unwrap(), &options);
        assert_eq!(verification.outcome, Outcome::Valid, "{}", verification.reason);
        assert_eq!(verification.signatures[0].uncovered.len(), MAX_UNCOVERED);
        let report = serde_json::to_string(&verification).unwrap();
        assert!(report.len() < 100_000, "{} bytes", report.len());
    }
    assert!(serde_json::to_string(&card.agreement()).unwrap().len() < 200_000);
    assert!(serde_json::to_string(&card.lint()).unwrap().len() < 200_000);
}

#[test]
fn notices_what_the_translation_of_an_older_card_leaves_behind() {
    let authority = Authority::new("example.org");
    let older =
        AgentCard::parse(br#"{"name":"a","url":"u","additionalInterfaces":[{"url":"b","transport":"T"}]}"#)
            .unwrap();
    let options = SignOptions { forms: FormsToSign::One(Canonicalization::Sdk), ..SignOptions::default() };
    let card = sign(&older, &authority.identity(ID), &options).unwrap();
    // The second reading covers the translated members, so nothing is left uncovered.
    assert_eq!(outcome(&card, &authority), Outcome::Valid);

    let mut json = card.to_json();
    json["additionalInterfaces"][0]["proxy"] = json!("https://mallory.example");
    let card = AgentCard::parse(json.to_string().as_bytes()).unwrap();
    let verification = verify(&card, &VerifyOptions::new(&authority.bundles(), SystemTime::now()));
    assert_eq!(verification.outcome, Outcome::Tampered);
    let uncovered: Vec<_> = verification.signatures[1].uncovered.iter().map(|m| m.member.as_str()).collect();
    assert_eq!(uncovered, ["additionalInterfaces"]);
}

#[test]
fn tries_only_the_pinned_form() {
    let authority = Authority::new("example.org");
    let unsigned = AgentCard::parse(br#"{"name":"a","skills":[]}"#).unwrap();
    let options = SignOptions { forms: FormsToSign::One(Canonicalization::Raw), ..SignOptions::default() };
    let card = sign(&unsigned, &authority.identity(ID), &options).unwrap();
    let bundles = authority.bundles();
    let pinned = |form| {
        let options =
            VerifyOptions { canonicalization: Some(form), ..VerifyOptions::new(&bundles, SystemTime::now()) };
        verify(&card, &options).outcome
    };
    assert_eq!(pinned(Canonicalization::Raw), Outcome::Valid);
    assert_eq!(pinned(Canonicalization::Presence), Outcome::Valid);
    assert_eq!(pinned(Canonicalization::Sdk), Outcome::Tampered);
    assert_eq!(pinned(Canonicalization::Kagenti), Outcome::Tampered);
}

#[test]
fn takes_the_signature_that_got_furthest() {
    let (authority, foreign) = (Authority::new("example.org"), Authority::new("other.example"));
    let both =
        sign(&signed(&foreign.identity(ID)), &authority.identity(ID), &SignOptions::default()).unwrap();
    let verification = verify(&both, &VerifyOptions::new(&authority.bundles(), SystemTime::now()));
    assert_eq!(verification.outcome, Outcome::Valid);
    let outcomes: Vec<_> = verification.signatures.iter().map(|report| report.outcome).collect();
    assert_eq!(outcomes, [Outcome::Untrusted, Outcome::Valid]);

    let bad = altered(&both, |entry| *entry = json!("nonsense"));
    assert_eq!(outcome(&bad, &authority), Outcome::Valid);
    assert_eq!(outcome(&bad, &foreign), Outcome::Untrusted);
    assert_eq!(outcome(&card(), &authority), Outcome::Unsigned);
}
