//! Rules that cannot stand beside one another, or beside a package.

use std::{collections::BTreeMap, sync::Arc};

use super::{Together, together::Placed};
use crate::{Code, Refusal, module::RuleKind};

pub(super) fn check(together: &Together<'_>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    // A path sorts before all that begin with it, so what is above a path lies on this stack.
    let mut above: Vec<(&Vec<Arc<str>>, Placed<'_>)> = Vec::new();
    for (path, rules) in together.paths() {
        refusals.extend(among(path, &rules));
        while above.last().is_some_and(|(other, _)| !path.starts_with(other)) {
            above.pop();
        }
        let Some(&first) = rules.first() else { continue };
        if let Some(&(_, closed)) = above.last() {
            refusals.push(conflict(first, closed, "lies inside a rule"));
        }
        // Below a partial object other rules may define further keys; below anything else nothing may.
        if let Some(&closed) = rules.iter().find(|placed| placed.rule.kind != RuleKind::PartialObject) {
            above.push((path, closed));
        }
    }
    refusals.extend(with_packages(together));
    refusals
}

/// Faults among the rules of one path.
fn among(path: &[Arc<str>], rules: &[Placed<'_>]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut first: Option<Placed<'_>> = None;
    let mut default: Option<Placed<'_>> = None;
    let mut constant: Option<Placed<'_>> = None;
    for &placed in rules {
        let rule = placed.rule;
        if let Some(first) = first.filter(|first| first.rule.kind != rule.kind) {
            refusals.push(conflict(placed, first, "is of another kind than a rule of the same name"));
        }
        if rule.is_default {
            if let Some(default) = default {
                refusals.push(conflict(placed, default, "has a second default"));
            }
            default = default.or(Some(placed));
        }
        if let Some(value) = rule.constant.as_ref() {
            if let Some(other) = constant.filter(|other| other.rule.constant.as_ref() != Some(value)) {
                refusals.push(conflict(
                    placed,
                    other,
                    "always has another value than a rule of the same name",
                ));
            }
            constant = constant.or(Some(placed));
        }
        first = first.or(Some(placed));
    }
    debug_assert!(!path.is_empty());
    refusals
}

/// A rule may neither be a package nor contain one.
fn with_packages(together: &Together<'_>) -> Vec<Refusal> {
    let mut packages: BTreeMap<&[Arc<str>], &crate::Module> = BTreeMap::new();
    for &module in together.modules {
        packages.entry(module.package.as_slice()).or_insert(module);
    }
    let mut refusals = Vec::new();
    for (path, rules) in together.paths() {
        let next = packages.range(path.as_slice()..).next().filter(|(package, _)| package.starts_with(path));
        let (Some((package, module)), Some(placed)) = (next, rules.first()) else { continue };
        let message = format!(
            "the rule `{}` stands where the package `{}` is, declared by {}",
            path.join("."),
            package.join("."),
            module.name(),
        );
        refusals.push(
            placed
                .module
                .refuse(placed.rule.position, Code::Conflict, message)
                .suggest("rename the rule or the package"),
        );
    }
    refusals
}

fn conflict(placed: Placed<'_>, other: Placed<'_>, how: &str) -> Refusal {
    let name: Vec<_> = placed
        .module
        .full_path(placed.rule)
        .iter()
        .map(|segment| segment.name().unwrap_or("_").to_owned())
        .collect();
    let (line, _) = other.rule.position;
    let message = format!("the rule `{}` {how}, see {}:{line}", name.join("."), other.module.name());
    placed
        .module
        .refuse(placed.rule.position, Code::Conflict, message)
        .suggest("rename one of the two, or remove it")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::{Code, check::tests::codes};

    #[rstest]
    #[case::two_defaults(&["package a\ndefault b := 1\ndefault b := 1"])]
    #[case::two_defaults_in_two_modules(&["package a\ndefault b := 1", "package a\ndefault b := false"])]
    #[case::complete_and_set(&["package a\nb contains 1\nb := 2"])]
    #[case::default_and_set(&["package a\ndefault b := false\nb contains 1"])]
    #[case::partial_object_and_complete(&["package a\nb[x] := 1 if some x in input.xs\nb := {}"])]
    #[case::function_and_rule(&["package a\nb(x) := x\nb := 2"])]
    #[case::arities(&["package a\nb(x) := x\nb(x, y) := [x, y]"])]
    #[case::rule_in_a_rule(&["package a\nb := 1\nb.c := 2"])]
    #[case::rule_in_a_set(&["package a\nb contains 1\nb.c := 2"])]
    #[case::rule_in_a_rule_not_adjacent(&["package a\nb := 1\nb.c := 2\nba := 3"])]
    #[case::rule_is_a_package(&["package a.b\nc := 1", "package a.b.c\nx := 1"])]
    #[case::rule_is_an_empty_package(&["package a.b\nc := 1", "package a.b.c"])]
    #[case::rule_contains_a_package(&["package a.b\nc := 1", "package a.b.c.d\nx := 1"])]
    #[case::always_two_values(&["package a\nallow := true", "package a\nallow := false"])]
    fn refuses(#[case] texts: &[&str]) {
        assert_eq!(codes(texts), [Code::Conflict]);
    }
}
