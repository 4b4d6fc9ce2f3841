//! What tenants try, and what must not go wrong: each a test by name.

use std::sync::Arc;

use rstest::rstest;
use secplane_identity::{SpiffeId, TrustDomain};
use secplane_rego::{Gate, evaluate, evaluate::warnings};
use serde_json::{Value, json};

use super::*;
use crate::{
    digest::Digest,
    policy::ResourceKey,
    refusal::{Refusal, Severity},
    source::{SourceOptions, directory, manifests::FileContent},
    tiers::TierKey,
};

/// Says for whom a resource is: `namespace/name:scope`, and its modules with their paths.
pub(super) fn object(head: &str, modules: &[(&str, &str)]) -> Object {
    let (key, scope) = head.split_once(':').unwrap();
    let (namespace, name) = key.split_once('/').unwrap();
    let policies: Vec<Value> =
        modules.iter().map(|(path, content)| json!({ "path": path, "content": content })).collect();
    let manifest = json!({
        "apiVersion": "agent.kagenti.dev/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "scope": scope, "policies": policies },
    });
    let text = manifest.to_string();
    let content = FileContent::read("a.yaml", text.as_bytes(), &SourceOptions::default());
    content.objects.into_iter().next().unwrap()
}

pub(super) fn set(head: &str, modules: &[(&str, &str)]) -> Change {
    Change::Set(Arc::new(object(head, modules)))
}

pub(super) fn gone(namespace: &str, name: &str) -> Change {
    Change::Gone(ResourceKey::new(namespace, name))
}

pub(super) fn policies() -> Policies {
    Policies::new(settings())
}

/// What is refused of a namespace policy of this one module, `a.rego`.
pub(super) fn ns_refusals(content: &str) -> Vec<Refusal> {
    let mut policies = policies();
    policies.apply(&[set("team-a/p:namespace", &[("a.rego", content)])]);
    policies.refusals()
}

pub(super) fn settings() -> Settings {
    Settings::new(TrustDomain::parse("example.org").unwrap())
}

pub(super) fn id(namespace: &str, account: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org/ns/{namespace}/sa/{account}")).unwrap()
}

/// What an OPA with this bundle answers.
pub(super) fn decide(bundle: &Bundle, decision: &str, input: &Value) -> Option<Value> {
    let archive = Archive::read(&bundle.bytes()).unwrap();
    let gate = Gate::default();
    let modules = archive.parsed(gate).unwrap();
    assert_eq!(gate.check(&modules), [], "what is published must activate");
    evaluate(&modules, &archive.documents(), &format!("data.authbridge.{decision}"), input).unwrap()
}

pub(super) fn allowed(policies: &mut Policies, id: &SpiffeId) -> bool {
    let bundle = policies.bundle(id).unwrap();
    decide(&bundle, "inbound.request.allow", &json!({ "method": "GET" })) == Some(json!(true))
}

