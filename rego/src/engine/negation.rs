//! A `not` over something without a value: OPA leaves it undefined, the engine of this crate takes it for true.

use super::{
    Together,
    objects::Objects,
    together::{Placed, constant},
};
use crate::{
    Code, Refusal,
    engine::module::{Meaning, Reference, RuleKind, Segment},
    engine::read::negation::{Argument, Hoisted, HoistedKind, Negation},
};

/// The most warnings: whoever has more looks at some and asks again.
const MOST: usize = 50;

/// The most places that a warning names.
const MOST_NAMED: usize = 3;

pub(crate) fn check<'a>(together: &'a Together<'a>) -> Vec<Refusal> {
    let always = Always { together, objects: Objects::new(together) };
    let mut warnings = Vec::new();
    for &placed in &together.rules {
        for negation in &placed.rule.negations {
            let lacking: Vec<&Hoisted> =
                negation.before.iter().filter(|hoisted| !always.defined(placed, hoisted)).collect();
            if !lacking.is_empty() {
                warnings.push(warning(placed, negation, &lacking));
            }
            if warnings.len() == MOST {
                return warnings;
            }
        }
    }
    warnings
}

fn warning(placed: Placed<'_>, negation: &Negation, lacking: &[&Hoisted]) -> Refusal {
    let mut texts: Vec<String> = Vec::new();
    for hoisted in lacking {
        let text = format!("`{}`", hoisted.text);
        if texts.len() < MOST_NAMED && !texts.contains(&text) {
            texts.push(text);
        }
    }
    let plain = lacking.iter().all(|hoisted| matches!(hoisted.kind, HoistedKind::Path(_)));
    let lacks = if plain { "is missing" } else { "has no value" };
    let message = format!(
        "OPA leaves `{}` undefined when {} {lacks}, and the rule does not fire",
        negation.text,
        texts.join(" or "),
    );
    placed.module.refuse(negation.position, Code::UndefinedNegation, message).suggest(
        "to fire only when there is a value, bind it on a line before (`x := input.x`) and write the `not` with \
         the variable; to fire without one as well, move the condition into a rule or function of its own \
         (`found if input.x in s`) and write `not found`",
    )
}

/// What has a value whatever the input is.
struct Always<'a> {
    together: &'a Together<'a>,
    objects: Objects<'a>,
}

impl<'a> Always<'a> {
    fn defined(&self, placed: Placed<'a>, hoisted: &Hoisted) -> bool {
        match &hoisted.kind {
            HoistedKind::Path(path) => self.path(placed, path),
            HoistedKind::Call { function, first } => self.call(placed, function, first),
            HoistedKind::Other => false,
        }
    }

    fn path(&self, placed: Placed<'a>, path: &Reference) -> bool {
        match self.together.meaning(placed, path) {
            Meaning::Data(names) => {
                names.is_empty() || self.rules(&names).iter().any(|found| found.rule.always_defined)
            }
            // A sidecar always sends an input; what an import takes from it may be missing.
            Meaning::Input => path.root.as_ref() == "input" && path.path.is_empty(),
            Meaning::Local => path.path.is_empty(),
            Meaning::Free | Meaning::Builtin(_) => {
                path.path.is_empty() && placed.rule.bound.contains(&path.root)
            }
        }
    }

    /// Whether a call has a value when its arguments have one.
    fn call(&self, placed: Placed<'a>, function: &Reference, first: &Argument) -> bool {
        let name = match self.together.meaning(placed, function) {
            Meaning::Data(names) => return self.rules(&names).iter().any(|found| found.rule.is_default),
            Meaning::Builtin(name) if function.display() == name => name,
            _ => return false,
        };
        match name.as_str() {
            "count" => self.is_collection(placed, first),
            "object.get" | "object.keys" => self.objects.is_object(placed, first),
            "time.now_ns" | "type_name" => true,
            name => name.starts_with("is_"),
        }
    }

    fn is_collection(&self, placed: Placed<'a>, argument: &Argument) -> bool {
        let is_set = |path| match self.together.meaning(placed, path) {
            Meaning::Data(names) => {
                self.rules(&names).iter().any(|found| found.rule.kind == RuleKind::PartialSet)
            }
            _ => false,
        };
        match argument {
            Argument::Collection => true,
            Argument::Path(path) if is_set(path) => true,
            other => self.objects.is_object(placed, other),
        }
    }

