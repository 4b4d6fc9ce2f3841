//! Bodies and their statements.

use super::{
    super::{
        ast::{Body, ExpressionId, ExpressionKind, TermId, Terms, Value, With, Withs},
        names::Name,
        position::Offset,
        token::Kind,
    },
    Parser,
};

impl Parser<'_> {
    /// The statements up to `end`, which stays the current token.
    pub(super) fn body(&mut self, end: Kind) -> Option<Body> {
        if !self.enter() {
            return None;
        }
        let body = self.query(false, end);
        self.leave();
        body
    }

    /// Statements; with `one` only as many as semicolons join.
    pub(super) fn query(&mut self, one: bool, end: Kind) -> Option<Body> {
        if self.kind == end {
            self.error(self.token().start, "a body is empty");
            return None;
        }
        let before = self.open_expressions.len();
        let whole = self.statements(one, end);
        let body = self.tree.add_body(self.open_expressions.get(before..).unwrap_or_default());
        self.open_expressions.truncate(before);
        whole.map(|()| body)
    }

    fn statements(&mut self, one: bool, end: Kind) -> Option<()> {
        loop {
            let statement = self.literal()?;
            self.open_expressions.push(statement);
            if self.kind == Kind::Semicolon {
                self.advance();
                continue;
            }
            if self.kind == end || one {
                return Some(());
            }
            if !self.token().new_line {
                if self.errors.is_empty() {
                    self.unexpected("a new line, `;` or the end of the body");
                    self.suggest_import();
                }
                return None;
            }
        }
    }

    /// A word that only an import would make an operator.
    fn suggest_import(&mut self) {
        match (self.kind, self.token().name) {
            (Kind::Identifier, Name::INTERSECTION) if self.language.keyword_and => {
                self.suggest("`import future.keywords.and` makes `and` an operator");
            }
            (Kind::Identifier, Name::UNION) if self.language.keyword_or => {
                self.suggest("`import future.keywords.or` makes `or` an operator");
            }
            _ => {}
        }
    }

    /// One statement of a body.
    pub(super) fn literal(&mut self) -> Option<ExpressionId> {
        if self.logical_keywords()
            && let Some(found) = self.logical_literal()
        {
            return found;
        }
        if self.keyword_as_name() {
            return self.literal_expression(None);
        }
        let not = (self.kind == Kind::Not && !self.reference_goes_on()).then(|| self.offset());
        if let Some(at) = not {
            self.advance();
            if self.not_bodies && self.kind == Kind::LeftBrace {
                let not = self.not_body(at)?;
                return self.fold_logical(not, at);
            }
        }
        match self.kind {
            Kind::Some | Kind::Every if not.is_some() => {
                self.error(self.token().start, "`some` and `every` cannot stand after `not`");
                self.suggest("put them into a rule of its own and negate that");
                None
            }
            Kind::Some => self.some(),
            Kind::Every => self.every(),
            _ => self.literal_expression(not),
        }
    }

    fn literal_expression(&mut self, not: Option<Offset>) -> Option<ExpressionId> {
        if let Some(at) = not
            && self.not_bodies
            && self.kind == Kind::LeftParenthesis
            && let Some(group) = self.group(true)
        {
            let (body, explicit) = group?;
            let not = self.expression(ExpressionKind::Not { body, explicit }, at)?;
            return self.fold_logical(not, at);
        }
        let brace = self.kind == Kind::LeftBrace && not.is_none();
        let mut statement = self.plain_expression()?;
        let with_at = (self.kind == Kind::With).then(|| self.token().start);
        let withs = self.modifiers()?;
        if let Some(at) = not {
            statement = self.negate(statement, at)?;
        }
        self.attach(statement, withs);
        if !matches!(self.kind, Kind::LogicalAnd | Kind::LogicalOr) {
            return Some(statement);
        }
        if let Some(at) = with_at {
            self.error(at, "`with` cannot stand on one operand of `and` or `or`");
            self.suggest("put the operand into parentheses, or move the `with` behind the whole expression");
            return None;
        }
        if brace {
            self.refuse_brace_operand(statement);
            return None;
        }
        self.logical(statement)
    }

    fn negate(&mut self, statement: ExpressionId, at: Offset) -> Option<ExpressionId> {
        if self.not_bodies {
            let body = self.tree.add_body(&[statement]);
            return self.expression(ExpressionKind::Not { body, explicit: false }, at);
        }
        if let Some(expression) = self.tree.expression_mut(statement) {
            expression.negated = true;
            expression.at = at;
        }
        Some(statement)
    }

    /// A term or a call, with `=` or `:=`.
    pub(super) fn plain_expression(&mut self) -> Option<ExpressionId> {
        let at = self.offset();
        let left = self.infix()?;
        if let Some(function) =
            self.kind.function().filter(|_| matches!(self.kind, Kind::Assign | Kind::Unify))
        {
            let operator = self.path_of(function, self.offset());
            self.advance();
            let right = self.infix()?;
            let call = self.tree.add_terms(&[operator, left, right]);
            return self.expression(ExpressionKind::Call(call), at);
        }
        let kind = match self.value_of(left) {
            Value::Call(call) => ExpressionKind::Call(call),
            _ => ExpressionKind::Term(left),
        };
        self.expression(kind, at)
    }

    /// `with … as …`, as often as it is written.
    pub(super) fn modifiers(&mut self) -> Option<Withs> {
        let mut withs = Vec::new();
        while self.kind == Kind::With {
            let at = self.offset();
            self.advance();
            if self.kind != Kind::Identifier {
                self.unexpected("the name of what `with` replaces");
                return None;
            }
            let target = self.read_term()?;
            if !matches!(self.value_of(target), Value::Ref(_) | Value::Var(_)) {
                self.error(at.0, "`with` replaces documents and functions by name");
            }
            if self.kind != Kind::As {
                self.unexpected("`as`");
                return None;
            }
            self.advance();
            let value = self.infix()?;
            withs.push(With { target, value, at });
        }
        Some(self.tree.add_withs(&withs))
    }

    pub(super) fn attach(&mut self, statement: ExpressionId, withs: Withs) {
        let depth =
            self.tree.withs(withs).iter().map(|with| self.depth(with.target).max(self.depth(with.value)));
        let depth = depth.max().unwrap_or_default();
        if let Some(known) = self.expression_depths.get_mut(statement.0 as usize) {
            *known = (*known).max(depth.saturating_add(1));
        }
        if let Some(expression) = self.tree.expression_mut(statement).filter(|_| !withs.is_empty()) {
            expression.withs = withs;
        }
    }

    fn some(&mut self) -> Option<ExpressionId> {
        let at = self.offset();
        let before = self.save();
        self.advance();
        if let Some(term) = self.infix()
            && let Value::Call(call) = self.value_of(term)
        {
            if self.membership_arity(call).is_none() {
                self.unexpected("`x in xs` or `x, y in xs` after `some`");
                return None;
            }
            let declared = self.tree.add_terms(&[term]);
            let statement = self.expression(ExpressionKind::Some(declared), at)?;
            let withs = self.modifiers()?;
            self.attach(statement, withs);
            return Some(statement);
        }
        self.restore(before);
        let before = self.open_terms.len();
        let whole = self.declared_variables();
        let declared = self.close_terms(before);
        whole?;
        self.expression(ExpressionKind::Some(declared), at)
    }

    fn declared_variables(&mut self) -> Option<()> {
        loop {
            self.advance();
            if self.kind != Kind::Identifier {
                self.unexpected("the name of a variable");
                return None;
            }
            let variable = self.variable();
            self.open_terms.push(variable);
            self.advance();
            if self.kind != Kind::Comma {
                return Some(());
            }
        }
    }

    /// With how many terms on the left a call is one of `in`, if it is.
    fn membership_arity(&self, call: Terms) -> Option<usize> {
        let path = self.tree.operator(call)?;
        let [_, function] = self.tree.terms(path) else { return None };
        if self.tree.root(path) != Some(Name::INTERNAL) {
            return None;
        }
        match (self.value_of(*function), call.len()) {
            (Value::String(Name::MEMBER), 3) => Some(1),
            (Value::String(Name::MEMBER_WITH_KEY), 4) => Some(2),
            _ => None,
        }
    }

    fn every(&mut self) -> Option<ExpressionId> {
        const WANTED: &str = "`x in xs { … }` or `x, y in xs { … }` after `every`";
        let at = self.offset();
        self.advance();
        let term = self.infix()?;
        let call = match self.value_of(term) {
            Value::Call(call) if self.membership_arity(call).is_some() => call,
            _ => {
                self.unexpected(WANTED);
                return None;
            }
        };
        let (key, value, domain) = match self.tree.arguments(call) {
            [value, domain] => (None, *value, *domain),
            [key, value, domain] => (Some(*key), *value, *domain),
            _ => return None,
        };
        for variable in key.into_iter().chain([value]) {
            if self.tree.var(variable).is_none() {
                let at = self.term_of(variable).at.0;
                self.error(at, "only variables can stand between `every` and `in`");
                return None;
            }
        }
        self.every_body(at, (key, value, domain))
    }

    fn every_body(
        &mut self,
        at: Offset,
        (key, value, domain): (Option<TermId>, TermId, TermId),
    ) -> Option<ExpressionId> {
        if self.kind != Kind::LeftBrace {
            self.unexpected("the body of `every`");
            return None;
        }
        self.advance();
        let body = self.body(Kind::RightBrace)?;
        self.advance();
        let statement = self.expression(ExpressionKind::Every { key, value, domain, body }, at)?;
        let withs = self.modifiers()?;
        self.attach(statement, withs);
        Some(statement)
    }
}
