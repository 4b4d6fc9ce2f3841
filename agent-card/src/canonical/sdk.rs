//! `sdk`: the A2A SDKs for Python and JavaScript.
//!
//! They read the card into the A2A 1.0 protobuf messages, write those as protobuf JSON, and drop every empty
//! string, list and object from the result. Members that A2A 1.0 does not know are lost on the way.

use serde_json::{Map, Value};

use super::{
    FormError, legacy,
    place::Place::{self, Card, Element, Member},
    schema::{self, Kind, Message, NullElements, Presence, a2a},
};

/// The deepest nesting of an extension's `params`, itself counting as one, that the Python SDK reads: its protobuf
/// reader gives up at 100 messages, and each level costs two.
const MAX_PARAMETER_DEPTH: usize = 48;

/// The card in A2A 1.0's own names. The Python SDK translates A2A 0.3 members first and the JavaScript SDK does not,
/// so a card with such members has a second reading.
pub(super) fn readings(card: &Value) -> Result<Vec<Value>, FormError> {
    let mut plain = card.clone();
    use_json_names(&a2a::AGENT_CARD, &mut plain, &Card)?;
    let mut readings = vec![plain];
    if let Some(mut translated) = legacy::translate(card)? {
        use_json_names(&a2a::AGENT_CARD, &mut translated, &Card)?;
        readings.push(translated);
    }
    Ok(readings)
}

/// Why the Python SDK canonicalizes no such card, if it does not, although the JavaScript SDK does.
pub(super) fn refused_by_python(card: &Value) -> Option<FormError> {
    let extensions = card.pointer("/capabilities/extensions").and_then(Value::as_array);
    for (position, extension) in extensions.into_iter().flatten().enumerate() {
        let Some(params) = extension.get("params") else { continue };
        if depth(params) > MAX_PARAMETER_DEPTH {
            return Some(FormError::TooDeep(format!("capabilities.extensions[{position}].params")));
        }
    }
    None
}

/// What the SDKs sign of such a card.
pub(super) fn reduce(card: &Value) -> Result<Value, FormError> {
    let mut known = schema::known_members(&a2a::AGENT_CARD, card, NullElements::Refused, &Card)?;
    drop_implicit_false(&a2a::AGENT_CARD, &mut known);
    without_empty(known).ok_or(FormError::Nothing)
}

