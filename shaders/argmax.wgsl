// The id of the largest logit of each row, and that logit; of equal ones, the lowest id.
// logits  rows x vocab f32     out  rows x (id, the logit's bits)     Grid: rows. One barrier; every number read once.
const WG = 64u;

struct Argmax {
    vocab: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
@group(0) @binding(0) var<uniform> p: Argmax;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<vec2<u32>>;

var<workgroup> values: array<f32, WG>;
var<workgroup> places: array<u32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let base = wg.x * p.vocab;
    var best = logits[base + min(tid, p.vocab - 1u)];
    var place = min(tid, p.vocab - 1u);
    for (var i = tid + WG; i < p.vocab; i += WG) {
        let v = logits[base + i];
        if (v > best) {
            best = v;
            place = i;
        }
    }
    values[tid] = best;
    places[tid] = place;
    workgroupBarrier();
    if (tid != 0u) { return; }
    for (var i = 1u; i < WG; i++) {
        if (values[i] > best || (values[i] == best && places[i] < place)) {
            best = values[i];
            place = places[i];
        }
    }
    out[wg.x] = vec2(place, bitcast<u32>(best));
}
