//! The abstract syntax of Rego, kept in a few flat tables.
//!
//! The nodes of a module lie in a [`Tree`] and name one another by number ([`TermId`], [`ExpressionId`]), so a tree is
//! a handful of allocations, is copied by copying tables, and is dropped without recursion. The parser builds one
//! tree a module; the compiler copies them into one and rewrites that copy.

use super::{names::Name, position::Offset};

/// A term of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TermId(pub u32);

/// An expression of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExpressionId(pub u32);

/// Terms side by side: the steps of a reference, the elements of an array, the arguments of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Terms {
    pub(crate) start: u32,
    pub(crate) count: u32,
}

/// Expressions that must all hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Body {
    pub(crate) start: u32,
    pub(crate) count: u32,
}

/// The `with` modifiers of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Withs {
    pub(crate) start: u32,
    pub(crate) count: u32,
}

/// The parts of a template string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Parts {
    pub(crate) start: u32,
    pub(crate) count: u32,
}

macro_rules! counted {
    ($($list:ident),*) => {$(
        impl $list {
            /// How many there are.
            #[must_use]
            pub fn len(self) -> usize {
                self.count as usize
            }

            /// Whether there are none.
            #[must_use]
            pub fn is_empty(self) -> bool {
                self.count == 0
            }
        }
    )*};
}
counted!(Terms, Body, Withs, Parts);

/// A value, a variable, or what computes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// What it is.
    pub value: Value,
    /// Where it begins.
    pub at: Offset,
}

/// What a term is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number, as it is written.
    Number(Name),
    /// A string, without quotes and escapes.
    String(Name),
    /// A variable.
    Var(Name),
    /// A path: its first term is what it begins with (mostly a variable), the others are its steps. `data` and
    /// `input` alone are paths of one term.
    Ref(Terms),
    /// An array.
    Array(Terms),
    /// A set.
    Set(Terms),
    /// An object: key, value, key, value, ….
    Object(Terms),
    /// `[head | body]`.
    ArrayComprehension {
        /// What each solution adds.
        head: TermId,
        /// What must hold.
        body: Body,
    },
    /// `{head | body}`.
    SetComprehension {
        /// What each solution adds.
        head: TermId,
        /// What must hold.
        body: Body,
    },
    /// `{key: value | body}`.
    ObjectComprehension {
        /// The key that each solution adds.
        key: TermId,
        /// Its value.
        value: TermId,
        /// What must hold.
        body: Body,
    },
    /// A call inside a term: the function, as a [`Value::Ref`], then its arguments. Operators are calls.
    Call(Terms),
    /// `$"…{x}…"`.
    Template(Parts),
}

/// A part of a template string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Text, or a constant between braces.
    Term(TermId),
    /// What stands between braces.
    Expression(ExpressionId),
}

/// One statement of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expression {
    /// What it says.
    pub kind: ExpressionKind,
    /// Whether it begins with a `not` without braces.
    pub negated: bool,
    /// Whether the compiler made it.
    pub generated: bool,
    /// Whether it is an `=` that was written `:=`.
    pub assigned: bool,
    /// Its modifiers.
    pub withs: Withs,
    /// Where it begins.
    pub at: Offset,
}

/// What an expression says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpressionKind {
    /// A term that must be neither false nor undefined.
    Term(TermId),
    /// A call, `=` and `:=` included: the function, then its arguments.
    Call(Terms),
    /// `some x, y`, or `some x in xs`: then the one term is that call.
    Some(Terms),
    /// `every key, value in domain { body }`.
    Every {
        /// The variable of the keys.
        key: Option<TermId>,
        /// The variable of the values.
        value: TermId,
        /// What is looked through.
        domain: TermId,
        /// What must hold for each.
        body: Body,
    },
    /// `not { body }`, and each `not` of a module that imports `future.keywords.not`.
    Not {
        /// What must not hold.
        body: Body,
        /// Whether the braces are written.
        explicit: bool,
    },
    /// `left and right`.
    And(Operands),
    /// `left or right`.
    Or(Operands),
}

