//! Imports: which exist, and which clash.

use std::{collections::BTreeSet, sync::Arc};

use super::Together;
use crate::{Code, Module, Refusal, module::Import};

const KEYWORDS: [&str; 4] = ["contains", "every", "if", "in"];

pub(super) fn check(together: &Together<'_>) -> Vec<Refusal> {
    together.modules.iter().flat_map(|module| in_module(module)).collect()
}

fn in_module(module: &Module) -> Vec<Refusal> {
    let mut names = BTreeSet::new();
    module.imports.iter().filter_map(|import| fault(module, import, &mut names)).collect()
}

fn fault<'a>(module: &Module, import: &'a Import, names: &mut BTreeSet<&'a Arc<str>>) -> Option<Refusal> {
    let path: Vec<&str> = import.path.iter().map(AsRef::as_ref).collect();
    let refuse = |message: String| Some(module.refuse(import.position, Code::Import, message));
    match path.as_slice() {
        ["rego", "v1"] | ["future", "keywords"] => None,
        ["future", "keywords", keyword] if KEYWORDS.contains(keyword) => None,
        ["rego" | "future", ..] => refuse(format!("there is nothing to import as `{}`", path.join("."))),
        _ => {
            let name = import.local_name()?;
            // An import of a whole root says nothing new, but its name must still be unique.
            if names.insert(name) {
                return None;
            }
            refuse(format!("two imports of this module are called `{name}`"))
                .map(|refusal| refusal.suggest("give one of them another name with `as`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::{Code, check::tests::codes};

    #[rstest]
    #[case("import data.b.x\nimport data.c.x\ny := x")]
    #[case("import data.b.x\nimport data.c.y as x\nz := x")]
    #[case("import rego.v3\ny := 1")]
    #[case("import rego.v2\ny := 1")]
    #[case("import future.keywords.foo\ny := 1")]
    fn refuses(#[case] rules: &str) {
        assert_eq!(codes(&[&format!("package a\n{rules}")]), [Code::Import]);
    }

    #[test]
    fn accepts_leftovers_of_v0() {
        let text = "package a\nimport rego.v1\nimport data.b.x\ny := x";
        assert_eq!(codes(&[text]), []);
        assert_eq!(codes(&["package a\nimport future.keywords.in\ny := 1"]), []);
    }
}
