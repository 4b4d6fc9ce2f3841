//! Operators, from `in` (which binds least) to `*`.

use super::{
    super::{
        ast::{TermId, Value},
        names::Name,
        position::Offset,
        token::Kind,
    },
    Parser,
};

/// How strongly an operator binds; `in` is apart, because it takes one or two terms on its left.
const RELATION: u8 = 1;
const STRONGEST: u8 = 5;

fn strength(kind: Kind) -> Option<u8> {
    Some(match kind {
        Kind::Equal | Kind::NotEqual | Kind::Less | Kind::Greater | Kind::AtMost | Kind::AtLeast => RELATION,
        Kind::Bar => 2,
        Kind::Ampersand => 3,
        Kind::Plus | Kind::Minus => 4,
        Kind::Times | Kind::Divide | Kind::Remainder => STRONGEST,
        _ => return None,
    })
}

impl Parser<'_> {
    /// A term with operators, `key, value in xs` included.
    pub(super) fn infix(&mut self) -> Option<TermId> {
        self.membership(true)
    }

    /// A term with operators in a list, where a comma begins the next one.
    pub(super) fn infix_in_list(&mut self) -> Option<TermId> {
        self.membership(false)
    }

    fn membership(&mut self, with_key: bool) -> Option<TermId> {
        if !self.enter() {
            return None;
        }
        let term = self.operators(None, RELATION).and_then(|first| self.memberships(first, with_key));
        self.leave();
        term
    }

    fn memberships(&mut self, mut left: TermId, with_key: bool) -> Option<TermId> {
        loop {
            let pair = if with_key && self.kind == Kind::Comma { self.member_with_key(left)? } else { None };
            let call = match pair {
                Some(call) => call,
                None => {
                    self.keyword_as_name();
                    match self.member(left)? {
                        Some(call) => call,
                        None => return Some(left),
                    }
                }
            };
            if self.kind != Kind::In {
                return Some(call);
            }
            left = call;
        }
    }

    /// `left, value in domain`, or nothing: then the comma is not part of the term. `None` means that it is too deep.
    #[expect(clippy::option_option, reason = "no such call is another answer than a call that is too deep")]
    fn member_with_key(&mut self, key: TermId) -> Option<Option<TermId>> {
        let before = self.save();
        self.advance();
        let value = self.operators(None, RELATION).filter(|_| self.kind == Kind::In);
        if let Some(value) = value {
            let at = self.offset();
            self.advance();
            if let Some(domain) = self.operators(None, RELATION) {
                return self.member_call(Name::MEMBER_WITH_KEY, at, &[key, value, domain]).map(Some);
            }
        }
        self.restore(before);
        Some(None)
    }

    #[expect(clippy::option_option, reason = "no such call is another answer than a call that is too deep")]
    fn member(&mut self, value: TermId) -> Option<Option<TermId>> {
        if self.kind != Kind::In {
            return Some(None);
        }
        let at = self.offset();
        self.advance();
        match self.operators(None, RELATION) {
            Some(domain) => self.member_call(Name::MEMBER, at, &[value, domain]).map(Some),
            None => Some(None),
        }
    }

    fn member_call(&mut self, function: Name, at: Offset, arguments: &[TermId]) -> Option<TermId> {
        let internal = self.leaf(Value::Var(Name::INTERNAL), at);
        let function = self.leaf(Value::String(function), at);
        let path = self.tree.add_terms(&[internal, function]);
        let operator = self.leaf(Value::Ref(path), at);
        self.call(operator, arguments)
    }

    /// Terms joined by operators of at least that strength. A `first` term is one that was read before.
    fn operators(&mut self, first: Option<TermId>, least: u8) -> Option<TermId> {
        let mut left = match first {
            Some(first) => first,
            None => self.read_term()?,
        };
        // The strongest operator that may follow: after `a == b` another `==` may, but no `+`.
        let mut most = STRONGEST;
        while let Some(strength) = strength(self.kind).filter(|strength| (least..=most).contains(strength)) {
            let Some(function) = self.kind.function() else { break };
            let operator = self.path_of(function, self.offset());
            self.advance();
            let right = match strength {
                STRONGEST => self.read_term(),
                _ => self.operators(None, strength + 1),
            };
            // The error is noted; OPA goes on with what it has.
            let Some(right) = right else { return Some(left) };
            left = self.call(operator, &[left, right])?;
            most = strength;
        }
        Some(left)
    }

    /// A call that begins where its first argument does.
    fn call(&mut self, operator: TermId, arguments: &[TermId]) -> Option<TermId> {
        let at = arguments.first().map_or(Offset(0), |&first| self.term_of(first).at);
        let before = self.open_terms.len();
        self.open_terms.push(operator);
        self.open_terms.extend_from_slice(arguments);
        let list = self.close_terms(before);
        self.term(Value::Call(list), at)
    }
}
