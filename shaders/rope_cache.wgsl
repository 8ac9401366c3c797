// Rotary embedding of Q and K, and the write of K and V into the paged cache.
//
//   (a, b) -> (a cos - b sin, b cos + a sin),  a = v[i], b = v[i + D/2],  angle = position * f_i
//
// qkv     tokens x (HEADS + 2 KV) x D, q heads first      q_out  tokens x HEADS x D
// angles  positions x D/2 of (cos, sin), from the host in f64 (a shader's sin may be off by 2^-11)
// places  tokens of (position, slot = block * BLOCK + offset)
// QK_NORM RMS norm per head of Q and K first, with gains of D numbers each
// A lane takes 4 dimensions of one head: i, i+1, i+D/2, i+1+D/2. Grid: heads * D/4 / WG, tokens.
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
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read> angles: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> q_out: array<f32>;
@group(0) @binding(6) var<storage, read_write> cache: array<u32>;
#ifdef QK_NORM
@group(0) @binding(7) var<storage, read> gains: array<f32>;   // D for Q, then D for K
#endif

const ALL_HEADS: u32 = HEADS + 2u * KV;
const QUADS: u32 = D / 4u;

// Two neighbouring numbers of a row of the cache whose first vec4 is `row`.
fn put(row: u32, dim: u32, v: vec2<f32>) {
#ifdef CACHE_F32
    cache[row * 4u + dim] = bitcast<u32>(v.x);
    cache[row * 4u + dim + 1u] = bitcast<u32>(v.y);
#else
    cache[row * 4u + dim / 2u] = pack2x16float(v);
#endif
}

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let head = id.x / QUADS;
    let i = (id.x % QUADS) * 2u;
    let t = id.y;
    if (head >= ALL_HEADS || t >= step.tokens) { return; }
    let own = (head - HEADS) % KV - p.first;   // wraps below the part
    if ((head >= HEADS && own >= KV_HEADS) || (head < HEADS && p.first > 0u)) { return; }
    let base = (t * ALL_HEADS + head) * D;
    var a = vec2(qkv[base + i], qkv[base + i + 1u]);
    var b = vec2(qkv[base + D / 2u + i], qkv[base + D / 2u + i + 1u]);
    let place = places[t];
    if (head < HEADS + KV) {
#ifdef QK_NORM
        var squares = 0.0;
        for (var d = 0u; d < D; d++) { squares += qkv[base + d] * qkv[base + d]; }
        let inverse_rms = inverseSqrt(squares / f32(D) + p.eps);
        let g = select(0u, D, head >= HEADS);
        a *= inverse_rms * vec2(gains[g + i], gains[g + i + 1u]);
        b *= inverse_rms * vec2(gains[g + D / 2u + i], gains[g + D / 2u + i + 1u]);
#endif
        let r0 = angles[place.x * (D / 2u) + i];
        let r1 = angles[place.x * (D / 2u) + i + 1u];
        let c = vec2(r0.x, r1.x);
        let s = vec2(r0.y, r1.y);
        let rotated = a * c - b * s;
        b = b * c + a * s;
        a = rotated;
    }
    if (head < HEADS) {
        let to = (t * HEADS + head) * D;
        q_out[to + i] = a.x;
        q_out[to + i + 1u] = a.y;
        q_out[to + D / 2u + i] = b.x;
        q_out[to + D / 2u + i + 1u] = b.y;
    } else {
        let row = cache_row(place.y / BLOCK, (head - HEADS) / KV, own, place.y % BLOCK);
        put(row, i, a);
        put(row, D / 2u + i, b);
    }
}
