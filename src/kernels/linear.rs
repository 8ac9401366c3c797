//! Linear layers on quantized weights, with everything around them fused in:
//!
//! `y[c][row] (+)= act( (sum_k W[row][k] x[c][k] gain[k]) / rms(x[c]) + bias[row] )`
//!
//! where `rms(x) = sqrt(mean(x^2) + eps)` (Zhang & Sennrich 2019). 1/rms is linear, so it scales
//! the finished sum and the norm needs no pass of its own. With a gated activation the matrix
//! holds the gate's rows, then as many of up, and `y = act(gate) * up` (Shazeer 2020).
//!
//! Three kernels share this mathematics: [`Lanes`] (a row per lane, activations broadcast from
//! registers), [`Split`] (few columns, K split over a workgroup's lanes) and [`Tiled`] (many
//! columns, tiles in workgroup memory). [`Variant::choose`] says which runs where.

mod proof;

use super::{Cases, Kernel, LANE_NEEDS, Needs, broadcasts, words};
use crate::cost::{Cost, Role, Work};
use crate::gpu::{Gpu, Program};
use crate::quant::{BAND, Format, Layout, UNIT};
use crate::units::{Bytes, Flops};

/// The function of a gated layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `v * sigmoid(v)`.
    Silu,
    /// GELU in its tanh form.
    GeluTanh,
}

impl Activation {
    /// The plain function.
    pub fn apply(self, v: f64) -> f64 {
        match self {
            Self::Silu => v / (1.0 + (-v).exp()),
            Self::GeluTanh => {
                let z = (2.0 / std::f64::consts::PI).sqrt() * (v + 0.044_715 * v * v * v);
                0.5 * v * (1.0 + z.tanh())
            }
        }
    }

    /// Operations of one output, the product with up included: f32, and special ones.
    pub(super) fn work(self) -> [u64; 2] {
        match self {
            // A sign, a sum, the product; exp, division.
            Self::Silu => [3, 2],
            // Five of the argument, doubled, two sums, two products; exp, division.
            Self::GeluTanh => [10, 2],
        }
    }

    /// The expander's flag, if any.
    pub fn flag(self) -> Option<&'static str> {
        (self == Self::GeluTanh).then_some("GELU")
    }
}

/// What is fused around the product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// RMS norm of the input.
    pub norm: bool,
    /// A bias per row.
    pub bias: bool,
    /// Gate rows and up rows, with this function.
    pub gate: Option<Activation>,
    /// Adds to what `y` holds.
    pub residual: bool,
    /// Columns are the tokens that a table names.
    pub pick: bool,
}

impl Form {
    fn flags(self) -> Vec<&'static str> {
        let all = [
            (self.norm, "NORM"),
            (self.bias, "BIAS"),
            (self.gate.is_some(), "GLU"),
            (self.residual, "RESIDUAL"),
            (self.pick, "PICK"),
        ];
        let flags = all.iter().filter(|(on, _)| *on).map(|(_, flag)| *flag);
        flags.chain(self.gate.and_then(Activation::flag)).collect()
    }

    /// Rows of `y` for a matrix of `m` rows.
    pub fn out_rows(self, m: usize) -> usize {
        if self.gate.is_some() { m / 2 } else { m }
    }

    /// The row at which the up rows of `out` gated outputs begin: a band's first.
    pub fn up_row(out: usize) -> usize {
        out.next_multiple_of(BAND)
    }
}

/// How the work is laid out on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// A row per lane, `columns` columns and four rows each.
    Lanes {
        /// Columns per lane.
        columns: u32,
    },
    /// K split over the lanes of a workgroup, `columns` columns each.
    Split {
        /// Columns per lane.
        columns: u32,
    },
    /// Tiles of 64 x 32 in workgroup memory.
    Tiled {
        /// Tiles staged as f16.
        f16: bool,
    },
}

/// Where the words from unit to unit of a row stand in the parameters, in bytes: [`BAND`], or 0 to read
/// the first unit again and again.
pub const STRIDE: u64 = 24;

/// Outputs of a workgroup, at least: the kernel with the fewest has this many.
pub const LEAST_ROWS: usize = SPLIT[0] as usize;

