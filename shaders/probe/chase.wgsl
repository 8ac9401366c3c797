// Loads that wait for the ones before them: each lane follows a chain of indices. For tests of the
// analyzer, which must call this latency and nothing else.
// next  words u32, a permutation     ends  groups u32     Grid: any number of groups of one lane.
// Loads: STEPS a group.
const STEPS = 65536u;

@group(0) @binding(0) var<storage, read> next: array<u32>;
@group(0) @binding(1) var<storage, read_write> ends: array<u32>;

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) wg: vec3<u32>) {
    // Groups start far apart.
    var at = (wg.x * 0x9e3779b9u) % arrayLength(&next);
    for (var step = 0u; step < STEPS; step++) {
        at = next[at];
    }
    ends[wg.x] = at;
}
