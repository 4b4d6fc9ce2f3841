//! What stands below each `not` and OPA evaluates before it.
//!
//! OPA's compiler takes the arguments of a call, the parts of a literal and the indexes of a path out of the
//! statement and puts them before it, for a `not` as well: when one has no value, the body ends there. Only a path
//! that stands by itself, or on one side of `==` or `=`, stays below the `not`.

use std::sync::Arc;

use regorus::unstable as ast;

use super::{path_of, position};
use crate::engine::module::{Place, Position, Reference};

/// One `not` with something that OPA evaluates before it.
#[derive(Debug, Clone)]
pub(crate) struct Negation {
    /// Where the `not` stands.
    pub(crate) position: Position,
    /// Its text, on one line.
    pub(crate) text: Arc<str>,
    pub(crate) before: Vec<Hoisted>,
}

/// Something that OPA evaluates before a `not`.
#[derive(Debug, Clone)]
pub(crate) struct Hoisted {
    pub(crate) text: Arc<str>,
    pub(crate) kind: HoistedKind,
}

/// What it is, as far as that tells whether it always has a value.
#[derive(Debug, Clone)]
pub(crate) enum HoistedKind {
    Path(Reference),
    Call {
        function: Reference,
        first: Argument,
    },
    /// An expression that may have no value, whatever it refers to.
    Other,
}

/// A call, wherever in a rule it stands.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) function: Reference,
    pub(crate) arguments: Vec<Argument>,
}

/// An argument of a call.
#[derive(Debug, Clone)]
pub(crate) enum Argument {
    /// A literal object or a comprehension of one.
    Object,
    /// A literal array or set, or a comprehension of one.
    Collection,
    Path(Reference),
    Other,
}

/// Every `not` of a rule with something that OPA evaluates before it, and every call.
pub(super) fn negations(rule: &ast::Rule) -> (Vec<Negation>, Vec<Call>) {
    let mut search = Search::default();
    match rule {
        ast::Rule::Default { value, .. } => search.expression(value),
        ast::Rule::Spec { head, bodies, .. } => {
            search.head(head);
            for body in bodies {
                body.assign.iter().for_each(|assign| search.expression(&assign.value));
                search.query(&body.query);
            }
        }
    }
    (search.found, search.calls)
}

/// A walk through all queries of a rule, those of comprehensions included.
#[derive(Default)]
struct Search {
    found: Vec<Negation>,
    calls: Vec<Call>,
}

impl Search {
    fn head(&mut self, head: &ast::RuleHead) {
        match head {
            ast::RuleHead::Compr { refr, assign, .. } => {
                self.expression(refr);
                assign.iter().for_each(|assign| self.expression(&assign.value));
            }
            ast::RuleHead::Set { refr, key, .. } => {
                self.expression(refr);
                key.iter().for_each(|key| self.expression(key));
            }
            ast::RuleHead::Func { args, assign, .. } => {
                args.iter().for_each(|arg| self.expression(arg));
                assign.iter().for_each(|assign| self.expression(&assign.value));
            }
        }
    }

