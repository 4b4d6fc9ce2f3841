//! Rules that cannot stand beside one another, beside a package, or beside data.

use hashbrown::{HashMap, HashSet};
use serde_json::Value as Json;

use crate::{Code, syntax::Name};

use super::{
    finding::Finding,
    program::{PlacedRule, Program},
    rule_tree::{Key, NodeId, RuleTree},
};

/// Checks rules against rules and packages.
pub(super) fn check(program: &Program) -> Vec<Finding> {
    let below = Below::of(program);
    let mut refusals = Vec::new();
    for node in program.rule_tree.nodes() {
        let rules: Vec<_> = program.rule_tree.rules(node).iter().filter_map(|&id| program.rule(id)).collect();
        if let Some(first) = rules.first() {
            refusals.extend(at_node(program, node, (first, &rules), &below));
        }
    }
    refusals.extend(with_packages(program));
    refusals
}

fn place(program: &Program, placed: &PlacedRule) -> String {
    let module = program.modules.get(placed.module);
    module.map_or_else(String::new, |module| {
        format!("{}:{}", module.file(), module.position(placed.rule.at).line)
    })
}

fn name(program: &Program, placed: &PlacedRule) -> String {
    program.tree.dotted(placed.path, &program.names)
}

fn at_node(
    program: &Program,
    node: NodeId,
    (first, rules): (&PlacedRule, &[&PlacedRule]),
    below: &Below,
) -> Option<Finding> {
    let refuse = |message: String| program.refuse(first.module, first.rule.at, Code::Type, message);
    let ground = |placed: &PlacedRule| program.tree.is_ground_path(placed.rule.head.reference);
    let closed = rules.iter().any(|placed| ground(placed));
    // Nothing may lie inside a rule whose name has no variables, and no function inside any.
    let inside = match closed {
        true => below.rule(node),
        false => None,
    };
    if let Some(inside) = inside.or_else(|| below.function(node)).and_then(|id| program.rule(id)) {
        let message = format!(
            "the rule `{}` has another rule inside it: `{}` at {}",
            name(program, first),
            name(program, inside),
            place(program, inside)
        );
        return Some(refuse(message).suggest("rename one of the two"));
    }
    let complete = |placed: &&PlacedRule| !placed.rule.head.is_multi_value() && ground(placed);
    let set = |placed: &&PlacedRule| placed.rule.head.is_multi_value() && ground(placed);
    let sets_below = |placed: &&PlacedRule| placed.rule.head.is_multi_value() && !ground(placed);
    let multi = |placed: &&PlacedRule| placed.rule.head.is_multi_value();
    let arity = |placed: &PlacedRule| placed.rule.head.arguments.len();
    let how = if rules.iter().any(|placed| arity(placed) != arity(first)) {
        Some("take different numbers of arguments")
    } else if rules.iter().any(&multi) && !rules.iter().all(&multi) {
        Some("are of different kinds: sets, and values")
    } else if rules.iter().any(&complete) && !rules.iter().all(&complete) {
        Some("are of different kinds: values, and objects by key")
    } else if rules.iter().any(set) && rules.iter().any(sets_below) {
        Some("are of different kinds: sets, and objects of sets")
    } else {
        None
    };
    if let Some(how) = how {
        let last = rules.last().map(|placed| place(program, placed)).unwrap_or_default();
        let message = format!("the rules called `{}` {how}; see also {last}", name(program, first));
        return Some(refuse(message).suggest("rename some of them, or write them alike"));
    }
    let defaults: Vec<_> = rules.iter().filter(|placed| placed.rule.is_default).collect();
    if let [_, second, ..] = defaults.as_slice() {
        let places: Vec<_> = defaults.iter().map(|placed| place(program, placed)).collect();
        let message =
            format!("the rule `{}` has several defaults: {}", name(program, second), places.join(", "));
        let refusal = program.refuse(second.module, second.rule.at, Code::Type, message);
        return Some(refusal.suggest("keep one of them"));
    }
    None
}

/// For each node, a rule that lies below it.
struct Below {
    rules: Vec<Option<super::program::RuleId>>,
    functions: Vec<Option<super::program::RuleId>>,
}

impl Below {
    fn of(program: &Program) -> Self {
        let tree = &program.rule_tree;
        let count = tree.nodes().count();
        let mut below = Self { rules: vec![None; count], functions: vec![None; count] };
        for node in tree.nodes().rev() {
            let Some(parent) = tree.parent(node) else { continue };
            let function =
                tree.rules(node).iter().copied().find(|&id| {
                    program.rule(id).is_some_and(|placed| !placed.rule.head.arguments.is_empty())
                });
            let rule = tree.rules(node).first().copied().or_else(|| below.rule(node));
            let function = function.or_else(|| below.function(node));
            if let Some(known) = below.rules.get_mut(parent.0 as usize) {
                *known = rule.or(*known);
            }
            if let Some(known) = below.functions.get_mut(parent.0 as usize) {
                *known = function.or(*known);
            }
        }
        below
    }

