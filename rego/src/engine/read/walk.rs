//! Expressions: which references they hold and which names they declare or bind.

use std::{collections::BTreeSet, sync::Arc};

use regorus::unstable as ast;

use super::{path_of, position, segment};
use crate::engine::module::{Place, Position, Reference, Segment};

/// What was found in one rule so far.
pub(super) struct Walk {
    pub(super) references: Vec<Reference>,
    pub(super) declared: BTreeSet<Arc<str>>,
    pub(super) bound: BTreeSet<Arc<str>>,
    /// The first body with more statements than the engine takes.
    pub(super) too_long: Option<Position>,
    place: Place,
    /// Whether this is below a `not`, where nothing gets a value.
    negated: bool,
    /// What the references of this rule cost the engine.
    pub(super) cost: u64,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            references: Vec::new(),
            declared: BTreeSet::new(),
            bound: BTreeSet::new(),
            too_long: None,
            place: Place::Expression,
            negated: false,
            cost: 0,
        }
    }
}

/// The variable that is never the same one twice.
const WILDCARD: &str = "_";

/// The most statements in one body: the engine's scheduling takes time quadratic in them.
pub(super) const MAX_STATEMENTS: usize = 500;

impl Walk {
    pub(super) fn query(&mut self, query: &ast::Query) {
        // What a query below a `not` binds, it binds for itself.
        let negated = std::mem::replace(&mut self.negated, false);
        if query.stmts.len() > MAX_STATEMENTS {
            self.too_long = self.too_long.or_else(|| Some(position(&query.span)));
        }
        for statement in &query.stmts {
            self.statement(statement);
        }
        self.negated = negated;
    }

