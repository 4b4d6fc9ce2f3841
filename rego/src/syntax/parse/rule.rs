//! Rules that are written with `default`, `if`, `contains` or braces. What is written like an expression
//! (`x := 1`) is read as one, and made a rule by [`super::module`].

use super::{
    super::{
        ast::{Body, ExpressionKind, Head, Rule, TermId, Terms, Value},
        names::{Name, Origin},
        position::Offset,
        token::Kind,
    },
    Parser,
};

/// How many tokens of heads may be repeated for further branches of their rules, in a module.
const MAX_REPEATED: usize = 1_000_000;

impl Parser<'_> {
    /// Reads a rule and its `else` branches into `rules`; false when it is none, or when it is wrong.
    pub(super) fn rule(&mut self, rules: &mut Vec<Rule>) -> bool {
        let before = rules.len();
        let read = self.read_rule(rules).is_some();
        if !read {
            rules.truncate(before);
        }
        read
    }

    fn read_rule(&mut self, rules: &mut Vec<Rule>) -> Option<()> {
        let (at, first) = (self.offset(), self.at);
        self.keyword_as_name();
        let is_default = self.kind == Kind::Default;
        if is_default {
            self.advance();
            self.keyword_as_name();
        }
        if self.kind != Kind::Identifier {
            if is_default {
                self.refuse_keyword_name(true);
            }
            return None;
        }
        let mut head = self.head(is_default)?;
        if is_default {
            self.check_default(&head, at)?;
            let body = self.true_body(at);
            rules.push(Rule { head, body, is_default, is_else: false, generated_body: false, at });
            return Some(());
        }
        let has_if = self.kind == Kind::If;
        self.find_key(&mut head, has_if)?;
        let size = self.at - first;
        head.has_if = has_if;
        let body = match self.kind {
            Kind::If => self.if_body()?,
            Kind::LeftBrace => self.braced_body()?,
            _ if head.has_contains => {
                let body = self.true_body(at);
                let at = head.at;
                rules.push(Rule { head, body, is_default, is_else: false, generated_body: true, at });
                return Some(());
            }
            _ => return None,
        };
        rules.push(Rule { head, body, is_default, is_else: false, generated_body: false, at });
        self.branches(&head, size, rules)
    }

    /// A word that cannot name a rule, where a rule follows. `certain` says that nothing but a rule can stand here.
    pub(super) fn refuse_keyword_name(&mut self, certain: bool) -> bool {
        let next = self.token_at(self.at + 1).kind;
        let names_rule = match self.kind {
            _ if certain => self.kind.is_keyword() || matches!(self.kind, Kind::LogicalAnd | Kind::LogicalOr),
            Kind::Every | Kind::If | Kind::In | Kind::Some | Kind::As => {
                matches!(next, Kind::Assign | Kind::Unify | Kind::If | Kind::Contains | Kind::LeftParenthesis)
            }
            Kind::Package | Kind::Import => {
                matches!(next, Kind::Assign | Kind::Unify | Kind::LeftParenthesis)
            }
            Kind::Not | Kind::LogicalAnd | Kind::LogicalOr => {
                matches!(next, Kind::Assign | Kind::Unify | Kind::If | Kind::Contains)
            }
            Kind::Contains => matches!(next, Kind::If | Kind::Contains),
            _ => false,
        };
        if names_rule {
            let name = self.names.text(self.token().name).to_owned();
            self.error(self.token().start, format!("`{name}` is a keyword and cannot be the name of a rule"));
            self.suggest("choose another name");
        }
        names_rule
    }

    fn head(&mut self, is_default: bool) -> Option<Head> {
        let at = self.offset();
        let variable = self.variable();
        let name = self.head_reference(variable)?;
        let (reference, arguments, called) = match self.value_of(name) {
            Value::Var(_) => (self.tree.add_terms(&[name]), Terms::default(), false),
            Value::Ref(path) => (path, Terms::default(), false),
            Value::Call(call) => {
                let (operator, arguments) = self.tree.terms(call).split_first()?;
                let (operator, arguments) = (*operator, arguments.to_vec());
                let Value::Ref(path) = self.value_of(operator) else { return None };
                (path, self.tree.add_terms(&arguments), true)
            }
            _ => return None,
        };
        if self.tree.root(reference).is_none() {
            self.error(at.0, "the name of a rule begins with a name");
            return None;
        }
        let mut head = Head {
            reference,
            arguments,
            key: None,
            value: None,
            generated_value: false,
            assigned: false,
            has_if: false,
            has_contains: false,
            at,
        };
        self.head_value(&mut head, called, is_default)?;
        Some(head)
    }

    /// The steps behind the name of a rule; here space may stand before the first.
    fn head_reference(&mut self, name: TermId) -> Option<TermId> {
        self.advance();
        let next = self.token();
        if !next.spaced && self.kind.function().is_some() && !matches!(self.kind, Kind::Unify | Kind::Assign)
        {
            self.unexpected("");
        }
        match self.kind {
            Kind::LeftParenthesis | Kind::Dot | Kind::LeftBracket => self.reference(name),
            _ => self.document(name),
        }
    }

    fn head_value(&mut self, head: &mut Head, called: bool, is_default: bool) -> Option<()> {
        match self.kind {
            Kind::Contains => {
                if called {
                    self.error(self.token().start, "a function cannot be defined with `contains`");
                    self.suggest("give the function a set as its value");
                }
                self.advance();
                head.key = self.infix();
                if head.key.is_none() {
                    self.unexpected("the element of the set after `contains`");
                }
                head.has_contains = true;
                return Some(());
            }
            Kind::Unify | Kind::Assign => {
                head.assigned = self.kind == Kind::Assign;
                self.advance();
                head.value = self.infix();
                if head.value.is_none() {
                    self.unexpected(if is_default {
                        "the value of the default"
                    } else {
                        "the value of the rule"
                    });
                }
            }
            _ => {}
        }
        if head.value.is_none() && (head.reference.len() != 2 || !head.arguments.is_empty()) {
            head.generated_value = true;
            head.value = Some(self.leaf(Value::Boolean(true), head.at));
        }
        Some(())
    }

    /// Whether the last step of a name like `p[x]` is a key, and of what.
    fn find_key(&mut self, head: &mut Head, has_if: bool) -> Option<()> {
        if head.has_contains || head.reference.len() != 2 {
            return Some(());
        }
        let step = self.tree.nth(head.reference, 1)?;
        let function = !head.arguments.is_empty();
        if has_if {
            let is_reference = matches!(self.value_of(step), Value::Ref(_));
            if !function && (is_reference || !self.tree.is_ground(step)) {
                head.key = Some(step);
            }
            if head.value.is_none() {
                head.generated_value = true;
                head.value = Some(self.leaf(Value::Boolean(true), head.at));
            }
        } else if !function {
            head.key = Some(step);
            if head.value.is_none() {
                let name = self.tree.nth(head.reference, 0)?;
                head.reference = self.tree.add_terms(&[name]);
            }
        }
        Some(())
    }

    /// After `if`: one statement, or a body in braces. A set is never false, so braces that could be one are a body.
    fn if_body(&mut self) -> Option<Body> {
        self.advance();
        let before = self.save();
        let (brace, at) = (self.kind == Kind::LeftBrace, self.token().start);
        if let Some(statement) = self.literal() {
            let is_set = match self.tree.expression(statement).kind {
                ExpressionKind::Term(term) => matches!(self.value_of(term), Value::Set(_)),
                _ => false,
            };
            if !is_set || (!brace && self.language.sets_after_if) {
                return Some(self.tree.add_body(&[statement]));
            }
            if !brace {
                self.error(at, "a set cannot stand after `if`");
                self.suggest("put the statement into braces");
            }
        }
        if !brace {
            return None;
        }
        self.restore(before);
        self.braced_body()
    }

    fn braced_body(&mut self) -> Option<Body> {
        self.advance();
        let body = self.body(Kind::RightBrace)?;
        self.advance();
        Some(body)
    }

    /// `else` branches, or further bodies.
    fn branches(&mut self, head: &Head, size: usize, rules: &mut Vec<Rule>) -> Option<()> {
        if self.kind == Kind::Else && !self.keyword_as_name() {
            if head.reference.len() > 1 && !self.tree.is_ground_path(head.reference) {
                self.error(self.token().start, "a rule with a variable in its name cannot have an `else`");
                return None;
            }
            if head.key.is_some() {
                self.error(
                    self.token().start,
                    "a rule that defines a set or an object cannot have an `else`",
                );
                return None;
            }
            while self.kind == Kind::Else {
                self.repeat(size)?;
                let branch = self.else_branch(head)?;
                let last = branch.generated_body;
                rules.push(branch);
                if last {
                    break;
                }
            }
            if self.kind == Kind::LeftBrace {
                self.unexpected("`else`");
                return None;
            }
        }
        while self.kind == Kind::LeftBrace {
            let at = self.offset();
            self.repeat(size)?;
            let body = self.braced_body()?;
            let head = self.copy_head(head);
            rules.push(Rule { head, body, is_default: false, is_else: false, generated_body: false, at });
        }
        Some(())
    }

    /// Counts the tokens of a head that stands for another branch as well.
    fn repeat(&mut self, size: usize) -> Option<()> {
        self.repeated = self.repeated.saturating_add(size);
        if self.repeated > MAX_REPEATED {
            self.error(self.token().start, "the heads of these rules have too many branches for their size");
            self.suggest("write shorter heads, or fewer branches");
            return None;
        }
        Some(())
    }

    fn else_branch(&mut self, head: &Head) -> Option<Rule> {
        let at = self.offset();
        let mut head = self.copy_head(head);
        (head.at, head.generated_value, head.has_if) = (at, false, false);
        self.advance();
        match self.kind {
            Kind::LeftBrace | Kind::If => {
                head.generated_value = true;
                head.value = Some(self.leaf(Value::Boolean(true), at));
            }
            Kind::Assign | Kind::Unify => {
                head.assigned = self.kind == Kind::Assign;
                self.advance();
                head.value = Some(self.infix()?);
            }
            _ => {
                self.unexpected("`if` or `:=` after `else`");
                return None;
            }
        }
        let mut generated_body = false;
        let body = match self.kind {
            Kind::If => {
                head.has_if = true;
                self.advance();
                match self.kind {
                    Kind::LeftBrace => self.braced_body()?,
                    Kind::End => {
                        self.unexpected("the body of `else`");
                        return None;
                    }
                    _ => {
                        let statement = self.literal()?;
                        self.tree.add_body(&[statement])
                    }
                }
            }
            Kind::LeftBrace => self.braced_body()?,
            _ => {
                generated_body = true;
                self.true_body(at)
            }
        };
        Some(Rule { head, body, is_default: false, is_else: true, generated_body, at })
    }

    /// The same head for another body. Each `_` among its arguments is a variable of its own.
    fn copy_head(&mut self, head: &Head) -> Head {
        let mut arguments = Vec::with_capacity(head.arguments.len());
        for index in 0..head.arguments.len() {
            let Some(argument) = self.tree.nth(head.arguments, index) else { continue };
            let wildcard =
                self.tree.var(argument).is_some_and(|name| self.names.origin(name) == Origin::Wildcard);
            arguments.push(match wildcard {
                true => {
                    let name = self.names.fresh(Name::WILDCARD, Origin::Wildcard);
                    let at = self.term_of(argument).at;
                    self.leaf(Value::Var(name), at)
                }
                false => argument,
            });
        }
        Head { arguments: self.tree.add_terms(&arguments), ..*head }
    }

    fn check_default(&mut self, head: &Head, at: Offset) -> Option<()> {
        let Some(value) = head.value else {
            self.error(at.0, "a default rule has no value");
            self.suggest("write `default name := value`");
            return None;
        };
        if let Some(what) = self.tree.not_constant(value) {
            self.error(at.0, format!("the value of a default rule contains {what}; it must be constant"));
            self.suggest("compute the value in an ordinary rule");
            return None;
        }
        let arguments = self.tree.terms(head.arguments).to_vec();
        let mut seen = Vec::with_capacity(arguments.len());
        for argument in arguments {
            match self.tree.var(argument) {
                Some(name) if seen.contains(&name) => {
                    self.error(at.0, "two arguments of a default function have one name");
                    return None;
                }
                Some(name) => seen.push(name),
                None => {
                    self.error(at.0, "an argument of a default function is not a variable");
                    self.suggest("write `_` for an argument that does not matter");
                    return None;
                }
            }
        }
        Some(())
    }
}
