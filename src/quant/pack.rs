//! Bytes of blocks to words of the GPU and back: what several formats share.

use half::f16;

use super::RowWriter;

/// The `u32` at byte `at`, little-endian.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The 16 bits at byte `at`, little-endian.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The f16 at byte `at`.
pub(super) fn f16_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_bits(u16_at(bytes, at)).to_f32()
}

/// Writes `x`, rounded to f16, at byte `at`; returns the number as a reader will see it.
pub(super) fn put_f16(bytes: &mut [u8], at: usize, x: f32) -> f32 {
    let rounded = f16::from_f32(x);
    bytes[at..at + 2].copy_from_slice(&rounded.to_le_bytes());
    rounded.to_f32()
}

/// One `vec4<u32>` from up to 16 bytes, the rest zero.
pub(super) fn word(bytes: &[u8]) -> [u32; 4] {
    let mut full = [0; 16];
    full[..bytes.len()].copy_from_slice(bytes);
    std::array::from_fn(|i| u32_at(&full, 4 * i))
}

/// Copies a row of plain numbers to `q`, 16 bytes a word; the last word is padded with zeros.
pub(super) fn copy_row(numbers: &[u8], to: &mut RowWriter<'_>) {
    for (index, bytes) in numbers.chunks(16).enumerate() {
        to.q(index, word(bytes));
    }
}

/// Writes 16-bit values, one per unit, to a section whose entries serve two units each: the even
/// unit's in the low half.
pub(super) fn halves_row(section: usize, mut values: impl Iterator<Item = u16>, to: &mut RowWriter<'_>) {
    let mut entry = 0;
    while let Some(even) = values.next() {
        let odd = values.next().unwrap_or(0);
        to.aux(section, entry, u32::from(even) | u32::from(odd) << 16);
        entry += 1;
    }
}

/// Elements 0..16 in the low, 16..32 in the high nibbles of 16 bytes: GGUF's order in Q4_0, Q4_1,
/// Q5_0 and Q5_1, and the order of every unit of nibbles on the GPU.
pub(super) fn nibbles(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|e| bytes[e % 16] >> (e / 16 * 4) & 15)
}

/// The inverse of [`nibbles`] (the low four bits of each code count).
pub(super) fn nibble_bytes(codes: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|b| codes[b] & 15 | (codes[b + 16] & 15) << 4)
}

/// Smallest and largest of some numbers (`(inf, -inf)` of none).
pub(super) fn range(numbers: &[f32]) -> (f32, f32) {
    let start = (f32::INFINITY, f32::NEG_INFINITY);
    numbers.iter().fold(start, |(low, high), &x| (low.min(x), high.max(x)))
}

/// The number of largest magnitude, with its sign.
pub(super) fn peak(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0.0, |peak: f32, &x| if x.abs() > peak.abs() { x } else { peak })
}

/// `x / step` rounded to the nearest of `low..=high`; 0 (clamped) if the step is 0.
pub(super) fn nearest(x: f32, step: f32, low: i32, high: i32) -> i32 {
    let quotient = if step == 0.0 { 0.0 } else { x / step };
    (quotient.round() as i32).clamp(low, high)
}

/// Codes of 5 bits from 20 bytes as Q5_0 and Q5_1 lay them: 32 fifth bits, then nibbles.
pub(super) fn five_bit_codes(bytes: &[u8]) -> [u8; 32] {
    let fifth = u32_at(bytes, 0);
    let low = nibbles(&bytes[4..]);
    std::array::from_fn(|e| low[e] | ((fifth >> e & 1) << 4) as u8)
}

/// The inverse of [`five_bit_codes`].
pub(super) fn put_five_bit_codes(codes: &[u8; 32], bytes: &mut [u8]) {
    let each = codes.iter().enumerate();
    let fifth = each.fold(0_u32, |bits, (e, code)| bits | u32::from(code >> 4 & 1) << e);
    bytes[..4].copy_from_slice(&fifth.to_le_bytes());
    bytes[4..20].copy_from_slice(&nibble_bytes(codes));
}

/// The fifth bits of a unit as the GPU reads them: bit `i` of byte `j` is element `4i + j`'s, so
/// that one shift and one mask bring out four neighbours.
pub(super) fn fifth_bits(codes: &[u8; 32]) -> u32 {
    (0..8).fold(0, |bits, i| bits | (u32_at(codes, 4 * i) >> 4 & 0x0101_0101) << i)
}

/// The two bits above the nibble of a unit's codes as the GPU reads them: bits `2i` and `2i + 1`
/// of byte `j` are element `4i + j`'s, elements 0..16 in the first word, the rest in the second.
pub(super) fn upper_pairs(codes: &[u8; 32]) -> [u32; 2] {
    let four = |i: usize| (u32_at(codes, 4 * i) >> 4 & 0x0303_0303) << (2 * (i % 4));
    [0, 4].map(|first| (first..first + 4).fold(0, |bits, i| bits | four(i)))
}
