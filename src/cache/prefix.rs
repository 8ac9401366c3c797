//! Finding full blocks by what they hold.
//!
//! The keys and values in a block depend on every token before it, so a block is named by its own
//! tokens and by the prefix that precedes it. Each distinct prefix gets a number of its own; a
//! block's hash covers the number of the prefix before it and its tokens, and a candidate is taken
//! only when both are equal. A collision can thus cost time but never mix two users' text, at any
//! position of the chain.

use std::hash::{BuildHasher, Hasher, RandomState};

use sha2::{Digest, Sha256};

use super::BlockId;

const NIL: u32 = u32::MAX;

/// Keeps prefixes of different tenants apart: only requests with equal salts share blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Salt(u128);

impl Salt {
    /// The salt of a text, such as a request's `cache_salt`: the first half of its SHA-256.
    pub fn of(text: &str) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        Self(digest.iter().take(16).fold(0, |value, byte| (value << 8) | u128::from(*byte)))
    }
}

/// What precedes a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// Nothing: the block is a sequence's first.
    Root(Salt),
    /// The prefix with this number.
    Prefix(u64),
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// This block's prefix, itself included; 0 when the block is not indexed.
    prefix: u64,
    parent: Link,
    hash: u64,
    prev: u32,
    next: u32,
}

const BLANK: Node = Node { prefix: 0, parent: Link::Root(Salt(0)), hash: 0, prev: NIL, next: NIL };

/// The full blocks by content: chained buckets linked through the blocks' own records, so that
/// nothing is allocated after construction and each operation takes constant time per block.
///
/// Hashes are keyed at random per index, so that nobody can prepare colliding prompts. Two blocks
/// may hold the same prefix (two sequences computed it at once): either is a hit.
#[derive(Debug)]
pub struct PrefixIndex<S = RandomState> {
    hasher: S,
    block_size: usize,
    buckets: Box<[u32]>,
    nodes: Box<[Node]>,
    /// `block_size` token ids per block.
    tokens: Box<[u32]>,
    next_prefix: u64,
    indexed: u32,
}

impl PrefixIndex {
    /// An empty index over `num_blocks` blocks of `block_size` tokens.
    pub fn new(num_blocks: u32, block_size: u32) -> Self {
        Self::with_hasher(num_blocks, block_size, RandomState::new())
    }
}

impl<S: BuildHasher> PrefixIndex<S> {
    fn with_hasher(num_blocks: u32, block_size: u32, hasher: S) -> Self {
        let (blocks, block_size) = (num_blocks as usize, block_size as usize);
        Self {
            hasher,
            block_size,
            buckets: vec![NIL; blocks.next_power_of_two()].into(),
            nodes: vec![BLANK; blocks].into(),
            tokens: vec![0; blocks * block_size].into(),
            next_prefix: 1,
            indexed: 0,
        }
    }

    /// Blocks that can be found.
    pub fn len(&self) -> u32 {
        self.indexed
    }

    /// Whether no block can be found.
    pub fn is_empty(&self) -> bool {
        self.indexed == 0
    }

    /// Whether `block` can be found.
    pub fn contains(&self, block: BlockId) -> bool {
        self.nodes[block.index()].prefix != 0
    }

    /// A block that holds `tokens` (`block_size` of them) after `parent`, and the link to what
    /// follows it.
    pub fn find(&self, parent: Link, tokens: &[u32]) -> Option<(BlockId, Link)> {
        let block = self.search(self.hash(parent, tokens), parent, tokens)?;
        Some((BlockId(block), Link::Prefix(self.nodes[block as usize].prefix)))
    }

    /// Makes `block` findable as the holder of `tokens` (`block_size` of them) after `parent`, and
    /// returns the link to what follows it. A block that is findable already stays as it is.
    pub fn insert(&mut self, block: BlockId, parent: Link, tokens: &[u32]) -> Link {
        let at = block.index();
        if self.nodes[at].prefix != 0 {
            return Link::Prefix(self.nodes[at].prefix);
        }
        let hash = self.hash(parent, tokens);
        let prefix = match self.search(hash, parent, tokens) {
            Some(twin) => self.nodes[twin as usize].prefix,
            None => {
                self.next_prefix += 1;
                self.next_prefix - 1
            }
        };
        let bucket = self.bucket(hash);
        let next = std::mem::replace(&mut self.buckets[bucket], block.0);
        if next != NIL {
            self.nodes[next as usize].prev = block.0;
        }
        self.nodes[at] = Node { prefix, parent, hash, prev: NIL, next };
        self.tokens[at * self.block_size..][..self.block_size].copy_from_slice(tokens);
        self.indexed += 1;
        Link::Prefix(prefix)
    }

    /// Forgets what `block` holds, before it is given to somebody else.
    pub fn remove(&mut self, block: BlockId) {
        let Node { prefix, hash, prev, next, .. } = self.nodes[block.index()];
        if prefix == 0 {
            return;
        }
        match prev {
            NIL => {
                let bucket = self.bucket(hash);
                self.buckets[bucket] = next;
            }
            prev => self.nodes[prev as usize].next = next,
        }
        if next != NIL {
            self.nodes[next as usize].prev = prev;
        }
        self.nodes[block.index()] = BLANK;
        self.indexed -= 1;
    }

    /// Forgets everything and returns how many blocks could be found before.
    pub fn clear(&mut self) -> u32 {
        self.buckets.fill(NIL);
        self.nodes.fill(BLANK);
        std::mem::take(&mut self.indexed)
    }

