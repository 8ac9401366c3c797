// Q4_K: 32 of 256 weights of 4 bits, w = d * sc * q - dmin * m, q from 0 to 15.
// q: one word of nibbles; byte b holds element b low and element 16 + b high.
// aux 0, per two units: sc | m << 8 of each (6-bit numbers), the even unit's in the low half.
// aux 1, per eight units: d (f16) in the low, dmin (f16) in the high half.
// Cost per 32 weights: 50 integer and 103 float operations, scale and minimum included.
// Equals the Rust decode to the last bit (scale * q is exact), subnormal f16 d and dmin aside.

const AUX = 2u;
const WORDS = 1u;
const HAS_SCALE = true;
const HAS_MIN = true;
const HALF_SCALES = false;

struct Block {
    q: Words,
    scale: vec2<f32>,
    min: f32,
}

fn aux_at(n: u32, unit: u32, row: u32, w: Weights) -> u32 {
    if (n == 0u) { return w.s0 + entry(unit, 1u, row, w); }
    return w.s1 + entry(unit, 3u, row, w);
}

fn block(q: Words, aux: Aux, unit: u32) -> Block {
    let pair = aux[0] >> ((unit & 1u) * 16u);
    let d = unpack2x16float(aux[1]);
    let step = d.x * f32(pair & 0xffu);
    let offset = d.y * f32((pair >> 8u) & 0xffu);
    return Block(q, vec2(step), -offset);
}

fn block_weights(b: Block, i: u32) -> vec4<f32> {
    let four = (b.q[0][i & 3u] >> ((i >> 2u) * 4u)) & 0x0f0f0f0fu;
    return vec4<f32>(unpack4xU8(four));
}
