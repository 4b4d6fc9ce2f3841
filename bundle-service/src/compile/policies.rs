//! Every resource with its last good version, and the tiers that they make.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, LazyLock, Weak},
    time::{Duration, SystemTime},
};

use secplane_identity::SpiffeId;
use secplane_rego::Gate;

use super::{
    Settings,
    allowance::Allowance,
    bundle::{Bundle, Combination, Owner, combined},
    checked::Checked,
    freshness,
    outside::Outside,
    parts::Parts,
    postponed::Postponed,
    publication::{Causes, Journal, PassedTests, Publication},
    resource::{Pin, RememberedResource, Resource, StoredVersion, Version},
    revisions::Revisions,
    room::Room,
    share::Shares,
    start,
    tested::TestResults,
    tier::{Tier, completed},
};
use crate::{
    digest::Digest,
    policy::ResourceKey,
    policy_tests::Tester,
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
    pub(super) tiers: BTreeMap<TierKey, Arc<Tier>>,
    pub(super) global: Arc<Tier>,
    /// From before the start, until the source speaks of them.
    remembered: BTreeMap<ResourceKey, RememberedResource>,
    /// Resources that stand only by what is remembered: the file that they were in cannot be read.
    unread: BTreeSet<ResourceKey>,
    /// What last came into force in each tier, and whether it denied.
    pub(super) published: BTreeMap<TierKey, PublishedTier>,
    pub(super) journal: Journal,
    /// Tiers that were checked together, by what they hold, for as long as somebody has them.
    combinations: HashMap<Digest, Weak<Combination>>,
    /// Tiers that do not stand together, by what they hold, until something changes.
    unfit: HashMap<Digest, Vec<Refusal>>,
    /// Those that the last change had checked, until those who have them ask for them.
    pub(super) fitting: Vec<Arc<Combination>>,
    /// Which modules stand together.
    pub(super) checked: Checked,
    /// What runs the tests of resources; without it they are not run.
    pub(super) tester: Option<Arc<dyn Tester>>,
    /// What tests came to.
    pub(super) tested: TestResults,
    /// What is not tested again yet.
    pub(super) postponed: Postponed,
    /// What a namespace may take in one change, and what is left of it for the tier that is being rebuilt.
    pub(super) allowance: Allowance,
    pub(super) left: Allowance,
    /// What namespaces took before.
    pub(super) shares: Shares,
    /// The namespace that last had its turn without a change, where the global tier counts as one.
    pub(super) tried_again: Option<Option<String>>,
    /// Tiers whose tests did not run, for lack of time or as the service had just started.
    pub(super) untested: BTreeSet<TierKey>,
    /// Whether tests of the tier that is being rebuilt did not run, and whether they are not to.
    pub(super) unrun: bool,
    pub(super) deferred: bool,
    /// How long a start may wait for tests, until it is over; and what is left of it while it goes on.
    pub(super) start: Option<Duration>,
    pub(super) starting: Option<Duration>,
    /// Whether nothing changed and what waits is tried again.
    pub(super) retrying: bool,
    /// What one tier may hold.
    pub(super) room: Room,
    /// The time by which bundles end, and pauses.
    pub(super) now: SystemTime,
}

/// What is kept of a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedTier {
    /// What identifies its content; `None` when it had no resource.
    pub digest: Option<Digest>,
    /// Whether it denied.
    pub denied: bool,
    /// What identifies the versions in it: they may change in what is not part of its content, such as tests.
    pub versions: Digest,
    /// The tests that it passed, as far as that is known.
    pub tests: Option<PassedTests>,
}

impl PublishedTier {
    /// Of a publication.
    #[must_use]
    pub fn of<'a>(
        digest: Option<Digest>,
        denied: bool,
        tests: Option<PassedTests>,
        members: impl IntoIterator<Item = (&'a ResourceKey, Digest)>,
    ) -> Self {
        let named = |(key, hash): (&ResourceKey, Digest)| format!("{key} {hash}");
        let mut names: Vec<String> = members.into_iter().map(named).collect();
        names.sort();
        let versions = Digest::of(&names.iter().map(String::as_bytes).collect::<Vec<_>>());
        Self { digest, denied, versions, tests }
    }

    /// The same, with what was known of its tests before, if nothing is known of them now and all else is as it was.
    fn knowing(self, before: Option<&Self>) -> Self {
        let same = before.filter(|before| self == Self { tests: None, ..**before });
        Self { tests: self.tests.or(same.and_then(|before| before.tests)), ..self }
    }
}

