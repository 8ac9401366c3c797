// Blocks of a weight matrix, whatever its format: 32 weights of a row with what scales them. The
// format (quant/) says how many words a block has, where its auxiliary words lie, what they mean.
#import quant/{FORMAT}

alias Words = array<vec4<u32>, WORDS>;
alias Aux = array<u32, max(AUX, 1u)>;

const NEAR = 4u;   // neighbouring rows that are read together

#ifdef WIDE
fn two_words(at: u32) -> array<vec4<u32>, 2> {
    let w = wq[at / 2u];
    return array(word(w.xy), word(w.zw));
}
fn four_aux(at: u32) -> vec4<u32> { return word(waux[at / 4u]); }
#else
fn two_words(at: u32) -> array<vec4<u32>, 2> { return array(wq[at], wq[at + 1u]); }
fn four_aux(at: u32) -> vec4<u32> { return vec4(waux[at], waux[at + 1u], waux[at + 2u], waux[at + 3u]); }

fn block_load(unit: u32, row: u32, w: Weights) -> Block {
    let at = place(unit * WORDS, w.units * WORDS, row, w);
    var q: Words;
    for (var n = 0u; n < WORDS; n++) { q[n] = wq[at + n * BAND]; }
    var aux: Aux;
    for (var n = 0u; n < AUX; n++) { aux[n] = waux[aux_at(n, unit, row, w)]; }
    return block(q, aux, unit);
}
#endif

// The blocks of the NEAR rows from `row` on, a multiple of NEAR: few and long loads, for a driver that
// checks each of them (llvmpipe).
fn blocks_load(unit: u32, row: u32, w: Weights) -> array<Block, NEAR> {
    let at = place(unit * WORDS, w.units * WORDS, row, w);
    var q: array<Words, NEAR>;
    for (var n = 0u; n < WORDS; n++) {
        for (var r = 0u; r < NEAR; r += 2u) {
            let two = two_words(at + n * BAND + r);
            q[r][n] = two[0];
            q[r + 1u][n] = two[1];
        }
    }
    var aux: array<Aux, NEAR>;
    for (var n = 0u; n < AUX; n++) {
        let four = four_aux(aux_at(n, unit, row, w));
        for (var r = 0u; r < NEAR; r++) { aux[r][n] = four[r]; }
    }
    var b: array<Block, NEAR>;
    for (var r = 0u; r < NEAR; r++) { b[r] = block(q[r], aux[r], unit); }
    return b;
}

// The numbers 4i..4i+3 of a unit, whatever its format.
fn numbers(b: Block, i: u32) -> vec4<f32> {
    let raw = block_weights(b, i);
    if (!HAS_SCALE) { return raw; }
    var scale = b.scale.x;
    if (HALF_SCALES) { scale = select(b.scale.x, b.scale.y, i >= 4u); }
    if (HAS_MIN) { return fma(raw, vec4(scale), vec4(b.min)); }
    return raw * scale;
}
