//! What proves the linear kernels: the product in plain f64 loops, its error bound, the cases.

use super::super::{
    Case, Cases, Expected, Input, Noise, TestMatrix, U, Values, dot_tolerance, shapes, words,
};
use super::{Activation, Form, Params, Variant, cost};
use crate::quant::{FORMATS, Format, UNIT};

/// A product in f64 with the magnitudes that bound its error.
struct Product {
    sum: f64,
    magnitude: f64,
}

/// One row against one column.
fn product(w: &[f32], x: &[f32], gain: Option<&[f32]>) -> Product {
    let mut p = Product { sum: 0.0, magnitude: 0.0 };
    for (i, (&w, &x)) in w.iter().zip(x).enumerate() {
        let term = f64::from(w) * f64::from(x) * gain.map_or(1.0, |g| f64::from(g[i]));
        p.sum += term;
        p.magnitude += term.abs();
    }
    p
}

/// What one output must be, and what it may be off by.
fn reference(
    form: Form,
    f16: bool,
    w: [&[f32]; 2],
    x: &[f32],
    gain: &[f32],
    eps: f32,
    bias: f32,
    y: f32,
) -> (f32, f32) {
    let k = x.len();
    let gain = form.norm.then_some(gain);
    let inverse_rms = if form.norm {
        let squares: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        1.0 / (squares / k as f64 + f64::from(eps)).sqrt()
    } else {
        1.0
    };
    // Rounding of the sum, of the norm (half the error of its sum of squares) and of staged f16.
    let error = |p: &Product| {
        let staged =
            if f16 { 2.02 * f64::from(half::f16::EPSILON) * p.magnitude + k as f64 * 6e-8 } else { 0.0 };
        inverse_rms * (dot_tolerance(2 * k + 16, p.magnitude) + staged)
    };
    let first = product(w[0], x, gain);
    let mut value = first.sum * inverse_rms + if form.bias { f64::from(bias) } else { 0.0 };
    let mut tolerance = error(&first) + 4.0 * U * value.abs();
    if let Some(act) = form.gate {
        let up = product(w[1], x, gain);
        let up_value = up.sum * inverse_rms;
        let gate = act.apply(value);
        // |act'| <= 1.13 for both; exp may be off by 3 + 2|x| ulp (Vulkan's precision table).
        let exp_error = (16.0 + 4.0 * value.abs()) * 2.0 * U * gate.abs();
        tolerance =
            (1.13 * tolerance + exp_error) * up_value.abs() + gate.abs() * error(&up) + 1e-7 * tolerance;
        value = gate * up_value;
    }
    if form.residual {
        value += f64::from(y);
        tolerance += 2.0 * U * value.abs();
    }
    (value as f32, (tolerance + 2.0 * U * value.abs()) as f32)
}

/// One case: random weights in `format`, `n` columns.
fn case(variant: Variant, format: &'static dyn Format, form: Form, m: usize, k: usize, n: usize) -> Case {
    let mut noise = Noise::new((m * 31 + k * 7 + n) as u64 ^ u64::from(format.ggml_type()) << 32);
    let out_rows = form.out_rows(m);
    let up_row = if form.gate.is_some() { Form::up_row(out_rows) } else { 0 };
    let matrix = TestMatrix::new(format, up_row + out_rows, k, &mut noise);
    let tokens = if form.pick { n + 3 } else { n };
    let x_stride = k.div_ceil(UNIT) * 8 + 8;
    let mut x = vec![0.0; tokens * x_stride * 4];
    for row in x.chunks_mut(x_stride * 4) {
        row[..k].iter_mut().for_each(|v| *v = noise.unit());
    }
    let mut gain = noise.floats(k);
    gain.resize(k.next_multiple_of(UNIT), 0.0);
    let bias_offset = 3;
    let bias = noise.floats(m + bias_offset);
    let picks: Vec<u32> = noise.shuffled(tokens).into_iter().take(n).collect();
    let (y_stride, y_offset, eps) = (out_rows + 5, 2, 1e-5);
    let y = noise.floats(n * y_stride);
    let mut expected: Vec<(f32, f32)> = y.iter().map(|&v| (v, 0.0)).collect();
    for (c, &pick) in picks.iter().enumerate() {
        let t = if form.pick { pick as usize } else { c };
        for row in 0..out_rows {
            let rows = [matrix.row(row), matrix.row(row + up_row)];
            let at = c * y_stride + y_offset + row;
            let x = &x[t * x_stride * 4..][..k];
            let f16 = variant == Variant::Tiled { f16: true };
            expected[at] = reference(form, f16, rows, x, &gain, eps, bias[bias_offset + row], y[at]);
        }
    }
    let params =
        Params { layout: matrix.layout(), k, x_stride, y_stride, y_offset, out_rows, eps, bias_offset };
    let storage = |data: &[f32]| Input::Storage(bytemuck::cast_slice(data).to_vec());
    let [q, aux] = matrix.inputs();
    let step = Input::Uniform(words(&[tokens as u32, n as u32, 0, 0]));
    let mut inputs = vec![Input::Uniform(params.bytes()), step, q, aux, storage(&x), storage(&y)];
    if form.norm {
        inputs.push(storage(&gain));
    }
    if form.bias {
        inputs.push(storage(&bias));
    }
    if form.pick {
        inputs.push(Input::Storage(words(&picks)));
    }
    Case {
        label: format!("{variant:?} {} {form:?} {m}x{k}x{n}", format.name()),
        program: variant.program(format, form),
        needs: variant.needs(),
        inputs,
        grid: variant.grid(form, m, n),
        expected: vec![Expected { binding: 5, values: Values::F32(expected) }],
        cost: cost(format, form, m, k, n, variant),
    }
}

/// The forms that models use, and their corners.
fn forms() -> [Form; 7] {
    let plain = Form::default();
    let silu = Some(Activation::Silu);
    [
        plain,
        Form { norm: true, ..plain },
        Form { norm: true, bias: true, ..plain },
        Form { residual: true, ..plain },
        Form { norm: true, gate: silu, ..plain },
        Form { norm: true, gate: Some(Activation::GeluTanh), ..plain },
        Form { norm: true, pick: true, ..plain },
    ]
}

/// Ragged shapes that each variant is proven on, for each format.
const SHAPES: usize = 20;

/// Every variant that `keep` keeps, on every format at ragged shapes, and with every form:
/// all of them on Q4_1, one each on the other formats (a form and a format don't meet in the text).
pub(super) fn cases(keep: fn(&Variant) -> bool) -> Cases {
    let normed = Form { norm: true, ..Form::default() };
    let variants = Variant::ALL.into_iter().filter(keep);
    Box::new(variants.flat_map(move |variant| {
        FORMATS.iter().enumerate().flat_map(move |(i, &format)| {
            let block = format.block_len();
            let k = if block == 1 { 72 } else { 3 * block };
            let columns = match variant {
                Variant::Lanes { columns, .. } | Variant::Split { columns } => columns as usize,
                Variant::Tiled { .. } => 33,
            };
            let chosen = move |(f, _): &(usize, Form)| format.name() == "Q4_1" || *f == i % forms().len();
            let formed = forms().into_iter().enumerate().filter(chosen);
            let formed = formed.map(move |(_, form)| case(variant, format, form, 74, k, columns));
            let shapes = shapes::products(block, columns, SHAPES);
            formed.chain(shapes.map(move |[m, k, n]| case(variant, format, normed, m, k, n)))
        })
    }))
}
