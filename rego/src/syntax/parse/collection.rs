//! Arrays, sets, objects and comprehensions.
//!
//! `{a | b}` is a comprehension before it is a set with a union in it: only when what follows the bar is no body, and
//! a comma comes next, is it read once more as elements.

use super::{
    super::{
        ast::{TermId, Terms, Value},
        position::Offset,
        token::Kind,
    },
    Parser, State,
};

impl Parser<'_> {
    /// From `[` to the closing `]`, which stays the current token.
    pub(super) fn array(&mut self, at: Offset) -> Option<TermId> {
        self.advance();
        if self.kind == Kind::RightBracket {
            let empty = self.tree.add_terms(&[]);
            return self.term(Value::Array(empty), at);
        }
        let may_comprehend = self.no_leading_comma();
        let elements = self.save();
        let head = self.read_term()?;
        match self.kind {
            Kind::RightBracket => {
                let one = self.tree.add_terms(&[head]);
                return self.term(Value::Array(one), at);
            }
            Kind::Comma => {
                self.advance();
                let list = self.terms_until(Kind::RightBracket, Some(head))?;
                return self.term(Value::Array(list), at);
            }
            Kind::Bar if may_comprehend => {
                self.advance();
                if let Some(body) = self.body(Kind::RightBracket) {
                    return self.term(Value::ArrayComprehension { head, body }, at);
                }
                if self.kind != Kind::Comma {
                    return None;
                }
            }
            _ => {}
        }
        self.restore(elements);
        let list = self.terms_until(Kind::RightBracket, None)?;
        self.term(Value::Array(list), at)
    }

    /// From `{` to the closing `}`, which stays the current token.
    pub(super) fn set_or_object(&mut self, at: Offset) -> Option<TermId> {
        self.advance();
        if self.kind == Kind::RightBrace {
            let empty = self.tree.add_terms(&[]);
            return self.term(Value::Object(empty), at);
        }
        let may_comprehend = self.no_leading_comma();
        let elements = self.save();
        let head = self.read_term()?;
        match self.kind {
            Kind::Bar if may_comprehend => return self.set(elements, head, true, at),
            Kind::RightBrace | Kind::Comma => return self.set(elements, head, may_comprehend, at),
            Kind::Colon => return self.object(head, may_comprehend, at),
            _ => {}
        }
        self.restore(elements);
        let head = self.infix_in_list()?;
        match self.kind {
            Kind::RightBrace | Kind::Comma => self.set(elements, head, false, at),
            Kind::Colon => self.object(head, may_comprehend, at),
            _ => {
                self.unexpected("`,` or `}`");
                None
            }
        }
    }

    /// A comma before the first element is passed over, as OPA does; then it is no comprehension.
    fn no_leading_comma(&mut self) -> bool {
        let comma = self.kind == Kind::Comma;
        if comma {
            self.advance();
        }
        !comma
    }

    fn set(&mut self, elements: State, head: TermId, may_comprehend: bool, at: Offset) -> Option<TermId> {
        let list = match self.kind {
            Kind::RightBrace => self.tree.add_terms(&[head]),
            Kind::Comma => {
                self.advance();
                self.terms_until(Kind::RightBrace, Some(head))?
            }
            Kind::Bar => {
                if may_comprehend {
                    self.advance();
                    if let Some(body) = self.body(Kind::RightBrace) {
                        return self.term(Value::SetComprehension { head, body }, at);
                    }
                    if self.kind != Kind::Comma {
                        return None;
                    }
                }
                self.restore(elements);
                self.terms_until(Kind::RightBrace, None)?
            }
            _ => return None,
        };
        self.term(Value::Set(list), at)
    }

    /// From the first colon on.
    fn object(&mut self, key: TermId, may_comprehend: bool, at: Offset) -> Option<TermId> {
        self.advance();
        let first = self.save();
        let value = self.read_term()?;
        if may_comprehend {
            match self.kind {
                Kind::RightBrace | Kind::Comma => return self.finish_object(key, value, true, at),
                Kind::Bar => {
                    if let Some(term) = self.finish_object(key, value, true, at) {
                        return Some(term);
                    }
                }
                _ => {}
            }
        }
        self.restore(first);
        let value = self.infix_in_list()?;
        match self.kind {
            Kind::RightBrace | Kind::Comma => self.finish_object(key, value, false, at),
            _ => {
                self.unexpected("`,` or `}`");
                None
            }
        }
    }

    fn finish_object(
        &mut self,
        key: TermId,
        value: TermId,
        may_comprehend: bool,
        at: Offset,
    ) -> Option<TermId> {
        match self.kind {
            Kind::RightBrace => {
                let pair = self.tree.add_terms(&[key, value]);
                self.term(Value::Object(pair), at)
            }
            Kind::Comma => {
                self.advance();
                let pairs = self.pairs(key, value)?;
                self.term(Value::Object(pairs), at)
            }
            Kind::Bar if may_comprehend => {
                self.advance();
                let body = self.body(Kind::RightBrace)?;
                self.term(Value::ObjectComprehension { key, value, body }, at)
            }
            _ => {
                self.unexpected("`,` or `}`");
                None
            }
        }
    }

    fn pairs(&mut self, key: TermId, value: TermId) -> Option<Terms> {
        let before = self.open_terms.len();
        self.open_terms.extend([key, value]);
        let whole = self.read_pairs();
        let list = self.close_terms(before);
        whole.map(|()| list)
    }

    fn read_pairs(&mut self) -> Option<()> {
        while self.kind != Kind::RightBrace {
            let key = self.infix_in_list()?;
            if self.kind != Kind::Colon {
                self.unexpected("`:`");
                return None;
            }
            self.advance();
            let value = self.infix_in_list()?;
            self.open_terms.extend([key, value]);
            self.separator(Kind::RightBrace, "`,` or `}`")?;
        }
        Some(())
    }

    /// Terms up to the closing token, which stays the current one; a comma may stand before it.
    pub(super) fn terms_until(&mut self, end: Kind, first: Option<TermId>) -> Option<Terms> {
        let before = self.open_terms.len();
        self.open_terms.extend(first);
        let whole = self.read_terms(end);
        let list = self.close_terms(before);
        whole.map(|()| list)
    }

    fn read_terms(&mut self, end: Kind) -> Option<()> {
        let wanted = match end {
            Kind::RightBracket => "`,` or `]`",
            Kind::RightParenthesis => "`,` or `)`",
            _ => "`,` or `}`",
        };
        // Where elements are read once more after a comprehension failed, there is at least one.
        while self.kind != end {
            let term = self.infix_in_list()?;
            self.open_terms.push(term);
            self.separator(end, wanted)?;
        }
        Some(())
    }

    fn separator(&mut self, end: Kind, wanted: &'static str) -> Option<()> {
        match self.kind {
            Kind::Comma => self.advance(),
            kind if kind == end => {}
            _ => {
                self.unexpected(wanted);
                return None;
            }
        }
        Some(())
    }
}
