// A repacked weight matrix (src/quant/mod.rs): m rows in bands of BAND, `units` units of 32 weights
// along K, in a band unit outermost and row innermost; s0..s2 are where the sections of `waux` start.
#import lib/word

const BAND = 32u;

struct Weights {
    m: u32,
    units: u32,
    s0: u32,
    s1: u32,
    s2: u32,
    k: u32,
    stride: u32,   // BAND; 0 reads the first unit again and again (a counterfactual)
    pad0: u32,
}

// Where word `index` of the `count` that a row has in a section lies.
fn place(index: u32, count: u32, row: u32, w: Weights) -> u32 {
    return (row / BAND) * (count * BAND) + index * w.stride + row % BAND;
}

// Where the entry lies that 1 << `log` consecutive units of a row share.
fn entry(unit: u32, log: u32, row: u32, w: Weights) -> u32 {
    return place(unit >> log, (w.units + (1u << log) - 1u) >> log, row, w);
}
