//! What the members of a card say: URLs, names that refer to something, values that have a meaning.
//!
//! What is of a wrong type was told before and is passed over here.

use std::collections::HashSet;

use serde_json::Value;

use super::{Findings, Rule};
use crate::canonical::path;

/// The bindings that A2A 1.0 defines; others are URIs.
const BINDINGS: [&str; 3] = ["JSONRPC", "GRPC", "HTTP+JSON"];
/// Where an API key may travel.
const KEY_LOCATIONS: [&str; 3] = ["query", "header", "cookie"];

pub(super) fn check(card: &Value, findings: &mut Findings) {
    for name in ["name", "description", "version"] {
        expect_content(card, "", name, findings);
    }
    for name in ["documentationUrl", "iconUrl"] {
        check_url(card.get(name), name, findings);
    }
    check_url(card.pointer("/provider/url"), "provider.url", findings);
    check_interfaces(card, findings);
    for name in ["defaultInputModes", "defaultOutputModes"] {
        check_media_types(card.get(name), name, findings);
    }
    check_extensions(card, findings);
    check_skills(card, findings);
    check_schemes(card, findings);
    check_requirements(card, card, "", findings);
}

fn expect_content(owner: &Value, at: &str, name: &str, findings: &mut Findings) {
    if owner.get(name).and_then(Value::as_str).is_some_and(|text| text.trim().is_empty()) {
        findings.warn(Rule::Content, &path(at, name), "it is required and says nothing");
    }
}

fn elements(value: Option<&Value>) -> impl Iterator<Item = (usize, &Value)> {
    value.and_then(Value::as_array).into_iter().flatten().enumerate()
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn check_interfaces(card: &Value, findings: &mut Findings) {
    let at = "supportedInterfaces";
    if card.get(at).and_then(Value::as_array).is_some_and(Vec::is_empty) {
        findings.fail(Rule::Content, at, "it is empty, so the agent can be reached nowhere");
    }
    for (position, interface) in elements(card.get(at)) {
        let here = format!("{at}[{position}]");
        check_url(interface.get("url"), &path(&here, "url"), findings);
        let text = |name| interface.get(name).and_then(Value::as_str);
        if let Some(binding) = text("protocolBinding")
            && !BINDINGS.contains(&binding)
            && !binding.contains(':')
        {
            let known = BINDINGS.join(", ");
            let message = format!("{binding:?} is no binding that A2A 1.0 defines ({known}), and no URI");
            findings.warn(Rule::Value, &path(&here, "protocolBinding"), message);
        }
        if let Some(version) = text("protocolVersion")
            && !is_major_minor(version)
        {
            let message = format!("{version:?} is not written as Major.Minor, such as 1.0");
            findings.warn(Rule::Value, &path(&here, "protocolVersion"), message);
        }
    }
}

fn is_major_minor(version: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    version.split_once('.').is_some_and(|(major, minor)| is_number(major) && is_number(minor))
}

/// Absolute, with a host; plain HTTP shows the card's callers and their credentials to everyone on the way.
fn check_url(value: Option<&Value>, at: &str, findings: &mut Findings) {
    let Some(text) = value.and_then(Value::as_str) else { return };
    let Some((scheme, rest)) = text.split_once("://") else {
        findings.fail(Rule::Url, at, format!("{text:?} is not an absolute URL"));
        return;
    };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if !is_scheme || host.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        findings.fail(Rule::Url, at, format!("{text:?} is not an absolute URL"));
    } else if scheme.eq_ignore_ascii_case("http") {
        findings.warn(Rule::Url, at, "it is plain HTTP: anyone on the way reads and changes what is said");
    } else if host.contains('@') {
        findings.warn(Rule::Url, at, "it holds a user name or password, and everyone reads the card");
    }
}

fn check_media_types(value: Option<&Value>, at: &str, findings: &mut Findings) {
    for (position, mode) in elements(value) {
        let Some(mode) = mode.as_str() else { continue };
        let is_media_type =
            mode.split_once('/').is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty());
        if !is_media_type {
            let message = format!("{mode:?} is not a media type, such as text/plain");
            findings.warn(Rule::Value, &format!("{at}[{position}]"), message);
        }
    }
}

fn check_extensions(card: &Value, findings: &mut Findings) {
    for (position, extension) in elements(card.pointer("/capabilities/extensions")) {
        let here = format!("capabilities.extensions[{position}]");
        let uri = extension.get("uri").and_then(Value::as_str).unwrap_or_default();
        if !uri.contains(':') {
            findings.warn(Rule::Value, &path(&here, "uri"), "an extension is named by a URI");
        }
    }
}

fn check_skills(card: &Value, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for (position, skill) in elements(card.get("skills")) {
        let here = format!("skills[{position}]");
        for name in ["id", "name", "description"] {
            expect_content(skill, &here, name, findings);
        }
        if let Some(id) = skill.get("id").and_then(Value::as_str)
            && !seen.insert(id)
        {
            findings.fail(Rule::Reference, &path(&here, "id"), format!("another skill has the ID {id:?}"));
        }
        for name in ["inputModes", "outputModes"] {
            check_media_types(skill.get(name), &path(&here, name), findings);
        }
        check_requirements(card, skill, &here, findings);
    }
}

fn check_schemes(card: &Value, findings: &mut Findings) {
    for (name, scheme) in members(card.get("securitySchemes")) {
        let here = path("securitySchemes", name);
        if let Some(location) = scheme.pointer("/apiKeySecurityScheme/location").and_then(Value::as_str)
            && !KEY_LOCATIONS.contains(&location)
        {
            let message = format!("{location:?} is none of {}", KEY_LOCATIONS.join(", "));
            findings.fail(Rule::Value, &format!("{here}.apiKeySecurityScheme.location"), message);
        }
        check_url(
            scheme.pointer("/openIdConnectSecurityScheme/openIdConnectUrl"),
            &format!("{here}.openIdConnectSecurityScheme.openIdConnectUrl"),
            findings,
        );
        for (flow, urls) in members(scheme.pointer("/oauth2SecurityScheme/flows")) {
            for (url, value) in members(Some(urls)).filter(|(url, _)| url.ends_with("Url")) {
                if value.as_str().is_some_and(|text| !text.is_empty()) {
                    check_url(
                        Some(value),
                        &format!("{here}.oauth2SecurityScheme.flows.{flow}.{url}"),
                        findings,
                    );
                }
            }
        }
    }
}

/// Each scheme that a requirement names is one that the card declares.
fn check_requirements(card: &Value, owner: &Value, at: &str, findings: &mut Findings) {
    let list = path(at, "securityRequirements");
    for (position, requirement) in elements(owner.get("securityRequirements")) {
        for (name, _) in members(requirement.get("schemes")) {
            let is_declared = card.get("securitySchemes").is_some_and(|schemes| schemes.get(name).is_some());
            if !is_declared {
                let here = path(&format!("{list}[{position}].schemes"), name);
                findings.fail(Rule::Reference, &here, "`securitySchemes` declares no such scheme");
            }
        }
    }
}
