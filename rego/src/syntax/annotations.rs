//! `METADATA` blocks: YAML in comments, which OPA reads and refuses when it is wrong.

mod keyed;
mod value;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use self::keyed::{Flag, Keyed};
use super::{
    module::Module,
    parse::{Problem, SyntaxError},
    position::Offset,
};

pub use value::Schema;

/// What a `METADATA` block is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The rule below it.
    Rule,
    /// All rules of one name.
    Document,
    /// All modules of the package.
    Package,
    /// The package and all below it.
    Subpackages,
}

/// One `METADATA` block.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotations {
    /// What it is about.
    pub scope: Scope,
    /// Whether what it is about is meant to be queried.
    pub entrypoint: bool,
    /// The types that it gives to documents.
    pub schemas: Vec<Schema>,
    /// Where it begins.
    pub at: Offset,
    /// The rule that it stands before, as a number into the module's rules; none for the package.
    pub rule: Option<usize>,
}

/// The members that OPA knows; it ignores others.
#[derive(Deserialize)]
struct Block {
    scope: Option<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "read only to see that it can be read")]
    title: Option<String>,
    entrypoint: Option<Flag>,
    #[expect(dead_code, reason = "read only to see that it can be read")]
    description: Option<String>,
    #[expect(dead_code, reason = "read only to see that it can be read")]
    organizations: Option<Vec<String>>,
    related_resources: Option<Vec<Keyed>>,
    authors: Option<Vec<Keyed>>,
    schemas: Option<Vec<BTreeMap<String, Keyed>>>,
    compile: Option<Map<String, Value>>,
    #[expect(dead_code, reason = "read only to see that it can be read")]
    custom: Option<BTreeMap<String, Keyed>>,
    #[expect(dead_code, reason = "read only to see that it can be read")]
    labels: Option<BTreeMap<String, Keyed>>,
}

/// What helps whatever is wrong with a block.
const ADVICE: &str = "correct the comment below `# METADATA`, which OPA reads as YAML; \
                      with another first word it is only a comment";

