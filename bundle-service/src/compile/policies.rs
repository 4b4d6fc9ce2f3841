//! Every resource with its last good version, and the tiers that they make.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Weak},
};

use secplane_identity::SpiffeId;

use super::{
    Settings,
    bundle::{Bundle, Combination},
    tier::{ParsedModule, Tier, check_together, completed, warnings_of},
};
use crate::{
    policy::ResourceKey,
    refusal::Refusal,
    source::{Change, Object, SourceOptions, manifests::FileContent},
    tiers::{TierKey, TierKind},
};

/// The global policy for installations that have none of their own.
const DEFAULT_GLOBAL: &str = include_str!("../../../policies/default/global.yaml");

/// The resources and what is made of them.
#[derive(Debug)]
pub struct Policies {
    pub(super) settings: Settings,
    pub(super) resources: BTreeMap<ResourceKey, Resource>,
    /// The resources that have, or had, a version in a tier.
    pub(super) members: BTreeMap<TierKey, BTreeSet<ResourceKey>>,
    tiers: BTreeMap<TierKey, Arc<Tier>>,
    global: Arc<Tier>,
    /// Bundles in use, by revision.
    bundles: HashMap<String, Weak<Bundle>>,
}

pub(super) type Modules = Arc<[ParsedModule]>;

#[derive(Debug)]
pub(super) struct Resource {
    file: String,
    /// As its source counts.
    pub(super) generation: Option<i64>,
    /// The tier that its newest version belongs to; `None` when it belongs to none.
    pub(super) tier: Option<TierKey>,
    /// Its newest version, if that compiles by itself.
    pub(super) newest: Option<Modules>,
    /// Whether the newest version stands in its tier.
    pub(super) accepted: bool,
    /// The last version that stood in a tier.
    pub(super) good: Option<(TierKey, Modules)>,
    /// What is wrong with the newest version.
    pub(super) refusals: Vec<Refusal>,
    /// What its author should look at, although it takes effect.
    pub(super) warnings: Vec<Refusal>,
}

