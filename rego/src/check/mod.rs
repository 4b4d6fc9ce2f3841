//! Checks of modules that are compiled together: one file a check.
//!
//! Nothing here evaluates a policy: a rule could take all memory before any limit sees it.

mod annotations;
mod conflicts;
mod functions;
mod imports;
mod names;
mod negation;
mod objects;
mod prepare;
mod recursion;
mod together;
mod variables;
mod with;

use crate::{Module, Refusal};

use together::Together;

/// The most refusals that one check gives: whoever made more mistakes corrects some and asks again.
const MOST: usize = 50;

/// Whether an OPA would activate these modules together: empty when nothing speaks against it.
///
/// Refusals come in the order of the modules and of their texts.
#[must_use]
pub fn check(modules: &[&Module]) -> Vec<Refusal> {
    let together = Together::new(modules);
    let own = [
        names::check,
        annotations::check,
        imports::check,
        conflicts::check,
        functions::check,
        variables::check,
        with::check,
        recursion::check,
    ];
    let mut refusals = Vec::new();
    for check in own {
        let found = check(&together);
        refusals.extend(found.into_iter().take(MOST));
    }
    if refusals.is_empty() {
        // Last, because its messages are the least precise.
        refusals.extend(prepare::check(&together));
    }
    let order = |file: &str| modules.iter().position(|module| module.name().as_ref() == file);
    refusals.sort_by_cached_key(|r| (order(&r.location.file), r.location.line, r.location.column));
    refusals.dedup();
    refusals
}

/// Where the decision of an OPA may differ from one of [`evaluate`](mod@crate::evaluate): each a warning. An OPA
/// activates modules that have them.
#[must_use]
pub fn warnings(modules: &[&Module]) -> Vec<Refusal> {
    negation::check(&Together::new(modules))
}

#[cfg(test)]
pub(crate) mod tests {
    use rstest::rstest;

    use super::*;
    use crate::Code;

    /// The refusals of modules, each a text of its own.
    pub(crate) fn refusals(texts: &[&str]) -> Vec<Refusal> {
        let parse = |(index, text): (usize, &&str)| {
            Module::parse(&format!("{index}.rego"), text.as_bytes()).unwrap_or_else(|e| panic!("{e}"))
        };
        let modules: Vec<Module> = texts.iter().enumerate().map(parse).collect();
        check(&modules.iter().collect::<Vec<_>>())
    }

    /// The codes of the refusals, without repetition.
    pub(crate) fn codes(texts: &[&str]) -> Vec<Code> {
        let mut codes: Vec<_> = refusals(texts).into_iter().map(|refusal| refusal.code).collect();
        codes.dedup();
        codes
    }

