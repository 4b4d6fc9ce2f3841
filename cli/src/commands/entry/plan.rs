//! What has to be done so that the CA has the entries that a file says.

use std::collections::{HashMap, HashSet};

use secplane_identity::SpiffeId;
use serde::Serialize;

use super::document::{EntryDocument, Field, Key};
use crate::failure::Failure;

/// The steps, in the order in which they are taken: what is deleted makes room for what is created.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Entries of the CA that the file does not name.
    pub(super) deletions: Vec<EntryDocument>,
    /// Entries that differ.
    pub(super) updates: Vec<Update>,
    /// Entries that the CA does not have.
    pub(super) creations: Vec<EntryDocument>,
    /// How many stand as the file says.
    pub(super) unchanged: usize,
}

/// An entry of the CA that differs from what the file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Update {
    /// The ID of the CA's entry.
    pub(super) id: String,
    pub(super) wanted: EntryDocument,
    pub(super) differences: Vec<Difference>,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    pub(super) field: Field,
    pub(super) from: String,
    pub(super) to: String,
}

/// Which entries of the CA a file is the whole truth about: those that fit all that is given.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) parent_id: Option<SpiffeId>,
    pub(super) hint: Option<String>,
}

impl Scope {
    fn holds(&self, entry: &EntryDocument) -> bool {
        self.parent_id.as_ref().is_none_or(|parent| entry.parent_id.as_ref() == Some(parent))
            && self.hint.as_ref().is_none_or(|hint| *hint == entry.hint)
    }
}

impl Plan {
    /// Compares what is wanted with what stands. What the file does not name is deleted where `prune` says so.
    ///
    /// An entry is recognized by its ID where the file gives one, else by SPIFFE ID, parent and selectors.
    pub(super) fn make(
        wanted: Vec<EntryDocument>,
        standing: Vec<EntryDocument>,
        prune: Option<&Scope>,
    ) -> Result<Self, Failure> {
        refuse_twins(&wanted)?;
        let by_id: HashMap<&str, &EntryDocument> =
            standing.iter().filter_map(|entry| Some((entry.id.as_deref()?, entry))).collect();
        let by_key: HashMap<Key, &EntryDocument> =
            standing.iter().map(|entry| (entry.key(), entry)).collect();
        // An entry that the file means by its ID may be moved: it is nobody else's then, whatever it is now.
        let claimed: HashSet<String> = wanted.iter().filter_map(|entry| entry.id.clone()).collect();
        let is_free = |found: &&&EntryDocument| found.id.as_ref().is_none_or(|id| !claimed.contains(id));
        let mut plan = Self::default();
        let mut named: HashSet<&str> = HashSet::new();
        for entry in wanted {
            let found = match entry.id.as_deref() {
                Some(id) => by_id.get(id),
                None => by_key.get(&entry.key()).filter(is_free),
            };
            let Some((found, id)) = found.and_then(|found| Some((found, found.id.as_deref()?))) else {
                plan.creations.push(entry);
                continue;
            };
            named.insert(id);
            let differences = differences(found, &entry);
            if differences.is_empty() {
                plan.unchanged += 1;
            } else {
                plan.updates.push(Update { id: id.to_owned(), wanted: entry, differences });
            }
        }
        let is_named = |entry: &EntryDocument| entry.id.as_deref().is_some_and(|id| named.contains(id));
        if let Some(scope) = prune {
            let deleted = standing.iter().filter(|entry| scope.holds(entry) && !is_named(entry));
            plan.deletions = deleted.cloned().collect();
        }
        plan.refuse_occupied(&by_key)?;
        Ok(plan)
    }

    /// An entry cannot be created beside a similar one that stays.
    fn refuse_occupied(&self, by_key: &HashMap<Key, &EntryDocument>) -> Result<(), Failure> {
        for entry in &self.creations {
            let Some(similar) = by_key.get(&entry.key()) else { continue };
            let is_deleted = self.deletions.iter().any(|deleted| deleted.id == similar.id);
            // Entries are changed before others are created, and no two of a file are similar.
            let is_moved = self.updates.iter().any(|update| Some(&update.id) == similar.id.as_ref());
            if is_deleted || is_moved {
                continue;
            }
            let (id, other) =
                (entry.id.as_deref().unwrap_or_default(), similar.id.as_deref().unwrap_or_default());
            return Err(Failure::refused(
                format!("create the entry {id} for {}", entry.spiffe_id),
                format_args!("the entry {other} has the same SPIFFE ID, parent and selectors"),
            )
            .remedy(format!("write `id: {other}` in the file, or delete that entry first")));
        }
        Ok(())
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.deletions.is_empty() && self.updates.is_empty() && self.creations.is_empty()
    }
}

fn refuse_twins(wanted: &[EntryDocument]) -> Result<(), Failure> {
    let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
    for entry in wanted {
        let why = if entry.id.as_deref().is_some_and(|id| !ids.insert(id)) {
            format!("two entries have the ID {}", entry.id.as_deref().unwrap_or_default())
        } else if !keys.insert(entry.key()) {
            format!("two entries for {} have the same parent and selectors", entry.spiffe_id)
        } else {
            continue;
        };
        return Err(Failure::refused("make a plan of the file", why).remedy("leave one of them out"));
    }
    Ok(())
}

