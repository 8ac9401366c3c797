// Gated activation where gate and up could not be one matrix: y[t][i] = act(gate[t][i]) * up[t][i].
// gate_up  tokens x 2 width (gate first)     y  tokens x stride f32     Grid: width / WG, tokens.
const WG = 64u;
#import lib/step

struct Gated {
    width: u32,
    stride: u32,
    pad0: u32,
    pad1: u32,
}
@group(0) @binding(0) var<uniform> p: Gated;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> gate_up: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
#import lib/activation

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    let t = id.y;
    if (i >= p.width || t >= step.tokens) { return; }
    let from = t * 2u * p.width + i;
    y[t * p.stride + i] = activate(gate_up[from]) * gate_up[from + p.width];
}
