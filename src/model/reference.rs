//! The truth for tests and `ridgepoint doctor`: a model's forward pass in plain loops and f64.
//! No path of the engine runs it.
//!
//! For each layer, with `norm(x) = x / sqrt(mean(x^2) + eps) * gain`:
//! `x += O attention(rope(Q norm(x)), rope(K norm(x)), V norm(x))`, then
//! `x += down (act(gate norm(x)) * up norm(x))`; at the end `head norm(x)`.
//! Rotary pairs are `head_dim / 2` apart; rows that GGUF stores as neighbours are put back first.

use std::collections::BTreeMap;

use super::{Architecture, Error, Tensor};
use crate::format::{Hyper, Kind, ModelFile};
use crate::kernels::rope_cache::CacheType;

/// Weights are held as f32: more of them than this (1 GiB) are refused.
const MAX_WEIGHTS: usize = 1 << 28;

/// A small model on the host.
#[derive(Debug)]
pub struct Reference {
    hyper: Hyper,
    architecture: &'static Architecture,
    weights: BTreeMap<(Tensor, usize), Vec<f32>>,
}

impl Reference {
    /// Reads and decodes every weight.
    ///
    /// # Errors
    /// When the architecture isn't known, a tensor is absent, misshapen or unreadable, or the model
    /// is too large for this.
    pub fn read(file: &ModelFile) -> Result<Self, Error> {
        let hyper = file.hyper()?;
        let unsupported = |what: String| Error::Unsupported { path: file.path().to_path_buf(), what };
        let architecture = Architecture::find(file.kind(), &hyper.architecture).map_err(unsupported)?;
        let (h, kv) = (hyper.heads * hyper.head_dim, hyper.kv_heads * hyper.head_dim);
        let (width, inner, d) = (hyper.hidden, hyper.intermediate, hyper.head_dim);
        use Tensor::*;
        // Rows, columns, and whether every model of the architecture has it.
        let per_layer = [
            (AttentionNorm, 1, width, true),
            (Q, h, width, true),
            (K, kv, width, true),
            (V, kv, width, true),
            (QBias, 1, h, architecture.qkv_bias),
            (KBias, 1, kv, architecture.qkv_bias),
            (VBias, 1, kv, architecture.qkv_bias),
            (QNorm, 1, d, architecture.qk_norm),
            (KNorm, 1, d, architecture.qk_norm),
            (Output, width, h, true),
            (OutputBias, 1, width, false),
            (FfnNorm, 1, width, true),
            (Gate, inner, width, true),
            (Up, inner, width, true),
            (Down, width, inner, true),
        ];
        let once = [
            (Embedding, hyper.vocab, width, true),
            (FinalNorm, 1, width, true),
            (Head, hyper.vocab, width, hyper.tied == Some(false)),
        ];
        let layers = (0..hyper.layers).flat_map(|i| per_layer.map(|t| (i, t)));
        let mut weights = BTreeMap::new();
        let mut total = 0_usize;
        for (layer, (tensor, rows, columns, required)) in once.map(|t| (0, t)).into_iter().chain(layers) {
            let name = architecture.tensor(file.kind(), tensor, layer);
            let Some(info) = file.tensor(&name) else {
                if required {
                    return Err(unsupported(format!("there is no tensor '{name}'")));
                }
                continue;
            };
            if tensor == Head && hyper.tied == Some(true) {
                continue;
            }
            if (info.rows(), info.columns()) != (rows, columns) {
                return Err(unsupported(format!(
                    "the tensor '{name}' is {:?}, expected {rows} x {columns}",
                    info.shape
                )));
            }
            total = total.saturating_add(rows.saturating_mul(columns));
            if total > MAX_WEIGHTS {
                return Err(unsupported(format!(
                    "the reference takes models of at most {MAX_WEIGHTS} weights"
                )));
            }
            let (mut bytes, mut numbers) = (Vec::new(), vec![0.0; rows * columns]);
            file.read_rows(info, 0..rows, &mut bytes)?;
            info.format.decode_row(&bytes, &mut numbers);
            let turned = matches!(tensor, Q | K | QBias | KBias);
            if turned && architecture.gguf_permutes_qk && file.kind() == Kind::Gguf {
                numbers = halves(&numbers, if rows == 1 { 1 } else { columns }, d);
            }
            weights.insert((tensor, layer), numbers);
        }
        Ok(Self { hyper, architecture, weights })
    }

