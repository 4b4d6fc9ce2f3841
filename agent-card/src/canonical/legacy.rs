//! A2A 0.3 cards as the Python SDK translates them before it signs or verifies.

use serde_json::{Map, Value, json};

use super::{
    FormError,
    place::Place::{self, Card, Element, Member},
    schema,
};
use crate::MAX_CARD_BYTES;

/// The card with its A2A 0.3 members translated; `None` when it has none that change what is signed.
///
/// Members that the SDK throws away are left standing: they are unknown to A2A 1.0 and fall out later, where they
/// are noticed.
pub(super) fn translate(card: &Value) -> Result<Option<Value>, FormError> {
    let Value::Object(members) = card else { return Ok(None) };
    let mut translated = members.clone();
    translate_extended_card(&mut translated);
    translate_interfaces(&mut translated)?;
    translate_security(&mut translated, &Card)?;
    match translated.get_mut("skills") {
        Some(Value::Array(skills)) => {
            for (position, skill) in skills.iter_mut().enumerate() {
                if let Value::Object(skill) = skill {
                    translate_security(skill, &Element(&Member(&Card, "skills"), position))?;
                }
            }
        }
        Some(null @ Value::Null) => return Err(schema::wrong_type(&Member(&Card, "skills"), null, "a list")),
        _ => {}
    }
    if let Some(Value::Object(schemes)) = translated.get_mut("securitySchemes") {
        schemes.values_mut().for_each(translate_scheme);
    }
    Ok((translated != *members).then_some(Value::Object(translated)))
}

/// `supportsAuthenticatedExtendedCard` becomes a capability.
fn translate_extended_card(card: &mut Map<String, Value>) {
    if !card.get("supportsAuthenticatedExtendedCard").is_some_and(is_truthy) {
        return;
    }
    let capabilities = card.entry("capabilities").or_insert_with(|| json!({}));
    if let Value::Object(capabilities) = capabilities
        && !capabilities.contains_key("extendedAgentCard")
    {
        capabilities.insert("extendedAgentCard".into(), Value::Bool(true));
        card.remove("supportsAuthenticatedExtendedCard");
    }
}

/// `url` and its companions become `supportedInterfaces`, unless the card has that.
fn translate_interfaces(card: &mut Map<String, Value>) -> Result<(), FormError> {
    if card.contains_key("supportedInterfaces") || !card.get("url").is_some_and(is_truthy) {
        return Ok(());
    }
    let url = card.remove("url").unwrap_or_default();
    let binding = card.remove("preferredTransport").unwrap_or_else(|| "JSONRPC".into());
    let version = card.remove("protocolVersion").unwrap_or_else(|| "0.3.0".into());
    let mut interfaces = vec![json!({"url": url, "protocolBinding": binding, "protocolVersion": version})];
    if let Some(Value::Array(additional)) = card.get_mut("additionalInterfaces") {
        check_copies(&version, additional.len())?;
        for (position, interface) in additional.iter_mut().enumerate() {
            let Value::Object(interface) = interface else {
                let at = Member(&Card, "additionalInterfaces");
                return Err(schema::wrong_type(&Element(&at, position), interface, "an object"));
            };
            // What the SDK does not take stays behind, to be noticed as uncovered.
            let (url, binding) = (interface.remove("url"), interface.remove("transport"));
            interfaces.push(json!({"url": url, "protocolBinding": binding, "protocolVersion": version}));
        }
        if additional.iter().all(|left| left.as_object().is_some_and(Map::is_empty)) {
            card.remove("additionalInterfaces");
        }
    }
    card.insert("supportedInterfaces".into(), Value::Array(interfaces));
    Ok(())
}

/// Each interface gets a copy of the version: a long one, and many interfaces, would fill the memory.
fn check_copies(version: &Value, interfaces: usize) -> Result<(), FormError> {
    let length = version.as_str().map_or_else(|| version.to_string().len(), str::len);
    if length.saturating_mul(interfaces) > MAX_CARD_BYTES {
        return Err(FormError::Unwritable(format!(
            "a `protocolVersion` of {length} bytes would be written for each of {interfaces} interfaces"
        )));
    }
    Ok(())
}

/// `security: [{name: [scope]}]` becomes `securityRequirements`, unless there are such.
fn translate_security(owner: &mut Map<String, Value>, at: &Place<'_>) -> Result<(), FormError> {
    if owner.contains_key("securityRequirements") {
        return Ok(());
    }
    let Some(security) = owner.get("security").filter(|security| !security.is_null()) else { return Ok(()) };
    let at = Member(at, "security");
    let alternatives = security.as_array().ok_or_else(|| schema::wrong_type(&at, security, "a list"))?;
    let mut requirements = Vec::with_capacity(alternatives.len());
    for (position, schemes) in alternatives.iter().enumerate() {
        let schemes = schemes
            .as_object()
            .ok_or_else(|| schema::wrong_type(&Element(&at, position), schemes, "an object"))?;
        let schemes: Map<_, _> =
            schemes.iter().map(|(name, scopes)| (name.clone(), json!({"list": scopes}))).collect();
        requirements.push(json!({"schemes": schemes}));
    }
    owner.remove("security");
    owner.insert("securityRequirements".into(), Value::Array(requirements));
    Ok(())
}

/// `{type: "apiKey", in: …}` becomes `{apiKeySecurityScheme: {location: …}}`.
fn translate_scheme(scheme: &mut Value) {
    let Value::Object(members) = scheme else { return };
    let name = match members.get("type").and_then(Value::as_str) {
        Some("apiKey") => "apiKeySecurityScheme",
        Some("http") => "httpAuthSecurityScheme",
        Some("oauth2") => "oauth2SecurityScheme",
        Some("openIdConnect") => "openIdConnectSecurityScheme",
        Some("mutualTLS") => "mtlsSecurityScheme",
        _ => return,
    };
    members.remove("type");
    if name == "apiKeySecurityScheme"
        && let Some(location) = members.remove("in")
    {
        members.insert("location".into(), location);
    }
    let inner = std::mem::take(members);
    members.insert(name.into(), Value::Object(inner));
}

/// What Python counts as true.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}
