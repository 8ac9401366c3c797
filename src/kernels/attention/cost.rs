//! What attention costs: rows of the cache, queries, block ids, and the rotation where that is fused in.

use super::super::rope_cache::{self, Heads, QkNorm};
use super::{Intake, Tile, Variant, first_key, partial_row};
use crate::cost::{Cost, Role, Work};
use crate::units::Flops;

/// Rows of the cache that tiles see, each once: sequences that share a prefix name the same blocks of `block`
/// tokens in their `tables`.
pub fn distinct_rows(block: usize, window: usize, tiles: &[Tile], tables: &[u32]) -> u64 {
    let block = block as u32;
    let mut seen: Vec<(u32, u32, u32)> = Vec::new();
    // Tiles of one sequence are neighbours and share its table.
    for run in tiles.chunk_by(|a, b| a.table == b.table) {
        let low = run.first().map_or(0, |tile| tile.first_key(window));
        let end = run.last().map_or(0, |tile| tile.position + tile.tokens);
        let of_sequence = tables.get(run.first().map_or(0, |tile| tile.table as usize)..).unwrap_or_default();
        for (i, &place) in (0..end.div_ceil(block)).zip(of_sequence).skip((low / block) as usize) {
            let first = i * block;
            seen.push((place, low.max(first) - first, end.min(first + block) - first));
        }
    }
    seen.sort_unstable();
    // Of a block that several see, what lies between is taken as seen too: they all see its end.
    let blocks = seen.chunk_by(|a, b| a.0 == b.0);
    let rows = |of: &[(u32, u32, u32)]| {
        let low = of.iter().map(|(_, low, _)| *low).min().unwrap_or(0);
        of.iter().map(|(.., end)| *end).max().unwrap_or(0) - low
    };
    blocks.map(|of| u64::from(rows(of))).sum()
}

/// Block ids that a step's tiles need of their tables, and that each head's workgroups ask for: `splits` of them
/// share a tile's rounds of keys, and with `new` each looks up where the new row goes, too.
fn block_ids(
    block: usize,
    window: usize,
    tiles: &[Tile],
    round: u32,
    splits: usize,
    new: bool,
) -> (u64, u64) {
    let (block, splits) = (block as u32, splits as u32);
    let (mut needed, mut asked) = (0, 0);
    for run in tiles.chunk_by(|a, b| a.table == b.table) {
        let low = run.first().map_or(0, |tile| tile.first_key(window));
        let end = run.last().map_or(0, |tile| tile.position + tile.tokens);
        needed += u64::from(end.div_ceil(block) - low / block);
    }
    for tile in tiles {
        let last = tile.position + tile.tokens - 1;
        let begin = tile.first_key(window) / round * round;
        let rounds = (last - begin) / round + 1;
        for z in 0..splits {
            let share = [z, z + 1].map(|z| begin + round * (rounds * z / splits));
            let blocks = if share[0] < share[1] { share[1].div_ceil(block) - share[0] / block } else { 0 };
            let has_last = share[1] > last;
            asked += u64::from(blocks) + u64::from(new && !has_last);
        }
    }
    (4 * needed, 4 * asked)
}

/// The cost of tiles: two products of D per query and key seen, an exponential each; and what
/// [`rope_cache::cost`] counts, less the rotated queries that nobody writes and reads, with
/// [`Intake::Projected`]. Each of several `splits` reads the queries and leaves partial rows. `distinct`: of
/// [`distinct_rows`].
pub fn cost(
    h: &Heads,
    window: usize,
    tiles: &[Tile],
    variant: Variant,
    intake: Intake,
    splits: usize,
    distinct: u64,
) -> Cost {
    // Rows of the cache that each tile reads, in whole rounds.
    let (mut pairs, mut tokens, mut read) = (0, 0, 0);
    let round = variant.round(h);
    for tile in tiles {
        let seen = |position: u32| u64::from(position + 1 - first_key(position, window));
        let (low, end) = (tile.first_key(window), tile.position + tile.tokens);
        pairs += (tile.position..end).map(seen).sum::<u64>();
        read += u64::from((end - low / round * round).next_multiple_of(round));
        tokens += u64::from(tile.tokens);
    }
    let (heads, dim) = (h.heads as u64, h.dim as u64);
    let row = 2 * h.cache.row_bytes(h.dim) as u64;
    let per_row = row * h.kv_heads as u64;
    let q = tokens * heads * dim * 4;
    let rereads = (h.group() / variant.heads_per_group(h)) as u64;
    let pairs = pairs * heads;
    // Rows are unpacked once, whatever the queries.
    let (rows, reading) = (2 * h.kv_heads as u64 * distinct, h.cache.reading(h.dim));
    let work = Work {
        f32: Flops(4 * dim * pairs + rows * reading.f32.0),
        int: Flops(rows * reading.int.0),
        special: Flops(pairs),
        ..Work::default()
    };
    let of_heads = heads / variant.heads_per_group(h) as u64;
    let (ids, ids_asked) = block_ids(h.block, window, tiles, round, splits, intake != Intake::Cached);
    let table = 16 * tiles.len() as u64;
    // Workgroups that share a tile.
    let sharing = splits as u64 * of_heads;
    let times = splits as u64;
    let out = if splits == 1 { q } else { times * tokens * heads * 4 * partial_row(h.dim) as u64 };
    match intake {
        Intake::Cached => Cost { work, traffic: vec![] }
            .moves(Role::Cache, distinct * per_row, read * per_row * rereads)
            .moves(Role::Input, q, times * q)
            .moves(Role::Output, out, out)
            .moves(Role::Tables, table + ids, sharing * table + of_heads * ids_asked),
        Intake::Projected(norm) => {
            let rope = rope_cache::cost(h, norm, tokens as usize);
            let work = Work {
                f32: Flops(work.f32.0 + rope.work.f32.0),
                special: Flops(work.special.0 + rope.work.special.0),
                ..work
            };
            let input = rope.of(Role::Input).0;
            let gains = if norm == QkNorm::Off { 0 } else { rope_cache::gain_bytes(h) };
            let own = table + tokens * rope_cache::angle_bytes(h);
            // Workgroups that share a KV head all have its new rows. These are written, not read, but for
            // loads that are thrown away.
            Cost { work, traffic: vec![] }
                .moves(Role::Cache, distinct * per_row, read * per_row * rereads + tokens * per_row)
                .moves(Role::Input, input, times * (q + rereads * (input - q)))
                .moves(Role::Output, out, out)
                .moves(
                    Role::Tables,
                    own + gains + ids,
                    sharing * (own + tokens * gains) + of_heads * ids_asked,
                )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_sequences_share_is_counted_once() {
        let tile = |first, position, table| Tile { first, tokens: 1, position, table };
        // Both begin with the blocks 7 and 8; of 40 and 45 tokens the last 8 and 13 are their own.
        let (tables, apart) = ([7, 8, 1, 7, 8, 2], [7, 8, 1, 3, 4, 2]);
        let tiles = [tile(0, 39, 0), tile(1, 44, 3)];
        assert_eq!(distinct_rows(16, 0, &tiles, &tables), 32 + 8 + 13);
        // Windows of 20 begin within the second block, 12 and 7 rows before its end.
        assert_eq!(distinct_rows(16, 20, &tiles, &tables), 12 + 8 + 13);
        assert_eq!(distinct_rows(16, 0, &tiles, &apart), 40 + 45);
    }
}
