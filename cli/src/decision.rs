//! What a bundle decides, read as a sidecar reads it: whatever is not plainly an allowance is a denial.

use std::fmt;

use bundle_service::compile::Archive;
use clap::ValueEnum;
use secplane_rego::{
    Gate, Refusal,
    evaluate::{Evaluator, Limits, warnings},
};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::failure::{Failure, Kind};

/// Where a sidecar asks for a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecisionPoint {
    /// A request that reaches the workload.
    #[value(name = "inbound/request")]
    InboundRequest,
    /// The workload's answer to one.
    #[value(name = "inbound/response")]
    InboundResponse,
    /// A request that the workload sends.
    #[value(name = "outbound/request")]
    OutboundRequest,
    /// The answer that it gets.
    #[value(name = "outbound/response")]
    OutboundResponse,
}

impl fmt::Display for DecisionPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InboundRequest => "inbound/request",
            Self::InboundResponse => "inbound/response",
            Self::OutboundRequest => "outbound/request",
            Self::OutboundResponse => "outbound/response",
        })
    }
}

impl Serialize for DecisionPoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A decision and why it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allow: bool,
    pub(crate) reason: Option<String>,
    /// Functions that the policies call and this engine does not have: at a sidecar the decision may differ.
    pub(crate) missing_builtins: Vec<String>,
    /// Places in the policies that OPA may take otherwise than this engine: at a sidecar the decision may differ.
    pub(crate) opa_may_differ: Vec<Refusal>,
}

/// Decides with one bundle. It takes its time: never call it on the async runtime.
pub(crate) fn decide(bundle: &Archive, point: DecisionPoint, input: &Value) -> Result<Decision, Failure> {
    let what = || format!("decide {point}");
    // Whatever OPA it was made for.
    let parsed =
        bundle.parsed(Gate::newest()).map_err(|refusals| Failure::refused(what(), first_of(refusals)))?;
    let mut evaluator = Evaluator::new(&parsed, &bundle.documents(), Limits::default())
        .map_err(|error| Failure::refused(what(), error))?;
    let mut value = |name: &str| {
        let path = format!("authbridge/{point}/{name}");
        evaluator.decide(&path, input).map_err(|error| Failure::new(Kind::Other, what(), error))
    };
    let answer = value("allow")?;
    let (allow, reason) = match answer {
        Some(Value::Bool(allow)) => (allow, value("reason")?.as_ref().and_then(text)),
        other => read_object(other.as_ref()),
    };
    let missing_builtins = evaluator.missing_builtins().to_vec();
    Ok(Decision { allow, reason, missing_builtins, opa_may_differ: warnings(&parsed) })
}

/// What is wrong with a module in one line: the first thing, and how many more there are.
fn first_of(refusals: Vec<Refusal>) -> String {
    let more = refusals.len().saturating_sub(1);
    match (refusals.first(), more) {
        (Some(first), 0) => first.to_string(),
        (Some(first), more) => format!("{first} (and {more} more)"),
        (None, _) => String::new(),
    }
}

/// The form `{"allow": bool, "reason": string}`; anything else denies.
fn read_object(answer: Option<&Value>) -> (bool, Option<String>) {
    match answer {
        None => (false, Some("the decision is undefined, which denies".to_owned())),
        Some(answer) => match answer.get("allow") {
            Some(Value::Bool(allow)) => (*allow, answer.get("reason").and_then(text)),
            _ => {
                (false, Some("the decision is neither a boolean nor an object with one, which denies".into()))
            }
        },
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bundle_service::compile::read::{ArchivedModule, BundleManifest};
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    fn bundle(texts: &[&str]) -> Archive {
        let modules = texts.iter().map(|text| ArchivedModule { name: "a.rego".into(), text: (*text).into() });
        Archive {
            manifest: BundleManifest {
                revision: "1".into(),
                roots: vec!["authbridge".into()],
                rego_version: Some(1),
                metadata: Value::Null,
            },
            entries: Vec::new(),
            modules: modules.collect(),
            data: json!({}),
            origins: BTreeMap::new(),
        }
    }

    #[rstest]
    #[case("allow := input.ok\nreason := \"because\"", true, Some("because"))]
    #[case("allow := {\"allow\": input.ok, \"reason\": \"so\"}", true, Some("so"))]
    #[case("default allow := false", false, None)]
    #[case("allow if input.missing", false, Some("the decision is undefined, which denies"))]
    #[case(
        "allow := \"true\"",
        false,
        Some("the decision is neither a boolean nor an object with one, which denies")
    )]
    #[case(
        "allow := {\"allow\": \"yes\"}",
        false,
        Some("the decision is neither a boolean nor an object with one, which denies")
    )]
    fn reads_an_answer_as_a_sidecar_does(
        #[case] rules: &str,
        #[case] allow: bool,
        #[case] reason: Option<&str>,
    ) {
        let text = format!("package authbridge.inbound.request\n\n{rules}\n");
        let decision =
            decide(&bundle(&[&text]), DecisionPoint::InboundRequest, &json!({"ok": true})).unwrap();
        assert_eq!((decision.allow, decision.reason.as_deref()), (allow, reason));
    }

    #[rstest]
    // OPA denies this one: it leaves the negation undefined.
    #[case("allow if not input.user in {\"mallory\"}", true, &[4])]
    #[case("allow if not blocked\nblocked if input.user in {\"mallory\"}", true, &[])]
    #[case("allow if { user := input.user; not user in {\"mallory\"} }", false, &[])]
    fn names_where_opa_may_decide_otherwise(#[case] rules: &str, #[case] allow: bool, #[case] lines: &[u32]) {
        let text = format!("package authbridge.inbound.request\n\ndefault allow := false\n{rules}\n");
        let decision = decide(&bundle(&[&text]), DecisionPoint::InboundRequest, &json!({})).unwrap();
        let found: Vec<_> = decision.opa_may_differ.iter().map(|place| place.location.line).collect();
        assert_eq!((decision.allow, found.as_slice()), (allow, lines));
        assert!(decision.opa_may_differ.iter().all(|place| place.location.file.as_ref() == "a.rego"));
    }

    #[test]
    fn denies_where_nothing_is_defined() {
        let decision = decide(&bundle(&[]), DecisionPoint::OutboundRequest, &json!({})).unwrap();
        assert!(!decision.allow);
    }

    #[test]
    fn refuses_a_module_that_is_no_rego() {
        let failure = decide(&bundle(&["not rego"]), DecisionPoint::InboundRequest, &json!({})).unwrap_err();
        assert_eq!(failure.kind(), Kind::Refused);
        assert!(failure.to_string().contains("a.rego"));
    }
}
