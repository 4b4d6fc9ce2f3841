//! Several sources as one: where two have a resource of one name, the source that comes first in the order counts.
//!
//! Each source speaks for itself, in batches of what changed of it. Here stands what each has now, and a batch comes out
//! of what thereby changed of the whole. The outcome depends on what the sources have, and never on which of them spoke
//! first: nothing comes out before each has sent its first batch, which is all that it has, so that no resource is in
//! force for a moment in place of one that takes precedence over it.
//!
//! A file that cannot be read may hold a resource still. While the service runs its source keeps such a resource. After a
//! start only the history knows of it ([`Precedence::new`]), and until the file can be read nobody else's takes its
//! place: or a namespace's own resource would, by its name, replace one that a broken commit hides.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Batch, Change, Object, SourceKind};
use crate::{compile::policies::lies_in, policy::ResourceKey, refusal::Refusal};

/// How many resources are named that do not count. Whoever moves from one source to another has all of them twice.
const MAX_NAMED: usize = 100;

/// Several sources as one.
#[derive(Debug)]
pub struct Precedence {
    /// In the order of precedence.
    sources: Vec<Held>,
    /// What more than one source has.
    contested: BTreeSet<ResourceKey>,
    /// Whether a first batch came out.
    begun: bool,
}

/// What one source has.
#[derive(Debug)]
struct Held {
    kind: SourceKind,
    /// Whether it has said what it has.
    complete: bool,
    objects: BTreeMap<ResourceKey, Arc<Object>>,
    /// Resources that the history knows to have been in files, until each file was read.
    remembered: BTreeMap<ResourceKey, Arc<str>>,
    refusals: Vec<Refusal>,
    unreadable: Vec<String>,
}

/// What a source has of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Claim {
    /// This.
    Object(Arc<Object>),
    /// Something, in a file that cannot be read.
    Unread(Arc<str>),
}

impl Claim {
    fn place(&self) -> &str {
        match self {
            Self::Object(object) => &object.file,
            Self::Unread(file) => file,
        }
    }

    fn object(&self) -> Option<&Arc<Object>> {
        match self {
            Self::Object(object) => Some(object),
            Self::Unread(_) => None,
        }
    }
}

impl Held {
    fn claim(&self, key: &ResourceKey) -> Option<Claim> {
        if let Some(object) = self.objects.get(key) {
            return Some(Claim::Object(Arc::clone(object)));
        }
        let file = self.remembered.get(key)?;
        let is_unread = self.unreadable.iter().any(|name| lies_in(file, name));
        is_unread.then(|| Claim::Unread(Arc::clone(file)))
    }

    /// Takes a batch in.
    fn take(&mut self, Batch { changes, refusals, unreadable }: Batch) {
        for change in changes {
            match change {
                Change::Set(object) => self.objects.insert(object.key.clone(), object),
                Change::Gone(key) => self.objects.remove(&key),
            };
        }
        (self.refusals, self.unreadable, self.complete) = (refusals, unreadable, true);
        let (objects, unreadable) = (&self.objects, &self.unreadable);
        self.remembered.retain(|key, file| {
            !objects.contains_key(key) && unreadable.iter().any(|name| lies_in(file, name))
        });
    }
}

impl Precedence {
    /// Of sources in their order, the one that counts first. `remembered` says in which file each resource was that was
    /// in force before a start.
    #[must_use]
    pub fn new(order: &[SourceKind], remembered: &BTreeMap<ResourceKey, Arc<str>>) -> Self {
        let held = |kind: &SourceKind| {
            let own = remembered.iter().filter(|(_, file)| file.starts_with(kind.label()));
            Held {
                kind: *kind,
                complete: false,
                objects: BTreeMap::new(),
                remembered: own.map(|(key, file)| (key.clone(), Arc::clone(file))).collect(),
                refusals: Vec::new(),
                unreadable: Vec::new(),
            }
        };
        Self { sources: order.iter().map(held).collect(), contested: BTreeSet::new(), begun: false }
    }

