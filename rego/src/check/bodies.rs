//! The bodies of a program, those inside expressions included.

use crate::syntax::{
    ast::{Body, ExpressionId, ExpressionKind, Operands, TermId, Tree, Value},
    visit::Node,
};

use super::program::Program;

/// The comprehensions directly in a term: not those inside others.
pub(super) fn comprehensions_in_term(tree: &Tree, term: TermId) -> Vec<TermId> {
    let mut found = Vec::new();
    tree.visit_term(term, &mut |node| collect(tree, node, &mut found));
    found
}

/// The comprehensions directly in an expression: not those inside others, nor in bodies of its own.
pub(super) fn comprehensions(tree: &Tree, id: ExpressionId) -> Vec<TermId> {
    let mut found = Vec::new();
    let expression = tree.expression(id);
    match expression.kind {
        ExpressionKind::Term(term) => tree.visit_term(term, &mut |node| collect(tree, node, &mut found)),
        ExpressionKind::Call(list) | ExpressionKind::Some(list) => {
            tree.visit_terms(list, &mut |node| collect(tree, node, &mut found));
        }
        ExpressionKind::Every { domain, .. } => {
            tree.visit_term(domain, &mut |node| collect(tree, node, &mut found));
        }
        ExpressionKind::Not { .. } | ExpressionKind::And(_) | ExpressionKind::Or(_) => {}
    }
    for with in tree.withs(expression.withs) {
        tree.visit_term(with.target, &mut |node| collect(tree, node, &mut found));
        tree.visit_term(with.value, &mut |node| collect(tree, node, &mut found));
    }
    found
}

fn collect(tree: &Tree, node: Node, found: &mut Vec<TermId>) -> bool {
    let Node::Term(term) = node else { return true };
    let is = body_of(tree, term).is_some();
    if is {
        found.push(term);
    }
    !is
}

/// The body of a comprehension.
pub(super) fn body_of(tree: &Tree, term: TermId) -> Option<Body> {
    match tree.value(term) {
        Value::ArrayComprehension { body, .. }
        | Value::SetComprehension { body, .. }
        | Value::ObjectComprehension { body, .. } => Some(body),
        _ => None,
    }
}

/// Gives a comprehension another body.
pub(super) fn set_body(tree: &mut Tree, term: TermId, new: Body) {
    let value = match tree.value(term) {
        Value::ArrayComprehension { head, .. } => Value::ArrayComprehension { head, body: new },
        Value::SetComprehension { head, .. } => Value::SetComprehension { head, body: new },
        Value::ObjectComprehension { key, value, .. } => Value::ObjectComprehension { key, value, body: new },
        other => other,
    };
    tree.set_value(term, value);
}

/// Rewrites every body of a program by `rewrite`, which is told the module, and rewrites none inside what it is given:
/// that has been done before.
pub(super) fn rewrite(program: &mut Program, rewrite: &mut dyn FnMut(&mut Program, usize, Body) -> Body) {
    for id in program.rule_ids() {
        let Some(placed) = program.rule(id).copied() else { continue };
        let head = placed.rule.head;
        let arguments = program.tree.terms(head.arguments).to_vec();
        for term in arguments.into_iter().chain(head.key).chain(head.value) {
            in_term(program, placed.module, term, rewrite);
        }
        let body = one(program, placed.module, placed.rule.body, rewrite);
        if let Some(placed) = program.rules.get_mut(id.0 as usize) {
            placed.rule.body = body;
        }
    }
}

fn in_term(
    program: &mut Program,
    module: usize,
    term: TermId,
    rewrite: &mut dyn FnMut(&mut Program, usize, Body) -> Body,
) {
    for comprehension in comprehensions_in_term(&program.tree, term) {
        in_comprehension(program, module, comprehension, rewrite);
    }
}

fn in_comprehension(
    program: &mut Program,
    module: usize,
    term: TermId,
    rewrite: &mut dyn FnMut(&mut Program, usize, Body) -> Body,
) {
    let heads = match program.tree.value(term) {
        Value::ArrayComprehension { head, .. } | Value::SetComprehension { head, .. } => [Some(head), None],
        Value::ObjectComprehension { key, value, .. } => [Some(key), Some(value)],
        _ => return,
    };
    for head in heads.into_iter().flatten() {
        in_term(program, module, head, rewrite);
    }
    if let Some(body) = body_of(&program.tree, term) {
        let body = one(program, module, body, rewrite);
        set_body(&mut program.tree, term, body);
    }
}

fn one(
    program: &mut Program,
    module: usize,
    body: Body,
    rewrite: &mut dyn FnMut(&mut Program, usize, Body) -> Body,
) -> Body {
    for index in 0..body.len() {
        let Some(&id) = program.tree.body(body).get(index) else { continue };
        for comprehension in comprehensions(&program.tree, id) {
            in_comprehension(program, module, comprehension, rewrite);
        }
        let mut inner = |program: &mut Program, body: Body| one(program, module, body, &mut *rewrite);
        let kind = match program.tree.expression(id).kind {
            ExpressionKind::Every { key, value, domain, body } => {
                ExpressionKind::Every { key, value, domain, body: inner(program, body) }
            }
            ExpressionKind::Not { body, explicit } => {
                ExpressionKind::Not { body: inner(program, body), explicit }
            }
            ExpressionKind::And(sides) => ExpressionKind::And(both(program, sides, &mut inner)),
            ExpressionKind::Or(sides) => ExpressionKind::Or(both(program, sides, &mut inner)),
            _ => continue,
        };
        set_kind(&mut program.tree, id, kind);
    }
    rewrite(program, module, body)
}

/// Rewrites both sides of an `and` or `or`.
pub(super) fn both(
    program: &mut Program,
    sides: Operands,
    rewrite: &mut impl FnMut(&mut Program, Body) -> Body,
) -> Operands {
    let left = rewrite(program, sides.left);
    let right = rewrite(program, sides.right);
    Operands { left, right, ..sides }
}

/// Makes an expression say something else.
pub(super) fn set_kind(tree: &mut Tree, id: ExpressionId, kind: ExpressionKind) {
    if let Some(expression) = tree.expression_mut(id) {
        expression.kind = kind;
    }
}