fn reason(policies: &mut Policies, id: &SpiffeId) -> String {
    let bundle = policies.bundle(id).unwrap();
    let reason = decide(&bundle, "inbound.request.reason", &json!({ "method": "GET" }));
    reason.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

const NS_ALLOW: &str =
    "package authbridge.ns.inbound.request\n\ndefault allow := false\n\nallow if input.method == \"GET\"\n";
const CLIENT_ALLOW: &str = "package authbridge.client.inbound.request\n\nallow := true\n";
const POINTS: [&str; 4] = ["inbound.request", "inbound.response", "outbound.request", "outbound.response"];

#[test]
fn without_any_policy_everything_is_denied() {
    let mut policies = policies();
    let bundle = policies.bundle(&id("team-a", "agent")).unwrap();
    for point in POINTS {
        assert_eq!(decide(&bundle, &format!("{point}.allow"), &json!({})), Some(json!(false)), "{point}");
    }
    assert_eq!(policies.tiers_of(&id("team-a", "agent")), [TierKind::Global]);
}

#[test]
fn a_namespace_policy_allows_its_namespace_and_no_other() {
    let mut policies = policies();
    policies.apply(&[set("team-a/p:namespace", &[("inbound/request.rego", NS_ALLOW)])]);
    assert!(allowed(&mut policies, &id("team-a", "agent")));
    assert!(!allowed(&mut policies, &id("team-b", "agent")));
    let foreign = SpiffeId::parse("spiffe://other.org/ns/team-a/sa/agent").unwrap();
    assert!(!allowed(&mut policies, &foreign), "the trust domain counts");
}

#[test]
fn the_client_tier_goes_by_scope_and_trust_domain() {
    let mut policies = policies();
    policies.apply(&[
        set("team-a/agent:client", &[("inbound/request.rego", CLIENT_ALLOW)]),
        set("team-b/agent:namespace", &[("inbound/request.rego", NS_ALLOW)]),
    ]);
    assert!(allowed(&mut policies, &id("team-a", "agent")));
    assert!(!allowed(&mut policies, &id("team-a", "other")));
    assert_eq!(policies.tiers_of(&id("team-b", "agent")), [TierKind::Global, TierKind::Namespace]);
    let foreign = SpiffeId::parse("spiffe://other.org/ns/team-a/sa/agent").unwrap();
    assert_eq!(policies.tiers_of(&foreign), [TierKind::Global]);
}

#[test]
fn the_setting_demands_a_client_policy() {
    let mut policies = Policies::new(Settings { require_client_policy: true, ..settings() });
    policies.apply(&[set("team-a/p:namespace", &[("inbound/request.rego", NS_ALLOW)])]);
    assert!(!allowed(&mut policies, &id("team-a", "agent")));
    policies.apply(&[set("team-a/agent:client", &[("inbound/request.rego", CLIENT_ALLOW)])]);
    assert!(allowed(&mut policies, &id("team-a", "agent")));
}

#[rstest]
#[case::the_global_package("package authbridge.inbound.request\nallow := true\n")]
#[case::a_long_rule_name("package authbridge\ninbound.request.allow := true\n")]
#[case::a_second_default("package authbridge.inbound.request\ndefault allow := true\n")]
#[case::all_of_data("package authbridge.ns.inbound.request\nallow if data\n")]
#[case::data_by_input("package authbridge.ns.inbound.request\nallow if data[input.k]\n")]
#[case::data_by_variable("package authbridge.ns.inbound.request\nallow if data.authbridge[t].x\n")]
#[case::the_global_decision(
    "package authbridge.ns.inbound.request\nallow if data.authbridge.inbound.request.allow\n"
)]
#[case::the_settings("package authbridge.settings\nrequire_client_policy := false\n")]
#[case::a_function_for_a_rule("package authbridge.ns.inbound.request\nallow(x) := true\n")]
#[case::a_rule_for_a_package("package authbridge.ns\ninbound := {\"request\": {\"allow\": true}}\n")]
#[case::a_built_in(
    "package authbridge.ns.inbound.request\nallow if http.send({\"url\": \"http://a\", \"method\": \"get\"})\n"
)]
#[case::syntax("package authbridge.ns.inbound.request\nallow if {\n")]
#[case::v0("package authbridge.ns.inbound.request\nallow { true }\n")]
#[case::deep_nesting(&format!("package authbridge.ns.x\ny := {}1{}\n", "[".repeat(1000), "]".repeat(1000)))]
fn an_attack_of_a_namespace_denies_that_namespace_alone(#[case] content: &str) {
    let mut policies = policies();
    policies.apply(&[set("team-b/p:namespace", &[("inbound/request.rego", NS_ALLOW)])]);
    let others = policies.bundle(&id("team-b", "agent")).unwrap();
    policies.apply(&[set("team-a/evil:namespace", &[("inbound/request.rego", content)])]);

    let refusals = policies.refusals();
    assert_eq!(refusals[0].resource, Some(ResourceKey::new("team-a", "evil")), "{refusals:?}");
    assert_eq!(refusals[0].path.as_deref(), Some("inbound/request.rego"));
    assert!(!allowed(&mut policies, &id("team-a", "agent")));
    let told = reason(&mut policies, &id("team-a", "agent"));
    assert!(told.contains("team-a/evil"), "{told}");
    assert_eq!(others.revision(), policies.bundle(&id("team-b", "agent")).unwrap().revision());
}

#[rstest]
#[case("x/../../global/inbound/request.rego")]
#[case("./inbound/request.rego")]
#[case("a//b.rego")]
fn a_path_cannot_displace_a_module(#[case] path: &str) {
    let mut policies = policies();
    policies.apply(&[set("team-a/evil:namespace", &[(path, NS_ALLOW)])]);
    assert!(!policies.refusals().is_empty());
    assert!(!allowed(&mut policies, &id("team-a", "agent")));
}

