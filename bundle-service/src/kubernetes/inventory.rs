//! What the API server holds, as far as it is needed again, and what changed of it since the last batch.
//!
//! Of an object that is in use only its version is kept: the policy itself is with the compiler. An object that
//! another group's takes precedence over is kept whole, since it takes that one's place when it goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use kube::core::DynamicObject;
use tokio::sync::Notify;

use super::{
    object::{self, Version, full_name},
    status::Fingerprint,
};
use crate::{
    policy::ResourceKey,
    refusal::Refusal,
    source::{Batch, Change, Object},
};

/// One object: the place of its group in the configuration, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct StoredKey {
    pub(super) key: ResourceKey,
    pub(super) group: usize,
}

/// One group of the resource.
#[derive(Debug)]
struct Group {
    name: String,
    /// Counts the lists, so that what a list no longer has can be told.
    round: u64,
    /// Whether a first list was read to its end.
    complete: bool,
    trouble: Option<Trouble>,
}

/// Why a group cannot be followed at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The API server does not know it: its definition is not installed.
    NotInstalled,
    /// It cannot be listed or watched.
    Failing { since: SystemTime, reason: String },
}

/// One object that is there.
#[derive(Debug)]
struct Held {
    group: usize,
    /// `None` when its content is not known any more and has to be read again.
    version: Option<Version>,
    status: Fingerprint,
    round: u64,
    /// Present while another group's object takes precedence.
    passed_over: Option<Arc<Object>>,
}

/// Every object that is there.
#[derive(Debug)]
pub(super) struct Inventory {
    groups: Vec<Group>,
    require_all: bool,
    /// In the order of the groups: the first one counts.
    held: BTreeMap<ResourceKey, Vec<Held>>,
    twice: BTreeSet<ResourceKey>,
    changes: BTreeMap<ResourceKey, Change>,
    /// Whether a first batch was taken.
    begun: bool,
    /// Objects whose status may not be what it should be.
    unsettled: BTreeSet<StoredKey>,
    /// Objects that have to be read again.
    unread: BTreeSet<StoredKey>,
    /// The one that is being read, until something is heard of it.
    reading: Option<StoredKey>,
    /// What this replica serves otherwise than their statuses say.
    differing: BTreeSet<ResourceKey>,
}

impl Inventory {
    pub(super) fn new(groups: &[String], require_all: bool) -> Self {
        let group = |name: &String| Group { name: name.clone(), round: 0, complete: false, trouble: None };
        Self {
            groups: groups.iter().map(group).collect(),
            require_all,
            held: BTreeMap::new(),
            twice: BTreeSet::new(),
            changes: BTreeMap::new(),
            begun: false,
            unsettled: BTreeSet::new(),
            unread: BTreeSet::new(),
            reading: None,
            differing: BTreeSet::new(),
        }
    }

    // ---- What the API server says ----

    /// A list of a group begins.
    pub(super) fn begin(&mut self, group: usize) {
        self.groups[group].round += 1;
    }

    /// An object is there.
    pub(super) fn set(&mut self, group: usize, stored: &DynamicObject) {
        let Some(key) = object::key_of(stored) else { return };
        let (version, status) = (Version::of(stored), object::fingerprint(stored));
        let at = StoredKey { key, group };
        self.heard_of(&at);
        let round = self.groups[group].round;
        let same = self.held.entry(at.key.clone()).or_default();
        let place = same.partition_point(|held| held.group < group);
        if same.get(place).is_none_or(|held| held.group != group) {
            same.insert(place, Held { group, version: None, status, round, passed_over: None });
        }
        let Some(held) = same.get_mut(place) else { return };
        if held.status != status {
            self.unsettled.insert(at.clone());
        }
        (held.status, held.round) = (status, round);
        if held.version.as_ref() == Some(&version) {
            return;
        }
        held.version = Some(version);
        let object = object::read(&self.groups[group].name, &at.key, stored);
        if place == 0 {
            // The one that counted until now is with the compiler no longer, and is not kept here.
            for other in same.iter_mut().skip(1).filter(|held| held.passed_over.is_none()) {
                other.version = None;
                self.unread.insert(StoredKey { key: at.key.clone(), group: other.group });
            }
            self.changes.insert(at.key.clone(), Change::Set(object));
        } else {
            held.passed_over = Some(object);
            self.unsettled.insert(at.clone());
        }
        self.count_twice(&at.key);
    }