/// Lanes of a workgroup of [`Variant::Lanes`]: two subgroups on a software driver, so that a narrow
/// matrix still makes enough workgroups for its processors.
const LANES: u32 = 8;
/// Rows of a run of [`Variant::Lanes`]: neighbours, which a lane loads together.
const NEAR: u32 = 4;
/// Rows of a workgroup of [`Variant::Split`], and lanes that share a row.
const SPLIT: [u32; 2] = [16, 8];

/// Runs per lane of [`Variant::Lanes`]: gates need two; a single column's loads of x are shared by two.
fn runs(columns: u32, form: Form) -> u32 {
    if columns == 1 || form.gate.is_some() { 2 } else { 1 }
}

impl Variant {
    /// The program for a format and a form.
    pub fn program(self, format: &dyn Format, form: Form) -> Program {
        let program = match self {
            Self::Lanes { columns } => Program::new("linear_lanes")
                .number("WG", LANES)
                .number("RUNS", runs(columns, form))
                .number("C", columns)
                .flag("WIDE"),
            Self::Split { columns } => Program::new("linear_split")
                .number("ROWS", SPLIT[0])
                .number("KL", SPLIT[1])
                .number("C", columns),
            Self::Tiled { f16 } => Program::new("linear_tiled").flags(f16.then_some("F16")),
        };
        program.flags(form.flags()).text("FORMAT", format.name().to_ascii_lowercase())
    }

    /// What it needs.
    pub fn needs(self) -> Needs {
        match self {
            Self::Lanes { .. } => LANE_NEEDS,
            Self::Split { .. } => Needs::default(),
            Self::Tiled { f16 } => Needs { f16, ..Needs::default() },
        }
    }

    /// Workgroups for `m` weight rows and `n` columns.
    pub fn grid(self, form: Form, m: usize, n: usize) -> [u32; 3] {
        let out = form.out_rows(m) as u32;
        let n = n as u32;
        let parts = if form.gate.is_some() { 2 } else { 1 };
        match self {
            Self::Lanes { columns } => {
                [n.div_ceil(columns), out.div_ceil(LANES * NEAR * runs(columns, form) / parts), 1]
            }
            Self::Split { columns } => [n.div_ceil(columns), out.div_ceil(SPLIT[0]), 1],
            Self::Tiled { .. } => [n.div_ceil(32), out.div_ceil(64 / parts), 1],
        }
    }

    /// The variant for `n` columns on a device, before any tuning.
    ///
    /// A software driver has no workgroup memory worth the name and pays dearly for a barrier, so
    /// there the rows go to lanes at every width; a GPU splits K while columns are few and tiles
    /// when the tile's reuse pays for its barriers.
    pub fn choose(gpu: &Gpu, n: usize) -> Self {
        let width = |n: usize| [1, 2, 4, 8].into_iter().find(|&c| n <= c).unwrap_or(8) as u32;
        if broadcasts(gpu) {
            Self::Lanes { columns: width(n) }
        } else if n <= 8 {
            Self::Split { columns: width(n) }
        } else {
            Self::Tiled { f16: false }
        }
    }

    /// Every variant that the tests prove.
    const ALL: [Self; 10] = [
        Self::Lanes { columns: 1 },
        Self::Lanes { columns: 2 },
        Self::Lanes { columns: 4 },
        Self::Lanes { columns: 8 },
        Self::Split { columns: 1 },
        Self::Split { columns: 2 },
        Self::Split { columns: 4 },
        Self::Split { columns: 8 },
        Self::Tiled { f16: false },
        Self::Tiled { f16: true },
    ];
}

/// Where things lie: the kernel's uniform parameters.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// The matrix.
    pub layout: Layout,
    /// Its true K, which the norm divides by.
    pub k: usize,
    /// vec4s from token to token of x.
    pub x_stride: usize,
    /// Floats from column to column of y.
    pub y_stride: usize,
    /// The first row's place in a column of y.
    pub y_offset: usize,
    /// Rows written.
    pub out_rows: usize,
    /// The norm's epsilon.
    pub eps: f32,
    /// The first row's place in the biases.
    pub bias_offset: usize,
}

impl Params {
    /// The uniform buffer's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let l = &self.layout;
        let [s0, s1, s2] = l.starts.map(|s| s as u32);
        let n = |v: usize| v as u32;
        words(&[
            n(l.m),
            n(l.units),
            s0,
            s1,
            s2,
            n(self.k),
            n(BAND),
            0,
            n(self.x_stride),
            n(self.y_stride),
            n(self.y_offset),
            n(self.out_rows),
            self.eps.to_bits(),
            n(self.bias_offset),
            0,
            0,
        ])
    }
}

