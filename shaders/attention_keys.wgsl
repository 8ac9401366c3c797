// Paged attention, a key per lane: for tiles of one token, with every lane of a subgroup of 8 at work
// however few query heads there are. Needs subgroups of 8 or more lanes.
//
// For the scores a lane holds all queries and reads the row of its key; for the output the lanes hold a
// vec4 word each of the values' row, and weights are broadcast. No workgroup memory, no barrier.
// Cost per 8 keys: 16 rows of the cache read once per workgroup; HB x D / 2 operations per lane, and
// 8 HB broadcasts.
const WG = 8u;   // keys of a round, too; divides BLOCK
#import lib/attention

const LOADS: u32 = (VECS + 7u) / 8u;   // words of a row of V that one lane holds
#ifdef ROPE
const SHARES: u32 = (HALF + 7u) / 8u;  // vec4s of either half of a head that one lane rotates

// inverse_rms, the squares shared out to the lanes.
fn shared_rms(base: u32, lane: u32) -> f32 {
#ifdef QK_NORM
    var share: array<f32, SHARES>;
    for (var r = 0u; r < SHARES; r++) { share[r] = squares(base, min(r * 8u + lane, HALF - 1u)); }
    var sum = 0.0;
#unroll i in 0..HALF
    sum += subgroupBroadcast(share[i / 8u], i % 8u);
#end
    return inverse_root(sum);
#else
    return 1.0;
#endif
}
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tiles[wg.x];
    let kv_head = wg.y * HB / GROUP;
    let head0 = p.first_head + wg.y * HB;
    let pos = tile.z;
    let low = first_key(pos);
    let at = tile.x * p.q_stride;
    var ql: array<vec4<f32>, HB * QUADS_PER_HEAD>;
#ifdef ROPE
    // The lanes share each rotation, and tell one another.
#unroll h in 0..HB
    {
        let base = at + (head0 + h) * QUADS_PER_HEAD;
        let norm = shared_rms(base, lane);
        var share: array<array<vec4<f32>, 2>, SHARES>;
        for (var r = 0u; r < SHARES; r++) {
            share[r] = rotated(base, min(r * 8u + lane, HALF - 1u), pos, norm, GAINS_OF_Q);
        }
#unroll i in 0..HALF
        ql[h * QUADS_PER_HEAD + i] = subgroupBroadcast(share[i / 8u][0], i % 8u) * p.scale;
        ql[h * QUADS_PER_HEAD + HALF + i] = subgroupBroadcast(share[i / 8u][1], i % 8u) * p.scale;
#end
    }
#end
    // Every lane holds the new key's row, and its words of the new value's.
    let key_base = at + p.keys_at + kv_head * QUADS_PER_HEAD;
    let value_base = at + p.values_at + kv_head * QUADS_PER_HEAD;
    let new_block = tables[tile.w + pos / BLOCK];
    let key_row = cache_row(new_block, 0u, kv_head, pos % BLOCK);
    let value_row = cache_row(new_block, 1u, kv_head, pos % BLOCK);
    let key_norm = shared_rms(key_base, lane);
    let first = wg.y * HB % GROUP == 0u && wg.z == 0u;
    var new_k: array<vec4<u32>, LOADS>;
    var new_v: array<vec4<u32>, LOADS>;
    for (var l = 0u; l < LOADS; l++) {
        let v = min(l * 8u + lane, VECS - 1u);
        new_k[l] = new_key(key_base, pos, key_norm, v);
        new_v[l] = new_value(value_base, v);
        let kept = first && l * 8u + lane < VECS;
        keep(key_row + v, new_k[l], kept);
        keep(value_row + v, new_v[l], kept);
    }
#else
    for (var h = 0u; h < HB; h++) {
        for (var d = 0u; d < QUADS_PER_HEAD; d++) {
            ql[h * QUADS_PER_HEAD + d] = q[at + (head0 + h) * QUADS_PER_HEAD + d] * p.scale;
        }
    }