    fn get(&self, tensor: Tensor, layer: usize) -> Option<&[f32]> {
        self.weights.get(&(tensor, layer)).map(Vec::as_slice)
    }

    /// `matrix x + bias`; a matrix that `read` required is there.
    fn times(&self, matrix: Tensor, bias: Option<Tensor>, layer: usize, x: &[f64]) -> Vec<f64> {
        let mut y: Vec<f64> = self
            .get(matrix, layer)
            .unwrap_or_default()
            .chunks_exact(x.len())
            .map(|row| dot(row, x))
            .collect();
        if let Some(bias) = bias.and_then(|b| self.get(b, layer)) {
            y.iter_mut().zip(bias).for_each(|(y, &b)| *y += f64::from(b));
        }
        y
    }

    fn norm(&self, gain: Tensor, layer: usize, x: &[f64]) -> Vec<f64> {
        let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (mean + f64::from(self.hyper.rms_eps)).sqrt();
        x.iter()
            .zip(self.get(gain, layer).unwrap_or_default())
            .map(|(v, &g)| v * scale * f64::from(g))
            .collect()
    }

    /// Norms (where the architecture does) and turns every head of `v` at a position.
    fn turn(&self, v: Vec<f64>, norm: Tensor, layer: usize, angles: &[f64], position: usize) -> Vec<f64> {
        let mut out = Vec::with_capacity(v.len());
        for head in v.chunks_exact(self.hyper.head_dim) {
            let head = if self.architecture.qk_norm { self.norm(norm, layer, head) } else { head.to_vec() };
            let (a, b) = head.split_at(head.len() / 2);
            let turned = a.iter().zip(b).zip(angles).map(|((a, b), angle)| {
                let (sin, cos) = (position as f64 * angle).sin_cos();
                (a * cos - b * sin, b * cos + a * sin)
            });
            let (a, b): (Vec<f64>, Vec<f64>) = turned.unzip();
            out.extend(a);
            out.extend(b);
        }
        out
    }

    /// The logits after the last of `tokens`, one per entry of the vocabulary.
    ///
    /// # Errors
    /// When there is no token, or an id is not below the vocabulary.
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        self.logits_through(tokens, CacheType::F32)
    }

    /// As [`Reference::logits`], with keys and values rounded as `cache` stores them (`F32`: not at all).
    ///
    /// # Errors
    /// As [`Reference::logits`].
    pub fn logits_through(&self, tokens: &[u32], cache: CacheType) -> Result<Vec<f32>, Error> {
        let states = self.through(tokens, cache)?;
        let head = if self.get(Tensor::Head, 0).is_some() { Tensor::Head } else { Tensor::Embedding };
        Ok(self.times(head, None, 0, &states[states.len() - 1]).into_iter().map(|v| v as f32).collect())
    }

    /// The state of each of `tokens` after the last norm.
    ///
    /// # Errors
    /// As [`Reference::logits`].
    pub fn states(&self, tokens: &[u32]) -> Result<Vec<Vec<f64>>, Error> {
        self.through(tokens, CacheType::F32)
    }

    /// Heads of K or V of one token as a cache gives them back.
    fn cached(&self, cache: CacheType, heads: Vec<f64>) -> Vec<f64> {
        if cache == CacheType::F32 {
            return heads;
        }
        let row = |head: &[f64]| cache.rounded(&head.iter().map(|&v| v as f32).collect::<Vec<_>>());
        heads.chunks_exact(self.hyper.head_dim).flat_map(row).map(f64::from).collect()
    }

    fn through(&self, tokens: &[u32], cache: CacheType) -> Result<Vec<Vec<f64>>, Error> {
        let h = &self.hyper;
        if tokens.is_empty() || tokens.iter().any(|&t| t as usize >= h.vocab) {
            return Err(Error::Step(format!("expected at least one id, all below {}", h.vocab)));
        }
        let embedding = self.get(Tensor::Embedding, 0).unwrap_or_default();
        let row =
            |&t: &u32| embedding[t as usize * h.hidden..][..h.hidden].iter().map(|&v| f64::from(v)).collect();
        let mut xs: Vec<Vec<f64>> = tokens.iter().map(row).collect();
        let angles = h.rope.inverse_frequencies();
        let window = h.sliding_window.filter(|_| self.architecture.sliding_window).unwrap_or(usize::MAX);
        for layer in 0..h.layers {
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            for (position, x) in xs.iter_mut().enumerate() {
                let n = self.norm(Tensor::AttentionNorm, layer, x);
                let q = self.times(Tensor::Q, Some(Tensor::QBias), layer, &n);
                let k = self.times(Tensor::K, Some(Tensor::KBias), layer, &n);
                let q = self.turn(q, Tensor::QNorm, layer, &angles, position);
                let v = self.times(Tensor::V, Some(Tensor::VBias), layer, &n);
                keys.push(self.cached(cache, self.turn(k, Tensor::KNorm, layer, &angles, position)));
                values.push(self.cached(cache, v));
                let first = (position + 1).saturating_sub(window);
                let mixed = self.attend(&q, &keys[first..], &values[first..]);
                add(x, &self.times(Tensor::Output, Some(Tensor::OutputBias), layer, &mixed));
                let n = self.norm(Tensor::FfnNorm, layer, x);
                let mut gate = self.times(Tensor::Gate, None, layer, &n);
                let up = self.times(Tensor::Up, None, layer, &n);
                gate.iter_mut().zip(up).for_each(|(g, u)| *g = self.architecture.activation.apply(*g) * u);
                add(x, &self.times(Tensor::Down, None, layer, &gate));
            }
        }
        Ok(xs.iter().map(|x| self.norm(Tensor::FinalNorm, 0, x)).collect())
    }

    /// Softmax attention of one query, heads x D, over the keys and values that it sees.
    fn attend(&self, q: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<f64> {
        let d = self.hyper.head_dim;
        let group = self.hyper.heads / self.hyper.kv_heads;
        let mut out = vec![0.0; q.len()];
        for (head, (q, out)) in q.chunks_exact(d).zip(out.chunks_exact_mut(d)).enumerate() {
            let at = head / group * d;
            let score =
                |k: &Vec<f64>| q.iter().zip(&k[at..]).map(|(a, b)| a * b).sum::<f64>() / (d as f64).sqrt();
            let scores: Vec<f64> = keys.iter().map(score).collect();
            let largest = scores.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
            for (s, v) in scores.iter().zip(values) {
                let p = (s - largest).exp() / sum;
                out.iter_mut().zip(&v[at..]).for_each(|(o, v)| *o += p * v);
            }
        }
        out
    }
}

