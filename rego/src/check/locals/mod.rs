//! Local variables: each gets a name of its own, `:=` becomes `=`, `some` disappears.
//!
//! What is declared twice, used before it is declared, or declared and never used, is refused.

mod scope;
mod statement;
mod term;

use hashbrown::HashSet;

use crate::{
    Code,
    syntax::{
        Name, Offset,
        ast::{Body, ExpressionKind, Rule, TermId, Terms, Tree, Value},
        visit::Node,
    },
};

use super::{
    finding::Finding,
    program::{Program, RuleId},
    vars::{self, Finder, Skip, Vars},
};
use scope::{Occurrence, Scopes};

/// Gives every local variable a name of its own.
pub(super) fn rewrite(program: &mut Program) -> Vec<Finding> {
    let mut refusals = Vec::new();
    let mut parameters = Scopes::default();
    for id in program.rule_ids() {
        let Some(placed) = program.rule(id).copied() else { continue };
        let rule = placed.rule;
        let mut rewriter = Rewriter::new(program, placed.module);
        if !rule.is_else {
            parameters = Scopes::default();
            rewriter.scopes = std::mem::take(&mut parameters);
            rewriter.parameters(rule.head.arguments);
            parameters = std::mem::take(&mut rewriter.scopes);
        }
        let body = rewriter.rule(&rule, &parameters);
        refusals.append(&mut rewriter.refusals);
        refusals.append(&mut rewriter.unused);
        set_body(program, id, body);
    }
    refusals
}

fn set_body(program: &mut Program, id: RuleId, body: Body) {
    if let Some(placed) = program.rules.get_mut(id.0 as usize) {
        placed.rule.body = body;
    }
}

struct Rewriter<'a> {
    program: &'a mut Program,
    module: usize,
    scopes: Scopes,
    refusals: Vec<Finding>,
    /// Declared variables that nothing uses.
    unused: Vec<Finding>,
}

impl<'a> Rewriter<'a> {
    fn new(program: &'a mut Program, module: usize) -> Self {
        Self { program, module, scopes: Scopes::default(), refusals: Vec::new(), unused: Vec::new() }
    }

    fn tree(&self) -> &Tree {
        &self.program.tree
    }

    fn value(&self, term: TermId) -> Value {
        self.program.tree.value(term)
    }

    fn text(&self, name: Name) -> String {
        self.program.names.text(name).to_owned()
    }

    fn refuse(&mut self, at: Offset, message: impl Into<String>) {
        let refusal = self.program.refuse(self.module, at, Code::Compile, message);
        self.refusals.push(refusal);
    }

    fn suggest(&mut self, suggestion: &str) {
        if let Some(refusal) = self.refusals.pop() {
            self.refusals.push(refusal.suggest(suggestion));
        }
    }

    /// A new variable of the text of another one.
    fn local(&mut self, name: Name) -> Name {
        use crate::syntax::names::Origin;
        let origin = match self.program.names.origin(name) {
            Origin::Generated => Origin::Generated,
            Origin::Wildcard => Origin::Wildcard,
            Origin::Written | Origin::Local => Origin::Local,
        };
        self.program.names.fresh(name, origin)
    }

    /// Declares the variables that parameters bind.
    fn parameters(&mut self, arguments: Terms) {
        for argument in self.tree().terms(arguments).to_vec() {
            self.parameter(argument);
        }
    }

    fn parameter(&mut self, term: TermId) {
        match self.value(term) {
            Value::Var(name) => {
                let local = match self.scopes.declared(name) {
                    Some(local) => local,
                    None => {
                        let local = self.local(name);
                        self.scopes.insert(name, local, Occurrence::Parameter);
                        local
                    }
                };
                self.program.tree.set_value(term, Value::Var(local));
            }
            Value::Ref(list) | Value::Array(list) => self.parameters(list),
            Value::Object(list) => {
                let values: Vec<_> = self.tree().pairs(list).map(|(_, value)| value).collect();
                values.into_iter().for_each(|value| self.parameter(value));
            }
            Value::Call(_) => {
                let at = self.tree().term(term).at;
                self.refuse(at, "a parameter contains a call");
                self.suggest("take a variable as the parameter and compare it in the body");
            }
            _ => {}
        }
    }

