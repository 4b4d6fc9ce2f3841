//! Template strings become calls: each expression in them is a set of its one value, or none.

use crate::{
    Code,
    syntax::{
        Name, Offset,
        ast::{Body, ExpressionId, ExpressionKind, Part, Parts, TermId, Terms, Value},
        visit::Node,
    },
};

use super::{
    finding::Finding,
    program::Program,
    safety::outputs,
    vars::{self, Skip, Vars},
};

/// Rewrites all template strings.
pub(super) fn rewrite(program: &mut Program) -> Vec<Finding> {
    let mut refusals = Vec::new();
    if !program.tree.terms.iter().any(|term| matches!(term.value, Value::Template(_))) {
        return refusals;
    }
    for id in program.rule_ids() {
        let Some(placed) = program.rule(id).copied() else { continue };
        let head = placed.rule.head;
        let mut safe = Vars::from_iter([Name::DATA, Name::INPUT]);
        let arguments = program.tree.terms(head.arguments).to_vec();
        for &argument in &arguments {
            safe.extend(vars::of_term(&program.tree, argument, Skip::NOTHING));
        }
        let mut rewriter = Rewriter { program, module: placed.module, refusals: &mut refusals };
        let safe = rewriter.body(placed.rule.body, safe);
        for term in arguments.into_iter().chain(head.key).chain(head.value) {
            rewriter.term(term, &safe);
        }
    }
    refusals
}

struct Rewriter<'a> {
    program: &'a mut Program,
    module: usize,
    refusals: &'a mut Vec<Finding>,
}

