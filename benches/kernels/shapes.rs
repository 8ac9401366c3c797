//! Cases at the shapes of real layers. Weights repeat every few rows, so that a large matrix is made
//! and checked in a moment; every number of an output is compared, but for attention's, where a few
//! queries are.

use ridgepoint::gpu::Gpu;
use ridgepoint::kernels::attention::{self, Intake, Tile};
use ridgepoint::kernels::linear::{self, Activation, Form};
use ridgepoint::kernels::rope_cache::{CacheType, Heads};
use ridgepoint::kernels::{Case, Expected, Input, Needs, Noise, Values, argmax, embed, gated, words};
use ridgepoint::quant::{Format, Layout, Packed, UNIT, by_name};

use crate::product::product;
use crate::report::quick;

/// A model's layer.
#[derive(Debug)]
pub struct Layer {
    name: &'static str,
    hidden: usize,
    inter: usize,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    vocab: usize,
}

/// SmolLM2 135M, Llama 3.2 1B, Llama 3.1 8B (their config.json).
pub const LAYERS: [Layer; 3] = [
    Layer { name: "135M", hidden: 576, inter: 1536, heads: 9, kv_heads: 3, dim: 64, vocab: 49_152 },
    Layer { name: "1B", hidden: 2048, inter: 8192, heads: 32, kv_heads: 8, dim: 64, vocab: 128_256 },
    Layer { name: "8B", hidden: 4096, inter: 14_336, heads: 32, kv_heads: 8, dim: 128, vocab: 128_256 },
];

/// Distinct rows of a matrix: a prime, so that no tile repeats.
const DISTINCT: usize = 61;
/// Tokens of a prefill, and of a context that a decode looks back on.
const PREFILL: usize = 128;
const CONTEXT: usize = 1024;

/// What is timed.
#[derive(Debug)]
pub struct Subject {
    /// Kernel, model, shape.
    pub name: String,
    /// The case, at its real shape.
    pub case: Case,
}

/// Kernels with shapes of their own.
pub fn has(kernel: &str) -> bool {
    matches!(kernel, "argmax" | "attention_keys" | "attention_lanes" | "attention_tiled" | "embed" | "gated")
        || kernel.starts_with("linear_")
}

/// The subjects of a kernel on a layer, made as they are asked for.
pub fn of<'a>(kernel: &'static str, l: &'a Layer, gpu: &'a Gpu) -> Box<dyn Iterator<Item = Subject> + 'a> {
    let named =
        move |shape: String, case: Case| Subject { name: format!("{kernel} {} {shape}", l.name), case };
    let heads = Heads { heads: l.heads, kv_heads: l.kv_heads, dim: l.dim, block: 16, cache: CacheType::F16 };
    match kernel {
        "argmax" => Box::new(std::iter::once_with(move || named(format!("{} logits", l.vocab), logits(l)))),
        "gated" => Box::new(std::iter::once_with(move || named(format!("{} x {PREFILL}", l.inter), gate(l)))),
        "embed" => Box::new(formats().map(move |f| {
            let k = l.hidden.next_multiple_of(f.block_len());
            named(format!("{} {k} x {PREFILL}", f.name()), embedding(f, l))
        })),
        "attention_keys" | "attention_lanes" | "attention_tiled" => {
            let steps = [(1, CONTEXT - 1), (PREFILL, 0)];
            Box::new(steps.into_iter().map(move |(tokens, position)| {
                let variant = match kernel {
                    "attention_keys" => attention::Variant::Keys,
                    "attention_lanes" => attention::Variant::lanes(&heads),
                    _ => attention::Variant::Tiled,
                };
                named(format!("{tokens} tokens from {position}"), attend(variant, &heads, tokens, position))
            }))
        }
        _ => {
            let widths: &[usize] = match (kernel, quick()) {
                ("linear_tiled", false) => &[PREFILL],
                ("linear_tiled", true) => &[33],
                (_, true) => &[1],
                _ => &[1, 8],
            };
            let q = (l.heads + 2 * l.kv_heads) * l.dim;
            // As a layer has them: what is fused around each product, its rows (gates and as many up), its K.
            let plain = Form::default();
            let normed = Form { norm: true, ..plain };
            let added = Form { residual: true, ..plain };
            let gated = Form { gate: Some(Activation::Silu), ..normed };
            let matrices = [
                ("qkv norm", normed, q, l.hidden),
                ("output residual", added, l.hidden, l.heads * l.dim),
                ("gate and up norm", gated, 2 * l.inter, l.hidden),
                ("down residual", added, l.hidden, l.inter),
                ("head norm", Form { pick: true, ..normed }, l.vocab, l.hidden),
            ];
            let all = formats().flat_map(move |f| {
                matrices.into_iter().flat_map(move |m| widths.iter().map(move |n| (f, m, *n)))
            });
            // A head has a column for each sequence, not for each token of a prompt.
            let fits =
                move |(f, (_, form, m, k), n): &(&'static dyn Format, (&str, Form, usize, usize), usize)| {
                    (!form.pick || *n <= 8)
                        && Layout::new(*f, *m, *k).bytes() <= gpu.limits.max_storage_buffer_binding_size
                };
            Box::new(all.filter(fits).map(move |(f, (name, form, m, k), n)| {
                // Rows end with a block: the formats with blocks of 256 don't divide every width.
                let k = k.next_multiple_of(f.block_len());
                let case = product(variant(kernel, n), f, form, m, k, n);
                named(format!("{} {name} {m}x{k} x {n}", f.name()), case)
            }))
        }
    }
}

