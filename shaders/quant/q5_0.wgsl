// Q5_0: 32 weights of 5 bits, w = d * q, q from -16 to 15 in two's complement.
// q: one word of low nibbles; byte b holds element b low and element 16 + b high.
// aux 0, per unit: the fifth bits; bit i of byte j is element 4 i + j's.
// aux 1, per two units: their d (f16), the even unit's in the low half.
// The five bits become a signed byte at the byte's upper end: raw = 8 q, scale = d / 8.
// Cost per 32 weights: 74 integer and 67 float operations, scale and minimum included.
// Equals the Rust decode to the last bit (scale * raw is exact), subnormal f16 scales aside.

const AUX = 2u;
const WORDS = 1u;
const HAS_SCALE = true;
const HAS_MIN = false;
const HALF_SCALES = false;

struct Block {
    q: Words,
    fifth: u32,
    scale: vec2<f32>,
    min: f32,
}

fn aux_at(n: u32, unit: u32, row: u32, w: Weights) -> u32 {
    if (n == 0u) { return w.s0 + entry(unit, 0u, row, w); }
    return w.s1 + entry(unit, 1u, row, w);
}

fn block(q: Words, aux: Aux, unit: u32) -> Block {
    let d = unpack2x16float(aux[1] >> ((unit & 1u) * 16u)).x;
    return Block(q, aux[0], vec2(d * 0.125), 0.0);
}

fn block_weights(b: Block, i: u32) -> vec4<f32> {
    let word = b.q[0][i & 3u];
    let low = select(word << 3u, word >> 1u, i >= 4u) & 0x78787878u;
    let fifth = (b.fifth << (7u - i)) & 0x80808080u;
    return vec4<f32>(unpack4xI8(low | fifth));
}
