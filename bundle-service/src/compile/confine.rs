//! A tier stays in its room: which packages, rules, documents and functions its modules may use.
//!
//! All comparisons are of parsed segments: `authbridge["ns"]` is `authbridge.ns`, and `authbridge.nsx` is not.

use secplane_rego::{
    Code, Module, Refusal,
    module::{Import, Meaning, Place, Reference, Rule, RuleKind, Segment, ValueKind},
};

use crate::tiers::TierKind;

/// The directions and phases that are decided, as packages below a tier's root.
pub(crate) const DECISION_POINTS: [[&str; 2]; 4] =
    [["inbound", "request"], ["inbound", "response"], ["outbound", "request"], ["outbound", "response"]];

/// Packages below `authbridge` that the global tier does not own.
pub(crate) const RESERVED: [&str; 4] = ["ns", "client", "settings", "identity"];

/// Where every bundle says whose it is. Data without rules, so nobody's policy depends on another's by it.
const IDENTITY: [&str; 2] = ["authbridge", "identity"];

/// Functions that reach outside, tell of the sidecar, leak to logs, or cost without bound. A name that ends in `.`
/// stands for all below it.
const FORBIDDEN_BUILTINS: [&str; 15] = [
    "http.send",
    "net.",
    "opa.runtime",
    "rego.",
    "trace",
    "print",
    "io.jwt.encode_sign",
    "io.jwt.encode_sign_raw",
    "providers.aws.sign_req",
    "rand.intn",
    "uuid.rfc4122",
    "crypto.parse_private_keys",
    "crypto.x509.parse_keypair",
    "crypto.x509.parse_rsa_private_key",
    "graphql.",
];

/// What a decision point is read for; none of it may be a function, or the reader no longer compiles.
const READ_RULES: [&str; 4] = ["allow", "deny", "override", "reason"];

/// The most refusals of one kind and module: whoever made more mistakes corrects some and asks again.
const MOST: usize = 50;

/// What a module of a tier does that it may not do.
pub(crate) fn confine(kind: TierKind, module: &Module) -> Vec<Refusal> {
    let rules = module.rules().iter();
    let names = rules.clone().filter_map(|rule| rule_name(kind, module, rule));
    let decisions = rules.clone().filter_map(|rule| decision(kind, module, rule));
    let mut refusals: Vec<Refusal> =
        package(kind, module).into_iter().chain(names.take(MOST)).chain(decisions.take(MOST)).collect();
    if kind != TierKind::Global {
        refusals.extend(module.imports().iter().filter_map(|found| import(kind, module, found)).take(MOST));
        let references = rules.flat_map(|rule| {
            rule.references.iter().filter_map(move |found| reference(kind, module, rule, found))
        });
        refusals.extend(references.take(MOST));
    }
    refusals
}

fn package(kind: TierKind, module: &Module) -> Option<Refusal> {
    if module.package().starts_with(kind.root()) {
        return None;
    }
    let root = kind.root().join(".");
    let message = format!(
        "a {kind} policy may declare packages at or below `{root}`, not `{}`",
        module.package().join(".")
    );
    Some(
        module
            .refuse(module.package_position(), Code::Confinement, message)
            .suggest(format!("declare `package {root}.inbound.request`, or another package below `{root}`")),
    )
}

/// A rule's whole name must not reach into another tier, nor stand where a decision point's package is.
fn rule_name(kind: TierKind, module: &Module, rule: &Rule) -> Option<Refusal> {
    let name: Vec<&str> =
        module.package().into_iter().chain(rule.constant_path().map(AsRef::as_ref)).collect();
    let below = name.strip_prefix(kind.root()).unwrap_or(&name);
    if kind == TierKind::Global
        && let Some(reserved) = below.first().filter(|first| RESERVED.contains(first))
    {
        let message =
            format!("a global policy may not define `authbridge.{reserved}`: it is not the global tier's");
        return Some(module.refuse(rule.position, Code::Confinement, message).suggest("rename it"));
    }
    let point = DECISION_POINTS.iter().find(|point| point.starts_with(below))?;
    let message = format!(
        "the rule `{}` stands where the decision points are packages, such as `{}.{}`",
        name.join("."),
        kind.root().join("."),
        point.join("."),
    );
    Some(module.refuse(rule.position, Code::Confinement, message).suggest("rename the rule"))
}