fn formats() -> impl Iterator<Item = &'static dyn Format> {
    let names: &[&str] = if quick() { &["Q4_0"] } else { &["Q4_0", "Q4_K", "Q8_0"] };
    names.iter().filter_map(|name| by_name(name))
}

fn variant(kernel: &str, n: usize) -> linear::Variant {
    let columns = [1, 2, 4, 8].into_iter().find(|c| n <= *c).unwrap_or(8) as u32;
    match kernel {
        "linear_lanes" => linear::Variant::Lanes { columns },
        "linear_split" => linear::Variant::Split { columns },
        _ => linear::Variant::Tiled { f16: false },
    }
}

/// A matrix of whole blocks whose rows repeat: the GPU's words, and the distinct rows' numbers.
pub fn matrix(format: &'static dyn Format, m: usize, k: usize, noise: &mut Noise) -> (Packed, Vec<Vec<f32>>) {
    let mut rows = Vec::new();
    let mut blocks = Vec::new();
    for _ in 0..DISTINCT.min(m) {
        let mut numbers = noise.floats(k);
        let mut bytes = vec![0; k / format.block_len() * format.block_bytes()];
        let each = bytes.chunks_mut(format.block_bytes());
        for (numbers, block) in numbers.chunks_mut(format.block_len()).zip(each) {
            format.encode(numbers, block);
            format.decode(block, numbers);
        }
        rows.push(numbers);
        blocks.push(bytes);
    }
    let mut packed = Packed::new(format, m, k);
    (0..m).for_each(|row| packed.put(row, &blocks[row % rows.len()]));
    (packed, rows)
}

/// Floats as a buffer.
pub fn storage(data: &[f32]) -> Input {
    Input::Storage(bytemuck::cast_slice(data).to_vec())
}

/// A matrix as its two buffers.
pub fn weights(packed: &Packed) -> [Input; 2] {
    [bytemuck::cast_slice(&packed.q), bytemuck::cast_slice(&packed.aux)]
        .map(|data: &[u8]| Input::Storage(data.to_vec()))
}

/// `tokens` new ones of a sequence after `position`; three queries are compared.
fn attend(variant: attention::Variant, h: &Heads, tokens: usize, position: usize) -> Case {
    let mut noise = Noise::new((h.heads + tokens) as u64);
    let all = tokens + position;
    let q = noise.floats(tokens * h.heads * h.dim);
    let blocks = all.div_ceil(h.block);
    let table = noise.shuffled(blocks);
    let numbers = noise.floats(blocks * 2 * h.kv_heads * h.block * h.dim);
    let cache: Vec<half::f16> = numbers.into_iter().map(half::f16::from_f32).collect();
    // Block, then K or V, then head, then slot (the layout of `rope_cache`).
    let row = |j: usize, part: usize, head: usize| {
        let block = table[j / h.block] as usize;
        let at = (((block * 2 + part) * h.kv_heads + head) * h.block + j % h.block) * h.dim;
        cache[at..at + h.dim].iter().map(|v| v.to_f64()).collect::<Vec<f64>>()
    };
    let mut expected = vec![(f32::NAN, 0.0); tokens * h.heads * h.dim];
    for (t, head) in [(0, 0), (tokens / 2, h.heads - 1), (tokens - 1, h.heads / 2)] {
        let at = (t * h.heads + head) * h.dim;
        let kv = head / (h.heads / h.kv_heads);
        let query = &q[at..at + h.dim];
        let score = |j: usize| -> f64 {
            row(j, 0, kv).iter().zip(query).map(|(k, q)| k * f64::from(*q)).sum::<f64>()
                / (h.dim as f64).sqrt()
        };
        let scores: Vec<f64> = (0..=position + t).map(score).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let mut out = vec![0.0; h.dim];
        for (j, w) in weights.iter().enumerate() {
            out.iter_mut().zip(row(j, 1, kv)).for_each(|(o, v)| *o += w / sum * v);
        }
        // Values lie in -1..1, and so does their mean: errors of exp and of sums, relative to 1.
        let tolerance = 1e-4;
        out.iter().zip(&mut expected[at..]).for_each(|(o, e)| *e = (*o as f32, tolerance));
    }
    let run = Tile { first: 0, tokens: tokens as u32, position: position as u32, table: 0 };
    let tiles: Vec<Tile> = run.cut(variant.tile_tokens(h)).collect();
    Case {
        label: format!("{tokens} tokens from {position}"),
        program: variant.program(h, Intake::Cached, 1),
        needs: variant.needs(),
        inputs: vec![
            Input::Uniform(attention::params(h, (0, 1), 0, h.heads * h.dim / 4, Intake::Cached)),
            Input::Uniform(words(&[tokens as u32, 0, tiles.len() as u32, 1])),
            storage(&q),
            Input::Storage(bytemuck::cast_slice(&cache).to_vec()),
            Input::Storage(bytemuck::cast_slice(&tiles).to_vec()),
            Input::Storage(words(&table)),
            storage(&vec![0.0; tokens * h.heads * h.dim]),
        ],
        grid: variant.grid(h, tiles.len(), 1),
        expected: vec![Expected { binding: 6, values: Values::F32(expected) }],
        cost: attention::cost(
            h,
            0,
            &tiles,
            variant,
            Intake::Cached,
            1,
            attention::distinct_rows(h.block, 0, &tiles, &table),
        ),
    }
}

