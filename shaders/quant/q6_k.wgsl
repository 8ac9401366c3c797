// Q6_K: 32 of 256 weights of 6 bits, w = d * sc * q, q from -32 to 31 in two's complement, one sc
// for 16 weights.
// q: one word of low nibbles; byte b holds element b low and element 16 + b high.
// aux 0, per unit: two words of upper pairs of bits; bits 2 i and 2 i + 1 of byte j of the first
// are element 4 i + j's, of the second element 16 + 4 i + j's.
// aux 1, per two units: two sc of each (signed bytes), the even unit's in the low half.
// aux 2, per eight units: d (f32).
// The six bits become a signed byte at the byte's upper end: raw = 4 q, scale = d * sc / 4.
// Cost per 32 weights: 38 integer operations and 8 byte unpackings, 32 conversions; 14
// operations for the scales. Equals the Rust decode to the last bit.

const WORDS = 1u;
const HAS_SCALE = true;
const HAS_MIN = false;
const HALF_SCALES = true;

struct Block {
    q: array<vec4<u32>, WORDS>,
    upper: vec2<u32>,
    scale: vec2<f32>,
    min: f32,
}

fn block_load(unit: u32, row: u32, w: Weights) -> Block {
    let upper = w.s0 + place(2u * unit, 2u * w.units, row, w);
    let pair = waux[w.s1 + place(unit >> 1u, (w.units + 1u) >> 1u, row, w)] >> ((unit & 1u) * 16u);
    let d = bitcast<f32>(waux[w.s2 + place(unit >> 3u, (w.units + 7u) >> 3u, row, w)]);
    let sc = vec2<f32>(unpack4xI8(pair).xy);
    return Block(
        array(word(wq[place(unit, w.units, row, w)])),
        vec2(waux[upper], waux[upper + BAND]),
        d * sc * 0.25,
        0.0,
    );
}

fn block_weights(b: Block, i: u32) -> vec4<f32> {
    let word = b.q[0][i & 3u];
    let low = select(word << 2u, word >> 2u, i >= 4u) & 0x3c3c3c3cu;
    let upper = (b.upper[i >> 2u] << (6u - 2u * (i & 3u))) & 0xc0c0c0c0u;
    return vec4<f32>(unpack4xI8(low | upper));
}
