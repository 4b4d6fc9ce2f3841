//! Variables in statements: what declares them, and what opens a scope.

use hashbrown::HashMap;

use crate::{
    Code,
    syntax::{
        Name, Offset,
        ast::{Body, Expression, ExpressionId, ExpressionKind, Operands, TermId, Terms, Value},
        names::Origin,
        visit::Node,
    },
};

use super::{
    super::{
        safety::outputs,
        vars::{self, Skip, Vars},
    },
    Rewriter,
    scope::Occurrence,
};

impl Rewriter<'_> {
    /// Rewrites a body in the innermost scope. `used` are variables that something outside uses.
    pub(super) fn body(&mut self, body: Body, used: &Vars) -> Body {
        let before = self.tree().body(body).to_vec();
        let mut after = Vec::with_capacity(before.len());
        for &id in &before {
            after.extend(self.statement(id));
        }
        if after.is_empty() {
            let at = before.first().map_or(Offset(0), |&first| self.tree().expression(first).at);
            let term = self.program.tree.add_term(Value::Boolean(true), at);
            let withs = self.program.no_withs();
            after.push(self.program.tree.add_expression(Expression {
                kind: ExpressionKind::Term(term),
                negated: false,
                generated: false,
                assigned: false,
                withs,
                at,
            }));
        }
        let after = self.program.tree.add_body(&after);
        self.check_unused(&before, after, used);
        after
    }

    /// One statement; none when it only declared variables.
    fn statement(&mut self, id: ExpressionId) -> Option<ExpressionId> {
        let expression = self.tree().expression(id);
        match expression.kind {
            ExpressionKind::Call(call) if self.tree().calls(call, Name::ASSIGN) => {
                self.assignment(id, call);
                Some(id)
            }
            ExpressionKind::Some(list) => self.some(id, list, expression.at),
            ExpressionKind::Every { key, value, domain, body } => {
                self.every(id, key, value, (domain, body));
                Some(id)
            }
            ExpressionKind::Not { .. } | ExpressionKind::And(_) | ExpressionKind::Or(_) => {
                self.nested(id);
                Some(id)
            }
            _ => {
                self.terms_of(id);
                Some(id)
            }
        }
    }

    fn set_kind(&mut self, id: ExpressionId, kind: ExpressionKind) {
        if let Some(expression) = self.program.tree.expression_mut(id) {
            expression.kind = kind;
        }
    }

    fn assignment(&mut self, id: ExpressionId, call: Terms) {
        let expression = self.tree().expression(id);
        if expression.negated {
            self.refuse(expression.at, "a `:=` stands in a negation");
            self.suggest("compare by `==`, or declare the variable before");
            return;
        }
        let [operator, left, right] = *self.tree().terms(call) else { return };
        let before = self.refusals.len();
        self.term(right);
        for with in self.tree().withs(expression.withs).to_vec() {
            self.term(with.value);
        }
        self.assign(left);
        if self.refusals.len() > before {
            return;
        }
        let at = self.tree().term(operator).at;
        let unify = self.program.operator(Name::UNIFY, at);
        let call = self.program.tree.add_terms(&[unify, left, right]);
        if let Some(expression) = self.program.tree.expression_mut(id) {
            expression.kind = ExpressionKind::Call(call);
            expression.assigned = true;
        }
    }

    /// The left side of `:=`.
    fn assign(&mut self, term: TermId) {
        let at = self.tree().term(term).at;
        let name = match self.value(term) {
            Value::Var(name) => name,
            Value::Array(list) => {
                for term in self.tree().terms(list).to_vec() {
                    self.assign(term);
                }
                return;
            }
            Value::Object(list) => {
                let values: Vec<_> = self.tree().pairs(list).map(|(_, value)| value).collect();
                for value in values {
                    self.assign(value);
                }
                return;
            }
            Value::Ref(path) => match self.tree().root(path).filter(|_| path.len() == 1) {
                Some(name @ (Name::DATA | Name::INPUT)) => name,
                _ => return self.cannot_assign(at, "a reference"),
            },
            Value::Null => return self.cannot_assign(at, "null"),
            Value::Boolean(_) => return self.cannot_assign(at, "a boolean"),
            Value::Number(_) => return self.cannot_assign(at, "a number"),
            Value::String(_) => return self.cannot_assign(at, "a string"),
            Value::Set(_) => return self.cannot_assign(at, "a set"),
            Value::Call(_) => return self.cannot_assign(at, "a call"),
            Value::Template(_) => return self.cannot_assign(at, "a template string"),
            Value::ArrayComprehension { .. }
            | Value::SetComprehension { .. }
            | Value::ObjectComprehension { .. } => return self.cannot_assign(at, "a comprehension"),
        };
        if let Some(local) = self.declare(name, Occurrence::Assigned, at) {
            self.program.tree.set_value(term, Value::Var(local));
        }
    }

    fn cannot_assign(&mut self, at: Offset, what: &str) {
        self.refuse(at, format!("`:=` cannot give {what} a value"));
        self.suggest("a rule of this name may stand elsewhere; compare by `==`, or assign to a new variable");
    }

    /// Declares a variable in the innermost scope, unless it is known there.
    fn declare(&mut self, name: Name, how: Occurrence, at: Offset) -> Option<Name> {
        let known = match self.scopes.occurrence(name) {
            None => {
                let local = self.local(name);
                self.scopes.insert(name, local, how);
                return Some(local);
            }
            Some(Occurrence::Seen) => "is used before it is declared",
            Some(Occurrence::Assigned) => "is assigned twice",
            Some(Occurrence::Declared) => "is declared twice",
            Some(Occurrence::Parameter) => "is a parameter and is declared once more",
        };
        let text = self.text(name);
        self.refuse(at, format!("the variable `{text}` {known}"));
        self.suggest("give one of the two another name; a variable has one value");
        None
    }

    fn some(&mut self, id: ExpressionId, list: Terms, at: Offset) -> Option<ExpressionId> {
        for term in self.tree().terms(list).to_vec() {
            match self.value(term) {
                Value::Var(name) => {
                    self.declare(name, Occurrence::Declared, at)?;
                }
                Value::Call(call) => return self.some_in(id, call, at),
                _ => {}
            }
        }
        None
    }

    /// `some key, value in domain` becomes `value = domain[key]`.
    fn some_in(&mut self, id: ExpressionId, call: Terms, at: Offset) -> Option<ExpressionId> {
        let (key, value, domain) = match *self.tree().terms(call) {
            [_, value, domain] => (self.program.generate(at), value, domain),
            [_, key, value, domain] => (key, value, domain),
            _ => return None,
        };
        let mut bound = vars::of_term(self.tree(), key, Skip::PATTERN);
        bound.extend(vars::of_term(self.tree(), value, Skip::PATTERN));
        let closed = Skip { closures: true, ..Skip::NOTHING };
        let inside = vars::of_term(self.tree(), domain, closed);
        let mut both: Vec<Name> = bound.intersection(&inside).copied().collect();
        both.retain(|&name| self.program.names.origin(name) != Origin::Wildcard);
        if let Some(&name) = both.first() {
            let text = self.text(name);
            self.refuse(at, format!("the variable `{text}` stands on both sides of `some … in`"));
            self.suggest("give the new variable another name");
            return None;
        }
        let domain_vars = vars::of_term(self.tree(), domain, Skip::NOTHING);
        let domain_at = self.tree().term(domain).at;
        let path = match self.value(domain) {
            Value::Ref(path) => [self.tree().terms(path), &[key]].concat(),
            _ => vec![domain, key],
        };
        let path = self.program.tree.add_terms(&path);
        let member = self.program.tree.add_term(Value::Ref(path), domain_at);
        let operator = self.program.operator(Name::UNIFY, at);
        let equation = self.program.tree.add_terms(&[operator, value, member]);
        self.set_kind(id, ExpressionKind::Call(equation));
        let expression = self.tree().expression(id);
        let mut bound: Vec<_> =
            outputs::of_equation(&self.program.tree, id, &expression, &|name| domain_vars.contains(&name))
                .into_iter()
                .collect();
        bound.sort_unstable();
        for name in bound {
            self.declare(name, Occurrence::Declared, at)?;
        }
        self.terms_of(id);
        Some(id)
    }

    fn every(
        &mut self,
        id: ExpressionId,
        key: Option<TermId>,
        value: TermId,
        (domain, body): (TermId, Body),
    ) {
        let at = self.tree().expression(id).at;
        self.term(domain);
        self.scopes.push();
        let key = key.unwrap_or_else(|| self.program.generate(at));
        let mut whole = true;
        for variable in [key, value] {
            if let Some(name) = self.tree().var(variable)
                && !matches!(self.program.names.origin(name), Origin::Wildcard | Origin::Generated)
            {
                match self.declare(name, Occurrence::Declared, at) {
                    Some(local) => self.program.tree.set_value(variable, Value::Var(local)),
                    None => whole = false,
                }
            }
        }
        if whole {
            let body = self.body(body, &Vars::new());
            // OPA goes through it once more inside: an undeclared variable of such a name becomes the one declared here.
            self.term(domain);
            self.set_kind(id, ExpressionKind::Every { key: Some(key), value, domain, body });
            self.withs(id);
        }
        self.scopes.pop();
    }

    /// `not`, `and` and `or`: only bodies in braces may declare variables.
    fn nested(&mut self, id: ExpressionId) {
        let before = self.refusals.len();
        match self.tree().expression(id).kind {
            ExpressionKind::Not { body, explicit: true } => {
                self.scopes.push();
                let body = self.body(body, &Vars::new());
                self.set_kind(id, ExpressionKind::Not { body, explicit: true });
                self.withs(id);
                self.scopes.pop();
            }
            ExpressionKind::Not { body, explicit: false } => {
                self.implicit_body(body, "a negation");
                if self.refusals.len() == before {
                    self.withs(id);
                }
            }
            ExpressionKind::And(sides) => {
                let sides = self.operands(sides);
                self.set_kind(id, ExpressionKind::And(sides));
                self.after_operands(id, sides, before);
            }
            ExpressionKind::Or(sides) => {
                let sides = self.operands(sides);
                self.set_kind(id, ExpressionKind::Or(sides));
                self.after_operands(id, sides, before);
            }
            _ => {}
        }
    }

    fn operands(&mut self, sides: Operands) -> Operands {
        let left = self.operand(sides.left, sides.explicit_left);
        let right = self.operand(sides.right, sides.explicit_right);
        Operands { left, right, ..sides }
    }

    fn operand(&mut self, body: Body, explicit: bool) -> Body {
        if !explicit {
            self.implicit_body(body, "an operand of `and` or `or`");
            return body;
        }
        self.scopes.push();
        let body = self.body(body, &Vars::new());
        self.scopes.pop();
        body
    }

    /// What the operands use counts as used around them.
    fn after_operands(&mut self, id: ExpressionId, sides: Operands, before: usize) {
        if self.refusals.len() > before {
            return;
        }
        for body in [sides.left, sides.right] {
            self.note(body);
        }
        self.withs(id);
    }

    fn note(&mut self, body: Body) {
        let mut names = Vec::new();
        self.tree().visit_body(body, &mut |node| {
            let Node::Term(term) = node else { return true };
            match self.value(term) {
                Value::Var(name) => names.push(name),
                Value::Ref(path) => {
                    return path.len() > 1
                        || !matches!(self.tree().root(path), Some(Name::DATA | Name::INPUT));
                }
                Value::ArrayComprehension { .. }
                | Value::SetComprehension { .. }
                | Value::ObjectComprehension { .. } => return false,
                _ => {}
            }
            true
        });
        for name in names {
            if self.scopes.declared(name).is_none() {
                self.scopes.insert(name, name, Occurrence::Seen);
            }
        }
    }

    fn implicit_body(&mut self, body: Body, what: &str) {
        for id in self.tree().body(body).to_vec() {
            let expression = self.tree().expression(id);
            match expression.kind {
                ExpressionKind::Call(call) if self.tree().calls(call, Name::ASSIGN) => {
                    self.refuse(expression.at, format!("a `:=` stands in {what}"));
                    self.suggest("put the operand into braces, or declare the variable before");
                }
                ExpressionKind::Not { .. } | ExpressionKind::And(_) | ExpressionKind::Or(_) => {
                    self.nested(id)
                }
                _ => self.terms_of(id),
            }
        }
    }

    /// Refuses variables that `some` and `every` declare in the innermost scope and nothing uses.
    fn check_unused(&mut self, before: &[ExpressionId], after: Body, used: &Vars) {
        if !self.refusals.is_empty() || !self.unused.is_empty() {
            return;
        }
        let mut declared: Vec<_> = self.scopes.declarations().collect();
        if declared.is_empty() {
            return;
        }
        declared.sort_unstable_by_key(|&(_, local)| local);
        let mut known = vars::of_body(self.tree(), after, Skip::NOTHING);
        known.extend(used.iter().map(|&name| self.scopes.declared(name).unwrap_or(name)));
        let first = before.first().map_or(Offset(0), |&id| self.tree().expression(id).at);
        let places = self.declarations(before);
        for (name, local) in declared {
            if known.contains(&local) || used.contains(&local) || self.program.is_generated(name) {
                continue;
            }
            let at = places.get(&name).copied().unwrap_or(first);
            let text = self.text(name);
            let message = format!("the variable `{text}` is declared and never used");
            let refusal = self.program.refuse(self.module, at, Code::Compile, message);
            self.unused.push(refusal.suggest("use it, remove the declaration, or write `_`"));
        }
    }

    /// Where each variable of the `some` statements of a body is declared first.
    fn declarations(&self, body: &[ExpressionId]) -> HashMap<Name, Offset> {
        let mut places = HashMap::new();
        for &id in body {
            let expression = self.tree().expression(id);
            let ExpressionKind::Some(list) = expression.kind else { continue };
            for &term in self.tree().terms(list) {
                if let Some(name) = self.tree().var(term) {
                    places.entry(name).or_insert(expression.at);
                }
            }
        }
        places
    }
}
