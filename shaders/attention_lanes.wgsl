// Paged attention, a query per lane: each subgroup reads a key's row once, a vec4 per lane, and
// broadcasts it from registers. No workgroup memory, no barrier. Needs subgroups of 8 or more.
//
// A lane holds HL heads of one token; a token's HB heads take HB / HL lanes, and a tile has at
// most WG / (HB / HL) tokens.
// Cost per 8 keys: 16 rows of the cache read per subgroup; 4 x 8 x D x HL operations per lane.
const WG = 8u;
const HL = 1u;
const KT = 8u;   // keys per round; divides BLOCK
#import lib/attention

const LANES_PER_TOKEN: u32 = HB / HL;
const LOADS: u32 = (VECS + 7u) / 8u;   // vec4 words of a row that one lane holds

// This lane's share of the rows of KT keys that start at `row`.
fn load_rows(row: u32, lane: u32) -> array<vec4<f32>, KT * LOADS * QUADS> {
    var f: array<vec4<f32>, KT * LOADS * QUADS>;
    for (var j = 0u; j < KT; j++) {
        let scales = row_scales(row + j * ROW);
        for (var l = 0u; l < LOADS; l++) {
            let v = min(l * 8u + (lane & 7u), VECS - 1u);
            let bits = word(cache[row + j * ROW + v]);
            let scale = scale_of(scales, v);
            for (var h = 0u; h < QUADS; h++) { f[(j * LOADS + l) * QUADS + h] = unpack(bits, h, scale); }
#ifdef TWICE
            for (var h = 0u; h < QUADS; h++) {
                f[(j * LOADS + l) * QUADS + h] += unpack(bits ^ vec4(p.pad0), h, scale);
            }
#endif
        }
    }
    return f;
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) tid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tile = tiles[wg.x];
    let kv_head = wg.y * HB / GROUP;
    let t = min(tid / LANES_PER_TOKEN, tile.y - 1u);
    let head0 = p.first_head + wg.y * HB + (tid % LANES_PER_TOKEN) * HL;
    let pos = tile.z + t;
    let low = first_key(pos);
    var ql: array<vec4<f32>, HL * QUADS_PER_HEAD>;
    var ol: array<vec4<f32>, HL * QUADS_PER_HEAD>;
    var m: array<f32, HL>;
    var l: array<f32, HL>;
    for (var h = 0u; h < HL; h++) {
        let at = (tile.x + t) * p.q_stride + (head0 + h) * QUADS_PER_HEAD;
        for (var d = 0u; d < QUADS_PER_HEAD; d++) { ql[h * QUADS_PER_HEAD + d] = q[at + d] * p.scale; }
        m[h] = LOWEST;
    }
    let last = tile.z + tile.y - 1u;
    for (var key = first_key(tile.z) / KT * KT; key <= last; key += KT) {
        let block = tables[tile.w + key / BLOCK];
        var s: array<f32, KT * HL>;
        {
            let k = load_rows(cache_row(block, 0u, kv_head, key % BLOCK), lane);
#ifdef TWICE
            for (var again = 0u; again < 2u; again++) {
            for (var d = 0u; d < HL * QUADS_PER_HEAD; d++) { ql[d] += vec4(nothing()); }
#endif
#unroll v in 0..VECS
            for (var j = 0u; j < KT; j++) {
                for (var e = 0u; e < min(QUADS, QUADS_PER_HEAD - v * QUADS); e++) {
                    let kv = subgroupBroadcast(k[(j * LOADS + v / 8u) * QUADS + e], v % 8u);
                    for (var h = 0u; h < HL; h++) {
                        s[j * HL + h] += dot(ql[h * QUADS_PER_HEAD + v * QUADS + e], kv);
                    }
                }
            }
#end
#ifdef TWICE
            }
#endif
        }
        for (var h = 0u; h < HL; h++) {
            var top = m[h];
            for (var j = 0u; j < KT; j++) {
                let seen = key + j <= pos && key + j >= low;
                s[j * HL + h] = select(LOWEST, s[j * HL + h], seen);
                top = max(top, s[j * HL + h]);
            }
            let fade = exp(m[h] - top);
            m[h] = top;
            l[h] *= fade;
            for (var j = 0u; j < KT; j++) {
                // A masked key counts for nothing, also while no key has been seen yet.
                let e = select(0.0, exp(s[j * HL + h] - top), s[j * HL + h] > LOWEST);
                s[j * HL + h] = e;
                l[h] += e;
            }
            for (var d = 0u; d < QUADS_PER_HEAD; d++) { ol[h * QUADS_PER_HEAD + d] *= fade; }
        }
        {
            let vals = load_rows(cache_row(block, 1u, kv_head, key % BLOCK), lane);
#ifdef TWICE
            for (var again = 0u; again < 2u; again++) {
            for (var j = 0u; j < KT * HL; j++) { s[j] += nothing(); }
#endif
#unroll v in 0..VECS
            for (var j = 0u; j < KT; j++) {
                for (var e = 0u; e < min(QUADS, QUADS_PER_HEAD - v * QUADS); e++) {
                    let vv = subgroupBroadcast(vals[(j * LOADS + v / 8u) * QUADS + e], v % 8u);
                    for (var h = 0u; h < HL; h++) {
                        ol[h * QUADS_PER_HEAD + v * QUADS + e] += s[j * HL + h] * vv;
                    }
                }
            }
#end
#ifdef TWICE
            }
#endif
        }
    }
    if (tid / LANES_PER_TOKEN >= tile.y) { return; }
    for (var h = 0u; h < HL; h++) {
        let at = (tile.x + t) * p.o_stride + (head0 + h) * QUADS_PER_HEAD;
        for (var d = 0u; d < QUADS_PER_HEAD; d++) { o[at + d] = ol[h * QUADS_PER_HEAD + d] / l[h]; }
    }
}
