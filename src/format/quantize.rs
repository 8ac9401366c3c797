//! Matrices of floats read as if they were stored in a smaller format: they are encoded row by row as
//! they are read, so that a model needs no converted copy on the disk.

use super::{Error, ModelFile, TensorInfo};
use crate::quant::Format;

/// Formats that hold plain floats, and so may be encoded into another.
const FLOATS: [&str; 3] = ["F32", "F16", "BF16"];

impl ModelFile {
    /// From now on hands out every matrix of floats (F32, F16, BF16) in the format `to`. Vectors stay
    /// as they are, and so do matrices whose rows are no whole blocks. Gives how many matrices it is.
    ///
    /// # Errors
    /// When the file has no such matrix, as one that is already quantized.
    pub fn quantize(&mut self, to: &'static dyn Format) -> Result<usize, Error> {
        let is_float = |t: &TensorInfo| t.shape.len() == 2 && FLOATS.contains(&t.stored.name());
        let mut count = 0;
        for tensor in self.tensors.iter_mut().filter(|t| is_float(t)) {
            if tensor.columns().is_multiple_of(to.block_len()) {
                tensor.format = to;
                count += 1;
            }
        }
        if count == 0 {
            let largest = self.tensors.iter().max_by_key(|t| t.bytes).map_or("nothing", |t| t.stored.name());
            return Err(Error::unsupported(
                &self.path,
                format!(
                    "it can't be quantized to {}: expected matrices of {} with rows of a multiple of {}, \
                     found {largest}; load it as it is",
                    to.name(),
                    FLOATS.join(", "),
                    to.block_len()
                ),
            ));
        }
        Ok(count)
    }

    /// Has every matrix of one format handed out in another, so that both can be timed: what was lost to
    /// the first is not won back. Gives how many there are.
    pub fn requantize(&mut self, from: &dyn Format, to: &'static dyn Format) -> usize {
        let fits = |t: &TensorInfo| t.shape.len() == 2 && t.columns().is_multiple_of(to.block_len());
        let of = |t: &&mut TensorInfo| t.format.name() == from.name() && fits(t);
        self.tensors.iter_mut().filter(of).map(|tensor| tensor.format = to).count()
    }

    /// Bytes of all tensors as they are handed out.
    pub fn weight_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| (t.rows() * t.row_bytes()) as u64).sum()
    }
}

/// Stored rows as rows of the tensor's format.
pub(super) fn encode(tensor: &TensorInfo, stored: &[u8], into: &mut Vec<u8>) {
    let row = tensor.columns() / tensor.stored.block_len() * tensor.stored.block_bytes();
    let mut numbers = vec![0.0; tensor.columns()];
    into.clear();
    into.resize(stored.len() / row * tensor.row_bytes(), 0);
    for (from, to) in stored.chunks_exact(row).zip(into.chunks_exact_mut(tensor.row_bytes())) {
        tensor.stored.decode_row(from, &mut numbers);
        tensor.format.encode_row(&numbers, to);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::format::ModelFile;
    use crate::quant;

    #[test]
    fn rows_come_out_encoded() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny/llama");
        let whole = ModelFile::open(&path).unwrap();
        for (name, worst) in [("Q8_0", 0.005), ("Q4_0", 0.13), ("Q4_1", 0.08)] {
            let mut file = ModelFile::open(&path).unwrap();
            let format = quant::by_name(name).unwrap();
            assert!(file.quantize(format).unwrap() >= 15);
            assert!(file.weight_bytes() < whole.weight_bytes());
            for tensor in file.tensors() {
                let before = whole.tensor(&tensor.name).unwrap();
                let is_matrix = tensor.shape.len() == 2;
                assert_eq!(tensor.format.name(), if is_matrix { name } else { "BF16" });
                let decoded = |file: &ModelFile, tensor: &super::TensorInfo| {
                    let mut bytes = Vec::new();
                    file.read_rows(tensor, 0..tensor.rows(), &mut bytes).unwrap();
                    let mut numbers = vec![0.0; tensor.rows() * tensor.columns()];
                    tensor.format.decode_row(&bytes, &mut numbers);
                    numbers
                };
                let (a, b) = (decoded(&whole, before), decoded(&file, tensor));
                // Half a step, which is a block's largest number divided by 127, or its range by 15; Q4_0
                // has only 7 steps on the side of the smaller numbers, and cuts off up to a whole one.
                let largest = a.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                for (a, b) in a.iter().zip(&b) {
                    assert!((a - b).abs() <= worst * largest, "{}: {a} {b}", tensor.name);
                }
            }
        }
        let quantized = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/quant-models/tiny-Q4_0.gguf");
        let error = ModelFile::open(&quantized).unwrap().quantize(quant::by_name("Q8_0").unwrap());
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("expected matrices of F32, F16, BF16") && error.contains("found Q4_0"),
            "{error}"
        );
    }
}
