//! The bodies inside an expression.

use crate::syntax::{
    Name,
    ast::{Body, ExpressionId, ExpressionKind, TermId, Value},
    visit::Node,
};

use super::{
    super::vars::{Finder, Skip, Vars},
    Checker,
};

/// A body inside an expression, and what it is for.
enum Closure {
    Comprehension(Vec<TermId>, Body),
    Body(Body),
}

impl Checker<'_> {
    /// All variables in the closures of an expression.
    pub(super) fn closed_over(&self, id: ExpressionId) -> Vec<Name> {
        let tree = &self.program.tree;
        let mut names = Vec::new();
        let closures = self.closures(id);
        if closures.is_empty() {
            return names;
        }
        let mut finder = Finder { tree, skip: Skip::NOTHING, found: |name| names.push(name) };
        for closure in closures {
            match closure {
                Closure::Comprehension(heads, body) => {
                    heads.into_iter().for_each(|head| finder.term(head));
                    finder.body(body);
                }
                Closure::Body(body) => finder.body(body),
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    fn closures(&self, id: ExpressionId) -> Vec<Closure> {
        let tree = &self.program.tree;
        match tree.expression(id).kind {
            ExpressionKind::Every { body, .. } | ExpressionKind::Not { body, .. } => {
                return vec![Closure::Body(body)];
            }
            ExpressionKind::And(sides) | ExpressionKind::Or(sides) => {
                return vec![Closure::Body(sides.left), Closure::Body(sides.right)];
            }
            _ => {}
        }
        let mut found = Vec::new();
        tree.visit_expression(id, &mut |node| {
            let Node::Term(term) = node else { return true };
            match tree.value(term) {
                Value::ArrayComprehension { head, body } | Value::SetComprehension { head, body } => {
                    found.push(Closure::Comprehension(vec![head], body));
                    false
                }
                Value::ObjectComprehension { key, value, body } => {
                    found.push(Closure::Comprehension(vec![key, value], body));
                    false
                }
                _ => true,
            }
        });
        found
    }

    /// Checks the closures of expressions in their order: each sees the variables of those before it.
    pub(super) fn closures_of(&mut self, order: &[ExpressionId]) {
        let mut before: Option<ExpressionId> = None;
        for &id in order {
            for name in before.map(|before| self.visible(before)).unwrap_or_default() {
                self.bind(name);
            }
            before = Some(id);
            if let ExpressionKind::Every { key, value, .. } = self.program.tree.expression(id).kind {
                for variable in key.into_iter().chain([value]) {
                    self.vars_of(variable).into_iter().for_each(|name| self.bind(name));
                }
            }
            for closure in self.closures(id) {
                match closure {
                    Closure::Comprehension(heads, body) => self.comprehension(id, &heads, body),
                    Closure::Body(body) => self.body(body),
                }
            }
        }
    }

    fn comprehension(&mut self, id: ExpressionId, heads: &[TermId], body: Body) {
        let mut needed = Vars::new();
        for &head in heads {
            needed.extend(self.vars_of(head));
        }
        needed.retain(|&name| !self.is_bound(name));
        if !needed.is_empty() {
            for &expression in self.program.tree.body(body) {
                for name in self.visible(expression) {
                    needed.remove(&name);
                }
            }
        }
        if !needed.is_empty() {
            self.found.entry(id).or_default().extend(needed);
        }
        self.body(body);
    }
}
