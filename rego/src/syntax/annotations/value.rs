//! The members of a `METADATA` block that have a form of their own.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::keyed::Keyed;
use crate::syntax::parse::{Shape, shape_of};

/// The type of a document, as a block gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// The document, such as `input.request`.
    pub path: String,
    /// The schema itself; none when it is one that only the evaluator could have, by name.
    pub definition: Option<Value>,
}

fn text<'a>(map: &'a Map<String, Value>, member: &str) -> &'a str {
    map.get(member).and_then(Value::as_str).unwrap_or_default().trim()
}

/// A related resource is a URL, or has one as its `ref`.
pub(super) fn check_resource(resource: &Value) -> Result<(), String> {
    let reference = match resource {
        Value::String(reference) => reference.as_str(),
        Value::Object(map) => text(map, "ref"),
        _ => return Err("a related resource of a METADATA block is neither text nor has a `ref`".to_owned()),
    };
    match reference {
        "" => Err("a related resource of a METADATA block has no URL".to_owned()),
        url if !is_url(url) => Err(format!("`{url}`, a related resource of a METADATA block, is no URL")),
        _ => Ok(()),
    }
}

/// Whether a text is surely what Go's `net/url` takes: it is stricter than that.
fn is_url(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let escaped = byte != b'%' || bytes.by_ref().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
        if byte < b' ' || byte == 0x7f || !escaped {
            return false;
        }
    }
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if !scheme.contains(['/', '?', '#']) => (Some(scheme), rest),
        _ => (None, text),
    };
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    let authority =
        rest.strip_prefix("//").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let is_authority = |authority: &str| {
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (name, port) = host.split_once(':').unwrap_or((host, ""));
        user.bytes().all(is_of_a_user)
            && port.chars().all(|c| c.is_ascii_digit())
            && name
                .chars()
                .all(|c| !c.is_ascii() || c.is_ascii_alphanumeric() || "-._~<>\"!$&'()*+,;=".contains(c))
    };
    scheme.is_none_or(is_scheme) && authority.is_none_or(is_authority)
}

/// What may stand before the `@` of an authority.
fn is_of_a_user(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte)
}

/// An author is a name, or has a `name` or an `email`.
pub(super) fn check_author(author: &Value) -> Result<(), String> {
    let known = match author {
        Value::String(author) => !author.trim().is_empty(),
        Value::Object(map) => !text(map, "name").is_empty() || !text(map, "email").is_empty(),
        _ => false,
    };
    known.then_some(()).ok_or_else(|| "an author of a METADATA block has neither name nor email".to_owned())
}

/// What partial evaluation is told.
pub(super) fn check_compile(compile: &Map<String, Value>) -> Result<(), String> {
    let unknowns = compile.get("unknowns").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for unknown in unknowns.iter().filter_map(Value::as_str) {
        if shape_of(unknown) != Some(Shape::Reference) {
            return Err(format!("`{unknown}`, an unknown of a METADATA block, is no reference"));
        }
    }
    match compile.get("mask_rule").and_then(Value::as_str).map(|rule| (rule, shape_of(rule))) {
        Some((rule, None | Some(Shape::Other))) => {
            Err(format!("`{rule}`, the mask rule of a METADATA block, is no name"))
        }
        _ => Ok(()),
    }
}

/// `- path: schema.name`, or `- path: {…}`.
pub(super) fn schema(entry: &BTreeMap<String, Keyed>) -> Result<Schema, String> {
    let mut members = entry.iter();
    let (Some((path, Keyed(value))), None) = (members.next(), members.next()) else {
        return Err("a schema of a METADATA block has not exactly one document".to_owned());
    };
    if shape_of(path) != Some(Shape::Reference) {
        return Err(format!("`{path}`, the document of a schema in a METADATA block, is no reference"));
    }
    match value {
        Value::String(name) => {
            let named =
                name == "schema" || (name.starts_with("schema") && shape_of(name) == Some(Shape::Reference));
            named.then_some(()).ok_or_else(|| format!("`{name}` in a METADATA block is no schema"))?;
            Ok(Schema { path: path.clone(), definition: None })
        }
        Value::Object(_) => Ok(Schema { path: path.clone(), definition: Some(value.clone()) }),
        _ => Err(format!("the schema of `{path}` in a METADATA block is neither a name nor a definition")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://example.com/a?b#c", true)]
    #[case("example.com/a b", true)]
    #[case("mailto:a@example.com", true)]
    #[case("https://user@example.com:8080/", true)]
    #[case("https://user:pass@word@example.com", true)]
    #[case("https://us%20er!$&'()*+,;=@example.com", true)]
    #[case("https://example.com/a b@c", true)]
    #[case("https://exa mple.com", false)]
    #[case("https://a b@example.com/", false)]
    #[case("//a b@example.com/", false)]
    #[case("https://\u{e9}@example.com/", false)]
    #[case("https://a[b@example.com/", false)]
    #[case("https://a\"b@example.com/", false)]
    #[case("https://example.com:port/", false)]
    #[case("%zz", false)]
    #[case(":a", false)]
    #[case("a b:c", false)]
    fn knows_urls(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_url(text), expected);
    }
}
