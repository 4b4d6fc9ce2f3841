//! One tier: its modules, checked together and packed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use secplane_rego::{Gate, Module, evaluate::warnings};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    archive::{Member, entry_name},
    confine::{DECISION_POINTS, Replacing, confine},
    contradiction, cost,
    denial::{self, Made, Reason},
    documents::merged,
    parts::Parts,
};
use crate::{
    digest::Digest,
    policy::{PolicyModule, ResourceKey},
    policy_tests::TestSummary,
    refusal::Refusal,
    tiers::TierKind,
};

/// The name of the file in a tier's folder that says where each of its modules comes from.
pub(crate) const ORIGINS: &str = "origins.json";

/// What a tar rounds its entries up to, and the size of their headers.
const TAR_BLOCK: usize = 512;
/// The most that is told of where a module comes from: three names, none of which is longer than 320 bytes.
const ORIGIN: usize = 1024;

/// One module of a resource that parsed and stays in its tier.
#[derive(Debug, Clone)]
pub(crate) struct ParsedModule {
    /// The resource that it is of; `None` for one of our own making.
    pub(crate) owner: Option<ResourceKey>,
    pub(crate) path: String,
    /// What identifies its text.
    pub(crate) content: Digest,
    pub(crate) module: Arc<Module>,
}

impl ParsedModule {
    fn new(owner: Option<ResourceKey>, path: String, module: Arc<Module>) -> Self {
        Self { owner, path, content: Digest::of(&[module.text().as_bytes()]), module }
    }

    /// Reads the module at an index of a resource, for a tier of a kind. Tests may replace functions; nothing else may.
    pub(crate) fn read(
        gate: Gate,
        owner: &ResourceKey,
        index: usize,
        part: &PolicyModule,
        kind: TierKind,
        is_test: bool,
    ) -> Result<Self, Vec<Refusal>> {
        let refused = |found: Vec<secplane_rego::Refusal>| {
            found.into_iter().map(|refusal| Refusal::of_rego(refusal, &part.path).of(owner)).collect()
        };
        let (module, faults) = Self::with_faults(gate, owner, index, part, kind, is_test).map_err(refused)?;
        if faults.is_empty() { Ok(module) } else { Err(refused(faults)) }
    }

    /// As [`read`](Self::read), with where it leaves the tier.
    pub(super) fn with_faults(
        gate: Gate,
        owner: &ResourceKey,
        index: usize,
        part: &PolicyModule,
        kind: TierKind,
        is_test: bool,
    ) -> Result<(Self, Vec<secplane_rego::Refusal>), Vec<secplane_rego::Refusal>> {
        // The name tells modules apart: two of one resource may have the same path.
        let name = format!("{owner}:{index}:{}", part.path);
        let module = gate.parse(&name, part.content.as_bytes())?;
        let replacing = if is_test { Replacing::Functions } else { Replacing::Documents };
        let faults = confine(kind, &module, gate.capabilities(), replacing);
        Ok((Self::new(Some(owner.clone()), part.path.clone(), module), faults))
    }

    /// The module that answers Envoy. It parses, as tests see to.
    pub(crate) fn envoy_adapter(text: &str) -> Option<Self> {
        let module = Gate::default().parse("envoy:authz.rego", text.as_bytes()).ok()?;
        Some(Self::new(None, "authz.rego".to_owned(), module))
    }

    /// A module of our own making. It parses, as tests see to.
    fn made(kind: TierKind, made: &Made) -> Option<Self> {
        let name = format!("{}:{}", kind.folder(), made.path);
        let module = Gate::default().parse(&name, made.text.as_bytes()).ok()?;
        Some(Self::new(None, made.path.clone(), module))
    }
}

/// What speaks against modules standing together, each with the resource that it is found in.
pub(crate) fn check_together<'a>(
    gate: Gate,
    modules: impl Iterator<Item = &'a ParsedModule> + Clone,
) -> Vec<Refusal> {
    let parsed: Vec<_> = modules.clone().map(|part| Arc::clone(&part.module)).collect();
    let mut found = gate.check(&parsed);
    let contradictions = contradiction::find(modules.clone());
    if !contradictions.is_empty() {
        found.extend(contradictions);
        let number = |file: &str| parsed.iter().position(|module| module.file().as_ref() == file);
        found.sort_by_cached_key(|refusal| {
            let place = &refusal.location;
            (number(&place.file), place.line, place.column)
        });
    }
    owned(modules, found)
}

/// Whether nothing speaks against modules standing together.
pub(super) fn stand_together<'a>(
    gate: Gate,
    modules: impl Iterator<Item = &'a ParsedModule> + Clone,
) -> bool {
    let parsed: Vec<_> = modules.clone().map(|part| Arc::clone(&part.module)).collect();
    contradiction::find(modules).is_empty() && gate.accepts(&parsed)
}