fn differences(standing: &EntryDocument, wanted: &EntryDocument) -> Vec<Difference> {
    standing
        .fields()
        .into_iter()
        .zip(wanted.fields())
        .filter(|((_, from), (_, to))| from != to)
        .map(|((field, from), (_, to))| Difference { field, from, to })
        .collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::commands::entry::document::parse;

    /// Entries as a file says them.
    fn entries(text: &str) -> Vec<EntryDocument> {
        parse(text).unwrap()
    }

    fn entry(id: &str, path: &str, rest: &str) -> String {
        let id = if id.is_empty() { String::new() } else { format!("id: {id}, ") };
        format!(
            "- {{{id}spiffe_id: 'spiffe://example.org{path}', parent_id: 'spiffe://example.org/p', \
             selectors: ['unix:uid:1']{rest}}}\n"
        )
    }

    fn plan(wanted: &str, standing: &str, prune: Option<Scope>) -> Result<Plan, Failure> {
        Plan::make(entries(wanted), entries(standing), prune.as_ref())
    }

    fn ids(entries: &[EntryDocument]) -> Vec<&str> {
        entries.iter().map(|entry| entry.spiffe_id.path()).collect()
    }

    #[test]
    fn has_nothing_to_do_for_what_stands() {
        let standing = entry("1", "/a", ", hint: x") + &entry("2", "/b", "");
        for wanted in [standing.clone(), standing.replace("id: 1, ", "").replace("id: 2, ", "")] {
            let plan = plan(&wanted, &standing, Some(Scope::default())).unwrap();
            assert!(plan.is_empty(), "{plan:?}");
            assert_eq!(plan.unchanged, 2);
        }
    }

    #[test]
    fn changes_only_the_fields_that_differ() {
        let plan = plan(&entry("", "/a", ", admin: true"), &entry("1", "/a", ", hint: x"), None).unwrap();
        assert_eq!(plan.updates.len(), 1);
        assert_eq!(plan.updates[0].id, "1");
        let fields: Vec<_> = plan.updates[0].differences.iter().map(|d| d.field.name()).collect();
        assert_eq!(fields, ["hint", "admin"]);
        assert!(plan.creations.is_empty() && plan.deletions.is_empty());
    }

    #[test]
    fn moves_an_entry_that_is_known_by_its_id() {
        let plan = plan(&entry("1", "/new", ""), &entry("1", "/old", ""), Some(Scope::default())).unwrap();
        assert_eq!(plan.updates[0].differences[0].to, "spiffe://example.org/new");
        assert!(plan.creations.is_empty() && plan.deletions.is_empty());
    }

    #[test]
    fn creates_in_the_place_of_what_it_moves() {
        let wanted = entry("1", "/new", "") + &entry("", "/old", "");
        for wanted in [wanted, entry("", "/old", "") + &entry("1", "/new", "")] {
            let plan = plan(&wanted, &entry("1", "/old", ""), None).unwrap();
            assert_eq!((plan.updates.len(), plan.unchanged), (1, 0), "{plan:?}");
            assert_eq!(ids(&plan.creations), ["/old"]);
        }
    }

    #[test]
    fn deletes_only_within_the_scope() {
        let standing =
            entry("1", "/a", ", hint: team-x") + &entry("2", "/b", ", hint: team-y") + &entry("3", "/c", "");
        let scope = Scope { hint: Some("team-x".into()), parent_id: None };
        assert_eq!(ids(&plan("", &standing, Some(scope.clone())).unwrap().deletions), ["/a"]);
        assert!(plan("", &standing, None).unwrap().is_empty());
        let elsewhere = Scope { parent_id: Some("spiffe://example.org/q".parse().unwrap()), ..scope };
        assert!(plan("", &standing, Some(elsewhere)).unwrap().is_empty());
        let all_below = Scope { parent_id: Some("spiffe://example.org/p".parse().unwrap()), hint: None };
        assert_eq!(
            ids(&plan(&entry("", "/b", ""), &standing, Some(all_below)).unwrap().deletions),
            ["/a", "/c"]
        );
    }

    #[test]
    fn creates_in_the_place_of_what_it_deletes() {
        let (wanted, standing) = (entry("new", "/a", ""), entry("old", "/a", ""));
        let refused = plan(&wanted, &standing, None).unwrap_err();
        assert!(refused.to_string().contains("id: old"), "{refused}");
        let plan = plan(&wanted, &standing, Some(Scope::default())).unwrap();
        assert_eq!((plan.deletions.len(), plan.creations.len()), (1, 1));
    }

    #[rstest]
    #[case::by_key(entry("", "/a", "") + &entry("", "/a", ", hint: other"))]
    #[case::by_id(entry("1", "/a", "") + &entry("1", "/b", ""))]
    fn refuses_a_file_that_names_an_entry_twice(#[case] wanted: String) {
        assert!(plan(&wanted, "", None).is_err());
    }
}
