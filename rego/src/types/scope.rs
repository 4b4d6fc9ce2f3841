//! What is known at a place: documents, variables, and what lies around them.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use super::{Unknown, documents::Document};
use crate::syntax::{Name, ast::TermId};

/// A body, the rules around it, or what a `with` puts in front of them.
pub(super) struct Scope<'s> {
    pub(super) outer: Option<&'s Scope<'s>>,
    pub(super) documents: Option<Shared<'s>>,
    /// The variables that have been met here. One that is met may still be unknown.
    variables: RefCell<HashMap<Name, Unknown>>,
    /// What was concluded about comprehensions of this body.
    pub(super) comprehensions: RefCell<HashMap<TermId, Unknown>>,
    /// Whether it belongs to one statement only: its variables are those of the body around it.
    of_statement: bool,
}

/// Documents of the program, or of a `with`.
pub(super) enum Shared<'s> {
    Program(&'s Document),
    Replaced(Rc<Document>),
}

impl Shared<'_> {
    fn get(&self) -> &Document {
        match self {
            Self::Program(document) => document,
            Self::Replaced(document) => document,
        }
    }
}

impl<'s> Scope<'s> {
    fn new(outer: Option<&'s Self>, documents: Option<Shared<'s>>, of_statement: bool) -> Self {
        Self {
            outer,
            documents,
            variables: RefCell::default(),
            comprehensions: RefCell::default(),
            of_statement,
        }
    }

    /// All rules so far.
    pub(super) fn of_program(documents: &'s Document) -> Self {
        Self::new(None, Some(Shared::Program(documents)), false)
    }

    /// A body.
    pub(super) fn of_body(outer: &'s Self) -> Self {
        Self::new(Some(outer), None, false)
    }

    /// Documents that a `with` replaces for one statement.
    pub(super) fn of_statement(outer: &'s Self, documents: Rc<Document>) -> Self {
        Self::new(Some(outer), Some(Shared::Replaced(documents)), true)
    }

    pub(super) fn documents(&self) -> Option<&Document> {
        self.documents.as_ref().map(Shared::get)
    }

    /// This scope and those around it, from inside to outside.
    pub(super) fn outwards(&'s self) -> impl Iterator<Item = &'s Self> {
        std::iter::successors(Some(self), |scope| scope.outer)
    }

    /// What is known of a variable of this very scope; `None` when it has not been met here.
    pub(super) fn own(&self, variable: Name) -> Option<Unknown> {
        self.variables.borrow().get(&variable).cloned()
    }

    /// Says what a variable is.
    pub(super) fn set(&self, variable: Name, kind: Unknown) {
        let home = self.outwards().find(|scope| !scope.of_statement).unwrap_or(self);
        home.variables.borrow_mut().insert(variable, kind);
    }
}
