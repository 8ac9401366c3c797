// The read ceiling: every word of a working set, added up so that no load can be left out.
// words  p.runs x WG x STEPS vec4<u32>     sums  p.runs x WG u32     Grid: any number of groups.
// A group reads one run of memory from its start to its end, neighbouring lanes neighbouring
// vectors, so that a GPU fetches whole lines and a processor's prefetcher sees a stream. With more
// groups than runs, they go around the working set again: that is how caches are measured.
const WG = 64u;
const STEPS = 256u; // a multiple of LOADS
const LOADS = 4u; // unrolled, to be in flight together

#import probe/runs
#import lib/weights
@group(0) @binding(1) var<storage, read> words: array<Word>;
@group(0) @binding(2) var<storage, read_write> sums: array<u32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let run = wg.x % p.runs;
    let start = run * WG * STEPS + tid;
    var sum = vec4(0u);
    for (var i = 0u; i < STEPS; i += LOADS) {
        #unroll load in 0..LOADS
        sum += word(words[start + (i + load) * WG]);
        #end
    }
    sums[run * WG + tid] = sum.x + sum.y + sum.z + sum.w;
}