#[test]
fn one_path_twice_gives_two_entries() {
    let helper = |name: &str| format!("package authbridge.ns.{name}\n\nx := 1\n");
    let mut policies = policies();
    policies.apply(&[
        set("team-a/one:namespace", &[("a.rego", &helper("a")), ("a.rego", &helper("b"))]),
        set("team-a/two:namespace", &[("a.rego", &helper("c"))]),
    ]);
    let archive = Archive::read(&policies.bundle(&id("team-a", "agent")).unwrap().bytes()).unwrap();
    let names: Vec<&str> = archive.modules.iter().map(|module| module.name.as_str()).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("/authbridge/ns/")).count(), 3, "{names:?}");
    let distinct: std::collections::BTreeSet<_> = archive.entries.iter().map(|entry| &entry.name).collect();
    assert_eq!(distinct.len(), archive.entries.len());
}

#[test]
fn a_conflict_is_put_on_the_resource_that_caused_it() {
    let mut policies = policies();
    policies.apply(&[set("team-a/one:namespace", &[("inbound/request.rego", NS_ALLOW)])]);
    let before = policies.bundle(&id("team-a", "agent")).unwrap();
    policies.apply(&[set("team-a/a-second:namespace", &[("other.rego", NS_ALLOW)])]);
    let refusals = policies.refusals();
    assert!(
        refusals.iter().all(|r| r.resource == Some(ResourceKey::new("team-a", "a-second"))),
        "{refusals:?}"
    );
    let after = policies.bundle(&id("team-a", "agent")).unwrap();
    assert_eq!(before.revision(), after.revision(), "what was in force stays in force");
    policies.apply(&[gone("team-a", "a-second")]);
    assert_eq!(policies.bundle(&id("team-a", "agent")).unwrap().revision(), before.revision());
}

/// A tenant who adds a policy that is refused changes nothing, neither for others nor for their own namespace.
#[test]
fn a_refused_addition_to_a_tier_that_stands_changes_nothing() {
    let hijack = "package authbridge.inbound.request\nallow := true\n";
    let mut policies = policies();
    policies.apply(&[set("team-a/p:namespace", &[("inbound/request.rego", NS_ALLOW)])]);
    let before = policies.bundle(&id("team-a", "agent")).unwrap();
    policies.apply(&[set("team-a/evil:namespace", &[("inbound/request.rego", hijack)])]);
    assert_eq!(policies.refusals()[0].resource, Some(ResourceKey::new("team-a", "evil")));
    assert_eq!(before.revision(), policies.bundle(&id("team-a", "agent")).unwrap().revision());
    policies.apply(&[set("team-a/q:namespace", &[("a.rego", "package authbridge.ns.lib\n\nx := 1\n")])]);
    assert!(allowed(&mut policies, &id("team-a", "agent")), "another's change goes on beside it");
}

/// The last good version was there first, and its author's next mistake is no chance for another.
#[test]
fn what_clashes_with_the_last_good_version_stays_refused() {
    let mut policies = policies();
    let apply = |policies: &mut Policies, name: &str, content: &str| {
        policies.apply(&[set(&format!("team-a/{name}:namespace"), &[("a.rego", content)])]);
    };
    let default = "package authbridge.ns.inbound.request\n\ndefault allow := false\n";
    apply(&mut policies, "p", default);
    apply(&mut policies, "q", default);
    let before = policies.bundle(&id("team-a", "agent")).unwrap().revision();
    apply(&mut policies, "p", "package authbridge.ns.inbound.request\n\nallow if {\n");
    let after = policies.bundle(&id("team-a", "agent")).unwrap();
    assert_eq!((after.denied(), after.revision()), (None, before));
    policies.apply(&[gone("team-a", "p")]);
    assert_eq!(policies.refusals(), [], "its place is free");
}

/// Read for the first time together with what is refused, nothing was in force: the tier denies until it is corrected.
#[test]
fn a_tier_that_never_stood_denies_until_it_is_corrected() {
    let both = |content: &str| {
        [
            set("team-a/p:namespace", &[("inbound/request.rego", NS_ALLOW)]),
            set("team-a/evil:namespace", &[("a.rego", content)]),
        ]
    };
    let mut policies = policies();
    policies.apply(&both("package wrong\n"));
    assert!(!allowed(&mut policies, &id("team-a", "agent")));
    policies.apply(&[set("team-a/q:namespace", &[("b.rego", "package authbridge.ns.lib\n\nx := 1\n")])]);
    assert!(
        !allowed(&mut policies, &id("team-a", "agent")),
        "a change elsewhere in the tier corrects nothing"
    );
    policies.apply(&both("package authbridge.ns.other\n\nx := 1\n"));
    assert!(allowed(&mut policies, &id("team-a", "agent")));
}

