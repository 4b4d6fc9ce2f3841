//! A tier stays in its room: which packages, rules, documents and functions its modules may use.
//!
//! All comparisons are of parsed segments: `authbridge["ns"]` is `authbridge.ns`, and `authbridge.nsx` is not.

use secplane_rego::{
    Code, Module, Refusal,
    capabilities::{Builtin, Capabilities},
    syntax::{
        Name, Offset, RuleKind,
        ast::{Import, Rule, TermId, Terms, Tree, Value},
        visit::Node,
    },
    types::Type,
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
const FORBIDDEN_BUILTINS: [&str; 18] = [
    "http.send",
    "net.",
    "opa.runtime",
    "rego.",
    "trace",
    "print",
    // What the compiler writes in the place of `print` and of operators; nobody has to spell it.
    "internal.",
    "io.jwt.encode_sign",
    "io.jwt.encode_sign_raw",
    "providers.aws.sign_req",
    "rand.intn",
    "uuid.rfc4122",
    "crypto.parse_private_keys",
    "crypto.x509.parse_keypair",
    "crypto.x509.parse_rsa_private_key",
    "graphql.",
    "json.match_schema",
    "json.verify_schema",
];

/// Functions below a forbidden name that only calculate: they reach nothing, and no short argument gives a large result.
/// What a later OPA adds beside them stays forbidden until somebody has looked at it.
const CALCULATING_BUILTINS: [&str; 5] = [
    "net.cidr_contains",
    "net.cidr_contains_matches",
    "net.cidr_intersects",
    "net.cidr_is_valid",
    "net.cidr_merge",
];

/// The most steps of a built-in function's name.
const BUILTIN_STEPS: usize = 6;

/// What a decision point is read for; none of it may be a function, or the reader no longer compiles.
const READ_RULES: [&str; 4] = ["allow", "deny", "override", "reason"];

/// The most refusals of one kind and module: whoever made more mistakes corrects some and asks again.
pub(super) const MOST: usize = 50;

/// What a tenant's module may replace by `with`, besides `input`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replacing {
    /// Documents of the own tier: a policy.
    Documents,
    /// Built-in functions too: a test.
    Functions,
}

/// What a module of a tier does that it may not do. `functions` are those of the OPA that will load it.
pub(crate) fn confine(
    kind: TierKind,
    module: &Module,
    functions: &Capabilities,
    replacing: Replacing,
) -> Vec<Refusal> {
    let rules = module.rules().iter().filter(|rule| !rule.is_else);
    let names = rules.filter_map(|rule| rule_name(kind, module, rule));
    let decisions = module.rules().iter().filter_map(|rule| decision(kind, module, rule, functions));
    let mut refusals: Vec<Refusal> =
        package(kind, module).into_iter().chain(names.take(MOST)).chain(decisions.take(MOST)).collect();
    if kind != TierKind::Global {
        refusals.extend(module.imports().iter().filter_map(|found| import(kind, module, found)).take(MOST));
        refusals.extend(Reach { kind, module, functions, replacing, refusals: Vec::new() }.of_rules());
    }
    refusals
}

fn package(kind: TierKind, module: &Module) -> Option<Refusal> {
    let declared = module.package_names();
    if declared.starts_with(kind.root()) {
        return None;
    }
    let root = kind.root().join(".");
    let message =
        format!("a {kind} policy may declare packages at or below `{root}`, not `{}`", declared.join("."));
    Some(
        module
            .refuse(module.package().at, Code::Confinement, message)
            .suggest(format!("declare `package {root}.inbound.request`, or another package below `{root}`")),
    )
}

/// A rule's whole name must not reach into another tier, nor stand where a decision point's package is.
fn rule_name(kind: TierKind, module: &Module, rule: &Rule) -> Option<Refusal> {
    let name: Vec<&str> = module.rule_path(rule).into_iter().map_while(|step| step).collect();
    let below = name.strip_prefix(kind.root()).unwrap_or(&name);
    if kind == TierKind::Global
        && let Some(reserved) = below.first().filter(|first| RESERVED.contains(first))
    {
        let message =
            format!("a global policy may not define `authbridge.{reserved}`: it is not the global tier's");
        return Some(module.refuse(rule.at, Code::Confinement, message).suggest("rename it"));
    }
    let point = DECISION_POINTS.iter().find(|point| point.starts_with(below))?;
    let message = format!(
        "the rule `{}` stands where the decision points are packages, such as `{}.{}`",
        name.join("."),
        kind.root().join("."),
        point.join("."),
    );
    Some(module.refuse(rule.at, Code::Confinement, message).suggest("rename the rule"))
}

