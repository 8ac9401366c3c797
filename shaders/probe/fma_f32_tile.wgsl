// The f32 multiply-add ceiling, in the shape of a matrix product: in each lane a register tile
// t[i][j] += a[i] * b[j], while a and b move on as x = x * x + c.
// p.c  one f32     out  groups x WG f32, the sum of a lane's tile     Grid: any number of groups.
// Operations: WG * (ROWS * COLS + ROWS + COLS) * STEPS * ROUNDS * 2 a group. Every one is a
// multiply-add, three different operands in most; see fma_f32.wgsl for c.
const WG = 64u;
const ROWS = 3u;
const COLS = 3u;
const ROUNDS = 8u; // unrolled, so that the loop's own instructions are few
const STEPS = 64u;

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
    var a: array<f32, ROWS>;
    var b: array<f32, COLS>;
    var t: array<array<f32, COLS>, ROWS>;
    for (var i = 0u; i < ROWS; i++) {
        a[i] = f32(tid) / f32(4u * WG) + f32(i) / f32(4u * ROWS);
    }
    for (var j = 0u; j < COLS; j++) {
        b[j] = f32(tid) / f32(8u * WG) + f32(j) / f32(4u * COLS);
    }
    for (var step = 0u; step < STEPS; step++) {
        #unroll round in 0..ROUNDS
        for (var i = 0u; i < ROWS; i++) {
            for (var j = 0u; j < COLS; j++) {
                t[i][j] = fma(a[i], b[j], t[i][j]);
            }
            a[i] = fma(a[i], a[i], c);
        }
        for (var j = 0u; j < COLS; j++) {
            b[j] = fma(b[j], b[j], c);
        }
        #end
    }
    var sum = 0.0;
    for (var i = 0u; i < ROWS; i++) {
        for (var j = 0u; j < COLS; j++) {
            sum += t[i][j];
        }
    }
    out[wg.x * WG + tid] = sum;
}