/// What speaks against modules standing together beside faults that were found in some of them.
pub(super) fn check_beside<'a>(
    gate: Gate,
    modules: impl Iterator<Item = &'a ParsedModule> + Clone,
    faults: &[secplane_rego::Refusal],
) -> Vec<Refusal> {
    let parsed: Vec<_> = modules.clone().map(|part| Arc::clone(&part.module)).collect();
    owned(modules, gate.check_beside(&parsed, faults))
}

/// What the authors of modules should look at, although it takes effect.
pub(crate) fn warnings_of(modules: &[ParsedModule]) -> Vec<Refusal> {
    let parsed: Vec<_> = modules.iter().map(|part| Arc::clone(&part.module)).collect();
    let mut found = warnings(&parsed);
    found.extend(parsed.iter().flat_map(|module| cost::find(module)));
    owned(modules.iter(), found).into_iter().map(Refusal::warning).collect()
}

/// Refusals of modules, each as one of the resource that the module is of.
fn owned<'a>(
    modules: impl Iterator<Item = &'a ParsedModule> + Clone,
    refusals: Vec<secplane_rego::Refusal>,
) -> Vec<Refusal> {
    let owner = |file: &str| modules.clone().find(|part| part.module.file().as_ref() == file);
    refusals
        .into_iter()
        .map(|refusal| match owner(&refusal.location.file) {
            Some(ParsedModule { owner: Some(key), path, .. }) => Refusal::of_rego(refusal, path).of(key),
            Some(ParsedModule { path, .. }) => Refusal::of_rego(refusal, path),
            None => Refusal::new(&refusal.code.to_string(), refusal.message),
        })
        .collect()
}

/// A tier that can go into bundles.
#[derive(Debug)]
pub struct Tier {
    pub(crate) modules: Vec<ParsedModule>,
    pub(crate) member: Member,
    /// Why it denies, when it is broken.
    pub(crate) denied: Option<String>,
    /// What its tests came to; `None` when it has none.
    pub(crate) tests: Option<TestSummary>,
}

impl Tier {
    /// A tier of parts that stand together.
    pub(crate) fn new(kind: TierKind, parts: Parts) -> Self {
        Self { member: pack(kind, &parts), modules: parts.modules, denied: None, tests: None }
    }

    /// A tier that denies everything, and says why.
    pub(crate) fn denied(kind: TierKind, reason: &str) -> Self {
        let reason = Reason::new(reason);
        let (member, modules) = denying(kind, denial::tier(kind, &reason));
        Self { modules, member, denied: Some(reason.into_text()), tests: None }
    }
}

/// What denies, packed and read. Without it in a bundle, the tiers above would take the tier for absent, and those below
/// could allow: if it cannot be read, there is something in its place that can and says less; and packed is the text,
/// whatever is read of it.
fn denying(kind: TierKind, made: [Made; DECISION_POINTS.len()]) -> (Member, Vec<ParsedModule>) {
    let read = |made: &[Made]| -> Option<Vec<ParsedModule>> {
        made.iter().map(|made| ParsedModule::made(kind, made)).collect()
    };
    let (made, modules) = match read(&made) {
        Some(modules) => (made, modules),
        None => {
            let made = denial::tier(kind, &Reason::new("it is broken, and how cannot be said here"));
            let modules = read(&made).unwrap_or_default();
            (made, modules)
        }
    };
    let texts = made.iter().map(|made| (None, made.path.as_str(), made.text.as_str()));
    (pack_texts(kind, texts, None), modules)
}

/// A global tier of these parts, with the modules that it still needs.
pub(crate) fn completed(mut parts: Parts) -> Parts {
    let parsed: Vec<&Module> = parts.modules.iter().map(|part| part.module.as_ref()).collect();
    let made = denial::completion(&parsed);
    parts.modules.extend(made.iter().filter_map(completing));
    parts
}

/// A module that completes the global tier. There are eight of them, and every change of the tier needs some.
fn completing(made: &Made) -> Option<ParsedModule> {
    static READ: Mutex<BTreeMap<String, ParsedModule>> = Mutex::new(BTreeMap::new());
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = read.get(&made.text) {
        return Some(known.clone());
    }
    let module = ParsedModule::made(TierKind::Global, made)?;
    read.insert(made.text.clone(), module.clone());
    Some(module)
}

/// Where a module of an archive comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The resource; `None` for a module that the service made.
    pub resource: Option<ResourceKey>,
    /// The path in it.
    pub path: String,
}

/// The bytes that a tier of these parts takes in a bundle.
pub(super) fn bytes(kind: TierKind, parts: &Parts) -> usize {
    pack(kind, parts).bytes.len()
}

/// More than these a tier of these parts never takes: those of its entries before they are compressed.
pub(super) fn most_bytes(parts: &Parts) -> usize {
    let entry = |content: usize| TAR_BLOCK + content.next_multiple_of(TAR_BLOCK);
    let modules: usize = parts.modules.iter().map(|part| entry(part.module.text().len())).sum();
    let origins = entry((parts.modules.len() + 1) * ORIGIN);
    let data = merged(&parts.documents).map_or(0, |text| entry(text.len()));
    Member::most_bytes(modules + origins + data)
}

