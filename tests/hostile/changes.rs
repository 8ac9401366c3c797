//! Random changes of a file.

use proptest::prelude::*;

#[derive(Clone, Debug)]
pub enum Change {
    /// One byte replaced.
    Byte(u8),
    /// Eight bytes replaced by a number.
    Number(u64),
    /// The rest cut off.
    Cut,
}

fn change() -> impl Strategy<Value = Change> {
    let extremes = vec![0, 1, 255, 1 << 31, u64::from(u32::MAX), 1 << 40, 1 << 63, u64::MAX - 31];
    prop_oneof![
        8 => any::<u8>().prop_map(Change::Byte),
        8 => prop::sample::select(extremes).prop_map(Change::Number),
        1 => Just(Change::Cut),
    ]
}

/// The bytes with the changes made within the first `header` of them.
pub fn mutated(mut bytes: Vec<u8>, header: usize, changes: &[(f64, Change)]) -> Vec<u8> {
    for (place, change) in changes {
        let at = (place * header as f64) as usize;
        match change {
            Change::Byte(b) if at < bytes.len() => bytes[at] = *b,
            Change::Number(n) if at + 8 <= bytes.len() => {
                bytes[at..at + 8].copy_from_slice(&n.to_le_bytes());
            }
            Change::Cut => bytes.truncate(at),
            _ => {}
        }
    }
    bytes
}

/// One to four changes, each with its place as a share of the header.
pub fn changes() -> impl Strategy<Value = Vec<(f64, Change)>> {
    prop::collection::vec((0.0..1.0f64, change()), 1..5)
}
