//! Which built-in functions policies of tenants may use, one by one: what a new OPA brings is a decision of somebody.

use std::collections::BTreeSet;

use secplane_rego::{Gate, capabilities::OpaVersion};

use super::confine::{Replacing, confine};
use crate::tiers::TierKind;

const DECISIONS: &str = include_str!("builtins.txt");

/// Whether a policy of a tenant may call a function, as a line of the file.
fn decision(gate: Gate, kind: TierKind, function: &str) -> String {
    let package = kind.root().join(".");
    let text = format!("package {package}.a\n\nx := {function}(input.x)\n");
    let module = gate.parse("a.rego", text.as_bytes()).unwrap();
    let refusals = confine(kind, &module, gate.capabilities(), Replacing::Documents);
    format!("{} {function}", if refusals.is_empty() { "allowed" } else { "forbidden" })
}

#[test]
fn decides_about_every_function_of_every_opa() {
    let expected: BTreeSet<&str> = DECISIONS.lines().filter(|line| !line.starts_with('#')).collect();
    for kind in [TierKind::Namespace, TierKind::Client] {
        let mut found = BTreeSet::new();
        for version in OpaVersion::ALL {
            let gate = Gate::new(version);
            found.extend(gate.capabilities().builtins().map(|builtin| decision(gate, kind, builtin.name)));
        }
        let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
        let new: Vec<_> = found.difference(&expected).collect();
        let gone: Vec<_> = expected.difference(&found).collect();
        assert!(new.is_empty() && gone.is_empty(), "{kind}: new {new:#?}, gone {gone:#?}");
    }
}