/// What a decision point is read for has a form that can be read.
fn decision(kind: TierKind, module: &Module, rule: &Rule) -> Option<Refusal> {
    let path = module.full_path(rule);
    let names: Vec<Option<&str>> = path.iter().map(Segment::name).collect();
    let (root, rest) = names.split_at_checked(kind.root().len())?;
    let in_tier = root.iter().zip(kind.root()).all(|(name, expected)| *name == Some(expected));
    let [Some(direction), Some(phase), Some(read), below @ ..] = rest else { return None };
    if !in_tier || !DECISION_POINTS.contains(&[direction, phase]) || !READ_RULES.contains(read) {
        return None;
    }
    let refuse = |message: String| Some(module.refuse(rule.position, Code::Confinement, message));
    if matches!(rule.kind, RuleKind::Function(_)) {
        return refuse(format!("`{read}` of a decision point is read as a value and cannot be a function"));
    }
    if *read != "allow" {
        return None;
    }
    if below.is_empty() && rule.kind != RuleKind::Complete || below.first() == Some(&None) {
        return refuse("`allow` of a decision point is one value, not a set or a map".to_owned());
    }
    if !below.is_empty() {
        return None;
    }
    rule.values.iter().find_map(|value| match value {
        ValueKind::Other(found) => {
            refuse(format!("`allow` of a decision point is a boolean or an object, not a {found}"))
        }
        ValueKind::Boolean | ValueKind::Object | ValueKind::Unknown => None,
    })
}

fn import(kind: TierKind, module: &Module, import: &Import) -> Option<Refusal> {
    let (root, path) = import.path.split_first()?;
    let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
    if root.as_ref() != "data" || path.starts_with(kind.root()) || path.starts_with(&IDENTITY) {
        return None;
    }
    let message = format!("a {kind} policy may not import `{}`", import.path.join("."));
    Some(outside(kind, module.refuse(import.position, Code::ForbiddenReference, message)))
}

fn reference(kind: TierKind, module: &Module, rule: &Rule, found: &Reference) -> Option<Refusal> {
    let meaning = module.meaning(rule, found);
    if let Some(name) = forbidden_builtin(&meaning, found) {
        let message = format!("a {kind} policy may not use `{name}`");
        return Some(
            module
                .refuse(found.position, Code::ForbiddenBuiltin, message)
                .suggest("decide from the input alone, or ask the administrator for a global policy"),
        );
    }
    match meaning {
        Meaning::Data(path) if !is_inside(kind, &path) => {
            let message = format!("a {kind} policy may not refer to `{}`", written(&path));
            Some(outside(kind, module.refuse(found.position, Code::ForbiddenReference, message)))
        }
        Meaning::Builtin(name) if found.place == Place::WithTarget => {
            let message = format!("a {kind} policy may not replace the function `{name}`");
            Some(module.refuse(found.position, Code::With, message))
        }
        _ => None,
    }
}

/// The forbidden function that a reference spells, whatever else its beginning may mean. A plain variable of that
/// name is none.
fn forbidden_builtin(meaning: &Meaning, found: &Reference) -> Option<String> {
    let name = found.builtin()?;
    let variable = *meaning == Meaning::Local && found.arguments.is_none();
    let forbidden = FORBIDDEN_BUILTINS.iter().any(|entry| match entry.strip_suffix('.') {
        Some(namespace) => name.split('.').next() == Some(namespace),
        None => name == *entry,
    });
    (forbidden && !variable).then_some(name)
}

/// Below the tier's own root, or what a bundle says of the identity that it is for.
fn is_inside(kind: TierKind, path: &[Segment]) -> bool {
    [kind.root(), &IDENTITY].into_iter().any(|root| {
        path.len() >= root.len() && path.iter().zip(root).all(|(segment, name)| segment.name() == Some(name))
    })
}

fn outside(kind: TierKind, refusal: Refusal) -> Refusal {
    let root = kind.root().join(".");
    refusal.suggest(format!(
        "refer to documents by constant names below `data.{root}`; everything else of `data` is not this tier's"
    ))
}

