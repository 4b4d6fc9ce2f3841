//! What differs between two points of a history: what was decided, and apart from that until when bundles may be used.

use std::collections::{BTreeMap, BTreeSet};

use bundle_service::{
    admin::wire::SnapshotAnswer,
    policy::{PolicyModule, ResourceKey},
    tiers::TierKey,
};
use serde::Serialize;
use similar::TextDiff;

use super::history::at;
use crate::output::{Report, visible};

#[derive(Serialize)]
pub(super) struct Difference {
    from: String,
    to: String,
    resources: Vec<ChangedResource>,
    /// The tiers that denied everything at one of the points, or at both.
    denied: Vec<DenyingTier>,
    /// Until when the bundles may be used, where revisions of bundles that end were named.
    #[serde(skip_serializing_if = "Ends::are_the_same")]
    ends: Ends,
}

#[derive(Serialize)]
struct ChangedResource {
    tier: TierKey,
    resource: ResourceKey,
    change: &'static str,
    /// A unified diff of its modules.
    diff: String,
}

/// What is listed of it stood last, and was not in force.
#[derive(Serialize)]
struct DenyingTier {
    tier: TierKey,
    /// Why it denied at the first point; none when it did not.
    from: Option<String>,
    /// Why it denied at the second.
    to: Option<String>,
}

/// In seconds since 1970; none of what does not end.
#[derive(Serialize)]
struct Ends {
    from: Option<u64>,
    to: Option<u64>,
}

impl Ends {
    fn are_the_same(&self) -> bool {
        self.from == self.to
    }
}

impl Difference {
    pub(super) fn between(from: String, to: String, before: &SnapshotAnswer, after: &SnapshotAnswer) -> Self {
        let index = |snapshot: &SnapshotAnswer| -> BTreeMap<(TierKey, ResourceKey), Vec<PolicyModule>> {
            let resources = snapshot.resources.iter();
            let entry = resources.map(|r| ((r.tier.clone(), r.policy.key.clone()), r.policy.modules.clone()));
            entry.collect()
        };
        let ends = Ends { from: before.not_after, to: after.not_after };
        let denied = denying(before, after);
        let (before, after) = (index(before), index(after));
        let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let changed = keys.into_iter().filter_map(|key| {
            let (old, new) = (before.get(key), after.get(key));
            let change = match (old, new) {
                (Some(old), Some(new)) if old == new => return None,
                (Some(_), Some(_)) => "changed",
                (None, _) => "added",
                (_, None) => "removed",
            };
            let none = Vec::new();
            let diff = diff_modules(old.unwrap_or(&none), new.unwrap_or(&none));
            Some(ChangedResource { tier: key.0.clone(), resource: key.1.clone(), change, diff })
        });
        Self { resources: changed.collect(), from, to, denied, ends }
    }
}

fn denying(before: &SnapshotAnswer, after: &SnapshotAnswer) -> Vec<DenyingTier> {
    let tiers: BTreeSet<&TierKey> =
        before.denied.iter().chain(&after.denied).map(|denied| &denied.tier).collect();
    let reason = |snapshot: &SnapshotAnswer, tier: &TierKey| {
        let denied = snapshot.denied.iter().find(|denied| denied.tier == *tier)?;
        Some(denied.reason.clone())
    };
    let denying = |tier: &TierKey| DenyingTier {
        tier: tier.clone(),
        from: reason(before, tier),
        to: reason(after, tier),
    };
    tiers.into_iter().map(denying).collect()
}

/// Modules as one text each, told apart by path and by their place among those of one path.
fn diff_modules(before: &[PolicyModule], after: &[PolicyModule]) -> String {
    let index = |modules: &[PolicyModule]| {
        let mut texts: BTreeMap<(String, usize), String> = BTreeMap::new();
        for module in modules {
            let number = texts.keys().filter(|(path, _)| *path == module.path).count();
            texts.insert((module.path.clone(), number), module.content.clone());
        }
        texts
    };
    let (before, after) = (index(before), index(after));
    let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let diff = |key: &(String, usize)| {
        let text = |texts: &BTreeMap<(String, usize), String>| texts.get(key).cloned().unwrap_or_default();
        let (old, new) = (text(&before), text(&after));
        (old != new)
            .then(|| TextDiff::from_lines(&old, &new).unified_diff().header(&key.0, &key.0).to_string())
    };
    paths.into_iter().filter_map(diff).collect()
}

