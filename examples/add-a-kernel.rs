//! A kernel of one's own, proved against its reference: `cargo run --release --example add-a-kernel`.
//!
//! It has the parts of the kernels in `src/kernels`, in their order: the mathematics, the shape, the
//! grid, the cost, the reference, the tolerance, the cases. The mathematics here is BLAS's saxpy,
//! `y = a * x + y`.

use ridgepoint::cost::{Cost, Role, Work};
use ridgepoint::gpu::{AdapterChoice, Checks, Gpu, Program};
use ridgepoint::kernels::{
    Case, Cases, Expected, Input, Kernel, Needs, Noise, Outcome, U, Values, run_case, words,
};
use ridgepoint::units::Flops;

/// Invocations of a workgroup.
const WG: u32 = 64;

/// The kernel.
#[derive(Debug)]
struct Saxpy;

/// Its program: the WGSL lies beside this file, and may `#import` what lies under `shaders/`.
fn program(workgroup: u32) -> Program {
    Program::of_text("saxpy", include_str!("saxpy.wgsl")).number("WG", workgroup)
}

/// Two operations for each number; x read, y read and written, once each.
fn cost(n: u64) -> Cost {
    Cost { work: Work { f32: Flops(2 * n), ..Work::default() }, traffic: vec![] }
        .moves(Role::Input, 8 * n, 8 * n)
        .moves(Role::Output, 4 * n, 4 * n)
}

/// The truth, in plain loops.
fn reference(a: f32, x: &[f32], y: &[f32]) -> Vec<f32> {
    x.iter().zip(y).map(|(x, y)| (f64::from(a) * f64::from(*x) + f64::from(*y)) as f32).collect()
}

/// Two roundings, or one if the device fuses them; and one of the reference.
fn tolerance(a: f32, x: f32, y: f32) -> f32 {
    (3.0 * U * f64::from((a * x).abs() + y.abs())) as f32 + f32::MIN_POSITIVE
}

fn case(n: usize, workgroup: u32) -> Case {
    let mut noise = Noise::new(n as u64);
    let (a, x, y) = (noise.unit(), noise.floats(n), noise.floats(n));
    let values = reference(a, &x, &y);
    let expected = (0..n).map(|i| (values[i], tolerance(a, x[i], y[i]))).collect();
    Case {
        label: format!("{n} numbers, {workgroup} at a time"),
        program: program(workgroup),
        needs: Needs::default(),
        inputs: vec![
            Input::Uniform(words(&[n as u32, a.to_bits(), 0, 0])),
            Input::Storage(bytemuck::cast_slice(&x).to_vec()),
            Input::Storage(bytemuck::cast_slice(&y).to_vec()),
        ],
        grid: [(n as u32).div_ceil(workgroup), 1, 1],
        expected: vec![Expected { binding: 2, values: Values::F32(expected) }],
        cost: cost(n as u64),
    }
}

impl Kernel for Saxpy {
    fn name(&self) -> &'static str {
        "saxpy"
    }

    fn summary(&self) -> &'static str {
        "a * x + y"
    }

    /// Sizes that are no multiple of a workgroup are what goes wrong.
    fn cases(&self) -> Cases {
        let variants = [WG, 2 * WG];
        Box::new(variants.into_iter().flat_map(|wg| [1, 63, 64, 1000].map(|n| case(n, wg))))
    }
}

/// Runs every case, and gives a line for each.
pub fn check() -> anyhow::Result<Vec<String>> {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted)?;
    let kernel = Saxpy;
    let mut lines = Vec::new();
    for case in kernel.cases() {
        match run_case(&gpu, &case)? {
            Outcome::Right { worst } => {
                lines.push(format!("{} {}: right, {worst:.2} of the tolerance", kernel.name(), case.label));
            }
            Outcome::Wrong(what) => anyhow::bail!("{} {}: {what}", kernel.name(), case.label),
            Outcome::Unsupported => anyhow::bail!("{} needs nothing of a device", case.label),
        }
    }
    Ok(lines)
}

fn main() -> anyhow::Result<()> {
    for line in check()? {
        println!("{line}");
    }
    Ok(())
}