/// The two sides of `and` and `or`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operands {
    /// Before the word.
    pub left: Body,
    /// After it.
    pub right: Body,
    /// Whether the left side has braces.
    pub explicit_left: bool,
    /// Whether the right side has braces.
    pub explicit_right: bool,
}

/// `with target as value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct With {
    /// What is replaced.
    pub target: TermId,
    /// By what.
    pub value: TermId,
    /// Where the word `with` stands.
    pub at: Offset,
}

/// An `import`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Import {
    /// What is imported: a [`Value::Ref`] whose steps are strings.
    pub path: TermId,
    /// The name after `as`.
    pub alias: Option<Name>,
    /// Where the statement begins.
    pub at: Offset,
}

/// A rule, or one of its `else` branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What it defines.
    pub head: Head,
    /// When. Never empty: where nothing is written it is a generated `true`.
    pub body: Body,
    /// Whether it is a `default`.
    pub is_default: bool,
    /// Whether it is the `else` of the rule before it.
    pub is_else: bool,
    /// Whether no body is written.
    pub generated_body: bool,
    /// Where it begins.
    pub at: Offset,
}

/// What a rule defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its name: a variable, then the steps below it.
    pub reference: Terms,
    /// The parameters of a function.
    pub arguments: Terms,
    /// The element of a set (after `contains`), or the last step of a reference that is a variable.
    pub key: Option<TermId>,
    /// The value. A rule without one defines a set.
    pub value: Option<TermId>,
    /// Whether the value is not written.
    pub generated_value: bool,
    /// Whether its value is given by `:=`.
    pub assigned: bool,
    /// Whether `if` is written.
    pub has_if: bool,
    /// Whether `contains` is written.
    pub has_contains: bool,
    /// Where it begins.
    pub at: Offset,
}

impl Head {
    /// Whether it defines a set.
    #[must_use]
    pub fn is_multi_value(&self) -> bool {
        self.value.is_none()
    }
}

/// The nodes of one module, or of all modules of a program.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    pub(crate) terms: Vec<Term>,
    pub(crate) expressions: Vec<Expression>,
    pub(crate) term_lists: Vec<TermId>,
    pub(crate) bodies: Vec<ExpressionId>,
    pub(crate) withs: Vec<With>,
    pub(crate) parts: Vec<Part>,
}

/// Numbers are handed out by the tree itself, so each names a node; a number of another tree gives these.
const NO_TERM: Term = Term { value: Value::Null, at: Offset(0) };
const NO_EXPRESSION: Expression = Expression {
    kind: ExpressionKind::Term(TermId(0)),
    negated: false,
    generated: true,
    assigned: false,
    withs: Withs { start: 0, count: 0 },
    at: Offset(0),
};

fn slice<T>(all: &[T], start: u32, count: u32) -> &[T] {
    all.get(start as usize..start as usize + count as usize).unwrap_or_default()
}

