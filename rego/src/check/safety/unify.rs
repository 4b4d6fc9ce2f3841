//! Which variables an equation binds.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::syntax::{
    Name,
    ast::{TermId, Terms, Tree, Value},
};

use super::{
    super::vars::{self, Skip, Vars},
    outputs::{Bound, is_bound, term_is_bound},
};

/// The variables that are bound by making two terms equal.
pub(super) fn unify(tree: &Tree, left: TermId, right: TermId, bound: &Bound<'_>) -> Vars {
    let mut unifier =
        Unifier { tree, bound, unified: Vars::new(), waits_for: HashMap::new(), awaited: HashMap::new() };
    unifier.terms(left, right);
    unifier.unified
}

struct Unifier<'a> {
    tree: &'a Tree,
    bound: &'a Bound<'a>,
    unified: Vars,
    /// Variables that are bound as soon as all these others are.
    waits_for: HashMap<Name, Vars>,
    /// The same by the others.
    awaited: HashMap<Name, Vec<Name>>,
}

impl Unifier<'_> {
    fn is_safe(&self, name: Name) -> bool {
        self.unified.contains(&name) || (self.bound)(name)
    }

    fn terms(&mut self, left: TermId, right: TermId) {
        let tree = self.tree;
        match (tree.value(left), tree.value(right)) {
            (Value::Var(a), Value::Var(b)) => {
                if self.is_safe(b) {
                    self.mark(a);
                } else if self.is_safe(a) {
                    self.mark(b);
                } else {
                    self.wait(a, b);
                    self.wait(b, a);
                }
            }
            (Value::Var(name), Value::Array(_) | Value::Object(_)) => self.pattern(name, right),
            (Value::Array(_) | Value::Object(_), Value::Var(name)) => self.pattern(name, left),
            (Value::Var(name), Value::Ref(path)) | (Value::Ref(path), Value::Var(name)) => {
                self.mark_if_path(name, path);
            }
            (Value::Var(name), Value::Call(_)) => self.mark_if(name, right),
            (Value::Call(_), Value::Var(name)) => self.mark_if(name, left),
            (Value::Var(name), _) | (_, Value::Var(name)) => self.mark(name),
            (Value::Ref(path), Value::Array(_) | Value::Object(_)) => self.all_if_path(path, right),
            (Value::Array(_) | Value::Object(_), Value::Ref(path)) => self.all_if_path(path, left),
            (Value::Call(_), Value::Array(_) | Value::Object(_)) => self.all_if(left, right),
            (Value::Array(_) | Value::Object(_), Value::Call(_)) => self.all_if(right, left),
            (Value::ArrayComprehension { .. }, Value::Array(_))
            | (Value::ObjectComprehension { .. }, Value::Object(_)) => self.mark_all(right),
            (
                Value::Array(_),
                Value::ArrayComprehension { .. }
                | Value::SetComprehension { .. }
                | Value::ObjectComprehension { .. },
            ) => self.mark_all(left),
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for index in 0..a.len() {
                    if let (Some(a), Some(b)) = (tree.nth(a, index), tree.nth(b, index)) {
                        self.terms(a, b);
                    }
                }
            }
            (Value::Object(a), Value::Object(b)) => self.objects(a, b),
            _ => {}
        }
    }

    /// Of a key that is written twice the last value counts. Objects of different size are never equal.
    fn objects(&mut self, a: Terms, b: Terms) {
        let tree = self.tree;
        let by_key = |list| -> BTreeMap<String, TermId> {
            tree.pairs(list).map(|(key, value)| (key_text(tree, key), value)).collect()
        };
        let (a, b) = (by_key(a), by_key(b));
        if a.len() != b.len() {
            return;
        }
        for (key, value) in a {
            if let Some(&other) = b.get(&key) {
                self.terms(value, other);
            }
        }
    }

    fn mark_if(&mut self, name: Name, call: TermId) {
        if term_is_bound(self.tree, call, self.bound) {
            self.mark(name);
        }
    }

    fn mark_if_path(&mut self, name: Name, path: Terms) {
        if is_bound(self.tree, path, self.bound) {
            self.mark(name);
        }
    }

    fn all_if_path(&mut self, path: Terms, pattern: TermId) {
        if is_bound(self.tree, path, self.bound) {
            self.mark_all(pattern);
        }
    }

    fn all_if(&mut self, call: TermId, pattern: TermId) {
        if term_is_bound(self.tree, call, self.bound) {
            self.mark_all(pattern);
        }
    }

    fn mark_all(&mut self, pattern: TermId) {
        for name in vars::of_term(self.tree, pattern, Skip::PATTERN) {
            self.mark(name);
        }
    }

    fn pattern(&mut self, name: Name, pattern: TermId) {
        if self.is_safe(name) {
            self.mark_all(pattern);
            return;
        }
        let mut open = vars::of_term(self.tree, pattern, Skip::PATTERN);
        open.retain(|&name| !self.is_safe(name));
        if open.is_empty() {
            self.mark(name);
        }
        for other in open {
            self.wait(name, other);
        }
    }

    fn wait(&mut self, name: Name, other: Name) {
        if self.waits_for.entry(name).or_default().insert(other) {
            self.awaited.entry(other).or_default().push(name);
        }
    }

    /// Notes that a variable is bound, and what follows from that.
    fn mark(&mut self, name: Name) {
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            self.unified.insert(name);
            // What it is made of is bound with it.
            open.extend(self.waits_for.remove(&name).into_iter().flatten());
            for waiting in self.awaited.remove(&name).into_iter().flatten() {
                if let Some(others) = self.waits_for.get_mut(&waiting) {
                    others.remove(&name);
                    if others.is_empty() {
                        open.push(waiting);
                    }
                }
            }
        }
    }
}

/// A text that equal keys have.
fn key_text(tree: &Tree, key: TermId) -> String {
    match tree.value(key) {
        Value::String(name) => format!("s{}", name.index()),
        Value::Number(name) => format!("n{}", name.index()),
        Value::Var(name) => format!("v{}", name.index()),
        Value::Boolean(value) => value.to_string(),
        Value::Null => "null".to_owned(),
        Value::Array(list)
        | Value::Set(list)
        | Value::Object(list)
        | Value::Ref(list)
        | Value::Call(list) => {
            let inner: Vec<_> = tree.terms(list).iter().map(|&term| key_text(tree, term)).collect();
            format!("{:?}({})", std::mem::discriminant(&tree.value(key)), inner.join(","))
        }
        _ => format!("t{}", key.0),
    }
}
