//! The variables of a part of a program.

use hashbrown::HashSet;

use crate::syntax::{
    Name,
    ast::{Body, Expression, ExpressionId, ExpressionKind, Part, TermId, Terms, Tree, Value, With},
};

/// A set of variables.
pub(crate) type Vars = HashSet<Name>;

/// Which variables are not looked for.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each leaves out one kind of place")]
pub(crate) struct Skip {
    /// What references begin with.
    pub(crate) heads: bool,
    /// What calls and `with` name.
    pub(crate) functions: bool,
    /// The keys of objects.
    pub(crate) keys: bool,
    /// The elements of sets.
    pub(crate) sets: bool,
    /// Comprehensions, template strings, and the bodies of `every`, `not`, `and` and `or`.
    pub(crate) closures: bool,
}

impl Skip {
    /// Nothing is left out.
    pub(crate) const NOTHING: Self =
        Self { heads: false, functions: false, keys: false, sets: false, closures: false };
    /// What must be bound around an expression for it to be evaluated.
    pub(crate) const SAFETY: Self = Self { functions: true, closures: true, ..Self::NOTHING };
    /// What a pattern binds when it is matched.
    pub(crate) const PATTERN: Self = Self { heads: true, keys: true, closures: true, ..Self::NOTHING };
    /// What a call gives as its results.
    pub(crate) const RESULT: Self = Self { sets: true, ..Self::PATTERN };
}

/// Looks for variables in a tree and gives each to `found`, as often as it stands there.
pub(crate) struct Finder<'a, F> {
    pub(crate) tree: &'a Tree,
    pub(crate) skip: Skip,
    pub(crate) found: F,
}

impl<F: FnMut(Name)> Finder<'_, F> {
    pub(crate) fn term(&mut self, id: TermId) {
        match self.tree.value(id) {
            Value::Null | Value::Boolean(_) | Value::Number(_) | Value::String(_) => {}
            Value::Var(name) => (self.found)(name),
            Value::Ref(path) => self.list(path, usize::from(self.skip.heads)),
            Value::Array(list) => self.list(list, 0),
            Value::Set(list) if !self.skip.sets => self.list(list, 0),
            Value::Set(_) => {}
            Value::Object(list) => {
                for (key, value) in self.tree.pairs(list) {
                    if !self.skip.keys {
                        self.term(key);
                    }
                    self.term(value);
                }
            }
            Value::Call(call) => self.call(call),
            _ if self.skip.closures => {}
            Value::ArrayComprehension { head, body } | Value::SetComprehension { head, body } => {
                self.term(head);
                self.body(body);
            }
            Value::ObjectComprehension { key, value, body } => {
                self.term(key);
                self.term(value);
                self.body(body);
            }
            Value::Template(parts) => {
                for part in self.tree.parts(parts) {
                    match part {
                        Part::Term(term) => self.term(*term),
                        Part::Expression(expression) => self.expression(*expression),
                    }
                }
            }
        }
    }

    /// The terms of a list from the `first` on.
    fn list(&mut self, list: Terms, first: usize) {
        for &term in self.tree.terms(list).iter().skip(first) {
            self.term(term);
        }
    }

    fn call(&mut self, call: Terms) {
        match self.tree.operator(call).filter(|_| self.skip.functions) {
            Some(path) => {
                self.list(path, 1);
                self.list(call, 1);
            }
            None => self.list(call, 0),
        }
    }

    pub(crate) fn body(&mut self, body: Body) {
        for &expression in self.tree.body(body) {
            self.expression(expression);
        }
    }

    pub(crate) fn expression(&mut self, id: ExpressionId) {
        let Expression { kind, withs, .. } = self.tree.expression(id);
        match kind {
            ExpressionKind::Term(term) => self.term(term),
            ExpressionKind::Call(call) => self.call(call),
            ExpressionKind::Some(list) => self.list(list, 0),
            ExpressionKind::Every { domain, .. } if self.skip.closures => {
                self.term(domain);
                // As OPA does: neither the body nor the modifiers.
                return;
            }
            ExpressionKind::Every { key, value, domain, body } => {
                for term in key.into_iter().chain([value, domain]) {
                    self.term(term);
                }
                self.body(body);
            }
            ExpressionKind::Not { .. } | ExpressionKind::And(_) | ExpressionKind::Or(_)
                if self.skip.closures => {}
            ExpressionKind::Not { body, .. } => self.body(body),
            ExpressionKind::And(sides) | ExpressionKind::Or(sides) => {
                self.body(sides.left);
                self.body(sides.right);
            }
        }
        for &with in self.tree.withs(withs) {
            self.with(with);
        }
    }

    pub(crate) fn with(&mut self, with: With) {
        if !self.skip.functions {
            self.term(with.target);
            self.term(with.value);
            return;
        }
        if let Value::Ref(path) = self.tree.value(with.target) {
            self.list(path, 1);
        }
        match self.tree.value(with.value) {
            Value::Ref(path) => self.list(path, 1),
            _ => self.term(with.value),
        }
    }
}

/// The variables of a term.
pub(crate) fn of_term(tree: &Tree, term: TermId, skip: Skip) -> Vars {
    let mut vars = Vars::new();
    Finder {
        tree,
        skip,
        found: |name| {
            vars.insert(name);
        },
    }
    .term(term);
    vars
}

/// The variables of a body.
pub(crate) fn of_body(tree: &Tree, body: Body, skip: Skip) -> Vars {
    let mut vars = Vars::new();
    Finder {
        tree,
        skip,
        found: |name| {
            vars.insert(name);
        },
    }
    .body(body);
    vars
}
