// F32: 32 plain numbers in eight words of q; no aux.
// Cost per 32 weights: 0 integer and 0 float operations, scale and minimum included.
// Equals the Rust decode to the last bit.

const AUX = 0u;
const WORDS = 8u;
const HAS_SCALE = false;
const HAS_MIN = false;
const HALF_SCALES = false;

struct Block {
    q: Words,
    scale: vec2<f32>,
    min: f32,
}

fn aux_at(n: u32, unit: u32, row: u32, w: Weights) -> u32 { return 0u; }

fn block(q: Words, aux: Aux, unit: u32) -> Block { return Block(q, vec2(1.0), 0.0); }

fn block_weights(b: Block, i: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(b.q[i]);
}
