//! What the stages refuse, and what they let pass. The corpora in `rego/tests` hold more, each asked of OPA.

use std::{sync::Arc, time::Instant};

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use crate::{Code, Gate, Module, Refusal, capabilities::OpaVersion};

fn gate() -> Gate {
    Gate::new(OpaVersion::V1_22)
}

fn modules(texts: &[&str]) -> Vec<Arc<Module>> {
    let parse = |(index, text): (usize, &&str)| {
        gate()
            .parse(&format!("{index}.rego"), text.as_bytes())
            .unwrap_or_else(|refusals| panic!("{refusals:?}"))
    };
    texts.iter().enumerate().map(parse).collect()
}

fn refusals(texts: &[&str]) -> Vec<Refusal> {
    let modules = modules(texts);
    let refused = gate().check(&modules);
    assert_eq!(gate().accepts(&modules), refused.is_empty(), "{refused:?}");
    refused
}

fn codes(texts: &[&str]) -> Vec<Code> {
    let mut codes: Vec<_> = refusals(texts).into_iter().map(|refusal| refusal.code).collect();
    codes.dedup();
    codes
}

#[rstest]
#[case::rule_called_as_a_keyword("contains := 1")]
#[case::partial_set_of_v0("p[1]")]
#[case::body_without_if("p { true }")]
#[case::neither_value_nor_body("p.q.r")]
#[case::default_that_is_computed("default a := input.x")]
#[case::default_with_a_call("default a := [count([1])]")]
#[case::import_of_nothing("import rego.v3\ny := 1")]
#[case::import_of_a_missing_keyword("import future.keywords.foo\ny := 1")]
#[case::second_package("package b")]
#[case::else_of_a_set("p contains 1 if true else := 2")]
#[case::metadata_of_no_scope("# METADATA\n# scope: nonsense\np := 1")]
#[case::metadata_that_is_no_yaml("# METADATA\n# title: [a\np := 1")]
#[case::metadata_without_a_word("# METADATA\np := 1")]
#[case::metadata_of_a_package_at_a_rule("# METADATA\n# scope: package\np := 1")]
#[case::number_with_a_zero("p := 01")]
#[case::number_too_large("p := 1e99999")]
#[case::template_with_a_negation("p := $\"{not true}\"")]
fn refuses_what_is_not_rego(#[case] rules: &str) {
    let refused = gate().parse("a.rego", format!("package a\n{rules}").as_bytes()).unwrap_err();
    assert!(!refused.is_empty() && refused.iter().all(|refusal| refusal.code == Code::Parse), "{refused:?}");
}

/// What breaks the grammar ends the reading, here as in OPA. Whatever can be read past is told together.
#[rstest]
#[case::rules_without_if("package a\n\np { true }\n\nq := 1\n\n  r { false }\n", Code::Parse, &[(3, 1), (7, 3)])]
#[case::unknown_functions("package a\n\np if {\n\tnothing(1)\n}\n\nq if {\n\tno_more(2)\n}\n", Code::Type, &[(4, 2), (8, 2)])]
#[case::unused_variables("package a\n\np if {\n\tsome x, y\n\tsome z\n\tinput.a\n}\n", Code::Compile, &[(4, 2), (4, 2), (5, 2)])]
fn names_each_fault_of_a_module_with_its_place(
    #[case] text: &str,
    #[case] code: Code,
    #[case] places: &[(u32, u32)],
) {
    let refused = match gate().parse("a.rego", text.as_bytes()) {
        Ok(module) => gate().check(&[module]),
        Err(refused) => refused,
    };
    let found: Vec<_> =
        refused.iter().map(|refusal| (refusal.location.line, refusal.location.column)).collect();
    assert_eq!(found, places, "{refused:?}");
    assert!(refused.iter().all(|refusal| refusal.code == code), "{refused:?}");
}

