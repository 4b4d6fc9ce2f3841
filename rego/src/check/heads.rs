//! Heads: what they compute goes into the body, and the rules get their places in `data`.

use crate::syntax::ast::Value;

use super::{
    program::{Program, RuleId},
    rule_tree::{Key, RuleTree},
};

/// Makes each step of a rule's name a constant or a variable.
pub(super) fn rewrite_names(program: &mut Program) {
    for id in program.rule_ids() {
        let Some(placed) = program.rule(id).copied().filter(|placed| !placed.rule.is_else) else { continue };
        let mut equations = Vec::new();
        for &step in program.tree.terms(placed.rule.head.reference).to_vec().iter().skip(1) {
            if !program.tree.is_scalar(step) && !matches!(program.tree.value(step), Value::Var(_)) {
                let none = program.no_withs();
                equations.push(program.hoist(step, none));
            }
        }
        append(program, id, &equations);
    }
}

/// Takes everything that must be evaluated out of the heads.
pub(super) fn rewrite_values(program: &mut Program) {
    for id in program.rule_ids() {
        let Some(placed) = program.rule(id).copied() else { continue };
        let head = placed.rule.head;
        let arguments = program.tree.terms(head.arguments).to_vec();
        let mut equations = Vec::new();
        for term in head.key.into_iter().chain(head.value).chain(arguments) {
            if program.requires_evaluation(term) {
                let none = program.no_withs();
                equations.push(program.hoist(term, none));
            }
        }
        append(program, id, &equations);
    }
}

/// Adds expressions to the body of a rule.
pub(super) fn append(program: &mut Program, id: RuleId, more: &[crate::syntax::ast::ExpressionId]) {
    let Some(body) = program.rule(id).map(|placed| placed.rule.body) else { return };
    let body = program.append(body, more);
    if let Some(placed) = program.rules.get_mut(id.0 as usize) {
        placed.rule.body = body;
    }
}

/// Puts every rule where it lies in `data`, and makes a place for packages without rules.
pub(super) fn place(program: &mut Program) {
    let mut tree = RuleTree::new();
    let mut with_rules = vec![false; program.modules.len()];
    for id in program.rule_ids() {
        let Some(placed) = program.rule(id).filter(|placed| !placed.rule.is_else) else { continue };
        if let Some(with_rules) = with_rules.get_mut(placed.module) {
            *with_rules = true;
        }
        let path = program.ground_path(placed).iter().map_while(|&step| Key::of(&program.tree, step));
        let node = tree.add_path(path);
        tree.add_rule(node, id);
    }
    for (index, _) in with_rules.iter().enumerate().filter(|(_, with_rules)| !**with_rules) {
        let path = program.package(index).into_iter().map(Key::String);
        tree.add_path(std::iter::once(Key::Root(crate::syntax::Name::DATA)).chain(path));
    }
    program.rule_tree = tree;
}
