//! What makes OPA 1.18 end when it builds the indices of rules.
//!
//! It finds the rules that may apply by the values that they compare references with. A comparison with an object, a
//! set, or an array of collections has no place in that index. Where the value is written beside the reference OPA
//! leaves it out; where it comes by a variable, or as an element of what `in` looks through, OPA 1.18 panics, and the
//! sidecar ends.

use hashbrown::HashMap;

use crate::{
    Code,
    syntax::{
        Name,
        ast::{ExpressionId, ExpressionKind, TermId, Terms, Tree, Value},
        visit::Node,
    },
};

use super::{
    finding::Finding,
    program::{PlacedRule, Program},
    rule_tree::{Key, RuleTree},
};

/// Refuses what has no place in an index. The program has passed all other checks.
pub(super) fn check(program: &Program) -> Vec<Finding> {
    let rules = program.rules.iter().filter(|placed| !placed.rule.is_default);
    rules.flat_map(|placed| Index::of(program, placed).findings).collect()
}

/// What OPA knows of one rule while it goes through its body.
struct Index<'a> {
    program: &'a Program,
    tree: &'a Tree,
    module: usize,
    /// Variables that stand for a reference that is indexed, or for an argument of the function.
    references: Vec<Name>,
    /// Variables that stand for a constant.
    constants: HashMap<Name, TermId>,
    findings: Vec<Finding>,
}

impl<'a> Index<'a> {
    fn of(program: &'a Program, placed: &PlacedRule) -> Self {
        let tree = &program.tree;
        let arguments = tree.terms(placed.rule.head.arguments);
        let mut index = Self {
            program,
            tree,
            module: placed.module,
            references: arguments.iter().filter_map(|&argument| tree.var(argument)).collect(),
            constants: HashMap::new(),
            findings: Vec::new(),
        };
        for &id in tree.body(placed.rule.body) {
            index.statement(id);
        }
        index
    }

    fn statement(&mut self, id: ExpressionId) {
        let expression = self.tree.expression(id);
        let ExpressionKind::Call(call) = expression.kind else { return };
        if expression.negated || !expression.withs.is_empty() {
            return;
        }
        let &[left, right] = self.tree.arguments(call) else { return };
        let operator = self.tree.operator(call).and_then(|path| self.tree.constant_path(path));
        let suggestion = match operator.as_deref() {
            Some([Name::UNIFY]) if self.compare(left, right) => {
                "write the value itself instead of the variable"
            }
            Some([name]) if self.program.names.text(*name) == "equal" && self.compare(left, right) => {
                "write the value itself instead of the variable"
            }
            Some([Name::INTERNAL, Name::MEMBER]) if self.look_through(left, right) => {
                "compare each: `some x in xs` and then `x == …`"
            }
            _ => return,
        };
        let version = self.program.capabilities.version();
        let message = format!(
            "OPA {version} ends with a panic when it loads this: it cannot index a comparison with an object, a set, or \
             an array that holds a collection"
        );
        let finding = self.program.refuse(self.module, expression.at, Code::Compile, message);
        self.findings.push(finding.suggest(suggestion));
    }

    /// An equation. Answers whether OPA would index what it cannot.
    fn compare(&mut self, left: TermId, right: TermId) -> bool {
        [(left, right), (right, left)].into_iter().any(|(one, other)| match self.tree.value(one) {
            Value::Var(name) => {
                if self.tree.is_constant(other) {
                    self.constants.insert(name, other);
                }
                false
            }
            Value::Ref(path) if self.is_indexed(path) => match self.tree.value(other) {
                Value::Var(name) => match self.constants.get(&name) {
                    Some(&constant) => !self.has_place(constant),
                    None => {
                        self.references.push(name);
                        false
                    }
                },
                _ => false,
            },
            _ => false,
        })
    }

    /// `left in right`. Answers whether OPA would index what it cannot.
    fn look_through(&self, left: TermId, right: TermId) -> bool {
        let constant = |id| self.tree.var(id).and_then(|name| self.constants.get(&name).copied());
        if self.is_reference(left) {
            return match self.tree.value(constant(right).unwrap_or(right)) {
                Value::Array(list) | Value::Set(list) => {
                    self.tree.terms(list).iter().any(|&element| !self.has_place(element))
                }
                Value::Object(list) => self.tree.pairs(list).any(|(_, value)| !self.has_place(value)),
                _ => false,
            };
        }
        let in_reference = match self.tree.value(right) {
            Value::Ref(path) => self.is_indexed(path),
            _ => self.is_reference(right),
        };
        in_reference && constant(left).is_some_and(|value| !self.has_place(value))
    }

    fn is_reference(&self, id: TermId) -> bool {
        self.tree.var(id).is_some_and(|name| self.references.contains(&name))
    }

    /// Scalars, variables, and arrays of them have a place in an index.
    fn has_place(&self, id: TermId) -> bool {
        let flat = |id| self.tree.is_scalar(id) || self.tree.var(id).is_some();
        match self.tree.value(id) {
            Value::Array(list) => self.tree.terms(list).iter().all(|&element| flat(element)),
            _ => flat(id),
        }
    }

    /// Whether a path is constant, and leads to a base document.
    fn is_indexed(&self, path: Terms) -> bool {
        let steps = self.tree.terms(path);
        let nested = |&step: &TermId| {
            let mut found = false;
            self.tree.visit_term(step, &mut |node| {
                found |= matches!(node, Node::Term(term) if matches!(self.tree.value(term), Value::Ref(_)));
                !found
            });
            found
        };
        matches!(self.tree.root(path), Some(Name::DATA | Name::INPUT))
            && self.tree.is_ground_path(path)
            && !steps.iter().any(nested)
            && !self.is_virtual(steps)
    }

    /// Whether a path leads to a rule, or to where rules are.
    fn is_virtual(&self, steps: &[TermId]) -> bool {
        let rules = &self.program.rule_tree;
        let mut at = RuleTree::ROOT;
        for &step in steps {
            let child = Key::of(self.tree, step).and_then(|key| rules.child(at, key));
            match child {
                None => return false,
                Some(child) if !rules.rules(child).is_empty() => return true,
                Some(child) => at = child,
            }
        }
        true
    }
}
