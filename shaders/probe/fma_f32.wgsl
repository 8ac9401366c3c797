// The f32 multiply-add ceiling: CHAINS independent chains of x = x * x + c in each lane.
// p.c  one f32     out  groups x WG f32, the sum of a lane's chains     Grid: any number of groups.
// Operations: WG * CHAINS * STEPS * ROUNDS * 2 a group. Quadratic, since a compiler may fold an
// affine chain; c comes from memory, or the whole chain could be computed at compile time.
// With c = 1/4 a chain creeps towards 1/2 as 1/2 - 1/n, so what is stored tells how often it ran.
// With LINK = 1 it is x[k] = x[k] * x[k + 1] + c around a ring: as independent within a round, but no
// compiler can put one chain's rounds after another's.
const WG = 64u;
const CHAINS = 12u;
const ROUNDS = 8u; // unrolled, so that the loop's own instructions are few
const STEPS = 64u;
const LINK = 0u;

struct Fma {
    c: f32,
    pad0: f32,
    pad1: f32,
    pad2: f32,
}
@group(0) @binding(0) var<uniform> p: Fma;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let c = p.c;
    var x: array<f32, CHAINS>;
    for (var k = 0u; k < CHAINS; k++) {
        x[k] = f32(tid) / f32(4u * WG) + f32(k) / f32(4u * CHAINS);
    }
    for (var step = 0u; step < STEPS; step++) {
        #unroll round in 0..ROUNDS
        for (var k = 0u; k < CHAINS; k++) {
            x[k] = fma(x[k], x[(k + LINK) % CHAINS], c);
        }
        #end
    }
    var sum = 0.0;
    for (var k = 0u; k < CHAINS; k++) {
        sum += x[k];
    }
    out[wg.x * WG + tid] = sum;
}
