//! The AgentCard as received.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    canonical::{Canonicalization, FormError, Forms},
    json::{self, JsonError},
    jws::{ProtectedHeader, SignatureEntry},
};

/// The largest card that is read or written, in bytes.
pub const MAX_CARD_BYTES: usize = 1024 * 1024;
/// The most signatures that one card may carry. Each costs a verifier several public-key operations.
pub const MAX_SIGNATURES: usize = 16;

/// An A2A AgentCard: every member that was received, known here or not, and its signatures beside it.
///
/// It is never read through a typed structure, which would drop what it does not know and so break the signature.
///
/// ```
/// use secplane_agent_card::AgentCard;
///
/// let card = AgentCard::parse(br#"{"name":"Recipe Agent","version":"1.0.0","x-team":"kitchen"}"#)?;
/// assert_eq!(card.name(), Some("Recipe Agent"));
/// assert_eq!(card.signatures().len(), 0);
/// assert_eq!(card.to_json()["x-team"], "kitchen");
/// # Ok::<(), secplane_agent_card::CardError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AgentCard {
    /// The card without `signatures`, always an object.
    unsigned: Arc<Value>,
    signatures: Vec<Value>,
}

impl AgentCard {
    /// Reads a card. Its signatures are taken as they are: judging them is [`crate::verify`]'s work.
    ///
    /// # Errors
    /// When it is larger than [`MAX_CARD_BYTES`]; when it is not JSON of which every reader makes the same
    /// document; when it is not an object, or `signatures` is not a list of at most [`MAX_SIGNATURES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CardError> {
        if bytes.len() > MAX_CARD_BYTES {
            return Err(CardError::TooLarge(bytes.len()));
        }
        let Value::Object(mut members) = json::read_strictly(bytes)? else {
            return Err(CardError::NotAnObject);
        };
        let signatures = match members.remove("signatures") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(signatures)) => signatures,
            Some(_) => return Err(CardError::SignaturesNotAList),
        };
        if signatures.len() > MAX_SIGNATURES {
            return Err(CardError::TooManySignatures(signatures.len()));
        }
        Ok(Self { unsigned: Arc::new(Value::Object(members)), signatures })
    }

    /// What the card says of the agent, without the signatures.
    #[must_use]
    pub fn unsigned(&self) -> &Value {
        &self.unsigned
    }

    pub(crate) fn shared_unsigned(&self) -> Arc<Value> {
        Arc::clone(&self.unsigned)
    }

    /// The entries of `signatures` as they stand.
    #[must_use]
    pub fn signatures(&self) -> &[Value] {
        &self.signatures
    }

    /// The agent's name, when the card gives one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.unsigned.get("name")?.as_str()
    }

    /// The whole card; `signatures` is left out when there is none.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut members = match self.unsigned() {
            Value::Object(members) => members.clone(),
            _ => Map::new(),
        };
        if !self.signatures.is_empty() {
            members.insert("signatures".into(), Value::Array(self.signatures.clone()));
        }
        Value::Object(members)
    }

    /// Where the signatures without certificates say that their keys are (`jku`), each URL once. They are claims of
    /// whoever made the card: who fetches one decides first which hosts to trust.
    #[must_use]
    pub fn key_set_urls(&self) -> Vec<String> {
        let mut urls: Vec<String> = Vec::new();
        for entry in &self.signatures {
            let header = SignatureEntry::read(entry).and_then(|entry| entry.header());
            let Ok(ProtectedHeader { chain, key_set_url: Some(url), .. }) = header else { continue };
            if chain.is_empty() && !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls
    }

    /// The bytes that a signature over one canonical form signs: the JWS payload.
    ///
    /// Of an older card the `sdk` form has a second reading (see [`Canonicalization::Sdk`]), and a signature over
    /// either is one over that form.
    ///
    /// # Errors
    /// When the form cannot be made of this card, because its verifiers could not read it.
    ///
    /// ```
    /// use secplane_agent_card::{AgentCard, Canonicalization};
    ///
    /// let card = AgentCard::parse(br#"{ "version": "", "name": "a", "x": 1e2 }"#)?;
    /// assert_eq!(card.canonical(Canonicalization::Raw)?, [br#"{"name":"a","version":"","x":100}"#]);
    /// assert_eq!(card.canonical(Canonicalization::Sdk)?, [br#"{"name":"a"}"#]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn canonical(&self, canonicalization: Canonicalization) -> Result<Vec<Vec<u8>>, FormError> {
        let forms = Forms::of(self);
        Ok(forms.readings(canonicalization)?.iter().map(|form| form.payload().to_vec()).collect())
    }

    pub(crate) fn with_signatures(&self, signatures: Vec<Value>) -> Self {
        Self { unsigned: Arc::clone(&self.unsigned), signatures }
    }
}

/// Why bytes are not an AgentCard that is read here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// Larger than [`MAX_CARD_BYTES`].
    #[error("the card has {0} bytes; at most {MAX_CARD_BYTES} are read")]
    TooLarge(usize),
    /// Not a JSON document that means the same to every reader.
    #[error("the card cannot be read: {0}")]
    Json(#[from] JsonError),
    /// JSON, but not an object.
    #[error("the card is not a JSON object")]
    NotAnObject,
    /// `signatures` is something other than a list.
    #[error("the card's `signatures` is not a list")]
    SignaturesNotAList,
    /// More than [`MAX_SIGNATURES`].
    #[error("the card has {0} signatures; at most {MAX_SIGNATURES} are read")]
    TooManySignatures(usize),
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn keeps_every_member() {
        let text = br#"{"name":"a","x-unknown":{"deep":[null,""]},"signatures":[{"protected":"p"}]}"#;
        let card = AgentCard::parse(text).unwrap();
        assert_eq!(card.to_json(), serde_json::from_slice::<Value>(text).unwrap());
        assert!(card.unsigned().get("signatures").is_none());
    }

    #[rstest]
    #[case::absent("{}")]
    #[case::null(r#"{"signatures":null}"#)]
    #[case::empty(r#"{"signatures":[]}"#)]
    fn reads_an_unsigned_card(#[case] text: &str) {
        assert!(AgentCard::parse(text.as_bytes()).unwrap().signatures().is_empty());
    }

    #[rstest]
    #[case::list("[]", CardError::NotAnObject)]
    #[case::string("\"x\"", CardError::NotAnObject)]
    #[case::signatures_object(r#"{"signatures":{}}"#, CardError::SignaturesNotAList)]
    #[case::twice(r#"{"name":"a","name":"b"}"#, CardError::Json(JsonError::DuplicateMember("name".into())))]
    fn rejects_what_is_no_card(#[case] text: &str, #[case] expected: CardError) {
        assert_eq!(AgentCard::parse(text.as_bytes()), Err(expected));
    }

    #[test]
    fn rejects_what_is_too_large() {
        let card = |padding: usize| format!("{{\"name\":\"{}\"}}", "a".repeat(padding));
        let overhead = card(0).len();
        assert!(AgentCard::parse(card(MAX_CARD_BYTES - overhead).as_bytes()).is_ok());
        let large = card(MAX_CARD_BYTES - overhead + 1);
        assert_eq!(AgentCard::parse(large.as_bytes()), Err(CardError::TooLarge(MAX_CARD_BYTES + 1)));
        let many = format!("{{\"signatures\":[{}]}}", vec!["{}"; MAX_SIGNATURES + 1].join(","));
        assert_eq!(AgentCard::parse(many.as_bytes()), Err(CardError::TooManySignatures(MAX_SIGNATURES + 1)));
    }
}
