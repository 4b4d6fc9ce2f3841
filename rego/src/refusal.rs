//! What is wrong with a module, where, and what to do about it.

use std::{fmt, sync::Arc};

use serde::Serialize;

/// A place in a module's text. Lines and columns begin at 1; 0 means that the place is the whole module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Location {
    /// The module's name, as it was given to [`Gate::parse`](crate::Gate::parse).
    pub file: Arc<str>,
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            _ => write!(f, "{}:{}:{}", self.file, self.line, self.column),
        }
    }
}

/// Which rule a module breaks. Those that OPA itself refuses have OPA's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub enum Code {
    /// Too long, or too much to be checked.
    #[serde(rename = "too_large")]
    TooLarge,
    /// Terms nested, or an expression chained, beyond what is read.
    #[serde(rename = "too_deep")]
    TooDeep,
    /// Not UTF-8, or a character that no text has.
    #[serde(rename = "encoding")]
    Encoding,
    /// Not Rego.
    #[serde(rename = "rego_parse_error")]
    Parse,
    /// Rego that does not fit together: names, imports, variables, `with`.
    #[serde(rename = "rego_compile_error")]
    Compile,
    /// Rules, calls or values that contradict one another.
    #[serde(rename = "rego_type_error")]
    Type,
    /// A variable that nothing binds.
    #[serde(rename = "rego_unsafe_var_error")]
    UnsafeVariable,
    /// A rule that depends on itself.
    #[serde(rename = "rego_recursion_error")]
    Recursion,
    /// The engine of evaluation gave up on it.
    #[serde(rename = "parser_failure")]
    ParserFailure,
    /// A module outside the packages that it may declare.
    #[serde(rename = "confinement")]
    Confinement,
    /// A reference to documents that the module may not read.
    #[serde(rename = "forbidden_reference")]
    ForbiddenReference,
    /// A built-in function that the module may not call, or replace.
    #[serde(rename = "forbidden_builtin")]
    ForbiddenBuiltin,
    /// A `not` that OPA leaves undefined when something below it is: only a warning.
    #[serde(rename = "undefined_negation")]
    UndefinedNegation,
    /// A call whose work whoever asks for a decision can choose: only a warning.
    #[serde(rename = "unbounded_cost")]
    UnboundedCost,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::Encoding => "encoding",
            Self::Parse => "rego_parse_error",
            Self::Compile => "rego_compile_error",
            Self::Type => "rego_type_error",
            Self::UnsafeVariable => "rego_unsafe_var_error",
            Self::Recursion => "rego_recursion_error",
            Self::ParserFailure => "parser_failure",
            Self::Confinement => "confinement",
            Self::ForbiddenReference => "forbidden_reference",
            Self::ForbiddenBuiltin => "forbidden_builtin",
            Self::UndefinedNegation => "undefined_negation",
            Self::UnboundedCost => "unbounded_cost",
        })
    }
}

/// Why a module is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[error("{location}: {message} ({code}){}", .suggestion.as_deref().map(|s| format!("; {s}")).unwrap_or_default())]
pub struct Refusal {
    /// Where.
    pub location: Location,
    /// The rule that is broken.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// The line of the text, without its end; empty when the whole module is meant.
    pub source_line: String,
    /// What to do about it.
    pub suggestion: Option<String>,
}

/// The longest name that a message repeats, in characters, and the longest message: whoever writes a policy chooses how
/// long its names are.
const NAME_CHARACTERS: usize = 200;
const MESSAGE_CHARACTERS: usize = 2_000;
/// The longest source line that a refusal repeats, in characters.
const SOURCE_LINE_CHARACTERS: usize = 200;

impl Refusal {
    /// A refusal of the place `line`:`column` of `text`.
    #[must_use]
    pub fn at(file: &Arc<str>, text: &str, (line, column): (u32, u32), code: Code, message: String) -> Self {
        let index = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        let source_line = match line {
            0 => "",
            _ => text.lines().nth(index).unwrap_or_default(),
        };
        Self::of_line(file, source_line, (line, column), code, message)
    }

    /// A refusal of a place in a line that is at hand.
    pub(crate) fn of_line(
        file: &Arc<str>,
        source_line: &str,
        (line, column): (u32, u32),
        code: Code,
        message: String,
    ) -> Self {
        Self {
            location: Location { file: Arc::clone(file), line, column },
            code,
            message: with_short_names(message),
            source_line: source_line.chars().take(SOURCE_LINE_CHARACTERS).collect(),
            suggestion: None,
        }
    }

    /// The same refusal with advice.
    #[must_use]
    pub fn suggest(self, suggestion: impl Into<String>) -> Self {
        Self { suggestion: Some(with_short_names(suggestion.into())), ..self }
    }
}

/// A message of which long names are cut: whatever has no space and no quotation mark in it counts as one.
pub(crate) fn with_short_names(message: String) -> String {
    if message.len() <= NAME_CHARACTERS {
        return message;
    }
    let mut short = String::new();
    let (mut of_name, mut of_message) = (0, 0);
    for character in message.chars() {
        of_name = if character.is_whitespace() || character == '`' { 0 } else { of_name + 1 };
        if of_name > NAME_CHARACTERS + 1 {
            continue;
        }
        of_message += 1;
        let ends = of_message > MESSAGE_CHARACTERS;
        short.push(if ends || of_name > NAME_CHARACTERS { '…' } else { character });
        if ends {
            break;
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::Gate;

    /// What is refused of a module, in which `NAME` stands for a long name.
    fn refusals(text: &str, name: &str) -> Vec<Refusal> {
        let gate = Gate::default();
        match gate.parse("a.rego", text.replace("NAME", name).as_bytes()) {
            Ok(module) => gate.check(&[module]),
            Err(refusals) => refusals,
        }
    }

    #[rstest]
    #[case::a_function("package a\n\nx := NAME(1)\n")]
    #[case::a_variable("package a\n\nx := NAME\n")]
    #[case::a_clash("package a\n\nNAME := 1\n\nNAME(x) := x\n")]
    #[case::a_circle("package a\n\nNAME := NAME\n")]
    #[case::a_string_with_spaces("package a\n\nx := data.a[\"NAME NAME\"](1)\n")]
    #[case::an_import("package a\n\nimport NAME\n")]
    fn no_message_repeats_a_long_name(#[case] text: &str) {
        for name in ["n".repeat(100_000), "n n ".repeat(10_000)] {
            let found = refusals(text, &name);
            assert!(!found.is_empty());
            for refusal in found {
                for told in [Some(refusal.message), refusal.suggestion].into_iter().flatten() {
                    assert!(told.chars().count() <= MESSAGE_CHARACTERS + 1, "{told:.300}");
                }
            }
        }
    }

    #[test]
    fn shows_where_a_name_is_cut_and_all_of_a_short_one() {
        let message = |name: &str| refusals("package a\n\nx := NAME(1)\n", name)[0].message.clone();
        let short = "n".repeat(NAME_CHARACTERS);
        assert_eq!(message(&short), format!("there is no function `{short}`"));
        assert_eq!(message(&"n".repeat(100_000)), format!("there is no function `{short}…`"));
        assert_eq!(with_short_names(message(&"n".repeat(100_000))), message(&"n".repeat(100_000)));
    }
}
