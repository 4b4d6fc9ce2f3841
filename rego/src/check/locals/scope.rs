//! Which variables are known where.

use hashbrown::HashMap;

use crate::syntax::Name;

/// How a variable came into a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occurrence {
    /// As a parameter.
    Parameter,
    /// By being used.
    Seen,
    /// By `:=`.
    Assigned,
    /// By `some` or `every`.
    Declared,
}

/// Scopes in one another.
#[derive(Debug, Clone)]
pub(super) struct Scopes(Vec<HashMap<Name, (Name, Occurrence)>>);

impl Default for Scopes {
    fn default() -> Self {
        Self(vec![HashMap::new()])
    }
}

impl Scopes {
    pub(super) fn push(&mut self) {
        self.0.push(HashMap::new());
    }

    pub(super) fn pop(&mut self) {
        self.0.pop();
    }

    /// Makes a variable known in the innermost scope, under the name `local`.
    pub(super) fn insert(&mut self, name: Name, local: Name, occurrence: Occurrence) {
        if let Some(scope) = self.0.last_mut() {
            scope.insert(name, (local, occurrence));
        }
    }

    /// What a variable is called here.
    pub(super) fn declared(&self, name: Name) -> Option<Name> {
        self.0.iter().rev().find_map(|scope| scope.get(&name)).map(|&(local, _)| local)
    }

    /// What a variable of the innermost scope is called.
    pub(super) fn declared_here(&self, name: Name) -> Option<Name> {
        self.0.last().and_then(|scope| scope.get(&name)).map(|&(local, _)| local)
    }

    /// How a variable came into the innermost scope.
    pub(super) fn occurrence(&self, name: Name) -> Option<Occurrence> {
        self.0.last().and_then(|scope| scope.get(&name)).map(|&(_, occurrence)| occurrence)
    }

    /// How a variable came into the scope in which it is known.
    pub(super) fn any_occurrence(&self, name: Name) -> Option<Occurrence> {
        self.0.iter().rev().find_map(|scope| scope.get(&name)).map(|&(_, occurrence)| occurrence)
    }

    /// The variables that `some` and `every` declare in the innermost scope: as written, and their names here.
    pub(super) fn declarations(&self) -> impl Iterator<Item = (Name, Name)> + '_ {
        let declared = |(&name, &(local, occurrence)): (&Name, &(Name, Occurrence))| {
            (occurrence == Occurrence::Declared).then_some((name, local))
        };
        self.0.last().into_iter().flatten().filter_map(declared)
    }
}
