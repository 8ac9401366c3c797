// Linear, weight rows per lane: matrix-vector (C = 1) and matrix-matrix (C = 2..8) in one text.
//
// Each subgroup of 8 or more lanes reads a unit of x once, a vec4 per lane, and broadcasts it from
// registers; each lane keeps R rows x C columns of sums. A lane's rows come in runs of NEAR neighbours,
// which one load covers. No workgroup memory, no barrier.
// Grid: columns / C, out_rows / (WG * rows per lane). Needs subgroups of at least 8 lanes, and WIDE
// 64-bit words.
// Cost per unit of 32: R loads of a block, C loads of x, 32 R (1 + C) multiply-adds, 32 C broadcasts.
const WG = 32u;
const RUNS = 2u;   // runs of rows per lane (even with GLU: half of them gates)
const C = 1u;      // columns per lane
#import lib/linear

#ifdef GLU
const GLU_PARTS = 2u;
#else
const GLU_PARTS = 1u;
#endif
const R: u32 = RUNS * NEAR;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) tid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let runs = RUNS / GLU_PARTS;
    let last_run = (p.w.m + BAND - 1u) / BAND * BAND - NEAR;
    let row0 = wg.y * (WG * NEAR * runs) + tid * NEAR;
    let col0 = wg.x * C;
    var rows: array<u32, RUNS>;
    for (var g = 0u; g < RUNS; g++) {
        rows[g] = min(row0 + (g % runs) * (WG * NEAR) + (g / runs) * up_row(), last_run);
    }
    var xs: array<u32, C>;
    for (var c = 0u; c < C; c++) { xs[c] = column_start(col0 + c) + (lane & 7u); }
    var acc: array<f32, R * C>;
#ifdef NORM
    var squares: array<f32, C>;
#endif
    for (var u = 0u; u < p.w.units; u++) {
        var xv: array<vec4<f32>, C>;
        for (var c = 0u; c < C; c++) { xv[c] = floats(x[xs[c] + u * 8u]); }
#ifdef NORM
        let g = floats(gain[u * 8u + (lane & 7u)]);
        for (var c = 0u; c < C; c++) {
            squares[c] += dot(xv[c], xv[c]);
            xv[c] *= g;
        }
#endif
#unroll g in 0..RUNS
        {
            var b = blocks_load(u, rows[g], p.w);
#ifdef TWICE
            for (var again = 0u; again < 2u; again++) {
            for (var r = 0u; r < NEAR; r++) { b[r] = disguised(b[r]); }
#endif
#unroll i in 0..8
            {
                var w: array<vec4<f32>, NEAR>;
                for (var r = 0u; r < NEAR; r++) { w[r] = numbers(b[r], i); }
                for (var c = 0u; c < C; c++) {
                    let v = subgroupBroadcast(xv[c], i);
                    for (var r = 0u; r < NEAR; r++) {
                        let at = (g * NEAR + r) * C + c;
                        let s = fma(w[r].y, v.y, fma(w[r].x, v.x, acc[at]));
                        acc[at] = fma(w[r].w, v.w, fma(w[r].z, v.z, s));
                    }
                }
            }
#end
#ifdef TWICE
            }
#endif
        }
#end
    }
    for (var c = 0u; c < C; c++) {
#ifdef NORM
        // Lanes beyond the first 8 repeat them.
        let total = subgroupAdd(select(0.0, squares[c], lane < 8u));
        let inverse_rms = inverseSqrt(total / f32(p.w.k) + p.eps);
#else
        let inverse_rms = 1.0;
#endif
        for (var g = 0u; g < runs; g++) {
            for (var r = 0u; r < NEAR; r++) {
                let sum = acc[(g * NEAR + r) * C + c];
                let up = acc[((RUNS - runs + g) * NEAR + r) * C + c];
                store(col0 + c, row0 + g * (WG * NEAR) + r, sum, up, inverse_rms);
            }
        }
    }
}
