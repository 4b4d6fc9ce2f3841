//! Calls, and iterations inside one another, whose work whoever asks for a decision can choose.
//!
//! An OPA has no limit of time for a decision, so a range as long as a number in the request keeps a sidecar busy for as
//! long as the sender likes. Whether the number was bounded before cannot be told in general: it is a warning.

use secplane_rego::{
    Code, Module, Refusal,
    syntax::{
        Offset,
        ast::{ExpressionKind, TermId, Terms, Value},
    },
};

use super::nested;

/// The longest range that is taken for meant, in numbers.
const LONGEST_RANGE: f64 = 100_000.0;

/// The longest shift that is taken for meant, in bits.
const LONGEST_SHIFT: f64 = 4096.0;

/// The most warnings of one module.
const MOST: usize = 20;

/// What of a module may cost without bound.
pub(super) fn find(module: &Module) -> Vec<Refusal> {
    let tree = module.tree();
    let in_statements = tree.expressions().filter_map(|expression| match expression.kind {
        ExpressionKind::Call(call) => Some(call),
        _ => None,
    });
    let in_terms = tree.all_terms().filter_map(|term| match term.value {
        Value::Call(call) => Some(call),
        _ => None,
    });
    let calls = in_statements.chain(in_terms).filter_map(|call| warning(module, call));
    let mut found: Vec<Refusal> = calls.take(MOST).chain(nested::find(module).take(MOST)).collect();
    found.sort();
    found.dedup();
    found
}

fn warning(module: &Module, call: Terms) -> Option<Refusal> {
    let tree = module.tree();
    let arguments = tree.arguments(call);
    let (message, advice) = match function(module, call)?.as_slice() {
        ["numbers", name @ ("range" | "range_step")] => match (arguments.first(), arguments.get(1)) {
            (Some(&from), Some(&to)) => match (number(module, from), number(module, to)) {
                (Some(from), Some(to)) if (to - from).abs() <= LONGEST_RANGE => return None,
                (Some(_), Some(_)) => {
                    (format!("`numbers.{name}` makes every number of this range, each time"), COMPARE)
                }
                _ => (
                    format!(
                        "`numbers.{name}` makes as many numbers as its arguments say, and they are not written out"
                    ),
                    COMPARE,
                ),
            },
            _ => return None,
        },
        ["bits", "lsh"] => match number(module, *arguments.get(1)?) {
            Some(shift) if shift <= LONGEST_SHIFT => return None,
            _ => (
                "`bits.lsh` makes a number of as many bits as its second argument says".to_owned(),
                "write the shift out, or multiply by a number that is bounded",
            ),
        },
        ["sprintf"] => match tree.value(*arguments.first()?) {
            Value::String(format) if !module.names().text(format).contains('*') => return None,
            _ => (
                "`sprintf` takes the widths of what it writes from values here".to_owned(),
                "write the format out, without `*`",
            ),
        },
        _ => return None,
    };
    let at = tree.nth(call, 0).map_or(Offset(0), |operator| tree.term(operator).at);
    Some(module.refuse(at, Code::UnboundedCost, message).suggest(advice))
}

const COMPARE: &str = "compare with bounds instead, such as `input.n >= 1; input.n <= 10`, \
                       or bound the arguments before the call";

/// The words of the function that is called.
fn function(module: &Module, call: Terms) -> Option<Vec<&str>> {
    let (tree, names) = (module.tree(), module.names());
    let path = tree.operator(call)?;
    let root = names.text(tree.root(path)?);
    if !matches!(root, "numbers" | "bits" | "sprintf") {
        return None;
    }
    let steps = tree.terms(path).iter().skip(1).map(|&step| match tree.value(step) {
        Value::String(step) => Some(names.text(step)),
        _ => None,
    });
    std::iter::once(Some(root)).chain(steps).collect()
}

/// A number that is written out.
fn number(module: &Module, term: TermId) -> Option<f64> {
    match module.tree().value(term) {
        Value::Number(name) => module.names().text(name).parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secplane_rego::Gate;

    use super::*;

    fn lines(rules: &str) -> Vec<u32> {
        let text = format!("package authbridge.ns.a\n{rules}");
        let module = Gate::default().parse("a.rego", text.as_bytes()).unwrap();
        find(&module).into_iter().map(|found| found.location.line).collect()
    }

    #[rstest]
    #[case("x := numbers.range(1, input.n)")]
    #[case("x := numbers.range(input.n, 1)")]
    #[case("x := numbers[\"range\"](1, input.n)")]
    #[case("x if { n := input.n; some i in numbers.range(1, n) }")]
    #[case("x := [y | y := numbers.range_step(0, input.n, 2)]")]
    #[case("x := numbers.range(1, 10000000)")]
    #[case("x if numbers.range(1, input.n)")]
    #[case("x := sprintf(input.format, [1])")]
    #[case("x := bits.lsh(1, input.n)")]
    #[case("x := bits.lsh(1, 4097)")]
    #[case("x if { some i in input.a; some j in input.b; i == j }")]
    #[case("x := sprintf(\"%*d\", [input.width, 1])")]
    fn warns_of(#[case] rule: &str) {
        assert_eq!(lines(rule), [2]);
    }

    #[rstest]
    #[case("x := numbers.range(1, 10)")]
    #[case("x := numbers.range(-50000, 50000)")]
    #[case("x := bits.lsh(input.n, 4096)")]
    #[case("x := bits.rsh(1, input.n)")]
    #[case("x := sprintf(\"%5d %v\", [1, input.x])")]
    #[case("x if { numbers := input; numbers.range == 1 }")]
    fn says_nothing_of(#[case] rule: &str) {
        let text = format!("package authbridge.ns.a\n{rule}");
        let module = Gate::default().parse("a.rego", text.as_bytes()).unwrap();
        assert_eq!(find(&module), []);
    }

    #[test]
    fn names_each_call_once_and_not_without_end() {
        assert_eq!(lines("x := numbers.range(1, input.n)\ny := numbers.range(1, input.m)"), [2, 3]);
        let many: String = (0..100).map(|n| format!("r{n} := numbers.range(1, input.n)\n")).collect();
        assert_eq!(lines(&many).len(), MOST);
    }
}
