// The K largest logits of each row and the row's softmax normaliser, by radix selection: floats
// become unsigned keys of the same order, four passes over 8 bits each find the K-th key, a last
// pass collects in order of the id, so that ties go to the lowest ids and every run is the same.
//
// logits  rows x vocab f32     out  rows x (2 + 2 K): max, sum of exp(logit - max), K ids, K logits
// (floats as bits; candidates in no order of size; K <= vocab). Grid: rows.
// Cost: every number read 7 times; 256 counters in workgroup memory.
const WG = 64u;
const K = 64u;

struct TopK {
    vocab: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
@group(0) @binding(0) var<uniform> p: TopK;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;

var<workgroup> counts: array<atomic<u32>, 256>;
var<workgroup> partial: array<f32, WG>;
var<workgroup> above: array<u32, WG>;
var<workgroup> equal: array<u32, WG>;
var<workgroup> digits: u32;      // the leading digits of the K-th key, found so far
var<workgroup> missing: u32;     // how many keys with these digits are still wanted

fn key_of(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let from = wg.x * p.vocab;
    let to = wg.x * (2u + 2u * K);
    var top = logits[from + min(tid, p.vocab - 1u)];
    for (var i = tid; i < p.vocab; i += WG) { top = max(top, logits[from + i]); }
    partial[tid] = top;
    workgroupBarrier();
    for (var i = 0u; i < WG; i++) { top = max(top, partial[i]); }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = tid; i < p.vocab; i += WG) { sum += exp(logits[from + i] - top); }
    partial[tid] = sum;
    if (tid == 0u) {
        digits = 0u;
        missing = K;
    }
    for (var shift = 24u; ; shift -= 8u) {
        for (var d = tid; d < 256u; d += WG) { atomicStore(&counts[d], 0u); }
        workgroupBarrier();
        let known = digits;
        for (var i = tid; i < p.vocab; i += WG) {
            let key = key_of(logits[from + i]);
            // The digits before this one; the first digit has none.
            if (shift == 24u || (key >> (shift + 8u)) == known) { atomicAdd(&counts[(key >> shift) & 255u], 1u); }
        }
        workgroupBarrier();
        if (tid == 0u) {
            var d = 255u;
            var left = missing;
            while (d > 0u && atomicLoad(&counts[d]) < left) {
                left -= atomicLoad(&counts[d]);
                d -= 1u;
            }
            digits = (known << 8u) | d;
            missing = left;
        }
        workgroupBarrier();
        if (shift == 0u) { break; }
    }
    // Each lane takes a run of neighbouring ids, so that places follow the order of the ids.
    let bound = digits;
    let run = (p.vocab + WG - 1u) / WG;
    let start = min(tid * run, p.vocab);
    let end = min(start + run, p.vocab);
    var larger = 0u;
    var same = 0u;
    for (var i = start; i < end; i++) {
        let key = key_of(logits[from + i]);
        larger += select(0u, 1u, key > bound);
        same += select(0u, 1u, key == bound);
    }
    above[tid] = larger;
    equal[tid] = same;
    workgroupBarrier();
    larger = 0u;
    same = K - missing;
    for (var i = 0u; i < tid; i++) {
        larger += above[i];
        same += equal[i];
    }
    for (var i = start; i < end; i++) {
        let v = logits[from + i];
        let key = key_of(v);
        if (key > bound) {
            out[to + 2u + larger] = i;
            out[to + 2u + K + larger] = bitcast<u32>(v);
            larger += 1u;
        } else if (key == bound && same < K) {
            out[to + 2u + same] = i;
            out[to + 2u + K + same] = bitcast<u32>(v);
            same += 1u;
        }
    }
    if (tid == 0u) {
        sum = 0.0;
        for (var i = 0u; i < WG; i++) { sum += partial[i]; }
        out[to] = bitcast<u32>(top);
        out[to + 1u] = bitcast<u32>(sum);
    }
}
