//! The shape of a card: which members there are, and of which types.

use serde_json::{Map, Value};

use super::{Findings, Rule};
use crate::canonical::{
    path,
    schema::{Field, Kind, Message, Presence, a2a, type_of},
};

/// Members that A2A 1.0 replaced, where they stood, and what to use instead.
const REPLACED: [(&str, &str, &str); 9] = [
    ("", "url", "supportedInterfaces[0].url"),
    ("", "preferredTransport", "supportedInterfaces[0].protocolBinding"),
    ("", "additionalInterfaces", "supportedInterfaces"),
    ("", "protocolVersion", "supportedInterfaces[].protocolVersion"),
    ("", "security", "securityRequirements"),
    ("", "supportsAuthenticatedExtendedCard", "capabilities.extendedAgentCard"),
    ("capabilities", "stateTransitionHistory", "nothing: A2A 1.0 has no such capability"),
    ("skills[]", "security", "skills[].securityRequirements"),
    (
        "securitySchemes[]",
        "type",
        "the member that is named after the scheme, such as `apiKeySecurityScheme`",
    ),
];

pub(super) fn check(card: &Value, findings: &mut Findings) {
    check_message(&a2a::AGENT_CARD, card, "", "", findings);
}

/// `at` is where the structure stands, `kind_of_place` the same without indices and names of map members.
fn check_message(
    message: &'static Message,
    value: &Value,
    at: &str,
    kind_of_place: &str,
    findings: &mut Findings,
) {
    let Some(object) = expect_object(value, at, findings) else { return };
    for field in message.fields {
        let here = path(at, field.name);
        match object.get(field.name) {
            None | Some(Value::Null) => check_absent(field, object, &here, findings),
            Some(value) => {
                check_value(field.kind, value, &here, &path(kind_of_place, field.name), findings);
            }
        }
    }
    for name in object.keys().filter(|name| message.field(name).is_none()) {
        check_unknown(name, at, kind_of_place, findings);
    }
    if message.is_choice {
        check_choice(message, object, at, findings);
    }
}

fn check_absent(field: &Field, object: &Map<String, Value>, here: &str, findings: &mut Findings) {
    if object.contains_key(field.name) {
        findings.warn(Rule::Agreement, here, "`null` counts as absent for some verifiers: leave it out");
    }
    if field.presence == Presence::Required {
        findings.fail(Rule::Required, here, "A2A 1.0 requires it");
    }
}

fn check_unknown(name: &str, at: &str, kind_of_place: &str, findings: &mut Findings) {
    let here = path(at, name);
    let replaced = REPLACED.iter().find(|(place, old, _)| *place == kind_of_place && *old == name);
    match replaced {
        Some((_, _, new)) => {
            findings.warn(Rule::Current, &here, format!("it is from A2A before 1.0; use instead {new}"));
        }
        None => findings.warn(
            Rule::Known,
            &here,
            "A2A 1.0 does not know it: the SDKs drop it, and what they verify does not cover it; put it into the \
             `params` of an extension",
        ),
    }
}

fn check_choice(message: &Message, object: &Map<String, Value>, at: &str, findings: &mut Findings) {
    let present: Vec<_> = message
        .fields
        .iter()
        .filter(|field| object.get(field.name).is_some_and(|value| !value.is_null()))
        .map(|field| field.name)
        .collect();
    match present.as_slice() {
        [_] => {}
        [] => {
            let names: Vec<_> = message.fields.iter().map(|field| field.name).collect();
            findings.fail(Rule::Alternatives, at, format!("it holds none of {}", names.join(", ")));
        }
        several => {
            findings.fail(Rule::Alternatives, at, format!("it holds {}: keep one", several.join(" and ")));
        }
    }
}

fn check_value(kind: Kind, value: &Value, at: &str, kind_of_place: &str, findings: &mut Findings) {
    match kind {
        Kind::Text => expect(value.is_string(), "a string", value, at, findings),
        Kind::Flag => expect(value.is_boolean(), "true or false", value, at, findings),
        Kind::Parameters => expect(value.is_object(), "an object", value, at, findings),
        Kind::Texts => each_element(value, at, findings, |element, at, findings| {
            expect(element.is_string(), "a string", element, at, findings);
        }),
        Kind::Message(message) => check_message(message, value, at, kind_of_place, findings),
        Kind::Messages(message) => {
            let place = format!("{kind_of_place}[]");
            each_element(value, at, findings, |element, at, findings| {
                check_message(message, element, at, &place, findings);
            });
        }
        Kind::TextMap => each_member(value, at, findings, |element, at, findings| {
            expect(element.is_string(), "a string", element, at, findings);
        }),
        Kind::MessageMap(message) => {
            let place = format!("{kind_of_place}[]");
            each_member(value, at, findings, |element, at, findings| {
                check_message(message, element, at, &place, findings);
            });
        }
    }
}

fn each_element(
    value: &Value,
    at: &str,
    findings: &mut Findings,
    mut check: impl FnMut(&Value, &str, &mut Findings),
) {
    expect(value.is_array(), "a list", value, at, findings);
    for (position, element) in value.as_array().into_iter().flatten().enumerate() {
        check(element, &format!("{at}[{position}]"), findings);
    }
}

fn each_member(
    value: &Value,
    at: &str,
    findings: &mut Findings,
    mut check: impl FnMut(&Value, &str, &mut Findings),
) {
    for (name, element) in expect_object(value, at, findings).into_iter().flatten() {
        check(element, &path(at, name), findings);
    }
}

fn expect_object<'a>(value: &'a Value, at: &str, findings: &mut Findings) -> Option<&'a Map<String, Value>> {
    expect(value.is_object(), "an object", value, at, findings);
    value.as_object()
}

fn expect(is_so: bool, expected: &str, value: &Value, at: &str, findings: &mut Findings) {
    if !is_so {
        findings.fail(Rule::Type, at, format!("it is {} where {expected} is due", type_of(value)));
    }
}
