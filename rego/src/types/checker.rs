//! The checker: rules in the order of their dependencies, each body statement by statement.
//!
//! It sees rules as OPA's own checker does: names are resolved, calls inside terms are statements of their own,
//! statements stand in the order in which they are evaluated. What is found out about a rule is kept with its
//! document, for the rules that refer to it.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use super::{
    Constant, Dynamic, Type, Unknown, algebra,
    documents::{Document, Step},
    mistake::{Complaint, Mistake},
    scope::Scope,
};
use crate::{
    capabilities::{Builtin, Capabilities},
    syntax::{
        Name, Names, Offset,
        ast::{Body, ExpressionId, ExpressionKind, Head, TermId, Terms, Tree, Value},
        visit::Node,
    },
};

/// A rule whose types are checked, and one whose type others need.
#[derive(Debug, Clone, Copy)]
pub struct TypedRule {
    /// Its whole path, from `data` on.
    pub path: Terms,
    /// What it defines.
    pub head: Head,
    /// When.
    pub body: Body,
    /// Where it begins.
    pub at: Offset,
}

/// What is checked.
#[derive(Clone, Copy)]
pub struct Program<'a> {
    /// The nodes of all rules, rewritten.
    pub tree: &'a Tree,
    /// Their words.
    pub names: &'a Names,
    /// Whose functions there are.
    pub capabilities: &'static Capabilities,
    /// All rules, each `else` branch a rule of its own.
    pub rules: &'a [TypedRule],
    /// The numbers of the rules, each after those that it depends on.
    pub order: &'a [usize],
    /// The rules that a path may refer to, and those that depend on them, directly or not.
    pub dependents: &'a dyn Fn(Terms) -> Vec<usize>,
}

/// The deepest type: what is deeper nobody writes, and everything here goes as deep as types do.
const MAX_DEPTH: u32 = 200;
/// The longest path of a rule, in steps; of a longer one that a `with` replaces, the beginning counts.
pub(super) const MAX_STEPS: usize = 200;
/// How much is looked at in all, and for each term of the program. Policies that people write need a hundredth.
const EFFORT: u64 = 2_000_000;
const EFFORT_PER_TERM: u64 = 100;

/// Finds the mistakes of types of a program, in the order in which its rules are checked.
#[must_use]
pub fn check(program: Program<'_>) -> Vec<Mistake> {
    let mut documents = Document::default();
    let mut mistakes = Vec::new();
    let effort = EFFORT.saturating_add(EFFORT_PER_TERM.saturating_mul(program.tree.terms.len() as u64));
    let checker = Checker {
        tree: program.tree,
        names: program.names,
        capabilities: program.capabilities,
        program,
        effort: Cell::new(effort),
        too_deep: Cell::new(false),
        rule: Cell::new(Terms::default()),
        replaced: RefCell::default(),
    };
    for &number in program.order {
        let Some(rule) = program.rules.get(number) else { continue };
        let mut complaints = checker.check_rule(&mut documents, rule);
        let excess = checker.excess(rule);
        let is_excess = excess.is_some();
        complaints.extend(excess);
        mistakes.extend(complaints.into_iter().map(|complaint| Mistake {
            rule: number,
            at: complaint.at,
            message: complaint.message,
            suggestion: complaint.suggestion,
            is_excess,
        }));
        if is_excess {
            break;
        }
    }
    mistakes
}

pub(super) struct Checker<'a> {
    pub(super) tree: &'a Tree,
    pub(super) names: &'a Names,
    pub(super) capabilities: &'static Capabilities,
    pub(super) program: Program<'a>,
    /// What is left of it.
    effort: Cell<u64>,
    too_deep: Cell<bool>,
    /// The path of the rule that is being checked.
    rule: Cell<Terms>,
    /// By the target of a `with`: what depends on it.
    pub(super) replaced: RefCell<HashMap<String, Option<Rc<Document>>>>,
}

