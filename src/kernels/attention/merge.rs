//! What an attention's splits along the context left, put together (flash-decoding; Dao et al. 2023):
//!
//! `o = sum_z e^(m_z - M) o_z / sum_z e^(m_z - M) l_z`, `M = max_z m_z`
//!
//! with each split's output `o_z` before the division, the maximum `m_z` of its scores and the sum `l_z` of
//! its weights relative to it. A split without keys has `l_z = 0` and counts for nothing.

use super::super::{
    Case, Cases, Expected, Input, Kernel, Needs, Noise, U, Values, dot_tolerance, meetings, words,
};
use super::partial_row;
use crate::cost::{Cost, Role, Work};
use crate::gpu::Program;
use crate::units::Flops;

const WG: usize = 32;

/// The kernel.
#[derive(Debug)]
pub struct Merge;

/// The program: sizes are parameters, so it is one for all.
pub fn program() -> Program {
    Program::new("attention_merge").number("WG", WG as u32)
}

/// Workgroups for `n` tokens of `heads` heads of `dim` numbers.
pub fn grid(heads: usize, dim: usize, n: usize) -> [u32; 3] {
    [(heads * dim / 4).div_ceil(WG) as u32, n as u32, 1]
}

/// The uniform buffer's bytes. `o_stride`: vec4s from token to token of the output; `first`: its first head.
pub fn params(heads: usize, dim: usize, o_stride: usize, first: usize) -> Vec<u8> {
    words(&[heads as u32, (dim / 4) as u32, o_stride as u32, first as u32])
}

/// The cost of `n` tokens: an exponential for each row, and a multiply-add for each of its numbers and its sum.
pub fn cost(heads: usize, dim: usize, splits: usize, n: usize) -> Cost {
    let [rows, out] = [(splits * n * heads) as u64, (n * heads) as u64];
    let (row, quads, dim) = (4 * partial_row(dim) as u64, dim / 4, dim as u64);
    let work = Work { f32: Flops(2 * rows * (dim + 1)), special: Flops(rows + out), ..Work::default() };
    // A head's maximum and sum are loaded by each workgroup that has some of its numbers.
    let issued = splits as u64 * n as u64 * 16 * meetings(heads, quads, WG) + rows * dim * 4;
    let written = out * 4 * dim;
    Cost { work, traffic: vec![] }.moves(Role::Input, rows * row, issued).moves(
        Role::Output,
        written,
        written,
    )
}

/// One head's output from its splits' rows, each number with its tolerance.
fn reference(rows: &[&[f32]], dim: usize) -> Vec<(f32, f32)> {
    let row = |z: usize, i: usize| f64::from(rows[z][i]);
    let top = (0..rows.len()).map(|z| row(z, dim)).fold(f64::NEG_INFINITY, f64::max);
    // Each weight, and what it may be off by: exp's 3 + 2|x| ulp (Vulkan's precision table), x rounded once.
    let weights: Vec<(f64, f64)> = (0..rows.len())
        .map(|z| {
            let x = row(z, dim) - top;
            (x.exp(), x.exp() * (3.0 + 3.0 * x.abs()) * 2.0 * U + f64::from(f32::MIN_POSITIVE))
        })
        .collect();
    let sum = |i: usize| {
        let (mut sum, mut magnitude, mut slack) = (0.0, 0.0, 0.0);
        for (z, (weight, off)) in weights.iter().enumerate() {
            sum += weight * row(z, i);
            magnitude += weight * row(z, i).abs();
            slack += off * row(z, i).abs();
        }
        (sum, dot_tolerance(rows.len(), magnitude) + slack)
    };
    let (l, off) = sum(dim + 1);
    (0..dim)
        .map(|i| {
            let (out, slack) = sum(i);
            let value = out / l;
            // The division rounds by 2.5 ulp.
            (value as f32, ((slack + value.abs() * off) / l * 1.01 + 5.0 * U * value.abs()) as f32)
        })
        .collect()
}

impl Kernel for Merge {
    fn name(&self) -> &'static str {
        "attention_merge"
    }

    fn summary(&self) -> &'static str {
        "puts together what an attention's splits along the context left"
    }

    fn cases(&self) -> Cases {
        let heads = [(1, 8), (9, 64), (3, 24), (32, 128), (2, 256), (14, 40)];
        let steps = [(2, 1), (7, 3), (64, 2), (3, 17)];
        Box::new(heads.into_iter().flat_map(move |(heads, dim)| {
            steps.into_iter().flat_map(move |(splits, n)| {
                [0, 2].into_iter().map(move |first| case(heads, dim, splits, n, first))
            })
        }))
    }
}

/// Floats between the rows of a case's output.
const GAP: usize = 12;

/// Every third row or so has no keys, but never a head's all.
fn case(heads: usize, dim: usize, splits: usize, n: usize, first: usize) -> Case {
    let mut noise = Noise::new((heads * dim + splits) as u64);
    let row = partial_row(dim);
    let mut partial = Vec::with_capacity(splits * n * heads * row);
    for z in 0..splits {
        for at in 0..n * heads {
            if z != at % splits && noise.below(3) == 0 {
                partial.extend(vec![0.0; dim]);
                partial.extend([-1e30, 0.0, 0.0, 0.0]);
            } else {
                // Sums of up to some 300 weights of at most 1, one of them 1.
                let l = 150.0 * (noise.unit() + 1.0) + 1.0;
                partial.extend(noise.floats(dim).iter().map(|v| v * l));
                partial.extend([12.0 * noise.unit(), l, 0.0, 0.0]);
            }
        }
    }
    let stride = (first + heads) * dim + GAP;
    let mut expected = vec![(0.0, 0.0); n * stride];
    for t in 0..n {
        for head in 0..heads {
            let at = |z: usize| &partial[((z * n + t) * heads + head) * row..][..row];
            let rows: Vec<&[f32]> = (0..splits).map(at).collect();
            let to = t * stride + (first + head) * dim;
            expected[to..to + dim].copy_from_slice(&reference(&rows, dim));
        }
    }
    Case {
        label: format!("{heads} heads of {dim} from {first}, {splits} splits, {n} tokens"),
        program: program(),
        needs: Needs::default(),
        inputs: vec![
            Input::Uniform(params(heads, dim, stride / 4, first)),
            Input::Uniform(words(&[n as u32, 0, 0, splits as u32])),
            Input::Storage(bytemuck::cast_slice(&partial).to_vec()),
            Input::Storage(vec![0; expected.len() * 4]),
        ],
        grid: grid(heads, dim, n),
        expected: vec![Expected { binding: 3, values: Values::F32(expected) }],
        cost: cost(heads, dim, splits, n),
    }
}
