// A repacked weight matrix (src/quant/mod.rs): m rows, `units` units of 32 weights along K,
// unit outermost and row innermost; s0..s2 are where the sections of `waux` start.
#import lib/word

struct Weights {
    m: u32,
    units: u32,
    s0: u32,
    s1: u32,
    s2: u32,
    k: u32,
    pad0: u32,
    pad1: u32,
}
