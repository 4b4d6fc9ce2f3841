//! The audit log: who did what, when, from where and with which result, in a form that proves itself.
//!
//! Each replica writes a log of its own. Its leaves are encoded [`Event`]s, appended in the same transaction as what
//! they tell of; over them stands a Merkle tree as in RFC 6962, section 2.1 ([`Frontier`]), and from time to time the
//! replica signs the tree's root as a [`Checkpoint`]. Whoever kept one checkpoint can tell later whether any entry
//! before it was edited, removed, or moved.
//!
//! This module is pure: it neither reads nor writes anything. The store keeps the leaves, the frontier and the
//! finished subtrees.

mod checkpoint;
mod event;
mod key;
mod proof;
mod repeats;
mod tree;
mod verify;

pub use checkpoint::{Checkpoint, CheckpointError, LogId, LogIdError, SignedCheckpoint};
pub use event::{Action, Event, MAX_LEAF_BYTES, Outcome};
pub use key::{LogKey, LogKeyError, PublicKey};
pub use proof::{Place, ProofError, ProofMaterial, ProofPlan, verify_consistency, verify_inclusion};
pub use repeats::Repeats;
pub use tree::{Frontier, FrontierError, Hash, Node, STORED_LEVEL, leaf_hash, node_hash};
pub use verify::{BLOCK_ENTRIES, Finding, Verified, Verifier};
