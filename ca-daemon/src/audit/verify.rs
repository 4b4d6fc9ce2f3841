//! Verifying a whole log: its entries in their order against checkpoints that were kept.
//!
//! A root that does not match says that something before it was changed. The roots of the stored blocks, 256 entries
//! each, then tell where: they are believed once they lead to the signed root themselves.

use std::{collections::BTreeMap, ops::Range};

use prost::Message;
use secplane_proto::secplane::ca::v1::AuditRecord;

use super::{
    Checkpoint, LogId,
    tree::{Frontier, Hash, STORED_LEVEL, leaf_hash, node_hash},
};

/// How many entries share one stored subtree.
pub const BLOCK_ENTRIES: u64 = 1 << STORED_LEVEL;
/// The most findings that are reported: one is enough to distrust a log.
const MAX_FINDINGS: usize = 20;
/// Of how many changed blocks the entries are kept, to say more about them.
const MAX_SUSPECTS: usize = 4;

/// Takes in a log, entry by entry, and says in the end whether it is the one that was signed.
pub struct Verifier {
    log_id: LogId,
    checkpoints: Vec<Reached>,
    stored_blocks: BTreeMap<u64, Hash>,
    blocks: Vec<Hash>,
    /// The entries of the block that is being taken in.
    block: Vec<Hash>,
    frontier: Frontier,
    suspects: Vec<(u64, Vec<Hash>)>,
    /// Entries that are no audit records.
    unreadable: Vec<u64>,
    findings: Vec<Finding>,
    /// The position that the next entry should have.
    next: u64,
}

/// A checkpoint, and what the log looked like when it had as many entries.
struct Reached {
    checkpoint: Checkpoint,
    found: Option<(Hash, Vec<Hash>)>,
}

/// What a log was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Which log.
    pub log_id: LogId,
    /// How many entries it has.
    pub size: u64,
    /// The root over all of them.
    pub root: Hash,
    /// How many of them the newest checkpoint vouches for.
    pub signed: u64,
}

impl Verifier {
    /// Verifies a log against these checkpoints, whose signatures were verified before.
    ///
    /// # Errors
    /// When there are none, or they are of several logs, or contradict one another.
    pub fn new(mut checkpoints: Vec<Checkpoint>) -> Result<Self, Finding> {
        checkpoints.sort_by_key(|checkpoint| checkpoint.size);
        let log_id = checkpoints.first().ok_or(Finding::NoCheckpoint)?.log_id.clone();
        for pair in checkpoints.windows(2) {
            if pair[0].log_id != pair[1].log_id {
                let (one, other) = (pair[0].log_id.clone(), pair[1].log_id.clone());
                return Err(Finding::TwoLogs { one, other });
            }
            if pair[0].size == pair[1].size && pair[0].root != pair[1].root {
                return Err(Finding::TwoRoots { size: pair[0].size });
            }
        }
        let reached = |checkpoint| Reached { checkpoint, found: None };
        let mut verifier = Self {
            log_id,
            checkpoints: checkpoints.into_iter().map(reached).collect(),
            stored_blocks: BTreeMap::new(),
            blocks: Vec::new(),
            block: Vec::new(),
            frontier: Frontier::default(),
            suspects: Vec::new(),
            unreadable: Vec::new(),
            findings: Vec::new(),
            next: 0,
        };
        verifier.reach_checkpoints();
        Ok(verifier)
    }

    /// Takes in the root of a stored block, `position` counting blocks. Given before the block's entries, it helps to
    /// say where the log was changed; verifying does without.
    pub fn stored_block(&mut self, position: u64, root: Hash) {
        self.stored_blocks.insert(position, root);
    }

    /// Takes in the next entry, with the position that it claims.
    pub fn entry(&mut self, index: u64, leaf: &[u8]) {
        if index > self.next {
            self.find(Finding::Missing { entries: self.next..index });
        } else if index < self.next {
            self.find(Finding::Misplaced { index, expected: self.next });
            return;
        }
        self.next = index.saturating_add(1);
        if !self.findings.is_empty() {
            // Without the entries that are missing no root can match any more.
            return;
        }
        if AuditRecord::decode(leaf).is_err() && self.unreadable.len() < MAX_FINDINGS {
            self.unreadable.push(index);
        }
        let hash = leaf_hash(leaf);
        self.frontier.append(hash, &mut Vec::new());
        self.block.push(hash);
        if self.block.len() as u64 == BLOCK_ENTRIES {
            self.end_block();
        }
        self.reach_checkpoints();
    }