/// What a decision point is read for has a form that can be read.
fn decision(kind: TierKind, module: &Module, rule: &Rule, functions: &Capabilities) -> Option<Refusal> {
    let names = module.rule_path(rule);
    let (root, rest) = names.split_at_checked(kind.root().len())?;
    let in_tier = root.iter().zip(kind.root()).all(|(name, expected)| *name == Some(expected));
    let [Some(direction), Some(phase), Some(read), below @ ..] = rest else { return None };
    if !in_tier || !DECISION_POINTS.contains(&[direction, phase]) || !READ_RULES.contains(read) {
        return None;
    }
    let refuse = |message: String| Some(module.refuse(rule.at, Code::Confinement, message));
    let defines = module.rule_kind(rule);
    if matches!(defines, RuleKind::Function(_)) {
        return refuse(format!("`{read}` of a decision point is read as a value and cannot be a function"));
    }
    if *read != "allow" {
        return None;
    }
    if below.is_empty() && defines != RuleKind::Value || below.first() == Some(&None) {
        return refuse("`allow` of a decision point is one value, not a set or a map".to_owned());
    }
    let found = rule
        .head
        .value
        .filter(|_| below.is_empty())
        .and_then(|value| unreadable(module, value, functions))?;
    refuse(format!("`allow` of a decision point is a boolean or an object, not {found}"))
}

/// What a value surely is, when that is neither a boolean nor an object.
fn unreadable(module: &Module, value: TermId, functions: &Capabilities) -> Option<&'static str> {
    let tree = module.tree();
    Some(match tree.value(value) {
        Value::Null => "null",
        Value::Number(_) => "a number",
        Value::String(_) | Value::Template(_) => "a string",
        Value::Array(_) | Value::ArrayComprehension { .. } => "an array",
        Value::Set(_) | Value::SetComprehension { .. } => "a set",
        Value::Call(call) => {
            let name = tree.dotted(tree.operator(call)?, module.names());
            match functions.builtin(&name)?.declaration.result.as_ref()? {
                // OPA declares some functions that make an object as `any`.
                Type::Boolean | Type::Object(_) | Type::Union(_) | Type::Any => return None,
                _ => "what this function returns",
            }
        }
        _ => return None,
    })
}

fn import(kind: TierKind, module: &Module, import: &Import) -> Option<Refusal> {
    let Value::Ref(path) = module.tree().value(import.path) else { return None };
    if module.tree().root(path) != Some(Name::DATA) || is_inside(kind, module, path) {
        return None;
    }
    let message = format!("a {kind} policy may not import `{}`", module.tree().dotted(path, module.names()));
    Some(outside(kind, module.refuse(import.at, Code::ForbiddenReference, message)))
}

/// What the rules of a module of a tenant reach.
struct Reach<'a> {
    kind: TierKind,
    module: &'a Module,
    functions: &'a Capabilities,
    replacing: Replacing,
    refusals: Vec<Refusal>,
}

