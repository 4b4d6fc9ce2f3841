//! The stage of types: [`crate::types`] over a program.

use std::cell::OnceCell;

use crate::{
    Code,
    syntax::ast::Terms,
    types::{self, TypedRule},
};

use super::{
    finding::Finding,
    graph::Graph,
    program::{Program, RuleId},
    rule_tree::{Key, NodeId, RuleTree},
};

/// Finds what no value can make true, and paths that lead nowhere. The program has its order.
pub(super) fn check(program: &Program, graph: &Graph) -> Vec<Finding> {
    let typed = |id: RuleId| {
        let placed = program.rule(id)?;
        let rule = placed.rule;
        Some(TypedRule { path: placed.path, head: rule.head, body: rule.body, at: rule.at })
    };
    let rules: Vec<TypedRule> = program.rule_ids().filter_map(typed).collect();
    let order: Vec<usize> = program.order.iter().map(|id| id.0 as usize).collect();
    let dependents = Dependents { program, graph, users: OnceCell::new() };
    let mistakes = types::check(types::Program {
        tree: &program.tree,
        names: &program.names,
        capabilities: program.capabilities,
        rules: &rules,
        order: &order,
        dependents: &|target| dependents.of(target),
    });
    let finding = |mistake: types::Mistake| {
        let module = program.rule(RuleId(u32::try_from(mistake.rule).ok()?))?.module;
        let code = if mistake.is_excess { Code::TooLarge } else { Code::Type };
        let finding = program.refuse(module, mistake.at, code, mistake.message);
        Some(Finding { suggestion: mistake.suggestion, ..finding })
    };
    mistakes.into_iter().filter_map(finding).collect()
}

/// Which rules see it when a document is replaced.
struct Dependents<'a> {
    program: &'a Program,
    graph: &'a Graph,
    /// By rule or subtree: who depends on it.
    users: OnceCell<Vec<Vec<u32>>>,
}

impl Dependents<'_> {
    fn of(&self, target: Terms) -> Vec<usize> {
        let mut open = self.reached(target);
        let users = self.users.get_or_init(|| self.users());
        let mut seen = vec![false; self.graph.len()];
        let mut found = Vec::new();
        while let Some(number) = open.pop() {
            let Some(seen) = seen.get_mut(number as usize).filter(|seen| !**seen) else { continue };
            *seen = true;
            if self.graph.is_rule(number) {
                found.push(number as usize);
            }
            open.extend(users.get(number as usize).into_iter().flatten());
        }
        found
    }

    fn users(&self) -> Vec<Vec<u32>> {
        let mut users = vec![Vec::new(); self.graph.len()];
        for from in 0..u32::try_from(self.graph.len()).unwrap_or(u32::MAX) {
            for &to in self.graph.edges(from) {
                if let Some(users) = users.get_mut(to as usize) {
                    users.push(from);
                }
            }
        }
        users
    }

    /// The rules that a path may lead to: those on the way, and all below its end.
    fn reached(&self, target: Terms) -> Vec<u32> {
        let (tree, rules) = (&self.program.tree, &self.program.rule_tree);
        let mut at: Vec<NodeId> = vec![RuleTree::ROOT];
        let mut found = Vec::new();
        for (index, &step) in tree.terms(target).iter().enumerate() {
            at = match Key::of(tree, step).filter(|_| index == 0 || tree.is_constant(step)) {
                Some(key) => at.iter().filter_map(|&node| rules.child(node, key)).collect(),
                None => at.iter().flat_map(|&node| rules.children(node)).copied().collect(),
            };
            at.iter().for_each(|&node| self.collect(node, &mut found));
        }
        while let Some(node) = at.pop() {
            self.collect(node, &mut found);
            at.extend(rules.children(node));
        }
        found
    }

    fn collect(&self, node: NodeId, found: &mut Vec<u32>) {
        for rule in self.program.rule_tree.rules(node) {
            found.push(rule.0);
            let branches = (rule.0 + 1..).take_while(|next| {
                self.program.rule(RuleId(*next)).is_some_and(|placed| placed.rule.is_else)
            });
            found.extend(branches);
        }
    }
}
