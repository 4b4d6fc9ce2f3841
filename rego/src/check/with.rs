//! `with`: what it may replace, and by what.

use crate::{
    Code,
    syntax::{
        Name, Offset,
        ast::{Body, ExpressionId, TermId, Terms, Value, With},
    },
};

use super::{
    bodies,
    finding::Finding,
    program::{Program, RuleId},
};

/// Checks all modifiers, and takes what must be evaluated out of their values.
pub(super) fn rewrite(program: &mut Program) -> Vec<Finding> {
    let mut refusals = Vec::new();
    if program.tree.withs.is_empty() {
        return refusals;
    }
    bodies::rewrite(program, &mut |program, module, body| one(program, module, body, &mut refusals));
    refusals
}

fn one(program: &mut Program, module: usize, body: Body, refusals: &mut Vec<Finding>) -> Body {
    let mut after = Vec::with_capacity(body.len());
    for id in program.tree.body(body).to_vec() {
        expression(program, module, id, (&mut after, refusals));
        after.push(id);
    }
    match after.len() == body.len() {
        true => body,
        false => program.tree.add_body(&after),
    }
}

fn expression(
    program: &mut Program,
    module: usize,
    id: ExpressionId,
    (after, refusals): (&mut Vec<ExpressionId>, &mut Vec<Finding>),
) {
    let withs = program.tree.expression(id).withs;
    for with in program.tree.withs(withs).to_vec() {
        match check(program, with) {
            Ok(true) => {
                let none = program.no_withs();
                after.push(program.hoist(with.value, none));
            }
            Ok(false) => {}
            Err((code, message)) => {
                let at = program.tree.term(with.target).at;
                let refusal = program.refuse(module, at, code, message);
                refusals.push(refusal.suggest("replace a document below `input` or `data`, or a function"));
            }
        }
    }
}

/// Whether the value must be evaluated before.
fn check(program: &mut Program, with: With) -> Result<bool, (Code, String)> {
    if let Value::Var(name) = program.tree.value(with.value)
        && program.capabilities.builtin(program.names.text(name)).is_some()
    {
        as_path(program, with.value);
    }
    match program.tree.value(with.target) {
        Value::Ref(path) if program.tree.root(path) == Some(Name::DATA) => {
            if data(program, path, with.value)? {
                return Ok(false);
            }
        }
        Value::Ref(path) if program.tree.root(path) == Some(Name::INPUT) => {}
        target => {
            let builtin = match target {
                Value::Ref(path) => program.builtin(path),
                Value::Var(name) => program.capabilities.builtin(program.names.text(name)),
                _ => None,
            };
            let Some(builtin) = builtin else {
                let target = program.tree.display(with.target, &program.names);
                return Err((
                    Code::Type,
                    format!("`with` replaces `{target}`, which is neither a document nor a function"),
                ));
            };
            if matches!(target, Value::Var(_)) {
                as_path(program, with.target);
            }
            let refused = match builtin.name {
                "eq" | "rego.metadata.chain" | "rego.metadata.rule" => Some("which cannot be replaced"),
                name if name.starts_with("internal.") => Some("which is a function of the language itself"),
                _ if builtin.is_relation => Some("which may have several results"),
                _ if builtin.is_void() => Some("which has no result"),
                _ => None,
            };
            if let Some(why) = refused {
                return Err((Code::Compile, format!("`with` replaces `{}`, {why}", builtin.name)));
            }
            if is_function(program, with.value) {
                return Ok(false);
            }
        }
    }
    Ok(program.requires_evaluation(with.value))
}

/// A function that stands as a variable becomes a path.
fn as_path(program: &mut Program, term: TermId) {
    let at: Offset = program.tree.term(term).at;
    let head = program.tree.add_term(program.tree.value(term), at);
    let path = program.tree.add_terms(&[head]);
    program.tree.set_value(term, Value::Ref(path));
}

/// Whether the value is a function that takes the place of another one.
fn data(program: &Program, target: Terms, value: TermId) -> Result<bool, (Code, String)> {
    let tree = &program.rule_tree;
    let steps = program.tree.terms(target);
    let (last, above) = steps.split_last().unwrap_or((&TermId(0), &[]));
    let mut node = super::rule_tree::RuleTree::ROOT;
    for &step in above {
        let child = super::rule_tree::Key::of(&program.tree, step).and_then(|key| tree.child(node, key));
        let Some(child) = child else { break };
        if !tree.rules(child).is_empty() {
            let message = "`with` replaces a part of what a rule defines; only the whole can be replaced";
            return Err((Code::Compile, message.to_owned()));
        }
        node = child;
    }
    let is_function = |rules: &[RuleId]| {
        rules.iter().filter_map(|&id| program.rule(id)).any(|placed| !placed.rule.head.arguments.is_empty())
    };
    let replaced = super::rule_tree::Key::of(&program.tree, *last).and_then(|key| tree.child(node, key));
    if replaced.is_some_and(|node| is_function(tree.rules(node))) && self::is_function(program, value) {
        return Ok(true);
    }
    // A function is not evaluated to be put somewhere.
    Ok(match program.tree.value(value) {
        Value::Ref(path) => is_function(tree.exactly(program.tree.terms(path), &program.tree)),
        _ => false,
    })
}

/// Whether a value is a path at which there are rules, or a built-in function.
fn is_function(program: &Program, value: TermId) -> bool {
    match program.tree.value(value) {
        Value::Ref(path) => {
            program.rule_tree.find(program.tree.terms(path), &program.tree).is_some()
                || program.builtin(path).is_some()
        }
        Value::Var(name) => program.capabilities.builtin(program.names.text(name)).is_some(),
        _ => false,
    }
}
