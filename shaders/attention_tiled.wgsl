// Paged attention for any GPU: K and V staged in workgroup memory, 16 queries x KT keys a round.
//
// 64 lanes, 4 per query (a token and a head): each lane scores KT / 4 of the keys, then owns a
// quarter of the output's dimensions. A tile has at most 16 / HB tokens. Needs only WebGPU.
// Cost per KT keys: 2 KT rows of the cache read once per workgroup, 4 barriers,
// 4 x 16 x KT x D operations.
const KT = 16u;   // keys per round; a multiple of 4 that divides BLOCK
#import lib/attention

const STRIDE: u32 = QUADS_PER_HEAD + 1u;            // padded, so that keys fall on different banks
const OWN: u32 = (QUADS_PER_HEAD + 3u) / 4u;        // vec4s of the output that a lane owns

var<workgroup> staged: array<vec4<f32>, KT * STRIDE>;
var<workgroup> scores: array<f32, 16 * KT>;

// Stages KT rows of the cache from the word `row` on.
fn stage(row: u32, tid: u32) {
    for (var i = tid; i < KT * VECS; i += 64u) {
        let key = i / VECS;
        let v = i % VECS;
        let bits = word(cache[row + key * ROW + v]);
        let scale = scale_of(row_scales(row + key * ROW), v);
        for (var e = 0u; e < QUADS; e++) {
            let d = v * QUADS + e;
            if (d < QUADS_PER_HEAD) {
#ifdef TWICE
                staged[key * STRIDE + d] = unpack(bits, e, scale) + unpack(bits ^ vec4(p.pad0), e, scale);
#else
                staged[key * STRIDE + d] = unpack(bits, e, scale);
#endif
            }
        }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let tile = tiles[wg.x];
    let kv_head = wg.y * HB / GROUP;
    let r = tid / 4u;
    let part = tid % 4u;
    let t = min(r / HB, tile.y - 1u);
    let pos = tile.z + t;
    let low = first_key(pos);
    let head = p.first_head + wg.y * HB + r % HB;
    let at = (tile.x + t) * p.q_stride + head * QUADS_PER_HEAD;
    var own: array<vec4<f32>, OWN>;
    var m = LOWEST;
    var l = 0.0;
    let keys = keys_of(first_key(tile.z), tile.z + tile.y - 1u, KT, wg.z);
    for (var key = keys.x; key < keys.y; key += KT) {
        let block = tables[tile.w + key / BLOCK];
        stage(cache_row(block, 0u, kv_head, key % BLOCK), tid);
        workgroupBarrier();
        var s: array<f32, KT / 4u>;
        for (var d = 0u; d < QUADS_PER_HEAD; d++) {
            let qv = q[at + d];
            for (var j = 0u; j < KT / 4u; j++) {
                let k = staged[(part * (KT / 4u) + j) * STRIDE + d];
                s[j] += dot(qv, k);
#ifdef TWICE
                s[j] = fused(qv + vec4(nothing()), k, s[j]);
#endif
            }
        }
        for (var j = 0u; j < KT / 4u; j++) {
            let k = key + part * (KT / 4u) + j;
            scores[r * KT + part * (KT / 4u) + j] = select(LOWEST, s[j] * p.scale, k <= pos && k >= low);
        }
        workgroupBarrier();
        stage(cache_row(block, 1u, kv_head, key % BLOCK), tid);
        var top = m;
        for (var j = 0u; j < KT; j++) { top = max(top, scores[r * KT + j]); }
        let fade = exp(m - top);
        m = top;
        l *= fade;
        for (var i = 0u; i < OWN; i++) { own[i] *= fade; }
        workgroupBarrier();
        for (var j = 0u; j < KT; j++) {
            let score = scores[r * KT + j];
            // A masked key counts for nothing, also while no key has been seen yet.
            let e = select(0.0, exp(score - top), score > LOWEST);
            l += e;
            for (var i = 0u; i < OWN; i++) {
                let v = staged[j * STRIDE + min(part + i * 4u, QUADS_PER_HEAD - 1u)];
                own[i] += e * v;
#ifdef TWICE
                own[i] = fma(vec4(e + nothing()), v, own[i]);
#endif
            }
        }
        workgroupBarrier();
    }
    if (r / HB >= tile.y) { return; }
    let to = output_of(tile.x + t, head, wg.z);
#ifdef SPLIT
    if (part == 0u) { o[to + QUADS_PER_HEAD] = vec4(m, l, 0.0, 0.0); }
#endif
    for (var i = 0u; i < OWN; i++) {
        let d = part + i * 4u;
        if (d < QUADS_PER_HEAD) { o[to + d] = own[i] / divisor(l); }
    }
}
