// Embedding: y[t] = scale * W[ids[t]], a unit of 32 weights per lane. A matrix too large for one
// binding comes in shards of rows, a dispatch each.
// ids    tokens u32, below the vocabulary (the host checks)     y   tokens x stride vec4<f32>
// Grid: units / WG, tokens. Cost: one block read and 128 bytes written per lane.
const WG = 32u;
#import lib/weights
#import lib/step

struct Embed {
    w: Weights,
    stride: u32,   // vec4<f32> from token to token
    scale: f32,
    first: u32,    // this shard's first id; other ids are another dispatch's
    pad0: u32,
}
@group(0) @binding(0) var<uniform> p: Embed;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> wq: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> waux: array<u32>;
@group(0) @binding(4) var<storage, read> ids: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
#import lib/dequantise

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let u = id.x;
    let t = id.y;
    if (u >= p.w.units || t >= step.tokens) { return; }
    let row = ids[t] - p.first;   // wraps below the shard
    if (row >= p.w.m) { return; }
    let b = block_load(u, row, p.w);
    for (var i = 0u; i < 8u; i++) {
        y[t * p.stride + u * 8u + i] = numbers(b, i) * p.scale;
    }
}