#[rstest]
#[case::two_imports_of_one_name("import data.b.x\nimport data.c.y as x\nz := x", Code::Compile)]
#[case::rule_called_input("input := 1", Code::Compile)]
#[case::parameter_called_data("f(data) := data.x", Code::Compile)]
#[case::variable_called_input("p if { input := 1; input == 1 }", Code::Compile)]
#[case::assigned_twice("p if { x := 1; x := 2 }", Code::Compile)]
#[case::used_before_it_is_assigned("p if { x == 1; x := 1 }", Code::Compile)]
#[case::unused_some("y if { some x; true }", Code::Compile)]
#[case::unused_every("y if { every x in [1] { true } }", Code::Compile)]
#[case::unused_key_of_every("y if { every k, x in [1] { x == 1 } }", Code::Compile)]
#[case::some_on_both_sides("p if { some x in x }", Code::Compile)]
#[case::assigned_in_a_negation("p if not x := 1", Code::Compile)]
#[case::print_before_its_variable("p if { print(x); x := 1 }", Code::Compile)]
#[case::print_as_a_value("p := print(1)", Code::Type)]
#[case::with_on_nothing("p if true with foo.bar as 1", Code::Type)]
#[case::with_on_a_part("p if q.r with data.a.q.r as 1\nq := {}", Code::Compile)]
#[case::with_on_a_relation("p if walk(1, x) with walk as 1", Code::Compile)]
#[case::unsafe_value("a := x if true", Code::UnsafeVariable)]
#[case::unsafe_element("a contains x if true", Code::UnsafeVariable)]
#[case::unsafe_in_a_comprehension("a if { [1 | x > 1] != [] }", Code::UnsafeVariable)]
#[case::misspelled("a if inptu.x == 1", Code::UnsafeVariable)]
#[case::unsafe_in_a_negation("a if not input.x[i] == 1", Code::UnsafeVariable)]
#[case::function_as_a_value("a := http.send", Code::UnsafeVariable)]
#[case::circle_of_equations("p if { x = y + 1; y = x + 1 }", Code::UnsafeVariable)]
#[case::unknown_function("p if nothing(1)", Code::Type)]
#[case::deprecated_function("p if any([true])", Code::Type)]
#[case::too_many_arguments("p if count(1, 2, 3)", Code::Type)]
#[case::too_few_arguments("p if split(\"a\")", Code::Type)]
#[case::variable_is_no_function("p if { x := 1; x(1) }", Code::Type)]
#[case::recursion("p if q\nq if data.a.p", Code::Recursion)]
#[case::recursion_of_a_function("f(x) := f(x)", Code::Recursion)]
#[case::recursion_through_the_tree("p := data[input.x].p", Code::Recursion)]
#[case::recursion_through_all("d := data", Code::Recursion)]
#[case::recursion_in_a_comprehension("p := [x | x := p[_]]", Code::Recursion)]
fn refuses_what_does_not_fit(#[case] rules: &str, #[case] code: Code) {
    let found = refusals(&[&format!("package a\n{rules}")]);
    assert_eq!(found.first().map(|refusal| refusal.code), Some(code), "{found:?}");
}

#[rstest]
#[case::two_defaults(&["package a\ndefault b := 1", "package a\ndefault b := false"])]
#[case::complete_and_set(&["package a\nb contains 1\nb := 2"])]
#[case::object_and_value(&["package a\nb[x] := 1 if some x in input.xs\nb := {}"])]
#[case::function_and_rule(&["package a\nb(x) := x\nb := 2"])]
#[case::arities(&["package a\nb(x) := x\nb(x, y) := [x, y]"])]
#[case::rule_in_a_rule(&["package a\nb := 1\nb.c := 2"])]
#[case::rule_in_a_rule_not_adjacent(&["package a\nb := 1\nb.c.d := 2\nba := 3"])]
#[case::rule_is_a_package(&["package a.b\nc := 1", "package a.b.c\nx := 1"])]
#[case::rule_is_an_empty_package(&["package a.b\nc := 1", "package a.b.c"])]
#[case::rule_contains_a_package(&["package a.b\nc := 1", "package a.b.c.d\nx := 1"])]
fn refuses_what_contradicts_itself(#[case] texts: &[&str]) {
    assert_eq!(codes(texts), [Code::Type]);
}