fn dot(row: &[f32], x: &[f64]) -> f64 {
    row.iter().zip(x).map(|(&a, b)| f64::from(a) * b).sum()
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// Rows of `columns` numbers in heads of `d` rows, neighbours (2i, 2i + 1) moved to (i, i + d/2).
fn halves(numbers: &[f32], columns: usize, d: usize) -> Vec<f32> {
    let rows = numbers.len() / columns;
    (0..rows)
        .flat_map(|row| {
            let (head, i) = (row / d, row % d);
            let stored = head * d + 2 * (i % (d / 2)) + i / (d / 2);
            numbers[stored * columns..][..columns].iter().copied()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn it_agrees_with_transformers() {
        let root = Path::new("tests/data/tiny");
        let read = |path: &Path| -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
        };
        let mut models: Vec<(std::path::PathBuf, serde_json::Value)> =
            ["llama", "llama3-rope", "mistral-window", "qwen2", "qwen3"]
                .map(|name| (root.join(name), read(&root.join(name).join("expected.json"))))
                .into();
        let quantised = Path::new("tests/data/quant-models");
        let expected = read(&quantised.join("expected.json"));
        for name in ["tiny-F32.gguf", "tiny-Q4_K_M.gguf"] {
            models.push((quantised.join(name), expected["files"][name].clone()));
        }
        for (path, expected) in models {
            let reference = Reference::read(&ModelFile::open(&path).unwrap()).unwrap();
            let cases = expected["cases"].as_array().unwrap();
            assert!(!cases.is_empty());
            for case in cases {
                let prompt: Vec<u32> = serde_json::from_value(case["prompt"].clone()).unwrap();
                let want: Vec<f32> = serde_json::from_value(case["last_logits"].clone()).unwrap();
                let got = reference.logits(&prompt).unwrap();
                let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                let off = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest;
                assert!(got.len() == want.len() && off < 2e-5, "{}: {off:e}", path.display());
            }
            assert!(reference.logits(&[]).is_err() && reference.logits(&[u32::MAX]).is_err());
        }
    }
}
