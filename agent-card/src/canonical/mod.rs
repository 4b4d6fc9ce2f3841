//! What exactly is signed: the four canonical forms of a card that are in use.
//!
//! The payload of a signature is "the card without `signatures`, canonicalized", but implementations disagree
//! about which members count as present. Each form is one file here; [`Forms`] makes them of a card as they are
//! asked for.

mod coverage;
mod jcs;
mod kagenti;
mod legacy;
mod place;
mod presence;
pub(crate) mod schema;
mod sdk;

use std::{cell::OnceCell, fmt, str::FromStr, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::coverage::UncoveredMember;
pub(crate) use self::{
    coverage::Missing,
    jcs::jcs,
    place::{Place, cut, path},
};
use crate::AgentCard;

/// How the payload of a signature is made of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Canonicalization {
    /// JCS of the card as received; drops nothing.
    Raw,
    /// The A2A 1.0 text, section 8.4.1: drops known fields that hold their protobuf default, unless the field is
    /// REQUIRED or `optional`. Keeps members that it does not know.
    Presence,
    /// The Python and JavaScript SDKs: keeps only what A2A 1.0 knows, then drops every empty string, list and
    /// object.
    ///
    /// Of a card with A2A 0.3 members it has two readings, because the Python SDK translates them first and the
    /// JavaScript SDK ignores them.
    Sdk,
    /// The Kagenti operator: keeps only what its structure knows, drops every empty string, list, object and null,
    /// and escapes `<`, `>` and `&`, so it is not JCS.
    Kagenti,
}

impl Canonicalization {
    /// All forms, in the order in which a verifier tries them.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Presence, Self::Sdk, Self::Kagenti];

    /// The name: `raw`, `presence`, `sdk`, `kagenti`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Presence => "presence",
            Self::Sdk => "sdk",
            Self::Kagenti => "kagenti",
        }
    }
}

impl fmt::Display for Canonicalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Canonicalization {
    type Err = UnknownCanonicalization;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|form| form.as_str() == text)
            .ok_or_else(|| UnknownCanonicalization(text.chars().take(40).collect()))
    }
}

/// A name that is no canonical form's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a canonical form; there are raw, presence, sdk and kagenti")]
pub struct UnknownCanonicalization(String);

/// One reading of a card in one canonical form.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    canonicalization: Canonicalization,
    /// The card in the vocabulary of the form, before anything was dropped; `None` when that is the card itself.
    translated: Option<Value>,
    /// What is left to be signed; `None` when that is the whole card.
    signed: Option<Arc<Value>>,
    payload: Vec<u8>,
    encoded_payload: String,
    /// Why some of the form's verifiers refuse the card all the same.
    refused_by_some: Option<FormError>,
}

impl Form {
    fn new(
        canonicalization: Canonicalization,
        translated: Option<Value>,
        signed: Option<Value>,
        payload: Vec<u8>,
    ) -> Self {
        let encoded_payload = BASE64_URL_SAFE_NO_PAD.encode(&payload);
        let signed = signed.map(Arc::new);
        Self { canonicalization, translated, signed, payload, encoded_payload, refused_by_some: None }
    }

    pub(crate) fn canonicalization(&self) -> Canonicalization {
        self.canonicalization
    }

    /// The card as far as a signature over this form covers it.
    pub(crate) fn signed(&self, card: &AgentCard) -> Arc<Value> {
        self.signed.clone().unwrap_or_else(|| card.shared_unsigned())
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Why some of the form's verifiers refuse the card, whatever its signature is.
    pub(crate) fn refused_by_some(&self) -> Option<&FormError> {
        self.refused_by_some.as_ref()
    }

    /// What a JWS signature over this form signs (RFC 7515, section 5.1).
    pub(crate) fn signing_input(&self, protected: &str) -> Vec<u8> {
        [protected.as_bytes(), b".", self.encoded_payload.as_bytes()].concat()
    }

    /// The members of the card that a signature over this form says nothing about, at most so many by name.
    pub(crate) fn uncovered(&self, card: &AgentCard, most: usize) -> Missing {
        match &self.signed {
            None => Missing::default(),
            Some(signed) => {
                coverage::missing(self.translated.as_ref().unwrap_or_else(|| card.unsigned()), signed, most)
            }
        }
    }

    /// The members of the card that the form has not, or has otherwise, at most so many.
    pub(crate) fn dropped(&self, card: &AgentCard, most: usize) -> Vec<UncoveredMember> {
        coverage::missing(card.unsigned(), &self.signed(card), most).members
    }

    /// The members that the form has and the card has not, at most so many.
    pub(crate) fn added(&self, card: &AgentCard, most: usize) -> Vec<String> {
        let added = coverage::missing(&self.signed(card), card.unsigned(), most);
        added.members.into_iter().map(|added| added.member).collect()
    }
}

/// The forms of one card, each made when it is first asked for.
#[derive(Debug)]
pub(crate) struct Forms<'a> {
    card: &'a AgentCard,
    made: [OnceCell<Result<Vec<Form>, FormError>>; 4],
}

