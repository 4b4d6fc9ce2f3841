//! Whether two statements say the same.

use std::mem::{Discriminant, discriminant};

use super::{
    Name,
    ast::{ExpressionId, ExpressionKind, TermId, Tree, Value},
    visit::Node,
};

/// What a node is by itself; in the order of a visit these tell what a statement says, wherever it stands.
#[derive(PartialEq, Eq)]
enum Piece {
    Statement { kind: Discriminant<ExpressionKind>, negated: bool, length: usize, modifiers: usize },
    Term { kind: Discriminant<Value>, word: Option<Name>, length: usize },
    Modifier,
}

impl Tree {
    /// Whether two statements say the same: the variables are the same ones, and numbers are written alike.
    #[must_use]
    pub fn alike(&self, a: ExpressionId, b: ExpressionId) -> bool {
        let kind = |id| discriminant(&self.expression(id).kind);
        a == b || (kind(a) == kind(b) && self.pieces(a) == self.pieces(b))
    }

    fn pieces(&self, id: ExpressionId) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.visit_expression(id, &mut |node| {
            pieces.push(match node {
                Node::Term(id) => self.piece_of_term(id),
                Node::Expression(id) => self.piece_of_statement(id),
                Node::With(_) => Piece::Modifier,
            });
            true
        });
        pieces
    }

    fn piece_of_statement(&self, id: ExpressionId) -> Piece {
        let expression = self.expression(id);
        let length = match expression.kind {
            ExpressionKind::Term(_) => 1,
            ExpressionKind::Call(list) | ExpressionKind::Some(list) => list.len(),
            // With a key or without it.
            ExpressionKind::Every { key, .. } => usize::from(key.is_some()),
            ExpressionKind::Not { body, .. } => body.len(),
            ExpressionKind::And(sides) | ExpressionKind::Or(sides) => sides.left.len(),
        };
        let kind = discriminant(&expression.kind);
        Piece::Statement { kind, negated: expression.negated, length, modifiers: expression.withs.len() }
    }

    fn piece_of_term(&self, id: TermId) -> Piece {
        let value = self.value(id);
        let (word, length) = match value {
            Value::Boolean(is) => (None, usize::from(is)),
            Value::Number(word) | Value::String(word) | Value::Var(word) => (Some(word), 0),
            Value::Ref(list)
            | Value::Array(list)
            | Value::Set(list)
            | Value::Object(list)
            | Value::Call(list) => (None, list.len()),
            Value::Template(parts) => (None, parts.len()),
            Value::Null
            | Value::ArrayComprehension { .. }
            | Value::SetComprehension { .. }
            | Value::ObjectComprehension { .. } => (None, 0),
        };
        Piece::Term { kind: discriminant(&value), word, length }
    }
}