impl Reach<'_> {
    fn of_rules(mut self) -> Vec<Refusal> {
        let module = self.module;
        let tree = module.tree();
        for rule in module.rules() {
            let mut nodes = Vec::new();
            let mut seen = |node: Node| {
                nodes.push(node);
                true
            };
            let head = &rule.head;
            tree.visit_terms(head.reference, &mut seen);
            tree.visit_terms(head.arguments, &mut seen);
            for term in head.key.into_iter().chain(head.value) {
                tree.visit_term(term, &mut seen);
            }
            tree.visit_body(rule.body, &mut seen);
            for node in nodes {
                self.node(node, tree);
                if self.refusals.len() >= MOST {
                    return self.refusals;
                }
            }
        }
        self.refusals.dedup();
        self.refusals
    }

    fn node(&mut self, node: Node, tree: &Tree) {
        match node {
            Node::Term(term) => match tree.value(term) {
                Value::Ref(path) => self.reference(path, tree.term(term).at),
                Value::Call(call) => self.call(call),
                _ => {}
            },
            Node::Expression(id) => {
                if let secplane_rego::syntax::ast::ExpressionKind::Call(call) = tree.expression(id).kind {
                    self.call(call);
                }
            }
            Node::With(with) => {
                for term in [with.target, with.value] {
                    if let Value::Var(name) = tree.value(term) {
                        self.spelled(self.module.names().text(name), tree.term(term).at);
                    }
                }
                if self.replacing == Replacing::Documents {
                    self.replaced(with.target);
                }
            }
        }
    }

    /// A reference of `data` begins inside the tier. What an import brings does: others are refused.
    fn reference(&mut self, path: Terms, at: Offset) {
        let (kind, module) = (self.kind, self.module);
        let is_name = path.len() > 1 && !is_operator(module.tree(), path);
        if let Some(name) = builtin(module, path, self.functions).filter(|_| is_name) {
            self.spelled(name.name, at);
        }
        if module.tree().root(path) == Some(Name::DATA) && !is_inside(kind, module, path) {
            let message =
                format!("a {kind} policy may not refer to `{}`", module.tree().dotted(path, module.names()));
            self.refusals.push(outside(kind, module.refuse(at, Code::ForbiddenReference, message)));
        }
    }

    /// A call of a function of one word; longer names are references as well.
    fn call(&mut self, call: Terms) {
        let tree = self.module.tree();
        if let Some(path) = tree.operator(call).filter(|path| path.len() == 1)
            && let Some(name) = builtin(self.module, path, self.functions)
        {
            let at = tree.nth(call, 0).map_or(Offset(0), |operator| tree.term(operator).at);
            self.spelled(name.name, at);
        }
    }

    /// The name of a function, whatever else its beginning may mean.
    fn spelled(&mut self, name: &str, at: Offset) {
        let forbidden = FORBIDDEN_BUILTINS.iter().any(|entry| match entry.strip_suffix('.') {
            Some(namespace) => name.split('.').next() == Some(namespace),
            None => name == *entry,
        });
        if forbidden && !CALCULATING_BUILTINS.contains(&name) && self.functions.builtin(name).is_some() {
            let message = format!("a {} policy may not use `{name}`", self.kind);
            let refusal = self.module.refuse(at, Code::ForbiddenBuiltin, message);
            self.refusals.push(
                refusal.suggest("decide from the input alone, or ask the administrator for a global policy"),
            );
        }
    }

    fn replaced(&mut self, target: TermId) {
        let tree = self.module.tree();
        let function = match tree.value(target) {
            Value::Ref(path) => builtin(self.module, path, self.functions).map(|builtin| builtin.name),
            Value::Var(name) => {
                self.functions.builtin(self.module.names().text(name)).map(|builtin| builtin.name)
            }
            _ => None,
        };
        if let Some(name) = function {
            let message = format!("a {} policy may not replace the function `{name}`", self.kind);
            let refusal = self.module.refuse(tree.term(target).at, Code::ForbiddenBuiltin, message);
            self.refusals.push(refusal.suggest("replace documents of the own tier, or `input`"));
        }
    }
}

/// Whether the parser put a path in the place of an operator, as `internal.member_2` for `in`: both of its steps are
/// where the operator is. Those of a path that somebody wrote are where each is written.
fn is_operator(tree: &Tree, path: Terms) -> bool {
    match *tree.terms(path) {
        [first, second] => {
            tree.root(path) == Some(Name::INTERNAL) && tree.term(first).at == tree.term(second).at
        }
        _ => false,
    }
}

/// The built-in function that the beginning of a path names.
fn builtin(module: &Module, path: Terms, functions: &Capabilities) -> Option<&'static Builtin> {
    let (tree, names) = (module.tree(), module.names());
    let mut name = names.text(tree.root(path)?).to_owned();
    let mut found = functions.builtin(&name);
    for &step in tree.terms(path).iter().skip(1).take(BUILTIN_STEPS) {
        let Value::String(step) = tree.value(step) else { break };
        name.push('.');
        name.push_str(names.text(step));
        found = functions.builtin(&name).or(found);
    }
    found
}

/// Whether a path of `data` has a constant beginning that is the root of the tier, or what a bundle says of the
/// identity that it is for.
fn is_inside(kind: TierKind, module: &Module, path: Terms) -> bool {
    let tree = module.tree();
    let steps = tree.terms(path).get(1..).unwrap_or_default();
    let is = |(&step, name): (&TermId, &&str)| match tree.value(step) {
        Value::String(step) => module.names().text(step) == *name,
        _ => false,
    };
    [kind.root(), &IDENTITY]
        .into_iter()
        .any(|root| steps.len() >= root.len() && steps.iter().zip(root).all(is))
}

