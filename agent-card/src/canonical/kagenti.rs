//! `kagenti`: the Kagenti operator's signer and verifier.
//!
//! The operator reads the card into a Go structure, writes that out, reads it again as maps, drops what is empty,
//! and writes it with sorted keys. So this form is Go's JSON, not JCS: `<`, `>`, `&`, U+2028 and U+2029 are
//! escaped, keys are sorted by their UTF-8 bytes, and a negative zero keeps its sign.

use std::io;

use serde_json::{Map, Value, ser::Formatter};

use super::{
    FormError,
    jcs::{self, write_double},
    place::Place::{self, Card, Element, Member},
    schema::{self, Kind, Message, NullElements},
};

/// The card as the operator's structure has it, without what is empty.
pub(super) fn reduce(card: &Value) -> Result<Value, FormError> {
    let message = &schema::kagenti::AGENT_CARD;
    check_case(message, card, &Card)?;
    match schema::known_members(message, card, NullElements::Empty, &Card)? {
        Value::Object(members) => Ok(Value::Object(without_empty(members))),
        other => Ok(other),
    }
}

/// Go matches member names without regard to case, so `Name` overwrites or replaces `name`. Which one wins depends
/// on the order in the text: such a card has no certain form.
fn check_case(message: &'static Message, value: &Value, at: &Place<'_>) -> Result<(), FormError> {
    let Value::Object(object) = value else { return Ok(()) };
    for (name, value) in object {
        let here = Member(at, name);
        let folded = fold_case(name);
        let Some(field) = message.fields.iter().find(|field| fold_case(field.name) == folded) else {
            if matches!(at, Card) && folded == "signatures" {
                return Err(FormError::OtherCase(here.text(), "signatures"));
            }
            continue;
        };
        if field.name != name {
            return Err(FormError::OtherCase(here.text(), field.name));
        }
        match (field.kind, value) {
            (Kind::Message(inner), _) => check_case(inner, value, &here)?,
            (Kind::Messages(inner), Value::Array(elements)) => {
                for (position, element) in elements.iter().enumerate() {
                    check_case(inner, element, &Element(&here, position))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Folds case as Go does for ASCII names: besides the letters, U+017F folds to `s` and U+212A to `k`.
fn fold_case(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            _ => c.to_ascii_lowercase(),
        })
        .collect()
}

fn without_empty(members: Map<String, Value>) -> Map<String, Value> {
    let kept = members.into_iter().filter_map(|(name, value)| match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then_some((name, Value::String(text))),
        Value::Object(inner) => {
            let inner = without_empty(inner);
            (!inner.is_empty()).then_some((name, Value::Object(inner)))
        }
        Value::Array(elements) => {
            let elements: Vec<_> = elements.into_iter().filter_map(element_without_empty).collect();
            (!elements.is_empty()).then_some((name, Value::Array(elements)))
        }
        Value::Bool(_) | Value::Number(_) => Some((name, value)),
    });
    kept.collect()
}

/// A list directly inside a list is kept as it stands, whatever it holds.
fn element_without_empty(element: Value) -> Option<Value> {
    match element {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then_some(Value::String(text)),
        Value::Object(inner) => {
            let inner = without_empty(inner);
            (!inner.is_empty()).then_some(Value::Object(inner))
        }
        Value::Array(_) | Value::Bool(_) | Value::Number(_) => Some(element),
    }
}

/// Writes the form as Go's `encoding/json` does.
pub(super) fn write(signed: &Value) -> Result<Vec<u8>, FormError> {
    jcs::write(signed, str::cmp, GoJson)
}

/// Go reads every number as a double and writes it, but for a negative zero, as JCS does.
struct GoJson;

impl Formatter for GoJson {
    fn write_i64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        write_double(writer, &value)
    }

    fn write_u64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        write_double(writer, &value)
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        if value == 0.0 && value.is_sign_negative() {
            return writer.write_all(b"-0");
        }
        write_double(writer, &value)
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, escaped)) =
            rest.char_indices().find(|(_, c)| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}'))
        {
            let (before, from) = rest.split_at(at);
            write!(writer, "{before}\\u{:04x}", u32::from(escaped))?;
            rest = &from[escaped.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn form(card: &Value) -> Result<String, FormError> {
        Ok(String::from_utf8(write(&reduce(card)?)?).unwrap())
    }

    fn parameters(value: Value) -> Value {
        json!({"capabilities": {"extensions": [{"params": value}]}})
    }

    #[rstest]
    #[case::sorted_and_known(
        json!({"version": "1", "name": "a", "supportedInterfaces": [{"url": "u"}], "x": 1,
               "protocolVersion": "1.0", "securitySchemes": {"k": {}}, "url": "u"}),
        r#"{"name":"a","url":"u","version":"1"}"#
    )]
    #[case::empty_goes_false_stays(
        json!({"name": "", "iconUrl": null, "provider": {"url": ""}, "capabilities": {"streaming": false},
               "skills": [{}, {"tags": ["", null, "t"]}, null], "defaultInputModes": [""]}),
        r#"{"capabilities":{"streaming":false},"skills":[{"tags":["t"]}]}"#
    )]
    #[case::escapes(
        json!({"name": "<a>&\u{2028}\u{2029}é\"\\/\u{8}\u{c}\u{1}\u{7f}"}),
        "{\"name\":\"\\u003ca\\u003e\\u0026\\u2028\\u2029é\\\"\\\\/\\b\\f\\u0001\u{7f}\"}"
    )]
    #[case::numbers(
        parameters(json!([0, -0.0, 1e21, 1e20, 1e-7, 0.000_001, 9_007_199_254_740_992_u64, 5.0])
            .as_array().map(|list| json!({"n": list})).unwrap()),
        r#"{"capabilities":{"extensions":[{"params":{"n":[0,-0,1e+21,100000000000000000000,1e-7,0.000001,9007199254740992,5]}}]}}"#
    )]
    #[case::lists_in_lists_stay(
        parameters(json!({"a": [[], [""], [{"b": ""}]], "c": {"d": {"e": ""}}})),
        r#"{"capabilities":{"extensions":[{"params":{"a":[[],[""],[{"b":""}]]}}]}}"#
    )]
    #[case::keys_by_bytes(
        parameters(json!({"\u{fb33}": 1, "\u{1f600}": 2, "a<": 3})),
        "{\"capabilities\":{\"extensions\":[{\"params\":{\"a\\u003c\":3,\"\u{fb33}\":1,\"\u{1f600}\":2}}]}}"
    )]
    #[case::skill_parameters(
        json!({"skills": [{"parameters": [{"name": "n", "type": "string", "required": false, "x": 1}]}]}),
        r#"{"skills":[{"parameters":[{"name":"n","required":false,"type":"string"}]}]}"#
    )]
    fn writes_as_the_operator_does(#[case] card: Value, #[case] expected: &str) {
        assert_eq!(form(&card).unwrap(), expected);
    }

    #[rstest]
    #[case::number_for_text(json!({"name": 5}), "name")]
    #[case::list_for_object(json!({"provider": []}), "provider")]
    #[case::text_for_flag(json!({"capabilities": {"streaming": "yes"}}), "capabilities.streaming")]
    #[case::inside_a_list(json!({"skills": [{"tags": [1]}]}), "skills[0].tags[0]")]
    fn rejects_what_the_operator_cannot_read(#[case] card: Value, #[case] at: &str) {
        assert!(matches!(form(&card), Err(FormError::WrongType { member, .. }) if member == at));
    }

    #[rstest]
    #[case(json!({"Name": "b", "name": "a"}), "Name", "name")]
    #[case(json!({"\u{17f}kills": []}), "[\"\u{17f}kills\"]", "skills")]
    #[case(json!({"skills": [{"TAGS": []}]}), "skills[0].TAGS", "tags")]
    #[case(json!({"Signatures": []}), "Signatures", "signatures")]
    fn rejects_names_that_differ_in_case(
        #[case] card: Value,
        #[case] member: &str,
        #[case] known: &'static str,
    ) {
        assert_eq!(form(&card), Err(FormError::OtherCase(member.into(), known)));
    }
}
