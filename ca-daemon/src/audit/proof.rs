//! Proofs over the tree: that an entry is in it, and that an older tree is its beginning.
//!
//! Making one is in two steps, so that it needs no I/O: a [`ProofPlan`] says which stored subtrees and which leaves
//! are to be read, and turns them into the proof. It asks for the leaves of at most two blocks of 256, and for two
//! subtrees a level, however long the log is.

use std::{collections::HashMap, ops::Range};

use super::tree::{Frontier, Hash, STORED_LEVEL, empty_root, leaf_hash, node_hash};
use super::{Checkpoint, Node};

/// A perfect subtree, by its place: `level` and `position` as in [`Node`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// It has two to the power of this many leaves.
    pub level: u8,
    /// Which of its level, from the left.
    pub position: u64,
}

impl Place {
    fn leaves(self) -> Range<u64> {
        self.position << self.level..(self.position + 1) << self.level
    }

    fn children(self) -> Option<(Self, Self)> {
        let level = self.level.checked_sub(1)?;
        let left = Self { level, position: self.position * 2 };
        Some((left, Self { position: left.position + 1, ..left }))
    }
}

/// What a proof is made of: each of its hashes as the perfect subtrees, from the left, that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofPlan(Vec<Vec<Place>>);

impl ProofPlan {
    /// For the proof that leaf `index` is in the tree of `size` leaves (RFC 6962, section 2.1.1).
    ///
    /// # Errors
    /// When the tree has no such leaf.
    pub fn inclusion(index: u64, size: u64) -> Result<Self, ProofError> {
        if index >= size {
            return Err(ProofError::NoSuchEntry { index, size });
        }
        let mut siblings = Vec::new();
        let mut range = 0..size;
        while range.end - range.start > 1 {
            let middle = split(&range);
            let (left, right) = (range.start..middle, middle..range.end);
            if index < middle {
                siblings.push(perfect_subtrees(right));
                range = left;
            } else {
                siblings.push(perfect_subtrees(left));
                range = right;
            }
        }
        siblings.reverse();
        Ok(Self(siblings))
    }

    /// For the proof that the tree of `old` leaves is the beginning of that of `new` (RFC 6962, section 2.1.2). From
    /// the empty tree, and between trees of one size, there is nothing to prove.
    ///
    /// # Errors
    /// When the old tree is the larger one.
    pub fn consistency(old: u64, new: u64) -> Result<Self, ProofError> {
        if old > new {
            return Err(ProofError::Shrinks { old, new });
        }
        if old == 0 || old == new {
            return Ok(Self(Vec::new()));
        }
        let mut hashes = Vec::new();
        let mut range = 0..new;
        while old < range.end {
            let middle = split(&range);
            let (left, right) = (range.start..middle, middle..range.end);
            if old <= middle {
                hashes.push(perfect_subtrees(right));
                range = left;
            } else {
                hashes.push(perfect_subtrees(left));
                range = right;
            }
        }
        // What is left is the right edge of the old tree. When it is all of the old tree, the verifier knows it.
        if range.start > 0 {
            hashes.push(perfect_subtrees(range));
        }
        hashes.reverse();
        Ok(Self(hashes))
    }

    /// For the frontier of the tree of `size` leaves, to be had from [`ProofPlan::frontier`].
    #[must_use]
    pub fn peaks(size: u64) -> Self {
        Self(perfect_subtrees(0..size).into_iter().map(|place| vec![place]).collect())
    }

    /// The frontier that was planned for with [`ProofPlan::peaks`].
    ///
    /// # Errors
    /// As [`ProofPlan::prove`].
    pub fn frontier(&self, read: &ProofMaterial) -> Result<Frontier, ProofError> {
        let last = self.0.iter().flatten().next_back();
        let size = last.map_or(0, |place| place.leaves().end);
        Ok(Frontier::of_peaks(size, self.prove(read)?))
    }

    /// The stored subtrees that it needs.
    pub fn nodes(&self) -> impl Iterator<Item = Place> {
        self.0.iter().flatten().copied().filter(|place| place.level >= STORED_LEVEL)
    }

    /// The leaves that it needs, as few ranges as they make, from the left.
    #[must_use]
    pub fn leaves(&self) -> Vec<Range<u64>> {
        let small = self.0.iter().flatten().filter(|place| place.level < STORED_LEVEL);
        let mut ranges: Vec<_> = small.map(|place| place.leaves()).collect();
        ranges.sort_by_key(|range| range.start);
        ranges.dedup_by(|next, range| {
            let touches = next.start <= range.end;
            if touches {
                range.end = range.end.max(next.end);
            }
            touches
        });
        ranges
    }