    fn statement(&mut self, statement: &ast::LiteralStmt) {
        match &statement.literal {
            ast::Literal::SomeVars { vars, .. } => vars.iter().for_each(|span| self.introduce(span)),
            ast::Literal::SomeIn { key, value, collection, .. } => {
                for pattern in key.iter().chain([value]) {
                    self.declare(pattern);
                }
                self.expression(collection);
            }
            ast::Literal::Every { key, value, domain, query, .. } => {
                for span in key.iter().chain([value]) {
                    self.introduce(span);
                    self.bound.insert(span.text().into());
                }
                self.expression(domain);
                self.query(query);
            }
            ast::Literal::Expr { expr, .. } => self.literal(expr),
            ast::Literal::NotExpr { expr, .. } => {
                self.negated = true;
                self.literal(expr);
                self.negated = false;
            }
        }
        for modifier in &statement.with_mods {
            self.place = Place::WithTarget;
            self.expression(&modifier.refr);
            self.place = Place::WithValue;
            self.expression(&modifier.r#as);
            self.place = Place::Expression;
        }
    }

    fn literal(&mut self, expression: &ast::Expr) {
        match expression {
            ast::Expr::Call { fcn, params, .. } => self.call(fcn, params),
            other => self.expression(other),
        }
    }

    fn call(&mut self, function: &ast::Expr, arguments: &[ast::Ref<ast::Expr>]) {
        self.reference(function, Some(arguments.len()));
        // The last argument may be one more than the function takes: it is then unified with the result.
        if let Some(last) = arguments.last() {
            self.bind(last);
        }
        arguments.iter().for_each(|argument| self.expression(argument));
    }

    pub(super) fn expression(&mut self, expression: &ast::Expr) {
        match expression {
            ast::Expr::String { .. }
            | ast::Expr::RawString { .. }
            | ast::Expr::Number { .. }
            | ast::Expr::Bool { .. }
            | ast::Expr::Null { .. } => {}
            ast::Expr::Var { .. } | ast::Expr::RefDot { .. } | ast::Expr::RefBrack { .. } => {
                self.reference(expression, None);
            }
            ast::Expr::Call { fcn, params, .. } => {
                self.call(fcn, params);
            }
            ast::Expr::Array { items, .. } | ast::Expr::Set { items, .. } => {
                items.iter().for_each(|item| self.expression(item));
            }
            ast::Expr::Object { fields, .. } => fields.iter().for_each(|(_, key, value)| {
                self.expression(key);
                self.expression(value);
            }),
            ast::Expr::ArrayCompr { term, query, .. } | ast::Expr::SetCompr { term, query, .. } => {
                self.expression(term);
                self.query(query);
            }
            ast::Expr::ObjectCompr { key, value, query, .. } => {
                self.expression(key);
                self.expression(value);
                self.query(query);
            }
            ast::Expr::UnaryExpr { expr, .. } => self.expression(expr),
            ast::Expr::AssignExpr { op, lhs, rhs, .. } => self.assignment(op, lhs, rhs),
            ast::Expr::BinExpr { lhs, rhs, .. }
            | ast::Expr::BoolExpr { lhs, rhs, .. }
            | ast::Expr::ArithExpr { lhs, rhs, .. } => {
                self.expression(lhs);
                self.expression(rhs);
            }
            ast::Expr::Membership { key, value, collection, .. } => {
                key.iter().chain([value, collection]).for_each(|part| self.expression(part));
            }
        }
    }

    fn assignment(&mut self, op: &ast::AssignOp, left: &ast::Expr, right: &ast::Expr) {
        match op {
            ast::AssignOp::ColEq => self.declare(left),
            ast::AssignOp::Eq => {
                self.bind(left);
                self.bind(right);
                self.expression(left);
            }
        }
        self.expression(right);
    }

    fn reference(&mut self, expression: &ast::Expr, arguments: Option<usize>) {
        self.indexes(expression);
        let Some((root, path)) = path_of(expression) else {
            return self.expression(innermost(expression));
        };
        if root.text() == WILDCARD && path.is_empty() {
            return;
        }
        self.references.push(Reference {
            root: root.text().into(),
            path,
            arguments,
            place: self.place,
            position: position(root),
        });
    }

    /// The indexes of a path are expressions of their own, and may bind what they name.
    pub(super) fn indexes(&mut self, path: &ast::Expr) {
        let mut at = path;
        // The engine's preparation doubles its work with every index of a path that is not constant.
        let mut cost = 1_u64;
        loop {
            match at {
                ast::Expr::RefDot { refr, .. } => at = refr,
                ast::Expr::RefBrack { refr, index, .. } => {
                    if !matches!(segment(index), Segment::Name(_)) {
                        cost = cost.saturating_mul(2);
                    }
                    self.bind(index);
                    self.expression(index);
                    at = refr;
                }
                _ => break,
            }
        }
        self.cost = self.cost.saturating_add(cost - 1);
    }

    /// The variables of a pattern belong to this rule: an argument, the left side of `:=`, of `some … in`.
    pub(super) fn declare(&mut self, pattern: &ast::Expr) {
        match pattern {
            ast::Expr::Var { span, .. } if span.text() != WILDCARD => {
                self.declared.insert(span.text().into());
                self.bound.insert(span.text().into());
            }
            ast::Expr::Var { .. } => {}
            ast::Expr::Array { items, .. } => items.iter().for_each(|item| self.declare(item)),
            ast::Expr::Object { fields, .. } => fields.iter().for_each(|(_, key, value)| {
                self.expression(key);
                self.declare(value);
            }),
            other => self.expression(other),
        }
    }

    fn introduce(&mut self, span: &ast::Span) {
        if span.text() != WILDCARD {
            self.declared.insert(span.text().into());
        }
    }

    /// The variables of a pattern may get their value here.
    fn bind(&mut self, pattern: &ast::Expr) {
        if self.negated {
            return;
        }
        match pattern {
            ast::Expr::Var { span, .. } => {
                self.bound.insert(span.text().into());
            }
            ast::Expr::Array { items, .. } | ast::Expr::Set { items, .. } => {
                items.iter().for_each(|item| self.bind(item));
            }
            ast::Expr::Object { fields, .. } => fields.iter().for_each(|(_, key, value)| {
                self.bind(key);
                self.bind(value);
            }),
            _ => {}
        }
    }
}

fn innermost(path: &ast::Expr) -> &ast::Expr {
    match path {
        ast::Expr::RefDot { refr, .. } | ast::Expr::RefBrack { refr, .. } => innermost(refr),
        other => other,
    }
}
