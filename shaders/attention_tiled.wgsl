// Paged attention for any GPU: K and V staged in workgroup memory, 16 queries x KT keys a round.
//
// 64 lanes, 4 per query (a token and a head): each lane scores KT / 4 of the keys, then owns a
// quarter of the output's dimensions. A tile has at most 16 / HB tokens. Needs only WebGPU.
// With ROPE the tile is one token, whose key and value are staged from workgroup memory.
// Cost per KT keys: 2 KT rows of the cache read once per workgroup, 4 barriers,
// 4 x 16 x KT x D operations.
const KT = 16u;   // keys per round; a multiple of 4 that divides BLOCK
#import lib/attention

const STRIDE: u32 = QUADS_PER_HEAD + 1u;            // padded, so that keys fall on different banks
const OWN: u32 = (QUADS_PER_HEAD + 3u) / 4u;        // vec4s of the output that a lane owns

var<workgroup> staged: array<vec4<f32>, KT * STRIDE>;
var<workgroup> scores: array<f32, 16 * KT>;

#ifdef ROPE
var<workgroup> new_rows: array<vec4<u32>, 2u * VECS>;   // of K and V, of the tile's token
#endif

// Stages KT rows of K (`part` 0) or V (1) from slot `slot` of a block on; `own` is the place among them of
// the row that this dispatch adds, or beyond them.
fn stage(block: u32, part: u32, head: u32, slot: u32, own: u32, tid: u32) {
    let row = cache_row(block, part, head, slot);
    for (var i = tid; i < KT * VECS; i += 64u) {
        let key = i / VECS;
        let v = i % VECS;
#ifdef ROPE
        var bits = new_rows[part * VECS + v];
        if (key != own) { bits = word(cache[row + key * ROW + v]); }
#else
        let bits = word(cache[row + key * ROW + v]);
#endif
        let scale = scale_of(row_scales(row + key * ROW), v);
        for (var e = 0u; e < min(QUADS, QUADS_PER_HEAD - v * QUADS); e++) {
            staged[key * STRIDE + v * QUADS + e] = unpack(bits, e, scale);
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
#ifdef ROPE
    // Rotated queries wait in the output's place: every lane has read them before it is written.
    let at = tile.x * p.o_stride + head * QUADS_PER_HEAD;
    let start = tile.x * p.q_stride;
    for (var i = tid; i < HB * HALF; i += 64u) {
        let h = p.first_head + wg.y * HB + i / HALF;
        let base = start + h * QUADS_PER_HEAD;
        let halves = rotated(base, i % HALF, pos, inverse_rms(base), GAINS_OF_Q);
        let to = tile.x * p.o_stride + h * QUADS_PER_HEAD + i % HALF;
        o[to] = halves[0];
        o[to + HALF] = halves[1];
    }
    let key_base = start + p.keys_at + kv_head * QUADS_PER_HEAD;
    let value_base = start + p.values_at + kv_head * QUADS_PER_HEAD;
    let new_block = tables[tile.w + pos / BLOCK];
    for (var v = tid; v < VECS; v += 64u) {
        let key = new_key(key_base, pos, inverse_rms(key_base), v);
        let value = new_value(value_base, v);
        new_rows[v] = key;
        new_rows[VECS + v] = value;
        let first = wg.y * HB % GROUP == 0u;
        keep(cache_row(new_block, 0u, kv_head, pos % BLOCK) + v, key, first);
        keep(cache_row(new_block, 1u, kv_head, pos % BLOCK) + v, value, first);
    }
    storageBarrier();
    workgroupBarrier();
#else
    let at = (tile.x + t) * p.q_stride + head * QUADS_PER_HEAD;
#endif
    var own: array<vec4<f32>, OWN>;
    var m = LOWEST;
    var l = 0.0;
    let last = tile.z + tile.y - 1u;
    for (var key = first_key(tile.z) / KT * KT; key <= last; key += KT) {
        let block = tables[tile.w + key / BLOCK];
        stage(block, 0u, kv_head, key % BLOCK, last - key, tid);
        workgroupBarrier();
        var s: array<f32, KT / 4u>;
#ifdef TWICE
        for (var again = 0u; again < 2u; again++) {
#endif
        for (var d = 0u; d < QUADS_PER_HEAD; d++) {
#ifdef ROPE
            var qv = o[at + d];
#else
            var qv = q[at + d];
#endif
#ifdef TWICE
            qv += vec4(nothing() * f32(again));
#endif
            for (var j = 0u; j < KT / 4u; j++) { s[j] += dot(qv, staged[(part * (KT / 4u) + j) * STRIDE + d]); }
        }
#ifdef TWICE
        }
#endif
        for (var j = 0u; j < KT / 4u; j++) {
            let k = key + part * (KT / 4u) + j;
            scores[r * KT + part * (KT / 4u) + j] = select(LOWEST, s[j] * p.scale, k <= pos && k >= low);
        }
        workgroupBarrier();
        stage(block, 1u, kv_head, key % BLOCK, last - key, tid);
        var top = m;
        for (var j = 0u; j < KT; j++) { top = max(top, scores[r * KT + j]); }
        let fade = exp(m - top);
        m = top;
        l *= fade;
        for (var i = 0u; i < OWN; i++) { own[i] *= fade; }
        workgroupBarrier();
#ifdef TWICE
        for (var again = 0u; again < 2u; again++) {
#endif
        for (var j = 0u; j < KT; j++) {
            var score = scores[r * KT + j];
#ifdef TWICE
            score += nothing() * f32(again);
#endif
            // A masked key counts for nothing, also while no key has been seen yet.
            let e = select(0.0, exp(score - top), score > LOWEST);
            l += e;
            for (var i = 0u; i < OWN; i++) {
                own[i] += e * staged[j * STRIDE + min(part + i * 4u, QUADS_PER_HEAD - 1u)];
            }
        }
#ifdef TWICE
        }
#endif
        workgroupBarrier();
    }
    if (r / HB >= tile.y) { return; }
    for (var i = 0u; i < OWN; i++) {
        let d = part + i * 4u;
        if (d < QUADS_PER_HEAD) { o[(tile.x + t) * p.o_stride + head * QUADS_PER_HEAD + d] = own[i] / l; }
    }
}
