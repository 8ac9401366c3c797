// Linear for few columns, K split over the lanes of a workgroup: matrix-vector on any GPU.
//
// ROWS x KL lanes: neighbouring lanes take neighbouring rows (coalesced: ROWS * 16 bytes a load),
// KL lanes share a row's units and meet once in workgroup memory. C columns per lane.
// Grid: columns / C, out_rows / ROWS. Needs nothing beyond WebGPU.
const ROWS = 16u;
const KL = 8u;
const C = 1u;
#import lib/linear

#ifdef GLU
const PARTS = 2u;
#else
const PARTS = 1u;
#endif

// Sums of the PARTS rows and, with NORM, the squares, per column.
const SLOTS: u32 = C * (PARTS + 1u);
var<workgroup> meet: array<f32, ROWS * KL * SLOTS>;

@compute @workgroup_size(ROWS * KL)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let row = wg.y * ROWS + tid % ROWS;
    let kl = tid / ROWS;
    let col0 = wg.x * C;
    let clamped = min(row, p.out_rows - 1u);
    var xs: array<u32, C>;
    for (var c = 0u; c < C; c++) { xs[c] = column_start(col0 + c); }
    var acc: array<f32, C * PARTS>;
    var squares: array<f32, C>;
    for (var u = kl; u < p.w.units; u += KL) {
        var b: array<Block, PARTS>;
        for (var r = 0u; r < PARTS; r++) { b[r] = block_load(u, clamped + r * up_row(), p.w); }
#ifdef TWICE
        var again: array<Block, PARTS>;
        for (var r = 0u; r < PARTS; r++) { again[r] = disguised(b[r]); }
#endif
        for (var i = 0u; i < 8u; i++) {
            var w: array<vec4<f32>, PARTS>;
            for (var r = 0u; r < PARTS; r++) { w[r] = numbers(b[r], i); }
#ifdef TWICE
            var more: array<vec4<f32>, PARTS>;
            for (var r = 0u; r < PARTS; r++) { more[r] = numbers(again[r], i); }
#endif
            for (var c = 0u; c < C; c++) {
                var v = floats(x[xs[c] + u * 8u + i]);
#ifdef NORM
                squares[c] += dot(v, v);
                v *= floats(gain[u * 8u + i]);
#endif
                for (var r = 0u; r < PARTS; r++) { acc[r * C + c] += dot(w[r], v); }
#ifdef TWICE
                for (var r = 0u; r < PARTS; r++) { acc[r * C + c] = fused(more[r], v, acc[r * C + c]); }
#endif
            }
        }
    }
    for (var s = 0u; s < C * PARTS; s++) { meet[s * ROWS * KL + tid] = acc[s]; }
#ifdef NORM
    for (var c = 0u; c < C; c++) { meet[(C * PARTS + c) * ROWS * KL + tid] = squares[c]; }
#endif
    workgroupBarrier();
    if (kl != 0u) { return; }
    for (var c = 0u; c < C; c++) {
        var inverse_rms = 1.0;
#ifdef NORM
        var total = 0.0;
        for (var k = 0u; k < KL; k++) { total += meet[(C * PARTS + c) * ROWS * KL + k * ROWS + tid]; }
        inverse_rms = inverseSqrt(total / f32(p.w.k) + p.eps);
#endif
        var sums: array<f32, PARTS>;
        for (var r = 0u; r < PARTS; r++) {
            for (var k = 0u; k < KL; k++) { sums[r] += meet[(r * C + c) * ROWS * KL + k * ROWS + tid]; }
        }
        store(col0 + c, row, sums[0], sums[PARTS - 1u], inverse_rms);
    }
}