fn outside(kind: TierKind, refusal: Refusal) -> Refusal {
    let root = kind.root().join(".");
    refusal.suggest(format!(
        "refer to documents by constant names below `data.{root}`; everything else of `data` is not this tier's"
    ))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secplane_rego::Gate;

    use super::*;

    fn codes(kind: TierKind, text: &str) -> Vec<Code> {
        let gate = Gate::default();
        let module = gate.parse("a.rego", text.as_bytes()).unwrap();
        let refusals = confine(kind, &module, gate.capabilities(), Replacing::Documents);
        let mut codes: Vec<Code> = refusals.into_iter().map(|refusal| refusal.code).collect();
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
    #[case("package authbridge.ns.a\nx if net.cidr_contains(\"10.0.0.0/8\", input.ip)")]
    #[case("package authbridge.ns.a\nx if net[\"cidr_contains\"](\"10.0.0.0/8\", input.ip)")]
    #[case("package authbridge.ns.a\nx := net.cidr_contains_matches(\"10.0.0.0/8\", input.ips)")]
    #[case("package authbridge.ns.a\nx if net.cidr_intersects(\"10.0.0.0/8\", input.net)")]
    #[case("package authbridge.ns.a\nx if net.cidr_is_valid(input.net)")]
    #[case("package authbridge.ns.a\nx := net.cidr_merge(input.nets)")]
    #[case("package authbridge.ns.a\nx if input.user in input.users")]
    #[case("package authbridge.ns.a\nx if 0, input.user in input.users")]
    #[case("package authbridge.ns.a\nx if not input.user in input.users")]
    #[case("package authbridge.ns.a\nx if { some user in input.users; user in [\"ann\"] }")]
    #[case("package authbridge.ns.a\nx if every user in input.users { user in [\"ann\"] }")]
    #[case("package authbridge.ns.a\nx := $\"{input.user} of {count(input.users)}\"")]
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
    #[case("x if net.cidr_overlap(\"10.0.0.0/8\", \"10.0.0.0/9\")")]
    #[case("f(y) := y\nx if f(\"10.0.0.0/8\") with f as net.cidr_expand")]
    #[case("x := opa.runtime().env")]
    #[case("x := opa[\"runtime\"]().env")]
    #[case("x := rego.parse_module(\"a\", \"b\")")]
    #[case("x := rego.metadata.rule()")]
    #[case("x if trace(\"a\")")]
    #[case("x if print(input)")]
    #[case("x if internal.print([{input}])")]
    #[case("x if internal[\"print\"]([{input}])")]
    #[case("x := [y | y := internal.print([{input}])]")]
    #[case("f(y) := y\nx if f([{input}]) with f as internal.print")]
    #[case("x if internal.member_2(1, [1])")]
    #[case("x if internal[\"member_3\"](0, 1, [1])")]
    #[case("f(y, z) := y\nx if f(1, [1]) with f as internal.member_2")]
    #[case("x := internal.template_string([{\"a\"}])")]
    #[case("x if internal.test_case([{\"a\"}])")]
    #[case("x := io.jwt.encode_sign({}, {}, {})")]
    #[case("x := rand.intn(\"a\", 2)")]
    #[case("x := uuid.rfc4122(\"a\")")]
    #[case("x := crypto.x509.parse_keypair(\"a\", \"b\")")]
    #[case("x := graphql.is_valid(\"a\", \"b\")")]
    #[case("x := json.match_schema(input, {\"$ref\": \"file:///etc/passwd\"})")]
    #[case("x := json[\"verify_schema\"]({\"$ref\": \"http://a\"})")]
    #[case("f(y) := y\nx if f({}) with f as json.verify_schema")]
    #[case("x := [y | y := http.send({})]")]
    #[case("f(y) := y\nx if f({}) with f as http.send")]
    #[case("f(y) := y\nx if f({}) with data.authbridge.client.a.f as opa.runtime")]
    #[case("x if { http := {\"send\": 1}; http.send({}) }")]
    fn a_tenant_may_not_call(#[case] rule: &str) {
        let found = codes(TierKind::Client, &format!("package authbridge.client.a\n{rule}"));
        assert!(found.contains(&Code::ForbiddenBuiltin), "{found:?}");
    }

    #[rstest]
    #[case("test_x if json.match_schema({}, {})[0]")]
    #[case("test_x if time.now_ns() > 1 with time.now_ns as json.verify_schema")]
    fn a_test_of_a_tenant_may_not_call_either(#[case] rule: &str) {
        let gate = Gate::default();
        let text = format!("package authbridge.client.a_test\n{rule}");
        let module = gate.parse("a_test.rego", text.as_bytes()).unwrap();
        let refusals = confine(TierKind::Client, &module, gate.capabilities(), Replacing::Functions);
        assert!(refusals.iter().all(|refusal| refusal.code == Code::ForbiddenBuiltin), "{refusals:?}");
        assert_eq!(refusals.len(), 1, "{refusals:?}");
    }

    #[test]
    fn a_tenant_may_not_replace_functions() {
        let text = "package authbridge.client.a\nx if time.now_ns() > 1 with time.now_ns as 2";
        assert_eq!(codes(TierKind::Client, text), [Code::ForbiddenBuiltin]);
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
