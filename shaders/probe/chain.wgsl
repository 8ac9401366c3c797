// The ceiling of one kind of operation: CHAINS independent chains of x = next(x, c) in each lane.
// p.c  one word    out  groups x WG words, the sum of a lane's chains     Grid: any number of groups.
// {OP}.wgsl says what an operation is: Value, Sum, start, next and total. Rounds: STEPS * ROUNDS.
#ifdef F16
enable f16;
#endif
const WG = 64u;
const CHAINS = 12u;
const ROUNDS = 8u; // unrolled, so that the loop's own instructions are few
const STEPS = 64u;

#import probe/op/{OP}
struct Chain {
    c: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
@group(0) @binding(0) var<uniform> p: Chain;
@group(0) @binding(1) var<storage, read_write> out: array<Sum>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let c = p.c;
    var x: array<Value, CHAINS>;
    for (var k = 0u; k < CHAINS; k++) {
        x[k] = start(tid * CHAINS + k);
    }
    for (var step = 0u; step < STEPS; step++) {
        #unroll round in 0..ROUNDS
        for (var k = 0u; k < CHAINS; k++) {
            x[k] = next(x[k], c);
        }
        #end
    }
    var sum = Sum(0);
    for (var k = 0u; k < CHAINS; k++) {
        sum += total(x[k]);
    }
    out[wg.x * WG + tid] = sum;
}
