//! `# METADATA` blocks: YAML in comments, which OPA reads and refuses when it is wrong.

use serde::Deserialize;

use super::Together;
use crate::{Code, Module, Refusal};

const SCOPES: [&str; 4] = ["rule", "document", "package", "subpackages"];

/// The members whose types OPA insists on; it ignores others.
#[derive(Deserialize)]
#[expect(dead_code, reason = "read only to see that they can be read")]
struct Annotation {
    scope: Option<String>,
    title: Option<String>,
    entrypoint: Option<bool>,
    description: Option<String>,
    organizations: Option<Vec<String>>,
    related_resources: Option<Vec<serde_json::Value>>,
    authors: Option<Vec<serde_json::Value>>,
    custom: Option<serde_json::Map<String, serde_json::Value>>,
}

pub(super) fn check(together: &Together<'_>) -> Vec<Refusal> {
    together.modules.iter().flat_map(|module| in_module(module)).collect()
}

fn in_module(module: &Module) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut lines = (1_u32..).zip(module.text().lines()).peekable();
    while let Some((number, line)) = lines.next() {
        if comment(line).is_none_or(|text| text.trim() != "METADATA") {
            continue;
        }
        let mut yaml = String::new();
        while let Some(text) = lines.peek().and_then(|(_, line)| comment(line)) {
            yaml.push_str(text);
            yaml.push('\n');
            lines.next();
        }
        if let Err(message) = read(&yaml) {
            refusals.push(module.refuse((number, 1), Code::Syntax, message));
        }
    }
    refusals
}

/// The text of a line that is nothing but a comment.
fn comment(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix('#')
}

fn read(yaml: &str) -> Result<(), String> {
    if yaml.trim().is_empty() {
        return Err("this METADATA block is empty".to_owned());
    }
    let annotation: Annotation = serde_saphyr::from_str(yaml)
        .map_err(|error| format!("this METADATA block is not the YAML of an annotation: {error}"))?;
    match annotation.scope.as_deref() {
        Some(scope) if !SCOPES.contains(&scope) => {
            Err(format!("`{scope}` is not a scope of an annotation: use one of {}", SCOPES.join(", ")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::{Code, check::tests::codes};

    #[rstest]
    #[case("# METADATA\n# scope: nonsense\np := 1", Some(Code::Syntax))]
    #[case("# METADATA\n# title: [a\np := 1", Some(Code::Syntax))]
    #[case("# METADATA\np := 1", Some(Code::Syntax))]
    #[case("# METADATA\n# entrypoint: maybe\np := 1", Some(Code::Syntax))]
    #[case("# METADATA\n# title: A rule\n# scope: rule\n# custom:\n#   a: 1\np := 1", None)]
    #[case("# Not METADATA\n# scope: nonsense\np := 1", None)]
    fn reads_annotations(#[case] rules: &str, #[case] code: Option<Code>) {
        assert_eq!(codes(&[&format!("package a\n{rules}")]).first().copied(), code);
    }
}