impl Report for Difference {
    fn table(&self) -> String {
        let one = |changed: &ChangedResource| {
            let ChangedResource { tier, resource, change, diff } = changed;
            format!("{resource} in {tier}: {change}\n{}", visible(diff.trim_end()))
        };
        let decided = match self.is_decided_alike() {
            true => format!("nothing differs between {} and {}", self.from, self.to),
            false => self.resources.iter().map(one).collect::<Vec<_>>().join("\n\n"),
        };
        let denied = self.denied.iter().map(|denied| self.denial(denied)).collect::<Vec<_>>().join("\n");
        let parts = [denied, decided, self.ends_told()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
    }
}

impl Difference {
    /// Whether the same was decided at both points.
    fn is_decided_alike(&self) -> bool {
        self.resources.is_empty() && self.denied.iter().all(|denied| denied.from == denied.to)
    }

    fn denial(&self, DenyingTier { tier, from, to }: &DenyingTier) -> String {
        let (when, reason) = match (from, to) {
            (Some(_), Some(reason)) => (format!("{} and {}", self.from, self.to), reason),
            (Some(reason), None) => (format!("{}, and not at {}", self.from, self.to), reason),
            (None, Some(reason)) => (format!("{}, and not at {}", self.to, self.from), reason),
            (None, None) => return String::new(),
        };
        format!("{tier} denied everything at {when}: {}", visible(reason))
    }

    /// That bundles end apart; nothing when they do not.
    fn ends_told(&self) -> String {
        if self.ends.are_the_same() {
            return String::new();
        }
        let end = |point: &str, end: Option<u64>| match end {
            Some(end) => format!("{point} may be used until {}", at(end)),
            None => format!("{point} is the revision of no single bundle"),
        };
        format!("{}; {}", end(&self.from, self.ends.from), end(&self.to, self.ends.to))
    }
}

#[cfg(test)]
mod tests {
    use bundle_service::admin::wire::DeniedTier;

    use super::*;

    fn module(path: &str, content: &str) -> PolicyModule {
        PolicyModule { path: path.to_owned(), content: content.to_owned() }
    }

    #[test]
    fn shows_the_lines_that_differ() {
        let before = [module("a.rego", "package a\nx := 1\n"), module("b.rego", "package b\n")];
        let after = [module("a.rego", "package a\nx := 2\n"), module("b.rego", "package b\n")];
        let diff = diff_modules(&before, &after);
        assert!(
            diff.contains("-x := 1") && diff.contains("+x := 2") && !diff.contains("package b"),
            "{diff}"
        );
        assert_eq!(diff_modules(&before, &before), "");
        assert!(diff_modules(&before, &[]).contains("-package b"));
    }

    #[test]
    fn tells_modules_of_one_path_apart() {
        let before = [module("a.rego", "package a\n"), module("a.rego", "package b\n")];
        assert!(diff_modules(&before, &before[..1]).contains("-package b"));
    }

    fn denied(reason: &str) -> SnapshotAnswer {
        let denied = DeniedTier { tier: TierKey::Global, reason: reason.to_owned() };
        SnapshotAnswer { denied: vec![denied], ..SnapshotAnswer::default() }
    }

    fn shown(before: &SnapshotAnswer, after: &SnapshotAnswer) -> String {
        Difference::between("one".to_owned(), "two".to_owned(), before, after).table()
    }

    #[test]
    fn tells_the_end_apart_from_what_was_decided() {
        let until = |end: Option<u64>| SnapshotAnswer { not_after: end, ..SnapshotAnswer::default() };
        assert_eq!(
            shown(&until(Some(0)), &until(Some(60))),
            "nothing differs between one and two\n\none may be used until 1970-01-01T00:00:00Z; two may be \
             used until 1970-01-01T00:01:00Z"
        );
        let nothing = "nothing differs between one and two";
        assert_eq!(shown(&until(Some(60)), &until(Some(60))), nothing);
        assert_eq!(shown(&until(None), &until(None)), nothing);
    }

    #[test]
    fn says_that_a_tier_denied_although_the_same_is_listed() {
        let stood = SnapshotAnswer::default();
        let begins = shown(&stood, &denied("x"));
        assert_eq!(begins, "global denied everything at two, and not at one: x");
        assert!(shown(&denied("x"), &stood).starts_with("global denied everything at one, and not at two"));
        let both = shown(&denied("x"), &denied("x"));
        assert!(both.contains("one and two: x") && both.contains("nothing differs"), "{both}");
    }
}
