//! The functions that OPA has, at the oldest version that a sidecar is expected to run.

use std::{collections::BTreeMap, sync::LazyLock};

/// What is known of a built-in function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    /// How many arguments it takes; `None` for any number.
    pub arguments: Option<usize>,
    /// The type of its result as OPA names it (`boolean`, `string`, `any`, …); `None` when it has no result.
    pub result: Option<&'static str>,
}

static BUILTINS: LazyLock<BTreeMap<&'static str, Builtin>> = LazyLock::new(|| {
    include_str!("builtins.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (name, arguments, result) = (words.next()?, words.next()?, words.next()?);
            let builtin = Builtin {
                arguments: arguments.parse().ok(),
                result: Some(result).filter(|result| *result != "-"),
            };
            Some((name, builtin))
        })
        .collect()
});

/// The built-in function of that dotted name.
#[must_use]
pub fn lookup(name: &str) -> Option<Builtin> {
    BUILTINS.get(name).copied()
}

/// The longest prefix of a dotted path that names a built-in function.
#[must_use]
pub fn longest_prefix<'a>(path: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut name = String::new();
    let mut found = None;
    for segment in path.into_iter().take(6) {
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(segment);
        if BUILTINS.contains_key(name.as_str()) {
            found = Some(name.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_functions_and_their_arity() {
        assert_eq!(lookup("count"), Some(Builtin { arguments: Some(1), result: Some("number") }));
        assert_eq!(lookup("print"), Some(Builtin { arguments: None, result: None }));
        assert_eq!(lookup("opa.runtime").and_then(|b| b.arguments), Some(0));
        assert_eq!(lookup("any"), None, "deprecated");
        assert_eq!(lookup("nothing"), None);
    }

    #[test]
    fn finds_the_longest_name() {
        assert_eq!(longest_prefix(["http", "send", "x"]).as_deref(), Some("http.send"));
        assert_eq!(longest_prefix(["input", "send"]), None);
    }
}
