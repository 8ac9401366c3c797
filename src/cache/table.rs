//! One sequence's blocks.

use super::{BlockId, Link, Salt};

/// The blocks that hold a sequence's tokens: the token at position `p` lies in
/// `blocks()[p / block_size]`, slot `p % block_size`.
///
/// Entries are appended and, but for a copy on write of the last partly filled block, never
/// change while the sequence runs, so that a table on the device can be extended in place.
#[derive(Debug)]
pub struct BlockTable {
    pub(super) blocks: Vec<BlockId>,
    /// How many leading blocks have been offered to the prefix index.
    pub(super) indexed: usize,
    /// The prefix that those blocks make up.
    pub(super) tip: Link,
    salt: Salt,
}

impl BlockTable {
    /// An empty table whose blocks are shared only with sequences of equal `salt`.
    pub fn new(salt: Salt) -> Self {
        Self { blocks: Vec::new(), indexed: 0, tip: Link::Root(salt), salt }
    }

    /// The blocks in order of position.
    pub fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }

    /// Blocks in the table.
    pub fn len(&self) -> u32 {
        self.blocks.len() as u32
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The salt of the table's first link.
    pub fn salt(&self) -> Salt {
        self.salt
    }

    /// Makes room for `blocks` blocks in all, so that growing up to there allocates nothing.
    pub fn reserve(&mut self, blocks: u32) {
        self.blocks.reserve_exact((blocks as usize).saturating_sub(self.blocks.len()));
    }

    pub(super) fn forget(&mut self) {
        self.blocks.clear();
        self.indexed = 0;
        self.tip = Link::Root(self.salt);
    }
}
