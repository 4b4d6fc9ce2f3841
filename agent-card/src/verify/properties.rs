//! What holds of every card.

use std::time::SystemTime;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use rcgen::KeyPair;
use serde_json::json;

use super::{
    tests::{signed_with_header, x5c},
    *,
};
use crate::{
    FormsToSign, SignOptions, sign,
    testing::{Authority, leaf_params},
};

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

/// So many cases that they take a second; `PROPTEST_CASES` asks for more.
fn cases() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(64),
    }
}

proptest! {
    #![proptest_config(cases())]

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

    /// A good card with some of its bytes replaced, cut or repeated: whatever it is, there is an answer, and it is
    /// valid only when the document is still the same.
    #[test]
    fn survives_any_damage(damage in proptest::collection::vec((any::<usize>(), any::<u8>(), 0..4_u8), 1..6)) {
        let authority = Authority::new("example.org");
        let signed = sign(&agreeing_card(), &authority.identity(ID), &SignOptions::default()).unwrap();
        let mut bytes = signed.to_json().to_string().into_bytes();
        apply(&damage, &mut bytes);
        let bundles = authority.bundles();
        let verification = verify_bytes(&bytes, &VerifyOptions::new(&bundles, SystemTime::now()));
        let same_document = serde_json::from_slice::<Value>(&bytes)
            .is_ok_and(|document| document == signed.to_json());
        prop_assert!(!verification.is_valid() || same_document, "{}", String::from_utf8_lossy(&bytes));
        let _ = AgentCard::parse(&bytes).map(|card| card.lint());
    }

    /// Certificates with some of their bytes replaced, cut or repeated, in a header that the holder of the leaf's key
    /// signed: whatever they are, there is an answer, and they are believed only when they are still the same.
    #[test]
    fn believes_no_damaged_certificate(
        which in 0..2_usize,
        damage in proptest::collection::vec((any::<usize>(), any::<u8>(), 0..4_u8), 1..4),
    ) {
        let authority = Authority::new("example.org");
        let key = KeyPair::generate().unwrap();
        let good = [authority.leaf(&key, leaf_params(&[ID])), authority.issuing.clone()];
        let mut chain = good.clone();
        apply(&damage, &mut chain[which]);
        let header = json!({"alg": "ES256", "typ": "JOSE", "x5c": x5c(&[&chain[0], &chain[1]])});
        let verdict = outcome(&signed_with_header(&key, &header), &authority);
        prop_assert_eq!(verdict == Outcome::Valid, chain == good, "{:?}", verdict);
    }

    /// JCS does not depend on how the text is written: order of members, spaces, escapes.
    #[test]
    fn has_one_form_for_every_spelling(card in any_card()) {
        let plain = AgentCard::parse(card.to_string().as_bytes()).unwrap();
        let spelled: String = serde_json::to_string_pretty(&reversed(&card)).unwrap().chars().flat_map(|c| {
            let mut units = [0; 2];
            match c {
                c if c.is_ascii() => vec![c],
                c => c.encode_utf16(&mut units).iter().flat_map(|unit| format!("\\u{unit:04X}").chars().collect::<Vec<_>>()).collect(),
            }
        }).collect();
        let spelled = AgentCard::parse(spelled.as_bytes()).unwrap();
        for form in Canonicalization::ALL {
            prop_assert_eq!(plain.canonical(form), spelled.canonical(form));
        }
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

/// Replaces, cuts, inserts or repeats bytes.
fn apply(damage: &[(usize, u8, u8)], bytes: &mut Vec<u8>) {
    for (position, byte, kind) in damage {
        let position = position % bytes.len();
        match kind {
            0 => bytes[position] = *byte,
            1 => bytes.truncate(position.max(1)),
            2 => bytes.insert(position, *byte),
            _ => {
                let end = (position + usize::from(*byte)).min(bytes.len());
                let part = bytes[position..end].to_vec();
                bytes.splice(position..position, part);
            }
        }
    }
}

/// The same document with the members of every object in the opposite order.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().rev().map(|(name, value)| (name.clone(), reversed(value)));
            Value::Object(members.collect())
        }
        Value::Array(elements) => elements.iter().map(reversed).collect(),
        other => other.clone(),
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1e30..1e30).prop_map(Value::from),
        (-1e21..1e21_f64).prop_map(|number| Value::from(number.trunc())),
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