/// A length as the number that a node keeps. A text has at most 1 MiB and a program a bounded number of texts.
fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Tree {
    /// A term.
    #[must_use]
    pub fn term(&self, id: TermId) -> Term {
        self.terms.get(id.0 as usize).copied().unwrap_or(NO_TERM)
    }

    /// What a term is.
    #[must_use]
    pub fn value(&self, id: TermId) -> Value {
        self.term(id).value
    }

    /// An expression.
    #[must_use]
    pub fn expression(&self, id: ExpressionId) -> Expression {
        self.expressions.get(id.0 as usize).copied().unwrap_or(NO_EXPRESSION)
    }

    /// Every expression, wherever it stands, in no order that means anything.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.expressions.iter()
    }

    /// Every term, wherever it stands, in no order that means anything.
    pub fn all_terms(&self) -> impl Iterator<Item = &Term> {
        self.terms.iter()
    }

    /// The terms of a list.
    #[must_use]
    pub fn terms(&self, list: Terms) -> &[TermId] {
        slice(&self.term_lists, list.start, list.count)
    }

    /// The `index`th term of a list.
    #[must_use]
    pub fn nth(&self, list: Terms, index: usize) -> Option<TermId> {
        self.terms(list).get(index).copied()
    }

    /// The pairs of an object.
    pub fn pairs(&self, list: Terms) -> impl Iterator<Item = (TermId, TermId)> + '_ {
        self.terms(list).chunks_exact(2).filter_map(|pair| match pair {
            [key, value] => Some((*key, *value)),
            _ => None,
        })
    }

    /// The expressions of a body.
    #[must_use]
    pub fn body(&self, body: Body) -> &[ExpressionId] {
        slice(&self.bodies, body.start, body.count)
    }

    /// The modifiers of an expression.
    #[must_use]
    pub fn withs(&self, withs: Withs) -> &[With] {
        slice(&self.withs, withs.start, withs.count)
    }

    /// The parts of a template string.
    #[must_use]
    pub fn parts(&self, parts: Parts) -> &[Part] {
        slice(&self.parts, parts.start, parts.count)
    }

    /// The variable that a term is.
    #[must_use]
    pub fn var(&self, id: TermId) -> Option<Name> {
        match self.value(id) {
            Value::Var(name) => Some(name),
            _ => None,
        }
    }

    /// The variable that a path begins with.
    #[must_use]
    pub fn root(&self, reference: Terms) -> Option<Name> {
        self.nth(reference, 0).and_then(|head| self.var(head))
    }

    /// The path that a call calls.
    #[must_use]
    pub fn operator(&self, call: Terms) -> Option<Terms> {
        match self.value(self.nth(call, 0)?) {
            Value::Ref(path) => Some(path),
            _ => None,
        }
    }

    /// Whether a call is of the function of one word, such as `eq`.
    #[must_use]
    pub fn calls(&self, call: Terms, function: Name) -> bool {
        self.operator(call).is_some_and(|path| path.len() == 1 && self.root(path) == Some(function))
    }

    /// The arguments of a call.
    #[must_use]
    pub fn arguments(&self, call: Terms) -> &[TermId] {
        self.terms(call).split_first().map_or(&[], |(_, arguments)| arguments)
    }

    /// Adds a term.
    pub fn add_term(&mut self, value: Value, at: Offset) -> TermId {
        self.terms.push(Term { value, at });
        TermId(number(self.terms.len() - 1))
    }

    /// Adds an expression.
    pub fn add_expression(&mut self, expression: Expression) -> ExpressionId {
        self.expressions.push(expression);
        ExpressionId(number(self.expressions.len() - 1))
    }

    /// Adds a list of terms.
    pub fn add_terms(&mut self, terms: &[TermId]) -> Terms {
        let start = number(self.term_lists.len());
        self.term_lists.extend_from_slice(terms);
        Terms { start, count: number(terms.len()) }
    }

    /// Adds a body.
    pub fn add_body(&mut self, expressions: &[ExpressionId]) -> Body {
        let start = number(self.bodies.len());
        self.bodies.extend_from_slice(expressions);
        Body { start, count: number(expressions.len()) }
    }

    /// Adds the modifiers of an expression.
    pub fn add_withs(&mut self, withs: &[With]) -> Withs {
        let start = number(self.withs.len());
        self.withs.extend_from_slice(withs);
        Withs { start, count: number(withs.len()) }
    }

    /// Adds the parts of a template string.
    pub fn add_parts(&mut self, parts: &[Part]) -> Parts {
        let start = number(self.parts.len());
        self.parts.extend_from_slice(parts);
        Parts { start, count: number(parts.len()) }
    }

    /// Makes a term another one.
    pub fn set_value(&mut self, id: TermId, value: Value) {
        if let Some(term) = self.terms.get_mut(id.0 as usize) {
            term.value = value;
        }
    }

    /// Puts the expressions of a body into another order.
    pub(crate) fn reorder(&mut self, body: Body, order: &[ExpressionId]) {
        let range = body.start as usize..body.start as usize + body.len();
        if let Some(expressions) = self.bodies.get_mut(range).filter(|range| range.len() == order.len()) {
            expressions.copy_from_slice(order);
        }
    }

    /// An expression, to be rewritten.
    pub fn expression_mut(&mut self, id: ExpressionId) -> Option<&mut Expression> {
        self.expressions.get_mut(id.0 as usize)
    }
}
