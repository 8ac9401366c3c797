//! Blocks, their owners, and the order in which free ones are given out.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::BlockId;

/// Marks the end of the free list and, in `prev`, a block that is not in it.
const NIL: u32 = u32::MAX;

/// What becomes of a block's contents when its last owner lets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Nothing in it is worth keeping: it is given out first.
    Discard,
    /// It may be found again: it is given out after every block freed before it.
    Keep,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    owners: u32,
    prev: u32,
    next: u32,
}

/// A fixed number of reference-counted blocks with a free list; every operation but
/// [`scatter`](Self::scatter) and [`audit`](Self::audit) takes constant time and no memory.
///
/// The free list is doubly linked through the blocks' own records, because a prefix hit takes a
/// block out of its middle. Its head is given out next.
#[derive(Debug)]
pub struct BlockPool {
    nodes: Box<[Node]>,
    head: u32,
    tail: u32,
    free: u32,
}

impl BlockPool {
    /// A pool of `num_blocks` free blocks, given out in rising order at first.
    pub fn new(num_blocks: u32) -> Self {
        let nodes = vec![Node { owners: 0, prev: NIL, next: NIL }; num_blocks as usize].into_boxed_slice();
        let mut pool = Self { nodes, head: NIL, tail: NIL, free: 0 };
        for block in 0..num_blocks {
            pool.push_back(block);
        }
        pool
    }

    /// Blocks in the pool, owned or free.
    pub fn total(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// Blocks without an owner.
    pub fn free(&self) -> u32 {
        self.free
    }

    /// Blocks with at least one owner.
    pub fn used(&self) -> u32 {
        self.total() - self.free
    }

    /// How many owners `block` has.
    pub fn owners(&self, block: BlockId) -> u32 {
        self.nodes[block.index()].owners
    }

    /// Takes the next free block for one owner; `None` when all are owned.
    pub fn allocate(&mut self) -> Option<BlockId> {
        let block = self.head;
        if block == NIL {
            return None;
        }
        self.unlink(block);
        self.nodes[block as usize].owners = 1;
        Some(BlockId(block))
    }

    /// Adds an owner to `block`, taking it out of the free list when it had none.
    pub fn retain(&mut self, block: BlockId) {
        if self.nodes[block.index()].owners == 0 {
            self.unlink(block.0);
        }
        self.nodes[block.index()].owners += 1;
    }

    /// Removes an owner from `block`; after the last one it is free.
    pub fn release(&mut self, block: BlockId, retention: Retention) {
        let node = &mut self.nodes[block.index()];
        debug_assert!(node.owners > 0, "block {} is released without an owner", block.0);
        node.owners = node.owners.saturating_sub(1);
        if node.owners == 0 {
            match retention {
                Retention::Discard => self.push_front(block.0),
                Retention::Keep => self.push_back(block.0),
            }
        }
    }

    /// Reorders the free list by `seed` so that blocks taken one after the other are never
    /// neighbours in memory (in a fresh pool of six or more): for tests of kernels and tables, which
    /// must not depend on contiguous blocks.
    pub fn scatter(&mut self, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut even, mut odd): (Vec<u32>, Vec<u32>) =
            self.free_list().map(|b| b.0).partition(|b| b % 2 == 0);
        even.shuffle(&mut rng);
        odd.shuffle(&mut rng);
        // Only at the seam can an even and an odd number be neighbours, and one even number has
        // at most two odd neighbours.
        if let Some(&last) = even.last()
            && let Some(first) = odd.iter().position(|o| o.abs_diff(last) != 1)
        {
            odd.swap(0, first);
        }
        for block in even.iter().chain(&odd) {
            self.unlink(*block);
            self.push_back(*block);
        }
    }

