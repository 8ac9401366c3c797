// Puts together what an attention's splits along the context left (Dao et al. 2023), each relative to the
// maximum m_z of its own keys:
//
//   o[t][h] = sum_z e^(m_z - M) o_z / sum_z e^(m_z - M) l_z,   M = max_z m_z
//
// rows  splits x tokens x heads x (D / 4 + 1) vec4<f32>: o_z, then (m_z, l_z, 0, 0)
// o     tokens x all heads x D f32, tokens o_stride apart; of the heads `heads` from first_head on
// Grid: heads x D / 4 / WG, tokens. A lane has a vec4 of a head.
const WG = 32u;
#import lib/step

struct Merge {
    heads: u32,
    quads: u32,      // vec4<f32> of a head: D / 4
    o_stride: u32,   // vec4<f32> from token to token of o
    first_head: u32,
}
@group(0) @binding(0) var<uniform> p: Merge;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> o: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let head = id.x / p.quads;
    let d = id.x % p.quads;
    let t = id.y;
    if (head >= p.heads || t >= step.tokens) { return; }
    let row = p.quads + 1u;
    let first = (t * p.heads + head) * row;
    let apart = step.tokens * p.heads * row;   // from split to split
    var top = rows[first + p.quads].x;
    for (var z = 1u; z < step.splits; z++) { top = max(top, rows[first + z * apart + p.quads].x); }
    var sum = 0.0;
    var out = vec4(0.0);
    for (var z = 0u; z < step.splits; z++) {
        let state = rows[first + z * apart + p.quads];
        let weight = exp(state.x - top);
        sum = fma(weight, state.y, sum);
        out = fma(vec4(weight), rows[first + z * apart + d], out);
    }
    o[t * p.o_stride + (p.first_head + head) * p.quads + d] = out / sum;
}
