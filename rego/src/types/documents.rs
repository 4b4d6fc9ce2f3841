//! The documents that rules define, as a tree, with what is known of their types.

use std::{cell::RefCell, collections::BTreeMap};

use super::{Constant, Dynamic, Object, Type, Unknown};
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
    /// What is known of it as a whole. `None`: it is only on the way to others.
    pub(super) value: Unknown,
    below: BTreeMap<Step, Self>,
    /// See [`Self::extent`].
    extent: RefCell<Unknown>,
}

impl Document {
    pub(super) fn child(&self, step: &Step) -> Option<&Self> {
        self.below.get(step)
    }

    /// The type of the whole document, with those below it.
    pub(super) fn extent(&self, names: &Names) -> Unknown {
        if self.value.is_some() {
            return self.value.clone();
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
        document.value = Some(value);
        document.extent.take();
    }

    /// Adds a type at a path: it becomes part of the objects on the way, and of what is known of the path.
    pub(super) fn insert(&mut self, path: &[Step], value: Type, names: &Names) {
        let mut at = self;
        for (index, step) in path.iter().enumerate() {
            at = at.enter(step);
            let rest = &path[index + 1..];
            if let (Some(Type::Object(object)), false) = (&at.value, rest.is_empty()) {
                at.value = Some(with_property(object, rest, &value, names));
            }
        }
        let mut merged = merge(at.value.take(), value.clone());
        if let Type::Object(_) = value {
            for (rest, leaf) in at.leaves() {
                if let Type::Object(object) = &merged {
                    merged = with_property(object, &rest, &leaf, names);
                }
            }
        }
        at.value = Some(merged);
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
                match &below.value {
                    Some(value) => found.push((path, value.clone())),
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

/// What two rules of one name define together.
fn merge(a: Unknown, b: Type) -> Type {
    let Some(a) = a else { return b };
    match (&a, &b) {
        (Type::Object(left), Type::Object(right)) if left.named.is_empty() && right.named.is_empty() => {
            match (&left.others, &right.others) {
                (None, _) => b,
                (_, None) => a,
                (Some(left), Some(right)) => {
                    let value = match (left.value.clone(), right.value.clone()) {
                        (left, Some(right)) => Some(merge(left, right)),
                        (left, None) => left,
                    };
                    let key = Type::union(left.key.clone(), right.key.clone());
                    Type::object(Vec::new(), Some(Dynamic { key, value }))
                }
            }
        }
        (Type::Set(left), Type::Set(right)) => Type::set(Type::union(left.of.clone(), right.of.clone())),
        (Type::Object(object), Type::Union(of)) | (Type::Union(of), Type::Object(object)) => {
            match merge_into_union(object, of) {
                Some(merged) => merged,
                None => united(a, b),
            }
        }
        _ => united(a, b),
    }
}

fn united(a: Type, b: Type) -> Type {
    // A function beside a value was refused before, as were functions that do not take equally many arguments.
    Type::union(Some(a), Some(b)).unwrap_or(Type::Any)
}

/// Objects without named properties become one.
fn merge_into_union(object: &Object, of: &[Type]) -> Option<Type> {
    let others = object.others.as_ref().filter(|_| object.named.is_empty())?;
    let (index, present) = of.iter().enumerate().find_map(|(index, each)| match each {
        Type::Object(each) if each.named.is_empty() => Some((index, each.others.as_ref()?)),
        _ => None,
    })?;
    let merged = Dynamic {
        key: Type::union(present.key.clone(), others.key.clone()),
        value: Type::union(present.value.clone(), others.value.clone()),
    };
    let merged = Type::object(Vec::new(), Some(merged));
    Type::one_of(
        of.iter().enumerate().map(|(at, each)| if at == index { merged.clone() } else { each.clone() }),
    )
}