    /// Takes a source's batch in. Returns what changed of the whole; `None` when a source has not spoken yet.
    pub fn merge(&mut self, kind: SourceKind, batch: Batch) -> Option<Batch> {
        if self.sources.len() == 1 {
            // Nobody contends with it, and of a hundred thousand resources nothing has to be kept here.
            return Some(batch);
        }
        let at = self.sources.iter().position(|source| source.kind == kind)?;
        let source = &self.sources[at];
        let touched: BTreeSet<ResourceKey> =
            batch.changes.iter().map(Change::key).chain(source.remembered.keys()).cloned().collect();
        let before: Vec<Option<Claim>> = touched.iter().map(|key| self.first(key)).collect();
        self.sources[at].take(batch);
        for key in &touched {
            if self.claims(key).nth(1).is_some() {
                self.contested.insert(key.clone());
            } else {
                self.contested.remove(key);
            }
        }
        let changes = if self.begun {
            touched
                .iter()
                .zip(&before)
                .filter_map(|(key, before)| self.change(key, before.as_ref()))
                .collect()
        } else if self.sources.iter().all(|source| source.complete) {
            self.begun = true;
            self.everything()
        } else {
            return None;
        };
        Some(Batch { changes, refusals: self.refusals(), unreadable: self.unreadable() })
    }

    /// What the sources have of a resource, the one that counts first.
    fn claims(&self, key: &ResourceKey) -> impl Iterator<Item = Claim> {
        self.sources.iter().filter_map(|source| source.claim(key))
    }

    fn first(&self, key: &ResourceKey) -> Option<Claim> {
        self.claims(key).next()
    }

    /// What changed of a resource for those who know what counted before.
    fn change(&self, key: &ResourceKey, before: Option<&Claim>) -> Option<Change> {
        let now = self.first(key);
        match (before.and_then(Claim::object), now.as_ref().and_then(Claim::object)) {
            (before, Some(now)) if before != Some(now) => Some(Change::Set(Arc::clone(now))),
            (Some(_), None) => Some(Change::Gone(key.clone())),
            _ => None,
        }
    }

    fn everything(&self) -> Vec<Change> {
        let keys: BTreeSet<&ResourceKey> =
            self.sources.iter().flat_map(|source| source.objects.keys()).collect();
        keys.into_iter().filter_map(|key| self.change(key, None)).collect()
    }

    fn refusals(&self) -> Vec<Refusal> {
        let own = self.sources.iter().flat_map(|source| source.refusals.iter().cloned());
        let mut refusals: Vec<Refusal> = own.collect();
        refusals.extend(self.contested.iter().take(MAX_NAMED).flat_map(|key| self.passed_over(key)));
        if let Some(more) = self.contested.len().checked_sub(MAX_NAMED).filter(|more| *more > 0) {
            let message = format!("{more} more resources are in several sources; one of each counts");
            refusals.push(Refusal::new(PASSED_OVER, message).warning());
        }
        refusals
    }

    fn passed_over(&self, key: &ResourceKey) -> Vec<Refusal> {
        let mut claims = self.claims(key);
        let Some(first) = claims.next() else { return Vec::new() };
        let refusal = |second: Claim| {
            let refusal = Refusal::new(PASSED_OVER, passed_over_by(key, first.place())).of(key).warning();
            refusal
                .in_file(second.place(), 0, 0)
                .suggest("remove one of the two, give it another name, or change source.precedence")
        };
        claims.map(refusal).collect()
    }

    fn unreadable(&self) -> Vec<String> {
        self.sources.iter().flat_map(|source| source.unreadable.iter().cloned()).collect()
    }
}

/// The rule by which a source's resource does not count.
const PASSED_OVER: &str = "passed_over";

