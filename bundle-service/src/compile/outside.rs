//! Versions that reach outside their tier: they never stand, but their authors are to know what else is wrong with them.
//!
//! The rules that reach outside are muted, and the rest is checked beside what stands. Of a module in a package that it
//! may not have nobody knows where its rules were meant to be, so beside one nothing more is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use secplane_rego::{Code, Gate};

use super::{
    Policies,
    confine::MOST,
    documents::Document,
    parts::is_test,
    resource::Version,
    tier::{ParsedModule, check_beside},
};
use crate::{
    policy::{AuthorizationPolicy, ResourceKey},
    refusal::Refusal,
    tiers::{TierKey, TierKind},
};

/// A version whose modules are all Rego, and of which some reach outside.
#[derive(Debug)]
pub(super) struct Outside {
    /// Its modules and its tests.
    modules: Vec<ParsedModule>,
    /// Where they reach outside.
    faults: Vec<secplane_rego::Refusal>,
    /// What is refused of it already.
    refusals: Vec<Refusal>,
}

impl Outside {
    /// Reads a version of which that is refused; `None` when more cannot be known of it.
    pub(super) fn read(
        gate: Gate,
        policy: &AuthorizationPolicy,
        kind: TierKind,
        refusals: &[Refusal],
    ) -> Option<Self> {
        let (mut modules, mut faults) = (Vec::new(), Vec::new());
        for (index, part) in policy.modules.iter().enumerate() {
            if Document::is_one(&part.path) {
                continue;
            }
            let is_test = is_test(&part.path);
            let read = ParsedModule::with_faults(gate, &policy.key, index, part, kind, is_test);
            let (module, found) = read.ok()?;
            // Where there are so many, others were not looked for.
            if found.len() >= MOST {
                return None;
            }
            modules.push(module);
            faults.extend(found);
        }
        let is_misplaced = faults.iter().any(|fault| fault.code == Code::Confinement);
        (!faults.is_empty() && !is_misplaced).then(|| Self { modules, faults, refusals: refusals.to_vec() })
    }

    /// All that is refused of it beside modules of others.
    pub(super) fn refusals<'a>(
        &'a self,
        gate: Gate,
        name: &ResourceKey,
        others: impl Iterator<Item = &'a ParsedModule>,
    ) -> Vec<Refusal> {
        // A version of its own that stands is what it would replace.
        let others = others.filter(|part| part.owner.as_ref() != Some(name));
        let together: Vec<&ParsedModule> = others.chain(&self.modules).collect();
        let mut found = check_beside(gate, together.iter().copied(), &self.faults);
        found.retain(|refusal| refusal.resource.as_ref() == Some(name));
        self.refusals.iter().cloned().chain(found).collect()
    }
}

