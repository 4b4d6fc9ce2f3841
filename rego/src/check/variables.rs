//! Variables: bound somewhere, and used when declared.

use super::Together;
use crate::{
    Code, Refusal,
    module::{Meaning, Place},
};

pub(super) fn check(together: &Together<'_>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for &placed in &together.rules {
        let (module, rule) = (placed.module, placed.rule);
        for (name, position) in &rule.unused {
            let message = format!("the variable `{name}` is declared and never used");
            let refusal = module.refuse(*position, Code::UnusedVariable, message);
            refusals.push(refusal.suggest("remove the declaration, or write `_`"));
        }
        for reference in &rule.references {
            let called_or_replaced = reference.arguments.is_some() || reference.place != Place::Expression;
            if called_or_replaced || rule.bound.contains(&reference.root) {
                continue;
            }
            if matches!(together.meaning(placed, reference), Meaning::Free | Meaning::Builtin(_)) {
                let message = format!("nothing gives the variable `{}` a value", reference.root);
                let refusal = module.refuse(reference.position, Code::UnsafeVariable, message);
                refusals.push(refusal.suggest("bind it in the body, import it, or correct its name"));
            }
        }
    }
    refusals
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
    #[case("a := http.send", Code::UnsafeVariable)]
    #[case("y if { some x; true }", Code::UnusedVariable)]
    #[case("y if { every x in [1] { true } }", Code::UnusedVariable)]
    #[case("y if { every k, x in [1] { x == 1 } }", Code::UnusedVariable)]
    fn refuses(#[case] rule: &str, #[case] code: Code) {
        assert_eq!(codes(&[&format!("package a\n{rule}")]).first(), Some(&code));
    }
}
