//! One parsed module.

use std::sync::Arc;

use super::{
    annotations::{self, Annotations},
    ast::{Import, Rule, TermId, Tree, Value},
    lexer::lex,
    names::{Name, Names},
    parse::{Language, SyntaxError, parse},
    position::{Lines, Offset, Position},
};
use crate::{Code, Location, Refusal, refusal::with_short_names};

/// The longest text, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The most mistakes that are told of one text.
const MOST: usize = 50;
/// The longest source line that a refusal repeats, in characters.
const SOURCE_LINE_CHARACTERS: usize = 200;

/// A module that was read. Cheap to share behind an [`Arc`]; nothing changes it any more.
#[derive(Debug, Clone)]
pub struct Module {
    pub(crate) file: Arc<str>,
    pub(crate) text: Arc<str>,
    pub(crate) lines: Lines,
    pub(crate) names: Names,
    pub(crate) tree: Tree,
    pub(crate) package: Package,
    pub(crate) imports: Vec<Import>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) annotations: Vec<Annotations>,
}

/// What kind of document a rule defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// One value.
    Value,
    /// A set, by `contains`.
    Set,
    /// An object, by a variable in its name.
    Object,
    /// A function of that many arguments.
    Function(usize),
}

/// The `package` of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its steps below `data`.
    pub path: Vec<Name>,
    /// Where the statement begins.
    pub at: Offset,
}

impl Module {
    /// Reads a module of a language. `file` is what refusals call it; `is_builtin` knows the functions of that OPA.
    ///
    /// # Errors
    /// When it is too long, not UTF-8, or not a module: with all that is wrong, as far as the parser came.
    pub fn read(
        file: &str,
        text: &[u8],
        language: Language,
        is_builtin: &dyn Fn(&str) -> bool,
    ) -> Result<Self, Vec<Refusal>> {
        let file: Arc<str> = file.into();
        let text = check_text(&file, text).map_err(|refusal| vec![refusal])?;
        let mut names = Names::new();
        let lexed = lex(text, &mut names);
        let parsed = parse(&lexed, &mut names, language, is_builtin);
        let lines = Lines::of(text);
        let parsed = parsed.map_err(|errors| refusals(&file, text, &lines, &errors))?;
        let mut module = Self {
            file,
            text: text.into(),
            lines,
            names,
            tree: parsed.tree,
            package: parsed.package,
            imports: parsed.imports,
            rules: parsed.rules,
            annotations: Vec::new(),
        };
        module.annotations = annotations::read(&module, &lexed.comments)
            .map_err(|errors| refusals(&module.file, &module.text, &module.lines, &errors))?;
        Ok(module)
    }

    /// A refusal of a place in it.
    #[must_use]
    pub fn refuse(&self, at: Offset, code: Code, message: impl Into<String>) -> Refusal {
        refusal(&self.file, &self.text, &self.lines, at, (code, message.into()))
    }

    /// What refusals call it.
    #[must_use]
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// Its text, without a byte order mark.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its words.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Its nodes.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Its package.
    #[must_use]
    pub fn package(&self) -> &Package {
        &self.package
    }

    /// The names of its package, without `data`.
    #[must_use]
    pub fn package_names(&self) -> Vec<&str> {
        self.package.path.iter().map(|&name| self.names.text(name)).collect()
    }

    /// The whole path of a rule below `data`: its package, its name, and the steps of its name. What is not constant
    /// text is `None`.
    #[must_use]
    pub fn rule_path(&self, rule: &Rule) -> Vec<Option<&str>> {
        let package = self.package_names().into_iter().map(Some);
        let steps = self.tree.terms(rule.head.reference).iter().enumerate();
        let step = |(index, &step): (usize, &TermId)| match (index, self.tree.value(step)) {
            (0, Value::Var(name)) | (1.., Value::String(name)) => Some(self.names.text(name)),
            _ => None,
        };
        package.chain(steps.map(step)).collect()
    }

    /// What kind of document a rule defines.
    #[must_use]
    pub fn rule_kind(&self, rule: &Rule) -> RuleKind {
        match rule.head.arguments.len() {
            0 if rule.head.is_multi_value() => RuleKind::Set,
            0 if self.tree.is_ground_path(rule.head.reference) => RuleKind::Value,
            0 => RuleKind::Object,
            arguments => RuleKind::Function(arguments),
        }
    }

    /// Its imports, in the order of the text.
    #[must_use]
    pub fn imports(&self) -> &[Import] {
        &self.imports
    }

    /// Its rules, each followed by its `else` branches.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Its `METADATA` blocks.
    #[must_use]
    pub fn annotations(&self) -> &[Annotations] {
        &self.annotations
    }

    /// The line and column of a place in its text.
    #[must_use]
    pub fn position(&self, offset: Offset) -> Position {
        self.lines.position(&self.text, offset)
    }
}

/// The text without its byte order mark, if it is one that OPA and others read alike.
fn check_text<'a>(file: &Arc<str>, text: &'a [u8]) -> Result<&'a str, Refusal> {
    let refuse = |line, code, message| Refusal::at(file, "", (line, u32::from(line > 0)), code, message);
    if text.len() > MAX_BYTES {
        let message = format!("a module has at most {MAX_BYTES} bytes, this one has {}", text.len());
        return Err(
            refuse(0, Code::TooLarge, message).suggest("split it into several modules, or move data out")
        );
    }
    let text = std::str::from_utf8(text)
        .map_err(|error| refuse(0, Code::Encoding, format!("the text is not UTF-8: {error}")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Some readers end the text at a NUL, others do not: what follows would be checked by none of the former and
    // obeyed by all of the latter.
    let Some(at) = text.find(['\0', '\u{feff}']) else { return Ok(text) };
    let line = text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
    let message = "a NUL or a byte order mark stands inside the text".to_owned();
    Err(refuse(u32::try_from(line).unwrap_or(u32::MAX), Code::Encoding, message)
        .suggest("remove it, or write it as an escape in a string, such as `\\u0000`"))
}

fn refusals(file: &Arc<str>, text: &str, lines: &Lines, errors: &[SyntaxError]) -> Vec<Refusal> {
    let refuse = |error: &SyntaxError| {
        let found = refusal(file, text, lines, Offset(error.at), (Code::Parse, error.problem.message()));
        let suggestion = error.suggestion.as_ref().map(|suggestion| with_short_names(suggestion.to_string()));
        Refusal { suggestion, ..found }
    };
    errors.iter().take(MOST).map(refuse).collect()
}

fn refusal(
    file: &Arc<str>,
    text: &str,
    lines: &Lines,
    at: Offset,
    (code, message): (Code, String),
) -> Refusal {
    let Position { line, column } = lines.position(text, at);
    let location = Location { file: Arc::clone(file), line, column };
    let source_line = lines.line(text, at).chars().take(SOURCE_LINE_CHARACTERS).collect();
    Refusal { location, code, message: with_short_names(message), source_line, suggestion: None }
}
