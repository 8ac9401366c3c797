// Rotary embedding of Q and K (lib/rope), and the write of K and V into the paged cache.
//
// qkv     tokens x (HEADS + 2 KV) x D, q heads first      q_out  tokens x HEADS x D
// places  tokens of (position, slot = block * BLOCK + offset)
// A lane takes 8 dimensions of one head, 4 of either half; where the cache has scales, 64 neighbours.
// Grid: heads * D/8 (or D/64, rounded up) / WG, tokens.
const WG = 32u;
const HEADS = 1u;
const KV = 1u;   // KV heads in all; a cache in parts takes a dispatch per part, the first does Q too
#import lib/cache
#import lib/step

struct Rope {
    eps: f32,
    first: u32,   // this buffer's first KV head
    pad1: u32,
    pad2: u32,
}
@group(0) @binding(0) var<uniform> p: Rope;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> angles: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> q_out: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> cache: array<u32>;
#ifdef QK_NORM
@group(0) @binding(7) var<storage, read> gains: array<vec4<f32>>;
#endif
#import lib/rope

const ALL_HEADS: u32 = HEADS + 2u * KV;

#ifdef CACHE_Q8_0
const TAKEN = 16u;   // vec4s of a head that a lane takes: two blocks of 32, whose scales are one word
const SHARES: u32 = (2u * HALF + TAKEN - 1u) / TAKEN;   // lanes of a head

// One of four signed bytes each.
fn quantised(v: vec4<f32>, inverse: f32) -> u32 {
    let q = bitcast<vec4<u32>>(vec4<i32>(round(v * inverse))) & vec4(255u);
    return q.x | (q.y << 8u) | (q.z << 16u) | (q.w << 24u);
}
#else
const SHARES: u32 = HALF;

// Vec4 `i` of the row of the cache whose first word is `row`.
fn put(row: u32, i: u32, v: vec4<f32>) {
#ifdef CACHE_F32
    let bits = bitcast<vec4<u32>>(v);
    for (var c = 0u; c < 4u; c++) { cache[(row + i) * 4u + c] = bits[c]; }
#else
    cache[row * 4u + i * 2u] = pack2x16float(v.xy);
    cache[row * 4u + i * 2u + 1u] = pack2x16float(v.zw);
#endif
}
#endif

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let head = id.x / SHARES;
    let share = id.x % SHARES;
    let t = id.y;
    if (head >= ALL_HEADS || t >= step.tokens) { return; }
    let own = (head - HEADS) % KV - p.first;   // wraps below the part
    if ((head >= HEADS && own >= KV_HEADS) || (head < HEADS && p.first > 0u)) { return; }
    let base = (t * ALL_HEADS + head) * (2u * HALF);
    let place = places[t];
    let to = (t * HEADS + head) * (2u * HALF);
    let row = cache_row(place.y / BLOCK, (head - HEADS) / KV, own, place.y % BLOCK);
    let turns = head < HEADS + KV;
    let gains_at = select(GAINS_OF_Q, GAINS_OF_K, head >= HEADS);
    var norm = 1.0;
    if (turns) { norm = inverse_rms(base); }
#ifdef CACHE_Q8_0
    let begin = share * TAKEN;
    var scales = vec2(0.0);
    for (var b = 0u; b < 2u; b++) {
        let start = begin + b * (TAKEN / 2u);
        let end = min(start + TAKEN / 2u, 2u * HALF);
        var top = 0.0;
        for (var pass_ = 0u; pass_ < 2u; pass_++) {
            // An f16 holds no scale of numbers as small as that.
            let inverse = select(0.0, 127.0 / top, top > 1e-30);
            for (var i = start; i < end; i++) {
                var v = qkv[base + i];
                if (turns) { v = turned(base, i, place.x, norm, gains_at); }
                if (head < HEADS) {
                    q_out[to + i] = v;
                } else if (pass_ == 0u) {
                    top = max(top, max(max(abs(v.x), abs(v.y)), max(abs(v.z), abs(v.w))));
                } else {
                    cache[row * 4u + i] = quantised(v, inverse);
                }
            }
        }
        scales[b] = top / 127.0;
    }
    if (head >= HEADS) { cache[(row + VECS) * 4u + share] = pack2x16float(scales); }
#else
    var halves = array(qkv[base + share], qkv[base + HALF + share]);
    if (turns) { halves = rotated(base, share, place.x, norm, gains_at); }
    if (head < HEADS) {
        q_out[to + share] = halves[0];
        q_out[to + HALF + share] = halves[1];
    } else {
        put(row, share, halves[0]);
        put(row, HALF + share, halves[1]);
    }
#endif
}