    /// The free blocks in the order in which they would be given out.
    pub fn free_list(&self) -> impl Iterator<Item = BlockId> + '_ {
        let step = |at: u32| (at != NIL).then_some(BlockId(at));
        std::iter::successors(step(self.head), move |b| step(self.nodes[b.index()].next))
    }

    /// Walks the whole pool and compares the lists with the counts; for tests.
    ///
    /// # Errors
    /// Says which block is wrong, and how.
    pub fn audit(&self) -> Result<(), String> {
        let mut listed = 0;
        let mut before = NIL;
        for block in self.free_list() {
            let node = self.nodes[block.index()];
            if node.owners != 0 {
                return Err(format!("block {} is in the free list with {} owners", block.0, node.owners));
            }
            if node.prev != before {
                return Err(format!("block {} is linked back to {}, not to {before}", block.0, node.prev));
            }
            listed += 1;
            if listed > self.total() {
                return Err("the free list runs in a circle".into());
            }
            before = block.0;
        }
        let ownerless = self.nodes.iter().filter(|n| n.owners == 0).count() as u32;
        if before != self.tail || listed != self.free || ownerless != self.free {
            return Err(format!(
                "{} blocks counted free, {listed} listed, {ownerless} without owner; tail {} against {before}",
                self.free, self.tail
            ));
        }
        Ok(())
    }

    fn push_front(&mut self, block: u32) {
        let next = std::mem::replace(&mut self.head, block);
        self.nodes[block as usize] = Node { owners: 0, prev: NIL, next };
        match next {
            NIL => self.tail = block,
            next => self.nodes[next as usize].prev = block,
        }
        self.free += 1;
    }

    fn push_back(&mut self, block: u32) {
        let prev = std::mem::replace(&mut self.tail, block);
        self.nodes[block as usize] = Node { owners: 0, prev, next: NIL };
        match prev {
            NIL => self.head = block,
            prev => self.nodes[prev as usize].next = block,
        }
        self.free += 1;
    }

    fn unlink(&mut self, block: u32) {
        let Node { prev, next, .. } = self.nodes[block as usize];
        match prev {
            NIL => self.head = next,
            prev => self.nodes[prev as usize].next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => self.nodes[next as usize].prev = prev,
        }
        self.free -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{BlockId, BlockPool, Retention};

    fn order(pool: &BlockPool) -> Vec<u32> {
        pool.free_list().map(|b| b.0).collect()
    }

    #[test]
    fn blocks_run_out_and_come_back() {
        let mut pool = BlockPool::new(2);
        let first = pool.allocate().unwrap();
        let second = pool.allocate().unwrap();
        assert_ne!(first, second);
        assert_eq!(pool.allocate(), None);
        pool.release(first, Retention::Discard);
        assert_eq!((pool.free(), pool.used()), (1, 1));
        assert_eq!(pool.allocate(), Some(first));
        pool.audit().unwrap();
    }

    #[test]
    fn a_shared_block_is_free_after_its_last_owner() {
        let mut pool = BlockPool::new(1);
        let block = pool.allocate().unwrap();
        pool.retain(block);
        pool.release(block, Retention::Keep);
        assert_eq!(pool.allocate(), None);
        pool.release(block, Retention::Keep);
        assert_eq!(pool.owners(block), 0);
        assert_eq!(pool.free(), 1);
    }

    #[test]
    fn kept_blocks_are_given_out_last_and_oldest_first() {
        let mut pool = BlockPool::new(4);
        for _ in 0..4 {
            pool.allocate();
        }
        pool.release(BlockId(2), Retention::Keep);
        pool.release(BlockId(0), Retention::Keep);
        pool.release(BlockId(3), Retention::Discard);
        pool.release(BlockId(1), Retention::Keep);
        assert_eq!(order(&pool), [3, 2, 0, 1]);
        pool.audit().unwrap();
    }

    #[test]
    fn a_free_block_is_taken_out_of_the_middle() {
        let mut pool = BlockPool::new(3);
        pool.retain(BlockId(1));
        assert_eq!(order(&pool), [0, 2]);
        pool.retain(BlockId(2));
        pool.retain(BlockId(0));
        assert_eq!(order(&pool), [] as [u32; 0]);
        assert_eq!(pool.allocate(), None);
        pool.audit().unwrap();
    }

    #[test]
    fn scattered_blocks_are_never_neighbours() {
        for blocks in 6..40 {
            for seed in 0..20 {
                let mut pool = BlockPool::new(blocks);
                pool.scatter(seed);
                pool.audit().unwrap();
                let order = order(&pool);
                assert_eq!(order.len() as u32, blocks);
                assert!(order.windows(2).all(|w| w[0].abs_diff(w[1]) > 1), "{order:?}");
            }
        }
        let mut a = BlockPool::new(64);
        let mut b = BlockPool::new(64);
        a.scatter(1);
        b.scatter(2);
        assert_ne!(order(&a), order(&b));
    }
}