impl Rewriter<'_> {
    fn refuse(&mut self, at: Offset, message: impl Into<String>) {
        let refusal = self.program.refuse(self.module, at, Code::Compile, message);
        self.refusals.push(refusal);
    }

    /// Rewrites the template strings of a body, and gives what is bound behind it.
    fn body(&mut self, body: Body, mut safe: Vars) -> Vars {
        let expressions = self.program.tree.body(body).to_vec();
        for &id in &expressions {
            let found = outputs::of_expression(self.program, id, &|name| safe.contains(&name));
            safe.extend(found);
        }
        for id in expressions {
            self.expression(id, &safe);
        }
        safe
    }

    fn expression(&mut self, id: ExpressionId, safe: &Vars) {
        let expression = self.program.tree.expression(id);
        match expression.kind {
            ExpressionKind::Term(term) => self.term(term, safe),
            ExpressionKind::Call(list) | ExpressionKind::Some(list) => self.terms(list, safe),
            ExpressionKind::Every { key, value, domain, body } => {
                self.term(domain, safe);
                let mut inner = safe.clone();
                for variable in key.into_iter().chain([value]) {
                    inner.extend(self.program.tree.var(variable));
                }
                self.body(body, inner);
            }
            ExpressionKind::Not { body, .. } => self.expressions(body, safe),
            ExpressionKind::And(sides) | ExpressionKind::Or(sides) => {
                self.expressions(sides.left, safe);
                self.expressions(sides.right, safe);
            }
        }
        for with in self.program.tree.withs(expression.withs).to_vec() {
            self.term(with.target, safe);
            self.term(with.value, safe);
        }
    }

    fn expressions(&mut self, body: Body, safe: &Vars) {
        for id in self.program.tree.body(body).to_vec() {
            self.expression(id, safe);
        }
    }

    fn terms(&mut self, list: Terms, safe: &Vars) {
        for term in self.program.tree.terms(list).to_vec() {
            self.term(term, safe);
        }
    }

    fn term(&mut self, term: TermId, safe: &Vars) {
        match self.program.tree.value(term) {
            Value::Null | Value::Boolean(_) | Value::Number(_) | Value::String(_) | Value::Var(_) => {}
            Value::Object(list) => {
                self.keys(list);
                self.terms(list, safe);
            }
            Value::Ref(list) | Value::Array(list) | Value::Set(list) | Value::Call(list) => {
                self.terms(list, safe);
            }
            Value::ArrayComprehension { head, body } | Value::SetComprehension { head, body } => {
                self.comprehension(&[head], body, safe);
            }
            Value::ObjectComprehension { key, value, body } => self.comprehension(&[key, value], body, safe),
            Value::Template(parts) => {
                self.template(term, parts, safe);
                // What stood in it may have template strings of its own.
                if let Value::Call(list) = self.program.tree.value(term) {
                    self.terms(list, safe);
                }
            }
        }
    }

    /// Keys are hashed before template strings are rewritten, and an old OPA ends when it hashes one.
    fn keys(&mut self, list: Terms) {
        if self.program.capabilities.version().hashes_template_strings() {
            return;
        }
        let tree = &self.program.tree;
        let holds_template = |key: &TermId| {
            let mut found = false;
            tree.visit_term(*key, &mut |node| {
                found |= matches!(node, Node::Term(term) if matches!(tree.value(term), Value::Template(_)));
                !found
            });
            found
        };
        let keys: Vec<_> = tree.pairs(list).map(|(key, _)| key).filter(holds_template).collect();
        for key in keys {
            let at = self.program.tree.term(key).at;
            let version = self.program.capabilities.version();
            self.refuse(
                at,
                format!("OPA {version} ends with a panic at a template string in the key of an object"),
            );
        }
    }

    fn comprehension(&mut self, heads: &[TermId], body: Body, safe: &Vars) {
        let inner = self.body(body, safe.clone());
        for &head in heads {
            // As OPA does: only a head that is nothing but a template string sees the variables of the body.
            if matches!(self.program.tree.value(head), Value::Template(_)) {
                self.term(head, &inner);
            } else {
                self.term(head, safe);
            }
        }
    }

    fn template(&mut self, term: TermId, parts: Parts, safe: &Vars) {
        let at = self.program.tree.term(term).at;
        let mut elements = Vec::new();
        for part in self.program.tree.parts(parts).to_vec() {
            match part {
                Part::Term(text) => elements.push(text),
                Part::Expression(id) => elements.extend(self.part(id, safe)),
            }
        }
        if elements.is_empty() {
            elements.push(self.program.tree.add_term(Value::String(Name::EMPTY), at));
        }
        let tree = &mut self.program.tree;
        let elements = tree.add_terms(&elements);
        let array = tree.add_term(Value::Array(elements), at);
        let internal = tree.add_term(Value::Var(Name::INTERNAL), at);
        let function = tree.add_term(Value::String(Name::TEMPLATE_STRING), at);
        let path = tree.add_terms(&[internal, function]);
        let operator = tree.add_term(Value::Ref(path), at);
        let call = tree.add_terms(&[operator, array]);
        tree.set_value(term, Value::Call(call));
    }

    /// The set of the value of an expression.
    fn part(&mut self, id: ExpressionId, safe: &Vars) -> Option<TermId> {
        let expression = self.program.tree.expression(id);
        let term = match expression.kind {
            ExpressionKind::Call(call) => {
                let builtin = self.program.tree.operator(call).and_then(|path| self.program.builtin(path));
                if let Some(builtin) = builtin.filter(|builtin| builtin.is_relation) {
                    let message = format!("`{}` in a template string may have several values", builtin.name);
                    self.refuse(expression.at, message);
                    return None;
                }
                self.program.tree.add_term(Value::Call(call), expression.at)
            }
            ExpressionKind::Term(term) => term,
            _ => {
                self.refuse(expression.at, "only a term or a call can stand in a template string");
                return None;
            }
        };
        let at = self.program.tree.term(term).at;
        let plain = match self.program.tree.value(term) {
            Value::Var(_) => true,
            Value::Ref(path) => self.is_always_defined(path),
            _ => false,
        };
        if plain {
            let element = self.program.tree.add_terms(&[term]);
            return Some(self.program.tree.add_term(Value::Set(element), at));
        }
        let mut open: Vec<Name> = vars::of_term(&self.program.tree, term, Skip::SAFETY).into_iter().collect();
        open.retain(|name| !safe.contains(name));
        open.sort_unstable();
        for name in open {
            let text = self.program.names.text(name).to_owned();
            self.refuse(at, format!("nothing gives the variable `{text}` in a template string a value"));
        }
        let variable = self.program.generate(at);
        let head = self.program.tree.add_term(self.program.tree.value(variable), at);
        let equation = self.program.equation(variable, term, expression.withs);
        if let Some(expression) = self.program.tree.expression_mut(equation) {
            expression.generated = false;
        }
        let body = self.program.tree.add_body(&[equation]);
        Some(self.program.tree.add_term(Value::SetComprehension { head, body }, at))
    }

    /// Whether a path is that of a rule that always has a value.
    fn is_always_defined(&self, path: Terms) -> bool {
        let program = &*self.program;
        if path.len() < 2 || program.tree.root(path) != Some(Name::DATA) {
            return false;
        }
        let rules = program.rule_tree.exactly(program.tree.terms(path), &program.tree);
        let rules: Vec<_> =
            rules.iter().filter_map(|&id| program.rule(id)).map(|placed| placed.rule).collect();
        match rules.as_slice() {
            [] => false,
            [first, ..] if !first.head.arguments.is_empty() => false,
            [first, ..] if first.is_default || first.head.is_multi_value() => true,
            [only] => {
                program.is_trivial(only.body)
                    && only.head.value.is_some_and(|value| match program.tree.value(value) {
                        Value::Null
                        | Value::Boolean(_)
                        | Value::Number(_)
                        | Value::String(_)
                        | Value::Var(_) => true,
                        Value::Array(_) | Value::Set(_) | Value::Object(_) => program.tree.is_ground(value),
                        _ => false,
                    })
            }
            [_, rest @ ..] => rest.iter().any(|rule| rule.is_default),
        }
    }
}
