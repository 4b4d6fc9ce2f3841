//! From the parser's syntax tree to [`Module`]: what the checks need, and nothing of the parser's own types.

mod failure;
pub(crate) mod negation;
mod rule;
mod walk;

use std::{num::NonZeroU32, sync::Arc};

use regorus::unstable as ast;

use walk::MAX_STATEMENTS;

pub(crate) use failure::refusal_of;

use crate::{
    Code, Refusal,
    engine::guard::{MAX_BYTES, MAX_LINE_BYTES, MAX_LINES},
    engine::module::Module,
    engine::module::{Import, Position, Segment},
};

/// The most that the references of a module may cost the engine: twice as much for every index in one that is not
/// constant. This much takes some ten megabytes.
const MAX_REFERENCE_COST: u64 = 100_000;
/// The parser counts a tab as four columns.
const MAX_COLUMNS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4 * MAX_LINE_BYTES as u32);

/// The limits of the guard, as the parser takes them.
pub(crate) fn parser_limits() -> regorus::PolicyLengthConfig {
    let or_one = |n| std::num::NonZeroUsize::new(n).unwrap_or(std::num::NonZeroUsize::MIN);
    regorus::PolicyLengthConfig {
        max_col: MAX_COLUMNS,
        max_file_bytes: or_one(MAX_BYTES),
        max_lines: or_one(MAX_LINES + 1),
    }
}

/// Parses a text that the guard let through.
pub(crate) fn module(name: &Arc<str>, text: &str) -> Result<Module, Refusal> {
    let limits = parser_limits();
    let source = ast::Source::from_contents_with_limits(
        name.to_string(),
        text.to_owned(),
        limits.max_file_bytes,
        limits.max_lines,
    );
    let parsed = source.and_then(|source| {
        let mut parser = ast::Parser::new(&source)?;
        parser.set_max_col(limits.max_col);
        parser.enable_rego_v1()?;
        parser.parse()
    });
    let parsed = parsed.map_err(|error| refusal_of(name, text, &error.to_string(), Code::Parse))?;
    lower(name, text, &parsed)
}

fn lower(name: &Arc<str>, text: &str, parsed: &ast::Module) -> Result<Module, Refusal> {
    let refuse = |position, code, message: &str| Refusal::at(name, text, position, code, message.to_owned());
    if parsed.target.is_some() {
        return Err(refuse(
            (0, 0),
            Code::Parse,
            "`__target__` has a meaning of its own here and none in OPA",
        ));
    }
    let package_position = position(&parsed.package.span);
    let package = constant_path(&parsed.package.refr)
        .ok_or_else(|| refuse(package_position, Code::Parse, "a package name consists of constant names"))?;
    let imports = parsed
        .imports
        .iter()
        .map(|import| {
            let position = position(&import.span);
            let path = constant_path(&import.refr)
                .ok_or_else(|| refuse(position, Code::Parse, "an import consists of constant names"))?;
            Ok(Import { path, alias: import.r#as.as_ref().map(|span| span.text().into()), position })
        })
        .collect::<Result<Arc<[_]>, Refusal>>()?;
    let mut cost = 0_u64;
    let mut rules = Vec::new();
    for parsed in &parsed.policy {
        let (rule, more) = rule::rule(parsed);
        cost = cost.saturating_add(more);
        if let Some(position) = rule.too_long {
            let message = format!("the engine takes at most {MAX_STATEMENTS} statements in a body");
            return Err(refuse(position, Code::TooLarge, &message).suggest("split it into several rules"));
        }
        if cost > MAX_REFERENCE_COST {
            let message = "the references up to this rule have too many indexes that are not constant";
            let refusal = refuse(rule.position, Code::TooDeep, message);
            return Err(refusal.suggest("walk deep documents step by step, with a variable for each step"));
        }
        rules.push(rule);
    }
    Ok(Module {
        name: Arc::clone(name),
        text: text.into(),
        lines: std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect(),
        package,
        imports,
        rules: rules.into(),
    })
}

/// Where a span begins, counted in characters.
fn position(span: &ast::Span) -> Position {
    let start = usize::try_from(span.start).unwrap_or(usize::MAX);
    let before = span.source.contents().get(..start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(line_start..).map_or(0, |line| line.chars().count());
    (span.line, u32::try_from(column).unwrap_or(u32::MAX).saturating_add(1))
}

/// The variable at the beginning of a path and the steps after it; `None` when it begins with something else.
fn path_of(expression: &ast::Expr) -> Option<(&ast::Span, Vec<Segment>)> {
    let mut steps = Vec::new();
    let mut at = expression;
    loop {
        match at {
            ast::Expr::Var { span, .. } => {
                steps.reverse();
                return Some((span, steps));
            }
            ast::Expr::RefDot { refr, field, .. } => {
                steps.push(Segment::Name(field.0.text().into()));
                at = refr;
            }
            ast::Expr::RefBrack { refr, index, .. } => {
                steps.push(segment(index));
                at = refr;
            }
            _ => return None,
        }
    }
}

/// An index: the very string, escapes resolved, or anything.
fn segment(index: &ast::Expr) -> Segment {
    match index {
        ast::Expr::String { value, .. } | ast::Expr::RawString { value, .. } => {
            value.as_string().map_or(Segment::Dynamic, |text| Segment::Name(text.as_ref().into()))
        }
        _ => Segment::Dynamic,
    }
}

fn constant_path(expression: &ast::Expr) -> Option<Vec<Arc<str>>> {
    let (root, steps) = path_of(expression)?;
    let steps = steps.into_iter().map(|step| match step {
        Segment::Name(name) => Some(name),
        Segment::Dynamic => None,
    });
    std::iter::once(Some(Arc::from(root.text()))).chain(steps).collect()
}

#[cfg(test)]
mod tests {
    use crate::{Code, engine::module::Module};

    fn parse(indexes: usize, times: usize) -> Result<Module, Code> {
        let rule = format!("p if input.a{}\n", (0..indexes).map(|n| format!("[x{n}]")).collect::<String>());
        let text = format!("package a\n{}", rule.repeat(times));
        Module::parse("a.rego", text.as_bytes()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn limits_indexes_that_are_not_constant() {
        assert!(parse(4, 500).is_ok());
        assert_eq!(parse(25, 1).unwrap_err(), Code::TooDeep);
        assert_eq!(parse(9, 1000).unwrap_err(), Code::TooDeep);
    }
}
