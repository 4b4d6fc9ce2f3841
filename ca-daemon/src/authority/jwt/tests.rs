use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use rstest::rstest;
use secplane_identity::{KeyKind, PrivateKey, SpiffeId, TrustBundle, TrustBundleSet, TrustDomain};
use serde_json::{Value, json};

use super::*;
use crate::authority::testing::{DAY, now, trust_domain};

const MINUTE: Duration = Duration::from_secs(60);

fn key(kind: KeyKind) -> (PrivateKey, JwtKey) {
    let private = PrivateKey::generate_kind(kind).unwrap();
    let key = JwtKey::new(&private, now() + DAY).unwrap();
    (private, key)
}

fn bundles(key: &JwtKey) -> TrustBundleSet {
    bundle_of("example.org", key).into()
}

fn bundle_of(trust_domain: &str, key: &JwtKey) -> TrustBundle {
    let trust_domain = TrustDomain::parse(trust_domain).unwrap();
    let empty = TrustBundle::new(trust_domain, Vec::<Vec<u8>>::new()).unwrap();
    empty.with_jwt_authorities(vec![key.authority()]).unwrap()
}

fn subject() -> JwtSubject {
    JwtSubject {
        id: SpiffeId::from_parts(&trust_domain(), "/a").unwrap(),
        audience: vec!["one".into(), "two".into()],
        token_id: None,
    }
}