    /// The proof, from what was read.
    ///
    /// # Errors
    /// When a subtree or a leaf that it needs was not read: it is missing in the database.
    pub fn prove(&self, read: &ProofMaterial) -> Result<Vec<Hash>, ProofError> {
        self.0.iter().map(|places| read.range(places)).collect()
    }
}

/// The largest power of two below the length, from the range's beginning on.
fn split(range: &Range<u64>) -> u64 {
    range.start + (1 << (range.end - range.start - 1).ilog2())
}

/// A range that begins where a perfect subtree of its own size would, as the perfect subtrees that it consists of.
fn perfect_subtrees(range: Range<u64>) -> Vec<Place> {
    let mut places = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let exponent = (range.end - start).ilog2();
        places.push(Place { level: exponent.to_le_bytes()[0], position: start >> exponent });
        start += 1 << exponent;
    }
    places
}

/// What was read for a proof.
#[derive(Debug, Default)]
pub struct ProofMaterial(HashMap<Place, Hash>);

impl ProofMaterial {
    /// Adds a stored subtree.
    pub fn add_node(&mut self, node: &Node) {
        self.0.insert(Place { level: node.level, position: node.position }, node.hash);
    }

    /// Adds a leaf, as it is stored.
    pub fn add_leaf(&mut self, index: u64, leaf: &[u8]) {
        self.0.insert(Place { level: 0, position: index }, leaf_hash(leaf));
    }

    fn range(&self, places: &[Place]) -> Result<Hash, ProofError> {
        let mut smallest_first = places.iter().rev();
        let Some(first) = smallest_first.next() else { return Ok(empty_root()) };
        smallest_first
            .try_fold(self.subtree(*first)?, |right, left| Ok(node_hash(&self.subtree(*left)?, &right)))
    }

    fn subtree(&self, place: Place) -> Result<Hash, ProofError> {
        if let Some(hash) = self.0.get(&place) {
            return Ok(*hash);
        }
        match place.children() {
            Some((left, right)) if place.level <= STORED_LEVEL => {
                Ok(node_hash(&self.subtree(left)?, &self.subtree(right)?))
            }
            Some(_) => Err(ProofError::MissingNode(place)),
            None => Err(ProofError::MissingEntry(place.position)),
        }
    }
}

/// Verifies that a leaf is entry `index` of the log that a checkpoint states (RFC 9162, section 2.1.3.2).
///
/// # Errors
/// When the proof does not lead from this leaf to the checkpoint's root.
pub fn verify_inclusion(
    leaf: &[u8],
    index: u64,
    proof: &[Hash],
    checkpoint: &Checkpoint,
) -> Result<(), ProofError> {
    let size = checkpoint.size;
    if index >= size {
        return Err(ProofError::NoSuchEntry { index, size });
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf_hash(leaf);
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::NotIncluded { index });
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            rise_to_right_child(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == checkpoint.root { Ok(()) } else { Err(ProofError::NotIncluded { index }) }
}

/// Verifies that what an old checkpoint states is the beginning of what a new one does (RFC 9162, section 2.1.4.2).
///
/// # Errors
/// When they are of two logs, or the proof does not lead to both roots.
pub fn verify_consistency(old: &Checkpoint, new: &Checkpoint, proof: &[Hash]) -> Result<(), ProofError> {
    if old.log_id != new.log_id {
        return Err(ProofError::OtherLog { old: old.log_id.to_string(), new: new.log_id.to_string() });
    }
    if old.size > new.size {
        return Err(ProofError::Shrinks { old: old.size, new: new.size });
    }
    let inconsistent = ProofError::Inconsistent { old: old.size, new: new.size };
    let holds = |condition: bool| if condition { Ok(()) } else { Err(inconsistent.clone()) };
    if old.size == 0 {
        return holds(proof.is_empty() && old.root == empty_root());
    }
    if old.size == new.size {
        return holds(proof.is_empty() && old.root == new.root);
    }
    let old_is_one_subtree = old.size.is_power_of_two();
    let mut path = old_is_one_subtree.then_some(&old.root).into_iter().chain(proof);
    let (mut node, mut last) = (old.size - 1, new.size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let Some(first) = path.next() else { return Err(inconsistent) };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return Err(inconsistent);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            rise_to_right_child(&mut node, &mut last);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    holds(last == 0 && old_hash == old.root && new_hash == new.root)
}

/// At the tree's right edge a node may have no sibling on several levels: it rises to where it is a right child.
fn rise_to_right_child(node: &mut u64, last: &mut u64) {
    while *node & 1 == 0 && *node != 0 {
        *node >>= 1;
        *last >>= 1;
    }
}

/// Why there is no proof, or why it proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The tree ends before it.
    #[error("there is no entry {index} in a log of {size}")]
    NoSuchEntry {
        /// Which was asked for.
        index: u64,
        /// How many there are.
        size: u64,
    },
    /// The old tree is larger than the new one.
    #[error("the log had {old} entries and now has {new}: it was cut off, or put back to an earlier state")]
    Shrinks {
        /// The old size.
        old: u64,
        /// The new size.
        new: u64,
    },
    /// Checkpoints of two logs.
    #[error("the checkpoints are of two logs, {old} and {new}")]
    OtherLog {
        /// The log of the old one.
        old: String,
        /// The log of the new one.
        new: String,
    },
    /// A subtree is not in the database.
    #[error("the subtree {} of level {} is missing in the database", .0.position, .0.level)]
    MissingNode(Place),
    /// A leaf is not in the database.
    #[error("entry {0} is missing in the database")]
    MissingEntry(u64),
    /// The proof of an entry leads elsewhere.
    #[error(
        "the proof does not lead from entry {index} to the checkpoint: the entry or the proof was changed"
    )]
    NotIncluded {
        /// The entry.
        index: u64,
    },
    /// The proof of consistency leads elsewhere.
    #[error(
        "the log of {old} entries is not the beginning of that of {new}: entries before {old} were changed since, or the log was forked"
    )]
    Inconsistent {
        /// The old size.
        old: u64,
        /// The new size.
        new: u64,
    },
}