/// Why a resource does not count: another source has it too.
pub(crate) fn passed_over_by(key: &ResourceKey, place: &str) -> String {
    format!("{key} is also there in {place}, which takes precedence; this one is not used")
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::Index};

    use super::*;
    use crate::source::{SourceOptions, manifests::FileContent};

    const DIRECTORY: SourceKind = SourceKind::Directory;
    const GIT: SourceKind = SourceKind::Git;
    const KUBERNETES: SourceKind = SourceKind::Kubernetes;

    fn key(name: &str) -> ResourceKey {
        ResourceKey::new("default", name)
    }

    fn object(kind: SourceKind, name: &str, content: &str) -> Arc<Object> {
        let text = format!(
            "apiVersion: agent.kagenti.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\n\
             spec: {{policies: [{{path: a.rego, content: '{content}'}}]}}\n"
        );
        let file = format!("{}{name}.yaml", kind.label());
        let content = FileContent::read(&file, text.as_bytes(), &SourceOptions::default());
        Arc::new(content.objects.into_iter().next().unwrap())
    }

    fn set(kind: SourceKind, name: &str) -> Change {
        Change::Set(object(kind, name, "x"))
    }

    fn batch(changes: Vec<Change>) -> Batch {
        Batch { changes, ..Batch::default() }
    }

    fn unreadable(changes: Vec<Change>, file: &str) -> Batch {
        Batch { unreadable: vec![file.to_owned()], ..batch(changes) }
    }

    fn all() -> Precedence {
        Precedence::new(&SourceKind::ALL, &BTreeMap::new())
    }

    /// The places of what changed; `-` and the name of what is gone.
    fn places(batch: &Batch) -> Vec<String> {
        let place = |change: &Change| match change {
            Change::Set(object) => object.file.clone(),
            Change::Gone(key) => format!("-{}", key.name),
        };
        batch.changes.iter().map(place).collect()
    }

    #[test]
    fn nothing_comes_out_before_every_source_has_spoken() {
        let mut sources = all();
        assert_eq!(sources.merge(KUBERNETES, batch(vec![set(KUBERNETES, "a"), set(KUBERNETES, "b")])), None);
        assert_eq!(sources.merge(DIRECTORY, batch(Vec::new())), None);
        assert_eq!(sources.merge(KUBERNETES, batch(vec![set(KUBERNETES, "c")])), None);
        let first = sources.merge(GIT, batch(vec![set(GIT, "b")])).unwrap();
        assert_eq!(places(&first), ["kubernetes:a.yaml", "git:b.yaml", "kubernetes:c.yaml"]);
    }

    #[test]
    fn the_first_in_the_order_counts_and_the_others_are_told() {
        let mut sources = all();
        sources.merge(DIRECTORY, batch(Vec::new()));
        sources.merge(GIT, batch(vec![set(GIT, "a")]));
        let first = sources.merge(KUBERNETES, batch(vec![set(KUBERNETES, "a")])).unwrap();
        assert_eq!(places(&first), ["git:a.yaml"]);
        let [refusal] = first.refusals.as_slice() else { panic!("{:?}", first.refusals) };
        assert_eq!(refusal.file.as_deref(), Some("kubernetes:a.yaml"));
        assert!(refusal.message.contains("git:a.yaml"), "{refusal}");

        let nearer = sources.merge(DIRECTORY, batch(vec![set(DIRECTORY, "a")])).unwrap();
        assert_eq!((places(&nearer), nearer.refusals.len()), (vec!["directory:a.yaml".to_owned()], 2));
        let hidden = sources.merge(GIT, batch(vec![Change::Gone(key("a"))])).unwrap();
        assert_eq!((places(&hidden).len(), hidden.refusals.len()), (0, 1), "it did not count");
        let next = sources.merge(DIRECTORY, batch(vec![Change::Gone(key("a"))])).unwrap();
        assert_eq!((places(&next), next.refusals), (vec!["kubernetes:a.yaml".to_owned()], Vec::new()));
        let last = sources.merge(KUBERNETES, batch(vec![Change::Gone(key("a"))])).unwrap();
        assert_eq!(places(&last), ["-a"]);
    }

    #[test]
    fn the_order_is_the_configurations() {
        let mut sources = Precedence::new(&[KUBERNETES, DIRECTORY], &BTreeMap::new());
        sources.merge(DIRECTORY, batch(vec![set(DIRECTORY, "a")]));
        let first = sources.merge(KUBERNETES, batch(vec![set(KUBERNETES, "a")])).unwrap();
        assert_eq!(places(&first), ["kubernetes:a.yaml"]);
    }

    #[test]
    fn one_source_is_left_as_it_is() {
        let mut source = Precedence::new(&[GIT], &BTreeMap::new());
        let only = unreadable(vec![set(GIT, "a")], "git:b.yaml");
        assert_eq!(source.merge(GIT, only.clone()), Some(only));
    }

    #[test]
    fn what_each_source_refuses_stands_until_it_says_otherwise() {
        let mut sources = all();
        let refusal = Refusal::new("yaml", "not YAML").in_file("git:x.yaml", 1, 0);
        let torn = Batch { refusals: vec![refusal.clone()], ..unreadable(Vec::new(), "git:x.yaml") };
        sources.merge(GIT, torn);
        sources.merge(DIRECTORY, batch(Vec::new()));
        let first = sources.merge(KUBERNETES, batch(Vec::new())).unwrap();
        assert_eq!((&first.refusals, &first.unreadable), (&vec![refusal], &vec!["git:x.yaml".to_owned()]));
        let other = sources.merge(KUBERNETES, batch(vec![set(KUBERNETES, "a")])).unwrap();
        assert_eq!((other.refusals.len(), other.unreadable.len()), (1, 1), "another source's batch");
        assert_eq!(sources.merge(GIT, batch(Vec::new())), Some(Batch::default()));
    }

    #[test]
    fn many_contested_resources_are_counted() {
        let mut sources = Precedence::new(&[GIT, KUBERNETES], &BTreeMap::new());
        let every = |kind| batch((0..MAX_NAMED + 7).map(|n| set(kind, &format!("p{n}"))).collect());
        sources.merge(GIT, every(GIT));
        let refusals = sources.merge(KUBERNETES, every(KUBERNETES)).unwrap().refusals;
        assert_eq!(refusals.len(), MAX_NAMED + 1);
        assert!(refusals[MAX_NAMED].message.starts_with("7 more"), "{}", refusals[MAX_NAMED]);
    }

    /// A namespace's owner cannot take over what a broken commit hides, not even across a start.
    #[test]
    fn what_a_broken_file_hides_is_not_replaced_until_it_can_be_read() {
        let remembered =
            BTreeMap::from([(key("a"), Arc::from("git:a.yaml")), (key("b"), Arc::from("git:b.yaml"))]);
        let mut sources = Precedence::new(&[GIT, KUBERNETES], &remembered);
        sources.merge(GIT, unreadable(vec![set(GIT, "c")], "git:a.yaml"));
        let contending = vec![set(KUBERNETES, "a"), set(KUBERNETES, "b")];
        let first = sources.merge(KUBERNETES, batch(contending)).unwrap();
        assert_eq!(places(&first), ["kubernetes:b.yaml", "git:c.yaml"], "b was taken out of its file");
        assert_eq!(first.refusals.len(), 1);
        let changed =
            sources.merge(KUBERNETES, batch(vec![Change::Set(object(KUBERNETES, "a", "y"))])).unwrap();
        assert_eq!(places(&changed).len(), 0);
        let healed = sources.merge(GIT, batch(Vec::new())).unwrap();
        assert_eq!((places(&healed), healed.refusals.len()), (vec!["kubernetes:a.yaml".to_owned()], 0));
        let torn = sources.merge(GIT, unreadable(Vec::new(), "git:a.yaml")).unwrap();
        assert_eq!(places(&torn).len(), 0, "it was read once, and had no such resource");
    }

    /// What those know who take the batches.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Known {
        objects: BTreeMap<ResourceKey, Arc<Object>>,
        refusals: Vec<Refusal>,
        unreadable: Vec<String>,
    }

    impl Known {
        fn take(&mut self, batch: Batch) {
            for change in batch.changes {
                match change {
                    Change::Set(object) => {
                        let before = self.objects.insert(object.key.clone(), Arc::clone(&object));
                        assert_ne!(before.as_ref(), Some(&object), "nothing is told twice");
                    }
                    Change::Gone(key) => assert!(self.objects.remove(&key).is_some(), "{key} was not there"),
                }
            }
            (self.refusals, self.unreadable) = (batch.refusals, batch.unreadable);
        }
    }

    fn any_change(kind: SourceKind) -> impl Strategy<Value = Change> {
        let name = || proptest::sample::select(vec!["a", "b", "c", "d"]);
        prop_oneof![
            2 => (name(), proptest::sample::select(vec!["x", "y"]))
                .prop_map(move |(name, content)| Change::Set(object(kind, name, content))),
            1 => name().prop_map(|name| Change::Gone(key(name))),
        ]
    }

    fn any_batch(kind: SourceKind) -> impl Strategy<Value = Batch> {
        let files = proptest::sample::subsequence(vec!["a.yaml", "b.yaml", "d.yaml"], 0..=2);
        (proptest::collection::vec(any_change(kind), 0..4), files).prop_map(move |(changes, files)| {
            let unreadable: Vec<String> = match kind {
                KUBERNETES => Vec::new(),
                _ => files.iter().map(|file| format!("{}{file}", kind.label())).collect(),
            };
            Batch { changes, unreadable, ..Batch::default() }
        })
    }

    fn any_batches() -> impl Strategy<Value = Vec<Vec<Batch>>> {
        let of = |kind| proptest::collection::vec(any_batch(kind), 1..5);
        (of(DIRECTORY), of(GIT), of(KUBERNETES)).prop_map(|(one, two, three)| vec![one, two, three])
    }

    fn remembered() -> BTreeMap<ResourceKey, Arc<str>> {
        let files = [("a", "git:a.yaml"), ("b", "directory:b.yaml"), ("d", "git:d.yaml")];
        files.into_iter().map(|(name, file)| (key(name), Arc::from(file))).collect()
    }

    /// What is known at the end when the sources speak in the order that `turns` says.
    fn known(batches: &[Vec<Batch>], turns: &[Index]) -> (Known, Precedence) {
        let mut sources = Precedence::new(&SourceKind::ALL, &remembered());
        let mut waiting: Vec<_> =
            SourceKind::ALL.into_iter().zip(batches.iter().map(|own| own.iter())).collect();
        let mut known = Known::default();
        let mut turns = turns.iter().cycle();
        while !waiting.is_empty() {
            let turn = turns.next().unwrap().index(waiting.len());
            match waiting[turn].1.next() {
                Some(batch) => {
                    let merged = sources.merge(waiting[turn].0, batch.clone());
                    merged.into_iter().for_each(|batch| known.take(batch));
                }
                None => drop(waiting.remove(turn)),
            }
        }
        (known, sources)
    }

    proptest! {
        #[test]
        fn the_outcome_does_not_depend_on_who_speaks_first(
            batches in any_batches(),
            one in proptest::collection::vec(any::<Index>(), 1..20),
            other in proptest::collection::vec(any::<Index>(), 1..20),
        ) {
            let (known_one, sources) = known(&batches, &one);
            prop_assert_eq!(&known_one, &known(&batches, &other).0);
            // It is what the first source in the order has that has it.
            for name in ["a", "b", "c", "d"] {
                let key = key(name);
                let first = sources.sources.iter().find_map(|source| source.claim(&key));
                prop_assert_eq!(known_one.objects.get(&key), first.as_ref().and_then(Claim::object));
            }
        }
    }
}