fn written(path: &[Segment]) -> String {
    let steps = path.iter().map(|segment| segment.name().unwrap_or("_"));
    std::iter::once("data").chain(steps).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn codes(kind: TierKind, text: &str) -> Vec<Code> {
        let module = Module::parse("a.rego", text.as_bytes()).unwrap();
        let mut codes: Vec<Code> = confine(kind, &module).into_iter().map(|refusal| refusal.code).collect();
        codes.dedup();
        codes
    }

    #[rstest]
    #[case::a_package_of_the_global_tier("package authbridge.inbound.request\nallow := true")]
    #[case::a_rule_that_reaches_the_global_tier("package authbridge\ninbound.request.allow := true")]
    #[case::above_the_tier("package authbridge\nns.inbound.request.allow := true")]
    #[case::a_look_alike("package authbridge.nsx\nallow := true")]
    #[case::a_look_alike_in_brackets("package authbridge[\"ns.x\"]\nallow := true")]
    #[case::the_decision_log("package system.log\nmask contains \"/input\"")]
    #[case::the_api_of_opa("package system.authz\nallow := true")]
    #[case::the_other_tier("package authbridge.client.inbound.request\nallow := true")]
    #[case::data_in_front("package data.authbridge.ns\nallow := true")]
    fn a_namespace_module_may_not_declare(#[case] text: &str) {
        assert_eq!(codes(TierKind::Namespace, text), [Code::Confinement]);
    }

    #[rstest]
    #[case("package authbridge.ns.inbound.request\nallow := true")]
    #[case("package authbridge[\"ns\"].inbound[\"request\"]\nallow := true")]
    #[case("package authbridge.ns\ninbound.request.allow := true")]
    #[case("package authbridge.ns.x\nimport data.authbridge.identity\ny := identity.namespace")]
    #[case("package authbridge.ns.x\ny := data.authbridge.identity.spiffe_id")]
    #[case("package authbridge.ns.lib\nf(x) := x\ny := f(1)")]
    #[case("package authbridge.ns.inbound.request\nimport data.authbridge.ns.lib\nallow if lib.f(input.x)")]
    #[case("package authbridge.ns.inbound.request\nallow if { trace := input.trace; trace == 1 }")]
    #[case("package authbridge.ns.inbound.request\nallow := {\"allow\": true, \"reason\": \"x\"}")]
    #[case("package authbridge.ns.inbound.request\nallow.allow := true\nallow.reason := \"x\"")]
    #[case(
        "package authbridge.ns.t_test\ntest_a if data.authbridge.ns.x with data.authbridge.ns.y as 1 with input as {}"
    )]
    fn a_namespace_module_may(#[case] text: &str) {
        assert_eq!(codes(TierKind::Namespace, text), []);
    }

    #[rstest]
    #[case("x := data")]
    #[case("x := data[input.k]")]
    #[case("x := data.authbridge[t] if some t in [1]")]
    #[case("x := data.authbridge")]
    #[case("x := data.authbridge.inbound.request.allow")]
    #[case("x := data.authbridge.nsx.y")]
    #[case("x := data.authbridge.client.x")]
    #[case("x := data.authbridge.settings.require_client_policy")]
    #[case("x := data.system.bundles")]
    #[case("x := data[\"authbridge\"][\"inbound\"]")]
    #[case("x := y if y := [z | z := data]")]
    #[case("x contains data.other.y")]
    #[case("x[data.other.y] := 1")]
    #[case("x if input.y with data.authbridge.inbound as 1")]
    #[case("x if input.y with input as data.other")]
    #[case("x if walk(data, [_, _])")]
    #[case("x if every y in data.other { y }")]
    #[case("x := 1 if false else := data.other")]
    #[case("f(data.other) := 1")]
    fn a_tenant_may_not_refer_to(#[case] rule: &str) {
        let found = codes(TierKind::Namespace, &format!("package authbridge.ns.a\n{rule}"));
        assert_eq!(found, [Code::ForbiddenReference]);
    }

    #[rstest]
    #[case("import data\nx := data.y")]
    #[case("import data.authbridge as ab\nx := ab[input.y]")]
    #[case("import data.authbridge.inbound.request\nx := 1")]
    fn a_tenant_may_not_import(#[case] rules: &str) {
        let found = codes(TierKind::Client, &format!("package authbridge.client.a\n{rules}"));
        assert_eq!(found, [Code::ForbiddenReference]);
    }

    #[rstest]
    #[case("x := http.send({\"url\": \"http://a\", \"method\": \"get\"})")]
    #[case("x := http[\"send\"]({})")]
    #[case("x := net.lookup_ip_addr(\"a\")")]
    #[case("x := net.cidr_expand(\"10.0.0.0/8\")")]
    #[case("x := opa.runtime().env")]
    #[case("x := opa[\"runtime\"]().env")]
    #[case("x := rego.parse_module(\"a\", \"b\")")]
    #[case("x := rego.metadata.rule()")]
    #[case("x if trace(\"a\")")]
    #[case("x if print(input)")]
    #[case("x := io.jwt.encode_sign({}, {}, {})")]
    #[case("x := rand.intn(\"a\", 2)")]
    #[case("x := uuid.rfc4122(\"a\")")]
    #[case("x := crypto.x509.parse_keypair(\"a\", \"b\")")]
    #[case("x := graphql.is_valid(\"a\", \"b\")")]
    #[case("x := [y | y := http.send({})]")]
    #[case("f(y) := y\nx if f({}) with f as http.send")]
    #[case("f(y) := y\nx if f({}) with data.authbridge.client.a.f as opa.runtime")]
    #[case("x if { http := {\"send\": 1}; http.send({}) }")]
    fn a_tenant_may_not_call(#[case] rule: &str) {
        let found = codes(TierKind::Client, &format!("package authbridge.client.a\n{rule}"));
        assert!(found.contains(&Code::ForbiddenBuiltin), "{found:?}");
    }

    #[test]
    fn a_tenant_may_not_replace_functions() {
        let text = "package authbridge.client.a\nx if time.now_ns() > 1 with time.now_ns as 2";
        assert_eq!(codes(TierKind::Client, text), [Code::With]);
    }

    #[rstest]
    #[case("package authbridge.ns.inbound.request\nallow(x) := x")]
    #[case("package authbridge.ns.inbound.request\ndeny(x) := x")]
    #[case("package authbridge.ns.inbound.request\nallow contains 1")]
    #[case("package authbridge.ns.inbound.request\nallow[x] := 1 if some x in input.y")]
    #[case("package authbridge.ns.inbound.request\nallow := \"yes\"")]
    #[case("package authbridge.ns.inbound.request\nallow := concat(\"\", [\"a\"])")]
    #[case("package authbridge.ns.inbound.request\ndefault allow := 1")]
    #[case("package authbridge.ns\ninbound := {\"request\": {\"allow\": true}}")]
    #[case("package authbridge.ns\ninbound[x] := 1 if some x in input.y")]
    #[case("package authbridge.ns.inbound\nrequest.allow(x) := x")]
    fn a_decision_point_keeps_its_form(#[case] text: &str) {
        assert_eq!(codes(TierKind::Namespace, text), [Code::Confinement]);
    }

    #[rstest]
    #[case("package authbridge.ns.inbound.request\nallow := true")]
    #[case("package authbridge\nns.inbound.request.allow := true")]
    #[case("package authbridge\nclient := 1")]
    #[case("package authbridge.settings\nrequire_client_policy := false")]
    #[case("package authbridge.identity\nspiffe_id := \"spiffe://example.org/x\"")]
    #[case("package authbridge\nsettings[x] := 1 if some x in input.y")]
    #[case("package authbridge\ninbound := {}")]
    #[case("package other\nallow := true")]
    #[case("package system.log\nmask contains \"/input\"")]
    fn the_global_tier_stays_in_its_room(#[case] text: &str) {
        assert_eq!(codes(TierKind::Global, text), [Code::Confinement]);
    }

    #[rstest]
    #[case("package authbridge.inbound.request\nallow if data.authbridge.ns.inbound.request.allow")]
    #[case("package authbridge.lib\nx := http.send({})\ny := data.system.bundles")]
    fn the_global_tier_may(#[case] text: &str) {
        assert_eq!(codes(TierKind::Global, text), []);
    }
}
