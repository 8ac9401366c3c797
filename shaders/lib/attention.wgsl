// What the attention kernels share. Causal attention over a paged cache:
//
//   o[t][h] = sum_j softmax_j(scale * q[t][h] . k[j]) v[j],   max(0, pos - window + 1) <= j <= pos
//
// Work is cut into tiles of neighbouring tokens of one sequence, prefill chunks and decodes alike:
// tiles[n] = (first token of the step, tokens, first token's position, start of its block table).
// q       tokens x heads x D f32, tokens q_stride apart          o        the same, o_stride apart
// HEADS   the query heads of the KV heads in this buffer, of which first_head is the first
// tables  block ids, a run per sequence
// ROPE    every tile is one token, and what comes in is Q, K and V as the projection left them (qkv,
//         tokens q_stride apart): Q and K are rotated here (lib/rope), and K and V cached
// SPLIT   step.splits workgroups along z share a tile's keys (Dao et al. 2023), and o holds what
//         attention_merge puts together: splits x tokens x HEADS x (D / 4 + 1) vec4<f32>, a head's output
//         before the division, then (m, l, 0, 0); l = 0 where a split has no keys
// A workgroup serves HB query heads of one KV head. Grid: tiles, HEADS / HB, splits. The softmax is computed
// online (Milakov & Gimelshein 2018; Dao et al. 2022): a running maximum m, sum l and output o.
const HEADS = 1u;
const HB = 1u;   // query heads per workgroup; divides HEADS / KV_HEADS
#import lib/cache
#import lib/word
#import lib/step

struct Attention {
    scale: f32,
    window: u32,     // keys a token may see; 0 for all before it
    o_stride: u32,   // vec4<f32> from token to token of o
    q_stride: u32,   // vec4<f32> from token to token of q or qkv
    first_head: u32,
    keys_at: u32,    // vec4<f32> from a token's start to K and V of the buffer's first KV head
    values_at: u32,
    eps: f32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
    pad3: u32,
}
@group(0) @binding(0) var<uniform> p: Attention;
@group(0) @binding(1) var<uniform> step: Step;
#ifdef ROPE
@group(0) @binding(2) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> cache: array<Word>;
@group(0) @binding(7) var<storage, read> angles: array<vec4<f32>>;
#ifdef QK_NORM
@group(0) @binding(8) var<storage, read> gains: array<vec4<f32>>;
#endif
#else
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> cache: array<Word>;
#endif
@group(0) @binding(4) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> tables: array<u32>;
@group(0) @binding(6) var<storage, read_write> o: array<vec4<f32>>;

const GROUP: u32 = HEADS / KV_HEADS;   // query heads that share a KV head
const QUADS_PER_HEAD: u32 = D / 4u;
const LOWEST = -1e30;                  // finite: -inf minus -inf would be NaN

#ifdef TWICE
#import lib/twice
#endif

fn first_key(pos: u32) -> u32 {
    if (p.window == 0u || pos < p.window) { return 0u; }
    return pos + 1u - p.window;
}

// The keys begin..end that a workgroup goes through, in rounds of `round`, of those from `low` to `last` that
// its tile sees.
fn keys_of(low: u32, last: u32, round: u32, z: u32) -> vec2<u32> {
    let begin = low / round * round;
    let rounds = (last - begin) / round + 1u;
#ifdef SPLIT
    return begin + round * (rounds * vec2(z, z + 1u) / step.splits);
#else
    return vec2(begin, begin + round * rounds);
#endif
}

// The first vec4 in o of a token's head.
fn output_of(t: u32, head: u32, z: u32) -> u32 {
#ifdef SPLIT
    return ((z * step.tokens + t) * HEADS + head - p.first_head) * (QUADS_PER_HEAD + 1u);
#else
    return t * p.o_stride + head * QUADS_PER_HEAD;
#endif
}

// What an output is divided by: with SPLIT not here.
fn divisor(l: f32) -> f32 {
#ifdef SPLIT
    return 1.0;
#else
    return l;
#endif
}

// The word of a row's scales, where it has one.
fn row_scales(row: u32) -> vec4<u32> {
#ifdef CACHE_Q8_0
    return word(cache[row + VECS]);
#else
    return vec4(0u);
#endif
}

#ifdef ROPE
#import lib/rope

// A word of the cache, of f16 or f32 numbers.
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

// Word `v` of the row of K that a token adds to the cache; its head's first vec4 in qkv is `base`.
fn new_key(base: u32, position: u32, norm: f32, v: u32) -> vec4<u32> {
    var quads: array<vec4<f32>, QUADS>;
    for (var e = 0u; e < QUADS; e++) {
        quads[e] = turned(base, v * QUADS + e, position, norm, GAINS_OF_K);
    }
    return pack(quads);
}

// The same of V.
fn new_value(base: u32, v: u32) -> vec4<u32> {
    var quads: array<vec4<f32>, QUADS>;
    for (var e = 0u; e < QUADS; e++) { quads[e] = qkv[base + v * QUADS + e]; }
    return pack(quads);
}

// Puts a word of a new row into the cache. Workgroups that share a KV head all have it: the first writes.
fn keep(row: u32, bits: vec4<u32>, first: bool) {
#ifdef WIDE
    if (first) { cache[row] = vec2(u64(bits.x) | u64(bits.y) << 32u, u64(bits.z) | u64(bits.w) << 32u); }
#else
    if (first) { cache[row] = bits; }
#endif
}
#endif
