// The write ceiling: every word of a working set stored once by each group that passes.
// words  p.runs x WG x STEPS vec4<u32>     Grid: any number of groups, see read.wgsl.
// Vector i holds i * 0x9e3779b9 + (0, 1, 2, 3): no two alike, so that nothing can be compressed away.
const WG = 64u;
const STEPS = 256u; // a multiple of LOADS
const LOADS = 4u;

#import probe/runs
@group(0) @binding(1) var<storage, read_write> words: array<vec4<u32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let start = (wg.x % p.runs) * WG * STEPS + tid;
    for (var i = 0u; i < STEPS; i += LOADS) {
        #unroll load in 0..LOADS
        words[start + (i + load) * WG] = vec4(start + (i + load) * WG) * 0x9e3779b9u + vec4(0u, 1u, 2u, 3u);
        #end
    }
}