impl<'a> Forms<'a> {
    pub(crate) fn of(card: &'a AgentCard) -> Self {
        Self { card, made: Default::default() }
    }

    /// The readings of the card in one form: one, or two for [`Canonicalization::Sdk`].
    pub(crate) fn readings(&self, canonicalization: Canonicalization) -> Result<&[Form], FormError> {
        let slot = match canonicalization {
            Canonicalization::Raw => 0,
            Canonicalization::Presence => 1,
            Canonicalization::Sdk => 2,
            Canonicalization::Kagenti => 3,
        };
        self.made[slot]
            .get_or_init(|| make(canonicalization, self.card.unsigned()))
            .as_deref()
            .map_err(Clone::clone)
    }
}

fn make(canonicalization: Canonicalization, card: &Value) -> Result<Vec<Form>, FormError> {
    let form = |translated, signed, payload| Form::new(canonicalization, translated, signed, payload);
    match canonicalization {
        Canonicalization::Raw => Ok(vec![form(None, None, jcs(card)?)]),
        Canonicalization::Presence => {
            let signed = presence::reduce(card);
            let payload = jcs(&signed)?;
            Ok(vec![form(None, Some(signed), payload)])
        }
        Canonicalization::Sdk => {
            let mut readings = Vec::new();
            for translated in sdk::readings(card)? {
                let signed = sdk::reduce(&translated)?;
                let payload = jcs(&signed)?;
                let refused_by_some = sdk::refused_by_python(&signed);
                readings.push(Form { refused_by_some, ..form(Some(translated), Some(signed), payload) });
            }
            Ok(readings)
        }
        Canonicalization::Kagenti => {
            let signed = kagenti::reduce(card)?;
            let payload = kagenti::write(&signed)?;
            Ok(vec![form(None, Some(signed), payload)])
        }
    }
}

impl FormError {
    /// The member that is the reason; empty when it is none in particular.
    pub(crate) fn member(&self) -> &str {
        match self {
            Self::WrongType { member, .. }
            | Self::SameField(member, _)
            | Self::OtherCase(member, _)
            | Self::SeveralAlternatives(member)
            | Self::TooDeep(member) => member,
            Self::Nothing | Self::Unwritable(_) => "",
        }
    }
}

