//! `presence`: the A2A 1.0 text, section 8.4.1.
//!
//! A known field that holds its protobuf default (an empty string, list or map, `false`) is dropped unless it is
//! REQUIRED or `optional`; message-typed fields are dropped only when absent, and `null` is absent. What is not
//! known, or not of its field's type, is kept as received.

use serde_json::{Map, Value};

use super::schema::{Field, Kind, Message, Presence, a2a};

/// The card without the members that do not count as present.
pub(super) fn reduce(card: &Value) -> Value {
    present_members(&a2a::AGENT_CARD, card)
}

fn present_members(message: &'static Message, value: &Value) -> Value {
    let Value::Object(object) = value else { return value.clone() };
    let present = object.iter().filter_map(|(name, value)| match message.field(name) {
        Some(field) => is_present(field, value).then(|| (name.clone(), inside(field.kind, value))),
        None => Some((name.clone(), value.clone())),
    });
    Value::Object(present.collect::<Map<_, _>>())
}

fn is_present(field: &Field, value: &Value) -> bool {
    match field.presence {
        Presence::Required => true,
        Presence::Optional => !value.is_null(),
        Presence::Implicit => match value {
            Value::Null => false,
            Value::Bool(flag) => *flag,
            Value::String(text) => !text.is_empty(),
            Value::Array(elements) => !elements.is_empty(),
            Value::Object(members) => !members.is_empty(),
            Value::Number(_) => true,
        },
    }
}

fn inside(kind: Kind, value: &Value) -> Value {
    match (kind, value) {
        (Kind::Message(message), _) => present_members(message, value),
        (Kind::Messages(message), Value::Array(elements)) => {
            elements.iter().map(|element| present_members(message, element)).collect()
        }
        (Kind::MessageMap(message), Value::Object(members)) => Value::Object(
            members.iter().map(|(name, value)| (name.clone(), present_members(message, value))).collect(),
        ),
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::required_stay(
        json!({"name": "", "description": "", "skills": [], "capabilities": {}, "supportedInterfaces": []}),
        json!({"name": "", "description": "", "skills": [], "capabilities": {}, "supportedInterfaces": []})
    )]
    #[case::optional_stay_when_set(
        json!({"iconUrl": "", "documentationUrl": "", "capabilities": {"streaming": false}}),
        json!({"iconUrl": "", "documentationUrl": "", "capabilities": {"streaming": false}})
    )]
    #[case::defaults_go(
        json!({"securitySchemes": {}, "securityRequirements": [], "capabilities": {"extensions": []}}),
        json!({"capabilities": {}})
    )]
    #[case::defaults_go_inside(
        json!({"capabilities": {"extensions": [{"uri": "", "required": false, "params": {"a": "", "b": []}}]},
               "supportedInterfaces": [{"url": "", "tenant": ""}],
               "securityRequirements": [{"schemes": {"a": {"list": []}}}]}),
        json!({"capabilities": {"extensions": [{"params": {"a": "", "b": []}}]},
               "supportedInterfaces": [{"url": ""}],
               "securityRequirements": [{"schemes": {"a": {}}}]})
    )]
    #[case::values_stay(
        json!({"capabilities": {"extensions": [{"required": true}]},
               "securitySchemes": {"k": {"oauth2SecurityScheme": {"flows": {"authorizationCode":
                   {"scopes": {}, "pkceRequired": false, "refreshUrl": ""}}}}}}),
        json!({"capabilities": {"extensions": [{"required": true}]},
               "securitySchemes": {"k": {"oauth2SecurityScheme": {"flows": {"authorizationCode":
                   {"scopes": {}}}}}}})
    )]
    #[case::messages_go_only_when_absent(json!({"provider": {}}), json!({"provider": {}}))]
    #[case::null_is_absent(json!({"provider": null, "iconUrl": null}), json!({}))]
    #[case::unknown_stay(
        json!({"x": "", "y": [], "skills": [{"z": {}}]}),
        json!({"x": "", "y": [], "skills": [{"z": {}}]})
    )]
    #[case::wrong_types_stay(
        json!({"skills": "none", "capabilities": 7, "securitySchemes": 0}),
        json!({"skills": "none", "capabilities": 7, "securitySchemes": 0})
    )]
    fn keeps_what_is_present(#[case] card: Value, #[case] expected: Value) {
        assert_eq!(reduce(&card), expected);
    }
}