    fn search(&self, hash: u64, parent: Link, tokens: &[u32]) -> Option<u32> {
        let mut at = self.buckets[self.bucket(hash)];
        while at != NIL {
            let node = &self.nodes[at as usize];
            let held = &self.tokens[at as usize * self.block_size..][..self.block_size];
            if node.hash == hash && node.parent == parent && held == tokens {
                return Some(at);
            }
            at = node.next;
        }
        None
    }

    fn bucket(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    fn hash(&self, parent: Link, tokens: &[u32]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        match parent {
            Link::Root(Salt(salt)) => hasher.write_u128(salt),
            Link::Prefix(prefix) => hasher.write_u64(prefix),
        }
        for token in tokens {
            hasher.write_u32(*token);
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, Hasher};

    use super::{BlockId, Link, NIL, PrefixIndex, Salt};

    const ROOT: Link = Link::Root(Salt(0));

    /// A hash on which everything collides.
    #[derive(Default)]
    struct Constant;
    impl Hasher for Constant {
        fn write(&mut self, _: &[u8]) {}
        fn finish(&self) -> u64 {
            7
        }
    }

    /// Blocks that a look-up of each indexed block touches: the mean, and the most.
    fn probes(index: &PrefixIndex) -> (f64, usize) {
        let chain = |bucket: &u32| {
            let next = |at: &u32| Some(index.nodes[*at as usize].next).filter(|next| *next != NIL);
            std::iter::successors(Some(*bucket).filter(|at| *at != NIL), next).count()
        };
        let chains: Vec<usize> = index.buckets.iter().map(chain).collect();
        let all: usize = chains.iter().map(|n| n * (n + 1) / 2).sum();
        (all as f64 / f64::from(index.len()), chains.into_iter().max().unwrap_or(0))
    }

    #[test]
    fn a_look_up_touches_as_few_blocks_in_a_large_index_as_in_a_small_one() {
        for blocks in [1 << 8, 1 << 12, 1 << 16] {
            let mut index = PrefixIndex::new(blocks, 2);
            let mut parent = ROOT;
            for block in 0..blocks {
                // Half of them one long prefix, half of them first blocks.
                let link = if block % 2 == 0 { ROOT } else { parent };
                let after = index.insert(BlockId(block), link, &[block, 0]);
                parent = if block % 2 == 0 { parent } else { after };
            }
            assert_eq!(index.len(), blocks);
            let (mean, most) = probes(&index);
            assert!(mean < 2.0 && most < 16, "{blocks} blocks: {mean} probes, {most} at most");
        }
    }

    #[test]
    fn a_prefix_is_found_link_by_link() {
        let mut index = PrefixIndex::new(8, 2);
        let first = index.insert(BlockId(5), ROOT, &[1, 2]);
        let second = index.insert(BlockId(3), first, &[3, 4]);
        assert_eq!(index.find(ROOT, &[1, 2]), Some((BlockId(5), first)));
        assert_eq!(index.find(first, &[3, 4]), Some((BlockId(3), second)));
        assert_eq!(index.find(ROOT, &[3, 4]), None);
        assert_eq!(index.find(second, &[3, 4]), None);
    }

    #[test]
    fn salts_are_kept_apart() {
        let mut index = PrefixIndex::new(8, 2);
        index.insert(BlockId(0), Link::Root(Salt::of("alice")), &[1, 2]);
        assert_eq!(index.find(Link::Root(Salt::of("bob")), &[1, 2]), None);
        assert_eq!(index.find(ROOT, &[1, 2]), None);
        assert!(index.find(Link::Root(Salt::of("alice")), &[1, 2]).is_some());
    }

    #[test]
    fn collisions_are_no_hits() {
        let mut index = PrefixIndex::with_hasher(8, 2, BuildHasherDefault::<Constant>::default());
        let a = index.insert(BlockId(0), ROOT, &[1, 2]);
        let b = index.insert(BlockId(1), ROOT, &[3, 4]);
        let after_a = index.insert(BlockId(2), a, &[9, 9]);
        assert_eq!(index.find(b, &[9, 9]), None);
        assert_eq!(index.find(a, &[9, 9]), Some((BlockId(2), after_a)));
        assert_eq!(index.find(ROOT, &[5, 6]), None);
        // Removal from the middle, the head and the tail of the one chain.
        for gone in [BlockId(1), BlockId(2), BlockId(0)] {
            index.remove(gone);
            assert!(!index.contains(gone));
        }
        assert!(index.is_empty());
        assert_eq!(index.find(ROOT, &[1, 2]), None);
    }

    #[test]
    fn twins_share_their_prefix_and_outlive_each_other() {
        let mut index = PrefixIndex::new(8, 2);
        let first = index.insert(BlockId(0), ROOT, &[1, 2]);
        let child = index.insert(BlockId(1), first, &[3, 4]);
        assert_eq!(index.insert(BlockId(2), ROOT, &[1, 2]), first);
        index.remove(BlockId(0));
        let (block, link) = index.find(ROOT, &[1, 2]).unwrap();
        assert_eq!(block, BlockId(2));
        assert_eq!(index.find(link, &[3, 4]), Some((BlockId(1), child)));
    }

    #[test]
    fn inserting_twice_changes_nothing() {
        let mut index = PrefixIndex::new(4, 1);
        let link = index.insert(BlockId(0), ROOT, &[1]);
        assert_eq!(index.insert(BlockId(0), ROOT, &[1]), link);
        assert_eq!(index.len(), 1);
        assert_eq!(index.clear(), 1);
        assert_eq!(index.find(ROOT, &[1]), None);
    }
}
