//! Top-k candidates: the K largest logits of each row, and the row's softmax normaliser.
//!
//! Radix selection on order-preserving keys, then collection in the order of the ids, so that ties
//! go to the lowest ids and every run gives the same words. A sampler finishes on the host, exactly,
//! whenever what it needs lies among the candidates.

use super::{Case, Cases, Expected, Input, Kernel, Needs, Noise, U, Values, words};
use crate::cost::{Cost, Role, Work};
use crate::gpu::Program;
use crate::units::Flops;

/// Candidates that a step brings back per row.
pub const CANDIDATES: usize = 64;

/// Integer operations for a number: its key (a mask, a comparison, the two keys, a choice), its first digit (a
/// shift, a mask) and the count of that, whether it has the digits found so far (a shift and a comparison, in three
/// passes), and on which side of the last key it is (two comparisons). Digits after the first are those of
/// the few numbers that are left, which depends on the data.
const INT: u64 = 5 + 3 + 3 * 2 + 2;

/// The kernel.
#[derive(Debug)]
pub struct TopK;

/// The program for `k` candidates (at most the vocabulary).
pub fn program(k: usize) -> Program {
    Program::new("top_k").number("WG", 64).number("K", k as u32)
}

/// Workgroups for `rows` rows.
pub fn grid(rows: usize) -> [u32; 3] {
    [rows as u32, 1, 1]
}

/// The uniform buffer's bytes.
pub fn params(vocab: usize) -> Vec<u8> {
    words(&[vocab as u32, 0, 0, 0])
}

/// Words of `out` per row.
pub const fn out_words(k: usize) -> usize {
    2 + 2 * k
}

/// The cost of `rows` rows. A row's workgroup goes through it seven times, which the ceiling has once.
pub fn cost(vocab: usize, k: usize, rows: usize) -> Cost {
    let read = (vocab * rows * 4) as u64;
    let written = (out_words(k) * rows * 4) as u64;
    let numbers = (vocab * rows) as u64;
    Cost {
        work: Work {
            // A comparison, a difference, a sum.
            f32: Flops(3 * numbers),
            int: Flops(INT * numbers),
            special: Flops(numbers),
            ..Work::default()
        },
        traffic: vec![],
    }
    .moves(Role::Input, read, read)
    .moves(Role::Output, written, written)
}

/// The plain selection: ids of the `k` largest in order of the id within {larger, equal}.
pub fn reference(row: &[f32], k: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..row.len() as u32).collect();
    order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
    let bound = row[order[k - 1] as usize];
    let larger = (0..row.len() as u32).filter(|&i| row[i as usize] > bound);
    let equal = (0..row.len() as u32).filter(|&i| row[i as usize] == bound);
    larger.chain(equal).take(k).collect()
}

impl Kernel for TopK {
    fn name(&self) -> &'static str {
        "top_k"
    }

    fn summary(&self) -> &'static str {
        "the K largest logits of each row and the softmax normaliser"
    }

    fn cases(&self) -> Cases {
        let vocabularies = [1, 7, 64, 65, 300, 1023, 5000, 32_003, 49_152];
        Box::new([1, 7, 64].into_iter().flat_map(move |k| {
            vocabularies.into_iter().filter(move |&vocab| vocab >= k).flat_map(move |vocab| {
                // From hardly a tie to hardly anything else.
                [(1, 0.01), (2, 1.0), (3, 4.0)].map(|(rows, step)| case(vocab, k, rows, step))
            })
        }))
    }
}

/// `step`: the grain of the logits; a coarse one makes ties.
fn case(vocab: usize, k: usize, rows: usize, step: f32) -> Case {
    let mut noise = Noise::new((vocab + k) as u64);
    let logits: Vec<f32> = (0..vocab * rows).map(|_| (noise.unit() * 12.0 / step).round() * step).collect();
    let mut expected = Vec::new();
    let mut sums = Vec::new();
    for row in logits.chunks(vocab) {
        let ids = reference(row, k);
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|v| f64::from(v - top).exp()).sum();
        // exp may be off by 3 + 2|x| ulp (Vulkan's precision table), |x| <= 24 here; and the sum.
        let tolerance = (64.0 + vocab as f64) * 2.0 * U * sum;
        sums.extend([(top, 0.0), (sum as f32, tolerance as f32)]);
        sums.extend(vec![(f32::NAN, 0.0); 2 * k]);
        expected.extend(ids.iter().copied());
    }
    // Words and floats share the buffer: floats are compared here, ids and logits bit for bit below.
    let mut exact = Vec::new();
    for (row, ids) in logits.chunks(vocab).zip(expected.chunks(k)) {
        exact.push((ids.to_vec(), ids.iter().map(|&i| row[i as usize].to_bits()).collect::<Vec<u32>>()));
    }
    let words_of_row = |r: usize| [exact[r].0.as_slice(), exact[r].1.as_slice()].concat();
    let ids_and_logits: Vec<Vec<u32>> = (0..rows).map(words_of_row).collect();
    Case {
        label: format!("{k} of {vocab}, {rows} rows"),
        program: program(k),
        needs: Needs::default(),
        inputs: vec![
            Input::Uniform(params(vocab)),
            Input::Storage(bytemuck::cast_slice(&logits).to_vec()),
            Input::Storage(vec![0; out_words(k) * rows * 4]),
        ],
        grid: grid(rows),
        expected: vec![
            Expected { binding: 2, values: Values::F32(sums) },
            Expected { binding: 2, values: Values::U32Rows { skip: 2, rows: ids_and_logits } },
        ],
        cost: cost(vocab, k, rows),
    }
}