#[cfg(test)]
mod tests {
    use ct_merkle::{InclusionProof, mem_backed_tree::MemoryBackedTree};
    use proptest::prelude::*;
    use rstest::rstest;
    use sha2::Sha256;

    use super::*;
    use crate::audit::LogId;

    /// A log as a database keeps it, and what another implementation makes of it.
    struct Log {
        leaves: Vec<Vec<u8>>,
        nodes: Vec<Node>,
        checkpoints: Vec<Checkpoint>,
        independent: MemoryBackedTree<Sha256, Vec<u8>>,
    }

    impl Log {
        fn of(size: u64) -> Self {
            let log_id = LogId::parse("log").unwrap();
            let mut frontier = Frontier::default();
            let checkpoint = |frontier: &Frontier| Checkpoint {
                log_id: log_id.clone(),
                size: frontier.size(),
                root: frontier.root(),
            };
            let mut log = Self {
                leaves: Vec::new(),
                nodes: Vec::new(),
                checkpoints: vec![checkpoint(&frontier)],
                independent: MemoryBackedTree::new(),
            };
            for index in 0..size {
                let leaf = format!("entry {index}").into_bytes();
                frontier.append(leaf_hash(&leaf), &mut log.nodes);
                log.checkpoints.push(checkpoint(&frontier));
                log.independent.push(leaf.clone());
                log.leaves.push(leaf);
            }
            log
        }

        /// Only what the plan asks for, as a database would give it.
        fn read(&self, plan: &ProofPlan) -> ProofMaterial {
            let mut material = ProofMaterial::default();
            for place in plan.nodes() {
                let is_it = |node: &&Node| (node.level, node.position) == (place.level, place.position);
                material.add_node(self.nodes.iter().find(is_it).unwrap());
            }
            for index in plan.leaves().into_iter().flatten() {
                material.add_leaf(index, &self.leaves[usize::try_from(index).unwrap()]);
            }
            material
        }

        fn prove(&self, plan: &ProofPlan) -> Vec<Hash> {
            plan.prove(&self.read(plan)).unwrap()
        }
    }

    fn flat(proof: &[Hash]) -> Vec<u8> {
        proof.concat()
    }

    #[test]
    fn proves_each_entry_of_each_small_log_as_another_implementation_does() {
        for size in 1..=20 {
            let log = Log::of(size);
            let checkpoint = &log.checkpoints[log.leaves.len()];
            for (index, leaf) in (0..size).zip(&log.leaves) {
                let proof = log.prove(&ProofPlan::inclusion(index, size).unwrap());
                let at = usize::try_from(index).unwrap();
                assert_eq!(flat(&proof), log.independent.prove_inclusion(at).as_bytes());
                assert_eq!(verify_inclusion(leaf, index, &proof, checkpoint), Ok(()));
            }
        }
    }

