//! The cache's bookkeeping against a naive one that keeps whole prefixes and searches lists.

use proptest::prelude::*;
use ridgepoint::cache::{BlockCopy, BlockId, BlockManager, BlockTable, CacheConfig, Salt};

/// A prefix by content, and which of its lifetimes: a prefix that was evicted everywhere and
/// computed again is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Prefix {
    parent: Option<usize>,
    salt: u8,
    tokens: Vec<u32>,
}

#[derive(Default)]
struct Naive {
    size: usize,
    /// Every prefix that ever was, by number.
    prefixes: Vec<Prefix>,
    /// What each block holds.
    held: Vec<Option<usize>>,
    owners: Vec<u32>,
    /// In the order in which they are given out.
    free: Vec<usize>,
}

impl Naive {
    fn new(config: &CacheConfig) -> Self {
        let blocks = config.num_blocks as usize;
        Self {
            size: config.block_size as usize,
            held: vec![None; blocks],
            owners: vec![0; blocks],
            free: (0..blocks).collect(),
            ..Self::default()
        }
    }

    /// The number of a prefix that some block holds.
    fn live(&self, prefix: &Prefix) -> Option<usize> {
        self.held.iter().flatten().copied().find(|number| self.prefixes[*number] == *prefix)
    }

    /// The prefixes found for a text.
    fn lookup(&self, salt: u8, tokens: &[u32]) -> Vec<usize> {
        let mut found: Vec<usize> = vec![];
        for chunk in tokens[..tokens.len().saturating_sub(1)].chunks_exact(self.size) {
            let wanted = Prefix { parent: found.last().copied(), salt, tokens: chunk.to_vec() };
            let Some(number) = self.live(&wanted) else {
                break;
            };
            found.push(number);
        }
        found
    }

    fn own(&mut self, block: BlockId) {
        self.owners[block.index()] += 1;
        self.free.retain(|free| *free != block.index());
    }

    fn allocate(&mut self) -> usize {
        let block = self.free.remove(0);
        self.held[block] = None;
        self.owners[block] = 1;
        block
    }

    fn disown(&mut self, block: BlockId) {
        let at = block.index();
        self.owners[at] -= 1;
        if self.owners[at] == 0 {
            let place = if self.held[at].is_some() { self.free.len() } else { 0 };
            self.free.insert(place, at);
        }
    }

    /// Records what `block` holds; returns the prefix's number.
    fn publish(&mut self, block: BlockId, parent: Option<usize>, salt: u8, tokens: &[u32]) -> usize {
        if let Some(number) = self.held[block.index()] {
            return number;
        }
        let prefix = Prefix { parent, salt, tokens: tokens.to_vec() };
        let number = self.live(&prefix).unwrap_or_else(|| {
            self.prefixes.push(prefix);
            self.prefixes.len() - 1
        });
        self.held[block.index()] = Some(number);
        number
    }
}

/// A sequence in both worlds.
struct Text {
    salt: u8,
    tokens: Vec<u32>,
    computed: u32,
    table: BlockTable,
    /// The number of each published prefix.
    published: Vec<usize>,
}

#[derive(Clone, Debug)]
enum Action {
    /// A text of its own: its tokens and salt.
    Start(Vec<u32>, u8),
    /// Computes so many tokens of a text, adding tokens where it has none.
    Compute(prop::sample::Index, u32),
    Fork(prop::sample::Index),
    End(prop::sample::Index),
    Reset,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let pick = any::<prop::sample::Index>;
    let text = prop_oneof![
        prop::collection::vec(0..2_u32, 1..10),
        (1..24_usize).prop_map(|len| (0..len as u32).map(|i| i * i % 3).collect()),
    ];
    let action = prop_oneof![
        4 => (text, 0..2_u8).prop_map(|(tokens, salt)| Action::Start(tokens, salt)),
        6 => (pick(), 1..12_u32).prop_map(|(text, len)| Action::Compute(text, len)),
        1 => pick().prop_map(Action::Fork),
        3 => pick().prop_map(Action::End),
    ];
    prop::collection::vec(prop_oneof![40 => action, 1 => Just(Action::Reset)], 1..120)
}

