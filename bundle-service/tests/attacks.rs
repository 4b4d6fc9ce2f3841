//! What a tenant tries comes to nothing: `attacks/` holds what they write, one file an attack.
//!
//! The administrator's policy and a colleague's stand; then the attack comes, at once or later. The decision stays
//! denied, the attack is refused by the code that its file says, and another namespace's bundle stays the same byte for
//! byte. That each attack works on a service that joins modules as they come is shown with a real OPA by
//! `tests/interop/scenarios/attacks-fail-here.sh`, which reads the same files.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bundle_service::{
    Refusal,
    compile::{Archive, Bundle, Policies, Settings},
    policy::ResourceKey,
    source::{Change, Object, SourceOptions, directory},
};
use rstest::rstest;
use secplane_identity::{SpiffeId, TrustDomain};
use secplane_rego::{Gate, evaluate};
use serde_json::{Value, json};

struct Attack {
    name: String,
    facts: BTreeMap<String, String>,
    modules: Vec<(String, String, String, String)>,
}

impl Attack {
    fn read(path: &Path) -> Self {
        let (mut facts, mut modules) = (BTreeMap::new(), Vec::<(String, String, String, String)>::new());
        for line in fs::read_to_string(path).unwrap().lines() {
            if let Some(head) = line.strip_prefix("# module: ") {
                let [scope, resource, path] = head.split(' ').collect::<Vec<_>>().try_into().unwrap();
                modules.push((scope.to_owned(), resource.to_owned(), path.to_owned(), String::new()));
            } else if let Some((_, _, _, text)) = modules.last_mut() {
                *text += line;
                text.push('\n');
            } else if let Some((key, value)) = line.strip_prefix("# ").and_then(|line| line.split_once(": "))
            {
                facts.insert(key.to_owned(), value.to_owned());
            }
        }
        assert!(!modules.is_empty(), "{}", path.display());
        Self { name: path.file_stem().unwrap().to_string_lossy().into_owned(), facts, modules }
    }

    fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map(String::as_str).unwrap_or_default()
    }

    fn input(&self) -> Value {
        let text = self.facts.get("input").map_or("{\"user\": \"eve\"}", String::as_str);
        serde_json::from_str(text).unwrap()
    }

    fn point(&self) -> String {
        let point = self.facts.get("point").map_or("inbound/request", String::as_str);
        format!("data.authbridge.{}.allow", point.replace('/', "."))
    }

    /// The tenant's resources, in the namespace team-a.
    fn resources(&self) -> Vec<Object> {
        let mut resources: BTreeMap<(&str, &str), Vec<(&str, &str)>> = BTreeMap::new();
        for (scope, resource, path, text) in &self.modules {
            resources.entry((scope, resource)).or_default().push((path, text));
        }
        objects(resources.into_iter().map(|((scope, name), modules)| ("team-a", name, scope, modules)))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks")
}

fn attacks() -> Vec<Attack> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|e| e == "attack")).collect();
    files.sort();
    files.iter().map(|path| Attack::read(path)).collect()
}

fn objects<'a>(
    resources: impl IntoIterator<Item = (&'a str, &'a str, &'a str, Vec<(&'a str, &'a str)>)>,
) -> Vec<Object> {
    let folder = tempfile::tempdir().unwrap();
    for (namespace, name, scope, modules) in resources {
        let part = |(path, content): &(&str, &str)| json!({"path": path, "content": content});
        let manifest = json!({
            "apiVersion": "agent.kagenti.dev/v1alpha1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"scope": scope, "policies": modules.iter().map(part).collect::<Vec<_>>()},
        });
        fs::write(folder.path().join(format!("{namespace}-{name}-{scope}.yaml")), manifest.to_string())
            .unwrap();
    }
    directory::read(folder.path(), &SourceOptions::default()).unwrap().objects
}

/// The administrator's global policy, and a policy of another namespace.
fn others() -> Vec<Object> {
    let texts: BTreeMap<String, String> = fs::read_dir(folder().join("administrator"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap())
        })
        .collect();
    let modules = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let other = "package authbridge.ns.inbound.request\n\nallow := true\n";
    objects([
        ("secplane-system", "administrator", "global", modules),
        ("team-b", "other", "namespace", vec![("inbound/request.rego", other)]),
    ])
}

fn set(objects: &[Object]) -> Vec<Change> {
    objects.iter().cloned().map(|object| Change::Set(Arc::new(object))).collect()
}

fn policies() -> Policies {
    Policies::new(Settings::new(TrustDomain::parse("example.org").unwrap()))
}

fn bundle(policies: &mut Policies, namespace: &str) -> Result<Arc<Bundle>, Vec<Refusal>> {
    policies.bundle(&SpiffeId::parse(&format!("spiffe://example.org/ns/{namespace}/sa/agent")).unwrap())
}

