// Q5_0: 32 weights of 5 bits, w = d * q, q from -16 to 15 in two's complement.
// q: one word of low nibbles; byte b holds element b low and element 16 + b high.
// aux 0, per unit: the fifth bits; bit i of byte j is element 4 i + j's.
// aux 1, per two units: their d (f16), the even unit's in the low half.
// The five bits become a signed byte at the byte's upper end: raw = 8 q, scale = d / 8.
// Cost per 32 weights: 39 integer operations and 8 byte unpackings, 32 conversions.
// Equals the Rust decode to the last bit (scale * raw is exact), subnormal f16 scales aside.

const WORDS = 1u;
const HAS_SCALE = true;
const HAS_MIN = false;
const HALF_SCALES = false;

struct Block {
    q: array<vec4<u32>, WORDS>,
    fifth: u32,
    scale: vec2<f32>,
    min: f32,
}

fn block_load(unit: u32, row: u32, w: Weights) -> Block {
    let at = place(unit, w.units, row, w);
    let pair = waux[w.s1 + place(unit >> 1u, (w.units + 1u) >> 1u, row, w)];
    let d = unpack2x16float(pair >> ((unit & 1u) * 16u)).x;
    return Block(array(word(wq[at])), waux[w.s0 + at], vec2(d * 0.125), 0.0);
}

fn block_weights(b: Block, i: u32) -> vec4<f32> {
    let word = b.q[0][i & 3u];
    let low = select(word << 3u, word >> 1u, i >= 4u) & 0x78787878u;
    let fifth = (b.fifth << (7u - i)) & 0x80808080u;
    return vec4<f32>(unpack4xI8(low | fifth));
}
