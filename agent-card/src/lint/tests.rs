use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

/// A card without a finding.
fn clean() -> Value {
    json!({
        "name": "Recipe Agent", "description": "Cooks.", "version": "1.0.0",
        "supportedInterfaces": [{"url": "https://a.example", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "capabilities": {"streaming": true},
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
        "skills": [{"id": "s", "name": "Soup", "description": "Makes soup.", "tags": ["food"]}],
    })
}

fn lint(card: &Value) -> Vec<Finding> {
    AgentCard::parse(card.to_string().as_bytes()).unwrap().lint()
}

/// The findings of the clean card with changes, without what every A2A 1.0 card has.
fn found(changes: Value) -> Vec<(Severity, Rule, String)> {
    let mut card = clean();
    card.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let findings = lint(&card).into_iter().filter(|finding| finding.rule != Rule::Agreement);
    findings.map(|finding| (finding.severity, finding.rule, finding.member)).collect()
}

#[test]
fn has_nothing_to_say_of_a_clean_card_but_the_operators_gap() {
    let findings = lint(&clean());
    // The one thing that no A2A 1.0 card escapes: the operator does not know its interfaces.
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!((findings[0].rule, findings[0].member.as_str()), (Rule::Agreement, "supportedInterfaces"));
    assert!(findings[0].message.contains("kagenti"));
}

#[rstest]
#[case::missing(json!({"version": null}), Severity::Error, Rule::Required, "version")]
#[case::wrong_type(json!({"name": 5}), Severity::Error, Rule::Type, "name")]
#[case::wrong_type_inside(
    json!({"skills": [{"id": "s", "name": "S", "description": "d", "tags": [1]}]}),
    Severity::Error, Rule::Type, "skills[0].tags[0]"
)]
#[case::unknown(json!({"x-team": "a"}), Severity::Warning, Rule::Known, "x-team")]
#[case::unknown_inside(json!({"capabilities": {"x": 1}}), Severity::Warning, Rule::Known, "capabilities.x")]
#[case::replaced(json!({"url": "https://a.example"}), Severity::Warning, Rule::Current, "url")]
#[case::replaced_inside(
    json!({"capabilities": {"stateTransitionHistory": true}}),
    Severity::Warning, Rule::Current, "capabilities.stateTransitionHistory"
)]
#[case::no_alternative(
    json!({"securitySchemes": {"k": {}}}), Severity::Error, Rule::Alternatives, "securitySchemes.k"
)]
#[case::several_alternatives(
    json!({"securitySchemes": {"k": {"mtlsSecurityScheme": {}, "httpAuthSecurityScheme": {"scheme": "Bearer"}}}}),
    Severity::Error, Rule::Alternatives, "securitySchemes.k"
)]
#[case::empty_name(json!({"name": " "}), Severity::Warning, Rule::Content, "name")]
#[case::nowhere(json!({"supportedInterfaces": []}), Severity::Error, Rule::Content, "supportedInterfaces")]
#[case::relative_url(json!({"iconUrl": "/icon.png"}), Severity::Error, Rule::Url, "iconUrl")]
#[case::plain_http(json!({"documentationUrl": "http://a.example"}), Severity::Warning, Rule::Url, "documentationUrl")]
#[case::password(json!({"iconUrl": "https://a:b@c.example"}), Severity::Warning, Rule::Url, "iconUrl")]
#[case::binding(
    json!({"supportedInterfaces": [{"url": "https://a", "protocolBinding": "SOAP", "protocolVersion": "1.0"}]}),
    Severity::Warning, Rule::Value, "supportedInterfaces[0].protocolBinding"
)]
#[case::version(
    json!({"supportedInterfaces": [{"url": "https://a", "protocolBinding": "GRPC", "protocolVersion": "1.0.0"}]}),
    Severity::Warning, Rule::Value, "supportedInterfaces[0].protocolVersion"
)]
#[case::mode(json!({"defaultInputModes": ["text"]}), Severity::Warning, Rule::Value, "defaultInputModes[0]")]
#[case::location(
    json!({"securitySchemes": {"k": {"apiKeySecurityScheme": {"location": "body", "name": "X"}}}}),
    Severity::Error, Rule::Value, "securitySchemes.k.apiKeySecurityScheme.location"
)]
#[case::undeclared_scheme(
    json!({"securityRequirements": [{"schemes": {"k": {"list": []}}}]}),
    Severity::Error, Rule::Reference, "securityRequirements[0].schemes.k"
)]
#[case::same_skill(
    json!({"skills": [{"id": "s", "name": "a", "description": "a", "tags": ["t"]},
                      {"id": "s", "name": "b", "description": "b", "tags": ["t"]}]}),
    Severity::Error, Rule::Reference, "skills[1].id"
)]
#[case::extension_without_uri(
    json!({"capabilities": {"extensions": [{"uri": "x"}]}}),
    Severity::Warning, Rule::Value, "capabilities.extensions[0].uri"
)]
fn finds(#[case] change: Value, #[case] severity: Severity, #[case] rule: Rule, #[case] member: &str) {
    assert_eq!(found(change), [(severity, rule, member.to_owned())]);
}

#[test]
fn names_what_verifiers_disagree_about() {
    let mut card = clean();
    card["provider"] = json!({"url": "https://a.example", "organization": ""});
    let findings = lint(&card);
    let empty = findings.iter().find(|finding| finding.member == "provider.organization").unwrap();
    assert_eq!(empty.rule, Rule::Agreement);
    assert!(empty.message.contains("sdk and kagenti"), "{}", empty.message);
}

#[test]
fn tells_errors_first_and_only_so_many() {
    let mut card: serde_json::Map<_, _> = (0..1000).map(|n| (format!("x{n}"), json!(1))).collect();
    card.insert("name".into(), json!(1));
    let findings = lint(&Value::Object(card));
    assert_eq!(findings.len(), MAX_FINDINGS);
    assert_eq!(findings[0].severity, Severity::Error);
}

proptest! {
    #[test]
    fn never_panics(name in "(name|skills|capabilities|securitySchemes|supportedInterfaces)", text in "[\\[\\]{}\":,a-z0-9]{0,40}") {
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let _ = lint(&json!({ name: value }));
        }
    }
}
