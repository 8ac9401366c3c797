//! The plan of a step: what every kernel needs to know, in one buffer, written with one upload.
//!
//! Sections, each at a multiple of 256 bytes: the `Step` uniform; token ids; (position, slot) of
//! each token; the tokens whose logits are wanted; attention tiles; block tables.

use super::Error;
use crate::cache::BlockId;
use crate::kernels::attention::{self, Tile};

/// Which of an entry's tokens want logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// None.
    None,
    /// The last one.
    Last,
    /// The last so many.
    Tail(usize),
    /// None; what comes back are the last so many tokens' states after the last norm.
    States(usize),
}

/// One sequence's part of a step.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The ids of the tokens to compute.
    pub tokens: &'a [u32],
    /// The first one's position.
    pub start: usize,
    /// The sequence's blocks, with room for all of them.
    pub blocks: &'a [BlockId],
    /// Which want logits.
    pub outputs: Outputs,
}

impl Entry<'_> {
    pub(super) fn wanted(&self) -> usize {
        match self.outputs {
            Outputs::None | Outputs::States(_) => 0,
            Outputs::Last => 1,
            Outputs::Tail(n) => n.min(self.tokens.len()),
        }
    }

    fn states(&self) -> usize {
        match self.outputs {
            Outputs::States(n) => n.min(self.tokens.len()),
            Outputs::None | Outputs::Last | Outputs::Tail(_) => 0,
        }
    }
}

/// The sizes that bound a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub tokens: usize,
    pub outputs: usize,
    pub positions: usize,
    pub block: usize,
    pub blocks: usize,
    pub vocab: usize,
    /// Words of block tables.
    pub tables: usize,
}

/// Byte offsets and sizes of the sections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sections {
    pub ids: (u64, u64),
    pub places: (u64, u64),
    pub picks: (u64, u64),
    pub tiles: (u64, u64),
    pub tables: (u64, u64),
}

/// Bytes of the `Step` uniform's section.
const HEAD: u64 = 256;

impl Sections {
    pub fn new(b: &Bounds) -> Self {
        let mut end = HEAD;
        let mut section = |words: usize| {
            let start = end;
            let bytes = 4 * words.max(4) as u64;
            end = (start + bytes).next_multiple_of(256);
            (start, bytes)
        };
        Self {
            ids: section(b.tokens),
            places: section(2 * b.tokens),
            picks: section(b.outputs),
            // A tile holds at least one token.
            tiles: section(4 * b.tokens),
            tables: section(b.tables),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.tables.0 + self.tables.1
    }
}

/// A step's numbers on the host, used again for every step.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub words: Vec<u32>,
    pub tokens: usize,
    pub outputs: usize,
    /// First token and number of those whose states are wanted.
    pub states: Vec<(usize, usize)>,
    pub tiles: Vec<Tile>,
    /// Workgroups that share a tile's keys along the context.
    pub splits: usize,
    /// Where the ids and the block tables begin, in words.
    at: [usize; 2],
}