    fn rule(&mut self, rule: &Rule, parameters: &Scopes) -> Body {
        let head = rule.head;
        let steps: Vec<_> = self.tree().terms(head.reference).iter().skip(1).copied().collect();
        let arguments = self.tree().terms(head.arguments).to_vec();
        let outer: Vec<_> = arguments.iter().copied().chain(head.key).chain(head.value).collect();
        let constant = outer.iter().chain(&steps).all(|&term| self.tree().is_scalar(term));
        let mut used = Vars::new();
        if !constant {
            for &term in &outer {
                self.closures_of_head(term);
            }
            for &term in steps.iter().chain(&head.key).chain(&head.value) {
                used.extend(vars::of_term(self.tree(), term, Skip::NOTHING));
            }
        }
        self.scopes = parameters.clone();
        if self.program.capabilities.version().frees_names_of_functions() {
            self.hide_builtins(rule);
        }
        let body = self.body(rule.body, &used);
        if !constant {
            for term in steps.into_iter().chain(outer) {
                self.rename(term);
            }
        }
        body
    }

    /// Comprehensions in a head have scopes of their own, apart from that of the body.
    fn closures_of_head(&mut self, term: TermId) {
        let mut closures = Vec::new();
        self.tree().visit_term(term, &mut |node| {
            let Node::Term(term) = node else { return false };
            let closure = matches!(
                self.value(term),
                Value::ArrayComprehension { .. }
                    | Value::SetComprehension { .. }
                    | Value::ObjectComprehension { .. }
                    | Value::Template(_)
            );
            if closure {
                closures.push(term);
            }
            !closure
        });
        for closure in closures {
            self.scopes = Scopes::default();
            match self.value(closure) {
                Value::Template(parts) => self.template(parts),
                _ => self.term(closure),
            }
        }
    }

    /// A variable with the name of a built-in function becomes a local one, so that nothing takes it for the function.
    fn hide_builtins(&mut self, rule: &Rule) {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let program = &*self.program;
        let skip = Skip { functions: true, closures: true, ..Skip::NOTHING };
        let mut finder = Finder {
            tree: &program.tree,
            skip,
            found: |name| {
                if seen.insert(name) && program.capabilities.builtin(program.names.text(name)).is_some() {
                    found.push(name);
                }
            },
        };
        finder.body(rule.body);
        if found.is_empty() {
            return;
        }
        let kept = self.declared_or_mocked(rule);
        for name in found {
            if !kept.contains(&name) && self.scopes.declared(name).is_none() {
                let local = self.local(name);
                self.scopes.insert(name, local, Occurrence::Seen);
            }
        }
    }

    /// Variables that the body declares, and words in its `with` modifiers.
    fn declared_or_mocked(&self, rule: &Rule) -> Vars {
        let tree = self.tree();
        let mut names = Vars::new();
        let skip = Skip { functions: true, ..Skip::NOTHING };
        tree.visit_body(rule.body, &mut |node| {
            match node {
                Node::With(with) => {
                    names.extend(vars::of_term(tree, with.target, skip));
                    names.extend(vars::of_term(tree, with.value, skip));
                }
                Node::Expression(id) => match tree.expression(id).kind {
                    ExpressionKind::Call(call) if tree.calls(call, Name::ASSIGN) => {
                        if let Some(left) = tree.nth(call, 1) {
                            names.extend(vars::of_term(tree, left, Skip::NOTHING));
                        }
                    }
                    ExpressionKind::Some(list) => {
                        for &term in tree.terms(list) {
                            names.extend(vars::of_term(tree, term, Skip::NOTHING));
                        }
                    }
                    _ => {}
                },
                Node::Term(_) => {}
            }
            true
        });
        names
    }

    /// Renames the variables of a head that the body declares.
    fn rename(&mut self, term: TermId) {
        let mut found = Vec::new();
        self.tree().visit_term(term, &mut |node| {
            if let Node::Term(term) = node
                && let Value::Var(name) = self.value(term)
                && let Some(local) = self.scopes.declared_here(name)
            {
                found.push((term, local));
            }
            true
        });
        for (term, local) in found {
            self.program.tree.set_value(term, Value::Var(local));
        }
    }
}