#[test]
fn a_broken_version_leaves_the_last_good_one() {
    let mut policies = policies();
    policies.apply(&[set("team-a/p:namespace", &[("inbound/request.rego", NS_ALLOW)])]);
    let before = policies.bundle(&id("team-a", "agent")).unwrap();
    policies
        .apply(&[set("team-a/p:namespace", &[("inbound/request.rego", "package authbridge.ns.x\ny := {")])]);
    let refusals = policies.refusals();
    assert_eq!((refusals[0].code.as_str(), refusals[0].line), ("rego_parse_error", 2), "{refusals:?}");
    assert_eq!(before.revision(), policies.bundle(&id("team-a", "agent")).unwrap().revision());

    policies.apply(&[set("team-a/q:namespace", &[("a.rego", "package authbridge.ns.lib\n\nx := 1\n")])]);
    assert!(allowed(&mut policies, &id("team-a", "agent")), "another's change goes on");
    assert_ne!(policies.bundle(&id("team-a", "agent")).unwrap().revision(), before.revision());

    policies.apply(&[set("team-a/p:namespace", &[("inbound/request.rego", NS_ALLOW)])]);
    assert_eq!(policies.refusals(), []);
}

#[test]
fn a_broken_client_policy_denies_even_under_an_override() {
    let overriding = "package authbridge.ns.inbound.request\n\nallow := true\n\noverride := true\n";
    let mut policies = policies();
    policies.apply(&[
        set("team-a/p:namespace", &[("inbound/request.rego", overriding)]),
        set("team-a/agent:client", &[("inbound/request.rego", "package wrong\n")]),
    ]);
    assert!(allowed(&mut policies, &id("team-a", "other")));
    assert!(!allowed(&mut policies, &id("team-a", "agent")));
}

#[test]
fn a_version_that_is_refused_in_a_new_tier_stays_in_its_old_one() {
    let mut policies = policies();
    policies.apply(&[set("team-a/agent:client", &[("inbound/request.rego", CLIENT_ALLOW)])]);
    assert!(allowed(&mut policies, &id("team-a", "agent")));
    policies.apply(&[set("team-a/agent:namespace", &[("inbound/request.rego", CLIENT_ALLOW)])]);
    assert_eq!(policies.refusals()[0].code, "confinement");
    assert!(allowed(&mut policies, &id("team-a", "agent")));
    assert!(!allowed(&mut policies, &id("team-a", "other")), "its new tier got nothing");
    policies.apply(&[set("team-a/agent:namespace", &[("inbound/request.rego", NS_ALLOW)])]);
    assert_eq!(policies.tiers_of(&id("team-a", "agent")), [TierKind::Global, TierKind::Namespace]);
}

#[test]
fn a_conflict_in_a_new_tier_leaves_the_old_one() {
    let mut policies = policies();
    policies.apply(&[
        set("team-a/one:namespace", &[("inbound/request.rego", NS_ALLOW)]),
        set("team-a/agent:client", &[("inbound/request.rego", CLIENT_ALLOW)]),
    ]);
    policies.apply(&[set("team-a/agent:namespace", &[("inbound/request.rego", NS_ALLOW)])]);
    assert_eq!(policies.refusals()[0].code, "rego_type_error");
    let tiers = policies.tiers_of(&id("team-a", "agent"));
    assert_eq!(tiers, [TierKind::Global, TierKind::Namespace, TierKind::Client]);
    policies.apply(&[gone("team-a", "one"), gone("team-a", "agent")]);
    assert_eq!(policies.tiers_of(&id("team-a", "agent")), [TierKind::Global]);
}

