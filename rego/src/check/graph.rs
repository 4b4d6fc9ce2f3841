//! Which rules depend on which.
//!
//! A reference with variables in it may reach every rule below the place where they begin. Such a subtree is a node of
//! the graph of its own, so that the graph stays as small as the program.

use crate::syntax::{
    ast::{TermId, Terms, Value},
    visit::Node,
};

use super::{
    program::{PlacedRule, Program, RuleId},
    rule_tree::{Key, NodeId, RuleTree},
};

/// How many steps through the tree of rules may be taken for each node of the program, and in all.
const WORK: usize = 1_000_000;
const WORK_PER_TERM: usize = 16;

/// The dependencies of a program.
#[derive(Debug)]
pub(super) struct Graph {
    /// First the rules by number, then the subtrees by the number of their node.
    edges: Vec<Vec<u32>>,
    rules: usize,
}

impl Graph {
    /// Finds the dependencies; none when there are too many.
    pub(super) fn of(program: &Program) -> Option<Self> {
        let rules = program.rules.len();
        let nodes = program.rule_tree.nodes().count();
        let mut graph = Self { edges: vec![Vec::new(); rules + nodes], rules };
        for node in program.rule_tree.nodes() {
            graph.subtree(program, node);
        }
        let mut work = WORK + WORK_PER_TERM * program.tree.terms.len();
        for id in program.rule_ids() {
            let Some(placed) = program.rule(id) else { continue };
            for path in references(program, placed) {
                graph.reference(program, id, path, &mut work)?;
            }
        }
        for edges in &mut graph.edges {
            edges.sort_unstable();
            edges.dedup();
        }
        Some(graph)
    }

    /// The numbers of rules and subtrees that one depends on.
    pub(super) fn edges(&self, from: u32) -> &[u32] {
        self.edges.get(from as usize).map_or(&[], Vec::as_slice)
    }

    /// How many rules and subtrees there are.
    pub(super) fn len(&self) -> usize {
        self.edges.len()
    }

    /// Whether a number is that of a rule.
    pub(super) fn is_rule(&self, number: u32) -> bool {
        (number as usize) < self.rules
    }

    fn connect(&mut self, from: u32, to: u32) {
        if let Some(edges) = self.edges.get_mut(from as usize).filter(|edges| edges.last() != Some(&to)) {
            edges.push(to);
        }
    }

    fn number(&self, node: NodeId) -> u32 {
        u32::try_from(self.rules).unwrap_or(u32::MAX).saturating_add(node.0)
    }

    /// A rule and its branches.
    fn connect_rule(&mut self, program: &Program, from: u32, rule: RuleId) {
        self.connect(from, rule.0);
        let mut next = rule.0 + 1;
        while program.rule(RuleId(next)).is_some_and(|placed| placed.rule.is_else) {
            self.connect(from, next);
            next += 1;
        }
    }

    fn subtree(&mut self, program: &Program, node: NodeId) {
        let number = self.number(node);
        for &rule in program.rule_tree.rules(node) {
            self.connect_rule(program, number, rule);
        }
        for &child in program.rule_tree.children(node) {
            self.connect(number, self.number(child));
        }
    }

    /// Everything that a reference may reach.
    fn reference(&mut self, program: &Program, from: RuleId, path: Terms, work: &mut usize) -> Option<()> {
        let steps = program.tree.terms(path).to_vec();
        let constants =
            steps.iter().rposition(|&step| program.tree.is_constant(step)).map_or(0, |last| last + 1);
        let mut open = vec![(RuleTree::ROOT, 0)];
        while let Some((node, index)) = open.pop() {
            *work = work.checked_sub(1)?;
            if index >= constants.max(1) {
                // Nothing but variables follows.
                self.connect(from.0, self.number(node));
                continue;
            }
            let Some(&step) = steps.get(index) else { continue };
            if index == 0 || program.tree.is_constant(step) {
                let child = Key::of(&program.tree, step).and_then(|key| program.rule_tree.child(node, key));
                if let Some(child) = child {
                    self.rules_at(program, from, child, (&steps, index + 1), work)?;
                    open.push((child, index + 1));
                }
                continue;
            }
            for &child in program.rule_tree.children(node) {
                self.rules_at(program, from, child, (&steps, index + 1), work)?;
                open.push((child, index + 1));
            }
        }
        Some(())
    }

    /// The rules at a node whose further steps do not contradict those of the reference.
    fn rules_at(
        &mut self,
        program: &Program,
        from: RuleId,
        node: NodeId,
        (steps, index): (&[TermId], usize),
        work: &mut usize,
    ) -> Option<()> {
        for &rule in program.rule_tree.rules(node) {
            *work = work.checked_sub(1)?;
            let Some(placed) = program.rule(rule) else { continue };
            if !program.capabilities.version().tells_rules_apart_behind_variables() {
                self.connect_rule(program, from.0, rule);
                continue;
            }
            let own = program.tree.terms(placed.path).iter().skip(index);
            let contradicts = |(&a, &b): (&TermId, &TermId)| {
                let constant = program.tree.is_constant(a) && program.tree.is_constant(b);
                constant && !same(program, a, b)
            };
            if !own.zip(steps.iter().skip(index)).any(contradicts) {
                self.connect_rule(program, from.0, rule);
            }
        }
        Some(())
    }
}

fn same(program: &Program, a: TermId, b: TermId) -> bool {
    match (Key::of(&program.tree, a), Key::of(&program.tree, b)) {
        (Some(a), Some(b)) => a == b,
        // Collections: the same text is surely the same, another one may be.
        _ => std::mem::discriminant(&program.tree.value(a)) == std::mem::discriminant(&program.tree.value(b)),
    }
}

/// All references of a rule.
fn references(program: &Program, placed: &PlacedRule) -> Vec<Terms> {
    let tree = &program.tree;
    let mut found = Vec::new();
    let mut seen = |node| {
        if let Node::Term(term) = node
            && let Value::Ref(path) = tree.value(term)
            && tree.root(path) == Some(crate::syntax::Name::DATA)
        {
            found.push(path);
        }
        true
    };
    let head = placed.rule.head;
    tree.visit_terms(head.arguments, &mut seen);
    for term in head.key.into_iter().chain(head.value) {
        tree.visit_term(term, &mut seen);
    }
    tree.visit_body(placed.rule.body, &mut seen);
    found
}