impl Checker<'_> {
    fn check_rule(&self, documents: &mut Document, rule: &TypedRule) -> Vec<Complaint> {
        if rule.path.len() > MAX_STEPS {
            let message = format!("the path of a rule has at most {MAX_STEPS} steps");
            return vec![Complaint::new(rule.head.at, message)];
        }
        self.rule.set(rule.path);
        let path = self.path(rule);
        let is_function = !rule.head.arguments.is_empty();
        match self.conclude(documents, rule, path.dynamic) {
            // Whoever refers to it is not to hear of that again.
            Err(complaints) => {
                documents.put(&path.ground, Type::Any);
                complaints
            }
            Ok(kind) => {
                if let Some(kind) = kind {
                    // The variables of a function's path are part of it.
                    let path = if is_function { path.whole } else { path.ground };
                    let effort = documents.insert(&path, self.built(kind), self.names);
                    self.charge(effort);
                }
                Vec::new()
            }
        }
    }

    /// The type of a rule at the constant part of its path.
    fn conclude(
        &self,
        documents: &Document,
        rule: &TypedRule,
        dynamic: &[TermId],
    ) -> Result<Unknown, Vec<Complaint>> {
        let around = Scope::of_program(documents);
        let (scope, complaints) = self.check_body(&around, rule.body);
        if !complaints.is_empty() {
            return Err(complaints);
        }
        Ok(match rule.head.arguments.is_empty() {
            true => self.kind_of_rule(&scope, rule, dynamic),
            false => Some(self.kind_of_function(&scope, rule)),
        })
    }

    fn path(&self, rule: &TypedRule) -> Path<'_> {
        let steps = self.tree.terms(rule.path);
        let mut whole = Vec::with_capacity(steps.len());
        let mut ground = None;
        for (index, &step) in steps.iter().enumerate() {
            let constant = match (index, self.tree.value(step)) {
                (0, Value::Var(name)) => Some(Step::Name(name)),
                _ => self.step(step),
            };
            match constant {
                Some(step) => whole.push(step),
                None => {
                    ground.get_or_insert(index);
                    whole.push(Step::Variable(self.tree.var(step).unwrap_or(Name::WILDCARD)));
                }
            }
        }
        match ground {
            Some(index) => Path { ground: whole[..index].to_vec(), dynamic: &steps[index..], whole },
            None => Path { ground: whole.clone(), dynamic: &[], whole },
        }
    }

    fn kind_of_function(&self, scope: &Scope<'_>, rule: &TypedRule) -> Type {
        let arguments = self.tree.terms(rule.head.arguments);
        for &argument in arguments {
            // An argument that the body says nothing of may be anything.
            self.tree.visit_term(argument, &mut |node| {
                if let Node::Term(term) = node
                    && let Some(name) = self.tree.var(term)
                    && self.kind_of_variable(scope, name).is_none()
                {
                    scope.set(name, Some(Type::Any));
                }
                true
            });
        }
        let kinds = arguments.iter().map(|&argument| self.kind(scope, argument)).collect();
        let result = rule.head.value.and_then(|value| self.kind(scope, value));
        Type::function(kinds, None, result)
    }

    fn kind_of_rule(&self, scope: &Scope<'_>, rule: &TypedRule, dynamic: &[TermId]) -> Unknown {
        let value = match (rule.head.value, rule.head.key) {
            (Some(value), _) => self.kind(scope, value)?,
            (None, Some(key)) => Type::set(Some(self.kind(scope, key)?)),
            (None, None) => return None,
        };
        dynamic.iter().rev().try_fold(value, |value, &step| {
            let key = self.kind(scope, step)?;
            Some(Type::object(Vec::new(), Some(Dynamic { key: Some(key), value: Some(value) })))
        })
    }

    /// Checks a body. What is known of its variables afterwards is in the scope.
    pub(super) fn check_body<'s>(&self, around: &'s Scope<'s>, body: Body) -> (Scope<'s>, Vec<Complaint>) {
        let scope = Scope::of_body(around);
        let mut complaints = Vec::new();
        for &expression in self.tree.body(body) {
            if self.is_exhausted() {
                break;
            }
            self.check_expression(&scope, expression, &mut complaints);
        }
        (scope, complaints)
    }

    fn check_expression(&self, scope: &Scope<'_>, id: ExpressionId, complaints: &mut Vec<Complaint>) {
        let expression = self.tree.expression(id);
        if expression.withs.is_empty() || !self.capabilities.version().types_replacements() {
            self.check_statement(scope, id, complaints);
        } else {
            self.with_replacements(scope, expression.withs, &mut |scope| {
                self.check_statement(scope, id, complaints);
            });
        }
    }

    fn check_statement(&self, scope: &Scope<'_>, id: ExpressionId, complaints: &mut Vec<Complaint>) {
        let before = complaints.len();
        self.check_comprehensions(scope, id, complaints);
        self.check_references(scope, id, complaints);
        let inside = complaints.len() > before;
        let expression = self.tree.expression(id);
        let mut complaint = self.check_replacements(scope, expression.withs);
        if let (None, ExpressionKind::Call(call)) = (&complaint, expression.kind) {
            complaint = self.check_call(scope, call, expression.at);
        }
        complaints.extend(complaint.filter(|complaint| !inside || !complaint.may_follow));
    }

    /// Checks all comprehensions of a statement, those inside others as well: what OPA knows here of the variables
    /// of those around them is nothing, and it complains of what does not fit then.
    fn check_comprehensions(&self, scope: &Scope<'_>, id: ExpressionId, complaints: &mut Vec<Complaint>) {
        let mut found = Vec::new();
        self.tree.visit_expression(id, &mut |node| {
            if self.is_exhausted() {
                return false;
            }
            let Node::Term(term) = node else { return true };
            let (Value::ArrayComprehension { body, .. }
            | Value::SetComprehension { body, .. }
            | Value::ObjectComprehension { body, .. }) = self.tree.value(term)
            else {
                return !self.charge(1);
            };
            let (inner, inside) = self.check_body(scope, body);
            let fine = inside.is_empty();
            let kind = if fine { self.kind_of_solutions(&inner, term) } else { None };
            scope.comprehensions.borrow_mut().insert(term, kind);
            if !fine {
                // OPA tells of one of them.
                found = inside;
            }
            fine
        });
        complaints.extend(found);
    }

    pub(super) fn kind_of_comprehension(&self, scope: &Scope<'_>, id: TermId) -> Unknown {
        if let Some(known) = scope.comprehensions.borrow().get(&id) {
            return known.clone();
        }
        let (Value::ArrayComprehension { body, .. }
        | Value::SetComprehension { body, .. }
        | Value::ObjectComprehension { body, .. }) = self.tree.value(id)
        else {
            return None;
        };
        let (inner, complaints) = self.check_body(scope, body);
        if complaints.is_empty() { self.kind_of_solutions(&inner, id) } else { None }
    }

    fn kind_of_solutions(&self, inner: &Scope<'_>, id: TermId) -> Unknown {
        Some(self.built(match self.tree.value(id) {
            Value::ArrayComprehension { head, .. } => Type::array(Vec::new(), self.kind(inner, head)),
            Value::SetComprehension { head, .. } => Type::set(self.kind(inner, head)),
            Value::ObjectComprehension { key, value, .. } => {
                let others = Dynamic { key: self.kind(inner, key), value: self.kind(inner, value) };
                Type::object(Vec::new(), Some(others))
            }
            _ => return None,
        }))
    }

    /// The built-in function that a path names.
    pub(super) fn builtin_of(&self, path: Terms) -> Option<&'static Builtin> {
        let names = self.tree.constant_path(path)?;
        let words: Vec<&str> = names.iter().map(|name| self.names.text(*name)).collect();
        self.capabilities.builtin(&words.join("."))
    }

    /// The type of the built-in function that a path names.
    pub(super) fn kind_of_builtin(&self, path: Terms) -> Unknown {
        let builtin = self.builtin_of(path)?;
        // OPA puts the annotations in the place of these, and knows their fields. What is certain of them is little, and
        // no more may be asked for by name: `object.get` asks for what may be missing.
        let result = match builtin.name {
            "rego.metadata.chain" => {
                let steps = self.rule.get().len().saturating_sub(1);
                let path = Type::tuple(vec![Some(Type::String); steps]);
                let entry = Type::object(vec![(Constant::String("path".into()), Some(path))], None);
                Type::tuple(vec![Some(entry)])
            }
            "rego.metadata.rule" => Type::object(Vec::new(), None),
            _ => return Some(Type::Function(builtin.declaration.clone())),
        };
        Some(Type::function(Vec::new(), None, Some(result)))
    }

    /// The documents that depend on what a `with` replaces, with the rules at the path itself unless it is a function.
    pub(super) fn dependents(&self, target: Terms, is_function: bool) -> Option<Rc<Document>> {
        let mut key = self.tree.dotted(target, self.names);
        key.push_str(if is_function { " function" } else { "" });
        if let Some(known) = self.replaced.borrow().get(&key) {
            return known.clone();
        }
        let mut document = None;
        let replaced = self.tree.constant_path(target);
        for number in (self.program.dependents)(target) {
            let Some(rule) = self.program.rules.get(number) else { continue };
            let path = self.path(rule);
            let same = replaced.as_ref().is_some_and(|replaced| {
                replaced.len() == path.whole.len()
                    && replaced.iter().zip(&path.whole).all(|(name, step)| *step == Step::Name(*name))
            });
            if self.charge(path.whole.len() as u64) || (is_function && same) {
                continue;
            }
            document.get_or_insert_with(Document::default).put(&path.ground, Type::Any);
        }
        let document = document.map(Rc::new);
        self.replaced.borrow_mut().insert(key, document.clone());
        document
    }

    // ---- Effort ----

    /// Counts what is looked at; true when it was too much, so that nothing more is to be looked at.
    pub(super) fn charge(&self, effort: u64) -> bool {
        self.effort.set(self.effort.get().saturating_sub(effort));
        self.is_exhausted()
    }

    fn is_exhausted(&self) -> bool {
        self.effort.get() == 0 || self.too_deep.get()
    }

    /// A type that was put together, or any when it nests too deep.
    pub(super) fn built(&self, kind: Type) -> Type {
        if kind.depth() <= MAX_DEPTH {
            return kind;
        }
        self.too_deep.set(true);
        Type::Any
    }

    fn excess(&self, rule: &TypedRule) -> Option<Complaint> {
        let message = match (self.too_deep.get(), self.is_exhausted()) {
            (true, _) => format!("values nest more than {MAX_DEPTH} levels deep here"),
            (false, true) => "the types of these modules are too entangled to be checked".to_owned(),
            (false, false) => return None,
        };
        let suggestion = "split the rule, or keep large values in a data document";
        Some(Complaint::new(rule.at, message).suggest(suggestion))
    }

    pub(super) fn unifies(&self, a: &Unknown, b: &Unknown) -> bool {
        let (Some(a), Some(b)) = (a, b) else { return false };
        let (left, right) = (a.extent().parts, b.extent().parts);
        let effort = match (a, b) {
            (Type::Union(_), Type::Union(_)) => left.saturating_mul(right),
            _ => left.saturating_add(right).saturating_add(1),
        };
        self.charge(effort) || algebra::unifies(a, b)
    }

    pub(super) fn union(&self, a: Unknown, b: Unknown) -> Unknown {
        let parts = |kind: &Unknown| kind.as_ref().map_or(0, |kind| kind.extent().parts);
        match self.charge(parts(&a).saturating_add(parts(&b)).saturating_add(1)) {
            true => Some(Type::Any),
            false => Type::union(a, b),
        }
    }

    pub(super) fn keys(&self, of: &Type) -> Unknown {
        if self.charge(of.extent().parts.saturating_add(1)) { Some(Type::Any) } else { of.keys() }
    }

    pub(super) fn values(&self, of: &Type) -> Unknown {
        if self.charge(of.extent().parts.saturating_add(1)) { Some(Type::Any) } else { of.values() }
    }
}

/// The path of a rule.
struct Path<'a> {
    /// All of it.
    whole: Vec<Step>,
    /// Until the first variable.
    ground: Vec<Step>,
    /// From the first variable on.
    dynamic: &'a [TermId],
}
