// The copy ceiling: reads and writes at once, a vector for a vector.
// from, to  p.runs x WG x STEPS vec4<u32>     Grid: any number of groups, see read.wgsl.
const WG = 64u;
const STEPS = 256u; // a multiple of LOADS
const LOADS = 4u;

#import probe/runs
#import lib/weights
@group(0) @binding(1) var<storage, read> words: array<Word>;
@group(0) @binding(2) var<storage, read_write> copied: array<Word>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let start = (wg.x % p.runs) * WG * STEPS + tid;
    for (var i = 0u; i < STEPS; i += LOADS) {
        #unroll load in 0..LOADS
        copied[start + (i + load) * WG] = words[start + (i + load) * WG];
        #end
    }
}
