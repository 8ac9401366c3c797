// BF16: 32 plain numbers in four words of q, two to a u32, the earlier one low; no aux.
// Cost per 32 weights: 32 integer and 0 float operations, scale and minimum included.
// Equals the Rust decode to the last bit.

const AUX = 0u;
const WORDS = 4u;
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
    let word = b.q[i >> 1u];
    let pair = select(word.xy, word.zw, (i & 1u) == 1u);
    let high = pair & vec2(0xffff0000u);
    let low = pair << vec2(16u);
    return bitcast<vec4<f32>>(vec4(low.x, high.x, low.y, high.y));
}
