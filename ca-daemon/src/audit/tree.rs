//! The Merkle tree of RFC 6962, section 2.1, as a log grows it: leaf by leaf, keeping only its right edge.

use aws_lc_rs::digest::{Context, SHA256, digest};

/// A SHA-256 hash.
pub type Hash = [u8; HASH_BYTES];

pub(super) const HASH_BYTES: usize = 32;

/// The level of the smallest subtrees that are kept, 256 leaves: those below are hashed again from their leaves.
pub const STORED_LEVEL: u8 = 8;

/// The largest log: what a signed 64-bit column can count.
const MAX_SIZE: u64 = i64::MAX.unsigned_abs();

/// The hash of a leaf. Its prefix keeps a leaf from being read as an inner node.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    hash_of(&[&[0], leaf])
}

/// The hash of an inner node.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    hash_of(&[&[1], left, right])
}

/// The root of the tree without leaves.
pub(super) fn empty_root() -> Hash {
    to_hash(digest(&SHA256, b"").as_ref())
}

fn hash_of(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    to_hash(context.finish().as_ref())
}

fn to_hash(digest: &[u8]) -> Hash {
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(digest);
    hash
}

/// A finished subtree: it is perfect, and no later leaf changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// It has two to the power of this many leaves.
    pub level: u8,
    /// Which of its level, from the left: it begins with leaf `position << level`.
    pub position: u64,
    /// Its root.
    pub hash: Hash,
}

/// The right edge of a growing tree: the roots of its perfect subtrees, one for each bit that is set in its size,
/// the largest first. It is all that appending and the root need.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// Appends a leaf, by its [`leaf_hash`], and adds to `complete` each subtree of at least [`STORED_LEVEL`] that it
    /// finishes, the smallest first.
    pub fn append(&mut self, leaf: Hash, complete: &mut Vec<Node>) {
        let mut hash = leaf;
        let mut level = 0;
        while self.size >> level & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            level += 1;
            if level >= STORED_LEVEL {
                complete.push(Node { level, position: self.size >> level, hash });
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The frontier over whole blocks, each a subtree of [`STORED_LEVEL`].
    pub(super) fn of_blocks(roots: &[Hash]) -> Self {
        let mut blocks = Self::default();
        for root in roots {
            blocks.append(*root, &mut Vec::new());
        }
        Self { size: blocks.size << STORED_LEVEL, peaks: blocks.peaks }
    }

    /// The frontier of a tree whose perfect subtrees these are, the largest first.
    pub(super) fn of_peaks(size: u64, peaks: Vec<Hash>) -> Self {
        Self { size, peaks }
    }

    /// How many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(smallest) = peaks.next() else { return empty_root() };
        peaks.fold(*smallest, |right, left| node_hash(left, &right))
    }

    /// The root of the tree with further leaves, by the root over these: fewer than its smallest peak has.
    pub(super) fn root_with(&self, further: &Hash) -> Hash {
        self.peaks.iter().rev().fold(*further, |right, left| node_hash(left, &right))
    }

    /// The frontier as it is stored: the size, big-endian in 8 bytes, and the peaks.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + self.peaks.len() * HASH_BYTES);
        bytes.extend_from_slice(&self.size.to_be_bytes());
        bytes.extend(self.peaks.iter().flatten());
        bytes
    }

    /// Reads what [`Frontier::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes are not as many as their size says.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrontierError> {
        let (size, peaks) = bytes.split_first_chunk().ok_or(FrontierError::Short(bytes.len()))?;
        let size = u64::from_be_bytes(*size);
        if size > MAX_SIZE {
            return Err(FrontierError::Size(size));
        }
        let (peaks, rest) = peaks.as_chunks::<HASH_BYTES>();
        if !rest.is_empty() || peaks.len() != size.count_ones() as usize {
            return Err(FrontierError::Peaks { size, bytes: bytes.len() });
        }
        Ok(Self { size, peaks: peaks.to_vec() })
    }
}