fn pack(kind: TierKind, parts: &Parts) -> Member {
    let modules =
        parts.modules.iter().map(|part| (part.owner.as_ref(), part.path.as_str(), part.module.text()));
    pack_texts(kind, modules, merged(&parts.documents))
}

/// Packs modules, each with its owner, its path and its text, and the documents that they decide by.
fn pack_texts<'a>(
    kind: TierKind,
    modules: impl Iterator<Item = (Option<&'a ResourceKey>, &'a str, &'a str)>,
    documents: Option<String>,
) -> Member {
    let modules = modules.enumerate().map(|(number, (owner, path, text))| {
        let origin = Origin { resource: owner.cloned(), path: path.to_owned() };
        let owner = owner.map(ToString::to_string).unwrap_or_default();
        (entry_name(kind.folder(), number, &owner, path), origin, text)
    });
    let modules: Vec<_> = modules.collect();
    let origins: BTreeMap<&str, &Origin> =
        modules.iter().map(|(name, origin, _)| (name.as_str(), origin)).collect();
    // OPA passes over a file of this name; it is for whoever looks into the bundle.
    let origins = (format!("/authbridge/{}/{ORIGINS}", kind.folder()), json!(origins).to_string());
    let data = documents.map(|text| (format!("/{}/data.json", kind.root().join("/")), text));
    let entries = modules.iter().map(|(name, _, text)| (name.as_str(), *text));
    let made = std::iter::once(&origins).chain(&data).map(|(name, text)| (name.as_str(), text.as_str()));
    Member::pack(entries.chain(made).map(|(name, text)| (name, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compile::tests::{allowed, id, policies, set},
        tiers::TierKey,
    };

    const CLIENT_ALLOW: &str = "package authbridge.client.inbound.request\n\nallow := true\n";

    /// A text of so many characters that compressing makes hardly smaller.
    fn noise(seed: &str, characters: usize) -> String {
        let digest = |n: usize| Digest::of(&[seed.as_bytes(), &n.to_be_bytes()]).to_string();
        let mut text: String = (0..=characters / 64).map(digest).collect();
        text.truncate(characters);
        text
    }

    /// Whether a client whose own policy allows everything is allowed something below this namespace tier.
    fn is_allowed_below(tier: Tier) -> bool {
        let mut policies = policies();
        policies.apply(&[set("team-a/agent:client", &[("a.rego", CLIENT_ALLOW)])]);
        assert!(allowed(&mut policies, &id("team-a", "agent")));
        policies.tiers.insert(TierKey::Namespace("team-a".to_owned()), Arc::new(tier));
        allowed(&mut policies, &id("team-a", "agent"))
    }

    #[test]
    fn denies_for_a_reason_of_any_length_and_stays_small() {
        for reason in [noise("long", 5_000_000), "\u{1}".repeat(100_000), "\u{feff}".to_owned()] {
            let tier = Tier::denied(TierKind::Namespace, &reason);
            assert_eq!(tier.modules.len(), DECISION_POINTS.len());
            assert!(tier.member.bytes.len() < 4 * 1024, "{}", tier.member.bytes.len());
            assert!(!is_allowed_below(tier));
        }
    }

    #[test]
    fn denies_where_what_denies_cannot_be_read() {
        let broken = denial::tier(TierKind::Namespace, &Reason::new("x"))
            .map(|made| Made { text: format!("{}\nallow if {{\n", made.text), ..made });
        let (member, modules) = denying(TierKind::Namespace, broken);
        assert_eq!(modules.len(), DECISION_POINTS.len());
        assert!(!is_allowed_below(Tier { modules, member, denied: Some("x".to_owned()), tests: None }));
    }

    #[test]
    fn a_policy_with_a_name_as_long_as_a_module_denies() {
        let mut policies = policies();
        let content = format!("package authbridge.ns.p\n\nx := {}(1)\n", "f".repeat(1_048_500));
        policies.apply(&[
            set("team-a/agent:client", &[("a.rego", CLIENT_ALLOW)]),
            set("team-a/p:namespace", &[("a.rego", &content)]),
        ]);
        assert!(!allowed(&mut policies, &id("team-a", "agent")));
        let bundle = policies.bundle(&id("team-a", "agent")).unwrap();
        assert!(bundle.denied().is_some_and(|reason| reason.contains("team-a/p") && reason.len() <= 1024));
    }

    #[test]
    fn broken_policies_with_long_names_make_no_bundle_large() {
        let mut policies = policies();
        let content = |package: &str| {
            format!("package authbridge.{package}.p\n\nx := f{}(1)\n", noise(package, 1_000_000))
        };
        policies.apply(&[
            set("team-a/p:namespace", &[("a.rego", &content("ns"))]),
            set("team-a/agent:client", &[("a.rego", &content("client"))]),
        ]);
        let size = policies.bundle(&id("team-a", "agent")).unwrap().bytes().len();
        assert!(size < 16 * 1024, "{size}");
        assert!(!allowed(&mut policies, &id("team-a", "agent")));
    }
}
