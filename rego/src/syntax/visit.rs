//! Looking through trees. A tree is at most [`MAX_DEPTH`](super::MAX_DEPTH) deep, so all of it recurses.

use std::fmt::Write as _;

use super::{
    ast::{Body, Expression, ExpressionId, ExpressionKind, Part, TermId, Terms, Tree, Value, With, Withs},
    names::{Name, Names},
};

/// Something in a tree.
#[derive(Debug, Clone, Copy)]
pub enum Node {
    /// A term.
    Term(TermId),
    /// A statement.
    Expression(ExpressionId),
    /// A modifier.
    With(With),
}

impl Tree {
    /// Shows `seen` a term and all that is in it, from outside to inside. Where `seen` answers false it looks no
    /// further inside.
    pub fn visit_term(&self, id: TermId, seen: &mut impl FnMut(Node) -> bool) {
        if !seen(Node::Term(id)) {
            return;
        }
        match self.value(id) {
            Value::Null | Value::Boolean(_) | Value::Number(_) | Value::String(_) | Value::Var(_) => {}
            Value::Ref(list)
            | Value::Array(list)
            | Value::Set(list)
            | Value::Object(list)
            | Value::Call(list) => {
                self.visit_terms(list, seen);
            }
            Value::ArrayComprehension { head, body } | Value::SetComprehension { head, body } => {
                self.visit_term(head, seen);
                self.visit_body(body, seen);
            }
            Value::ObjectComprehension { key, value, body } => {
                self.visit_term(key, seen);
                self.visit_term(value, seen);
                self.visit_body(body, seen);
            }
            Value::Template(parts) => {
                for part in self.parts(parts) {
                    match part {
                        Part::Term(term) => self.visit_term(*term, seen),
                        Part::Expression(expression) => self.visit_expression(*expression, seen),
                    }
                }
            }
        }
    }

    /// Shows `seen` each term of a list and all that is in it.
    pub fn visit_terms(&self, list: Terms, seen: &mut impl FnMut(Node) -> bool) {
        for &term in self.terms(list) {
            self.visit_term(term, seen);
        }
    }

    /// Shows `seen` each statement of a body and all that is in it.
    pub fn visit_body(&self, body: Body, seen: &mut impl FnMut(Node) -> bool) {
        for &expression in self.body(body) {
            self.visit_expression(expression, seen);
        }
    }

    /// Shows `seen` a statement and all that is in it.
    pub fn visit_expression(&self, id: ExpressionId, seen: &mut impl FnMut(Node) -> bool) {
        if !seen(Node::Expression(id)) {
            return;
        }
        let Expression { kind, withs, .. } = self.expression(id);
        match kind {
            ExpressionKind::Term(term) => self.visit_term(term, seen),
            ExpressionKind::Call(list) | ExpressionKind::Some(list) => self.visit_terms(list, seen),
            ExpressionKind::Every { key, value, domain, body } => {
                for term in key.into_iter().chain([value, domain]) {
                    self.visit_term(term, seen);
                }
                self.visit_body(body, seen);
            }
            ExpressionKind::Not { body, .. } => self.visit_body(body, seen),
            ExpressionKind::And(sides) | ExpressionKind::Or(sides) => {
                self.visit_body(sides.left, seen);
                self.visit_body(sides.right, seen);
            }
        }
        self.visit_withs(withs, seen);
    }

    fn visit_withs(&self, withs: Withs, seen: &mut impl FnMut(Node) -> bool) {
        for &with in self.withs(withs) {
            if seen(Node::With(with)) {
                self.visit_term(with.target, seen);
                self.visit_term(with.value, seen);
            }
        }
    }

    /// Whether a term has one value whatever happens: no variables but the first word of references.
    #[must_use]
    pub fn is_ground(&self, id: TermId) -> bool {
        match self.value(id) {
            Value::Null | Value::Boolean(_) | Value::Number(_) | Value::String(_) => true,
            Value::Var(_) | Value::Template(_) => false,
            Value::Ref(path) => self.is_ground_path(path),
            Value::Array(list) | Value::Set(list) | Value::Object(list) | Value::Call(list) => {
                self.terms(list).iter().all(|&term| self.is_ground(term))
            }
            Value::ArrayComprehension { head, body } | Value::SetComprehension { head, body } => {
                self.is_ground(head) && self.is_ground_body(body)
            }
            Value::ObjectComprehension { key, value, body } => {
                self.is_ground(key) && self.is_ground(value) && self.is_ground_body(body)
            }
        }
    }

    /// Whether the steps of a path after its first are ground.
    #[must_use]
    pub fn is_ground_path(&self, path: Terms) -> bool {
        self.terms(path).iter().skip(1).all(|&step| self.is_ground(step))
    }

