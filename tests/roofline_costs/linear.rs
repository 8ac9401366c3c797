//! The linear layer.

use ridgepoint::cost::Role;
use ridgepoint::kernels::linear::{self, Activation, Form, Variant};
use ridgepoint::quant::{BAND, Layout, UNIT, by_name};

use super::{Counter, floor, issued, work};

/// What a gated output takes, the product with its partner included.
pub(super) fn gates(c: &mut Counter, activation: Activation) {
    match activation {
        // v / (1 + exp(-v)), times up: a sign, a sum, a product.
        Activation::Silu => {
            c.f32 += 1 + 1 + 1;
            c.special += 2;
        }
        // z = a * v * (1 + b * v * v), v * (1 - 1 / (exp(2 * z) + 1)), times up.
        Activation::GeluTanh => {
            c.f32 += 5 + 4 + 1;
            c.special += 2;
        }
    }
}

/// Outputs and columns of a workgroup, as the kernels' own words have it.
fn tile(variant: Variant, gated: bool) -> [usize; 2] {
    match variant {
        Variant::Split { columns } => [16, columns as usize],
        // Eight lanes of four rows; a single column has two runs of them, as a gate has.
        Variant::Lanes { columns: 1 } if !gated => [64, 1],
        Variant::Lanes { columns } => [32, columns as usize],
        Variant::Tiled { .. } if gated => [32, 32],
        Variant::Tiled { .. } => [64, 32],
    }
}

/// Where biases and picks begin among the things of tables; gains are the first.
const BIASES: usize = 1 << 20;
const PICKS: usize = 2 << 20;

/// The layer as plain loops, norm and gate included.
fn run_linear(form: Form, [m, k, n]: [usize; 3], variant: Variant) -> Counter {
    let mut c = Counter::default();
    let out = form.out_rows(m);
    let padded = out.next_multiple_of(BAND);
    let [rows, columns] = tile(variant, form.gate.is_some());
    let bands = matches!(variant, Variant::Lanes { .. });
    // A gated output has a row of the gate and one of up.
    let parts = if form.gate.is_some() { 2 } else { 1 };
    for first in (0..out).step_by(rows) {
        for left in (0..n).step_by(columns) {
            for row in first..first + rows {
                // Lanes without a row of their own take the last one, or the last four of the last band.
                let row = match bands {
                    true if row >= padded => padded - 4 + row % 4,
                    true => row,
                    false => row.min(out - 1),
                };
                for part in 0..parts {
                    let thing = part * padded + row;
                    if row < out { c.load(Role::Weights, thing) } else { c.pad(Role::Weights, thing) }
                }
            }
            for column in left..left + columns {
                let column = column.min(n - 1);
                if form.pick {
                    c.load(Role::Tables, PICKS + column);
                }
                for i in 0..k.next_multiple_of(UNIT) {
                    if form.norm && i < k {
                        c.load(Role::Tables, i);
                    } else if form.norm {
                        c.pad(Role::Tables, i);
                    }
                    let thing = column * k.next_multiple_of(UNIT) + i;
                    if i < k { c.load(Role::Input, thing) } else { c.pad(Role::Input, thing) }
                }
            }
            for column in left..n.min(left + columns) {
                for row in first..out.min(first + rows) {
                    c.f32 += (2 * k * parts) as u64;
                    c.touch(Role::Output, column * m + row);
                    if form.bias {
                        c.load(Role::Tables, BIASES + row);
                    }
                    if let Some(gate) = form.gate {
                        gates(&mut c, gate);
                    }
                }
            }
            c.end_workgroup();
        }
    }
    if form.norm {
        for _column in 0..n {
            // A square and a sum, and the gain.
            c.f32 += 3 * k as u64;
            c.special += 1;
        }
    }
    c
}

