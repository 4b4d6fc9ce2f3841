//! One rule.

use std::sync::Arc;

use regorus::unstable as ast;

use super::{negation::negations, path_of, position, walk::Walk};
use crate::engine::module::{Rule, RuleKind, Segment, ValueKind};

/// The rule, and what its references cost the engine.
pub(super) fn rule(parsed: &ast::Rule) -> (Rule, u64) {
    let mut walk = Walk::default();
    let head = match parsed {
        ast::Rule::Default { refr, args, value, .. } => default_head(&mut walk, refr, args, value),
        ast::Rule::Spec { head, bodies, .. } => spec_head(&mut walk, head, bodies),
    };
    let (negations, calls) = negations(parsed);
    let cost = walk.cost;
    let rule = Rule {
        path: head.path,
        kind: head.kind,
        is_default: matches!(parsed, ast::Rule::Default { .. }),
        always_defined: always_defined(parsed, head.kind),
        values: head.values,
        position: position(parsed.span()),
        references: walk.references,
        declared: walk.declared,
        bound: walk.bound,
        negations,
        calls,
        parameters: parameters(parsed),
        too_long: walk.too_long,
    };
    (rule, cost)
}

fn parameters(parsed: &ast::Rule) -> Vec<Option<Arc<str>>> {
    let (ast::Rule::Spec { head: ast::RuleHead::Func { args, .. }, .. } | ast::Rule::Default { args, .. }) =
        parsed
    else {
        return Vec::new();
    };
    let name = |arg: &ast::Ref<ast::Expr>| match arg.as_ref() {
        ast::Expr::Var { span, .. } => Some(span.text().into()),
        _ => None,
    };
    args.iter().map(name).collect()
}

/// Whether the document has a value whatever the input is.
fn always_defined(parsed: &ast::Rule, kind: RuleKind) -> bool {
    match parsed {
        ast::Rule::Default { .. } => true,
        ast::Rule::Spec { head: ast::RuleHead::Compr { assign: Some(assign), .. }, bodies, .. }
            if kind == RuleKind::Complete =>
        {
            bodies.is_empty() && is_constant(&assign.value)
        }
        ast::Rule::Spec { .. } => matches!(kind, RuleKind::PartialSet | RuleKind::PartialObject),
    }
}

struct Head {
    path: Vec<Segment>,
    kind: RuleKind,
    values: Vec<ValueKind>,
}

fn default_head(walk: &mut Walk, refr: &ast::Expr, args: &[ast::Ref<ast::Expr>], value: &ast::Expr) -> Head {
    let path = head_path(walk, refr);
    for arg in args {
        walk.declare(arg);
    }
    walk.expression(value);
    let kind = if args.is_empty() { RuleKind::Complete } else { RuleKind::Function(args.len()) };
    Head { path, kind, values: vec![value_kind(value)] }
}

fn spec_head(walk: &mut Walk, head: &ast::RuleHead, bodies: &[ast::RuleBody]) -> Head {
    let mut values = Vec::new();
    let mut value = |walk: &mut Walk, assign: Option<&ast::RuleAssign>| match assign {
        None => values.push(ValueKind::Boolean),
        Some(assign) => {
            values.push(value_kind(&assign.value));
            walk.expression(&assign.value);
        }
    };
    let (path, kind) = match head {
        ast::RuleHead::Compr { refr, assign, .. } => {
            let path = head_path(walk, refr);
            value(walk, assign.as_ref());
            let kind =
                if path.contains(&Segment::Dynamic) { RuleKind::PartialObject } else { RuleKind::Complete };
            (path, kind)
        }
        ast::RuleHead::Set { refr, key, .. } => {
            let path = head_path(walk, refr);
            if let Some(key) = key {
                walk.expression(key);
            }
            (path, RuleKind::PartialSet)
        }
        ast::RuleHead::Func { refr, args, assign, .. } => {
            let path = head_path(walk, refr);
            for arg in args {
                walk.declare(arg);
            }
            value(walk, assign.as_ref());
            // Without arguments it is no function, whatever its parentheses say.
            (path, if args.is_empty() { RuleKind::Complete } else { RuleKind::Function(args.len()) })
        }
    };
    for body in bodies {
        // The first body's value is the head's.
        if body.is_else || body.assign.is_some() {
            value(walk, body.assign.as_ref());
        }
        walk.query(&body.query);
    }
    Head { path, kind, values }
}

/// The name of a rule, its root as the first step.
fn head_path(walk: &mut Walk, refr: &ast::Expr) -> Vec<Segment> {
    walk.indexes(refr);
    let Some((root, steps)) = path_of(refr) else {
        return vec![Segment::Dynamic];
    };
    std::iter::once(Segment::Name(root.text().into())).chain(steps).collect()
}

fn is_constant(value: &ast::Expr) -> bool {
    match value {
        ast::Expr::String { .. }
        | ast::Expr::RawString { .. }
        | ast::Expr::Number { .. }
        | ast::Expr::Bool { .. }
        | ast::Expr::Null { .. }
        | ast::Expr::ArrayCompr { .. }
        | ast::Expr::SetCompr { .. }
        | ast::Expr::ObjectCompr { .. } => true,
        ast::Expr::Array { items, .. } | ast::Expr::Set { items, .. } => {
            items.iter().all(|item| is_constant(item))
        }
        ast::Expr::Object { fields, .. } => {
            fields.iter().all(|(_, key, value)| is_constant(key) && is_constant(value))
        }
        _ => false,
    }
}

fn value_kind(value: &ast::Expr) -> ValueKind {
    match value {
        ast::Expr::Bool { .. } | ast::Expr::BoolExpr { .. } | ast::Expr::Membership { .. } => {
            ValueKind::Boolean
        }
        ast::Expr::Object { .. } | ast::Expr::ObjectCompr { .. } => ValueKind::Object,
        ast::Expr::String { .. } | ast::Expr::RawString { .. } => ValueKind::Other,
        ast::Expr::Number { .. } | ast::Expr::ArithExpr { .. } | ast::Expr::UnaryExpr { .. } => {
            ValueKind::Other
        }
        ast::Expr::Null { .. } => ValueKind::Other,
        ast::Expr::Array { .. } | ast::Expr::ArrayCompr { .. } => ValueKind::Other,
        ast::Expr::Set { .. } | ast::Expr::SetCompr { .. } | ast::Expr::BinExpr { .. } => ValueKind::Other,
        ast::Expr::Call { fcn, .. } => call_kind(fcn),
        _ => ValueKind::Unknown,
    }
}

/// What a built-in function returns. A rule of the same name would shadow it; its author is asked for another name.
fn call_kind(function: &ast::Expr) -> ValueKind {
    let Some((root, steps)) = path_of(function) else { return ValueKind::Unknown };
    let Some(names) = steps.iter().map(Segment::name).collect::<Option<Vec<_>>>() else {
        return ValueKind::Unknown;
    };
    let name = std::iter::once(root.text()).chain(names).collect::<Vec<_>>().join(".");
    // OPA declares these as `any`; they take objects and make one.
    if matches!(name.as_str(), "object.union" | "object.union_n" | "object.remove" | "object.filter") {
        return ValueKind::Object;
    }
    let result =
        crate::engine::builtins::lookup(&name).and_then(|builtin| builtin.declaration.result.as_ref());
    let result = result.map(ToString::to_string).unwrap_or_default();
    match result.split(['[', '<']).next() {
        Some("boolean") => ValueKind::Boolean,
        Some("object") => ValueKind::Object,
        Some("any" | "") | None => ValueKind::Unknown,
        Some(_) => ValueKind::Other,
    }
}
