//! Rules that always hold and give one document two values.
//!
//! OPA activates them, and then fails whoever asks for the document: the sidecar's answer is an error without a reason.
//! Whose rule it is is known here, so the author is told instead.

use std::collections::BTreeMap;

use secplane_rego::{
    Code, Module,
    syntax::{
        RuleKind,
        ast::{Rule, Value},
    },
};

use super::tier::ParsedModule;

/// A value that is written out.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scalar<'a> {
    Null,
    Boolean(bool),
    Number(f64),
    String(&'a str),
}

/// What contradicts a rule before it, each with the file that it is in.
pub(super) fn find<'a>(modules: impl Iterator<Item = &'a ParsedModule>) -> Vec<secplane_rego::Refusal> {
    let mut first: BTreeMap<Vec<&str>, (Scalar, &Module, &Rule)> = BTreeMap::new();
    let mut refusals = Vec::new();
    let rules = modules
        .map(|part| part.module.as_ref())
        .flat_map(|module| module.rules().iter().map(move |rule| (module, rule)));
    for (module, rule) in rules {
        let Some((path, value)) = always(module, rule) else { continue };
        let &mut (known, other, before) = first.entry(path).or_insert((value, module, rule));
        if known != value {
            let line = other.position(before.at).line;
            let message = format!(
                "this always gives the document another value than {}:{line}, which always holds too",
                path_in_resource(other)
            );
            refusals.push(
                module
                    .refuse(rule.at, Code::Type, message)
                    .suggest("leave one of the two, or say with `if` when each holds"),
            );
        }
    }
    refusals
}

/// The part of a module's name that its author knows.
fn path_in_resource(module: &Module) -> &str {
    module.file().rsplit(':').next().unwrap_or_default()
}

/// The document of a rule that holds whatever is asked, and its value, when both are written out.
fn always<'a>(module: &'a Module, rule: &Rule) -> Option<(Vec<&'a str>, Scalar<'a>)> {
    let holds = rule.generated_body && !rule.is_default && !rule.is_else;
    if !holds || module.rule_kind(rule) != RuleKind::Value {
        return None;
    }
    let path = module.rule_path(rule).into_iter().collect::<Option<Vec<_>>>()?;
    let value = match module.tree().value(rule.head.value?) {
        Value::Null => Scalar::Null,
        Value::Boolean(value) => Scalar::Boolean(value),
        Value::Number(name) => Scalar::Number(module.names().text(name).parse().ok()?),
        Value::String(name) => Scalar::String(module.names().text(name)),
        _ => return None,
    };
    Some((path, value))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::{compile::tests::ns_refusals, refusal::Refusal};

    #[rstest]
    #[case("x := true\nx := false\n")]
    #[case("x := 1\nx := \"1\"\n")]
    #[case("x.y := null\nx.y := false\n")]
    fn two_values_that_always_hold_are_refused(#[case] rules: &str) {
        let refusals = ns_refusals(&format!("package authbridge.ns.a\n\n{rules}"));
        let found: Vec<(&str, u32)> =
            refusals.iter().map(|Refusal { code, line, .. }| (code.as_str(), *line)).collect();
        assert_eq!(found, [("rego_type_error", 4)], "{refusals:?}");
        assert!(refusals[0].message.contains("a.rego:3"), "{refusals:?}");
    }

    #[rstest]
    #[case("x := true\nx := true\n")]
    #[case("x := 1\nx := 1.0\n")]
    #[case("default x := false\nx := true\n")]
    #[case("x := true if input.y\nx := false if input.z\n")]
    #[case("x := true\ny := false\n")]
    #[case("x contains 1\nx contains 2\n")]
    #[case("f(1) := true\nf(2) := false\n")]
    fn others_are_not(#[case] rules: &str) {
        let refusals = ns_refusals(&format!("package authbridge.ns.a\n\n{rules}"));
        assert!(refusals.is_empty(), "{refusals:?}");
    }

    #[test]
    fn are_told_with_what_the_gate_finds_in_the_order_of_the_lines() {
        let refusals =
            ns_refusals("package authbridge.ns.a\n\nx := 1\nx := 2\ny if z > 1\nw if { some v; true }\n");
        let found: Vec<(&str, u32)> =
            refusals.iter().map(|Refusal { code, line, .. }| (code.as_str(), *line)).collect();
        let expected = [("rego_type_error", 4), ("rego_unsafe_var_error", 5), ("rego_compile_error", 6)];
        assert_eq!(found, expected, "{refusals:?}");
    }
}