impl Policies {
    /// No resources: every identity gets the default global policy.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let global = Arc::new(default_global());
        let (resources, members) = (BTreeMap::new(), BTreeMap::new());
        Self { settings, resources, members, tiers: BTreeMap::new(), global, bundles: HashMap::new() }
    }

    /// Takes changes in and rebuilds the tiers that they touch, which it returns.
    pub fn apply(&mut self, changes: &[Change]) -> BTreeSet<TierKey> {
        let mut touched = BTreeSet::new();
        for change in changes {
            match change {
                Change::Set(object) => self.set(object, &mut touched),
                Change::Gone(key) => self.remove(key, &mut touched),
            }
        }
        let mut waiting = touched.clone();
        while let Some(tier) = waiting.pop_first() {
            // A version that is refused in its new tier goes on standing in its old one.
            let fell_back = self.rebuild(&tier);
            touched.extend(fell_back.iter().cloned());
            waiting.extend(fell_back);
        }
        touched
    }

    fn set(&mut self, object: &Object, touched: &mut BTreeSet<TierKey>) {
        let selection = &self.settings.selection;
        let client_id = object.client_id.as_deref();
        let placed = selection.tier(&object.key, object.scope, client_id);
        let mut refusals = Vec::new();
        let newest = match (&object.policy, &placed) {
            (Ok(policy), Ok(tier)) => {
                ParsedModule::read(policy, tier.kind()).map_err(|found| refusals.extend(found)).ok()
            }
            (policy, placed) => {
                refusals.extend(policy.as_ref().err().map(|refusal| refusal.as_ref().clone()));
                refusals.extend(placed.as_ref().err().map(|refusal| refusal.as_ref().clone()));
                None
            }
        };
        let mut warnings: Vec<Refusal> = newest.as_deref().map(warnings_of).unwrap_or_default();
        warnings.extend(selection.disagreement(&object.key, object.scope, client_id));
        let resource = Resource {
            file: object.file.clone(),
            generation: object.generation,
            tier: placed.ok(),
            newest: newest.map(Into::into),
            accepted: false,
            good: self.resources.get(&object.key).and_then(|before| before.good.clone()),
            refusals,
            warnings,
        };
        touched.extend(self.resources.get(&object.key).and_then(|before| before.tier.clone()));
        for tier in resource.tier.iter().chain(resource.good.iter().map(|(tier, _)| tier)) {
            self.members.entry(tier.clone()).or_default().insert(object.key.clone());
            touched.insert(tier.clone());
        }
        self.resources.insert(object.key.clone(), resource);
    }

    fn remove(&mut self, key: &ResourceKey, touched: &mut BTreeSet<TierKey>) {
        if let Some(resource) = self.resources.remove(key) {
            touched.extend(resource.tier);
            touched.extend(resource.good.map(|(tier, _)| tier));
        }
    }

    /// Rebuilds one tier. Returns other tiers whose members changed by that.
    fn rebuild(&mut self, key: &TierKey) -> BTreeSet<TierKey> {
        let mut members = self.members.remove(key).unwrap_or_default();
        members.retain(|name| self.resources.get(name).is_some_and(|resource| resource.belongs_to(key)));
        let mut fell_back = BTreeSet::new();
        let stood = self.stands(key, &members);
        let standing = self.merge(key, &members, stood, &mut fell_back);
        if !members.is_empty() {
            self.members.insert(key.clone(), members);
        }
        let kind = key.kind();
        let tier = match standing {
            Ok(modules) if modules.is_empty() => None,
            Ok(modules) => {
                let modules = if kind == TierKind::Global { completed(modules) } else { modules };
                Some(Arc::new(Tier::new(kind, modules)))
            }
            Err(reason) => Some(Arc::new(Tier::denied(kind, &reason))),
        };
        match (key, tier) {
            (TierKey::Global, tier) => self.global = tier.unwrap_or_else(|| Arc::new(default_global())),
            (_, Some(tier)) => drop(self.tiers.insert(key.clone(), tier)),
            (_, None) => drop(self.tiers.remove(key)),
        }
        fell_back
    }

    /// Whether a tier is in force by resources of its own, as it was before this change.
    fn stands(&self, key: &TierKey, members: &BTreeSet<ResourceKey>) -> bool {
        let has_stood =
            |name| self.resources.get(name).is_some_and(|resource: &Resource| resource.good.is_some());
        self.tier(key).is_some_and(|tier| tier.denied.is_none()) && members.iter().any(has_stood)
    }

    /// The modules that stand together in a tier, or why the tier denies.
    ///
    /// A resource that does not stand and never did is left out where the tier stood without it: what was in force
    /// stays in force. Where nothing was in force yet, what its author meant is unknown, and the tier denies.
    ///
    /// First all newest versions are tried together. When they do not stand together they are added one by one, those
    /// first that stood before: the one that does not fit is the one that changed.
    fn merge(
        &mut self,
        key: &TierKey,
        members: &BTreeSet<ResourceKey>,
        stood: bool,
        fell_back: &mut BTreeSet<TierKey>,
    ) -> Result<Vec<ParsedModule>, String> {
        let newest: Vec<(ResourceKey, Modules)> = members
            .iter()
            .filter_map(|name| Some((name.clone(), self.resources.get(name)?.newest_in(key)?)))
            .collect();
        let fits = |modules: &[Modules]| {
            let all: Vec<ParsedModule> = modules.iter().flat_map(|modules| modules.iter().cloned()).collect();
            // What completes the global tier has to fit as well.
            let all = if key.kind() == TierKind::Global { completed(all) } else { all };
            check_together(all.iter())
        };
        let all: Vec<Modules> = newest.iter().map(|(_, modules)| Arc::clone(modules)).collect();
        let mut standing: BTreeMap<ResourceKey, Modules> = BTreeMap::new();
        if fits(&all).is_empty() {
            for (name, modules) in newest {
                self.accept(&name, key, &modules, fell_back);
                standing.insert(name, modules);
            }
        } else {
            let accepted = |(name, _): &(ResourceKey, Modules)| {
                !self.resources.get(name).is_some_and(|resource| resource.accepted)
            };
            let mut order = newest;
            order.sort_by_key(accepted);
            for (name, modules) in order {
                let with: Vec<Modules> = standing.values().chain([&modules]).cloned().collect();
                let refusals = fits(&with);
                if refusals.is_empty() {
                    self.accept(&name, key, &modules, fell_back);
                    standing.insert(name, modules);
                } else {
                    self.refuse(&name, key, refusals, fell_back);
                }
            }
        }
        // Those whose newest version does not stand here: their last good one, or a denial.
        for name in members.iter().filter(|name| !standing.contains_key(*name)).cloned().collect::<Vec<_>>() {
            let Some(resource) = self.resources.get(&name) else { continue };
            match resource.fallback_in(key) {
                Fallback::Elsewhere => {}
                Fallback::Broken if stood => {}
                Fallback::Broken => return Err(resource.reason(&name, key.kind())),
                Fallback::Good(modules) => {
                    let with: Vec<Modules> = standing.values().chain([&modules]).cloned().collect();
                    if fits(&with).is_empty() {
                        standing.insert(name, modules);
                    } else {
                        return Err(resource.reason(&name, key.kind()));
                    }
                }
            }
        }
        Ok(standing.into_values().flat_map(|modules| modules.to_vec()).collect())
    }

    fn accept(
        &mut self,
        name: &ResourceKey,
        key: &TierKey,
        modules: &Modules,
        moved: &mut BTreeSet<TierKey>,
    ) {
        let Some(resource) = self.resources.get_mut(name) else { return };
        resource.accepted = true;
        resource.refusals.clear();
        let before = resource.good.replace((key.clone(), Arc::clone(modules)));
        moved.extend(before.map(|(tier, _)| tier).filter(|tier| tier != key));
    }

    fn refuse(
        &mut self,
        name: &ResourceKey,
        key: &TierKey,
        refusals: Vec<Refusal>,
        fell_back: &mut BTreeSet<TierKey>,
    ) {
        let Some(resource) = self.resources.get_mut(name) else { return };
        let first_time = resource.accepted || resource.refusals.is_empty();
        resource.accepted = false;
        resource.refusals = refusals.into_iter().map(|refusal| refusal.of(name)).collect();
        let good = resource.good.as_ref().map(|(tier, _)| tier.clone());
        fell_back.extend(good.filter(|tier| first_time && tier != key));
    }

    /// The bundle of an identity.
    ///
    /// # Errors
    /// When its tiers do not stand together, although each does alone.
    pub fn bundle(&mut self, id: &SpiffeId) -> Result<Arc<Bundle>, Vec<Refusal>> {
        let (namespace, client) = self.tiers_for(id);
        let combination = Combination {
            global: &self.global,
            namespace: namespace.as_deref(),
            client: client.as_deref(),
            require_client_policy: self.settings.require_client_policy,
        };
        let revision = combination.revision();
        if let Some(bundle) = self.bundles.get(&revision).and_then(Weak::upgrade) {
            return Ok(bundle);
        }
        let bundle = Arc::new(combination.assemble()?);
        self.bundles.retain(|_, bundle| bundle.strong_count() > 0);
        self.bundles.insert(revision, Arc::downgrade(&bundle));
        Ok(bundle)
    }

    /// A bundle that denies everything because of refusals.
    #[must_use]
    pub fn denied(&self, refusals: &[Refusal]) -> Arc<Bundle> {
        let first = refusals.first().map(ToString::to_string).unwrap_or_default();
        let global = Tier::denied(TierKind::Global, &format!("the policies do not fit together: {first}"));
        let require_client_policy = self.settings.require_client_policy;
        let combination =
            Combination { global: &global, namespace: None, client: None, require_client_policy };
        Arc::new(combination.join())
    }

    /// The kinds of the tiers that apply to an identity.
    #[must_use]
    pub fn tiers_of(&self, id: &SpiffeId) -> Vec<TierKind> {
        let (namespace, client) = self.tiers_for(id);
        let present = [namespace, client].into_iter().flatten().map(|tier| tier.kind);
        std::iter::once(TierKind::Global).chain(present).collect()
    }

    fn tiers_for(&self, id: &SpiffeId) -> (Option<Arc<Tier>>, Option<Arc<Tier>>) {
        let Some(workload) = self.settings.selection.workload(id) else { return (None, None) };
        let namespace = self.tiers.get(&TierKey::Namespace(workload.namespace.clone())).cloned();
        (namespace, self.tiers.get(&TierKey::Client(workload)).cloned())
    }

    /// Whether a change of a tier may change what an identity gets.
    #[must_use]
    pub fn concerns(&self, tier: &TierKey, id: &SpiffeId) -> bool {
        match (tier, self.settings.selection.workload(id)) {
            (TierKey::Global, _) => true,
            (TierKey::Namespace(namespace), Some(workload)) => *namespace == workload.namespace,
            (TierKey::Client(client), Some(workload)) => *client == workload,
            (_, None) => false,
        }
    }

    /// All that is refused of the resources, and the warnings, in the order of their names.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refusal> {
        let of = |resource: &Resource| {
            let file = resource.file.clone();
            let all: Vec<Refusal> = resource.refusals.iter().chain(&resource.warnings).cloned().collect();
            all.into_iter().map(move |refusal| Refusal {
                file: Some(refusal.file.clone().unwrap_or_else(|| file.clone())),
                ..refusal
            })
        };
        self.resources.values().flat_map(of).collect()
    }

    /// A tier that is in force; `None` when there is none.
    pub(super) fn tier(&self, key: &TierKey) -> Option<&Arc<Tier>> {
        match key {
            TierKey::Global => Some(&self.global),
            TierKey::Namespace(_) | TierKey::Client(_) => self.tiers.get(key),
        }
    }

    /// How many resources there are.
    #[must_use]
    pub fn resources(&self) -> usize {
        self.resources.len()
    }
}