fn logits(l: &Layer) -> Case {
    let numbers = Noise::new(5).floats(l.vocab);
    let best = argmax::reference(&numbers);
    let expected = vec![best, numbers[best as usize].to_bits()];
    Case {
        label: "logits".into(),
        program: argmax::program(),
        needs: Needs::default(),
        inputs: vec![Input::Uniform(argmax::params(l.vocab)), storage(&numbers), Input::Storage(vec![0; 8])],
        grid: argmax::grid(1),
        expected: vec![Expected { binding: 2, values: Values::U32(expected) }],
        cost: argmax::cost(l.vocab, 1),
    }
}

fn gate(l: &Layer) -> Case {
    let numbers = Noise::new(6).floats(2 * l.inter * PREFILL);
    let value = |gate: f32, up: f32| Activation::Silu.apply(f64::from(gate)) * f64::from(up);
    let pairs = numbers.chunks(2 * l.inter).flat_map(|token| token[..l.inter].iter().zip(&token[l.inter..]));
    let expected = pairs.map(|(gate, up)| (value(*gate, *up) as f32, 1e-5)).collect();
    Case {
        label: "gate and up".into(),
        program: gated::program(Activation::Silu),
        needs: Needs::default(),
        inputs: vec![
            Input::Uniform(gated::params(l.inter, l.inter)),
            Input::Uniform(words(&[PREFILL as u32, 0, 0, 0])),
            storage(&numbers),
            storage(&vec![0.0; l.inter * PREFILL]),
        ],
        grid: gated::grid(l.inter, PREFILL),
        expected: vec![Expected { binding: 3, values: Values::F32(expected) }],
        cost: gated::cost(Activation::Silu, l.inter, PREFILL),
    }
}

fn embedding(format: &'static dyn Format, l: &Layer) -> Case {
    let mut noise = Noise::new(7);
    // A part of the vocabulary is as good as all: tokens read the rows that they name.
    let m = l.vocab.min(4096);
    let k = l.hidden.next_multiple_of(format.block_len());
    let (packed, rows) = matrix(format, m, k, &mut noise);
    let ids: Vec<u32> = (0..PREFILL).map(|_| noise.below(m) as u32).collect();
    let stride = k.next_multiple_of(UNIT) / 4;
    let mut expected = vec![(0.0, 0.0); PREFILL * stride * 4];
    for (t, id) in ids.iter().enumerate() {
        let row = &rows[*id as usize % rows.len()];
        expected[t * stride * 4..].iter_mut().zip(row).for_each(|(e, w)| *e = (*w, 1e-6 * (w.abs() + 2.0)));
    }
    let [q, aux] = weights(&packed);
    Case {
        label: "tokens".into(),
        program: embed::program(format),
        needs: Needs::default(),
        inputs: vec![
            Input::Uniform(embed::params(&packed.layout, k, stride, 1.0, 0)),
            Input::Uniform(words(&[PREFILL as u32, 0, 0, 0])),
            q,
            aux,
            Input::Storage(words(&ids)),
            storage(&vec![0.0; PREFILL * stride * 4]),
        ],
        grid: embed::grid(packed.layout.units, PREFILL),
        expected: vec![Expected { binding: 5, values: Values::F32(expected) }],
        cost: embed::cost(format, k, 0..m, &ids),
    }
}