/// Why a card has no such canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A member is not of the type that the form's verifiers read.
    #[error("`{member}` is {found} where {expected} is due")]
    WrongType {
        /// Where it stands.
        member: String,
        /// What stands there.
        found: &'static str,
        /// What the form's verifiers read there.
        expected: &'static str,
    },
    /// Two members of the card mean one field.
    #[error("`{0}` and `{1}` are the same field to the form's verifiers; keep one")]
    SameField(String, String),
    /// A member's name differs only in case from one that the form's verifiers know.
    #[error("`{0}` is read as `{1}` by the form's verifiers, which do not look at case; use that name")]
    OtherCase(String, &'static str),
    /// More than one alternative of a field that holds one.
    #[error("`{0}` holds more than one alternative of a field that holds one; keep one")]
    SeveralAlternatives(String),
    /// Free-form parameters nested deeper than the form's verifiers read.
    #[error("`{0}` is nested deeper than the form's verifiers read; flatten it")]
    TooDeep(String),
    /// Nothing of the card is left.
    #[error("nothing of the card is left in this form")]
    Nothing,
    /// The form cannot be written.
    #[error("the form cannot be written: {0}")]
    Unwritable(String),
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    /// RFC 8785, section 3.2.2 and 3.2.4: the example and its canonical bytes.
    #[test]
    fn writes_the_example_of_rfc_8785() {
        let text = r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#;
        let card = AgentCard::parse(text.as_bytes()).unwrap();
        let expected = "{\"literals\":[null,true,false],\
            \"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
            \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(
            String::from_utf8(card.canonical(Canonicalization::Raw).unwrap().remove(0)).unwrap(),
            expected
        );
    }

    /// RFC 8785, section 3.2.3: members are sorted by UTF-16 code units.
    #[test]
    fn sorts_as_rfc_8785_does() {
        let text = r#"{
            "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
            "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control",
            "\u00f6": "Latin Small Letter O With Diaeresis"
        }"#;
        let card = AgentCard::parse(text.as_bytes()).unwrap();
        let expected = "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
            \"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\
            \"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}";
        assert_eq!(
            String::from_utf8(card.canonical(Canonicalization::Raw).unwrap().remove(0)).unwrap(),
            expected
        );
    }

    /// RFC 8785, appendix B.
    #[rstest]
    #[case(0x0000_0000_0000_0000, "0")]
    #[case(0x8000_0000_0000_0000, "0")]
    #[case(0x0000_0000_0000_0001, "5e-324")]
    #[case(0x8000_0000_0000_0001, "-5e-324")]
    #[case(0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308")]
    #[case(0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308")]
    #[case(0x4340_0000_0000_0000, "9007199254740992")]
    #[case(0xc340_0000_0000_0000, "-9007199254740992")]
    #[case(0x4430_0000_0000_0000, "295147905179352830000")]
    #[case(0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22")]
    #[case(0x44b5_2d02_c7e1_4af6, "1e+23")]
    #[case(0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23")]
    #[case(0x444b_1ae4_d6e2_ef4e, "999999999999999700000")]
    #[case(0x444b_1ae4_d6e2_ef4f, "999999999999999900000")]
    #[case(0x444b_1ae4_d6e2_ef50, "1e+21")]
    #[case(0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7")]
    #[case(0x3eb0_c6f7_a0b5_ed8d, "0.000001")]
    #[case(0x41b3_de43_5555_5553, "333333333.3333332")]
    #[case(0x41b3_de43_5555_5554, "333333333.33333325")]
    #[case(0x41b3_de43_5555_5555, "333333333.3333333")]
    #[case(0x41b3_de43_5555_5556, "333333333.3333334")]
    #[case(0x41b3_de43_5555_5557, "333333333.33333343")]
    #[case(0xbecb_f647_612f_3696, "-0.0000033333333333333333")]
    #[case(0x4314_3ff3_c1cb_0959, "1424953923781206.2")]
    fn writes_numbers_as_rfc_8785_does(#[case] bits: u64, #[case] expected: &str) {
        let value = json!(f64::from_bits(bits));
        assert_eq!(String::from_utf8(jcs(&value).unwrap()).unwrap(), expected);
        // What was written is read as the same number.
        let card = AgentCard::parse(format!("{{\"n\":{expected}}}").as_bytes()).unwrap();
        let again = card.canonical(Canonicalization::Raw).unwrap().remove(0);
        assert_eq!(String::from_utf8(again).unwrap(), format!("{{\"n\":{expected}}}"));
    }

    /// RFC 8785, appendix B: what is no number ends in an error.
    #[rstest]
    #[case("NaN")]
    #[case("Infinity")]
    #[case("-Infinity")]
    #[case("1e309")]
    fn refuses_the_numbers_that_rfc_8785_does(#[case] number: &str) {
        assert!(AgentCard::parse(format!("{{\"n\":{number}}}").as_bytes()).is_err());
    }

    #[test]
    fn reads_its_own_names() {
        for form in Canonicalization::ALL {
            assert_eq!(form.as_str().parse(), Ok(form));
            assert_eq!(serde_json::to_value(form).unwrap(), form.as_str());
        }
        assert!("RAW".parse::<Canonicalization>().is_err());
    }
}
