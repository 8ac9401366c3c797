// Counterfactual of a linear kernel: everything after the loads of the weights is done twice, so that
// the time tells whether arithmetic is what the kernel waits for. Results mean nothing.

// A block as it was, which no compiler can know, so that unpacking it again is work again: the
// parameter is 0.
fn disguised(b: Block) -> Block {
    var c = b;
    for (var i = 0u; i < WORDS; i++) { c.q[i] ^= vec4(p.pad0); }
    return c;
}
