//! The kernels: one file here, one of the same name in `shaders/`, one line in [`KERNELS`].
//!
//! A kernel's file holds, in this order: its mathematics, its shape, its variants and their
//! grids, its cost, its reference in plain loops, its tolerance, its cases. Everything else walks
//! [`KERNELS`]: the tests, `ridgepoint doctor`, the benches, the portability checks.

pub mod argmax;
pub mod attention;
mod check;
pub mod embed;
pub mod gated;
pub mod linear;
mod order;
pub mod rope_cache;
mod shapes;
pub mod top_k;

use crate::cost::Cost;
use crate::gpu::{Gpu, Program, Uses};

pub use check::{Noise, Outcome, TestMatrix, judge, run_case, run_outputs};
pub use order::Order;

/// Every kernel.
pub const KERNELS: &[&dyn Kernel] = &[
    &argmax::Argmax,
    &attention::Keys,
    &attention::Lanes,
    &attention::Merge,
    &attention::Tiled,
    &embed::Embed,
    &gated::Gated,
    &linear::Lanes,
    &linear::Split,
    &linear::Tiled,
    &rope_cache::RopeCache,
    &top_k::TopK,
];

/// The cases of a kernel, made one at a time.
pub type Cases = Box<dyn Iterator<Item = Case> + Send>;

/// How often a workgroup of `wg` lanes meets a head of `per` lanes, `heads` of them one after the other: what
/// the lanes of a head share, each of these loads once.
fn meetings(heads: usize, per: usize, wg: usize) -> u64 {
    let lanes = |group: usize| (group * wg, (heads * per).min((group + 1) * wg) - 1);
    let groups = (heads * per).div_ceil(wg);
    (0..groups).map(lanes).map(|(first, last)| (last / per - first / per + 1) as u64).sum()
}

/// One kernel, as everything that walks the table sees it.
pub trait Kernel: Sync {
    /// Its name, which is its file's under `shaders/`.
    fn name(&self) -> &'static str;
    /// What it computes, in one line.
    fn summary(&self) -> &'static str;
    /// Every variant on every format and ragged shape that proves it right.
    fn cases(&self) -> Cases;
}

/// What a variant needs of the device beyond WebGPU's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Needs {
    /// Smallest subgroup it is right for; 0 for none at all.
    pub subgroup: u32,
    /// 16-bit floats in shaders.
    pub f16: bool,
    /// 64-bit integers in shaders.
    pub int64: bool,
}

impl Needs {
    /// Whether the device has what is needed.
    pub fn met_by(self, gpu: &Gpu) -> bool {
        let subgroup = self.subgroup == 0 || gpu.min_subgroup() >= self.subgroup;
        let has = |needed: bool, feature| !needed || gpu.has(feature);
        subgroup && has(self.f16, wgpu::Features::SHADER_F16) && has(self.int64, wgpu::Features::SHADER_INT64)
    }

    /// What the module may use.
    pub fn uses(self) -> Uses {
        Uses { subgroups: self.subgroup > 0, f16: self.f16, int64: self.int64 }
    }
}

/// What the kernels need that broadcast from registers: lanes that hold a unit of 32 numbers between
/// them, and 64-bit words to read it by.
const LANE_NEEDS: Needs = Needs { subgroup: 8, f16: false, int64: true };

/// Whether those kernels run here, and well: a software driver has no workgroup memory worth the name.
fn broadcasts(gpu: &Gpu) -> bool {
    gpu.adapter.is_software() && LANE_NEEDS.met_by(gpu)
}

/// One run of one variant that proves it right.
#[derive(Debug)]
pub struct Case {
    /// Variant and shape in words.
    pub label: String,
    /// The variant.
    pub program: Program,
    /// What it needs.
    pub needs: Needs,
    /// Contents of its bindings, in order.
    pub inputs: Vec<Input>,
    /// Workgroups.
    pub grid: [u32; 3],
    /// What must come out.
    pub expected: Vec<Expected>,
    /// Its cost.
    pub cost: Cost,
}

/// A binding's contents.
#[derive(Clone, Debug)]
pub enum Input {
    /// A uniform buffer.
    Uniform(Vec<u8>),
    /// A storage buffer.
    Storage(Vec<u8>),
}

/// What a binding must hold afterwards.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The binding's place in `inputs`.
    pub binding: usize,
    /// The numbers, from the reference.
    pub values: Values,
}

/// Expected numbers with what they may be off by.
#[derive(Clone, Debug)]
pub enum Values {
    /// Floats, each with its tolerance. NaN: anything goes (a place that nothing reads).
    F32(Vec<(f32, f32)>),
    /// Rows of a cache of this type and of heads of this size: their numbers, each with its tolerance.
    Cache(rope_cache::CacheType, usize, Vec<(f32, f32)>),
    /// Exact words.
    U32(Vec<u32>),
    /// Exact words in rows, each after `skip` words that are not compared.
    U32Rows {
        /// Words before each row.
        skip: usize,
        /// The rows.
        rows: Vec<Vec<u32>>,
    },
}

/// Half the distance from 1 to the next f32: what one rounding may be off by, relatively.
pub const U: f64 = 1.0 / 16_777_216.0;

/// The error bound of a sum of `n` products in f32 in any order, for a sum of magnitudes
/// `magnitude` (Higham, *Accuracy and Stability of Numerical Algorithms*, 3.1: gamma_n).
pub fn dot_tolerance(n: usize, magnitude: f64) -> f64 {
    let nu = (n as f64 + 8.0) * U;
    nu / (1.0 - nu) * magnitude + f64::from(f32::MIN_POSITIVE)
}

/// Words to bytes, for uniform structs of u32 and f32.
pub fn words(parts: &[u32]) -> Vec<u8> {
    bytemuck::cast_slice(parts).to_vec()
}
