//! The index answers what looking at every entry would answer, whatever was added, replaced and removed before.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;
use secplane_identity::{SpiffeId, TrustDomain};

use super::{
    Entry, EntryFields, EntryFilter, EntryId, Match, Node, Selector,
    authorized::{authorized_entry_in, authorized_in},
    encoding,
    index::{Index, NoPlace},
    likeness::Likeness,
    tests::{fields, id, now},
    wire::spiffe_id_from_wire,
};
use crate::keys::WrappingKey;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const AGENT: &str = "spiffe://example.org/spire/agent/a";

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

/// Few names, so that entries meet: as parents, as similar ones, by selector.
fn any_path() -> impl Strategy<Value = SpiffeId> {
    prop::sample::select(vec!["/a", "/b", "/c", "/d"])
        .prop_map(|path| id(&format!("spiffe://example.org{path}")))
}

fn any_parent() -> impl Strategy<Value = SpiffeId> {
    prop_oneof![
        any_path(),
        Just(id(AGENT)),
        Just(id("spiffe://example.org/spire/agent/b")),
        Just(id("spiffe://example.org/spire/server")),
    ]
}

fn any_selectors(least: usize) -> impl Strategy<Value = BTreeSet<Selector>> {
    prop::collection::btree_set(prop::sample::select(vec!["uid:1", "uid:2", "gid:1", "sha256:a"]), least..4)
        .prop_map(|values| values.into_iter().map(|value| Selector::new("unix", value).unwrap()).collect())
}

fn any_domains() -> impl Strategy<Value = BTreeSet<TrustDomain>> {
    prop::collection::btree_set(prop::sample::select(vec!["a.net", "b.net"]), 0..3)
        .prop_map(|names| names.into_iter().map(|name| TrustDomain::parse(name).unwrap()).collect())
}

prop_compose! {
    fn any_entry()(
        number in 0u8..12,
        spiffe_id in any_path(),
        parent_id in any_parent(),
        selectors in any_selectors(1),
        federates_with in any_domains(),
        hint in prop::sample::select(vec!["", "h"]),
        downstream in any::<bool>(),
        expired in prop::bool::weighted(0.2),
    ) -> Entry {
        let wanted = EntryFields {
            id: Some(EntryId::parse(&format!("e{number:02}")).unwrap()),
            spiffe_id,
            parent_id,
            selectors: selectors.into(),
            federates_with: federates_with.into(),
            hint: hint.to_owned(),
            downstream,
            expires_at: expired.then(now),
            ..fields("/x", &["uid:1"])
        };
        Entry::new(wanted, &trust_domain(), now() - Duration::from_secs(1)).unwrap()
    }
}

prop_compose! {
    fn any_filter()(
        spiffe_id in prop::option::of(any_path()),
        parent_id in prop::option::of(any_parent()),
        selectors in prop::option::of((any_match(), any_selectors(1))),
        federates_with in prop::option::of((any_match(), any_domains())),
        hint in prop::option::of(prop::sample::select(vec![String::new(), "h".into()])),
        downstream in prop::option::of(any::<bool>()),
    ) -> EntryFilter {
        EntryFilter { spiffe_id, parent_id, selectors, federates_with, hint, downstream }
    }
}

fn any_match() -> impl Strategy<Value = Match> {
    prop::sample::select(vec![Match::Exact, Match::Subset, Match::Superset, Match::Any])
}

#[derive(Debug, Clone)]
enum Step {
    Put(Box<Entry>),
    Remove(u8),
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![4 => any_entry().prop_map(|entry| Step::Put(Box::new(entry))), 1 => (0u8..12).prop_map(Step::Remove)];
    prop::collection::vec(step, 0..40)
}

/// The index and a plain list after the same steps; a step that the index refuses is left out of both.
fn built(steps: Vec<Step>) -> (Index, BTreeMap<EntryId, Arc<Entry>>) {
    let (mut index, mut plain) = (Index::default(), BTreeMap::new());
    for step in steps {
        match step {
            Step::Put(entry) => match index.reserve_update(&entry) {
                Ok(place) => {
                    index.release(&place);
                    let entry = index.with_shared_parent(*entry);
                    index.insert(Arc::clone(&entry));
                    plain.insert(entry.id().clone(), entry);
                }
                Err(NoPlace::Refused(_)) => {
                    let similar = |other: &&Arc<Entry>| {
                        Likeness::of(other) == Likeness::of(&entry) && other.id() != entry.id()
                    };
                    assert!(plain.values().any(|other| similar(&other)));
                }
                Err(NoPlace::Underway) => panic!("nothing is under way"),
            },
            Step::Remove(number) => {
                let id = EntryId::parse(&format!("e{number:02}")).unwrap();
                assert_eq!(index.remove(&id), plain.remove(&id));
            }
        }
    }
    (index, plain)
}

fn ids<'a>(entries: impl IntoIterator<Item = &'a Arc<Entry>>) -> Vec<String> {
    let mut ids: Vec<_> = entries.into_iter().map(|entry| entry.id().to_string()).collect();
    ids.sort();
    ids
}