#[test]
fn a_change_touches_its_own_tier_alone() {
    let mut policies = policies();
    let touched = policies.apply(&[set("team-a/p:namespace", &[("inbound/request.rego", NS_ALLOW)])]);
    assert_eq!(touched.into_iter().collect::<Vec<_>>(), [TierKey::Namespace("team-a".to_owned())]);
    assert!(policies.concerns(&TierKey::Namespace("team-a".to_owned()), &id("team-a", "x")));
    assert!(!policies.concerns(&TierKey::Namespace("team-a".to_owned()), &id("team-b", "x")));
    assert!(policies.concerns(&TierKey::Global, &id("team-b", "x")));
}

#[test]
fn a_global_policy_is_only_taken_from_the_system_namespace() {
    let own = "package authbridge.inbound.request\n\nallow := true\n";
    let mut policies = policies();
    policies.apply(&[set("team-a/mine:global", &[("inbound/request.rego", own)])]);
    assert!(!allowed(&mut policies, &id("team-a", "agent")));
    assert_eq!(policies.refusals()[0].code, "scope");
    policies.apply(&[set("secplane-system/mine:global", &[("inbound/request.rego", own)])]);
    assert!(allowed(&mut policies, &id("team-a", "agent")), "it replaces the shipped one");
    let bundle = policies.bundle(&id("team-a", "agent")).unwrap();
    for point in &POINTS[1..] {
        assert_eq!(decide(&bundle, &format!("{point}.allow"), &json!({})), Some(json!(false)), "{point}");
        assert!(decide(&bundle, &format!("{point}.reason"), &json!({})).is_some());
    }
    policies.apply(&[gone("secplane-system", "mine")]);
    assert!(!allowed(&mut policies, &id("team-a", "agent")), "the shipped one is back");
}

#[test]
fn a_broken_global_policy_denies_everyone_until_it_is_corrected() {
    let mut policies = policies();
    policies.apply(&[
        set("team-a/p:namespace", &[("inbound/request.rego", NS_ALLOW)]),
        set(
            "secplane-system/g:global",
            &[("a.rego", "package authbridge.ns.inbound.request\nallow := true\n")],
        ),
    ]);
    assert!(!allowed(&mut policies, &id("team-a", "agent")));
    assert!(reason(&mut policies, &id("team-a", "agent")).contains("secplane-system/g"));
}

#[test]
fn tiers_that_do_not_fit_together_are_not_published() {
    let global = "package authbridge.inbound.request\n\nallow if data.authbridge.ns.helper == 1\n";
    let namespace = "package authbridge.ns\n\nhelper(x) := x\n";
    let objects = [
        object("secplane-system/g:global", &[("a.rego", global)]),
        object("team-a/p:namespace", &[("a.rego", namespace)]),
    ];
    let compiled = compile(&objects, &id("team-a", "agent"), &settings(), None);
    assert_eq!(compiled.refusals[0].resource, Some(ResourceKey::new("team-a", "p")));
    assert_eq!(decide(&compiled.bundle, "inbound.request.allow", &json!({})), Some(json!(false)));
    let other = compile(&objects, &id("team-b", "agent"), &settings(), None);
    assert_eq!(other.bundle.denied(), None);
}

#[test]
fn revision_and_tag_are_functions_of_the_content() {
    let objects = [
        object("team-a/p:namespace", &[("inbound/request.rego", NS_ALLOW)]),
        object("team-a/agent:client", &[("inbound/request.rego", CLIENT_ALLOW)]),
    ];
    let reversed: Vec<Object> = objects.iter().rev().cloned().collect();
    let compile = |objects: &[Object]| compile(objects, &id("team-a", "agent"), &settings(), None).bundle;
    let (one, two) = (compile(&objects), compile(&reversed));
    assert_eq!((one.bytes(), one.etag()), (two.bytes(), two.etag()));
    let other = compile(&objects[..1]);
    assert_ne!(one.etag(), other.etag());
    let archive = Archive::read(&one.bytes()).unwrap();
    assert_eq!(format!("\"{}\"", archive.manifest.revision), one.etag());
    assert_eq!(archive.manifest.roots, ["authbridge"]);
    assert_eq!(archive.manifest.rego_version, Some(1));
    assert_eq!(archive.entries[0].name, "/.manifest");
    let settings = json!({ "require_client_policy": false, "require_fresh_bundle": false });
    let identity = json!({
        "spiffe_id": "spiffe://example.org/ns/team-a/sa/agent",
        "trust_domain": "example.org",
        "namespace": "team-a",
        "service_account": "agent",
    });
    assert_eq!(archive.data, json!({ "authbridge": { "settings": settings, "identity": identity } }));
}

