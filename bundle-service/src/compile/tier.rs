//! One tier: its modules, checked together and packed.

use secplane_rego::{
    Module,
    check::{check, warnings},
};

use super::{
    archive::{Member, entry_name},
    denial::{self, Made},
};
use crate::{
    policy::{AuthorizationPolicy, ResourceKey},
    refusal::Refusal,
    tiers::TierKind,
};

/// One module of a resource that parsed and stays in its tier.
#[derive(Debug, Clone)]
pub(crate) struct ParsedModule {
    /// The resource that it is of; `None` for one of our own making.
    pub(crate) owner: Option<ResourceKey>,
    pub(crate) path: String,
    pub(crate) module: Module,
}

impl ParsedModule {
    /// Reads the modules of a policy for a tier of a kind.
    pub(crate) fn read(policy: &AuthorizationPolicy, kind: TierKind) -> Result<Vec<Self>, Vec<Refusal>> {
        let mut modules = Vec::new();
        let mut refusals = Vec::new();
        for (index, part) in policy.modules.iter().enumerate() {
            // The name tells modules apart: two of one resource may have the same path.
            let name = format!("{}:{index}:{}", policy.key, part.path);
            let refusals_of = |found: Vec<secplane_rego::Refusal>| {
                found.into_iter().map(|refusal| Refusal::of_rego(refusal, &part.path).of(&policy.key))
            };
            match Module::parse(&name, part.content.as_bytes()) {
                Ok(module) => {
                    refusals.extend(refusals_of(super::confine::confine(kind, &module)));
                    modules.push(Self { owner: Some(policy.key.clone()), path: part.path.clone(), module });
                }
                Err(refusal) => refusals.extend(refusals_of(vec![refusal])),
            }
        }
        if refusals.is_empty() { Ok(modules) } else { Err(refusals) }
    }

    /// A module of our own making. It parses, as tests see to.
    fn made(kind: TierKind, made: &Made) -> Option<Self> {
        let name = format!("{}:{}", kind.folder(), made.path);
        let module = Module::parse(&name, made.text.as_bytes()).ok()?;
        Some(Self { owner: None, path: made.path.clone(), module })
    }
}

/// What speaks against modules standing together, each with the resource that it is found in.
pub(crate) fn check_together<'a>(modules: impl Iterator<Item = &'a ParsedModule> + Clone) -> Vec<Refusal> {
    let parsed: Vec<&Module> = modules.clone().map(|part| &part.module).collect();
    owned(modules, check(&parsed))
}

/// What the authors of modules should look at, although it takes effect.
pub(crate) fn warnings_of(modules: &[ParsedModule]) -> Vec<Refusal> {
    let parsed: Vec<&Module> = modules.iter().map(|part| &part.module).collect();
    owned(modules.iter(), warnings(&parsed)).into_iter().map(Refusal::warning).collect()
}

/// Refusals of modules, each as one of the resource that the module is of.
fn owned<'a>(
    modules: impl Iterator<Item = &'a ParsedModule> + Clone,
    refusals: Vec<secplane_rego::Refusal>,
) -> Vec<Refusal> {
    let owner = |file: &str| modules.clone().find(|part| part.module.name().as_ref() == file);
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
    pub(crate) kind: TierKind,
    pub(crate) modules: Vec<ParsedModule>,
    pub(crate) member: Member,
    /// Why it denies, when it is broken.
    pub(crate) denied: Option<String>,
}

impl Tier {
    /// A tier of modules that stand together.
    pub(crate) fn new(kind: TierKind, modules: Vec<ParsedModule>) -> Self {
        Self { member: pack(kind, &modules), kind, modules, denied: None }
    }

    /// A tier that denies everything, and says why.
    pub(crate) fn denied(kind: TierKind, reason: &str) -> Self {
        let made = denial::tier(kind, reason);
        let modules = made.iter().filter_map(|made| ParsedModule::made(kind, made)).collect();
        Self { denied: Some(reason.to_owned()), ..Self::new(kind, modules) }
    }
}

/// The modules that a global tier of these modules still needs.
pub(crate) fn completed(mut modules: Vec<ParsedModule>) -> Vec<ParsedModule> {
    let parsed: Vec<&Module> = modules.iter().map(|part| &part.module).collect();
    let made = denial::completion(&parsed);
    modules.extend(made.iter().filter_map(|made| ParsedModule::made(TierKind::Global, made)));
    modules
}

fn pack(kind: TierKind, modules: &[ParsedModule]) -> Member {
    let names: Vec<String> = modules
        .iter()
        .enumerate()
        .map(|(number, part)| {
            let owner = part.owner.as_ref().map(ToString::to_string).unwrap_or_default();
            entry_name(kind.folder(), number, &owner, &part.path)
        })
        .collect();
    let texts = modules.iter().map(|part| part.module.text().as_bytes());
    Member::pack(names.iter().map(String::as_str).zip(texts))
}
