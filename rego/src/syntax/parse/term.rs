//! Terms without operators: constants, variables, references, calls, parentheses.

use super::{
    super::{
        ast::{TermId, Terms, Value},
        names::{Name, Origin},
        position::Offset,
        token::Kind,
    },
    Memo, Parser, SHORT,
};

impl Parser<'_> {
    /// Reads a term, or looks up what reading it here gave before.
    pub(super) fn read_term(&mut self) -> Option<TermId> {
        let key = (self.at, self.kind);
        if let Some(memo) = self.memos.get(&key) {
            self.at = memo.at;
            self.kind = memo.kind;
            self.errors.extend_from_slice(&memo.errors);
            return memo.term;
        }
        if !self.enter() {
            return None;
        }
        let (start, errors) = (self.at, self.errors.len());
        let term = self.read_fresh_term();
        self.leave();
        if self.at - start >= SHORT || term.is_none() {
            let errors = self.errors.get(errors..).unwrap_or_default().into();
            self.memos.insert(key, Memo { term, at: self.at, kind: self.kind, errors });
        }
        term
    }

    fn read_fresh_term(&mut self) -> Option<TermId> {
        let at = self.offset();
        match self.kind {
            Kind::Null => self.constant(Value::Null, at),
            Kind::True => self.constant(Value::Boolean(true), at),
            Kind::False => self.constant(Value::Boolean(false), at),
            Kind::String => {
                let name = self.token().name;
                self.constant(Value::String(name), at)
            }
            Kind::Dot | Kind::Number => self.number(at),
            Kind::Minus => self.minus(at),
            Kind::Identifier | Kind::Contains => {
                let variable = self.variable();
                self.finish_term(variable)
            }
            Kind::LogicalAnd | Kind::LogicalOr if self.call_follows() => {
                let variable = self.variable();
                self.finish_term(variable)
            }
            Kind::TemplatePart | Kind::TemplateEnd => {
                let template = self.template(at)?;
                self.finish_term(template)
            }
            Kind::LeftBracket => {
                let array = self.array(at)?;
                self.finish_term(array)
            }
            Kind::LeftBrace => {
                let collection = self.set_or_object(at)?;
                self.finish_term(collection)
            }
            Kind::LeftParenthesis => self.parenthesised(),
            _ => {
                self.unexpected("");
                None
            }
        }
    }

    fn constant(&mut self, value: Value, at: Offset) -> Option<TermId> {
        let term = self.leaf(value, at);
        self.finish_term(term)
    }

    /// `and(x, y)`: where a term is expected the word is a function.
    fn call_follows(&self) -> bool {
        let next = self.token_at(self.at + 1);
        !next.spaced && next.kind == Kind::LeftParenthesis
    }

    /// The variable that the current token names. Each `_` is one of its own.
    pub(super) fn variable(&mut self) -> TermId {
        let name = match self.token().name {
            Name::WILDCARD => self.names.fresh(Name::WILDCARD, Origin::Wildcard),
            name => name,
        };
        let at = self.offset();
        self.leaf(Value::Var(name), at)
    }

    fn minus(&mut self, at: Offset) -> Option<TermId> {
        let before = self.save();
        self.advance();
        if !matches!(self.kind, Kind::Identifier | Kind::Contains) {
            self.restore(before);
            return self.number(at);
        }
        let variable = self.variable();
        let reference = self.finish_term(variable)?;
        let zero = self.leaf(Value::Number(Name::ZERO), at);
        let operator = self.path_of(Name::MINUS, at);
        let call = self.tree.add_terms(&[operator, zero, reference]);
        self.term(Value::Call(call), at)
    }

    fn parenthesised(&mut self) -> Option<TermId> {
        self.advance();
        let inner = self.infix()?;
        if self.kind != Kind::RightParenthesis {
            self.unexpected("`)`");
            return None;
        }
        self.finish_term(inner)
    }

    /// Steps over the last token of a term, and reads the reference or call that it begins, if it does.
    pub(super) fn finish_term(&mut self, head: TermId) -> Option<TermId> {
        self.advance();
        if !self.token().spaced && matches!(self.kind, Kind::LeftParenthesis | Kind::Dot | Kind::LeftBracket)
        {
            return self.reference(head);
        }
        self.document(head)
    }

    /// `data` and `input` alone are references of one step.
    pub(super) fn document(&mut self, head: TermId) -> Option<TermId> {
        match self.value_of(head) {
            Value::Var(Name::DATA | Name::INPUT) => {
                let path = self.tree.add_terms(&[head]);
                let at = self.term_of(head).at;
                self.term(Value::Ref(path), at)
            }
            _ => Some(head),
        }
    }

    /// The steps after the first term of a reference, and what it calls.
    pub(super) fn reference(&mut self, head: TermId) -> Option<TermId> {
        if !self.enter() {
            return None;
        }
        let before = self.open_terms.len();
        let term = self.reference_steps(head, before);
        self.open_terms.truncate(before);
        self.leave();
        term
    }

    fn reference_steps(&mut self, head: TermId, before: usize) -> Option<TermId> {
        let at = self.term_of(head).at;
        if let Some(what) = self.cannot_begin_reference(head) {
            self.error(at.0, format!("{what} cannot begin a reference"));
            self.suggest("give it a name by `:=` and refer to that");
        }
        self.open_terms.push(head);
        loop {
            match self.kind {
                _ if self.token().spaced && self.open_terms.len() > before + 1 => break,
                Kind::Dot => self.dot_step()?,
                Kind::LeftBracket => self.bracket_step()?,
                Kind::LeftParenthesis => {
                    let path = self.close_terms(before);
                    let operator = self.term(Value::Ref(path), at)?;
                    let call = self.call_arguments(operator, at)?;
                    if self.token().spaced || !matches!(self.kind, Kind::Dot | Kind::LeftBracket) {
                        return Some(call);
                    }
                    // The value of a call begins another reference.
                    self.open_terms.push(call);
                }
                _ => break,
            }
        }
        let path = self.close_terms(before);
        self.term(Value::Ref(path), at)
    }

    fn cannot_begin_reference(&self, head: TermId) -> Option<&'static str> {
        Some(match self.value_of(head) {
            Value::Null => "null",
            Value::Boolean(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Ref(_) => "a reference in parentheses",
            Value::Template(_) => "a template string",
            _ => return None,
        })
    }

    fn dot_step(&mut self) -> Option<()> {
        self.advance();
        if self.token().spaced || !(self.kind == Kind::Identifier || self.is_reference_keyword()) {
            match self.token().spaced {
                true => self.error(self.token().start, "no space may stand after the `.` of a reference"),
                false => self.unexpected("a name after `.`"),
            }
            return None;
        }
        let (name, at) = (self.token().name, self.offset());
        let step = self.leaf(Value::String(name), at);
        self.open_terms.push(step);
        self.advance();
        Some(())
    }

    fn bracket_step(&mut self) -> Option<()> {
        self.advance();
        let step = self.infix()?;
        if self.kind != Kind::RightBracket {
            self.unexpected("`]`");
            return None;
        }
        self.open_terms.push(step);
        self.advance();
        Some(())
    }

    /// From `(` to behind `)`.
    fn call_arguments(&mut self, operator: TermId, at: Offset) -> Option<TermId> {
        self.advance();
        if self.kind == Kind::RightParenthesis {
            self.advance();
            return match self.is_set_constructor(operator) {
                true => {
                    let empty = self.tree.add_terms(&[]);
                    self.term(Value::Set(empty), at)
                }
                false => {
                    let call = self.tree.add_terms(&[operator]);
                    self.term(Value::Call(call), at)
                }
            };
        }
        let call = self.terms_until(Kind::RightParenthesis, Some(operator))?;
        self.advance();
        self.term(Value::Call(call), at)
    }

    fn is_set_constructor(&self, operator: TermId) -> bool {
        match self.value_of(operator) {
            Value::Ref(path) => path.len() == 1 && self.tree.root(path) == Some(Name::SET),
            _ => false,
        }
    }

    /// Makes the terms that were opened since `before` a list of the tree.
    pub(super) fn close_terms(&mut self, before: usize) -> Terms {
        let list = self.tree.add_terms(self.open_terms.get(before..).unwrap_or_default());
        self.open_terms.truncate(before);
        list
    }
}
