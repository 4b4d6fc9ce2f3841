//! Modules that are compiled together, in one tree.
//!
//! The tree is a copy that the stages rewrite as OPA's compiler rewrites its own: references are whole, local
//! variables have names of their own, calls stand alone. Every stage gets it as the stages before have left it.

use std::sync::Arc;

use crate::{
    Code,
    capabilities::{Builtin, Capabilities},
    refusal::with_short_names,
    syntax::{
        Module, Name, Names, Offset,
        ast::{Body, Expression, ExpressionId, ExpressionKind, Rule, TermId, Terms, Tree, Value, Withs},
        names::Origin,
        visit::Node,
    },
};

use super::{finding::Finding, rule_tree::RuleTree};

/// A rule of a [`Program`], as a number into [`Program::rules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

/// Modules that are compiled together.
#[derive(Debug)]
pub struct Program {
    /// The modules, in the order in which they were given.
    pub modules: Vec<Arc<Module>>,
    /// What the target OPA can do.
    pub capabilities: &'static Capabilities,
    /// The packages of the modules.
    pub packages: Vec<Vec<Name>>,
    /// The words of all modules.
    pub names: Names,
    /// The nodes of all modules.
    pub tree: Tree,
    /// The rules of all modules, in their order, each followed by its `else` branches.
    pub rules: Vec<PlacedRule>,
    /// The rules by where they lie in `data`.
    pub rule_tree: RuleTree,
    /// The rules, each behind those that it depends on. Empty until recursion was looked for.
    pub order: Vec<RuleId>,
}

/// A rule and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct PlacedRule {
    /// The rule, its nodes in the tree of the program.
    pub rule: Rule,
    /// The number of its module.
    pub module: usize,
    /// Its whole path: `data`, the steps of the package, its name, the steps of its name.
    pub path: Terms,
}

impl Program {
    /// A rule.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&PlacedRule> {
        self.rules.get(id.0 as usize)
    }

    /// The numbers of all rules.
    pub fn rule_ids(&self) -> impl Iterator<Item = RuleId> + use<> {
        (0..u32::try_from(self.rules.len()).unwrap_or(u32::MAX)).map(RuleId)
    }

    /// The steps of a rule's path up to the first one that is a variable.
    #[must_use]
    pub fn ground_path(&self, placed: &PlacedRule) -> &[TermId] {
        let prefix = self.tree.ground_prefix(placed.path);
        self.tree.terms(placed.path).get(..prefix).unwrap_or_default()
    }

    /// The steps of the package of a module.
    #[must_use]
    pub fn package(&self, module: usize) -> Vec<Name> {
        self.packages.get(module).cloned().unwrap_or_default()
    }

    /// The built-in function that a path names; a local variable of its name is none.
    #[must_use]
    pub fn builtin(&self, path: Terms) -> Option<&'static Builtin> {
        if self.tree.root(path).is_some_and(|root| self.names.origin(root) == Origin::Local) {
            return None;
        }
        match self.tree.terms(path) {
            [only] => self.capabilities.builtin(self.names.text(self.tree.var(*only)?)),
            _ => self.capabilities.builtin(&self.tree.dotted(path, &self.names)),
        }
    }

    /// With how many arguments a function of that path is called: a built-in one, or a rule.
    #[must_use]
    pub fn arity(&self, path: Terms) -> Option<usize> {
        if self.tree.root(path) != Some(Name::DATA)
            && let Some(builtin) = self.builtin(path)
        {
            return Some(builtin.arity());
        }
        let first = self.rule_tree.exactly(self.tree.terms(path), &self.tree).first().copied()?;
        self.rule(first).map(|placed| placed.rule.head.arguments.len())
    }

    /// A finding at a place in a module.
    pub(crate) fn refuse(
        &self,
        module: usize,
        at: Offset,
        code: Code,
        message: impl Into<String>,
    ) -> Finding {
        // There may be far more findings than are told.
        let message = with_short_names(message.into());
        Finding { module, at, code, message, suggestion: None }
    }

    /// A variable of the compiler's own.
    pub(crate) fn generate(&mut self, at: Offset) -> TermId {
        let name = self.names.fresh(Name::WILDCARD, Origin::Generated);
        self.tree.add_term(Value::Var(name), at)
    }

    /// Whether the compiler made a variable.
    #[must_use]
    pub fn is_generated(&self, name: Name) -> bool {
        self.names.origin(name) == Origin::Generated
    }

    /// Puts a new variable in the place of a term, and gives the equation of the two.
    pub(crate) fn hoist(&mut self, term: TermId, withs: Withs) -> ExpressionId {
        let at = self.tree.term(term).at;
        let moved = self.tree.add_term(self.tree.value(term), at);
        let variable = self.generate(at);
        self.tree.set_value(term, self.tree.value(variable));
        self.equation(variable, moved, withs)
    }

    /// `variable = term`, made by the compiler.
    pub(crate) fn equation(&mut self, variable: TermId, term: TermId, withs: Withs) -> ExpressionId {
        let at = self.tree.term(term).at;
        let operator = self.operator(Name::UNIFY, at);
        let call = self.tree.add_terms(&[operator, variable, term]);
        self.tree.add_expression(Expression {
            kind: ExpressionKind::Call(call),
            negated: false,
            generated: true,
            assigned: false,
            withs,
            at,
        })
    }

    /// A body with more expressions. One that is nothing but `true` is replaced.
    pub(crate) fn append(&mut self, body: Body, more: &[ExpressionId]) -> Body {
        if more.is_empty() {
            return body;
        }
        let expressions = match self.is_trivial(body) {
            true => more.to_vec(),
            false => [self.tree.body(body), more].concat(),
        };
        self.tree.add_body(&expressions)
    }

    /// Whether a body is nothing but `true`.
    #[must_use]
    pub fn is_trivial(&self, body: Body) -> bool {
        match self.tree.body(body) {
            [only] => match self.tree.expression(*only).kind {
                ExpressionKind::Term(term) => self.tree.value(term) == Value::Boolean(true),
                _ => false,
            },
            _ => false,
        }
    }

    /// The withs of an expression without any.
    pub(crate) fn no_withs(&mut self) -> Withs {
        self.tree.add_withs(&[])
    }

    /// Whether a term has to be evaluated: whether there is a reference or a comprehension in it.
    #[must_use]
    pub fn requires_evaluation(&self, term: TermId) -> bool {
        let mut found = false;
        self.tree.visit_term(term, &mut |node| {
            if let Node::Term(term) = node {
                found |= matches!(
                    self.tree.value(term),
                    Value::Ref(_)
                        | Value::ArrayComprehension { .. }
                        | Value::SetComprehension { .. }
                        | Value::ObjectComprehension { .. }
                );
            }
            !found
        });
        found
    }

    /// The function of one word.
    pub(crate) fn operator(&mut self, name: Name, at: Offset) -> TermId {
        let head = self.tree.add_term(Value::Var(name), at);
        let path = self.tree.add_terms(&[head]);
        self.tree.add_term(Value::Ref(path), at)
    }
}
