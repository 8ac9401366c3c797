// Q4_0: 32 weights of 4 bits, w = d * q, q from -8 to 7.
// q: one word of two's-complement nibbles; byte b holds element b low and element 16 + b high.
// aux 0, per two units: their d (f16), the even unit's in the low half.
// A nibble becomes a signed byte by moving it to the byte's upper end: raw = 16 q, scale = d / 16.
// Cost per 32 weights: 47 integer and 67 float operations, scale and minimum included.
// Equals the Rust decode to the last bit (scale * raw is exact), subnormal f16 scales aside.

const AUX = 1u;
const WORDS = 1u;
const HAS_SCALE = true;
const HAS_MIN = false;
const HALF_SCALES = false;

struct Block {
    q: Words,
    scale: vec2<f32>,
    min: f32,
}

fn aux_at(n: u32, unit: u32, row: u32, w: Weights) -> u32 { return w.s0 + entry(unit, 1u, row, w); }

fn block(q: Words, aux: Aux, unit: u32) -> Block {
    let d = unpack2x16float(aux[0] >> ((unit & 1u) * 16u)).x;
    return Block(q, vec2(d * 0.0625), 0.0);
}

fn block_weights(b: Block, i: u32) -> vec4<f32> {
    let word = b.q[0][i & 3u];
    let four = select(word << 4u, word, i >= 4u) & 0xf0f0f0f0u;
    return vec4<f32>(unpack4xI8(four));
}