#[test]
fn settings_are_part_of_the_content() {
    let objects = [object("team-a/p:namespace", &[("inbound/request.rego", NS_ALLOW)])];
    let other = Settings { require_client_policy: true, ..settings() };
    let tag = |settings: &Settings| compile(&objects, &id("team-a", "agent"), settings, None).bundle.etag();
    assert_ne!(tag(&settings()), tag(&other));
}

#[test]
fn the_shipped_policies_compile() {
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../policies"));
    let manifests = crate::source::directory::read(folder, &SourceOptions::default()).unwrap();
    assert_eq!(manifests.refusals, []);
    let compiled = compile(&manifests.objects, &id("travel", "booking"), &settings(), None);
    assert_eq!(compiled.refusals, []);
    assert_eq!(compiled.bundle.denied(), None);
}

/// OPA accepts such a module, so it is published; its author is told that OPA denies where our engine allows.
#[test]
fn publishes_what_only_has_a_warning() {
    let text = "package authbridge.client.inbound.request\n\ndefault allow := false\nallow if not input.user in {\"eve\"}\n";
    let mut policies = policies();
    policies.apply(&[set("travel/web:client", &[("inbound/request.rego", text)])]);
    let found = policies.refusals();
    let [warning] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((warning.severity, warning.code.as_str()), (Severity::Warning, "undefined_negation"));
    assert_eq!((warning.line, warning.column), (4, 10));
    assert_eq!(warning.path.as_deref(), Some("inbound/request.rego"));
    assert_eq!(warning.resource, Some(ResourceKey::new("travel", "web")));
    assert!(warning.source_line.contains("not input.user in") && warning.suggestion.is_some());
    let bundle = policies.bundle(&id("travel", "web")).unwrap();
    assert_eq!(bundle.denied(), None);
    assert_eq!(decide(&bundle, "client.inbound.request.allow", &json!({ "user": "ann" })), Some(json!(true)));

    policies.apply(&[set(
        "travel/web:client",
        &[("inbound/request.rego", "package authbridge.client.inbound.request\n\nallow := true\n")],
    )]);
    assert_eq!(policies.refusals(), [], "the warning goes with its cause");
}

/// The engine that finds warnings reads only what has passed the gate.
#[test]
fn looks_for_warnings_only_in_what_passed() {
    let warned = "package authbridge.client.inbound.request\n\nallow if not input.user in {\"eve\"}\n";
    let refused = format!("{warned}\nseen if nothing(input.user)\n");
    let codes = |found: Vec<Refusal>| found.into_iter().map(|refusal| refusal.code).collect::<Vec<_>>();
    let key = ResourceKey::new("travel", "web");
    let mut policies = policies();
    for (text, expected) in [(refused.as_str(), "rego_type_error"), (warned, "undefined_negation")] {
        let newest = object("travel/web:client", &[("inbound/request.rego", text)]);
        assert_eq!(codes(policies.preview(newest).judge()), [expected]);
        policies.apply(&[set("travel/web:client", &[("inbound/request.rego", text)])]);
        assert_eq!(codes(policies.refusals()), [expected]);
        let verdict = policies.verdict(&key).unwrap();
        assert_eq!(codes([verdict.refusals, verdict.warnings].concat()), [expected]);
    }
}

#[test]
fn ships_policies_that_every_engine_decides_alike() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let manifests = directory::read(&folder, &SourceOptions::default()).unwrap();
    assert!(!manifests.objects.is_empty());
    for object in &manifests.objects {
        let compiled =
            compile(&manifests.objects, &id(&object.key.namespace, &object.key.name), &settings(), None);
        assert_eq!(compiled.refusals, []);
        let archive = Archive::read(&compiled.bundle.bytes()).unwrap();
        assert_eq!(warnings(&archive.parsed(Gate::default()).unwrap()), []);
    }
}

/// A module of more bytes than that, also when it is compressed: half of each hexadecimal digit.
pub(super) fn large(package: &str, bytes: usize) -> String {
    let digest = |n: usize| Digest::of(&[package.as_bytes(), &n.to_be_bytes()]);
    // A line of its own for each: what evaluates tests takes no long ones.
    let texts: String = (0..=bytes / 32).map(|n| format!("\t\"{}\",\n", digest(n))).collect();
    format!("package {package}\n\nnoise := [\n{texts}]\n")
}
