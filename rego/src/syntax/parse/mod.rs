//! The parser: from tokens to a [`Tree`], in time linear in the text.
//!
//! It accepts what OPA's parser accepts, and that one looks ahead by trying: `{ x | y }` is read as a body, as a
//! comprehension, as a set. A try that fails is taken back ([`Parser::save`], [`Parser::restore`]), errors included;
//! what was found out about a term is kept by where the term begins ([`Memo`]), so no term is read twice and nested
//! tries do not multiply. Terms nest up to [`MAX_DEPTH`], long chains of operators included, so nothing that walks a
//! tree can run out of stack.

mod body;
mod collection;
mod infix;
mod logical;
mod module;
mod number;
mod rule;
mod statement;
mod template;
mod term;

use std::borrow::Cow;

use hashbrown::HashMap;

use super::{
    ast::{Body, Expression, ExpressionId, ExpressionKind, Part, Term, TermId, Terms, Tree, Value},
    lexer::Fault,
    names::{Name, Names},
    position::Offset,
    token::{Kind, Token},
};
use crate::capabilities::OpaVersion;
pub(crate) use module::{Shape, parse, shape_of};

/// How deep terms may lie in one another.
pub const MAX_DEPTH: u16 = 200;

/// What the language of an OPA has beyond Rego v1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one feature that a version has or lacks")]
pub struct Language {
    /// `$"…{x}…"`.
    pub template_strings: bool,
    /// `import future.keywords.not`.
    pub keyword_not: bool,
    /// `not` by `import future.keywords`, without a name.
    pub not_with_all_keywords: bool,
    /// `import future.keywords.and`.
    pub keyword_and: bool,
    /// `import future.keywords.or`.
    pub keyword_or: bool,
    /// `import rego.v2`.
    pub rego_v2: bool,
    /// `if not {x}` and `if set()`.
    pub sets_after_if: bool,
}

impl Language {
    /// Everything that the newest known OPA has.
    pub const NEWEST: Self = Self {
        template_strings: true,
        keyword_not: true,
        not_with_all_keywords: true,
        keyword_and: true,
        keyword_or: true,
        rego_v2: true,
        sets_after_if: true,
    };
}

/// Why a text is not Rego.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) at: u32,
    pub(crate) problem: Problem,
    pub(crate) suggestion: Option<Cow<'static, str>>,
}

/// What is wrong. Most errors are of tries that are taken back, so texts are made late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    Unexpected { found: Kind, wanted: &'static str },
    Text(Cow<'static, str>),
    TooDeep,
}

impl Problem {
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Unexpected { found, wanted: "" } => format!("{} is not expected here", found.describe()),
            Self::Unexpected { found, wanted } => {
                format!("{} stands where {wanted} is expected", found.describe())
            }
            Self::Text(text) => text.to_string(),
            Self::TooDeep => format!("terms lie in one another more than {MAX_DEPTH} deep"),
        }
    }
}

/// Where the parser is.
#[derive(Debug, Clone, Copy)]
struct State {
    at: usize,
    kind: Kind,
    errors: usize,
}

/// What reading the term at a token gave.
#[derive(Debug, Clone)]
struct Memo {
    term: Option<TermId>,
    at: usize,
    kind: Kind,
    errors: Box<[SyntaxError]>,
}

/// Terms of fewer tokens are read again rather than remembered.
const SHORT: usize = 6;

/// Reads tokens into a tree.
pub(crate) struct Parser<'a> {
    tokens: &'a [Token],
    faults: &'a [Fault],
    names: &'a mut Names,
    tree: Tree,
    /// How deep each term and each expression of the tree is.
    term_depths: Vec<u16>,
    expression_depths: Vec<u16>,
    at: usize,
    /// The kind of the current token; a keyword that begins a reference is made a name.
    kind: Kind,
    errors: Vec<SyntaxError>,
    /// By the first token and what it is taken for.
    memos: HashMap<(usize, Kind), Memo>,
    nesting: u16,
    /// How many tokens of heads stand for more than one branch.
    repeated: usize,
    language: Language,
    is_builtin: &'a dyn Fn(&str) -> bool,
    /// `and` is a keyword.
    and_keyword: bool,
    /// `or` is a keyword.
    or_keyword: bool,
    /// `not` takes bodies.
    not_bodies: bool,
    /// Later keywords are names: in the path of an import.
    plain: bool,
    /// Terms and expressions of lists that are not whole yet.
    open_terms: Vec<TermId>,
    open_expressions: Vec<ExpressionId>,
    open_parts: Vec<Part>,
}

