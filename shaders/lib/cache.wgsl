// The paged KV cache of one layer: [block][K or V][kv head][slot][dim], in vec4<u32> words of
// 8 f16 or 4 f32 numbers. A block holds BLOCK tokens; the head size D is a multiple of 8.
const D = 64u;
const BLOCK = 16u;
const KV_HEADS = 1u;   // in this buffer: all, or a part where a binding holds no more
#ifdef CACHE_F32
const QUADS = 1u;      // vec4s of numbers in a word
const VECS: u32 = D / 4u;
#else
const QUADS = 2u;
const VECS: u32 = D / 8u;
#endif

// The first word of a token's row. `part` is 0 for K, 1 for V.
fn cache_row(block: u32, part: u32, head: u32, slot: u32) -> u32 {
    return (((block * 2u + part) * KV_HEADS + head) * BLOCK + slot) * VECS;
}

fn unpack(bits: vec4<u32>, quad: u32) -> vec4<f32> {
#ifdef CACHE_F32
    return bitcast<vec4<f32>>(bits);
#else
    return vec4(unpack2x16float(bits[quad * 2u]), unpack2x16float(bits[quad * 2u + 1u]));
#endif
}

fn pack(quads: array<vec4<f32>, QUADS>) -> vec4<u32> {
#ifdef CACHE_F32
    return bitcast<vec4<u32>>(quads[0]);
#else
    return vec4(
        pack2x16float(quads[0].xy), pack2x16float(quads[0].zw),
        pack2x16float(quads[1].xy), pack2x16float(quads[1].zw),
    );
#endif
}
