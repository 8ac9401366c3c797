// What the three linear kernels share: parameters, bindings, column and row choice, epilogue.
//
//   y[c][row] (+)= act( (sum_k W[row][k] * x[c][k] * gain[k]) / rms(x[c]) + bias[row] )
//
// x      tokens x x_stride vec4<f32>, zero beyond K         y   columns x y_stride f32
// NORM   RMS norm of x fused in: 1/rms is linear, so it scales the finished sum
// BIAS   adds bias[row]          RESIDUAL  adds to what y holds
// GLU    the matrix is gate rows in whole bands, then as many up rows: y = act(gate) * up
// PICK   column c is token picks[c]: logits for the tokens that want them
#import lib/weights
#import lib/step

struct Linear {
    w: Weights,
    x_stride: u32,   // vec4<f32> from token to token
    y_stride: u32,   // f32 from column to column
    y_offset: u32,   // first row's place in a column
    out_rows: u32,   // rows of y
    eps: f32,        // of the norm
    bias_offset: u32,   // first row's place in the biases
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> p: Linear;
@group(0) @binding(1) var<uniform> step: Step;
#ifdef WIDE
@group(0) @binding(2) var<storage, read> wq: array<vec4<u64>>;
@group(0) @binding(3) var<storage, read> waux: array<vec2<u64>>;
#else
@group(0) @binding(2) var<storage, read> wq: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> waux: array<u32>;
#endif
@group(0) @binding(4) var<storage, read> x: array<Word>;   // of f32
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
#ifdef NORM
@group(0) @binding(6) var<storage, read> gain: array<Word>;
#endif
#ifdef BIAS
@group(0) @binding(7) var<storage, read> bias: array<f32>;
#endif
#ifdef PICK
@group(0) @binding(8) var<storage, read> picks: array<u32>;
#endif

#import lib/dequantise
#ifdef TWICE
#import lib/twice

// A block as it was, which no compiler can know, so that unpacking it again is work again.
fn disguised(b: Block) -> Block {
    var c = b;
    for (var i = 0u; i < WORDS; i++) { c.q[i] ^= vec4(p.pad0); }
    return c;
}
#endif
#import lib/activation

// GLU: where the up rows begin.
fn up_row() -> u32 { return (p.out_rows + BAND - 1u) / BAND * BAND; }

fn columns() -> u32 {
#ifdef PICK
    return step.outputs;
#else
    return step.tokens;
#endif
}

// The first vec4 of a column's x; a column beyond the last reads the last one.
fn column_start(c: u32) -> u32 {
    let column = min(c, columns() - 1u);
#ifdef PICK
    return picks[column] * p.x_stride;
#else
    return column * p.x_stride;
#endif
}

// Finishes one output: `sum` is the row's product, `up` its partner's with GLU.
fn store(c: u32, row: u32, sum: f32, up: f32, inverse_rms: f32) {
    if (c >= columns() || row >= p.out_rows) { return; }
    let at = c * p.y_stride + p.y_offset + row;
    var v = sum * inverse_rms;
#ifdef BIAS
    v += bias[p.bias_offset + row];
#endif
#ifdef GLU
    v = activate(v) * (up * inverse_rms);
#endif
#ifdef RESIDUAL
    v += y[at];
#endif
    y[at] = v;
}
