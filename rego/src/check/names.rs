//! Names that rules and variables cannot have, and what reading the rules alone has shown.

use super::{MOST, Together};
use crate::{Code, Refusal, module::Segment};

/// Words that the parser of this crate lets through as the name of a rule and OPA does not.
const KEYWORDS: [&str; 5] = ["contains", "every", "if", "in", "not"];

pub(super) fn check(together: &Together<'_>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for placed in &together.rules {
        if refusals.len() >= MOST {
            break;
        }
        let (module, rule) = (placed.module, placed.rule);
        for (position, code, message) in &rule.faults {
            refusals.push(module.refuse(*position, *code, message.clone()));
        }
        if let Some(name) = rule.path.first().and_then(Segment::name).filter(|name| KEYWORDS.contains(name)) {
            let message = format!("`{name}` is a keyword and cannot be the name of a rule");
            refusals.push(module.refuse(rule.position, Code::Name, message).suggest("choose another name"));
        }
    }
    refusals
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::{Code, check::tests::codes};

    #[rstest]
    #[case("contains := 1", Code::Name)]
    #[case("f(data) := data.x", Code::Name)]
    #[case("p if { some input in [1]; input == 1 }", Code::Name)]
    #[case("default a := input.x", Code::Default)]
    #[case("default a := [count([1])]", Code::Default)]
    fn refuses(#[case] rule: &str, #[case] code: Code) {
        assert_eq!(codes(&[&format!("package a\n{rule}")]).first(), Some(&code));
    }
}
