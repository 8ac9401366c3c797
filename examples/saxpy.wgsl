// y[i] = a * x[i] + y[i].
// x, y  n f32     Grid: n / WG.
const WG = 64u;

struct Saxpy {
    n: u32,
    a: f32,
    pad0: u32,
    pad1: u32,
}
@group(0) @binding(0) var<uniform> p: Saxpy;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if (i >= p.n) { return; }
    y[i] = p.a * x[i] + y[i];
}
