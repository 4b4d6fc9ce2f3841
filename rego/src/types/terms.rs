//! The types of terms, and what follows for the variables in them when they are of a certain type.

use super::{
    Constant, Dynamic, Object, Type, Unknown,
    checker::Checker,
    documents::{Document, Step},
    scope::Scope,
};
use crate::syntax::{
    Name,
    ast::{TermId, Terms, Value},
    names::Origin,
};

impl Checker<'_> {
    /// What is known of a term.
    pub(super) fn kind(&self, scope: &Scope<'_>, id: TermId) -> Unknown {
        if self.charge(1) {
            return Some(Type::Any);
        }
        match self.tree.value(id) {
            Value::Null => Some(Type::Null),
            Value::Boolean(_) => Some(Type::Boolean),
            Value::Number(_) => Some(Type::Number),
            Value::String(_) | Value::Template(_) => Some(Type::String),
            Value::Array(list) => Some(self.built(Type::tuple(
                self.tree.terms(list).iter().map(|&item| self.kind(scope, item)).collect(),
            ))),
            Value::Set(list) => {
                let items = self.tree.terms(list).iter().map(|&item| self.kind(scope, item));
                let of = items.fold(None, |all, each| self.union(all, each));
                Some(self.built(Type::set(of)))
            }
            Value::Object(list) => Some(self.kind_of_object(scope, list)),
            Value::ArrayComprehension { .. }
            | Value::SetComprehension { .. }
            | Value::ObjectComprehension { .. } => self.kind_of_comprehension(scope, id),
            Value::Ref(path) => self.kind_of_reference(scope, path),
            Value::Var(name) => self.kind_of_variable(scope, name),
            // Calls have become statements of their own.
            Value::Call(_) => None,
        }
    }

    fn kind_of_object(&self, scope: &Scope<'_>, list: Terms) -> Type {
        let (mut named, mut others) = (Vec::new(), None);
        for (key, value) in self.tree.pairs(list) {
            let value = self.kind(scope, value);
            match self.constant(key) {
                Some(constant) => named.push((constant, value)),
                // Of several, OPA remembers one.
                None => others = Some(Dynamic { key: self.kind(scope, key), value }),
            }
        }
        self.built(Type::object(named, others))
    }

    pub(super) fn kind_of_variable(&self, scope: &Scope<'_>, name: Name) -> Unknown {
        for scope in scope.outwards() {
            if let Some(known) = scope.own(name) {
                return known;
            }
        }
        // A local variable may be named like a function.
        let written = self.names.origin(name) == Origin::Written;
        let builtin = self.capabilities.builtin(self.names.text(name)).filter(|_| written)?;
        Some(Type::Function(builtin.declaration.clone()))
    }

    /// What is known of what a path leads to.
    pub(super) fn kind_of_reference(&self, scope: &Scope<'_>, path: Terms) -> Unknown {
        let steps = self.tree.terms(path);
        let (Some(root), tail) = (self.tree.root(path), steps.get(1..).unwrap_or_default()) else {
            return None;
        };
        for scope in scope.outwards() {
            match scope.own(root) {
                Some(Some(known)) => return self.select(Some(known), tail),
                // It was met and nothing is known of it: OPA takes it for an object of which nothing is known.
                Some(None) if tail.first().is_none_or(|step| !self.tree.is_constant(*step)) => {
                    return self.select(Document::default().extent(self.names), tail);
                }
                _ => {}
            }
            let found = scope.documents().and_then(|documents| documents.child(&Step::Name(root)));
            if let Some(found) = found.and_then(|document| self.kind_below(document, tail)) {
                return found;
            }
        }
        if root == Name::DATA || root == Name::INPUT {
            return Some(Type::Any);
        }
        self.builtin_of(path).map(|builtin| Type::Function(builtin.declaration.clone()))
    }

    /// `None` when the documents do not know the path.
    fn kind_below(&self, document: &Document, mut tail: &[TermId]) -> Option<Unknown> {
        let mut at = document;
        loop {
            let Some((&step, rest)) = tail.split_first() else { return Some(at.extent(self.names)) };
            let below = self.step(step).and_then(|step| at.child(&step));
            if at.is_known() {
                let Some(below) = below else { return Some(self.select(at.value(), tail)) };
                at = below;
            } else if self.tree.is_constant(step) {
                at = below?;
            } else {
                return Some(self.select(at.extent(self.names), tail));
            }
            tail = rest;
        }
    }

    /// What the steps lead to in a value of that type.
    fn select(&self, of: Unknown, steps: &[TermId]) -> Unknown {
        let mut at = of;
        for &step in steps {
            let kind = at?;
            at = match self.tree.value(step) {
                Value::Var(_) | Value::Ref(_) | Value::Array(_) | Value::Object(_) | Value::Set(_) => {
                    // To look through what holds nothing finds nothing: no reason to complain.
                    if kind.is_empty_collection() && self.capabilities.version().looks_into_nothing() {
                        return Some(Type::Any);
                    }
                    self.values(&kind)
                }
                _ => kind.select(&self.constant(step)?),
            };
        }
        at
    }

    /// The step as a key of the tree of documents, when it is a constant.
    pub(super) fn step(&self, id: TermId) -> Option<Step> {
        match self.tree.value(id) {
            Value::String(name) => Some(Step::Name(name)),
            _ => self.constant(id).map(Step::Constant),
        }
    }

    /// The constant that a term is.
    pub(super) fn constant(&self, id: TermId) -> Option<Constant> {
        match self.tree.value(id) {
            Value::Null => Some(Constant::Null),
            Value::Boolean(value) => Some(Constant::Boolean(value)),
            Value::Number(name) => Some(Constant::Number(self.names.text(name).into())),
            Value::String(name) => Some(Constant::String(self.names.text(name).into())),
            Value::Array(list) => self.constants(list).map(|items| Constant::Array(items.into())),
            Value::Set(list) => {
                let mut items = self.constants(list)?;
                items.sort();
                items.dedup();
                Some(Constant::Array(items.into()))
            }
            Value::Object(list) => {
                let pairs = self
                    .tree
                    .pairs(list)
                    .map(|(key, value)| Some((self.constant(key)?, self.constant(value)?)));
                let mut pairs = pairs.collect::<Option<Vec<_>>>()?;
                pairs.sort();
                Some(Constant::Object(pairs.into()))
            }
            _ => None,
        }
    }

    fn constants(&self, list: Terms) -> Option<Vec<Constant>> {
        self.tree.terms(list).iter().map(|&item| self.constant(item)).collect()
    }

    /// Whether a term may be of a type. Variables of which nothing was known are of what the type says; when
    /// `choice`, the type is one of several, and they may be of another one, too.
    pub(super) fn fits(&self, scope: &Scope<'_>, id: TermId, kind: &Unknown, choice: bool) -> bool {
        if self.charge(1) {
            return true;
        }
        match (self.tree.value(id), kind) {
            (Value::Var(name), _) => {
                let known = self.kind_of_variable(scope, name);
                match (choice, &known) {
                    (false, Some(_)) => return self.unifies(&known, kind),
                    (false, None) => scope.set(name, kind.clone()),
                    (true, _) => scope.set(name, self.union(known, kind.clone())),
                }
                true
            }
            (Value::Array(list), Some(Type::Array(array))) => {
                let items = self.tree.terms(list);
                (items.len() == array.first.len() || array.rest.is_some())
                    && items
                        .iter()
                        .enumerate()
                        .all(|(index, &item)| self.fits(scope, item, &array.select(index).cloned(), choice))
            }
            (Value::Object(list), Some(Type::Object(object))) => {
                self.fits_object(scope, list, object, choice)
            }
            (Value::Set(list), Some(Type::Set(set))) => {
                self.tree.terms(list).iter().all(|&item| self.fits(scope, item, &set.of, choice))
            }
            (Value::Array(list) | Value::Set(list) | Value::Object(list), Some(Type::Any)) => {
                for &item in self.tree.terms(list) {
                    self.fits(scope, item, kind, true);
                }
                true
            }
            (Value::Array(_) | Value::Set(_) | Value::Object(_), Some(Type::Union(of))) => {
                // All of them are tried, as variables may be of any that fits.
                let fits = of.iter().map(|each| self.fits(scope, id, &Some(each.clone()), true));
                fits.filter(|fits| *fits).count() > 0
            }
            (Value::Array(_) | Value::Set(_) | Value::Object(_), _) => false,
            _ => self.unifies(&self.kind(scope, id), kind),
        }
    }

    fn fits_object(&self, scope: &Scope<'_>, list: Terms, object: &Object, choice: bool) -> bool {
        let others = object.others.as_ref().and_then(|others| others.value.as_ref());
        if list.len() / 2 != object.named.len() && others.is_none() {
            return false;
        }
        self.tree.pairs(list).all(|(key, value)| match self.constant(key) {
            Some(constant) => match object.select(&constant) {
                Some(kind) => self.fits(scope, value, &Some(kind.clone()), choice),
                None => false,
            },
            // It may be the value of any property.
            None => {
                self.fits(scope, value, &Some(Type::Any), choice);
                true
            }
        })
    }

    /// Whether two terms may be equal; variables of which nothing was known are then of the other's type.
    pub(super) fn may_be_equal(&self, scope: &Scope<'_>, a: TermId, b: TermId) -> bool {
        if self.charge(1) {
            return true;
        }
        let (kind_a, kind_b) = (self.kind(scope, a), self.kind(scope, b));
        let unknown = |kind: &Unknown| kind.as_ref().is_none_or(Type::is_partly_unknown);
        match (unknown(&kind_a), unknown(&kind_b)) {
            (true, false) => self.fits(scope, a, &kind_b, false),
            (false, true) => self.fits(scope, b, &kind_a, false),
            (false, false) => self.unifies(&kind_a, &kind_b),
            (true, true) => self.may_be_equal_unknown(scope, (a, &kind_a), (b, &kind_b)),
        }
    }

    fn may_be_equal_unknown(
        &self,
        scope: &Scope<'_>,
        (a, kind_a): (TermId, &Unknown),
        (b, kind_b): (TermId, &Unknown),
    ) -> bool {
        let any = Some(Type::Any);
        let as_known = |whole: TermId, variable: TermId| {
            self.fits(scope, whole, &any, false)
                && self.fits(scope, variable, &self.kind(scope, whole), false)
        };
        match (self.tree.value(a), self.tree.value(b)) {
            (Value::Array(left), Value::Array(right)) => {
                let (left, right) = (self.tree.terms(left), self.tree.terms(right));
                left.len() == right.len()
                    && left.iter().zip(right).all(|(&left, &right)| self.may_be_equal(scope, left, right))
            }
            (Value::Object(left), Value::Object(right)) => self.may_be_equal_objects(scope, left, right),
            (Value::Array(_) | Value::Object(_) | Value::Var(_), Value::Var(_)) => as_known(a, b),
            (Value::Var(_), Value::Array(_) | Value::Object(_)) => as_known(b, a),
            (Value::Var(_), Value::Ref(_)) => self.fits_reference(scope, a, kind_b),
            (Value::Ref(_), Value::Var(_)) => self.fits_reference(scope, b, kind_a),
            // What is known in part says at least something of a variable.
            (Value::Var(_), _) if kind_a.is_none() && kind_b.is_some() => self.fits(scope, a, kind_b, false),
            (_, Value::Var(_)) if kind_b.is_none() && kind_a.is_some() => self.fits(scope, b, kind_a, false),
            _ => false,
        }
    }

    /// Whether a variable of which nothing is known may equal a reference of which not everything is.
    fn fits_reference(&self, scope: &Scope<'_>, variable: TermId, kind: &Unknown) -> bool {
        if self.capabilities.version().forgets_what_is_partly_unknown() {
            return self.fits(scope, variable, &Some(Type::Any), false);
        }
        kind.is_some() && self.fits(scope, variable, kind, false)
    }

    /// Objects of equally many properties of the same names.
    fn may_be_equal_objects(&self, scope: &Scope<'_>, left: Terms, right: Terms) -> bool {
        left.len() == right.len()
            && self.tree.pairs(left).all(|(key, value)| {
                let same = self.tree.pairs(right).find(|(other, _)| self.same_key(key, *other));
                same.is_some_and(|(_, other)| self.may_be_equal(scope, value, other))
            })
    }

    fn same_key(&self, a: TermId, b: TermId) -> bool {
        match (self.tree.value(a), self.tree.value(b)) {
            (Value::Var(a), Value::Var(b)) => a == b,
            _ => !self.charge(1) && self.constant(a).is_some_and(|a| self.constant(b) == Some(a)),
        }
    }
}
