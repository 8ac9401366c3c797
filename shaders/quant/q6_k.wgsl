// Q6_K: 32 of 256 weights of 6 bits, w = d * sc * q, q from -32 to 31 in two's complement, one sc
// for 16 weights.
// q: one word of low nibbles; byte b holds element b low and element 16 + b high.
// aux 0, per unit: two words of upper pairs of bits; bits 2 i and 2 i + 1 of byte j of the first
// are element 4 i + j's, of the second element 16 + 4 i + j's.
// aux 1, per two units: two sc of each (signed bytes), the even unit's in the low half.
// aux 2, per eight units: d (f32).
// The six bits become a signed byte at the byte's upper end: raw = 4 q, scale = d * sc / 4.
// Cost per 32 weights: 77 integer and 70 float operations, scale and minimum included.
// Equals the Rust decode to the last bit.

const AUX = 4u;
const WORDS = 1u;
const HAS_SCALE = true;
const HAS_MIN = false;
const HALF_SCALES = true;

struct Block {
    q: Words,
    upper: vec2<u32>,
    scale: vec2<f32>,
    min: f32,
}

fn aux_at(n: u32, unit: u32, row: u32, w: Weights) -> u32 {
    if (n < 2u) { return w.s0 + place(2u * unit + n, 2u * w.units, row, w); }
    if (n == 2u) { return w.s1 + entry(unit, 1u, row, w); }
    return w.s2 + entry(unit, 3u, row, w);
}

fn block(q: Words, aux: Aux, unit: u32) -> Block {
    let pair = aux[2] >> ((unit & 1u) * 16u);
    let sc = vec2<f32>(unpack4xI8(pair).xy);
    return Block(q, vec2(aux[0], aux[1]), bitcast<f32>(aux[3]) * sc * 0.25, 0.0);
}

fn block_weights(b: Block, i: u32) -> vec4<f32> {
    let word = b.q[0][i & 3u];
    let low = select(word << 2u, word >> 2u, i >= 4u) & 0x3c3c3c3cu;
    let upper = (b.upper[i >> 2u] << (6u - 2u * (i & 3u))) & 0xc0c0c0c0u;
    return vec4<f32>(unpack4xI8(low | upper));
}