impl<'a> Parser<'a> {
    fn new(
        tokens: &'a [Token],
        faults: &'a [Fault],
        names: &'a mut Names,
        language: Language,
        is_builtin: &'a dyn Fn(&str) -> bool,
    ) -> Self {
        let mut parser = Self {
            tokens,
            faults,
            names,
            tree: Tree::default(),
            term_depths: Vec::new(),
            expression_depths: Vec::new(),
            at: 0,
            kind: Kind::End,
            errors: Vec::new(),
            memos: HashMap::new(),
            nesting: 0,
            repeated: 0,
            language,
            is_builtin,
            and_keyword: false,
            or_keyword: false,
            not_bodies: false,
            plain: false,
            open_terms: Vec::new(),
            open_expressions: Vec::new(),
            open_parts: Vec::new(),
        };
        parser.arrive(0);
        parser
    }

    fn token(&self) -> Token {
        self.token_at(self.at)
    }

    fn token_at(&self, at: usize) -> Token {
        const NONE: Token =
            Token { kind: Kind::End, spaced: false, new_line: true, name: Name::EMPTY, start: 0, end: 0 };
        self.tokens.get(at).or(self.tokens.last()).copied().unwrap_or(NONE)
    }

    fn offset(&self) -> Offset {
        Offset(self.token().start)
    }

    /// What a token is where it stands: some words are keywords only after an import.
    fn classify(&self, token: Token) -> Kind {
        match token.kind {
            Kind::Identifier if token.name == Name::INTERSECTION && self.and_keyword && !self.plain => {
                Kind::LogicalAnd
            }
            Kind::Identifier if token.name == Name::UNION && self.or_keyword && !self.plain => {
                Kind::LogicalOr
            }
            Kind::In | Kind::Every | Kind::Contains | Kind::If | Kind::Not if self.plain => Kind::Identifier,
            kind => kind,
        }
    }

    fn advance(&mut self) {
        self.arrive((self.at + 1).min(self.tokens.len().saturating_sub(1)));
    }

    fn arrive(&mut self, at: usize) {
        self.at = at;
        let token = self.token();
        self.kind = self.classify(token);
        if token.kind == Kind::Illegal {
            let fault = self.faults.binary_search_by_key(&token.start, |fault| fault.at).ok();
            let message = fault.and_then(|index| self.faults.get(index)).map_or("", |fault| fault.message);
            self.error(token.start, message);
        }
    }

    /// Whether the next token follows without space and goes on with a reference.
    fn reference_goes_on(&self) -> bool {
        let next = self.token_at(self.at + 1);
        !next.spaced && matches!(next.kind, Kind::Dot | Kind::LeftBracket)
    }

    /// Whether the current token is a word that may be a step of a reference although it is a keyword.
    fn is_reference_keyword(&self) -> bool {
        self.kind.is_keyword() || matches!(self.kind, Kind::LogicalAnd | Kind::LogicalOr)
    }

    /// Makes a keyword that begins a reference, as in `if.x`, a name.
    fn keyword_as_name(&mut self) -> bool {
        let is = self.is_reference_keyword() && self.reference_goes_on();
        if is {
            self.kind = Kind::Identifier;
        }
        is
    }

    fn save(&self) -> State {
        State { at: self.at, kind: self.kind, errors: self.errors.len() }
    }

    fn restore(&mut self, state: State) {
        self.at = state.at;
        self.kind = state.kind;
        self.errors.truncate(state.errors);
    }

    fn push_error(&mut self, at: u32, problem: Problem) {
        self.errors.push(SyntaxError { at, problem, suggestion: None });
    }

    fn error(&mut self, at: u32, message: impl Into<Cow<'static, str>>) {
        self.push_error(at, Problem::Text(message.into()));
    }

    fn suggest(&mut self, suggestion: impl Into<Cow<'static, str>>) {
        if let Some(error) = self.errors.last_mut() {
            error.suggestion = Some(suggestion.into());
        }
    }

    /// What to do about something that a later OPA is the first to have.
    fn suggest_version(&mut self, first: Option<OpaVersion>) {
        if let Some(first) = first {
            self.suggest(first.advice());
        }
    }

    /// The current token is not what the grammar wants. What the lexer says about it was noted on arrival.
    fn unexpected(&mut self, wanted: &'static str) {
        if self.kind != Kind::Illegal {
            self.push_error(self.token().start, Problem::Unexpected { found: self.kind, wanted });
        }
    }

