//! What is wrong with a module, where, and what to do about it.

use std::{fmt, sync::Arc};

use serde::Serialize;

/// A place in a module's text. Lines and columns begin at 1; 0 means that the place is the whole module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Location {
    /// The module's name, as it was given to [`Module::parse`](crate::Module::parse).
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

/// Which rule a module breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// Too long, too many lines, or a line too long.
    TooLarge,
    /// Brackets nested, or an expression chained, beyond what is parsed.
    TooDeep,
    /// Not UTF-8, or a control character.
    Encoding,
    /// Not Rego.
    Syntax,
    /// The parser gave up on it.
    ParserFailure,
    /// An import that is not allowed or clashes with another one.
    Import,
    /// A name that a rule, an argument or a variable cannot have.
    Name,
    /// Two rules that cannot stand beside one another.
    Conflict,
    /// A function that does not exist.
    UndefinedFunction,
    /// A call with the wrong number of arguments.
    Arity,
    /// A variable that nothing binds.
    UnsafeVariable,
    /// A declared variable that nothing uses.
    UnusedVariable,
    /// A rule that depends on itself.
    Recursion,
    /// A `with` that replaces what cannot be replaced.
    With,
    /// A default that is not a constant.
    Default,
    /// The merged modules cannot be prepared for evaluation.
    Compile,
    /// A module outside the packages that it may declare.
    Confinement,
    /// A reference to documents that the module may not read.
    ForbiddenReference,
    /// A built-in function that the module may not call.
    ForbiddenBuiltin,
    /// A `not` that OPA leaves undefined when something below it is: only a warning.
    UndefinedNegation,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::Encoding => "encoding",
            Self::Syntax => "syntax",
            Self::ParserFailure => "parser_failure",
            Self::Import => "import",
            Self::Name => "name",
            Self::Conflict => "conflict",
            Self::UndefinedFunction => "undefined_function",
            Self::Arity => "arity",
            Self::UnsafeVariable => "unsafe_variable",
            Self::UnusedVariable => "unused_variable",
            Self::Recursion => "recursion",
            Self::With => "with",
            Self::Default => "default",
            Self::Compile => "compile",
            Self::Confinement => "confinement",
            Self::ForbiddenReference => "forbidden_reference",
            Self::ForbiddenBuiltin => "forbidden_builtin",
            Self::UndefinedNegation => "undefined_negation",
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
            message,
            source_line: source_line.chars().take(SOURCE_LINE_CHARACTERS).collect(),
            suggestion: None,
        }
    }

    /// The same refusal with advice.
    #[must_use]
    pub fn suggest(self, suggestion: impl Into<String>) -> Self {
        Self { suggestion: Some(suggestion.into()), ..self }
    }
}