    fn end_block(&mut self) {
        let entries = std::mem::take(&mut self.block);
        let root = root_after(&Frontier::default(), &entries);
        let position = self.blocks.len() as u64;
        let is_changed = self.stored_blocks.get(&position).is_some_and(|stored| *stored != root);
        if is_changed && self.suspects.len() < MAX_SUSPECTS {
            self.suspects.push((position, entries));
        }
        self.blocks.push(root);
    }

    fn reach_checkpoints(&mut self) {
        let size = self.frontier.size();
        for reached in self.checkpoints.iter_mut().filter(|reached| reached.checkpoint.size == size) {
            reached.found = Some((self.frontier.root(), self.block.clone()));
        }
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    /// Says what the log is, once all entries were taken in.
    ///
    /// # Errors
    /// All that was found to be wrong, the first in the log first.
    pub fn finish(mut self) -> Result<Verified, Vec<Finding>> {
        if self.findings.is_empty() {
            self.compare_with_checkpoints();
        }
        let newest = self.checkpoints.last().map_or(0, |reached| reached.checkpoint.size);
        if self.next < newest {
            self.find(Finding::Truncated { size: self.next, signed: newest });
        }
        if !self.findings.is_empty() {
            return Err(self.findings);
        }
        Ok(Verified {
            log_id: self.log_id,
            size: self.frontier.size(),
            root: self.frontier.root(),
            signed: newest,
        })
    }

    fn compare_with_checkpoints(&mut self) {
        let (mut last_good, mut bad) = (0, Vec::new());
        for reached in &self.checkpoints {
            let size = reached.checkpoint.size;
            match &reached.found {
                Some((root, _)) if *root == reached.checkpoint.root => last_good = size,
                Some((_, tail)) => bad.push((&reached.checkpoint, tail)),
                None => {}
            }
        }
        let forks = bad.iter().filter(|(checkpoint, _)| checkpoint.size < last_good);
        let mut findings: Vec<_> =
            forks.map(|(checkpoint, _)| Finding::Forked { old: checkpoint.size, new: last_good }).collect();
        if let Some((checkpoint, tail)) = bad.first().filter(|(checkpoint, _)| checkpoint.size > last_good) {
            findings.extend(self.locate(last_good, checkpoint, tail));
        }
        findings.into_iter().for_each(|finding| self.find(finding));
    }

    /// What is wrong between a checkpoint that matches and one that does not, as exactly as the evidence allows.
    fn locate(&self, from: u64, checkpoint: &Checkpoint, tail: &[Hash]) -> Vec<Finding> {
        let whole_blocks = checkpoint.size / BLOCK_ENTRIES;
        let stored: Option<Vec<Hash>> =
            (0..whole_blocks).map(|position| self.stored_blocks.get(&position).copied()).collect();
        let Some(stored) = stored else {
            return vec![self.changed(from..checkpoint.size)];
        };
        let base = Frontier::of_blocks(&stored);
        let tail_range = checkpoint.size - tail.len() as u64..checkpoint.size;
        if root_after(&base, tail) != checkpoint.root {
            // Either the tail was changed, or stored blocks were changed too and prove nothing.
            let found = match swapped(&base, tail, checkpoint.root) {
                Some((one, other)) => {
                    Finding::Swapped { one: tail_range.start + one, other: tail_range.start + other }
                }
                None if stored == self.blocks[..stored.len()] && from <= tail_range.start => {
                    self.changed(tail_range)
                }
                None => self.changed(from..checkpoint.size),
            };
            return vec![found];
        }
        let is_changed = |position: &u64| {
            let root = usize::try_from(*position).ok().and_then(|position| self.blocks.get(position));
            root != self.stored_blocks.get(position)
        };
        (0..whole_blocks)
            .filter(is_changed)
            .take(MAX_FINDINGS)
            .map(|position| self.look_into(position))
            .collect()
    }

    /// What is wrong with a block whose stored root is proven.
    fn look_into(&self, position: u64) -> Finding {
        let first = position * BLOCK_ENTRIES;
        let suspect = self.suspects.iter().find(|(suspect, _)| *suspect == position);
        let exchange = suspect.and_then(|(_, entries)| {
            let stored = self.stored_blocks.get(&position)?;
            swapped(&Frontier::default(), entries, *stored)
        });
        match exchange {
            Some((one, other)) => Finding::Swapped { one: first + one, other: first + other },
            None => self.changed(first..first + BLOCK_ENTRIES),
        }
    }

    /// An entry that is no audit record any more is the one.
    fn changed(&self, entries: Range<u64>) -> Finding {
        match self.unreadable.iter().find(|index| entries.contains(index)) {
            Some(index) => Finding::Unreadable { index: *index },
            None => Finding::Changed { entries },
        }
    }
}

fn root_after(base: &Frontier, leaves: &[Hash]) -> Hash {
    let mut frontier = base.clone();
    for leaf in leaves {
        frontier.append(*leaf, &mut Vec::new());
    }
    frontier.root()
}

/// Which two leaves, put back into each other's place, lead to the root; `None` when none do.
fn swapped(base: &Frontier, leaves: &[Hash], root: Hash) -> Option<(u64, u64)> {
    let tree = Tree::over(leaves)?;
    for one in 0..leaves.len() {
        for other in one + 1..leaves.len() {
            let exchanged = tree.root_with(0, &[(one, leaves[other]), (other, leaves[one])]);
            if base.root_with(&exchanged) == root {
                return Some((one as u64, other as u64));
            }
        }
    }
    None
}

/// The tree over a few leaves with all its inner nodes, so that trying other leaves costs only their paths.
struct Tree {
    hash: Hash,
    leaves: usize,
    children: Option<Box<(Tree, Tree)>>,
}

impl Tree {
    /// `None` when there are no leaves.
    fn over(leaves: &[Hash]) -> Option<Self> {
        let Some(last) = leaves.len().checked_sub(2) else {
            return leaves.first().map(|leaf| Self { hash: *leaf, leaves: 1, children: None });
        };
        let (left, right) = leaves.split_at(1 << (last + 1).ilog2());
        let (left, right) = (Self::over(left)?, Self::over(right)?);
        let hash = node_hash(&left.hash, &right.hash);
        Some(Self { hash, leaves: leaves.len(), children: Some(Box::new((left, right))) })
    }

