//! Safety: every variable must get its value from something that can be evaluated before it is needed.
//!
//! Expressions of a body are put into an order in which that holds. What cannot be ordered has unsafe variables.

mod body;
mod closures;
mod implicit;
pub(super) mod outputs;
mod unify;

use std::collections::BTreeMap;

use crate::{
    Code,
    syntax::{
        Name, Offset,
        ast::{Body, ExpressionId, ExpressionKind, TermId},
        visit::Node,
    },
};

use super::{
    finding::Finding,
    program::{PlacedRule, Program},
    vars::{self, Finder, Skip, Vars},
};

/// Checks heads and bodies, and puts the bodies into the order in which they can be evaluated.
pub(super) fn check(program: &mut Program) -> Vec<Finding> {
    let mut refusals = Vec::new();
    let mut orders = Vec::new();
    let mut checker = Checker::new(program);
    for placed in &program.rules {
        heads(program, placed, &mut refusals);
        let parameters = parameters(program, placed);
        checker.start(parameters);
        checker.body(placed.rule.body);
        report(program, placed.module, &checker.found, &mut refusals);
        orders.append(&mut checker.orders);
    }
    for (body, order) in orders {
        program.tree.reorder(body, &order);
    }
    refusals
}

fn parameters(program: &Program, placed: &PlacedRule) -> Vars {
    let mut names = Vars::from_iter([Name::DATA, Name::INPUT]);
    for &argument in program.tree.terms(placed.rule.head.arguments) {
        names.extend(vars::of_term(&program.tree, argument, Skip::NOTHING));
    }
    names
}

/// Every variable of a head must stand in the body.
fn heads(program: &Program, placed: &PlacedRule, refusals: &mut Vec<Finding>) {
    let tree = &program.tree;
    let head = placed.rule.head;
    let steps = tree.terms(head.reference).iter().skip(1).copied();
    let mut needed: Vec<(Name, Offset)> = Vec::new();
    for term in steps.chain(head.key).chain(head.value) {
        tree.visit_term(term, &mut |node| {
            if let Node::Term(term) = node
                && let Some(name) = tree.var(term)
            {
                needed.push((name, tree.term(term).at));
            }
            true
        });
    }
    if needed.is_empty() {
        return;
    }
    let mut known = vars::of_body(tree, placed.rule.body, Skip::SAFETY);
    for &argument in tree.terms(head.arguments) {
        known.extend(vars::of_term(tree, argument, Skip::NOTHING));
    }
    needed.retain(|(name, _)| !known.contains(name) && !program.is_generated(*name));
    needed.sort_unstable();
    needed.dedup_by_key(|(name, _)| *name);
    for (name, at) in needed {
        refusals.push(unsafe_variable(program, placed.module, name, at));
    }
}

fn unsafe_variable(program: &Program, module: usize, name: Name, at: Offset) -> Finding {
    let text = program.names.text(name);
    let refusal = program.refuse(
        module,
        at,
        Code::UnsafeVariable,
        format!("nothing gives the variable `{text}` a value"),
    );
    match text {
        "and" | "or" => refusal.suggest(format!("`import future.keywords.{text}` makes it an operator")),
        _ => refusal.suggest("bind it in the same body, outside negations, or correct its spelling"),
    }
}

/// Variables that nothing binds, by the expressions that need them.
type Unsafe = BTreeMap<ExpressionId, Vars>;

fn report(program: &Program, module: usize, found: &Unsafe, refusals: &mut Vec<Finding>) {
    let mut first: BTreeMap<Name, Offset> = BTreeMap::new();
    let mut assigned = Vars::new();
    for (&id, names) in found {
        let expression = program.tree.expression(id);
        for &name in names {
            let at = first.entry(name).or_insert(expression.at);
            *at = (*at).min(expression.at);
        }
        if let ExpressionKind::Call(call) = expression.kind
            && expression.assigned
            && let Some(left) = program.tree.nth(call, 1)
        {
            assigned.extend(vars::of_term(&program.tree, left, Skip::NOTHING));
        }
    }
    first.retain(|&name, _| !program.is_generated(name));
    // A variable is unsafe because its assignment needs another one: that one is to be named.
    if first.keys().any(|name| !assigned.contains(name)) {
        first.retain(|name, _| !assigned.contains(name));
    }
    let mut wanted: Vec<_> = first.into_iter().collect();
    wanted.sort_unstable_by_key(|&(name, at)| (at, name));
    if wanted.is_empty()
        && let Some((&id, _)) = found.iter().next()
    {
        let at = program.tree.expression(id).at;
        let message = "this expression needs a value that nothing gives";
        refusals.push(program.refuse(module, at, Code::UnsafeVariable, message));
    }
    for (name, at) in wanted {
        refusals.push(unsafe_variable(program, module, name, at));
    }
}

/// Orders the bodies of one rule after another.
struct Checker<'a> {
    program: &'a Program,
    /// By variable: whether it is bound where the checker is.
    bound: Vec<bool>,
    /// The variables that were bound, to be taken back.
    trail: Vec<Name>,
    found: Unsafe,
    orders: Vec<(Body, Vec<ExpressionId>)>,
}

impl<'a> Checker<'a> {
    fn new(program: &'a Program) -> Self {
        Self {
            program,
            bound: vec![false; program.names.len()],
            trail: Vec::new(),
            found: Unsafe::new(),
            orders: Vec::new(),
        }
    }

    fn start(&mut self, parameters: Vars) {
        self.release(0);
        self.found.clear();
        for name in parameters {
            self.bind(name);
        }
    }

    fn is_bound(&self, name: Name) -> bool {
        self.bound.get(name.index()).copied().unwrap_or_default()
    }

    fn bind(&mut self, name: Name) {
        if let Some(bound) = self.bound.get_mut(name.index()).filter(|bound| !**bound) {
            *bound = true;
            self.trail.push(name);
        }
    }

    /// Takes back what was bound since the trail had that length.
    fn release(&mut self, length: usize) {
        for name in self.trail.drain(length.min(self.trail.len())..) {
            if let Some(bound) = self.bound.get_mut(name.index()) {
                *bound = false;
            }
        }
    }

    /// The variables that must be bound around an expression.
    fn visible(&self, id: ExpressionId) -> Vec<Name> {
        let mut names = Vec::new();
        let tree = &self.program.tree;
        let mut finder = Finder { tree, skip: Skip::SAFETY, found: |name| names.push(name) };
        finder.expression(id);
        match tree.expression(id).kind {
            ExpressionKind::Not { body, explicit: false } => names.extend(self.implicit(body)),
            ExpressionKind::And(sides) | ExpressionKind::Or(sides) => {
                if !sides.explicit_left {
                    names.extend(self.implicit(sides.left));
                }
                if !sides.explicit_right {
                    names.extend(self.implicit(sides.right));
                }
            }
            _ => {}
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    fn vars_of(&self, term: TermId) -> Vars {
        vars::of_term(&self.program.tree, term, Skip::NOTHING)
    }
}
