//! Weight formats: how blocks of a file become numbers, and how they lie on the GPU.
//!
//! A format is one file here, one loader in `shaders/quant/`, and one line in [`FORMATS`].
//!
//! **On the GPU** every matrix of `m` rows and `k` columns is cut into *units* of [`UNIT`] = 32
//! weights along `k` (the last one padded with zeros), and its rows into *bands* of [`BAND`] (the last
//! one padded too). A band is whole before the next begins, unit outermost and row innermost in it:
//! neighbouring lanes take neighbouring rows, and a workgroup reads one run of memory.
//! - `q`: `vec4<u32>` words. Word `w` of unit `u` of a row is its `u * WORDS + w`th of `units * WORDS`.
//! - `aux`: `u32` words in [`Section`]s, one after the other. Word `w` of entry `e` (which serves
//!   `section.units` consecutive units) of a row is its `e * section.words + w`th in the section.
//!
//! The `i`th of a row's `n` words lies at [`Layout::place`]`(i, n, row)` in `q` or its section.
//!
//! A loader defines what a block is: `aux_at(n, unit, row, w)`, where the `n`th of its `AUX` auxiliary
//! words lies; `block(q, aux, unit) -> Block`, from its `WORDS` words of `q` and from those; and
//! `block_weights(b, i) -> vec4<f32>`, which hands out the raw weights `4i..4i + 4` of a unit. A weight
//! is `scale * raw + min`, with `b.scale.x` for the first and `b.scale.y` for the second 16, and the
//! constants `HAS_SCALE`, `HAS_MIN` and `HALF_SCALES` say what a kernel may leave out. Raw quantized
//! weights are whole numbers of at most 128 in magnitude. Embedding, matrix-vector and matrix-matrix
//! kernels all read weights through these, so each gains a new format at once.

use std::fmt;

mod bfloat16;
mod float16;
mod float32;
mod k_scales;
mod pack;
mod packed;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;

pub use packed::Packed;

/// Every format, in the order of GGML's type numbers.
pub const FORMATS: &[&dyn Format] = &[
    &float32::F32,
    &float16::F16,
    &q4_0::Q4_0,
    &q4_1::Q4_1,
    &q5_0::Q5_0,
    &q5_1::Q5_1,
    &q8_0::Q8_0,
    &q4_k::Q4K,
    &q5_k::Q5K,
    &q6_k::Q6K,
    &bfloat16::BF16,
];

/// The format that a GGUF file means by a type number; `None` if it is not one of [`FORMATS`].
pub fn by_ggml_type(number: u32) -> Option<&'static dyn Format> {
    FORMATS.iter().copied().find(|f| f.ggml_type() == number)
}

/// The format of a name as GGUF spells it (`Q4_1`); `None` if it is not one of [`FORMATS`].
pub fn by_name(name: &str) -> Option<&'static dyn Format> {
    FORMATS.iter().copied().find(|f| f.name() == name)
}

/// Weights of one row that a loader hands out at a time.
pub const UNIT: usize = 32;

/// Rows that lie together.
pub const BAND: usize = 32;

/// A run of `aux` words of equal meaning, such as the scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Consecutive units that share one entry (1, 2 or 8).
    pub units: usize,
    /// `u32` words of an entry.
    pub words: usize,
}

impl Section {
    /// Words of a row of so many units.
    fn per_row(&self, units: usize) -> usize {
        units.div_ceil(self.units) * self.words
    }
}

/// Operations that make [`UNIT`] numbers of what a loader reads, addresses aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacking {
    /// Integer operations: shifts, masks, and one for each byte that is taken out of a word.
    pub int: u64,
    /// Float operations: conversions, scales, minima; a multiply-add is two.
    pub float: u64,
}

/// One weight format.
///
/// Callers hand in slices of the lengths stated (a reader checks a file's sizes before): shorter
/// ones panic. Contents never do: any bytes decode and repack, any numbers encode, though only
/// finite ones whose scales fit a finite f16 come back close to what they were.
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
    /// What the loader computes to make the numbers of a unit.
    fn unpacking(&self) -> Unpacking;
    /// Writes one row, given as whole blocks of the file, into the GPU's layout.
    fn repack(&self, blocks: &[u8], to: &mut RowWriter<'_>);

    /// Decodes consecutive blocks; `out` holds `block_len()` numbers for each.
    fn decode_row(&self, blocks: &[u8], out: &mut [f32]) {
        let numbers = out.chunks_exact_mut(self.block_len());
        for (block, out) in blocks.chunks_exact(self.block_bytes()).zip(numbers) {
            self.decode(block, out);
        }
    }

    /// Encodes whole blocks of numbers; `out` holds `block_bytes()` bytes for each.
    fn encode_row(&self, numbers: &[f32], out: &mut [u8]) {
        let blocks = out.chunks_exact_mut(self.block_bytes());
        for (numbers, block) in numbers.chunks_exact(self.block_len()).zip(blocks) {
            self.encode(numbers, block);
        }
    }
}

impl fmt::Debug for dyn Format + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for dyn Format + '_ {
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
        let rows = m.next_multiple_of(BAND);
        let mut starts = [0; 3];
        let mut end = 0;
        for (start, s) in starts.iter_mut().zip(format.sections()) {
            *start = end;
            end += s.per_row(units) * rows;
        }
        Self { m, units, q_words: units * format.words() * rows, starts, aux_words: end.max(1) }
    }

    /// Where the `index`th of the `count` words that a row has in `q` or a section lies.
    pub fn place(index: usize, count: usize, row: usize) -> usize {
        (row / BAND * count + index) * BAND + row % BAND
    }

    /// Bytes of `q` and of `aux` that one row of `k` weights takes, its share of padding aside.
    pub fn row_bytes(format: &dyn Format, k: usize) -> [u64; 2] {
        let band = Self::new(format, BAND, k);
        [band.q_words * 16 / BAND, band.aux_words * 4 / BAND].map(|n| n as u64)
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
        let count = self.layout.q_words / self.layout.m.next_multiple_of(BAND);
        self.q[Layout::place(index, count, self.row)] = word;
    }

    /// Writes word `index` (`entry * section.words + w`) of the row in a section.
    pub fn aux(&mut self, section: usize, index: usize, word: u32) {
        let count = self.sections[section].per_row(self.layout.units);
        self.aux[self.layout.starts[section] + Layout::place(index, count, self.row)] = word;
    }
}