    #[rstest]
    #[case::rule_and_import_of_one_name(&["package a\nimport data.b.x\nx := 1\ny := x", "package b\nx := 1"])]
    #[case::unused_import(&["package a\nimport data.b.x\ny := 1"])]
    #[case::unused_some_in(&["package a\ny if { some x in [1] }"])]
    #[case::deep_rule_beside_package(&["package a\nb.c := 1", "package a.b\nd := 1"])]
    #[case::one_rule_in_two_packages(&["package a\nb.c := 1", "package a.b\nc := 1"])]
    #[case::partial_object_and_its_key(&["package a\nb[x] := 1 if some x in input.xs\nb.c := 2"])]
    #[case::default_function(&["package a\ndefault b(_) := 1\nb(x) := 2 if x == 1"])]
    #[case::rule_named_as_a_builtin(&["package a\ncount(x) := 1\ny := count([1])"])]
    #[case::functions_of_others(&["package a\nimport data.lib\ny if lib.f(1)\nz := data.lib.f(2)", "package lib\nf(x) := x"])]
    #[case::result_as_last_argument(&["package a\np if { count([1], n); n == 1 }"])]
    #[case::missing_rule_of_a_package(&["package a\np if data.b.x == true", "package b\ny := 1"])]
    #[case::with_everything(&["package a\nf(x) := x\np if { f(1) with input.x as 1 with data.b as 2 with time.now_ns as 3 with f as 4 }"])]
    #[case::siblings_by_variable(&["package a.main\nd if data.a[_].allow", "package a.t\nallow if true"])]
    #[case::comprehensions(&["package a\np := {k: v | some k, v in input.x; not v in [1]}\nq := [y | y := p[_]; y > 0]"])]
    #[case::unification(&["package a\np if { [x, {\"k\": y}] = input.z; x == y }\nq[k] := v if v = input.m[k]"])]
    #[case::every(&["package a\np if { every i, x in input.xs { x > i } }"])]
    #[case::builtins_that_the_engine_lacks(&["package a\np if io.jwt.decode(input.t)\nq := crypto.sha256(\"x\")\nr := http.send({\"url\": \"x\", \"method\": \"get\"})"])]
    #[case::else_branches(&["package a\np := 1 if input.x else := y if { y := input.y } else := 3"])]
    #[case::comprehension_below_not(&["package a\np if { not count([x | x = input.y[i]; i > 0]) == 1 }"])]
    #[case::print_alone(&["package a\np if { print(1); not print(2) }"])]
    #[case::empty(&["package a"])]
    fn accepts_what_opa_activates(#[case] texts: &[&str]) {
        assert_eq!(refusals(texts), []);
    }

    #[test]
    fn names_the_place() {
        let found = refusals(&["package a\nx := 1", "package b\n\nimport data.a.x\ny := lowerr(x)\n"]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].location.to_string(), "1.rego:4:6");
        assert_eq!(found[0].source_line, "y := lowerr(x)");
        assert!(found[0].message.contains("`lowerr`"), "{}", found[0]);
    }

    #[test]
    fn keeps_a_panic_of_the_engine_to_itself() {
        // A function of the engine panics on this when it is evaluated: it must not be.
        assert_eq!(refusals(&["package a\nx := strings.count(\"x\", \"\")"]), []);
    }

    #[rstest]
    #[case("1 + ")]
    #[case("- ")]
    #[case("f.")]
    #[case("{1} | ")]
    #[case("x in ")]
    fn survives_the_longest_chains(#[case] link: &str) {
        let mut times = 1;
        let text = |times| format!("package a\np if input.x == {}f", link.repeat(times));
        while Module::parse("a.rego", text(times + 1).as_bytes()).is_ok_and(|_| times < 1000) {
            times += 1;
        }
        if let Ok(module) = Module::parse("a.rego", text(times).as_bytes()) {
            let _ = check(&[&module]);
        }
        assert!(times > 50);
    }

    /// Texts on which the engine or a check once took minutes.
    #[rstest]
    #[case::chained_statements(&(0..19_000).map(|n| format!("x{n} = x{}\n", n + 1)).collect::<String>())]
    #[case::many_statements(&"some y in input.x; y == 1\n".repeat(15_000))]
    #[case::many_undefined_functions(&"f(1);f(1);f(1);f(1);f(1)\n".repeat(18_000))]
    #[case::many_unsafe_variables(&(0..18_000).map(|n| format!("q{n} > 1\n")).collect::<String>())]
    fn is_done_in_time(#[case] body: &str) {
        let started = std::time::Instant::now();
        for text in [
            format!("package a\np if {{\n{body}}}\n"),
            format!(
                "package a\n{}",
                body.lines().map(|line| format!("p if {{ {line} }}\n")).collect::<String>()
            ),
        ] {
            let module = Module::parse("a.rego", text.as_bytes()).unwrap();
            assert!(check(&[&module]).len() <= 2 * MOST);
        }
        assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
    }

    #[test]
    fn evaluates_nothing() {
        let started = std::time::Instant::now();
        assert_eq!(refusals(&["package a\nx := numbers.range(1, 1000000000000)\ny := count(x)"]), []);
        assert!(started.elapsed().as_secs() < 5);
    }
}
