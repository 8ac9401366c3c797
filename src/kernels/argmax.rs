//! Argmax: the id of each row's largest logit (the lowest id of equal ones) and the logit itself,
//! so that the host sees a row of NaN for what it is.

use super::{Case, Cases, Expected, Input, Kernel, Needs, Noise, Values, words};
use crate::cost::{Cost, Role, Work};
use crate::gpu::Program;
use crate::units::Flops;

/// The kernel.
#[derive(Debug)]
pub struct Argmax;

/// The program. 64 lanes: one barrier and a short serial end.
pub fn program() -> Program {
    Program::new("argmax").number("WG", 64)
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
pub const OUT_WORDS: usize = 2;

/// The cost of `rows` rows.
pub fn cost(vocab: usize, rows: usize) -> Cost {
    let bytes = (vocab * rows * 4) as u64;
    // A comparison each.
    let work = Work { f32: Flops((vocab * rows) as u64), ..Work::default() };
    Cost { work, traffic: vec![] }.moves(Role::Input, bytes, bytes).moves(
        Role::Output,
        8 * rows as u64,
        8 * rows as u64,
    )
}

/// The plain argmax.
pub fn reference(row: &[f32]) -> u32 {
    let mut best = 0;
    for (i, v) in row.iter().enumerate() {
        if *v > row[best] {
            best = i;
        }
    }
    best as u32
}

impl Kernel for Argmax {
    fn name(&self) -> &'static str {
        "argmax"
    }

    fn summary(&self) -> &'static str {
        "the id of each row's largest logit"
    }

    fn cases(&self) -> Cases {
        let vocabularies = [1, 2, 63, 64, 65, 127, 1000, 4096, 32_003, 49_152];
        let shapes = vocabularies.into_iter().flat_map(|vocab| [1, 2, 5].map(|rows| (vocab, rows)));
        Box::new(shapes.map(|(vocab, rows)| {
            let mut noise = Noise::new(vocab as u64);
            // Few distinct values, so that ties are the rule.
            let logits: Vec<f32> = (0..vocab * rows).map(|_| noise.below(50) as f32 - 60.0).collect();
            let best = |row: &[f32]| [reference(row), row[reference(row) as usize].to_bits()];
            let best: Vec<u32> = logits.chunks(vocab).flat_map(best).collect();
            Case {
                label: format!("{rows} rows of {vocab}"),
                program: program(),
                needs: Needs::default(),
                inputs: vec![
                    Input::Uniform(params(vocab)),
                    Input::Storage(bytemuck::cast_slice(&logits).to_vec()),
                    Input::Storage(vec![0xff; 8 * rows]),
                ],
                grid: grid(rows),
                expected: vec![Expected { binding: 2, values: Values::U32(best) }],
                cost: cost(vocab, rows),
            }
        }))
    }
}
