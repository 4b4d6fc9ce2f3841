//! `with` replaces the input, a document below `data`, or a function; nothing else.

use super::{MOST, Together};
use crate::{
    Code, Refusal,
    module::{Meaning, Place},
};

pub(super) fn check(together: &Together<'_>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for &placed in &together.rules {
        if refusals.len() >= MOST {
            break;
        }
        for target in placed.rule.references.iter().filter(|r| r.place == Place::WithTarget) {
            let replaceable = match together.meaning(placed, target) {
                Meaning::Input => target.root.as_ref() == "input",
                Meaning::Builtin(name) => name == target.display(),
                Meaning::Data(_) => true,
                Meaning::Local | Meaning::Free => false,
            };
            if !replaceable {
                let message = format!("`with` cannot replace `{}`", target.display());
                let refusal = placed.module.refuse(target.position, Code::With, message);
                refusals
                    .push(refusal.suggest("replace `input`, a path that begins with `data`, or a function"));
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
    #[case("p if true with foo.bar as 1")]
    #[case("p if { x := 1; x == 1 with x as 1 }")]
    fn refuses(#[case] rule: &str) {
        assert_eq!(codes(&[&format!("package a\n{rule}")]), [Code::With]);
    }
}
