//! A matrix in the GPU's layout, built on the host row by row, then uploaded and dropped.

use super::{Format, Layout, RowWriter};

/// The words of a matrix of one format, unit outermost and row innermost.
#[derive(Debug)]
pub struct Packed {
    /// The format.
    pub format: &'static dyn Format,
    /// Sizes and places.
    pub layout: Layout,
    /// All of `q`.
    pub q: Vec<[u32; 4]>,
    /// All of `aux`.
    pub aux: Vec<u32>,
}

impl Packed {
    /// A matrix of `m` rows of `k` weights, all words zero.
    pub fn new(format: &'static dyn Format, m: usize, k: usize) -> Self {
        let layout = Layout::new(format, m, k);
        Self { format, layout, q: vec![[0; 4]; layout.q_words], aux: vec![0; layout.aux_words] }
    }

    /// Writes a row, given as whole blocks of the file's bytes.
    pub fn put(&mut self, row: usize, blocks: &[u8]) {
        let sections = self.format.sections();
        self.format.repack(
            blocks,
            &mut RowWriter { layout: self.layout, sections, row, q: &mut self.q, aux: &mut self.aux },
        );
    }
}
