//! Rules that depend on themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Together, together::Placed};
use crate::{
    Code, Refusal,
    module::{Meaning, Segment},
};

/// The most dependencies that are followed. References by variable make one for every rule they may reach.
const MAX_DEPENDENCIES: usize = 1_000_000;

pub(super) fn check(together: &Together<'_>) -> Vec<Refusal> {
    let Some(dependencies) = dependencies(together) else {
        let message = "the rules of these modules refer to one another in too many ways to be checked";
        let first = together.modules.first();
        return first
            .map(|module| module.refuse((0, 0), Code::TooLarge, message.to_owned()))
            .map(|refusal| refusal.suggest("refer to documents by constant names"))
            .into_iter()
            .collect();
    };
    cycle(&dependencies).map(|cycle| refusal(together, &cycle)).into_iter().collect()
}

/// The rules, where they lie in `data`.
#[derive(Default)]
struct Tree {
    children: BTreeMap<Arc<str>, Tree>,
    rules: Vec<usize>,
}

impl Tree {
    fn of(together: &Together<'_>) -> Self {
        let mut root = Self::default();
        for (index, placed) in together.rules.iter().enumerate() {
            let path = placed.module.package.iter().chain(placed.rule.constant_path());
            let node = path.fold(&mut root, |node, name| node.children.entry(Arc::clone(name)).or_default());
            node.rules.push(index);
        }
        root
    }

    /// Adds every rule that a reference may reach; false when there are too many.
    fn reach(&self, path: &[Segment], reached: &mut BTreeSet<usize>, budget: &mut usize) -> bool {
        // A rule above the path holds it in its value.
        for &rule in &self.rules {
            let Some(left) = budget.checked_sub(1) else { return false };
            *budget = left;
            reached.insert(rule);
        }
        match path.split_first() {
            Some((Segment::Name(name), rest)) => {
                self.children.get(name).is_none_or(|child| child.reach(rest, reached, budget))
            }
            Some((Segment::Dynamic, rest)) => {
                self.children.values().all(|child| child.reach(rest, reached, budget))
            }
            None => self.children.values().all(|child| child.reach(&[], reached, budget)),
        }
    }
}

fn dependencies(together: &Together<'_>) -> Option<Vec<Vec<usize>>> {
    let tree = Tree::of(together);
    let mut budget = MAX_DEPENDENCIES;
    together
        .rules
        .iter()
        .map(|&placed| {
            let mut reached = BTreeSet::new();
            let paths: BTreeSet<_> = placed
                .rule
                .references
                .iter()
                .filter_map(|reference| match together.meaning(placed, reference) {
                    Meaning::Data(path) => Some(path),
                    _ => None,
                })
                .collect();
            let complete = paths.iter().all(|path| tree.reach(path, &mut reached, &mut budget));
            complete.then(|| reached.into_iter().collect())
        })
        .collect()
}

/// The rules of a cycle, in the order of their dependency, if there is one.
fn cycle(dependencies: &[Vec<usize>]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; dependencies.len()];
    for start in 0..dependencies.len() {
        // Without recursion of our own: a chain of rules may be as long as the modules are.
        let mut way: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((rule, next)) = way.last_mut() {
            if *next == 0 {
                if marks[*rule] == Mark::Done {
                    way.pop();
                    continue;
                }
                marks[*rule] = Mark::Open;
            }
            let Some(&dependency) = dependencies[*rule].get(*next) else {
                marks[*rule] = Mark::Done;
                way.pop();
                continue;
            };
            *next += 1;
            match marks[dependency] {
                Mark::Done => {}
                Mark::New => way.push((dependency, 0)),
                Mark::Open => {
                    let from = way.iter().position(|(rule, _)| *rule == dependency)?;
                    return Some(way[from..].iter().map(|(rule, _)| *rule).collect());
                }
            }
        }
    }
    None
}

fn refusal(together: &Together<'_>, cycle: &[usize]) -> Refusal {
    let rules: Vec<Placed<'_>> =
        cycle.iter().filter_map(|&index| together.rules.get(index).copied()).collect();
    let names: Vec<String> = rules.iter().map(|placed| name(*placed)).collect();
    let first = names.first().cloned().unwrap_or_default();
    let message = format!("the rule `{first}` depends on itself: {} -> {first}", names.join(" -> "));
    match rules.first() {
        Some(placed) => placed
            .module
            .refuse(placed.rule.position, Code::Recursion, message)
            .suggest("refer to the documents that are needed by constant names"),
        None => Refusal::at(&Arc::from(""), "", (0, 0), Code::Recursion, message),
    }
}

fn name(placed: Placed<'_>) -> String {
    let path = placed.module.full_path(placed.rule);
    path.iter().map(|segment| segment.name().unwrap_or("_")).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::{
        Code,
        check::tests::{codes, refusals},
    };

    #[rstest]
    #[case::itself(&["package a\np if p"])]
    #[case::each_other(&["package a\np if q\nq if data.a.p"])]
    #[case::function(&["package a\nf(x) := f(x)"])]
    #[case::through_the_tree(&["package a.main\nd if data.a[x]", "package a.t\nallow if true"])]
    #[case::whole_data(&["package a\nd := data"])]
    #[case::by_input(&["package a\nd := data[input.k]"])]
    #[case::by_import(&["package a\nimport data.a.p as q\np if q"])]
    #[case::two_modules(&["package a\np if data.b.q", "package b\nq if data.a.p"])]
    #[case::by_with(&["package a\np if q with data.a.p as 1\nq := 1"])]
    #[case::in_a_comprehension(&["package a\np := [x | x := p[_]]"])]
    fn refuses(#[case] texts: &[&str]) {
        assert_eq!(codes(texts), [Code::Recursion]);
    }

    #[test]
    fn shows_the_way() {
        let found = refusals(&["package a\np if q\nq if r\nr if p"]);
        assert!(found[0].message.contains("a.p -> a.q -> a.r -> a.p"), "{}", found[0]);
    }

    #[test]
    fn survives_long_chains() {
        let rules: String = (0..15_000).map(|n| format!("r{n} if r{}\n", n + 1)).collect();
        assert_eq!(codes(&[&format!("package a\n{rules}r15000 := true")]), []);
    }

    #[test]
    fn gives_up_on_too_many_dependencies() {
        let rules: String = (0..3_000).map(|n| format!("r{n} if data.b[input.x]\n")).collect();
        let others: String = (0..3_000).map(|n| format!("r{n} := 1\n")).collect();
        assert_eq!(
            codes(&[&format!("package a\n{rules}"), &format!("package b\n{others}")]),
            [Code::TooLarge]
        );
    }
}
