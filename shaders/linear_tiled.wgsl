// Linear for many columns: 64 rows x 32 columns per workgroup of 64 lanes, 8 x 4 sums per lane.
//
// Each step along K stages one unit: every lane unpacks one weight row into workgroup memory
// (k outermost, so lanes write and read neighbouring banks) and four vec4 of x. F16 stages in half
// the memory; sums stay f32. Grid: columns / 32, out_rows / 64 (32 with GLU: gate rows, up rows).
// Cost per unit: 64 blocks and 4 KiB of x read, 65,536 multiply-adds, 12 KiB of workgroup memory.
#ifdef F16
enable f16;
#endif
#import lib/linear

#ifdef F16
alias Tile = f16;
#else
alias Tile = f32;
#endif
#ifdef GLU
const OUT_ROWS = 32u;
#else
const OUT_ROWS = 64u;
#endif
const X_PAD: u32 = 33u;   // odd, so that columns fall on different banks

var<workgroup> wt: array<Tile, 32 * 64>;
var<workgroup> xt: array<Tile, 32 * X_PAD>;
#ifdef NORM
var<workgroup> squares: array<f32, 32 * 8>;
#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let row0 = wg.y * OUT_ROWS;
    let col0 = wg.x * 32u;
    // The row whose weights this lane unpacks: slots 0..31 and 32..63 are the two halves of the tile.
    let slot = tid % OUT_ROWS;
    let row = min(row0 + slot, p.out_rows - 1u) + (tid / OUT_ROWS) * up_row();
    let k4 = tid % 8u;
    var xs: array<u32, 4>;
    for (var j = 0u; j < 4u; j++) { xs[j] = column_start(col0 + tid / 8u + j * 8u) + k4; }
    let tr = (tid / 8u) * 4u;
    let tc = (tid % 8u) * 4u;
    var acc: array<f32, 32>;
    var sq: array<f32, 4>;
    for (var u = 0u; u < p.w.units; u++) {
        let b = block_load(u, row, p.w);
#ifdef TWICE
        let again = disguised(b);
#endif
        for (var i = 0u; i < 8u; i++) {
#ifdef TWICE
            let w = numbers(b, i) + numbers(again, i);
#else
            let w = numbers(b, i);
#endif
            for (var e = 0u; e < 4u; e++) { wt[(i * 4u + e) * 64u + tid] = Tile(w[e]); }
        }
        for (var j = 0u; j < 4u; j++) {
            var v = floats(x[xs[j] + u * 8u]);
#ifdef NORM
            sq[j] += dot(v, v);
            v *= floats(gain[u * 8u + k4]);
#endif
            for (var e = 0u; e < 4u; e++) { xt[(k4 * 4u + e) * X_PAD + tid / 8u + j * 8u] = Tile(v[e]); }
        }
        workgroupBarrier();
        for (var k = 0u; k < 32u; k++) {
            var a: array<f32, 8>;
            for (var r = 0u; r < 4u; r++) {
                a[r] = f32(wt[k * 64u + tr + r]);
                a[r + 4u] = f32(wt[k * 64u + 32u + tr + r]);
            }
            for (var c = 0u; c < 4u; c++) {
                let v = f32(xt[k * X_PAD + tc + c]);
                for (var r = 0u; r < 8u; r++) { acc[c * 8u + r] = fma(a[r], v, acc[c * 8u + r]); }
#ifdef TWICE
                let more = v + nothing();
                for (var r = 0u; r < 8u; r++) { acc[c * 8u + r] = fma(a[r], more, acc[c * 8u + r]); }
#endif
            }
        }
        workgroupBarrier();
    }
#ifdef NORM
    for (var j = 0u; j < 4u; j++) { squares[(tid / 8u + j * 8u) * 8u + k4] = sq[j]; }
    workgroupBarrier();
#endif
    for (var c = 0u; c < 4u; c++) {
        var inverse_rms = 1.0;
#ifdef NORM
        var total = 0.0;
        for (var k = 0u; k < 8u; k++) { total += squares[(tc + c) * 8u + k]; }
        inverse_rms = inverseSqrt(total / f32(p.w.k) + p.eps);
#endif
        for (var r = 0u; r < 4u; r++) {
            let low = acc[c * 8u + r];
            let high = acc[c * 8u + 4u + r];
            store(col0 + tc + c, row0 + tr + r, low, high, inverse_rms);
#ifndef GLU
            store(col0 + tc + c, row0 + 32u + tr + r, high, high, inverse_rms);
#endif
        }
    }
}
