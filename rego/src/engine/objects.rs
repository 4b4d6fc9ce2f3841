//! Which arguments are objects for sure, so that a function of objects cannot fail on them.
//!
//! A parameter of a function is one when every call passes one.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    Together,
    together::{Placed, constant},
};
use crate::{
    engine::module::{Meaning, Reference, RuleKind, ValueKind},
    engine::read::negation::{Argument, Call},
};

/// How many calls deep a parameter is followed to where it comes from.
const MAX_DEPTH: usize = 16;

type Path = Vec<Arc<str>>;

/// The calls of all modules, and what is known of the parameters.
pub(super) struct Objects<'a> {
    together: &'a Together<'a>,
    calls: BTreeMap<Path, Vec<(Placed<'a>, &'a Call)>>,
    parameters: RefCell<HashMap<(Path, usize), bool>>,
}

impl<'a> Objects<'a> {
    pub(super) fn new(together: &'a Together<'a>) -> Self {
        let mut calls: BTreeMap<Path, Vec<_>> = BTreeMap::new();
        for &placed in &together.rules {
            for call in &placed.rule.calls {
                if let Meaning::Data(path) = together.meaning(placed, &call.function)
                    && let Some(path) = constant(&path)
                {
                    calls.entry(path).or_default().push((placed, call));
                }
            }
        }
        Self { together, calls, parameters: RefCell::default() }
    }

    /// Whether an argument that stands in a rule is an object, whenever it has a value.
    pub(super) fn is_object(&self, placed: Placed<'a>, argument: &Argument) -> bool {
        self.at_depth(placed, argument, MAX_DEPTH)
    }

    fn at_depth(&self, placed: Placed<'a>, argument: &Argument, depth: usize) -> bool {
        let path = match argument {
            Argument::Object => return true,
            Argument::Collection | Argument::Other => return false,
            Argument::Path(path) => path,
        };
        match self.together.meaning(placed, path) {
            // The input that a sidecar sends.
            Meaning::Input => path.root.as_ref() == "input" && path.path.is_empty(),
            Meaning::Data(names) => {
                let rules = constant(&names).map(|names| self.together.at(&names)).unwrap_or_default();
                !rules.is_empty() && rules.iter().all(|found| makes_object(found))
            }
            Meaning::Local if path.path.is_empty() => self.parameter(placed, path, depth),
            Meaning::Local | Meaning::Builtin(_) | Meaning::Free => false,
        }
    }

    fn parameter(&self, placed: Placed<'a>, variable: &Reference, depth: usize) -> bool {
        let parameters = &placed.rule.parameters;
        let Some(index) = parameters.iter().position(|name| name.as_ref() == Some(&variable.root)) else {
            return false;
        };
        let Some(function) = constant(&placed.module.full_path(placed.rule)) else { return false };
        let Some(depth) = depth.checked_sub(1) else { return false };
        let key = (function, index);
        if let Some(known) = self.parameters.borrow().get(&key) {
            return *known;
        }
        let calls = self.calls.get(&key.0).map(Vec::as_slice).unwrap_or_default();
        let passes_object = |(caller, call): &(Placed<'a>, &Call)| {
            call.arguments.get(index).is_some_and(|argument| self.at_depth(*caller, argument, depth))
        };
        let known = !calls.is_empty() && calls.iter().all(passes_object);
        self.parameters.borrow_mut().insert(key, known);
        known
    }
}

fn makes_object(placed: &Placed<'_>) -> bool {
    match placed.rule.kind {
        RuleKind::PartialObject => true,
        RuleKind::Complete => placed.rule.values.iter().all(|value| *value == ValueKind::Object),
        RuleKind::PartialSet | RuleKind::Function(_) => false,
    }
}
