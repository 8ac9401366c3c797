// F32: 32 plain numbers in eight words of q; no aux.
// Cost: no operation (a reinterpretation). Equals the Rust decode to the last bit.

const WORDS = 8u;
const HAS_SCALE = false;
const HAS_MIN = false;
const HALF_SCALES = false;

struct Block {
    q: array<vec4<u32>, WORDS>,
    scale: vec2<f32>,
    min: f32,
}

fn block_load(unit: u32, row: u32, w: Weights) -> Block {
    let at = place(unit * WORDS, w.units * WORDS, row, w);
    let q = array(
        word(wq[at]), word(wq[at + BAND]), word(wq[at + 2u * BAND]), word(wq[at + 3u * BAND]),
        word(wq[at + 4u * BAND]), word(wq[at + 5u * BAND]), word(wq[at + 6u * BAND]), word(wq[at + 7u * BAND]),
    );
    return Block(q, vec2(1.0), 0.0);
}

fn block_weights(b: Block, i: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(b.q[i]);
}