    fn rules(&self, path: &[Segment]) -> Vec<Placed<'a>> {
        constant(path).map(|path| self.together.at(&path)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Gate, Module,
        capabilities::OpaVersion,
        evaluate::{evaluate, warnings},
    };

    fn parse(file: &str, text: &str) -> Arc<Module> {
        Gate::new(OpaVersion::V1_22).parse(file, text.as_bytes()).unwrap()
    }

    const RULES: &str = r#"package t

import input.i as imported
import data.lib

s := {"a", "b"}
r := input.x
default d := 1
d := 2 if input.x == "a"
set contains v if v := input.x
obj[k] := 1 if k := input.x
f(v) if v == "a"
g(v) := v.k
default h(_) := 1
h(v) := 2 if v == "a"
"#;

    /// The warnings about a rule with this body, and whether the rule holds here.
    fn look_at(body: &str) -> (Vec<Refusal>, bool) {
        let rules = parse("t.rego", &format!("{RULES}p if {body}\n"));
        let modules = [rules, parse("lib.rego", "package lib\n\nx := 1\n")];
        assert_eq!(Gate::new(OpaVersion::V1_22).check(&modules), []);
        let input = json!({"o": {}, "l": ["q"], "n": 0.5});
        let holds = evaluate(&modules, &json!({}), "data.t.p", &input).unwrap() == Some(Value::Bool(true));
        (warnings(&modules), holds)
    }

    // In each of the following tables OPA 1.22 was asked whether the rule holds.

    #[rstest]
    #[case("not input.x")]
    #[case(r#"not input.x == "a""#)]
    #[case(r#"not "a" == input.x"#)]
    #[case(r#"not input.x = "a""#)]
    #[case("not input.x == input.y")]
    #[case(r#"not (input.x == "a")"#)]
    #[case("not input.x.y.z")]
    #[case(r#"not input["x"]"#)]
    #[case("not f(input)")]
    #[case("not imported")]
    #[case("not r")]
    #[case(r#"not r == "a""#)]
    #[case("not data.missing.x")]
    #[case("not lib.missing == 1")]
    #[case(r#"not "q" in s"#)]
    #[case("not d > 1")]
    #[case("not [d] == [2]")]
    #[case(r#"not set["q"]"#)]
    #[case(r#"not "q" in set"#)]
    #[case("not count(set) > 0")]
    #[case(r#"not obj["q"] == 1"#)]
    #[case("not input.o[d]")]
    #[case("not h(2) == 2")]
    #[case(r#"not f("q")"#)]
    #[case(r#"not g({"j": 1})"#)]
    #[case(r#"not [v | v := input.x] == ["a"]"#)]
    #[case("not count([v | v := input.x]) > 0")]
    #[case("not count({v: 1 | v := input.x}) > 0")]
    #[case("not input.x == {v | v := input.y}")]
    #[case(r#"not object.get(input, "x", "") in s"#)]
    #[case(r#"not object.get({}, "x", "") == "a""#)]
    #[case("not is_string(d) == true")]
    #[case("not 4 / 2 == 3")]
    #[case("not -1 == 1")]
    #[case("not false")]
    #[case("{ v := input.o; not f(v) }")]
    #[case("{ v := input.o; not v.a }")]
    #[case(r#"{ v := input.o; not v.a == "a" }"#)]
    #[case("{ v = input.n; not v > 1 }")]
    #[case(r#"{ v := "x"; not input[v] }"#)]
    #[case("{ some v in input.l; not v in s }")]
    #[case(r#"{ some v in input.l; not startswith(v, "a") }"#)]
    #[case("every v in input.l { not v == input.x }")]
    #[case("every v in input.l { not v in s }")]
    #[case(r#"not f("q") with input as {}"#)]
    fn is_silent_where_the_rule_holds_in_opa_too(#[case] body: &str) {
        assert_eq!(look_at(body), (vec![], true));
    }

    #[rstest]
    #[case("not input")]
    #[case("not data.lib.x == 1")]
    #[case(r#"not {"k": d}"#)]
    #[case("{ v := input.x; not v in s }")]
    fn is_silent_where_the_rule_fails_in_opa_too(#[case] body: &str) {
        assert_eq!(look_at(body), (vec![], false));
    }