/// Why bytes are no frontier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrontierError {
    /// Not even a size.
    #[error("a log's frontier begins with its size in 8 bytes, and there are only {0}")]
    Short(usize),
    /// A size that no log reaches.
    #[error("a log of {0} entries is larger than the database can count")]
    Size(u64),
    /// Other than one hash for each bit of the size.
    #[error(
        "the frontier of a log of {size} entries has one hash for each bit of its size, not {bytes} bytes"
    )]
    Peaks {
        /// The size that it says.
        size: u64,
        /// How many bytes there are.
        bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use proptest::prelude::*;
    use rstest::rstest;
    use sha2::Sha256;

    use super::*;

    fn frontier_of<T: AsRef<[u8]>>(leaves: &[T]) -> (Frontier, Vec<Node>) {
        let (mut frontier, mut nodes) = (Frontier::default(), Vec::new());
        for leaf in leaves {
            frontier.append(leaf_hash(leaf.as_ref()), &mut nodes);
        }
        (frontier, nodes)
    }

    fn independent_root<T: AsRef<[u8]>>(leaves: &[T]) -> Hash {
        let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        for leaf in leaves {
            tree.push(leaf.as_ref().to_vec());
        }
        tree.root().as_bytes().as_slice().try_into().unwrap()
    }

    /// The leaves and roots that implementations of RFC 6962 check one another with.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

    #[rstest]
    #[case(0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")]
    #[case(1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")]
    #[case(2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125")]
    #[case(3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77")]
    #[case(4, "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7")]
    #[case(5, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4")]
    #[case(6, "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef")]
    #[case(7, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c")]
    #[case(8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")]
    fn agrees_with_the_known_vectors(#[case] size: usize, #[case] root: &str) {
        let leaves: Vec<_> = LEAVES[..size].iter().map(|leaf| hex::decode(leaf).unwrap()).collect();
        assert_eq!(hex::encode(frontier_of(&leaves).0.root()), root);
    }

    proptest! {
        #[test]
        fn agrees_with_another_implementation(
            leaves in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..70),
        ) {
            let (frontier, _) = frontier_of(&leaves);
            prop_assert_eq!(frontier.size(), leaves.len() as u64);
            prop_assert_eq!(frontier.root(), independent_root(&leaves));
        }

        #[test]
        fn goes_on_from_where_it_was_stored(before in 0_u32..700, after in 0_u32..300) {
            let leaves: Vec<_> = (0..before + after).map(u32::to_be_bytes).collect();
            let (first, mut nodes) = frontier_of(&leaves[..before as usize]);
            let mut restored = Frontier::from_bytes(&first.to_bytes()).unwrap();
            prop_assert_eq!(&restored, &first);
            for leaf in &leaves[before as usize..] {
                restored.append(leaf_hash(leaf), &mut nodes);
            }
            prop_assert_eq!((restored, nodes), frontier_of(&leaves));
        }

        #[test]
        fn reads_nothing_but_its_own_form(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(frontier) = Frontier::from_bytes(&bytes) {
                prop_assert_eq!(frontier.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn hands_out_each_finished_subtree_once() {
        let leaves: Vec<_> = (0_u32..2000).map(u32::to_be_bytes).collect();
        let (_, nodes) = frontier_of(&leaves);
        let mut expected = Vec::new();
        for level in STORED_LEVEL..=10 {
            for position in 0..2000_usize >> level {
                let range = position << level..(position + 1) << level;
                let hash = independent_root(&leaves[range]);
                expected.push(Node { level, position: position as u64, hash });
            }
        }
        let mut found = nodes;
        found.sort_by_key(|node| (node.level, node.position));
        assert_eq!(found, expected);
    }

    #[rstest]
    #[case(&[], FrontierError::Short(0))]
    #[case(&[0, 0, 0, 0, 0, 0, 0, 1], FrontierError::Peaks { size: 1, bytes: 8 })]
    #[case(&[0xff; 8], FrontierError::Size(u64::MAX))]
    fn refuses_what_is_no_frontier(#[case] bytes: &[u8], #[case] error: FrontierError) {
        assert_eq!(Frontier::from_bytes(bytes), Err(error));
    }
}
