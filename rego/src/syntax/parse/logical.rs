//! `and`, `or`, and `not` with a body: the operators between statements.
//!
//! An operand is a statement, a body in braces, or a group in parentheses. Braces that begin an operand hold a body,
//! never a value; parentheses are a group only when an operator stands in or behind them.

use super::{
    super::{
        ast::{Body, ExpressionId, ExpressionKind, Operands},
        names::Name,
        position::Offset,
        token::Kind,
    },
    Parser,
};

/// A body, and whether it stands in braces.
type Operand = (Body, bool);

impl Parser<'_> {
    pub(super) fn logical_keywords(&self) -> bool {
        self.and_keyword || self.or_keyword
    }

    fn at_logical(&self) -> bool {
        matches!(self.kind, Kind::LogicalAnd | Kind::LogicalOr)
    }

    /// A statement that begins with a brace or a parenthesis and is an operand. `None`: it is none, nothing is read.
    #[expect(clippy::option_option, reason = "that it is none is another answer than that it is wrong")]
    pub(super) fn logical_literal(&mut self) -> Option<Option<ExpressionId>> {
        let at = self.offset();
        match self.kind {
            Kind::LeftBrace => {
                let before = self.save();
                self.advance();
                if let Some(body) = self.body(Kind::RightBrace) {
                    self.advance();
                    if self.at_logical() {
                        return Some(self.braced_operand(body, at));
                    }
                }
                self.restore(before);
                None
            }
            Kind::LeftParenthesis => {
                let group = self.group(false)?;
                Some(group.and_then(|(body, explicit)| self.fold_operand((body, explicit), at)))
            }
            _ => None,
        }
    }

    fn braced_operand(&mut self, body: Body, at: Offset) -> Option<ExpressionId> {
        if self.is_ambiguous(body) {
            self.refuse_ambiguous(at);
            return None;
        }
        let statement = self.logical_chain((body, true), at)?;
        self.with_modifiers(statement)
    }

    fn with_modifiers(&mut self, statement: ExpressionId) -> Option<ExpressionId> {
        let withs = self.modifiers()?;
        self.attach(statement, withs);
        Some(statement)
    }

    /// What follows a statement that may be the first operand.
    pub(super) fn fold_logical(&mut self, statement: ExpressionId, at: Offset) -> Option<ExpressionId> {
        let body = self.tree.add_body(&[statement]);
        self.fold_operand((body, false), at)
    }

    fn fold_operand(&mut self, operand: Operand, at: Offset) -> Option<ExpressionId> {
        let statement = match self.at_logical() {
            true => self.logical_chain(operand, at)?,
            false => self.tree.body(operand.0).first().copied()?,
        };
        self.with_modifiers(statement)
    }

    /// The operators after a first operand without braces.
    pub(super) fn logical(&mut self, statement: ExpressionId) -> Option<ExpressionId> {
        let at = self.at_of(statement);
        let body = self.tree.add_body(&[statement]);
        let statement = self.logical_chain((body, false), at)?;
        self.with_modifiers(statement)
    }

    /// `left or … or …`, where `and` binds more strongly.
    fn logical_chain(&mut self, first: Operand, at: Offset) -> Option<ExpressionId> {
        if !self.enter() {
            return None;
        }
        let chain = self.or_chain(first, at);
        self.leave();
        chain
    }

    fn or_chain(&mut self, first: Operand, at: Offset) -> Option<ExpressionId> {
        let mut left = self.and_chain(first, at)?;
        while self.kind == Kind::LogicalOr {
            self.advance();
            let right_at = self.offset();
            let right = self.operand(true)?;
            let right = self.and_chain(right, right_at)?;
            self.refuse_void(left, right);
            left = self.join(ExpressionKind::Or, left, right, at)?;
        }
        self.tree.body(left.0).first().copied()
    }

    fn and_chain(&mut self, mut left: Operand, at: Offset) -> Option<Operand> {
        while self.kind == Kind::LogicalAnd {
            self.advance();
            let right = self.operand(true)?;
            self.refuse_void(left, right);
            left = self.join(ExpressionKind::And, left, right, at)?;
        }
        Some(left)
    }

    fn join(
        &mut self,
        operator: fn(Operands) -> ExpressionKind,
        (left, explicit_left): Operand,
        (right, explicit_right): Operand,
        at: Offset,
    ) -> Option<Operand> {
        let kind = operator(Operands { left, right, explicit_left, explicit_right });
        let statement = self.expression(kind, at)?;
        Some((self.tree.add_body(&[statement]), false))
    }

    /// One operand. `certain` says that it is known to be one, not tried.
    fn operand(&mut self, certain: bool) -> Option<Operand> {
        let at = self.offset();
        if self.kind == Kind::LeftBrace {
            return self.body_operand(certain);
        }
        let not = self.kind == Kind::Not && !self.reference_goes_on();
        if not {
            self.advance();
            if self.not_bodies && self.kind == Kind::LeftBrace {
                let not = self.not_body(at)?;
                return Some((self.tree.add_body(&[not]), false));
            }
        }
        if self.kind == Kind::LeftParenthesis
            && self.logical_keywords()
            && (!not || self.not_bodies)
            && let Some(group) = self.group(true)
        {
            let (body, explicit) = group?;
            if !not {
                return Some((body, explicit));
            }
            let not = self.expression(ExpressionKind::Not { body, explicit }, at)?;
            return Some((self.tree.add_body(&[not]), false));
        }
        let mut statement = self.plain_expression()?;
        if not && self.not_bodies {
            let body = self.tree.add_body(&[statement]);
            statement = self.expression(ExpressionKind::Not { body, explicit: false }, at)?;
        } else if let Some(expression) = self.tree.expression_mut(statement).filter(|_| not) {
            expression.negated = true;
        }
        Some((self.tree.add_body(&[statement]), false))
    }

    fn body_operand(&mut self, certain: bool) -> Option<Operand> {
        let at = self.offset();
        let before = self.save();
        self.advance();
        let empty = self.kind == Kind::RightBrace;
        let Some(body) = self.body(Kind::RightBrace) else {
            if certain && !empty {
                self.refuse_value(before, at, "an operand that begins with a brace is a body, not a value");
            }
            return None;
        };
        self.advance();
        if self.is_ambiguous(body) {
            self.refuse_ambiguous(at);
        }
        Some((body, true))
    }

    /// `{ … }` after `not`.
    pub(super) fn not_body(&mut self, not_at: Offset) -> Option<ExpressionId> {
        let at = self.offset();
        let before = self.save();
        self.advance();
        let empty = self.kind == Kind::RightBrace;
        let Some(body) = self.body(Kind::RightBrace) else {
            if !empty {
                self.refuse_value(before, at, "braces after `not` hold a body, not a value");
            }
            return None;
        };
        self.advance();
        if self.is_ambiguous(body) {
            self.refuse_ambiguous(at);
            return None;
        }
        self.expression(ExpressionKind::Not { body, explicit: true }, not_at)
    }

    /// When braces that are no body are a value, that is the better message.
    fn refuse_value(&mut self, brace: super::State, at: Offset, message: &'static str) {
        let failed = self.save();
        let errors = self.errors.clone();
        self.restore(brace);
        let value = self.infix();
        self.errors = errors;
        self.restore(failed);
        if value.is_some() {
            self.errors.truncate(brace.errors);
            self.error(at.0, message);
            self.suggest("put the value into parentheses");
        }
    }

    pub(super) fn refuse_brace_operand(&mut self, statement: ExpressionId) {
        let at = self.at_of(statement);
        self.error(at.0, "an operand that begins with a brace is a body, not a value");
        self.suggest("put the value into parentheses");
    }

    fn refuse_ambiguous(&mut self, at: Offset) {
        self.error(at.0, "`{ … | … }` is both a body with a union in it and a comprehension");
        self.suggest("put the comprehension, or the union inside the braces, into parentheses");
    }

    /// Whether a body begins with a union that is written `x | y`.
    fn is_ambiguous(&self, body: Body) -> bool {
        let Some(&first) = self.tree.body(body).first() else { return false };
        let statement = self.tree.expression(first);
        let ExpressionKind::Call(call) = statement.kind else { return false };
        if !self.tree.calls(call, Name::UNION) {
            return false;
        }
        let operator = self.tree.nth(call, 0).map(|operator| self.term_of(operator).at);
        let token = |at: Offset| self.tokens.binary_search_by_key(&at.0, |token| token.start).ok();
        let kind = |at: Offset| token(at).map(|index| self.token_at(index).kind);
        operator.and_then(kind) == Some(Kind::Bar) && kind(statement.at) != Some(Kind::LeftParenthesis)
    }

    /// An operand that only prints always holds.
    fn refuse_void(&mut self, left: Operand, right: Operand) {
        for (body, _) in [left, right] {
            let statements = self.tree.body(body);
            let prints = |&id: &ExpressionId| {
                let statement = self.tree.expression(id);
                !statement.negated
                    && matches!(statement.kind, ExpressionKind::Call(call) if self.tree.calls(call, Name::PRINT))
            };
            let only = !statements.is_empty() && statements.iter().all(prints);
            if let Some(&first) = statements.first().filter(|_| only) {
                let at = self.at_of(first);
                self.error(at.0, "an operand of `and` or `or` only prints, so it always holds");
                self.suggest("move `print` out of the operand");
            }
        }
    }

    /// `( … )` around operands. `None`: it is no group, and nothing is read. `operand` says that an operand is
    /// expected, so that a single operand in parentheses is a group as well.
    #[expect(clippy::option_option, reason = "that it is none is another answer than that it is wrong")]
    pub(super) fn group(&mut self, operand: bool) -> Option<Option<Operand>> {
        if !self.enter() {
            return Some(None);
        }
        let group = self.try_group(operand);
        self.leave();
        group
    }

    #[expect(clippy::option_option, reason = "that it is none is another answer than that it is wrong")]
    fn try_group(&mut self, operand: bool) -> Option<Option<Operand>> {
        let before = self.save();
        let at = self.offset();
        self.advance();
        if self.kind == Kind::RightParenthesis {
            if operand {
                self.error(at.0, "a group in parentheses is empty");
                return Some(None);
            }
            self.restore(before);
            return None;
        }
        let inner_at = self.offset();
        let Some(left) = self.operand(false) else {
            self.restore(before);
            return None;
        };
        if self.at_logical() {
            let statement = self.logical_chain(left, inner_at).and_then(|chain| self.with_modifiers(chain));
            let closed = statement.filter(|_| self.close_group());
            return Some(closed.map(|statement| (self.tree.add_body(&[statement]), false)));
        }
        let (body, explicit) = left;
        let only = self.tree.body(body).first().copied().filter(|_| body.len() == 1);
        if let Some(only) = only.filter(|_| self.kind == Kind::With && !explicit) {
            return self.modified_group(only, body, operand, before);
        }
        if explicit {
            self.restore(before);
            self.advance();
            let probe = self.read_term();
            self.restore(before);
            if probe.is_some() {
                return None;
            }
            self.error(at.0, "parentheses cannot hold a body");
            self.suggest("remove the parentheses and keep the braces");
            return Some(None);
        }
        if only.is_some_and(|only| self.is_logical_or_negated(only)) {
            return Some(self.close_group().then_some((body, false)));
        }
        self.restore(before);
        None
    }

    #[expect(clippy::option_option, reason = "that it is none is another answer than that it is wrong")]
    fn modified_group(
        &mut self,
        only: ExpressionId,
        body: Body,
        operand: bool,
        before: super::State,
    ) -> Option<Option<Operand>> {
        let with_at = self.token().start;
        if self.with_modifiers(only).is_none() {
            return Some(None);
        }
        if self.at_logical() {
            self.error(with_at, "`with` cannot stand on one operand of `and` or `or`");
            self.suggest("put the operand into parentheses, or move the `with` behind the whole expression");
            return Some(None);
        }
        if !self.close_group() {
            return Some(None);
        }
        if operand || self.at_logical() {
            return Some(Some((body, false)));
        }
        self.restore(before);
        None
    }

    fn is_logical_or_negated(&self, statement: ExpressionId) -> bool {
        let statement = self.tree.expression(statement);
        let kind = statement.kind;
        statement.negated
            || matches!(kind, ExpressionKind::And(_) | ExpressionKind::Or(_) | ExpressionKind::Not { .. })
    }

    fn close_group(&mut self) -> bool {
        let closes = self.kind == Kind::RightParenthesis;
        match closes {
            true => self.advance(),
            false => self.unexpected("`)` at the end of the group"),
        }
        closes
    }
}