impl Plan {
    /// Fills the plan. `tile_tokens` says how many tokens a tile holds if the longest run of one
    /// sequence is so long.
    pub fn fill(
        &mut self,
        b: &Bounds,
        s: &Sections,
        entries: &[Entry<'_>],
        tile_tokens: impl Fn(usize) -> usize,
    ) -> Result<(), Error> {
        self.check(b, entries)?;
        let longest = entries.iter().map(|e| e.tokens.len()).max().unwrap_or(0);
        let tile_tokens = tile_tokens(longest);
        self.words.clear();
        self.words.resize((s.bytes() / 4) as usize, 0);
        self.tiles.clear();
        self.states.clear();
        (self.tokens, self.outputs) = (0, 0);
        let [ids, places, picks, tiles, tables] =
            [s.ids, s.places, s.picks, s.tiles, s.tables].map(|(at, _)| (at / 4) as usize);
        self.at = [ids, tables];
        let mut table = 0;
        for e in entries {
            for (i, &id) in e.tokens.iter().enumerate() {
                let position = e.start + i;
                let slot = e.blocks[position / b.block].index() * b.block + position % b.block;
                let t = self.tokens + i;
                self.words[ids + t] = id;
                self.words[places + 2 * t] = position as u32;
                self.words[places + 2 * t + 1] = slot as u32;
            }
            let end = self.tokens + e.tokens.len();
            for t in end - e.wanted()..end {
                self.words[picks + self.outputs] = t as u32;
                self.outputs += 1;
            }
            if e.states() > 0 {
                self.states.push((end - e.states(), e.states()));
            }
            let used = (e.start + e.tokens.len()).div_ceil(b.block);
            for (i, block) in e.blocks[..used].iter().enumerate() {
                self.words[tables + table + i] = block.0;
            }
            let run = Tile {
                first: self.tokens as u32,
                tokens: e.tokens.len() as u32,
                position: e.start as u32,
                table: table as u32,
            };
            self.tiles.extend(run.cut(tile_tokens));
            table += used;
            self.tokens = end;
        }
        let tile_words: &[u32] = bytemuck::cast_slice(&self.tiles);
        self.words[tiles..tiles + tile_words.len()].copy_from_slice(tile_words);
        self.words[..3].copy_from_slice(&[self.tokens as u32, self.outputs as u32, self.tiles.len() as u32]);
        // The tables come last, and only the used part of them is uploaded.
        self.words.truncate(tables + table.max(1));
        Ok(())
    }

    /// The tokens' ids, as far as the host knows them.
    pub fn ids(&self) -> &[u32] {
        self.words.get(self.at[0]..self.at[0] + self.tokens).unwrap_or_default()
    }

    /// Rows of the cache that the step's attention sees, each once.
    pub fn distinct_rows(&self, block: usize, window: usize) -> u64 {
        let tables = self.words.get(self.at[1]..).unwrap_or_default();
        attention::distinct_rows(block, window, &self.tiles, tables)
    }

    /// Says how many workgroups share a tile's keys; after [`Plan::fill`], which counts the tiles.
    pub fn split(&mut self, splits: usize) {
        self.splits = splits;
        self.words[3] = splits as u32;
    }

    /// What makes the unchecked kernels sound: every index lies inside what it points into.
    fn check(&self, b: &Bounds, entries: &[Entry<'_>]) -> Result<(), Error> {
        let fail = |what: String| Err(Error::Step(what));
        let tokens: usize = entries.iter().map(|e| e.tokens.len()).sum();
        let outputs: usize = entries.iter().map(Entry::wanted).sum();
        if tokens == 0 || tokens > b.tokens {
            return fail(format!("a step takes 1 to {} tokens, {tokens} were asked for", b.tokens));
        }
        if outputs > b.outputs {
            return fail(format!(
                "a step gives logits of at most {} tokens, {outputs} were asked for",
                b.outputs
            ));
        }
        let mut tables = 0;
        for e in entries {
            let end = e.start + e.tokens.len();
            if e.tokens.is_empty() || end > b.positions {
                return fail(format!(
                    "positions {}..{end} do not fit the context of {} tokens",
                    e.start, b.positions
                ));
            }
            let used = end.div_ceil(b.block);
            if e.blocks.len() < used || e.blocks[..used].iter().any(|x| x.index() >= b.blocks) {
                return fail(format!("{end} tokens need {used} blocks of the pool's {}", b.blocks));
            }
            if let Some(id) = e.tokens.iter().find(|&&id| id as usize >= b.vocab) {
                return fail(format!("the token id {id} is not below the model's vocabulary of {}", b.vocab));
            }
            tables += used;
        }
        if tables > b.tables {
            return fail(format!("the step's block tables have {tables} entries, {} fit", b.tables));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { tokens: 8, outputs: 2, positions: 40, block: 16, blocks: 4, vocab: 10, tables: 6 };

    fn entry<'a>(tokens: &'a [u32], start: usize, blocks: &'a [BlockId]) -> Entry<'a> {
        Entry { tokens, start, blocks, outputs: Outputs::Last }
    }

    #[test]
    fn tokens_slots_and_tiles_are_laid_out() {
        let sections = Sections::new(&BOUNDS);
        let mut plan = Plan::default();
        let (a, b) = ([BlockId(3)], [BlockId(2), BlockId(0)]);
        let entries = [entry(&[5, 6, 7], 0, &a), entry(&[9], 17, &b)];
        plan.fill(&BOUNDS, &sections, &entries, |_| 2).unwrap();
        assert_eq!(plan.words[..3], [4, 2, 3]);
        let at = |s: (u64, u64)| (s.0 / 4) as usize;
        assert_eq!(plan.words[at(sections.ids)..][..4], [5, 6, 7, 9]);
        assert_eq!(plan.words[at(sections.places)..][..8], [0, 48, 1, 49, 2, 50, 17, 1]);
        assert_eq!(plan.words[at(sections.picks)..][..2], [2, 3]);
        assert_eq!(plan.words[at(sections.tables)..], [3, 2, 0]);
        assert_eq!(plan.tiles[2], Tile { first: 3, tokens: 1, position: 17, table: 1 });
    }

    #[test]
    fn whatever_points_outside_is_refused() {
        let sections = Sections::new(&BOUNDS);
        let mut plan = Plan::default();
        let blocks = [BlockId(0), BlockId(1), BlockId(2)];
        let many = [1; 9];
        for (what, e) in [
            ("1 to 8 tokens", entry(&many, 0, &blocks)),
            ("1 to 8 tokens", entry(&[], 0, &blocks)),
            ("context of 40", entry(&[1], 40, &blocks)),
            ("need 2 blocks", entry(&[1], 16, &blocks[..1])),
            ("of the pool's 4", entry(&[1], 0, &[BlockId(4)])),
            ("token id 10", entry(&[10], 0, &blocks)),
        ] {
            let error = plan.fill(&BOUNDS, &sections, &[e], |_| 8).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