/// Protobuf's JSON mapping takes a field by its JSON name or by its name in the `.proto` file.
fn use_json_names(message: &'static Message, value: &mut Value, at: &Place<'_>) -> Result<(), FormError> {
    let Value::Object(object) = value else { return Ok(()) };
    for field in message.fields {
        let proto_name = snake_case(field.name);
        if proto_name != field.name
            && let Some(value) = object.remove(&proto_name)
            && object.insert(field.name.to_owned(), value).is_some()
        {
            return Err(FormError::SameField(Member(at, field.name).text(), Member(at, &proto_name).text()));
        }
        let Some(value) = object.get_mut(field.name) else { continue };
        let here = Member(at, field.name);
        match (field.kind, value) {
            (Kind::Message(inner), value) => use_json_names(inner, value, &here)?,
            (Kind::Messages(inner), Value::Array(elements)) => {
                for (position, element) in elements.iter_mut().enumerate() {
                    use_json_names(inner, element, &Element(&here, position))?;
                }
            }
            (Kind::MessageMap(inner), Value::Object(members)) => {
                for (name, element) in members.iter_mut() {
                    use_json_names(inner, element, &Member(&here, name))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn snake_case(json_name: &str) -> String {
    let mut name = String::new();
    for c in json_name.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// Protobuf JSON leaves out a flag that is `false` unless the field tracks presence.
fn drop_implicit_false(message: &'static Message, value: &mut Value) {
    let Value::Object(object) = value else { return };
    for field in message.fields {
        let Some(value) = object.get_mut(field.name) else { continue };
        match (field.kind, value) {
            (Kind::Flag, Value::Bool(false)) if field.presence == Presence::Implicit => {
                object.remove(field.name);
            }
            (Kind::Message(inner), value) => drop_implicit_false(inner, value),
            (Kind::Messages(inner), Value::Array(elements)) => {
                elements.iter_mut().for_each(|element| drop_implicit_false(inner, element));
            }
            (Kind::MessageMap(inner), Value::Object(members)) => {
                members.values_mut().for_each(|element| drop_implicit_false(inner, element));
            }
            _ => {}
        }
    }
}

/// How deep lists and objects are nested; bounded because the reader of cards bounds it.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn without_empty(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then_some(Value::String(text)),
        Value::Array(elements) => {
            let kept: Vec<_> = elements.into_iter().filter_map(without_empty).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        Value::Object(members) => {
            let kept: Map<_, _> =
                members.into_iter().filter_map(|(name, value)| Some((name, without_empty(value)?))).collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Bool(_) | Value::Number(_) => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::canonical::jcs;

    /// What the SDKs sign: the JavaScript SDK the first reading, the Python SDK the last.
    fn forms(card: &Value) -> Result<Vec<String>, FormError> {
        readings(card)?
            .iter()
            .map(|reading| Ok(String::from_utf8(jcs(&reduce(reading)?)?).unwrap()))
            .collect()
    }

    fn parameters(value: Value) -> Value {
        json!({"name": "a", "capabilities": {"extensions": [{"uri": "u", "params": value}]}})
    }

    #[rstest]
    #[case::unknown_goes(
        json!({"name": "a", "unknown": {"x": 1}, "iconUrl": "", "provider": {"x": 1}}),
        r#"{"name":"a"}"#
    )]
    #[case::empty_goes(
        json!({"name": "a", "description": "", "skills": [{"id": "i", "tags": ["", "x"]}, {}],
               "securityRequirements": [{"schemes": {"a": {"list": []}}}]}),
        r#"{"name":"a","skills":[{"id":"i","tags":["x"]}]}"#
    )]
    #[case::flags_that_track_presence_stay(
        json!({"name": "a", "capabilities": {"streaming": null, "pushNotifications": false,
               "extensions": [{"uri": "u", "required": false}]}}),
        r#"{"capabilities":{"extensions":[{"uri":"u"}],"pushNotifications":false},"name":"a"}"#
    )]
    #[case::proto_names(
        json!({"name": "a", "supported_interfaces": [{"protocol_binding": "GRPC"}]}),
        r#"{"name":"a","supportedInterfaces":[{"protocolBinding":"GRPC"}]}"#
    )]
    #[case::parameters(
        parameters(json!({"n": -0.0, "m": 1e21, "k": 1e-7, "z": 5.0, "a": null, "b": "", "c": [], "d": {},
                          "e": [null, "", [], {}, [[]], 0, false], "f": "\u{2028}<>&"})),
        "{\"capabilities\":{\"extensions\":[{\"params\":{\"e\":[0,false],\"f\":\"\u{2028}<>&\",\"k\":1e-7,\
         \"m\":1e+21,\"n\":0,\"z\":5},\"uri\":\"u\"}]},\"name\":\"a\"}"
    )]
    #[case::odd_map_keys(
        json!({"securitySchemes": {"": {"oauth2SecurityScheme":
            {"flows": {"implicit": {"scopes": {"a": "", "": "x"}}}}}}}),
        r#"{"securitySchemes":{"":{"oauth2SecurityScheme":{"flows":{"implicit":{"scopes":{"":"x"}}}}}}}"#
    )]
    fn writes_as_the_sdks_do(#[case] card: Value, #[case] expected: &str) {
        assert_eq!(forms(&card).unwrap(), [expected]);
    }

    #[rstest]
    #[case::interfaces(
        json!({"name": "a", "url": "http://x", "protocolVersion": "1.0", "preferredTransport": "GRPC",
               "additionalInterfaces": [{"url": "b", "transport": "JSONRPC"}]}),
        r#"{"name":"a"}"#,
        r#"{"name":"a","supportedInterfaces":[{"protocolBinding":"GRPC","protocolVersion":"1.0","url":"http://x"},{"protocolBinding":"JSONRPC","protocolVersion":"1.0","url":"b"}]}"#
    )]
    #[case::interface_with_more(
        json!({"name": "a", "url": "u", "additionalInterfaces": [{"url": "b", "transport": "T", "x": 1}]}),
        r#"{"name":"a"}"#,
        r#"{"name":"a","supportedInterfaces":[{"protocolBinding":"JSONRPC","protocolVersion":"0.3.0","url":"u"},{"protocolBinding":"T","protocolVersion":"0.3.0","url":"b"}]}"#
    )]
    #[case::security(
        json!({"name": "a", "security": [{"k": ["r"]}], "skills": [{"id": "i", "security": [{"k": ["s"]}]}]}),
        r#"{"name":"a","skills":[{"id":"i"}]}"#,
        r#"{"name":"a","securityRequirements":[{"schemes":{"k":{"list":["r"]}}}],"skills":[{"id":"i","securityRequirements":[{"schemes":{"k":{"list":["s"]}}}]}]}"#
    )]
    #[case::scheme(
        json!({"name": "a", "securitySchemes": {"k": {"type": "apiKey", "in": "header", "name": "X"}}}),
        r#"{"name":"a"}"#,
        r#"{"name":"a","securitySchemes":{"k":{"apiKeySecurityScheme":{"location":"header","name":"X"}}}}"#
    )]
    #[case::extended_card(
        json!({"name": "a", "supportsAuthenticatedExtendedCard": true}),
        r#"{"name":"a"}"#,
        r#"{"capabilities":{"extendedAgentCard":true},"name":"a"}"#
    )]
    fn reads_older_cards_as_each_sdk_does(
        #[case] card: Value,
        #[case] javascript: &str,
        #[case] python: &str,
    ) {
        assert_eq!(forms(&card).unwrap(), [javascript, python]);
    }

    #[rstest]
    #[case::superseded(json!({"name": "a", "url": "http://x", "supportedInterfaces": []}))]
    #[case::untrue(json!({"name": "a", "supportsAuthenticatedExtendedCard": false, "security": null}))]
    fn has_one_reading_when_nothing_is_translated(#[case] card: Value) {
        assert_eq!(forms(&card).unwrap(), [r#"{"name":"a"}"#]);
    }

    #[rstest]
    #[case::number_for_text(json!({"name": 5}), "name")]
    #[case::text_for_flag(json!({"capabilities": {"streaming": "true"}}), "capabilities.streaming")]
    #[case::object_for_list(json!({"skills": {}}), "skills")]
    #[case::null_element(json!({"skills": [{"tags": ["", null]}]}), "skills[0].tags[1]")]
    #[case::null_in_map(json!({"securitySchemes": {"k": null}}), "securitySchemes.k")]
    #[case::null_for_skills(json!({"name": "a", "skills": null}), "skills")]
    #[case::text_for_interface(
        json!({"url": "u", "additionalInterfaces": ["x"]}),
        "additionalInterfaces[0]"
    )]
    #[case::text_for_security(json!({"security": "x"}), "security")]
    #[case::text_in_security(json!({"skills": [{"security": ["x"]}]}), "skills[0].security[0]")]
    #[case::list_for_parameters(parameters(json!([])), "capabilities.extensions[0].params")]
    fn rejects_what_the_sdks_cannot_read(#[case] card: Value, #[case] at: &str) {
        assert!(matches!(forms(&card), Err(FormError::WrongType { member, .. }) if member == at));
    }

    /// The version is written once for each interface: a megabyte of card would become many gigabytes.
    #[test]
    fn rejects_what_would_fill_the_memory() {
        let card = |length: usize| {
            let interfaces = vec![json!({"url": "b", "transport": "T"}); 1000];
            json!({"name": "a", "url": "u", "protocolVersion": "1".repeat(length),
                   "additionalInterfaces": interfaces})
        };
        assert!(forms(&card(1000)).is_ok());
        let refused = forms(&card(2000)).unwrap_err();
        assert!(refused.to_string().contains("2000 bytes would be written for each of 1000"), "{refused}");
    }

    #[test]
    fn rejects_what_has_no_single_meaning() {
        let twice = json!({"iconUrl": "a", "icon_url": "b"});
        assert_eq!(forms(&twice), Err(FormError::SameField("iconUrl".into(), "icon_url".into())));
        let both =
            json!({"securitySchemes": {"k": {"mtlsSecurityScheme": {}, "httpAuthSecurityScheme": {}}}});
        assert_eq!(forms(&both), Err(FormError::SeveralAlternatives("securitySchemes.k".into())));
        assert_eq!(forms(&json!({"x": 1})), Err(FormError::Nothing));
    }

    #[rstest]
    #[case::deepest((0..MAX_PARAMETER_DEPTH).fold(json!(1), |inner, _| json!({"x": inner})), None)]
    #[case::deeper(
        (0..=MAX_PARAMETER_DEPTH).fold(json!(1), |inner, _| json!({"x": inner})),
        Some(FormError::TooDeep("capabilities.extensions[0].params".into()))
    )]
    #[case::large_numbers(json!({"n": [1e21, 9_007_199_254_740_992_u64, 5e-324]}), None)]
    fn knows_what_the_python_sdk_refuses(#[case] value: Value, #[case] expected: Option<FormError>) {
        let card = parameters(value);
        assert!(forms(&card).is_ok());
        assert_eq!(refused_by_python(&card), expected);
    }
}
