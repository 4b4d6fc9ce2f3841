//! Variables: bound somewhere, and used when declared.

use super::{MOST, Together, together::Placed};
use crate::{
    Code, Refusal,
    module::{Meaning, Place, Reference},
};

pub(super) fn check(together: &Together<'_>) -> Vec<Refusal> {
    let unused = together.rules.iter().flat_map(|&placed| {
        placed.rule.unused.iter().map(move |(name, position)| {
            let message = format!("the variable `{name}` is declared and never used");
            let refusal = placed.module.refuse(*position, Code::UnusedVariable, message);
            refusal.suggest("remove the declaration, or write `_`")
        })
    });
    let unbound = together.rules.iter().flat_map(|&placed| {
        let free = move |reference: &&Reference| is_unbound(together, placed, reference);
        placed.rule.references.iter().filter(free).map(move |reference| {
            let message = format!("nothing gives the variable `{}` a value", reference.root);
            let refusal = placed.module.refuse(reference.position, Code::UnsafeVariable, message);
            refusal.suggest("bind it in the body, import it, or correct its name")
        })
    });
    unused.take(MOST).chain(unbound.take(MOST)).collect()
}

fn is_unbound(together: &Together<'_>, placed: Placed<'_>, reference: &Reference) -> bool {
    let called_or_replaced = reference.arguments.is_some() || reference.place != Place::Expression;
    !called_or_replaced
        && !placed.rule.bound.contains(&reference.root)
        && matches!(together.meaning(placed, reference), Meaning::Free | Meaning::Builtin(_))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::{Code, check::tests::codes};

    #[rstest]
    #[case("a := x if true", Code::UnsafeVariable)]
    #[case("a contains x if true", Code::UnsafeVariable)]
    #[case("a if { [1 | x > 1] != [] }", Code::UnsafeVariable)]
    #[case("a if inptu.x == 1", Code::UnsafeVariable)]
    #[case("a := x if { x = input.y; not z = x }", Code::UnsafeVariable)]
    #[case("a if not input.x[i] == 1", Code::UnsafeVariable)]
    #[case("a := http.send", Code::UnsafeVariable)]
    #[case("y if { some x; true }", Code::UnusedVariable)]
    #[case("y if { every x in [1] { true } }", Code::UnusedVariable)]
    #[case("y if { every k, x in [1] { x == 1 } }", Code::UnusedVariable)]
    fn refuses(#[case] rule: &str, #[case] code: Code) {
        assert_eq!(codes(&[&format!("package a\n{rule}")]).first(), Some(&code));
    }
}
