//! Whether the canonical forms of a card agree, and what makes them differ.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::{
    AgentCard,
    canonical::{
        Canonicalization, Form, Forms,
        Place::{self, Card, Element, Member},
        jcs,
    },
};

/// The most differences that are told; a card with more is told of these first.
pub const MAX_DIFFERENCES: usize = 256;
/// The most differences that an error's text shows.
const SHOWN: usize = 12;

/// What makes the canonical forms of a card differ. When nothing does, one signature satisfies every verifier.
///
/// ```
/// use secplane_agent_card::AgentCard;
///
/// let agreeing = AgentCard::parse(br#"{"name":"a","version":"1"}"#)?;
/// assert!(agreeing.agreement().is_complete());
///
/// let differing = AgentCard::parse(br#"{"name":"a","supportedInterfaces":[{"url":"https://a.example"}]}"#)?;
/// let agreement = differing.agreement();
/// assert_eq!(agreement.differences()[0].member, "supportedInterfaces");
/// # Ok::<(), secplane_agent_card::CardError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Agreement {
    differences: Vec<Difference>,
}

/// A member that forms treat differently from the card as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where it stands: `skills[0].tags`; empty when it is the card as a whole.
    pub member: String,
    /// Which forms.
    pub forms: Vec<Canonicalization>,
    /// What they do with it.
    pub change: Change,
    /// What to change so that they agree.
    pub advice: String,
}

/// What a form does with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Leaves it out because it is empty or a default.
    DropsEmpty,
    /// Leaves it out because it does not know it, or replaces it.
    DropsContent,
    /// Has it where the card has not: it is translated from another member.
    Adds,
    /// Writes it as other bytes.
    WritesOtherwise,
    /// Cannot read the card because of it.
    CannotRead,
}

impl AgentCard {
    /// Compares the canonical forms of this card.
    #[must_use]
    pub fn agreement(&self) -> Agreement {
        Agreement::between(self, &Forms::of(self))
    }
}

impl Agreement {
    pub(crate) fn between(card: &AgentCard, forms: &Forms<'_>) -> Self {
        let mut agreement = Self { differences: Vec::new() };
        let raw = match forms.readings(Canonicalization::Raw) {
            Ok(readings) => readings.first().map(Form::payload).unwrap_or_default(),
            Err(error) => {
                agreement.add(Canonicalization::Raw, String::new(), Change::CannotRead, error.to_string());
                return agreement;
            }
        };
        for canonicalization in Canonicalization::ALL {
            match forms.readings(canonicalization) {
                Err(error) => {
                    let member = error.member().to_owned();
                    agreement.add(canonicalization, member, Change::CannotRead, error.to_string());
                }
                Ok(readings) => {
                    for refused in readings.iter().filter_map(Form::refused_by_some) {
                        let member = refused.member().to_owned();
                        agreement.add(canonicalization, member, Change::CannotRead, refused.to_string());
                    }
                    for form in readings.iter().filter(|form| form.payload() != raw) {
                        agreement.add_form(card, form);
                    }
                }
            }
        }
        agreement
    }

    /// Whether all forms of the card are the same bytes.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.differences.is_empty()
    }

    /// What makes them differ, in the order of the forms; at most [`MAX_DIFFERENCES`].
    #[must_use]
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    fn add_form(&mut self, card: &AgentCard, form: &Form) {
        let canonicalization = form.canonicalization();
        let signed = form.signed(card);
        for dropped in form.dropped(card, MAX_DIFFERENCES) {
            let (change, advice) = if dropped.is_empty {
                (Change::DropsEmpty, "leave it out or give it a value")
            } else {
                (Change::DropsContent, "leave it out, or sign each form in an entry of its own")
            };
            self.add(canonicalization, dropped.member, change, advice.to_owned());
        }
        for added in form.added(card, MAX_DIFFERENCES) {
            let advice = "use the A2A 1.0 member in place of the older one or of its other name";
            self.add(canonicalization, added, Change::Adds, advice.to_owned());
        }
        if jcs(&signed).is_ok_and(|bytes| bytes != form.payload()) {
            let mut escaped = Vec::new();
            find_escaped(&signed, &Card, &mut escaped);
            for member in escaped {
                let advice = "avoid <, >, &, U+2028, U+2029 and a negative zero in it";
                self.add(canonicalization, member, Change::WritesOtherwise, advice.to_owned());
            }
        }
        if !self.differences.iter().any(|known| known.forms.contains(&canonicalization)) {
            let advice = "use ASCII names for the members of free-form parameters";
            self.add(canonicalization, String::new(), Change::WritesOtherwise, advice.to_owned());
        }
    }

    fn add(&mut self, form: Canonicalization, member: String, change: Change, advice: String) {
        let is_full = self.differences.len() == MAX_DIFFERENCES;
        let same = self
            .differences
            .iter_mut()
            .find(|known| known.member == member && known.change == change && known.advice == advice);
        match same {
            Some(known) if known.forms.contains(&form) => {}
            Some(known) => known.forms.push(form),
            None if is_full => {}
            None => self.differences.push(Difference { member, forms: vec![form], change, advice }),
        }
    }
}