    /// An object is gone.
    pub(super) fn gone(&mut self, group: usize, key: &ResourceKey) {
        let Some(same) = self.held.get_mut(key) else { return };
        let Some(at) = same.iter().position(|held| held.group == group) else { return };
        same.remove(at);
        if at == 0 {
            match same.first_mut().map(|next| next.passed_over.take()) {
                Some(Some(object)) => self.changes.insert(key.clone(), Change::Set(object)),
                // It is there, and has to be read again first. What is in use stays so until then.
                Some(None) => self.changes.remove(key),
                None => self.changes.insert(key.clone(), Change::Gone(key.clone())),
            };
        }
        if same.is_empty() {
            self.held.remove(key);
        }
        let at = StoredKey { key: key.clone(), group };
        self.unsettled.remove(&at);
        self.heard_of(&at);
        self.count_twice(key);
    }

    /// What is known of an object is what was heard last.
    fn heard_of(&mut self, at: &StoredKey) {
        self.unread.remove(at);
        if self.reading.as_ref() == Some(at) {
            self.reading = None;
        }
    }

    /// An object that has to be read again and is being read from now on; `None` when there is none.
    pub(super) fn begin_reading(&mut self) -> Option<StoredKey> {
        self.reading = self.unread.pop_first();
        self.reading.clone()
    }

    /// An object was read: what it is, or that it is gone. What was heard of it meanwhile is newer.
    pub(super) fn read(&mut self, at: &StoredKey, stored: Option<&DynamicObject>) {
        if self.reading.as_ref() != Some(at) {
            return;
        }
        match stored {
            Some(stored) => self.set(at.group, stored),
            None => self.gone(at.group, &at.key),
        }
    }

    /// The object that is being read could not be, and still has to.
    pub(super) fn fail_reading(&mut self) {
        self.unread.extend(self.reading.take());
    }

    /// Whether objects have to be read again.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// A list of a group has ended: what was not in it is gone.
    pub(super) fn finish(&mut self, group: usize) {
        let round = self.groups[group].round;
        let outdated = |held: &Held| held.group == group && held.round != round;
        let gone: Vec<ResourceKey> = self
            .held
            .iter()
            .filter(|(_, same)| same.iter().any(outdated))
            .map(|(key, _)| key.clone())
            .collect();
        gone.iter().for_each(|key| self.gone(group, key));
        self.groups[group].complete = true;
    }

    /// The API server answers for a group again.
    pub(super) fn recovered(&mut self, group: usize) {
        self.groups[group].trouble = None;
    }

    /// A group cannot be followed. What was there of it stays in use. Returns whether that is news.
    pub(super) fn failed(&mut self, group: usize, trouble: Trouble) -> bool {
        let before = &mut self.groups[group].trouble;
        let news = match (&*before, &trouble) {
            (Some(old), new) => std::mem::discriminant(old) != std::mem::discriminant(new),
            (None, _) => true,
        };
        *before = Some(match (before.take(), trouble) {
            (Some(Trouble::Failing { since, .. }), Trouble::Failing { reason, .. }) => {
                Trouble::Failing { since, reason }
            }
            (_, trouble) => trouble,
        });
        news
    }

    fn count_twice(&mut self, key: &ResourceKey) {
        if self.held.get(key).is_some_and(|same| same.len() > 1) {
            self.twice.insert(key.clone());
        } else {
            self.twice.remove(key);
        }
    }

    // ---- What others ask ----

    /// What changed since the last batch; `None` when nothing did, or when what is there is not known yet. After the
    /// first batch no group waits for another.
    pub(super) fn take(&mut self) -> Option<Batch> {
        let nothing_to_tell =
            if self.begun { self.changes.is_empty() } else { !self.is_complete() || self.lacks_content() };
        if nothing_to_tell {
            return None;
        }
        self.begun = true;
        let changes = std::mem::take(&mut self.changes).into_values().collect();
        let refusals = self.twice.iter().filter_map(|key| self.refuse_twice(key)).collect();
        Some(Batch { changes, refusals, ..Batch::default() })
    }