#[rstest]
#[case::rule_and_import_of_one_name(&["package a\nimport data.b.x\nx := 1\ny := x", "package b\nx := 1"])]
#[case::unused_import(&["package a\nimport data.b.x\ny := 1"])]
#[case::unused_some_in(&["package a\ny if { some x in [1] }"])]
#[case::deep_rule_beside_package(&["package a\nb.c := 1", "package a.b\nd := 1"])]
#[case::partial_object_and_its_key(&["package a\nb[x] := 1 if some x in input.xs\nb.c := 2"])]
#[case::default_function(&["package a\ndefault b(_) := 1\nb(x) := 2 if x == 1"])]
#[case::rule_named_as_a_builtin(&["package a\ncount(x) := 1\ny := count([1])"])]
#[case::functions_of_others(&["package a\nimport data.lib\ny if lib.f(1)\nz := data.lib.f(2)", "package lib\nf(x) := x"])]
#[case::result_as_last_argument(&["package a\np if { count([1], n); n == 1 }"])]
#[case::with_everything(&["package a\nf(x) := x\np if { f(1) with input.x as 1 with data.b as 2 with time.now_ns as 3 with f as 4 }"])]
#[case::siblings_by_variable(&["package a.main\nd if data.a[_].allow", "package a.t\nallow if true"])]
#[case::comprehensions(&["package a\np := {k: v | some k, v in input.x; not v in [1]}\nq := [y | y := p[_]; y > 0]"])]
#[case::unification(&["package a\np if { [x, {\"k\": y}] = input.z; x == y }\nq[k] := v if v = input.m[k]"])]
#[case::out_of_order(&["package a\np if { x == y; x = z; z = 1; y = 2 - x }"])]
#[case::else_branches(&["package a\np := 1 if input.x else := y if { y := input.y } else := 3"])]
#[case::keywords_in_paths(&["package a.if\nnot.x := 1\np if not.x == input.default"])]
#[case::template(&["package a\np := $\"{input.x} and {count(input.y)}\""])]
#[case::later_keywords(&["package a\nimport rego.v2\np if not { x := input.x; x == 1 }\nq if input.a and (input.b or input.c)"])]
#[case::print(&["package a\np if { x := 1; print(x, input.y) }"])]
#[case::byte_order_mark(&["\u{feff}package a"])]
#[case::empty(&["package a"])]
fn accepts_what_opa_activates(#[case] texts: &[&str]) {
    assert_eq!(refusals(texts), []);
}

#[rstest]
#[case("import rego.v2\np := 1", "1.22")]
#[case("import future.keywords.and\np if input.a and input.b", "1.20")]
#[case("import future.keywords.or\np if input.a or input.b", "1.20")]
fn refuses_what_the_target_does_not_have(#[case] rules: &str, #[case] first: &str) {
    let text = format!("package a\n{rules}");
    assert!(gate().parse("a.rego", text.as_bytes()).is_ok());
    let refused = Gate::new(OpaVersion::V1_18).parse("a.rego", text.as_bytes()).unwrap_err();
    assert!(refused[0].message.contains("newer than the OPA"), "{refused:?}");
    assert_eq!(refused[0].suggestion, Some(needed(first)));
}

fn needed(first: &str) -> String {
    format!("this needs OPA {first} or newer; set `opa_version` once every sidecar runs it")
}

#[test]
fn says_which_opa_has_a_function() {
    let suggestion = |call: &str| {
        let old = Gate::new(OpaVersion::V1_18);
        let module = old.parse("a.rego", format!("package a\np := {call}").as_bytes()).unwrap();
        old.check(&[module])[0].suggestion.clone()
    };
    assert_eq!(suggestion("strings.split_n(\"a b\", \" \", 1)"), Some(needed("1.19")));
    let unknown = Some("define it, import it, or correct its name".to_owned());
    assert_eq!(suggestion("strings.split_into_many(\"a b\")"), unknown);
}

#[rstest]
#[case(json!({"a": {"p": 1}}), 1)]
#[case(json!({"a": {"p": {"q": 1}}}), 1)]
#[case(json!({"a": 1}), 1)]
#[case(json!({"a": {"q": 1}, "b": 2}), 0)]
fn refuses_rules_where_data_is(#[case] data: serde_json::Value, #[case] expected: usize) {
    let found = gate().check_with_data(&modules(&["package a\np := 1"]), &data);
    assert_eq!(found.len(), expected, "{found:?}");
}

#[rstest]
#[case::no_yaml("# title: [a")]
#[case::a_tab("# \ttitle: a")]
#[case::nothing("#")]
#[case::an_unknown_scope("# scope: nonsense")]
fn says_what_to_do_about_metadata(#[case] block: &str) {
    let text = format!("package a\n\n# METADATA\n{block}\np := 1\n");
    let refused = gate().parse("a.rego", text.as_bytes()).unwrap_err();
    assert_eq!((refused[0].location.line, refused[0].source_line.as_str()), (3, "# METADATA"));
    assert!(refused[0].suggestion.as_deref().is_some_and(|advice| advice.contains("YAML")), "{refused:?}");
}

