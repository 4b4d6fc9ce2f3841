//! The order of one body.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use crate::syntax::{
    Name,
    ast::{Body, ExpressionId},
};

use super::{super::vars::Vars, Checker, outputs};

/// An expression that waits for its variables.
struct Waiting {
    id: ExpressionId,
    /// The variables that must be bound, minus those that are known to be.
    needs: Vec<Name>,
    /// Variables of its closures that the body binds; when there are any, they are what it needs.
    closed: Vec<Name>,
    ready: bool,
    /// OPA never places it: it knows what it has placed by its new position and what it says, and something that says
    /// the same has got the position where this one was written.
    mistaken: bool,
}

impl Checker<'_> {
    /// Orders a body, and then those inside it. What is bound around it is bound in the checker, before and after.
    pub(super) fn body(&mut self, body: Body) {
        let outside = self.trail.len();
        let mut waiting = self.needs(body);
        let mut order = Vec::with_capacity(waiting.len());
        let mut late = Vec::new();
        for (index, each) in waiting.iter_mut().enumerate() {
            if !self.try_place(each, &mut order) {
                late.push(index);
            }
        }
        if !late.is_empty() {
            self.place_late(&mut waiting, late, &mut order);
        }
        for each in waiting.iter().filter(|each| !each.ready) {
            let mut left = each.needs.clone();
            left.retain(|&name| each.mistaken || !self.is_bound(name));
            self.found.entry(each.id).or_default().extend(left);
        }
        self.release(outside);
        self.closures_of(&order);
        self.release(outside);
        let unchanged = order.as_slice() == self.program.tree.body(body);
        if order.len() == body.len() && !unchanged {
            self.orders.push((body, order));
        }
    }

    fn needs(&self, body: Body) -> Vec<Waiting> {
        let expressions = self.program.tree.body(body);
        let mut waiting = Vec::with_capacity(expressions.len());
        let mut all: Option<Vars> = None;
        for &id in expressions {
            let mut needs = self.visible(id);
            needs.retain(|&name| !self.is_bound(name));
            let mut closed = self.closed_over(id);
            if !closed.is_empty() {
                let all =
                    all.get_or_insert_with(|| expressions.iter().flat_map(|&id| self.visible(id)).collect());
                closed.retain(|name| all.contains(name) && !self.is_bound(*name));
            }
            waiting.push(Waiting { id, needs, closed, ready: false, mistaken: false });
        }
        waiting
    }

    /// Puts an expression into the order if all that it needs is bound, or is bound by it.
    fn try_place(&mut self, each: &mut Waiting, order: &mut Vec<ExpressionId>) -> bool {
        let bound = |name: Name| self.is_bound(name);
        let binds = outputs::of_expression(self.program, each.id, &bound);
        if !each.closed.is_empty() {
            // An expression cannot bind what its own closures need.
            let itself =
                binds.len() == each.closed.len() && each.closed.iter().all(|name| binds.contains(name));
            if itself {
                return false;
            }
            each.needs.clone_from(&each.closed);
        }
        each.needs.retain(|&name| !binds.contains(&name) && !bound(name));
        each.ready = each.needs.is_empty();
        if each.ready {
            order.push(each.id);
            for name in binds {
                self.bind(name);
            }
        }
        each.ready
    }

    /// Places what was not ready in the order of the text: each expression is tried again when a variable of it was
    /// bound, the small ones first.
    fn place_late(&mut self, waiting: &mut [Waiting], late: Vec<usize>, order: &mut Vec<ExpressionId>) {
        let mut users: HashMap<Name, Vec<usize>> = HashMap::new();
        for &index in &late {
            let Some(each) = waiting.get(index) else { continue };
            for name in self.visible(each.id).into_iter().chain(each.closed.iter().copied()) {
                users.entry(name).or_default().push(index);
            }
        }
        // As OPA goes through a body again and again: who waits for a variable has its turn in the same round when it
        // stands below, and in the next one otherwise.
        let (mut round, mut next): (BTreeSet<usize>, BTreeSet<usize>) =
            (late.into_iter().collect(), BTreeSet::new());
        while let Some(index) = round.pop_first() {
            if let Some(each) = waiting.get_mut(index).filter(|each| !each.ready) {
                let before = self.trail.len();
                each.mistaken =
                    order.get(index).is_some_and(|&placed| self.program.tree.alike(placed, each.id));
                if !each.mistaken && self.try_place(each, order) {
                    for name in self.trail.get(before..).unwrap_or_default() {
                        let users = users.get(name).into_iter().flatten().copied();
                        let (below, above): (Vec<_>, Vec<_>) = users.partition(|&user| user > index);
                        round.extend(below);
                        next.extend(above);
                    }
                }
            }
            if round.is_empty() {
                round = std::mem::take(&mut next);
            }
        }
    }
}
