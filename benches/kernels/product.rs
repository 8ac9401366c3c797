//! A product at a layer's shape with what the engine fuses around it, and what it must give.

use ridgepoint::kernels::linear::{self, Activation, Form, Params};
use ridgepoint::kernels::{Case, Expected, Input, Noise, U, Values, dot_tolerance, words};
use ridgepoint::quant::{Format, UNIT};

use crate::shapes::{matrix, storage, weights};

/// Of the norm.
const EPS: f32 = 1e-5;

/// `n` columns through a matrix of `m` rows, a gate's and as many up where there is one.
pub fn product(
    variant: linear::Variant,
    format: &'static dyn Format,
    form: Form,
    m: usize,
    k: usize,
    n: usize,
) -> Case {
    let mut noise = Noise::new((m + 7 * k + n) as u64);
    let out = form.out_rows(m);
    let up = if form.gate.is_some() { Form::up_row(out) } else { 0 };
    let (packed, rows) = matrix(format, up + out, k, &mut noise);
    let x_stride = k.div_ceil(UNIT) * 8;
    let mut x = noise.floats(n * x_stride * 4);
    x.chunks_mut(x_stride * 4).for_each(|column| column[k..].fill(0.0));
    let mut gain = if form.norm { noise.floats(k) } else { vec![1.0; k] };
    let y = if form.residual { noise.floats(n * out) } else { vec![0.0; n * out] };
    let mut expected = Vec::with_capacity(n * out);
    for (c, column) in x.chunks(x_stride * 4).enumerate() {
        let squares: f64 = column.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
        let scale = if form.norm { 1.0 / (squares / k as f64 + f64::from(EPS)).sqrt() } else { 1.0 };
        let dots: Vec<[f64; 2]> = rows.iter().map(|row| dot(row, column, &gain).map(|v| v * scale)).collect();
        expected.extend((0..out).map(|row| {
            let [sum, up] = [row, row + up].map(|row| dots[row % dots.len()]);
            let [value, off] = form.gate.map_or(sum, |gate| gated(gate, sum, up));
            let value = value + f64::from(y[c * out + row]);
            (value as f32, (off + 8.0 * U * value.abs()) as f32)
        }));
    }
    let params = Params {
        layout: packed.layout,
        k,
        x_stride,
        y_stride: out,
        y_offset: 0,
        out_rows: out,
        eps: EPS,
        bias_offset: 0,
    };
    let [q, aux] = weights(&packed);
    let step = Input::Uniform(words(&[n as u32, n as u32, 0, 0]));
    let mut inputs = vec![Input::Uniform(params.bytes()), step, q, aux, storage(&x), storage(&y)];
    if form.norm {
        gain.resize(k.next_multiple_of(UNIT), 0.0);
        inputs.push(storage(&gain));
    }
    if form.pick {
        inputs.push(Input::Storage(words(&Vec::from_iter(0..n as u32))));
    }
    Case {
        label: format!("{form:?} {m}x{k}x{n}"),
        program: variant.program(format, form),
        needs: variant.needs(),
        inputs,
        grid: variant.grid(form, m, n),
        expected: vec![Expected { binding: 5, values: Values::F32(expected) }],
        cost: linear::cost(format, form, m, k, n, variant),
    }
}

/// A row's product with a column, and what it may be off by.
fn dot(w: &[f32], x: &[f32], gain: &[f32]) -> [f64; 2] {
    let terms = w.iter().zip(x).zip(gain).map(|((w, x), g)| f64::from(*w) * f64::from(*x) * f64::from(*g));
    let (sum, magnitude) = terms.fold((0.0, 0.0), |(s, m), t| (s + t, m + t.abs()));
    [sum, dot_tolerance(2 * w.len() + 16, magnitude)]
}

/// `act(gate) * up` of two sums with what they may be off by.
fn gated(activation: Activation, [sum, off]: [f64; 2], [up, up_off]: [f64; 2]) -> [f64; 2] {
    let gate = activation.apply(sum);
    // |act'| <= 1.13; exp may be off by 3 + 2|x| ulp (Vulkan's precision table).
    let exp = (16.0 + 4.0 * sum.abs()) * 2.0 * U * gate.abs();
    [gate * up, (1.13 * off + exp) * (up.abs() + up_off) + gate.abs() * up_off]
}
