// Q8_0: 32 weights of 8 bits, w = scale * q, q from -128 to 127.
// q: two words of signed bytes in natural order.
// aux 0, per two units: their scales (f16), the even unit's in the low half.
// Cost per 32 weights: 35 integer and 66 float operations, scale and minimum included.
// Equals the Rust decode to the last bit (scale * q is exact), subnormal f16 scales aside.

const AUX = 1u;
const WORDS = 2u;
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
    return Block(q, vec2(d), 0.0);
}

fn block_weights(b: Block, i: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xI8(b.q[i >> 2u][i & 3u]));
}