/// Values that are written otherwise than JCS writes them, as many as are told: see the `kagenti` form.
fn find_escaped(value: &Value, at: &Place<'_>, found: &mut Vec<String>) {
    if found.len() >= MAX_DIFFERENCES {
        return;
    }
    let is_escaped = |text: &str| text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']);
    match value {
        Value::String(text) if is_escaped(text) => found.push(at.text()),
        Value::Number(number) if number.as_f64().is_some_and(|n| n == 0.0 && n.is_sign_negative()) => {
            found.push(at.text());
        }
        Value::Array(elements) => {
            for (position, element) in elements.iter().enumerate() {
                find_escaped(element, &Element(at, position), found);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                let here = Member(at, name);
                if is_escaped(name) {
                    found.push(here.text());
                }
                find_escaped(value, &here, found);
            }
        }
        _ => {}
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.differences.is_empty() {
            return f.write_str("all canonical forms are the same");
        }
        for (position, difference) in self.differences.iter().take(SHOWN).enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}{difference}")?;
        }
        match self.differences.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forms: Vec<_> = self.forms.iter().map(|form| form.as_str()).collect();
        let forms = forms.join(" and ");
        let member = if self.member.is_empty() { "the card" } else { &self.member };
        match self.change {
            Change::DropsEmpty => write!(f, "{forms} drops {member}, which is empty: {}", self.advice),
            Change::DropsContent => write!(f, "{forms} drops {member}: {}", self.advice),
            Change::Adds => write!(f, "{forms} has {member}, which the card has not: {}", self.advice),
            Change::WritesOtherwise => write!(f, "{forms} writes {member} otherwise: {}", self.advice),
            Change::CannotRead => write!(f, "{forms} cannot read the card: {}", self.advice),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{Canonicalization::*, *};

    fn differences(text: &str) -> Vec<(String, Change, Vec<Canonicalization>)> {
        let agreement = AgentCard::parse(text.as_bytes()).unwrap().agreement();
        agreement.differences.into_iter().map(|d| (d.member, d.change, d.forms)).collect()
    }

    #[rstest]
    #[case::empty(r#"{"name":"a","skills":[]}"#, "skills", Change::DropsEmpty, vec![Sdk, Kagenti])]
    #[case::default(
        r#"{"name":"a","capabilities":{"streaming":true,"extensions":[]}}"#,
        "capabilities.extensions", Change::DropsEmpty, vec![Presence, Sdk, Kagenti]
    )]
    #[case::unknown_to_the_operator(
        r#"{"name":"a","supportedInterfaces":[{"url":"u"}]}"#,
        "supportedInterfaces", Change::DropsContent, vec![Kagenti]
    )]
    #[case::unknown_to_all(r#"{"name":"a","x":1}"#, "x", Change::DropsContent, vec![Sdk, Kagenti])]
    #[case::escaped(r#"{"name":"a & b"}"#, "name", Change::WritesOtherwise, vec![Kagenti])]
    #[case::negative_zero(
        r#"{"name":"a","capabilities":{"extensions":[{"uri":"u","params":{"n":-0}}]}}"#,
        "capabilities.extensions[0].params.n", Change::WritesOtherwise, vec![Kagenti]
    )]
    #[case::order_of_names(
        "{\"name\":\"a\",\"capabilities\":{\"extensions\":[{\"uri\":\"u\",\"params\":{\"\u{fb33}\":1,\"\u{1f600}\":2}}]}}",
        "", Change::WritesOtherwise, vec![Kagenti]
    )]
    #[case::unreadable(r#"{"name":"a","version":1}"#, "version", Change::CannotRead, vec![Sdk, Kagenti])]
    fn names_what_differs(
        #[case] card: &str,
        #[case] member: &str,
        #[case] change: Change,
        #[case] forms: Vec<Canonicalization>,
    ) {
        assert_eq!(differences(card), [(member.to_owned(), change, forms)]);
    }

    #[test]
    fn names_what_is_translated() {
        let found = differences(r#"{"name":"a","url":"u"}"#);
        assert!(found.contains(&("url".into(), Change::DropsContent, vec![Sdk])));
        assert!(found.contains(&("supportedInterfaces".into(), Change::Adds, vec![Sdk])));
    }

    #[test]
    fn agrees_on_a_plain_card() {
        let card = r#"{"name":"a","description":"d","version":"1","capabilities":{"streaming":false},
            "defaultInputModes":["text/plain"],"skills":[{"id":"i","name":"n","tags":["t"]}]}"#;
        assert!(differences(card).is_empty());
    }

    #[test]
    fn tells_only_so_many() {
        let members: Vec<_> = (0..1000).map(|n| format!("\"x{n}\":1")).collect();
        let agreement = AgentCard::parse(format!("{{\"name\":\"a\",{}}}", members.join(",")).as_bytes())
            .unwrap()
            .agreement();
        assert_eq!(agreement.differences().len(), MAX_DIFFERENCES);
        assert!(agreement.to_string().ends_with("; and 244 more"));
    }
}
