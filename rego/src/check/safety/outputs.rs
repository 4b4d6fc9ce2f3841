//! The variables that an expression binds, given those that are bound already.

use crate::syntax::{
    Name,
    ast::{Expression, ExpressionId, ExpressionKind, TermId, Terms, Tree, Value},
    visit::Node,
};

use super::{
    super::{
        program::Program,
        vars::{self, Finder, Skip, Vars},
    },
    unify::unify,
};

/// What tells whether a variable is bound.
pub(in super::super) type Bound<'a> = dyn Fn(Name) -> bool + 'a;

/// The variables that an expression binds.
pub(in super::super) fn of_expression(program: &Program, id: ExpressionId, bound: &Bound<'_>) -> Vars {
    let tree = &program.tree;
    let expression = tree.expression(id);
    if expression.negated || !withs_are_bound(tree, &expression, bound) {
        return Vars::new();
    }
    match expression.kind {
        ExpressionKind::Term(_) => of_terms(tree, id, bound),
        ExpressionKind::Call(call) if tree.calls(call, Name::UNIFY) => {
            of_equation(tree, id, &expression, bound)
        }
        ExpressionKind::Call(call) => of_call(program, id, call, bound),
        ExpressionKind::Every { domain, .. } => {
            let mut found = Vars::new();
            in_term(tree, domain, bound, &mut found);
            found
        }
        ExpressionKind::Some(_)
        | ExpressionKind::Not { .. }
        | ExpressionKind::And(_)
        | ExpressionKind::Or(_) => Vars::new(),
    }
}

fn withs_are_bound(tree: &Tree, expression: &Expression, bound: &Bound<'_>) -> bool {
    let mut all = true;
    for &with in tree.withs(expression.withs) {
        Finder { tree, skip: Skip::SAFETY, found: |name| all &= bound(name) }.with(with);
    }
    all
}

/// The variables that `left = right` binds.
pub(in super::super) fn of_equation(
    tree: &Tree,
    id: ExpressionId,
    expression: &Expression,
    bound: &Bound<'_>,
) -> Vars {
    let ExpressionKind::Call(call) = expression.kind else { return Vars::new() };
    let [_, left, right] = *tree.terms(call) else { return Vars::new() };
    let mut found = of_terms(tree, id, bound);
    // What is assigned is only ever a result: nothing becomes bound through it.
    let assigned = match expression.assigned {
        true => vars::of_term(tree, left, Skip::NOTHING),
        false => Vars::new(),
    };
    let known = |name: Name| !assigned.contains(&name) && (bound(name) || found.contains(&name));
    let unified = unify(tree, left, right, &known);
    found.retain(|name| !assigned.contains(name));
    found.extend(unified);
    found.retain(|&name| !bound(name));
    found
}

fn of_call(program: &Program, id: ExpressionId, call: Terms, bound: &Bound<'_>) -> Vars {
    let tree = &program.tree;
    let Some(arity) = tree.operator(call).and_then(|path| program.arity(path)) else { return Vars::new() };
    let mut found = of_terms(tree, id, bound);
    let (inputs, results) = tree.terms(call).split_at_checked(arity + 1).unwrap_or((&[], &[]));
    if results.is_empty() {
        return found;
    }
    let mut all = true;
    for &input in inputs {
        let name_is_bound = |name| all &= bound(name) || found.contains(&name);
        Finder { tree, skip: Skip::RESULT, found: name_is_bound }.term(input);
    }
    if !all {
        return Vars::new();
    }
    for &result in results {
        found.extend(vars::of_term(tree, result, Skip::RESULT));
    }
    found
}

/// The variables that references in an expression bind as their steps.
fn of_terms(tree: &Tree, id: ExpressionId, bound: &Bound<'_>) -> Vars {
    let mut found = Vars::new();
    let mut seen = |node| look(tree, node, bound, &mut found);
    tree.visit_expression(id, &mut seen);
    found
}

fn in_term(tree: &Tree, term: TermId, bound: &Bound<'_>, found: &mut Vars) {
    tree.visit_term(term, &mut |node| look(tree, node, bound, found));
}

fn look(tree: &Tree, node: Node, bound: &Bound<'_>, found: &mut Vars) -> bool {
    let Node::Term(term) = node else { return true };
    match tree.value(term) {
        Value::ArrayComprehension { .. }
        | Value::SetComprehension { .. }
        | Value::ObjectComprehension { .. }
        | Value::Template(_) => false,
        Value::Ref(path) => {
            if !is_bound(tree, path, bound) {
                return false;
            }
            if !tree.is_ground_path(path) {
                let skip = Skip { heads: true, ..Skip::NOTHING };
                let mut finder = Finder {
                    tree,
                    skip,
                    found: |name| {
                        found.insert(name);
                    },
                };
                for &step in tree.terms(path).iter().skip(1) {
                    finder.term(step);
                }
            }
            true
        }
        _ => true,
    }
}

/// Whether what a reference begins with is bound.
pub(super) fn is_bound(tree: &Tree, path: Terms, bound: &Bound<'_>) -> bool {
    let Some(head) = tree.nth(path, 0) else { return true };
    term_is_bound(tree, head, bound)
}

/// Whether all variables of a term that must be bound are.
pub(super) fn term_is_bound(tree: &Tree, term: TermId, bound: &Bound<'_>) -> bool {
    match tree.value(term) {
        Value::Var(name) => bound(name),
        _ => {
            let mut all = true;
            Finder { tree, skip: Skip::SAFETY, found: |name| all &= bound(name) }.term(term);
            all
        }
    }
}