/// The cost of `n` columns, in bytes and operations, through `m` x `k` weights.
pub fn cost(format: &dyn Format, form: Form, m: usize, k: usize, n: usize, variant: Variant) -> Cost {
    let (m64, k64, n64) = (m as u64, k as u64, n as u64);
    let out = form.out_rows(m) as u64 * n64;
    let grid = variant.grid(form, m, n).map(u64::from);
    let row = Layout::row_bytes(format, k).iter().sum::<u64>();
    let x = k64 * n64 * 4;
    // Loads are of whole units, and a lane's rows in whole bands.
    let units_of_x = k64.next_multiple_of(UNIT as u64) * n64 * 4;
    let rows_loaded = match variant {
        Variant::Lanes { .. } => {
            (m / form.out_rows(m).max(1) * form.out_rows(m).next_multiple_of(BAND)) as u64
        }
        Variant::Split { .. } | Variant::Tiled { .. } => m64,
    };
    let y = out * 4 * if form.residual { 2 } else { 1 };
    // Gains and the columns' places by every workgroup, a row's bias by those that finish some of it.
    let on = |flag: bool, (floor, issued): (u64, u64)| if flag { (4 * floor, 4 * issued) } else { (0, 0) };
    let rows = form.out_rows(m) as u64;
    let tables = [
        on(form.norm, (k64, k64.next_multiple_of(UNIT as u64) * grid[0] * grid[1])),
        on(form.bias, (rows, rows * grid[0])),
        on(form.pick, (n64, n64 * grid[1])),
    ];
    let norm = if form.norm { 3 * k64 * n64 } else { 0 };
    let gate = form.gate.map_or([0; 2], |gate| gate.work().map(|each| each * out));
    let (units, unpacking) = (m64 * k64.div_ceil(UNIT as u64), format.unpacking());
    Cost {
        work: Work {
            // Weights are unpacked once, whatever the columns.
            f32: Flops(2 * m64 * k64 * n64 + norm + units * unpacking.float + gate[0]),
            int: Flops(units * unpacking.int),
            special: Flops(gate[1] + if form.norm { n64 } else { 0 }),
            ..Work::default()
        },
        traffic: vec![],
    }
    .moves(Role::Weights, m64 * row, rows_loaded * row * grid[0])
    .moves(Role::Input, x, units_of_x * grid[1])
    .moves(Role::Output, y, y)
    .moves(Role::Tables, tables.iter().map(|t| t.0).sum(), tables.iter().map(|t| t.1).sum())
}

/// A cost without the bytes of all units of a row but the first, which is read as often as there are units
/// ([`STRIDE`] 0).
pub fn collapse(mut cost: Cost, format: &dyn Format, k: usize) -> Cost {
    let [unit, row] = [UNIT, k].map(|k| Layout::row_bytes(format, k).iter().sum::<u64>());
    for t in cost.traffic.iter_mut().filter(|t| t.role == Role::Weights) {
        t.floor = Bytes(t.floor.0 / row.max(1) * unit);
    }
    cost
}

/// The lane-per-row kernel.
#[derive(Debug)]
pub struct Lanes;

impl Kernel for Lanes {
    fn name(&self) -> &'static str {
        "linear_lanes"
    }
    fn summary(&self) -> &'static str {
        "quantized product, a weight row per lane, activations broadcast from registers"
    }
    fn cases(&self) -> Cases {
        proof::cases(|v| matches!(v, Variant::Lanes { .. }))
    }
}

/// The split-K kernel.
#[derive(Debug)]
pub struct Split;

impl Kernel for Split {
    fn name(&self) -> &'static str {
        "linear_split"
    }
    fn summary(&self) -> &'static str {
        "quantized product of few columns, K split over a workgroup's lanes"
    }
    fn cases(&self) -> Cases {
        proof::cases(|v| matches!(v, Variant::Split { .. }))
    }
}

/// The tiled kernel.
#[derive(Debug)]
pub struct Tiled;

impl Kernel for Tiled {
    fn name(&self) -> &'static str {
        "linear_tiled"
    }
    fn summary(&self) -> &'static str {
        "quantized product of many columns, tiles in workgroup memory"
    }
    fn cases(&self) -> Cases {
        proof::cases(|v| matches!(v, Variant::Tiled { .. }))
    }
}
