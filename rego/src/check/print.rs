//! `print` and other functions without a result.

use crate::{
    Code,
    syntax::{
        Name,
        ast::{Body, ExpressionId, ExpressionKind, TermId, Value},
    },
};

use super::{
    bodies::{self, body_of},
    finding::Finding,
    program::Program,
    safety::outputs,
    vars::{self, Finder, Skip, Vars},
};

/// A function without a result is no value.
pub(super) fn check_void(program: &Program) -> Vec<Finding> {
    let mut refusals = Vec::new();
    for placed in &program.rules {
        let tree = &program.tree;
        let mut seen = |node| {
            if let crate::syntax::visit::Node::Term(term) = node
                && let Value::Call(call) = tree.value(term)
                && let Some(path) = tree.operator(call)
                && let Some(builtin) = program.builtin(path).filter(|builtin| builtin.is_void())
            {
                let message = format!("`{}` has no result and is used as a value", builtin.name);
                refusals.push(program.refuse(placed.module, tree.term(term).at, Code::Type, message));
            }
            true
        };
        let head = placed.rule.head;
        tree.visit_terms(head.arguments, &mut seen);
        for term in head.key.into_iter().chain(head.value) {
            tree.visit_term(term, &mut seen);
        }
        tree.visit_body(placed.rule.body, &mut seen);
    }
    refusals
}

/// What is printed may be undefined, but its variables must be bound before.
pub(super) fn rewrite(program: &mut Program) -> Vec<Finding> {
    let mut refusals = Vec::new();
    let prints = |program: &Program| {
        program.tree.expressions.iter().any(|expression| match expression.kind {
            ExpressionKind::Call(call) => program.tree.calls(call, Name::PRINT),
            _ => false,
        })
    };
    if !prints(program) {
        return refusals;
    }
    for id in program.rule_ids() {
        let Some(placed) = program.rule(id).copied() else { continue };
        let head = placed.rule.head;
        let mut safe = Vars::from_iter([Name::DATA, Name::INPUT]);
        for &argument in program.tree.terms(head.arguments) {
            safe.extend(vars::of_term(&program.tree, argument, Skip::NOTHING));
        }
        let mut rewriter = Rewriter { program, module: placed.module, refusals: &mut refusals };
        let arguments = rewriter.program.tree.terms(head.arguments).to_vec();
        for term in arguments.into_iter().chain(head.key).chain(head.value) {
            for comprehension in bodies::comprehensions_in_term(&rewriter.program.tree, term) {
                rewriter.comprehension(comprehension, &safe);
            }
        }
        rewriter.body(placed.rule.body, &safe);
    }
    refusals
}

struct Rewriter<'a> {
    program: &'a mut Program,
    module: usize,
    refusals: &'a mut Vec<Finding>,
}

impl Rewriter<'_> {
    fn comprehension(&mut self, term: TermId, safe: &Vars) {
        if let Some(body) = body_of(&self.program.tree, term) {
            self.body(body, safe);
        }
    }

    fn body(&mut self, body: Body, globals: &Vars) {
        let mut safe = globals.clone();
        for id in self.program.tree.body(body).to_vec() {
            for comprehension in bodies::comprehensions(&self.program.tree, id) {
                self.comprehension(comprehension, &safe);
            }
            match self.program.tree.expression(id).kind {
                ExpressionKind::Every { key, value, body, .. } => {
                    let mut inner = safe.clone();
                    for variable in key.into_iter().chain([value]) {
                        inner.extend(self.program.tree.var(variable));
                    }
                    self.body(body, &inner);
                }
                ExpressionKind::Not { body, .. } => self.body(body, &safe),
                ExpressionKind::And(sides) | ExpressionKind::Or(sides) => {
                    self.body(sides.left, &safe);
                    self.body(sides.right, &safe);
                }
                ExpressionKind::Call(call) if self.program.tree.calls(call, Name::PRINT) => {
                    self.print(id, &safe)
                }
                _ => {}
            }
            let found = outputs::of_expression(self.program, id, &|name| safe.contains(&name));
            safe.extend(found);
            let program = &*self.program;
            Finder {
                tree: &program.tree,
                skip: Skip::NOTHING,
                found: |name| {
                    if program.is_generated(name) {
                        safe.insert(name);
                    }
                },
            }
            .expression(id);
        }
    }

    fn print(&mut self, id: ExpressionId, safe: &Vars) {
        let expression = self.program.tree.expression(id);
        let ExpressionKind::Call(call) = expression.kind else { return };
        let before = self.refusals.len();
        let mut elements = Vec::new();
        for argument in self.program.tree.arguments(call).to_vec() {
            let at = self.program.tree.term(argument).at;
            let mut open: Vec<Name> =
                vars::of_term(&self.program.tree, argument, Skip::SAFETY).into_iter().collect();
            open.retain(|name| !safe.contains(name));
            open.sort_unstable();
            for name in open {
                let text = self.program.names.text(name);
                let message = format!("nothing before this `print` gives the variable `{text}` a value");
                self.refusals.push(self.program.refuse(self.module, at, Code::Compile, message));
            }
            let variable = self.program.generate(at);
            let head = self.program.tree.add_term(self.program.tree.value(variable), at);
            let none = self.program.no_withs();
            let equation = self.program.equation(variable, argument, none);
            if let Some(expression) = self.program.tree.expression_mut(equation) {
                expression.generated = false;
            }
            let body = self.program.tree.add_body(&[equation]);
            elements.push(self.program.tree.add_term(Value::SetComprehension { head, body }, at));
        }
        if self.refusals.len() > before {
            return;
        }
        let tree = &mut self.program.tree;
        let at = expression.at;
        let elements = tree.add_terms(&elements);
        let array = tree.add_term(Value::Array(elements), at);
        let internal = tree.add_term(Value::Var(Name::INTERNAL), at);
        let function = tree.add_term(Value::String(Name::PRINT), at);
        let path = tree.add_terms(&[internal, function]);
        let operator = tree.add_term(Value::Ref(path), at);
        let call = tree.add_terms(&[operator, array]);
        bodies::set_kind(tree, id, ExpressionKind::Call(call));
        if let Some(expression) = tree.expression_mut(id) {
            // As OPA does: the new expression has neither modifiers nor a negation.
            expression.negated = false;
            expression.withs = crate::syntax::ast::Withs::default();
        }
    }
}
