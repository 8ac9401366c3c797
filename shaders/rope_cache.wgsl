// Rotary embedding of Q and K (lib/rope), and the write of K and V into the paged cache.
//
// qkv     tokens x (HEADS + 2 KV) x D, q heads first      q_out  tokens x HEADS x D
// places  tokens of (position, slot = block * BLOCK + offset)
// A lane takes 8 dimensions of one head: 4 of either half. Grid: heads * D/8 / WG, tokens.
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

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let head = id.x / HALF;
    let i = id.x % HALF;
    let t = id.y;
    if (head >= ALL_HEADS || t >= step.tokens) { return; }
    let own = (head - HEADS) % KV - p.first;   // wraps below the part
    if ((head >= HEADS && own >= KV_HEADS) || (head < HEADS && p.first > 0u)) { return; }
    let base = (t * ALL_HEADS + head) * (2u * HALF);
    let place = places[t];
    var halves = array(qkv[base + i], qkv[base + HALF + i]);
    if (head < HEADS + KV) {
        let gains_at = select(GAINS_OF_Q, GAINS_OF_K, head >= HEADS);
        halves = rotated(base, i, place.x, inverse_rms(base), gains_at);
    }
    if (head < HEADS) {
        let to = (t * HEADS + head) * (2u * HALF) + i;
        q_out[to] = halves[0];
        q_out[to + HALF] = halves[1];
    } else {
        let row = cache_row(place.y / BLOCK, (head - HEADS) / KV, own, place.y % BLOCK);
        put(row, i, halves[0]);
        put(row, HALF + i, halves[1]);
    }
}
