//! Calls inside terms become expressions of their own, before the one that they stood in.

use crate::syntax::ast::{Body, Expression, ExpressionId, ExpressionKind, TermId, Terms, Value, Withs};

use super::{
    bodies::{both, set_kind},
    heads,
    program::Program,
};

/// Takes the calls out of all terms.
pub(super) fn rewrite(program: &mut Program) {
    for id in program.rule_ids() {
        let Some(placed) = program.rule(id).copied() else { continue };
        let head = placed.rule.head;
        let arguments = program.tree.terms(head.arguments).to_vec();
        let mut support = Vec::new();
        for argument in arguments.into_iter().chain(head.key).chain(head.value) {
            term(program, argument, &mut support);
        }
        heads::append(program, id, &support);
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
    }
    program.tree.add_body(&after)
}

fn expression(program: &mut Program, id: ExpressionId, after: &mut Vec<ExpressionId>) {
    let Expression { kind, withs, .. } = program.tree.expression(id);
    for with in program.tree.withs(withs).to_vec() {
        term(program, with.value, after);
    }
    let before = after.len();
    match kind {
        ExpressionKind::Term(only) => term(program, only, after),
        ExpressionKind::Call(call) => {
            for argument in program.tree.arguments(call).to_vec() {
                term(program, argument, after);
            }
        }
        ExpressionKind::Every { key, value, domain, body: inner } => {
            let equation = program.hoist(domain, withs);
            expression(program, equation, after);
            let inner = body(program, inner);
            set_kind(&mut program.tree, id, ExpressionKind::Every { key, value, domain, body: inner });
        }
        ExpressionKind::Not { body: inner, explicit } => {
            let inner = body(program, inner);
            set_kind(&mut program.tree, id, ExpressionKind::Not { body: inner, explicit });
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
    if !withs.is_empty() {
        modify(program, after.get(before..).unwrap_or_default(), withs);
    }
    after.push(id);
}

/// What was taken out of an expression is evaluated under its modifiers.
fn modify(program: &mut Program, support: &[ExpressionId], withs: Withs) {
    for &id in support {
        if let Some(expression) = program.tree.expression_mut(id) {
            expression.withs = withs;
        }
    }
}

/// Takes the calls out of a term; they are added to `support`.
fn term(program: &mut Program, id: TermId, support: &mut Vec<ExpressionId>) {
    match program.tree.value(id) {
        Value::Null | Value::Boolean(_) | Value::Number(_) | Value::String(_) | Value::Var(_) => {}
        Value::Template(_) => {}
        Value::Call(call) => self::call(program, id, call, support),
        Value::Ref(path) => {
            terms(program, path, support);
            if let Some(head) = program.tree.nth(path, 0)
                && is_collection(program.tree.value(head))
            {
                let none = program.no_withs();
                let equation = program.hoist(head, none);
                support.push(equation);
            }
        }
        Value::Array(list) | Value::Set(list) | Value::Object(list) => terms(program, list, support),
        Value::ArrayComprehension { head, body } => {
            let body = comprehension(program, &[head], body);
            program.tree.set_value(id, Value::ArrayComprehension { head, body });
        }
        Value::SetComprehension { head, body } => {
            let body = comprehension(program, &[head], body);
            program.tree.set_value(id, Value::SetComprehension { head, body });
        }
        Value::ObjectComprehension { key, value, body } => {
            let body = comprehension(program, &[key, value], body);
            program.tree.set_value(id, Value::ObjectComprehension { key, value, body });
        }
    }
}

fn terms(program: &mut Program, list: Terms, support: &mut Vec<ExpressionId>) {
    for index in 0..list.len() {
        if let Some(id) = program.tree.nth(list, index) {
            term(program, id, support);
        }
    }
}

fn call(program: &mut Program, id: TermId, call: Terms, support: &mut Vec<ExpressionId>) {
    for argument in program.tree.arguments(call).to_vec() {
        term(program, argument, support);
    }
    let at = program.tree.term(id).at;
    let variable = program.generate(at);
    let whole = [program.tree.terms(call), &[variable]].concat();
    let whole = program.tree.add_terms(&whole);
    let withs = program.no_withs();
    support.push(program.tree.add_expression(Expression {
        kind: ExpressionKind::Call(whole),
        negated: false,
        generated: true,
        assigned: false,
        withs,
        at,
    }));
    program.tree.set_value(id, program.tree.value(variable));
}

fn is_collection(value: Value) -> bool {
    !matches!(
        value,
        Value::Null | Value::Boolean(_) | Value::Number(_) | Value::String(_) | Value::Var(_) | Value::Ref(_)
    )
}

fn comprehension(program: &mut Program, heads: &[TermId], before: Body) -> Body {
    let mut support = Vec::new();
    for &head in heads {
        term(program, head, &mut support);
    }
    let before = program.append(before, &support);
    body(program, before)
}
