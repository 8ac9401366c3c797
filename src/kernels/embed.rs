//! Embedding: `y[t] = scale * W[ids[t]]`.
//!
//! `W` is vocabulary x hidden in any format, `ids` tokens, `y` tokens x stride. A lane unpacks one
//! unit of 32 weights. Ids must lie below the vocabulary: the host checks.

use std::ops::Range;

use super::{Case, Cases, Expected, Input, Kernel, Needs, Noise, TestMatrix, U, Values, shapes, words};
use crate::cost::{Cost, Role, Work};
use crate::gpu::Program;
use crate::quant::{BAND, FORMATS, Format, Layout, UNIT};
use crate::units::Flops;

const WG: u32 = 32;

/// The kernel.
#[derive(Debug)]
pub struct Embed;

/// The program for a format.
pub fn program(format: &dyn Format) -> Program {
    Program::new("embed").number("WG", WG).text("FORMAT", format.name().to_ascii_lowercase())
}

/// Workgroups for `units` units per row and `n` tokens.
pub fn grid(units: usize, n: usize) -> [u32; 3] {
    [(units as u32).div_ceil(WG), n as u32, 1]
}

/// The uniform buffer's bytes; `stride` in vec4s, `first` the shard's first id.
pub fn params(layout: &Layout, k: usize, stride: usize, scale: f32, first: usize) -> Vec<u8> {
    let [s0, s1, s2] = layout.starts.map(|s| s as u32);
    words(&[
        layout.m as u32,
        layout.units as u32,
        s0,
        s1,
        s2,
        k as u32,
        BAND as u32,
        0,
        stride as u32,
        scale.to_bits(),
        first as u32,
        0,
    ])
}

/// The cost of tokens with these ids and of width `k`, by a shard of the ids in `held`: each row that is named
/// counts once, and every workgroup looks its token's id up.
pub fn cost(format: &dyn Format, k: usize, held: Range<usize>, ids: &[u32]) -> Cost {
    let mut own: Vec<u32> = ids.iter().copied().filter(|&id| held.contains(&(id as usize))).collect();
    let n = own.len();
    own.sort_unstable();
    own.dedup();
    let row = Layout::row_bytes(format, k).iter().sum::<u64>();
    let (per_row, unpacking) = (k.div_ceil(UNIT), format.unpacking());
    let (units, scaled) = ((n * per_row) as u64, (k * n) as u64);
    Cost {
        work: Work {
            f32: Flops(scaled + units * unpacking.float),
            int: Flops(units * unpacking.int),
            ..Work::default()
        },
        traffic: vec![],
    }
    .moves(Role::Weights, own.len() as u64 * row, n as u64 * row)
    .moves(Role::Output, (k * n * 4) as u64, (k * n * 4) as u64)
    .moves(
        Role::Tables,
        4 * ids.len() as u64,
        4 * grid(per_row, ids.len()).map(u64::from).iter().product::<u64>(),
    )
}

impl Kernel for Embed {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn summary(&self) -> &'static str {
        "token ids to rows of the embedding, in any weight format"
    }

    fn cases(&self) -> Cases {
        Box::new(FORMATS.iter().flat_map(|&format| {
            let block = format.block_len();
            shapes::products(block, 4, 20).map(move |[m, k, n]| case(format, m, k, n))
        }))
    }
}

fn case(format: &'static dyn Format, m: usize, k: usize, n: usize) -> Case {
    let mut noise = Noise::new((m + k * 3 + n) as u64);
    let matrix = TestMatrix::new(format, m, k, &mut noise);
    // Every fifth id is another shard's.
    let first = 100;
    let ids: Vec<u32> =
        (0..n).map(|t| if t % 5 == 4 { first - 1 } else { first + noise.below(m) as u32 }).collect();
    let padded = k.next_multiple_of(UNIT);
    let stride = padded / 4 + 8;
    let scale = 1.5;
    let mut expected = vec![(0.0, 0.0); n * stride * 4];
    for (t, &id) in ids.iter().enumerate() {
        if id < first {
            continue;
        }
        for (i, &w) in matrix.row((id - first) as usize).iter().enumerate() {
            // One rounding each for scale, minimum and factor; the minimum may cancel.
            let tolerance = 4.0 * U as f32 * (w.abs() + 2.0) * scale;
            expected[t * stride * 4 + i] = (w * scale, tolerance);
        }
    }
    let layout = matrix.layout();
    let [q, aux] = matrix.inputs();
    Case {
        label: format!("{} {m}x{k}, {n} tokens", format.name()),
        program: program(format),
        needs: Needs::default(),
        inputs: vec![
            Input::Uniform(params(&layout, k, stride, scale, first as usize)),
            Input::Uniform(words(&[n as u32, 0, 0, 0])),
            q,
            aux,
            Input::Storage(words(&ids)),
            Input::Storage(vec![0; n * stride * 16]),
        ],
        grid: grid(layout.units, n),
        expected: vec![Expected { binding: 5, values: Values::F32(expected) }],
        cost: cost(format, k, first as usize..first as usize + m, &ids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::by_name;

    #[test]
    fn a_shard_costs_its_own_tokens_and_each_row_once() {
        let format = by_name("Q4_1").unwrap();
        let [low, high] = [0..8, 8..16].map(|held| cost(format, 64, held, &[3, 9, 3, 8, 3]));
        let row = 2 * (16 + 4);
        assert_eq!((low.of(Role::Weights), high.of(Role::Weights)), ((row, 3 * row), (2 * row, 2 * row)));
        let outputs = [&low, &high].map(|cost| cost.of(Role::Output).0);
        assert_eq!(outputs, [3 * 64 * 4, 2 * 64 * 4]);
        // Each workgroup of either looks its token up.
        assert_eq!([low, high].map(|cost| cost.of(Role::Tables)), [(4 * 5, 4 * 5); 2]);
    }
}
