//! References and comprehensions inside terms become equations of their own, before the expression that they stood
//! in, so that every term has the type of what it is made of.

use crate::syntax::{
    Name,
    ast::{Body, ExpressionId, ExpressionKind, TermId, Terms, Value, Withs},
};

use super::{
    bodies::{self, both, set_kind},
    program::Program,
};

/// Binds what a comprehension gives to a variable of its body, where it has to be evaluated.
pub(super) fn rewrite_comprehensions(program: &mut Program) {
    let mut terms: Vec<TermId> = Vec::new();
    for index in 0..program.tree.terms.len() {
        let term = TermId(u32::try_from(index).unwrap_or(u32::MAX));
        if bodies::body_of(&program.tree, term).is_some() {
            terms.push(term);
        }
    }
    for term in terms {
        let heads = match program.tree.value(term) {
            Value::ArrayComprehension { head, .. } | Value::SetComprehension { head, .. } => {
                [Some(head), None]
            }
            Value::ObjectComprehension { key, value, .. } => [Some(key), Some(value)],
            _ => continue,
        };
        let mut equations = Vec::new();
        for head in heads.into_iter().flatten() {
            if program.requires_evaluation(head) {
                let none = program.no_withs();
                equations.push(program.hoist(head, none));
            }
        }
        if let Some(body) = bodies::body_of(&program.tree, term) {
            let body = program.append(body, &equations);
            bodies::set_body(&mut program.tree, term, body);
        }
    }
}

/// Makes `==` an equation: what it compares is bound by now.
pub(super) fn rewrite_equals(program: &mut Program) {
    for index in 0..program.tree.expressions.len() {
        let id = ExpressionId(u32::try_from(index).unwrap_or(u32::MAX));
        let ExpressionKind::Call(call) = program.tree.expression(id).kind else { continue };
        let [operator, left, right] = *program.tree.terms(call) else { continue };
        if program.tree.calls(call, Name::EQUAL) {
            let at = program.tree.term(operator).at;
            let unify = program.operator(Name::UNIFY, at);
            let call = program.tree.add_terms(&[unify, left, right]);
            set_kind(&mut program.tree, id, ExpressionKind::Call(call));
        }
    }
}

/// Takes references and comprehensions out of the terms of all bodies.
pub(super) fn rewrite(program: &mut Program) {
    for id in program.rule_ids() {
        let Some(before) = program.rule(id).map(|placed| placed.rule.body) else { continue };
        let after = body(program, before);
        if let Some(placed) = program.rules.get_mut(id.0 as usize) {
            placed.rule.body = after;
        }
    }
}

fn body(program: &mut Program, before: Body) -> Body {
    let mut after = Vec::with_capacity(before.len());
    for id in program.tree.body(before).to_vec() {
        expression(program, id, &mut after);
        after.push(id);
    }
    program.tree.add_body(&after)
}

fn expression(program: &mut Program, id: ExpressionId, after: &mut Vec<ExpressionId>) {
    let expression = program.tree.expression(id);
    let withs = expression.withs;
    match expression.kind {
        ExpressionKind::Term(term) => outer(program, term, withs, after),
        ExpressionKind::Call(call) => {
            let equation = program.tree.calls(call, Name::UNIFY);
            if equation && call.len() != 3 {
                return;
            }
            for argument in program.tree.arguments(call).to_vec() {
                match equation {
                    true => outer(program, argument, withs, after),
                    false => inner(program, argument, withs, after),
                }
            }
        }
        ExpressionKind::Every { key, value, domain, body: inside } => {
            inner(program, domain, withs, after);
            let inside = body(program, inside);
            set_kind(&mut program.tree, id, ExpressionKind::Every { key, value, domain, body: inside });
        }
        ExpressionKind::Not { body: inside, explicit } => {
            let inside = body(program, inside);
            set_kind(&mut program.tree, id, ExpressionKind::Not { body: inside, explicit });
        }
        ExpressionKind::And(sides) => {
            let sides = both(program, sides, &mut |program, side| body(program, side));
            set_kind(&mut program.tree, id, ExpressionKind::And(sides));
        }
        ExpressionKind::Or(sides) => {
            let sides = both(program, sides, &mut |program, side| body(program, side));
            set_kind(&mut program.tree, id, ExpressionKind::Or(sides));
        }
        ExpressionKind::Some(_) => {}
    }
}

/// A term that may itself be a reference or a comprehension.
fn outer(program: &mut Program, term: TermId, withs: Withs, after: &mut Vec<ExpressionId>) {
    match program.tree.value(term) {
        Value::Ref(path) => steps(program, path, withs, after),
        Value::ArrayComprehension { .. }
        | Value::SetComprehension { .. }
        | Value::ObjectComprehension { .. } => {
            inside(program, term);
        }
        _ => inner(program, term, withs, after),
    }
}

fn steps(program: &mut Program, path: Terms, withs: Withs, after: &mut Vec<ExpressionId>) {
    for index in 1..path.len() {
        if let Some(step) = program.tree.nth(path, index) {
            inner(program, step, withs, after);
        }
    }
}

fn inside(program: &mut Program, comprehension: TermId) {
    if let Some(before) = bodies::body_of(&program.tree, comprehension) {
        let after = body(program, before);
        bodies::set_body(&mut program.tree, comprehension, after);
    }
}

/// A term that must not be a reference or a comprehension any more.
fn inner(program: &mut Program, term: TermId, withs: Withs, after: &mut Vec<ExpressionId>) {
    match program.tree.value(term) {
        Value::Ref(path) => {
            steps(program, path, withs, after);
            after.push(program.hoist(term, withs));
        }
        Value::Array(list) | Value::Set(list) | Value::Object(list) => {
            for index in 0..list.len() {
                if let Some(element) = program.tree.nth(list, index) {
                    inner(program, element, withs, after);
                }
            }
        }
        Value::ArrayComprehension { .. }
        | Value::SetComprehension { .. }
        | Value::ObjectComprehension { .. } => {
            inside(program, term);
            after.push(program.hoist(term, withs));
        }
        _ => {}
    }
}