fn part(token: &str, number: usize) -> Value {
    let part = token.split('.').nth(number).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[rstest]
#[case(KeyKind::EcP256, "ES256")]
#[case(KeyKind::EcP384, "ES384")]
#[case(KeyKind::Rsa2048, "RS256")]
fn signs_with_each_kind_of_key(#[case] kind: KeyKind, #[case] algorithm: &str) {
    let (_, key) = key(kind);
    let signed = key.sign(&subject(), None, MINUTE, now()).unwrap();
    assert_eq!(part(&signed.token, 0), json!({"alg": algorithm, "kid": key.key_id(), "typ": "JWT"}));
    let verified = verify_jwt_svid(&signed.token, &bundles(&key), "two", now()).unwrap();
    assert_eq!(verified.id.as_str(), "spiffe://example.org/a");
    assert_eq!(verified.claims["aud"], json!(["one", "two"]));
}

#[test]
fn says_what_the_standard_wants_and_no_more() {
    let (_, key) = key(KeyKind::EcP256);
    let signed = key.sign(&subject(), None, MINUTE, now()).unwrap();
    let at = 1_800_000_000;
    let expected = json!({"sub": "spiffe://example.org/a", "aud": ["one", "two"], "exp": at + 60, "iat": at});
    assert_eq!(part(&signed.token, 1), expected);
    assert_eq!((signed.issued_at, signed.expires_at), (now(), now() + MINUTE));
    let named = JwtSubject { token_id: Some("7".into()), audience: vec!["one".into()], ..subject() };
    let signed = key.sign(&named, Some("https://ca.example.org"), MINUTE, now()).unwrap();
    let claims = part(&signed.token, 1);
    assert_eq!((&claims["iss"], &claims["jti"]), (&json!("https://ca.example.org"), &json!("7")));
    assert_eq!(claims["aud"], json!(["one"]), "a list, even of one");
}

#[test]
fn never_lets_a_token_outlive_its_key() {
    let (_, key) = key(KeyKind::EcP256);
    let late = now() + DAY - MINUTE;
    assert_eq!(key.sign(&subject(), None, MINUTE * 5, late).unwrap().expires_at, now() + DAY);
    assert_eq!(key.sign(&subject(), None, MINUTE, now() + DAY), Err(JwtSignError::KeyExpired));
}

#[rstest]
#[case(vec![])]
#[case(vec![String::new()])]
#[case(vec!["a".repeat(MAX_AUDIENCE_BYTES + 1)])]
#[case(vec!["a".to_owned(); MAX_AUDIENCES + 1])]
fn signs_for_no_one_in_particular(#[case] audience: Vec<String>) {
    let (_, key) = key(KeyKind::EcP256);
    let refused = key.sign(&JwtSubject { audience, ..subject() }, None, MINUTE, now());
    assert_eq!(refused, Err(JwtSignError::Audience));
}

#[test]
fn takes_no_key_that_the_standard_does_not_know() {
    let key = PrivateKey::generate_kind(KeyKind::Ed25519).unwrap();
    assert!(matches!(JwtKey::new(&key, now() + DAY), Err(JwtKeyError::Kind)));
    assert_eq!(JwtKey::kind_beside(KeyKind::Ed25519), KeyKind::EcP256);
    assert_eq!(JwtKey::kind_beside(KeyKind::Rsa3072), KeyKind::Rsa3072);
}

/// A token of this header and these claims, signed with the key whatever they say.
fn spoiled(private: &PrivateKey, header: &Value, claims: &Value) -> String {
    let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let pair = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        private.pkcs8_der(),
    )
    .unwrap();
    let signature = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn verdict(spoil: impl FnOnce(&mut Value, &mut Value)) -> Result<VerifiedJwt, JwtError> {
    let (private, key) = key(KeyKind::EcP256);
    let mut header = json!({"alg": "ES256", "kid": key.key_id(), "typ": "JWT"});
    let at = 1_800_000_000;
    let mut claims = json!({"sub": "spiffe://example.org/a", "aud": ["one"], "exp": at + 60, "iat": at});
    spoil(&mut header, &mut claims);
    verify_jwt_svid(&spoiled(&private, &header, &claims), &bundles(&key), "one", now())
}

#[rstest]
#[case::as_it_should_be(|_: &mut Value, _: &mut Value| {})]
#[case::jose(|header: &mut Value, _: &mut Value| header["typ"] = json!("JOSE"))]
#[case::no_type(|header: &mut Value, _: &mut Value| { header.as_object_mut().unwrap().remove("typ"); })]
#[case::one_audience(|_: &mut Value, claims: &mut Value| claims["aud"] = json!("one"))]
#[case::fractions(|_: &mut Value, claims: &mut Value| claims["exp"] = json!(1_800_000_000.5))]
#[case::just_expired(|_: &mut Value, claims: &mut Value| claims["exp"] = json!(1_800_000_000 - 60))]
#[case::clock_ahead(|_: &mut Value, claims: &mut Value| claims["iat"] = json!(1_800_000_000 + 60))]
#[case::further_claims(|_: &mut Value, claims: &mut Value| claims["role"] = json!({"a": [1]}))]
fn accepts_valid(#[case] spoil: fn(&mut Value, &mut Value)) {
    verdict(spoil).unwrap();
}

#[rstest]
#[case(|h: &mut Value, _: &mut Value| h["alg"] = json!("none"), JwtError::Algorithm)]
#[case(|h: &mut Value, _: &mut Value| h["alg"] = json!("HS256"), JwtError::Algorithm)]
#[case(|h: &mut Value, _: &mut Value| h["alg"] = json!("EdDSA"), JwtError::Algorithm)]
#[case(|h: &mut Value, _: &mut Value| h["alg"] = json!("ES384"), JwtError::Signature)]
#[case(|h: &mut Value, _: &mut Value| h["alg"] = json!("RS256"), JwtError::Signature)]
#[case(|h: &mut Value, _: &mut Value| h["jwk"] = json!({}), JwtError::Header)]
#[case(|h: &mut Value, _: &mut Value| h["crit"] = json!([]), JwtError::Header)]
#[case(|h: &mut Value, _: &mut Value| h["typ"] = json!("at+jwt"), JwtError::Type)]
#[case(|h: &mut Value, _: &mut Value| { h.as_object_mut().unwrap().remove("kid"); }, JwtError::NoKeyId)]
#[case(|h: &mut Value, _: &mut Value| h["kid"] = json!(""), JwtError::NoKeyId)]
#[case(|_: &mut Value, c: &mut Value| { c.as_object_mut().unwrap().remove("exp"); }, JwtError::Claim("exp"))]
#[case(|_: &mut Value, c: &mut Value| c["exp"] = json!("1800000060"), JwtError::Claim("exp"))]
#[case(|_: &mut Value, c: &mut Value| c["exp"] = json!(1_800_000_000 - 61), JwtError::Expired)]
#[case(|_: &mut Value, c: &mut Value| c["nbf"] = json!(1_800_000_000 + 61), JwtError::NotYetValid)]
#[case(|_: &mut Value, c: &mut Value| c["iat"] = json!(1_800_000_000 + 61), JwtError::NotYetValid)]
#[case(|_: &mut Value, c: &mut Value| { c.as_object_mut().unwrap().remove("sub"); }, JwtError::Claim("sub"))]
#[case(|_: &mut Value, c: &mut Value| { c.as_object_mut().unwrap().remove("aud"); }, JwtError::Claim("aud"))]
#[case(|_: &mut Value, c: &mut Value| c["aud"] = json!([]), JwtError::Audience("one".into()))]
#[case(|_: &mut Value, c: &mut Value| c["aud"] = json!(["one", 1]), JwtError::Claim("aud"))]
#[case(|_: &mut Value, c: &mut Value| c["aud"] = json!("One"), JwtError::Audience("one".into()))]
#[case(|_: &mut Value, c: &mut Value| c["aud"] = json!("one/"), JwtError::Audience("one".into()))]
#[case(|_: &mut Value, c: &mut Value| *c = json!([]), JwtError::Claims)]
fn rejects_spoiled(#[case] spoil: fn(&mut Value, &mut Value), #[case] expected: JwtError) {
    assert_eq!(verdict(spoil).unwrap_err(), expected);
}

#[test]
fn rejects_a_subject_that_is_no_workload() {
    for subject in ["spiffe://example.org", "https://example.org/a", "spiffe://Example.org/a", "a"] {
        let refused = verdict(|_, claims| claims["sub"] = json!(subject));
        assert!(matches!(refused, Err(JwtError::Subject(_))), "{subject}: {refused:?}");
    }
}

#[test]
fn considers_the_keys_of_the_subject_s_trust_domain_alone() {
    let ((private, own), (_, other)) = (key(KeyKind::EcP256), key(KeyKind::EcP256));
    let mut both = TrustBundleSet::default();
    both.insert(bundle_of("example.org", &own));
    both.insert(bundle_of("other.org", &other));
    let claims = |id: &str| json!({"sub": id, "aud": "one", "exp": 1_800_000_060, "iat": 1_800_000_000});
    let header = json!({"alg": "ES256", "kid": own.key_id(), "typ": "JWT"});
    let token = |id: &str| spoiled(&private, &header, &claims(id));
    verify_jwt_svid(&token("spiffe://example.org/a"), &both, "one", now()).unwrap();
    let foreign = verify_jwt_svid(&token("spiffe://other.org/a"), &both, "one", now());
    assert!(matches!(foreign, Err(JwtError::UnknownKey { .. })), "{foreign:?}");
    let unknown = verify_jwt_svid(&token("spiffe://third.org/a"), &both, "one", now());
    assert!(matches!(unknown, Err(JwtError::UnknownTrustDomain(_))));
}

#[test]
fn rejects_what_a_revoked_key_signed_and_not_what_a_tainted_one_did() {
    let (_, key) = key(KeyKind::EcP256);
    let token = key.sign(&subject(), None, MINUTE, now()).unwrap().token;
    let mut authority = key.authority();
    authority.tainted = true;
    let tainted = bundle_of("example.org", &key).with_jwt_authorities(vec![authority]).unwrap();
    verify_jwt_svid(&token, &tainted.into(), "one", now()).unwrap();
    let revoked = bundle_of("example.org", &key).with_jwt_authorities(Vec::new()).unwrap();
    let refused = verify_jwt_svid(&token, &revoked.into(), "one", now());
    assert!(matches!(refused, Err(JwtError::UnknownKey { .. })));
}

#[test]
fn rejects_what_is_no_token() {
    let (_, key) = key(KeyKind::EcP256);
    let token = key.sign(&subject(), None, MINUTE, now()).unwrap().token;
    let verify = |token: &str| verify_jwt_svid(token, &bundles(&key), "one", now()).unwrap_err();
    assert_eq!(verify(""), JwtError::Form);
    assert_eq!(verify("a.b"), JwtError::Form);
    assert_eq!(verify(&format!("{token}.a")), JwtError::Claims);
    assert_eq!(verify(&format!("{token}=")), JwtError::Signature);
    assert_eq!(verify(&"a".repeat(MAX_TOKEN_BYTES + 1)), JwtError::TooLong(MAX_TOKEN_BYTES + 1));
    let twice = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","alg":"ES256","kid":"a"}"#);
    assert_eq!(verify(&format!("{twice}.e30.AAAA")), JwtError::Header);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn never_accepts_a_changed_token(position in any::<prop::sample::Index>(), character in "[A-Za-z0-9_.-]") {
        let (_, key) = key(KeyKind::EcP256);
        let token = key.sign(&subject(), None, MINUTE, now()).unwrap().token;
        let position = position.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(position..=position, &character);
        let verdict = verify_jwt_svid(&changed, &bundles(&key), "one", now());
        prop_assert_eq!(verdict.is_ok(), changed == token);
    }

    #[test]
    fn never_panics(text in "[A-Za-z0-9_.-]{0,200}") {
        let (_, key) = key(KeyKind::EcP256);
        prop_assert!(verify_jwt_svid(&text, &bundles(&key), "one", now()).is_err());
    }
}
