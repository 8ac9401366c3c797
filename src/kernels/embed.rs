//! Embedding: `y[t] = scale * W[ids[t]]`.
//!
//! `W` is vocabulary x hidden in any format, `ids` tokens, `y` tokens x stride. A lane unpacks one
//! unit of 32 weights. Ids must lie below the vocabulary: the host checks.

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

/// The cost of `n` tokens of width `k`.
pub fn cost(format: &dyn Format, k: usize, n: usize) -> Cost {
    let bytes = n as u64 * Layout::row_bytes(format, k).iter().sum::<u64>();
    let (units, unpacking) = ((n * k.div_ceil(UNIT)) as u64, format.unpacking());
    let scaled = (k * n) as u64;
    Cost {
        work: Work {
            f32: Flops(scaled + units * unpacking.float),
            int: Flops(units * unpacking.int),
            ..Work::default()
        },
        traffic: vec![],
    }
    .moves(Role::Weights, bytes, bytes)
    .moves(Role::Output, (k * n * 4) as u64, (k * n * 4) as u64)
    .moves(
        Role::Tables,
        4 * n as u64,
        4 * grid(k.div_ceil(UNIT), n).map(u64::from).iter().product::<u64>(),
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
        cost: cost(format, k, n),
    }
}
