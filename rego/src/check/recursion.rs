//! Rules that depend on themselves, and the order of those that do not.

use std::collections::VecDeque;

use hashbrown::HashSet;

use crate::Code;

use super::{
    finding::Finding,
    graph::Graph,
    program::{Program, RuleId},
};

/// Refuses recursion, and gives the rules that are part of it; where there is none, says in which order the rules depend on
/// one another.
pub(super) fn check(program: &mut Program, graph: &Graph) -> (Vec<Finding>, Vec<RuleId>) {
    let mut search = Search::new(graph);
    for number in 0..u32::try_from(graph.len()).unwrap_or(u32::MAX) {
        search.from(number);
    }
    let order = search.order.iter().copied().filter(|&number| graph.is_rule(number)).map(RuleId).collect();
    let cycles: Vec<_> = search.cycles.iter().filter_map(|cycle| refusal(program, graph, cycle)).collect();
    let members = search.cycles.iter().flatten().copied().filter(|&number| graph.is_rule(number));
    let members = members.map(RuleId).collect();
    program.order = order;
    (cycles, members)
}

/// Strongly connected components, without recursion: each is finished after all that it depends on.
struct Search<'a> {
    graph: &'a Graph,
    index: Vec<u32>,
    low: Vec<u32>,
    on_stack: Vec<bool>,
    stack: Vec<u32>,
    next: u32,
    order: Vec<u32>,
    cycles: Vec<Vec<u32>>,
}

const NEW: u32 = u32::MAX;

impl<'a> Search<'a> {
    fn new(graph: &'a Graph) -> Self {
        let count = graph.len();
        Self {
            graph,
            index: vec![NEW; count],
            low: vec![0; count],
            on_stack: vec![false; count],
            stack: Vec::new(),
            next: 0,
            order: Vec::with_capacity(count),
            cycles: Vec::new(),
        }
    }

    fn index_of(&self, number: u32) -> u32 {
        self.index.get(number as usize).copied().unwrap_or_default()
    }

    fn low_of(&self, number: u32) -> u32 {
        self.low.get(number as usize).copied().unwrap_or_default()
    }

    fn lower(&mut self, number: u32, to: u32) {
        if let Some(low) = self.low.get_mut(number as usize) {
            *low = (*low).min(to);
        }
    }

    fn open(&mut self, number: u32) {
        if let (Some(index), Some(low), Some(on_stack)) = (
            self.index.get_mut(number as usize),
            self.low.get_mut(number as usize),
            self.on_stack.get_mut(number as usize),
        ) {
            (*index, *low, *on_stack) = (self.next, self.next, true);
        }
        self.next += 1;
        self.stack.push(number);
    }

    fn from(&mut self, start: u32) {
        if self.index_of(start) != NEW {
            return;
        }
        self.open(start);
        let mut calls: Vec<(u32, usize)> = vec![(start, 0)];
        while let Some((number, edge)) = calls.pop() {
            let Some(&to) = self.graph.edges(number).get(edge) else {
                self.close(number);
                if let Some(&(caller, _)) = calls.last() {
                    self.lower(caller, self.low_of(number));
                }
                continue;
            };
            calls.push((number, edge + 1));
            if self.index_of(to) == NEW {
                self.open(to);
                calls.push((to, 0));
            } else if self.on_stack.get(to as usize).copied().unwrap_or_default() {
                self.lower(number, self.index_of(to));
            }
        }
    }

    fn close(&mut self, number: u32) {
        if self.low_of(number) != self.index_of(number) {
            return;
        }
        let mut component = Vec::new();
        while let Some(member) = self.stack.pop() {
            if let Some(on_stack) = self.on_stack.get_mut(member as usize) {
                *on_stack = false;
            }
            component.push(member);
            if member == number {
                break;
            }
        }
        self.order.extend(component.iter().rev());
        if component.len() > 1 || self.graph.edges(number).contains(&number) {
            self.cycles.push(component);
        }
    }
}

fn refusal(program: &Program, graph: &Graph, component: &[u32]) -> Option<Finding> {
    let first = component.iter().copied().filter(|&number| graph.is_rule(number)).min()?;
    let placed = program.rule(RuleId(first))?;
    let name = |number: u32| {
        program.rule(RuleId(number)).map(|placed| program.tree.dotted(placed.path, &program.names))
    };
    let cycle = shortest(graph, component, first);
    let mut names: Vec<_> =
        cycle.into_iter().filter(|&number| graph.is_rule(number)).filter_map(name).collect();
    names.dedup();
    let message = match names.as_slice() {
        [only] => format!("the rule `{only}` depends on itself"),
        _ => format!("rules depend on one another in a circle: {}", names.join(" → ")),
    };
    let refusal = program.refuse(placed.module, placed.rule.at, Code::Recursion, message);
    Some(
        refusal
            .suggest("a reference with a variable reaches all that lies below: write its steps as constants"),
    )
}

/// The shortest way from a rule to itself within its component.
fn shortest(graph: &Graph, component: &[u32], start: u32) -> Vec<u32> {
    let members: HashSet<u32> = component.iter().copied().collect();
    let mut from = hashbrown::HashMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(number) = open.pop_front() {
        for &to in graph.edges(number).iter().filter(|to| members.contains(*to)) {
            if to == start {
                let mut way = vec![start, number];
                let mut at = number;
                while at != start {
                    let Some(&before) = from.get(&at) else { break };
                    way.push(before);
                    at = before;
                }
                if number == start {
                    way.pop();
                }
                way.reverse();
                return way;
            }
            if !from.contains_key(&to) && to != start {
                from.insert(to, number);
                open.push_back(to);
            }
        }
    }
    vec![start]
}
