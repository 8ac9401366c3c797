//! Gated activation on its own: `y[t][i] = act(gate[t][i]) * up[t][i]`.
//!
//! Runs only where a layer's gate and up matrices differ in format and so could not be one matrix;
//! else [`super::linear`] fuses it. `gate_up` is tokens x 2 width, gate first.

use super::linear::Activation;
use super::{Case, Cases, Expected, Input, Kernel, Needs, Noise, U, Values, shapes, words};
use crate::cost::{Cost, Role, Work};
use crate::gpu::Program;
use crate::units::Flops;

const WG: u32 = 64;

/// The kernel.
#[derive(Debug)]
pub struct Gated;

/// The program for a function.
pub fn program(activation: Activation) -> Program {
    Program::new("gated").number("WG", WG).flags(activation.flag())
}

/// Workgroups for `n` tokens of `width` outputs.
pub fn grid(width: usize, n: usize) -> [u32; 3] {
    [(width as u32).div_ceil(WG), n as u32, 1]
}

/// The uniform buffer's bytes; `stride` in floats.
pub fn params(width: usize, stride: usize) -> Vec<u8> {
    words(&[width as u32, stride as u32, 0, 0])
}

/// The cost of `n` tokens.
pub fn cost(activation: Activation, width: usize, n: usize) -> Cost {
    let count = (width * n) as u64;
    let [f32, special] = activation.work().map(|each| Flops(each * count));
    Cost { work: Work { f32, special, ..Work::default() }, traffic: vec![] }
        .moves(Role::Input, 8 * count, 8 * count)
        .moves(Role::Output, 4 * count, 4 * count)
}

impl Kernel for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn summary(&self) -> &'static str {
        "act(gate) * up, where the two could not be one matrix"
    }

    fn cases(&self) -> Cases {
        let acts = [Activation::Silu, Activation::GeluTanh];
        Box::new(
            acts.into_iter().flat_map(|act| shapes::tokens(1, 35).map(move |[width, n]| case(act, width, n))),
        )
    }
}

fn case(activation: Activation, width: usize, n: usize) -> Case {
    let mut noise = Noise::new(width as u64);
    let gate_up: Vec<f32> = noise.floats(2 * width * n).iter().map(|v| v * 8.0).collect();
    let stride = width + 3;
    let mut expected = vec![(0.0, 0.0); n * stride];
    for t in 0..n {
        for i in 0..width {
            let (gate, up) = (gate_up[t * 2 * width + i], gate_up[t * 2 * width + width + i]);
            let value = (activation.apply(f64::from(gate)) * f64::from(up)) as f32;
            // exp may be off by 3 + 2|x| ulp (Vulkan's precision table); GELU's argument grows faster.
            let ulps = 24.0 + 8.0 * gate.abs() * (1.0 + 0.05 * gate * gate);
            let tolerance = ulps * 2.0 * U as f32 * (value.abs() + (gate * up).abs() * 1e-2) + 1e-6;
            expected[t * stride + i] = (value, tolerance);
        }
    }
    Case {
        label: format!("{activation:?} {width}, {n} tokens"),
        program: program(activation),
        needs: Needs::default(),
        inputs: vec![
            Input::Uniform(params(width, stride)),
            Input::Uniform(words(&[n as u32, 0, 0, 0])),
            Input::Storage(bytemuck::cast_slice(&gate_up).to_vec()),
            Input::Storage(vec![0; n * stride * 4]),
        ],
        grid: grid(width, n),
        expected: vec![Expected { binding: 3, values: Values::F32(expected) }],
        cost: cost(activation, width, n),
    }
}
