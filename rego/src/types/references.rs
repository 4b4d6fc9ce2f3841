//! Whether paths lead anywhere.

use super::{
    Type, Unknown,
    checker::{Checker, TypedRule},
    documents::{Document, Step},
    mistake::Complaint,
    scope::Scope,
};
use crate::syntax::{
    Name, Offset,
    ast::{Body, ExpressionId, ExpressionKind, TermId, Terms, Value},
    visit::Node,
};

impl Checker<'_> {
    /// Checks the paths of a statement, but for those of comprehensions, which have statements of their own.
    pub(super) fn check_references(
        &self,
        scope: &Scope<'_>,
        id: ExpressionId,
        complaints: &mut Vec<Complaint>,
    ) {
        let expression = self.tree.expression(id);
        match expression.kind {
            ExpressionKind::Term(term) => self.check_references_in(scope, term, complaints),
            ExpressionKind::Call(call) => {
                for &argument in self.tree.arguments(call) {
                    self.check_references_in(scope, argument, complaints);
                }
            }
            ExpressionKind::Not { body, .. } => self.check_references_of(scope, body, complaints),
            ExpressionKind::And(sides) | ExpressionKind::Or(sides) => {
                self.check_references_of(scope, sides.left, complaints);
                self.check_references_of(scope, sides.right, complaints);
                self.check_references_of_modifiers(scope, id, complaints);
            }
            ExpressionKind::Every { domain, body, .. } => {
                self.check_references_in(scope, domain, complaints);
                self.check_references_of(scope, body, complaints);
                self.check_references_of_modifiers(scope, id, complaints);
            }
            ExpressionKind::Some(_) => {}
        }
    }

    fn check_references_of(&self, scope: &Scope<'_>, body: Body, complaints: &mut Vec<Complaint>) {
        for &expression in self.tree.body(body) {
            self.check_references(scope, expression, complaints);
        }
    }

    fn check_references_of_modifiers(
        &self,
        scope: &Scope<'_>,
        id: ExpressionId,
        complaints: &mut Vec<Complaint>,
    ) {
        for with in self.tree.withs(self.tree.expression(id).withs) {
            self.check_references_in(scope, with.target, complaints);
            self.check_references_in(scope, with.value, complaints);
        }
    }

    fn check_references_in(&self, scope: &Scope<'_>, term: TermId, complaints: &mut Vec<Complaint>) {
        self.tree.visit_term(term, &mut |node| {
            let Node::Term(term) = node else { return false };
            match self.tree.value(term) {
                Value::ArrayComprehension { .. }
                | Value::SetComprehension { .. }
                | Value::ObjectComprehension { .. } => false,
                Value::Ref(path) => {
                    if let Some(Type::Function(_)) = self.kind_of_reference(scope, path) {
                        complaints.push(self.not_called(path));
                        return false;
                    }
                    complaints.extend(self.check_reference(scope, path));
                    true
                }
                _ => true,
            }
        });
    }

    fn not_called(&self, path: Terms) -> Complaint {
        let name = self.tree.dotted(path, self.names);
        let message = format!("`{name}` is a function and is not called here");
        Complaint::new(self.at(path), message)
            .suggest("a function has no value of its own; give it its arguments")
    }

    fn check_reference(&self, scope: &Scope<'_>, path: Terms) -> Option<Complaint> {
        let steps = self.tree.terms(path);
        if self.charge(steps.len() as u64) {
            return None;
        }
        let root = self.tree.root(path);
        if root == Some(Name::DATA)
            && !self.capabilities.version().looks_at_rules_in_order()
            && let Some(index) = self.unnamed_step_into_packages(steps)
        {
            return Some(self.no_such_step(scope, path, index, Some(&Type::String)));
        }
        for around in scope.outwards() {
            let Some(root) = root else { break };
            match around.own(root) {
                Some(Some(known)) => return self.check_steps(scope, path, Some(known), 1),
                Some(None) => {
                    if let Walk::Ends(complaint) = self.walk(scope, path, &Document::default()) {
                        return complaint;
                    }
                }
                None => {}
            }
            if let Some(document) = around.documents().and_then(|all| all.child(&Step::Name(root)))
                && let Walk::Ends(complaint) = self.walk(scope, path, document)
            {
                return complaint;
            }
        }
        match root {
            Some(Name::DATA | Name::INPUT) => self.check_steps(scope, path, Some(Type::Any), 1),
            // Nothing is known of the variable.
            _ => self.check_steps(scope, path, Some(Type::Any), 0),
        }
    }

    /// A step on the way through packages that is no name: refused as soon as a rule there has been looked at.
    fn unnamed_step_into_packages(&self, steps: &[TermId]) -> Option<usize> {
        let named = |step: &TermId| matches!(self.tree.value(*step), Value::Var(_) | Value::String(_));
        let index = steps.iter().take(3).position(|step| !named(step))?;
        let first = steps.get(1).map(|&step| self.tree.value(step));
        let reaches = |rule: &TypedRule| match first {
            Some(Value::String(_)) => self.tree.nth(rule.path, 1).map(|step| self.tree.value(step)) == first,
            _ => true,
        };
        self.program.rules.iter().any(reaches).then_some(index)
    }

    /// From the document of the first word on.
    fn walk(&self, scope: &Scope<'_>, path: Terms, root: &Document) -> Walk {
        let mut at = root;
        for (index, &step) in self.tree.terms(path).iter().enumerate().skip(1) {
            if at.is_known() {
                return Walk::Ends(self.check_steps(scope, path, at.value(), index));
            }
            let variable = match self.tree.value(step) {
                Value::Var(name) => Some(name),
                Value::String(_) => None,
                // Packages have at least one word, and rules a name.
                _ if index <= 2 => {
                    return Walk::Ends(Some(self.no_such_step(scope, path, index, Some(&Type::String))));
                }
                _ => None,
            };
            if let Some(name) = variable {
                let keys = at.extent(self.names).and_then(|extent| self.keys(&extent));
                match self.kind_of_variable(scope, name) {
                    None => scope.set(name, keys),
                    known => {
                        if !self.unifies(&keys, &known) {
                            return Walk::Ends(Some(self.no_such_step(scope, path, index, keys.as_ref())));
                        }
                    }
                }
            }
            let Some(below) = self.step(step).and_then(|step| at.child(&step)) else { return Walk::Lost };
            at = below;
        }
        Walk::Ends(None)
    }

    /// Whether the steps from `index` on lead anywhere in a value of that type.
    fn check_steps(&self, scope: &Scope<'_>, path: Terms, of: Unknown, index: usize) -> Option<Complaint> {
        let mut kind = of;
        for (index, &step) in self.tree.terms(path).iter().enumerate().skip(index) {
            let of = kind?;
            if of.is_empty_collection() {
                return self.check_step_into_nothing(scope, path, &of, index, step);
            }
            let Some(keys) = self.keys(&of) else { return Some(self.no_steps(path, &of)) };
            let keys = Some(keys);
            let fits = match self.tree.value(step) {
                Value::Var(name) => match self.kind_of_variable(scope, name) {
                    None => {
                        scope.set(name, keys.clone());
                        true
                    }
                    known => self.unifies(&known, &keys),
                },
                Value::Ref(inner) => match self.kind_of_reference(scope, inner) {
                    None => true,
                    known => self.unifies(&known, &keys),
                },
                Value::Array(_) | Value::Object(_) | Value::Set(_) => self.fits(scope, step, &keys, false),
                _ => {
                    let selected = self.constant(step).and_then(|constant| of.select(&constant));
                    if selected.is_none() {
                        return Some(self.no_such_step(scope, path, index, Some(&of)));
                    }
                    kind = selected;
                    continue;
                }
            };
            if !fits {
                return Some(self.no_such_step(scope, path, index, keys.as_ref()));
            }
            kind = self.values(&of);
            if kind.is_none() && index + 1 < self.tree.terms(path).len() {
                return Some(self.no_steps(path, &of));
            }
        }
        None
    }

    fn check_step_into_nothing(
        &self,
        scope: &Scope<'_>,
        path: Terms,
        of: &Type,
        index: usize,
        step: TermId,
    ) -> Option<Complaint> {
        if self.tree.is_scalar(step) {
            return Some(self.no_such_step(scope, path, index, Some(of)));
        }
        let version = self.capabilities.version();
        if !version.looks_into_nothing() {
            return Some(self.no_steps(path, of));
        }
        let composite = matches!(self.tree.value(step), Value::Array(_) | Value::Object(_) | Value::Set(_));
        if composite && matches!(of, Type::Array(_)) && !version.looks_for_anything_in_nothing() {
            return Some(self.no_such_step(scope, path, index, of.keys().as_ref()));
        }
        let name = self.tree.var(step)?;
        match (self.kind_of_variable(scope, name), of.keys()) {
            (None, _) => {
                scope.set(name, Some(Type::Any));
                None
            }
            (known, Some(keys)) if !self.unifies(&known, &Some(keys.clone())) => {
                Some(self.no_such_step(scope, path, index, Some(&keys)))
            }
            _ => None,
        }
    }

    // ---- What is complained of ----

    fn at(&self, path: Terms) -> Offset {
        self.tree.nth(path, 0).map(|head| self.tree.term(head).at).unwrap_or_default()
    }

    fn no_steps(&self, path: Terms, of: &Type) -> Complaint {
        let name = self.tree.dotted(path, self.names);
        let message = format!("undefined ref: {name}: nothing can be looked up in {}", shortened(of));
        Complaint::new(self.at(path), message)
    }

    fn no_such_step(&self, scope: &Scope<'_>, path: Terms, index: usize, wanted: Option<&Type>) -> Complaint {
        let name = self.tree.dotted(path, self.names);
        let Some(step) = self.tree.nth(path, index) else {
            return Complaint::new(self.at(path), format!("undefined ref: {name}"));
        };
        let shown = self.tree.display(step, self.names);
        let message = match wanted {
            Some(of @ (Type::Object(_) | Type::Array(_) | Type::Set(_))) => {
                format!("undefined ref: {name}: there is no {shown} in {}", shortened(of))
            }
            Some(keys) => {
                let have =
                    self.kind(scope, step).map_or_else(|| "unknown".to_owned(), |kind| shortened(&kind));
                format!("undefined ref: {name}: {shown} is {have}, but only {} leads on", shortened(keys))
            }
            None => format!("undefined ref: {name}: {shown} leads nowhere"),
        };
        Complaint::new(self.at(path), message)
    }
}

/// What came of a walk through the documents.
enum Walk {
    /// The documents know the path, or what is wrong with it.
    Ends(Option<Complaint>),
    /// They do not know it; others may.
    Lost,
}

/// The longest type that a message repeats, in characters.
const SHOWN: usize = 120;

/// A type as text, not longer than a reader bears.
pub(super) fn shortened(kind: &Type) -> String {
    if kind.extent().parts > SHOWN as u64 {
        return match kind {
            Type::Array(_) => "array[…]",
            Type::Object(_) => "object[…]",
            Type::Set(_) => "set[…]",
            _ => "any<…>",
        }
        .to_owned();
    }
    let text = kind.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