    #[test]
    fn proves_each_growth_of_small_logs_as_another_implementation_does() {
        for new in 1..=20_usize {
            let log = Log::of(new as u64);
            for old in 1..=new {
                let proof = log.prove(&ProofPlan::consistency(old as u64, new as u64).unwrap());
                assert_eq!(flat(&proof), log.independent.prove_consistency(new - old).as_bytes());
                assert_eq!(verify_consistency(&log.checkpoints[old], &log.checkpoints[new], &proof), Ok(()));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]

        #[test]
        fn proves_in_logs_with_stored_subtrees(
            size in 256_u64..1500,
            part in any::<prop::sample::Index>(),
            seed in 0_usize..64,
        ) {
            let log = Log::of(size);
            let index = part.index(log.leaves.len());
            let at = index as u64;
            let (old, new) = (&log.checkpoints[index], &log.checkpoints[log.leaves.len()]);

            let mut proof = log.prove(&ProofPlan::inclusion(at, size).unwrap());
            let independent = InclusionProof::<Sha256>::try_from_bytes(flat(&proof)).unwrap();
            prop_assert!(log.independent.root().verify_inclusion(&log.leaves[index], at, &independent).is_ok());
            prop_assert_eq!(verify_inclusion(&log.leaves[index], at, &proof, new), Ok(()));
            let spoiled = seed % proof.len();
            proof[spoiled][0] ^= 1;
            prop_assert!(verify_inclusion(&log.leaves[index], at, &proof, new).is_err());

            let mut proof = log.prove(&ProofPlan::consistency(at, size).unwrap());
            prop_assert_eq!(verify_consistency(old, new, &proof), Ok(()));
            if !proof.is_empty() {
                let spoiled = seed % proof.len();
                proof[spoiled][31] ^= 1;
                prop_assert!(verify_consistency(old, new, &proof).is_err());
            }
        }

        #[test]
        fn refuses_any_other_proof(
            size in 0_u64..40,
            index in 0_u64..40,
            proof in proptest::collection::vec(any::<Hash>(), 0..8),
        ) {
            let log = Log::of(40);
            let all = &log.checkpoints[40];
            prop_assert!(verify_inclusion(b"forged", index, &proof, all).is_err());
            let is_trivial = size == 0 && proof.is_empty();
            let old = &log.checkpoints[usize::try_from(size).unwrap()];
            prop_assert_eq!(verify_consistency(old, all, &proof).is_ok(), is_trivial);
        }
    }

    #[test]
    fn finds_the_frontier_of_any_earlier_size() {
        let log = Log::of(600);
        let mut frontier = Frontier::default();
        for (size, checkpoint) in log.checkpoints.iter().enumerate() {
            let plan = ProofPlan::peaks(size as u64);
            let found = plan.frontier(&log.read(&plan)).unwrap();
            assert_eq!((&found, found.root()), (&frontier, checkpoint.root));
            if let Some(leaf) = log.leaves.get(size) {
                frontier.append(leaf_hash(leaf), &mut Vec::new());
            }
        }
    }

    /// However long the log: what is read stays small.
    #[rstest]
    #[case(10_000_000, 1)]
    #[case(10_000_000, 9_999_999)]
    #[case((1 << 40) - 1, 12_345_678_901)]
    #[case(i64::MAX as u64, (1 << 62) - 1)]
    fn reads_few_rows(#[case] size: u64, #[case] index: u64) {
        for plan in [ProofPlan::inclusion(index, size), ProofPlan::consistency(index, size)] {
            let plan = plan.unwrap();
            let leaves: u64 = plan.leaves().iter().map(|range| range.end - range.start).sum();
            assert!(leaves <= 511, "{leaves} leaves");
            assert!(plan.nodes().count() <= 128, "{} nodes", plan.nodes().count());
        }
    }

    #[test]
    fn refuses_what_cannot_be_proven() {
        assert_eq!(ProofPlan::inclusion(3, 3), Err(ProofError::NoSuchEntry { index: 3, size: 3 }));
        assert_eq!(ProofPlan::consistency(4, 3), Err(ProofError::Shrinks { old: 4, new: 3 }));
        let plan = ProofPlan::inclusion(0, 1000).unwrap();
        assert_eq!(plan.prove(&ProofMaterial::default()), Err(ProofError::MissingEntry(1)));
    }

    #[test]
    fn tells_a_fork_and_another_log() {
        let log = Log::of(9);
        let mut fork = log.checkpoints[5].clone();
        fork.root[0] ^= 1;
        let proof = log.prove(&ProofPlan::consistency(5, 9).unwrap());
        let found = verify_consistency(&fork, &log.checkpoints[9], &proof);
        assert_eq!(found, Err(ProofError::Inconsistent { old: 5, new: 9 }));
        let mut other = log.checkpoints[5].clone();
        other.log_id = LogId::parse("other").unwrap();
        assert!(matches!(
            verify_consistency(&other, &log.checkpoints[9], &proof),
            Err(ProofError::OtherLog { .. })
        ));
    }
}
