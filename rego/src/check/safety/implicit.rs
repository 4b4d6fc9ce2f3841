//! The variables that the body of a `not`, `and` or `or` without braces needs from around it.

use hashbrown::HashMap;

use crate::syntax::{
    Name,
    ast::{Body, ExpressionKind},
};

use super::{
    super::vars::{self, Finder, Skip, Vars},
    Checker, outputs,
};

impl Checker<'_> {
    pub(super) fn implicit(&self, body: Body) -> Vars {
        let tree = &self.program.tree;
        let expressions = tree.body(body);
        let mut occurrences: HashMap<Name, usize> = HashMap::new();
        for &id in expressions {
            let mut names = Vars::new();
            Finder {
                tree,
                skip: Skip::SAFETY,
                found: |name| {
                    names.insert(name);
                },
            }
            .expression(id);
            for name in names {
                *occurrences.entry(name).or_default() += 1;
            }
        }
        if expressions.len() < 2 {
            return occurrences.into_keys().collect();
        }
        let binds = self.bindings(body, &occurrences);
        // A variable that the body binds, and needs in another expression, is its own.
        let needed = |(name, count): (Name, usize)| (count == 1 || !binds.contains(&name)).then_some(name);
        occurrences.into_iter().filter_map(needed).collect()
    }

    fn bindings(&self, body: Body, occurrences: &HashMap<Name, usize>) -> Vars {
        let tree = &self.program.tree;
        let mut sides = Vars::new();
        let mut equations = Vec::new();
        let mut binds = Vars::new();
        for &id in tree.body(body) {
            let ExpressionKind::Call(call) = tree.expression(id).kind else { continue };
            if tree.calls(call, Name::UNIFY) {
                equations.push(id);
                sides.extend(tree.arguments(call).iter().take(2).filter_map(|&side| tree.var(side)));
                continue;
            }
            let Some(arity) = tree.operator(call).and_then(|path| self.program.arity(path)) else { continue };
            for &result in tree.terms(call).iter().skip(arity + 1) {
                binds.extend(vars::of_term(tree, result, Skip::RESULT));
            }
        }
        let mut bound = Vars::new();
        loop {
            let before = bound.len();
            for &id in &equations {
                let known = |name: Name| {
                    bound.contains(&name)
                        || matches!(name, Name::DATA | Name::INPUT)
                        || (occurrences.contains_key(&name) && !sides.contains(&name))
                };
                let found = outputs::of_equation(tree, id, &tree.expression(id), &known);
                bound.extend(found);
            }
            if bound.len() == before {
                break;
            }
        }
        binds.extend(bound);
        binds
    }
}