    fn rule(&self, node: NodeId) -> Option<super::program::RuleId> {
        self.rules.get(node.0 as usize).copied().flatten()
    }

    fn function(&self, node: NodeId) -> Option<super::program::RuleId> {
        self.functions.get(node.0 as usize).copied().flatten()
    }
}

/// A rule cannot stand where a package is.
fn with_packages(program: &Program) -> Vec<Finding> {
    let mut packages: HashMap<NodeId, usize> = HashMap::new();
    let mut ways = HashSet::new();
    for index in 0..program.modules.len() {
        let mut node = program.rule_tree.child(RuleTree::ROOT, Key::Root(Name::DATA));
        ways.extend(node);
        for name in program.package(index) {
            node = node.and_then(|node| program.rule_tree.child(node, Key::String(name)));
            ways.extend(node);
        }
        if let Some(node) = node {
            packages.entry(node).or_insert(index);
        }
    }
    let mut refusals = Vec::new();
    for placed in program.rules.iter().filter(|placed| !placed.rule.is_else) {
        if leaves_by_no_string(program, placed, &ways) {
            let message = format!(
                "the rule `{}` has a key that is no string where packages are, at which OPA fails",
                name(program, placed)
            );
            let refusal = program.refuse(placed.module, placed.rule.at, Code::Type, message);
            refusals.push(refusal.suggest("rename the rule or the package"));
            continue;
        }
        if !program.tree.is_ground_path(placed.rule.head.reference) {
            continue;
        }
        let node = program.rule_tree.find(program.tree.terms(placed.path), &program.tree);
        if let Some(module) =
            node.and_then(|node| packages.get(&node)).and_then(|&index| program.modules.get(index))
        {
            let message = format!(
                "the rule `{}` stands where a package is, which {} declares",
                name(program, placed),
                module.file()
            );
            let refusal = program.refuse(placed.module, placed.rule.at, Code::Type, message);
            refusals.push(refusal.suggest("rename the rule or the package"));
        }
    }
    refusals
}

/// Whether a rule's path leaves the ways to packages by a constant that is no string: looking for a package there, OPA
/// takes each constant for a string, and ends.
fn leaves_by_no_string(program: &Program, placed: &PlacedRule, ways: &HashSet<NodeId>) -> bool {
    let mut node = RuleTree::ROOT;
    for &step in program.tree.terms(placed.path) {
        let Some(key) = Key::of(&program.tree, step) else { return false };
        if matches!(key, Key::Number(_) | Key::Boolean(_) | Key::Null) {
            return ways.contains(&node);
        }
        match program.rule_tree.child(node, key).filter(|child| ways.contains(child)) {
            Some(child) => node = child,
            None => return false,
        }
    }
    false
}

/// Checks rules against data documents: a rule cannot stand where data is.
pub(super) fn check_data(program: &Program, data: &Json) -> Vec<Finding> {
    let mut refusals = Vec::new();
    let tree = &program.rule_tree;
    let mut open: Vec<(NodeId, &Json)> = Vec::new();
    open.extend(tree.child(RuleTree::ROOT, Key::Root(Name::DATA)).map(|node| (node, data)));
    while let Some((node, data)) = open.pop() {
        let Json::Object(members) = data else {
            let rules = std::iter::once(node).filter_map(|node| first_rule(program, node));
            refusals.extend(rules.map(|placed| conflicts_with_data(program, placed)));
            continue;
        };
        for &child in tree.children(node) {
            let Some(Key::String(key)) = tree.key(child) else { continue };
            let Some(member) = members.get(program.names.text(key)) else { continue };
            match tree.rules(child).first().and_then(|&id| program.rule(id)) {
                Some(placed) => refusals.push(conflicts_with_data(program, placed)),
                None => open.push((child, member)),
            }
        }
    }
    refusals
}

/// The first rule at or below a node.
fn first_rule(program: &Program, node: NodeId) -> Option<&PlacedRule> {
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        if let Some(&id) = program.rule_tree.rules(node).first() {
            return program.rule(id);
        }
        open.extend_from_slice(program.rule_tree.children(node));
    }
    None
}

fn conflicts_with_data(program: &Program, placed: &PlacedRule) -> Finding {
    let message = format!("the rule `{}` stands where data is", name(program, placed));
    let refusal = program.refuse(placed.module, placed.rule.at, Code::Compile, message);
    refusal.suggest("rename the rule, or move the data")
}