    #[rstest]
    #[case("not input.x in s")]
    #[case(r#"not "a" in input.x"#)]
    #[case(r#"not "a", "b" in input.x"#)]
    #[case(r#"not startswith(input.x, "a")"#)]
    #[case("not f(input.x)")]
    #[case("not data.t.f(input.x)")]
    #[case(r#"not f(input["x"])"#)]
    #[case("not f(imported)")]
    #[case("not f(r)")]
    #[case("not r in s")]
    #[case("not f(data.missing)")]
    #[case("not f(lib.missing)")]
    #[case(r#"not input.x != "a""#)]
    #[case("not input.x > 3")]
    #[case("not 3 <= input.x")]
    #[case("not input.x + 1")]
    #[case("not input.x + 1 == 2")]
    #[case("not input.x == 1 + input.y")]
    #[case("not is_string(input.x)")]
    #[case("not is_null(input.x)")]
    #[case("not count(input.x) == 2")]
    #[case(r#"not lower(input.x) == "a""#)]
    #[case("not input.x == lower(input.y)")]
    #[case(r#"not input.x == (input.y == "a")"#)]
    #[case("not f(lower(input.x))")]
    #[case("not h(input.x) == 2")]
    #[case(r#"not f(object.get(input, input.x, ""))"#)]
    #[case(r#"not object.get(input.x, "a", 0) == "a""#)]
    #[case("not [input.x]")]
    #[case("not {input.x}")]
    #[case(r#"not {"k": input.x}"#)]
    #[case("not {input.x: 1}")]
    #[case(r#"not [input.x] == ["a"]"#)]
    #[case(r#"not input.x == {"k": [input.y]}"#)]
    #[case("not [1, 2][input.x]")]
    #[case("not s[input.x]")]
    #[case("not set[input.x]")]
    #[case("not input[input.y]")]
    #[case("not input.o[input.x].z")]
    #[case("not input.x == input.o[input.y]")]
    #[case("not input.x[lower(input.y)]")]
    #[case("not data.lib[input.x] == 1")]
    #[case(r#"not obj["q"] in {1}"#)]
    #[case(r#"not g({"j": 1}) == 1"#)]
    #[case(r#"not g({"j": 1}).z"#)]
    #[case("not f(g(input.o))")]
    #[case(r#"not to_number("q") == 3"#)]
    #[case("not 1 / 0 == 3")]
    #[case("not 1 % 0 == 1")]
    #[case("not input.x | s == s")]
    #[case("{ v := input.o; not f(v.a) }")]
    #[case("{ v := input.o; not v.a in s }")]
    #[case("{ v := input.o; not v.a > 1 }")]
    #[case(r#"{ v := input.o; not lower(v) == "a" }"#)]
    #[case("{ v := input.l; not object.get(input, v[3], 0) == 1 }")]
    #[case(r#"{ v := "x"; not f(input[v]) }"#)]
    #[case(r#"{ some k in ["x", "y"]; not input[k] in s }"#)]
    #[case("every v in input.l { not v in input.x }")]
    #[case("count([1 | not f(input.x)]) == 1")]
    #[case("count({1 | some v in input.l; not v in input.x}) == 1")]
    #[case("not f(input.x) with input as {}")]
    #[case("[1 | not f(input.x)] == [1]")]
    fn warns_where_the_rule_fails_in_opa_and_holds_here(#[case] body: &str) {
        let (found, holds) = look_at(body);
        assert_eq!((found.len(), holds), (1, true), "{found:?}");
    }

    #[rstest]
    // What `data` holds beside rules, and whether a function has a value, is not known from the text.
    #[case("not data.settings in s")]
    #[case(r#"not f("a") == true"#)]
    #[case("not numbers.range(1, 2) == [1]")]
    #[case(r#"not f(input.x) with input as {"x": "b"}"#)]
    fn warns_when_in_doubt(#[case] body: &str) {
        assert_eq!(look_at(body).0.len(), 1);
    }

    #[test]
    fn says_what_where_and_what_to_do() {
        let (found, _) = look_at("{\n\tinput.n\n\tnot count(\n\t\tinput.x,\n\t) == 7\n}");
        let [warning] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(warning.location.to_string(), "t.rego:18:2");
        assert_eq!(warning.source_line, "\tnot count(");
        assert_eq!(
            warning.message,
            "OPA leaves `not count( input.x, ) == 7` undefined when `input.x` or `count( input.x, )` has no value, \
             and the rule does not fire"
        );
        let (found, _) = look_at("not input.x in {input.y, input.x}");
        assert!(found[0].message.contains("when `input.x` or `input.y` is missing, and"), "{}", found[0]);
    }

