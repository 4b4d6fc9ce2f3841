//! Modules side by side: whose rules are where.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    engine::module::Module,
    engine::module::{Meaning, Reference, Rule, Segment},
};

/// One rule and the module that it stands in.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    pub(super) module: &'a Module,
    pub(super) rule: &'a Rule,
}

/// The modules that are compiled together.
pub(crate) struct Together<'a> {
    /// Every rule, in the order of the modules and their texts.
    pub(super) rules: Vec<Placed<'a>>,
    /// The same rules by the constant beginning of their whole paths, as indexes into `rules`.
    by_path: BTreeMap<Vec<Arc<str>>, Vec<usize>>,
    /// The first names of the rules of each package.
    names: BTreeMap<&'a [Arc<str>], BTreeSet<&'a str>>,
}

impl<'a> Together<'a> {
    pub(crate) fn new(modules: &'a [&'a Module]) -> Self {
        let mut rules = Vec::new();
        let mut by_path: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        let mut names: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
        for &module in modules {
            for rule in module.rules.iter() {
                let path: Vec<_> = module.package.iter().chain(rule.constant_path()).cloned().collect();
                by_path.entry(path).or_default().push(rules.len());
                rules.push(Placed { module, rule });
                let first = rule.path.first().and_then(Segment::name);
                names.entry(module.package.as_slice()).or_default().extend(first);
            }
        }
        Self { rules, by_path, names }
    }

    /// The rules whose constant path is exactly this one.
    pub(super) fn at(&self, path: &[Arc<str>]) -> Vec<Placed<'a>> {
        self.by_path.get(path).map(|rules| self.placed(rules)).unwrap_or_default()
    }

    fn placed(&self, rules: &[usize]) -> Vec<Placed<'a>> {
        rules.iter().filter_map(|&index| self.rules.get(index).copied()).collect()
    }

    /// What a reference means among these modules. [`Meaning::Free`] is then a variable of the rule, or nothing.
    pub(super) fn meaning(&self, placed: Placed<'_>, reference: &Reference) -> Meaning {
        let meaning = placed.module.meaning(placed.rule, reference);
        let explained = !matches!(meaning, Meaning::Free | Meaning::Builtin(_));
        let names = self.names.get(placed.module.package.as_slice());
        if explained || !names.is_some_and(|names| names.contains(reference.root.as_ref())) {
            return meaning;
        }
        let package = placed.module.package.iter().chain([&reference.root]).cloned();
        Meaning::Data(package.map(Segment::Name).chain(reference.path.iter().cloned()).collect())
    }
}

/// The names of a path, if it has no other steps.
pub(super) fn constant(path: &[Segment]) -> Option<Vec<Arc<str>>> {
    path.iter()
        .map(|segment| match segment {
            Segment::Name(name) => Some(Arc::clone(name)),
            Segment::Dynamic => None,
        })
        .collect()
}