/// Reads the blocks among the comments of a module.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn read(module: &Module, comments: &[(u32, u32)]) -> Result<Vec<Annotations>, Vec<SyntaxError>> {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    let mut known: Option<Vec<(u32, Below)>> = None;
    let mut rest = comments.iter().copied().peekable();
    while let Some(comment) = rest.next() {
        if !is_metadata(module, comment) {
            continue;
        }
        let (mut yaml, mut last) = (String::new(), comment);
        while let Some(line) = rest.next_if(|&next| goes_on(module, last, next)) {
            let text = text_of(module, line);
            yaml.push_str(text.strip_prefix(' ').unwrap_or(text));
            yaml.push('\n');
            last = line;
        }
        let statements = known.get_or_insert_with(|| statements(module));
        let read = block(&yaml).and_then(|block| attach(module, statements, block, comment.0));
        match read {
            Ok(annotations) => found.push(annotations),
            Err(message) => {
                let problem = Problem::Text(message.into());
                errors.push(SyntaxError { at: comment.0, problem, suggestion: Some(ADVICE.into()) });
            }
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

fn text_of(module: &Module, (start, end): (u32, u32)) -> &str {
    let text = module.text().get(start as usize + 1..end as usize).unwrap_or_default();
    text.trim_end_matches('\r')
}

fn begins_line(module: &Module, (start, _): (u32, u32)) -> bool {
    module.position(Offset(start)).column == 1
}

fn is_metadata(module: &Module, comment: (u32, u32)) -> bool {
    text_of(module, comment).trim().starts_with("METADATA") && begins_line(module, comment)
}

/// Whether a comment belongs to the block that the one before it belongs to.
fn goes_on(module: &Module, last: (u32, u32), next: (u32, u32)) -> bool {
    let line = |(start, _): (u32, u32)| module.position(Offset(start)).line;
    begins_line(module, next) && line(next) == line(last) + 1 && !is_metadata(module, next)
}

fn block(yaml: &str) -> Result<(Block, Vec<Schema>), String> {
    if yaml.trim().is_empty() {
        return Err("a METADATA block is empty".to_owned());
    }
    if yaml.contains(LINE_ENDS_OF_OLD_YAML) {
        return Err(
            "a METADATA block has U+0085, U+2028 or U+2029, which end a line in the YAML of OPA".to_owned()
        );
    }
    if yaml.split(['\n', '\r']).any(has_tab_before_content) {
        return Err(
            "a METADATA block has a tab where a line begins, or behind `-`, `?` or `:` there".to_owned()
        );
    }
    if yaml.contains('"') && has_escape_of_json(yaml) {
        return Err(
            "a METADATA block has an escape of JSON, `\\/` or half of a character, that OPA does not know"
                .to_owned(),
        );
    }
    if values_that_begin_with(yaml, '!').next().is_some() {
        return Err(
            "a METADATA block has a tag of YAML, such as `!x`, which OPA and this reader take differently"
                .to_owned(),
        );
    }
    if yaml.contains("<<") {
        return Err("a METADATA block has `<<`, which joins maps: write them out".to_owned());
    }
    let goes_on =
        |rest: &str| rest.starts_with(|c: char| !c.is_whitespace() && !matches!(c, ',' | ']' | '}'));
    if yaml.contains(['[', '{']) && values_that_begin_with(yaml, ':').any(goes_on) {
        return Err(
            "a METADATA block has a value that begins with a colon, which OPA takes for none within \
                    brackets: put it between quotes"
                .to_owned(),
        );
    }
    // A block of nothing but nulls and comments is an empty one to OPA as well.
    let block: Option<Block> = keyed::read(yaml)
        .map_err(|error| format!("a METADATA block is not the YAML of an annotation: {error}"))?;
    let block = block.ok_or("a METADATA block says nothing")?;
    for Keyed(resource) in block.related_resources.iter().flatten() {
        value::check_resource(resource)?;
    }
    for Keyed(author) in block.authors.iter().flatten() {
        value::check_author(author)?;
    }
    if let Some(compile) = &block.compile {
        value::check_compile(compile)?;
    }
    let schemas = block.schemas.iter().flatten().map(value::schema).collect::<Result<_, _>>()?;
    Ok((block, schemas))
}

/// Line ends of YAML 1.1, which OPA reads: YAML 1.2 has none but those of every other text.
const LINE_ENDS_OF_OLD_YAML: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// Whether a tab stands before what a line says. OPA's reader refuses most of these, and what it takes (in quotes, in
/// brackets, in the text of `|`) cannot be told from the line alone.
fn has_tab_before_content(line: &str) -> bool {
    let mut rest = line;
    loop {
        let content = rest.trim_start_matches([' ', '\t']);
        let space = rest.len() - content.len();
        if rest.bytes().take(space).any(|byte| byte == b'\t') {
            return true;
        }
        match content.strip_prefix(['-', '?', ':']) {
            Some(below) if below.starts_with([' ', '\t']) => rest = below,
            _ => return false,
        }
    }
}

/// What is behind a character each time that a value may begin with it. That it stands in the text of `|` cannot be told
/// from the characters before it.
fn values_that_begin_with(yaml: &str, first: char) -> impl Iterator<Item = &str> {
    yaml.match_indices(first).filter_map(|(at, first)| {
        let before = yaml[..at].trim_end_matches([' ', '\t', '\r', '\n']);
        let is_apart = before.len() < at || before.ends_with(['[', '{', ',']);
        let begins = before.is_empty()
            || before.ends_with([':', '-', '[', '{', ',', '?'])
            || yaml[before.len()..at].contains('\n');
        (is_apart && begins).then(|| &yaml[at + first.len()..])
    })
}

/// Whether what YAML 1.2 took over from JSON may stand between double quotes: an escaped slash, or an escape of half a
/// character.
fn has_escape_of_json(yaml: &str) -> bool {
    let half = |escape: &str| {
        let digits = escape.strip_prefix('u').or_else(|| escape.strip_prefix("U0000"));
        digits.is_some_and(|digits| {
            digits.starts_with(['d', 'D'])
                && digits.get(1..2).is_some_and(|next| "89abcdefABCDEF".contains(next))
        })
    };
    yaml.split('\\').skip(1).any(|escape| escape.starts_with('/') || half(escape))
}

/// What stands below a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    Package,
    Import,
    Rule(usize),
}

/// The statements of a module by their lines.
fn statements(module: &Module) -> Vec<(u32, Below)> {
    let line = |offset: Offset| module.lines.line_number(offset);
    let rules = module.rules.iter().enumerate().filter(|(_, rule)| !rule.is_else);
    let mut statements = vec![(line(module.package.at), Below::Package)];
    statements.extend(module.imports.iter().map(|import| (line(import.at), Below::Import)));
    statements.extend(rules.map(|(index, rule)| (line(rule.at), Below::Rule(index))));
    statements.sort_by_key(|&(line, _)| line);
    statements
}

/// What a block is about: the first statement below the line on which it begins.
fn attach(
    module: &Module,
    statements: &[(u32, Below)],
    (block, schemas): (Block, Vec<Schema>),
    at: u32,
) -> Result<Annotations, String> {
    let row = module.lines.line_number(Offset(at));
    let below = statements.get(statements.partition_point(|&(line, _)| line <= row)).map(|&(_, below)| below);
    let before_package = below == Some(Below::Package);
    let before_rule = matches!(below, Some(Below::Rule(_)));
    let entrypoint = block.entrypoint.is_some_and(|Flag(is_one)| is_one);
    let scope = match block.scope.as_deref().unwrap_or_default() {
        "" if before_rule && entrypoint => Scope::Document,
        "" if before_rule => Scope::Rule,
        "" if before_package => Scope::Package,
        "" => {
            return Err(
                "a METADATA block without a `scope` stands before neither a rule nor the package".to_owned()
            );
        }
        "rule" => Scope::Rule,
        "document" => Scope::Document,
        "package" => Scope::Package,
        "subpackages" => Scope::Subpackages,
        other => {
            return Err(format!(
                "the scope `{other}` of a METADATA block is none of `rule`, `document`, `package`, `subpackages`"
            ));
        }
    };
    match scope {
        Scope::Rule | Scope::Document if !before_rule => {
            return Err("a METADATA block about a rule must stand before one".to_owned());
        }
        Scope::Package | Scope::Subpackages if !before_package => {
            return Err("a METADATA block about a package must stand before `package`".to_owned());
        }
        Scope::Rule | Scope::Subpackages if entrypoint => {
            return Err(
                "only a METADATA block of scope `document` or `package` can be an `entrypoint`".to_owned()
            );
        }
        _ => {}
    }
    let rule = match below {
        Some(Below::Rule(index)) => Some(index),
        _ => None,
    };
    Ok(Annotations { scope, entrypoint, schemas, at: Offset(at), rule })
}