#[test]
fn names_the_place_and_what_to_do() {
    let found = refusals(&["package a\nx := 1", "package b\n\nimport data.a.x\ny := lowerr(x)\n"]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].location.to_string(), "1.rego:4:6");
    assert_eq!(found[0].source_line, "y := lowerr(x)");
    assert!(found[0].message.contains("`lowerr`"), "{}", found[0]);
    assert_eq!(found[0].suggestion.as_deref(), Some("did you mean `lower`?"));
}

#[test]
fn names_all_mistakes_in_order() {
    let found = refusals(&["package a\np if x > 1\nq if { y := z }\nr := nothing(1)\ns := t\nt := s"]);
    let lines: Vec<_> = found.iter().map(|refusal| refusal.location.line).collect();
    assert_eq!(lines, [2, 3, 4, 5], "{found:?}");
    let found = refusals(&["package a\np if x > 1\nq if { y := z }"]);
    assert_eq!(found.iter().map(|refusal| refusal.location.line).collect::<Vec<_>>(), [2, 3], "{found:?}");
}

/// Texts of half a MiB and more, each hard for some stage.
#[rstest]
#[case::chained_statements(&format!("p if {{\n{}}}", (0..30_000).map(|n| format!("x{n} = x{}\n", n + 1)).collect::<String>()))]
#[case::statements_that_wait(&format!("p if {{\n{}x0 = 1\n}}", (1..30_000).rev().map(|n| format!("x{n} = x{}\n", n - 1)).collect::<String>()))]
#[case::long_pattern(&format!("p if {{ [{}] = [{}] }}", (0..30_000).map(|n| format!("x{n},")).collect::<String>(), (1..30_001).map(|n| format!("x{n},")).collect::<String>()))]
#[case::unsafe_variables(&format!("p if {{\n{}}}", (0..30_000).map(|n| format!("q{n} > 1\n")).collect::<String>()))]
#[case::undefined_functions(&"p if f(1)\n".repeat(30_000))]
#[case::chained_rules(&(0..30_000).map(|n| format!("r{n} if r{}\n", n + 1)).collect::<String>())]
#[case::else_branches(&format!("p if input.x{}", " else if input.y".repeat(30_000)))]
#[case::closures(&format!("p if {{\n{}}}", "x := [y | y := input.z[_]]\n".replace('x', "_").repeat(20_000)))]
#[case::many_references(&format!("p := [{}]", "input.x[input.y][input.z],".repeat(20_000)))]
#[case::many_calls(&format!("p := [{}]", "count(input.x),".repeat(30_000)))]
#[case::brackets(&"[".repeat(500_000))]
#[case::braces(&"{".repeat(500_000))]
#[case::tries(&format!("import rego.v2\np if {}", "({[{".repeat(100_000)))]
#[case::comprehensions_in_one_another(&format!("p := {}1{}", "[x | x := ".repeat(190), "]".repeat(190)))]
#[case::operators(&format!("p := 1{}", "+1".repeat(200_000)))]
#[case::words(&"a ".repeat(400_000))]
fn answers_in_time(#[case] rules: &str) {
    let text = format!("package a\n{rules}\n");
    assert!(text.len() <= crate::syntax::module::MAX_BYTES);
    let started = Instant::now();
    // The stack of a thread that nobody made larger.
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(move || {
        if let Ok(module) = gate().parse("a.rego", text.as_bytes()) {
            let _ = gate().check(&[module]);
        }
    });
    thread.unwrap().join().unwrap();
    // Many times what it takes: the machine may be slow, and busy with something else.
    assert!(started.elapsed().as_secs() < 300, "{:?}", started.elapsed());
}

proptest! {
    #[test]
    fn never_panics(text in "(package a\n)?([a-z]{1,2}|[\\[\\](){}\"`#.,:;=|&+$1_ \n-]|:=|not |some |in |every |if |else |default |with |as |and |or |import |contains |data|input|rego.v2){0,60}") {
        if let Ok(module) = gate().parse("a.rego", text.as_bytes()) {
            let _ = gate().check(&[module]);
        }
    }

    #[test]
    fn never_panics_on_bytes(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = gate().parse("a.rego", &text);
    }
}
