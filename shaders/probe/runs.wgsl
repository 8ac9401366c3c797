// What the probes of memory are told: how many runs, one a group, make the working set.
struct Runs {
    runs: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
@group(0) @binding(0) var<uniform> p: Runs;
