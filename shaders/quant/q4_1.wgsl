// Q4_1: 32 weights of 4 bits, w = scale * q + min, q from 0 to 15.
// q: one word; its byte b holds element b in the low and element 16 + b in the high nibble.
// aux 0, per unit: scale (f16) in the low, min (f16) in the high half.
// Cost per 32 weights: 44 integer and 98 float operations, scale and minimum included.
// Equals the Rust decode to the last bit (scale * q is exact), subnormal f16 scales aside.

const AUX = 1u;
const WORDS = 1u;
const HAS_SCALE = true;
const HAS_MIN = true;
const HALF_SCALES = false;

struct Block {
    q: Words,
    scale: vec2<f32>,
    min: f32,
}

fn aux_at(n: u32, unit: u32, row: u32, w: Weights) -> u32 { return w.s0 + entry(unit, 0u, row, w); }

fn block(q: Words, aux: Aux, unit: u32) -> Block {
    let dm = unpack2x16float(aux[0]);
    return Block(q, dm.xx, dm.y);
}

fn block_weights(b: Block, i: u32) -> vec4<f32> {
    let four = (b.q[0][i & 3u] >> ((i >> 2u) * 4u)) & 0x0f0f0f0fu;
    return vec4<f32>(unpack4xU8(four));
}
