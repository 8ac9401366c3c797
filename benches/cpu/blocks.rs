//! Taking and giving back blocks of the cache, each figure for all blocks of a pool.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use ridgepoint::cache::{BlockId, BlockManager, BlockPool, BlockTable, CacheConfig, Retention, Salt};

/// Blocks of a pool: what a small and what a large cache have.
const POOLS: [u32; 2] = [1024, 65_536];
/// Tokens of each sequence that a manager serves.
const TOKENS: u32 = 1024;

pub fn benches(c: &mut Criterion) {
    pool(c);
    manager(c);
}

/// Every block taken, in an order without neighbours, and given back.
fn pool(c: &mut Criterion) {
    let mut group = c.benchmark_group("allocator, a block");
    for blocks in POOLS {
        group.throughput(Throughput::Elements(u64::from(blocks)));
        for retention in [Retention::Discard, Retention::Keep] {
            let id = BenchmarkId::new(format!("taken, given back ({retention:?})"), blocks);
            let mut pool = BlockPool::new(blocks);
            pool.scatter(1);
            let mut taken: Vec<BlockId> = Vec::with_capacity(blocks as usize);
            group.bench_function(id, |b| {
                b.iter(|| {
                    while let Some(block) = pool.allocate() {
                        taken.push(block);
                    }
                    assert_eq!(taken.len(), blocks as usize);
                    taken.drain(..).for_each(|block| pool.release(block, retention));
                });
            });
        }
    }
    group.finish();
}

/// Sequences that grow a token at a time until the pool is full, and end: tables and prefixes with them.
fn manager(c: &mut Criterion) {
    let mut group = c.benchmark_group("allocator, a token");
    for blocks in POOLS {
        let config = CacheConfig::new(blocks);
        let sequences = blocks * config.block_size / TOKENS;
        group.throughput(Throughput::Elements(u64::from(sequences * TOKENS)));
        let tokens: Vec<Vec<u32>> =
            (0..sequences).map(|s| (0..TOKENS).map(|t| (s * 31) ^ t).collect()).collect();
        group.bench_function(BenchmarkId::new("grown, published, released", blocks), |b| {
            let make = || BlockManager::new(config).expect("the sizes are sound");
            b.iter_batched_ref(make, |manager| fill(manager, &tokens), BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn fill(manager: &mut BlockManager, tokens: &[Vec<u32>]) {
    let mut tables: Vec<BlockTable> = tokens.iter().map(|_| BlockTable::new(Salt::default())).collect();
    let mut copies = Vec::new();
    for (table, tokens) in tables.iter_mut().zip(tokens) {
        for end in 1..=TOKENS {
            assert!(manager.prepare(table, end - 1, end, &mut copies), "the pool has a block for each");
            manager.publish(table, tokens, end);
        }
    }
    assert_eq!(manager.pool().free(), 0);
    tables.iter_mut().for_each(|table| manager.release(table));
}