    /// Goes one level down, or says that it is too deep.
    fn enter(&mut self) -> bool {
        let fits = self.nesting < MAX_DEPTH;
        if fits {
            self.nesting += 1;
        } else {
            self.push_error(self.token().start, Problem::TooDeep);
        }
        fits
    }

    fn leave(&mut self) {
        self.nesting -= 1;
    }

    fn depth(&self, term: TermId) -> u16 {
        self.term_depths.get(term.0 as usize).copied().unwrap_or_default()
    }

    fn list_depth(&self, list: Terms) -> u16 {
        self.tree.terms(list).iter().map(|&term| self.depth(term)).max().unwrap_or_default()
    }

    fn body_depth(&self, body: Body) -> u16 {
        let depth = |expression: &ExpressionId| {
            self.expression_depths.get(expression.0 as usize).copied().unwrap_or_default()
        };
        self.tree.body(body).iter().map(depth).max().unwrap_or_default()
    }

    /// Adds a term, unless it is too deep.
    fn term(&mut self, value: Value, at: Offset) -> Option<TermId> {
        let inner = match value {
            Value::Null | Value::Boolean(_) | Value::Number(_) | Value::String(_) | Value::Var(_) => {
                return Some(self.leaf(value, at));
            }
            Value::Ref(list)
            | Value::Array(list)
            | Value::Set(list)
            | Value::Object(list)
            | Value::Call(list) => self.list_depth(list),
            Value::ArrayComprehension { head, body } | Value::SetComprehension { head, body } => {
                self.depth(head).max(self.body_depth(body))
            }
            Value::ObjectComprehension { key, value, body } => {
                self.depth(key).max(self.depth(value)).max(self.body_depth(body))
            }
            Value::Template(parts) => {
                let depth = |part: &Part| match part {
                    Part::Term(term) => self.depth(*term),
                    Part::Expression(id) => {
                        self.expression_depths.get(id.0 as usize).copied().unwrap_or_default()
                    }
                };
                self.tree.parts(parts).iter().map(depth).max().unwrap_or_default()
            }
        };
        self.fits(inner + 1, at)?;
        self.term_depths.push(inner + 1);
        Some(self.tree.add_term(value, at))
    }

    fn leaf(&mut self, value: Value, at: Offset) -> TermId {
        self.term_depths.push(1);
        self.tree.add_term(value, at)
    }

    fn fits(&mut self, depth: u16, at: Offset) -> Option<()> {
        if depth <= MAX_DEPTH {
            return Some(());
        }
        self.push_error(at.0, Problem::TooDeep);
        None
    }

    /// Adds an expression without modifiers, unless it is too deep.
    fn expression(&mut self, kind: ExpressionKind, at: Offset) -> Option<ExpressionId> {
        let inner = match kind {
            ExpressionKind::Term(term) => self.depth(term),
            ExpressionKind::Call(list) | ExpressionKind::Some(list) => self.list_depth(list),
            ExpressionKind::Every { domain, body, .. } => self.depth(domain).max(self.body_depth(body)),
            ExpressionKind::Not { body, .. } => self.body_depth(body),
            ExpressionKind::And(sides) | ExpressionKind::Or(sides) => {
                self.body_depth(sides.left).max(self.body_depth(sides.right))
            }
        };
        self.fits(inner + 1, at)?;
        self.expression_depths.push(inner + 1);
        let withs = self.tree.add_withs(&[]);
        Some(self.tree.add_expression(Expression {
            kind,
            negated: false,
            generated: false,
            assigned: false,
            withs,
            at,
        }))
    }

    /// A path of one variable, such as the function of an operator.
    fn path_of(&mut self, name: Name, at: Offset) -> TermId {
        let head = self.leaf(Value::Var(name), at);
        let path = self.tree.add_terms(&[head]);
        self.leaf(Value::Ref(path), at)
    }

    /// The body that always holds.
    fn true_body(&mut self, at: Offset) -> Body {
        let term = self.leaf(Value::Boolean(true), at);
        self.expression_depths.push(1);
        let withs = self.tree.add_withs(&[]);
        let kind = ExpressionKind::Term(term);
        let expression = self.tree.add_expression(Expression {
            kind,
            negated: false,
            generated: true,
            assigned: false,
            withs,
            at,
        });
        self.tree.add_body(&[expression])
    }

    fn value_of(&self, term: TermId) -> Value {
        self.tree.value(term)
    }

    fn term_of(&self, term: TermId) -> Term {
        self.tree.term(term)
    }

    fn at_of(&self, expression: ExpressionId) -> Offset {
        self.tree.expression(expression).at
    }
}
