//! Iterations over the input inside one another: their work grows with the square of what a sender puts into a request.
//!
//! Only what stands in one body is seen, and only the forms that iterate whatever else is known: `some x in input.a`, and
//! a reference such as `input.a[_]`. A variable as a step may have its value already, and a closure has a body of its
//! own.

use secplane_rego::{
    Code, Module, Refusal,
    syntax::{
        Name, Offset,
        ast::{Body, ExpressionId, ExpressionKind, TermId, Value},
        names::Origin,
        visit::Node,
    },
};

/// The bodies that iterate over the input more than once, each at its second iteration.
pub(super) fn find(module: &Module) -> impl Iterator<Item = Refusal> + '_ {
    bodies(module).filter_map(move |body| {
        let expressions = module.tree().body(body).iter();
        let second = expressions.flat_map(|&expression| iterations(module, expression)).nth(1)?;
        let message = "the input is iterated over more than once in this body, so that its work is the product of \
                       the lengths";
        Some(module.refuse(second, Code::UnboundedCost, message).suggest(
            "make a set or an object of one of them in a comprehension, and look up in that what the other gives",
        ))
    })
}

/// Every body, wherever it stands.
fn bodies(module: &Module) -> impl Iterator<Item = Body> + '_ {
    let tree = module.tree();
    let of_rules = module.rules().iter().map(|rule| rule.body);
    let of_terms = tree.all_terms().filter_map(|term| match term.value {
        Value::ArrayComprehension { body, .. }
        | Value::SetComprehension { body, .. }
        | Value::ObjectComprehension { body, .. } => Some(body),
        _ => None,
    });
    let of_statements = tree.expressions().flat_map(|expression| match expression.kind {
        ExpressionKind::Every { body, .. } | ExpressionKind::Not { body, .. } => [Some(body), None],
        ExpressionKind::And(sides) | ExpressionKind::Or(sides) => [Some(sides.left), Some(sides.right)],
        _ => [None, None],
    });
    of_rules.chain(of_terms).chain(of_statements.flatten())
}

/// Where one statement iterates over the input, without the bodies in it.
fn iterations(module: &Module, id: ExpressionId) -> Vec<Offset> {
    let tree = module.tree();
    let expression = tree.expression(id);
    if expression.negated {
        return Vec::new();
    }
    let domain = match expression.kind {
        // Their bodies are looked at by themselves, and what they iterate over they are done with.
        ExpressionKind::Every { .. }
        | ExpressionKind::Not { .. }
        | ExpressionKind::And(_)
        | ExpressionKind::Or(_) => return Vec::new(),
        ExpressionKind::Some(list) => match tree.nth(list, 0).map(|term| tree.value(term)) {
            Some(Value::Call(membership)) => tree.arguments(membership).last().copied(),
            _ => None,
        },
        ExpressionKind::Term(_) | ExpressionKind::Call(_) => None,
    };
    if let Some(domain) = domain.filter(|&domain| is_of_input(module, domain)) {
        return vec![tree.term(domain).at];
    }
    let mut found = Vec::new();
    tree.visit_expression(id, &mut |node| {
        let Node::Term(term) = node else { return true };
        if is_of_input(module, term) && has_wildcard(module, term) {
            found.push(tree.term(term).at);
        }
        let is_closure = matches!(
            tree.value(term),
            Value::ArrayComprehension { .. }
                | Value::SetComprehension { .. }
                | Value::ObjectComprehension { .. }
        );
        !is_closure
    });
    found
}

fn is_of_input(module: &Module, term: TermId) -> bool {
    matches!(module.tree().value(term), Value::Ref(path) if module.tree().root(path) == Some(Name::INPUT))
}

fn has_wildcard(module: &Module, term: TermId) -> bool {
    let (tree, names) = (module.tree(), module.names());
    let Value::Ref(path) = tree.value(term) else { return false };
    let mut steps = tree.terms(path).iter();
    steps.any(|&step| tree.var(step).is_some_and(|name| names.origin(name) == Origin::Wildcard))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secplane_rego::Gate;

    use super::*;

    fn lines(rule: &str) -> Vec<u32> {
        let text = format!("package authbridge.ns.a\n\n{rule}\n");
        let module = Gate::default().parse("a.rego", text.as_bytes()).unwrap();
        let mut lines: Vec<u32> = find(&module).map(|found| found.location.line).collect();
        lines.dedup();
        lines
    }

    #[rstest]
    #[case("x if {\n\tsome i in input.a\n\tsome j in input.b\n\ti == j\n}", 5)]
    #[case("x if {\n\tsome i in input\n\tinput.b[_] == i\n}", 5)]
    #[case("x if {\n\tinput.a[_] == input.b[_].c\n}", 4)]
    #[case("x if {\n\tsome k, v in input.a[_]\n\tf(input.b[_])\n}", 5)]
    #[case("x := [i |\n\tsome i in input.a\n\tsome j in input.b\n\ti == j\n]", 5)]
    #[case("x if every i in [1] {\n\tinput.a[_] == i\n\tinput.b[_] == i\n}", 5)]
    fn warns_of(#[case] rule: &str, #[case] line: u32) {
        assert_eq!(lines(rule), [line]);
    }

    #[rstest]
    #[case::one_after_the_other("x if {\n\tsome i in input.a\n\tsome j in i.b\n\tj == 1\n}")]
    #[case::steps_of_one("x if input.a[_].b[_] == 1")]
    #[case::each_in_a_closure(
        "x if {\n\ta := {i | some i in input.a}\n\tb := {i | some i in input.b}\n\ta == b\n}"
    )]
    #[case::of_constants("x if {\n\tsome i in [1, 2]\n\tsome j in input.b\n\ti == j\n}")]
    #[case::a_step_that_has_a_value("x if {\n\tsome i in input.a\n\tinput.b[i] == 1\n}")]
    #[case::each_in_a_rule("x if some i in input.a\n\ny if some i in input.b")]
    #[case::each_holds("x if {\n\tevery i in input.a { i > 1 }\n\tevery i in input.b { i > 1 }\n}")]
    fn says_nothing_of(#[case] rule: &str) {
        assert_eq!(lines(rule), [] as [u32; 0]);
    }
}