    /// The root with other leaves at some places; the tree's own leaves begin at place `first`.
    fn root_with(&self, first: usize, others: &[(usize, Hash)]) -> Hash {
        let mut inside = others.iter().filter(|(place, _)| (first..first + self.leaves).contains(place));
        match (inside.next(), &self.children) {
            (None, _) => self.hash,
            (Some((_, other)), None) => *other,
            (Some(_), Some(children)) => {
                let (left, right) = children.as_ref();
                node_hash(&left.root_with(first, others), &right.root_with(first + left.leaves, others))
            }
        }
    }
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// Nothing to verify against.
    #[error("there is no checkpoint to verify the log against")]
    NoCheckpoint,
    /// Checkpoints of two logs.
    #[error("the checkpoints are of two logs, {one} and {other}")]
    TwoLogs {
        /// The one.
        one: LogId,
        /// The other.
        other: LogId,
    },
    /// Two signed histories.
    #[error(
        "two checkpoints of {size} entries have different roots: the log was forked, and both histories were signed"
    )]
    TwoRoots {
        /// How many entries both state.
        size: u64,
    },
    /// Entries are not there.
    #[error("{} missing: deleted", are(entries))]
    Missing {
        /// Which.
        entries: Range<u64>,
    },
    /// An entry comes where another belongs.
    #[error(
        "entry {index} comes where entry {expected} belongs: the order was changed, or the entry comes twice"
    )]
    Misplaced {
        /// Which came.
        index: u64,
        /// Which belongs there.
        expected: u64,
    },
    /// It ends too early.
    #[error("the log ends after {size} entries, and {signed} were signed: its end was cut off")]
    Truncated {
        /// How many there are.
        size: u64,
        /// How many the checkpoint states.
        signed: u64,
    },
    /// An entry cannot be read.
    #[error("entry {index} is no audit record, and is not what was signed: edited")]
    Unreadable {
        /// Which.
        index: u64,
    },
    /// Two entries are in each other's place.
    #[error("entries {one} and {other} are in each other's place: swapped")]
    Swapped {
        /// The one.
        one: u64,
        /// The other.
        other: u64,
    },
    /// Something is not what was signed.
    #[error("{} not what was signed: edited, or removed and those behind moved up", among(entries))]
    Changed {
        /// Where.
        entries: Range<u64>,
    },
    /// An old checkpoint is contradicted while a new one holds.
    #[error(
        "the log matches the checkpoint of {new} entries, but not the older one of {old}: it was rewritten and signed again by somebody who has its key (forked)"
    )]
    Forked {
        /// The size of the old checkpoint.
        old: u64,
        /// The size of the new checkpoint.
        new: u64,
    },
}