    /// Whether everything was listed that has to be.
    fn is_complete(&self) -> bool {
        let installed = |group: &&Group| group.trouble != Some(Trouble::NotInstalled);
        let waiting = self.groups.iter().any(|group| !group.complete && installed(&group))
            || (self.require_all && self.groups.iter().any(|group| !group.complete));
        !waiting && self.groups.iter().any(|group| group.complete)
    }

    /// Whether an object counts whose content has to be read again first.
    fn lacks_content(&self) -> bool {
        self.held.values().filter_map(|same| same.first()).any(|first| first.version.is_none())
    }

    fn refuse_twice(&self, key: &ResourceKey) -> Option<Refusal> {
        let [first, second, ..] = self.held.get(key)?.as_slice() else { return None };
        let message = self.passed_over_by(key, first.group);
        let refusal = Refusal::new("duplicate", message).of(key);
        Some(
            refusal
                .in_file(&object::place(&self.groups[second.group].name), 0, 0)
                .suggest("remove one of the two, or give it another name"),
        )
    }

    fn passed_over_by(&self, key: &ResourceKey, group: usize) -> String {
        let first = &self.groups[group].name;
        format!("{key} is also there in the group {first}, which takes precedence; this one is not used")
    }

    /// Objects that have to be read again, by group and key.
    #[cfg(test)]
    pub(super) fn unread(&self) -> Vec<StoredKey> {
        self.unread.iter().cloned().collect()
    }

    /// The objects that may need another status; all of them when `all`.
    pub(super) fn unsettled(&mut self, all: bool) -> BTreeSet<StoredKey> {
        let mut unsettled = std::mem::take(&mut self.unsettled);
        if all {
            unsettled.extend(self.stored());
        }
        unsettled
    }

    /// Every object that is there.
    pub(super) fn stored(&self) -> Vec<StoredKey> {
        let of = |(key, same): (&ResourceKey, &Vec<Held>)| -> Vec<StoredKey> {
            same.iter().map(|held| StoredKey { key: key.clone(), group: held.group }).collect()
        };
        self.held.iter().flat_map(of).collect()
    }

    /// Says what this replica serves otherwise than their statuses say.
    pub(super) fn differ(&mut self, differing: BTreeSet<ResourceKey>) {
        self.differing = differing;
    }

    /// Says that the verdict on resources may be another one.
    pub(super) fn judged(&mut self, keys: &BTreeSet<ResourceKey>) {
        for key in keys {
            let groups = self.held.get(key).into_iter().flatten().map(|held| held.group);
            self.unsettled.extend(groups.map(|group| StoredKey { key: key.clone(), group }));
        }
    }

    /// Says that an object still needs a status.
    pub(super) fn unsettle(&mut self, at: StoredKey) {
        self.unsettled.insert(at);
    }

    /// An object as whoever writes its status needs it.
    pub(super) fn entry(&self, at: &StoredKey) -> Option<Entry> {
        let same = self.held.get(&at.key)?;
        let held = same.iter().find(|held| held.group == at.group)?;
        let Version { uid, generation, .. } = held.version.clone()?;
        let first = same.first().filter(|first| first.group != at.group);
        Some(Entry {
            group: self.groups[at.group].name.clone(),
            uid,
            generation,
            status: held.status,
            passed_over: first.map(|first| self.passed_over_by(&at.key, first.group)),
        })
    }

    /// An object has another status now.
    pub(super) fn written(&mut self, at: &StoredKey, status: Fingerprint) {
        let same = self.held.get_mut(&at.key).into_iter().flatten();
        same.filter(|held| held.group == at.group).for_each(|held| held.status = status);
    }

    fn missing(&self) -> Vec<String> {
        let complete = self.is_complete();
        let of = |group: &Group| {
            let name = full_name(&group.name);
            match (&group.trouble, group.complete) {
                (_, true) => None,
                (Some(Trouble::NotInstalled), _) if complete => None,
                (Some(Trouble::NotInstalled), _) => {
                    Some(format!("{name} is not installed in the cluster; apply its definition (CRD)"))
                }
                (Some(Trouble::Failing { reason, .. }), _) => {
                    Some(format!("{name} cannot be listed: {reason}"))
                }
                (None, _) => Some(format!("{name} is not listed yet")),
            }
        };
        if complete { Vec::new() } else { self.groups.iter().filter_map(of).collect() }
    }