    /// What the suggestion offers, and what OPA says to it: the first fails, the second holds.
    #[rstest]
    #[case("{ x := input.x; not x in s }", false)]
    #[case("not found\nfound if input.x in s", true)]
    #[case("{ some v in input.l; not found(v) }\nfound(v) if v in input.x", true)]
    fn suggests_what_both_decide_alike(#[case] body: &str, #[case] holds_in_opa: bool) {
        assert_eq!(look_at(body), (vec![], holds_in_opa));
    }

    #[rstest]
    #[case(&["package a\np if not q in {1}", "package a\ndefault q := 1"], 0)]
    #[case(&["package a\np if not q in {1}", "package a\nq := 1 if input.x"], 1)]
    #[case(&["package a\np if not data.b.q in {1}", "package b\nq contains 1"], 0)]
    #[case(&["package a\nimport data.b\np if not b.q in {1}", "package b\nq := 1 if input.x"], 1)]
    #[case(&["package a\np if not q in {1}"], 1)]
    fn looks_at_the_rules_of_other_modules(#[case] texts: &[&str], #[case] expected: usize) {
        let modules: Vec<_> = texts.iter().map(|text| parse("a.rego", text)).collect();
        assert_eq!(warnings(&modules).len(), expected);
    }

    #[rstest]
    #[case("p if q({\"k\": input.x})", 0)]
    #[case("p if q(input)", 0)]
    #[case("p if q(o)\no := object.union(input.a, input.b)", 0)]
    #[case("p if q2(o)\nq2(v) if q(v)\no[k] := 1 if some k in input.l", 0)]
    #[case("p if q(o)\no := {} if input.x\no := input.y if not input.x", 1)]
    #[case("p if q(input.x)", 1)]
    #[case("p if q({})\np if q(input.x)", 1)]
    #[case("p if q2(input.x)\nq2(v) if q(v)", 1)]
    #[case("p if { some v in input.l; q(v) }", 1)]
    #[case("p if q([])", 1)]
    #[case("", 1)]
    fn follows_parameters_to_the_calls(#[case] rules: &str, #[case] expected: usize) {
        let text = format!("package a\nq(v) if not \"x\" in object.keys(v)\n{rules}\n");
        assert_eq!(warnings(&[parse("a.rego", &text)]).len(), expected);
    }

    #[test]
    fn names_no_more_than_a_reader_takes_in() {
        let body = "p if not f(input.x)\n".repeat(1000);
        let module = parse("a.rego", &format!("package a\nf(v) if v\n{body}"));
        assert_eq!(warnings(&[module]).len(), MOST);
        let (found, _) = look_at("not [input.a, input.b, input.c, input.d] == [1, 2, 3, 4]");
        assert!(found[0].message.contains("`input.a` or `input.b` or `input.c` is missing"), "{}", found[0]);
    }

    #[rstest]
    #[case::head("p := [1 | not f(input.x)]")]
    #[case::key("p contains [1 | not f(input.x)]")]
    #[case::function("q(v) := [v | not f(input.x)]")]
    #[case::otherwise("p := 1 if input.y else := 2 if not f(input.x)")]
    #[case::value_of_otherwise("p := 1 if input.y else := [2 | not f(input.x)]")]
    #[case::second_body("p if { input.y } { not f(input.x) }")]
    #[case::default_value("default p := {1 | not f(input.x)}")]
    #[case::collection("p if { some v in [1 | not f(input.x)]; v }")]
    #[case::domain("p if { every v in [1 | not f(input.x)] { v } }")]
    #[case::with_value("p if { input.y with input as [1 | not f(input.x)] }")]
    #[case::index("p := input.o[[1 | not f(input.x)]]")]
    #[case::nested("p := {k: v | some k; v := {k | k := {1 | not f(input.x)}}}")]
    fn looks_everywhere(#[case] rule: &str) {
        let module = parse("a.rego", &format!("package a\nf(v) if v == 1\n{rule}"));
        assert_eq!(warnings(&[module]).len(), 1);
    }
}