enum Fallback {
    /// Its last good version stands in another tier.
    Elsewhere,
    /// It has none, and this tier is its own.
    Broken,
    Good(Modules),
}

impl Resource {
    fn belongs_to(&self, tier: &TierKey) -> bool {
        self.tier.as_ref() == Some(tier) || self.good.as_ref().is_some_and(|(good, _)| good == tier)
    }

    fn newest_in(&self, tier: &TierKey) -> Option<Modules> {
        self.newest.clone().filter(|_| self.tier.as_ref() == Some(tier))
    }

    fn fallback_in(&self, tier: &TierKey) -> Fallback {
        match &self.good {
            // It stands elsewhere, or is about to be tried there.
            Some((good, _)) if good != tier => Fallback::Elsewhere,
            Some(_)
                if self.newest.is_some() && self.tier.as_ref() != Some(tier) && self.refusals.is_empty() =>
            {
                Fallback::Elsewhere
            }
            Some((_, modules)) => Fallback::Good(Arc::clone(modules)),
            None => Fallback::Broken,
        }
    }

    /// What a workload is told while the tier denies.
    fn reason(&self, name: &ResourceKey, kind: TierKind) -> String {
        let first = self.refusals.first();
        let place = first.map(|refusal| match (&refusal.path, refusal.line) {
            (Some(path), 0) => format!("{path}: "),
            (Some(path), line) => format!("{path}:{line}: "),
            (None, _) => String::new(),
        });
        format!(
            "the {kind} policy {name} is not usable and denies until it is corrected: {}{}",
            place.unwrap_or_default(),
            first.map(|refusal| refusal.message.as_str()).unwrap_or_default(),
        )
    }
}

/// The shipped global policy; a denial should it ever not compile, which a test keeps from happening.
fn default_global() -> Tier {
    let content = FileContent::read("default", DEFAULT_GLOBAL.as_bytes(), &SourceOptions::default());
    let policy = content.objects.first().and_then(|object| object.policy.as_ref().ok());
    let modules = policy.and_then(|policy| ParsedModule::read(policy, TierKind::Global).ok());
    match modules {
        Some(modules) => Tier::new(TierKind::Global, completed(modules)),
        None => Tier::denied(TierKind::Global, "the default global policy cannot be read"),
    }
}