    fn notes(&self, now: SystemTime) -> Vec<String> {
        let of = |group: &Group| {
            let name = full_name(&group.name);
            match group.trouble.as_ref()? {
                Trouble::NotInstalled if group.complete => Some(format!(
                    "{name} is no longer installed in the cluster; what it held last stays in use"
                )),
                Trouble::NotInstalled => Some(format!("{name} is not installed in the cluster")),
                Trouble::Failing { since, reason } => {
                    let seconds = now.duration_since(*since).unwrap_or(Duration::ZERO).as_secs();
                    Some(format!(
                        "{name} cannot be followed since {seconds} s, what it held last stays in use: {reason}"
                    ))
                }
            }
        };
        let differing = self.differing.first().map(|first| {
            let number = self.differing.len();
            format!(
                "{number} policies are served otherwise here than their status says, the first is {first}"
            )
        });
        self.groups.iter().filter_map(of).chain(differing).collect()
    }
}

/// An object as whoever writes its status needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) group: String,
    pub(super) uid: String,
    pub(super) generation: i64,
    pub(super) status: Fingerprint,
    /// Why it does not count, when another group's takes precedence.
    pub(super) passed_over: Option<String>,
}

/// The inventory, and who waits for it to change.
#[derive(Debug)]
pub(crate) struct Shared {
    inventory: Mutex<Inventory>,
    /// Something changed that a batch may be made of, or has to be read again.
    pub(super) changed: Notify,
    /// Something changed that a status may have to be written for.
    pub(super) unsettled: Notify,
}

impl Shared {
    pub(crate) fn new(groups: &[String], require_all: bool) -> Arc<Self> {
        Arc::new(Self {
            inventory: Mutex::new(Inventory::new(groups, require_all)),
            changed: Notify::new(),
            unsettled: Notify::new(),
        })
    }

    pub(super) fn inventory(&self) -> MutexGuard<'_, Inventory> {
        // Nothing in it panics half way through a change.
        self.inventory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the verdict on resources may be another one.
    pub(crate) fn judged(&self, keys: &BTreeSet<ResourceKey>) {
        self.inventory().judged(keys);
        self.unsettled.notify_one();
    }
}

/// What the health listener tells of the source.
#[derive(Debug, Clone)]
pub(crate) struct SourceHealth(pub(crate) Arc<Shared>);

impl SourceHealth {
    /// What keeps the service from being ready.
    pub(crate) fn missing(&self) -> Vec<String> {
        self.0.inventory().missing()
    }

    /// What is not as it should be, although the service is ready.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.0.inventory().notes(SystemTime::now())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KAGENTI: usize = 0;
    const ROSSOCTL: usize = 1;

    fn inventory(require_all: bool) -> Inventory {
        Inventory::new(&["agent.kagenti.dev".to_owned(), "agent.rossoctl.dev".to_owned()], require_all)
    }

