//! The ragged sizes that the kernels are proven on. Sizes are inputs, not constants of a program, so a
//! program is compiled once and run on all of them.

/// Below, at and above the widths of workgroups and tiles: 1, primes, powers of two and their
/// neighbours.
const ROWS: [usize; 7] = [1, 33, 130, 64, 2, 95, 16];

/// `count` shapes (rows, K, columns) of a product: K in whole blocks of `block` numbers and units of
/// 8, columns around `width`, what a workgroup takes at a time.
///
/// The lists have 7, 4 and 5 entries, so that walking all three at once meets every pair of them in 140
/// shapes, and every entry in the first 7.
pub fn products(block: usize, width: usize, count: usize) -> impl Iterator<Item = [usize; 3]> {
    let depths = [block.max(8), block.max(96), 2 * block.max(20), 3 * block.max(24)];
    let columns = [1, width + 1, 2 * width - 1, width, width.saturating_sub(1).max(1)];
    (0..count).map(move |i| [ROWS[i % 7], depths[i % 4], columns[i % 5]])
}

/// `count` shapes (width, tokens) of what works on each token alone; widths in steps of `grain`.
pub fn tokens(grain: usize, count: usize) -> impl Iterator<Item = [usize; 2]> {
    const TOKENS: [usize; 5] = [1, 5, 2, 17, 32];
    (0..count).map(move |i| [ROWS[i % 7].div_ceil(grain) * grain, TOKENS[i % 5]])
}

/// Steps of an attention: (tokens computed, position of the first) of each sequence.
pub const STEPS: [&[(usize, usize)]; 5] = [
    // Prefills and decodes mixed, blocks just begun and just full.
    &[(1, 0), (1, 37), (13, 0), (5, 21), (1, 16)],
    &[(1, 0)],
    // Across a block's end, with what a prefix cache leaves to compute.
    &[(16, 0), (17, 15), (2, 31)],
    &[(1, 15), (1, 63), (1, 31), (1, 47)],
    &[(33, 3)],
];

/// Steps of one token of each sequence.
pub const DECODES: [&[(usize, usize)]; 3] =
    [&[(1, 0)], &[(1, 15), (1, 63), (1, 31), (1, 0), (1, 16)], &[(1, 37)]];

/// Sliding windows: none, and below, at and above a block of 16.
pub const WINDOWS: [usize; 5] = [0, 7, 1, 16, 33];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn shapes_differ_and_are_legal() {
        for (block, width) in [(1, 1), (32, 8), (256, 33)] {
            let all: Vec<[usize; 3]> = products(block, width, 140).collect();
            assert!(all.iter().all(|[m, k, n]| *m > 0 && k % block == 0 && k % 8 == 0 && *n > 0));
            let distinct: BTreeSet<[usize; 3]> = all.into_iter().collect();
            assert!(distinct.len() >= 7 * 3, "{}", distinct.len());
        }
        assert!(tokens(32, 35).all(|[width, n]| width % 32 == 0 && n > 0));
    }
}
