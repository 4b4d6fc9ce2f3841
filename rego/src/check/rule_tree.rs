//! The rules by where they lie in `data`.

use hashbrown::HashMap;

use crate::syntax::{
    Name,
    ast::{TermId, Tree, Value},
};

use super::program::RuleId;

/// A node of a [`RuleTree`]. A child has a greater number than its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

/// One step of a path, if it is a constant that is no collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// The first word: `data`, `input` or a name.
    Root(Name),
    /// A string.
    String(Name),
    /// A number.
    Number(Name),
    /// A boolean.
    Boolean(bool),
    /// Null.
    Null,
}

impl Key {
    /// The key that a term is.
    #[must_use]
    pub fn of(tree: &Tree, term: TermId) -> Option<Self> {
        Some(match tree.value(term) {
            Value::Var(name) => Self::Root(name),
            Value::String(name) => Self::String(name),
            Value::Number(name) => Self::Number(name),
            Value::Boolean(value) => Self::Boolean(value),
            Value::Null => Self::Null,
            _ => return None,
        })
    }
}

/// The rules by the ground beginning of their paths.
#[derive(Debug, Default)]
pub struct RuleTree {
    nodes: Vec<Node>,
    children: HashMap<(NodeId, Key), NodeId>,
}

#[derive(Debug, Default)]
struct Node {
    parent: Option<NodeId>,
    key: Option<Key>,
    rules: Vec<RuleId>,
    children: Vec<NodeId>,
}

impl RuleTree {
    /// The node above `data`.
    pub const ROOT: NodeId = NodeId(0);

    /// A tree with nothing but its root.
    #[must_use]
    pub fn new() -> Self {
        Self { nodes: vec![Node::default()], children: HashMap::new() }
    }

    /// Makes the nodes of a path.
    pub(crate) fn add_path(&mut self, path: impl Iterator<Item = Key>) -> NodeId {
        path.fold(Self::ROOT, |node, key| self.add_child(node, key))
    }

    fn add_child(&mut self, parent: NodeId, key: Key) -> NodeId {
        if let Some(child) = self.child(parent, key) {
            return child;
        }
        let child = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Node { parent: Some(parent), key: Some(key), ..Node::default() });
        self.children.insert((parent, key), child);
        if let Some(parent) = self.nodes.get_mut(parent.0 as usize) {
            parent.children.push(child);
        }
        child
    }

    /// Puts a rule at a node.
    pub(crate) fn add_rule(&mut self, node: NodeId, rule: RuleId) {
        if let Some(node) = self.nodes.get_mut(node.0 as usize) {
            node.rules.push(rule);
        }
    }

    /// The node below another one.
    #[must_use]
    pub fn child(&self, node: NodeId, key: Key) -> Option<NodeId> {
        self.children.get(&(node, key)).copied()
    }

    /// The nodes below another one.
    #[must_use]
    pub fn children(&self, node: NodeId) -> &[NodeId] {
        self.nodes.get(node.0 as usize).map_or(&[], |node| &node.children)
    }

    /// The node above another one.
    #[must_use]
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.nodes.get(node.0 as usize).and_then(|node| node.parent)
    }

    /// The step from its parent to a node.
    #[must_use]
    pub fn key(&self, node: NodeId) -> Option<Key> {
        self.nodes.get(node.0 as usize).and_then(|node| node.key)
    }

    /// The rules at a node, without `else` branches.
    #[must_use]
    pub fn rules(&self, node: NodeId) -> &[RuleId] {
        self.nodes.get(node.0 as usize).map_or(&[], |node| &node.rules)
    }

    /// All nodes, parents before children.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)).map(NodeId)
    }

    /// The node of a path.
    #[must_use]
    pub fn find(&self, path: &[TermId], tree: &Tree) -> Option<NodeId> {
        path.iter().try_fold(Self::ROOT, |node, &step| self.child(node, Key::of(tree, step)?))
    }

    /// The rules whose ground path is exactly this one.
    #[must_use]
    pub fn exactly(&self, path: &[TermId], tree: &Tree) -> &[RuleId] {
        self.find(path, tree).map_or(&[], |node| self.rules(node))
    }
}