    fn is_ground_body(&self, body: Body) -> bool {
        self.body(body).iter().all(|&expression| match self.expression(expression).kind {
            ExpressionKind::Term(term) => self.is_ground(term),
            ExpressionKind::Call(list) => self.terms(list).iter().skip(1).all(|&term| self.is_ground(term)),
            _ => false,
        })
    }

    /// How many steps of a path come before its first variable step.
    #[must_use]
    pub fn ground_prefix(&self, path: Terms) -> usize {
        let steps = self.terms(path);
        steps.iter().skip(1).position(|&step| !self.is_ground(step)).map_or(steps.len(), |at| at + 1)
    }

    /// Whether a term is a constant: no variables, references, calls or comprehensions.
    #[must_use]
    pub fn is_constant(&self, id: TermId) -> bool {
        match self.value(id) {
            Value::Null | Value::Boolean(_) | Value::Number(_) | Value::String(_) => true,
            Value::Array(list) | Value::Set(list) | Value::Object(list) => {
                self.terms(list).iter().all(|&term| self.is_constant(term))
            }
            Value::Var(_) | Value::Ref(_) | Value::Call(_) => false,
            Value::ArrayComprehension { .. }
            | Value::SetComprehension { .. }
            | Value::ObjectComprehension { .. } => false,
            Value::Template(parts) => self.parts(parts).iter().all(|part| matches!(part, Part::Term(_))),
        }
    }

    /// Whether a term is `null`, a boolean, a number or a string.
    #[must_use]
    pub fn is_scalar(&self, id: TermId) -> bool {
        matches!(self.value(id), Value::Null | Value::Boolean(_) | Value::Number(_) | Value::String(_))
    }

    /// What keeps a term from being constant outside its comprehensions.
    pub(crate) fn not_constant(&self, id: TermId) -> Option<&'static str> {
        let mut found = None;
        self.visit_term(id, &mut |node| {
            let Node::Term(term) = node else { return found.is_none() };
            found = found.or(match self.value(term) {
                Value::Var(_) => Some("a variable"),
                Value::Ref(_) => Some("a reference"),
                Value::Call(_) => Some("a call"),
                _ => None,
            });
            let closure = matches!(
                self.value(term),
                Value::ArrayComprehension { .. }
                    | Value::SetComprehension { .. }
                    | Value::ObjectComprehension { .. }
            );
            found.is_none() && !closure
        });
        found
    }

    /// A path as it is written, such as `io.jwt.decode` or `data.a["b c"][x]`.
    #[must_use]
    pub fn dotted(&self, path: Terms, names: &Names) -> String {
        let mut text = String::new();
        for (index, &step) in self.terms(path).iter().enumerate() {
            match self.value(step) {
                Value::Var(name) if index == 0 => text.push_str(names.text(name)),
                Value::String(name) if is_word(names.text(name)) => {
                    text.push('.');
                    text.push_str(names.text(name));
                }
                _ => {
                    text.push('[');
                    self.write_term(&mut text, step, names);
                    text.push(']');
                }
            }
        }
        text
    }

    /// A term in few words: what is long is shortened.
    #[must_use]
    pub fn display(&self, id: TermId, names: &Names) -> String {
        let mut text = String::new();
        self.write_term(&mut text, id, names);
        text
    }

    fn write_term(&self, text: &mut String, id: TermId, names: &Names) {
        let written = match self.value(id) {
            Value::Null => write!(text, "null"),
            Value::Boolean(value) => write!(text, "{value}"),
            Value::Number(name) => write!(text, "{}", names.text(name)),
            Value::String(name) => write!(text, "{:?}", names.text(name)),
            Value::Var(name) => write!(text, "{}", names.text(name)),
            Value::Ref(path) => write!(text, "{}", self.dotted(path, names)),
            Value::Array(_) => write!(text, "[…]"),
            Value::Set(list) if list.is_empty() => write!(text, "set()"),
            Value::Set(_) | Value::Object(_) => write!(text, "{{…}}"),
            Value::ArrayComprehension { .. } => write!(text, "[… | …]"),
            Value::SetComprehension { .. } | Value::ObjectComprehension { .. } => write!(text, "{{… | …}}"),
            Value::Call(call) => match self.operator(call) {
                Some(path) => write!(text, "{}(…)", self.dotted(path, names)),
                None => write!(text, "…(…)"),
            },
            Value::Template(_) => write!(text, "$\"…\""),
        };
        debug_assert!(written.is_ok(), "writing to a string does not fail");
    }

    /// The names of a path if it has no other steps, its first word included.
    #[must_use]
    pub fn constant_path(&self, path: Terms) -> Option<Vec<Name>> {
        let step = |(index, &step): (usize, &TermId)| match (index, self.value(step)) {
            (0, Value::Var(name)) | (1.., Value::String(name)) => Some(name),
            _ => None,
        };
        self.terms(path).iter().enumerate().map(step).collect()
    }
}

fn is_word(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|character| character.is_ascii_alphanumeric() || character == '_')
}
