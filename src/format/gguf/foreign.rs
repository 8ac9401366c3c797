//! Tensors in formats that ggml has and we don't: enough to say what a file holds.

/// ggml's numbers, names and blocks (numbers in one, bytes of it) of formats that can't be read here.
const FOREIGN: [(u32, &str, u64, u64); 21] = [
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
];

/// A tensor that can be named, and not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its name in the file.
    pub name: String,
    /// Its format's name, or `type N` where even that isn't known.
    pub format: String,
    /// ggml's number of the format.
    pub kind: u32,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// Bytes in the file, where the format's blocks are known and divide its rows.
    pub bytes: Option<u64>,
}

impl Foreign {
    pub(super) fn new(name: String, kind: u32, shape: Vec<usize>) -> Self {
        let known = FOREIGN.iter().find(|(number, ..)| *number == kind);
        let format = known.map_or_else(|| format!("type {kind}"), |(_, name, ..)| (*name).to_string());
        let mut tensor = Self { name, format, kind, shape, bytes: None };
        tensor.bytes = known.and_then(|&(_, _, numbers, bytes)| {
            let whole = (*tensor.shape.last()? as u64).is_multiple_of(numbers);
            whole.then_some(tensor.weights()? / numbers)?.checked_mul(bytes)
        });
        tensor
    }

    /// Its numbers, if they can be counted.
    pub fn weights(&self) -> Option<u64> {
        self.shape.iter().try_fold(1_u64, |n, &d| n.checked_mul(d as u64))
    }

    /// Why a model that has it can't run.
    pub fn refusal(&self) -> String {
        format!(
            "the tensor '{}' is stored as {} (ggml type {}); known are {}",
            self.name,
            self.format,
            self.kind,
            crate::format::format_names()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_where_blocks_are_known() {
        let bytes = |kind, shape: &[usize]| Foreign::new("t".into(), kind, shape.to_vec()).bytes;
        assert_eq!(bytes(20, &[3, 64]), Some(3 * 2 * 18));
        assert_eq!(bytes(10, &[2, 256]), Some(168));
        assert_eq!((bytes(10, &[2, 64]), bytes(77, &[4])), (None, None));
        assert_eq!(bytes(28, &[usize::MAX, usize::MAX]), None);
        assert_eq!(Foreign::new("t".into(), 77, vec![4]).format, "type 77");
    }
}