/// What is kept from before a start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// The resources.
    pub resources: BTreeMap<ResourceKey, RememberedResource>,
    /// The tiers.
    pub tiers: BTreeMap<TierKey, PublishedTier>,
}

impl Policies {
    /// No resources: every identity gets the default global policy.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            resources: BTreeMap::new(),
            members: BTreeMap::new(),
            tiers: BTreeMap::new(),
            global: default_global(),
            remembered: BTreeMap::new(),
            unread: BTreeSet::new(),
            published: BTreeMap::new(),
            journal: Journal::default(),
            combinations: HashMap::new(),
            unfit: HashMap::new(),
            fitting: Vec::new(),
            checked: Checked::default(),
            tester: None,
            tested: TestResults::default(),
            postponed: Postponed::default(),
            allowance: Allowance::default(),
            left: Allowance::default(),
            shares: Shares::default(),
            tried_again: None,
            untested: BTreeSet::new(),
            unrun: false,
            deferred: false,
            start: Some(start::TIME),
            starting: None,
            retrying: false,
            room: Room::default(),
            now: SystemTime::UNIX_EPOCH,
        }
    }

    /// As before, and tests that resources bring must pass before anything of them is published.
    #[must_use]
    pub fn with_tester(self, tester: Arc<dyn Tester>) -> Self {
        Self { tester: Some(tester), ..self }
    }

    /// As before, for a program that answers one question and holds nobody up: what a namespace may take in one change has
    /// no limit.
    #[must_use]
    pub fn for_one_alone(self) -> Self {
        Self { allowance: Allowance::of_one_alone(), ..self }
    }

    /// Takes in what was in force before a start, before anything else. A version that belongs to another tier by
    /// now, as the settings were changed, is not taken.
    pub fn restore(&mut self, remembered: Remembered) {
        for (key, mut resource) in remembered.resources {
            resource.good = resource.good.filter(|good| self.is_still_in_its_tier(good));
            self.remembered.insert(key, resource);
        }
        self.published = remembered.tiers;
        for (tier, published) in &self.published {
            self.tested.stands(tier, published.tests);
        }
    }

    /// Takes changes in and rebuilds the tiers that they touch, which it returns.
    pub fn apply(&mut self, changes: &[Change]) -> BTreeSet<TierKey> {
        let mut touched = BTreeMap::new();
        self.change(changes, &mut touched);
        self.rebuild_all(touched)
    }

    /// As [`Policies::apply`], for all that a source has to say at this moment. What is remembered and not there any
    /// more goes, except what lies in a file that cannot be read now.
    pub fn take_in(&mut self, changes: &[Change], unreadable: &[String]) -> BTreeSet<TierKey> {
        let mut touched = BTreeMap::new();
        self.change(changes, &mut touched);
        for (key, remembered) in std::mem::take(&mut self.remembered) {
            if remembered.pin.is_some() {
                self.journal.released.push(key.clone());
            }
            let file = remembered.good.as_ref().map(|good| Arc::clone(&good.origin));
            match file.and_then(|file| unreadable.iter().find(|name| lies_in(&file, name)).map(|_| file)) {
                Some(file) => self.keep_unread(key, file, remembered, &mut touched),
                None => {
                    let tiers = remembered.good.map(|good| good.tier).into_iter();
                    touch(&mut touched, tiers, &format!("{key} is gone"));
                }
            }
        }
        let unread = std::mem::take(&mut self.unread);
        for key in unread {
            let file = self.resources.get(&key).map(|resource| Arc::clone(&resource.file));
            if file.is_some_and(|file| unreadable.iter().any(|name| lies_in(&file, name))) {
                self.unread.insert(key);
            } else {
                self.remove(&key, &mut touched);
            }
        }
        self.rebuild_heard(touched)
    }

    fn change(&mut self, changes: &[Change], touched: &mut Touched) {
        for change in changes {
            match change {
                Change::Set(object) => self.set(object, touched),
                Change::Gone(key) => self.remove(key, touched),
            }
        }
    }

    fn set(&mut self, object: &Object, touched: &mut Touched) {
        let key = &object.key;
        let selection = &self.settings.selection;
        let client_id = object.client_id.as_deref();
        let placed = selection.tier(key, object.scope, client_id);
        let state = state(object);
        let (mut refusals, mut outside) = (Vec::new(), None);
        let newest = match (&object.policy, &placed) {
            (Ok(policy), Ok(tier)) => {
                let (gate, origin, commit) =
                    (self.settings.gate, object.file.as_str().into(), object.commit.clone());
                let stored = StoredVersion {
                    tier: tier.clone(),
                    policy: Arc::clone(policy),
                    hash: state,
                    origin,
                    commit,
                };
                let read = Version::read(gate, stored);
                if let Err(found) = &read {
                    outside = Outside::read(gate, policy, tier.kind(), found).map(Arc::new);
                    refusals.extend(found.iter().cloned());
                }
                read.ok()
            }
            (policy, placed) => {
                refusals.extend(policy.as_ref().err().into_iter().flatten().cloned());
                refusals.extend(placed.as_ref().err().map(|refusal| refusal.as_ref().clone()));
                None
            }
        };
        let mut warnings: Vec<Refusal> =
            selection.disagreement(key, object.scope, client_id).into_iter().collect();

        let before = self.resources.remove(key);
        self.unread.remove(key);
        let remembered = self.remembered.remove(key);
        let what = if before.is_none() && remembered.is_none() { "is new" } else { "changed" };
        let cause = format!("{key} {what}");
        let Recalled { good, pin, lost } = match (before, remembered) {
            (Some(before), _) => {
                touch(touched, before.tiers().cloned(), &cause);
                Recalled { good: before.good, pin: before.pin, lost: before.lost }
            }
            (None, Some(remembered)) => self.recall(remembered, newest.as_ref(), &mut warnings),
            (None, None) => Recalled::default(),
        };
        // An administrator chose instead of the version that was there then.
        let (pin, outlived) = match pin {
            Some(pin) if pin.of == state => (Some(pin), false),
            other => (None, other.is_some()),
        };
        if outlived {
            self.journal.released.push(key.clone());
        }
        let resource = Resource {
            file: object.file.as_str().into(),
            generation: object.generation,
            state,
            tier: placed.ok(),
            newest,
            outside,
            accepted: false,
            good,
            pin,
            lost,
            refusals,
            chosen_refusals: Vec::new(),
            advice: None,
            warnings,
        };
        self.enlist(key, resource, &cause, touched);
    }

    /// Puts a resource in its place.
    pub(super) fn enlist(
        &mut self,
        key: &ResourceKey,
        resource: Resource,
        cause: &str,
        touched: &mut Touched,
    ) {
        for tier in resource.tiers() {
            self.members.entry(tier.clone()).or_default().insert(key.clone());
        }
        touch(touched, resource.tiers().cloned(), cause);
        self.resources.insert(key.clone(), resource);
    }

    fn keep_unread(
        &mut self,
        key: ResourceKey,
        file: Arc<str>,
        remembered: RememberedResource,
        touched: &mut Touched,
    ) {
        let mut warnings = Vec::new();
        let Recalled { good, pin, lost } = self.recall(remembered, None, &mut warnings);
        let message = "the file that it was in cannot be read, so its last good version stays in force";
        let refusal = Refusal::new("unreadable", message).of(&key).in_file(&file, 0, 0);
        let resource = Resource {
            file,
            generation: None,
            state: Digest::of(&[b"unread"]),
            tier: good.as_ref().map(|good| good.tier().clone()).or_else(|| lost.clone()),
            newest: None,
            outside: None,
            accepted: false,
            good,
            pin,
            lost,
            refusals: vec![refusal],
            chosen_refusals: Vec::new(),
            advice: None,
            warnings,
        };
        self.enlist(&key, resource, &format!("{key} is kept: its file cannot be read"), touched);
        self.unread.insert(key);
    }

    fn remove(&mut self, key: &ResourceKey, touched: &mut Touched) {
        self.unread.remove(key);
        if let Some(resource) = self.resources.remove(key) {
            if resource.pin.is_some() {
                self.journal.released.push(key.clone());
            }
            touch(touched, resource.tiers().cloned(), &format!("{key} is gone"));
        }
    }

    pub(super) fn is_still_in_its_tier(&self, version: &StoredVersion) -> bool {
        let policy = &version.policy;
        let tier = self.settings.selection.tier(&policy.key, policy.scope, policy.client_id.as_deref());
        tier.as_ref() == Ok(&version.tier)
    }

    /// The resources of a tier, those included that do not stand in it.
    pub fn members(&self, tier: &TierKey) -> impl Iterator<Item = &ResourceKey> {
        self.members.get(tier).into_iter().flatten()
    }

    pub(super) fn rebuild_all(&mut self, mut waiting: Touched) -> BTreeSet<TierKey> {
        let mut touched = BTreeSet::new();
        let mut left: BTreeMap<Option<String>, Allowance> = BTreeMap::new();
        self.unfit.clear();
        self.fitting.clear();
        while let Some((tier, causes)) = waiting.pop_first() {
            // A version that is refused in its new tier goes on standing in its old one.
            let before = self.content(&tier);
            let allowed = self.allowance_of(tier.namespace());
            let left = left.entry(tier.namespace().map(str::to_owned)).or_insert(allowed);
            (self.left, self.unrun) = (*left, false);
            self.deferred = self.are_tests_deferred(&tier);
            let moved = self.rebuild(&tier, causes.clone());
            self.note_tests(&tier, self.left.taken.saturating_sub(left.taken));
            *left = self.left;
            if self.content(&tier) != before {
                // What was refused below for a reason may fit now.
                self.retrying &= tier.kind() == TierKind::Client;
                for below in self.below_to_judge(&tier, &waiting) {
                    let mut why = Causes::default();
                    why.add(&format!("the tier {tier} above it changed"));
                    waiting.insert(below, why);
                }
            }
            for other in moved {
                let mut why = causes.clone();
                why.add(&format!("a resource moved from or to {tier}"));
                waiting.entry(other).or_insert(why);
            }
            touched.insert(tier);
        }
        self.settle(&left);
        touched
    }

    /// What identifies what a tier holds.
    fn content(&self, key: &TierKey) -> Option<Digest> {
        let tier = if *key == TierKey::Global { Some(&self.global) } else { self.tiers.get(key) };
        tier.map(|tier| tier.member.digest)
    }

    /// Rebuilds one tier. Returns other tiers whose members changed by that.
    fn rebuild(&mut self, key: &TierKey, causes: Causes) -> BTreeSet<TierKey> {
        let mut members = self.members.remove(key).unwrap_or_default();
        let belongs = |name: &ResourceKey| {
            self.resources.get(name).is_some_and(|resource| resource.tiers().any(|tier| tier == key))
        };
        members.retain(belongs);
        let mut moved = BTreeSet::new();
        let standing = self.merge(key, &members, &mut moved);
        let kind = key.kind();
        let mut tests = None;
        let (tier, denied, members_in_force) = match standing {
            Ok(standing) => {
                let parts = Parts::together(standing.values().map(|version| version.parts.as_ref()));
                let tier = (!parts.is_empty()).then(|| {
                    let parts = if kind == TierKind::Global { completed(parts) } else { parts };
                    tests = self.passed_tests(kind, &parts);
                    Tier { tests: tests.map(|passed| passed.summary), ..Tier::new(kind, parts) }
                });
                (tier, None, standing.into_values().map(|version| version.stored).collect())
            }
            Err(reason) => {
                let last = |name: &ResourceKey| Some(self.resources.get(name)?.last_in(key)?.stored.clone());
                let last: Vec<StoredVersion> = members.iter().filter_map(last).collect();
                let tier = Tier::denied(kind, &reason);
                let denied = tier.denied.clone();
                (Some(tier), denied, last)
            }
        };
        if !members.is_empty() {
            self.members.insert(key.clone(), members);
        }
        let tier = tier.map(Arc::new);
        let digest = tier.as_ref().map(|tier| tier.member.digest);
        match (key, tier) {
            (TierKey::Global, tier) => self.global = tier.unwrap_or_else(default_global),
            (_, Some(tier)) => drop(self.tiers.insert(key.clone(), tier)),
            (_, None) => drop(self.tiers.remove(key)),
        }
        let versions = members_in_force.iter().map(|version| (&version.policy.key, version.hash));
        let published = PublishedTier::of(digest, denied.is_some(), tests, versions);
        // Tests of which it becomes known that they passed are written down as well, or each start would run them again.
        let published = published.knowing(self.published.get(key));
        self.tested.stands(key, published.tests);
        if self.published.insert(key.clone(), published) != Some(published) {
            let (tier, members, causes) = (key.clone(), members_in_force, causes.list());
            self.journal.publications.push(Publication { tier, digest, denied, members, tests, causes });
        }
        moved
    }

    /// What happened since the last time that this was asked.
    pub fn take_journal(&mut self) -> Journal {
        std::mem::take(&mut self.journal)
    }

    /// The bundle of an identity.
    ///
    /// # Errors
    /// When its tiers do not stand together, although each does alone.
    pub fn bundle(&mut self, id: &SpiffeId) -> Result<Arc<Bundle>, Vec<Refusal>> {
        let tiers = self.combination(self.put_together(&self.tier_keys_of(id)))?;
        Ok(Arc::new(self.joined(id, tiers)))
    }

    /// The tiers of those keys that are in force, below the global one.
    pub(super) fn put_together(&self, keys: &[TierKey]) -> Combination {
        let of_kind = |kind| {
            let key = keys.iter().find(|key| key.kind() == kind)?;
            self.tiers.get(key).cloned()
        };
        Combination {
            global: Arc::clone(&self.global),
            namespace: of_kind(TierKind::Namespace),
            client: of_kind(TierKind::Client),
            require_client_policy: self.settings.require_client_policy,
            envoy_adapter: self.settings.envoy_adapter,
        }
    }

    /// Tiers that stand together, checked once for everybody who has them.
    pub(super) fn combination(&mut self, tiers: Combination) -> Result<Arc<Combination>, Vec<Refusal>> {
        let digest = tiers.digest();
        if let Some(known) = self.combinations.get(&digest).and_then(Weak::upgrade) {
            return Ok(known);
        }
        if let Some(refusals) = self.unfit.get(&digest) {
            return Err(refusals.clone());
        }
        let refusals = tiers.check(self.settings.gate, &mut self.checked);
        if !refusals.is_empty() {
            self.unfit.insert(digest, refusals.clone());
            return Err(refusals);
        }
        let tiers = Arc::new(tiers);
        if self.combinations.len() == self.combinations.capacity() {
            self.combinations.retain(|_, tiers| tiers.strong_count() > 0);
        }
        self.combinations.insert(digest, Arc::downgrade(&tiers));
        Ok(tiers)
    }

    fn joined(&self, id: &SpiffeId, tiers: Arc<Combination>) -> Bundle {
        let lifetime = self.settings.bundle_lifetime;
        let not_after = lifetime.map(|lifetime| freshness::not_after(&tiers.digest(), lifetime, self.now));
        let owner = Owner { id: id.clone(), workload: self.settings.selection.workload(id) };
        Bundle::join(owner, tiers, not_after)
    }

    /// A bundle that denies an identity everything because of refusals.
    #[must_use]
    pub fn denied(&self, id: &SpiffeId, refusals: &[Refusal]) -> Arc<Bundle> {
        let first = refusals.first().map(ToString::to_string).unwrap_or_default();
        let global = Tier::denied(TierKind::Global, &format!("the policies do not fit together: {first}"));
        let Settings { require_client_policy, envoy_adapter, .. } = self.settings;
        let global = Arc::new(global);
        let tiers =
            Combination { global, namespace: None, client: None, require_client_policy, envoy_adapter };
        Arc::new(self.joined(id, Arc::new(tiers)))
    }

    /// Sets the time by which bundles that are made from now on end.
    pub fn set_time(&mut self, now: SystemTime) {
        self.now = now;
    }

    /// The kinds of the tiers that apply to an identity.
    #[must_use]
    pub fn tiers_of(&self, id: &SpiffeId) -> Vec<TierKind> {
        let present = self.tier_keys_of(id).into_iter().filter(|key| self.tiers.contains_key(key));
        std::iter::once(TierKind::Global).chain(present.map(|key| key.kind())).collect()
    }

    /// The tiers that an identity has or would have, the global one first.
    #[must_use]
    pub fn tier_keys_of(&self, id: &SpiffeId) -> Vec<TierKey> {
        let workload = self.settings.selection.workload(id);
        let own = workload
            .map(|workload| [TierKey::Namespace(workload.namespace.clone()), TierKey::Client(workload)]);
        std::iter::once(TierKey::Global).chain(own.into_iter().flatten()).collect()
    }

    /// The revisions that the bundle of an identity has when its tiers are these.
    pub(crate) fn revisions_of(&self, id: &SpiffeId, tiers: &BTreeMap<TierKey, Option<Digest>>) -> Revisions {
        let workload = self.settings.selection.workload(id);
        let of = |tier: &TierKey| tiers.get(tier).copied().flatten();
        let namespace =
            workload.as_ref().and_then(|workload| of(&TierKey::Namespace(workload.namespace.clone())));
        let client = workload.as_ref().and_then(|workload| of(&TierKey::Client(workload.clone())));
        let global = of(&TierKey::Global).unwrap_or_else(|| default_global().member.digest);
        let settings = (self.settings.require_client_policy, self.settings.envoy_adapter);
        let together = combined(settings, global, namespace, client);
        let owner = Owner { id: id.clone(), workload };
        Revisions { owner, tiers: together, lifetime: self.settings.bundle_lifetime }
    }

    /// Whether there is a resource of that name.
    #[must_use]
    pub fn contains(&self, key: &ResourceKey) -> bool {
        self.resources.contains_key(key)
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
        self.resources.iter().flat_map(|(name, resource)| resource.findings(name)).collect()
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

/// Tiers to rebuild, and why.
pub(super) type Touched = BTreeMap<TierKey, Causes>;

pub(super) fn touch(touched: &mut Touched, tiers: impl Iterator<Item = TierKey>, cause: &str) {
    for tier in tiers {
        touched.entry(tier).or_default().add(cause);
    }
}

/// What a resource is: its version, or the first that makes it invalid. Choices are kept on disk with it, so it stays what it
/// was in earlier releases.
fn state(object: &Object) -> Digest {
    match &object.policy {
        Ok(policy) => policy.version(),
        Err(refusals) => {
            let first = refusals.first().map(|refusal| refusal.message.as_str()).unwrap_or_default();
            Digest::of(&[b"invalid", first.as_bytes()])
        }
    }
}

/// What stood before a start, as far as it still may.
#[derive(Default)]
struct Recalled {
    good: Option<Version>,
    pin: Option<Pin<Version>>,
    /// The tier of what may not stand any more.
    lost: Option<TierKey>,
}

impl Policies {
    /// What stood before a start, checked as if it were new. The version that is there now need not be read twice. Of a
    /// choice whose version is not accepted any more, that the newest is not to stand is left.
    fn recall(
        &self,
        remembered: RememberedResource,
        newest: Option<&Version>,
        warnings: &mut Vec<Refusal>,
    ) -> Recalled {
        let mut lost = None;
        let mut read = |stored: StoredVersion| match newest {
            Some(newest) if newest.stored.hash == stored.hash && *newest.tier() == stored.tier => {
                Some(newest.clone())
            }
            _ => {
                let (key, hash, tier) = (stored.policy.key.clone(), stored.hash, stored.tier.clone());
                let version = Version::read(self.settings.gate, stored);
                if let Err(refusals) = &version {
                    let first = refusals.first().map(ToString::to_string).unwrap_or_default();
                    let message =
                        format!("version {hash:.12}, which was in force, is not accepted any more: {first}");
                    warnings.push(Refusal::new("last_good", message).of(&key).warning());
                    lost = Some(tier);
                }
                version.ok()
            }
        };
        let good = remembered.good.and_then(&mut read);
        let (mut pin, mut lost_choice) = (None, None);
        if let Some(Pin { to, of, by }) = remembered.pin {
            let chosen = to.clone().filter(|to| self.is_still_in_its_tier(to)).and_then(&mut read);
            lost_choice = to.filter(|_| chosen.is_none()).map(|to| (to, by.clone()));
            pin = Some(Pin { to: chosen, of, by });
        }
        if let Some((to, by)) = lost_choice {
            let message =
                format!("the version that was chosen instead of the newest may not stand any more: {by}");
            let advice =
                "its tier denies until you choose another version, leave it out, release it, or change it";
            let key = &to.policy.key;
            warnings.push(Refusal::new("last_choice", message).of(key).warning().suggest(advice));
            lost = Some(newest.map_or(to.tier, |newest| newest.tier().clone()));
        } else if pin.is_some() {
            // An administrator's choice says what is to stand, whatever stood before.
            lost = None;
        }
        Recalled { good, pin, lost }
    }
}

/// Whether a file is the one of that name, or lies in the folder of that name.
pub(crate) fn lies_in(file: &str, name: &str) -> bool {
    file.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The shipped global policy, compiled once; a denial should it ever not compile, which a test keeps from happening.
fn default_global() -> Arc<Tier> {
    static TIER: LazyLock<Arc<Tier>> = LazyLock::new(|| {
        let content = FileContent::read("default", DEFAULT_GLOBAL.as_bytes(), &SourceOptions::default());
        let policy = content.objects.first().and_then(|object| object.policy.as_ref().ok());
        let parts = policy.and_then(|policy| Parts::read(Gate::default(), policy, TierKind::Global).ok());
        Arc::new(match parts {
            Some(parts) => Tier::new(TierKind::Global, completed(parts)),
            None => Tier::denied(TierKind::Global, "the default global policy cannot be read"),
        })
    });
    Arc::clone(&TIER)
}
