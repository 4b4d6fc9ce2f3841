//! Calls: the function exists, is a function, and takes that many arguments.

use super::{
    MOST, Together,
    together::{Placed, constant},
};
use crate::{
    Code, Refusal, builtins,
    module::{Meaning, Place, Reference, RuleKind, Segment},
};

pub(super) fn check(together: &Together<'_>) -> Vec<Refusal> {
    let calls = together.rules.iter().flat_map(|&placed| {
        placed.rule.references.iter().filter_map(move |reference| fault(together, placed, reference))
    });
    calls.take(MOST).collect()
}

fn fault(together: &Together<'_>, placed: Placed<'_>, reference: &Reference) -> Option<Refusal> {
    match together.meaning(placed, reference) {
        Meaning::Data(path) => of_data(together, placed, reference, &path),
        Meaning::Builtin(name) => of_builtin(placed, reference, &name),
        Meaning::Free | Meaning::Local | Meaning::Input => {
            reference.arguments.and_then(|_| undefined(placed, reference))
        }
    }
}

fn of_data(
    together: &Together<'_>,
    placed: Placed<'_>,
    reference: &Reference,
    path: &[Segment],
) -> Option<Refusal> {
    let rules = constant(path).map(|path| together.at(&path)).unwrap_or_default();
    let function = rules.iter().find_map(|found| match found.rule.kind {
        RuleKind::Function(arguments) => Some(arguments),
        _ => None,
    });
    match (function, reference.arguments) {
        (Some(takes), Some(given)) => arity(placed, reference, takes, given),
        (Some(_), None) if reference.place == Place::Expression => {
            let message = format!("`{}` is a function and is not called here", reference.display());
            Some(placed.module.refuse(reference.position, Code::UndefinedFunction, message))
        }
        (None, Some(_)) => undefined(placed, reference),
        (_, None) => None,
    }
}

fn of_builtin(placed: Placed<'_>, reference: &Reference, name: &str) -> Option<Refusal> {
    let given = reference.arguments?;
    if reference.display() != name {
        return undefined(placed, reference);
    }
    let builtin = builtins::lookup(name)?;
    match (builtin.arguments, builtin.result) {
        (Some(takes), None) if takes != given => arity(placed, reference, takes, given),
        (Some(takes), Some(_)) => arity(placed, reference, takes, given),
        _ => None,
    }
}

/// One argument more than the function takes is unified with its result.
fn arity(placed: Placed<'_>, reference: &Reference, takes: usize, given: usize) -> Option<Refusal> {
    if given == takes || given == takes + 1 {
        return None;
    }
    let name = reference.display();
    let message = format!("`{name}` takes {takes} arguments, not {given}");
    Some(placed.module.refuse(reference.position, Code::Arity, message))
}

fn undefined(placed: Placed<'_>, reference: &Reference) -> Option<Refusal> {
    let message = format!("there is no function `{}`", reference.display());
    Some(
        placed
            .module
            .refuse(reference.position, Code::UndefinedFunction, message)
            .suggest("check its name, or the import that it comes from"),
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::{Code, check::tests::codes};

    #[rstest]
    #[case::unknown_builtin(&["package a\np if nothing(1)"], Code::UndefinedFunction)]
    #[case::unknown_in_namespace(&["package a\np if http.sendd({})"], Code::UndefinedFunction)]
    #[case::deprecated(&["package a\np if any([true])"], Code::UndefinedFunction)]
    #[case::unknown_data(&["package a\np := data.x.y(1)"], Code::UndefinedFunction)]
    #[case::rule_is_no_function(&["package a\nq := 1\np := q(1)"], Code::UndefinedFunction)]
    #[case::variable_is_no_function(&["package a\np if { x := 1; x(1) }"], Code::UndefinedFunction)]
    #[case::no_arguments(&["package a\nf() := 1\np := f()"], Code::UndefinedFunction)]
    #[case::print_has_no_value(&["package a\np := print(1)"], Code::Arity)]
    #[case::not_called(&["package a\nq(x) := x\np := q"], Code::UndefinedFunction)]
    #[case::tenant_makes_a_function_of_a_rule(
        &["package g\na if data.t.allow == true", "package t\nallow(x) := x"], Code::UndefinedFunction)]
    #[case::arity_of_builtin(&["package a\np if count(1, 2, 3)"], Code::Arity)]
    #[case::arity_too_few(&["package a\np if split(\"a\")"], Code::Arity)]
    #[case::arity_of_function(&["package a\nf(x) := x\np if f(1, 2, 3)"], Code::Arity)]
    #[case::arity_across_modules(&["package a\nimport data.b.f\np if f()", "package b\nf(x) := x"], Code::Arity)]
    fn refuses(#[case] texts: &[&str], #[case] code: Code) {
        assert_eq!(codes(texts), [code]);
    }
}