impl Policies {
    /// Tells all that is wrong with the members of a tier that reach outside it.
    pub(super) fn look_outside(
        &mut self,
        key: &TierKey,
        members: &BTreeSet<ResourceKey>,
        standing: &BTreeMap<ResourceKey, Version>,
    ) {
        for name in members {
            let resource = self.resources.get(name).filter(|resource| resource.tier.as_ref() == Some(key));
            let Some(outside) = resource.and_then(|resource| resource.outside.clone()) else { continue };
            let parts = || standing.values().map(|version| version.parts.as_ref());
            let others: usize = parts().map(|parts| parts.modules.len() + parts.tests.len()).sum();
            // That it is refused is known: what else there is to say has to wait when others do.
            if !self.left.look(others + outside.modules.len()) {
                return;
            }
            let (began, above) = (Instant::now(), self.above(key));
            let beside = parts().flat_map(|parts| parts.modules.iter().chain(&parts.tests));
            let refusals = outside.refusals(self.settings.gate, name, above.modules().iter().chain(beside));
            self.left.take(began.elapsed());
            if let Some(resource) = self.resources.get_mut(name) {
                resource.refusals = refusals;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{
        compile::tests::{object, policies, set},
        source::Change,
    };

    const HEAD: &str = "package authbridge.ns.a\n\n";
    /// A rule that reaches outside.
    const FETCH: &str = "x := http.send({\"method\": \"get\", \"url\": \"http://a\"})\n";

    fn told<'a>(refusals: &'a [Refusal]) -> Vec<(&'a str, &'a str, u32)> {
        let told = |refusal: &'a Refusal| {
            (refusal.path.as_deref().unwrap_or_default(), refusal.code.as_str(), refusal.line)
        };
        refusals.iter().map(told).collect()
    }

    fn policy(modules: &[(&str, &str)]) -> Change {
        set("team-a/p:namespace", modules)
    }

    #[test]
    fn tells_the_mistakes_of_all_modules_that_are_no_rego() {
        let mut policies = policies();
        let broken = format!("{HEAD}p if {{\n");
        let outside = format!("{HEAD}{FETCH}");
        policies.apply(&[policy(&[("a.rego", &broken), ("b.rego", &outside), ("c.rego", &broken)])]);
        let refusals = policies.refusals();
        let of = |path: &str| refusals.iter().any(|refusal| refusal.path.as_deref() == Some(path));
        assert!(of("a.rego") && of("b.rego") && of("c.rego"), "{refusals:?}");
    }

    #[test]
    fn tells_what_is_wrong_beside_what_reaches_outside() {
        let first = format!("{HEAD}{FETCH}y := x.body\nz if w > 1\n");
        let second = "package authbridge.ns.b\n\nx := count(1)\ny := data.authbridge.ns.a.x + 1\n";
        let modules = [("a.rego", first.as_str()), ("b.rego", second)];
        let expected = [
            ("a.rego", "forbidden_builtin", 3),
            ("a.rego", "rego_unsafe_var_error", 5),
            ("b.rego", "rego_type_error", 3),
        ];
        let mut policies = policies();
        assert_eq!(told(&policies.preview(object("team-a/p:namespace", &modules)).judge()), expected);
        policies.apply(&[policy(&modules)]);
        assert_eq!(told(&policies.refusals()), expected);
        policies.apply(&[set("team-a/q:namespace", &[("a.rego", "package authbridge.ns.q\n\nx := 1\n")])]);
        assert_eq!(told(&policies.refusals()), expected, "each once, however often its tier is built");
        policies.apply(&[policy(&[("a.rego", &format!("{HEAD}x := 1\n"))])]);
        assert_eq!(policies.refusals(), []);
    }

    /// Whatever is there beside the fault is in order, or would be without it.
    #[rstest]
    #[case::a_caller("x := http.send({})\n", "y := data.authbridge.ns.a.x.body.z\n")]
    #[case::a_function("f(n) := http.send(n)\n", "y := data.authbridge.ns.a.f(1) + 1\n")]
    #[case::an_import("import data.authbridge.inbound\ny := inbound.request.allow(1)\n", "z := 1\n")]
    #[case::a_reference("y := data.authbridge.client.x\n", "z := concat(\"\", data.authbridge.ns.a.y)\n")]
    fn tells_nothing_that_follows_from_it(#[case] outside: &str, #[case] user: &str) {
        let mut policies = policies();
        let modules = [
            ("a.rego", format!("{HEAD}{outside}")),
            ("b.rego", format!("package authbridge.ns.b\n\n{user}")),
        ];
        policies.apply(&[policy(&modules.each_ref().map(|(path, text)| (*path, text.as_str())))]);
        let refusals = policies.refusals();
        let is_fault = |refusal: &Refusal| refusal.code.starts_with("forbidden_");
        assert!(!refusals.is_empty() && refusals.iter().all(is_fault), "{refusals:?}");
    }

    /// Where a module is in the wrong package, what it defines is missing elsewhere.
    #[test]
    fn tells_nothing_more_beside_a_module_in_anothers_place() {
        let mut policies = policies();
        let misplaced = "package authbridge.client.a\n\nf(x) := x\n";
        let user = "package authbridge.ns.b\n\ny := data.authbridge.ns.a.f(1)\n";
        policies.apply(&[policy(&[("a.rego", misplaced), ("b.rego", user)])]);
        assert_eq!(told(&policies.refusals()), [("a.rego", "confinement", 1)]);
    }

    /// What others define is there, and their mistakes and its own are not mixed.
    #[test]
    fn looks_at_it_beside_what_stands() {
        let mut policies = policies();
        policies
            .apply(&[set("team-a/lib:namespace", &[("a.rego", "package authbridge.ns.lib\n\nf(x) := x\n")])]);
        let text = format!(
            "{HEAD}{FETCH}y := data.authbridge.ns.lib.f(1)\nz := data.authbridge.ns.lib.f(1, 2, 3)\n"
        );
        policies.apply(&[policy(&[("a.rego", &text)])]);
        let expected = [("a.rego", "forbidden_builtin", 3), ("a.rego", "rego_type_error", 5)];
        assert_eq!(told(&policies.refusals()), expected);
        policies.apply(&[policy(&[("a.rego", &format!("{HEAD}z := 1\n"))])]);
        policies.apply(&[policy(&[("a.rego", &text)])]);
        assert_eq!(told(&policies.refusals()), expected, "its own last good version is not beside it");
    }
}
