// Q5_1: 32 weights of 5 bits, w = scale * q + min, q from 0 to 31.
// q: one word of low nibbles; byte b holds element b low and element 16 + b high.
// aux 0, per unit: the fifth bits; bit i of byte j is element 4 i + j's.
// aux 1, per unit: scale (f16) in the low, min (f16) in the high half.
// Cost per 32 weights: 75 integer and 98 float operations, scale and minimum included.
// Equals the Rust decode to the last bit (scale * q is exact), subnormal f16 scales aside.

const AUX = 2u;
const WORDS = 1u;
const HAS_SCALE = true;
const HAS_MIN = true;
const HALF_SCALES = false;

struct Block {
    q: Words,
    fifth: u32,
    scale: vec2<f32>,
    min: f32,
}

fn aux_at(n: u32, unit: u32, row: u32, w: Weights) -> u32 {
    return select(w.s1, w.s0, n == 0u) + entry(unit, 0u, row, w);
}

fn block(q: Words, aux: Aux, unit: u32) -> Block {
    let dm = unpack2x16float(aux[1]);
    return Block(q, aux[0], dm.xx, dm.y);
}

fn block_weights(b: Block, i: u32) -> vec4<f32> {
    let low = (b.q[0][i & 3u] >> ((i >> 2u) * 4u)) & 0x0f0f0f0fu;
    let fifth = ((b.fifth >> i) & 0x01010101u) << 4u;
    return vec4<f32>(unpack4xU8(low | fifth));
}
