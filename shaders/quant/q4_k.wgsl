// Q4_K: 32 of 256 weights of 4 bits, w = d * sc * q - dmin * m, q from 0 to 15.
// q: one word of nibbles; byte b holds element b low and element 16 + b high.
// aux 0, per two units: sc | m << 8 of each (6-bit numbers), the even unit's in the low half.
// aux 1, per eight units: d (f16) in the low, dmin (f16) in the high half.
// Cost per 32 weights: 12 integer operations and 8 byte unpackings, 32 conversions; 12
// operations for the scales.
// Equals the Rust decode to the last bit (scale * q is exact), subnormal f16 d and dmin aside.

const WORDS = 1u;
const HAS_SCALE = true;
const HAS_MIN = true;
const HALF_SCALES = false;

struct Block {
    q: array<vec4<u32>, WORDS>,
    scale: vec2<f32>,
    min: f32,
}

fn block_load(unit: u32, row: u32, w: Weights) -> Block {
    let pair = waux[w.s0 + place(unit >> 1u, (w.units + 1u) >> 1u, row, w)] >> ((unit & 1u) * 16u);
    let d = unpack2x16float(waux[w.s1 + place(unit >> 3u, (w.units + 7u) >> 3u, row, w)]);
    let step = d.x * f32(pair & 0xffu);
    let offset = d.y * f32((pair >> 8u) & 0xffu);
    return Block(array(word(wq[place(unit, w.units, row, w)])), vec2(step), -offset);
}

fn block_weights(b: Block, i: u32) -> vec4<f32> {
    let four = (b.q[0][i & 3u] >> ((i >> 2u) * 4u)) & 0x0f0f0f0fu;
    return vec4<f32>(unpack4xU8(four));
}
