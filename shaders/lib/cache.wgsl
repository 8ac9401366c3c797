// The paged KV cache of one layer: [block][K or V][kv head][slot][dim], in vec4<u32> words of
// 8 f16 or 4 f32 numbers. A block holds BLOCK tokens; the head size D is a multiple of 8.
//
// CACHE_Q8_0  words of 16 bytes q, and after a row's last one a word of its scales d, an f16 for each 32
//             numbers: x = d q, with d = max |x| / 127 (ggml's Q8_0, scales apart)
const D = 64u;
const BLOCK = 16u;
const KV_HEADS = 1u;   // in this buffer: all, or a part where a binding holds no more
#ifdef CACHE_Q8_0
const QUADS = 4u;      // vec4s of numbers in a word
const VECS = 4u;       // words of numbers in a row: D / 16, rounded up
const ROW: u32 = VECS + 1u;   // words of a row
#else
#ifdef CACHE_F32
const QUADS = 1u;
const VECS: u32 = D / 4u;
#else
const QUADS = 2u;
const VECS: u32 = D / 8u;
#endif
const ROW: u32 = VECS;
#endif

// The first word of a token's row. `part` is 0 for K, 1 for V.
fn cache_row(block: u32, part: u32, head: u32, slot: u32) -> u32 {
    return (((block * 2u + part) * KV_HEADS + head) * BLOCK + slot) * ROW;
}

// What the numbers of a row's word `v` are multiples of, from its word of scales.
fn scale_of(scales: vec4<u32>, v: u32) -> f32 {
#ifdef CACHE_Q8_0
    return unpack2x16float(scales[v / 4u])[v / 2u % 2u];
#else
    return 1.0;
#endif
}

fn unpack(bits: vec4<u32>, quad: u32, scale: f32) -> vec4<f32> {
#ifdef CACHE_Q8_0
    let bytes = bitcast<vec4<i32>>(vec4(bits[quad]) << vec4(24u, 16u, 8u, 0u)) >> vec4(24u);
    return vec4<f32>(bytes) * scale;
#else
#ifdef CACHE_F32
    return bitcast<vec4<f32>>(bits);
#else
    return vec4(unpack2x16float(bits[quad * 2u]), unpack2x16float(bits[quad * 2u + 1u]));
#endif
#endif
}
