//! The documents that rules define, as a tree, with what is known of their types.

use std::{cell::RefCell, collections::BTreeMap};

use super::{Constant, Dynamic, Object, Type, Unknown, merge::Merged};
use crate::syntax::{Name, Names};

/// One step to a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A string, or the first word.
    Name(Name),
    /// Any other constant.
    Constant(Constant),
    /// A variable, between constants in the head of a function.
    Variable(Name),
}

impl Step {
    fn constant(&self, names: &Names) -> Option<Constant> {
        match self {
            Self::Name(name) => Some(Constant::String(names.text(*name).into())),
            Self::Constant(constant) => Some(constant.clone()),
            Self::Variable(_) => None,
        }
    }
}

/// A document, or what lies on the way to one.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// What is known of it as a whole. Nothing: it is only on the way to others.
    value: RefCell<Merged>,
    below: BTreeMap<Step, Self>,
    /// See [`Self::extent`].
    extent: RefCell<Unknown>,
}

impl Document {
    pub(super) fn child(&self, step: &Step) -> Option<&Self> {
        self.below.get(step)
    }

    /// Whether something is known of it as a whole.
    pub(super) fn is_known(&self) -> bool {
        self.value.borrow().is_known()
    }

    /// What is known of it as a whole. `None`: it is only on the way to others.
    pub(super) fn value(&self) -> Unknown {
        self.value.borrow_mut().get().clone()
    }

    /// The type of the whole document, with those below it.
    pub(super) fn extent(&self, names: &Names) -> Unknown {
        if self.is_known() {
            return self.value();
        }
        let known = self.extent.borrow().clone();
        known.or_else(|| {
            let assembled = Some(self.assemble(names));
            self.extent.borrow_mut().clone_from(&assembled);
            assembled
        })
    }

    fn assemble(&self, names: &Names) -> Type {
        let named = self.below.iter().filter_map(|(step, document)| {
            let name = step.constant(names)?;
            // OPA leaves out what is named by null, an array, a set or an object.
            matches!(name, Constant::String(_) | Constant::Number(_) | Constant::Boolean(_))
                .then(|| (name, document.extent(names)))
        });
        // There may be base documents beside those of rules.
        let others = Dynamic { key: Some(Type::String), value: Some(Type::Any) };
        Type::object(named.collect(), Some(others))
    }

    /// Sets the type at a path, whatever was known of it.
    pub(super) fn put(&mut self, path: &[Step], value: Type) {
        let document = path.iter().fold(self, |at, step| at.enter(step));
        document.value.get_mut().set(value);
        document.extent.take();
    }

    /// Adds a type at a path: it becomes part of the objects on the way, and of what is known of the path. Says how much
    /// is looked at for that.
    pub(super) fn insert(&mut self, path: &[Step], value: Type, names: &Names) -> u64 {
        let (mut at, mut effort) = (self, path.len() as u64);
        for (index, step) in path.iter().enumerate() {
            at = at.enter(step);
            let rest = &path[index + 1..];
            // What is known of the end of the path is not asked for, so that it can wait for more.
            if !rest.is_empty()
                && let Some(Type::Object(object)) = at.value()
            {
                effort = effort.saturating_add(object.extent.parts);
                at.value.get_mut().set(with_property(&object, rest, &value, names));
            }
        }
        let is_object = matches!(value, Type::Object(_));
        effort = effort.saturating_add(at.value.get_mut().add(value));
        if !is_object {
            return effort;
        }
        for (rest, leaf) in at.leaves() {
            effort = effort.saturating_add(1);
            if let Some(Type::Object(object)) = at.value() {
                effort = effort.saturating_add(object.extent.parts);
                at.value.get_mut().set(with_property(&object, &rest, &leaf, names));
            }
        }
        effort
    }

    fn enter(&mut self, step: &Step) -> &mut Self {
        self.extent.take();
        self.below.entry(step.clone()).or_default()
    }

    /// The types below it, with the way to each.
    fn leaves(&self) -> Vec<(Vec<Step>, Type)> {
        let (mut found, mut waiting) = (Vec::new(), vec![(Vec::new(), self)]);
        while let Some((path, document)) = waiting.pop() {
            for (step, below) in &document.below {
                let path: Vec<Step> = path.iter().chain([step]).cloned().collect();
                match below.value() {
                    Some(value) => found.push((path, value)),
                    None => waiting.push((path, below)),
                }
            }
        }
        found
    }
}

/// The object with a value of that type somewhere below it. Its name becomes one of many: OPA does not name it.
fn with_property(object: &Object, path: &[Step], value: &Type, names: &Names) -> Type {
    let Some((step, rest)) = path.split_first() else {
        return Type::object(object.named.to_vec(), object.others.clone());
    };
    let below = match rest {
        [] => Some(value.clone()),
        rest => match Type::object(Vec::new(), None) {
            Type::Object(empty) => Some(with_property(&empty, rest, value, names)),
            other => Some(other),
        },
    };
    let kind = step.constant(names).map(|constant| constant.kind());
    let others = match &object.others {
        Some(others) => Dynamic {
            key: Type::union(others.key.clone(), kind),
            value: Type::union(others.value.clone(), below),
        },
        None => Dynamic { key: kind, value: below },
    };
    Type::object(object.named.to_vec(), Some(others))
}
