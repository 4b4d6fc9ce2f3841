//! What holds of every card.

use std::time::SystemTime;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{FormsToSign, SignOptions, sign, testing::Authority};

const ID: &str = "spiffe://example.org/agent/a";

fn outcome(card: &AgentCard, authority: &Authority) -> Outcome {
    verify(card, &VerifyOptions::new(&authority.bundles(), SystemTime::now())).outcome
}

fn agreeing_card() -> AgentCard {
    AgentCard::parse(
        r#"{"name": "Agent A", "version": "1.0.0", "capabilities": {"streaming": true,
            "extensions": [{"uri": "u", "params": {"limit": 100, "ratio": 0.5}}]},
            "skills": [{"id": "s", "tags": ["t", "ü"]}]}"#
            .as_bytes(),
    )
    .unwrap()
}

/// A card's text with one byte replaced. It is written without spaces, so every position matters.
fn changed_byte(text: &str, position: usize, replacement: u8) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    let position = position % bytes.len();
    bytes[position] = replacement;
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn never_panics(entry in any_json(), bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let bundles = TrustBundleSet::default();
        let options = VerifyOptions::new(&bundles, SystemTime::now());
        let _ = verify_bytes(&bytes, &options);
        let card = json!({"name": "a", "signatures": [entry, {"protected": BASE64_URL_SAFE_NO_PAD.encode(entry.to_string()), "signature": ""}]});
        prop_assert!(!verify_bytes(card.to_string().as_bytes(), &options).is_valid());
    }

    #[test]
    fn accepts_what_was_signed(card in any_card()) {
        let authority = Authority::new("example.org");
        let card = AgentCard::parse(card.to_string().as_bytes()).unwrap();
        let options = SignOptions { forms: FormsToSign::One(Canonicalization::Raw), ..SignOptions::default() };
        let signed = sign(&card, &authority.identity(ID), &options).unwrap();
        let again = AgentCard::parse(signed.to_json().to_string().as_bytes()).unwrap();
        prop_assert_eq!(outcome(&again, &authority), Outcome::Valid);
    }

    #[test]
    fn has_stable_forms(card in any_card()) {
        let card = AgentCard::parse(card.to_string().as_bytes()).unwrap();
        for form in Canonicalization::ALL {
            for payload in card.canonical(form).unwrap_or_default() {
                let again = AgentCard::parse(&payload).unwrap();
                prop_assert_eq!(again.canonical(form).unwrap(), [payload]);
            }
        }
        let _ = card.agreement();
    }

    #[test]
    fn catches_every_changed_byte(position in any::<usize>(), replacement in any::<u8>()) {
        let authority = Authority::new("example.org");
        let signed = sign(&agreeing_card(), &authority.identity(ID), &SignOptions::default()).unwrap();
        let text = signed.to_json().to_string();
        let bytes = changed_byte(&text, position, replacement);
        let bundles = authority.bundles();
        let verification = verify_bytes(&bytes, &VerifyOptions::new(&bundles, SystemTime::now()));
        let same_document = serde_json::from_slice::<Value>(&bytes)
            .is_ok_and(|document| document == signed.to_json());
        prop_assert_eq!(verification.is_valid(), same_document, "{}", verification.reason);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1e30..1e30).prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(".{0,4}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Cards with known members of any type, and unknown ones.
fn any_card() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("name".to_owned()),
        Just("skills".to_owned()),
        Just("capabilities".to_owned()),
        Just("url".to_owned()),
        Just("security".to_owned()),
        Just("supportedInterfaces".to_owned()),
        "[a-z<&é]{1,5}",
    ];
    proptest::collection::btree_map(name, any_json(), 1..6)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}
