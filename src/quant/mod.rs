//! Weight formats: how blocks of a file become numbers, and how they lie on the GPU.
//!
//! A format is one file here, one loader in `shaders/quant/`, and one line in [`FORMATS`].
//!
//! **On the GPU** every matrix of `m` rows and `k` columns is cut into *units* of [`UNIT`] = 32
//! weights along `k` (the last one padded with zeros), unit outermost and row innermost, so that
//! neighbouring lanes take neighbouring rows:
//! - `q`: `vec4<u32>` words. Word `w` of unit `u` and row `r` lies at `(u * WORDS + w) * m + r`.
//! - `aux`: `u32` words in [`Section`]s, one after the other. Entry `e` (which serves
//!   `section.units` consecutive units) and row `r` of a section lie at
//!   `section_start + (e * section.words + w) * m + r`.
//!
//! Embedding, matrix-vector and matrix-matrix kernels all read weights through the four functions
//! of a loader, so each gains a new format at once.

use std::fmt;

/// Weights of one row that a loader hands out at a time.
pub const UNIT: usize = 32;

/// A run of `aux` words of equal meaning, such as the scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Consecutive units that share one entry (1, 2 or 8).
    pub units: usize,
    /// `u32` words of an entry.
    pub words: usize,
}

/// One weight format.
pub trait Format: Sync {
    /// The name that GGUF uses (`Q4_1`), also the loader's: `shaders/quant/q4_1.wgsl`.
    fn name(&self) -> &'static str;
    /// GGML's type number in a GGUF file.
    fn ggml_type(&self) -> u32;
    /// Weights per block of the file.
    fn block_len(&self) -> usize;
    /// Bytes per block of the file.
    fn block_bytes(&self) -> usize;
    /// Decodes one block: `block_bytes()` bytes into `block_len()` numbers.
    fn decode(&self, block: &[u8], out: &mut [f32]);
    /// Encodes `block_len()` numbers into one block of `block_bytes()` bytes.
    fn encode(&self, numbers: &[f32], out: &mut [u8]);
    /// `vec4<u32>` words of `q` per unit (the loader's `WORDS`).
    fn words(&self) -> usize;
    /// The sections of `aux`, in order (at most three).
    fn sections(&self) -> &'static [Section];
    /// Writes one row, given as whole blocks of the file, into the GPU's layout.
    fn repack(&self, blocks: &[u8], to: &mut RowWriter<'_>);
}

impl fmt::Debug for dyn Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for dyn Format {
    fn eq(&self, other: &Self) -> bool {
        self.ggml_type() == other.ggml_type()
    }
}

/// Sizes of a repacked matrix.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Rows.
    pub m: usize,
    /// Units along a row.
    pub units: usize,
    /// `vec4<u32>` words of `q` in all.
    pub q_words: usize,
    /// Where each section of `aux` starts, in `u32` words.
    pub starts: [usize; 3],
    /// `u32` words of `aux` in all (at least one, so that it can be bound).
    pub aux_words: usize,
}

impl Layout {
    /// The layout of `m` rows of `k` weights.
    pub fn new(format: &dyn Format, m: usize, k: usize) -> Self {
        let units = k.div_ceil(UNIT);
        let mut starts = [0; 3];
        let mut end = 0;
        for (start, s) in starts.iter_mut().zip(format.sections()) {
            *start = end;
            end += units.div_ceil(s.units) * s.words * m;
        }
        Self { m, units, q_words: units * format.words() * m, starts, aux_words: end.max(1) }
    }

    /// Bytes on the GPU.
    pub fn bytes(&self) -> u64 {
        self.q_words as u64 * 16 + self.aux_words as u64 * 4
    }
}

/// Where [`Format::repack`] writes one row. Words not written stay as they were (zero).
#[derive(Debug)]
pub struct RowWriter<'a> {
    /// The matrix's layout.
    pub layout: Layout,
    /// The format's `aux` sections.
    pub sections: &'static [Section],
    /// The row written.
    pub row: usize,
    /// All of `q`.
    pub q: &'a mut [[u32; 4]],
    /// All of `aux`.
    pub aux: &'a mut [u32],
}

impl RowWriter<'_> {
    /// Writes word `index` (`unit * WORDS + w`) of the row.
    pub fn q(&mut self, index: usize, word: [u32; 4]) {
        self.q[index * self.layout.m + self.row] = word;
    }

    /// Writes word `index` (`entry * section.words + w`) of the row in a section.
    pub fn aux(&mut self, section: usize, index: usize, word: u32) {
        self.aux[self.layout.starts[section] + index * self.layout.m + self.row] = word;
    }
}