fn are(entries: &Range<u64>) -> String {
    match entries.end - entries.start {
        1 => format!("entry {} is", entries.start),
        _ => format!("entries {} to {} are", entries.start, entries.end - 1),
    }
}

fn among(entries: &Range<u64>) -> String {
    match entries.end - entries.start {
        1 => are(entries),
        _ => format!("one or more of entries {} to {} are", entries.start, entries.end - 1),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::audit::{Action, Event, Node};

    #[derive(Clone)]
    struct Log {
        entries: Vec<(u64, Vec<u8>)>,
        blocks: Vec<Node>,
        checkpoints: Vec<Checkpoint>,
    }

    impl Log {
        /// A log with a checkpoint at each of the sizes; the last is its own.
        fn of(name: &str, sizes: &[u64]) -> Self {
            let (mut frontier, mut nodes) = (Frontier::default(), Vec::new());
            let mut log = Self { entries: Vec::new(), blocks: Vec::new(), checkpoints: Vec::new() };
            for index in 0..=*sizes.last().unwrap() {
                if sizes.contains(&index) {
                    let log_id = LogId::parse("log").unwrap();
                    log.checkpoints.push(Checkpoint { log_id, size: index, root: frontier.root() });
                }
                let event = Event::by_daemon(Action::EntryCreate, format!("{name}-{index}"));
                let leaf = event.encode(SystemTime::UNIX_EPOCH);
                frontier.append(leaf_hash(&leaf), &mut nodes);
                log.entries.push((index, leaf));
            }
            log.entries.pop();
            log.blocks = nodes.into_iter().filter(|node| node.level == STORED_LEVEL).collect();
            log
        }

        fn verify(&self) -> Result<Verified, Vec<Finding>> {
            let mut verifier = Verifier::new(self.checkpoints.clone()).map_err(|finding| vec![finding])?;
            for block in &self.blocks {
                verifier.stored_block(block.position, block.hash);
            }
            for (index, leaf) in &self.entries {
                verifier.entry(*index, leaf);
            }
            verifier.finish()
        }

        fn number_anew(&mut self) {
            for (index, entry) in (0..).zip(&mut self.entries) {
                entry.0 = index;
            }
        }
    }

    #[rstest]
    #[case(&[0])]
    #[case(&[1])]
    #[case(&[3, 700])]
    #[case(&[0, 256, 512])]
    fn accepts_a_log_as_it_was_written(#[case] sizes: &[u64]) {
        let log = Log::of("a", sizes);
        let newest = log.checkpoints.last().unwrap();
        let verified = log.verify().unwrap();
        assert_eq!((verified.size, verified.signed, verified.root), (newest.size, newest.size, newest.root));
    }

    #[test]
    fn says_how_much_is_signed() {
        let mut log = Log::of("a", &[10, 20]);
        log.checkpoints.pop();
        let verified = log.verify().unwrap();
        assert_eq!((verified.size, verified.signed), (20, 10));
    }

    #[rstest]
    #[case(0, 0..256)]
    #[case(255, 0..256)]
    #[case(300, 256..512)]
    #[case(513, 512..600)]
    fn finds_the_block_of_an_edited_entry(#[case] index: usize, #[case] entries: Range<u64>) {
        let mut log = Log::of("a", &[600]);
        let leaf = &mut log.entries[index].1;
        *leaf.last_mut().unwrap() ^= 1;
        assert_eq!(log.verify(), Err(vec![Finding::Changed { entries }]));
    }

    #[test]
    fn names_an_entry_that_is_no_record_any_more() {
        let mut log = Log::of("a", &[600]);
        log.entries[300].1[0] = 0xff;
        assert_eq!(log.verify(), Err(vec![Finding::Unreadable { index: 300 }]));
    }

    #[test]
    fn narrows_by_checkpoints_when_no_blocks_are_known() {
        let mut log = Log::of("a", &[100, 300, 600]);
        log.blocks.clear();
        *log.entries[200].1.last_mut().unwrap() ^= 1;
        assert_eq!(log.verify(), Err(vec![Finding::Changed { entries: 100..300 }]));
    }

    /// Whoever changes the stored blocks with the entries hides where, but not that.
    #[test]
    fn believes_no_block_that_does_not_lead_to_the_signed_root() {
        let mut log = Log::of("a", &[600]);
        log.blocks = Log::of("b", &[600]).blocks;
        *log.entries[300].1.last_mut().unwrap() ^= 1;
        assert_eq!(log.verify(), Err(vec![Finding::Changed { entries: 0..600 }]));
    }

    #[rstest]
    #[case(3, 4)]
    #[case(256, 511)]
    #[case(590, 599)]
    fn names_two_swapped_entries(#[case] one: usize, #[case] other: usize) {
        let mut log = Log::of("a", &[600]);
        log.entries.swap(one, other);
        log.number_anew();
        assert_eq!(log.verify(), Err(vec![Finding::Swapped { one: one as u64, other: other as u64 }]));
    }

    #[test]
    fn tells_entries_that_come_in_another_order() {
        let mut log = Log::of("a", &[10]);
        log.entries.swap(3, 4);
        let expected = vec![Finding::Missing { entries: 3..4 }, Finding::Misplaced { index: 3, expected: 5 }];
        assert_eq!(log.verify(), Err(expected));
    }

    #[test]
    fn names_deleted_entries() {
        let mut log = Log::of("a", &[600]);
        log.entries.drain(300..303);
        assert_eq!(log.verify(), Err(vec![Finding::Missing { entries: 300..303 }]));
        log.number_anew();
        let findings = log.verify().unwrap_err();
        assert!(findings.contains(&Finding::Truncated { size: 597, signed: 600 }), "{findings:?}");
    }

    #[test]
    fn tells_a_log_that_was_cut_off() {
        let mut log = Log::of("a", &[5, 600]);
        log.entries.truncate(9);
        assert_eq!(log.verify(), Err(vec![Finding::Truncated { size: 9, signed: 600 }]));
    }

    #[test]
    fn tells_a_log_that_was_rewritten_and_signed_again() {
        let mut log = Log::of("a", &[5, 600]);
        let rewritten = Log::of("b", &[5, 600]);
        log.entries = rewritten.entries;
        log.blocks = rewritten.blocks;
        log.checkpoints[1] = rewritten.checkpoints[1].clone();
        assert_eq!(log.verify(), Err(vec![Finding::Forked { old: 5, new: 600 }]));
    }

    #[test]
    fn tells_two_histories_by_their_checkpoints_alone() {
        let mut log = Log::of("a", &[5, 600]);
        log.checkpoints.push(Log::of("b", &[5]).checkpoints.remove(0));
        assert_eq!(log.verify(), Err(vec![Finding::TwoRoots { size: 5 }]));
        log.checkpoints.clear();
        assert_eq!(log.verify(), Err(vec![Finding::NoCheckpoint]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn finds_any_change(index in 0_usize..300, byte in 0_usize..30, bit in 0_u8..8) {
            let mut log = Log::of("a", &[300]);
            let leaf = &mut log.entries[index].1;
            let byte = byte % leaf.len();
            leaf[byte] ^= 1 << bit;
            let findings = log.verify().unwrap_err();
            let holds_it = match &findings[0] {
                Finding::Changed { entries } => entries.contains(&(index as u64)),
                Finding::Unreadable { index: found } => *found == index as u64,
                _ => false,
            };
            prop_assert!(holds_it, "{:?}", findings);
        }
    }
}
