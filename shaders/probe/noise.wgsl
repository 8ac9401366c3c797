// Fills a buffer with noise, so that no memory compression can shorten what is read of it later.
// words  groups x WG x STEPS vec4<u32>     Word i holds an integer hash of i.
const WG = 64u;
const STEPS = 16u;

@group(0) @binding(0) var<storage, read_write> words: array<vec4<u32>>;

// Two rounds of xor-shift and multiply; `profile/read.rs` has the same function.
fn hash(word: vec4<u32>) -> vec4<u32> {
    var x = word;
    x = (x ^ (x >> vec4(16u))) * 0x7feb352du;
    x = (x ^ (x >> vec4(15u))) * 0x846ca68bu;
    return x ^ (x >> vec4(16u));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    for (var step = 0u; step < STEPS; step++) {
        let i = (wg.x * STEPS + step) * WG + tid;
        words[i] = hash(4u * i + vec4(0u, 1u, 2u, 3u));
    }
}