fn compare(manager: &BlockManager, naive: &Naive) {
    manager.pool().audit().unwrap();
    let order: Vec<_> = manager.pool().free_list().map(BlockId::index).collect();
    assert_eq!(order, naive.free);
    assert!((0..naive.owners.len()).all(|b| manager.pool().owners(BlockId(b as u32)) == naive.owners[b]));
    assert_eq!(manager.indexed() as usize, naive.held.iter().flatten().count());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_hold_the_same(block_size in 1..5_u32, num_blocks in 1..20_u32, actions in actions()) {
        let config = CacheConfig { block_size, num_blocks, enable_prefix_caching: true };
        let mut manager = BlockManager::new(config).unwrap();
        let mut naive = Naive::new(&config);
        let mut texts: Vec<Text> = vec![];
        for action in actions {
            match action {
                Action::Start(tokens, salt) => {
                    let mut table = BlockTable::new(Salt::of(&salt.to_string()));
                    let found = manager.lookup(&table, &tokens);
                    let expected = naive.lookup(salt, &tokens);
                    prop_assert_eq!(found.blocks() as usize, expected.len());
                    prop_assert_eq!(found.tokens(), found.blocks() * block_size);
                    prop_assert!(found.tokens() < tokens.len() as u32);
                    manager.attach(&mut table, &found);
                    for (block, number) in table.blocks().iter().zip(&expected) {
                        prop_assert_eq!(naive.held[block.index()], Some(*number));
                        naive.own(*block);
                    }
                    texts.push(Text { salt, tokens, computed: found.tokens(), table, published: expected });
                }
                Action::Compute(pick, len) if !texts.is_empty() => {
                    let text = pick.get_mut(&mut texts);
                    let (start, end) = (text.computed, text.computed + len);
                    let mut expected: Vec<_> = text.table.blocks().to_vec();
                    let grow = (end.div_ceil(block_size) as usize).saturating_sub(expected.len());
                    let at = (start / block_size) as usize;
                    let shared = expected.get(at).is_some_and(|block| naive.owners[block.index()] > 1);
                    let fits = grow + usize::from(shared) <= naive.free.len();
                    let mut copies: Vec<BlockCopy> = vec![];
                    prop_assert_eq!(manager.prepare(&mut text.table, start, end, &mut copies), fits);
                    if !fits {
                        prop_assert!(copies.is_empty());
                        prop_assert_eq!(text.table.blocks(), &expected);
                        continue;
                    }
                    let mut source = None;
                    if shared {
                        source = Some(std::mem::replace(&mut expected[at], BlockId(naive.allocate() as u32)));
                    } else if let Some(block) = expected.get(at) {
                        naive.held[block.index()] = None;
                    }
                    expected.extend((0..grow).map(|_| BlockId(naive.allocate() as u32)));
                    prop_assert_eq!(text.table.blocks(), &expected);
                    prop_assert_eq!(copies.first().map(|copy| copy.src), source);
                    if let Some(src) = source {
                        prop_assert_eq!(&copies[..], &[BlockCopy { src, dst: expected[at] }][..]);
                        naive.disown(src);
                    }
                    manager.settle(&copies);

                    text.computed = end;
                    while (text.tokens.len() as u32) < end {
                        text.tokens.push(text.tokens.len() as u32 % 2);
                    }
                    manager.publish(&mut text.table, &text.tokens, end);
                    let full = text.tokens[..end as usize].chunks_exact(naive.size);
                    let blocks = expected.iter().zip(full).skip(text.published.len());
                    for (block, tokens) in blocks {
                        let parent = text.published.last().copied();
                        let number = naive.publish(*block, parent, text.salt, tokens);
                        text.published.push(number);
                    }
                }
                Action::Fork(pick) if !texts.is_empty() => {
                    let text = pick.get(&texts);
                    let table = manager.fork(&text.table, text.computed);
                    prop_assert_eq!(table.blocks(), text.table.blocks());
                    table.blocks().iter().for_each(|block| naive.own(*block));
                    let fork = Text {
                        salt: text.salt,
                        tokens: text.tokens.clone(),
                        computed: text.computed,
                        table,
                        published: text.published.clone(),
                    };
                    texts.push(fork);
                }
                Action::End(pick) if !texts.is_empty() => {
                    let mut text = texts.swap_remove(pick.index(texts.len()));
                    for block in text.table.blocks().iter().rev() {
                        naive.disown(*block);
                    }
                    manager.release(&mut text.table);
                    prop_assert!(text.table.is_empty());
                }
                Action::Reset => {
                    let held = naive.held.iter().flatten().count();
                    prop_assert_eq!(manager.reset_prefixes() as usize, held);
                    naive.held.fill(None);
                }
                _ => {}
            }
            compare(&manager, &naive);
        }
        for mut text in texts {
            text.table.blocks().iter().rev().for_each(|block| naive.disown(*block));
            manager.release(&mut text.table);
        }
        compare(&manager, &naive);
        prop_assert_eq!(manager.pool().used(), 0);
    }
}