/// What an OPA with this bundle decides, which must activate it.
fn decide(bundle: &Bundle, attack: &Attack) -> Option<Value> {
    let archive = Archive::read(&bundle.bytes()).unwrap();
    let gate = Gate::default();
    let modules = archive.parsed(gate).unwrap();
    assert_eq!(gate.check(&modules), [], "{}: what is published must activate", attack.name);
    evaluate(&modules, &archive.documents(), &attack.point(), &attack.input()).unwrap()
}

fn is_refused_as_said(attack: &Attack, refusals: &[Refusal]) {
    let codes: Vec<&str> = refusals.iter().map(|refusal| refusal.code.as_str()).collect();
    let name = &attack.name;
    match attack.fact("code") {
        "none" => assert_eq!(codes, [""; 0], "{name}"),
        code => assert!(codes.contains(&code), "{name}: {codes:?}"),
    }
    let of_tenant =
        |refusal: &Refusal| refusal.resource.as_ref().is_some_and(|key| key.namespace == "team-a");
    assert!(refusals.iter().all(of_tenant), "{name}: the refusal is put on who caused it: {refusals:?}");
}

#[test]
fn there_are_enough_of_them() {
    assert!(attacks().len() >= 40);
    let says = |attack: &Attack| ["code", "naive"].iter().all(|fact| !attack.fact(fact).is_empty());
    assert!(attacks().iter().all(says));
    // Whatever OPA activates is shown to do harm, or says why that is harm enough.
    let shown = |attack: &Attack| attack.fact("naive") != "accepted" || !attack.fact("harm").is_empty();
    assert!(attacks().iter().all(shown));
}

/// Without an attack the decision depends on the administrator alone, so that an attack can change it.
#[test]
fn the_administrator_decides() {
    let mut policies = policies();
    policies.apply(&set(&others()));
    let attack = |input: &str| Attack {
        name: "none".to_owned(),
        facts: BTreeMap::from([("input".to_owned(), input.to_owned())]),
        modules: Vec::new(),
    };
    let bundle = bundle(&mut policies, "team-a").unwrap();
    assert_eq!(decide(&bundle, &attack("{\"user\": \"ann\"}")), Some(json!(true)));
    assert_eq!(decide(&bundle, &attack("{\"user\": \"eve\"}")), Some(json!(false)));
}

#[rstest]
#[case::to_policies_that_stand(true)]
#[case::at_the_first_start(false)]
fn an_attack_changes_no_decision(#[case] later: bool) {
    for attack in attacks() {
        let mut policies = policies();
        if later {
            policies.apply(&set(&others()));
            policies.apply(&set(&attack.resources()));
        } else {
            policies.apply(&set(&[others(), attack.resources()].concat()));
        }
        is_refused_as_said(&attack, &policies.refusals());
        let own = bundle(&mut policies, "team-a").unwrap();
        assert_eq!(decide(&own, &attack), Some(json!(false)), "{}", attack.name);
    }
}

#[test]
fn an_attack_changes_nothing_elsewhere() {
    for attack in attacks() {
        let mut policies = policies();
        policies.apply(&set(&others()));
        let before = bundle(&mut policies, "team-b").unwrap();
        let touched = policies.apply(&set(&attack.resources()));
        let after = bundle(&mut policies, "team-b").unwrap();
        assert_eq!(before.bytes(), after.bytes(), "{}", attack.name);
        assert!(
            touched.iter().all(|tier| tier.to_string().contains("team-a")),
            "{}: {touched:?}",
            attack.name
        );
        // What the attack replaced comes back with its own correction, and nothing else has to be done.
        let gone: Vec<Change> = attack
            .resources()
            .iter()
            .map(|object| Change::Gone(ResourceKey::new(&object.key.namespace, &object.key.name)))
            .collect();
        policies.apply(&gone);
        assert_eq!(policies.refusals(), [], "{}", attack.name);
    }
}

/// A colleague's policy stays in force when another of the namespace is an attack.
#[test]
fn an_attack_leaves_the_colleagues_policy_in_force() {
    let guard = "package authbridge.ns.guard\n\nkept := true\n";
    for attack in attacks() {
        let mut policies = policies();
        policies.apply(&set(&others()));
        policies.apply(&set(&objects([("team-a", "untouched", "namespace", vec![("guard.rego", guard)])])));
        policies.apply(&set(&attack.resources()));
        let archive = Archive::read(&bundle(&mut policies, "team-a").unwrap().bytes()).unwrap();
        assert!(archive.modules.iter().any(|module| module.text == guard), "{}", attack.name);
    }
}