#[test]
fn a_linear_layer_costs_what_its_loops_do() {
    let normed = Form { norm: true, ..Form::default() };
    let forms = [
        Form::default(),
        normed,
        Form { gate: Some(Activation::Silu), ..normed },
        Form { gate: Some(Activation::GeluTanh), ..normed },
        Form { bias: true, ..normed },
        Form { bias: true, gate: Some(Activation::Silu), ..Form::default() },
        Form { pick: true, ..normed },
    ];
    let columns = [1, 2, 4, 8];
    let split = columns.map(|columns| Variant::Split { columns });
    let lanes = columns.map(|columns| Variant::Lanes { columns });
    let tiled = [Variant::Tiled { f16: false }, Variant::Tiled { f16: true }];
    // Whole tiles, and rows, widths and columns that end within one.
    let shapes =
        [[64, 256, 1], [96, 256, 3], [64, 256, 9], [72, 200, 5], [200, 33, 1], [6, 40, 33], [130, 64, 17]];
    for variant in [&split[..], &lanes, &tiled].concat() {
        for form in forms {
            for [m, k, n] in shapes {
                let counted = run_linear(form, [m, k, n], variant);
                for name in ["F32", "Q4_1", "Q6_K"] {
                    let what = format!("{name} {form:?} {variant:?} {m}x{k} x {n}");
                    let format = by_name(name).unwrap();
                    let cost = linear::cost(format, form, m, k, n, variant);
                    // Each unit once, whatever the columns: the numbers that a format's words stand for.
                    let units = (m * k.div_ceil(UNIT)) as u64;
                    let unpacking = format.unpacking();
                    let [f32, int, special] = counted.work();
                    let expected = [f32 + units * unpacking.float, int + units * unpacking.int, special];
                    assert_eq!(work(&cost), expected, "{what}");
                    assert_eq!(cost.of(Role::Input), counted.both(Role::Input, 4), "{what}");
                    assert_eq!(cost.of(Role::Tables), counted.both(Role::Tables, 4), "{what}");
                    assert_eq!(floor(&cost, Role::Output), counted.bytes(Role::Output, 4), "{what}");
                    let row: u64 = Layout::row_bytes(format, k).iter().sum();
                    assert_eq!(cost.of(Role::Weights), counted.both(Role::Weights, row), "{what}");
                }
            }
        }
    }
}

#[test]
fn hand_counted_quantized_layer() {
    // 64 rows of 64: two units a row, each one vec4<u32> and one word of scale and minimum.
    let q4_1 = by_name("Q4_1").unwrap();
    let variant = Variant::Split { columns: 4 };
    let cost = linear::cost(q4_1, Form { residual: true, ..Form::default() }, 64, 64, 4, variant);
    assert_eq!(floor(&cost, Role::Weights), 64 * 2 * (16 + 4));
    // A product and a sum for each; each unit once: 12 shifts and masks and 32 bytes taken out of words;
    // scale, minimum and 32 bytes made floats, 32 multiply-adds.
    assert_eq!(cost.work.f32.0, 2 * 64 * 64 * 4 + 64 * 2 * (2 + 32 + 64));
    assert_eq!(cost.work.int.0, 64 * 2 * (12 + 32));
    // The residual is read and written.
    assert_eq!(floor(&cost, Role::Output), 2 * 64 * 4 * 4);
    assert_eq!(issued(&cost, Role::Input), 4 * floor(&cost, Role::Input), "four groups of rows read x");
}

/// Ten units of Q4_1, of which one is left: 20 bytes of each row, and all of x and y.
#[test]
fn a_collapsed_layer_keeps_a_unit_of_each_row() {
    let q4_1 = by_name("Q4_1").unwrap();
    let real = linear::cost(q4_1, Form::default(), 64, 320, 1, Variant::Split { columns: 1 });
    let left = linear::collapse(real.clone(), q4_1, 320);
    assert_eq!((floor(&real, Role::Weights), floor(&left, Role::Weights)), (64 * 200, 64 * 20));
    assert_eq!(issued(&left, Role::Weights), issued(&real, Role::Weights), "as many loads");
    assert_eq!(left.of(Role::Input), real.of(Role::Input));
}

/// A decode on a software adapter: 40 rows of 40 F32 weights, one column.
#[test]
fn hand_counted_decode_in_lanes() {
    let f32 = by_name("F32").unwrap();
    let gated = Form { gate: Some(Activation::GeluTanh), ..Form::default() };
    let cost = |form, m| linear::cost(f32, form, m, 40, 1, Variant::Lanes { columns: 1 });
    // Two bands are loaded where 40 rows are used, of two units of 32 where 40 numbers are.
    let plain = cost(Form::default(), 40);
    assert_eq!(plain.of(Role::Weights), (40 * 64 * 4, 64 * 64 * 4));
    assert_eq!(plain.of(Role::Input), (40 * 4, 64 * 4), "64 rows are one workgroup's");
    // A norm's gain for each number of x, which has as many loads, and nobody's bias.
    let normed = cost(Form { norm: true, ..Form::default() }, 40);
    assert_eq!((plain.of(Role::Tables), normed.of(Role::Tables)), ((0, 0), normed.of(Role::Input)));
    // 20 outputs: a band of gates and one of up; ten operations and two special ones each.
    let gated = cost(gated, 40);
    assert_eq!(gated.of(Role::Weights), (40 * 64 * 4, 64 * 64 * 4));
    assert_eq!(work(&gated), [2 * 40 * 40 + 10 * 20, 0, 2 * 20]);
}