/// As the rule is written: repeated until nothing is added.
fn authorized_plainly<'a>(
    plain: &'a BTreeMap<EntryId, Arc<Entry>>,
    node: &Node<'_>,
) -> BTreeMap<&'a EntryId, &'a Arc<Entry>> {
    let mut found = BTreeMap::new();
    loop {
        let before = found.len();
        for entry in plain.values().filter(|entry| !entry.is_expired(now())) {
            let fields = entry.fields();
            let is_alias = fields.parent_id.path() == "/spire/server"
                && fields.selectors.iter().all(|selector| node.selectors.contains(selector));
            let by_another =
                found.values().any(|other: &&Arc<Entry>| other.fields().spiffe_id == fields.parent_id);
            if fields.parent_id == *node.id || is_alias || by_another {
                found.insert(entry.id(), entry);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

proptest! {
    #[test]
    fn finds_what_a_plain_search_finds(
        steps in any_steps(),
        filter in any_filter(),
        after in prop::option::of(0u8..12),
        parent in any_parent(),
        selectors in any_selectors(0),
    ) {
        let (index, plain) = built(steps);
        prop_assert_eq!(index.len(), plain.len());
        prop_assert_eq!(ids(index.after(None)), ids(plain.values()));

        let after = after.map(|number| EntryId::parse(&format!("e{number:02}")).unwrap());
        let listed = index.candidates(&filter, after.as_ref()).filter(|entry| filter.passes(entry));
        let listed: Vec<_> = listed.map(|entry| entry.id().to_string()).collect();
        let expected = plain.values().filter(|entry| after.as_ref().is_none_or(|after| entry.id() > after));
        let expected: Vec<_> = expected.filter(|e| filter.passes(e)).map(|e| e.id().to_string()).collect();
        prop_assert_eq!(listed, expected, "in the order of their IDs");

        let matching = plain.values().filter(|entry| {
            let fields = entry.fields();
            fields.parent_id == parent && fields.selectors.iter().all(|s| selectors.contains(s))
        });
        prop_assert_eq!(ids(index.matching(&parent, &selectors)), ids(matching));
        prop_assert_eq!(ids(index.below(&parent)), ids(plain.values().filter(|e| e.fields().parent_id == parent)));
        prop_assert_eq!(ids(index.of_id(&parent)), ids(plain.values().filter(|e| e.fields().spiffe_id == parent)));
        let hashes = plain.values().filter(|entry| entry.fields().parent_id == parent);
        let hashes = hashes.flat_map(|entry| entry.fields().selectors.iter()).any(|s| s.value() == "sha256:a");
        prop_assert_eq!(index.wants_hash(&parent), hashes);
    }

    #[test]
    fn authorizes_an_agent_for_what_the_rule_says(steps in any_steps(), selectors in any_selectors(0)) {
        let (index, plain) = built(steps);
        let agent = id(AGENT);
        let node = Node { id: &agent, selectors: &selectors };
        let expected = authorized_plainly(&plain, &node);
        prop_assert_eq!(ids(&authorized_in(&index, &node, now())), ids(expected.values().copied()));
        for id in plain.keys() {
            let found = authorized_entry_in(&index, &node, id, now());
            prop_assert_eq!(found.as_ref(), expected.get(id).copied());
        }
    }

    #[test]
    fn leaves_nothing_behind(steps in any_steps()) {
        let (mut index, plain) = built(steps);
        for id in plain.keys() {
            index.remove(id);
        }
        prop_assert!(index.is_bare());
    }

    #[test]
    fn reads_back_what_it_wrote(entry in any_entry()) {
        let mac = WrappingKey::parse(KEY).unwrap().row_mac();
        let row = encoding::seal(&entry, &mac);
        prop_assert_eq!(encoding::open(&row, &mac, &trust_domain()).unwrap().0, entry);
    }

    #[test]
    fn refuses_a_row_with_any_byte_changed(entry in any_entry(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mac = WrappingKey::parse(KEY).unwrap().row_mac();
        let honest = encoding::seal(&entry, &mac);
        let mut forged = honest.clone();
        let likeness = forged.likeness.as_mut().unwrap();
        let at = at.index(forged.body.len() + forged.mac.len() + likeness.len());
        let byte = forged.body.iter_mut().chain(&mut forged.mac).chain(likeness).nth(at).unwrap();
        *byte ^= 1_u8 << bit;
        prop_assert!(encoding::open(&forged, &mac, &trust_domain()).is_err());
        for renumbered in [honest.revision - 1, honest.revision + 1] {
            let forged = crate::store::EntryRow { revision: renumbered, ..honest.clone() };
            prop_assert!(encoding::open(&forged, &mac, &trust_domain()).is_err());
        }
    }

    /// Two entries are alike exactly when SPIFFE ID, parent and selectors are the same.
    #[test]
    fn likeness_is_of_identity_parent_and_selectors(a in any_entry(), b in any_entry()) {
        let same = a.fields().spiffe_id == b.fields().spiffe_id
            && a.fields().parent_id == b.fields().parent_id
            && a.fields().selectors == b.fields().selectors;
        prop_assert_eq!(Likeness::of(&a) == Likeness::of(&b), same);
    }

    /// Where one part ends and the next begins is part of it.
    #[test]
    fn likeness_tells_apart_how_text_is_divided(text in "[a-z]{2,12}", at in any::<prop::sample::Index>()) {
        let at = 1 + at.index(text.len() - 1);
        let entry = |values: &[&str]| Entry::new(fields("/a", values), &trust_domain(), now()).unwrap();
        let (one, two) = (entry(&[&text]), entry(&[&text[..at], &format!("{}z", &text[at..])]));
        prop_assert_ne!(Likeness::of(&one), Likeness::of(&two));
    }

    #[test]
    fn reads_no_id_that_is_none(domain in "\\PC{0,20}", path in "\\PC{0,20}") {
        let wire = secplane_proto::spire::api::types::Spiffeid { trust_domain: domain.clone(), path: path.clone() };
        if let Ok(id) = spiffe_id_from_wire(Some(wire), "SPIFFE ID") {
            let name = domain.strip_prefix("spiffe://").unwrap_or(&domain);
            prop_assert_eq!(id.to_string(), format!("spiffe://{name}{path}"));
        }
    }
}
