//! Calls: that the function exists, takes so many arguments, and is not deprecated.

use crate::{
    Code,
    capabilities::Capabilities,
    syntax::{
        Name,
        ast::{ExpressionId, ExpressionKind, Terms},
        visit::Node,
    },
};

use super::{
    finding::Finding,
    program::{PlacedRule, Program},
};

/// Checks every call.
pub(super) fn check(program: &Program) -> Vec<Finding> {
    let mut refusals = Vec::new();
    for placed in &program.rules {
        let mut seen = |node| {
            let Node::Expression(id) = node else { return true };
            match refusal(program, placed, id) {
                Some(refusal) => {
                    refusals.push(refusal);
                    false
                }
                None => true,
            }
        };
        let tree = &program.tree;
        let head = placed.rule.head;
        tree.visit_terms(head.arguments, &mut seen);
        for term in head.key.into_iter().chain(head.value) {
            tree.visit_term(term, &mut seen);
        }
        tree.visit_body(placed.rule.body, &mut seen);
    }
    refusals
}

fn refusal(program: &Program, placed: &PlacedRule, id: ExpressionId) -> Option<Finding> {
    let expression = program.tree.expression(id);
    let ExpressionKind::Call(call) = expression.kind else { return None };
    let path = program.tree.operator(call)?;
    let given = call.len() - 1;
    let refuse = |code, message: String| program.refuse(placed.module, expression.at, code, message);
    let function = || program.tree.dotted(path, &program.names);
    let Some(arity) = program.arity(path) else {
        let name = function();
        let refusal = refuse(Code::Type, format!("there is no function `{name}`"));
        let newer =
            Capabilities::first_with_builtin(&name).filter(|first| *first > program.capabilities.version());
        return Some(match (newer, similar(program, &name)) {
            (Some(first), _) => refusal.suggest(first.advice()),
            (None, Some(similar)) => refusal.suggest(format!("did you mean `{similar}`?")),
            (None, None) => refusal.suggest("define it, import it, or correct its name"),
        });
    };
    // A call that was taken out of a term has one more argument: its result.
    let fits = match expression.generated {
        true => program.tree.calls(call, Name::UNIFY) || given == arity + 1,
        false => given == arity || given == arity + 1,
    };
    if !fits {
        let given = given - usize::from(expression.generated);
        let message = format!("the function `{}` takes {arity} arguments, not {given}", function());
        return Some(refuse(Code::Type, message).suggest("give it as many as it takes"));
    }
    None
}

/// The function whose name is nearest to another one.
fn similar(program: &Program, name: &str) -> Option<&'static str> {
    let candidates = program.capabilities.builtins().filter(|builtin| !builtin.is_deprecated);
    let near = candidates.map(|builtin| (distance(name, builtin.name), builtin.name));
    near.filter(|&(distance, _)| distance <= 2).min().map(|(_, name)| name)
}

/// How many letters must be changed to make one short word another one; more than 2 counts as 3.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 || a.len() > 64 {
        return 3;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut above_left = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, y) in b.bytes().enumerate() {
            let (left, above) = (row.get(j).copied().unwrap_or(3), row.get(j + 1).copied().unwrap_or(3));
            let cost = (above_left + usize::from(x != y)).min(left + 1).min(above + 1);
            above_left = above;
            if let Some(cell) = row.get_mut(j + 1) {
                *cell = cost;
            }
        }
    }
    row.last().copied().unwrap_or(3).min(3)
}

/// Refuses calls of functions that OPA keeps only for older languages.
pub(super) fn check_deprecated(program: &Program) -> Vec<Finding> {
    let mut refusals = Vec::new();
    for placed in &program.rules {
        program.tree.visit_body(placed.rule.body, &mut |node| {
            if let Node::Expression(id) = node
                && let ExpressionKind::Call(call) = program.tree.expression(id).kind
            {
                refusals.extend(deprecated(program, placed, id, call));
            }
            true
        });
    }
    refusals
}

fn deprecated(program: &Program, placed: &PlacedRule, id: ExpressionId, call: Terms) -> Option<Finding> {
    let path = program.tree.operator(call)?;
    let builtin = program.builtin(path).filter(|builtin| builtin.is_deprecated)?;
    let at = program.tree.expression(id).at;
    let message = format!("the function `{}` is deprecated and refused in this language", builtin.name);
    let refusal = program.refuse(placed.module, at, Code::Type, message);
    Some(match replacement(builtin.name) {
        Some(replacement) => refusal.suggest(format!("use {replacement}")),
        None => refusal.suggest("use another function"),
    })
}

fn replacement(name: &str) -> Option<&'static str> {
    Some(match name {
        "any" => "`some x in xs` with a comparison, or `true in xs`",
        "all" => "`every x in xs { x }`",
        "set_diff" => "the operator `-`",
        "re_match" => "`regex.match`",
        "net.cidr_overlap" => "`net.cidr_contains`",
        "cast_array" | "cast_set" | "cast_string" | "cast_boolean" | "cast_null" | "cast_object" => {
            "a comparison of `type_name`, or a comprehension"
        }
        _ => return None,
    })
}
