//! Variables in terms.

use crate::syntax::{
    Name,
    ast::{Body, ExpressionId, Part, Parts, TermId, Terms, Value, With},
};

use super::{
    super::vars::{self, Skip, Vars},
    Rewriter,
    scope::Occurrence,
};

impl Rewriter<'_> {
    /// Renames the variables of a term that are declared, and notes the others.
    pub(super) fn term(&mut self, term: TermId) {
        match self.value(term) {
            Value::Null | Value::Boolean(_) | Value::Number(_) | Value::String(_) => {}
            Value::Var(name) => self.variable(term, name),
            Value::Ref(path) => match self.tree().root(path).filter(|_| path.len() == 1) {
                Some(name @ (Name::DATA | Name::INPUT)) => self.document(term, name),
                _ => self.terms(path),
            },
            Value::Array(list) | Value::Set(list) | Value::Object(list) => self.terms(list),
            Value::Call(call) => {
                self.called(call, term);
                self.terms(call);
            }
            Value::ArrayComprehension { head, body } => {
                let body = self.comprehension(&[head], body);
                self.program.tree.set_value(term, Value::ArrayComprehension { head, body });
            }
            Value::SetComprehension { head, body } => {
                let body = self.comprehension(&[head], body);
                self.program.tree.set_value(term, Value::SetComprehension { head, body });
            }
            Value::ObjectComprehension { key, value, body } => {
                let body = self.comprehension(&[key, value], body);
                self.program.tree.set_value(term, Value::ObjectComprehension { key, value, body });
            }
            Value::Template(parts) => {
                for part in self.tree().parts(parts).to_vec() {
                    self.part(part);
                }
            }
        }
    }

    fn terms(&mut self, list: Terms) {
        for index in 0..list.len() {
            if let Some(term) = self.tree().nth(list, index) {
                self.term(term);
            }
        }
    }

    fn variable(&mut self, term: TermId, name: Name) {
        match self.scopes.declared(name) {
            Some(local) if local != name => self.program.tree.set_value(term, Value::Var(local)),
            Some(_) => {}
            None => self.scopes.insert(name, name, Occurrence::Seen),
        }
    }

    /// `data` or `input`, which a local variable may hide.
    fn document(&mut self, term: TermId, name: Name) {
        let hidden =
            self.scopes.any_occurrence(name).is_some_and(|occurrence| occurrence != Occurrence::Seen);
        if let Some(local) = self.scopes.declared(name).filter(|&local| hidden && local != name) {
            self.program.tree.set_value(term, Value::Var(local));
        }
    }

    /// A function is never a local variable.
    fn called(&mut self, call: Terms, term: TermId) {
        let Some(path) = self.tree().operator(call) else { return };
        let mut names = Vars::new();
        for &step in self.tree().terms(path) {
            names.extend(vars::of_term(self.tree(), step, Skip::NOTHING));
        }
        let hidden = |name: &Name| self.scopes.declared(*name).is_some_and(|local| local != *name);
        if names.iter().any(hidden) {
            let function = self.tree().dotted(path, &self.program.names);
            let at = self.tree().term(term).at;
            self.refuse(at, format!("the function `{function}` is hidden by a variable of its name"));
            self.suggest("rename the variable");
        }
    }

    fn comprehension(&mut self, heads: &[TermId], body: Body) -> Body {
        let mut used = Vars::new();
        for &head in heads {
            used.extend(vars::of_term(self.tree(), head, Skip::NOTHING));
        }
        self.scopes.push();
        let body = self.body(body, &used);
        for &head in heads {
            self.term(head);
        }
        self.scopes.pop();
        body
    }

    /// The template string of a head: each of its expressions is a scope.
    pub(super) fn template(&mut self, parts: Parts) {
        for part in self.tree().parts(parts).to_vec() {
            self.scopes.push();
            self.part(part);
            self.scopes.pop();
        }
    }

    fn part(&mut self, part: Part) {
        match part {
            Part::Term(term) => self.term(term),
            Part::Expression(expression) => self.terms_of(expression),
        }
    }

    /// Renames the variables of an expression without bodies of its own.
    pub(super) fn terms_of(&mut self, id: ExpressionId) {
        use crate::syntax::ast::ExpressionKind as Kind;
        let expression = self.tree().expression(id);
        match expression.kind {
            Kind::Term(term) => self.term(term),
            Kind::Call(list) | Kind::Some(list) => self.terms(list),
            Kind::Every { .. } | Kind::Not { .. } | Kind::And(_) | Kind::Or(_) => {}
        }
        self.withs(id);
    }

    pub(super) fn withs(&mut self, id: ExpressionId) {
        let withs = self.tree().expression(id).withs;
        for with in self.tree().withs(withs).to_vec() {
            self.with(with);
        }
    }

    fn with(&mut self, with: With) {
        self.term(with.target);
        // `with input as` means the document even where a variable hides it.
        if let Some(hiding) = self.scopes.declared(Name::INPUT) {
            self.show_input(with.target, hiding);
        }
        self.term(with.value);
    }

    fn show_input(&mut self, target: TermId, hiding: Name) {
        let at = self.tree().term(target).at;
        match self.value(target) {
            Value::Var(name) if name == hiding => {
                let head = self.program.tree.add_term(Value::Var(Name::INPUT), at);
                let path = self.program.tree.add_terms(&[head]);
                self.program.tree.set_value(target, Value::Ref(path));
            }
            Value::Ref(path) if self.tree().root(path) == Some(hiding) => {
                if let Some(head) = self.tree().nth(path, 0) {
                    self.program.tree.set_value(head, Value::Var(Name::INPUT));
                }
            }
            _ => {}
        }
    }
}
