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
    confine::{Replacing, confine},
    contradiction, cost,
    denial::{self, Made},
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
        let made = denial::tier(kind, reason);
        let modules = made.iter().filter_map(|made| ParsedModule::made(kind, made)).collect();
        Self { denied: Some(reason.to_owned()), ..Self::new(kind, Parts { modules, ..Parts::default() }) }
    }
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
    let modules = parts.modules.iter().enumerate().map(|(number, part)| {
        let owner = part.owner.as_ref().map(ToString::to_string).unwrap_or_default();
        let origin = Origin { resource: part.owner.clone(), path: part.path.clone() };
        (entry_name(kind.folder(), number, &owner, &part.path), origin, part.module.text())
    });
    let modules: Vec<_> = modules.collect();
    let origins: BTreeMap<&str, &Origin> =
        modules.iter().map(|(name, origin, _)| (name.as_str(), origin)).collect();
    // OPA passes over a file of this name; it is for whoever looks into the bundle.
    let origins = (format!("/authbridge/{}/{ORIGINS}", kind.folder()), json!(origins).to_string());
    let data = merged(&parts.documents).map(|text| (format!("/{}/data.json", kind.root().join("/")), text));
    let entries = modules.iter().map(|(name, _, text)| (name.as_str(), *text));
    let made = std::iter::once(&origins).chain(&data).map(|(name, text)| (name.as_str(), text.as_str()));
    Member::pack(entries.chain(made).map(|(name, text)| (name, text.as_bytes())))
}
