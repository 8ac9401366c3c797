// The launch probe: a dispatch that does next to nothing, one word plus one. The word is read and
// written, so that each dispatch waits for the one before it, as the kernels of a step do.
// count  one u32     Grid: any, the first group counts.
@group(0) @binding(0) var<storage, read_write> count: array<u32>;

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3u) {
    if group.x == 0u {
        count[0] += 1u;
    }
}