    fn query(&mut self, query: &ast::Query) {
        for statement in &query.stmts {
            match &statement.literal {
                ast::Literal::SomeVars { .. } => {}
                ast::Literal::SomeIn { key, value, collection, .. } => {
                    key.iter().chain([value, collection]).for_each(|part| self.expression(part));
                }
                ast::Literal::Every { domain, query, .. } => {
                    self.expression(domain);
                    self.query(query);
                }
                ast::Literal::Expr { expr, .. } => self.expression(expr),
                ast::Literal::NotExpr { span, expr } => {
                    let mut before = Vec::new();
                    of_statement(expr, &mut before);
                    if !before.is_empty() {
                        let (position, text) = (position(span), one_line(span));
                        self.found.push(Negation { position, text, before });
                    }
                    self.expression(expr);
                }
            }
            statement.with_mods.iter().for_each(|modifier| self.expression(&modifier.r#as));
        }
    }

    fn expression(&mut self, expression: &ast::Expr) {
        if let ast::Expr::Call { fcn, params, .. } = expression
            && let Some(function) = reference(fcn, Some(params.len()))
        {
            let arguments = params.iter().map(|param| argument(Some(param))).collect();
            self.calls.push(Call { function, arguments });
        }
        match expression {
            ast::Expr::ArrayCompr { term, query, .. } | ast::Expr::SetCompr { term, query, .. } => {
                self.expression(term);
                self.query(query);
            }
            ast::Expr::ObjectCompr { key, value, query, .. } => {
                self.expression(key);
                self.expression(value);
                self.query(query);
            }
            ast::Expr::AssignExpr { lhs, rhs, .. } => {
                self.expression(lhs);
                self.expression(rhs);
            }
            other => parts(other).into_iter().for_each(|part| self.expression(part)),
        }
    }
}

/// What OPA takes out of the expression below a `not`.
fn of_statement(expression: &ast::Expr, before: &mut Vec<Hoisted>) {
    match expression {
        ast::Expr::AssignExpr { lhs, rhs, .. }
        | ast::Expr::BoolExpr { op: ast::BoolOp::Eq, lhs, rhs, .. } => {
            for side in [lhs, rhs] {
                match side.as_ref() {
                    path @ (ast::Expr::RefDot { .. } | ast::Expr::RefBrack { .. }) => {
                        of_parts(path, before);
                    }
                    ast::Expr::Var { .. } => {}
                    other => of_term(other, before),
                }
            }
        }
        other => of_parts(other, before),
    }
}

fn of_parts(expression: &ast::Expr, before: &mut Vec<Hoisted>) {
    parts(expression).into_iter().for_each(|part| of_term(part, before));
}

/// A term that OPA evaluates before the `not`, and what it evaluates before that.
fn of_term(term: &ast::Expr, before: &mut Vec<Hoisted>) {
    of_parts(term, before);
    let kind = match term {
        ast::Expr::Var { .. } | ast::Expr::RefDot { .. } | ast::Expr::RefBrack { .. } => {
            reference(term, None).map_or(HoistedKind::Other, HoistedKind::Path)
        }
        ast::Expr::Call { fcn, params, .. } => match reference(fcn, Some(params.len())) {
            Some(function) => HoistedKind::Call { function, first: argument(params.first()) },
            None => HoistedKind::Other,
        },
        // Of the operators these alone can fail on numbers; on anything else the engine says so.
        ast::Expr::ArithExpr { op: ast::ArithOp::Div | ast::ArithOp::Mod, rhs, .. } if !is_nonzero(rhs) => {
            HoistedKind::Other
        }
        _ => return,
    };
    before.push(Hoisted { text: one_line(term.span()), kind });
}

/// The expressions that an expression is made of; for a path its indexes, and what it begins with unless that is a
/// variable. A comprehension is closed: it has a value whatever becomes of its parts.
fn parts(expression: &ast::Expr) -> Vec<&ast::Expr> {
    match expression {
        ast::Expr::Call { params, .. } => params.iter().map(AsRef::as_ref).collect(),
        ast::Expr::Array { items, .. } | ast::Expr::Set { items, .. } => {
            items.iter().map(AsRef::as_ref).collect()
        }
        ast::Expr::Object { fields, .. } => {
            fields.iter().flat_map(|(_, key, value)| [key.as_ref(), value.as_ref()]).collect()
        }
        ast::Expr::UnaryExpr { expr, .. } => vec![expr],
        ast::Expr::BinExpr { lhs, rhs, .. }
        | ast::Expr::BoolExpr { lhs, rhs, .. }
        | ast::Expr::ArithExpr { lhs, rhs, .. }
        | ast::Expr::AssignExpr { lhs, rhs, .. } => vec![lhs, rhs],
        ast::Expr::Membership { key, value, collection, .. } => {
            key.iter().chain([value, collection]).map(AsRef::as_ref).collect()
        }
        ast::Expr::RefDot { .. } | ast::Expr::RefBrack { .. } => steps(expression),
        _ => Vec::new(),
    }
}

fn steps(path: &ast::Expr) -> Vec<&ast::Expr> {
    let mut found = Vec::new();
    let mut at = path;
    loop {
        match at {
            ast::Expr::RefDot { refr, .. } => at = refr,
            ast::Expr::RefBrack { refr, index, .. } => {
                found.push(index.as_ref());
                at = refr;
            }
            ast::Expr::Var { .. } => return found,
            other => {
                found.push(other);
                return found;
            }
        }
    }
}

fn argument(first: Option<&ast::Ref<ast::Expr>>) -> Argument {
    match first.map(AsRef::as_ref) {
        Some(ast::Expr::Object { .. } | ast::Expr::ObjectCompr { .. }) => Argument::Object,
        Some(
            ast::Expr::Array { .. }
            | ast::Expr::Set { .. }
            | ast::Expr::ArrayCompr { .. }
            | ast::Expr::SetCompr { .. },
        ) => Argument::Collection,
        Some(other) => reference(other, None).map_or(Argument::Other, Argument::Path),
        None => Argument::Other,
    }
}

fn reference(expression: &ast::Expr, arguments: Option<usize>) -> Option<Reference> {
    let (root, path) = path_of(expression)?;
    let (place, position) = (Place::Expression, position(root));
    Some(Reference { root: root.text().into(), path, arguments, place, position })
}

fn is_nonzero(divisor: &ast::Expr) -> bool {
    let ast::Expr::Number { span, .. } = divisor else { return false };
    let digits = span.text().split(['e', 'E']).next().unwrap_or_default();
    digits.chars().any(|digit| matches!(digit, '1'..='9'))
}

/// The longest text that a message repeats, in characters.
const TEXT_CHARACTERS: usize = 80;

fn one_line(span: &ast::Span) -> Arc<str> {
    // The span of a string leaves its quotes out, and so does what ends with one.
    let end = usize::try_from(span.end).unwrap_or(usize::MAX);
    let quote = span.source.contents().get(end..).and_then(|rest| rest.chars().next());
    let text: String = span.text().chars().chain(quote.filter(|c| matches!(c, '"' | '`'))).collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(TEXT_CHARACTERS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}
