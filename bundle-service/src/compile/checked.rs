//! What stood together when it was checked, so that it is not checked again for everybody who has it.

use std::collections::HashSet;

use secplane_rego::Gate;

use super::tier::{ParsedModule, check_together, stand_together};
use crate::{digest::Digest, refusal::Refusal};

/// How many sets of modules are remembered.
const MAX_REMEMBERED: usize = 10_000;

/// The sets of modules that passed the gate.
#[derive(Debug, Default)]
pub(super) struct Checked(HashSet<Digest>);

impl Checked {
    /// What speaks against modules standing together.
    pub(super) fn check<'a>(
        &mut self,
        gate: Gate,
        modules: impl Iterator<Item = &'a ParsedModule> + Clone,
    ) -> Vec<Refusal> {
        let together = together(modules.clone());
        if self.0.contains(&together) {
            return Vec::new();
        }
        let refusals = check_together(gate, modules);
        if refusals.is_empty() {
            self.remember(together);
        }
        refusals
    }

    /// Whether nothing speaks against modules standing together.
    pub(super) fn accepts<'a>(
        &mut self,
        gate: Gate,
        modules: impl Iterator<Item = &'a ParsedModule> + Clone,
    ) -> bool {
        let together = together(modules.clone());
        if self.0.contains(&together) {
            return true;
        }
        let accepted = stand_together(gate, modules);
        if accepted {
            self.remember(together);
        }
        accepted
    }

    fn remember(&mut self, together: Digest) {
        if self.0.len() == MAX_REMEMBERED {
            self.0.clear();
        }
        self.0.insert(together);
    }
}

/// What identifies a set of modules, whatever their order and whosoever they are: whether they stand together depends
/// on neither.
fn together<'a>(modules: impl Iterator<Item = &'a ParsedModule>) -> Digest {
    let mut digests: Vec<Digest> = modules.map(|part| part.content).collect();
    digests.sort_unstable();
    Digest::of(&digests.iter().map(|digest| digest.as_bytes().as_slice()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compile::parts::Parts,
        policy::{PolicyModule, ResourceKey},
        tiers::TierKind,
    };

    fn modules(texts: &[&str]) -> Vec<ParsedModule> {
        let read = |(index, text): (usize, &&str)| {
            let part = PolicyModule {
                path: "a.rego".to_owned(),
                content: format!("package authbridge.ns.a\n{text}\n"),
            };
            let owner = ResourceKey::new("team-a", "p");
            ParsedModule::read(Gate::default(), &owner, index, &part, TierKind::Namespace, false).unwrap()
        };
        let modules = texts.iter().enumerate().map(read).collect();
        Parts { modules, ..Parts::default() }.modules
    }

    #[test]
    fn tells_sets_apart_by_all_that_is_in_them() {
        let of = |texts: &[&str]| together(modules(texts).iter());
        assert_eq!(of(&["x := 1", "y := 2"]), of(&["y := 2", "x := 1"]));
        let others = [of(&["x := 1"]), of(&["x := 1", "x := 1"]), of(&["x := 1", "y := 3"]), of(&[])];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(*other, of(&["x := 1", "y := 2"]));
            assert!(others.iter().skip(index + 1).all(|third| third != other));
        }
    }

    #[test]
    fn remembers_what_passed_and_asks_again_for_what_did_not() {
        let mut checked = Checked::default();
        let (good, bad) = (modules(&["x := 1"]), modules(&["f(x) := x", "f(x, y) := x"]));
        for _ in 0..2 {
            assert!(!checked.accepts(Gate::default(), bad.iter()));
            assert!(checked.accepts(Gate::default(), good.iter()));
            assert_eq!(checked.check(Gate::default(), good.iter()), []);
            assert!(!checked.check(Gate::default(), bad.iter()).is_empty());
        }
        assert_eq!(checked.0.len(), 1);
    }

    #[test]
    fn accepts_nothing_that_a_check_refuses() {
        for texts in [["x := 1", "x := 2"], ["f(x) := x", "f(x, y) := x"], ["x := y", "z := 1"]] {
            let modules = modules(&texts);
            assert!(!Checked::default().check(Gate::default(), modules.iter()).is_empty(), "{texts:?}");
            assert!(!Checked::default().accepts(Gate::default(), modules.iter()), "{texts:?}");
        }
    }
}