    /// An object whose content is its generation.
    fn object(name: &str, generation: i64) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": { "namespace": "team-a", "name": name, "uid": name, "generation": generation },
            "spec": { "policies": [{ "path": "a.rego", "content": generation.to_string() }] },
        }))
        .unwrap()
    }

    fn key(name: &str) -> ResourceKey {
        ResourceKey::new("team-a", name)
    }

    fn list(inventory: &mut Inventory, group: usize, objects: &[DynamicObject]) {
        inventory.begin(group);
        objects.iter().for_each(|object| inventory.set(group, object));
        inventory.finish(group);
    }

    /// What a batch brings: name and generation, or `-` before what is gone.
    fn taken(inventory: &mut Inventory) -> Option<Vec<String>> {
        let say = |change: Change| match change {
            Change::Set(object) => format!("{}:{}", object.key.name, object.generation.unwrap()),
            Change::Gone(key) => format!("-{}", key.name),
        };
        Some(inventory.take()?.changes.into_iter().map(say).collect())
    }

    #[test]
    fn gives_nothing_before_everything_is_listed() {
        let mut inventory = inventory(false);
        list(&mut inventory, KAGENTI, &[object("one", 1)]);
        assert_eq!(taken(&mut inventory), None);
        inventory.begin(ROSSOCTL);
        inventory.set(ROSSOCTL, &object("two", 1));
        assert_eq!(taken(&mut inventory), None, "a list that has not ended");
        assert_eq!(inventory.missing(), ["authorizationpolicies.agent.rossoctl.dev is not listed yet"]);
        inventory.finish(ROSSOCTL);
        assert_eq!(taken(&mut inventory).unwrap(), ["one:1", "two:1"]);
        assert_eq!(taken(&mut inventory), None, "nothing changed");
    }

    #[test]
    fn an_empty_cluster_is_known_to_be_empty() {
        let mut inventory = inventory(false);
        list(&mut inventory, KAGENTI, &[]);
        list(&mut inventory, ROSSOCTL, &[]);
        assert_eq!(taken(&mut inventory), Some(Vec::new()));
    }

    #[test]
    fn a_group_that_is_not_installed_holds_nobody_up_unless_it_has_to_be() {
        let mut lenient = inventory(false);
        list(&mut lenient, KAGENTI, &[object("one", 1)]);
        lenient.failed(ROSSOCTL, Trouble::NotInstalled);
        assert_eq!(taken(&mut lenient).unwrap(), ["one:1"]);
        assert_eq!(lenient.missing(), Vec::<String>::new());
        assert!(lenient.notes(SystemTime::now())[0].contains("rossoctl.dev is not installed"));

        let mut strict = inventory(true);
        list(&mut strict, KAGENTI, &[]);
        strict.failed(ROSSOCTL, Trouble::NotInstalled);
        assert_eq!(taken(&mut strict), None);
        assert!(strict.missing()[0].contains("apply its definition"));

        let mut none = inventory(false);
        none.failed(KAGENTI, Trouble::NotInstalled);
        none.failed(ROSSOCTL, Trouble::NotInstalled);
        assert_eq!(taken(&mut none), None, "nothing at all is no empty cluster");
    }

    #[test]
    fn a_group_that_appears_later_holds_nobody_up() {
        let mut inventory = inventory(false);
        list(&mut inventory, KAGENTI, &[]);
        inventory.failed(ROSSOCTL, Trouble::NotInstalled);
        taken(&mut inventory);
        inventory.begin(ROSSOCTL);
        inventory.set(ROSSOCTL, &object("two", 1));
        inventory.recovered(ROSSOCTL);
        let reason = "reset".to_owned();
        inventory.failed(ROSSOCTL, Trouble::Failing { since: SystemTime::now(), reason });
        inventory.set(KAGENTI, &object("one", 1));
        assert_eq!(taken(&mut inventory).unwrap(), ["one:1", "two:1"]);
    }

    #[test]
    fn a_group_that_cannot_be_listed_holds_up() {
        let mut inventory = inventory(false);
        list(&mut inventory, KAGENTI, &[object("one", 1)]);
        let reason = "forbidden".to_owned();
        inventory.failed(ROSSOCTL, Trouble::Failing { since: SystemTime::now(), reason });
        assert_eq!(taken(&mut inventory), None, "it is there, and may hold policies");
        assert!(inventory.missing()[0].contains("forbidden"));
    }

    #[test]
    fn a_new_list_tells_what_went_unseen() {
        let mut inventory = inventory(false);
        list(&mut inventory, KAGENTI, &[object("one", 1), object("two", 1), object("three", 1)]);
        list(&mut inventory, ROSSOCTL, &[object("other", 1)]);
        taken(&mut inventory);
        list(&mut inventory, KAGENTI, &[object("one", 1), object("three", 2)]);
        assert_eq!(taken(&mut inventory).unwrap(), ["three:2", "-two"]);
    }

    #[test]
    fn a_list_that_breaks_off_takes_nothing_away() {
        let mut inventory = inventory(false);
        list(&mut inventory, KAGENTI, &[object("one", 1), object("two", 1)]);
        list(&mut inventory, ROSSOCTL, &[]);
        taken(&mut inventory);
        inventory.begin(KAGENTI);
        inventory.set(KAGENTI, &object("one", 1));
        inventory.failed(KAGENTI, Trouble::Failing { since: SystemTime::now(), reason: "reset".to_owned() });
        assert_eq!(taken(&mut inventory), None);
        assert!(inventory.notes(SystemTime::now())[0].contains("what it held last stays in use: reset"));
        list(&mut inventory, KAGENTI, &[object("one", 1), object("two", 1)]);
        assert_eq!(taken(&mut inventory), None);
    }

    #[test]
    fn of_one_name_in_two_groups_the_first_group_counts() {
        let mut inventory = inventory(false);
        list(&mut inventory, ROSSOCTL, &[object("one", 2)]);
        list(&mut inventory, KAGENTI, &[object("one", 1)]);
        let batch = inventory.take().unwrap();
        assert!(matches!(batch.changes.as_slice(), [Change::Set(object)] if object.generation == Some(1)));
        assert_eq!(batch.refusals[0].code, "duplicate");
        assert_eq!(
            batch.refusals[0].file.as_deref(),
            Some("kubernetes:authorizationpolicies.agent.rossoctl.dev"),
            "{}",
            batch.refusals[0]
        );
        // The one that counted first was not kept: it is asked for again.
        let second = StoredKey { key: key("one"), group: ROSSOCTL };
        assert_eq!(inventory.unread(), std::slice::from_ref(&second));
        inventory.set(ROSSOCTL, &object("one", 2));
        assert_eq!(inventory.unread(), []);
        assert!(inventory.entry(&second).unwrap().passed_over.unwrap().contains("agent.kagenti.dev"));
        assert_eq!(taken(&mut inventory), None);

        inventory.gone(KAGENTI, &key("one"));
        assert_eq!(taken(&mut inventory).unwrap(), ["one:2"]);
        assert_eq!(inventory.entry(&second).unwrap().passed_over, None);
        inventory.gone(ROSSOCTL, &key("one"));
        assert_eq!(taken(&mut inventory).unwrap(), ["-one"]);
    }

    #[test]
    fn nothing_goes_while_the_next_groups_object_is_unread() {
        let mut inventory = inventory(false);
        list(&mut inventory, KAGENTI, &[]);
        list(&mut inventory, ROSSOCTL, &[object("one", 2)]);
        assert_eq!(taken(&mut inventory).unwrap(), ["one:2"]);
        inventory.set(KAGENTI, &object("one", 1));
        inventory.gone(KAGENTI, &key("one"));
        assert_eq!(taken(&mut inventory), None, "the second group's is in use as it was");

        inventory.set(KAGENTI, &object("one", 1));
        assert_eq!(taken(&mut inventory).unwrap(), ["one:1"]);
        inventory.gone(KAGENTI, &key("one"));
        assert_eq!(taken(&mut inventory), None, "the second group's is there, and cannot be read");
        let second = inventory.begin_reading().unwrap();
        inventory.fail_reading();
        assert_eq!((inventory.has_unread(), taken(&mut inventory)), (true, None));
        assert_eq!(inventory.begin_reading(), Some(second.clone()));
        inventory.read(&second, Some(&object("one", 2)));
        assert_eq!(
            (inventory.has_unread(), taken(&mut inventory).unwrap()),
            (false, vec!["one:2".to_owned()])
        );
    }

    #[test]
    fn what_cannot_be_read_again_and_turns_out_to_be_gone_goes() {
        let mut inventory = inventory(false);
        list(&mut inventory, ROSSOCTL, &[object("one", 2)]);
        list(&mut inventory, KAGENTI, &[object("one", 1)]);
        inventory.gone(KAGENTI, &key("one"));
        assert_eq!(taken(&mut inventory), None, "a first batch without it would take it out of force");
        let second = inventory.begin_reading().unwrap();
        inventory.read(&second, None);
        assert_eq!(taken(&mut inventory).unwrap(), ["-one"]);
    }

    #[test]
    fn tells_whose_status_may_be_wrong() {
        let mut inventory = inventory(false);
        list(&mut inventory, KAGENTI, &[object("one", 1), object("two", 1)]);
        assert_eq!(inventory.unsettled(false).len(), 0, "the compiler tells of those that are new");
        inventory.judged(&BTreeSet::from([key("one"), key("unknown")]));
        let one = StoredKey { key: key("one"), group: KAGENTI };
        assert_eq!(inventory.unsettled(false), BTreeSet::from([one.clone()]));
        assert_eq!(inventory.unsettled(true).len(), 2);

        let mut edited = object("one", 1);
        edited.data["status"] = json!({ "bundleHash": "somebody else's" });
        inventory.set(KAGENTI, &edited);
        assert_eq!(inventory.unsettled(false), BTreeSet::from([one]));
        assert_eq!(taken(&mut inventory), None, "a status is no change of the policy");
    }
}