#endif
    var ol: array<vec4<f32>, HB * LOADS * QUADS>;
    var m: array<f32, HB>;
    var sum: array<f32, HB>;   // of this lane's keys
    for (var h = 0u; h < HB; h++) { m[h] = LOWEST; }
    let keys = keys_of(low, pos, WG, wg.z);
    for (var key = keys.x; key < keys.y; key += WG) {
        let block = tables[tile.w + key / BLOCK];
        let own = key + lane;
        var s: array<vec4<f32>, HB>;
        let row = cache_row(block, 0u, kv_head, key % BLOCK + lane);
        let scales = row_scales(row);
#unroll v in 0..VECS
        {
            var bits = word(cache[row + v]);
#ifdef ROPE
            bits = select(bits, subgroupBroadcast(new_k[v / 8u], v % 8u), vec4(own == pos));
#endif
#ifdef TWICE
            for (var again = 0u; again < 2u; again++) {
            bits ^= vec4(p.pad0);
#endif
            for (var e = 0u; e < min(QUADS, QUADS_PER_HEAD - v * QUADS); e++) {
                let k = unpack(bits, e, scale_of(scales, v));
                for (var h = 0u; h < HB; h++) { s[h] = fma(ql[h * QUADS_PER_HEAD + v * QUADS + e], k, s[h]); }
            }
#ifdef TWICE
            }
#endif
        }
#end
        var weight: array<f32, HB>;
        for (var h = 0u; h < HB; h++) {
            let seen = own <= pos && own >= low;
            let score = select(LOWEST, (s[h].x + s[h].y) + (s[h].z + s[h].w), seen);
            let top = max(m[h], subgroupMax(score));
            let fade = exp(m[h] - top);
            m[h] = top;
            // A masked key counts for nothing, also while no key has been seen yet.
            weight[h] = select(0.0, exp(score - top), seen);
            sum[h] = fma(sum[h], fade, weight[h]);
            for (var d = 0u; d < LOADS * QUADS; d++) { ol[h * LOADS * QUADS + d] *= fade; }
        }
        let values = cache_row(block, 1u, kv_head, key % BLOCK);
#unroll j in 0..WG
        {
            var w: array<f32, HB>;
            for (var h = 0u; h < HB; h++) { w[h] = subgroupBroadcast(weight[h], j); }
            let value = values + j * ROW;
            let value_scales = row_scales(value);
            for (var l = 0u; l < LOADS; l++) {
                let word_at = min(l * 8u + lane, VECS - 1u);
                var bits = word(cache[value + word_at]);
#ifdef ROPE
                bits = select(bits, new_v[l], vec4(key + j == pos));
#endif
#ifdef TWICE
                for (var again = 0u; again < 2u; again++) {
                bits ^= vec4(p.pad0);
#endif
                for (var e = 0u; e < QUADS; e++) {
                    let v = unpack(bits, e, scale_of(value_scales, word_at));
                    for (var h = 0u; h < HB; h++) {
                        let to = (h * LOADS + l) * QUADS + e;
                        ol[to] = fma(vec4(w[h]), v, ol[to]);
                    }
                }
#ifdef TWICE
                }
#endif
            }
        }
#end
    }
    for (var h = 0u; h < HB; h++) {
        let total = subgroupAdd(sum[h]);
        let to = output_of(tile.x, head0 + h, wg.z);
#ifdef SPLIT
        if (lane == 0u) { o[to + QUADS_PER_HEAD] = vec4(m[h], total, 0.0, 0.0); }
#endif
        for (var l = 0u; l < LOADS; l++) {
            let v = l * 8u + lane;
            if (v >= VECS) { continue; }
            for (var e = 0u; e < QUADS; e++) {
                let d = v * QUADS + e;
                if (d < QUADS_PER_HEAD) { o[to + d] = ol[(h * LOADS + l) * QUADS + e] / divisor(total); }
            }
        }
    }
}
